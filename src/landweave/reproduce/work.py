"""One run from beginning to end: its first stage, its training, its scores. It never raises: a fault is its result."""

from __future__ import annotations

import gc
import json
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.errors import LandweaveError
from landweave.files import write_text
from landweave.reproduce.plan import Planned, Stage

if TYPE_CHECKING:
    from landweave.run.experiment import Experiment

Line = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training, and every way in which it is scored: `planned` differ in that alone."""

    out: Path
    protocol: str
    scale: str
    planned: tuple[Planned, ...]

    @property
    def key(self) -> str:
        """How it is called in print."""
        return self.planned[0].key


def make(job: Job) -> list[Line]:
    """Train and score; a line of runs.jsonl for each way of scoring."""
    lines: list[Line] = []
    try:
        seconds, labelled = _train(job)
        for one in job.planned:
            lines.append({**names(job, one), "status": "ok", **_scored(job, one, labelled), "seconds": dict(seconds)})
            seconds = {}  # the training counts once
    except Exception as error:
        rest = job.planned[len(lines) :]
        return [*lines, *(failed(job, one, said(job.out / job.planned[0].folder, error)) for one in rest)]
    finally:
        gc.collect()  # a trainer and its model hold one another: without this a worker grows run by run
    tidy(job.out / job.planned[0].folder)
    return lines


def names(job: Job, one: Planned) -> Line:
    """What a line says of a run before anything was done."""
    return {
        "protocol": job.protocol,
        "scale": job.scale,
        "dataset": one.dataset,
        "row": one.row,
        "fraction": one.fraction,
        "run": one.run,
        "seed": one.experiment.seed,
        "recipe": one.experiment.recipe,
        "only": list(one.only),
        "absent": one.absent if one.only else "",
        "split": one.split,
        "changes": list(one.scored),
        "without": list(one.without),
        "fingerprint": one.fingerprint,
        "training": one.training,
        "stage": one.stage.fingerprint if one.stage else "",
        "marks": dict(one.marks),
        "folder": one.folder,
    }


def failed(job: Job, one: Planned, error: str) -> Line:
    """The line of a run that did not come to its end."""
    return {**names(job, one), "status": "failed", "error": error}


def said(folder: Path, error: Exception) -> str:
    """The error in one line; what is not ours is kept whole in the run's folder."""
    if isinstance(error, LandweaveError):
        return " ".join(str(error).split())
    file = folder / "error.txt"
    write_text(file, "".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]} (see {file})"


def _train(job: Job) -> tuple[dict[str, float], int]:
    """Train what is not trained yet. Returns seconds by part, and how many training places have a known label."""
    from landweave.run.material import open_data

    one, seconds = job.planned[0], {}
    experiment = one.experiment
    if one.stage is not None:
        start = time.perf_counter()
        folder = stage_folder(job.out, one.stage)
        seconds["pretrain"] = round(time.perf_counter() - start, 2)
        experiment = experiment.model_copy(update={"start": str(folder)})
    start = time.perf_counter()
    trained(experiment, job.out / one.folder)
    seconds["train"] = round(time.perf_counter() - start, 2)
    dataset, task = open_data(experiment)
    known = [i for i in dataset.of_split("train") if dataset.classes(i, task) is not None]
    return seconds, len(known)


def trained(experiment: Experiment, folder: Path) -> None:
    """Train, or go on; a folder of this name that another experiment left is of the same fingerprint: data moved."""
    from landweave.run.train import train

    if not (folder / "config.json").is_file():
        train(experiment, folder, overwrite=True, progress=False)


def stage_folder(out: Path, stage: Stage) -> Path:
    """The folder of a first stage, trained by whichever run needs it first."""
    return trained_once(stage.experiment, out / stage.folder)


def trained_once(experiment: Experiment, folder: Path) -> Path:
    """A folder that several runs need: one of them trains it, the others wait and find it finished."""
    with _alone(folder.with_suffix(".lock")):
        trained(experiment, folder)
        tidy(folder)
    return folder


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process holds the lock."""
    import fcntl

    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tidy(folder: Path) -> None:
    """A finished run needs no training state, two thirds of its bytes, and no error of an earlier try."""
    shutil.rmtree(folder / "state", ignore_errors=True)
    (folder / "error.txt").unlink(missing_ok=True)


def _scored(job: Job, one: Planned, labelled: int) -> Line:
    from landweave.reproduce.trivial import trivials
    from landweave.run.evaluate import evaluate_tasks
    from landweave.run.predict import open_run

    folder = job.out / one.folder
    start = time.perf_counter()
    tasks = evaluate_tasks(
        folder,
        split=one.split,
        changes=[f"data.path={json.dumps(one.experiment.data.path)}", *one.scored],
        without=one.without,
        only=one.only,
        absent=one.absent,
    )
    main, found = next(iter(tasks.items()))
    run = open_run(folder)
    return {
        "task": main,
        "tasks": {n: _beside(r, run.counts_of(n), labelled) for n, r in tasks.items() if n != main},
        "scores": found["scores"],
        "per_class": found["per_class"],
        "trivial": trivials(found, run.counts_of(run.task), labelled),
        "references": {name: r["scores"] for name, r in found["references"].items()},
        "scored": found["n_places"],
        "labelled": labelled,
        "device": device(),
        "evaluation_seconds": round(time.perf_counter() - start, 2),
    }


def _beside(result: Line, counts: Sequence[int], labelled: int) -> Line:
    """What a line says of a task beside the main one."""
    from landweave.reproduce.trivial import trivials

    return {
        "scores": result["scores"],
        "per_class": result["per_class"],
        "trivial": trivials(result, counts, labelled),
    }


def device() -> str:
    """What figures were made on."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu, {torch.get_num_threads()} threads"
