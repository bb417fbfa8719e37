"""Make the runs of a protocol, one line of `runs.jsonl` each, and the table of those that are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from landweave.reproduce import adapt_plan, adapt_work, adaptation, plan, pool, work
from landweave.reproduce.adapt_plan import PlannedSet, Slot
from landweave.reproduce.adapt_work import AdaptJob
from landweave.reproduce.adaptation import Adaptation
from landweave.reproduce.config import Protocol, placed
from landweave.reproduce.ledger import Ledger, claimed, name_of
from landweave.reproduce.plan import Planned
from landweave.reproduce.shown import Shown
from landweave.reproduce.stores import packed
from landweave.reproduce.table import Column, Table, table_of
from landweave.reproduce.work import Job, Line

Say = Callable[[str], None]


def run_protocol(
    protocol: Protocol | Adaptation,
    data: Mapping[str, str | Path],
    out: str | Path,
    *,
    scale: str = "full",
    workers: int = 1,
    threads: int = 1,
    say: Say = print,
) -> Table:
    """Make what is lacking of a protocol's runs, and its table.

    Run i of every method has the same labelled places and the same seed. The same call goes on where a killed one
    stopped: a finished run is never made again, one of another fingerprint (code, recipe, data, libraries) never
    used. Tables that need the same runs share them, if they have the same `out`.

    Args:
        protocol: `landweave.reproduce.protocol("mosaic/table-1")`, or one of your own.
        data: where each dataset lies; what stands in the protocol's own `path` may be left out. A packed store will
            do where it was packed with the labels that the protocol needs.
        out: the folder for runs, `runs.jsonl`, and the table as `NAME.md`, `NAME.json` and `NAME.csv`.
        scale: one of the protocol's.
        workers: runs at a time, each in a process of its own if there are several. They may share a GPU.
        threads: torch threads of each of several processes.
        say: called with a line for each run.

    Returns:
        The table; `ok` is False where runs failed, which does not stop the others.

    Raises:
        LandweaveError: the protocol, the data or `out` are wrong; nothing has been trained then.
    """
    from landweave.reproduce.render import write

    folder = Path(out)
    protocol.scale(scale)
    given = {name: str(path) for name, path in data.items()}
    paths = adaptation.placed(protocol, given) if isinstance(protocol, Adaptation) else placed(protocol, given)
    with claimed(folder):
        ledger = Ledger(folder)
        planned = _planned(protocol, paths, scale)
        notes = _notes(protocol, scale, planned, ledger, paths)
        for note in notes:
            say(note)
        lacking = [p for p in planned if p.fingerprint not in ledger.finished]
        if lacking and protocol.scale(scale).pack:
            lacking = packed(lacking, folder, say)
        jobs = _jobs(folder, protocol, scale, lacking)
        watch = _Watch(len(jobs), workers, say)
        for job, found in pool.over(jobs, _make, workers, threads=threads):
            lines = _failed(job, found.why) if isinstance(found, pool.Died) else found
            for line in lines:
                ledger.add(line)
            watch.done(job, lines, protocol)
        table = table_of(protocol, scale, planned, ledger.rows, notes)
        return replace(table, files=tuple(str(f) for f in write(table, folder)))


def _planned(protocol: Protocol | Adaptation, paths: Mapping[str, str], scale: str) -> Sequence[Slot]:
    if isinstance(protocol, Adaptation):
        return adapt_plan.plan(protocol, paths, scale)
    return plan.plan(protocol, paths, scale)


def _make(job: Job | AdaptJob) -> list[Line]:
    return adapt_work.make(job) if isinstance(job, AdaptJob) else work.make(job)


def _failed(job: Job | AdaptJob, why: str) -> list[Line]:
    if isinstance(job, AdaptJob):
        return [adapt_work.failed(job, p, why) for p in job.planned]
    return [work.failed(job, p, why) for p in job.planned]


def _names(folder: Path, protocol: Shown, scale: str, one: Slot) -> Line:
    if isinstance(one, PlannedSet):
        return adapt_work.names(AdaptJob(folder, protocol.name, scale, (one,)), one)
    return work.names(Job(folder, protocol.name, scale, (one,)), one)


def _notes(protocol: Shown, scale: str, planned: Sequence[Slot], ledger: Ledger, paths: Mapping[str, str]) -> list[str]:
    current = {name_of(_names(Path(), protocol, scale, p)): p.marks for p in planned}
    mine = {p.fingerprint for p in planned}
    finished = sum(p.fingerprint in ledger.finished for p in planned)
    left_out = [name for name in protocol.datasets if name not in paths]
    found = [
        f"{protocol.name}, scale {scale}: {len(planned)} runs, {finished} of them made already" if finished else "",
        ledger.aside(current, mine),
        f"without {', '.join(left_out)}: no --data for it" if left_out else "",
        _taught(protocol, paths),
    ]
    return [note for note in found if note]


def _taught(protocol: Shown, paths: Mapping[str, str]) -> str:
    """What the teachers of an adaptation are; the paper's weights are not ours to ship."""
    if not isinstance(protocol, Adaptation) or not protocol.weights:
        return ""
    for name, weights in protocol.weights.items():
        if name in paths:
            return f"teachers begin with {name}: {weights.about}"
    name, weights = next(iter(protocol.weights.items()))
    return (
        f"teachers are trained from random weights ({protocol.teacher.recipe}); the paper's are {weights.about}: "
        f"give them with --data {name}=FILE"
    )


def _jobs(folder: Path, protocol: Shown, scale: str, lacking: Sequence[Slot]) -> list[Job | AdaptJob]:
    """One job a training, with the ways of scoring it that are lacking; of an adaptation one a row."""
    found: dict[str, dict[str, Planned]] = {}
    rows: dict[str, AdaptJob] = {}
    for p in lacking:
        if isinstance(p, PlannedSet):
            rows.setdefault(p.fingerprint, AdaptJob(folder, protocol.name, scale, (p,)))
        else:
            found.setdefault(p.training, {}).setdefault(p.fingerprint, p)
    return [*rows.values(), *(Job(folder, protocol.name, scale, tuple(group.values())) for group in found.values())]


@dataclass
class _Watch:
    """A line a run, with the time that is left by the runs so far."""

    jobs: int
    workers: int
    say: Say
    start: float = field(default_factory=time.monotonic)
    ended: int = 0

    def done(self, job: Job | AdaptJob, lines: Sequence[Line], protocol: Shown) -> None:
        self.ended += 1
        spent = time.monotonic() - self.start
        left = spent / self.ended * (self.jobs - self.ended)
        bad = [line for line in lines if line["status"] != "ok"]
        what = f"FAILED: {bad[0]['error']}" if bad else _figure(protocol, lines[0])
        more = f"; about {duration(left)} left" if self.ended < self.jobs else f"; {duration(spent)} in all"
        self.say(f"[{self.ended}/{self.jobs}] {job.key}: {what}{more}")


def _figure(protocol: Shown, line: Mapping[str, Any]) -> str:
    scores = [*protocol.headline, *(m.score for m in protocol.metrics)] or [protocol.per_class]
    found = {score: Column(score).of_run(line) for score in scores}
    score = next((s for s, v in found.items() if v is not None), scores[0])  # a row may lack the first task
    value = found[score]
    seconds = sum(line["seconds"].values()) + line["evaluation_seconds"]
    return f"{score} {'-' if value is None else f'{value:.3f}'} in {duration(seconds)}"


def duration(seconds: float) -> str:
    """41 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
