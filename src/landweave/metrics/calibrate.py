"""Calibration: whether what is said with a confidence of 70 % is right in 70 % of cases."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from landweave.metrics.confusion import ROUNDING, Ratios, ratio


class Calibration:
    """Counts of answers in bins of equal width of their confidence; parts of a split add up to the whole."""

    def __init__(self, bins: int = 15) -> None:
        self.count = np.zeros(bins, np.int64)
        self.right = np.zeros(bins, np.int64)
        self.confidence: Ratios = np.zeros(bins)

    def update(self, confidence: ArrayLike, right: ArrayLike, known: ArrayLike | None = None) -> None:
        """Count answers of any shape: how sure, and whether right.

        For one class a place or pixel give the largest probability and whether its class is the true one; for sets
        of classes each probability and whether the class is there.

        Raises:
            ValueError: unequal shapes, or a confidence that is NaN or outside 0 ... 1.
        """
        p, y = np.asarray(confidence, np.float64), np.asarray(right, bool)
        keep = np.ones(p.shape, bool) if known is None else np.asarray(known, bool)
        if not p.shape == y.shape == keep.shape:
            raise ValueError(f"confidence is {p.shape}, right {y.shape}, known {keep.shape}")
        p, y, bins = p[keep], y[keep], len(self.count)
        if not ((p >= 0) & (p <= 1 + ROUNDING)).all():
            raise ValueError("a confidence is NaN or outside 0 ... 1")
        at = np.clip(np.ceil(p * bins).astype(np.int64) - 1, 0, bins - 1)  # bins are (low, high], the first takes 0
        self.count += np.bincount(at, minlength=bins)
        self.right += np.bincount(at[y], minlength=bins)
        self.confidence += np.bincount(at, weights=p, minlength=bins)

    def merge(self, other: Calibration) -> Calibration:
        """The counts of both."""
        out = Calibration(len(self.count))
        for name in ("count", "right", "confidence"):
            setattr(out, name, getattr(self, name) + getattr(other, name))
        return out

    def ece(self) -> float:
        """Expected calibration error (Guo et al. 2017, eq. 3): the mean gap of accuracy and confidence, by count."""
        gap = np.abs(self.right - self.confidence).sum()
        return float(ratio(gap, self.count.sum()))

    def rows(self) -> list[dict[str, float]]:
        """A row a bin: low, high, count, accuracy, confidence (NaN where empty), for a reliability diagram."""
        edges = np.linspace(0, 1, len(self.count) + 1)
        accuracy, confidence = ratio(self.right, self.count), ratio(self.confidence, self.count)
        return [
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "count": float(self.count[i]),
                "accuracy": float(accuracy[i]),
                "confidence": float(confidence[i]),
            }
            for i in range(len(self.count))
        ]
