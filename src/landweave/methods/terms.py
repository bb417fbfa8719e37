"""Terms of a contrastive method: each a loss on named embeddings of named views, with a weight.

A method is a sum of terms, so the methods of the papers are lists of these and need no code:

    Intra-SimCLR  intra                                     IaI-SimCLR  intra + inter
    MoSAiC-1      intra + mulsupcon(fused) + supervised     MoSAiC-2    inter(cross) + mulsupcon(each) + supervised
    D-SimCLR      inter, one view                           MMA         dense, one view
    SimCLR        intra on one sensor                       SupCon      mulsupcon(fused) + supervised, one class a place

A term sees the places of all processes, and those at which its sensors are seen in all its views.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from landweave.config import Config
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.methods.embedded import Embedded, Part, label_sets

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Names = tuple[str, ...]


class TermConfig(Config):
    """What every term has."""

    needs: ClassVar[frozenset[Part]]
    """What it looks at."""
    between: ClassVar[bool] = False
    """Whether it compares sensors, and so needs two."""

    weight: float = Field(1.0, ge=0, description="its share of the loss; 0 leaves it out")
    views: Names = Field(("a",), min_length=1, description="the views that it looks at")
    sensors: Names = Field((), description="the sensors that it looks at; all by default")

    @field_validator("views", "sensors")
    @classmethod
    def _once(cls, names: Names) -> Names:
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(names)}: a name stands twice")
        return names

    @property
    def parts(self) -> frozenset[Part]:
        """What it looks at, with these settings."""
        return self.needs

    def reading(self) -> str:
        """The term as one line: `1 x inter(form=cross, temperature=0.1) of view a`."""
        own = {k: v for k, v in self.model_dump().items() if k not in ("kind", "weight", "views", "sensors")}
        options = ", ".join(f"{k}={v}" for k, v in own.items())
        whose = f" of {', '.join(self.sensors)}" if self.sensors else ""
        views = f"view{'s' * (len(self.views) > 1)} {' and '.join(self.views)}"
        return f"{self.weight:g} x {self.model_dump()['kind']}{f'({options})' if options else ''} of {views}{whose}"

    @abc.abstractmethod
    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """The parts of the term by name (often one, often one a sensor), before the weight; they are added up."""

    def fit(self, sensors: Sequence[str], where: str) -> None:
        """Refuse what the sensors of a model cannot give.

        Raises:
            ConfigError: a sensor that is not there, or fewer than two for a term between sensors.
        """
        for name in self.sensors:
            if name not in sensors:
                raise ConfigError(
                    f"no sensor `{name}`{did_you_mean(name, sensors)}; there are {listed(sensors)}",
                    where=f"{where}.sensors",
                    fix="name sensors of data.streams, or leave `sensors` out for all",
                )
        if self.between and len(self._of(sensors)) < 2:
            raise ConfigError(
                f"it compares sensors, and has {listed(self._of(sensors)) or 'none'} only",
                where=where,
                fix=f"choose two sensors in data.streams, or set {where}.weight=0",
            )

    def _of(self, sensors: Sequence[str]) -> list[str]:
        return sorted(self.sensors or sensors)


class Projected(TermConfig):
    """A term on embeddings z, which a projection head gives."""

    needs: ClassVar[frozenset[Part]] = frozenset({"embeddings"})

    head: str = Field("main", description="the projection head whose embeddings it looks at")

    def _z(self, found: Embedded, view: str, sensor: str) -> Float[Tensor, "B P"]:
        return found.views[view].embeddings[self.head][sensor]


class Intra(Projected):
    """SimCLR within each sensor: two views of a place find each other among all views (MoSAiC eq. 1-2, NT-Xent).

    The sum over sensors; a sensor counts the places where it is seen in both views. The temperature is ours: MoSAiC
    states none.
    """

    kind: Literal["intra"] = "intra"
    views: Names = Field(("a", "b"), min_length=2, max_length=2, description="the two views of a place")
    temperature: float = Field(0.1, gt=0)

    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """One value a sensor."""
        from landweave.losses import nt_xent

        out = {}
        for name in self._of(found.sensors):
            rows = found.seen(self.views, name)
            a, b = (self._z(found, view, name)[rows] for view in self.views)
            out[name] = nt_xent(a, b, temperature=self.temperature)
        return out


class Between(TermConfig):
    """A term between sensors: the sum over pairs of sensors of the mean over its views, where both are seen."""

    between: ClassVar[bool] = True

    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """One value a pair of sensors."""
        return {
            f"{a}+{b}": _mean(self._pair(found, view, a, b, found.seen([view], a, b)) for view in self.views)
            for a, b in combinations(self._of(found.sensors), 2)
        }

    @abc.abstractmethod
    def _pair(self, found: Embedded, view: str, a: str, b: str, rows: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
        """The value of two sensors in one view, over the places of `rows`."""


class Inter(Between, Projected):
    """Contrast between sensors: the images that two of them took of a place find each other (MoSAiC eq. 3).

    `ntxent` takes negatives from both sensors (D-SimCLR, IaI-SimCLR), `cross` from the other sensor only (the
    literal text of MoSAiC-2).
    """

    kind: Literal["inter"] = "inter"
    form: Literal["ntxent", "cross"] = Field("ntxent", description="negatives from both sensors, or from the other")
    temperature: float = Field(0.1, gt=0)

    def _pair(self, found: Embedded, view: str, a: str, b: str, rows: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
        from landweave.losses import inter_cross, nt_xent

        loss = nt_xent if self.form == "ntxent" else inter_cross
        x, y = self._z(found, view, a)[rows], self._z(found, view, b)[rows]
        return loss(x, y, temperature=self.temperature)


class Clip(Between, Projected):
    """`inter` in the form `cross` with a temperature that is learned with the weights (Radford et al. 2021, CLIP).

    The model then holds log(1 / temperature) under the name of the term, kept at most log 100 as in CLIP.
    """

    kind: Literal["clip"] = "clip"
    temperature: float = Field(0.07, ge=0.01, description="at the start; CLIP's own value")
    learn: bool = Field(True, description="false: the temperature stays as it is")

    def _pair(self, found: Embedded, view: str, a: str, b: str, rows: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
        from landweave.losses import clip

        scale = 1 / self.temperature if found.scale is None else found.scale
        return clip(self._z(found, view, a)[rows], self._z(found, view, b)[rows], scale=scale)


class Dense(Between):
    """The dense alignment of MMA (Windsor et al., MICCAI 2021): the last feature maps of two sensors fit each other.

    Of small maps of one place each finds its place in the larger one; see `landweave.losses.dense_alignment`. The
    temperature is the published one.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"maps"})

    kind: Literal["dense"] = "dense"
    temperature: float = Field(0.005, gt=0)

    def _pair(self, found: Embedded, view: str, a: str, b: str, rows: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
        from landweave.losses import dense_alignment

        maps = found.views[view].maps
        return dense_alignment(maps[a][rows], maps[b][rows], temperature=self.temperature)


class OfRows(Projected):
    """A term on rows that any number of views and sensors give: the fused embedding, or each sensor by itself."""

    views: Names = Field(("a", "b"), min_length=1, description="a row a place and view")
    of: Literal["fused", "each"] = Field("fused", description="sensors side by side, or each by itself, added up")
    normalise: Literal["together", "each"] = Field("together", description="unit length after, or before, fusing")

    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """One value, or one a sensor."""
        import torch

        names = self._of(found.sensors)
        seen = {n: found.seen(self.views, n) for n in names}
        if self.of == "each":
            return {n: self._value(self._stacked(found, {n: seen[n]}, seen[n]), found, seen[n]) for n in names}
        rows = torch.stack(list(seen.values())).any(0)
        return {"": self._value(self._stacked(found, seen, rows), found, rows)}

    @abc.abstractmethod
    def _value(self, z: Float[Tensor, "N P"], found: Embedded, rows: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
        """The loss of the rows z: those places of `rows` in the first view, then in the next."""

    def _stacked(
        self, found: Embedded, seen: Mapping[str, Bool[Tensor, " B"]], rows: Bool[Tensor, " B"]
    ) -> Float[Tensor, "N P"]:
        """The embeddings of these sensors side by side, 0 where one is not seen, view after view."""
        import torch
        import torch.nn.functional as F

        out = []
        for view in self.views:
            parts = [torch.where(s[:, None], self._z(found, view, n), 0)[rows] for n, s in seen.items()]
            out.append(torch.cat([F.normalize(p, dim=1) for p in parts] if self.normalise == "each" else parts, 1))
        return torch.cat(out)

    def _labels(self, found: Embedded, rows: Bool[Tensor, " B"]) -> tuple[Tensor, Tensor]:
        """Label sets of the rows, and what is known of them."""
        labels, known = label_sets(found.label)
        count = len(self.views)
        return labels[rows].repeat(count, 1), known[rows].repeat(count, 1)


class MulSupCon(OfRows):
    """Multi-label supervised contrast (Zhang & Wu 2024) of the fused embedding, or of each sensor by itself.

    `of=fused` is MoSAiC eq. 6: [z1, z2] put side by side, one row a place and view. `of=each` is eq. 7-8: one sum a
    sensor. The paper leaves open what follows; the readings that we took, and the settings that take the others:

    - `views=[a, b]` (2 rows a place, so that every label has a positive), or one of them;
    - `normalise=together`: side by side, then of unit length; `each`: each sensor of unit length first, which
      averages the cosines of the sensors;
    - a sensor absent at a place adds zeros to its fused row, which then is that of the other sensors;
    - a single label a place counts as a set of one, which makes this SupCon (Khosla et al. 2020);
    - a place of unknown labels pulls nothing, but is a negative of the others;
    - the temperature 0.1 is that of MulSupCon's own code.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"embeddings", "labels"})

    kind: Literal["mulsupcon"] = "mulsupcon"
    temperature: float = Field(0.1, gt=0)
    reduction: Literal["pairs", "anchors"] = Field("pairs", description="what the mean is over; see losses.mul_sup_con")

    def _value(self, z: Float[Tensor, "N P"], found: Embedded, rows: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
        from landweave.losses import mul_sup_con

        labels, known = self._labels(found, rows)
        return mul_sup_con(z, labels, temperature=self.temperature, known=known, reduction=self.reduction).loss


class Soft(OfRows):
    """Soft positives: a place is pulled towards all others by how alike they are. This term is ours.

    MoSAiC and IaI-SimCLR push every other place away, however like it is, and name this a limit. Here likeness is
    the cosine of label sets (`by=labels`), or of the features h themselves (`by=features`: what of them lies above
    the mean of the batch, without gradient), which needs no label. See `landweave.losses.soft_con`. Views, fusing
    and absent sensors are as in `MulSupCon`.
    """

    kind: Literal["soft"] = "soft"
    by: Literal["labels", "features"] = Field("labels", description="what likeness is judged by")
    temperature: float = Field(0.1, gt=0)

    @property
    def parts(self) -> frozenset[Part]:
        """Embeddings, and what likeness is judged by."""
        return frozenset[Part](("embeddings", self.by))

    def _value(self, z: Float[Tensor, "N P"], found: Embedded, rows: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
        from landweave.losses import soft_con

        alike, known = self._labels(found, rows) if self.by == "labels" else (self._features(found, rows), None)
        return soft_con(z, alike, temperature=self.temperature, known=known).loss

    def _features(self, found: Embedded, rows: Bool[Tensor, " B"]) -> Float[Tensor, "N D"]:
        """The features of all sensors of the term side by side, above their mean; 0 where one is not seen."""
        import torch
        import torch.nn.functional as F

        sides = []
        for name in self._of(found.sensors):
            seen = found.seen(self.views, name)[rows].repeat(len(self.views))
            h = torch.cat([found.views[view].features[name][rows] for view in self.views]).detach()
            mean = h[seen].mean(0) if bool(seen.any()) else 0
            sides.append(torch.where(seen[:, None], F.normalize((h - mean).relu(), dim=1), 0))
        return torch.cat(sides, 1)


class Supervised(TermConfig):
    """The classifier g_c on the features of a view, side by side (MoSAiC eq. 9-10); the mean over its views.

    Binary cross-entropy for a set of classes a place; cross-entropy for one class a place, which the paper does not
    spell out. Unknown labels count nothing.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"logits", "labels"})

    kind: Literal["supervised"] = "supervised"
    sensors: tuple[()] = Field((), description="none may be named: the classifier reads all")

    def values(self, found: Embedded) -> dict[str, Float[Tensor, ""]]:
        """One value."""
        from landweave.losses import supervised_loss

        weights = found.class_weights
        return {"": _mean(supervised_loss(found.views[v].logits, found.label, weights=weights) for v in self.views)}


