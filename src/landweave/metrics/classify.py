"""Scores of single-label tasks, of scenes and of pixels alike, from a confusion table.

A mean over classes needs a rule for classes that the truth does not have. `*_existing` and `macro_*` are means over
the classes present in the truth, and `n_present` says how many those are; `*_fixed` and `*_all` run over a list given
beforehand and count an absent class as 0, which is what several published codes print.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from landweave.metrics.confusion import Confusion, Ratios, mean_of, ratio


def scores(found: Confusion, *, fixed: Sequence[int] | None = None) -> dict[str, float]:
    """Averaged scores.

    oa: overall accuracy. aa_existing, aa_fixed: average accuracy, the mean recall over classes present, and over the
    `fixed` list (all K by default). macro_precision, macro_recall, macro_f1: over classes present. miou_existing,
    miou_all: mean intersection over union over classes present, and over `fixed`. fw_iou: IoU weighted by how
    frequent a class is. kappa: Cohen's. n, n_present: labels counted, and classes present.

    A class present but never predicted has precision 0 in a mean. NaN: nothing to score.
    """
    c = found.array.astype(np.float64)
    n, truth, predicted, hit = c.sum(), c.sum(1), c.sum(0), np.diag(c)
    present = truth > 0
    listed = np.zeros(found.classes, bool)
    listed[list(range(found.classes) if fixed is None else fixed)] = True
    recall, unions = ratio(hit, truth), iou(found)
    agree, chance = float(ratio(hit.sum(), n)), float(ratio((truth * predicted).sum(), n * n))
    return {
        "oa": agree,
        "aa_existing": mean_of(recall, present),
        "aa_fixed": mean_of(recall, listed),
        "macro_precision": mean_of(ratio(hit, predicted), present),
        "macro_recall": mean_of(recall, present),
        "macro_f1": mean_of(f1(found), present),
        "miou_existing": mean_of(unions, present),
        "miou_all": mean_of(unions, listed),
        "fw_iou": float(ratio((truth[present] * unions[present]).sum(), n)),
        "kappa": float(ratio(agree - chance, 1 - chance)),
        "n": float(n),
        "n_present": float(present.sum()),
    }


def per_class(found: Confusion, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a class: name, support (true labels), predicted (answers), precision, recall, f1, iou. NaN: undefined."""
    truth, predicted, hit = found.support, found.array.sum(0), np.diag(found.array)
    columns = {"precision": ratio(hit, predicted), "recall": ratio(hit, truth), "f1": f1(found), "iou": iou(found)}
    return [
        {
            "name": name,
            "support": int(truth[k]),
            "predicted": int(predicted[k]),
            **{key: float(column[k]) for key, column in columns.items()},
        }
        for k, name in enumerate(names)
    ]


def f1(found: Confusion) -> Ratios:
    """2 hits / (true + predicted) a class; NaN for a class neither true nor predicted anywhere."""
    return ratio(2 * np.diag(found.array), found.array.sum(1) + found.array.sum(0))


def iou(found: Confusion) -> Ratios:
    """Intersection over union a class (the Jaccard index); NaN for a class neither true nor predicted anywhere."""
    hit = np.diag(found.array)
    return ratio(hit, found.array.sum(1) + found.array.sum(0) - hit)
