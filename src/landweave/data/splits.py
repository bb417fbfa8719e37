"""Which labels are known, and which places are trained on.

`labelled_places` marks a share of the training labels as known: nested, stratified, with every class in it. The three
`*_split` functions divide an index in three ways whose scores, side by side, show how much a random split flatters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landweave.data.dataset import Dataset, Place, Split
from landweave.errors import ConfigError, DataError

Shares = Mapping[Split, float]
Positions = NDArray[np.int64]

EARTH_KM = 6371.0088
"""Mean radius of the Earth."""


def labelled_places(dataset: Dataset, task: str, fraction: float, seed: int) -> frozenset[str] | None:
    """Names of the training places whose label of `task` is known; None if all are, or there is no training place.

    One order of all labelled training places is drawn for a seed, and a fraction is a prefix of it: of
    floor(fraction * N) places, at least one. So the 1 % set lies inside the 10 % set. The order begins with places
    that together have every class, and goes on so that every stretch of it has the classes in their proportions
    (see `stratified_prefix`). Places without a label count nowhere, and no place is removed.

    Raises:
        ConfigError: the fraction is not in (0, 1].
        DataError: no training place has a label.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"{fraction} is not a share of the labels", where="data.fraction", fix="0 < fraction <= 1")
    if fraction == 1 or not any(p.split == "train" for p in dataset.places):  # none: as of a region held out
        return None
    found = {dataset.places[i].name: dataset.classes(i, task) for i in dataset.of_split("train")}
    names = sorted(name for name, classes in found.items() if classes is not None)  # not as the files happen to lie
    if not names:
        raise DataError(f"no training place has a label of `{task}`", where=dataset.where)
    classes = np.zeros((len(names), len(dataset.tasks[task].legend)), bool)
    for row, name in enumerate(names):
        classes[row, list(found[name] or ())] = True
    count = max(1, math.floor(Fraction(str(fraction)) * len(names)))  # 0.29 of 100 is 29, not 28
    return frozenset(names[i] for i in stratified_prefix(classes, count, seed))


def stratified_prefix(classes: NDArray[np.bool_], count: int, seed: int) -> Positions:
    """Positions of the first `count` of N places (`classes` is N K, several classes a place) in one drawn order.

    In front stands a cover: again and again the place with most classes not yet met (ties drawn), so that as few
    places as may be have every class. The others lie in a tree of halves, each made by the iterative stratification
    of Sechidis et al. (2011, "On the stratification of multi-label data", algorithm 1, by the package
    `iterative-stratification`): the order goes through the leaves, and every stretch of it has the classes in their
    proportions. Only the halves that the end of the prefix falls in are divided: 237,871 places of 19 classes take
    some 8 s of CPU, whatever the count. Stratifying by whole label sets is no way: BigEarthNet has 3,960 of them,
    446 met once.
    """
    seed %= 2**32
    first = _cover(classes, np.random.RandomState(seed))[:count]
    chosen, node = [first], np.setdiff1d(np.arange(len(classes)), first)
    lacking, path = count - len(first), 1
    while lacking > 0:
        random = np.random.RandomState([seed, path])  # of the node alone: no other count changes it
        one, other = _halves(classes, node, random)
        path *= 2
        if lacking >= len(one):
            chosen.append(one)
            lacking -= len(one)
            one, path = other, path + 1
        node = one
    return np.concatenate(chosen)


def _halves(classes: NDArray[np.bool_], node: Positions, random: np.random.RandomState) -> tuple[Positions, Positions]:
    """Two stratified halves, the most even of some draws; a place alone is the first."""
    from iterstrat.ml_stratifiers import IterativeStratification

    draws = []
    for _ in range(4 if len(node) < 10_000 else 1):  # a slip of 20 places matters only where there are few
        mixed = random.permutation(node)
        if len(mixed) < 4:
            return mixed[:1], mixed[1:]
        side = IterativeStratification(classes[mixed], np.array([0.5, 0.5]), random)
        one, other = mixed[side == 0], mixed[side == 1]
        uneven = np.abs(classes[one].sum(0) - classes[other].sum(0)).max() + abs(len(one) - len(other))
        draws.append((uneven, one, other))
    _, one, other = min(draws, key=lambda d: int(d[0]))
    return one, other


def _cover(classes: NDArray[np.bool_], random: np.random.RandomState) -> Positions:
    """Few places that together have every class that occurs, the most telling first."""
    chosen: list[int] = []
    lacking = classes.any(0)
    while lacking.any():
        gain = classes[:, lacking].sum(1)
        best = np.flatnonzero(gain == gain.max())
        chosen.append(int(random.choice(best)))
        lacking &= ~classes[chosen[-1]]
    return np.array(chosen, np.int64)


# ---- splits of an index


