"""A trained run, opened for use: its contract, its legend, and a `predict` from raw batches to probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.contract import Contract
from landweave.data.dataset import Averaged, Task
from landweave.errors import ConfigError, RunError, did_you_mean, listed
from landweave.legends import Legend
from landweave.run import checkpoint
from landweave.sample import Batch, LabelKind

if TYPE_CHECKING:
    from torch import Tensor

    from landweave.nn.model import Model
    from landweave.run.experiment import Experiment


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    config: dict[str, Any]
    contract: Contract
    legend: Legend
    task: str
    kind: LabelKind
    settings: Experiment
    device: str = "cpu"

    @cached_property
    def model(self) -> Model:
        """The network with its weights on `device`, in eval mode; built when it is first needed: that takes seconds."""
        import torch

        torch.manual_seed(0)
        model = self.settings.method.build(self.contract, self.learned)
        model.load_state_dict(checkpoint.read_tensors(self.folder / "model.safetensors"))
        return model.eval().to(self.device)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Every task that it learned, by name, the main one first; none of a run without labels."""
        rows = self.config.get("tasks", {})
        main = Task(self.kind, self.legend).named(self.task)
        return main | {n: Task(r["kind"], Legend.from_json(r["legend"])) for n, r in rows.items() if n != self.task}

    @property
    def learned(self) -> Task:
        """The main task with those beside it, of which its network is built."""
        return Task(self.kind, self.legend, dict(list(self.tasks.items())[1:]))

    @property
    def experiment(self) -> dict[str, Any]:
        """The experiment as plain data."""
        plain: dict[str, Any] = self.config["experiment"]
        return plain

    @property
    def averaged(self) -> Averaged:
        """How it was given series: date by date, or as means by month or half month."""
        told = self.config.get("averaged")
        if told is not None:
            return Averaged(*told)
        data = self.settings.data  # runs from before 0.4 tell it by their settings alone
        return Averaged(getattr(data, "average", "none"), getattr(data, "empty_periods", "") == "previous")

    @property
    def classifier(self) -> bool:
        """Whether it learned to classify; False for a pretraining, which has encoders to begin with and no more."""
        return bool(self.config.get("classifier", True))

    def require_classifier(self) -> None:
        """Refuse a pretraining where classes are asked for.

        Raises:
            RunError: it is one.
        """
        if self.settings.method.kind == "reconstruct":
            raise RunError(
                "a run of reconstruct predicts bands, not classes",
                where=self.folder,
                fix=f"look for faulty bands: landweave faults {self.folder} --image SENSOR=FILE",
            )
        if not self.classifier:
            raise RunError(
                "a pretraining run has no classifier; it has encoders to begin with",
                where=self.folder,
                fix=f"train one on them: landweave train supervised start={self.folder} --out RUN",
            )

    @property
    def trained_classes(self) -> list[int]:
        """Indices of the classes that were learned; no other is ever predicted."""
        return self.trained_of(self.task)

    def trained_of(self, task: str) -> list[int]:
        """`trained_classes` of any of its tasks."""
        told = self.config.get("trained", {}).get(task)  # none in runs from before 0.4
        return [i for i, n in enumerate(self.counts_of(task)) if n > 0] if told is None else list(told)

    def met_of(self, task: str) -> list[int]:
        """Indices of the classes of the whole training split, which scores count, whatever share of it had labels."""
        told = self.config.get("met", {}).get(task)  # none in runs from before 0.4
        return self.trained_of(task) if told is None else list(told)

    def counts_of(self, task: str) -> list[int]:
        """How often each class of a task occurred among the training labels."""
        of_task: dict[str, Any] = self.config if task == self.task else self.config["tasks"][task]
        return [int(n) for n in of_task["class_counts"]]

    def known_places_of(self, task: str) -> int | None:
        """Of label sets, how many training places `counts_of` are of; None in runs from before 0.4."""
        of_task: dict[str, Any] = self.config if task == self.task else self.config["tasks"][task]
        return of_task.get("known_places")

    def through(self, task: str) -> Run | OneTask:
        """What a map needs, of any of its tasks; the main one by default.

        Raises:
            ConfigError: it did not learn that.
        """
        if task in ("", self.task):
            return self
        if task not in self.tasks:
            raise ConfigError(
                f"the run has no task `{task}`{did_you_mean(task, list(self.tasks))}",
                where=self.folder,
                fix=f"use one of {listed(list(self.tasks))}",
            )
        return OneTask(self, task)

    def predict(self, batch: Batch) -> Tensor:
        """Probabilities, float32 on the CPU, from a raw collated batch.

        B K for scene labels, B K H W for maps (on the grid of the finest stream). Classes that training did not
        have are 0; for kinds `class` and `map` the others sum to 1.

        Raises:
            ContractError: the batch has none of the sensors of the contract.
            RunError: the run is a pretraining.
        """
        return self.predict_tasks(batch)[self.task]

    def predict_tasks(self, batch: Batch) -> dict[str, Tensor]:
        """`predict` of every task, by name, the main one first, from one pass."""
        return {name: found.cpu() for name, found in self.answers(batch).items()}

    def answers(self, batch: Batch) -> dict[str, Tensor]:
        """`predict_tasks` on the device of the model, for those who count there and move no map."""
        import torch

        from landweave.transforms import cubes

        self.require_classifier()
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            cube = cubes(batch.to(device), self.contract)
            found = self.settings.method.predict_tasks(self.model, cube, self.tasks)
            return {n: _of_trained(p.float(), self.tasks[n], self.trained_of(n)) for n, p in found.items()}


