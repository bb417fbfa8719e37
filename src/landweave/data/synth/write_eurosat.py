"""EuroSAT's layout: 13-band tif (B8A last) or RGB jpg in class folders, with official and spatial split lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from landweave.data import mgrs, raster
from landweave.data.synth.layout import Progress, write_lines
from landweave.data.synth.places import Sites, Spot, seen_on, sensible, spot
from landweave.data.synth.world import World
from landweave.legends import EUROSAT
from landweave.sensors import sensor

_INNER = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
_ORDER = next(o for o in sensor("s2-l1c").orders if len(o) == 13)
_WEST, _MIDDLE = 10.0, 19.5  # degrees east: the spatial lists train west of the first, test east of the second
_WHITE = 0.275  # reflectance that becomes 255 in the jpg form


def eurosat_place(sites: Sites, scene: int, rank: int) -> tuple[str, Spot]:
    """Name and ground of the `rank`-th place of a class."""
    tile, left, top = sites.get(scene, rank)
    return f"{EUROSAT.names[scene]}_{rank + 1}", spot(tile, left, top, 64, seen_on(sites.world.seed, tile))


def eurosat_image(world: World, place: Spot) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Level-1C digital numbers: 13 H W in the order of EuroSAT's files."""
    return sensible(place.view(world).optical(place.of_year, _ORDER, level="l1c"))


def write_eurosat(out: Path, world: World, *, places: int, rgb: bool, progress: Progress = None) -> None:
    """Write the folder: the classes take turns, as long as the world has places of them (EuroSAT is uneven too).

    Raises:
        DataError: the world has not so many places.
    """
    sites = Sites(world)
    root = out if rgb else out / _INNER
    lists: dict[str, list[str]] = {f"{kind}-{s}": [] for kind in ("eurosat", "eurosat-spatial") for s in _SPLITS}
    for i, (scene, rank) in zip(range(places), sites.turns(), strict=False):
        name, place = eurosat_place(sites, scene, rank)
        file = root / name.partition("_")[0] / name
        image = eurosat_image(world, place)
        if rgb:
            _jpeg(file.with_suffix(".jpg"), image[[3, 2, 1]])
        else:
            raster.write(file.with_suffix(".tif"), image, place.grid)
        lists["eurosat-" + ("train", "train", "train", "val", "test")[(rank + scene) % 5]].append(f"{name}.jpg")
        lists["eurosat-spatial-" + _side(place)].append(f"{name}.jpg")
        if progress:
            progress(i + 1, places)
    for name, lines in lists.items():
        write_lines(out / f"{name}.txt", lines)


_SPLITS = ("train", "val", "test")


def _side(place: Spot) -> str:
    x, y = place.grid.centre
    zone = np.array([mgrs.tile(place.tile).zone])
    lon = float(mgrs.lonlat(zone, np.array([True]), np.array([x]), np.array([y]))[0][0])
    return "train" if lon < _WEST else "val" if lon < _MIDDLE else "test"


def _jpeg(file: Path, numbers: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> None:
    """Red, green, blue as 8 bits, quality 95."""
    import os

    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    grey = np.clip(numbers.transpose(1, 2, 0) / (_WHITE * 10_000) * 255, 0, 255)
    part = file.with_name(f".{file.name}.part")
    Image.fromarray(np.rint(grey).astype(np.uint8)).save(part, format="JPEG", quality=95)
    os.replace(part, file)
