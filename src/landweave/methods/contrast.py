"""Contrastive methods: two augmented views of each place, an encoder and a projection head a sensor, a sum of terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from landweave.contract import Contract
from landweave.methods.base import MethodConfig
from landweave.methods.terms import Embedded, Intra, MulSupCon, Supervised, Term, weighted_sum
from landweave.nn.config import Encoder, Projection
from landweave.sample import Batch, LabelKind
from landweave.transforms import CONTRASTIVE, Augment

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from landweave.data.dataset import Task
    from landweave.nn.model import Model
    from landweave.sample import Label


class Contrast(MethodConfig):
    """What contrastive methods share; one of them is a choice of default `terms`.

    In a recipe `terms` changes the method's own: `terms: {msc: {weight: 0.5}}` keeps the rest as it is, a weight of 0
    leaves a term out, and a new name (with its `kind`) adds one.
    """

    kinds: ClassVar[tuple[LabelKind, ...]] = ("class", "multilabel")
    encoder: Encoder = Encoder(name="resnet34")
    augment: Augment = CONTRASTIVE
    projection: Projection = Projection()
    terms: dict[str, Term] = Field({}, description="name -> term")
    unlabelled: Literal["none", "rest"] = Field(
        "none", description="none: places of unknown label are left out; rest: they count in terms that need no label"
    )

    @field_validator("terms", mode="before")
    @classmethod
    def _on_top(cls, given: Any) -> Any:
        """Lay what is given on the method's own terms."""
        if not isinstance(given, Mapping):
            return given
        own = {name: term.model_dump() for name, term in cls.model_fields["terms"].default.items()}
        for name, change in given.items():
            old = own.get(name, {})
            merges = isinstance(change, Mapping) and change.get("kind", old.get("kind")) == old.get("kind")
            own[name] = {**old, **change} if merges else change
        return own

    def build(self, contract: Contract, task: Task) -> Model:
        """A `SceneModel` with a projection head a sensor. See `MethodConfig.build`."""
        from landweave.nn.model import SceneModel

        self._require(task, str(getattr(self, "kind", "this method")))
        heads = {"main": self.projection}
        return SceneModel(contract, self.encoder, self.fusion, classes=len(task.legend), heads=heads)

    def loss(
        self,
        model: Model,
        cubes: Batch,
        task: str,
        *,
        key: Sequence[int],
        class_weights: Float[Tensor, " K"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Every term, `NAME.SENSOR` where it is one a sensor, and `loss`. See `MethodConfig.loss`.

        A batch in which no place has a known label gives a loss of 0, with a gradient of 0, under `unlabelled=none`.
        """
        if self.unlabelled == "none":
            cubes = _of_rows(cubes, _any_known(cubes.labels[task]))
        if not len(cubes):
            return {"loss": sum((p.sum() * 0 for p in model.parameters()), next(model.parameters()).new_zeros(()))}
        one, two = self._views(cubes, key, 2)
        a, b = model(one), model(two)
        seen = {n: a.seen[n] & b.seen[n] for n in a.seen}
        found = Embedded(a.embeddings["main"], b.embeddings["main"], seen, a.logits, one.labels[task], class_weights)
        return weighted_sum(self.terms, found)


class Mosaic1(Contrast):
    """MoSAiC-1 (Gupta et al., section 4.4): contrast within each sensor, and between labels over all of them.

        L = sum_s L_intra(s) + L_msc([z_1, z_2, ...], y) + L_bce(g_c([h_1, h_2, ...]), y)

    All weights are 1. There is no term between sensors. The paper: ResNet-34 encoders, a projection head of two
    layers, g_c one linear layer, two sensors. Ours, since the paper states none: the temperatures (0.1), the sizes of
    the head, the augmentations, and whatever `MulSupCon` lists. Any number of sensors, and single labels, work alike.
    With `unlabelled=none`, as in the paper's table 1, nobody sees the places of unknown label.
    """

    kind: Literal["mosaic-1"] = "mosaic-1"
    terms: dict[str, Term] = Field(
        {"intra": Intra(), "msc": MulSupCon(), "supervised": Supervised()}, description="name -> term"
    )


def _any_known(label: Label) -> Bool[Tensor, " B"]:
    return label.known.any(1) if label.known.ndim > 1 else label.known


def _of_rows(batch: Batch, rows: Bool[Tensor, " B"]) -> Batch:
    """The places of a batch at which `rows` is True."""
    if bool(rows.all()):
        return batch
    at = rows.nonzero().flatten()
    kept = at.tolist()
    less = batch.map(lambda t: t[at])
    images = {k: replace(v, grid=_pick(v.grid, kept)) for k, v in less.images.items()}
    labels = {k: replace(v, grid=_pick(v.grid, kept)) for k, v in less.labels.items()}
    return replace(
        less,
        images=images,
        labels=labels,
        names=tuple(batch.names[i] for i in kept),
        groups=tuple(batch.groups[i] for i in kept),
    )


def _pick(grids: Any, kept: Sequence[int]) -> Any:
    return tuple(grids[i] for i in kept) if isinstance(grids, tuple) else grids
