"""Finished runs, as a method sees them, that no training was needed for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from landweave.methods import Adapt, MethodConfig
from landweave.nn.model import Model
from landweave.sample import LabelKind
from tests.methods.recipes_in_test import method_of
from tests.nn.tiny_models import contract_of, task_of

ONE = {"s2-l2a": (32, 32)}


@dataclass(frozen=True)
class Trained:
    """What a finished run is to a method."""

    model: Model
    folder: Path = Path("runs/teacher")
    classifier: bool = True


def teacher_of(
    method: MethodConfig, sizes: Mapping[str, tuple[int, int]] = ONE, kind: LabelKind = "class", *, seed: int = 1
) -> Trained:
    """Random weights, with norms and means that let something through, as those of a trained model do."""
    torch.manual_seed(seed)
    model = method.build(contract_of(sizes), task_of(kind))
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)  # timm starts the last one of each residual block at 0
        assert norm.running_mean is not None
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    model.set_mean_features({name: torch.randn_like(mean) for name, mean in model.mean_features.items()})
    return Trained(model.eval())


def teacher_for(
    student: Adapt, sizes: Mapping[str, tuple[int, int]] = ONE, kind: LabelKind = "class", *, seed: int = 1
) -> Trained:
    """A teacher with the student's encoder, fusion, head and decoder, that does not read which bands are seen."""
    keys = ("encoder", "fusion", "decoder" if kind == "map" else "head")
    shared = {key: getattr(student, key).model_dump() for key in keys}
    shared["encoder"] |= {"band_mask": False, "fill": "mean"}
    return teacher_of(method_of("segment" if kind == "map" else "supervised", **shared), sizes, kind, seed=seed)
