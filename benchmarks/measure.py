"""Measure one side alone, or two in turn, in a process of its own: `python -m benchmarks.measure '{"work": ...}'`.

Printed as one line of JSON. Time on a processor is CPU seconds of this process, which other processes on the machine
hardly change; on a GPU it is the time between two events. Memory is the highest that one forward and backward pass
reached, less what was there when the inputs were (the gradients of the inputs count).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.works import OURS, WORKS, Inputs, Loss

WARM = 256
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Task:
    """Sides of a work to run in turn, `rounds` times each; `memory` measures the first pass of a single side."""

    work: str
    rows: int
    sides: tuple[str, ...]
    device: str
    rounds: int = 1
    memory: bool = False
    room: float = 0.0  # bytes this process may take beyond the inputs; 0 for no limit


def main(words: list[str]) -> None:
    task = Task(**json.loads(words[0]))
    torch.set_num_threads(1)
    print(json.dumps(measure(task)))


def measure(task: Task) -> dict[str, Any]:
    """`{"seconds": {side: [...]}, "loss": {side: ...}, "MB": ...}`, or `{"failed": why}`."""
    device, work = torch.device(task.device), WORKS[task.work]
    sides = {name: work.ours if name == OURS else work.peers[name].make() for name in task.sides}
    for loss in sides.values():
        one_pass(loss, work.inputs(WARM, device))  # first calls load libraries and start the autograd engine
    inputs = work.inputs(task.rows, device)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    values: dict[str, float] = {}
    out: dict[str, Any] = {}
    if task.room and device.type == "cpu":
        limit_memory(task.room)
    try:
        for _ in range(task.rounds):
            for name, loss in sides.items():
                peak = peak_of(device) if task.memory else None
                value, taken = timed(loss, inputs, device)
                seconds[name].append(taken)
                values[name] = value
                if peak is not None:
                    out["MB"] = peak()
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        return {"failed": "out of memory"}
    return {**out, "seconds": seconds, "loss": values}


def one_pass(loss: Loss, inputs: Inputs) -> torch.Tensor:
    for x in inputs.values():
        x.grad = None
    value = loss(inputs)
    torch.autograd.backward(value)
    return value.detach()


def timed(loss: Loss, inputs: Inputs, device: torch.device) -> tuple[float, float]:
    """The loss, and the seconds of its forward and backward pass."""
    if device.type == "cpu":
        start = time.process_time()
        value = one_pass(loss, inputs)
        taken = time.process_time() - start
        return float(value), taken
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in "be")  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    begin.record()
    value = one_pass(loss, inputs)
    end.record()
    torch.cuda.synchronize()
    return float(value), begin.elapsed_time(end) / 1000


def peak_of(device: torch.device) -> Callable[[], float]:
    """Start watching; the function that comes back says how many MB more than now were taken at most since."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return lambda: (torch.cuda.max_memory_allocated() - before) / 1e6
    if not STATUS.exists():
        raise SystemExit("peak memory on a processor is read from /proc, which is there on Linux only")
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is resident now
    before = status_bytes("VmRSS")
    return lambda: (status_bytes("VmHWM") - before) / 1e6


def status_bytes(field: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def limit_memory(room: float) -> None:
    """A peer that takes more than `room` gets an error, instead of taking the machine down."""
    taken = status_bytes("VmSize") if STATUS.exists() else 0
    resource.setrlimit(resource.RLIMIT_AS, (int(taken + room), resource.RLIM_INFINITY))


def in_own_process(task: Task) -> dict[str, Any]:
    """Measure in a fresh process of one thread."""
    import subprocess

    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode < 0:
        return {"failed": f"killed by signal {-done.returncode}"}
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def middle(values: list[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main(sys.argv[1:])
