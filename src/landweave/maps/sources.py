"""The rasters that a map is made from: which file holds which band, and whether the model was promised such input.

Headers only are read here. Whatever does not fit is refused at this edge, with the file and the fix.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from landweave.contract import Contract, StreamContract
from landweave.data import raster, table_images
from landweave.data.check_values import refuse_numbers
from landweave.data.stats import ground_metres
from landweave.errors import ConfigError, ContractError, GridError, listed
from landweave.grid import Grid, Window
from landweave.maps.dates import day_of_one, iso, offsets_of, told_days
from landweave.maps.given import Date, File, files_of, series_of
from landweave.sensors import Sensor, sensor

LOOK = 256
"""Side in pixels of what is looked at before anything heavy is loaded."""
LOOKS = 4
"""Dates of a series that are looked at so."""
SAME_PIXEL = 0.1
"""Pixel sizes that differ by less than this share count as the one that the model was trained on."""


@dataclass(frozen=True)
class Part:
    """One file of a source, and the 0-based positions of its bands that are read."""

    path: str
    at: tuple[int, ...]
    block: tuple[int, int]


@dataclass(frozen=True)
class Source:
    """One stream: some bands of one sensor on one grid, in one or several files, at one date or several.

    Channels are the bands of the first date, then those of the next: all parts together, `scale` and `offset` have
    that order. `number * scale + offset` is in the sensor's unit. `days` is empty where no date is known.
    """

    stream: str
    bands: tuple[str, ...]
    parts: tuple[Part, ...]
    grid: Grid
    dtype: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    days: tuple[int, ...] = ()

    @property
    def dates(self) -> int:
        """How many dates there are."""
        return max(1, len(self.days))

    @property
    def where(self) -> str:
        """The first file, for messages."""
        return self.parts[0].path


@dataclass(frozen=True)
class Sources:
    """All inputs of a map: what was given, what the contract has but was not given, and what the user should know."""

    sources: tuple[Source, ...]
    unseen: tuple[str, ...]
    notes: tuple[str, ...]


def open_sources(
    contract: Contract,
    images: Mapping[str, str | os.PathLike[str]],
    *,
    bands: Mapping[str, str],
    offset: Mapping[str, float | str],
    dates: Mapping[str, str] | None = None,
    dated: bool = False,
) -> Sources:
    """Find the bands that the contract wants in the given files.

    Args:
        contract: what the model was trained on.
        images: sensor -> a raster, several joined by `;` (one file per band), or a folder of them. Of a series: one
            raster a date, or one folder with a raster a band, joined by `;` or in a folder; or a stack of all dates.
        bands: sensor -> band names in file order, comma-separated; needed only where files do not say.
        offset: sensor -> number to add to the raw values (-1000 for Sentinel-2 from processing baseline 04.00); of a
            series also `-1000@2022-01-25`: to the dates from that day on.
        dates: sensor -> the dates of a series, where the names of its files do not tell them. None: each sensor is one
            image of one date, whatever the contract says.
        dated: whether the model reads the day of an image of one date, too (`method.circumstances.dates`).

    Raises:
        ConfigError: no image, an unknown sensor, an option for a sensor without an image, dates that nobody reads.
        ContractError: a sensor, band or pixel size that the model was not trained on.
        DataError: a file is missing, unreadable, or its bands cannot be told.
    """
    if not images:
        raise ConfigError("no image", fix="give --image SENSOR=FILE for " + listed(list(contract.streams)))
    given = {stream: sensor(stream).name for stream in images}
    for option, table in (("--bands", bands), ("--offset", offset), ("--dates", dates or {})):
        for name in table:
            if sensor(name).name not in given.values():
                raise ConfigError(f"{option} for {name}, of which no --image is given", where=f"{option} {name}")
    sources: list[Source] = []
    notes: list[str] = []
    taken: dict[str, str] = {}
    for stream, path in images.items():
        mine = _contract_of(contract, stream)
        if mine.sensor in taken:
            raise ConfigError(f"two images of {mine.sensor}: {taken[mine.sensor]} and {stream}", where="--image")
        taken[mine.sensor] = stream
        if given[stream] != mine.sensor:
            notes.append(f"{stream} is converted from {sensor(stream).unit} to {mine.unit}")
        names = {sensor(k).name: v for k, v in bands.items()}.get(given[stream], "")
        raw = {sensor(k).name: v for k, v in offset.items()}.get(given[stream], 0.0)
        told = {sensor(k).name: v for k, v in (dates or {}).items()}.get(given[stream], "")
        if told and not (mine.series or dated):
            raise ConfigError(
                f"the model reads one image of {mine.sensor}, not a series",
                where=f"--dates {stream}",
                fix="leave it out",
            )
        if dates is None or not mine.series:
            files, skipped = files_of(sensor(stream), os.fspath(path), names)
            day = None
            if dated:
                given_paths = [Path(p.strip()) for p in os.fspath(path).split(";")]
                day, note = day_of_one(told, (given_paths, [Path(f.head.path) for f in files]), stream)
                notes.append(f"{stream}: {note}")
            series = [Date(tuple(files), day)]
        else:
            series, skipped = series_of(sensor(stream), os.fspath(path), names, told)
            notes.append(f"{stream}: {told_days([d.day for d in series if d.day is not None])}")
        days = [d.day for d in series if d.day is not None]
        added = offsets_of(raw, days, stream)
        if "@" in str(raw):
            notes.append(
                f"{stream}: {float(str(raw).partition('@')[0]):+g} in {sum(map(bool, added))} of {len(days)} dates"
            )
        if skipped:
            notes.append(f"not used in {path}: {listed(skipped, 6)}")
        found = _sources(sensor(stream), series, mine, added)
        if oblong := _oblong(found[0].grid):
            notes.append(f"{stream}: {oblong}; most models learned square ones")
        sources += found
    unseen = tuple(s for s in contract.streams if s not in taken)
    if unseen:
        notes.append(f"no image of {listed(unseen)}: the model works without, as if it had failed")
    return Sources(tuple(sources), unseen, tuple(notes))


def _contract_of(contract: Contract, stream: str) -> StreamContract:
    row = sensor(stream)
    for mine in contract.streams.values():
        if mine.accepts(row.name):
            return mine
    near = [s for s in contract.streams.values() if s.sensor.partition("-")[0] == row.name.partition("-")[0]]
    for mine in near or list(contract.streams.values())[:1]:
        mine.require(stream)
    raise ContractError("the model has no sensors", where=stream)


def _sources(row: Sensor, dates: list[Date], mine: StreamContract, added: Sequence[float]) -> list[Source]:
    """Group the wanted bands of a sensor by grid; all dates must have the form of the first."""
    have: list[str] = []
    for date in dates:
        have = [b for f in date.files for b in f.bands]
        if lacking := [b for b in _read_for(row, mine, have) if b not in have]:
            raise ContractError(
                f"no band {listed(lacking, 13)} of {row.name}; there are {listed(have, 13)}",
                where=date.files[0].head.path,
                fix=f"the model reads {','.join(mine.bands)}; if the file has other names, give --bands {row.name}=...",
            )
    asked = mine.bands
    mine = replace(mine, bands=_read_for(row, mine, have))
    grids: list[tuple[Grid, list[File]]] = []
    for file in _wanted(dates[0], mine):
        for grid, group in grids:
            if grid.aligned(file.head.grid):
                group.append(file)
                break
        else:
            grids.append((file.head.grid, [file]))
    for band in row.bands:
        apart = [g for g, group in grids if any(b in f.bands for f in group for b in band.less or ())]
        if band.less and band.name in asked and band.name not in have and len(apart) > 1:
            raise ContractError(
                f"{band.name} is {band.less[0]} less {band.less[1]}, and these lie on different grids",
                where=dates[0].files[0].head.path,
                fix="resample one to the grid of the other (gdalwarp -tr ... -te ...)",
            )
    finest = min((g for g, _ in grids), key=lambda g: g.pixel[0])
    _require_pixel(finest, mine, _wanted(dates[0], mine)[0].head.path)
    many = len(grids) > 1
    found = [_source(row, group, dates, grid, mine, added, many) for grid, group in grids]
    first: dict[str, Source] = {}
    for one in found:
        other = first.setdefault(one.stream, one)
        if other is not one:  # a model reads one image a pixel size
            raise GridError(
                f"{one.bands[0]} and {other.bands[0]} have pixels of one size, but lie on different grids: "
                f"{_where(one.grid)} and {_where(other.grid)}",
                where=one.where,
                fix=f"resample it to the grid of {Path(other.where).name} (gdalwarp -t_srs ... -tr ... -te ...)",
            )
    return found


def _where(grid: Grid) -> str:
    H, W = grid.shape
    return f"{H} x {W} pixels from {grid.transform[2]:.10g}, {grid.transform[5]:.10g} in {grid.crs[:20]}"


def _read_for(row: Sensor, mine: StreamContract, have: Sequence[str]) -> tuple[str, ...]:
    """The bands to read for those of the model: for one that is a difference, and not there, the two that it is of."""
    found: dict[str, None] = {}
    for band in mine.bands:
        pair = next((b.less for b in row.bands if b.name == band), None)
        found |= dict.fromkeys(pair if pair and band not in have and set(pair) <= set(have) else (band,))
    return tuple(found)


def _wanted(date: Date, mine: StreamContract) -> list[File]:
    return [f for f in date.files if any(b in mine.bands for b in f.bands)]


def _source(
    row: Sensor,
    first: list[File],
    dates: list[Date],
    grid: Grid,
    mine: StreamContract,
    added: Sequence[float],
    many: bool,
) -> Source:
    """The bands of `first`, which are those of one grid at the first date, at all dates; `added` to each date's."""
    bands = tuple(b for f in first for b in f.bands if b in mine.bands)
    parts: list[Part] = []
    scale: list[float] = []
    offset: list[float] = []
    dtypes = set()
    for date, raw in zip(dates, added, strict=True):
        of_band = {b: f for f in _wanted(date, mine) for b in f.bands}
        for path, mine_here in groupby(bands, key=lambda b, of=of_band: of[b].head.path):  # type: ignore[misc]
            here = list(mine_here)
            file = of_band[here[0]]
            if not grid.aligned(file.head.grid):
                raise GridError(
                    f"another date of {row.name} lies on another grid, see {first[0].head.path}",
                    where=path,
                    fix="resample all dates to one grid",
                )
            own = [file.bands.index(b) for b in here]
            parts.append(Part(path, tuple(file.first + i for i in own), file.head.block))
            cell = table_images.Source(row.name, (Path(path),), path)
            scales, offsets = table_images.calibration(file.head, cell, 0, {row.name: raw} if raw else {})
            scale += [float(scales[file.first + i]) for i in own]
            offset += [float(offsets[file.first + i]) for i in own]
            dtypes.add(file.head.dtype)
    if len({p.path for p in parts}) == 1:  # a stack of dates is read in one go
        parts = [replace(parts[0], at=tuple(i for p in parts for i in p.at))]
    dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
    stream = f"{row.name}@{metres(grid):.4g}" if many else row.name
    days = tuple(d.day for d in dates if d.day is not None)
    return Source(stream, bands, tuple(parts), grid, dtype, tuple(scale), tuple(offset), days)


