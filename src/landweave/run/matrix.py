"""The matrix: encoders x faults. What of a score is left when bands fail, and what adapting gives back.

Each cell has two answers. **Drop-in** is the run's own head or decoder, trained on complete images and never again:
what an operator has. **Probe** is a head trained anew on faulty images: what can still be read from the features, and
what Petcu 2024 (table 4.3) measures. The first run is the teacher, unless another is named.

    found = matrix(["runs/teacher", "runs/adapted"], columns(["petcu2024-names"], ratio=0.9))
    found.cell("adapted", "B2 B8").drop_in["oa"]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from landweave.data.dataset import Task
from landweave.errors import ConfigError, RunError, did_you_mean
from landweave.metrics.align import Alignment, alignment, area, unchanged
from landweave.metrics.contribution import Contribution, contributions
from landweave.run.evaluate import Scene, reopen
from landweave.run.matrix_look import Places, Seen, look, require_alike
from landweave.run.predict import Run, fastest, open_run
from landweave.run.probe import Known, Probe, classes_of, decoders, score, spread_of, train_head
from landweave.sample import Label, LabelKind
from landweave.transforms.faults import LOOK, SETS, Constant, Faults, Missing, named

COMPLETE = "complete"
RATES = (0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0)
"""Missing rates of a curve: those that Petcu 2024 tried, and none."""
HEADLINE: dict[LabelKind, str] = {"class": "oa", "multilabel": "micro_f1", "map": "miou_existing"}
"""The score of which drops, areas and contributions are told."""
SHOWN: dict[LabelKind, tuple[str, ...]] = {
    "class": ("oa", "aa_fixed", "aa_existing"),
    "multilabel": ("micro_f1", "macro_f1"),
    "map": ("oa", "aa_fixed", "aa_existing", "miou_all", "miou_existing"),
}
TEST = (0, LOOK)
"""The key of faults of test images: that of `landweave evaluate`."""

Say = Callable[[str], None]
Progress = Callable[[int, int], None] | None


@dataclass(frozen=True)
class Column:
    """One fault set by name. `rates`: it has a share of pixels, over which a curve can be drawn."""

    name: str
    faults: Faults

    def at(self, rate: float) -> Faults:
        """The same with another share of missing pixels."""
        changed = [
            f.model_copy(update={"ratio": Constant(value=rate)}) if isinstance(f, Missing) else f
            for f in self.faults.faults
        ]
        return self.faults.model_copy(update={"faults": tuple(changed)})

    @property
    def rates(self) -> bool:
        """Whether bands are missing."""
        return bool(self.faults.faults) and all(isinstance(f, Missing) for f in self.faults.faults)


@dataclass(frozen=True)
class Cell:
    """One encoder under one fault set.

    `drop_in`: scores of the run's own head. `probe`: score -> mean, std and values of heads trained anew.
    `unchanged`, `unchanged_teacher`: share of answers that are those of the same run, and of the teacher, on complete
    images (of sets of classes and of maps, single entries that are known). `drop`: share of the headline score on
    complete images that is lost, in drop-in. `recovered`: of what the fault cost the teacher, the share that this run
    wins back, in drop-in. `area`: mean drop-in over the missing rate. `alignment`: with the teacher on complete images.
    """

    encoder: str
    faults: str
    drop_in: Mapping[str, float | None]
    probe: Mapping[str, Mapping[str, Any]]
    unchanged: float | None = None
    unchanged_teacher: float | None = None
    drop: float | None = None
    recovered: float | None = None
    area: float | None = None
    curve: Mapping[float, float | None] = field(default_factory=dict)
    alignment: Alignment | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "alignment": self.alignment.to_json() if self.alignment else None}


@dataclass(frozen=True)
class Matrix:
    """All cells, encoder by encoder; `complete` is the first column. `contributions` are by encoder."""

    kind: LabelKind
    split: str
    teacher: str
    encoders: Mapping[str, str]
    columns: tuple[Column, ...]
    cells: tuple[Cell, ...]
    probe: Probe
    places: int
    contributions: Mapping[str, Sequence[Contribution]] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The score that drops are told of."""
        return HEADLINE[self.kind]

    def cell(self, encoder: str, faults: str) -> Cell:
        """One cell.

        Raises:
            KeyError: there is none.
        """
        for one in self.cells:
            if (one.encoder, one.faults) == (encoder, faults):
                return one
        raise KeyError(f"no cell {encoder}, {faults}")

    def to_json(self) -> dict[str, Any]:
        """Plain data, with every setting that made it."""
        return {
            "kind": self.kind,
            "split": self.split,
            "places": self.places,
            "headline": self.headline,
            "teacher": self.teacher,
            "encoders": dict(self.encoders),
            "probe": self.probe.model_dump(mode="json"),
            "faults": {c.name: c.faults.model_dump(mode="json") for c in self.columns},
            "cells": [c.to_json() for c in self.cells],
            "contributions": {name: [c.to_json() for c in found] for name, found in self.contributions.items()},
        }


