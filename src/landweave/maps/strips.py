"""Reading the rasters of a map strip by strip: every block of a file is decoded once, few rows are ever held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, lcm
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.data import raster
from landweave.errors import GridError
from landweave.grid import Grid, Window
from landweave.maps.sources import Source, metres

if TYPE_CHECKING:
    from landweave.sample import Image

LATTICE = 0.05
"""How far, in pixels of the finest raster, a corner may lie off the pixel lattice."""
MOST_ROWS, LEAST_ROWS = 2048, 256


@dataclass(frozen=True)
class Placed:
    """A source on the reference grid: `ratio` reference pixels a source pixel, the first one at (`row`, `col`)."""

    source: Source
    ratio: int
    row: int
    col: int

    @property
    def chunk(self) -> int:
        """Rows read at a time: whole blocks of the file, so that none is decoded twice."""
        block = min(max(p.block[0] for p in self.source.parts), MOST_ROWS)
        return ceil(LEAST_ROWS / block) * block

    def bytes_per_column(self, rows: int) -> float:
        """Working memory a reference column for windows of `rows` reference rows, with the copies made in reading."""
        held = rows / self.ratio + self.chunk
        return len(self.source.bands) * (3 * np.dtype(self.source.dtype).itemsize + 3) * held / self.ratio


@dataclass(frozen=True)
class Layout:
    """The reference grid, every source placed on it, and the lattice that window corners must keep to."""

    grid: Grid
    reference: Source
    placed: tuple[Placed, ...]
    base: tuple[int, int]
    step: int


def lay_out(sources: Sequence[Source]) -> Layout:
    """Place all sources on the grid of the finest one (the first of several).

    Raises:
        GridError: another CRS, no common ground, or pixels that do not nest, naming the file and the fix.
    """
    finest = min(sources, key=lambda s: round(metres(s.grid), 6))
    placed = tuple(_place(s, finest) for s in sources)
    step = lcm(*(p.ratio for p in placed))
    base = []
    for which in ("row", "col"):
        fits = [b for b in range(step) if all((b - getattr(p, which)) % p.ratio == 0 for p in placed)]
        if not fits:
            coarse = max(placed, key=lambda p: p.ratio)
            raise GridError(
                "its pixel corners never meet those of the other coarse rasters",
                where=coarse.source.where,
                fix=_warp(finest, metres(coarse.source.grid)),
            )
        base.append(fits[0])
    return Layout(finest.grid, finest, placed, (base[0], base[1]), step)


def _warp(finest: Source, size: float) -> str:
    left, bottom, right, top = finest.grid.bounds
    crs = finest.grid.crs if len(finest.grid.crs) < 20 else "(its CRS)"
    return f"gdalwarp -t_srs {crs} -te {left:.10g} {bottom:.10g} {right:.10g} {top:.10g} -tr {size:g} {size:g} IN OUT"


def _place(source: Source, finest: Source) -> Placed:
    """Where a source lies in reference pixels."""
    from rasterio.crs import CRS

    a, b = source.grid, finest.grid
    if a.crs != b.crs and CRS.from_user_input(a.crs) != CRS.from_user_input(b.crs):
        raise GridError(
            f"CRS {a.crs[:60]}, but {finest.where} has {b.crs[:60]}",
            where=source.where,
            fix=_warp(finest, metres(finest.grid)),
        )
    left, bottom, right, top = a.bounds
    if left >= b.bounds[2] or right <= b.bounds[0] or bottom >= b.bounds[3] or top <= b.bounds[1]:
        raise GridError(
            f"lies beside {finest.where}: bounds {_short(a.bounds)} and {_short(b.bounds)}",
            where=source.where,
            fix="give images of the same place",
        )
    r0, c0 = b.rowcol(*a.xy(0, 0))
    r1, c1 = b.rowcol(*a.xy(*a.shape))
    ratio = round((r1 - r0) / a.shape[0])
    expected = (r0 + ratio * a.shape[0], c0 + ratio * a.shape[1])
    off = max(abs(r0 - round(r0)), abs(c0 - round(c0)), abs(r1 - expected[0]), abs(c1 - expected[1]))
    if ratio < 1 or off > LATTICE:
        raise GridError(
            f"its pixels do not nest in those of {finest.where} ({off:.2f} of a pixel off)",
            where=source.where,
            fix=_warp(finest, metres(finest.grid)),
        )
    return Placed(source, ratio, round(r0), round(c0))


def _short(bounds: tuple[float, float, float, float]) -> str:
    return "(" + ", ".join(f"{v:.8g}" for v in bounds) + ")"


@dataclass
class Strip:
    """Some rows of one source over the columns `first` ... `last - 1` of the reference grid, moving down.

    Columns and rows that are asked for lie on the lattice of the layout.
    """

    placed: Placed
    first: int
    last: int
    data: NDArray[Any] = field(init=False)
    seen: NDArray[np.bool_] = field(init=False)
    left: int = field(init=False)
    width: int = field(init=False)
    top: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        p = self.placed
        self.left = (self.first - p.col) // p.ratio  # both ends lie on the lattice
        self.width = (self.last - p.col) // p.ratio - self.left
        self.data = np.zeros((len(p.source.bands), 0, self.width), p.source.dtype)
        self.seen = np.zeros((1, 0, self.width), bool)

    def advance(self, row: int, height: int) -> None:
        """Hold the reference rows from `row` on, at least `height`; rows above are let go, only new ones are read."""
        p = self.placed
        start, stop = (row - p.row) // p.ratio, (row + height - p.row) // p.ratio
        if self.top is None:
            self.top = start
        drop = start - self.top
        self.data, self.seen, self.top = self.data[:, drop:], self.seen[:, drop:], start
        have = start + self.data.shape[1]
        if have < stop:
            whole = ceil(stop / p.chunk) * p.chunk
            self._read(have, max(stop, min(whole, p.source.grid.shape[0])))

    def _read(self, start: int, stop: int) -> None:
        found = [
            raster.read(part.path, bands=part.at, window=Window(start, self.left, stop - start, self.width))
            for part in self.placed.source.parts
        ]
        several = self.seen.shape[0] > 1 or len(found) > 1 or any(f.valid.shape[0] > 1 for f in found)
        data = [f.data.astype(self.data.dtype, copy=False) for f in found]
        seen = [np.broadcast_to(f.valid, f.data.shape) if several else f.valid for f in found]
        for values, valid in zip(data, seen, strict=True):
            if np.issubdtype(values.dtype, np.floating):
                values[~np.broadcast_to(valid, values.shape)] = 0  # NaN must not flow, however it is masked later
        held = np.broadcast_to(self.seen, self.data.shape) if several else self.seen
        self.data = np.concatenate([self.data, np.concatenate(data)], axis=1)
        self.seen = np.concatenate([held, np.concatenate(seen)], axis=1)

    def cut(self, row: int, col: int, height: int, width: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Views of the source pixels under a window on the lattice: C h w, and C|1 h w of which are seen."""
        p = self.placed
        r, c = (row - p.row) // p.ratio - (self.top or 0), (col - p.col) // p.ratio - self.left
        rows, cols = slice(r, r + height // p.ratio), slice(c, c + width // p.ratio)
        return self.data[:, rows, cols], self.seen[:, rows, cols]

    def seen_on_reference(self, row: int, count: int, first: int, last: int) -> NDArray[np.bool_]:
        """Where any band is seen, on reference rows `row` ... and columns `first` ... `last - 1`."""
        p = self.placed
        any_band = np.logical_or.reduce(self.seen, axis=0)
        rows = (np.arange(row, row + count) - p.row) // p.ratio - (self.top or 0)
        cols = (np.arange(first, last) - p.col) // p.ratio - self.left
        found: NDArray[np.bool_] = any_band[rows[:, None], cols]
        return found

    def image(self, at: Sequence[tuple[int, int]], size: tuple[int, int]) -> Image:
        """The batch of windows that begin at `at` (reference row and column), each with its own grid.

        A band of which a window holds no seen pixel counts as missing there, and so does the sensor if none is.
        """
        import torch

        from landweave.sample import NO_DAY, Image

        p, B, C = self.placed, len(at), len(self.placed.source.bands)
        cuts = [self.cut(r, c, *size) for r, c in at]
        data = torch.from_numpy(np.stack([d for d, _ in cuts])[:, None])
        seen = torch.from_numpy(np.stack([s for _, s in cuts])[:, None])
        scale = torch.tensor(p.source.scale).expand(B, 1, C)
        offset = torch.tensor(p.source.offset).expand(B, 1, C)
        return Image(
            p.source.bands,
            data,
            scale.clone(),
            offset.clone(),
            torch.full((B, 1), NO_DAY, dtype=torch.int32),
            torch.ones(B, 1, dtype=torch.bool),
            seen.flatten(3).any(3).any(1).expand(B, C).clone(),
            seen,
            tuple(self._grid(r, c, size) for r, c in at),
        )

    def _grid(self, row: int, col: int, size: tuple[int, int]) -> Grid:
        p = self.placed
        top, left = (row - p.row) // p.ratio, (col - p.col) // p.ratio
        return p.source.grid.crop(Window(top, left, size[0] // p.ratio, size[1] // p.ratio))
