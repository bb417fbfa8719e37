"""Modality ablation: a run scored with all its sensors, and with each of them alone (MoSAiC, table 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.errors import ConfigError
from landweave.run import checkpoint
from landweave.run.evaluate import Absent, evaluate, require_classifier, result_name
from landweave.run.predict import open_run

if TYPE_CHECKING:
    from landweave.run.predict import Run

LEAVES_OUT = ("mean", "early", "attention")
"""Fusion in which an absent sensor leaves no gap to fill, so that one row a sensor is all there is to measure."""


@dataclass(frozen=True)
class Row:
    """One row of the table: what is seen, what stands for the rest, and the evaluation, if it has been made."""

    only: tuple[str, ...]
    absent: Absent
    name: str
    evaluation: dict[str, Any] | None = None


def rows(run: Run, split: str) -> list[Row]:
    """The rows of a run's table with the evaluations that lie in its folder: all sensors first; none of one sensor."""
    names = sorted(run.contract.streams)
    if len(names) < 2:
        return []
    free = run.settings.method.fusion.kind in LEAVES_OUT
    kinds: tuple[Absent, ...] = ("mean",) if free else ("zero", "mean")
    found = [Row((), "mean", "all sensors: " + ", ".join(names))]
    for absent in kinds:
        for n in names:
            rest = "the others" if len(names) > 2 else next(o for o in names if o != n)
            filled = {"zero": f"{n}, zeros for {rest}", "mean": f"{n}, mean feature for {rest}"}
            found.append(Row((n,), absent, f"only {n}" if free else filled[absent]))
    return [Row(r.only, r.absent, r.name, _read(run, split, r)) for r in found]


def _read(run: Run, split: str, row: Row) -> dict[str, Any] | None:
    """The evaluation of a row, unless it is older than the weights."""
    path = run.folder / result_name(split, row.only, row.absent)
    weights = run.folder / "model.safetensors"
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
    require_classifier(run)
    found = rows(run, split)
    if not found:
        raise ConfigError(
            f"the run has one sensor, {next(iter(run.contract.streams))}: there is none to leave out", where=run.folder
        )
    for row in found:
        if row.evaluation is None:
            if say:
                say(f"ablation: {row.name}")
            evaluate(folder, split=split, changes=changes, only=row.only, absent=row.absent)
    return rows(run, split)
