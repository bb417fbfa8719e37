"""Scores of a task of any kind from batches of probabilities: one class for training, evaluation and references.

Classes of a place or a pixel are counted on the device that the probabilities are on, as one table of whole numbers,
which is moved when somebody asks for scores. The rules are those of `landweave.metrics`, in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from landweave.data.dataset import Task
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.legends import UNKNOWN
from landweave.metrics import Confusion, MultiLabel, per_class, rules, scores
from landweave.sample import Label, LabelKind

if TYPE_CHECKING:
    from torch import Tensor

MONITORS: dict[LabelKind, str] = {"class": "macro_f1", "multilabel": "micro_f1", "map": "miou_existing"}
"""The score that picks the kept epoch, unless `train.monitor` names another."""

PLACE_SCORES: dict[LabelKind, str] = {"class": "oa", "multilabel": "micro_f1", "map": "oa"}
"""The score of a single place, for the leak meter."""

PAPERS = {"paper": "miou_weighted"}
"""What `train.monitor=paper` means: the score by which the runs of FLAIR-HUB were kept, of label maps only."""


def monitor_of(wanted: str, kind: LabelKind) -> str:
    """The score to watch.

    Raises:
        ConfigError: it is not one of this kind of label.
    """
    if not wanted:
        return MONITORS[kind]
    known = list(Scorer(Task(kind, _TWO)).scores())
    if kind == "map":
        wanted = PAPERS.get(wanted, wanted)
    if wanted in known:
        return wanted
    raise ConfigError(
        f"no score `{wanted}`{did_you_mean(wanted, known)}",
        where="train.monitor",
        fix=f"use one of {listed(known, 24)}",
    )


class Scorer:
    """Counts what a model answers.

    Args:
        task: the label.
        scored: class indices that count; others are left out where they are the truth. All by default.
        without: further class indices that no score counts; by default those that the legend calls `unscored`.
    """

    def __init__(
        self, task: Task, *, scored: Sequence[int] | None = None, without: Sequence[int] | None = None
    ) -> None:
        self.task = task
        self.scored = list(range(len(task.legend))) if scored is None else list(scored)
        self.without = sorted(set(task.legend.unscored_indices if without is None else without))
        K = len(task.legend)
        self._sets = MultiLabel(K) if task.kind == "multilabel" else None
        self._true = np.zeros(K, np.int64)
        self._table = Confusion(K)
        self._counts: Tensor | None = None

    def add(self, label: Label, probabilities: Tensor) -> Tensor | None:
        """Count a batch: probabilities B K, or B K h w, which are brought to the label's H W.

        Returns:
            of a label map the table of each place, B K K; else None.
        """
        if self._sets is not None:
            values, known = label.values.cpu().numpy(), label.known.cpu().numpy()
            counts = np.zeros(len(self.task.legend), bool)
            counts[self._kept] = True
            self._true += (values.astype(bool) & known).sum(0)
            self._sets.update(values, probabilities.detach().float().cpu().numpy(), known & counts)
            return None
        counted, strange = tables(label, probabilities, len(self.task.legend))
        whole = _with(counted.sum(0).reshape(-1), strange)
        self._counts = whole if self._counts is None else self._counts + whole
        return counted if label.kind == "map" else None

    def add_place(self, label: Label, probabilities: Tensor, index: int) -> None:
        """Count one place of a batch."""
        one = Label(label.kind, label.values[index : index + 1], label.known[index : index + 1], label.legend)
        self.add(one, probabilities[index : index + 1])

    def add_up(self) -> None:
        """Add up over the processes of a distributed training."""
        import torch.distributed as dist

        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, (self._sets or self.table, self._true))
        found = reduce(lambda a, b: a.merge(b), [found for found, _ in parts])
        if isinstance(found, MultiLabel):
            self._sets = found
        else:
            self._table = found
        self._true = sum(true for _, true in parts)

    @property
    def table(self) -> Confusion:
        """Every known label, also of classes that do not count; not for sets of classes.

        Raises:
            ValueError: there was a class index outside the legend.
        """
        if self._counts is not None:
            *cells, strange = self._counts.cpu().tolist()
            self._counts = None
            if strange:
                raise ValueError(f"{strange} true class indices are not in 0 ... {self._table.classes - 1}")
            self._table = self._table.merge(Confusion(self._table.classes, np.reshape(cells, self._table.array.shape)))
        return self._table

    @property
    def _kept(self) -> list[int]:
        return [k for k in self.scored if k not in self.without]

    @property
    def found(self) -> Confusion | MultiLabel:
        """What counts: a prediction of a class that does not count is an error all the same."""
        return self.table.of_truth(self._kept) if self._sets is None else self._sets

    @property
    def n(self) -> int:
        """Labels counted."""
        return self.found.n

    def support(self) -> list[int]:
        """How often each class is true, scored or not."""
        return [int(n) for n in (self._true if self._sets is not None else self.table.support)]

    def scores(self) -> dict[str, float]:
        """Averaged scores by name; of label maps also by the rules of FLAIR-HUB."""
        if self._sets is not None:
            return scores(self._sets, fixed=[k for k in range(self._sets.classes) if k not in self.without])
        return table_scores(self.table, self._kept, self.without, self.task.kind)

    def per_class(self) -> list[dict[str, Any]]:
        """A row a class."""
        return per_class(self.found, self.task.legend.names)

    def confusion(self) -> list[list[int]] | None:
        """Rows truth, columns prediction; None for sets of classes, which have none."""
        found = self.found
        return found.array.tolist() if isinstance(found, Confusion) else None


def table_scores(
    table: Confusion, kept: Sequence[int], without: Sequence[int], kind: LabelKind = "map"
) -> dict[str, float]:
    """Averaged scores of a table of all labels, of which the truths `kept` count, and `without` are metric-ignored."""
    found = scores(table.of_truth(kept), fixed=kept)
    return found | rules(table, without) if kind == "map" else found


def tables(label: Label, probabilities: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Tables P K K of a batch, int64 on the device of the probabilities, and how many true indices are none.

    P is the places of a batch of label maps; of one class a place it is 1, as no place has a table of its own.
    """
    import torch

    from landweave.transforms.resampling import answers_on

    found, device, K = probabilities.detach().float(), probabilities.device, classes
    if label.kind == "map" and tuple(found.shape[-2:]) != (1, 1):  # one pixel is one answer, without enlarging it
        found = answers_on(found, label.values.shape[-2:])
    truth = label.values.to(device).long()
    answers = found.argmax(1).expand(truth.shape)
    known = label.known.to(device) & (truth != UNKNOWN)
    strange = known & ((truth < 0) | (truth >= K))
    cells = truth * K + answers
    places = len(truth) if label.kind == "map" else 1
    if places > 1:
        cells += K * K * torch.arange(places, device=device).reshape(-1, *(1,) * (truth.ndim - 1))
    nowhere = places * K * K  # a bin of its own: leaving pixels out would wait for the device to say how many
    cells = torch.where(known & ~strange, cells, nowhere)
    counted = torch.bincount(cells.reshape(-1), minlength=nowhere + 1)[:nowhere]
    return counted.reshape(places, K, K), strange.sum()


def _with(cells: Tensor, strange: Tensor) -> Tensor:
    import torch

    return torch.cat([cells, strange.reshape(1)])


def _two() -> Any:
    from landweave.legends import LandClass, Legend

    return Legend("two", (LandClass(0, "a", "#000000"), LandClass(1, "b", "#ffffff")))


_TWO = _two()
