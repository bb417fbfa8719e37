"""Which window goes into which split: by block, with a buffer, and never the same ground on two sides.

Splits are numbers here: 0 train, 1 validation, 2 test (positions in `SPLITS`), -1 unused.

Two windows conflict when they are in different splits and lie nearer than the buffer along both axes. Of two that
conflict the later in test > validation > train goes unused: small splits keep their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNUSED = -1
FILE = "file:"
"""Begins the name of a ground that has no CRS: pixels of one file are comparable with nothing else."""
Shares = tuple[float, float, float]


@dataclass(frozen=True)
class Layout:
    """A proposal for the windows of one raster, R x C: their split, and the region (block) that each belongs to."""

    split: NDArray[np.int8]
    region: NDArray[np.int64]


def lay_out(
    shape: tuple[int, int], gap: tuple[int, int], *, shares: Shares, block: int | None, rng: np.random.Generator
) -> Layout | None:
    """Propose splits for R x C windows, of which those nearer than `gap` windows (rows, columns) conflict.

    Large rasters are cut into square blocks (`block` windows a side; by default a tenth of the longer side, and at
    least six gaps, so that the buffer costs little) that are dealt out at random. Where blocks are too few, or would
    leave a split empty, the raster is cut into one region a split with the gap between them. None: too small for that.
    """
    wanted = [s for s in (2, 1, 0) if shares[s] > 0]
    if len(wanted) == 1:
        return Layout(np.full(shape, wanted[0], np.int8), np.zeros(shape, np.int64))
    side = block or max(6 * max(gap), -(-max(shape) // 10), 1)
    counts = tuple(max(1, round(n / side)) for n in shape)
    if counts[0] * counts[1] >= (len(wanted) if block else 10):
        dealt = _deal(shape, counts, shares, rng)
        kept = clear_conflicts(dealt.split.ravel(), _cells(shape), (gap[1], gap[0]))
        if set(wanted) <= set(kept.tolist()):
            return dealt
    return _regions(shape, gap, shares, wanted, rng)


def _cells(shape: tuple[int, int]) -> NDArray[np.float64]:
    rows, cols = (a.ravel() for a in np.indices(shape))
    return np.stack([cols, rows, cols + 1, rows + 1], 1).astype(float)


def _deal(shape: tuple[int, int], counts: tuple[int, ...], shares: Shares, rng: np.random.Generator) -> Layout:
    """Deal blocks out: at least one a split that has a share, and the rest by share."""
    at = [np.arange(n) * k // n for n, k in zip(shape, counts, strict=True)]
    region = at[0][:, None] * counts[1] + at[1][None, :]
    total = counts[0] * counts[1]
    held = [(s, max(1, round(shares[s] * total))) for s in (2, 1) if shares[s] > 0]
    of_block = np.full(total, 0 if shares[0] > 0 else held[0][0], np.int8)
    order, start = rng.permutation(total), 0
    for s, n in held:
        of_block[order[start : start + n]] = s
        start += n
    return Layout(of_block[region], region)


def _cut(n: int, gap: int, share: float) -> tuple[int, int] | None:
    """Two parts of n windows with a gap between them; None where there is no room."""
    room = n - gap
    first = min(max(1, round(room * share)), room - 1)
    return (first, first + gap) if room >= 2 else None


def _regions(
    shape: tuple[int, int], gap: tuple[int, int], shares: Shares, wanted: list[int], rng: np.random.Generator
) -> Layout | None:
    """One region a split: a cut along one axis, and for three splits a cut of the smaller part along the other."""
    long = 0 if shape[0] >= shape[1] else 1
    small = [s for s in wanted if s != max(wanted, key=lambda s: shares[s])]
    large = next(s for s in wanted if s not in small)
    held = sum(shares[s] for s in small)
    flips = rng.integers(0, 2, 2).astype(bool)
    small = small[::-1] if rng.integers(0, 2) else small
    for axis in (long, 1 - long):
        split = np.full((shape[axis], shape[1 - axis]), UNUSED, np.int8)
        first = _cut(shape[axis], gap[axis], held / (held + shares[large]))
        across = _cut(shape[1 - axis], gap[1 - axis], shares[small[0]] / held)
        strips = _cut(first[0], gap[axis], shares[small[0]] / held) if first else None
        if first and len(small) == 1:
            split[: first[0]] = small[0]
        elif first and across:
            split[: first[0], : across[0]], split[: first[0], across[1] :] = small[0], small[1]
        elif first and strips:
            split[: strips[0]], split[strips[1] : first[0]] = small[0], small[1]
        elif shape[axis] >= 2 * gap[axis] + 3:  # room for three strips, though not by share
            first = (2 + gap[axis], 2 + 2 * gap[axis])
            split[0], split[1 + gap[axis]] = small[0], small[1]
        else:
            continue
        assert first is not None
        split[first[1] :] = large
        split = split[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
        split = split if axis == 0 else split.T
        return Layout(np.ascontiguousarray(split), split.astype(np.int64))
    return None


def next_split(counts: Sequence[int], shares: Shares, size: int, left: int) -> int:
    """The split for a whole raster of `size` windows, `counts` a split being placed and `left` rasters to place.

    The split that is furthest behind its share; but each split gets one raster while there are enough.
    """
    empty = [s for s in (0, 1, 2) if shares[s] > 0 and not counts[s]]
    if empty and len(empty) >= left:
        return empty[0]
    total = sum(counts) + size
    return max((0, 1, 2), key=lambda s: (shares[s] > 0, shares[s] * total - counts[s], -s))


def near_pairs(boxes: NDArray[np.float64], others: NDArray[np.float64], room: tuple[float, float]) -> NDArray[np.int64]:
    """Pairs (position in boxes, in others) whose gaps are below `room` (x, y) on both axes; touching is a gap of 0."""
    import shapely

    if not len(boxes) or not len(others):
        return np.zeros((2, 0), np.int64)
    slack = 1e-6 * (boxes[:, 2:] - boxes[:, :2]).max(0)
    grow = np.asarray(room) - slack
    tree = shapely.STRtree(shapely.box(*others.T))
    found: NDArray[Any] = tree.query(shapely.box(*(boxes[:, :2] - grow).T, *(boxes[:, 2:] + grow).T))
    return found.astype(np.int64)


def clear_conflicts(
    split: NDArray[np.int8],
    boxes: NDArray[np.float64],
    buffer: tuple[float, float],
    *,
    first: NDArray[np.bool_] | None = None,
) -> NDArray[np.int8]:
    """Take out of use what conflicts; windows marked `first` go before all others.

    Args:
        split: proposals n.
        boxes: n x 4, left, low, right, high, in any unit.
        buffer: the gap to keep along x and y, in the same unit.
        first: windows whose split is settled by what lies there already.
    """
    kept = split.copy()
    rank = kept + 3 * (np.zeros(len(kept), int) if first is None else first.astype(int))
    a, b = near_pairs(boxes, boxes, buffer)
    a, b = a[rank[a] > rank[b]], b[rank[a] > rank[b]]
    for level in (5, 4, 3, 2, 1):
        beats = (rank[a] == level) & (kept[a] != UNUSED) & (kept[b] != UNUSED) & (kept[a] != kept[b])
        kept[b[beats]] = UNUSED
    return kept


@dataclass(frozen=True)
class Placed:
    """Windows that have a place: n boxes, splits and groups."""

    boxes: NDArray[np.float64]
    split: NDArray[np.int8]
    groups: Sequence[str]


@dataclass
class Ground:
    """The windows placed so far, scene by scene, by CRS (or by file, without one)."""

    parts: dict[str, list[Placed]] = field(default_factory=dict)

    def add(self, crs: str, part: Placed) -> None:
        """Place windows."""
        self.parts.setdefault(crs, []).append(part)

    def count(self, group: str | None = None) -> list[int]:
        """How many windows are in train, validation and test; of one group, or of all."""
        total = [0, 0, 0]
        for part in (p for parts in self.parts.values() for p in parts):
            own = np.array([g == group for g in part.groups]) if group else np.ones(len(part.split), bool)
            total = [n + int(((part.split == s) & own).sum()) for s, n in enumerate(total)]
        return total

    def seen_from(self, crs: str, boxes: NDArray[np.float64], buffer: tuple[float, float]) -> Placed:
        """The placed windows of the scenes around; those of another CRS as the boxes around their corners."""
        room = np.array(buffer)
        low, high = boxes[:, :2].min(0) - room, boxes[:, 2:].max(0) + room
        here = np.concatenate([low, high])[None]
        near = [Placed(np.zeros((0, 4)), np.zeros(0, np.int8), [])]
        for other, parts in self.parts.items():
            if other != crs and (other.startswith(FILE) or crs.startswith(FILE)):
                continue
            for part in parts:
                hull = np.concatenate([part.boxes[:, :2].min(0), part.boxes[:, 2:].max(0)])[None]
                if other != crs and not _may_touch(hull, other, here, crs):
                    continue  # so far away that this projection may not reach it
                hull = hull if other == crs else _carried(hull, other, crs)
                margin = 0.1 * (hull[0, 2:] - hull[0, :2])  # a large scene bends between two projections
                if (hull[0, :2] - margin < high).all() and (hull[0, 2:] + margin > low).all():
                    own = part.boxes if other == crs else _carried(part.boxes, other, crs)
                    near.append(Placed(own, part.split, part.groups))
        return Placed(
            np.concatenate([p.boxes for p in near]),
            np.concatenate([p.split for p in near]),
            [g for p in near for g in p.groups],
        )


def _may_touch(a: NDArray[np.float64], a_crs: str, b: NDArray[np.float64], b_crs: str) -> bool:
    """Whether two boxes of different CRS lie near each other on the globe: the caps around their corners overlap."""
    (a_middle, a_reach), (b_middle, b_reach) = _cap(a, a_crs), _cap(b, b_crs)
    apart = float(np.arccos(np.clip(a_middle @ b_middle, -1, 1)))
    return apart <= 1.2 * (a_reach + b_reach)


def _cap(box: NDArray[np.float64], crs: str) -> tuple[NDArray[np.float64], float]:
    """The middle of a box on the unit sphere, and the angle from there to its farthest corner."""
    from landweave.data.raster import transform_points

    lon, lat = (
        np.radians(v) for v in transform_points(box[0, [0, 0, 2, 2]].tolist(), box[0, [1, 3, 1, 3]].tolist(), crs)
    )
    corners = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    middle = corners.mean(0) / np.linalg.norm(corners.mean(0))
    return middle, float(np.arccos(np.clip(corners @ middle, -1, 1)).max())


def _carried(boxes: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    from landweave.data.raster import transform_points

    xs, ys = boxes[:, [0, 0, 2, 2]], boxes[:, [1, 3, 1, 3]]
    out = transform_points(xs.ravel().tolist(), ys.ravel().tolist(), source, target=target)
    x, y = (np.array(v).reshape(-1, 4) for v in out)
    return np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], 1)


@dataclass(frozen=True)
class Settled:
    """The splits and groups of new windows, and how many of them lie on ground that had places."""

    split: NDArray[np.int8]
    groups: list[str]
    on_old_ground: int


def settle(
    proposed: NDArray[np.int8],
    boxes: NDArray[np.float64],
    groups: Sequence[str],
    *,
    buffer: tuple[float, float],
    old: Placed,
) -> Settled:
    """Make proposals agree with the windows that are placed already, and with each other.

    A window on old ground takes the split and group that the ground has (unused if it touches two); then every
    window nearer than the buffer to an old one of another split goes unused; then conflicts among the new ones.
    """
    split, names = proposed.copy(), list(groups)
    fates: dict[int, set[int]] = {}
    for i, j in near_pairs(boxes, old.boxes, (0.0, 0.0)).T.tolist():
        fates.setdefault(i, set()).add(int(old.split[j]))
        names[i] = old.groups[j]
    inherited = np.zeros(len(split), bool)
    for i, fate in fates.items():
        used = fate - {UNUSED}
        split[i] = used.pop() if len(used) == 1 else UNUSED
        inherited[i] = True
    a, b = near_pairs(boxes, old.boxes, buffer)
    split[a[(old.split[b] != UNUSED) & (old.split[b] != split[a])]] = UNUSED
    return Settled(clear_conflicts(split, boxes, buffer, first=inherited), names, len(fates))
