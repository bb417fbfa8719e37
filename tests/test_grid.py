from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landweave.errors import GridError
from landweave.grid import Grid, Window

GRID = Grid("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), (40, 60))


def test_bounds_and_pixel() -> None:
    assert GRID.bounds == (500_000, 3_999_600, 500_600, 4_000_000)
    assert GRID.pixel == (10, 10)
    assert GRID.centre == (500_300, 3_999_800)
    assert GRID.north_up
    assert not Grid("", (0, 1, 0, 1, 0, 0), (2, 2)).north_up


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 80), st.integers(1, 80))
def test_window_of_a_crop_is_that_crop(row: int, col: int, height: int, width: int) -> None:
    window = Window(row, col, height, width)
    assert GRID.window(GRID.crop(window).bounds) == window


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_rowcol_inverts_xy_on_a_rotated_grid(row: float, col: float) -> None:
    turned = Grid("", (8.0, 3.0, 7.0, 2.0, -9.0, -4.0), (10, 10))
    assert turned.rowcol(*turned.xy(row, col)) == pytest.approx((row, col), abs=1e-6)


def test_a_window_that_cuts_pixels_is_refused() -> None:
    with pytest.raises(GridError, match="off the lattice"):
        GRID.window((500_004, 3_999_600, 500_104, 3_999_700))


def test_grids_are_compared_with_a_tolerance() -> None:
    a, b, c, d, e, f = GRID.transform
    near = Grid(GRID.crs, (a, b, c + 1e-9, d, e, f), GRID.shape)
    off = Grid(GRID.crs, (a, b, c + 1.0, d, e, f), GRID.shape)
    assert near != GRID
    assert near.aligned(GRID)
    assert not off.aligned(GRID)
    assert not Grid("EPSG:32634", GRID.transform, GRID.shape).aligned(GRID)


def test_another_pixel_size_covers_the_same_ground_but_is_not_aligned() -> None:
    coarse = GRID.scaled(20, 30)
    assert coarse.pixel == (20, 20)
    assert coarse.same_ground(GRID)
    assert not coarse.aligned(GRID)
