"""One sensor's rasters read window by window, and the figures of their blocks, in memory that does not grow with them.

A window is some blocks wide and high, with a margin around it that the predictors look at and nobody judges: windows
of any size therefore give the same figures, to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from landweave.contract import Contract, StreamContract
from landweave.data.check_values import Darkest
from landweave.data.check_values import Values as Numbers
from landweave.grid import Grid, Window
from landweave.maps.strips import Layout, Strip
from landweave.maps.windows import lanes
from landweave.methods.standard import figures
from landweave.metrics.suspicion import KINDS, Values
from landweave.nn.reconstruct import REACH, By, Read, ReconstructModel
from landweave.sample import Batch
from landweave.transforms import cubes

SIDE = 256
"""Pixels a window is about wide and high, without its margin."""
THIN = 4
"""Of a sample every so many-th pixel is taken, along rows and columns."""

At = tuple[int, int]
"""A window: its first block's row and column."""


@dataclass(frozen=True)
class Sample:
    """Evenly thinned pixels of an image: C n in the sensor's unit, and which are seen."""

    physical: NDArray[np.float32]
    seen: NDArray[np.bool_]

    def medians(self, read: ReconstructModel, sensor: str) -> Values:
        """Median of each band on the scale of predictions; NaN where none is seen."""
        with torch.inference_mode():
            values = read.net(sensor).scale.to(torch.from_numpy(self.physical)[None, :, None])[0, :, 0].numpy()
        return np.array([np.median(v[s]) if s.any() else np.nan for v, s in zip(values, self.seen, strict=True)])

    def commonest(self, band: int) -> tuple[float, float]:
        """The number that most pixels of a band are, and their share."""
        found, count = np.unique(self.physical[band][self.seen[band]], return_counts=True)
        return (float(found[count.argmax()]), float(count.max() / count.sum())) if len(found) else (0.0, 0.0)

    def darkest(self, stream: StreamContract) -> Darkest:
        """What the offset of baseline 04.00 is suspected by."""
        dark = Darkest()
        dark.add(stream.sensor, Numbers(stream.bands, self.physical, self.seen, self.physical == 0, True))
        return dark


