"""Statistics of the training images, and the contract that a model is built from.

Streaming: one pass, memory that does not grow with the data. Each stretch of values is reduced by itself and merged by
the pairwise update of Chan, Golub and LeVeque (1983, "Algorithms for computing the sample variance", eq. 2.1), which
stays exact where a sum of squares would lose all digits. Percentiles come from a uniform sample of the values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from landweave.contract import BandStats, Contract, StreamContract
from landweave.data.dataset import Dataset, Statistics
from landweave.errors import ConfigError, DataError, listed
from landweave.grid import Grid
from landweave.sensors import Sensor, sensor

if TYPE_CHECKING:
    from landweave.sample import Image, Sample

Progress = Callable[[int, int], None]
Values = NDArray[np.float64]

_KEPT = 50_000
"""Values kept of each band for its percentiles: p01 is then within 0.05 percentage points (one standard error)."""


def measure(
    dataset: Dataset,
    indices: Sequence[int],
    *,
    max_places: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, dict[str, BandStats]]:
    """Statistics by sensor and band, in the sensor's unit, over seen pixels only; a band never seen is left out.

    Args:
        dataset: as the experiment sees it, with its choice of sensors and bands.
        indices: the training places, and no others.
        max_places: of more, so many are drawn; where a sensor is in none of them, more are read until it is found.
        seed: of that draw, and of the sample that percentiles come from.
        progress: called with (places read, places to read).

    Raises:
        DataError: no seen pixel of a sensor in all those places; or a file that cannot be read.
    """
    return _Survey.of(dataset, indices, max_places, seed, progress).stats()


def contract_of(
    dataset: Dataset,
    indices: Sequence[int],
    *,
    given: Statistics | None = None,
    max_places: int = 2000,
    progress: Progress | None = None,
) -> Contract:
    """What a model trained on these places is promised, one cube a sensor.

    All streams of a sensor (`@10`, `@20`, `@60`) become one: its bands in the sensor's own order, as far as they
    exist; pixel size and (H, W) those of the finest stream, as most places have them. A sensor is a series if any
    place that was read has several dates of it. Other arguments and errors as for `measure`.

    Args:
        dataset: as the experiment sees it.
        indices: the training places.
        given: means and deviations that take the place of the measured ones (`data.statistics`), by sensor and band;
            of linear power in dB, which is how networks read it.
        max_places: see `measure`.
        progress: see `measure`.

    Raises:
        ConfigError: `given` names a sensor and lacks one of its bands, or has linear power that is not in dB.
    """
    survey = _Survey.of(dataset, indices, max_places, 0, progress)
    streams = {}
    for name, measured in survey.stats().items():
        said = (given or {}).get(name, {})
        in_power = sensor(name).unit == "linear power"
        bands = measured if in_power else _replaced(name, measured, said)
        metres, size = survey.finest(name)
        streams[name] = StreamContract(
            name,
            tuple(bands),
            sensor(name).unit,
            metres,
            size,
            tuple(bands.values()),
            series=survey.dates[name] > 1,
            context=survey.context(name),
            decibel=_decibels(name, measured, said) if in_power else (),
        )
    return Contract(streams)


def _replaced(
    name: str, measured: Mapping[str, BandStats], given: Mapping[str, tuple[float, float]]
) -> dict[str, BandStats]:
    """Statistics with the given means and deviations; range and percentiles stay what was measured."""
    _all_or_none(name, measured, given)
    return {b: replace(s, mean=given[b][0], std=given[b][1]) if b in given else s for b, s in measured.items()}


def _decibels(
    name: str, measured: Mapping[str, BandStats], given: Mapping[str, tuple[float, float]]
) -> tuple[tuple[float, float], ...]:
    """Mean and deviation in dB of each band of linear power: as given, or of its percentiles."""
    _all_or_none(name, measured, given)
    for band, (mean, _) in given.items():
        if band not in measured:
            continue
        low, high = measured[band].decibel_range
        if not low <= mean <= high:
            raise ConfigError(
                f"the mean of {band} is given as {mean:g}, and in dB its values lie between {low:.3g} and {high:.3g} "
                "(1st and 99th percentile)",
                where=f"data.statistics.{name}",
                fix="give mean and deviation in dB: networks read linear power in dB",
            )
    return tuple(given.get(b, s.decibel) for b, s in measured.items())


def _all_or_none(name: str, measured: Mapping[str, BandStats], given: Mapping[str, tuple[float, float]]) -> None:
    """Refuse statistics of some bands of a sensor."""
    if given and (lacking := [b for b in measured if b not in given]):
        raise ConfigError(
            f"{len(given)} bands of {name} have statistics ({listed(list(given))}), and the images have "
            f"{len(measured)}: none for {listed(lacking)}",
            where=f"data.statistics.{name}",
            fix=f"give mean and deviation of {listed(lacking)} too, or choose bands: data.streams=[{name}:...]",
        )


def implausible(contract: Contract) -> list[str]:
    """A line for each band whose statistics its unit does not allow: a wrong scale, dB for linear power, an offset."""
    found = []
    for name, stream in contract.streams.items():
        for band, stats in zip(stream.bands, stream.stats, strict=True):
            why = _why(sensor(name), band, stats)
            if why:
                found.append(f"{name} {band}: mean {stats.mean:.4g} {stream.unit} ({stats.minimum:.4g} ... ")
                found[-1] += f"{stats.maximum:.4g}): {why}"
    return found


def _why(row: Sensor, name: str, stats: BandStats) -> str:
    low, high = row.plausible
    if row.unit == "dB" and stats.minimum >= 0:
        return f"never below 0 dB; this looks like linear power (sensor {row.family}-linear)"
    if row.unit == "linear power" and stats.mean < 0:
        return f"power is not negative; this looks like dB (sensor {row.family})"
    if not low <= stats.mean <= high:
        return f"outside {low:g} ... {high:g}; is the scale or the unit another?"
    if row.unit == "reflectance" and stats.maximum < 5e-3:
        return "nearly black; was the scale applied twice?"
    visible = (row.band(name).wavelength or 9) < 0.7  # there water and woods are dark
    if row.unit == "reflectance" and visible and stats.minimum > 0.08:
        return "no dark pixel at all; does the +1000 offset of baseline 04.00 stand in the files? (data.offset)"
    if row.unit == "digital number" and 0 < stats.maximum <= 1:
        return "digital numbers of 0 ... 255 are expected; were they divided by 255?"
    return ""


# ---- one pass


@dataclass
class _Moments:
    """n, mean, sum of squared deviations, range, and a uniform sample, of what was added so far."""

    random: np.random.Generator
    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    values: Values = field(default_factory=lambda: np.empty(0))
    keys: Values = field(default_factory=lambda: np.empty(0))
    bar: float = 1.0

    def add(self, values: Values) -> None:
        """Merge a stretch of values (one axis)."""
        if not values.size:
            return
        mean = float(values.mean())
        squares = float(np.square(values - mean).sum())
        n, shift = self.n + values.size, mean - self.mean
        self.squares += squares + shift * shift * self.n * values.size / n
        self.mean += shift * values.size / n
        self.n = n
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self._sample(values)

    def _sample(self, values: Values) -> None:
        """Every value ever added has a key drawn from (0, 1); those with the lowest keys are the sample.

        A key above `bar` is out already, so that only the number of values below it is drawn, then which they are.
        """
        count = int(self.random.binomial(values.size, self.bar))
        entering = values if self.bar == 1 else values[self.random.choice(values.size, count, replace=False)]
        self.keys = np.concatenate([self.keys, self.random.random(count) * self.bar])
        self.values = np.concatenate([self.values, entering])
        if self.keys.size > 2 * _KEPT:
            self._trim()

    def _trim(self) -> None:
        if self.keys.size > _KEPT:
            lowest = np.argpartition(self.keys, _KEPT)[:_KEPT]
            self.keys, self.values = self.keys[lowest], self.values[lowest]
            self.bar = float(self.keys.max())

    def stats(self) -> BandStats:
        """What was added, described. The standard deviation is that of the population (divided by n)."""
        self._trim()
        p01, p99 = np.percentile(self.values, [1, 99])
        std = math.sqrt(self.squares / self.n)
        return BandStats(self.mean, std, self.low, self.high, float(p01), float(p99), self.n)


@dataclass
class _Survey:
    """What one pass over the places found."""

    sensors: list[str]
    seed: int
    moments: dict[str, dict[str, _Moments]] = field(default_factory=dict)
    forms: dict[str, dict[str, Counter[tuple[float | None, int, int]]]] = field(default_factory=dict)
    dates: Counter[str] = field(default_factory=Counter)
    """The longest series of each sensor."""
    sides: dict[str, Counter[float]] = field(default_factory=dict)
    """How far each sensor reaches, in sides of the label's ground, or of the finest sensor's."""

    @classmethod
    def of(
        cls, dataset: Dataset, indices: Sequence[int], max_places: int, seed: int, progress: Progress | None
    ) -> _Survey:
        if not indices:
            raise DataError("no training places to measure", where=dataset.where)
        wanted = list(dict.fromkeys(s.partition("@")[0] for s in dataset.streams))
        survey = cls(wanted, seed)
        order = np.random.default_rng(seed).permutation(len(indices)).tolist()
        drawn, rest = sorted(order[:max_places]), order[max_places:]
        for done, at in enumerate(drawn, 1):
            survey.add(dataset.read(indices[at]))
            if progress:
                progress(done, len(drawn))
        while rest and survey.lacking():
            survey.add(dataset.read(indices[rest.pop()]))
        if survey.lacking():
            raise DataError(
                f"no seen pixel of {', '.join(survey.lacking())} at any of the {len(indices)} training places",
                where=dataset.where,
                fix=f"choose other sensors: data.streams=[{','.join(s for s in wanted if s in survey.moments)}]",
            )
        return survey

    def lacking(self) -> list[str]:
        """Sensors of which no pixel was seen yet."""
        return [s for s in self.sensors if s not in self.moments]

    def add(self, sample: Sample) -> None:
        for stream, image in sample.images.items():
            if not image.sensor_seen:
                continue
            name = stream.partition("@")[0]
            H, W = image.data.shape[-2:]
            self.forms.setdefault(name, {}).setdefault(stream, Counter())[(_metres(image), int(H), int(W))] += 1
            self.dates[name] = max(self.dates[name], int(image.dates_seen.sum()))
            for band, values in _values(image):
                self._moments(name, band).add(values)
        for name, side in _sides(sample).items():
            self.sides.setdefault(name, Counter())[side] += 1

    def _moments(self, name: str, band: str) -> _Moments:
        bands = self.moments.setdefault(name, {})
        if band not in bands:
            bands[band] = _Moments(np.random.default_rng([self.seed, crc32(f"{name} {band}".encode())]))
        return bands[band]

    def stats(self) -> dict[str, dict[str, BandStats]]:
        """By sensor, in the order of the dataset; by band, in the order of the sensor."""
        return {
            name: {b: self.moments[name][b].stats() for b in sensor(name).band_names if b in self.moments[name]}
            for name in self.sensors
        }

    def finest(self, name: str) -> tuple[float | None, tuple[int, int]]:
        """Pixel size and (H, W) of the finest stream, as most places have it."""
        usual = [max(c, key=lambda f: (c[f], f[1] * f[2])) for c in self.forms[name].values()]
        metres, H, W = min(usual, key=lambda f: (f[0] is None, f[0] or 0.0, -f[1] * f[2]))
        return metres, (H, W)

    def context(self, name: str) -> float:
        """How far a sensor reaches at most places; 1 without georeference."""
        return self.sides[name].most_common(1)[0][0] if name in self.sides else 1.0


def _sides(sample: Sample) -> dict[str, float]:
    """By sensor, the side of its ground in sides of the label map's, or of the finest image's where there is none.

    Within a twentieth of 1 it is 1. A single sensor without a label map is beside nothing, and tells nothing.
    """
    grids = {s.partition("@")[0]: im.grid for s, im in sample.images.items() if isinstance(im.grid, Grid)}
    labels = [label.grid for label in sample.labels.values() if isinstance(label.grid, Grid)]
    if len(grids) + len(labels) < 2:
        return {}
    base = min(labels or grids.values(), key=lambda g: g.pixel[0])
    height = base.pixel[1] * base.shape[0]
    found = {n: g.pixel[1] * g.shape[0] / height for n, g in grids.items() if g.crs == base.crs}
    return {n: 1.0 if abs(side - 1) < 0.05 else round(side, 2) for n, side in found.items()}


def _values(image: Image) -> Iterable[tuple[str, Values]]:
    """The seen values of each band that is seen, in the sensor's unit; nothing of one without a seen pixel."""
    data, seen = image.data.numpy(), image.seen.numpy()
    scale, offset = image.scale.double().numpy(), image.offset.double().numpy()
    for c, band in enumerate(image.bands):
        parts = [data[t, c][seen[t, c]].astype(np.float64) * scale[t, c] + offset[t, c] for t in range(len(data))]
        values: Values = np.concatenate(parts)
        if values.size:
            yield band, values


