"""The rasters that a map is made from: which file holds which band, and whether the model was promised such input.

Headers only are read here. Whatever does not fit is refused at this edge, with the file and the fix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import cos, radians
from pathlib import Path

import numpy as np

from landweave.contract import Contract, StreamContract
from landweave.data import raster, table_images
from landweave.data.check_values import refuse_numbers
from landweave.data.raster import Header, header, lonlat
from landweave.errors import ConfigError, ContractError, DataError, GridError, MissingDataError, listed
from landweave.grid import Grid, Window
from landweave.maps.dates import days_in_names, days_of, told_days
from landweave.sensors import Sensor, sensor

RASTERS = (".tif", ".tiff", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg")
METRES_A_DEGREE = 111_320.0
LOOK = 256
"""Side in pixels of what is looked at before anything heavy is loaded."""
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


@dataclass(frozen=True)
class _File:
    """Some bands of one date; those of a stack of dates begin at channel `first` of the file."""

    head: Header
    bands: tuple[str, ...]
    first: int = 0


@dataclass(frozen=True)
class _Date:
    """The files of one date; `day` is None where it is not known."""

    files: tuple[_File, ...]
    day: int | None = None


def open_sources(
    contract: Contract,
    images: Mapping[str, str | os.PathLike[str]],
    *,
    bands: Mapping[str, str],
    offset: Mapping[str, float],
    dates: Mapping[str, str] | None = None,
) -> Sources:
    """Find the bands that the contract wants in the given files.

    Args:
        contract: what the model was trained on.
        images: sensor -> a raster, several joined by `;` (one file per band), or a folder of them. Of a series: one
            raster a date, or one folder with a raster a band, joined by `;` or in a folder; or a stack of all dates.
        bands: sensor -> band names in file order, comma-separated; needed only where files do not say.
        offset: sensor -> number to add to the raw values (-1000 for Sentinel-2 from processing baseline 04.00).
        dates: sensor -> the dates of a series, where the names of its files do not tell them. None: each sensor is one
            image of one date, whatever the contract says.

    Raises:
        ConfigError: no image, an unknown sensor, an option for a sensor without an image, dates of what is no series.
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
        if told and not mine.series:
            raise ConfigError(
                f"the model reads one image of {mine.sensor}, not a series",
                where=f"--dates {stream}",
                fix="leave it out",
            )
        if dates is None or not mine.series:
            files, skipped = _files(sensor(stream), os.fspath(path), names)
            series = [_Date(tuple(files))]
        else:
            series, skipped = _series(sensor(stream), os.fspath(path), names, told)
            notes.append(f"{stream}: {told_days([d.day for d in series if d.day is not None])}")
        if skipped:
            notes.append(f"not used in {path}: {listed(skipped, 6)}")
        sources += _sources(sensor(stream), series, mine, raw)
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


def _files(row: Sensor, text: str, names: str) -> tuple[list[_File], list[str]]:
    """Every file with the names of its bands; and the names of files in a folder that were left alone."""
    asked = row.select(n.strip() for n in names.split(",")) if names else ()
    if os.path.isdir(text):
        return _folder(row, Path(text), asked)
    heads = [header(part.strip()) for part in text.split(";") if part.strip()]
    if not heads:
        raise MissingDataError("an empty path", where=f"--image {row.name}=")
    if asked:
        count = sum(h.count for h in heads)
        if count != len(asked):
            raise DataError(
                f"{count} bands, but --bands names {len(asked)}",
                where=heads[0].path,
                fix=f"name them all in file order: --bands {row.name}=...",
            )
        at = [sum(h.count for h in heads[:i]) for i in range(len(heads))]
        return [_File(h, asked[i : i + h.count]) for h, i in zip(heads, at, strict=True)], []
    if len(heads) == 1:
        return [_File(heads[0], band_names(row, heads[0]))], []
    return _once(row, [_File(h, _single(row, h)) for h in heads]), []


