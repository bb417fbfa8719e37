"""Tiles of the military grid: against genuine files, and against letters derived the other way round."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from landweave.data import mgrs, raster
from landweave.errors import DataError


def _utm(lon: float, lat: float) -> tuple[int, float, float]:
    """Zone, easting and northing by PROJ."""
    from rasterio.warp import transform

    zone = int((lon + 180) // 6) + 1
    crs = f"EPSG:{326 if lat >= 0 else 327}{zone:02d}"
    x, y = transform("EPSG:4326", crs, [lon], [lat])
    return zone, x[0], y[0]


def test_a_tile_holds_the_points_that_its_letters_stand_for() -> None:
    draw = random.Random(0)
    for _ in range(200):
        lon, lat = draw.uniform(-179.9, 179.9), draw.uniform(-79.5, 83.5)
        zone, x, y = _utm(lon, lat)
        band = "CDEFGHJKLMNPQRSTUVWX"[min(int((lat + 80) // 8), 19)]
        column = ["ABCDEFGH", "JKLMNPQR", "STUVWXYZ"][(zone - 1) % 3][int(x // 100_000) - 1]
        row = "ABCDEFGHJKLMNPQRSTUV"[(int(y // 100_000) + (5 if zone % 2 == 0 else 0)) % 20]
        found = mgrs.tile(f"{zone:02d}{band}{column}{row}")
        assert (found.zone, found.north) == (zone, lat >= 0)
        assert 0 <= x - found.left < 100_060, (lon, lat)
        assert 0 <= found.top - y < 100_060, (lon, lat)


@pytest.mark.parametrize(
    ("name", "left", "top"),
    [("33UUP", 300_000, 5_400_000), ("T31TCJ", 300_000, 4_900_020), ("32TQT", 699_960, 5_300_040)],
)
def test_corners_are_moved_out_to_multiples_of_60_m(name: str, left: float, top: float) -> None:
    found = mgrs.tile(name)
    assert (found.left, found.top) == (left, top)


@pytest.mark.parametrize("name", ["33UIP", "61UUP", "33UAP", "uup", "33UUW"])
def test_what_is_no_tile_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="military grid"):
        mgrs.tile(name)


def test_longitude_and_latitude_agree_with_proj_to_a_millimetre() -> None:
    draw = random.Random(1)
    points = [(draw.uniform(-179.9, 179.9), draw.uniform(-79.5, 83.5)) for _ in range(100)]
    utm = [_utm(*p) for p in points]
    zone, x, y = (np.array(column) for column in zip(*utm, strict=True))
    lon, lat = mgrs.lonlat(zone, np.array([p[1] >= 0 for p in points]), x, y)
    assert np.abs(lat - [p[1] for p in points]).max() < 9e-9
    assert (np.abs(lon - [p[0] for p in points]) * np.cos(np.radians(lat))).max() < 9e-9


def test_patches_of_the_genuine_archives_lie_where_their_names_say(real: Path) -> None:
    files = sorted((real / "formats/bigearthnet-v2").rglob("*.tif"))
    assert len(files) == 15
    for file in files:
        name = file.parent.name.split("_")
        grid = raster.header(file).grid
        assert mgrs.tile(name[-3]).patch(int(name[-2]), int(name[-1]), 1200.0, grid.shape[0]) == grid
    labels = sorted((real / "formats/bigearthnet-v1/tiny").rglob("*.json"))
    for file in labels:  # version 1 names the tile in its label file only
        raw = json.loads(file.read_text())
        tile = next(word for word in raw["tile_source"].split("_") if len(word) == 6 and word.startswith("T"))
        *_, x, y = file.parent.name.split("_")
        grid = mgrs.tile(tile).patch(int(x), int(y), 1200.0, 120)
        assert grid.xy(0, 0) == (raw["coordinates"]["ulx"], raw["coordinates"]["uly"]), file.name
    assert len(labels) == 11
