"""Scoring a run: by class and averaged, beside the predictors that cost nothing, on classes that training had."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landweave.config import override, parse
from landweave.data.dataset import SET_ASIDE, SPLITS, DataConfig, Dataset, Place, Split, Task
from landweave.data.order import evenly
from landweave.errors import ConfigError, DataError, did_you_mean, listed
from landweave.files import write_json
from landweave.metrics.boundary import Tolerance
from landweave.run.learned import learned_among
from landweave.run.predict import Run, fastest, open_run
from landweave.run.tally import Tally
from landweave.run.tally import clean as clean
from landweave.sample import Batch
from landweave.transforms.faults import LOOK, Faults, spoil

if TYPE_CHECKING:
    from landweave.contract import Contract
    from landweave.run.references import Reference

Progress = Callable[[int, int], None] | None
Absent = Literal["mean", "zero"]
ALL_SPLITS: tuple[Split, ...] = (*SPLITS, SET_ASIDE)
FIXED = (0, LOOK)
"""The key of the faults that a run is scored with: every run and reference, and every scoring, sees the same ones."""
LEARNED_FROM = 2000
"""Labelled training places that the references learn from, at most: evenly through the split."""


@dataclass(frozen=True)
class Scene:
    """The data of a run, opened again: what it learned from, if that is among them, and what it is scored on."""

    dataset: Dataset
    train: list[int]
    scored: list[int]

    def learned_from(self, run: Run) -> int:
        """How many of the scored places a run learned from: of data that were split anew since, some."""
        return learned_among(run.folder, [self.dataset.places[i] for i in self.scored])

    def batches(self, indices: Sequence[int], *, batch_size: int) -> Iterator[Batch]:
        """Places in order, each once."""
        from landweave.data.load import batches, templates

        like = templates(self.dataset, self.train or self.scored)
        yield from batches(self.dataset, indices, batch_size=batch_size, like=like, shuffle_key=None)


def reopen(run: Run, split: str, changes: Sequence[str] = (), *, training: bool = True) -> Scene:
    """Open a run's data again; `changes` are dotted, for data that have moved (`data.path=...`).

    Without `training` they may be of a region that is held out, with no training place.

    Raises:
        ConfigError: no such split, or a change that is not one of the data, or one of the sensors.
        DataError: the split is empty, or the legend is not the run's.
    """
    from landweave.run.experiment import Experiment
    from landweave.run.material import open_data

    if split not in ALL_SPLITS:
        hint = did_you_mean(split, ALL_SPLITS)
        raise ConfigError(f"no split `{split}`{hint}", fix=f"use one of {', '.join(ALL_SPLITS)}")
    _require_data(changes)
    settings = parse(Experiment, override(run.experiment, changes), changes=changes)
    if split == SET_ASIDE and hasattr(settings.data, SET_ASIDE):
        settings = parse(Experiment, override(run.experiment, [*changes, f"data.{SET_ASIDE}=true"]))
    dataset, task = open_data(settings, run.task)
    for name, mine in run.tasks.items():  # a pretraining may have had no labels
        there = dataset.tasks.get(task if name == run.task else name)
        given = there.legend.names if there else ()
        if given != mine.legend.names:
            raise _other_legend(run, settings.data, dataset.where, name, given)
    which: Split = split
    if split == SET_ASIDE and not any(p.split == SET_ASIDE for p in dataset.places):
        raise DataError(
            "no place is set aside for snow, cloud or shadow in these data",
            where=dataset.where,
            fix="only BigEarthNet v2 has such places; a pack has them if it was made with data.snow_cloud=true",
        )
    scored, learned = dataset.of_split(which), any(p.split == "train" for p in dataset.places)
    train = dataset.of_split("train") if training or learned else []
    return Scene(dataset, [i for i in train if dataset.places[i].labelled], scored)


def _require_data(changes: Sequence[str]) -> None:
    """Refuse changes that would change nothing: a run is what it was trained to be, and reads what it was trained on.

    Raises:
        ConfigError: a key that is not of `data`, or `data.streams`.
    """
    for change in changes:
        key, eq, _ = change.partition("=")
        section, *inner = key.split(".")
        if eq and section != "data":
            raise ConfigError(
                "a trained run has its settings; only its data may be others",
                where=key,
                fix="change keys of data alone (data.path=DIR), or train another run",
            )
        if inner[:1] == ["streams"]:
            raise ConfigError(
                "a trained run reads the sensors and bands that it was trained on",
                where=key,
                fix="leave it out; to hide sensors: landweave evaluate RUN --only SENSOR",
            )


def other_data(run: Run, changes: Sequence[str]) -> list[str]:
    """The changes where they name other data than the run's own; none where they change nothing."""
    from landweave.run.experiment import Experiment

    given = parse(Experiment, override(run.experiment, changes), changes=changes).data
    mine, theirs = ({**d.model_dump(), "path": Path(d.path).resolve()} for d in (run.settings.data, given))
    return [] if mine == theirs else list(changes)


