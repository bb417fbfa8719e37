"""Metrics: counts that add up over batches, processes and maps, and the scores that follow from them. numpy only.

found = Confusion(len(legend))           # or MultiLabel(len(legend)), for sets of classes
found.update(truth, predicted, known)    # batch by batch; 255 is not counted
scores(found), per_class(found, legend.names)
skills(scores(found), scores(majority(found, training_counts)))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from landweave.metrics import classify, multilabel
from landweave.metrics.calibrate import Calibration
from landweave.metrics.confusion import Confusion
from landweave.metrics.multilabel import MultiLabel
from landweave.metrics.segment import miou_over, rules
from landweave.metrics.trivial import all_negative, constant, majority, prevalence, skill, skills

__all__ = [
    "Calibration",
    "Confusion",
    "MultiLabel",
    "all_negative",
    "constant",
    "majority",
    "miou_over",
    "per_class",
    "prevalence",
    "rules",
    "scores",
    "skill",
    "skills",
]


def scores(found: Confusion | MultiLabel, *, fixed: Sequence[int] | None = None) -> dict[str, float]:
    """Averaged scores by name: see `classify.scores` and `multilabel.scores`.

    `fixed` is the class list of `aa_fixed` and `miou_all` (for example the classes that training had), and of
    `macro_*_all` of sets of classes.
    """
    if isinstance(found, MultiLabel):
        return multilabel.scores(found, fixed=fixed)
    return classify.scores(found, fixed=fixed)


def per_class(found: Confusion | MultiLabel, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a class: see `classify.per_class` and `multilabel.per_class`.

    Raises:
        ValueError: as many names as classes are needed.
    """
    if len(names) != found.classes:
        raise ValueError(f"{len(names)} names for {found.classes} classes")
    return multilabel.per_class(found, names) if isinstance(found, MultiLabel) else classify.per_class(found, names)
