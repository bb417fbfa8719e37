"""What the record of FLAIR-HUB says, in a line a claim."""

from __future__ import annotations

import statistics
from typing import Any


def smoke(runs: list[dict[str, Any]]) -> str:
    """Time and scores of every configuration."""
    told = []
    for name in runs[0]:
        rows = [r[name] for r in runs]
        cpu, wall = max(r["cpu_seconds"] for r in rows), max(r["seconds"] for r in rows)
        tasks = list(rows[0]["test"])
        scores = []
        for task in tasks:
            ours, trivial = ([r[who][task]["miou_paper"] for r in rows] for who in ("test", "majority class"))
            which = f"{task} " * (len(tasks) > 1)
            scores.append(f"{which}{_pm(ours)} (majority class {statistics.mean(trivial):.3f})")
        told.append(f"{name} {', '.join(scores)}, {wall:.0f} s, {cpu:.0f} s of CPU")
    return f"mIoU on the test places, slowest run: {'; '.join(told)} ({_seeds(runs)})"


def crops(runs: list[dict[str, Any]]) -> str:
    """Accuracy on declared crops, row by row."""
    told = [f"{row} {_pm([r[row]['accuracy'] for r in runs])}" for row in runs[0]]
    return f"accuracy on declared crops: {', '.join(told)} ({_seeds(runs)})"


def years(runs: list[dict[str, Any]]) -> str:
    """The same, in the departments that both years have."""
    rows = [{k: v for k, v in r.items() if k != "departments"} for r in runs]
    return f"in {', '.join(runs[0]['departments'])}, {crops(rows)}"


def _pm(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def _seeds(runs: list[dict[str, Any]]) -> str:
    return f"{len(runs)} seed{'s' * (len(runs) > 1)}"