def _other_legend(run: Run, data: DataConfig, where: str, task: str, given: Sequence[str]) -> ConfigError:
    names = run.tasks[task].legend.names
    has = f"has the classes {', '.join(given[:6])} ..." if given else "is not in these data"
    hint = " (data.classes=10 for SEN12MS's simplified scheme)" if hasattr(data, "classes") else ""
    if mine := getattr(run.settings.data, "legend", "") if hasattr(data, "legend") else "":
        hint = f" (data.legend={mine})"
    return ConfigError(
        f"task `{task}` {has}, the run was trained on {', '.join(names[:6])} ...",
        where=where,
        fix=f"give the data with the legend that the run was trained with{hint}",
    )


def evaluate(
    folder: str | Path,
    *,
    split: str = "test",
    changes: Sequence[str] = (),
    task: str = "",
    product: str = "",
    only: Sequence[str] = (),
    absent: Absent = "mean",
    faults: Faults | None = None,
    fault_name: str = "",
    without: Sequence[str] = (),
    tolerance: Tolerance | None = None,
    progress: Progress = None,
) -> dict[str, Any]:
    """Score a run on a split, and keep the result in its folder, in a file of the name `result_name(...)`.

    A run of several tasks is scored on all of them in one pass, and each has a file; what is returned is the result
    of the main one, or of `task`. `evaluate_tasks` returns all.

    Args:
        folder: the run.
        split: train, validation, test, or snow_cloud for the places that BigEarthNet v2 sets aside as spoilt.
        changes: where the data are now, if they have moved.
        task: of a run of several tasks, the only one to score.
        product: the name of the land-cover product that the labels are, if they are one: the scores are then
            agreement with it, not accuracy.
        only: the sensors to see; the others of the run are hidden at every place, from the run and from the
            references. All of them by default.
        absent: what stands for a hidden sensor in fusion that asks for something: its mean feature over the training
            places, or zeros (MoSAiC, table 4, "average" and "no"; that it means features, not images, is our
            reading). Fusion that leaves absent sensors out gives the same for both.
        faults: what is wrong with the images, after sensors are hidden. The run and the references, which have learned
            from images as they are, see the same faulty images, drawn by `FIXED` and the names of the places.
        fault_name: what the result calls them; by default their settings, in short.
        without: classes that no score counts, by name, beside those that the legend calls `unscored`.
        tolerance: of label maps, also score without the pixels so near to a boundary.
        progress: called with (places done, places in all).

    Raises:
        ConfigError: no such split, task, class or sensor, or faults of a band that the run does not read.
        RunError: the run has no classifier, or is not one.
        DataError: the split is empty, or other faults of the data.
    """
    found = evaluate_tasks(
        folder,
        split=split,
        changes=changes,
        task=task,
        product=product,
        only=only,
        absent=absent,
        faults=faults,
        fault_name=fault_name,
        without=without,
        tolerance=tolerance,
        progress=progress,
    )
    return next(iter(found.values()))


