"""The table from which every score of a single-label task follows: how often each class was taken for which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landweave.legends import UNKNOWN

Counts = NDArray[np.int64]
Ratios = NDArray[np.float64]

ROUNDING = 1e-5
"""How far a probability may lie above 1: float32 shares of a sum do not add up to it exactly."""


class Confusion:
    """Counts K x K, rows the truth, columns the prediction. Exact, so that parts of a split add up to the whole."""

    def __init__(self, classes: int, counts: ArrayLike | None = None) -> None:
        self.array: Counts = np.zeros((classes, classes), np.int64)
        if counts is not None:
            given = np.asarray(counts)
            if given.shape != self.array.shape:
                raise ValueError(f"counts are {given.shape}, not {self.array.shape}")
            self.array += given.astype(np.int64)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.array)

    @property
    def support(self) -> Counts:
        """How often each class is true."""
        return np.asarray(self.array.sum(1), np.int64)

    @property
    def n(self) -> int:
        """All labels counted."""
        return int(self.array.sum())

    def update(self, truth: ArrayLike, predicted: ArrayLike, known: ArrayLike | None = None) -> None:
        """Count class indices of any shape.

        What is not `known`, or 255 in the truth, is not counted, whatever is predicted there.

        Raises:
            ValueError: unequal shapes, or an index outside 0 ... K-1 where the truth is known.
        """
        t, p = np.asarray(truth), np.asarray(predicted)
        if t.shape != p.shape:
            raise ValueError(f"truth is {t.shape} and prediction {p.shape}")
        keep = t != UNKNOWN
        if known is not None:
            keep &= np.asarray(known, bool)
        t, p, K = t[keep].astype(np.int64), p[keep].astype(np.int64), self.classes
        for what, values in (("true", t), ("predicted", p)):
            if values.size and not 0 <= int(values.min()) <= int(values.max()) < K:
                raise ValueError(
                    f"{what} class indices run from {values.min()} to {values.max()}, not in 0 ... {K - 1}"
                )
        self.array += np.bincount(t * K + p, minlength=K * K).reshape(K, K)

    def merge(self, other: Confusion) -> Confusion:
        """The counts of both."""
        return Confusion(self.classes, self.array + other.array)

    def of_truth(self, classes: Iterable[int]) -> Confusion:
        """Only what is truly one of these; what it was taken for stays, so that a wrong answer stays wrong."""
        kept = np.zeros(self.classes, bool)
        kept[list(classes)] = True
        return Confusion(self.classes, np.where(kept[:, None], self.array, 0))

    def among(self, classes: Sequence[int]) -> Confusion:
        """Rows and columns of these classes alone, in this order: other truths and other answers are forgotten."""
        return Confusion(len(classes), self.array[np.ix_(classes, classes)])

    def rolled_up(self, parents: Sequence[int], classes: int) -> Confusion:
        """The same answers in a coarser legend of so many classes; `parents[k]` is the index of class k there.

        Raises:
            ValueError: as many parents as classes are needed.
        """
        if len(parents) != self.classes:
            raise ValueError(f"{len(parents)} parents for {self.classes} classes")
        out = Confusion(classes)
        np.add.at(out.array, np.ix_(parents, parents), self.array)
        return out

    def to_json(self) -> list[list[int]]:
        """The cells that are not 0, as [truth, prediction, count]: short for a place or a region of few classes."""
        return [[int(t), int(p), int(self.array[t, p])] for t, p in np.argwhere(self.array)]

    @classmethod
    def from_json(cls, classes: int, cells: Iterable[Sequence[int]]) -> Self:
        """Inverse of `to_json`."""
        out = cls(classes)
        for truth, predicted, count in cells:
            out.array[truth, predicted] = count
        return out


def ratio(part: ArrayLike, whole: ArrayLike) -> Ratios:
    """`part / whole`, NaN where the whole is 0: undefined is not 0."""
    a, b = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    out: Ratios = np.full(np.broadcast(a, b).shape, np.nan)
    np.divide(a, b, out=out, where=b != 0)
    return out


def mean_of(values: Ratios, over: NDArray[np.bool_]) -> float:
    """The mean over chosen classes, an undefined one counting as 0; NaN when none is chosen.

    A class that is there but was never predicted has no precision. Leaving it out of a mean would reward a model for
    never answering with rare classes.
    """
    return float(np.nan_to_num(values[over]).mean()) if over.any() else float("nan")
