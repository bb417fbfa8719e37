"""Small contracts and batches of cubes for the tests of networks and methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from landweave.contract import BandStats, Contract, StreamContract
from landweave.data.dataset import Task
from landweave.legends import LandClass, Legend
from landweave.sample import Batch, Image, Label, LabelKind
from landweave.sensors import sensor

LEGEND = Legend("three", tuple(LandClass(i, n, "#000000") for i, n in enumerate(("water", "wood", "town"))))
BANDS = {"s2-l2a": ("B02", "B03", "B04"), "s1-rtc-gamma0": ("VV", "VH"), "dem": ("elevation",)}
LEVEL = {"s2-l2a": (0.1, 0.05), "s1-rtc-gamma0": (-12.0, 4.0), "dem": (300.0, 100.0)}
TWO = {"s2-l2a": (64, 64), "s1-rtc-gamma0": (64, 64)}


def contract_of(sizes: Mapping[str, tuple[int, int]] = TWO) -> Contract:
    def row(name: str) -> StreamContract:
        mean, std = LEVEL[name]
        stats = BandStats(mean, std, mean - 3 * std, mean + 3 * std, mean - 2 * std, mean + 2 * std, 100)
        bands = BANDS[name]
        return StreamContract(name, bands, sensor(name).unit, 10.0, sizes[name], (stats,) * len(bands))

    return Contract({name: row(name) for name in sizes})


def batch_of(
    sizes: Mapping[str, tuple[int, int]] = TWO,
    *,
    B: int = 2,
    T: int = 1,
    seed: int = 0,
    absent: Sequence[tuple[str, int]] = (),
    kind: LabelKind = "class",
) -> Batch:
    """Cubes of noise in physical units; `absent` names (sensor, place) pairs that are not seen."""
    made = torch.Generator().manual_seed(seed)
    images = {}
    for name, (H, W) in sizes.items():
        mean, std = LEVEL[name]
        C = len(BANDS[name])
        image = Image(
            bands=BANDS[name],
            data=torch.randn(B, T, C, H, W, generator=made) * std + mean,
            scale=torch.ones(B, T, C),
            offset=torch.zeros(B, T, C),
            days=torch.zeros(B, T, dtype=torch.int32),
            dates_seen=torch.ones(B, T, dtype=torch.bool),
            bands_seen=torch.ones(B, C, dtype=torch.bool),
            pixels_seen=torch.ones(B, T, 1, H, W, dtype=torch.bool),
        )
        for place in [b for n, b in absent if n == name]:
            image.bands_seen[place] = False
        images[name] = image
    size = max(sizes.values())
    if kind == "class":
        label = Label(kind, torch.arange(B) % 3, torch.ones(B, dtype=torch.bool), LEGEND)
    elif kind == "multilabel":
        values = (torch.rand(B, 3, generator=made) < 0.5).byte()
        values[:, 0] = 1
        label = Label(kind, values, torch.ones(B, 3, dtype=torch.bool), LEGEND)
    else:
        values = torch.randint(0, 3, (B, *size), generator=made, dtype=torch.uint8)
        label = Label(kind, values, torch.ones(B, *size, dtype=torch.bool), LEGEND)
    return Batch(images, {"task": label}, tuple(f"place{i}" for i in range(B)), ("",) * B)


def task_of(kind: LabelKind) -> Task:
    return Task(kind, LEGEND)


def with_image(batch: Batch, name: str, image: Image) -> Batch:
    return replace(batch, images={**batch.images, name: image})
