"""Retrieval between sensors: does an embedding of one sensor find the same place among those of the other?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIE = 1e-6
"""Cosines that are no further apart count as equal: rounding must not rank the rows of a collapsed embedding."""
_ROWS = 1024


@dataclass(frozen=True)
class Retrieval:
    """How well queries find their own key. `recall[k]`: the share of them whose key is among the k nearest.

    `chance[k]` is what a random order gives, k / N (at most 1), its mean over the queries where they have galleries
    of several sizes. `median_rank` begins at 1; `n` counts the queries.
    """

    n: int
    recall: dict[int, float]
    chance: dict[int, float]
    median_rank: float

    def to_json(self) -> dict[str, object]:
        """Plain data, `recall@k` and `chance@k` by name."""
        named = {f"{what}@{k}": v for what in ("recall", "chance") for k, v in getattr(self, what).items()}
        return {"n": self.n, **named, "median_rank": self.median_rank}


def retrieval(
    queries: ArrayLike, keys: ArrayLike, *, at: Sequence[int] = (1, 5), galleries: Sequence[object] | None = None
) -> Retrieval:
    """Rank the keys of each query by cosine, and count how often its own key, the one of the same row, comes early.

    Args:
        queries: N D, of one sensor.
        keys: N D, of the other; row i is of the same place as row i of `queries`.
        at: the k of recall@k.
        galleries: N names; a query is then ranked among the keys of its own gallery only, and all queries are pooled.
            So rows of several models (each with places of its own left out) make one figure.

    Raises:
        ValueError: other shapes, no row, or a value that is not finite.
    """
    a, b = np.asarray(queries, np.float64), np.asarray(keys, np.float64)
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(f"queries are {a.shape} and keys {b.shape}; both must be N D, with at least one row")
    if galleries is not None and len(galleries) != len(a):
        raise ValueError(f"{len(galleries)} names of galleries for {len(a)} rows")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a value is not finite")
    names = ["" for _ in a] if galleries is None else list(galleries)
    rank, size = np.zeros(len(a), np.int64), np.zeros(len(a), np.int64)
    for name in dict.fromkeys(names):
        here = np.array([i for i, n in enumerate(names) if n == name])
        rank[here], size[here] = ranks(a[here], b[here]), len(here)
    return Retrieval(
        len(a),
        {k: float((rank <= k).mean()) for k in at},
        {k: float(np.minimum(1, k / size).mean()) for k in at},
        float(np.median(rank)),
    )


def ranks(queries: ArrayLike, keys: ArrayLike) -> NDArray[np.int64]:
    """The rank of each query's own key, from 1: one more than the other keys that are as near or nearer.

    Ties count against the query, so that an embedding in which all places are one point has the last rank throughout
    and not, by luck of a stable sort, the first. A row of zeros has no direction: its cosines are all 0.
    """
    a, b = _unit(np.asarray(queries, np.float64)), _unit(np.asarray(keys, np.float64))
    out = np.zeros(len(a), np.int64)
    for start in range(0, len(a), _ROWS):
        rows = slice(start, start + _ROWS)
        cosines = a[rows] @ b.T
        own = (a[rows] * b[rows]).sum(1, keepdims=True)
        out[rows] = np.maximum(1, (cosines >= own - TIE).sum(1))  # its own key is among those counted
    return out


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return found
