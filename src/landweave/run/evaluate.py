"""Scoring a run: by class and averaged, beside the predictors that cost nothing, on classes that training had."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landweave.config import override, parse
from landweave.data.dataset import SET_ASIDE, SPLITS, Dataset, Place, Split
from landweave.errors import ConfigError, DataError, did_you_mean, listed
from landweave.files import write_json
from landweave.metrics import skills
from landweave.metrics.trivial import COUNTS
from landweave.run.predict import Run, open_run
from landweave.run.score import PLACE_SCORES, Scorer
from landweave.sample import Batch
from landweave.transforms.faults import LOOK, Faults, spoil

if TYPE_CHECKING:
    from torch import Tensor

    from landweave.contract import Contract
    from landweave.run.references import Reference

Progress = Callable[[int, int], None] | None
Absent = Literal["mean", "zero"]
ALL_SPLITS: tuple[Split, ...] = (*SPLITS, SET_ASIDE)
FIXED = (0, LOOK)
"""The key of the faults that a run is scored with: every run and reference, and every scoring, sees the same ones."""


@dataclass(frozen=True)
class Scene:
    """The data of a run, opened again: what it learned from and what it is scored on."""

    dataset: Dataset
    train: list[int]
    scored: list[int]

    def batches(self, indices: Sequence[int], *, batch_size: int) -> Iterator[Batch]:
        """Places in order, each once."""
        from landweave.data.load import batches, templates

        like = templates(self.dataset, self.train)
        yield from batches(self.dataset, indices, batch_size=batch_size, like=like, shuffle_key=None)


def reopen(run: Run, split: str, changes: Sequence[str] = ()) -> Scene:
    """Open a run's data again; `changes` are dotted, for data that have moved (`data.path=...`).

    Raises:
        ConfigError: no such split, or a change that is not one of the data.
        DataError: the split is empty, or the legend is not the run's.
    """
    from landweave.run.experiment import Experiment
    from landweave.run.material import open_data

    if split not in ALL_SPLITS:
        hint = did_you_mean(split, ALL_SPLITS)
        raise ConfigError(f"no split `{split}`{hint}", fix=f"use one of {', '.join(ALL_SPLITS)}")
    settings = parse(Experiment, override(run.experiment, changes), changes=changes)
    if split == SET_ASIDE and hasattr(settings.data, SET_ASIDE):
        settings = parse(Experiment, override(run.experiment, [*changes, f"data.{SET_ASIDE}=true"]))
    dataset, task = open_data(settings)
    found = dataset.tasks[task].legend.names if task else ()  # a pretraining may have had no labels
    if run.task and found != run.legend.names:
        raise ConfigError(
            f"task `{task}` has the classes {', '.join(found[:6])} ..., the run was trained on "
            f"{', '.join(run.legend.names[:6])} ...",
            where=dataset.where,
            fix="give the data with the legend that the run was trained with"
            + (" (data.classes=10 for SEN12MS's simplified scheme)" if hasattr(settings.data, "classes") else ""),
        )
    which: Split = split
    if split == SET_ASIDE and not any(p.split == SET_ASIDE for p in dataset.places):
        raise DataError(
            "no place is set aside for snow, cloud or shadow in these data",
            where=dataset.where,
            fix="only BigEarthNet v2 has such places; a pack has them if it was made with data.snow_cloud=true",
        )
    return Scene(dataset, [i for i in dataset.of_split("train") if dataset.places[i].labelled], dataset.of_split(which))


def evaluate(
    folder: str | Path,
    *,
    split: str = "test",
    changes: Sequence[str] = (),
    product: str = "",
    only: Sequence[str] = (),
    absent: Absent = "mean",
    faults: Faults | None = None,
    fault_name: str = "",
    progress: Progress = None,
) -> dict[str, Any]:
    """Score a run on a split, and keep the result in its folder, in a file of the name `result_name(...)`.

    Args:
        folder: the run.
        split: train, validation, test, or snow_cloud for the places that BigEarthNet v2 sets aside as spoilt.
        changes: where the data are now, if they have moved.
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
        progress: called with (places done, places in all).

    Raises:
        ConfigError: no such split, no such sensor, or faults of a band that the run does not read.
        RunError: the run has no classifier, or is not one.
        DataError: the split is empty, or other faults of the data.
    """
    from landweave.data.dataset import Task

    run = open_run(folder)
    run.require_classifier()
    kept = seen_sensors(run, only)
    if faults is not None:
        faults.require({name: row.bands for name, row in run.contract.streams.items()})
        fault_name = fault_name or ", ".join(faults.lines()) or "none"
    scene = reopen(run, split, changes)
    task = Task(run.kind, run.legend)
    references = _references(run, scene)
    scorers = {name: Scorer(task, scored=run.trained_classes) for name in ("", *(r.name for r in references))}
    places: list[dict[str, Any]] = []
    located = scene.dataset.located()
    far = _distances(scene, located)
    if only and absent == "zero":
        run.model.set_mean_features({n: m.new_zeros(m.shape) for n, m in run.model.mean_features.items()})
    for batch in scene.batches(scene.scored, batch_size=run.settings.train.batch_size):
        batch = spoilt(hide(batch, run.contract, kept), run.contract, faults)
        found = _count(run, batch, scorers, references)
        for b, name in enumerate(batch.names):
            at = len(places)
            places.append(_place(name, located[scene.scored[at]], far[at], _alone(run, batch, found, b)))
        if progress:
            progress(len(places), len(scene.scored))
    hidden = kept if only else ()
    result = _result(run, split, product, scorers, references, places) | {
        "only": list(hidden),
        "absent": absent if only else "",
        "faults": None if faults is None else faults.model_dump(mode="json"),
        "fault_name": fault_name,
    }
    write_json(Path(folder) / result_name(split, hidden, absent, fault_name=fault_name), result)
    return result


def result_name(split: str, only: Sequence[str] = (), absent: str = "mean", *, fault_name: str = "") -> str:
    """`evaluation-test.json`; with hidden sensors `evaluation-test-only-s2-l2a-mean.json`; and with faults
    `evaluation-test-faults-missing_B02,B08@0.9.json`, where what a file's name cannot have is a `_`."""
    hidden = f"-only-{'+'.join(sorted(only))}-{absent}" if only else ""
    faulty = f"-faults-{_safe(fault_name)}" if fault_name else ""
    return f"evaluation-{split}{hidden}{faulty}.json"