def looked_at(sources: Sources) -> Sources:
    """The sources, each looked at without torch, so that values of another unit are refused in a second.

    What is odd and yet no reason to stop is noted: zeros that count as data, a suspected offset.

    Raises:
        DataError: as `landweave.data.check_values.refuse_numbers`, or a file cannot be read.
    """
    odd = [f"{s.stream}: {text}" for s in sources.sources for text in _odd(s)]
    return replace(sources, notes=(*sources.notes, *odd))


def _odd(source: Source) -> list[str]:
    """What is odd in the middle of an image; of a series in some of its dates, the first and the last among them."""
    last, n = source.dates - 1, len(source.bands)
    found: dict[str, str] = {}
    for date in sorted({round(i * last / (LOOKS - 1)) for i in range(LOOKS)}):
        pixels = [raster.read(part.path, bands=at, window=_middle(source.grid)) for part, at in _of_date(source, date)]
        lines = refuse_numbers(
            source.stream,
            source.bands,
            np.concatenate([p.data for p in pixels]),
            np.concatenate([np.broadcast_to(p.valid, p.data.shape) for p in pixels]),
            scale=np.asarray(source.scale[date * n : date * n + n], np.float32),
            offset=np.asarray(source.offset[date * n : date * n + n], np.float32),
            where=pixels[0].header.path,
        )
        for line in lines:
            found.setdefault(line.partition(":")[0], f"{iso(source.days[date])}, {line}" if last else line)
    return list(found.values())