def evaluate_tasks(
    folder: str | Path,
    *,
    split: str = "test",
    changes: Sequence[str] = (),
    task: str = "",
    product: str = "",
    only: Sequence[str] = (),
    absent: Absent = "mean",
    faults: Faults | None = None,
    fault_name: str = "",
    without: Sequence[str] = (),
    tolerance: Tolerance | None = None,
    progress: Progress = None,
) -> dict[str, dict[str, Any]]:
    """As `evaluate`, of all tasks of a run (or of `task` alone): their results by name, the main one first."""
    run = open_run(folder, device=fastest())
    run.require_classifier()
    kept = seen_sensors(run, only)
    if faults is not None:
        faults.require({name: row.bands for name, row in run.contract.streams.items()})
        fault_name = fault_name or ", ".join(faults.lines()) or "none"
    tasks = _chosen(run, task)
    out = _left_out(tasks, without)
    if tolerance is not None and not any(t.kind == "map" for t in tasks.values()):
        raise ConfigError("only label maps have boundaries", where=run.folder, fix="leave the tolerance out")
    counted = all(t.kind != "multilabel" or run.known_places_of(n) is not None for n, t in tasks.items())
    scene = reopen(run, split, changes, training=not counted)
    tallies = {
        n: Tally(n, t, run.met_of(n), r, out[n], tolerance) for (n, t), r in _with_references(run, scene, tasks, out)
    }
    if only and absent == "zero":
        run.model.set_mean_features({n: m.new_zeros(m.shape) for n, m in run.model.mean_features.items()})
    places = _count(run, scene, tallies, progress, seen=kept, faults=faults)
    hidden, other = kept if only else (), other_data(run, changes)
    about = {
        "only": list(hidden),
        "absent": absent if only else "",
        "faults": None if faults is None else faults.model_dump(mode="json"),
        "fault_name": fault_name,
        "changes": other,
        "learned_from": scene.learned_from(run) if split != "train" else 0,
    }
    results = {}
    for name, tally in tallies.items():
        head = {
            "split": split,
            "task": name,
            "kind": tally.task.kind,
            "product": product,
            "n_places": len(places[name]),
            "unlearned": [tally.task.legend.names[k] for k in tally.trained if k not in run.trained_of(name)],
        }
        results[name] = {**head, **tally.result(), "places": places[name], **about}
        beside = name if name != run.task else ""
        less = [c for c in without if c in tally.task.legend.names]
        file = result_name(split, hidden, absent, fault_name=fault_name, task=beside, without=less, changes=other)
        write_json(Path(folder) / file, results[name])
    return results


def _chosen(run: Run, task: str) -> dict[str, Task]:
    """The tasks to score, the main one first.

    Raises:
        ConfigError: the run did not learn that one.
    """
    if not task:
        return run.tasks
    run.through(task)
    return {task: run.tasks[task]}


def _left_out(tasks: Mapping[str, Task], without: Sequence[str]) -> dict[str, list[int]]:
    """By task, the indices of the classes that no score counts.

    Raises:
        ConfigError: none of the tasks has a class of that name.
    """
    known = list(dict.fromkeys(n for t in tasks.values() for n in t.legend.names))
    for name in without:
        if name not in known:
            raise ConfigError(
                f"no class `{name}`{did_you_mean(name, known)}", where="without", fix=f"use one of {listed(known, 30)}"
            )
    return {
        task: sorted({*t.legend.unscored_indices, *(t.legend.names.index(n) for n in without if n in t.legend.names)})
        for task, t in tasks.items()
    }


def _count(
    run: Run,
    scene: Scene,
    tallies: Mapping[str, Tally],
    progress: Progress,
    *,
    seen: Sequence[str],
    faults: Faults | None,
) -> dict[str, list[dict[str, Any]]]:
    """One pass over the scored places; gives what is said of each, by task."""
    located = scene.dataset.located()
    far = _distances(scene, located)
    places: dict[str, list[dict[str, Any]]] = {name: [] for name in tallies}
    done = 0
    for batch in scene.batches(scene.scored, batch_size=run.settings.train.batch_size):
        batch = spoilt(hide(batch, run.contract, seen), run.contract, faults)
        found = run.answers(batch)
        for name, tally in tallies.items():
            for b, score in enumerate(tally.count(batch, found[name])):
                place = located[scene.scored[done + b]]
                places[name].append(_place(batch.names[b], place, far[done + b], score))
        done += len(batch)
        if progress:
            progress(done, len(scene.scored))
    return places


def result_name(
    split: str,
    only: Sequence[str] = (),
    absent: str = "mean",
    *,
    fault_name: str = "",
    task: str = "",
    without: Sequence[str] = (),
    changes: Sequence[str] = (),
) -> str:
    """`evaluation-test.json`; of a task beside the main one `evaluation-test-task-lpis-1.json`; with hidden sensors
    `evaluation-test-only-s2-l2a-mean.json`; without a class `evaluation-test-without-mixed_crops.json`; with faults
    `evaluation-test-faults-missing_B02,B08@0.9.json`, where what a file's name cannot have is a `_`; and of data named
    anew `evaluation-test-on-path=places.csv-1a2b3c4d.json`."""
    beside = f"-task-{_safe(task)}" if task else ""
    hidden = f"-only-{'+'.join(sorted(only))}-{absent}" if only else ""
    less = f"-without-{_safe('+'.join(sorted(without)))}" if without else ""
    faulty = f"-faults-{_safe(fault_name)}" if fault_name else ""
    other = f"-on-{_mark(changes)}" if changes else ""
    return f"evaluation-{split}{beside}{other}{hidden}{less}{faulty}.json"


