"""One row of an adaptation protocol from beginning to end: its teacher, its student, what both are worth."""

from __future__ import annotations

import gc
import math
import time
from dataclasses import dataclass
from pathlib import Path

from landweave.reproduce.adapt_plan import PlannedSet
from landweave.reproduce.work import Line, device, said, stage_folder, trained_once


@dataclass(frozen=True)
class AdaptJob:
    """One row of one run; `planned` holds it, as a `Job` holds its ways of scoring."""

    out: Path
    protocol: str
    scale: str
    planned: tuple[PlannedSet]

    @property
    def key(self) -> str:
        """How it is called in print."""
        return self.planned[0].key


def make(job: AdaptJob) -> list[Line]:
    """Train and measure; a line of runs.jsonl. It never raises: a fault is its result."""
    (one,) = job.planned
    try:
        return [{**names(job, one), "status": "ok", **_made(job, one)}]
    except Exception as error:
        return [failed(job, one, said(job.out / one.folder, error))]
    finally:
        gc.collect()


def names(job: AdaptJob, one: PlannedSet) -> Line:
    """What a line says of a run before anything was done."""
    return {
        "protocol": job.protocol,
        "scale": job.scale,
        "dataset": one.dataset,
        "row": one.row,
        "fraction": one.fraction,
        "run": one.run,
        "seed": one.stage.experiment.seed,
        "recipe": one.experiment.recipe,
        "faults": one.faults.model_dump(mode="json"),
        "split": one.split,
        "fingerprint": one.fingerprint,
        "training": one.training,
        "stage": one.stage.fingerprint,
        "marks": dict(one.marks),
        "folder": one.folder,
    }


def failed(job: AdaptJob, one: PlannedSet, error: str) -> Line:
    """The line of a run that did not come to its end."""
    return {**names(job, one), "status": "failed", "error": error}


def _made(job: AdaptJob, one: PlannedSet) -> Line:
    from landweave.reproduce.adapt_measure import measured

    start = time.perf_counter()
    teacher = stage_folder(job.out, one.stage)
    seconds = {"teacher": round(time.perf_counter() - start, 2)}
    student = None
    if one.adapted:
        start = time.perf_counter()
        # rows that differ in their tests alone have one student
        student = trained_once(one.experiment.model_copy(update={"start": str(teacher)}), job.out / one.folder)
        seconds["student"] = round(time.perf_counter() - start, 2)
    start = time.perf_counter()
    found, trivial = measured(
        teacher, student, one.faults, one.probe,
        split=one.split, data=one.experiment.data.path, work=job.out / "probes" / one.fingerprint,
    )  # fmt: skip
    return {
        "scores": {k: v if v is None or math.isfinite(v) else None for k, v in found.items()},
        "per_class": [],
        "trivial": trivial,
        "device": device(),
        "seconds": seconds,
        "evaluation_seconds": round(time.perf_counter() - start, 2),
    }
