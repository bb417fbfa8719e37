"""Scores of label maps by the rules of FLAIR-HUB, each under its name: the paper's, the official code's, the monitor's.

A mean IoU is a number only together with what it is a mean of. Of the figures that are printed for FLAIR-HUB, three
rules are in use, and one table gives all of them. On the paper's own validation row they are far apart: the plain mean
of its 22 classes is 47.0, and the 81.4 that stands beside it is the frequency-weighted one.

Classes of `without` are those that no score counts: *metric-ignored*, which is another list than the classes that a
loss leaves out. The paper's crop mean has "mixed crops" in it, which its loss left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landweave.metrics.classify import iou
from landweave.metrics.confusion import Confusion, mean_of, ratio


def rules(found: Confusion, without: Sequence[int] = ()) -> dict[str, float]:
    """Averaged scores by rule, of the whole table: also of truths that training never had.

    miou_paper: mean IoU over the classes that the truth has, rows and columns of `without` removed before anything
    else (section VI: "the classes present in the test set"). miou_official: the same over all other classes, one that
    is nowhere true counting 0 (`writer/metrics_core.py` of the official code, which turns NaN into 0); of LPIS that is
    over 23 classes where the paper's is over 21. miou_weighted: IoU weighted by how often a class is true, nothing
    removed: torchmetrics' `average="weighted"`, the official code's `val_miou`, by which its checkpoints are kept.
    oa_paper: overall accuracy, rows and columns of `without` removed.

    A prediction of a removed class is forgotten with its column, and flatters a little; `miou_existing` of
    `classify.scores` counts it as the error that it is.
    """
    kept = [k for k in range(found.classes) if k not in set(without)]
    left, present = found.among(kept), found.support[kept] > 0
    unions = iou(left)
    return {
        "miou_paper": mean_of(unions, present),
        "miou_official": mean_of(unions, np.ones(len(kept), bool)) if found.n else float("nan"),
        "miou_weighted": weighted(found),
        "oa_paper": float(ratio(np.diag(left.array).sum(), left.n)),
    }


def weighted(found: Confusion) -> float:
    """IoU weighted by how often a class is true; NaN where nothing is."""
    return float(ratio((found.support * np.nan_to_num(iou(found))).sum(), found.n))


def miou_over(found: Confusion, classes: Sequence[int], without: Sequence[int] = ()) -> float:
    """Mean IoU over given classes, after rows and columns of `without` are removed: one metric for several tables.

    Two means by "the classes present" are not comparable where other classes are present. NaN without a class.
    """
    kept = [k for k in range(found.classes) if k not in set(without)]
    return mean_of(iou(found.among(kept)), np.isin(kept, classes))
