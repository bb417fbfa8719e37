"""Losses against other libraries: `python -m benchmarks.losses [--json FILE] [--rows N,...] [--device cpu|cuda]`.

Forward and backward of N x 128 embeddings in float32 on one thread; labels are 19, 2.9 a row. For time, a peer and
ours run in turn in one process; for memory each runs in a process of its own. A peer that would not fit in the free
memory, judged by what it took at fewer rows, is not started, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Task, in_own_process
from benchmarks.works import CPU, MEMORY, OURS, WORKS, Limit, Peer, Work

ROWS = (512, 2048, 4096, 8192, 16384, 32768, 65536)
SHARE = 0.6
"""The part of the free memory that a peer may take."""


@dataclass(frozen=True)
class Row:
    """One comparison: `times_less` is the peer's figure over ours; `limit` and `reached` only where one is set."""

    work: str
    rows: int
    what: str
    peer: str
    figure: float | None
    ours: float
    times_less: float | None
    limit: str = ""
    reached: bool | None = None
    note: str = ""


def main(words: list[str] | None = None) -> int:
    args = _arguments(words)
    for name in args.works:
        rows = []
        for row in compare(name, args.rows, args.device):
            rows.append(row)
            print(line(row), flush=True)
        if args.json:
            write(args.json, machine(args.device), name, rows)
    return 0


def write(path: Path, here: dict[str, str], name: str, rows: list[Row]) -> None:
    """Put a work's rows in the place of its earlier ones; those of other works stay if they are of this machine."""
    found = json.loads(path.read_text()) if path.exists() else {}
    kept = [r for r in found.get("rows", []) if r["work"] != name] if found.get("machine") == here else []
    every = sorted([*kept, *map(asdict, rows)], key=lambda r: list(WORKS).index(r["work"]))
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"machine": here, "rows": every}, indent=1) + "\n")
    part.replace(path)


def compare(name: str, sizes: list[int], device: str) -> Iterator[Row]:
    """All rows of one work, sizes going up."""
    work = WORKS[name]
    before: dict[str, tuple[int, float]] = {}  # the last size at which a peer's memory was measured, and its bytes
    for n in sorted(sizes):
        ours = in_own_process(Task(name, n, (OURS,), device, memory=True))
        if not work.peers:
            yield from _ours_alone(name, work, n, ours, "")
        for peer_name, peer in work.peers.items():
            note = _too_large(peer, n, before.get(peer_name), device)
            found = {"failed": note} if note else _peer(name, n, peer_name, device)
            if "failed" in found:
                yield from _ours_alone(name, work, n, ours, peer_name, found["failed"])
                continue
            before[peer_name] = (n, 1e6 * float(found["MB"]))
            yield from _both(name, work, n, peer_name, ours, found)


def _peer(name: str, n: int, peer: str, device: str) -> dict[str, Any]:
    """A peer's memory alone, and the seconds of both in turn."""
    room = SHARE * free_bytes(device)
    found = in_own_process(Task(name, n, (peer,), device, memory=True, room=room))
    if "failed" in found:
        return found
    rounds = max(1, min(9, round(12 / max(found["seconds"][peer][0], 1e-3)))) if device == "cpu" else 9
    return {**in_own_process(Task(name, n, (peer, OURS), device, rounds=rounds)), "MB": found["MB"]}


def _both(name: str, work: Work, n: int, peer: str, ours: dict[str, Any], found: dict[str, Any]) -> Iterator[Row]:
    theirs, mine = found["seconds"][peer], found["seconds"][OURS]
    ratio = statistics.median(t / m for t, m in zip(theirs, mine, strict=True))
    apart = abs(found["loss"][peer] - found["loss"][OURS]) / abs(found["loss"][OURS])
    note = f"losses differ by {apart:.0e}, {len(theirs)} round{'s' * (len(theirs) > 1)}"
    yield _row(name, work, n, CPU, peer, statistics.median(theirs), statistics.median(mine), ratio, note)
    yield _row(name, work, n, MEMORY, peer, found["MB"], ours["MB"], found["MB"] / ours["MB"], "")


def _ours_alone(name: str, work: Work, n: int, ours: dict[str, Any], peer: str, note: str = "") -> Iterator[Row]:
    yield _row(name, work, n, CPU, peer, None, ours["seconds"][OURS][0], None, note)
    yield _row(name, work, n, MEMORY, peer, None, ours["MB"], None, note)


def _row(
    name: str,
    work: Work,
    n: int,
    what: str,
    peer: str,
    figure: float | None,
    ours: float,
    ratio: float | None,
    note: str,
) -> Row:
    limits = [x for x in work.limits if x.rows == n and x.what == what and x.peer in ("", peer)]
    limit, reached = _judge(limits[0], ours, ratio) if limits else ("", None)
    return Row(name, n, what, peer, figure, ours, ratio, limit, reached, note)


def _judge(limit: Limit, ours: float, ratio: float | None) -> tuple[str, bool | None]:
    if limit.at_most is not None:
        return f"at most {limit.at_most:g} {limit.what}", ours <= limit.at_most
    return f"{limit.times_less:g} times less", None if ratio is None else ratio >= (limit.times_less or 0)


def _too_large(peer: Peer, n: int, before: tuple[int, float] | None, device: str) -> str:
    """Why a peer is not started, or nothing."""
    if before is None:
        return ""
    needed = before[1] * (n / before[0]) ** peer.power
    free = free_bytes(device)
    if needed <= SHARE * free:
        return ""
    return f"not started: would take about {needed / 1e9:,.0f} GB of {free / 1e9:,.0f} GB free, more than {SHARE:.0%}"


def free_bytes(device: str) -> float:
    """Memory that nobody uses."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    lines = Path("/proc/meminfo").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024


def line(row: Row) -> str:
    """A row as text, in the order work, peer, peer's figure, ours, ratio, limit."""
    theirs = "-" if row.figure is None else f"{row.figure:.3g}"
    ratio = "" if row.times_less is None else f"{row.times_less:.1f} x less"
    verdict = {None: "", True: "reached", False: "NOT reached"}[row.reached]
    cells = [f"{row.work} {row.rows}", row.what, row.peer or "-", theirs, f"{row.ours:.3g}", ratio, row.limit, verdict]
    return "  ".join(f"{c:<{w}}" for c, w in zip(cells, (23, 7, 28, 8, 8, 13, 16, 11), strict=True)) + f"  {row.note}"


def machine(device: str) -> dict[str, str]:
    """What the figures were measured on; no name of a computer."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), model)
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    packages = {name: found for name in ("torch", "lightly", "pytorch-metric-learning") if (found := _version(name))}
    processor = f"{model}, {os.cpu_count()} cores, one thread used"
    return {"processor": processor, **gpu, "python": platform.python_version(), **packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses", description=(__doc__ or "").split("\n")[0])
    numbers = lambda text: [int(n) for n in text.split(",")]  # noqa: E731
    names = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rows", type=numbers, default=list(ROWS), help="sizes, separated by commas")
    parser.add_argument("--works", type=names, default=list(WORKS), help=f"of {', '.join(WORKS)}")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args(words)
    if unknown := set(args.works) - set(WORKS):
        parser.error(f"no work {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    return args


if __name__ == "__main__":
    sys.exit(main())
