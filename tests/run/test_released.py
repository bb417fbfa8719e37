"""A run of released weights: the whole network, scored as it is or trained further."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from landweave.contract import Contract
from landweave.data.dataset import Task
from landweave.data.flairhub_index import COSIA
from landweave.errors import ConfigError, RunError
from landweave.legends import COSIA_19
from landweave.methods import UPerFuse
from landweave.nn.flair_weights import read_released
from landweave.nn.uperfuse import UPerFuseModel
from landweave.run.evaluate import reopen
from landweave.run.experiment import Experiment, recipe
from landweave.run.predict import open_run
from landweave.run.released import released
from landweave.run.train import train
from tests.data.flair_layout import Layout
from tests.nn.flair_golden import case
from tests.nn.flair_models import as_released, row, write

SERIES = "s2-l2a, s1-grd-sigma0-asc-linear, s1-grd-sigma0-desc-linear"
OFFICIAL = "{kind: utae, input: numbers, padding: official, last: official}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Layout(tmp_path_factory.mktemp("flair")).write().root


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a model of three series and two tasks, as IGN would release them."""
    return write(case("case5c"), tmp_path_factory.mktemp("released") / "series.safetensors")


def experiment(world: Path, file: Path, *changes: str) -> Experiment:
    return recipe(
        "flair/lpis-h",
        [
            f"data.path={world}",
            f"data.streams=[{SERIES}]",
            "data.task=cosia",
            "data.labels=[cosia, lpis-1]",
            "data.legend=cosia-19",
            "method.tasks={lpis-1: 1.0}",
            "method.without={}",
            "method.branches=[s2-l2a]",
            f"method.series={OFFICIAL}",
            f"start={file}",
            "train={epochs: 0, batch_size: 2, accelerator: cpu}",
            *changes,
        ],
    )


def test_released_weights_become_a_run_without_training(
    world: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"cosia": [0, *[5] * 18], "lpis-1": [5] * 22 + [0]}  # a part of the archive lacks some classes
    monkeypatch.setattr("landweave.run.finish._counted", lambda _: few)
    folder = train(experiment(world, file), tmp_path / "run")
    assert f"beginning with the whole of {file}" in capsys.readouterr().out
    run = open_run(folder)
    assert run.classifier
    assert list(run.tasks) == ["cosia", "lpis-1"]
    there, here = read_released(file), run.model.state_dict()
    assert torch.equal(here["decoders.main.weight"], there["main_decoders.AERIAL_LABEL-COSIA.weight"])
    assert torch.equal(here["decoders.lpis-1.bias"], there["main_decoders.ALL_LABEL-LPIS.bias"])
    key = "encoders.SENTINEL1-ASC_TS.temporal_encoder.attention_heads.Q"
    assert torch.equal(here["encoders.s1-grd-sigma0-asc-linear.net.attention.query"], there[key])
    config = json.loads((folder / "config.json").read_text())
    assert config["class_counts"] == few["cosia"]
    assert run.trained_classes == list(range(19))
    assert run.trained_of("lpis-1") == list(range(23))
    (batch,) = reopen(run, "test").batches([0], batch_size=1)
    assert run.predict(batch)[:, 0].max() > 0, "the file knows all of its classes"
    scores = config["validation_scores"]
    assert {"miou_paper", "lpis-1.miou_paper"} <= set(scores)


def test_released_weights_that_lack_an_answer_are_no_run(world: Path, file: Path, tmp_path: Path) -> None:
    """The layer of 42 classes of both labels has none of the 38 that cosia-15 makes; its answers would be random."""
    with pytest.raises(
        RunError, match=r"no weights for answers\.s1-grd-sigma0-asc-linear\.layers\.6.*\n  fix: .*cosia-19"
    ):
        train(experiment(world, file, "data.legend=cosia-15"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_what_is_said_of_a_file_begins_with_its_inputs(tmp_path: Path) -> None:
    changes = ("data.path=DIR", "method.encoder.name=test_convnext", "method.encoder.weights=random")
    method = recipe("flair/lc-a", changes).method
    assert isinstance(method, UPerFuse)
    contract, task = Contract({"aerial": row("aerial", (64, 64))}), Task("map", COSIA_19)
    model = method.build(contract, task)
    assert isinstance(model, UPerFuseModel)
    found = released(method, contract, as_released(model, tmp_path / "mine.safetensors", {"main": COSIA}), task)
    _ = found.model
    assert [line.partition(";")[0] for line in found.notes] == [
        "aerial: the file's name says neither RGB nor IR",
        "aerial: the statistics are not those that the networks were trained with",
    ]


def test_training_goes_on_from_the_whole_of_them(world: Path, file: Path, tmp_path: Path) -> None:
    changes = ("train.epochs=1", "optim.lr=1e-9", "data.legend=cosia-15")
    folder = train(experiment(world, file, *changes), tmp_path / "run", progress=False)
    here, there = load_file(folder / "model.safetensors"), read_released(file)
    key = "encoders.SENTINEL2_TS.in_conv.conv.conv.0.weight"
    torch.testing.assert_close(here["encoders.s2-l2a.net.first.0.weight"], there[key], rtol=0, atol=1e-5)
    assert len(here["decoders.main.weight"]) == 15


def test_no_epoch_needs_something_to_keep(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs=0 keeps released weights as they are: give start=FILE"):
        recipe("flair/lc-a", [f"data.path={world}", "train.epochs=0"])
    lost = experiment(world, tmp_path / "none.safetensors")
    with pytest.raises(RunError, match="no such file"):
        train(lost, tmp_path / "run", progress=False)