Term = Annotated[Intra | Inter | Clip | MulSupCon | Soft | Dense | Supervised, Field(discriminator="kind")]
"""Any term, told by `kind`."""


def active(terms: Mapping[str, Term]) -> dict[str, Term]:
    """The terms whose weight is not 0."""
    return {name: term for name, term in terms.items() if term.weight > 0}


def weighted_sum(
    terms: Mapping[str, Term], found: Embedded, *, scales: Mapping[str, Float[Tensor, ""]] | None = None
) -> dict[str, Float[Tensor, ""]]:
    """The value of every term by name, `NAME.PART` where it has parts, and `loss`, the weighted sum.

    Args:
        terms: name -> term; those of weight 0 are left out.
        found: the views of a batch, in this process; each term sees the rows of all processes.
        scales: learned 1 / temperature by name of term.
    """
    used = active(terms)
    found = found.of_all(frozenset[Part]().union(*(term.parts for term in used.values())))
    out: dict[str, Tensor] = {}
    loss: Tensor | None = None
    for name, term in used.items():
        for part, value in term.values(replace(found, scale=(scales or {}).get(name))).items():
            out[f"{name}.{part}" if part else name] = value
            loss = term.weight * value + (0 if loss is None else loss)
    if loss is None:
        raise ValueError("no term has a value")
    return {**out, "loss": loss}


def _mean(values: Iterator[Tensor]) -> Float[Tensor, ""]:
    found = list(values)
    return found[0] if len(found) == 1 else sum(found[1:], found[0]) / len(found)
