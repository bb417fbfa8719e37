"""Contrastive methods: named views of each place, named projection heads, and a sum of terms on what they give.

All of it is data, so a recipe composes a method; those of the papers stand in `landweave/recipes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_serializer, field_validator

from landweave.config import fault_at
from landweave.contract import Contract
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.legends import Legend
from landweave.methods.base import MethodConfig
from landweave.methods.embedded import Embedded, Part, View
from landweave.methods.terms import Clip, Term, active, weighted_sum
from landweave.nn.config import Encoder, Projection
from landweave.sample import Batch, Label, LabelKind
from landweave.transforms import CONTRASTIVE, Augment

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from landweave.data.dataset import Task
    from landweave.methods.base import ClassWeights
    from landweave.nn.model import Model

LARGEST_SCALE = 100.0
"""Of a learned 1 / temperature (Radford et al. 2021, section 2.5)."""


def _two() -> Any:
    """Two views drawn alike, `a` and `b`; still without what `augment` gives them."""
    return {"a": {}, "b": {}}


class Contrast(MethodConfig):
    """A sum of terms on embeddings of views.

    Each view is drawn by its own `Augment`, laid on `augment`: `views: {a: {}, b: {blur: 0}}`. Only views and heads
    that a term with a weight names are computed. Without a `supervised` term it is a pretraining: it ends with
    encoders, and no classifier.

    With `unlabelled=none`, as in MoSAiC's table 1, nobody sees the places of unknown label; with `rest` they count in
    the terms that need no label. Either way only places of the training split are read.
    """

    kinds: ClassVar[tuple[LabelKind, ...]] = ("class", "multilabel")
    kind: Literal["contrast"] = "contrast"
    encoder: Encoder = Encoder(name="resnet34")
    augment: Augment = Field(CONTRASTIVE, description="what every view is drawn with, unless it says otherwise")
    views: dict[str, Augment] = Field(default_factory=_two, description="name -> what differs from `augment`")
    heads: dict[str, Projection] = Field({"main": Projection()}, description="name -> projection head, one a sensor")
    terms: dict[str, Term] = Field(description="name -> term")
    unlabelled: Literal["none", "rest"] = Field(
        "none", description="none: places of unknown label are left out; rest: they count in terms that need no label"
    )

    @field_validator("views", mode="before")
    @classmethod
    def _on_augment(cls, given: Any, info: ValidationInfo) -> Any:
        """Lay each view on `augment`."""
        base = info.data.get("augment")
        if base is None or not isinstance(given, Mapping):
            return given
        own = base.model_dump()
        return {name: {**own, **change} if isinstance(change, Mapping) else change for name, change in given.items()}

    @field_serializer("views")
    def _differences(self, views: dict[str, Augment]) -> dict[str, Any]:
        """What differs from `augment`, so that a change of `augment` in a kept recipe reaches its views."""
        own = self.augment.model_dump()
        return {name: {k: v for k, v in view.model_dump().items() if v != own[k]} for name, view in views.items()}

    @field_validator("terms")
    @classmethod
    def _names_are_known(cls, terms: dict[str, Term], info: ValidationInfo) -> dict[str, Term]:
        """Refuse views and heads that nobody defined, before anything heavy is loaded."""
        if not active(terms):
            raise ValueError("no term has a weight; a method needs at least one")
        for name, term in terms.items():
            if name == "loss" or "." in name:
                raise fault_at([name], "no name of a term: names have no dot, and `loss` is the sum")
            for view in term.views:
                _known(view, info.data.get("views"), (name, "views"), f"term `{name}` looks at view", "views")
            head = getattr(term, "head", None)
            if head is not None:
                _known(head, info.data.get("heads"), (name, "head"), f"term `{name}` looks at head", "heads")
            if term.between and term.weight and getattr(info.data.get("fusion"), "kind", "") == "early":
                raise fault_at([name], "it compares sensors, and fusion.kind=early makes one image of them")
        return terms

    @property
    def classifier(self) -> bool:
        """Whether a term teaches the classifier; without one the method is a pretraining."""
        return any("logits" in term.parts for term in active(self.terms).values())

    @property
    def learns_labels(self) -> bool:
        """Whether a term looks at labels."""
        return "labels" in self.needs

    @property
    def needs(self) -> frozenset[Part]:
        """What the terms look at."""
        return frozenset[Part]().union(*(term.parts for term in active(self.terms).values()))

    def lines(self, sensors: Sequence[str]) -> Sequence[str]:
        """Each term with the readings that it takes."""
        return [f"{name} = {term.reading()}" for name, term in active(self.terms).items()]

    def require(self, sensors: Sequence[str]) -> None:
        """Refuse what the sensors cannot give to a term with a weight. See `MethodConfig.require`.

        Raises:
            ConfigError: a term names a sensor that is not there, or compares sensors where there is one.
        """
        super().require(sensors)
        there = ["early"] if self.fusion.kind == "early" else list(sensors)
        for name, term in active(self.terms).items():
            term.fit(there, f"method.terms.{name}")

    def build(self, contract: Contract, task: Task) -> Model:
        """A `SceneModel` with the projection heads that terms name. See `MethodConfig.build`.

        Raises:
            ConfigError: a term names a sensor that is not there, or compares sensors where there is one.
        """
        import torch

        from landweave.nn.model import SceneModel

        if self.learns_labels:
            self._require(task, self.kind)
        terms = active(self.terms)
        self.require(sorted(contract.streams))
        named = {getattr(term, "head", None) for term in terms.values()}
        model = SceneModel(
            contract,
            self.encoder,
            self.fusion,
            classes=max(1, len(task.legend)),  # a pretraining without labels has a classifier that nobody uses
            heads={name: head for name, head in self.heads.items() if name in named},
            maps="maps" in self.needs,
        )
        learned = {n: t.temperature for n, t in terms.items() if isinstance(t, Clip) and t.learn}
        if learned:
            logs = {name: torch.nn.Parameter(torch.tensor(-math.log(t))) for name, t in learned.items()}
            try:
                model.log_scales = torch.nn.ParameterDict(logs)
            except KeyError as error:  # `keys`, `update` and the like are its own
                where = f"method.terms, {listed(list(logs))}"
                raise ConfigError(str(error.args[0]), where=where, fix="give the term another name") from None
        return model

    def loss(
        self,
        model: Model,
        cubes: Batch,
        task: str,
        *,
        key: Sequence[int],
        class_weights: ClassWeights | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Every term, `NAME.PART` where it has parts, and `loss`. See `MethodConfig.loss`.

        A batch in which no place has a known label gives a loss of 0, with a gradient of 0, under `unlabelled=none`;
        so does any term of a batch of one place, but for `supervised`.
        """
        cubes, label = self._counted(cubes, task)
        logs = _log_scales(model)
        outs = {name: model(view) for name, view in self._named_views(cubes, key, model.contract).items()}
        found = weighted_sum(
            self.terms,
            Embedded({name: View.of(out) for name, out in outs.items()}, label, (class_weights or {}).get(task)),
            scales={name: log.exp() for name, log in logs.items()},
        )
        # what no term looked at stays in the graph, as several processes must agree on what has a gradient
        heads = [z for out in outs.values() for head in out.embeddings.values() for z in head.values()]
        idle = [*logs.values(), *heads, *(out.logits for out in outs.values())]
        return {**found, "loss": found["loss"] + sum((z.sum() * 0 for z in idle), found["loss"] * 0)}

    def _counted(self, cubes: Batch, task: str) -> tuple[Batch, Label]:
        """The places that count and their labels; the batch then carries none, and any geometry may move it."""
        label = cubes.labels.get(task)
        if label is None or (label.kind == "map" and not self.learns_labels):
            label = _nothing_said(cubes)
        elif self.unlabelled == "none":
            known = label.known.flatten(1).any(1) if label.known.ndim > 1 else label.known
            if bool(known.any()):
                cubes = _of_rows(cubes, known)
                label = cubes.labels[task]
            else:  # one place of which nothing is seen: terms of it are 0, and no process waits for another in vain
                cubes = _of_rows(cubes, _first(known))
                label = cubes.labels[task]
                cubes = replace(cubes, images={n: im.unseen() for n, im in cubes.images.items()})
        return replace(cubes, labels={}), label

    def _named_views(self, cubes: Batch, key: Sequence[int], contract: Contract | None = None) -> dict[str, Batch]:
        """The views that terms look at; what one gets does not depend on which others there are."""
        from landweave.nn.fusion import drop_sensors
        from landweave.transforms import augment

        cubes = drop_sensors(cubes, self.sensor_dropout, key)
        named = {view for term in active(self.terms).values() for view in term.views}
        order = list(self.views)
        keys = {name: (*key, order.index(name)) for name in order if name in named}
        return {n: self._spoilt(augment(cubes, self.views[n], k), k, contract) for n, k in keys.items()}