def columns(texts: Sequence[str], *, ratio: float = 0.9) -> tuple[Column, ...]:
    """Fault sets: complete images first, then those that are named.

    Args:
        texts: a preset (all its sets), or whatever `landweave evaluate --faults` takes.
        ratio: share of pixels that is missing in the sets of a preset.

    Raises:
        ConfigError: an unknown name, with the nearest known one.
    """
    found: dict[str, Faults] = {COMPLETE: Faults()}
    for text in texts:
        sets = [s for s in SETS[text] if SETS[text][s]] if text in SETS else [text]
        for one in sets:
            faults = named(f"{text}/{one.replace(' ', '-')}@{ratio:g}") if text in SETS else named(one)
            name = one if text not in SETS or sum(t in SETS for t in texts) == 1 else f"{text}/{one}"
            if faults:
                found[name] = faults
    return tuple(Column(name, faults) for name, faults in found.items())


def matrix(
    folders: Sequence[str | Path],
    sets: Sequence[Column],
    *,
    teacher: str | Path | None = None,
    split: str = "test",
    changes: Sequence[str] = (),
    probe: Probe | None = None,
    curve: bool = False,
    bands: Sequence[str] = (),
    work: Path | None = None,
    say: Say | None = None,
    progress: Progress = None,
) -> Matrix:
    """Measure every encoder under every fault set.

    Test images have the faults of `landweave evaluate` (one draw); probes learn from other draws of training images.

    Args:
        folders: runs, by whose folder's name they are called; a pretraining has a probe only.
        sets: see `columns`; complete images are measured in any case.
        teacher: the run that others are compared with; the first one by default.
        split: places that are scored.
        changes: where the data are now, if they have moved (`data.path=...`); of the teacher, for all.
        probe: how heads are trained; None leaves probes out.
        curve: drop-in at the missing rates `RATES`, for the area under it.
        bands: a set of bands of which contributions are told; one or more.
        work: where decoders are trained anew (label maps only); PROBES in the folder of the first run by default.
        say: told what is being done.
        progress: called with cells done and their number.

    Raises:
        ConfigError: runs that do not go together, two of one name, unknown bands, or a split that is not.
        RunError: a folder is no finished run.
        DataError: no place, or other faults of the data.
    """
    tell = say or (lambda _: None)
    runs = _opened(folders, teacher)
    require_alike(list(runs.values()), probed=probe is not None)
    first = next(iter(runs))
    scene = reopen(runs[first], split, changes)
    _require_unseen(runs.values(), scene, split)
    given = (Column(COMPLETE, Faults()), *(c for c in sets if c.name != COMPLETE))
    job = _Job(runs, Places(scene, scene.scored, runs[first]), Places(scene, scene.train, runs[first]), given, split)
    for column in given:
        column.faults.require({n: s.bands for n, s in runs[first].contract.streams.items()})
    players = _players(runs[first], bands)
    for done, column in enumerate(given):
        tell(f"{column.name}: {len(runs)} encoders on {len(job.test)} places")
        job.drop_in(column)
        if probe is not None:
            job.probed(column, probe, work or runs[first].folder / "probes", changes, tell)
        if curve and column.rates:
            job.curved(column)
        if progress:
            progress(done + 1, len(given))
    worth = {}
    if players:
        tell(f"contributions of {', '.join(players)}")
        worth = job.contributions(players)
    return Matrix(
        runs[first].kind,
        split,
        first,
        {name: str(run.folder) for name, run in runs.items()},
        given,
        tuple(job.cell(name, column) for name in runs for column in given),
        probe or Probe(),
        len(job.test),
        worth,
    )


