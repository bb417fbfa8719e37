"""Writing and looking at maps as cloud-optimised GeoTIFFs (COG): in blocks, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landweave.data.raster import header
from landweave.errors import ConfigError, DataError
from landweave.grid import Grid
from landweave.legends import UNKNOWN
from landweave.maps.kept import Kept
from landweave.maps.qml import Row
from landweave.maps.windows import BLOCK

CACHE_MIB = 64
"""What GDAL may keep of decoded blocks; its own default, 5 % of the machine, grows with the machine."""
NAMES = "CLASS_NAMES"


def rgb(color: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers.

    Raises:
        DataError: it is written otherwise.
    """
    text = color.lstrip("#")
    try:
        if len(text) != 6:
            raise ValueError
        return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)
    except ValueError:
        raise DataError(f"`{color}` is not a colour", where="legend", fix="write it as '#1a5bab'") from None


@dataclass
class Writer:
    """A raster written lane by lane from the top, in whole blocks, to a hidden file that `finish` turns into a COG.

    As a context manager it leaves nothing behind when the work inside fails or is interrupted, but for the rows that
    were finished where it has a `mark`: one of the same mark begins with them (`restore`).
    """

    path: Path
    grid: Grid
    bands: int = 1
    nodata: float | None = None
    dtype: str = "uint8"
    mark: str = ""
    rows: int = BLOCK
    """Rows that are written, and kept, at a time."""
    discarded: bool = field(default=False, init=False)
    """Whether rows of another map were thrown away."""
    lock: Any = field(default=None, init=False)
    target: Any = field(default=None, init=False)
    buffer: NDArray[Any] = field(init=False)
    column: int = field(default=0, init=False)
    held: int = field(default=0, init=False)
    row: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def _kept(self) -> Kept | None:
        return Kept(self.path.with_name(f".{self.path.name}.rows"), self.mark) if self.mark else None

    @property
    def _raw(self) -> Path:
        return self.path.with_name(f".{self.path.name}.raw.part")

    @property
    def _locked(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    @property
    def _part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    def __enter__(self) -> Writer:
        import rasterio
        from rasterio.transform import Affine

        self._lock()
        if self._kept:
            self.discarded = self._kept.open()
        self.target = rasterio.open(
            self._raw, "w", driver="GTiff", dtype=self.dtype, count=self.bands,
            height=self.grid.shape[0], width=self.grid.shape[1], nodata=self.nodata,
            crs=self.grid.crs or None, transform=Affine(*self.grid.transform),
            tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", zlevel=1,
            interleave="band", bigtiff="if_safer",
        )  # fmt: skip
        return self

    def _lock(self) -> None:
        """One process at a time makes a map; the lock goes with the process, however it ends.

        Raises:
            ConfigError: another one is at it.
        """
        import fcntl

        self.lock = self._locked.open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise ConfigError(
                "another process is making this map", where=self.path, fix="wait for it, or choose another --out"
            ) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.target.close()
        if self._kept and (kind is None or self._kept.empty):
            self._kept.clear()
        for path in (self._raw, self._locked, self._part, self._part.with_name(self._part.name + ".aux.xml")):
            path.unlink(missing_ok=True)
        self.lock.close()

    def lane(self, first: int, last: int) -> None:
        """Begin at the top of the columns `first` ... `last - 1`."""
        self.column, self.row, self.held = first, 0, 0
        self.buffer = np.empty((self.bands, self.rows, last - first), self.dtype)

    def rows_there(self) -> int:
        """How many rows of the lane an earlier start has finished."""
        return sum(block.shape[1] for block in self._blocks())

    def restore(self, rows: int) -> Iterator[NDArray[Any]]:
        """Take over the first rows of the lane from an earlier start, in the blocks in which they were written."""
        for block in self._blocks():
            if self.row + block.shape[1] > rows:
                return
            self._write(block)
            yield block

    def _blocks(self) -> Iterator[NDArray[Any]]:
        if self._kept:
            yield from self._kept.blocks(self.column, self.bands, self.buffer.shape[2])

    def add(self, rows: NDArray[Any]) -> None:
        """Append rows (bands x rows x columns of the lane)."""
        at, count = 0, rows.shape[1]
        while at < count:
            take = min(self.rows - self.held, count - at)
            self.buffer[:, self.held : self.held + take] = rows[:, at : at + take]
            self.held, at = self.held + take, at + take
            if self.held == self.rows or self.row + self.held == self.grid.shape[0]:
                self._flush()

    def _flush(self) -> None:
        block = self.buffer[:, : self.held]
        if self._kept:
            self._kept.add(self.column, self.row, block)
        self._write(block)
        self.held = 0

    def _write(self, block: NDArray[Any]) -> None:
        from rasterio.windows import Window

        self.target.write(block, window=Window(self.column, self.row, block.shape[2], block.shape[1]))
        self.row += block.shape[1]

    def finish(
        self,
        *,
        descriptions: Sequence[str],
        tags: Mapping[str, str],
        classes: Sequence[Row] = (),
        scale: float | None = None,
        overviews: str = "NEAREST",
        named: bool = True,
    ) -> Path:
        """Describe the bands, write the COG, and give it its final name, unless `named` is False: `name` does then.

        `classes` gives the first band a colour table and the tag CLASS_NAMES; `scale` is that of every band.
        """
        import rasterio.shutil

        self.target.update_tags(**tags)
        for i, text in enumerate(descriptions, 1):
            self.target.set_band_description(i, text)
        if classes:
            table = {value: (*rgb(color), 255) for value, _, color in classes}
            self.target.write_colormap(1, table | ({} if self.nodata is None else {int(self.nodata): (0, 0, 0, 0)}))
            names = json.dumps({value: name for value, name, _ in classes}, ensure_ascii=False)
            self.target.update_tags(1, **{NAMES: names})
        if scale is not None:
            self.target.scales = (scale,) * self.bands
        self.target.close()
        rasterio.shutil.copy(
            self._raw, self._part, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=str(BLOCK),
            OVERVIEW_RESAMPLING=overviews, BIGTIFF="IF_SAFER",
        )  # fmt: skip
        return self.name() if named else self._part

    def name(self) -> Path:
        """Give the COG its final name."""
        os.replace(self._part, self.path)
        return self.path

    def forget(self) -> None:
        """Remove what a killed start has left of a file that is not wanted now."""
        for path in (self._raw, self._part, self._locked):
            path.unlink(missing_ok=True)
        Kept(self.path.with_name(f".{self.path.name}.rows"), "").clear()


@dataclass(frozen=True)
class Quicklook:
    """A map made small for a page: class values H W, the classes, how often each occurs in it, and its tags."""

    values: NDArray[np.uint8]
    classes: tuple[Row, ...]
    shares: Mapping[int, float]
    tags: Mapping[str, str]
    grid: Grid

    def picture(self) -> NDArray[np.uint8]:
        """Red, green, blue and alpha, H W 4; transparent where nothing is known."""
        table = np.zeros((256, 4), np.uint8)
        for value, _, color in self.classes:
            table[value] = (*rgb(color), 255)
        return table[self.values]


def quicklook(path: str | os.PathLike[str], *, most: int = 1024) -> Quicklook:
    """Read a classified map at no more than `most` pixels a side, from its overviews.

    Raises:
        DataError: it cannot be read, or is not a classified map that landweave wrote.
    """
    import rasterio
    from rasterio.enums import Resampling

    head = header(path)
    with rasterio.open(path) as source:
        names = json.loads(source.tags(1).get(NAMES, "{}"))
        if not names or head.dtype != "uint8":
            raise DataError("not a classified map (no class names)", where=path, fix="give one of `landweave map`")
        shrink = max(1.0, max(head.grid.shape) / most)
        shape = (max(1, round(head.grid.shape[0] / shrink)), max(1, round(head.grid.shape[1] / shrink)))
        values = source.read(1, out_shape=shape, resampling=Resampling.nearest)
        colors = source.colormap(1)
    classes = tuple((int(v), str(n), "#{:02x}{:02x}{:02x}".format(*colors[int(v)][:3])) for v, n in names.items())
    known = max(1, int((values != UNKNOWN).sum()))
    shares = {v: float((values == v).sum()) / known for v, _, _ in classes}
    return Quicklook(values, classes, shares, head.tags, head.grid)
