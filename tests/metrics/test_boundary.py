"""Pixels near a boundary, against loops over all pairs of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from landweave.metrics.boundary import Tolerance, near_boundary

BACKGROUND = 3


def by_loops(values: np.ndarray, metres: float, tolerance: Tolerance, background: int | None) -> np.ndarray:
    near = np.zeros(values.shape, bool)
    for here, mine in np.ndenumerate(values):
        for there, theirs in np.ndenumerate(values):
            if 255 in (mine, theirs) or mine == theirs:
                continue
            reach = tolerance.outside if background in (mine, theirs) else tolerance.between
            far = metres * np.hypot(here[0] - there[0], here[1] - there[1])
            near[here] |= far <= reach + metres / 2 + 1e-9
    return near


def parcels(seed: int) -> np.ndarray:
    """Blocks of four classes, of which one is background, and a few unknown pixels."""
    rng = np.random.default_rng(seed)
    values = np.kron(rng.integers(0, 4, (4, 4)), np.ones((4, 4), int)).astype(np.uint8)
    values[rng.random(values.shape) < 0.03] = 255
    return values


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [Tolerance(), Tolerance(0.5, 2.5), Tolerance(3, 1)])
@pytest.mark.parametrize("background", [BACKGROUND, None])
def test_near_by_loops(seed: int, tolerance: Tolerance, background: int | None) -> None:
    values = parcels(seed)
    found = near_boundary(values, metres=0.8, tolerance=tolerance, background=background)
    assert np.array_equal(found, by_loops(values, 0.8, tolerance, background))
    assert not found[values == 255].any()


def test_one_metre_outside_and_five_between_in_pixels_of_the_archive() -> None:
    """Of 0.2 m: five pixels on either side of a parcel's outer boundary, twenty-five of one between parcels."""
    row = np.repeat(np.array([BACKGROUND, 0, 1], np.uint8), 60)
    near = near_boundary(np.tile(row, (3, 1)), metres=0.2, background=BACKGROUND)[1]
    assert list(np.flatnonzero(near)) == [*range(55, 65), *range(95, 145)]


def test_a_place_of_one_class_has_no_boundary() -> None:
    assert not near_boundary(np.full((6, 6), 2, np.uint8), metres=0.2, background=BACKGROUND).any()
    assert not near_boundary(np.full((6, 6), 255, np.uint8), metres=0.2, background=BACKGROUND).any()
