"""A packed store of tiny places, and runs on it that never trained: a teacher, another encoder, maps, a pretraining."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from landweave.data.load import batches
from landweave.data.store import pack
from landweave.nn.model import Model
from landweave.run.experiment import Experiment, recipe
from landweave.run.finish import finish
from landweave.run.material import Material, gather
from landweave.transforms import cubes
from tests.data.fake import Fake

BANDS = ("B02", "B03", "B04", "B08")


def store(folder: Path, count: int = 72) -> Path:
    """72 places of 32 pixels with a class, a set of classes and a map each; 48 to train, 12 to test."""
    pack(Fake(count=count, size=32, dates=1, streams=("s2-l2a@10",)), folder)
    return folder


def experiment(data: Path, name: str = "supervised", *changes: str, task: str = "scene") -> Experiment:
    """Of the smallest backbone."""
    words = ("data.kind=pack", f"data.path={data}", f"data.streams=['s2-l2a:{'+'.join(BANDS)}']", f"data.task={task}")
    small = ("method.encoder.name=test_resnet", "train.batch_size=8", "train.accelerator=cpu", "data.fraction=1")
    return recipe(name, [*words, *small, *changes])


def _varied(model: Model, material: Material) -> None:
    """Move the last bias, so that random weights answer differently from place to place."""
    batch = next(iter(batches(material.dataset, material.train, batch_size=24, like=material.like)))
    last = [m for m in model.get_submodule("head").modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    assert last.bias is not None
    with torch.no_grad():
        logits = model.logits(cubes(batch, material.contract)).transpose(0, 1).flatten(1)
        last.bias -= logits.mean(1)


def made(data: Path, folder: Path, name: str = "supervised", *changes: str, task: str = "scene", seed: int = 1) -> Path:
    """A run folder: random weights, finished as trained ones are."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = experiment(data, name, *changes, task=task)
    material = gather(settings, folder)
    torch.manual_seed(seed)
    model = settings.method.build(material.contract, material.kind)
    _varied(model.eval(), material)
    finish(settings, material, model, folder)
    return folder
