"""How near a student on faulty images comes to its teacher on complete ones, and what its answers lose by it.

The contrastive loss of a student has a floor above 0: that of the teacher against itself, which depends on the batch
and on how alike the images are. So the loss is told as its excess over that floor, beside cosine and retrieval, which
have a known best (1). Petcu 2024, section 3.3.1, prints the loss alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landweave.metrics.retrieval import ranks

SCALE = float(np.exp(2.8952996730804443))
"""1 / temperature of the contrastive loss: constant in Petcu 2024, section 3.3.1, learned before in SatCLIP."""
BATCH = 64
"""Places of a batch, among which each finds its own (Petcu 2024, section 4.1); the loss depends on it."""


@dataclass(frozen=True)
class Alignment:
    """Of N places. `retrieval_batch` and `retrieval_all`: the share of students whose own teacher is the nearest by
    cosine, of a batch and of all. `floor` is the loss of the teacher against itself, `excess` = `loss` - `floor`.
    """

    n: int
    cosine: float
    retrieval_batch: float
    retrieval_all: float
    loss: float
    floor: float

    @property
    def excess(self) -> float:
        """Loss above the teacher's own; below 0 where the student spreads places further apart than the teacher."""
        return self.loss - self.floor

    def to_json(self) -> dict[str, float]:
        """Plain data."""
        return {**asdict(self), "excess": self.excess}


def alignment(student: ArrayLike, teacher: ArrayLike, *, batch: int = BATCH, scale: float = SCALE) -> Alignment:
    """Compare embeddings of the same places.

    Batches are drawn once and for all: in the order of most data sets neighbours are of one class, and places of one
    class are hard to tell apart, which training in drawn batches never asked for. A last one that is shorter counts
    only where there is no other, because the loss and the retrieval within a batch depend on its size (the paper's
    training drops it too).

    Args:
        student: N D, of faulty images.
        teacher: N D, of the complete ones; row i is of the same place.
        batch: places of a batch.
        scale: 1 / temperature.

    Raises:
        ValueError: other shapes, no row, or a value that is not finite.
    """
    a, b = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(f"student is {a.shape} and teacher {b.shape}; both must be N D, with at least one row")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a value is not finite")
    order = np.random.default_rng(0).permutation(len(a))
    parts = [order[i : i + batch] for i in range(0, len(a), batch)]
    whole = [p for p in parts if len(p) == batch] or parts
    found = [ranks(a[p], b[p]) == 1 for p in whole]
    s, t = _unit(a), _unit(b)
    return Alignment(
        n=len(a),
        cosine=float((s * t).sum(1).mean()),
        retrieval_batch=float(np.concatenate(found).mean()),
        retrieval_all=float((ranks(a, b) == 1).mean()),
        loss=float(np.mean([clip_loss(s[p], t[p], scale=scale) for p in whole])),
        floor=float(np.mean([clip_loss(t[p], t[p], scale=scale) for p in whole])),
    )


def clip_loss(student: NDArray[np.float64], teacher: NDArray[np.float64], *, scale: float = SCALE) -> float:
    """The symmetric contrastive loss of unit rows B D: mean cross-entropy of each to its own, both ways.

    `(CE(scale s t^T) + CE(scale t s^T)) / 2`, the target of row i being i (Radford et al. 2021, figure 3).
    """
    logits = scale * student @ teacher.T
    own = np.diag(logits)
    return float(((_logsumexp(logits) - own).mean() + (_logsumexp(logits.T) - own).mean()) / 2)


def unchanged(before: ArrayLike, after: ArrayLike, known: ArrayLike | None = None) -> float:
    """The share of answers (class indices of any shape) that a fault leaves as they were; NaN where none is known.

    Raises:
        ValueError: unequal shapes.
    """
    a, b = np.asarray(before), np.asarray(after)
    if a.shape != b.shape:
        raise ValueError(f"answers are {a.shape} and {b.shape}")
    same = a == b if known is None else (a == b)[np.asarray(known, bool)]
    return float(same.mean()) if same.size else float("nan")


def area(rates: Sequence[float], values: Sequence[float]) -> float:
    """The mean height of a score over the missing rate: its area by trapezoids, divided by the width of the range.

    A score that no fault touches keeps its value; points may come in any order.

    Raises:
        ValueError: fewer than two different rates, or a rate twice.
    """
    if len(rates) != len(values) or len(set(rates)) < max(2, len(rates)):
        raise ValueError(f"{len(values)} values at the rates {list(rates)}; two or more different rates are needed")
    x, y = np.array(sorted(zip(rates, values, strict=True)), np.float64).T
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))


def _logsumexp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    most = x.max(1, keepdims=True)
    found: NDArray[np.float64] = (most + np.log(np.exp(x - most).sum(1, keepdims=True)))[:, 0]
    return found


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return found
