"""Runs on a small archive of FLAIR-HUB's form: contrast first, images of the 1950s, any of the sensors, other years."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from landweave.config import parse
from landweave.methods import UPerFuse
from landweave.run.evaluate import evaluate
from landweave.run.experiment import Experiment, recipe, save
from landweave.run.material import gather
from landweave.run.predict import open_run
from landweave.run.train import train
from tests.data.flair_layout import Layout

STAGE = (
    "pretrain={method: {kind: contrast, unlabelled: rest, heads: {main: {}}, terms: {intra: {kind: intra}, "
    "inter: {kind: inter, views: [a]}}}, train: {epochs: 1, batch_size: 4, accelerator: cpu}}"
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Layout(tmp_path_factory.mktemp("flair")).write().root


def small(archive: Path, name: str, *changes: str) -> Experiment:
    words = [f"data.path={archive}", "data.coarsen=1", "method.encoder.name=test_resnet", "train.epochs=1", *changes]
    return recipe(f"flair/{name}", words, scale="smoke")


@pytest.mark.parametrize("series", ["mean", "utae"])
def test_contrast_on_these_sensors_comes_first(archive: Path, tmp_path: Path, series: str) -> None:
    """Backbones go over from the contrastive stage; a U-TAE, which that has not, is learned anew."""
    kind = () if series == "utae" else ("method.series={kind: mean}",)
    experiment = small(archive, "lc-d", *kind, STAGE)
    assert experiment.pretrain is not None
    assert experiment.pretrain.method.encoder == experiment.method.encoder
    assert experiment.pretrain.method.fusion.kind == "concat", "fusion of maps means nothing to a stage of places"
    save(experiment, tmp_path / "kept.yaml")
    assert recipe(tmp_path / "kept.yaml") == experiment
    run = train(experiment, tmp_path / "run", progress=False)
    stage, opened = open_run(run / "pretrain"), open_run(run)
    assert not stage.classifier
    method = opened.settings.method
    assert isinstance(method, UPerFuse)
    torch.manual_seed(0)
    model = method.build(opened.contract, opened.tasks["cosia"])
    method.attach(model, stage)
    held = model.encoder_state()
    for key, value in stage.model.encoder_state().items():
        backbone = key.startswith("aerial.") or series == "mean"
        assert (key in held and torch.equal(held[key], value)) == backbone, key


def test_images_of_the_1950s_and_any_of_the_sensors(archive: Path, tmp_path: Path) -> None:
    run = train(small(archive, "lc-k", "method.sensor_dropout=0.5"), tmp_path / "run", progress=False)
    whole = evaluate(run, split="test")
    assert set(open_run(run).contract.streams) == {"aerial", "aerial-pan"}
    for sensor in ("aerial", "aerial-pan"):
        alone = evaluate(run, split="test", only=[sensor])
        assert alone["only"] == [sensor]
        assert alone["n"] == whole["n"]
    config = json.loads((run / "config.json").read_text())
    assert config["contract"]["aerial-pan"]["size"] == [8, 8]


def test_levels_and_tasks_are_read_from_one_raster(archive: Path, tmp_path: Path) -> None:
    experiment = small(
        archive, "both-lpis-i", "data.labels=[cosia, lpis-1, lpis-3]", "method.tasks={lpis-1: 1, lpis-3: 1}"
    )
    material = gather(experiment, tmp_path)
    assert {n: len(t.legend) for n, t in material.tasks.items()} == {"cosia": 15, "lpis-1": 23, "lpis-3": 46}
    experiment.method.build(material.contract, material.kind)


def test_the_official_preset_is_taken(archive: Path, tmp_path: Path) -> None:
    head = (Path(__file__).parents[2] / "src/landweave/recipes/flair/_land-cover.yaml").read_text()
    words = head.split("# Official:")[1].split("# Smoke:")[0].replace("#", " ").replace("'", "")
    changes = [w.strip() for w in _split(words)]
    assert len(changes) == 6
    experiment = recipe("flair/lc-f", changes)
    method = experiment.method
    assert isinstance(method, UPerFuse)
    assert parse(Experiment, experiment.model_dump(mode="json")) == experiment
    assert (method.series.kind, experiment.train.monitor) == ("utae", "paper")
    tiny = small(archive, "lc-f", *(c for c in changes if "series" not in c))
    material = gather(tiny, tmp_path)
    assert len(material.kind.legend) == 19
    assert material.tasks["cosia"].legend.names[15:] == method.without["cosia"]
    (tmp_path / "high").mkdir()
    found = gather(small(archive, "lc-j", *(c for c in changes if "dsm-dtm" in c)), tmp_path / "high")
    high = found.contract.streams["dsm-dtm"]
    assert (high.mean, high.std) == ([311.06] * 2, [537.55] * 2), "heights as altitudes"


def _split(text: str) -> list[str]:
    """Words of a command line, of which those in brackets stay together."""
    found, depth, word = [], 0, ""
    for c in " ".join(text.split()) + " ":
        depth += (c in "{[") - (c in "}]")
        if c == " " and not depth:
            found.append(word)
            word = ""
        else:
            word += c
    return [w for w in found if w]
