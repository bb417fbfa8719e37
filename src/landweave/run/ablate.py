"""Modality ablation: a run scored with all its sensors, and with each of them alone (MoSAiC, table 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landweave.errors import ConfigError
from landweave.run import checkpoint
from landweave.run.evaluate import Absent, evaluate, other_data, result_name
from landweave.run.predict import open_run

LEAVES_OUT = ("mean", "early", "attention")
"""Fusion in which an absent sensor leaves no gap to fill, so that one row a sensor is all there is to measure."""


@dataclass(frozen=True)
class Row:
    """One row of the table: what is seen, what stands for the rest, and the evaluation, if it has been made."""

    only: tuple[str, ...]
    absent: Absent
    name: str
    evaluation: dict[str, Any] | None = None


def rows(folder: Path, config: Mapping[str, Any], split: str, changes: Sequence[str] = ()) -> list[Row]:
    """The rows of a run's table with the evaluations that lie in its folder: all sensors first; none of one sensor.

    They are of one set of data: the run's own, or that of `changes`.
    """
    names = sorted(config["contract"])
    if len(names) < 2 or not config.get("classifier", True):
        return []
    fusion = config["experiment"]["method"].get("fusion") or {}
    free = fusion.get("kind", "concat") in LEAVES_OUT
    kinds: tuple[Absent, ...] = ("mean",) if free else ("zero", "mean")
    found = [Row((), "mean", "all sensors: " + ", ".join(names))]
    for absent in kinds:
        for n in names:
            rest = "the others" if len(names) > 2 else next(o for o in names if o != n)
            filled = {"zero": f"{n}, zeros for {rest}", "mean": f"{n}, mean feature for {rest}"}
            found.append(Row((n,), absent, f"only {n}" if free else filled[absent]))
    return [replace(r, evaluation=_read(folder, split, r, changes)) for r in found]


def _read(folder: Path, split: str, row: Row, changes: Sequence[str]) -> dict[str, Any] | None:
    """The evaluation of a row, unless it is older than the weights."""
    path = folder / result_name(split, row.only, row.absent, changes=changes)
    weights = folder / "model.safetensors"
    if not path.is_file() or (weights.is_file() and path.stat().st_mtime < weights.stat().st_mtime):
        return None
    found: dict[str, Any] = checkpoint.read_json(path)
    return found


def ablate(
    folder: str | Path,
    *,
    split: str = "test",
    changes: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> list[Row]:
    """Make the evaluations of the table that are not there yet, and give all its rows.

    Raises:
        ConfigError: the run has one sensor only.
        RunError, DataError: as `evaluate`.
    """
    run = open_run(folder)
    run.require_classifier()
    other = other_data(run, changes)
    found = rows(run.folder, run.config, split, other)
    if not found:
        raise ConfigError(
            f"the run has one sensor, {next(iter(run.contract.streams))}: there is none to leave out", where=run.folder
        )
    for row in found:
        if row.evaluation is None:
            if say:
                say(f"ablation: {row.name}")
            evaluate(folder, split=split, changes=changes, only=row.only, absent=row.absent)
    return rows(run.folder, run.config, split, other)
