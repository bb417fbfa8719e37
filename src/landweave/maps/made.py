"""Which maps a run has made, wherever they were written, so that its page can show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from landweave.files import digest, write_json

FILE = "maps.json"
"""In the run folder: paths of maps that were written elsewhere."""


def remember(run: Path, written: Path) -> None:
    """Note in the run folder that a map was written; one inside the folder is found without."""
    where = written.resolve()
    if run.resolve() == where.parent:
        return
    known = [str(p) for p in _noted(run) if p != where]
    write_json(run / FILE, [*known, str(where)])


def made(run: Path) -> list[Path]:
    """The maps of a run that are still there: those in its folder, then those written elsewhere, oldest first."""
    return [*sorted(run.glob("*.tif")), *(p for p in _noted(run) if p.is_file())]


def foreign(run: Path, path: Path, tags: Mapping[str, str]) -> str:
    """Why a map is not of the model that the run holds now, for the page; empty if nothing speaks against it.

    Another run may have written over it since it was noted, and `train --overwrite` leaves the maps in the folder.
    """
    weights = run / "model.safetensors"
    if weights.is_file() and tags.get("weights"):
        return "" if tags["weights"] == digest(weights) else f"it was made by another model, {tags.get('run', '')}"
    if weights.is_file() and path.stat().st_mtime < weights.stat().st_mtime:  # made before maps had such a mark
        return "it is older than the model of this run"
    return ""


def _noted(run: Path) -> list[Path]:
    path = run / FILE
    return [Path(p) for p in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []
