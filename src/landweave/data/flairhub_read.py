"""From a file of FLAIR-HUB to arrays: date-major stacks, cloud masks, heights, label layers, and wider windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landweave.errors import ConfigError, DataError, GridError, listed
from landweave.grid import Grid, Window

AGAIN = "unpack the archive again"


@dataclass(frozen=True)
class Stack:
    """Images of one file: values T C H W in the file's own numbers, what is seen (T C|1 H W), and their days."""

    path: Path
    data: NDArray[Any]
    seen: NDArray[np.bool_]
    days: tuple[int, ...]
    grid: Grid

    def take(self, dates: NDArray[np.bool_]) -> Stack:
        """Some of the dates."""
        days = tuple(d for d, keep in zip(self.days, dates.tolist(), strict=True) if keep)
        return replace(self, data=self.data[dates], seen=self.seen[dates], days=days)


def require_layers(path: Path, layers: int, bands: Sequence[str], days: Sequence[int] | None, dates: str) -> None:
    """Refuse a file whose layers are not whole dates, or not as many as the metadata say.

    `days` are None where the metadata are not at hand.

    Raises:
        DataError: naming the file and the metadata.
    """
    count = len(bands)
    if not layers or layers % count:
        what = f"{layers} layers, which are not dates of {count} bands ({listed(bands, 10)})"
        raise DataError(what, where=path, fix=AGAIN)
    if days is not None and len(days) != layers // count:
        raise DataError(
            f"{layers // count} images in the file, and {len(days)} dates of its patch in {Path(dates).name}",
            where=path,
            fix=f"{AGAIN}, or its metadata ({dates})",
        )


def read_stack(
    path: Path, bands: Sequence[str], days: Sequence[int], dates: str, *, zero_is_nodata: bool = False
) -> Stack:
    """Read a stack whose layers are date-major: all bands of the first date, then those of the second.

    Args:
        path: the file.
        bands: of one date.
        days: one a date.
        dates: where the days stand, for messages.
        zero_is_nodata: a pixel whose bands are all 0 at a date was not seen then: neither a reflectance nor a power
            is exactly 0 in every band.

    Raises:
        DataError: unreadable, or another number of layers than of dates times bands.
    """
    from landweave.data import raster

    found = raster.read(path)
    require_layers(path, len(found.data), bands, days, dates)
    T, C, (H, W) = len(days), len(bands), found.data.shape[1:]
    data = found.data.reshape(T, C, H, W)
    valid = np.broadcast_to(found.valid, found.data.shape).reshape(T, C, H, W)
    seen = valid[:, :1] if (valid == valid[:, :1]).all() else valid
    if zero_is_nodata:
        seen = seen & (data != 0).any(1, keepdims=True)
    return Stack(path, data, np.array(seen), tuple(days), found.grid)


def read_mask(path: Path, dates: int) -> NDArray[Any]:
    """Snow and cloud in per cent, T 2 H W.

    Raises:
        DataError: another number of dates than the series has.
    """
    from landweave.data import raster

    found = raster.read(path).data
    if len(found) != 2 * dates:
        raise DataError(f"{len(found)} layers for a series of {dates} images; two a date", where=path, fix=AGAIN)
    return found.reshape(dates, 2, *found.shape[1:])


# ---- wider windows


def margin(size: tuple[int, int], context: int, *, where: str) -> tuple[int, int]:
    """Pixels that a window of `context` sides reaches beyond each border, in rows and columns.

    Raises:
        ConfigError: not whole pixels.
    """
    rest = [n * (context - 1) for n in size]
    if any(n % 2 for n in rest):
        raise ConfigError(
            f"{size[0]} x {size[1]} pixels do not grow to {context} sides by whole pixels",
            where=where,
            fix=f"set data.context={context + 1}",
        )
    return rest[0] // 2, rest[1] // 2


def widen(centre: Stack, context: int, neighbour: Callable[[int, int], Stack | None]) -> Stack:
    """The series with the ground around it, from patches beside it; what none of them covers is not seen.

    A neighbour lends its image of the same day (the second of a day to the second). Where it has none of that day,
    its ground is not seen then. It is put where its georeference says.

    Args:
        centre: the patch's own series; its dates are kept.
        context: side of the window in sides of the patch.
        neighbour: the series of the patch so many rows and columns away, as they are counted in names, or None.

    Raises:
        GridError: a neighbour lies on another lattice or has no georeference.
    """
    T, C, H, W = centre.data.shape
    top, left = margin((H, W), context, where=str(centre.path))
    window = Window(-top, -left, H + 2 * top, W + 2 * left)
    grid = centre.grid.crop(window)
    data = np.zeros((T, C, window.height, window.width), centre.data.dtype)
    seen = np.zeros((T, centre.seen.shape[1], window.height, window.width), bool)
    reach = max(-(-top // H), -(-left // W))
    steps = range(-reach, reach + 1)
    around = (neighbour(r, c) for r in steps for c in steps if r or c)
    for one in (*(n for n in around if n is not None), centre):
        _paste(one, _same_days(centre.days, one.days), grid, data, seen)
    return replace(centre, data=data, seen=seen, grid=grid)


def _same_days(days: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    """Positions of images of the same day in both, the first with the first."""
    there = {key: i for i, key in enumerate(_numbered(other))}
    return [(i, there[key]) for i, key in enumerate(_numbered(days)) if key in there]


def _numbered(days: Iterable[int]) -> list[tuple[int, int]]:
    count: dict[int, int] = {}
    out = []
    for day in days:
        out.append((day, count.get(day, 0)))
        count[day] = count.get(day, 0) + 1
    return out


def _paste(
    one: Stack, pairs: Sequence[tuple[int, int]], grid: Grid, data: NDArray[Any], seen: NDArray[np.bool_]
) -> None:
    """Copy a patch's images into the window, where the two overlap."""
    if not one.grid.crs or one.grid.crs != grid.crs or one.data.shape[1] != data.shape[1]:
        what = "no georeference, or another one than its neighbour"
        raise GridError(what, where=one.path, fix="set data.context=1")
    row, col = grid.rowcol(one.grid.transform[2], one.grid.transform[5])
    at = round(row), round(col)
    if abs(row - at[0]) > 0.05 or abs(col - at[1]) > 0.05 or abs(one.grid.pixel[0] / grid.pixel[0] - 1) > 1e-3:
        raise GridError("its pixels do not lie on those of its neighbour", where=one.path, fix="set data.context=1")
    (H, W), (h, w) = grid.shape, one.data.shape[2:]
    r0, r1, c0, c1 = max(at[0], 0), min(at[0] + h, H), max(at[1], 0), min(at[1] + w, W)
    if r1 <= r0 or c1 <= c0 or not pairs:
        return
    mine, theirs = (np.array(p) for p in zip(*pairs, strict=True))
    part = (slice(r0 - at[0], r1 - at[0]), slice(c0 - at[1], c1 - at[1]))
    data[mine, :, r0:r1, c0:c1] = one.data[theirs][:, :, part[0], part[1]]
    lent = one.seen if one.seen.shape[1] in (1, seen.shape[1]) else np.all(one.seen, axis=1)[:, None]
    seen[mine, :, r0:r1, c0:c1] = lent[theirs][:, :, part[0], part[1]]


# ---- which crop lies in which


def observed_parents(rasters: Iterable[Path]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each code of LPIS level 2 lies in each of level 1 (31 23), and of level 3 in level 2 (46 31).

    For those who have the archive: where a row has pixels outside the parent of `legends.PARENTS`, the rasters are
    right (Table VII of the paper leaves the parent of winter rye open).
    """
    from landweave.data import raster

    counts = [np.zeros((31, 23), np.int64), np.zeros((46, 31), np.int64)]
    for path in rasters:
        levels = raster.read(path).data.astype(np.int64)
        for count, above, below in zip(counts, levels, levels[1:], strict=False):
            K, P = count.shape
            if below.max() >= K or above.max() >= P:
                raise DataError(f"codes up to {below.max()} in {above.max()}, not of LPIS", where=path)
            count += np.bincount((below * P + above).ravel(), minlength=K * P).reshape(K, P)
    return counts[0], counts[1]
