"""Scores of a task of any kind from batches of probabilities: one class for training, evaluation and references."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from landweave.data.dataset import Task
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.metrics import Confusion, MultiLabel, per_class, scores
from landweave.sample import Label, LabelKind

if TYPE_CHECKING:
    from torch import Tensor

MONITORS: dict[LabelKind, str] = {"class": "macro_f1", "multilabel": "micro_f1", "map": "miou_existing"}
"""The score that picks the kept epoch, unless `train.monitor` names another."""

PLACE_SCORES: dict[LabelKind, str] = {"class": "oa", "multilabel": "micro_f1", "map": "oa"}
"""The score of a single place, for the leak meter."""


def monitor_of(wanted: str, kind: LabelKind) -> str:
    """The score to watch.

    Raises:
        ConfigError: it is not one of this kind of label.
    """
    if not wanted:
        return MONITORS[kind]
    known = list(Scorer(Task(kind, _TWO)).scores())
    if wanted in known:
        return wanted
    raise ConfigError(
        f"no score `{wanted}`{did_you_mean(wanted, known)}",
        where="train.monitor",
        fix=f"use one of {listed(known, 20)}",
    )


class Scorer:
    """Counts what a model answers.

    Args:
        task: the label.
        scored: class indices that count; others are left out where they are the truth. All by default.
    """

    def __init__(self, task: Task, *, scored: Sequence[int] | None = None) -> None:
        self.task = task
        self.scored = list(range(len(task.legend))) if scored is None else list(scored)
        K = len(task.legend)
        self.found: Confusion | MultiLabel = MultiLabel(K) if task.kind == "multilabel" else Confusion(K)
        self.true = np.zeros(K, np.int64)

    def add(self, label: Label, probabilities: Tensor) -> None:
        """Count a batch: probabilities B K, or B K h w, which are brought to the label's H W."""
        if label.kind == "map" and probabilities.shape[-2:] != label.values.shape[-2:]:
            import torch.nn.functional as F

            probabilities = F.interpolate(probabilities, size=label.values.shape[-2:], mode="bilinear")
        values, known = label.values.cpu().numpy(), label.known.cpu().numpy()
        answers = probabilities.detach().float().cpu().numpy()
        if isinstance(self.found, MultiLabel):
            counts = np.zeros(len(self.task.legend), bool)
            counts[self.scored] = True
            self.true += (values.astype(bool) & known).sum(0)
            self.found.update(values, answers, known & counts)
        else:
            self.true += np.bincount(values[known].astype(np.int64), minlength=len(self.true))
            self.found.update(values, answers.argmax(1), known & np.isin(values, self.scored))

    def add_place(self, label: Label, probabilities: Tensor, index: int) -> None:
        """Count one place of a batch."""
        one = Label(label.kind, label.values[index : index + 1], label.known[index : index + 1], label.legend)
        self.add(one, probabilities[index : index + 1])

    def add_up(self) -> None:
        """Add up over the processes of a distributed training."""
        import torch.distributed as dist

        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, (self.found, self.true))
        self.found = reduce(lambda a, b: a.merge(b), [found for found, _ in parts])
        self.true = sum(true for _, true in parts)

    @property
    def n(self) -> int:
        """Labels counted."""
        return self.found.n

    def support(self) -> list[int]:
        """How often each class is true, scored or not."""
        return [int(n) for n in self.true]

    def scores(self) -> dict[str, float]:
        """Averaged scores by name."""
        return scores(self.found, fixed=self.scored)

    def per_class(self) -> list[dict[str, Any]]:
        """A row a class."""
        return per_class(self.found, self.task.legend.names)

    def confusion(self) -> list[list[int]] | None:
        """Rows truth, columns prediction; None for sets of classes, which have none."""
        return self.found.array.tolist() if isinstance(self.found, Confusion) else None


def _two() -> Any:
    from landweave.legends import LandClass, Legend

    return Legend("two", (LandClass(0, "a", "#000000"), LandClass(1, "b", "#ffffff")))


_TWO = _two()