def random_split(places: Sequence[Place], shares: Shares, seed: int) -> list[Split]:
    """Each place by itself: the counts are the shares, to within one place.

    Raises:
        ConfigError: the shares do not add up to 1.
    """
    counts = _counts(shares, len(places))
    order = np.random.default_rng(seed % 2**32).permutation(len(places))
    out: list[Split] = [""] * len(places)
    at = 0
    for split, count in counts.items():
        for i in order[at : at + count]:
            out[i] = split
        at += count
    return out


def group_split(places: Sequence[Place], shares: Shares, seed: int) -> list[Split]:
    """Whole groups on one side; places without a group each on their own.

    The largest group first, each to the split that lacks most places (Graham's rule): a split misses its share by
    no more than the largest group.

    Raises:
        ConfigError: the shares do not add up to 1.
    """
    keys = [p.group or f"\0{i}" for i, p in enumerate(places)]
    return _whole(keys, shares, seed)


def block_split(
    places: Sequence[Place], shares: Shares, seed: int, *, block_km: float = 50.0, buffer_km: float = 5.0
) -> list[Split]:
    """Whole blocks of ground on one side, and a buffer between: places in it are left out (split "").

    Blocks are bands of latitude cut into stretches of equal length on the ground. Where two places of different
    splits lie less than `buffer_km` apart, the one whose split has the larger share is left out: training gives way
    to validation and test. What remains is at least `buffer_km` apart.

    Raises:
        ConfigError: the shares do not add up to 1, or a length is not positive.
        DataError: a place has no longitude and latitude.
    """
    if block_km <= 0 or buffer_km < 0:
        raise ConfigError(
            f"blocks of {block_km} km with a buffer of {buffer_km} km", fix="block_km > 0, buffer_km >= 0"
        )
    points = _points(places)
    splits = _whole([f"{row}/{col}" for row, col in blocks(places, block_km)], shares, seed)
    giving_way = sorted((s for s in shares if shares[s] > 0), key=lambda s: -shares[s])
    for n, split in enumerate(giving_way):
        here = np.array([i for i, s in enumerate(splits) if s == split], int)
        others = np.array([i for i, s in enumerate(splits) if s in giving_way[n + 1 :]], int)
        for i in here[_near(points[here], points[others], buffer_km)]:
            splits[i] = ""
    return splits


def _counts(shares: Shares, n: int) -> dict[Split, int]:
    """Whole numbers near `share * n` that add up to n (largest remainders)."""
    if any(s < 0 for s in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"shares {dict(shares)} do not add up to 1", fix="for example train 0.6, test 0.4")
    exact = {split: share * n for split, share in shares.items()}
    counts = {split: math.floor(v + 1e-9) for split, v in exact.items()}
    left = n - sum(counts.values())
    for split in sorted(exact, key=lambda s: counts[s] - exact[s])[:left]:
        counts[split] += 1
    return counts


def _whole(keys: Sequence[str], shares: Shares, seed: int) -> list[Split]:
    """Every key on one side; the largest first, ties in a drawn order."""
    left = dict(_counts(shares, len(keys)))
    names, where, sizes = np.unique(np.array(keys), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed % 2**32).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    side: dict[int, Split] = {}
    for g in order.tolist():
        split = max(left, key=lambda s: left[s])
        side[g] = split
        left[split] -= int(sizes[g])
    return [side[g] for g in where.tolist()]


def _points(places: Sequence[Place]) -> NDArray[np.float64]:
    """Longitude and latitude in degrees, N 2."""
    for p in places:
        if p.lon is None or p.lat is None:
            raise DataError("no longitude and latitude, which blocks are made from", where=p.name)
    return np.array([(p.lon, p.lat) for p in places], float).reshape(-1, 2)


def blocks(places: Sequence[Place], block_km: float) -> list[tuple[int, int]]:
    """Row and column of the block of ground that each place lies in.

    Raises:
        DataError: a place has no longitude and latitude.
    """
    points = _points(places)
    degree = math.pi * EARTH_KM / 180
    rows = np.floor((points[:, 1] + 90) * degree / block_km)
    middle = (rows + 0.5) * block_km / degree - 90
    width = degree * np.maximum(np.cos(np.radians(middle)), 1e-6)
    cols = np.floor((points[:, 0] + 180) * width / block_km)
    return list(zip(rows.astype(int).tolist(), cols.astype(int).tolist(), strict=True))


def _near(points: NDArray[np.float64], others: NDArray[np.float64], km: float) -> NDArray[np.bool_]:
    """Which points lie less than `km` (along the ground) from one of the others."""
    from scipy.spatial import cKDTree

    if not len(points) or not len(others) or km == 0:
        return np.zeros(len(points), bool)
    chord = 2 * math.sin(min(km / EARTH_KM, math.pi) / 2)
    distance: Any = cKDTree(_on_sphere(others)).query(_on_sphere(points))[0]
    near: NDArray[np.bool_] = distance < chord
    return near


def _on_sphere(points: NDArray[np.float64]) -> NDArray[np.float64]:
    lon, lat = np.radians(points.T)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
