"""Every fault on a genuine Sentinel-2 patch: 12 bands of 10, 20 and 60 m."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from landweave.contract import Contract, StreamContract
from landweave.data import raster
from landweave.data.stats import BandStats
from landweave.sample import Batch, Image, Sample, collate
from landweave.sensors import SENSORS
from landweave.transforms import cubes, normalise
from landweave.transforms.faults import LOOK, named, spoil

S2 = SENSORS["s2-l2a"]
TEXTS = (
    "petcu2024-names/B2-B4-B8-B11@0.9",
    "missing@0.5:model",
    "dead:B08@0.02",
    "gain:B04*1.3",
    "offset+1000",
    "swap:B04,B08",
    "shift@0.5",
    "noise@0.3",
    "holes@0.4",
    "stripes@0.2",
    "gaps@0.1",
    "dead-columns@0.4",
    "saturation@0.1",
)


@cache
def patch(file: Path) -> tuple[Batch, Contract]:
    """The upper left 96 x 96 pixels as a cube, and a contract of their statistics."""
    data = raster.read(file).data[:, :96, :96]
    rows = tuple(
        BandStats(float(b.mean()), float(b.std()), float(b.min()), float(b.max()), 0.0, 1.0, b.size)
        for b in data * 1e-4
    )
    contract = Contract({S2.name: StreamContract(S2.name, S2.band_names, S2.unit, 10.0, (96, 96), rows)})
    image = Image.of(S2.name, S2.band_names, data)
    return cubes(collate([Sample({S2.name: image}, {}, file.stem)]), contract), contract


@pytest.mark.parametrize("text", TEXTS)
def test_a_fault_of_a_real_image(real: Path, text: str) -> None:
    batch, contract = patch(real / "satclip-s2" / "example_s2" / "patch_33188.tif")
    clean, found = batch.images[S2.name], spoil(batch, named(text), (0, LOOK)).images[S2.name]
    struck = (~found.seen | (found.data != clean.data)).float().mean((0, 1, 3, 4))
    bands = named(text).faults[0].bands
    at = [S2.band_names.index(b) for b in bands] or list(range(12))
    others = [c for c in range(12) if c not in at]
    assert (struck[at] > 0.01).all(), dict(zip(S2.band_names, struck.tolist(), strict=True))
    assert not struck[others].any()
    values = found.data[found.seen]
    assert -0.2 < values.min()
    assert values.max() < 3
    shown = normalise(spoil(batch, named(text), (0, LOOK)), contract).images[S2.name]
    assert torch.isfinite(shown.data).all()
    assert (shown.data[~shown.seen] == 0).all(), "an unseen value is the band's mean"


def test_a_pixel_missing_on_the_models_grid_is_told_by_its_neighbours(real: Path) -> None:
    """Section 0, fact 5: enlarged fourfold, nine tenths of the pixels of a band hide little of it.

    With a mask in native pixels a tenth of them keep anything; with one of the enlarged image about 1 - 0.9^16 = 0.81.
    """
    batch, _ = patch(real / "satclip-s2" / "example_s2" / "patch_33188.tif")
    image = batch.images[S2.name]
    from landweave.transforms import resample

    large = Batch({S2.name: resample(image, (384, 384))}, {}, batch.names, batch.groups)
    nir, kept = S2.band_names.index("B08"), {}
    for text in ("missing:B08@0.9", "missing:B08@0.9:model"):
        seen = spoil(large, named(text), (0, LOOK), metres={S2.name: 2.5}).images[S2.name].seen[0, 0, nir]
        native = seen.unflatten(0, (96, 4)).unflatten(2, (96, 4))
        kept[text[-6:]] = float(native.any(3).any(1).float().mean())
        assert float(seen.float().mean()) == pytest.approx(0.1, abs=0.02)
    native_, enlarged = kept.values()
    assert native_ == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 96**2))
    assert enlarged == pytest.approx(1 - 0.9**16, abs=4 * np.sqrt(0.15 / 96**2))
