"""Adapting: a student learns to give for faulty images what its teacher gives for complete ones (Petcu 2024).

The teacher is a finished run (`start`), held as it is: in eval mode, without gradient, no part of what is trained or
kept. The student begins as its copy. Both see one augmented image, the student with faults, and the student is drawn
to what stands right below the teacher's head. The head (or decoder) is the teacher's and is never trained, so that
the student takes the teacher's place without a label: *drop-in*.

Beyond the paper: feature maps, so that segmentation gains too; a share of complete images in every batch, without which
the student forgets them; a random set of bands each time, for one encoder that serves all; the mask as an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from landweave.contract import Contract
from landweave.errors import ConfigError
from landweave.methods.base import MethodConfig, Start
from landweave.methods.match import Match, alignment, floors, matched
from landweave.nn.config import Decoder, Encoder, Head, Linear, Projection
from landweave.sample import Batch, LabelKind
from landweave.transforms.faults import Faults

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from landweave.data.dataset import Task
    from landweave.methods.base import ClassWeights
    from landweave.nn.model import Model, Targets


def _default_match() -> Any:
    """Squared error and contrast of the pooled features."""
    return {"mse": {"kind": "mse"}, "clip": {"kind": "clip"}}


class Adapt(MethodConfig):
    """A student of a run. What it does not say of encoder, fusion, head, heads and decoder is as in that run.

    Two things of the encoder may be unlike: `band_mask`, whose channels then begin with zero weights, and `fill`.
    Sensor dropout, like faults, is of the student alone. With `decoder` it is a segmentation.
    """

    kinds: ClassVar[tuple[LabelKind, ...]] = ("class", "multilabel", "map")
    kind: Literal["adapt"] = "adapt"
    unlabelled: Literal["none", "rest"] = Field(
        "rest", description="rest: learn from all places of the training split; none: from those of known label"
    )
    encoder: Encoder = Field(default_factory=Encoder, description="of the student; what is not said is the teacher's")
    head: Head = Linear()
    heads: dict[str, Projection] = Field({}, description="projection heads that on=projection looks at")
    decoder: Decoder | None = Field(None, description="of a segmentation")
    faults: Faults = Field(
        Faults(complete=0.2), description="of the student's images; `complete` is the share that it sees complete"
    )
    match: dict[str, Match] = Field(default_factory=_default_match, description="name -> what it is matched on")
    masks: int = Field(1, ge=1, le=16, description="faulty images of each complete one, each with faults of its own")
    train: Literal["full", "head"] = Field(
        "full",
        description="head: the encoder's last linear layer (encoder.width), its batch statistics and projection heads",
    )

    @field_validator("match")
    @classmethod
    def _some(cls, match: dict[str, Match]) -> dict[str, Match]:
        if not any(term.weight for term in match.values()):
            raise ValueError("no term has a weight; a student needs something to be matched on")
        for name in match:
            if name == "loss" or "." in name:
                raise ValueError(f"`{name}` cannot be the name of a term; names have no dot, and `loss` is the sum")
        return match

    @field_validator("faults")
    @classmethod
    def _faulty(cls, faults: Faults) -> Faults:
        if not faults:
            raise ValueError("the student would see what its teacher sees: name faults, with `complete` below 1")
        return faults

    @property
    def learns_labels(self) -> bool:
        """No: what it learns from is its teacher."""
        return False

    @property
    def teacher(self) -> bool:
        """Yes."""
        return True

    def lines(self, sensors: Sequence[str]) -> Sequence[str]:
        """The faults, and each term."""
        terms = [f"{name} = {term.reading()}" for name, term in self.match.items() if term.weight]
        return [*(f"faults: {line}" for line in self.faults.lines()), *terms]

    def build(self, contract: Contract, task: Task) -> Model:
        """A `SceneModel`, or with a decoder a `MapModel`. See `MethodConfig.build`.

        Raises:
            ConfigError: a term is matched on what the model does not give.
        """
        from landweave.nn.model import MapModel, SceneModel

        classes = max(1, len(task.legend))
        terms = {name: t for name, t in self.match.items() if t.weight}
        if self.decoder is not None:
            mapper = MapModel(contract, self.encoder, self.fusion, decoder=self.decoder, classes=classes)
            for name, term in terms.items():
                term.fit([], list(mapper.read), f"method.match.{name}")
            return mapper
        for name, term in terms.items():
            term.fit(list(self.heads), [], f"method.match.{name}")
        return SceneModel(
            contract,
            self.encoder,
            self.fusion,
            classes=classes,
            head=self.head,
            heads=self.heads,
            maps=any(t.on == "maps" for t in terms.values()),
        )

    def attach(self, model: Model, start: Start) -> None:
        """Let the student begin as its teacher, and keep the teacher beside it. See `MethodConfig.attach`.

        Raises:
            RunError: the student is another network than its teacher.
            ConfigError: train=head, and there is no such layer.
        """
        from landweave.nn.model import Frozen
        from landweave.nn.weights import load_whole

        load_whole(model, start.model.state_dict(), str(start.folder))
        for name, encoder in start.model.by_name.items():
            encoder.form = model.by_name[name].form  # a teacher gives its last map too, where it is looked at
        model.teacher = Frozen(start.model)
        learning = list(self._learning(model))
        if not any(True for m in learning for _ in m.parameters()):
            raise ConfigError(
                "train=head trains the last linear layer of the encoder or projection heads, and there is neither",
                where="method.train",
                fix="set method.train=full; or start with an encoder that has such a layer (encoder.width)",
            )
        model.requires_grad_(False)
        for module in learning:
            module.requires_grad_(True)

    def _learning(self, model: Model) -> Sequence[nn.Module]:
        """All but the head or decoder, or the last layers only."""
        if self.train == "full":
            return [module for name, module in model.named_children() if name != "head"]
        last = [e.net.get_classifier() for e in model.by_name.values() if e.settings.width and e.form != "pyramid"]
        return [*last, *(m for name, m in model.named_children() if name == "projections")]

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

        Raises:
            ValueError: the model has no teacher (`attach` gives it one).
        """
        from landweave.transforms import augment

        complete = augment(replace(cubes, labels={}), self.augment, (*key, 0))
        students, goal = self._both(model, complete, self.faults, key)
        found = matched(self.match, students, goal)
        # what no term looked at stays in the graph, as several processes must agree on what has a gradient
        idle = sum((part.value.sum() * 0 for s in students for part in s.parts), found["loss"] * 0)
        return {**found, "loss": found["loss"] + idle}

    def look(self, model: Model, cubes: Batch, task: str, *, key: Sequence[int]) -> dict[str, Float[Tensor, ""]]:
        """Terms, floors and alignment on images without augmentation, all of them faulty. See `MethodConfig.look`."""
        faults = self.faults.model_copy(update={"complete": 0.0})
        students, goal = self._both(model, replace(cubes, labels={}), faults, key)
        found = matched(self.match, students, goal)
        return {**found, **floors(self.match, goal, masks=self.masks), **alignment(students, goal)}

    def _both(self, model: Model, complete: Batch, faults: Faults, key: Sequence[int]) -> tuple[list[Targets], Targets]:
        """What the student makes of each faulty image, and the teacher of the complete one."""
        import torch

        from landweave.nn.fusion import drop_sensors
        from landweave.transforms.faults import spoil

        if model.teacher is None:
            raise ValueError("the model has no teacher: pass it through `attach`")
        with torch.no_grad():
            goal = model.teacher.beside(model).targets(complete)
        less = drop_sensors(complete, self.sensor_dropout, key)
        metres = {n: row.metres for n, row in model.contract.streams.items()}
        spoilt = [spoil(less, faults, (*key, m), metres=metres) for m in range(self.masks)]
        return [model.targets(view) for view in spoilt], goal
