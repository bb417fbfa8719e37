"""Worker processes that each make one run at a time. A worker that dies fails its run and is replaced; none outlives
the process that started it, so that a killed command can be started again at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Died(Generic[Job]):
    """A worker ended in the middle of a run."""

    job: Job
    why: str


def over(
    jobs: Sequence[Job], work: Callable[[Job], Result], workers: int, *, threads: int = 1
) -> Iterator[tuple[Job, Result | Died[Job]]]:
    """Results as they come; with one worker in this process, else in processes of their own.

    Args:
        jobs: what is to be done, begun in this order.
        work: a function of a module; called with a job. It must not raise.
        workers: how many jobs at a time.
        threads: of each worker process, as the environment says them to torch and numpy.
    """
    if workers <= 1:
        for job in jobs:
            yield job, work(job)
        return
    waiting = list(reversed(jobs))
    crew = [_Worker(work, threads) for _ in range(min(workers, len(jobs)))]
    try:
        for member in crew:
            member.begin(waiting.pop())
        while busy := [m for m in crew if m.job is not None]:
            ready = connection.wait([m.pipe for m in busy])
            for member in (m for m in busy if m.pipe in ready):
                job, result = member.finish()
                if isinstance(result, Died):
                    crew[crew.index(member)] = member = _Worker(work, threads) if waiting else member
                if waiting:
                    member.begin(waiting.pop())
                yield job, result
    finally:
        for member in crew:
            member.end()


class _Worker:
    """One process, and the end of a pipe to it."""

    def __init__(self, work: Callable[[Any], Any], threads: int) -> None:
        context = get_context("spawn")  # a fork would carry along torch's threads and open stores
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), name="landweave-reproduce")
        self.job: Any = None
        with _environment(dict.fromkeys(THREADS, str(threads))):
            self.process.start()
        theirs.close()

    def begin(self, job: Any) -> None:
        self.job = job
        with suppress(OSError):  # it has died already: `finish` will say so
            self.pipe.send(job)

    def finish(self) -> tuple[Any, Any]:
        job, self.job = self.job, None
        try:
            return job, self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(10)
            code = self.process.exitcode
            how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
            hint = "; was the memory used up? try fewer --workers" if code == -9 else ""
            return job, Died(job, f"its process ended {how}{hint}")

    def end(self) -> None:
        self.pipe.close()
        if self.job is not None:
            self.process.kill()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """What a worker process does: a job, its result, the next job, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        pipe.send(work(job))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables while a process is started, which inherits them."""
    before = {k: os.environ.get(k) for k in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