@dataclass(frozen=True)
class OneTask:
    """A run seen through one of the tasks that it learned beside the main one."""

    run: Run
    task: str

    @property
    def folder(self) -> Path:
        """That of the run."""
        return self.run.folder

    @property
    def contract(self) -> Contract:
        """That of the run."""
        return self.run.contract

    @property
    def averaged(self) -> Averaged:
        """That of the run."""
        return self.run.averaged

    @property
    def device(self) -> str:
        """That of the run."""
        return self.run.device

    @property
    def legend(self) -> Legend:
        """Of this task."""
        return self.run.tasks[self.task].legend

    @property
    def kind(self) -> LabelKind:
        """Of this task."""
        return self.run.tasks[self.task].kind

    def predict(self, batch: Batch) -> Tensor:
        """`Run.predict`, of this task."""
        return self.run.predict_tasks(batch)[self.task]


def _of_trained(found: Tensor, task: Task, trained: Sequence[int]) -> Tensor:
    """Probabilities of the classes that training had; the others are 0."""
    import torch

    mask = torch.zeros(len(task.legend), device=found.device)
    mask[list(trained)] = 1
    found = found * mask.reshape(1, -1, *(1,) * (found.ndim - 2))
    return found if task.kind == "multilabel" else found / found.sum(1, keepdim=True).clamp(min=1e-12)


DEVICE = "LANDWEAVE_DEVICE"
"""The variable of the environment that says where heavy commands compute: cpu, cuda, cuda:1, mps."""


def fastest() -> str:
    """Where to compute what takes long: the device that `LANDWEAVE_DEVICE` names, else the first GPU, else the CPU.

    Raises:
        ConfigError: it names none, or one that is not there.
    """
    import torch

    wanted = os.environ.get(DEVICE) or "auto"
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        there = device.type == "cpu" or (device.index or 0) < torch.get_device_module(device).device_count()
    except RuntimeError:
        there = False
    if not there:
        raise ConfigError(
            f"no device `{wanted}` here", where=DEVICE, fix="use auto, cpu, or cuda or cuda:1 where there are such GPUs"
        )
    return wanted


def open_run(path: str | os.PathLike[str], *, device: str = "cpu") -> Run:
    """Open a finished run folder; `device` is where its network computes (`fastest()`: a GPU if there is one).

    Raises:
        RunError: not a run folder, unfinished, or damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RunError("no such run folder", where=folder, fix="train one: landweave train RECIPE ... --out RUN")
    if not (folder / "config.json").is_file():
        started = (folder / "experiment.yaml").is_file()
        raise RunError(
            "its training has not finished" if started else "not a run folder (no config.json)",
            where=folder,
            fix=f"landweave train {folder}/experiment.yaml --out {folder}"
            if started
            else "give the --out of a training",
        )
    from landweave.config import parse
    from landweave.run.experiment import Experiment

    config = checkpoint.read_json(folder / "config.json")
    try:
        settings = parse(Experiment, config["experiment"], where=str(folder / "config.json"))
        legend = Legend.from_json(config["legend"])
        contract = Contract.from_json(config["contract"])
    except (KeyError, TypeError, ConfigError) as error:
        raise RunError(f"written by another version of landweave ({error})", where=folder / "config.json") from None
    return Run(folder, config, contract, legend, config["task"], config["kind"], settings, device)
