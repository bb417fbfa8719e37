"""What `landweave check --imperfect` lists: what was put in, where, and how much; of clean images nothing."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from landweave.data import raster
from landweave.data.check_imperfect import Imperfect, imperfect
from landweave.data.table import Table
from landweave.grid import Grid

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
MEANS = np.array([600, 900, 800, 1200, 2200, 2600, 2800, 3000, 2300, 1500.0])
SIDE = 48

Image = NDArray[np.float64]


def image(seed: int) -> Image:
    rng = np.random.default_rng(seed)
    light = rng.uniform(0.8, 1.2) * (1 + 0.1 * rng.standard_normal((SIDE, SIDE)))
    return (MEANS[:, None, None] * light + rng.normal(0, 20, (10, SIDE, SIDE))).clip(1, 10000)


def table(
    folder: Path, change: Callable[[Image], None] | None = None, *, count: int = 12, split: str = "train"
) -> Path:
    """Clean places, and a change to the fourth."""
    rows = []
    for i in range(count):
        data = image(i)
        if change and i == 3:
            change(data)
        grid = Grid("EPSG:32633", (10.0, 0.0, 5e5 + 1000 * i, 0.0, -10.0, 4e6), (SIDE, SIDE))
        raster.write(folder / f"{i}.tif", np.rint(data).astype(np.uint16), grid, descriptions=BANDS)
        rows.append({"name": f"p{i}", "split": split, "s2-l2a": f"{i}.tif"})
    with (folder / "places.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "places.csv"


def look(path: Path) -> list[Imperfect]:
    return imperfect(Table(path=str(path)).open()).found


def cloud(data: Image) -> None:
    data[:, :24, :24] = 5500


def snow(data: Image) -> None:
    data[:8], data[8:] = 8000, 700


def dead(data: Image) -> None:
    data[3] = 0


def dead_pixels(data: Image) -> None:
    data[6].flat[::20] = 0


def saturated(data: Image) -> None:
    data[7] = np.minimum(data[7], np.quantile(data[7], 0.9))


def stripes(data: Image) -> None:
    data[4, ::6] *= 1.5


def cast(data: Image) -> None:
    data[1] *= 2


@pytest.mark.parametrize(
    ("change", "what", "band", "amount"),
    [
        (cloud, "cloud", "", 0.25),
        (dead, "dead", "B05", 1.0),
        (dead_pixels, "dead", "B08", 0.05),
        (saturated, "saturated", "B8A", 0.1),
        (stripes, "stripes", "B06", None),
        (cast, "cast", "B03", None),
    ],
)
def test_what_was_put_in_is_listed_with_place_band_and_amount(
    tmp_path: Path, change: Callable[[Image], None], what: str, band: str, amount: float | None
) -> None:
    found = look(table(tmp_path, change))
    assert {f.place for f in found} == {"p3"}
    (mine,) = {(f.what, f.band, f.amount) for f in found if f.what == what and f.band == band}
    if amount is not None:
        assert mine[2] == pytest.approx(amount, abs=0.01)
    assert any(str(f).startswith(f"p3: s2-l2a {band}".rstrip()) for f in found)


def test_of_clean_images_nothing_is_listed(tmp_path: Path) -> None:
    report = imperfect(Table(path=str(table(tmp_path))).open())
    assert report.found == []
    assert "12 images of split train looked at, 0 of them imperfect" in report.lines()[0]


def test_snow_is_no_cloud(tmp_path: Path) -> None:
    assert not [f for f in look(table(tmp_path, snow)) if f.what == "cloud"]


def test_water_that_is_cut_off_in_all_bands_is_not_dead(tmp_path: Path) -> None:
    def water(data: Image) -> None:
        data[:, :10] = 0

    assert not [f for f in look(table(tmp_path, water)) if f.what == "dead"]


def test_the_command_lists_and_radar_is_left_alone(tmp_path: Path) -> None:
    path = table(tmp_path, dead)
    command = [sys.executable, "-m", "landweave", "check", str(path), "--imperfect"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "p3: s2-l2a B05: dead or cut off, 100% of the pixels" in done.stdout


def test_the_clouds_of_a_real_patch_are_found(real: Path, tmp_path: Path) -> None:
    names = {"cloudy": "patch_511198", "clear": "patch_70975"}
    with (tmp_path / "places.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "split", "s2-l2a"])
        for name, patch in names.items():
            writer.writerow([name, "train", next((real / "satclip-s2").rglob(f"{patch}.tif"))])
    clouds = {f.place: f.amount for f in look(tmp_path / "places.csv") if f.what == "cloud"}
    assert set(clouds) == {"cloudy"}
    assert 0.2 < clouds["cloudy"] < 0.6
