"""From an adaptation protocol to runs: teachers, students and sets of faults, as experiments that are checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.config import override, parse
from landweave.errors import ConfigError
from landweave.reproduce import fingerprint
from landweave.reproduce.adaptation import NONE, Adaptation, SetRow, Trained
from landweave.reproduce.plan import Marks, Planned, Stage, recipe_of, section
from landweave.run.probe import Probe
from landweave.transforms.faults import Faults

if TYPE_CHECKING:
    from landweave.run.experiment import Experiment

MEASURES = ("run/probe.py", "run/matrix_look.py", "reproduce/adapt_measure.py")
"""Code that measures, beside that of trainings."""


@dataclass(frozen=True)
class PlannedSet:
    """One row of one run: a teacher, its student (none on complete images) and the faults that both are tested with."""

    dataset: str
    row: str
    fraction: float
    run: int
    experiment: Experiment = field(hash=False)
    adapted: bool
    faults: Faults = field(hash=False)
    probe: Probe = field(hash=False)
    split: str
    printed_row: str
    stage: Stage = field(hash=False)
    marks: Mapping[str, str] = field(hash=False)
    training: str
    fingerprint: str

    @property
    def key(self) -> str:
        """How it is called in print."""
        return f"{self.dataset}, {self.row}, run {self.run}"

    @property
    def folder(self) -> str:
        """The student's folder below OUT; the teacher's where there is none."""
        return f"runs/{self.training}" if self.adapted else self.stage.folder


Slot = Planned | PlannedSet
"""A run of either kind of protocol, for which a table has a place."""


def plan(protocol: Adaptation, paths: Mapping[str, str], scale_name: str) -> list[PlannedSet]:
    """All runs, in the order they are made: run by run through all sets.

    Sets that are the same bands in two presets are one training and one line.

    Raises:
        ConfigError: an unknown scale or recipe, or a change that does not fit.
        LandweaveError: the data cannot be opened, or are not what the protocol needs.
    """
    wanted = list(experiments(protocol, paths, scale_name))
    _look(protocol, wanted)
    marks = Marks()
    return [_planned(protocol, scale_name, marks, *one) for one in wanted]


Wanted = tuple[int, str, str, str, SetRow, "Experiment", "Experiment"]
"""Run, dataset of the table, dataset, preset, row, teacher, student."""


def experiments(
    protocol: Adaptation, paths: Mapping[str, str], scale_name: str, *, first: bool = False
) -> Iterator[Wanted]:
    """Every run, read and checked; no data are opened. `first`: run 0 only."""
    runs = 1 if first else protocol.shares(protocol.scale(scale_name))[1.0]
    supplied = next((name for name in protocol.weights if paths.get(name)), "")
    for run in range(runs):
        seed = protocol.first_seed + run
        for shown, name, preset in protocol.shown(paths):
            data = section(protocol.datasets[name], paths[name])
            teacher = _teacher(protocol, scale_name, name, data, seed, supplied, paths)
            for row in protocol.of_rows:
                size = () if not row.count else protocol.sets.one if row.count == 1 else protocol.sets.several
                student = _experiment(
                    protocol, scale_name, protocol.student, name, data, seed, (*size, *row.changes), of=teacher,
                    faults=protocol.faults(preset, row) or protocol.faults(preset, SetRow(bands="B2")),
                )  # fmt: skip
                yield run, shown, name, preset, row, teacher, student


def _teacher(
    protocol: Adaptation,
    scale_name: str,
    dataset: str,
    data: Mapping[str, Any],
    seed: int,
    supplied: str,
    paths: Mapping[str, str],
) -> Experiment:
    if not supplied:
        return _experiment(protocol, scale_name, protocol.teacher, dataset, data, seed, ())
    weights = protocol.weights[supplied]
    given = Trained(recipe=weights.recipe, changes=(*weights.changes, f"start={Path(paths[supplied])}"))
    return _experiment(protocol, scale_name, given, dataset, data, seed, ())


def _experiment(
    protocol: Adaptation,
    scale_name: str,
    given: Trained,
    dataset: str,
    data: Mapping[str, Any],
    seed: int,
    more: tuple[str, ...],
    *,
    of: Experiment | None = None,
    faults: Faults | None = None,
) -> Experiment:
    """A recipe with changes. A student has its teacher's encoder, but for `fill` and `band_mask`, and own faults."""
    from landweave.run.experiment import Experiment

    raw, where, lines = recipe_of(given.recipe)
    scale = protocol.scale(scale_name)
    which = "teacher." if of is None else "student."
    changes = []
    for change in (*protocol.changes, *given.changes, *more, *scale.changes, *scale.datasets.get(dataset, ())):
        other = "student." if of is None else "teacher."
        if change.startswith(other):
            continue
        changes.append(change.removeprefix(which))
    for change in changes:
        if change.partition("=")[0] in ("data.path", "data.fraction", "data.seed", "seed", "method.faults"):
            raise ConfigError(f"`{change}` cannot be changed in a protocol", where=f"{protocol.name}: {given.recipe}")
    raw = override({**raw, "data": dict(data)}, changes)
    raw["seed"] = seed
    raw["data"] |= {"path": data["path"], "fraction": 1.0, "seed": seed}
    if of is not None:
        own = {k: v for k, v in raw["method"].get("encoder", {}).items() if k in ("fill", "band_mask")}
        encoder = {**of.method.encoder.model_dump(mode="json"), **own}
        raw["method"] |= {"encoder": encoder, "faults": (faults or Faults()).model_dump(mode="json")}
        raw["start"] = fingerprint.TEACHER  # replaced by its folder when the run is made
    try:
        return parse(Experiment, raw, where=where, lines=lines, changes=changes)
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{protocol.name}: {given.recipe}", fix=error.fix) from None


