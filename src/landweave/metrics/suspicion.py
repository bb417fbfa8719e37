"""Which band of an image does not go with the others: statistics of residuals, their clean spread, and the verdict.

A band is predicted from the other bands (by whom is not known here). Of the residual, four figures a block of pixels:

    level   its median: gain, offset, another band's values
    rough   log of its median absolute deviation: noise, a shift, another band's texture
    lines   log of the largest jump of a row or column mean against its two neighbours: stripes, dead columns
    flat    largest share of the values that are one number (least, middle or greatest): dead, stuck, saturated

Each is told in units of its own spread over clean places, band by band. Under a Gaussian model of the bands the
residual of a band, in units of its spread given all others, is largest in expectation for the band that is off; those
that are predicted from it follow by their partial correlation with it. That is why the worst bands are tried as the
faulty ones, hidden from the prediction of the others. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
KINDS = ("level", "rough", "lines", "flat")
"""The figures of a block, in the order of the axis K."""
TWO_SIDED = np.array([True, False, False, False])
FLOORS = np.array([0.02, 0.1, 0.15, 0.05])
"""Least spread of each figure: 2 % of brightness, 10 % of roughness, 15 % of a jump, a twentieth of the pixels."""
INNER = 0.8
"""The spread is the distance from the centre within which this share of the clean figures lies, over its 1.28 in a
normal distribution: it feels the tails, that of scenes that are rare, and one scene in five may be odd."""
DARKER = 0.5
"""Numbers at or below `dark` count as equal only where the prediction is brighter by this, in natural log units: over
clear water many pixels of a clean image are cut off at 0."""
SEEN = 0.5
"""Share of a block's pixels that must be seen for it to count."""
LOCAL = (0.5, 0.5, 0.75, 0.9)
"""The quantile of its blocks by which an image is judged, for each figure: a quarter of striped blocks is enough, and a
tenth of dead ones."""
SHARED = np.array([False, True, True, False])
"""Figures that depend on the land as much as on the band: fields and roads are rough, and lie in rows, in all bands.
They count as their distance from the median of the other bands', without which stripes and noise of real images are
told far worse."""


def block_statistics(
    residual: NDArray[np.float32],
    values: NDArray[Any],
    seen: NDArray[np.bool_],
    *,
    block: int,
    dark: float = -math.inf,
) -> Values:
    """The figures of every block.

    Args:
        residual: C H W, value less prediction; H and W are multiples of `block`.
        values: C H W, as measured; only whether they are equal counts.
        seen: C H W.
        block: pixels along a side.
        dark: values at or below it are cut off, and equal for that reason.

    Returns:
        C K h w; NaN where less than half of a block is seen.
    """
    r, x, s = (_cut(a, block) for a in (residual, values, seen))
    C, h, w, _, _ = r.shape
    out = np.full((C, len(KINDS), h, w), np.nan)
    enough = np.asarray(s.mean((3, 4)) >= SEEN)
    whole = np.asarray(s.all((3, 4)))
    for c, i, j in zip(*np.nonzero(enough & ~whole), strict=True):
        part = np.where(s[c, i, j], r[c, i, j], np.nan)
        out[c, :, i, j] = _one(part, x[c, i, j], s[c, i, j], dark)
    for c in range(C):
        rows, cols = np.nonzero(whole[c])
        if len(rows):
            out[c][:, rows, cols] = _many(r[c, rows, cols], x[c, rows, cols], dark)
    return out


