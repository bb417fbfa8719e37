"""What each band is worth: its share in a score over all subsets of a set of bands (Shapley 1953).

Leaving one band out says what it adds to all others, which is nothing where another band says the same. The Shapley
value is the mean of what it adds to every subset, each size counting alike; over the bands it adds up to the score of
all of them less that of none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

EXACT = 8
"""So many bands are enumerated: 2^8 subsets. Above, subsets are drawn."""
DRAWS = 64
"""Orders of the bands that are drawn where there are more."""


@dataclass(frozen=True)
class Contribution:
    """One band. `shapley`: mean gain over subsets; `alone`: its gain over none; `left_out`: what its loss costs all
    others. `error` is the standard error of a drawn `shapley`, 0 for an exact one.
    """

    band: str
    shapley: float
    left_out: float
    alone: float
    error: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def contributions(
    bands: Sequence[str],
    value: Callable[[frozenset[str]], float],
    *,
    exact: int = EXACT,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Contribution]:
    """The worth of each band.

    Args:
        bands: the players.
        value: the score with these bands seen, and the others of `bands` missing; called once a subset.
        exact: up to so many bands all subsets are enumerated, 2^n calls; above, `draws` orders are drawn, each with
            its reverse (which makes gains that depend on the size alone cancel), at most 2 n calls an order.
        draws: orders, an even number.
        seed: of the draw.

    Raises:
        ValueError: no band, or one twice.
    """
    if not bands or len(set(bands)) < len(bands):
        raise ValueError(f"bands are {list(bands)}: one or more different ones are needed")
    known: dict[frozenset[str], float] = {}

    def of(subset: frozenset[str]) -> float:
        if subset not in known:
            known[subset] = value(subset)
        return known[subset]

    every = frozenset(bands)
    found = _enumerated(bands, of) if len(bands) <= exact else _drawn(bands, of, draws, seed)
    return [
        Contribution(
            b, found[b][0], of(every) - of(every - {b}), of(frozenset({b})) - of(frozenset()), error=found[b][1]
        )
        for b in bands
    ]


def _enumerated(bands: Sequence[str], of: Callable[[frozenset[str]], float]) -> dict[str, tuple[float, float]]:
    n = len(bands)
    out = {}
    for band in bands:
        others = [b for b in bands if b != band]
        total = 0.0
        for size in range(n):
            weight = 1 / (n * comb(n - 1, size))
            for chosen in combinations(others, size):
                subset = frozenset(chosen)
                total += weight * (of(subset | {band}) - of(subset))
        out[band] = (total, 0.0)
    return out


def _drawn(
    bands: Sequence[str], of: Callable[[frozenset[str]], float], draws: int, seed: int
) -> dict[str, tuple[float, float]]:
    rng = np.random.default_rng(seed)
    gains: dict[str, list[float]] = {b: [] for b in bands}
    for _ in range(max(2, draws // 2)):
        order = [bands[i] for i in rng.permutation(len(bands))]
        once, back = _gains(order, of), _gains(order[::-1], of)
        for b in bands:
            gains[b].append((once[b] + back[b]) / 2)
    return {b: (float(np.mean(g)), float(np.std(g, ddof=1) / np.sqrt(len(g)))) for b, g in gains.items()}


def _gains(order: Sequence[str], of: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """What each band adds to those before it."""
    return {b: of(frozenset(order[: i + 1])) - of(frozenset(order[:i])) for i, b in enumerate(order)}
