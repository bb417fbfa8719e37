"""Radar in linear power from the files to a run: read in dB, but by encoders that were trained before on power."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from landweave.data.store import pack
from landweave.run.predict import open_run
from landweave.run.train import train
from landweave.sample import Image, Sample
from tests.data.fake import Fake
from tests.run.matrix_runs import experiment, made

POWER = "s1-rtc-gamma0-linear"
RADAR = f"data.streams=['{POWER}']"


@dataclass
class Linear(Fake):
    """Its radar as power; where there is none, as dark ground."""

    streams: tuple[str, ...] = (POWER,)

    def read(self, index: int) -> Sample:
        sample = super().read(index)
        old = sample.images.get("s1-rtc-gamma0")
        values = np.full((2, 16, 16), -20.0) if old is None else np.nan_to_num(old.data[0].numpy(), nan=-20.0)
        return replace(sample, images={POWER: Image.of(POWER, ("VV", "VH"), (10 ** (values / 10)).astype(np.float32))})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("power") / "store"
    pack(Linear(count=24, dates=1), folder)
    return folder


def levels(run: Path) -> list[tuple[float, float]]:
    return open_run(run).contract.streams[POWER].levels


def test_runs_read_power_in_decibels_and_those_of_before_as_it_is(data: Path, tmp_path: Path) -> None:
    first = made(data, tmp_path / "first", "supervised", RADAR)
    assert -15 < levels(first)[0][0] < -9
    config = json.loads((first / "config.json").read_text())
    del config["contract"][POWER]["decibel"]
    (first / "config.json").write_text(json.dumps(config))
    row = open_run(first).contract.streams[POWER]
    assert row.levels == list(zip(row.mean, row.std, strict=True)), "as it was trained"
    words = ("train.epochs=1", "method.freeze=true", RADAR)
    probe = train(experiment(data, "supervised", *words, f"start={first}"), tmp_path / "probe", progress=False)
    assert levels(probe) == row.levels, "its encoder goes on as it was trained"
    given = f"data.statistics={{{POWER}: {{VV: [-11, 3], VH: [-12, 3]}}}}"
    told = train(experiment(data, "supervised", *words, given, f"start={first}"), tmp_path / "told", progress=False)
    assert levels(told) == [(-11.0, 3.0), (-12.0, 3.0)]
