"""Predictors that look at no image, and what a score is worth beside theirs.

On the test split of BigEarthNet v2 the predictor that never says any class has a Hamming loss of .001 to .42 by
class: its prevalence. A table that does not print that row makes rare classes look easy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from landweave.metrics.confusion import Confusion
from landweave.metrics.multilabel import MultiLabel

LOSSES = frozenset({"hamming", "brier", "ece"})
"""Scores of which less is better, with 0 perfect; of all others 1 is perfect."""
COUNTS = frozenset({"n", "n_present"})
"""Keys among scores that measure no quality."""


def majority(found: Confusion, training_counts: ArrayLike) -> Confusion:
    """The table of the predictor that always answers with the most frequent class of *training*."""
    out = Confusion(found.classes)
    out.array[:, int(np.argmax(np.asarray(training_counts)))] = found.support
    return out


def constant(found: MultiLabel, probability: ArrayLike) -> MultiLabel:
    """The predictor that gives each class the same probability at every place."""
    truth, _, known = found.places()
    out = MultiLabel(found.classes)
    out.update(truth, np.broadcast_to(np.asarray(probability, np.float64), truth.shape), known)
    return out


def all_negative(found: MultiLabel) -> MultiLabel:
    """The predictor that never says any class: its Hamming loss a class is the prevalence."""
    return constant(found, np.zeros(found.classes))


def prevalence(found: MultiLabel, training: ArrayLike) -> MultiLabel:
    """The predictor that gives each class its share of the *training* places.

    Where training and truth have the same prevalence q, its Brier score is q (1 - q), the least of any constant.
    """
    return constant(found, training)


def skill(value: float, trivial: float, *, perfect: float) -> float:
    """What share of the way from trivial to perfect is done: 1 perfect, 0 no better than trivial, negative worse.

    `1 - value / trivial` for a loss (perfect 0), `(value - trivial) / (1 - trivial)` for a score (perfect 1).
    NaN where trivial is perfect already.
    """
    return (value - trivial) / (perfect - trivial) if perfect != trivial else float("nan")


def skills(scores: Mapping[str, float], trivial: Mapping[str, float]) -> dict[str, float]:
    """`skill` of every score that both have and that measures quality."""
    return {
        name: skill(value, trivial[name], perfect=0.0 if name in LOSSES else 1.0)
        for name, value in scores.items()
        if name in trivial and name not in COUNTS
    }
