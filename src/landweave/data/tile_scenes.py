"""The rasters that `tile` cuts: matched by name, compared by ground, and what of them goes into the table."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landweave.data.table_images import TOLERANCE, Source, band_files, bands_of, header, short
from landweave.data.table_labels import read_classes
from landweave.data.table_rows import LABEL
from landweave.data.tile_plan import FILE
from landweave.errors import DataError, GridError, MissingDataError, listed
from landweave.grid import Bounds, Grid, Window
from landweave.legends import UNKNOWN, Legend
from landweave.sensors import sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from landweave.sample import LabelKind


@dataclass(frozen=True)
class Scene:
    """Rasters of one ground, matched by file name: a path a stream and a task, and the grid that windows count in."""

    stem: str
    images: dict[str, Path]
    labels: dict[str, Path]
    grid: Grid

    @property
    def ground(self) -> str:
        """What its coordinates are comparable within: a CRS, or without one the scene alone."""
        return self.grid.crs or f"{FILE}{next(iter(self.images.values()))}"

    def shape(self, size: int) -> tuple[int, int]:
        """Windows of `size` pixels down and across."""
        return self.grid.shape[0] // size, self.grid.shape[1] // size

    def windows(self, size: int) -> list[Window]:
        """They, row by row."""
        rows, cols = self.shape(size)
        return [Window(r * size, c * size, size, size) for r in range(rows) for c in range(cols)]

    def boxes(self, size: int) -> NDArray[np.float64]:
        """They on the ground: left, low, right, high."""
        rows, cols = (i.ravel() for i in np.indices(self.shape(size)))
        a, _, c, _, e, f = self.grid.transform
        x, y = np.stack([cols, cols + 1]) * size * a + c, np.stack([rows, rows + 1]) * size * e + f
        return np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], 1)


def match(images: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, dict[str, Path]]:
    """The files of each scene, by stem and by `stream` or `label:task`. Paths without wildcards are one scene.

    Raises:
        MissingDataError: a pattern fits no file.
        DataError: files without a partner of the same name, all listed.
    """
    patterns = {**images, **{LABEL + t: p for t, p in labels.items()}}
    found: dict[str, dict[str, Path]] = {}
    for key, pattern in patterns.items():
        paths = [Path(pattern)] if os.path.exists(pattern) else [Path(p) for p in sorted(glob.glob(pattern))]
        if not paths:
            raise MissingDataError(f"no file fits ({key})", where=pattern)
        found[key] = {p.stem if p.is_file() else p.name: p for p in paths}
        if len(found[key]) < len(paths):
            raise DataError(f"two files of one name ({key})", where=pattern)
    stems = list(dict.fromkeys(s for files in found.values() for s in files))
    if all(len(files) == 1 for files in found.values()):
        first = next(iter(next(iter(found.values()))))
        return {first: {key: next(iter(files.values())) for key, files in found.items()}}
    lonely = [f"{stem} (no {key})" for key, files in found.items() for stem in stems if stem not in files]
    if lonely:
        raise DataError(
            f"{len(lonely)} without a partner of the same name: {listed(lonely, 6)}",
            where=", ".join(patterns.values()),
            fix="name the files of one ground alike, or leave these out of the pattern",
        )
    return {stem: {key: files[stem] for key, files in found.items()} for stem in stems}


def scene_of(stem: str, files: Mapping[str, Path], *, size: int) -> Scene:
    """A scene whose rasters share a CRS and a ground, and whose windows are whole pixels in each of them.

    Raises:
        GridError: naming both files.
    """
    images = {s: p for s, p in files.items() if not s.startswith(LABEL)}
    labels = {t.removeprefix(LABEL): p for t, p in files.items() if t.startswith(LABEL)}
    paths = [f for s, p in images.items() for f in (band_files(p, sensor(s)).values() if p.is_dir() else (p,))]
    grids = {p: header(p).grid for p in (*labels.values(), *paths)}
    first = next(iter(labels.values()), min(paths, key=lambda p: grids[p].pixel[0]))
    grid = grids[first]
    if grid.transform[1] or grid.transform[3]:
        raise GridError("the raster is rotated", where=first, fix="reproject it north up (gdalwarp)")
    for path, other in grids.items():
        if other.crs != grid.crs:
            what = f"in {short(other.crs)}, but {first} is in {short(grid.crs)}"
            raise GridError(what, where=path, fix="reproject one to the other")
        if not other.same_ground(grid, tolerance=TOLERANCE):
            what = f"covers {_told(other.bounds)}, but {first} covers {_told(grid.bounds)}"
            raise GridError(what, where=path, fix="cut both alike (gdal_translate -projwin)")
    if min(grid.shape) < size:
        fits = _sizes(grid, list(grids.values()))
        what = f"{grid.shape[0]} x {grid.shape[1]} pixels, smaller than one place of {size} x {size}"
        fix = f"--size {max(fits)} gives one place, a smaller one gives more" if fits else "give a larger raster"
        raise GridError(what, where=first, fix=fix)
    for path, other in grids.items():
        if not _whole(other, grid, size):
            near = _sizes(grid, list(grids.values()))
            fix = f"--size {min(near, key=lambda s: abs(s - size))}" if near else "resample it"
            raise GridError(f"places of {size} pixels would cut pixels of {other.pixel[0]:g}", where=path, fix=fix)
    return Scene(stem, images, labels, grid)


def _sizes(grid: Grid, grids: Sequence[Grid]) -> list[int]:
    """The sizes of places that there is room for and that cut no pixel of any raster."""
    return [s for s in range(1, min(grid.shape) + 1) if all(_whole(g, grid, s) for g in grids)]


def _told(bounds: Bounds) -> str:
    return "(" + ", ".join(f"{v:.10g}" for v in bounds) + ")"


def window_bounds(grid: Grid, window: Window) -> Bounds:
    """Left, bottom, right, top as `Grid.window` takes them back; bottom is below top in rows, whatever y does."""
    left, top = grid.xy(window.row, window.col)
    right, bottom = grid.xy(window.row + window.height, window.col + window.width)
    return left, bottom, right, top


def _whole(other: Grid, grid: Grid, size: int) -> bool:
    try:
        other.window(window_bounds(grid, Window(0, 0, size, size)), tolerance=TOLERANCE)
    except GridError:
        return False
    return True


def image_cells(scene: Scene, home: Path, *, bands: Mapping[str, str], offset: Mapping[str, float]) -> dict[str, Any]:
    """The cells that all places of a scene share: paths relative to the table's folder, band names, offsets."""
    cells: dict[str, Any] = {}
    for stream, path in scene.images.items():
        cells[stream] = os.path.relpath(path.resolve(), home)
        named = tuple(b.strip() for b in bands.get(stream, "").split(",") if b.strip())
        source = Source(stream, (path,), "--bands", named)
        names = sensor(stream).select(named) if path.is_dir() else bands_of(header(path), source)
        if names:
            cells[f"{stream}.bands"] = ",".join(names)
        if stream in offset:
            cells[f"{stream}.offset"] = float(offset[stream])
    return cells


@dataclass(frozen=True)
class LabelCells:
    """The label cells of a scene for one task, in which places (n x K) each class is, and which have a known pixel."""

    cells: list[Any]
    present: NDArray[np.bool_]
    labelled: NDArray[np.bool_]


def label_cells(
    scene: Scene, task: str, *, legend: Legend, size: int, kind: LabelKind, min_share: float, home: Path
) -> LabelCells:
    """Look at the label raster of a scene, a row of windows at a time.

    Raises:
        DataError: a value outside the legend, naming the file.
    """
    path = scene.labels[task]
    rows, cols = scene.shape(size)
    found = []
    for r in range(rows):
        bounds = window_bounds(scene.grid, Window(r * size, 0, size, cols * size))
        parts = np.split(read_classes(path, legend, bounds=bounds, crs=scene.grid.crs), cols, axis=1)
        found += [np.bincount(part.ravel(), minlength=UNKNOWN + 1)[: len(legend)] for part in parts]
    counts = np.stack(found)
    known = counts.sum(1)
    if kind == "map":
        return LabelCells([os.path.relpath(path.resolve(), home)] * len(counts), counts > 0, known > 0)
    present = (counts > 0) & (counts >= min_share * known[:, None])
    names = np.array(legend.names, object)
    cells = [names[p].tolist() if n else None for p, n in zip(present, known, strict=True)]
    return LabelCells(cells, present, known > 0)
