"""Genuine data for the claims on faults: chips of the 23 patches of SatCLIP, and windows of the five tiles."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np

from evidence.record import SHARED, held, landweave

PATCHES = SHARED / "data" / "satclip-s2"
TILES = SHARED / "data" / "terramind"
OFFSET = {"patch_445": -1000, "patch_8845": -1000, "patch_74721": -1000, "433D_629L_3_1": -1000}
"""What carries the offset of baseline 04.00, unmarked."""
SCENES = 23
SIDE = 32
CHIPS = {"train": 80, "validation": 9, "test": 43}
"""Chips a scene: left half to train and validate on, right half to test; they overlap within a half."""


def chips(folder: Path) -> Path:
    """A packed store of chips of 32 pixels, each with the gain, tilt and haze of a day of its own.

    Without those a scene is told by its mean colour. The draw is fixed: chip i of a scene is the same at every call.
    """
    with held(folder):
        return _packed_chips(folder)


def _packed_chips(folder: Path) -> Path:
    store = folder / "store"
    if (store / "manifest.json").exists():
        return store
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    rows: list[dict[str, str]] = []
    for path in sorted(PATCHES.rglob("*.tif")):
        rows += _scene(path, folder)
    with (folder / "places.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    landweave("pack", folder / "places.csv", store)
    return store


def _scene(path: Path, folder: Path) -> list[dict[str, str]]:
    from landweave.data import raster
    from landweave.grid import Grid

    found = raster.read(path)
    values = found.data.astype(np.float64) + OFFSET.get(path.stem, 0)
    rng = np.random.default_rng(int(path.stem.removeprefix("patch_")))
    rows = []
    for split, count in CHIPS.items():
        for i in range(count):
            half = values.shape[2] // 2
            left = int(rng.integers(0, half - SIDE)) + (half if split == "test" else 0)
            top = int(rng.integers(0, values.shape[1] - SIDE))
            chip = values[:, top : top + SIDE, left : left + SIDE]
            tilt = np.linspace(-1, 1, len(chip)) * rng.uniform(-0.2, 0.2)
            haze = rng.uniform(0, 300) * np.linspace(1, 0, len(chip))
            chip = chip * (rng.uniform(0.6, 1.4) * (1 + tilt))[:, None, None] + haze[:, None, None]
            name = f"{path.stem}-{split}-{i}"
            grid = Grid("EPSG:32633", (10.0, 0.0, 5e5, 0.0, -10.0, 4e6), (SIDE, SIDE))
            raster.write(folder / "images" / f"{name}.tif", chip.clip(0, 60000).astype(np.uint16), grid)
            rows.append({"name": name, "split": split, "group": path.stem, "s2-l2a": f"images/{name}.tif",
                         "label:scene": path.stem})  # fmt: skip
    return rows


def tiles() -> list[str]:
    """The names of the five tiles."""
    return sorted(p.stem for p in (TILES / "LULC").glob("*.tif"))


def windows(folder: Path, left_out: str) -> Path:
    """A packed store of windows of 560 m: one tile to test on, the others to learn from."""
    store = folder / "store"
    if (store / "manifest.json").exists():
        return store
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i, name in enumerate([*(n for n in tiles() if n != left_out), left_out]):
        images = ("--image", f"s2-l2a={TILES}/S2L2A/{name}.tif")
        label = ("--label", f"lulc={TILES}/LULC/{name}.tif", "--legend", TILES / "legend.yaml", "--size", "56")
        part = ("--split", "test") if name == left_out else ("--shares", "0.75,0.25,0")
        offset = ("--offset", f"s2-l2a={OFFSET[name]}") if name in OFFSET else ()
        append = ("--append",) if i else ()
        landweave("tile", *images, *label, *part, *append, *offset, "--out", folder / "places.parquet")
    landweave("pack", folder / "places.parquet", store)
    return store
