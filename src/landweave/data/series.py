"""Series of dates: which are clear, and their means by month or half month. Plain arrays, no file, no tensor.

The rules are those of FLAIR-HUB's own code (shared/specs/flair-hub.md, A5), so that its figures can be reached, and
mended where it leaves a series without a date or gives a period the date of another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from landweave.sample import EPOCH, day_of

Period = Literal["monthly", "semi-monthly"]
MIDDLES: dict[Period, tuple[int, ...]] = {"monthly": (15,), "semi-monthly": (8, 23)}
"""Day of the month that stands for a period. The first half of a month ends with its 15th day."""

SNOW, CLOUD = 0, 1
"""Layers of a mask: per cent of probability."""


def clear_dates(mask: NDArray[Any], *, cover: float = 0.05, probability: float = 1) -> NDArray[np.bool_]:
    """Which dates show the ground: at most `cover` of their pixels are above `probability` per cent of snow or cloud.

    Where no date passes, snow alone is judged, as FLAIR-HUB's code does: cloud probabilities are often high for
    bright ground. None may pass that either; see `clearest_date`.

    Args:
        mask: T 2 H W, per cent of snow, then of cloud.
        cover: share of the pixels that may be covered.
        probability: per cent up to which a pixel counts as clear.
    """
    clear = mask <= probability
    least = 1 - cover - 1e-9  # 95 of 100 pixels are enough, whatever 1 - 0.05 is in binary
    joint: NDArray[np.bool_] = clear.all(1).mean((1, 2)) >= least
    return joint if joint.any() else np.asarray(clear[:, SNOW].mean((1, 2)) >= least)


def clearest_date(mask: NDArray[Any], *, probability: float = 1) -> int:
    """The date with most clear pixels; of equals the one with the least snow and cloud, of those the first."""
    clear = (mask <= probability).all(1).sum((1, 2))
    covered = mask.astype(np.int64).sum((1, 2, 3))
    return int(np.lexsort((covered, -clear))[0])


@dataclass(frozen=True)
class Means:
    """Periods of one year: values P C H W (float64), days P, and what is seen of them (P; P C|1 H W)."""

    values: NDArray[np.float64]
    days: tuple[int, ...]
    dates_seen: NDArray[np.bool_]
    pixels_seen: NDArray[np.bool_]


def averaged(
    values: NDArray[Any],
    seen: NDArray[np.bool_],
    days: Sequence[int],
    period: Period,
    *,
    official: bool = False,
) -> Means:
    """Means over the dates of each month (12) or half month (24), over seen values only.

    Periods are those of the year of the first date; dates of another year count for the same month of it. A period
    without a date is not seen, and has the day of its own middle. SAR comes as linear power and is averaged as such.

    Args:
        values: T C H W, T > 0.
        seen: T C|1 H W.
        days: T, since 2000-01-01, all known.
        period: months or half months.
        official: as FLAIR-HUB's code: an empty period repeats the one before it, with its day; those before the first
            are zeros of 15 May and not seen (there a zero means padding); half months leave out dates of other years.
    """
    dates = [EPOCH + timedelta(days=int(d)) for d in days]
    year = dates[0].year
    at = [_period(d, period) for d in dates]
    if official and period == "semi-monthly":
        at = [p if d.year == year else -1 for p, d in zip(at, dates, strict=True)]
    middles = [day_of(date(year, m, d)) for m in range(1, 13) for d in MIDDLES[period]]
    of = np.array(at)
    mean = np.zeros((len(middles), *values.shape[1:]))
    pixels = np.zeros((len(middles), *seen.shape[1:]), bool)
    for p in sorted(set(at) - {-1}):
        here = of == p
        count = seen[here].sum(0)
        total = np.where(seen[here], values[here].astype(np.float64), 0).sum(0)
        mean[p], pixels[p] = total / np.maximum(count, 1), count > 0
    found = np.isin(np.arange(len(middles)), of)
    if not official:
        return Means(mean, tuple(middles), found, pixels)
    before = np.maximum.accumulate(np.where(found, np.arange(len(middles)), -1))
    may = day_of(date(year, 5, 15))
    told = tuple(may if b < 0 else middles[b] for b in before.tolist())
    led = before >= 0
    return Means(
        np.where(led[:, None, None, None], mean[before], 0), told, led, pixels[before] & led[:, None, None, None]
    )


def _period(when: date, period: Period) -> int:
    if period == "monthly":
        return when.month - 1
    return 2 * (when.month - 1) + (when.day > 15)