def _of_date(source: Source, date: int) -> list[tuple[Part, tuple[int, ...]]]:
    """The files of one date, with the positions of its bands in each."""
    n, start = len(source.bands), 0
    found = []
    for part in source.parts:
        first, end = max(0, date * n - start), min(len(part.at), (date + 1) * n - start)
        if first < end:
            found.append((part, part.at[first:end]))
        start += len(part.at)
    return found


def _middle(grid: Grid) -> Window:
    H, W = grid.shape
    return Window(max(0, H // 2 - LOOK // 2), max(0, W // 2 - LOOK // 2), min(H, LOOK), min(W, LOOK))


def read_by(path: str) -> list[Path]:
    """A raster and every file that it is read from: those of a VRT, and of VRTs inside it, and sidecars."""
    import rasterio

    todo, seen = [path], set[str]()
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            if one == path or one.lower().endswith(".vrt"):
                with rasterio.open(one) as source:
                    todo += source.files
    return [Path(p) for p in sorted(seen)]


def metres(grid: Grid) -> float:
    """Pixel height on the ground in metres; in units of the grid where nobody knows its CRS."""
    return ground_metres(grid) or grid.pixel[1]


def _require_pixel(grid: Grid, mine: StreamContract, where: str) -> None:
    if not grid.crs:
        raise GridError("has no coordinate reference system", where=where, fix="set it: gdal_edit -a_srs EPSG:... FILE")
    height, width = ground_metres(grid), ground_metres(grid, across=True)
    if not mine.metres or height is None or width is None or abs(height / mine.metres - 1) <= SAME_PIXEL:
        return
    down, right = (size * mine.metres / true for size, true in ((grid.pixel[1], height), (grid.pixel[0], width)))
    raise ContractError(
        f"pixels of {height:.4g} m on the ground, but the model was trained on {mine.sensor} at {mine.metres:g} m",
        where=where,
        fix=f"resample it first: gdalwarp -tr {right:.6g} {down:.6g} -r bilinear IN OUT",
    )


def _oblong(grid: Grid) -> str:
    """A note where pixels are much wider or narrower than high on the ground, as those of a grid in degrees."""
    height, width = ground_metres(grid), ground_metres(grid, across=True)
    if height is None or width is None or abs(width / height - 1) <= SAME_PIXEL:
        return ""
    return f"pixels are {width:.3g} m wide and {height:.3g} m high on the ground"
