"""What a score is worth nothing below: predictors that look at no image, from the counts of the scored places alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landweave.metrics import Confusion, MultiLabel, per_class, rules, scores
from landweave.metrics.trivial import LOSSES, majority, skill
from landweave.run.evaluate import clean


def trivials(result: Mapping[str, Any], training: Sequence[int], places: int) -> dict[str, dict[str, Any]]:
    """Scores of each trivial predictor on the places of an evaluation, averaged and by class.

    Sets of classes: `no class anywhere` (Hamming loss a class = its prevalence), `every class everywhere` (the best
    constant for F1), `training prevalence` (Brier score near q (1 - q)). One class: `most frequent class` of those that
    count.

    Args:
        result: what `evaluate` gave.
        training: how many training places have each class.
        places: how many training places have a known label.
    """
    names = [row["name"] for row in result["per_class"]]
    without = [i for i, row in enumerate(result["classes"]) if row["name"] in result.get("without", ())]
    found: dict[str, Confusion | MultiLabel] = {}
    if result["kind"] == "multilabel":
        share = np.asarray(training, np.float64) / max(1, places)
        for name, answer in (
            ("no class anywhere", np.zeros(len(names))),
            ("every class everywhere", np.ones(len(names))),
            ("training prevalence", share),
        ):
            found[name] = _constant(result, answer)
    else:
        truth = Confusion(len(names))
        truth.array[np.arange(len(names)), np.arange(len(names))] = [r["support"] for r in result["per_class"]]
        found["most frequent class"] = majority(truth, [0 if k in without else n for k, n in enumerate(training)])
    sets = result["kind"] == "multilabel"
    fixed = [i for i, row in enumerate(result["classes"]) if (sets or row["trained"]) and i not in without]
    maps = result["kind"] == "map"
    return {
        name: {
            "scores": clean(
                scores(one, fixed=fixed) | (rules(one, without) if isinstance(one, Confusion) and maps else {})
            ),
            "per_class": [clean(r) for r in per_class(one, names)],
        }
        for name, one in found.items()
    }


def _constant(result: Mapping[str, Any], answer: np.ndarray[Any, Any]) -> MultiLabel:
    """The counts of the predictor that gives class k the probability `answer[k]` at every place."""
    rows = result["per_class"]
    true = np.array([row["support"] for row in rows], np.int64)
    shares = [row["prevalence"] for row in rows]
    known = [round(n / p) for n, p in zip(true.tolist(), shares, strict=True) if p]
    most = max(known, default=int(result["n_places"]))  # a class that no place has says nothing of how many are known
    every = np.array(
        [0 if p is None else round(n / p) if p else most for n, p in zip(true.tolist(), shares, strict=True)]
    )
    out, said = MultiLabel(len(rows)), answer > 0.5
    true = np.where(every > 0, true, 0)
    out.tp += np.where(said, true, 0)
    out.fn += np.where(said, 0, true)
    out.fp += np.where(said, every - true, 0)
    out.tn += np.where(said, 0, every - true)
    out.squared += true * (1 - answer) ** 2 + (every - true) * answer**2
    return out


def best(score: str, values: Mapping[str, float]) -> tuple[str, float] | None:
    """The trivial predictor that is hardest to beat in a score; None where none is defined."""
    defined = {name: v for name, v in values.items() if math.isfinite(v)}
    if not defined:
        return None
    name = (min if score in LOSSES else max)(defined, key=lambda n: defined[n])
    return name, defined[name]


def skill_of(score: str, value: float, trivial: float) -> float:
    """The share of the way from the trivial score to the perfect one that is done."""
    return skill(value, trivial, perfect=0.0 if score in LOSSES else 1.0)
