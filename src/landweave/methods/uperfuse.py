"""UPerFuse (FLAIR-HUB, section V): maps of one or several tasks from sensors of one date and series.

    loss = sum over tasks t of  w_t ( L(Z_t, Y_t) + beta / |M| * sum over sensors m of L(Z_t^m, Y_t) )      (eq. 1-3)

L is cross-entropy over the pixels whose label is known; Z_t^m is what a branch makes of one sensor alone. Beyond the
paper: a branch learns at the places where its sensor is seen; a hierarchy of classes may count at every level; classes
may be left out of the loss by name; and each sensor has a chance of its own to be hidden in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from landweave.contract import Contract
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.legends import PARENTS, Legend
from landweave.methods.base import MethodConfig, Start
from landweave.nn.config import UTAE, Circumstances, Decoder, FuseStages, Series, Stages, UPerNetFlair
from landweave.sample import Batch, Label, LabelKind

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from landweave.data.dataset import Task
    from landweave.methods.base import ClassWeights
    from landweave.nn.model import Model, Outputs

MAIN = "main"
"""The main task in the network, whatever its label is called, so that weights go from one dataset to another."""
Weight = Annotated[float, Field(gt=0)]


class UPerFuse(MethodConfig):
    """Several labels from any sensors, in one network; see the head of this module.

    A series goes through `series`, a sensor of one date through `encoder`. `without` names classes that the loss of a
    task leaves out, as IGN does with "mixed crops"; they are learned by nobody, and may count in the scores all the
    same. The kept epoch is the one with the best `miou_paper` of the main task.
    """

    kinds: ClassVar[tuple[LabelKind, ...]] = ("map",)
    kind: Literal["uperfuse"] = "uperfuse"
    unlabelled: Literal["none"] = "none"
    series: Series = Field(UTAE(), description="what reads a sensor of several dates")
    fusion: FuseStages = Stages()
    decoder: Decoder = UPerNetFlair()
    circumstances: Circumstances = Field(Circumstances(), description="when and where, told to the network")
    tasks: dict[str, Weight] = Field({}, description="labels learned beside data.task, with their weights")
    task_weight: Weight = Field(1.0, description="weight of data.task")
    auxiliary: float = Field(0.0, ge=0, description="weight of the branches of single sensors (the paper's beta)")
    branches: tuple[str, ...] = Field((), description="sensors that have a branch; all by default")
    without: dict[str, tuple[str, ...]] = Field({}, description="classes left out of the loss, by task")
    hierarchy: float = Field(
        0.0, ge=0, description="how much each coarser level of a label counts beside it (lpis-2, lpis-3); 0: not at all"
    )
    freeze: bool = Field(False, description="leave the encoders as they start, in eval mode; the rest learns")

    @field_validator("tasks")
    @classmethod
    def _beside_the_main(cls, tasks: dict[str, float]) -> dict[str, float]:
        if MAIN in tasks:
            raise ValueError(f"`{MAIN}` is what the decoder of data.task is called; rename that label")
        return tasks

    @property
    def beside(self) -> Sequence[str]:
        """Those of `tasks`."""
        return tuple(self.tasks)

    @property
    def monitor(self) -> str:
        """The mean IoU of the paper."""
        return "miou_paper"

    def lines(self, sensors: Sequence[str]) -> Sequence[str]:
        """Tasks, branches and what is left out. See `MethodConfig.lines`."""
        tasks = [f"beside it `{name}`, weight {weight:g}" for name, weight in self.tasks.items()]
        branches = [f"a branch for {listed(self.branches) or 'each sensor'}, weight {self.auxiliary:g}"]
        if not self._branching(sensors):
            branches = [f"method.auxiliary={self.auxiliary:g} plays no part: a branch of the only sensor is the answer"]
        less = [f"`{task}` without {listed(names)}" for task, names in self.without.items()]
        return [*tasks, *(branches if self.auxiliary else ()), *less]

    def _branching(self, sensors: Sequence[str]) -> Sequence[str]:
        """The sensors that have a branch; none where there is one sensor, whose branch would learn the answer again."""
        return (self.branches or sensors) if self.auxiliary and len(sensors) > 1 else ()

    def require(self, sensors: Sequence[str]) -> None:
        """Refuse a branch of a sensor that is not there. See `MethodConfig.require`."""
        super().require(sensors)
        for name in self.branches:
            if name not in sensors:
                raise ConfigError(
                    f"no sensor `{name}`{did_you_mean(name, sensors)}; there are {listed(sensors)}",
                    where="method.branches",
                    fix="name sensors of data.streams, or leave `branches` out for all",
                )

    def require_tasks(self, tasks: Mapping[str, Task]) -> None:
        """Refuse labels that are no maps, and classes and levels that they have not. See `MethodConfig.require_tasks`.

        Raises:
            ConfigError: one of these.
        """
        for task in tasks.values():
            self._require(task, self.kind)
        for name, classes in self.without.items():
            if name not in tasks:
                raise ConfigError(
                    f"the run learns no `{name}`{did_you_mean(name, list(tasks))}; it learns {listed(list(tasks))}",
                    where="method.without",
                    fix="name data.task, or one of method.tasks",
                )
            for one in classes:
                names = tasks[name].legend.names
                if one not in names:
                    raise ConfigError(
                        f"`{name}` has no class `{one}`{did_you_mean(one, names)}",
                        where=f"method.without.{name}",
                        fix=f"use one of {listed(names, 20)}",
                    )
        if self.hierarchy and not any(levels_above(task.legend) for task in tasks.values()):
            raise ConfigError(
                f"no level stands above the classes of {listed(list(tasks))}",
                where="method.hierarchy",
                fix=f"learn {listed(list(PARENTS))}, or leave it at 0",
            )

    def build(self, contract: Contract, task: Task) -> Model:
        """A `UPerFuseModel`. See `MethodConfig.build`."""
        from landweave.nn.uperfuse import UPerFuseModel

        self._require(task, self.kind)
        learned = {MAIN: task, **{name: task.beside[name] for name in self.tasks}}
        sensors = sorted(contract.streams)
        model = UPerFuseModel(
            contract,
            self.encoder,
            self.series,
            fusion=self.fusion,
            decoder=self.decoder,
            classes={name: len(one.legend) for name, one in learned.items()},
            auxiliary=self._branching(sensors),
            circumstances=self.circumstances,
        )
        if self.freeze:
            model.freeze_encoders()
        return model

    def attach(self, model: Model, start: Start) -> None:
        """Begin with the encoders of a run; of one without U-TAE, as a contrastive one is, with its backbones.

        A series is then learned anew, unless it has a backbone too (`series.kind=mean`). Of a released file with all
        that it has. See `MethodConfig.attach`.
        """
        from landweave.nn.uperfuse import UPerFuseModel
        from landweave.nn.weights import load_each

        if start.folder.is_file():
            model.load_state_dict(start.model.state_dict())
        elif isinstance(start.model, UPerFuseModel):
            super().attach(model, start)
        else:
            load_each(model.by_name, start.model.encoder_state(), str(start.folder))

    def loss(
        self,
        model: Model,
        cubes: Batch,
        task: str,
        *,
        key: Sequence[int],
        class_weights: ClassWeights | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """`TASK` and `TASK.auxiliary` of each task, before their weights, and `loss`. See `MethodConfig.loss`."""
        view = self._view(cubes, key, model.contract)
        out: Outputs = model(view)
        found: dict[str, Tensor] = {}
        parts: list[Tensor] = []
        for name, weight in {task: self.task_weight, **self.tasks}.items():
            inner = MAIN if name == task else name
            label, counts = view.labels[name], self._counts(name, view.labels[name].legend, class_weights)
            found[name] = self._of(out.by_task[inner], label, counts)
            parts.append(weight * found[name])
            if out.auxiliary:
                branches = [
                    self._of(logits[inner], _where(label, out.seen[sensor]), counts)
                    for sensor, logits in out.auxiliary.items()
                ]
                found[f"{name}.auxiliary"] = sum(branches[1:], branches[0]) / len(branches)
                parts.append(weight * self.auxiliary * found[f"{name}.auxiliary"])
        return {**found, "loss": sum(parts[1:], parts[0])}

    def _of(self, logits: Tensor, label: Label, counts: Tensor | None) -> Float[Tensor, ""]:
        """The loss of one map of logits."""
        from landweave.losses import cross_entropy, hierarchical_cross_entropy

        above = levels_above(label.legend) if self.hierarchy else ()
        if above:
            return hierarchical_cross_entropy(logits, label, above, share=self.hierarchy, weights=counts)
        return cross_entropy(logits, label, weights=counts)

    def _counts(self, task: str, legend: Legend, weights: ClassWeights | None) -> Float[Tensor, " K"] | None:
        """How much each class of a task counts; 0 for those of `without`, None where all count alike."""
        import torch

        given, less = (weights or {}).get(task), self.without.get(task, ())
        if not less:
            return given
        kept = torch.tensor([name not in less for name in legend.names], dtype=torch.float32)
        return kept if given is None else given * kept.to(given)

    def predict(self, model: Model, cubes: Batch, kind: LabelKind) -> Float[Tensor, "B K H W"]:
        """Of the main task. See `MethodConfig.predict`."""
        return self._probabilities(model, cubes)[MAIN]

    def predict_tasks(
        self, model: Model, cubes: Batch, tasks: Mapping[str, Task]
    ) -> dict[str, Float[Tensor, "B K *HW"]]:
        """See `MethodConfig.predict_tasks`."""
        found, main = self._probabilities(model, cubes), next(iter(tasks))
        return {name: found[MAIN if name == main else name] for name in tasks}

    def _probabilities(self, model: Model, cubes: Batch) -> dict[str, Tensor]:
        import torch

        from landweave.nn.uperfuse import UPerFuseModel

        assert isinstance(model, UPerFuseModel)
        with torch.no_grad():
            return {name: logits.softmax(1) for name, logits in model.answer(cubes).items()}


def levels_above(legend: Legend) -> tuple[tuple[int, ...], ...]:
    """From fine to coarse, the parents of the classes of each level: of `lpis-3` in `lpis-2`, of these in `lpis-1`."""
    stem, _, level = legend.name.rpartition("-")
    if legend.name not in PARENTS:
        return ()
    return tuple(PARENTS[f"{stem}-{n}"] for n in range(int(level), 0, -1) if f"{stem}-{n}" in PARENTS)


def _where(label: Label, seen: Bool[Tensor, " B"]) -> Label:
    """A label that is known only at the places that a sensor saw."""
    return replace(label, known=label.known & seen.reshape(-1, 1, 1))
