"""A dataset in memory: several streams of different size, dtype and dates, holes, and labels of the three kinds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from landweave.data.dataset import Dataset, Place, Split, Task
from landweave.errors import DataError
from landweave.grid import Grid
from landweave.legends import Legend
from landweave.sample import Image, Label, Sample
from landweave.sensors import sensor

SCENE = Legend.from_json({"name": "scene", "classes": ["water", "forest", "field", "town"]})
COVER = Legend.from_json(
    {"name": "cover", "classes": {1: {"name": "water"}, 2: {"name": "trees"}, 5: {"name": "built"}}, "ignore": [0]}
)
STREAMS = ("s2-l2a@10", "s2-l2a@20", "s1-rtc-gamma0", "dem")


@dataclass
class Fake(Dataset):
    """Place `n` is a pure function of (seed, n).

    Place 1 lacks Sentinel-1, place 2 has no known label, place 3 has NaN in its Sentinel-1, place 4 a -1000 offset,
    place 5 an unseen band and a known-but-empty class set.
    """

    count: int = 12
    seed: int = 0
    size: int = 16
    dates: int = 3
    pause: float = 0.0
    bad: tuple[int, ...] = ()
    where: str = "fake"
    streams: tuple[str, ...] = STREAMS
    tasks: dict[str, Task] = field(
        default_factory=lambda: {
            "scene": Task("class", SCENE),
            "tags": Task("multilabel", SCENE),
            "cover": Task("map", COVER),
        }
    )

    def __post_init__(self) -> None:
        splits: tuple[Split, ...] = ("train", "train", "train", "validation", "test", "train")
        self.places = [
            Place(f"place-{n:03d}", splits[n % 6], f"group-{n // 3}", 2.0 + 0.01 * n, None if n == 2 else 48.0)
            for n in range(self.count)
        ]

    def read(self, index: int) -> Sample:
        time.sleep(self.pause)
        if index in self.bad:
            raise DataError("cannot be read, perhaps truncated", where=f"fake/{index}.tif", fix="copy the file again")
        rng = np.random.default_rng([self.seed, index])
        H = self.size
        grid = Grid("EPSG:32631", (10.0, 0.0, 5e5 + 160.1 * index, 0.0, -10.0, 5.4e6 + 1e-9), (H, H))
        offset = sensor("s2-l2a").offset + (-0.1 if index == 4 else 0.0)
        ten = rng.integers(0, 6000, (4, H, H)).astype(np.uint16)
        images = {
            "s2-l2a@10": Image.of(
                "s2-l2a", ("B02", "B03", "B04", "B08"), ten, grid=grid, days=[7000 + index], offset=offset
            )
        }
        if "s2-l2a@20" in self.streams:
            images["s2-l2a@20"] = Image.of(
                "s2-l2a",
                ("B05", "B8A"),
                rng.integers(0, 6000, (1, 2, H // 2, H // 2)).astype(np.int16),
                grid=grid.scaled(H // 2, H // 2),
                days=[7000 + index],
                offset=offset,
                bands_seen=[True, index != 5],
                pixels_seen=rng.random((1, 1, H // 2, H // 2)) > 0.3,
            )
        if index != 1:
            images["s1-rtc-gamma0"] = self._radar(rng, index, grid)
        images["dem"] = Image.of("dem", ("elevation",), rng.normal(300, 50, (1, 4, 4)))
        return Sample(images, self._labels(index, grid), self.places[index].name, self.places[index].group)

    def _radar(self, rng: np.random.Generator, index: int, grid: Grid) -> Image:
        T = 1 + index % self.dates
        data = rng.normal(-12, 3, (T, 2, self.size, self.size)).astype(np.float32)
        if index == 3:
            data[0, 1, :2] = np.nan
        scale = [1.0 + 0.5 * t for t in range(T)]
        return Image.of("s1-rtc-gamma0", ("VV", "VH"), data, grid=grid, days=range(T), scale=scale)

    def _labels(self, index: int, grid: Grid) -> dict[str, Label]:
        tags = self.classes(index, "tags")
        codes = np.zeros((self.size, self.size), np.uint8)
        if index != 2:
            codes[: self.size // 2] = (1, 2, 5)[index % 3]
        one = self.classes(index, "scene")
        return {
            "scene": Label.of_class(None if one is None else one[0], SCENE),
            "tags": Label.of_classes(tags, SCENE),
            "cover": Label.of_map(codes, COVER, grid=grid),
        }

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        if index == 2:
            return None
        if task == "tags":
            return () if index == 5 else tuple(sorted({index % 4, index * 7 % 3}))
        return (index % 3,) if task == "cover" else (index % 4,)

    def files(self, index: int) -> tuple[Path, ...]:
        return ()
