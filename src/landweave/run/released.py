"""Beginning with FLAIR-HUB's released weights: a whole network of somebody else's, under our names."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from landweave.contract import Contract
from landweave.data.dataset import Task
from landweave.methods.uperfuse import MAIN, UPerFuse

if TYPE_CHECKING:
    from landweave.nn.uperfuse import UPerFuseModel

SUFFIXES = (".safetensors", ".ckpt", ".pth")
"""How the names of released files end."""


@dataclass(frozen=True)
class Released:
    """A released file in the form of a model of ours: encoders, fusion, decoders, and the branches that are there."""

    folder: Path
    """The file."""
    method: UPerFuse
    contract: Contract
    task: Task
    untrained: bool = False
    """Whether nothing is trained then: the file answers as it is."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of the inputs and of the weights, once these are read."""
    classifier: bool = True

    @cached_property
    def model(self) -> UPerFuseModel:
        """A model with the file's weights, in eval mode."""
        from landweave.nn.flair_inputs import assumed
        from landweave.nn.flair_weights import Head, load_released
        from landweave.nn.uperfuse import UPerFuseModel

        model = self.method.build(self.contract, self.task)
        assert isinstance(model, UPerFuseModel)
        tasks = {MAIN: self.task, **{name: self.task.beside[name] for name in self.method.tasks}}
        notes = load_released(
            model, self.folder, {n: Head.of(t.legend) for n, t in tasks.items()}, untrained=self.untrained
        )
        self.notes[:] = [*assumed(self.contract, self.folder), *notes]
        return model.eval()


def released(method: UPerFuse, contract: Contract, file: Path, task: Task, *, untrained: bool = False) -> Released:
    """Compare settings and data with what the released networks read; the file is read when its model is wanted.

    Raises:
        RunError, ContractError, ConfigError: see `landweave.nn.flair_weights.require_fit`.
    """
    from landweave.nn.flair_weights import require_fit

    require_fit(contract, method.series, method.fusion, method.decoder, file=file)
    return Released(file, method, contract, task, untrained)