def _look(protocol: Adaptation, wanted: list[Wanted]) -> None:
    """Open each dataset once, so that a wrong folder, label or band shows before anything is trained."""
    seen: set[str] = set()
    for _, _, name, preset, row, teacher, _ in wanted:
        if name not in seen:
            seen.add(name)
            opened = teacher.data.open()
            task = teacher.data.choose_task(opened, teacher.method.kinds)
            need, kind = protocol.datasets[name].label, opened.tasks[task].kind
            if need and kind != need:
                raise ConfigError(
                    f"{protocol.name} needs labels of kind {need}, and task `{task}` has {kind}", where=opened.where
                )
            for split in ("train", "validation", protocol.split):
                opened.of_split(split)  # type: ignore[arg-type]  # names the splits that there are
        bands = {c.sensor: c.bands for c in teacher.data.choices if c.bands}
        if bands:
            protocol.faults(preset, row).require(bands)


def _planned(
    protocol: Adaptation,
    scale_name: str,
    marks: Marks,
    run: int,
    shown: str,
    name: str,
    preset: str,
    row: SetRow,
    teacher: Experiment,
    student: Experiment,
) -> PlannedSet:
    if teacher.start and not Path(teacher.start).exists():
        fix = "give the weights that --data names, or leave them out"
        raise ConfigError("no such file", where=teacher.start, fix=fix)
    stage = Stage(teacher, fingerprint.together(marks.of(teacher), "stage"))
    adapted, tested = row.bands != NONE, protocol.faults(preset, row, tested=True)
    mine = marks.of(student if adapted else teacher)
    training = fingerprint.together(mine, stage.fingerprint) if adapted else stage.fingerprint
    probe = protocol.smaller.get(scale_name, protocol.probe).model_copy(update={"seeds": 1})
    how = (tested.model_dump(mode="json"), probe.model_dump(mode="json"), fingerprint.files_mark(MEASURES))
    return PlannedSet(
        dataset=shown,
        row=row.row,
        fraction=1.0,
        run=run,
        experiment=student,
        adapted=adapted,
        faults=tested,
        probe=probe,
        split=protocol.split,
        printed_row=row.row,
        stage=stage,
        marks=mine,
        training=training,
        fingerprint=fingerprint.together({"training": training}, protocol.split, *how),
    )
