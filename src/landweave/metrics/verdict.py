"""From figures of residuals to a verdict: which bands are suspect, or that the whole image is unlike the clean ones.

What is ours here, as no paper says it: the figures of all kinds are brought to one scale on which 1 is what about one
clean image in twenty exceeds; the fewest bands are named without which the others go together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np

from landweave.metrics.suspicion import KINDS, Spread, Values, limit_of

ALARM = 0.05
"""Share of clean images that may be accused."""
LEAST = 2.5
"""Spreads within which no figure is suspect, however alike the clean images were."""
BLOCKS = 0.99
"""Of the clean blocks of all bands, the quantile of a figure at which a block scores 1."""
OWN = (KINDS.index("flat"),)
"""Figures that rest on a band's own numbers: they accuse it even where its spectrum is unlike all that was learned."""
EXPLAINED, MOST_LEFT = 0.15, 2.0
"""Bands explain what is wrong with an image if without them the worst of the others is at one, or scores no more than
this share of what the worst did, and 2 at most: a wild fault leaves traces in what is predicted without it, too."""
OUTRANKS = 2.0
"""Times the distance of an image that is far from the clean ones, from which a band's own score is believed."""
TRIED = 5
"""How many of the worst bands are tried as faulty ones."""

Look = Callable[[tuple[int, ...]], tuple[Values, Values]]
"""Figures C K of an image, each band predicted from the others without the given ones; and C, by what factor the error
of each grows for want of those."""


