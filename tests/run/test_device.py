"""Where a run computes: a GPU where there is one, what the environment names, or an error that says what there is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from landweave.errors import ConfigError
from landweave.run.embed import embed
from landweave.run.evaluate import evaluate
from landweave.run.experiment import recipe
from landweave.run.predict import DEVICE, fastest, open_run
from landweave.run.trainer import _precision
from tests.run.made import make_run
from tests.run.scenes import write_scenes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = write_scenes(tmp_path_factory.mktemp("places"))
    words = ("data.kind=table", f"data.path={table}", "method.encoder.name=test_resnet", "train.batch_size=8")
    return make_run(recipe("supervised", list(words)), tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize(("gpu", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_where_there_is_one(gpu: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEVICE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert fastest() == chosen
    monkeypatch.setenv(DEVICE, "cpu")
    assert fastest() == "cpu"


def test_processors_compute_in_float32_whatever_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    for gpu, accelerator, chosen in (
        (False, "auto", "32-true"),
        (True, "cpu", "32-true"),
        (True, "auto", "bf16-mixed"),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert _precision("auto", accelerator) == chosen
    assert _precision("bf16", "cpu") == "bf16-mixed", "who asks for it"


def test_one_of_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv(DEVICE, "cuda:1")
    assert fastest() == "cuda:1"
    monkeypatch.setenv(DEVICE, "cuda:2")
    with pytest.raises(ConfigError, match=f"{DEVICE}: no device `cuda:2` here"):
        fastest()


def test_a_name_that_is_none(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE, "gpu")
    with pytest.raises(ConfigError, match="no device `gpu` here"):
        evaluate(run)


def test_a_run_lies_on_the_device_that_it_was_opened_for(run: Path) -> None:
    assert {p.device.type for p in open_run(run, device="meta").model.parameters()} == {"meta"}
    assert {p.device.type for p in open_run(run).model.parameters()} == {"cpu"}


@pytest.mark.parametrize("work", [evaluate, embed])
def test_heavy_work_is_done_there(work: Callable[[Path], object], run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the device `meta` have no values: nobody can count them."""
    module = sys.modules[work.__module__]
    monkeypatch.setattr(module, "fastest", lambda: "meta")
    with pytest.raises(RuntimeError):
        work(run)
    monkeypatch.setattr(module, "fastest", lambda: "cpu")
    assert work(run)
