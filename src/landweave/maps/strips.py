"""Reading the rasters of a map strip by strip: every block of a file is decoded once, few rows are ever held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
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
PARTS = 8
"""Pixels nest if so few of a coarse raster, or fewer, make a whole number of the finest: 5 of 10.24 m, 256 of 0.2 m."""


@dataclass(frozen=True)
class Placed:
    """A source on the reference grid: `ratio` reference pixels a source pixel, the first one at (`row`, `col`).

    Rows and columns that are asked for lie on the lattice of the layout, where pixels of both begin.
    """

    source: Source
    ratio: Fraction
    row: int
    col: int

    def rows(self, row: int) -> int:
        """The source row that begins at a reference row."""
        return int((row - self.row) / self.ratio)

    def cols(self, col: int) -> int:
        """The source column that begins at a reference column."""
        return int((col - self.col) / self.ratio)

    def under(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The source pixels that hold reference pixels, both counted from the first."""
        return at * self.ratio.denominator // self.ratio.numerator

    @property
    def chunk(self) -> int:
        """Rows read at a time: whole blocks of the file, so that none is decoded twice."""
        block = min(max(p.block[0] for p in self.source.parts), MOST_ROWS)
        return ceil(LEAST_ROWS / block) * block

    def bytes_per_column(self, rows: int) -> float:
        """Working memory a reference column for windows of `rows` reference rows, with the copies made in reading."""
        held, channels = float(rows / self.ratio) + self.chunk, len(self.source.scale)
        return channels * (3 * np.dtype(self.source.dtype).itemsize + 3) * held / float(self.ratio)


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
    step = lcm(*(p.ratio.numerator for p in placed))
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
    """A command that brings a raster onto the ground of the finest one, in pixels of `size` metres."""
    left, bottom, right, top = finest.grid.bounds
    crs = finest.grid.crs if len(finest.grid.crs) < 20 else "(its CRS)"
    right_, down = (side * size / metres(finest.grid) for side in finest.grid.pixel)  # in units of the CRS
    box = f"{left:.10g} {bottom:.10g} {right:.10g} {top:.10g}"
    return f"gdalwarp -t_srs {crs} -te {box} -tr {right_:.6g} {down:.6g} IN OUT"


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
    size = (r1 - r0) / a.shape[0]
    ratio = Fraction(size).limit_denominator(PARTS)
    expected = (r0 + float(ratio) * a.shape[0], c0 + float(ratio) * a.shape[1])
    off = max(abs(r0 - round(r0)), abs(c0 - round(c0)), abs(r1 - expected[0]), abs(c1 - expected[1]))
    if ratio < 1 or off > LATTICE:
        raise GridError(
            f"its pixels do not nest in those of {finest.where} ({off:.2f} of a pixel off)",
            where=source.where,
            fix=_warp(finest, metres(finest.grid) * max(1, round(size))),
        )
    return Placed(source, ratio, round(r0), round(c0))


def _short(bounds: tuple[float, float, float, float]) -> str:
    return "(" + ", ".join(f"{v:.8g}" for v in bounds) + ")"


@dataclass
class Strip:
    """Some rows of one source over the columns `first` ... `last - 1` of the reference grid, moving down.

    Columns and rows that are asked for lie on the lattice of the layout. `reach` is how many reference rows
    and columns its images look beyond each border of a window (`StreamContract.context`), multiples of the ratio.
    """

    placed: Placed
    first: int
    last: int
    reach: tuple[int, int] = (0, 0)
    data: NDArray[Any] = field(init=False)
    seen: NDArray[np.bool_] = field(init=False)
    left: int = field(init=False)
    width: int = field(init=False)
    top: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        p = self.placed
        self.left = p.cols(self.first - self.reach[1])
        self.width = p.cols(self.last + self.reach[1]) - self.left
        self.data = np.zeros((len(p.source.scale), 0, self.width), p.source.dtype)
        self.seen = np.zeros((1, 0, self.width), bool)

    def advance(self, row: int, height: int) -> None:
        """Hold the reference rows from `row` on, at least `height`; rows above are let go, only new ones are read."""
        p = self.placed
        start, stop = p.rows(row - self.reach[0]), p.rows(row + height + self.reach[0])
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
        top, left = self.top or 0, self.left
        rows = slice(p.rows(row) - top, p.rows(row + height) - top)
        cols = slice(p.cols(col) - left, p.cols(col + width) - left)
        return self.data[:, rows, cols], self.seen[:, rows, cols]

    def seen_on_reference(self, row: int, count: int, first: int, last: int) -> NDArray[np.bool_]:
        """Where any band is seen, on reference rows `row` ... and columns `first` ... `last - 1`."""
        p = self.placed
        any_band = np.logical_or.reduce(self.seen, axis=0)
        rows = p.under(np.arange(row, row + count) - p.row) - (self.top or 0)
        cols = p.under(np.arange(first, last) - p.col) - self.left
        found: NDArray[np.bool_] = any_band[rows[:, None], cols]
        return found

    def image(self, at: Sequence[tuple[int, int]], size: tuple[int, int]) -> Image:
        """The batch of windows that begin at `at` (reference row and column), each with its own grid and its reach.

        A band of which a window holds no seen pixel counts as missing there, and so does the sensor if none is. Of a
        series the same holds for dates.
        """
        import torch

        from landweave.sample import NO_DAY, Image

        source, B = self.placed.source, len(at)
        T, C = source.dates, len(source.bands)
        corners = [(r - self.reach[0], c - self.reach[1]) for r, c in at]
        whole = (size[0] + 2 * self.reach[0], size[1] + 2 * self.reach[1])
        cuts = [self.cut(r, c, *whole) for r, c in corners]
        data = torch.from_numpy(np.stack([d for d, _ in cuts]))
        masks = torch.from_numpy(np.stack([s for _, s in cuts]))
        H, W = data.shape[2:]
        one = masks.shape[1] == 1  # for all bands and dates
        seen = masks[:, None].expand(B, T, 1, H, W) if one else masks.reshape(B, T, C, H, W)
        image = Image(
            source.bands,
            data.reshape(B, T, C, H, W),
            torch.tensor(source.scale).reshape(T, C).expand(B, T, C).clone(),
            torch.tensor(source.offset).reshape(T, C).expand(B, T, C).clone(),
            torch.tensor(source.days or [NO_DAY], dtype=torch.int32).expand(B, T).clone(),
            seen.flatten(2).any(2) if T > 1 else torch.ones(B, T, dtype=torch.bool),
            seen.flatten(3).any(3).any(1).expand(B, C).clone(),
            seen.clone(),
            tuple(self._grid(r, c, whole) for r, c in corners),
        )
        return image.with_differences(source.stream)

    def _grid(self, row: int, col: int, size: tuple[int, int]) -> Grid:
        p = self.placed
        (top, left), (bottom, right) = ((p.rows(r), p.cols(c)) for r, c in ((row, col), (row + size[0], col + size[1])))
        return p.source.grid.crop(Window(top, left, bottom - top, right - left))
