"""A small predictor that needs no training, and rasters written for the tests of this room."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from landweave.contract import BandStats, Contract, StreamContract
from landweave.data import raster
from landweave.grid import Grid
from landweave.legends import LandClass, Legend
from landweave.sample import Batch, LabelKind
from landweave.transforms import cubes

STATS = BandStats(0.2, 0.1, 0.0, 1.0, 0.0, 0.6, 100)
LEGEND = Legend(
    "three",
    (LandClass(1, "water", "#1a5bab"), LandClass(4, "crops & <trees>", "#358221"), LandClass(9, "bare", "#efcfa8")),
)


def contract(size: int = 16, *, radar: bool = False, metres: float = 10.0, bands: tuple[str, ...] = ("B04", "B08")):
    streams = {"s2-l2a": StreamContract("s2-l2a", bands, "reflectance", metres, (size, size), (STATS,) * len(bands))}
    if radar:
        streams["s1-rtc-gamma0"] = StreamContract(
            "s1-rtc-gamma0", ("VV", "VH"), "dB", metres, (size, size), (STATS,) * 2
        )
    return Contract(streams)


@dataclass
class Fake:
    """Classes by the first band, smoothed over 3 x 3 pixels inside the window (so that window borders show)."""

    contract: Contract
    kind: LabelKind = "map"
    legend: Legend = LEGEND
    task: str = "lulc"
    smooth: bool = True
    batches: list[Batch] = field(default_factory=list)
    keep: bool = False
    coarse: int = 1

    def predict(self, batch: Batch) -> Tensor:
        if self.keep:
            self.batches.append(batch)
        cube = cubes(batch, self.contract)
        values = cube.images["s2-l2a"].data[:, 0, :1]
        if "s1-rtc-gamma0" in cube.images:
            radar = cube.images["s1-rtc-gamma0"]
            seen = radar.seen[:, 0, :1].float()
            values = values + 0.2 * (radar.data[:, 0, :1] > -10) * seen
        if self.smooth:
            values = torch.nn.functional.avg_pool2d(values, 3, 1, 1, count_include_pad=True)
        centres = torch.tensor([0.05, 0.3, 0.6]).reshape(1, 3, 1, 1)
        found = (-30 * (values - centres).abs()).softmax(1)
        if self.kind == "map":
            return torch.nn.functional.avg_pool2d(found, self.coarse) if self.coarse > 1 else found
        return found.mean((2, 3))


def grid(height: int, width: int, *, metres: float = 10.0, x: float = 500_000.0, y: float = 5_000_000.0) -> Grid:
    return Grid("EPSG:32631", (metres, 0.0, x, 0.0, -metres, y), (height, width))


def field_of(height: int, width: int, *, seed: int = 0, cell: int = 7) -> np.ndarray:
    """Blocky reflectance x 10,000 with noise, H W."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([500, 3000, 6000], (height // cell + 1, width // cell + 1))
    fine = np.kron(coarse, np.ones((cell, cell)))[:height, :width]
    return (fine + rng.normal(0, 300, fine.shape)).clip(1, 9000).astype(np.uint16)


def write(path: Path, bands: dict[str, np.ndarray], where: Grid, **options: object) -> Path:
    data = np.stack(list(bands.values()))
    return raster.write(path, data, where, descriptions=list(bands), **options)


def optical(path: Path, height: int, width: int, *, seed: int = 0, **options: object) -> Path:
    first = field_of(height, width, seed=seed)
    return write(path, {"B04": first, "B08": first[::-1].copy()}, grid(height, width), nodata=0, **options)
