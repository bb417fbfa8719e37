"""The methods of the shipped recipes, on encoders that a test can afford."""

from __future__ import annotations

from typing import Any

from landweave.config import Config, parse
from landweave.methods import Contrast, Method, MethodConfig
from landweave.run.experiment import Experiment, recipe

TINY = {"name": "test_resnet"}  # timm's own model for tests: five stages, 0.4 M weights
SIZES = {"s2-l2a": (32, 32), "s1-rtc-gamma0": (32, 32)}


class Holder(Config):
    method: Method


def method_of(kind: str, **settings: Any) -> MethodConfig:
    return parse(Holder, {"method": {"kind": kind, "encoder": TINY, **settings}}).method


def tiny_recipe(name: str, *changes: str) -> Experiment:
    """A shipped recipe with its encoder, unless that is what the recipe is about, made small."""
    method = recipe(name).method
    own = method.encoder.name == "mma-vgg" or method.kind == "reconstruct"
    return recipe(name, [*(() if own else ("method.encoder.name=test_resnet", "method.encoder.stem=own")), *changes])


def contrast(name: str, *changes: str) -> Contrast:
    """The contrastive method of a recipe: its own, or its pretraining's."""
    experiment = tiny_recipe(name, *changes)
    method = (experiment.first or experiment).method
    assert isinstance(method, Contrast)
    return method
