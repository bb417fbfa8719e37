"""What a report says of a label map beyond its scores: other readings, single regions, and further tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landweave.reports import page
from landweave.run.evaluate import result_name

SHOWN = ("oa", "miou_paper", "macro_f1")
"""Scores of a reading or a region."""
MOST = 40
"""Regions of which a page has rows; of more, the worst and the best half of so many."""


def readings(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Crops alone, classes as their parents, pixels away from boundaries: a row each."""
    return [
        {"name": one["name"], "about": one["about"], "n": one["n"], "values": [one["scores"][k] for k in SHOWN]}
        for one in evaluation.get("readings", ())
    ]


def groups(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row a region, the worst first, with how far apart they are; None where there are not several."""
    found = evaluation.get("groups", {})
    if len(found) < 2:
        return None
    rows = [
        {"name": name, "places": g["places"], "n": g["n"], "values": [g["scores"][k] for k in SHOWN]}
        for name, g in found.items()
    ]
    rows.sort(key=lambda r: (r["values"][1] is None, r["values"][1]))
    known = [r["values"][1] for r in rows if r["values"][1] is not None]
    half = MOST // 2
    return {
        "rows": rows if len(rows) <= MOST else [*rows[:half], *rows[-half:]],
        "count": len(rows),
        "left_out": max(0, len(rows) - MOST),
        "low": min(known, default=None),
        "high": max(known, default=None),
        "median": float(np.median(known)) if known else None,
    }


def tasks(folder: Path, config: Mapping[str, Any], main: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The further tasks of a run that were scored on the split of the main one."""
    out = []
    for name in config.get("tasks", {}) if main else ():
        found = page.read(folder / result_name(main["split"], task=name)) if main and name != config["task"] else None
        if found:
            out.append(
                {
                    "name": name,
                    "averages": page.averages(found),
                    "classes": page.classes(found),
                    "readings": readings(found),
                    "groups": groups(found),
                }
            )
    return out