def _cut(values: NDArray[Any], block: int) -> NDArray[Any]:
    C, H, W = values.shape
    return values.reshape(C, H // block, block, W // block, block).transpose(0, 1, 3, 2, 4)


def _many(r: NDArray[np.float32], x: NDArray[Any], dark: float) -> Values:
    """K n of n blocks that are seen whole (n b b)."""
    n = len(r)
    flat, values = r.reshape(n, -1), x.reshape(n, -1)
    level = np.median(flat, 1)
    deviation = 1.4826 * np.median(np.abs(flat - level[:, None]), 1)
    jump = np.maximum(_jump(r.mean(1)), _jump(r.mean(2)))
    ranked = np.sort(values, 1)
    marks = ranked[:, [0, ranked.shape[1] // 2, -1]]
    odd = (values > dark) | (flat < -DARKER)
    equal = ((values[:, None] == marks[:, :, None]) & odd[:, None]).mean(2).max(1)
    return np.stack([level, _log(deviation), _log(jump), equal])


def _one(r: NDArray[np.float32], x: NDArray[Any], seen: NDArray[np.bool_], dark: float) -> Values:
    """K of one block; `r` is NaN where a pixel is unseen."""
    level = np.nanmedian(r)
    deviation = 1.4826 * np.nanmedian(np.abs(r - level))
    jumps = [0.0]
    for axis in (0, 1):
        number = seen.sum(axis)
        means = np.where(number >= SEEN * len(r), np.nansum(r, axis) / np.maximum(number, 1), np.nan)
        found = np.abs(means[1:-1] - (means[:-2] + means[2:]) / 2)
        jumps += found[np.isfinite(found)].tolist()
    values, residual = x[seen], r[seen]
    ranked, odd = np.sort(values), (values > dark) | (residual < -DARKER)
    equal = max(float(((values == m) & odd).mean()) for m in ranked[[0, len(ranked) // 2, -1]])
    return np.array([level, _log(deviation), _log(max(jumps)), equal])


def _jump(means: NDArray[Any]) -> Values:
    """Largest distance of an entry from the middle of its neighbours, along the last axis."""
    found: Values = np.abs(means[:, 1:-1] - (means[:, :-2] + means[:, 2:]) / 2).max(1).astype(np.float64)
    return found


def _log(value: Any) -> Any:
    return np.log(np.asarray(value, np.float64) + 1e-3)


def of_image(blocks: Values) -> Values:
    """C K of an image from C K h w of its blocks: a quantile of each figure (`LOCAL`); NaN where nothing is seen."""
    flat = blocks.reshape(*blocks.shape[:2], -1)
    out = np.full(flat.shape[:2], np.nan)
    for c in range(len(flat)):
        kept = flat[c][:, np.isfinite(flat[c, 0])]
        if kept.shape[1]:
            out[c] = [np.quantile(row, q) for row, q in zip(kept, LOCAL, strict=True)]
    return out


@dataclass(frozen=True)
class Spread:
    """What is usual in clean images: centre and spread C K of each figure, of images and of blocks."""

    centre: Values
    width: Values
    block_centre: Values
    block_width: Values

    @classmethod
    def of(cls, images: Sequence[Values], blocks: Sequence[Values]) -> Self:
        """From the figures C K of clean images, and C K n of their blocks."""
        pooled = np.concatenate([b.reshape(*b.shape[:2], -1) for b in blocks], 2)
        return cls(*_usual(_own(np.stack(images, 2))), *_usual(_own(pooled)))

    def image(self, figures: Values, looser: Values | None = None) -> Values:
        """C K: figures of an image in units of the clean spread, 0 where there are none.

        `looser` (C) is by how much the predictions are worse than they were on the clean images.
        """
        return _told(_tightened(_own(figures), looser), self.centre, self.width)

    def block(self, figures: Values, looser: Values | None = None) -> Values:
        """C K h w: figures of blocks in units of the clean spread, NaN where there are none."""
        with np.errstate(invalid="ignore"):
            far = _tightened(_own(figures), looser) - self.block_centre[:, :, None, None]
            z = far / self.block_width[:, :, None, None]
            out: Values = np.where(TWO_SIDED[:, None, None], np.abs(z), np.maximum(z, 0))
        return out

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {k: np.round(v, 6).tolist() for k, v in vars(self).items()}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Inverse of `to_json`."""
        return cls(**{k: np.array(v, np.float64) for k, v in raw.items()})


def _tightened(figures: Values, looser: Values | None) -> Values:
    """Figures C K ... as they would be, were the predictions as good as they were: residuals shrunk by a factor."""
    if looser is None:
        return figures
    out = figures.copy()
    factor = looser.reshape(-1, *(1,) * (figures.ndim - 2))
    out[:, KINDS.index("level")] /= factor
    for kind in ("rough", "lines"):
        out[:, KINDS.index(kind)] -= np.log(factor)
    return out


def _own(figures: Values) -> Values:
    """Figures C K ..., the shared ones less their median over the other bands; of one band as they are."""
    out = figures.copy()
    known = np.isfinite(figures[:, 0])
    for c in range(len(figures)):
        others = np.delete(figures[:, SHARED], c, 0)
        some = np.delete(known, c, 0).any(0) & known[c]
        if some.any():
            out[c, SHARED] -= np.where(some, np.nanmedian(np.where(some, others, 0), 0), 0)
    return out


def _usual(figures: Values) -> tuple[Values, Values]:
    """Centre and spread (`INNER`) along the last axis, at least the floor; what is NaN does not count."""
    centre = np.zeros(figures.shape[:2])
    width = np.tile(FLOORS, (len(figures), 1))
    for c in range(len(figures)):
        kept = figures[c][:, np.isfinite(figures[c, 0])]
        if kept.shape[1]:
            centre[c] = np.where(TWO_SIDED, 0.0, np.median(kept, 1))  # a prediction that is off is off, also if always
            far = np.quantile(np.abs(kept - centre[c][:, None]), INNER, 1) / 1.2816
            width[c] = np.maximum(far, FLOORS)
    return centre, width


def _told(figures: Values, centre: Values, width: Values) -> Values:
    z = np.nan_to_num((figures - centre) / width, nan=0.0)
    out: Values = np.where(TWO_SIDED, np.abs(z), np.maximum(z, 0))
    return out


def limit_of(scores: Sequence[float], alarm: float) -> float:
    """The score that a clean image exceeds with a chance of about `alarm`: the split-conformal quantile.

    The ceil((n + 1)(1 - alarm))-th smallest of n clean scores, the largest where n is too small for it.
    """
    ranked = np.sort(np.asarray(scores, np.float64))
    at = min(len(ranked), math.ceil((len(ranked) + 1) * (1 - alarm)))
    return float(ranked[at - 1])
