"""From the paths in a cell of a table to images: one file, one file per band, several dates, native pixel sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landweave.data import raster
from landweave.data.check_values import refuse_numbers
from landweave.errors import ConfigError, DataError, GridError, MissingDataError, listed
from landweave.grid import Bounds, Grid, Window
from landweave.sensors import Sensor, sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from landweave.data.raster import Header, Raster
    from landweave.sample import Image

TOLERANCE = 0.05
"""Pixels by which grids may differ and still count as one (genuine products differ by 1e-9 m)."""

RASTERS = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".img", ".vrt")
Files = dict[str, Path]
"""The files of one date: by band name, or one file of all bands under an empty name."""


@dataclass(frozen=True)
class Source:
    """One image cell of one place. `days`, `offset` (raw numbers) and `scale` are empty, one, or one a date."""

    stream: str
    paths: tuple[Path, ...]
    where: str
    bands: tuple[str, ...] = ()
    days: tuple[int, ...] = ()
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    bounds: Bounds | None = None
    crs: str = ""


def band_of_name(path: Path, row: Sensor) -> str:
    """The band that a file name ends in (`T32_B02.tif`, `B2.tif`, `patch_VV.tif`), or an empty string."""
    token = re.split(r"[_\-. ]", path.stem)[-1]
    try:
        return row.band(token).name
    except ConfigError:
        return ""


def band_files(folder: Path, row: Sensor) -> Files:
    """The files of a folder that hold one band each, by band, in the sensor's order; other files are left alone.

    Raises:
        DataError: none is named after a band, or two after one band.
    """
    found: Files = {}
    for path in sorted(folder.iterdir()):
        band = band_of_name(path, row) if path.suffix.lower() in RASTERS else ""
        if band and band in found:
            raise DataError(f"two files of band {band}: {found[band].name} and {path.name}", where=folder)
        if band:
            found[band] = path
    if not found:
        there = listed(sorted(p.name for p in folder.iterdir()), 4) or "nothing"
        raise DataError(
            f"no file is named after a band of {row.name}; there is {there}",
            where=folder,
            fix=f"file names end in a band: ..._{row.band_names[0]}.tif",
        )
    return {b: found[b] for b in row.band_names if b in found}


def by_date(source: Source) -> list[Files]:
    """The files of each date of a cell.

    Several paths are the bands of one date if their names end in different bands and no more than one date is given;
    otherwise each path, file or folder, is a date.

    Raises:
        MissingDataError: a path does not exist.
        DataError: the number of dates does not fit.
    """
    row = sensor(source.stream)
    for path in source.paths:
        if not path.exists():
            raise MissingDataError(
                f"no such file (column {source.stream} of {source.where})",
                where=path,
                fix="paths are relative to the table's folder",
            )
    names = [band_of_name(p, row) for p in source.paths if not p.is_dir()]
    one_each = len(names) == len(source.paths) > 1 and all(names) and len(set(names)) == len(names)
    if one_each and len(source.days) <= 1:
        return [dict(sorted(zip(names, source.paths, strict=True), key=lambda f: row.band_names.index(f[0])))]
    if source.days and len(source.days) != len(source.paths):
        raise DataError(
            f"{len(source.days)} dates for {len(source.paths)} paths of {source.stream}",
            where=source.where,
            fix=f"write one date a path into {source.stream}.dates",
        )
    return [band_files(p, row) if p.is_dir() else {"": p} for p in source.paths]


def bands_of(head: Header, source: Source) -> tuple[str, ...]:
    """Official band names of a file: as told, else its own unique valid descriptions, its name, or its band count.

    Raises:
        DataError: the count is not that of the names, or the order cannot be known.
    """
    row = sensor(source.stream)
    try:
        if source.bands:
            names = row.select(source.bands)
            if len(names) != head.count:
                raise DataError(
                    f"{head.count} bands, but {len(names)} names: {listed(names, 20)}",
                    where=head.path,
                    fix=f"correct {source.stream}.bands (--bands)",
                )
            return names
    except ConfigError as error:
        raise DataError(error.what, where=f"{source.where}, {source.stream}.bands", fix=error.fix) from None
    if head.named_bands and (described := row.described(head.named_bands, where=head.path)):
        return described
    band = band_of_name(Path(head.path), row)
    if head.count == 1 and band:
        return (band,)
    return row.of_count(head.count, where=head.path)


@lru_cache(maxsize=4096)
def _cached_header(path: str, changed: int, size: int) -> Header:
    return raster.header(path)


def header(path: Path) -> Header:
    """The header of a file, remembered until the file changes: thousands of windows are read from one large raster."""
    if not path.exists():
        raise MissingDataError("no such file", where=path)
    state = os.stat(path)
    return _cached_header(str(path), state.st_mtime_ns, state.st_size)


def window_on(path: Path, bounds: Bounds | None, crs: str) -> Window | None:
    """The window of a file that bounds cover, on the file's own pixels; None without bounds.

    Raises:
        GridError: another CRS, bounds that cut pixels, or bounds off the raster.
    """
    if bounds is None:
        return None
    grid = header(path).grid
    if grid.crs != crs:
        raise GridError(
            f"the window is in {short(crs)}, the raster in {short(grid.crs)}",
            where=path,
            fix="reproject the raster, or cut the places anew (landweave tile)",
        )
    try:
        window = grid.window(bounds, tolerance=TOLERANCE)
    except GridError as error:
        fix = f"use windows of a multiple of {grid.pixel[0]:g} (landweave tile --size)"
        raise GridError(error.what, where=path, fix=fix) from None
    (H, W), w = grid.shape, window
    if w.height < 1 or w.width < 1 or w.row >= H or w.col >= W or w.row + w.height <= 0 or w.col + w.width <= 0:
        raise GridError(f"the window {tuple(bounds)} lies outside the raster, {grid.bounds}", where=path)
    return window


def short(crs: str) -> str:
    """A CRS for a message."""
    return (crs if len(crs) < 40 else f"{crs[:37]}...") or "no CRS"


@dataclass(frozen=True)
class _Layer:
    """Pixels C H W of one date at one pixel size, with scale and offset a band."""

    bands: tuple[str, ...]
    data: NDArray[Any]
    valid: NDArray[np.bool_]
    grid: Grid
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    path: Path


def read_images(source: Source, offsets: Mapping[str, float]) -> dict[str, tuple[Image, Path]]:
    """Read one cell: an image a pixel size, with one of its files for messages.

    `offsets` are raw numbers to add, by stream or sensor; the cell's own come first, the file's metadata before both.
    Heights are made of surface and terrain (`Image.with_differences`).

    Raises:
        DataError: naming the file.
    """
    from landweave.sample import Image

    dates = [_layers(files, source, t, offsets) for t, files in enumerate(by_date(source))]
    out: dict[str, tuple[Image, Path]] = {}
    for stream, first in dates[0].items():
        layers = [_like(first, date.get(stream), source) for date in dates]
        masks = [layer.valid for layer in layers]
        channels = max(m.shape[0] for m in masks)
        seen = np.stack([np.broadcast_to(m, (channels, *m.shape[1:])) for m in masks])
        data = np.stack([layer.data for layer in layers])
        image = Image.of(stream, first.bands, data, grid=first.grid, days=source.days, pixels_seen=seen)
        out[stream] = (_calibrated(image, layers).with_differences(stream), first.path)
    return out


def look(source: Source, offsets: Mapping[str, float]) -> dict[Path, Grid]:
    """Read all files of a cell as `read_images` does, but keep their grids only: no tensor is built.

    Raises:
        DataError: as `read_images`, and for values that are clearly in another unit than the sensor's.
    """
    found: dict[Path, Grid] = {}
    for date, files in enumerate(by_date(source)):
        for stream, layer in _layers(files, source, date, offsets).items():
            numbers = {"scale": layer.scale, "offset": layer.offset}
            refuse_numbers(stream, layer.bands, layer.data, layer.valid, **numbers, where=str(layer.path))
            found[layer.path] = layer.grid
    return found


def _calibrated(image: Image, layers: Sequence[_Layer]) -> Image:
    import torch

    scale = torch.from_numpy(np.stack([layer.scale for layer in layers]))
    offset = torch.from_numpy(np.stack([layer.offset for layer in layers]))
    return replace(image, scale=scale, offset=offset)


def _like(first: _Layer, other: _Layer | None, source: Source) -> _Layer:
    """A further date must have the form of the first."""
    if other is None or other.bands != first.bands:
        found = "nothing at this pixel size" if other is None else listed(other.bands, 20)
        raise DataError(f"dates of {source.stream} differ: {listed(first.bands, 20)} and {found}", where=first.path)
    if not other.grid.aligned(first.grid, tolerance=TOLERANCE):
        raise GridError(
            f"dates of {source.stream} lie on different grids, see {first.path}",
            where=other.path,
            fix="resample all dates to one grid",
        )
    return other


def _layers(files: Files, source: Source, date: int, offsets: Mapping[str, float]) -> dict[str, _Layer]:
    """One date, by stream: bands of one pixel size together."""
    if "" in files:
        path = files[""]
        pixels = raster.read(path, window=window_on(path, source.bounds, source.crs))
        bands = bands_of(pixels.header, source)
        scale, offset = calibration(pixels.header, source, date, offsets)
        return {source.stream: _Layer(bands, pixels.data, pixels.valid, pixels.grid, scale, offset, path)}
    return {
        stream: _stacked({b: files[b] for b in bands}, source, date, offsets)
        for stream, bands in band_streams(files, source).items()
    }


def _stacked(files: Files, source: Source, date: int, offsets: Mapping[str, float]) -> _Layer:
    read: list[Raster] = []
    for path in files.values():
        pixels = raster.read(path, window=window_on(path, source.bounds, source.crs))
        if read and not pixels.grid.aligned(read[0].grid, tolerance=TOLERANCE):
            raise GridError(f"not on the grid of {read[0].header.path}", where=path, fix="align the bands")
        read.append(pixels)
    pairs = [calibration(r.header, source, date, offsets) for r in read]
    valid = np.concatenate([r.valid for r in read])
    return _Layer(
        tuple(files),
        np.concatenate([r.data for r in read]),
        valid[:1] if (valid == valid[:1]).all() else valid,
        read[0].grid,
        np.concatenate([p[0] for p in pairs]),
        np.concatenate([p[1] for p in pairs]),
        next(iter(files.values())),
    )


def band_streams(files: Files, source: Source) -> dict[str, tuple[str, ...]]:
    """Bands by stream: one pixel size is the column itself, several are `sensor@metres`.

    The metres are those of the product as delivered where its bands share them, else the pixel size on disk.
    """
    row = sensor(source.stream)
    asked = row.select(source.bands)
    if lacking := [b for b in asked if b not in files]:
        raise DataError(
            f"no file of band {listed(lacking)} of {source.stream}", where=next(iter(files.values())).parent
        )
    groups: dict[tuple[int, int], list[str]] = {}
    grids: dict[tuple[int, int], Grid] = {}
    for band in asked or tuple(files):
        head = header(files[band])
        if head.count != 1:
            raise DataError(
                f"{head.count} bands in a file named after one band ({band})",
                where=head.path,
                fix="give this file alone, not its folder, or rename it",
            )
        groups.setdefault(head.grid.shape, []).append(band)
        grids[head.grid.shape] = head.grid
    if len(groups) == 1:
        return {source.stream: tuple(next(iter(groups.values())))}
    if "@" in source.stream:
        raise DataError(
            f"{len(groups)} pixel sizes in column {source.stream}: {listed([*map(str, groups)])}",
            where=source.where,
            fix=f"name the column {row.name}",
        )
    out: dict[str, tuple[str, ...]] = {}
    for shape, bands in sorted(groups.items(), reverse=True):
        nominal = {row.band(b).metres for b in bands}
        on_disk = grids[shape].pixel[0]
        metres = nominal.pop() if len(nominal) == 1 or on_disk < 0.01 else round(on_disk, 3)
        stream = f"{row.name}@{metres:g}"
        if stream in out:
            raise GridError(
                f"bands of {metres:g} m come in two sizes: {listed([*out[stream], *bands], 20)}",
                where=source.where,
                fix="resample them to one grid",
            )
        out[stream] = tuple(bands)
    return out


def calibration(
    head: Header, source: Source, date: int, offsets: Mapping[str, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and offset a band, to the sensor's unit: the file's own, else the cell's, the recipe's, the usual ones.

    Raises:
        DataError: the file says one thing and the table or the recipe another.
    """
    row = sensor(source.stream)
    told_scale = _at(source.scale, date, f"{source.stream}.scale", source)
    raw = _at(source.offset, date, f"{source.stream}.offset", source)
    if raw is None:
        raw = offsets.get(source.stream, offsets.get(row.name))
    own_scale, own_offset = any(s != 1 for s in head.scales), any(o != 0 for o in head.offsets)
    usual = row.scale if told_scale is None else told_scale
    scale = np.array(head.scales if own_scale else [usual] * head.count, np.float32)
    told = row.offset + (raw or 0.0) * scale
    offset = np.array(head.offsets, np.float32) if own_offset else told.astype(np.float32)
    for what, mine, other in (("scale", scale, told_scale), ("offset", offset, None if raw is None else told)):
        if other is not None and not np.allclose(mine, other, rtol=1e-3, atol=1e-7):
            where = f"the file's metadata say {what} {mine[0]:g}, the settings {np.ravel(other)[0]:g}"
            raise DataError(where, where=head.path, fix=f"take out the {what} of {source.stream}, or mend the file")
    return scale, offset


def _at(values: tuple[float, ...], date: int, column: str, source: Source) -> float | None:
    if not values:
        return None
    if len(values) > 1 and len(values) != (dates := len(by_date(source))):
        raise DataError(
            f"{len(values)} values in {column}, but there {'is 1 date' if dates == 1 else f'are {dates} dates'}",
            where=source.where,
            fix="give one number, or one a date; what differs by band belongs into the files' metadata",
        )
    return values[date] if len(values) > 1 else values[0]