def _safe(name: str) -> str:
    """A name for a file, told from others by its hash where it is too long."""
    safe = re.sub(r"[^A-Za-z0-9.,@+=-]+", "_", name)
    return safe if len(safe) <= 120 else f"{safe[:110]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


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


def _count(run: Run, batch: Batch, scorers: dict[str, Scorer], references: Sequence[Reference]) -> Tensor:
    """Predict, and count the answers of the run and of the references; gives those of the run."""
    import torch

    label = batch.labels[run.task]
    found = run.predict(batch)
    scorers[""].add(label, found)
    for r in references:
        scorers[r.name].add(label, torch.from_numpy(np.array(r.predict(batch))))
    return found


def _alone(run: Run, batch: Batch, found: Tensor, index: int) -> float | None:
    """The score of one place; None where it has none."""
    from landweave.data.dataset import Task

    scorer = Scorer(Task(run.kind, run.legend), scored=run.trained_classes)
    scorer.add_place(batch.labels[run.task], found, index)
    score = scorer.scores()[PLACE_SCORES[run.kind]]
    return score if math.isfinite(score) else None


def _place(name: str, place: Place, far: float | None, score: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "group": place.group,
        "lon": place.lon,
        "lat": place.lat,
        "score": score,
        "nearest_km": far,
    }


def _references(run: Run, scene: Scene) -> list[Reference]:
    from landweave.data.dataset import Task
    from landweave.run.references import references

    train = scene.batches(scene.train[:2000], batch_size=run.settings.train.batch_size)
    kind = Task(run.kind, run.legend)
    counts = run.config["class_counts"]
    return references(scene.dataset, run.task, kind, run.contract, counts=counts, batches=train)


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


def _result(
    run: Run,
    split: str,
    product: str,
    scorers: dict[str, Scorer],
    references: Sequence[Reference],
    places: list[dict[str, Any]],
) -> dict[str, Any]:
    own = scorers[""]
    scores = own.scores()
    support = own.support()
    counts = run.config["class_counts"]
    trivial = scorers[references[0].name].scores()
    return {
        "split": split,
        "task": run.task,
        "kind": run.kind,
        "product": product,
        "classes": [
            {"name": c.name, "color": c.color, "trained": counts[i] > 0, "support": support[i]}
            for i, c in enumerate(run.legend.classes)
        ],
        "n_places": len(places),
        "n": own.n,
        "place_score": PLACE_SCORES[run.kind],
        "scores": clean(scores),
        "per_class": [clean(row) for row in own.per_class()],
        "confusion": own.confusion(),
        "references": {
            r.name: {"scores": clean(scorers[r.name].scores()), "confusion": scorers[r.name].confusion()}
            for r in references
        },
        "skill": clean(skills(scores, trivial)),
        "places": places,
    }


def clean(row: dict[str, Any]) -> dict[str, Any]:
    """NaN is not JSON: what is undefined becomes null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


_STANDS = {"mean": "their mean feature", "zero": "zeros"}


def table(result: dict[str, Any]) -> Iterator[str]:
    """The result as lines for a terminal: averaged scores beside the references, then the classes."""
    names = ["this run", *result["references"]]
    columns = [result["scores"], *(r["scores"] for r in result["references"].values())]
    wide = max(len(k) for k in result["scores"])
    present = int(result["scores"]["n_present"])
    what = f"agreement with {result['product']}" if result["product"] else f"task `{result['task']}`"
    counts = f"{result['n_places']} places, {result['n']} labels, {present} classes present"
    yield f"{what}, split {result['split']}: {counts}"
    if result["only"]:
        yield f"only {', '.join(result['only'])} seen; the others stand as {_STANDS[result['absent']]}"
    if result["fault_name"]:
        yield f"with faults: {result['fault_name']}"
    yield f"{'':<{wide}}  " + "  ".join(f"{n:>12.28}" for n in names) + f"  {'skill':>7}"
    for key in (k for k in result["scores"] if k not in COUNTS):
        cells = [f"{_number(c.get(key)):>{max(12, min(28, len(n)))}}" for c, n in zip(columns, names, strict=True)]
        yield f"{key:<{wide}}  " + "  ".join(cells) + f"  {_number(result['skill'].get(key)):>7}"
    unknown = [c["name"] for c in result["classes"] if c["support"] and not c["trained"]]
    if unknown:
        yield f"not scored, because no training label had them: {', '.join(unknown)}"
    yield ""
    rows = [r for r in result["per_class"] if r.get("support")]
    if not rows:
        return
    keys = [k for k in rows[0] if k not in ("name", "support", "index")]
    broad = max(len(r["name"][:40]) for r in rows)
    yield f"{'class':<{broad}}  {'support':>9}  " + "  ".join(f"{k:>9}" for k in keys)
    for r in rows:
        yield f"{r['name'][:40]:<{broad}}  {r['support']:>9}  " + "  ".join(f"{_number(r[k]):>9}" for k in keys)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