def _opened(folders: Sequence[str | Path], teacher: str | Path | None) -> dict[str, Run]:
    """Runs by name, the teacher first."""
    wanted = list(dict.fromkeys(Path(f) for f in ([teacher] if teacher else []) + list(folders)))
    if not wanted:
        raise ConfigError("no run is given", where="landweave matrix", fix="landweave matrix RUN ADAPTED --faults ...")
    names, device = [p.resolve().name for p in wanted], fastest()
    return {
        (name if names.count(name) == 1 else str(path)): open_run(path, device=device)
        for name, path in zip(names, wanted, strict=True)
    }


def _require_unseen(runs: Iterable[Run], scene: Scene, split: str) -> None:
    """Refuse runs that learned from places they would be scored on."""
    for run in runs:
        if split != "train" and (learned := scene.learned_from(run)):
            raise RunError(
                f"the run learned from {learned} of the {len(scene.scored)} places of the split {split}",
                where=run.folder,
                fix="give runs that were trained on one split of the data, or train it again on this one",
            )


def _players(run: Run, bands: Sequence[str]) -> tuple[str, ...]:
    """Official names of bands, each of which the run reads."""
    there = [b for s in run.contract.streams.values() for b in s.bands]
    for band in bands:
        if band not in there:
            raise ConfigError(
                f"the runs read no band `{band}`{did_you_mean(band, there)}",
                where="--contributions",
                fix=f"use some of {', '.join(there)}",
            )
    players = tuple(dict.fromkeys(bands))
    _without(run, players).require({n: s.bands for n, s in run.contract.streams.items()})
    return players


def _without(run: Run, bands: Sequence[str]) -> Faults:
    """These bands missing, each in every sensor that has it: a fault a sensor, since one fault wants all its bands."""
    gone = {n: tuple(b for b in s.bands if b in bands) for n, s in run.contract.streams.items()}
    return Faults(faults=tuple(Missing(sensor=n, bands=own) for n, own in gone.items() if own))


