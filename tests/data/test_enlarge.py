"""Finer pixels than on disk: bilinear as torch has it, means of what is seen only, labels as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from landweave.data.coarse import finer
from landweave.data.dataset import Chosen
from landweave.grid import Grid
from landweave.sample import Image

from fake import Fake  # isort: skip

GRID = Grid("EPSG:32631", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), (4, 6))


def raw(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 9000, (2, 4, 6)).astype(np.uint16)


def test_wholly_seen_images_are_those_of_torch() -> None:
    image = Image.of("s2-l2a", ("B02", "B03"), raw(), grid=GRID, offset=-0.1)
    found = finer("s2-l2a", image, 4)
    expected = F.interpolate(image.physical(), scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.physical(), expected)
    assert found.pixels_seen.all()
    assert isinstance(found.grid, Grid)
    assert found.grid.shape == (16, 24)
    assert found.grid.bounds == GRID.bounds
    assert finer("s2-l2a", image, 1) is image


def test_unseen_pixels_never_leak() -> None:
    seen = np.ones((1, 2, 4, 6), bool)
    seen[0, 0, 1, 2] = False
    numbers = raw()
    a = finer("s2-l2a", Image.of("s2-l2a", ("B02", "B03"), numbers, pixels_seen=seen), 3)
    numbers = numbers.copy()
    numbers[0, 1, 2] = 60000
    b = finer("s2-l2a", Image.of("s2-l2a", ("B02", "B03"), numbers, pixels_seen=seen), 3)
    assert torch.equal(a.data, b.data)
    assert not a.pixels_seen[0, 0, 3:6, 6:9].any()
    assert int((~a.pixels_seen).sum()) == 9
    flat = np.full((2, 4, 6), 4000, np.uint16)
    found = finer("s2-l2a", Image.of("s2-l2a", ("B02", "B03"), flat, pixels_seen=seen), 3)
    torch.testing.assert_close(found.data[found.pixels_seen], torch.full_like(found.data[found.pixels_seen], 0.4))


def test_radar_is_interpolated_as_power() -> None:
    values = np.array([[[0.0, -20.0]], [[0.0, -20.0]]], np.float32)
    found = finer("s1-grd-sigma0", Image.of("s1-grd-sigma0", ("VV", "VH"), values), 2)
    power = 10 ** (found.data[0, 0, 0] / 10)
    assert power.tolist() == pytest.approx([1, 0.7525, 0.2575, 0.01], rel=1e-4)


def test_a_dataset_is_enlarged_as_it_is_read_and_its_labels_are_not() -> None:
    base = Fake()
    before, after = base.read(0), Chosen(base, enlarge=2).read(0)
    for name, image in before.images.items():
        H, W = image.data.shape[-2:]
        assert after.images[name].data.shape[-2:] == (2 * H, 2 * W)
    assert all(after.labels[k].values.shape == v.values.shape for k, v in before.labels.items())
