"""What an evaluation counts of one task: the run beside its references, region by region, and read in other ways."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landweave.data.dataset import Task
from landweave.errors import DataError
from landweave.metrics import Confusion, per_class, skills
from landweave.metrics.boundary import Tolerance, near_boundary
from landweave.metrics.readings import Reading, background_of, readings
from landweave.run.score import PLACE_SCORES, Scorer, table_scores
from landweave.sample import Batch, Label

if TYPE_CHECKING:
    from torch import Tensor

    from landweave.run.references import Reference


@dataclass
class Tally:
    """Counts of one task over the places of a split.

    `trained` are the indices of the classes that the training split has: no other is scored. `without` are indices of
    classes that no score counts. `tolerance` asks for a reading without the pixels near boundaries, of label maps.
    """

    name: str
    task: Task
    trained: Sequence[int]
    references: Sequence[Reference]
    without: Sequence[int] | None = None
    tolerance: Tolerance | None = None
    groups: dict[str, Confusion] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    near: int = 0

    def __post_init__(self) -> None:
        self.scorers = {name: self._scorer() for name in ("", *(r.name for r in self.references))}
        self.inner = self._scorer()

    @property
    def own(self) -> Scorer:
        """Of the run."""
        return self.scorers[""]

    def _scorer(self) -> Scorer:
        return Scorer(self.task, scored=self.trained, without=self.without)

    def count(self, batch: Batch, found: Tensor) -> list[float | None]:
        """Count a batch of raw images and the run's answers; gives the score of each place, None where it has none."""
        import torch

        from landweave.run.references import thinned

        label = batch.labels[self.name]
        places = self.own.add(label, found)
        for r in self.references:
            self.scorers[r.name].add(thinned(label, r.step), torch.from_numpy(np.array(r.predict(batch))))
        if places is None:
            return [self._alone(label, found, b) for b in range(len(batch))]
        if self.tolerance is not None:
            self.inner.add(self._away(label, batch.names), found)
        tables = [Confusion(len(self.task.legend), counts) for counts in places.cpu().numpy()]
        for table, group in zip(tables, batch.groups, strict=True):
            if group:
                self.groups[group] = table.merge(self.groups.get(group, Confusion(table.classes)))
                self.places[group] = self.places.get(group, 0) + 1
        return [self._of_place(self.scores_of(table)) for table in tables]

    def scores_of(self, table: Confusion) -> dict[str, float]:
        """Averaged scores of a table of all labels, of a place or a region say."""
        kept = [k for k in self.own.scored if k not in self.own.without]
        return table_scores(table, kept, self.own.without, self.task.kind)

    def _alone(self, label: Label, found: Tensor, index: int) -> float | None:
        scorer = self._scorer()
        scorer.add_place(label, found, index)
        return self._of_place(scorer.scores())

    def _of_place(self, scores: Mapping[str, float]) -> float | None:
        score = scores[PLACE_SCORES[self.task.kind]]
        return score if math.isfinite(score) else None

    def _away(self, label: Label, names: Sequence[str]) -> Label:
        """The label with what lies near a boundary unknown."""
        import torch

        near = np.stack([self._near(label, b, name) for b, name in enumerate(names)])
        self.near += int((near & label.known.cpu().numpy()).sum())
        return replace(label, known=label.known & ~torch.from_numpy(near).to(label.known.device))

    def _near(self, label: Label, index: int, name: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        from landweave.data.stats import ground_metres

        grid = label.grid[index] if isinstance(label.grid, tuple) else label.grid
        metres = None if grid is None else ground_metres(grid)
        if metres is None:
            raise DataError(
                f"the label of `{self.name}` has no pixel size, so nobody knows how near a boundary is",
                where=name,
                fix="leave --boundary out, or give label rasters with a coordinate reference system",
            )
        values, outside = label.values[index].cpu().numpy(), background_of(self.task.legend)
        return near_boundary(values, metres=metres, tolerance=self.tolerance, background=outside)

    def result(self) -> dict[str, Any]:
        """Plain data for `evaluation-*.json`; what a label map has more is last."""
        own, scores = self.own, self.own.scores()
        support = own.support()
        trivial = self.scorers[self.references[0].name].scores()
        out = {
            "classes": [
                {"name": c.name, "color": c.color, "trained": i in self.trained, "support": support[i]}
                for i, c in enumerate(self.task.legend.classes)
            ],
            "n": own.n,
            "place_score": PLACE_SCORES[self.task.kind],
            "scores": clean(scores),
            "per_class": [clean(row) for row in own.per_class()],
            "confusion": own.confusion(),
            "references": {
                r.name: {
                    "scores": clean(self.scorers[r.name].scores()),
                    "confusion": self.scorers[r.name].confusion(),
                    "step": r.step,
                }
                for r in self.references
            },
            "skill": clean(skills(scores, trivial)),
            "without": [self.task.legend.names[k] for k in own.without],
        }
        return out | self._of_maps() if self.task.kind == "map" else out

    def _of_maps(self) -> dict[str, Any]:
        return {
            "groups": {
                name: {
                    "places": self.places[name],
                    "n": table.n,
                    "scores": {k: v for k, v in clean(self.scores_of(table)).items() if k in OF_GROUPS},
                    "cells": table.to_json(),
                }
                for name, table in sorted(self.groups.items())
            },
            "readings": [self._reading(one) for one in self._readings()],
        }

    def _readings(self) -> Iterator[Reading]:
        yield from readings(self.own.table, self.task.legend)
        if self.tolerance is None:
            return
        share = self.near / max(1, self.own.table.n)
        edges = f"pixels within {self.tolerance.between:g} m of a boundary between classes"
        if background_of(self.task.legend) is not None:
            edges += f" and {self.tolerance.outside:g} m of one to background"
        inner = Reading("inside", f"without {edges}: {share:.1%} of them", self.inner.table, self.task.legend)
        yield inner
        for one in readings(inner.table, inner.legend):
            yield replace(one, name=f"inside, {one.name}", about=f"{one.about}; without pixels near a boundary")

    def _reading(self, one: Reading) -> dict[str, Any]:
        mine = one.legend.name == self.task.legend.name
        named = {self.task.legend.names[k] for k in self.own.without}
        above = [k for k, n in enumerate(one.legend.names) if n in named or k in one.legend.unscored_indices]
        without = self.own.without if mine else above
        kept = [k for k in range(len(one.legend)) if k not in without]
        if mine:
            kept = [k for k in kept if k in self.own.scored]
        return {
            "name": one.name,
            "about": one.about,
            "legend": one.legend.name,
            "n": one.table.n,
            "scores": clean(table_scores(one.table, kept, without)),
            "per_class": [clean(row) for row in per_class(one.table, one.legend.names)],
        }


OF_GROUPS = ("oa", "miou_paper", "miou_existing", "miou_weighted", "macro_f1", "n_present")
"""Scores of a region that its entry has; all others follow from its cells, [truth, prediction, count]."""


def clean(row: Mapping[str, Any]) -> dict[str, Any]:
    """NaN is not JSON: what is undefined becomes null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
