"""Where and when the places of `synth flair-hub` lie: domains, ROIs of 2 x 2 patches, dates, splits, absent sensors.

Place i of a seed is the same whatever the number of places: four patches make a ROI, and ROIs visit the domains in
turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from landweave.data.synth.fields import F64, key_of
from landweave.data.synth.flair_ground import FlairGround
from landweave.data.synth.flair_params import DOMAINS, FLAIR, Domain
from landweave.data.synth.ground import LINES
from landweave.data.synth.places import shuffled
from landweave.data.synth.zones import ZONE
from landweave.grid import Grid

SIDE = 102.4
CRS = "EPSG:2154"
STRIP = 70_000_000.0
"""Where France lies in the plane of the world: beside the UTM strips of the other layouts."""
PER_ROI, ACROSS = 4, 2
OVERCAST_PLACE = 5
"""The place none of whose Sentinel-2 dates is clear."""
_KINDS = ("AA", "AU", "AF", "AA", "AN", "UA", "AA", "FN")
_WANTED: dict[str, tuple[str, ...]] = {
    "A": ("arable", "arable", "small fields", "fields and nature", "pasture", "vineyard", "orchard"),
    "U": ("urban", "industrial"),
    "F": ("broadleaf forest", "conifer forest", "mixed forest"),
    "N": ("natural grassland", "heathland", "shrub and young trees", "inland marsh", "bare land"),
}
_CANDIDATES = 20
_SQUARES = 60  # a department's ROIs lie in as many squares of 1 km a side
Sensor = Literal["AERIAL_RGBI", "AERIAL-RLT_PAN", "DEM_ELEV", "SPOT_RGBI", "SENTINEL2_TS", "SENTINEL1-ASC_TS",
                 "SENTINEL1-DESC_TS", "SENTINEL2_MSK-SC", "AERIAL_LABEL-COSIA", "ALL_LABEL-LPIS"]  # fmt: skip


@dataclass(frozen=True)
class Roi:
    """2 x 2 patches of one domain. `number` counts the ROIs of all domains, `turn` those of one."""

    seed: int
    number: int

    @property
    def domain(self) -> Domain:
        """Its domain."""
        return DOMAINS[self.number % len(DOMAINS)]

    @property
    def turn(self) -> int:
        """How many of its domain came before."""
        return self.number // len(DOMAINS)

    @property
    def name(self) -> str:
        """As in the names of folders; not unique across domains."""
        kind = _KINDS[(self.number + self.turn) % len(_KINDS)]
        return f"{kind}-S{1 + self.number % 2}-{'V' if self.number % 8 == 5 else ''}{1 + self.turn}"

    @cached_property
    def corner(self) -> tuple[float, float]:
        """Left and top in EPSG:2154: that of its candidates which is most of all the land that its name says."""
        wanted = [ZONE[n] for n in _WANTED[self.name[0]]]
        ground = FlairGround(self.seed)
        half = SIDE * ACROSS / 2
        at = np.linspace(-0.8 * half, 0.8 * half, 5)
        best, found = -1.0, (0.0, 0.0)
        for x, y in self._candidates():
            zone = ground.land(STRIP + x + half + at, y - half + at).zone
            fit = float(np.isin(zone, wanted).mean() + 0.1 * (zone >= LINES).mean())
            if fit > best:
                best, found = fit, (x, y)
            if fit > 0.6:
                break
        return found

    def _candidates(self) -> Iterator[tuple[float, float]]:
        d = self.domain
        years = [o for o in DOMAINS if o.department == d.department]
        slot = (self.turn * len(years) + years.index(d)) * _CANDIDATES
        order = shuffled(_SQUARES**2, self.seed, "flair", d.department)
        for k in range(_CANDIDATES):
            at = order[(slot + k) % len(order)]
            yield d.x + round(at % _SQUARES * 1000 / SIDE) * SIDE, d.y - round(at // _SQUARES * 1000 / SIDE) * SIDE

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top."""
        left, top = self.corner
        return left, top - SIDE * ACROSS, left + SIDE * ACROSS, top

    def dates(self, series: str) -> list[date]:
        """Dates of a series (`SENTINEL2`, `SENTINEL1-ASC`, `SENTINEL1-DESC`): nearly even over the year, in order."""
        least, most = FLAIR.dates if series == "SENTINEL2" else FLAIR.radar_dates
        rng = np.random.default_rng([key_of("flair dates", self.seed, self.number, series)])
        count = int(rng.integers(least, most + 1))
        days = (np.arange(count) + 0.5 + rng.uniform(-0.35, 0.35, count)) * 365 / count
        return [date(self.domain.year, 1, 1) + timedelta(days=int(d)) for d in days]

    def taken(self, what: str) -> date:
        """Day of the aerial or the SPOT image: in the fourth window of the year's calendar."""
        rng = np.random.default_rng([key_of("flair day", self.seed, self.domain.name, what)])
        day = FLAIR.centre + dict(FLAIR.year_days)[self.domain.year] + rng.uniform(-1, 1) * FLAIR.aerial_days
        return date(self.domain.year, 1, 1) + timedelta(days=round(day) - 1)

    def taken_long_ago(self) -> date:
        """Day of the historical image."""
        draw = key_of("flair old day", self.seed, self.domain.department)
        return date(1950 + draw % 10, 6, 1) + timedelta(days=draw // 16 % 90)


@dataclass(frozen=True)
class Patch:
    """One place: a patch of a ROI, 1-based row and column."""

    index: int
    roi: Roi

    @property
    def row(self) -> int:
        """From the top, from 1."""
        return 1 + self.index % PER_ROI // ACROSS

    @property
    def column(self) -> int:
        """From the left, from 1."""
        return 1 + self.index % ACROSS

    @property
    def patch_id(self) -> str:
        """As in the metadata."""
        return f"{self.roi.domain.name}_{self.roi.name}_{self.row}-{self.column}"

    def file(self, sensor: Sensor) -> str:
        """Path of a raster below the dataset's folder."""
        d = self.roi.domain
        front = f"{d.department}-195X" if sensor == "AERIAL-RLT_PAN" else d.name
        top = f"{front}_{sensor}"
        return f"{top}/{self.roi.name}/{top}_{self.roi.name}_{self.row}-{self.column}.tif"

    def has(self, sensor: Sensor) -> bool:
        """Whether the sensor saw the place: some domains lack one, and every eleventh place has no SPOT image."""
        d = self.roi.domain
        if sensor == "AERIAL-RLT_PAN":
            return d.pan
        if sensor == "SENTINEL1-DESC_TS":
            return d.descending
        return sensor != "SPOT_RGBI" or self.index % 11 != 7

    def grid(self, pixels: int) -> Grid:
        """Its ground in so many pixels a side."""
        left, top = self._corner
        step = SIDE / pixels
        return Grid(CRS, (step, 0.0, left, 0.0, -step, top), (pixels, pixels))

    @property
    def _corner(self) -> tuple[float, float]:
        left, top = self.roi.corner
        return round(left + (self.column - 1) * SIDE, 1), round(top - (self.row - 1) * SIDE, 1)

    def axes(self, pixels: int) -> tuple[F64, F64]:
        """Pixel centres in the plane of the world."""
        left, top = self._corner
        at: F64 = (np.arange(pixels, dtype=np.float64) + 0.5) * (SIDE / pixels)
        return np.asarray(STRIP + left + at, np.float64), np.asarray(top - at, np.float64)

    def dates(self, series: str) -> list[date]:
        """Of its ROI; the lower left patch of a ROI lacks the fourth, as at the rim of an orbit."""
        found = self.roi.dates(series)
        return found if self.index % PER_ROI != 2 else found[:3] + found[4:]

    def split(self, fold: int) -> str:
        """`train`, `valid` or `test` of a fold, 1 ... 5: test by department, validation by ROI."""
        if self.roi.domain.fold == fold:
            return "test"
        return "valid" if (3 * self.roi.turn + self.roi.number % len(DOMAINS) + 2) % 4 == 0 else "train"

    @property
    def challenge(self) -> str:
        """The split of the challenge, which leaves some ROIs out and has two test sets."""
        if self.roi.domain.department in ("D006", "D067"):
            return "test-1" if self.roi.domain.department == "D006" else "test-2"
        return "none" if self.roi.domain.department == "D033" and self.roi.turn % 2 else self.split(1)


@lru_cache(maxsize=4096)
def _roi(seed: int, number: int) -> Roi:
    return Roi(seed, number)


def flair_patch(seed: int, index: int) -> Patch:
    """Place `index`."""
    return Patch(index, _roi(seed, index // PER_ROI))
