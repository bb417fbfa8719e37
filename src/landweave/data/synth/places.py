"""Where the places of a layout lie: genuine tile names and UTM grids, on land that is invented.

Place i of a seed is the same whatever the number of places: every choice hangs on the seed and on i alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from landweave.data import mgrs
from landweave.data.synth.fields import F32, F64, key_of
from landweave.data.synth.ground import Bytes, Ground
from landweave.data.synth.params import PARAMS
from landweave.data.synth.world import View, World
from landweave.data.synth.zones import ZONE, ZONES
from landweave.errors import DataError
from landweave.grid import Grid
from landweave.legends import EUROSAT

TILES = {  # tile of the military grid -> country whose name its places bear
    "33UUP": "Austria", "31UES": "Belgium", "35VLH": "Finland", "29UNV": "Ireland", "34TDN": "Kosovo",
    "34UFG": "Lithuania", "32ULV": "Luxembourg", "29SND": "Portugal", "34TDQ": "Serbia", "32TMT": "Switzerland",
}  # fmt: skip
METRES = 10.0
_STRIP = 1_000_000.0  # UTM zones lie side by side in the plane of the world


@dataclass(frozen=True)
class Spot:
    """One square place: its grid at 10 m, the tile it lies in, and when it was seen."""

    tile: str
    grid: Grid
    day: date

    @property
    def country(self) -> str:
        """The country of the tile."""
        return TILES[self.tile]

    @property
    def of_year(self) -> int:
        """Day of the year, from 1."""
        return self.day.timetuple().tm_yday

    def axes(self) -> tuple[F64, F64]:
        """Pixel centres in the plane of the world."""
        (a, _, left, _, e, top), (H, W) = self.grid.transform, self.grid.shape
        strip = mgrs.tile(self.tile).zone * _STRIP
        return _from(strip + left, a, W), _from(top, e, H)

    def view(self, world: World) -> View:
        """Look at it."""
        return world.view(*self.axes(), METRES)


def spot(tile: str, left: float, top: float, size: int, day: date) -> Spot:
    """A place of `size` x `size` pixels of 10 m whose upper left corner lies at UTM coordinates."""
    grid = Grid(mgrs.tile(tile).crs, (METRES, 0.0, left, 0.0, -METRES, top), (size, size))
    return Spot(tile, grid, day)


def seen_on(seed: int, tile: str, *, first: int = 105, last: int = 285) -> date:
    """The day on which a tile was seen: between two days of 2017."""
    rng = np.random.default_rng([key_of(seed, "day", tile)])
    return date(2017, 1, 1) + timedelta(days=int(rng.integers(first, last)) - 1)


def shuffled(count: int, *words: object) -> list[int]:
    """The numbers below `count` in an order that the words decide."""
    return [int(v) for v in np.random.default_rng([key_of(*words)]).permutation(count)]


def sensible(reflectance: F32) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Reflectance as Sentinel-2 digital numbers: x 10,000, never 0, which means nodata."""
    return np.clip(np.rint(reflectance * 10_000), 1, 65_535).astype(np.uint16)


_CELL = 160.0  # metres of the coarse map by which scenes of a class are found
_REACH = 240  # cells of the coarse map along a side: 38 km