@dataclass
class Scene:
    """The rasters of one sensor.

    Args:
        model: in eval mode.
        stream: the contract of the sensor.
        layout: where its rasters lie.
        block: pixels along a side of a block; a multiple of `layout.step`.
        by: who predicts.
        memory: bytes of working memory.
        side: pixels of a window without its margin; it changes no figure.
    """

    model: ReconstructModel
    stream: StreamContract
    layout: Layout
    block: int
    by: By
    memory: int
    side: int = SIDE
    lacking: tuple[int, ...] = ()
    """Bands of which nothing is seen anywhere; they are left out of every prediction."""

    @property
    def margin(self) -> int:
        """Pixels around a window: what the network reaches, and what bilinear resampling of coarse bands does."""
        step = self.layout.step
        return step * ceil((REACH + (2 * step if step > 1 else 0)) / step)

    @property
    def first(self) -> tuple[int, int]:
        """Row and column of the reference grid at which the first block begins, at or before the raster."""
        step = self.layout.step
        top, left = (b % step - (step if b % step else 0) for b in self.layout.base)
        return top, left

    @property
    def shape(self) -> tuple[int, int]:
        """Blocks down and across."""
        (H, W), (top, left) = self.layout.grid.shape, self.first
        return ceil((H - top) / self.block), ceil((W - left) / self.block)

    @property
    def grid(self) -> Grid:
        """The grid of the blocks."""
        (h, w), (top, left) = self.shape, self.first
        return self.layout.grid.crop(Window(top, left, h * self.block, w * self.block)).scaled(h, w)

    @property
    def many(self) -> int:
        """Blocks along a side of a window, which is no larger than the raster."""
        return max(1, min(self.side // self.block, *self.shape))

    @cached_property
    def windows(self) -> list[At]:
        """All windows, row by row."""
        h, w = self.shape
        return [(r, c) for r in range(0, h, self.many) for c in range(0, w, self.many)]

    def reads(self, chosen: Collection[At]) -> Iterator[tuple[At, Read]]:
        """The chosen windows with their margins, lane by lane from the top."""
        size = self.many * self.block
        full = size + 2 * self.margin
        cost = sum(p.bytes_per_column(full + self.layout.step) for p in self.layout.placed)
        across = sorted({c for _, c in chosen})
        for a, b in lanes(len(across), cost * size, self.memory, align=1):
            lane = across[a:b]
            left, right = (self._pixel(0, c)[1] - self.margin for c in (lane[0], lane[-1]))
            strips = [Strip(p, left, right + full) for p in self.layout.placed]
            for row in sorted({r for r, c in chosen if c in lane}):
                top = self._pixel(row, 0)[0] - self.margin
                for strip in strips:
                    strip.advance(top, full)
                for col in (c for c in lane if (row, c) in chosen):
                    yield (row, col), self._read(strips, (top, self._pixel(0, col)[1] - self.margin), full)

    def _pixel(self, row: int, col: int) -> tuple[int, int]:
        return self.first[0] + row * self.block, self.first[1] + col * self.block

    def _read(self, strips: list[Strip], at: At, full: int) -> Read:
        images = {s.placed.source.stream: s.image([at], (full, full)) for s in strips}
        batch = Batch(images, {}, (f"window {at[0]}, {at[1]}",), ("",))
        name = self.stream.sensor
        cube = cubes(batch, Contract({name: self.stream})).images[name]
        return self.model.read(name, cube)

    def inner(self, read: Read) -> Read:
        """A window without its margin."""
        m = self.margin
        return Read(*(t[..., m:-m, m:-m] for t in (read.physical, read.values, read.seen)))

    def predicted(self, read: Read, hidden: Collection[int]) -> torch.Tensor:
        """What the other bands say, of a window without its margin."""
        with torch.inference_mode():
            net = self.model.net(self.stream.sensor)
            found = net.predict(read.values, read.seen, by=self.by, hidden=hidden)
        return found[..., self.margin : -self.margin, self.margin : -self.margin]

    def figures(
        self,
        chosen: Collection[At],
        hidden: Collection[int] = (),
        exchanged: tuple[int, int] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Values:
        """C K h w of all blocks, NaN of those outside the chosen windows; with two bands exchanged, if wanted."""
        out = np.full((len(self.stream.bands), len(KINDS), *self.shape), np.nan)
        net = self.model.net(self.stream.sensor)
        for done, ((row, col), read) in enumerate(self.reads(chosen), 1):
            if progress:
                progress(done, len(chosen))
            if not bool(read.seen.any()):
                continue
            if exchanged:
                read = self._exchanged(read, *exchanged)
            found = self.predicted(read, (*hidden, *self.lacking))
            told = figures(net, self.inner(read), found, self.block, hidden=(*hidden, *self.lacking))
            target = out[:, :, row : row + self.many, col : col + self.many]
            target[...] = told[:, :, : target.shape[2], : target.shape[3]]
        return out

    def looser(self, hidden: Collection[int]) -> Values:
        """C: by what factor the error of each band grows for want of the hidden ones, by ridge regression."""
        with torch.inference_mode():
            return self.model.net(self.stream.sensor).ridge.looser((*hidden, *self.lacking)).numpy()

    def _exchanged(self, read: Read, a: int, b: int) -> Read:
        order = list(range(len(self.stream.bands)))
        order[a], order[b] = order[b], order[a]
        physical, seen = read.physical[:, order], read.seen[:, order]
        values = self.model.net(self.stream.sensor).scale.to(physical)
        return replace(read, physical=physical, seen=seen, values=torch.where(seen, values, 0))

    def sample(self, chosen: Collection[At]) -> Sample:
        """Thinned pixels of the chosen windows."""
        physical, seen = [], []
        for _, read in self.reads(chosen):
            thin = self.inner(read)
            physical.append(thin.physical[0, :, ::THIN, ::THIN].flatten(1).numpy())
            seen.append(thin.seen[0, :, ::THIN, ::THIN].flatten(1).numpy())
        return Sample(np.concatenate(physical, 1), np.concatenate(seen, 1))
