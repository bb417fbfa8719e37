"""Scores of tasks with a set of classes a place.

Two names are kept apart here that papers mix: `macro_precision` and `micro_precision` are precisions at the threshold
0.5 (some print them as "AP"); `average_precision` is the area under the precision-recall curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landweave.metrics.confusion import ROUNDING, Counts, Ratios, mean_of, ratio


class MultiLabel:
    """Exact counts a class at the threshold p > 0.5, squared errors, and the probabilities for average precision."""

    def __init__(self, classes: int) -> None:
        self.tp: Counts = np.zeros(classes, np.int64)
        self.fp, self.fn, self.tn = self.tp.copy(), self.tp.copy(), self.tp.copy()
        self.squared: Ratios = np.zeros(classes)
        self._parts: list[tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.bool_]]] = []

    @property
    def classes(self) -> int:
        """K."""
        return len(self.tp)

    @property
    def support(self) -> Counts:
        """How many places have each class."""
        return self.tp + self.fn

    @property
    def count(self) -> Counts:
        """For how many places it is known whether they have each class."""
        return self.tp + self.fn + self.fp + self.tn

    @property
    def n(self) -> int:
        """Entries (place and class) counted."""
        return int(self.count.sum())

    def update(self, truth: ArrayLike, probability: ArrayLike, known: ArrayLike | None = None) -> None:
        """Count places: truth 0/1, probabilities, and what is known, each N K.

        Raises:
            ValueError: other shapes, or a probability outside 0 ... 1 or NaN.
        """
        y, p = np.asarray(truth).astype(bool), np.asarray(probability)
        keep = np.ones(y.shape, bool) if known is None else np.asarray(known, bool)
        if not y.shape == p.shape == keep.shape == (len(y), self.classes):
            raise ValueError(
                f"truth is {y.shape}, probability {p.shape}, known {keep.shape}; N x {self.classes} is needed"
            )
        if not ((p >= 0) & (p <= 1 + ROUNDING))[keep].all():
            raise ValueError("a probability is NaN or outside 0 ... 1")
        said = p > 0.5
        for counts, cells in ((self.tp, y & said), (self.fp, ~y & said), (self.fn, y & ~said), (self.tn, ~y & ~said)):
            counts += (cells & keep).sum(0)
        self.squared += np.where(keep, (p.astype(np.float64) - y) ** 2, 0).sum(0)
        self._parts.append((y, p.astype(np.float32), keep))

    def merge(self, other: MultiLabel) -> MultiLabel:
        """Both together."""
        out = MultiLabel(self.classes)
        for one in (self, other):
            for name in ("tp", "fp", "fn", "tn", "squared"):
                getattr(out, name)[:] += getattr(one, name)
            out._parts += one._parts
        return out

    def places(self) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.bool_]]:
        """Truth, probability and known of all places, N K, in the order counted."""
        if not self._parts:
            none = np.zeros((0, self.classes), bool)
            return none, none.astype(np.float32), none
        y, p, keep = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return y, p, keep


def scores(found: MultiLabel, *, fixed: Sequence[int] | None = None) -> dict[str, float]:
    """Averaged scores.

    macro_precision, macro_recall, macro_f1: means over the classes present in the truth (a class never predicted has
    precision 0 there); `*_all`: over the `fixed` list (all K by default) with undefined as 0, which scikit-learn and
    published tables print.
    micro_*: from the counts of all classes together. hamming: the mean over classes of the share of wrong entries.
    brier: the mean over classes of the mean squared error. average_precision: the mean over classes present.
    n, n_present: entries counted, and classes present.
    """
    present, listed = found.support > 0, np.zeros(found.classes, bool)
    listed[list(range(found.classes) if fixed is None else fixed)] = True
    columns = _columns(found)
    out: dict[str, float] = {}
    for key in ("precision", "recall", "f1"):
        out[f"macro_{key}"] = mean_of(columns[key], present)
        out[f"macro_{key}_all"] = mean_of(columns[key], listed)
    tp, fp, fn = (int(v.sum()) for v in (found.tp, found.fp, found.fn))
    out["micro_precision"] = float(ratio(tp, tp + fp))
    out["micro_recall"] = float(ratio(tp, tp + fn))
    out["micro_f1"] = float(ratio(2 * tp, 2 * tp + fp + fn))
    for key in ("hamming", "brier"):
        out[key] = mean_of(columns[key], found.count > 0)
    out["average_precision"] = mean_of(columns["average_precision"], present)
    return out | {"n": float(found.n), "n_present": float(present.sum())}


def per_class(found: MultiLabel, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a class: name, support, prevalence, precision, recall, f1, hamming, brier, average_precision.

    NaN where undefined: recall and average precision of a class that no place has, precision of one never predicted.
    """
    columns = {"prevalence": ratio(found.support, found.count), **_columns(found)}
    return [
        {"name": name, "support": int(found.support[k]), **{key: float(column[k]) for key, column in columns.items()}}
        for k, name in enumerate(names)
    ]


def _columns(found: MultiLabel) -> dict[str, Ratios]:
    return {
        "precision": ratio(found.tp, found.tp + found.fp),
        "recall": ratio(found.tp, found.tp + found.fn),
        "f1": ratio(2 * found.tp, 2 * found.tp + found.fp + found.fn),
        "hamming": ratio(found.fp + found.fn, found.count),
        "brier": ratio(found.squared, found.count),
        "average_precision": average_precision(*found.places()),
    }


def average_precision(truth: NDArray[np.bool_], probability: NDArray[Any], known: NDArray[np.bool_]) -> Ratios:
    """Area under the precision-recall curve a class, as a sum of steps: sum (R_n - R_n-1) P_n.

    Places of equal probability enter together. NaN for a class that no known place has.
    """
    out = np.full(truth.shape[1], np.nan)
    for k in range(truth.shape[1]):
        y, p = truth[known[:, k], k], probability[known[:, k], k]
        if not y.any():
            continue
        order = np.argsort(-p, kind="stable")
        y, p = y[order], p[order]
        last = np.flatnonzero(np.append(p[1:] != p[:-1], True))  # the end of each group of equal probabilities
        hits = np.cumsum(y)[last]
        out[k] = float((np.diff(hits, prepend=0) / y.sum() * hits / (last + 1)).sum())
    return out
