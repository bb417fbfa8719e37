"""Where the windows of a map lie, in which strips they are worked off, and how their overlaps are blended.

Everything here counts in pixels of the *reference grid*: the grid of the finest sensor, which is the map's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 512
"""Side of a block of the written file; lanes and writes are aligned to it."""
CACHED = 16_384
"""Pixels of one layer that are compared at a time."""


@dataclass(frozen=True)
class Axis:
    """The windows along one axis of a raster of `length` pixels: each covers `size` pixels from one of `starts`."""

    length: int
    size: int
    stride: int
    starts: tuple[int, ...]

    def meeting(self, first: int, last: int) -> tuple[int, ...]:
        """Starts of the windows that cover a pixel of `first` ... `last - 1`."""
        return tuple(s for s in self.starts if s < last and s + self.size > first)

    def weights(self, first: int, last: int) -> NDArray[np.float32]:
        """Sum of the blending weights of all windows at the pixels `first` ... `last - 1`."""
        total, one = np.zeros(last - first, np.float32), hann(self.size)
        for s in self.meeting(first, last):
            a, b = max(s, first), min(s + self.size, last)
            total[a - first : b - first] += one[a - s : b - s]
        return total

    def rows_done(self) -> Iterator[tuple[int, int]]:
        """Each start, and the pixel up to which no later window reaches back."""
        yield from pairwise((*self.starts, self.starts[-1] + self.size))


def axis(length: int, size: int, stride: int, *, base: int = 0, step: int = 1, regular: bool = False) -> Axis:
    """Lay windows over an axis so that every pixel is covered.

    Args:
        length: pixels of the raster.
        size: pixels of a window; a window may reach beyond the raster where that is smaller.
        stride: pixels between two windows, at most `size`.
        base: a pixel at which a pixel of every coarser raster begins.
        step: pixels between two such places. `size` and `stride` must be multiples of it.
        regular: keep the last window on the stride, beyond the edge if need be; else it is moved back to the edge.

    Raises:
        ValueError: a stride that leaves gaps, or sizes off the step.
    """
    if not 0 < stride <= size or size % step or stride % step:
        raise ValueError(f"size {size} and stride {stride} do not fit step {step}")
    first = base % step - (step if base % step else 0)
    count = max(0, ceil((length - size - first) / stride)) + 1
    starts = [first + i * stride for i in range(count)]
    if not regular and count > 1:
        over = starts[-1] + size - length
        starts[-1] -= max(0, over) // step * step
    return Axis(length, size, stride, tuple(starts))


def lanes(width: int, bytes_per_column: float, limit: int, *, align: int = BLOCK) -> list[tuple[int, int]]:
    """Cut a raster into vertical lanes, each within `limit` bytes of working memory, in multiples of `align`."""
    most = max(1, int(limit / max(1.0, bytes_per_column)) // align) * align
    return [(c, min(c + most, width)) for c in range(0, width, most)]


def hann(size: int) -> NDArray[np.float32]:
    """Weights of a window along one axis: a raised cosine taken at pixel centres, so that none is zero.

    A window's edge, where a network sees least context, weighs little; two windows at half overlap add up to 1.
    """
    return np.sin(np.pi * (np.arange(size) + 0.5) / size).astype(np.float32) ** 2


@dataclass
class Blender:
    """Weighted sums of overlapping windows in one lane; rows leave it once no further window can touch them.

    Only one window's height of rows is ever held, in a ring, so that nothing is shifted. The weights' own sum is
    known from the axes alone, and an argmax does not need it, so that it is not accumulated. The order of the
    windows is fixed by the axes, and with it the rounding: lanes, and batches of any size, give the same map.
    """

    classes: int
    rows: Axis
    cols: Axis
    first: int
    last: int
    sums: NDArray[np.float32] = field(init=False)
    kernel: NDArray[np.float32] = field(init=False)
    top: int = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.classes, self.rows.size, self.last - self.first), np.float32)
        self.kernel = np.outer(hann(self.rows.size), hann(self.cols.size))
        self.top = self.rows.starts[0]

    def add(self, col: int, probabilities: Tensor) -> None:
        """Add the probabilities K H W of the window of the current row that begins at column `col`."""
        import torch

        c0, c1 = max(col, self.first), min(col + self.cols.size, self.last)
        inside, here = slice(c0 - col, c1 - col), slice(c0 - self.first, c1 - self.first)
        sums, kernel = torch.from_numpy(self.sums), torch.from_numpy(self.kernel)
        for part, ring in self._pieces(self.rows.size):
            sums[:, ring, here].addcmul_(probabilities[:, part, inside], kernel[part, inside])

    def leave(self, until: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Let go of the finished rows above `until`, in one or two pieces: first row, weighted sums K rows columns.

        Rows beyond the raster are not given. Each piece holds until the next is asked for.
        """
        for part, ring in self._pieces(until - self.top):
            first, last = max(0, self.top + part.start), min(self.rows.length, self.top + part.stop)
            if first < last:
                at = ring.start + first - self.top - part.start
                yield first, self.sums[:, at : at + last - first]
            self.sums[:, ring] = 0
        self.top = until

    def _pieces(self, count: int) -> list[tuple[slice, slice]]:
        """The next `count` rows from the top, in one or two stretches: where they are in a window, and in the ring."""
        size = self.rows.size
        start = self.top % size
        before = min(count, size - start)
        pieces = [(slice(0, before), slice(start, start + before))]
        return pieces if before == count else [*pieces, (slice(before, count), slice(0, count - before))]

    def weights(self, first_row: int, count: int) -> NDArray[np.float32]:
        """The sum of the weights of all windows at each pixel of some rows of the lane: rows x columns."""
        return np.outer(self.rows.weights(first_row, first_row + count), self.cols.weights(self.first, self.last))


def largest(sums: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Index of the largest of K layers at each pixel, the first of equals: an argmax along the first axis.

    A few rows at a time, so that they stay in the cache: numpy's own takes 5 times as long.
    """
    K, H, W = sums.shape
    found = np.zeros((H, W), np.uint8)
    step = max(1, CACHED // max(1, W))
    for r in range(0, H, step):
        best, index = sums[0, r : r + step].copy(), found[r : r + step]
        for k in range(1, K):
            layer = sums[k, r : r + step]
            np.maximum(index, np.multiply(layer > best, k, dtype=np.uint8), out=index)
            np.maximum(best, layer, out=best)
    return found
