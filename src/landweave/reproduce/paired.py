"""Differences between methods on the same labelled places and seeds, with intervals, and what may be said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

LEVEL = 0.95

Verdict = Literal["higher", "lower", "not distinguishable", "too few runs"]


@dataclass(frozen=True)
class Pair:
    """`first - second` over the runs that both have. `low`, `high`: the 95 % interval of the mean difference.

    `p` is two-sided, of the paired t-test; `holm` the same corrected for all pairs of one dataset, share and score.
    """

    dataset: str
    fraction: float
    metric: str
    first: str
    second: str
    n: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    holm: float | None = None

    @property
    def verdict(self) -> Verdict:
        """What the interval allows to say of `first`."""
        if self.low is None or self.high is None:
            return "too few runs"
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "not distinguishable"

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> dict[str, Any]:
    """Mean difference by run, its interval by Student's t, and p.

    With fewer than two common runs there is no interval, and none where all have one difference, which tells nothing
    of its spread. If that is 0 the interval is 0 and p is 1: nothing is claimed.
    """
    runs = sorted(first.keys() & second.keys())
    deltas = [first[i] - second[i] for i in runs]
    n = len(deltas)
    out: dict[str, Any] = {"n": n, "difference": None, "low": None, "high": None, "p": None}
    if not n:
        return out
    mean = math.fsum(deltas) / n
    out["difference"] = mean
    if n < 2:
        return out
    error = deviation(deltas) / math.sqrt(n)
    from scipy.stats import t

    if error <= 1e-12 * max(1.0, abs(mean)):
        return out | ({"low": mean, "high": mean, "p": 1.0} if abs(mean) <= 1e-12 else {})
    reach = float(t.ppf(0.5 + LEVEL / 2, n - 1)) * error
    return out | {"low": mean - reach, "high": mean + reach, "p": float(2 * t.sf(abs(mean) / error, n - 1))}


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (divided by n - 1); NaN for fewer than two values."""
    n = len(values)
    if n < 2:
        return math.nan
    mean = math.fsum(values) / n
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))


def with_holm(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with p corrected for their number (Holm 1979): the k-th smallest of m is multiplied by m - k + 1."""
    order = sorted((i for i, pair in enumerate(pairs) if pair.p is not None), key=lambda i: pairs[i].p or 0.0)
    out, least = list(pairs), 0.0
    for k, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - k) * (pairs[i].p or 0.0)))
        out[i] = replace(pairs[i], holm=least)
    return out
