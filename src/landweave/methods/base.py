"""What every method is: settings that build a model, and say its loss and its prediction."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import Discriminator, Field, Tag

from landweave.config import EACH, ONE, Config, one_or_each
from landweave.contract import Contract
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.nn.config import Concat, Encoder, Fusion
from landweave.sample import Batch, LabelKind
from landweave.transforms import Augment, Faults

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from landweave.data.dataset import Task
    from landweave.nn.model import Model

    ClassWeights = Mapping[str, Float[Tensor, " K"]]
    """By task, how much each class counts."""

Share = Annotated[float, Field(ge=0, lt=1)]
Shares = Annotated[Annotated[Share, Tag(ONE)] | Annotated[dict[str, Share], Tag(EACH)], Discriminator(one_or_each)]


class Start(Protocol):
    """What a training begins with: a finished run, or the checkpoint of somebody else's encoder."""

    @property
    def folder(self) -> Path:
        """Where it is from, for errors."""

    @property
    def model(self) -> Model:
        """The network with its weights, in eval mode; the same object each time."""

    @property
    def contract(self) -> Contract:
        """What it was promised about its inputs."""

    @property
    def classifier(self) -> bool:
        """Whether its head has learned to answer."""


class MethodConfig(Config):
    """Settings that all methods have. A method never changes a batch in place, and keeps nothing between steps."""

    kinds: ClassVar[tuple[LabelKind, ...]]
    """The kinds of label that the method learns from."""

    encoder: Encoder = Encoder()
    fusion: Fusion = Concat()
    augment: Augment = Augment()
    sensor_dropout: Shares = Field(
        0.0, description="share of the places at which a sensor is hidden in training, never the last one; or by sensor"
    )
    faults: Faults = Field(Faults(), description="what is wrong with the images that it learns from")

    @property
    def classifier(self) -> bool:
        """Whether it learns to classify; False for a pretraining, which ends with encoders."""
        return True

    @property
    def learns_labels(self) -> bool:
        """Whether it learns from labels at all."""
        return True

    @property
    def beside(self) -> Sequence[str]:
        """The tasks that it learns beside the main one (`data.task`)."""
        return ()

    @property
    def monitor(self) -> str:
        """The validation score that picks the kept epoch, unless `train.monitor` says; empty: by kind of label."""
        return ""

    @property
    def teacher(self) -> bool:
        """Whether what it starts with goes on to teach: it is needed to the end, and its classifier is kept."""
        return False

    def lines(self, sensors: Sequence[str]) -> Sequence[str]:
        """What a person should be told of it beside its name, where these sensors are read."""
        return ()

    def require(self, sensors: Sequence[str]) -> None:
        """Refuse data that lack a sensor which the method names, as soon as they are opened.

        Raises:
            ConfigError: with the nearest sensor that is there.
            RunError: the file of weights that the encoder names is not there.
        """
        self.encoder.require()
        named = self.sensor_dropout if isinstance(self.sensor_dropout, Mapping) else {}
        for name in named:
            if name not in sensors:
                raise ConfigError(
                    f"no sensor `{name}`{did_you_mean(name, sensors)}; there are {listed(sensors)}",
                    where="method.sensor_dropout",
                    fix="name sensors of data.streams, or give one share for all",
                )

    def require_tasks(self, tasks: Mapping[str, Task]) -> None:
        """Refuse labels that lack a class which the method names, as soon as the data are opened.

        Args:
            tasks: every label that is learned, by name, the main one first.

        Raises:
            ConfigError: with the nearest class that is there.
        """

    @abc.abstractmethod
    def build(self, contract: Contract, task: Task) -> Model:
        """A model with random weights, drawn from torch's global generator.

        Raises:
            ConfigError: the method does not learn from this kind of label, or the backbone does not fit the images.
        """

    def attach(self, model: Model, start: Start) -> None:
        """Let a model of `build` begin with another: with its encoders, unless a method takes more.

        It is called before every training with a start, also one that goes on after a kill; the weights of its own
        state then replace those taken here.

        Raises:
            ContractError, RunError: the weights do not fit.
        """
        model.load_encoders(start.model.encoder_state(), str(start.folder))

    @abc.abstractmethod
    def loss(
        self,
        model: Model,
        cubes: Batch,
        task: str,
        *,
        key: Sequence[int],
        class_weights: ClassWeights | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of the loss by name, each before its weight, and `loss`, their weighted sum.

        Args:
            model: what `build` gave.
            cubes: a batch of `landweave.transforms.cubes`, in physical units, not augmented.
            task: the label to learn; a pretraining does without.
            key: (seed, epoch), which with the name of a place decides all that is random here.
            class_weights: how much each class counts in the supervised loss, by task.
        """

    def look(self, model: Model, cubes: Batch, task: str, *, key: Sequence[int]) -> dict[str, Float[Tensor, ""]]:
        """What validation tells of a batch where the method has no classifier of its own to score: the loss's terms.

        Arguments as of `loss`; called without gradient, in eval mode, with a key that is the same in every epoch.
        """
        return self.loss(model, cubes, task, key=key)

    def predict(self, model: Model, cubes: Batch, kind: LabelKind) -> Float[Tensor, "B K *HW"]:
        """Probabilities, float32, without gradient: softmax over the classes, or a sigmoid each for `multilabel`.

        `model` should be in eval mode.
        """
        import torch

        with torch.no_grad():
            logits = model.logits(cubes)
            return logits.sigmoid() if kind == "multilabel" else logits.softmax(1)

    def predict_tasks(
        self, model: Model, cubes: Batch, tasks: Mapping[str, Task]
    ) -> dict[str, Float[Tensor, "B K *HW"]]:
        """`predict` of every task that the method learns, the main one first, from one pass.

        `tasks` are those of the run, by name.
        """
        main = next(iter(tasks))
        return {main: self.predict(model, cubes, tasks[main].kind)}

    def measure(
        self, model: Model, train: Callable[[], Iterable[Batch]], validation: Callable[[], Iterable[Batch]]
    ) -> dict[str, Any]:
        """What a method needs to know of its data once it is trained: plain data, kept in the run's `config.json`.

        It is called with the model in eval mode and without gradients, before the weights are written, and may fit
        what of the model is fitted and not trained. The passes give cubes.
        """
        return {}

    def _view(self, cubes: Batch, key: Sequence[int], contract: Contract | None = None) -> Batch:
        """The batch with sensors dropped, augmented, with faults."""
        from landweave.nn.fusion import drop_sensors
        from landweave.transforms import augment

        seen = augment(drop_sensors(cubes, self.sensor_dropout, key), self.augment, (*key, 0))
        return self._spoilt(seen, (*key, 0), contract)

    def _spoilt(self, view: Batch, key: Sequence[int], contract: Contract | None = None) -> Batch:
        """A view with faults; the contract knows the pixel size of its cubes, and so what a native pixel is."""
        from landweave.transforms import spoil

        metres = {n: row.metres for n, row in contract.streams.items()} if contract else None
        return spoil(view, self.faults, key, metres=metres)

    def _require(self, task: Task, name: str) -> None:
        if task.kind not in self.kinds:
            words = {"class": "one class a place", "multilabel": "a set of classes a place", "map": "a label map"}
            other = "supervised" if task.kind != "map" else "segment"
            raise ConfigError(
                f"{name} learns from {' or '.join(words[k] for k in self.kinds)}, and the task has {words[task.kind]}",
                where="data.task",
                fix=f"choose another task, or `landweave train {other}`",
            )