def _series(row: Sensor, text: str, names: str, told: str) -> tuple[list[_Date], list[str]]:
    """The dates of a series in their order, and the names of files that were left alone."""
    days = days_of(told, row.name) if told else []
    paths = [Path(part.strip()) for part in text.split(";") if part.strip()]
    if len(days) == 1:
        files, skipped = _files(row, text, names)
        return [_Date(tuple(files), days[0])], skipped
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(p for p in paths[0].iterdir() if p.is_dir() or p.suffix.lower() in RASTERS)
    if len(paths) == 1 and days:
        return _in_order(_stack(row, header(paths[0]), names, days)), []
    days = days or days_in_names(paths, row.name)
    if len(days) != len(paths):
        raise DataError(
            f"{len(days)} dates for {len(paths)} files of {row.name}",
            where=f"--dates {row.name}",
            fix="give one a file, in their order",
        )
    found = [_files(row, str(path), names) for path in paths]
    dates = [_Date(tuple(files), day) for (files, _), day in zip(found, days, strict=True)]
    return _in_order(dates), sorted({name for _, skipped in found for name in skipped})


def _stack(row: Sensor, head: Header, names: str, days: Sequence[int]) -> list[_Date]:
    """The dates of a file that holds all of them, all bands of the first before those of the next."""
    each, rest = divmod(head.count, len(days))
    if rest or not each:
        raise DataError(
            f"{head.count} bands are not {len(days)} dates of equally many",
            where=head.path,
            fix=f"correct --dates {row.name}=..., or give one file a date",
        )
    asked = row.select(n.strip() for n in names.split(",")) if names else row.of_count(each, where=head.path)
    if len(asked) != each:
        raise DataError(
            f"{each} bands a date, but --bands names {len(asked)}", where=head.path, fix="name those of one date"
        )
    return [_Date((_File(head, asked, t * each),), day) for t, day in enumerate(days)]


def _in_order(dates: list[_Date]) -> list[_Date]:
    return sorted(dates, key=lambda d: d.day or 0)


def _folder(row: Sensor, folder: Path, asked: Sequence[str]) -> tuple[list[_File], list[str]]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in RASTERS)
    named = {p: in_name(row, p.name) for p in paths}
    found = [_File(header(p), (b,)) for p, b in named.items() if b and (not asked or b in asked)]
    if not found:
        raise DataError(
            f"no raster named after a band of {row.name} among {len(paths)} files",
            where=folder,
            fix=f"name the files after their bands ({listed(row.band_names)}), or give them joined by `;` with --bands",
        )
    for file in found:
        if file.head.count != 1:
            raise DataError(f"{file.head.count} bands in a file named after one", where=file.head.path)
    return _once(row, found), [p.name for p, b in named.items() if not b]


def _single(row: Sensor, head: Header) -> tuple[str, ...]:
    if head.count == 1 and (band := in_name(row, Path(head.path).name)):
        return (band,)
    return band_names(row, head)


def _once(row: Sensor, files: list[_File]) -> list[_File]:
    seen: dict[str, str] = {}
    for file in files:
        for band in file.bands:
            if band in seen:
                raise DataError(
                    f"band {band} of {row.name} is in two files, the other is {Path(seen[band]).name}",
                    where=file.head.path,
                    fix="give the files to use, joined by `;`",
                )
            seen[band] = file.head.path
    return files


def in_name(row: Sensor, name: str) -> str:
    """The band that a file name says: `T48QUE_20200223_B8A_20m.jp2` is B8A, `B2.tif` is B02.

    Empty where it says none, or two.
    """
    words = re.split(r"[_\-. ]", Path(name).stem)
    official = {b.name.casefold(): b.name for b in row.bands}
    found = {official[w.casefold()] for w in words if w.casefold() in official}
    found = found or {b.name for b in row.bands if words[-1].casefold() in b.spellings()}
    return found.pop() if len(found) == 1 else ""


