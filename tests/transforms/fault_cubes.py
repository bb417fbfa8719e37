"""Small batches of cubes for the tests of faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from landweave.sample import Batch, Image, Sample, collate
from landweave.sensors import SENSORS
from landweave.transforms.faults import LOOK, Fault, Faults, spoil
from landweave.transforms.resampling import physical

S2, S1, DEM = "s2-l2a", "s1-rtc-gamma0", "dem"
BANDS = {S2: SENSORS[S2].band_names, S1: ("VV", "VH"), DEM: ("elevation",), "s2-l1c": SENSORS["s2-l1c"].band_names}
END = (0, LOOK)


def cubes_of(
    names: str = "abcd", sensors: Sequence[str] = (S2, S1), *, T: int = 1, side: int = 24, bands: Mapping[str, Any] = {}
) -> Batch:
    """A place a letter, of values that belong to its letter, its sensor and band."""

    def image(name: str, sensor: str) -> Image:
        known = bands.get(sensor) or BANDS[sensor]
        rng = np.random.default_rng([ord(name), len(sensor)])
        level = {S1: (-12.0, 3.0), DEM: (700.0, 100.0)}.get(sensor, (2500.0, 400.0))
        data = rng.normal(*level, (T, len(known), side, side)).astype(np.float32)
        return physical(Image.of(sensor, known, data))

    return collate([Sample({s: image(n, s) for s in sensors}, {}, f"place-{n}") for n in names])


def with_hole(batch: Batch, sensor: str = S2) -> Batch:
    """The batch with a square of a sensor unseen in all bands."""
    image = batch.images[sensor]
    seen = image.pixels_seen.clone()
    seen[..., 3:9, 4:11] = False
    hidden = physical(replace(image, pixels_seen=seen))
    return replace(batch, images={**batch.images, sensor: hidden})


def hit(batch: Batch, *faults: Fault, key: tuple[int, ...] = END, complete: float = 0.0, **more: Any) -> Batch:
    return spoil(batch, Faults(faults=faults, complete=complete), key, **more)


def same(a: Image, b: Image, i: int, j: int) -> None:
    for part in ("data", "pixels_seen", "bands_seen", "dates_seen"):
        assert torch.equal(getattr(a, part)[i], getattr(b, part)[j]), part


def same_masks(a: Image, b: Image) -> bool:
    parts = ("pixels_seen", "bands_seen", "dates_seen")
    return all(torch.equal(getattr(a, p).expand_as(getattr(b, p)), getattr(b, p)) for p in parts)
