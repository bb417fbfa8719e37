"""Blocks of pixels as one: means of what is seen, radar as power, ground and labels that stay where they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from landweave.data.coarse import coarser, coarser_label
from landweave.data.dataset import Chosen
from landweave.data.store import Pack
from landweave.errors import ConfigError
from landweave.grid import Grid
from landweave.legends import Legend
from landweave.sample import Image, Label

from fake import Fake  # isort: skip

GRID = Grid("EPSG:32631", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), (4, 6))


def test_a_block_is_the_mean_of_its_seen_pixels_in_the_sensors_unit() -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 9000, (2, 4, 6)).astype(np.uint16)
    seen = rng.random((2, 4, 6)) > 0.4
    seen[0, :2, :2] = False
    image = Image.of("s2-l2a", ("B02", "B03"), raw, grid=GRID, pixels_seen=seen[None], offset=-0.1)
    found = coarser("s2-l2a", image, 2)
    for band in range(2):
        for row in range(2):
            for col in range(3):
                at = (band, slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2))
                values = raw[at][seen[at]] * 1e-4 - 0.1
                there = bool(found.pixels_seen[0, band, row, col])
                assert there == bool(len(values))
                if there:
                    assert float(found.data[0, band, row, col]) == pytest.approx(values.mean(), abs=1e-6)
    assert torch.equal(found.physical(), found.data)
    assert isinstance(found.grid, Grid)
    assert (found.grid.pixel, found.grid.bounds) == ((20.0, 20.0), GRID.bounds)


def test_radar_is_averaged_as_power() -> None:
    data = np.array([[[-10.0, -20.0], [-20.0, -20.0]]], np.float32)
    found = coarser("s1-grd-sigma0", Image.of("s1-grd-sigma0", ("VV",), data), 2)
    assert float(found.data) == pytest.approx(10 * np.log10((0.1 + 3 * 0.01) / 4), abs=1e-4)


def test_label_maps_take_the_middle_and_others_stay() -> None:
    legend = Legend.from_json({"name": "l", "classes": {1: {"name": "a"}, 2: {"name": "b"}}, "ignore": [0]})
    codes = np.ones((4, 4), np.uint8)
    codes[1, 1] = 2
    found = coarser_label(Label.of_map(codes, legend), 2)
    assert found.values.tolist() == [[1, 0], [0, 0]]
    one = Label.of_class(1, legend)
    assert coarser_label(one, 2) is one


def test_sides_that_do_not_divide_are_refused() -> None:
    image = Image.of("s2-l2a", ("B02",), np.zeros((1, 4, 6), np.uint16))
    with pytest.raises(ConfigError, match="4 x 6 pixels"):
        coarser("s2-l2a", image, 4)


def test_a_dataset_is_read_in_coarser_pixels() -> None:
    base = Fake(size=16, streams=("s2-l2a@10", "s1-rtc-gamma0"))
    sample = Chosen(replace(base), coarsen=4).read(0)
    assert {k: tuple(v.data.shape[-2:]) for k, v in sample.images.items()} == {
        "s2-l2a@10": (4, 4),
        "s1-rtc-gamma0": (4, 4),
    }
    assert sample.labels["cover"].values.shape == (4, 4)


def test_each_sensor_has_pixels_of_its_own() -> None:
    base = Fake(size=16, streams=("s2-l2a@10", "s1-rtc-gamma0"))
    sample = Chosen(replace(base), coarsen={"s2-l2a": 4, "labels": 2}).read(0)
    plain = Chosen(replace(base)).read(0)
    assert sample.images["s2-l2a@10"].data.shape[-2:] == (4, 4)
    assert torch.equal(sample.images["s1-rtc-gamma0"].data, plain.images["s1-rtc-gamma0"].data)
    assert sample.labels["cover"].values.shape == (8, 8)
    with pytest.raises(ValidationError, match=r"`s2-l2b` is not a sensor, did you mean `s2-l2a`"):
        Pack(path="store", coarsen={"s2-l2b": 4})
