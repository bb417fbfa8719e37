"""What the terms of a contrastive method look at: the embeddings of named views, of the places of all processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from landweave.nn.model import Outputs
    from landweave.sample import Label

Part = Literal["embeddings", "logits", "features", "maps", "labels"]
"""What a term may look at."""


@dataclass(frozen=True)
class View:
    """What the model made of one view of a batch. `seen` says at which places a sensor was encoded.

    Embeddings z are by head, then by sensor; features h and the last feature maps by sensor. Rows of places where a
    sensor is not seen mean nothing.
    """

    logits: Float[Tensor, "B K"]
    seen: dict[str, Bool[Tensor, " B"]]
    embeddings: dict[str, dict[str, Float[Tensor, "B P"]]] = field(default_factory=dict)
    features: dict[str, Float[Tensor, "B D"]] = field(default_factory=dict)
    maps: dict[str, Float[Tensor, "B C h w"]] = field(default_factory=dict)

    @classmethod
    def of(cls, out: Outputs) -> View:
        """From a forward pass of a `SceneModel`."""
        return cls(out.logits, out.seen, out.embeddings, out.features, out.maps)

    def of_all(self, parts: Iterable[Part]) -> View:
        """The rows of all processes, of those parts that are looked at; the others are left out."""
        from landweave.losses import gather

        return View(
            gather(self.logits) if "logits" in parts else self.logits,
            {n: gather(s) for n, s in self.seen.items()},
            {h: _gathered(z) for h, z in self.embeddings.items()} if "embeddings" in parts else {},
            _gathered(self.features) if "features" in parts else {},
            _gathered(self.maps) if "maps" in parts else {},
        )


@dataclass(frozen=True)
class Embedded:
    """Views of one batch by name, with the labels of its places.

    `scale` is the learned 1 / temperature of the term that looks, where it has one.
    """

    views: Mapping[str, View]
    label: Label
    class_weights: Float[Tensor, " K"] | None = None
    scale: Float[Tensor, ""] | None = None

    @property
    def sensors(self) -> list[str]:
        """Names of what was encoded (`early` under early fusion), in the order of terms."""
        return sorted(next(iter(self.views.values())).seen)

    def seen(self, views: Sequence[str], *sensors: str) -> Bool[Tensor, " B"]:
        """Places at which each of these sensors was encoded in each of these views."""
        return reduce(lambda a, b: a & b, [self.views[v].seen[s] for v in views for s in sensors])

    def of_all(self, parts: Iterable[Part]) -> Embedded:
        """The rows of all processes, one after the other, with gradients to where they came from.

        A term of these is the term of the joint batch, so that several processes learn as one does. Without
        processes it is the same batch.
        """
        from landweave.losses import gather

        views = {name: view.of_all(parts) for name, view in self.views.items()}
        if not {"labels", "logits"} & set(parts):
            return replace(self, views=views)
        label = replace(self.label, values=gather(self.label.values), known=gather(self.label.known), grid=None)
        return replace(self, views=views, label=label)


def _gathered(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from landweave.losses import gather

    return {n: gather(z) for n, z in rows.items()}


def label_sets(label: Label) -> tuple[Int[Tensor, "B K"], Bool[Tensor, "B K"]]:
    """Labels of places as 0/1 sets, and what is known of them; a single class is a set of one."""
    import torch.nn.functional as F

    if label.kind == "multilabel":
        return label.values, label.known
    K = len(label.legend)
    values = F.one_hot(label.values.masked_fill(~label.known, 0), K)
    return values, label.known[:, None].expand(-1, K)
