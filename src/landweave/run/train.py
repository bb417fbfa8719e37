"""Training, as the command line and the library offer it."""

from __future__ import annotations

import shutil
from pathlib import Path

from landweave.data.stats import implausible
from landweave.errors import RunError
from landweave.run.experiment import Experiment, recipe, save
from landweave.run.material import gather


def train(experiment: Experiment, out: str | Path, *, overwrite: bool = False, progress: bool = True) -> Path:
    """Train, or go on where a killed run of the same experiment stopped. Nothing is written outside `out`.

    Args:
        experiment: see `landweave.recipe`.
        out: the run folder.
        overwrite: throw away another experiment's run that stands there.
        progress: show bars and notes.

    Returns:
        The run folder.

    Raises:
        RunError: another experiment's run stands in `out`.
        LandweaveError: anything wrong with the data.
    """
    folder = Path(out)
    note = print if progress else _silent
    if _claim(experiment, folder, overwrite):
        note(f"{folder} is finished already; nothing to do")
        return folder
    material = gather(experiment, folder)  # faults of the data show before lightning has been loaded
    for doubt in implausible(material.contract):
        note(f"warning: {doubt}")
    from landweave.run.fit import fit

    fit(experiment, material, folder, progress=progress, note=note)
    return folder


def _claim(experiment: Experiment, folder: Path, overwrite: bool) -> bool:
    """Make the folder this experiment's. True if it holds a finished run of it."""
    known = folder / "experiment.yaml"
    if known.is_file() and (overwrite or recipe(known) != experiment):
        trained = (folder / "metrics.jsonl").is_file()  # else it failed before its first epoch: nothing to lose
        if trained and not overwrite:
            raise RunError(
                "another experiment's run stands there",
                where=folder,
                fix="choose another --out, or add --overwrite to throw it away",
            )
        shutil.rmtree(folder)
    if (folder / "config.json").is_file():
        return True
    folder.mkdir(parents=True, exist_ok=True)
    save(experiment, known)
    return False


def _silent(text: str) -> None:
    """Where notes go that nobody reads."""
