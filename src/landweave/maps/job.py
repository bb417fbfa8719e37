"""The work of one map: windows are predicted row by row, blended, and handed to the writers as rows of classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from landweave.contract import Contract, StreamContract
from landweave.data.check import refuse_implausible
from landweave.errors import RunError
from landweave.grid import Grid
from landweave.legends import UNKNOWN, Legend
from landweave.maps.cog import Writer
from landweave.maps.dates import means
from landweave.maps.strips import Layout, Strip
from landweave.maps.windows import BLOCK, Axis, Blender, lanes, largest

if TYPE_CHECKING:
    from torch import Tensor

    from landweave.data.series import Period
    from landweave.sample import Batch, LabelKind

Progress = Callable[[int, int], None] | None
Rows = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]
"""Class indices rows x columns (the number of classes where nothing is seen), and shares of 255 a class if wanted."""


class Predictor(Protocol):
    """What a map needs of a run. One with `averaged` says how its series were read."""

    @property
    def contract(self) -> Contract:
        """What the model was trained on."""

    @property
    def legend(self) -> Legend:
        """Its classes."""

    @property
    def task(self) -> str:
        """What the classes are classes of."""

    @property
    def kind(self) -> LabelKind:
        """`map`, or `class` or `multilabel` for a classifier of whole scenes."""

    def predict(self, batch: Batch) -> Tensor:
        """Probabilities B K H W, or B K, of raw images; 0 for classes that training did not have."""


@dataclass
class Job:
    """The state of one map in the making."""

    run: Predictor
    layout: Layout
    rows: Axis
    cols: Axis
    batch_size: int
    memory: int
    progress: Progress
    shares: bool
    """Whether probabilities are wanted too."""
    period: Period | None = None
    """Series are given to the model as their means by month or half month."""
    official: bool = False
    """Months without a date are filled as FLAIR-HUB's code does."""
    values: NDArray[np.uint8] = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    """Pixels of each class index, and last those without a class."""
    unchecked: set[str] = field(init=False)
    predicted: int = 0
    done: int = 0
    total: int = 0
    restored: int = 0
    """Windows that an earlier start had done."""
    discarded: bool = False
    """Whether rows of another map were thrown away."""

    def __post_init__(self) -> None:
        self.values = map_values(self.run.legend)
        self.counts = np.zeros(len(self.values) + 1, np.int64)
        self.unchecked = {s.source.stream for s in self.layout.placed}

    @property
    def blends(self) -> bool:
        """Whether each window gives a map of its own; else it gives one pixel."""
        return self.run.kind == "map"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a window."""
        return self.rows.size, self.cols.size

    @cached_property
    def reach(self) -> list[tuple[int, int]]:
        """How many reference rows and columns each source is read beyond the borders of a window, on the lattice."""
        step, found = self.layout.step, []
        for placed in self.layout.placed:
            beyond = mine_of(self.run.contract, placed.source.stream).context - 1
            rows, cols = (max(0, round(beyond * size / 2 / step)) * step for size in self.size)
            found.append((rows, cols))
        return found

    @property
    def grid(self) -> Grid:
        """The grid of the map."""
        if self.blends:
            return self.layout.grid
        sy, sx = self.rows.stride, self.cols.stride
        a, b, _, d, e, _ = self.layout.grid.transform
        top, left = ((x.starts[0] + (x.size - x.stride) / 2) for x in (self.rows, self.cols))
        x, y = self.layout.grid.xy(top, left)
        shape = (len(self.rows.starts), len(self.cols.starts))
        return Grid(self.layout.grid.crs, (a * sx, b * sy, x, d * sx, e * sy, y), shape)

    def work(self, writer: Writer, more: Writer | None) -> None:
        """Predict and write everything."""
        writers = [w for w in (writer, more) if w]
        lookup = np.append(self.values, np.uint8(UNKNOWN))
        self.discarded = any(w.discarded for w in writers)
        cuts = self.lanes()
        spans = [self.cols.meeting(*cut) if self.blends else self.cols.starts[slice(*cut)] for cut in cuts]
        self.total = len(self.rows.starts) * sum(map(len, spans))
        for cut, starts in zip(cuts, spans, strict=True):
            for w in writers:
                w.lane(*cut)
            have = min(w.rows_there() for w in writers)
            for w in writers:
                for block in w.restore(have):
                    if w is writer:
                        self.counts += np.bincount(block.ravel(), minlength=256)[lookup]
            self._skip(have, len(starts))
            if have == self.grid.shape[0]:
                continue
            last = starts[-1] + self.cols.size
            strips = [Strip(p, starts[0], last, reach) for p, reach in zip(self.layout.placed, self.reach, strict=True)]
            lane = self._blended(strips, starts, cut, have) if self.blends else self._single(strips, starts, have)
            for classes, shares in lane:
                self.counts += np.bincount(classes.ravel(), minlength=len(self.counts))
                writer.add(lookup[classes][None])
                if more and shares is not None:
                    more.add(shares)

    @property
    def needed(self) -> int:
        """Bytes of working memory of the widest lane, with what its windows read beyond it."""
        (height, width), found = self.size, 0.0
        lane = max(last - first for first, last in self.lanes()) * (1 if self.blends else self.cols.stride)
        for placed, (rows, cols) in zip(self.layout.placed, self.reach, strict=True):
            found += placed.bytes_per_column(height + self.layout.step + 2 * rows) * (lane + 2 * width + 2 * cols)
        return int(found)

    def lanes(self) -> list[tuple[int, int]]:
        """Lanes in columns of the map."""
        K, (height, _) = len(self.values), self.size
        held = height + self.layout.step
        placed = zip(self.layout.placed, self.reach, strict=True)
        reading = sum(p.bytes_per_column(held + 2 * reach) for p, (reach, _) in placed)
        if not self.blends:
            return lanes(len(self.cols.starts), reading * self.cols.stride, self.memory, align=1)
        blending = 4 * K * (height + 2 * self.rows.stride * self.shares) + BLOCK * (1 + K * self.shares)
        return lanes(self.layout.grid.shape[1], reading + blending, self.memory)

    def _first(self, have: int) -> int:
        """The first row of windows that reaches below the rows that are there already."""
        if not self.blends:
            return have
        if have == self.grid.shape[0]:
            return len(self.rows.starts)
        return next((i for i, s in enumerate(self.rows.starts) if s + self.rows.size > have), len(self.rows.starts))

    def _skip(self, have: int, columns: int) -> None:
        """Count the windows of an earlier start as done."""
        skipped = self._first(have) * columns if have else 0
        self.done += skipped
        self.restored += skipped

    def _blended(self, strips: list[Strip], starts: Sequence[int], cut: tuple[int, int], have: int) -> Iterator[Rows]:
        """Rows of a lane below the first `have`, from windows that overlap."""
        first = self._first(have)
        blender = Blender(len(self.values), self.rows, self.cols, *cut)
        blender.top = self.rows.starts[first]
        for start, finished in islice(self.rows.rows_done(), first, None):
            for col, found in self._row(strips, start, starts):
                blender.add(col, found)
            for top, sums in _below(have, blender.leave(finished)):
                seen = np.logical_or.reduce([s.seen_on_reference(top, sums.shape[1], *cut) for s in strips])
                classes = np.where(seen, largest(sums), np.uint8(len(self.values)))
                shares = None
                if self.shares:
                    weighted = sums * (255 / blender.weights(top, sums.shape[1]))
                    shares = np.where(seen, np.rint(weighted), 0).astype(np.uint8)
                yield classes, shares

    def _single(self, strips: list[Strip], starts: Sequence[int], have: int) -> Iterator[Rows]:
        """Rows of a lane below the first `have`, one pixel a window."""
        for start in self.rows.starts[have:]:
            found = np.full((len(self.values), len(starts)), np.nan, np.float32)
            for col, row in self._row(strips, start, starts):
                found[:, starts.index(col)] = row.numpy()
            seen = np.isfinite(found[0])
            found[:, ~seen] = 0
            classes = np.where(seen, largest(found[:, None])[0], np.uint8(len(self.values)))
            yield classes[None], np.rint(found * 255).astype(np.uint8)[:, None] if self.shares else None

    def _row(self, strips: list[Strip], start: int, starts: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Predict the windows of one row in which anything is seen."""
        for strip in strips:
            strip.advance(start, self.size[0])
        at = [(start, c) for c in starts if any(s.cut(start, c, *self.size)[1].any() for s in strips)]
        for i in range(0, len(at), self.batch_size):
            part = at[i : i + self.batch_size]
            yield from zip((c for _, c in part), self._predict(strips, part), strict=True)
        self.done += len(starts)
        if self.progress:
            self.progress(self.done, self.total)

    def _predict(self, strips: list[Strip], at: list[tuple[int, int]]) -> Tensor:
        """Probabilities of some windows: B K H W at the size of a window, or B K."""
        from landweave.sample import Batch
        from landweave.transforms.resampling import answers_on

        images = {s.placed.source.stream: s.image(at, self.size) for s in strips}
        for strip in strips:
            stream = strip.placed.source.stream
            if stream in self.unchecked and bool((images[stream].seen & (images[stream].data != 0)).any()):
                refuse_implausible(stream, images[stream], strip.placed.source.where)
                self.unchecked.discard(stream)
        if self.period:
            series = [n for n in images if mine_of(self.run.contract, n).series]
            images |= {n: means(images[n], n, self.period, official=self.official) for n in series}
        names = tuple(f"window {r}, {c}" for r, c in at)
        found = self.run.predict(Batch(images, {}, names, ("",) * len(at)))
        if not bool(found.isfinite().all()):
            raise RunError(
                "the model answers with numbers that are none (NaN)",
                where=names[0],
                fix="look for extreme values there; if there are none, train anew with a smaller optim.lr",
            )
        self.predicted += len(at)
        return answers_on(found, self.size) if self.blends else found


def _below(have: int, pieces: Iterator[tuple[int, NDArray[np.float32]]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Rows from `have` on: those above are there already, and lack windows here."""
    for top, sums in pieces:
        cut = max(0, have - top)
        if cut < sums.shape[1]:
            yield top + cut, sums[:, cut:]


def mine_of(contract: Contract, stream: str) -> StreamContract:
    """What the model was promised about the sensor of a source."""
    return next(s for s in contract.streams.values() if s.accepts(stream))


def map_values(legend: Legend) -> NDArray[np.uint8]:
    """The pixel value of each class index: the legend's file values where they fit below 255, else the indices."""
    values = [c.value for c in legend.classes]
    fits = all(0 <= v < UNKNOWN for v in values)
    return np.array(values if fits else range(len(values)), np.uint8)
