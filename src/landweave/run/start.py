"""Beginning with the encoders of another run: what must be alike, said before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from landweave.contract import Contract
from landweave.errors import RunError, listed
from landweave.run.experiment import Experiment
from landweave.run.predict import Run, open_run

if TYPE_CHECKING:
    from landweave.nn.model import Model


def open_start(experiment: Experiment, contract: Contract, folder: Path) -> Run:
    """Open the run whose encoders are taken, and compare it with what is to be trained.

    Its images may have had other statistics: encoders read images normalised by those of the data at hand.

    Args:
        experiment: what is to be trained.
        contract: of its data.
        folder: the finished run to begin with; sensors that only it has are left there.

    Raises:
        RunError: no such run, unfinished, or of other sensors, bands, backbone or kind of fusion.
    """
    run = open_run(folder)
    mine, theirs = experiment.method, run.settings.method
    unlike = [
        f"{key} {value} there and {getattr(mine.encoder, key)} here"
        for key, value in theirs.encoder
        if value != getattr(mine.encoder, key)
    ]
    if unlike:
        raise _unlike(
            folder, f"its encoders differ: {'; '.join(unlike)}", "give method.encoder the settings of that run"
        )
    if (mine.fusion.kind == "early") != (theirs.fusion.kind == "early"):
        raise _unlike(
            folder,
            f"fusion.kind is {theirs.fusion.kind} there and {mine.fusion.kind} here: one encoder for all, one a sensor",
            "choose method.fusion.kind=early in both runs or in none",
        )
    lacking = [name for name in contract.streams if name not in run.contract.streams]
    if lacking or (mine.fusion.kind == "early" and set(contract.streams) != set(run.contract.streams)):
        what = f"it read {listed(sorted(run.contract.streams))}, and {listed(sorted(contract.streams))} are wanted here"
        raise _unlike(folder, what, "choose sensors of that run in data.streams")
    for name, stream in contract.streams.items():
        other = run.contract.streams[name].bands
        if stream.bands != other:
            raise _unlike(
                folder,
                f"{name} had the bands {listed(other, 20)} there, and has {listed(stream.bands, 20)} here",
                f"data.streams with {name}:{'+'.join(other)}",
            )
    return run


def load_start(model: Model, run: Run) -> None:
    """Give a new model the encoders of a run.

    Raises:
        RunError: the weights do not fit.
    """
    from landweave.run import checkpoint

    file = run.folder / "model.safetensors"
    model.load_encoders(checkpoint.read_tensors(file), str(file))


def _unlike(folder: Path, what: str, fix: str) -> RunError:
    return RunError(f"cannot begin with its encoders: {what}", where=folder, fix=fix)