@dataclass
class _Job:
    """What has been measured so far, by (encoder, fault set)."""

    runs: Mapping[str, Run]
    test: Places
    train: Places
    given: Sequence[Column]
    split: str
    seen: dict[tuple[str, str], Seen] = field(default_factory=dict)
    probes: dict[tuple[str, str], dict[str, dict[str, Any]]] = field(default_factory=dict)
    curves: dict[tuple[str, str], dict[float, float | None]] = field(default_factory=dict)

    @property
    def first(self) -> str:
        return next(iter(self.runs))

    @property
    def headline(self) -> str:
        return HEADLINE[self.runs[self.first].kind]

    def drop_in(self, column: Column) -> None:
        found = look(list(self.runs.values()), self.test, column.faults, TEST)
        self.seen |= {(name, column.name): one for name, one in zip(self.runs, found, strict=True)}

    def probed(self, column: Column, probe: Probe, work: Path, changes: Sequence[str], tell: Say) -> None:
        """A head or decoder trained anew for each encoder and seed."""
        for name, run in self.runs.items():
            if run.kind == "map":
                many = f"decoders of {probe.seeds} seeds" if probe.seeds > 1 else "a decoder"
                tell(f"{column.name}: {many} on the features of {name}, {probe.epochs} epochs")
                like, split = self.runs[self.first], self.split
                found = _decoded(run, column, probe, like=like, split=split, work=work, changes=changes)
                self.probes[name, column.name] = spread_of(list(found))
        scenes = [name for name, run in self.runs.items() if run.kind != "map" and run.task]
        if not scenes:
            return
        runs = [self.runs[name] for name in scenes]
        draws = probe.draws if column.faults else 1
        looks = [look(runs, self.train, column.faults, (0, LOOK - 1 - d)) for d in range(draws)]
        label, truth = self.train.label(), self.test.label()
        for at, name in enumerate(scenes):
            known = Known(tuple(one[at].features for one in looks), label)
            test = Known((self.seen[name, column.name].features,), truth)
            self.probes[name, column.name] = spread_of(_heads(runs[at], known, test, probe))

    def curved(self, column: Column) -> None:
        answering = {name: run for name, run in self.runs.items() if run.classifier}
        points = {r: look(list(answering.values()), self.test, column.at(r), TEST) for r in RATES if r}
        for at, name in enumerate(answering):
            start = self.seen[name, COMPLETE].scores[self.headline]
            self.curves[name, column.name] = {0.0: start} | {
                r: found[at].scores[self.headline] for r, found in points.items()
            }

    def contributions(self, bands: Sequence[str]) -> dict[str, list[Contribution]]:
        """Of every run that answers; each subset of bands is looked at once for all of them.

        A band that several sensors have is one player: seen in all of them, or missing in all.
        """
        names = [name for name, run in self.runs.items() if run.classifier]
        runs = [self.runs[name] for name in names]
        known: dict[frozenset[str], list[float]] = {}

        def of(subset: frozenset[str], at: int) -> float:
            if subset not in known:
                found = look(runs, self.test, _without(runs[at], [b for b in bands if b not in subset]), TEST)
                known[subset] = [float(one.scores[self.headline] or 0.0) for one in found]
            return known[subset][at]

        return {
            name: contributions(bands, lambda subset, at=at: of(subset, at))  # type: ignore[misc]
            for at, name in enumerate(names)
        }

    def cell(self, name: str, column: Column) -> Cell:
        mine, whole = self.seen[name, column.name], self.seen[name, COMPLETE]
        master = self.seen[self.first, COMPLETE]
        truth = self.test.label() if mine.answers is not None else None
        curve = self.curves.get((name, column.name), {})
        heights = [v for v in curve.values() if v is not None]
        same = mine.features.shape == master.features.shape
        return Cell(
            name,
            column.name,
            mine.scores,
            self.probes.get((name, column.name), {}),
            unchanged=_same(whole, mine, truth),
            unchanged_teacher=_same(master, mine, truth),
            drop=_drop(whole.scores.get(self.headline), mine.scores.get(self.headline)),
            recovered=self._recovered(name, column),
            area=area(list(curve), heights) if curve and len(heights) == len(curve) else None,
            curve=curve,
            alignment=alignment(mine.features, master.features) if same else None,
        )

    def _recovered(self, name: str, column: Column) -> float | None:
        """(mine - teacher's) / (teacher's on complete - teacher's), of the headline score under the faults."""
        key = self.headline
        whole, theirs, mine = (
            self.seen[at].scores.get(key)
            for at in ((self.first, COMPLETE), (self.first, column.name), (name, column.name))
        )
        if name == self.first or whole is None or theirs is None or mine is None or whole - theirs <= 1e-9:
            return None
        return (mine - theirs) / (whole - theirs)


def _heads(run: Run, known: Known, test: Known, probe: Probe) -> list[dict[str, float]]:
    """Scores of heads on the classes that they had labels of, which all encoders share: pretrainings know no others."""
    task = Task(run.kind, run.legend)
    scored = classes_of(known.label)
    heads = [train_head(known, task, probe, seed=seed) for seed in range(probe.seeds)]
    return [score(head, test, task, scored=scored) for head in heads]


def _decoded(
    run: Run, column: Column, probe: Probe, *, like: Run, split: str, work: Path, changes: Sequence[str]
) -> Iterator[Mapping[str, float]]:
    """Scores of decoders trained anew, under the faults that they learned with."""
    from landweave.run.evaluate import evaluate

    safe = "".join(c if c.isalnum() else "-" for c in column.name)
    for folder in decoders(run, column.faults, safe, probe, like=like, work=work, changes=changes):
        found = evaluate(folder, split=split, changes=changes, faults=column.faults, fault_name=column.name)
        yield found["scores"]


def _same(before: Seen, after: Seen, truth: Label | None) -> float | None:
    if before.answers is None or after.answers is None or truth is None:
        return None
    known = truth.known.numpy() if truth.kind in ("map", "multilabel") else None
    share = unchanged(before.answers, after.answers, known)
    return share if math.isfinite(share) else None


def _drop(whole: float | None, left: float | None) -> float | None:
    """The share that is lost; None where nothing could be."""
    return None if whole is None or left is None or whole <= 0 else (whole - left) / whole
