"""What a training says before it begins, since it is allowed and probably not what was meant."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from landweave.run.experiment import recipe
from landweave.run.material import open_data
from landweave.run.train import _doubts
from tests.run.scenes import write_scenes


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("mosaic-1", [], "places_per_group"),
        ("mosaic-1", ["train.places_per_group=2"], ""),
        ("mosaic-1", ["train.one_group=true"], ""),
        ("supervised", [], ""),
        ("supervised", ["method.freeze=true"], "random weights"),
        ("supervised", ["method.freeze=true", "start=runs/before"], ""),
        ("intra-simclr", [], ""),
        ("supervised", ["method.sensor_dropout=0.3"], "flags=true"),
        ("supervised", ["method.sensor_dropout=0.3", "method.fusion.flags=true"], ""),
        ("supervised", ["method.sensor_dropout=0.3", "method.fusion.kind=bilinear"], "attention"),
        ("supervised", ["method.sensor_dropout=0.3", "method.fusion.kind=attention"], ""),
        ("uperfuse", ["method.sensor_dropout=0.3"], ""),
        ("uperfuse", ["method.sensor_dropout=0", "method.fusion.absent=mean"], ""),
        ("uperfuse", ["method.sensor_dropout=0.3", "method.fusion.absent=mean"], "take learned or zero"),
        ("uperfuse", ["method.sensor_dropout={s2-l2a: 0.3}", "method.fusion={absent: mean, flags: true}"], "zeros"),
    ],
)
def test_crowded_batches_frozen_random_encoders_and_blind_fusion_are_said(
    tmp_path: Path, name: str, changes: list[str], says: str
) -> None:
    table = write_scenes(tmp_path)  # 3 groups of 10 training places
    experiment = recipe(name, ["data.kind=table", f"data.path={table}", *changes])
    dataset, _ = open_data(experiment)
    material: Any = SimpleNamespace(dataset=dataset, train=tuple(dataset.of_split("train")))
    found = list(_doubts(experiment, material))
    assert len(found) == bool(says)
    assert all(says in line for line in found)