def _known(name: str, known: Mapping[str, Any] | None, at: Sequence[str], what: str, field: str) -> None:
    if known is not None and name not in known:
        there = listed(list(known)) or "none"
        raise fault_at(at, f"{what} `{name}`{did_you_mean(name, list(known))}; in `{field}` there are {there}")


def _log_scales(model: Model) -> dict[str, Tensor]:
    """The learned scales, held at or below the largest: a clamp of what is made of them would end their gradient."""
    import torch

    held = dict(getattr(model, "log_scales", None) or {})
    with torch.no_grad():
        for log in held.values():
            log.clamp_(max=math.log(LARGEST_SCALE))
    return held


def _nothing_said(cubes: Batch) -> Label:
    """A label of no class, for data without any, or with one that no term looks at."""
    import torch

    none = torch.zeros(len(cubes), 0)
    return Label("multilabel", none.byte(), none.bool(), Legend("none", ()))


def _first(rows: Bool[Tensor, " B"]) -> Bool[Tensor, " B"]:
    import torch

    return torch.arange(len(rows), device=rows.device) == 0


def _of_rows(batch: Batch, rows: Bool[Tensor, " B"]) -> Batch:
    """The places of a batch at which `rows` is True."""
    if bool(rows.all()):
        return batch
    at = rows.nonzero().flatten()
    kept = at.tolist()
    less = batch.map(lambda t: t[at])
    images = {
        k: replace(v, grid=_pick(v.grid, kept), moved_from=_pick(v.moved_from, kept)) for k, v in less.images.items()
    }
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
