"""Terms of a contrastive method: each a loss on named embeddings of two views, with a weight.

A method is a sum of terms, so most methods of the papers are lists of these and need no code:

    Intra-SimCLR  Intra                                    IaI-SimCLR  Intra + Inter
    MoSAiC-1      Intra + MulSupCon(fused) + Supervised    MoSAiC-2    Inter + MulSupCon(each) + Supervised
    D-SimCLR      Inter(ntxent)
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from landweave.config import Config

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from landweave.sample import Label


@dataclass(frozen=True)
class Embedded:
    """What the terms look at: the embeddings z of two views by sensor, and the logits of the first view.

    `seen` says at which places a sensor was encoded in both views; embeddings of other places mean nothing.
    """

    first: dict[str, Float[Tensor, "B P"]]
    second: dict[str, Float[Tensor, "B P"]]
    seen: dict[str, Bool[Tensor, " B"]]
    logits: Float[Tensor, "B K"]
    label: Label
    class_weights: Float[Tensor, " K"] | None = None


class TermConfig(Config):
    """What every term has."""

    weight: float = Field(1.0, ge=0, description="its share of the loss; 0 leaves it out")

    @abc.abstractmethod
    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """The parts of the term by name (often one, often one a sensor), before the weight; they are added up."""


class Intra(TermConfig):
    """SimCLR within each sensor: two views of a place find each other among all views (MoSAiC eq. 1-2, NT-Xent).

    The sum over sensors; a sensor counts the places where it is seen. The temperature is ours: MoSAiC states none.
    """

    kind: Literal["intra"] = "intra"
    temperature: float = Field(0.1, gt=0)

    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """One value a sensor."""
        from landweave.losses import nt_xent

        return {
            name: nt_xent(found.first[name][rows], found.second[name][rows], temperature=self.temperature)
            for name, rows in sorted(found.seen.items())
        }


class Inter(TermConfig):
    """Contrast between sensors over the first view: the images of a place find each other (MoSAiC eq. 3).

    `ntxent` takes negatives from both sensors (D-SimCLR, IaI-SimCLR), `cross` from the other sensor only (the
    literal text of MoSAiC). The sum over pairs of sensors, at the places where both are seen.
    """

    kind: Literal["inter"] = "inter"
    form: Literal["ntxent", "cross"] = "ntxent"
    temperature: float = Field(0.1, gt=0)

    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """One value a pair of sensors."""
        from landweave.losses import inter_cross, nt_xent

        loss = nt_xent if self.form == "ntxent" else inter_cross
        out = {}
        for a, b in combinations(sorted(found.first), 2):
            rows = found.seen[a] & found.seen[b]
            out[f"{a}+{b}"] = loss(found.first[a][rows], found.first[b][rows], temperature=self.temperature)
        return out


class MulSupCon(TermConfig):
    """Multi-label supervised contrast (Zhang & Wu 2024) of the fused embedding, or of each sensor by itself.

    `of=fused` is MoSAiC eq. 6: [z1, z2] put side by side, one row a place and view. `of=each` is eq. 7-8: one sum a
    sensor. The paper leaves open what follows; the readings that we took, and the settings that take the others:

    - `views=both` (2 rows a place, so that every label has a positive) or `first`;
    - `normalise=together`: side by side, then of unit length; `each`: each sensor of unit length first, which
      averages the cosines of the sensors;
    - a sensor absent at a place adds zeros to its fused row, which then is that of the other sensors;
    - a single label a place counts as a set of one, which makes this SupCon;
    - a place of unknown labels pulls nothing, but is a negative of the others;
    - the temperature 0.1 is that of MulSupCon's own code.
    """

    kind: Literal["mulsupcon"] = "mulsupcon"
    of: Literal["fused", "each"] = "fused"
    views: Literal["both", "first"] = "both"
    normalise: Literal["together", "each"] = "together"
    temperature: float = Field(0.1, gt=0)

    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """One value, or one a sensor."""
        import torch

        names = sorted(found.first)
        if self.of == "each":
            return {n: self._value([n], found, found.seen[n]) for n in names}
        return {"": self._value(names, found, torch.stack([found.seen[n] for n in names]).any(0))}

    def _value(self, names: Sequence[str], found: Embedded, rows: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
        import torch

        from landweave.losses import mul_sup_con

        labels, known = label_sets(found.label)
        views = [found.first, found.second] if self.views == "both" else [found.first]
        z = torch.cat([self._side_by_side(view, names, found)[rows] for view in views])
        y, k = labels[rows].repeat(len(views), 1), known[rows].repeat(len(views), 1)
        return mul_sup_con(z, y, temperature=self.temperature, known=k).loss

    def _side_by_side(self, view: dict[str, Tensor], names: Sequence[str], found: Embedded) -> Float[Tensor, "B P"]:
        import torch
        import torch.nn.functional as F

        parts = [view[n] * found.seen[n][:, None] for n in names]
        return torch.cat([F.normalize(p, dim=1) for p in parts] if self.normalise == "each" else parts, 1)


class Supervised(TermConfig):
    """The classifier g_c on the features of the first view, side by side (MoSAiC eq. 9-10).

    Binary cross-entropy for a set of classes a place; cross-entropy for one class a place, which the paper does not
    spell out. Unknown labels count nothing.
    """

    kind: Literal["supervised"] = "supervised"

    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """One value."""
        from landweave.losses import supervised_loss

        return {"": supervised_loss(found.logits, found.label, weights=found.class_weights)}


Term = Annotated[Intra | Inter | MulSupCon | Supervised, Field(discriminator="kind")]


def label_sets(label: Label) -> tuple[Int[Tensor, "B K"], Bool[Tensor, "B K"]]:
    """Labels of places as 0/1 sets, and what is known of them; a single class is a set of one."""
    import torch.nn.functional as F

    if label.kind == "multilabel":
        return label.values, label.known
    K = len(label.legend)
    values = F.one_hot(label.values.masked_fill(~label.known, 0), K)
    return values, label.known[:, None].expand(-1, K)


def weighted_sum(terms: dict[str, Term], found: Embedded) -> dict[str, Float[Tensor, ""]]:
    """The value of every term by name, `NAME.PART` where it has parts, and `loss`, the weighted sum."""
    out: dict[str, Tensor] = {}
    loss = found.logits.sum() * 0
    for name, term in terms.items():
        if term.weight == 0:
            continue
        for part, value in term.values(found).items():
            out[f"{name}.{part}" if part else name] = value
            loss = loss + term.weight * value
    return {**out, "loss": loss}