def band_names(row: Sensor, head: Header) -> tuple[str, ...]:
    """Band names of a file: its descriptions where each is a band of the sensor, else the sensor's order by count.

    Raises:
        DataError: no order, or more than one, has that count.
    """
    spellings = {s for b in row.bands for s in b.spellings()}
    if head.named_bands and all(d.casefold() in spellings for d in head.named_bands):
        found = tuple(row.band(d).name for d in head.named_bands)
        if len(set(found)) == len(found):
            return found
    return row.of_count(head.count, where=head.path)


def _sources(row: Sensor, dates: list[_Date], mine: StreamContract, raw: float) -> list[Source]:
    """Group the wanted bands of a sensor by grid; all dates must have the form of the first."""
    for date in dates:
        have = [b for f in date.files for b in f.bands]
        if lacking := [b for b in mine.bands if b not in have]:
            raise ContractError(
                f"no band {listed(lacking, 13)} of {row.name}; there are {listed(have, 13)}",
                where=date.files[0].head.path,
                fix=f"the model reads {','.join(mine.bands)}; if the file has other names, give --bands {row.name}=...",
            )
    grids: list[tuple[Grid, list[_File]]] = []
    for file in _wanted(dates[0], mine):
        for grid, group in grids:
            if grid.aligned(file.head.grid):
                group.append(file)
                break
        else:
            grids.append((file.head.grid, [file]))
    finest = min((g for g, _ in grids), key=lambda g: g.pixel[0])
    _require_pixel(finest, mine, _wanted(dates[0], mine)[0].head.path)
    many = len(grids) > 1
    return [_source(row, group, dates, grid, mine, raw, many) for grid, group in grids]


def _wanted(date: _Date, mine: StreamContract) -> list[_File]:
    return [f for f in date.files if any(b in mine.bands for b in f.bands)]


def _source(
    row: Sensor, first: list[_File], dates: list[_Date], grid: Grid, mine: StreamContract, raw: float, many: bool
) -> Source:
    """The bands of `first`, which are those of one grid at the first date, at all dates."""
    bands = tuple(b for f in first for b in f.bands if b in mine.bands)
    parts: list[Part] = []
    scale: list[float] = []
    offset: list[float] = []
    dtypes = set()
    for date in dates:
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


def look(source: Source) -> None:
    """Read the middle of the first file, without torch, so that values of another unit are refused in a second.

    Raises:
        DataError: as `landweave.data.check_values.refuse_numbers`, or the file cannot be read.
    """
    part, (H, W) = source.parts[0], source.grid.shape
    side = Window(max(0, H // 2 - LOOK // 2), max(0, W // 2 - LOOK // 2), min(H, LOOK), min(W, LOOK))
    at = part.at[: len(source.bands)]
    pixels, n = raster.read(part.path, bands=at, window=side), len(at)
    scale, offset = (np.asarray(v[:n], np.float32) for v in (source.scale, source.offset))
    refuse_numbers(
        source.stream, source.bands[:n], pixels.data, pixels.valid, scale=scale, offset=offset, where=part.path
    )


def metres(grid: Grid) -> float:
    """Pixel height on the ground in metres: exact for a CRS in metres, near enough for one in degrees or feet."""
    from rasterio.crs import CRS

    crs = CRS.from_user_input(grid.crs)
    if crs.is_geographic:
        return grid.pixel[1] * METRES_A_DEGREE
    return float(grid.pixel[1] * crs.linear_units_factor[1])


def _require_pixel(grid: Grid, mine: StreamContract, where: str) -> None:
    if not grid.crs:
        raise GridError("has no coordinate reference system", where=where, fix="set it: gdal_edit -a_srs EPSG:... FILE")
    size = metres(grid)
    if mine.metres and abs(size / mine.metres - 1) > SAME_PIXEL:
        point = lonlat(grid)
        across = mine.metres if size == grid.pixel[1] else mine.metres / METRES_A_DEGREE
        wide = across / max(0.01, cos(radians(point[1]))) if point and across != mine.metres else across
        raise ContractError(
            f"pixels of {size:.4g} m, but the model was trained on {mine.sensor} at {mine.metres:g} m",
            where=where,
            fix=f"resample it first: gdalwarp -tr {wide:.6g} {across:.6g} -r bilinear IN OUT",
        )