def _metres(image: Image) -> float | None:
    """Pixel size on the ground; None without georeference."""
    grid: Any = image.grid
    return ground_metres(grid) if isinstance(grid, Grid) else None


def ground_metres(grid: Grid, *, across: bool = False) -> float | None:
    """The height (`across`: the width) of a pixel in metres on the ground, whatever the unit of the CRS; None without.

    A CRS in metres whose scale is within 5 % of true (UTM, Lambert) gives its own pixel size, exactly.
    """
    from landweave.data.raster import lonlat

    H, W = grid.shape
    count = min(W, 64) if across else H  # the width in the middle: parallels are not great circles
    ends = [(H / 2, (W + s * count) / 2) if across else ((H + s * count) / 2, W / 2) for s in (-1, 1)]
    first, last = (lonlat(_point(grid, *end)) for end in ends)
    if first is None or last is None:
        return None
    own = grid.pixel[0] if across else grid.pixel[1]
    true = _distance(first, last) / count
    return own if abs(true / own - 1) < 0.05 else float(f"{true:.3g}")


def _point(grid: Grid, row: float, col: float) -> Grid:
    """A pixel of that size around a point."""
    a, b, _, d, e, _ = grid.transform
    x, y = grid.xy(row - 0.5, col - 0.5)
    return Grid(grid.crs, (a, b, x, d, e, y), (1, 1))


def _distance(p: tuple[float, float], q: tuple[float, float]) -> float:
    """Great-circle distance of two points (degrees) in metres, by the haversine."""
    lon1, lat1, lon2, lat2 = map(math.radians, (*p, *q))
    u = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(math.sqrt(u))