class Sites:
    """Places of 640 m for each class of EuroSAT, none of which overlaps another of its class."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._found: dict[int, list[tuple[str, float, float]]] = {}
        self._search: dict[int, Iterator[tuple[str, float, float]]] = {}
        self._table = _scene_table()

    def get(self, scene: int, rank: int) -> tuple[str, float, float]:
        """Tile, left and top (UTM) of the `rank`-th site of a class.

        Raises:
            LookupError: the world has not so many (of seed 0: 63 industrial ones, over 130 of every other class).
        """
        found = self._found.setdefault(scene, [])
        search = self._search.setdefault(scene, self._candidates(scene))
        while len(found) <= rank:
            tile, left, top = next(search)
            if any(t == tile and abs(a - left) < 640 and abs(b - top) < 640 for t, a, b in found):
                continue
            if self.scene_of(spot(tile, left, top, 64, date(2017, 6, 1))) == scene:
                found.append((tile, left, top))
        return found[rank]

    def turns(self) -> Iterator[tuple[int, int]]:
        """Class and rank of place 0, 1, ...: the classes take turns, and one that has no more sites is passed over.

        Raises:
            DataError: (while iterating) no class has a site left.
        """
        left, rank = list(range(len(EUROSAT))), 0
        while left:
            for scene in tuple(left):
                try:
                    self.get(scene, rank)
                except LookupError:
                    left.remove(scene)
                    continue
                yield scene, rank
            rank += 1
        raise DataError("the synthetic world has no more places", where="synth", fix="ask for fewer --places")

    def _candidates(self, scene: int) -> Iterator[tuple[str, float, float]]:
        """Windows most of whose coarse cells are of the class (for a line: some), in an order of the seed."""
        base = self.world.other if self.world.null == "labels" else self.world.ground
        line = EUROSAT.names[scene] in ("Highway", "River")
        starts = [
            (tile, r, c)
            for tile, m in _coarse_maps(base.seed).items()
            for r, c in _windows(m == scene, 3 if line else 13)
        ]
        for k in shuffled(len(starts), self.world.seed, "site", scene):
            tile, row, col = starts[k]
            where = mgrs.tile(tile)
            left, top = where.left + 1_200 + col * _CELL, where.top - 1_200 - row * _CELL
            yield tile, left, top
        raise LookupError(f"no more places of class {EUROSAT.names[scene]}")

    def scene_of(self, place: Spot) -> int:
        """The class of a place: a river or motorway that crosses it, else what covers more than half; 255 if none."""
        x, y = place.axes()
        zone = self.world.mapped(x[2::4], y[2::4])
        share = np.bincount(zone.ravel(), minlength=len(ZONES)) / zone.size
        for name, least in (("river", 0.08), ("motorway", 0.03)):
            if share[ZONE[name]] >= least:
                return int(self._table[ZONE[name]])
        known = self._table != 255
        classes = np.bincount(self._table[known], share[known], minlength=len(EUROSAT))
        return int(classes.argmax()) if classes.max() > 0.5 else 255


def _scene_table() -> Bytes:
    """Zone index -> class of EuroSAT, 255 where it has none."""
    return np.array([EUROSAT.names.index(z.eurosat) if z.eurosat else 255 for z in ZONES], np.uint8)


@lru_cache(maxsize=2)
def _coarse_maps(seed: int) -> dict[str, Bytes]:
    """Class by coarse cell and tile, with roads and rivers drawn wide so that none slips between the cells."""
    wide = Ground(seed, replace(PARAMS, road_half_width=85.0, river_half_width=(95.0, 0.0, 95.0)))
    out = {}
    for tile in TILES:
        x, y = _coarse_axes(tile)
        out[tile] = _scene_table()[wide.mapped(wide.land(x, y), lines=True)]
    return out


def _coarse_axes(tile: str) -> tuple[F64, F64]:
    where = mgrs.tile(tile)
    left, top = where.zone * _STRIP + where.left + 1_200, where.top - 1_200
    return _from(left, _CELL, _REACH), _from(top, -_CELL, _REACH)


def _from(start: float, step: float, count: int) -> F64:
    """Centres of pixels along one side."""
    return np.asarray(start + step * (np.arange(count) + 0.5), np.float64)


def _windows(hit: Bytes, least: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Rows and columns of the 4 x 4 windows with at least so many hits."""
    total = np.cumsum(np.cumsum(np.pad(hit, ((1, 0), (1, 0))).astype(np.int32), 0), 1)
    count = total[4:, 4:] - total[:-4, 4:] - total[4:, :-4] + total[:-4, :-4]
    return np.argwhere(count >= least)
