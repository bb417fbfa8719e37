"""A trained run, opened for use: its contract, its legend, and a `predict` from raw batches to probabilities."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.contract import Contract
from landweave.data.dataset import Task
from landweave.errors import ConfigError, RunError
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

    @cached_property
    def model(self) -> Model:
        """The network with its weights, in eval mode; built when it is first needed, because that takes seconds."""
        import torch

        torch.manual_seed(0)
        model = self.settings.method.build(self.contract, Task(self.kind, self.legend))
        model.load_state_dict(checkpoint.read_tensors(self.folder / "model.safetensors"))
        return model.eval()

    @property
    def experiment(self) -> dict[str, Any]:
        """The experiment as plain data."""
        plain: dict[str, Any] = self.config["experiment"]
        return plain

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
        """Indices of the classes that occurred among the training labels; no other is ever predicted."""
        return [i for i, n in enumerate(self.config["class_counts"]) if n > 0]

    def predict(self, batch: Batch) -> Tensor:
        """Probabilities, float32 on the CPU, from a raw collated batch.

        B K for scene labels, B K H W for maps (on the grid of the finest stream). Classes that training did not
        have are 0; for kinds `class` and `map` the others sum to 1.

        Raises:
            ContractError: the batch has none of the sensors of the contract.
            RunError: the run is a pretraining.
        """
        import torch

        from landweave.transforms import cubes

        self.require_classifier()
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            cube = cubes(batch.to(device), self.contract)
            found = self.settings.method.predict(self.model, cube, self.kind).float().cpu()
            mask = torch.zeros(len(self.legend))
            mask[self.trained_classes] = 1
            found = found * mask.reshape(1, -1, *(1,) * (found.ndim - 2))
            return found if self.kind == "multilabel" else found / found.sum(1, keepdim=True).clamp(min=1e-12)


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a finished run folder.

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
    return Run(folder, config, contract, legend, config["task"], config["kind"], settings)