@dataclass(frozen=True)
class Clean:
    """What clean images of a sensor are like: figures of residuals, and the bands' medians taken together."""

    spread: Spread
    scale: Values
    """K: spreads at which a figure of an image scores 1, before `limit`."""
    limit: float
    block_scale: Values
    """K: spreads at which a figure of a block scores 1."""
    mean: Values
    covariance: Values
    far: float
    """The distance of an image's medians from `mean` that about one clean image in twenty exceeds."""

    @classmethod
    def of(
        cls,
        images: Sequence[Values],
        blocks: Sequence[Values],
        *,
        learned: Values,
        medians: Values,
        alarm: float = ALARM,
    ) -> Self:
        """Measure it on clean images that the predictor has not learned from.

        Args:
            images: figures C K of each.
            blocks: figures C K h w of the blocks of each.
            learned: medians n C of the bands of the images that were learned from.
            medians: the same of the clean images.
            alarm: share of clean images that may be accused.
        """
        spread = Spread.of(images, blocks)
        far = [spread.image(f) for f in images]
        scale = np.maximum([limit_of([f[:, k].max() for f in far], alarm) for k in range(len(KINDS))], LEAST)
        limit = max(1.0, limit_of([float((f / scale).max()) for f in far], alarm))
        pooled = np.concatenate([spread.block(b).transpose(1, 0, 2, 3).reshape(len(KINDS), -1) for b in blocks], 1)
        pooled = pooled[:, np.isfinite(pooled[0])]
        block_scale = np.maximum(np.quantile(pooled, BLOCKS, 1), LEAST)
        block_scale *= max(1.0, float(np.quantile((pooled / block_scale[:, None]).max(0), BLOCKS)))  # of four figures
        mean, covariance = _joint(learned)
        empty = cls(spread, scale, limit, block_scale, mean, covariance, 1.0)
        distances = [empty.distance(m) for m in medians]
        return cls(spread, scale, limit, block_scale, mean, covariance, limit_of(distances, alarm))

    def scores(self, figures: Values, looser: Values | None = None) -> Values:
        """C K: figures of an image as suspicion; above 1 is suspect. `looser` as in `Spread.image`."""
        found: Values = self.spread.image(figures, looser) / self.scale / self.limit
        return found

    def block_scores(self, figures: Values, looser: Values | None = None) -> Values:
        """C h w: the worst figure of each block as suspicion; NaN where nothing is seen."""
        found: Values = (self.spread.block(figures, looser) / self.block_scale[:, None, None]).max(1)
        return found

    def distance(self, medians: Values, hidden: Sequence[int] = ()) -> float:
        """How far an image's medians lie from the mean, by their covariance, a band; bands that are NaN are left out.

        The Mahalanobis distance over the root of the number of bands, divided by `far`.
        """
        at = [c for c in range(len(medians)) if c not in hidden and np.isfinite(medians[c])]
        if not at:
            return 0.0
        d = medians[at] - self.mean[at]
        square = float(d @ np.linalg.solve(self.covariance[np.ix_(at, at)], d))
        return math.sqrt(square / len(at)) / self.far

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {k: v.to_json() if isinstance(v, Spread) else np.round(v, 8).tolist() for k, v in vars(self).items()}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Inverse of `to_json`."""
        plain: dict[str, Any] = {k: np.array(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**{**plain, "spread": Spread.from_json(raw["spread"])})


def _joint(medians: Values) -> tuple[Values, Values]:
    """Mean and covariance, drawn towards its diagonal where images are few: a share C / (C + n) of it."""
    n, C = medians.shape
    centred = medians - medians.mean(0)
    full = centred.T @ centred / max(1, n - 1)
    share = C / (C + n)
    own: Values = np.diag(np.diag(full) + 1e-4)
    return medians.mean(0), (1 - share) * full + share * own


@dataclass(frozen=True)
class Verdict:
    """What is said of an image. With neither suspects nor `unlike` it is clean."""

    suspects: tuple[int, ...]
    unlike: bool
    scores: Values
    """C K: suspicion, each band predicted from all others; above 1 is suspect."""
    final: Values
    """C K: the same, each band predicted from those that are not suspect."""
    distance: float
    """Of the medians of the bands that are not suspect; above 1 is unlike."""

    @property
    def clean(self) -> bool:
        """Whether nothing is said against the image."""
        return not self.suspects and not self.unlike


def judge(clean: Clean, look: Look, medians: Values) -> Verdict:
    """Name the bands that do not go with the others.

    If the worst band scores above 1, the fewest of the worst bands are named without which the others go together
    (`EXPLAINED`), a third of all at most. If there are none such, or the medians of the bands left are farther from the
    clean ones than clean images are, the image is unlike them; then only bands stay named that are odd by themselves,
    or, where they explain it, by far.

    Args:
        clean: the standard.
        look: gives the figures of the image.
        medians: C, of the image, NaN for a band that is not seen.
    """
    first = clean.scores(*look(()))
    enough = min(max(1.0, EXPLAINED * _worst(first, ())), MOST_LEFT)
    hidden, now = _explanation(clean, look, first, enough)
    distance = clean.distance(medians, hidden)
    explained = _worst(now, hidden) <= enough
    unlike = not explained or distance > 1
    accused = np.array(hidden, int)
    if unlike:
        wild = now.max(1) > OUTRANKS * distance if explained else np.zeros(len(now), bool)
        accused = np.flatnonzero((now[:, OWN].max(1) > 1) | (wild & np.isin(np.arange(len(now)), hidden)))
    kept = tuple(int(c) for c in accused if now[c].max() > 1)  # one may have been hidden for another's sake
    if kept != hidden:
        now = clean.scores(*look(kept))
        kept = tuple(c for c in kept if now[c].max() > 1)
    return Verdict(kept, unlike, first, now, distance)


def _explanation(clean: Clean, look: Look, first: Values, enough: float) -> tuple[tuple[int, ...], Values]:
    """The fewest bands without which the others score no more than `enough`, and the scores then.

    Of single bands that explain it, the one that scores highest given all the others: the most likely one, were bands
    Gaussian. Of several, or if none explain it, those that leave the others least. One at a time would not do: of two
    bands that are swapped, neither alone makes anything good.
    """
    best: tuple[int, ...] = ()
    now = first
    likely = [int(c) for c in np.argsort(-first.max(1))[:TRIED] if first[c].max() > 1]
    for size in range(1, min(len(likely), max(1, len(first) // 3)) + 1):
        if _worst(now, best) <= enough:
            break
        tried = {some: clean.scores(*look(some)) for some in combinations(sorted(likely), size)}
        left = {some: _worst(scores, some) for some, scores in tried.items()}
        good = [some for some in tried if left[some] <= enough]
        if good and size == 1:
            best = max(good, key=lambda some: float(first[list(some)].max(1).sum()))
        else:
            best = min(tried, key=left.__getitem__)
        now = tried[best]
    return best, now


def _worst(scores: Values, hidden: Sequence[int]) -> float:
    left = [c for c in range(len(scores)) if c not in hidden]
    return float(scores[left].max()) if left else 0.0