def _mark(changes: Sequence[str]) -> str:
    """Changes in short, told apart by their hash: of a path its last name alone is shown."""
    pairs = (change.partition("=") for change in changes)
    told = ",".join(f"{key.rpartition('.')[2]}={Path(value).name}" for key, _, value in pairs)
    return f"{_safe(told)[:40]}-{hashlib.blake2b(json.dumps(list(changes)).encode(), digest_size=4).hexdigest()}"


def _safe(name: str) -> str:
    """A name for a file, told from others by its hash where it is too long."""
    safe = re.sub(r"[^\w.,@+=-]+", "_", name)
    if len(safe.encode()) <= 120:
        return safe
    short = safe.encode()[:110].decode(errors="ignore")
    return f"{short}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def seen_sensors(run: Run, only: Sequence[str]) -> tuple[str, ...]:
    """The sensors that a run may see: those of `only`, all of them by default.

    Raises:
        ConfigError: one is not of the run, or `only` hides none.
    """
    mine = sorted(run.contract.streams)
    for name in only:
        if name not in mine:
            raise ConfigError(
                f"the run has no sensor `{name}`{did_you_mean(name, mine)}",
                where="only",
                fix=f"use one of {listed(mine)}",
            )
    if only and set(only) == set(mine):
        raise ConfigError(
            f"that is every sensor of the run ({listed(mine)}), so none is hidden", where="only", fix="leave it out"
        )
    return tuple(n for n in mine if not only or n in only)


def hide(batch: Batch, contract: Contract, seen: Sequence[str]) -> Batch:
    """A raw batch in which every sensor of the contract but those in `seen` is absent at every place."""
    rows = [contract.streams[name] for name in seen]
    if len(rows) == len(contract.streams):
        return batch
    images = {s: im if any(r.accepts(s) for r in rows) else im.unseen() for s, im in batch.images.items()}
    return replace(batch, images=images)


def spoilt(batch: Batch, contract: Contract, faults: Faults | None) -> Batch:
    """A raw batch as cubes with faults, which `Run.predict` and the references read as well; as it is without any."""
    if not faults:
        return batch
    from landweave.transforms import cubes

    metres = {name: row.metres for name, row in contract.streams.items()}
    return spoil(cubes(batch, contract), faults, FIXED, metres=metres)


def _place(name: str, place: Place, far: float | None, score: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "group": place.group,
        "lon": place.lon,
        "lat": place.lat,
        "score": score,
        "nearest_km": far,
    }


def _with_references(
    run: Run, scene: Scene, tasks: Mapping[str, Task], without: Mapping[str, Sequence[int]]
) -> Iterator[tuple[tuple[str, Task], list[Reference]]]:
    """Each task with its references, all of which have learned from one pass over training places.

    The majority is that of the classes that count: always answering with another would be no answer to beat.
    """
    from landweave.run.references import references

    train = scene.batches(evenly(scene.train, LEARNED_FROM), batch_size=run.settings.train.batch_size)
    counts = {
        name: ([0 if k in without[name] else n for k, n in enumerate(run.counts_of(name))], run.known_places_of(name))
        for name in tasks
    }
    found = references(scene.dataset, tasks, run.contract, counts=counts, batches=train, scored=len(scene.scored))
    yield from zip(tasks.items(), found.values(), strict=True)


def _distances(scene: Scene, places: Sequence[Place]) -> list[float | None]:
    """Kilometres from each scored place to the nearest training place; None without coordinates."""
    at = [places[i] for i in scene.train]
    known = np.radians([(p.lat, p.lon) for p in at if p.lat is not None and p.lon is not None])
    if not len(known):
        return [None] * len(scene.scored)
    from sklearn.neighbors import BallTree

    tree = BallTree(known, metric="haversine")
    out: list[float | None] = []
    for i in scene.scored:
        p = places[i]
        if p.lat is None or p.lon is None:
            out.append(None)
        else:
            out.append(round(6371.0 * float(tree.query(np.radians([[p.lat, p.lon]]))[0][0, 0]), 3))
    return out
