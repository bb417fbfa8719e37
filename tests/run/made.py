"""Run folders without a training: a model of random weights, finished as a trained one is."""

from __future__ import annotations

from pathlib import Path

import torch

from landweave.run.experiment import Experiment
from landweave.run.finish import finish
from landweave.run.material import gather


def make_run(experiment: Experiment, folder: Path, *, seed: int = 1) -> Path:
    """Everything that `evaluate` and `embed` need of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    material = gather(experiment, folder)
    torch.manual_seed(seed)
    model = experiment.method.build(material.contract, material.kind)
    if hasattr(model, "head") and hasattr(model.head, "weight"):
        with torch.no_grad():
            model.head.weight.mul_(20)
    finish(experiment, material, model, folder)
    return folder
