"""Which of several labels is meant: the one that fits the method, or that of the run that teaches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from landweave.data.synth import write
from landweave.errors import ConfigError
from landweave.run.evaluate import reopen
from landweave.run.experiment import Experiment, recipe
from landweave.run.material import open_data
from landweave.run.predict import open_run
from landweave.run.train import train

SMALL = ("data.streams=[s2-l2a:B02+B03+B04]", "train={epochs: 1, batch_size: 4, accelerator: cpu}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Places with a set of classes, `labels`, and a map of them, `map`."""
    root = tmp_path_factory.mktemp("which") / "world"
    write("bigearthnet-v2", root, places=8, seed=0)
    return root


def experiment(name: str, world: Path, *changes: str) -> Experiment:
    return recipe(name, ["data.kind=bigearthnet-v2", f"data.path={world}", *SMALL, *changes])


@pytest.mark.parametrize(("name", "task"), [("supervised", "labels"), ("segment", "map"), ("reconstruct", "")])
def test_the_only_label_that_a_method_can_learn_from_is_meant(world: Path, name: str, task: str) -> None:
    assert open_data(experiment(name, world))[1] == task


def test_a_named_one_is_taken_as_it_is(world: Path) -> None:
    assert open_data(experiment("supervised", world, "data.task=map"))[1] == "map"  # and refused by the method
    with pytest.raises(
        ConfigError, match=r"unknown task `mop`, did you mean `map`\?; there are labels, map\n  fix: set data.task=map"
    ):
        open_data(experiment("segment", world, "data.task=mop"))


def test_a_student_has_the_label_of_its_teacher(world: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    student = experiment("adapt", world, f"start={teacher}")
    with pytest.raises(ConfigError, match="several tasks; there are labels, map"):
        open_data(student)
    (teacher / "config.json").write_text(json.dumps({"task": "map"}))
    assert open_data(student)[1] == "map"
    (teacher / "config.json").write_text(json.dumps({"task": "crops"}))  # learned elsewhere, from other labels
    with pytest.raises(ConfigError, match="several tasks"):
        open_data(student)


def test_a_run_that_learned_no_label_is_opened_again_without_one(world: Path, tmp_path: Path) -> None:
    run = open_run(train(experiment("reconstruct", world, "method.blocks=[16]"), tmp_path / "run", progress=False))
    assert run.config["task"] == ""
    assert len(reopen(run, "validation").scored)


def test_a_run_is_scored_on_the_label_that_it_learned(world: Path, tmp_path: Path) -> None:
    small = ("method.encoder.name=test_convnext", "method.decoder.channels=[8,8,8,8,8]")
    run = open_run(train(experiment("segment", world, *small), tmp_path / "run", progress=False))
    assert run.task == "map"
    assert len(reopen(run, "test").scored)
