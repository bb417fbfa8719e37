"""Small scenes of three mixed materials in eleven bands of Sentinel-2, and a run that has learned them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landweave.data import raster
from landweave.grid import Grid

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
SPECTRA = np.array(
    [
        [300, 600, 400, 1000, 2400, 3000, 3300, 3500, 3500, 2200, 1100],  # leaves
        [900, 1300, 1800, 2100, 2300, 2500, 2700, 2900, 2950, 3600, 3100],  # soil
        [700, 650, 450, 400, 350, 330, 300, 280, 270, 150, 100],  # water
    ]
)
SIDE = 64


def grid_of(index: int, shape: tuple[int, int] = (SIDE, SIDE)) -> Grid:
    return Grid("EPSG:32633", (10.0, 0.0, 5e5 + 5000.0 * index, 0.0, -10.0, 4e6), shape)


def smooth(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """A field between 0 and 1 that changes over about ten pixels, with fine texture."""
    coarse = rng.random((shape[0] // 10 + 3, shape[1] // 10 + 3))
    r, c = np.arange(shape[0])[:, None] / 10, np.arange(shape[1])[None] / 10
    i, j = r.astype(int), c.astype(int)
    a, b = r - i, c - j
    field = (1 - a) * ((1 - b) * coarse[i, j] + b * coarse[i, j + 1])
    field = field + a * ((1 - b) * coarse[i + 1, j] + b * coarse[i + 1, j + 1])
    return np.clip(field + rng.normal(0, 0.05, shape), 0, 1)


def scene(seed: int, shape: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.uint16]:
    """C H W in digital numbers; every scene has its own mix, brightness and a little haze."""
    rng = np.random.default_rng(seed)
    shares = np.stack([smooth(rng, shape) ** 2 + 0.02 for _ in SPECTRA]) * rng.uniform(0.5, 1.5, (3, 1, 1))
    shares /= shares.sum(0)
    values = np.einsum("mhw,mc->chw", shares, SPECTRA) * rng.uniform(0.9, 1.1)
    values = values + rng.uniform(0, 40) * np.linspace(1, 0, len(BANDS))[:, None, None]
    return np.rint(values + rng.normal(0, 15, values.shape)).clip(1, 10000).astype(np.uint16)


def write_places(folder: Path, count: int = 30) -> Path:
    """A table without labels: two thirds to learn from, a third to validate."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        raster.write(folder / f"{i}.tif", scene(i), grid_of(i), descriptions=BANDS)
        rows.append({"name": f"p{i}", "split": "validation" if i % 3 == 2 else "train", "s2-l2a": f"{i}.tif"})
    with (folder / "places.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "places.csv"


def make_run(table: Path, folder: Path, *changes: str) -> Path:
    """A finished run whose network was not trained: ridge regression is fitted when a run ends."""
    import torch

    from landweave import recipe
    from landweave.run.finish import finish
    from landweave.run.material import gather

    folder.mkdir(parents=True, exist_ok=True)
    experiment = recipe("reconstruct", [f"data.path={table}", "method.width=8", "method.blocks=[16, 32]", *changes])
    material = gather(experiment, folder)
    torch.manual_seed(0)
    finish(experiment, material, experiment.method.build(material.contract, material.kind), folder)
    return folder
