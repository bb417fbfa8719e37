"""Training, as the command line and the library offer it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from landweave.data.load import diversity
from landweave.data.stats import implausible
from landweave.errors import LandweaveError, RunError, listed
from landweave.files import write_json
from landweave.run.experiment import Experiment, recipe, save
from landweave.run.learned import FILE as LEARNED
from landweave.run.material import Material, gather
from landweave.run.start import adopted, inherited, open_start, read_alike, weights_mark

PRETRAIN = "pretrain"
"""The folder in a run folder in which its first stage is trained."""
START = "start.json"
"""Which weights a run began with."""
WRITTEN = (
    *("experiment.yaml", "contract.json", START, "config.json", "versions.json", "metrics.jsonl", "model.safetensors"),
    LEARNED,
    *(PRETRAIN, "state", "logs", "probes", "figures", "leak.json", "maps.json", "report.html", "error.txt"),
    *("evaluation-*.json", ".*.part", ".*.old"),
)
"""What training and the commands on a run write into its folder, as patterns (docs/run-folder.md)."""
MOST_KEYS = 4
"""Of what differs from a run that stands in the folder, so many keys are told."""


def train(experiment: Experiment, out: str | Path, *, overwrite: bool = False, progress: bool = True) -> Path:
    """Train, or go on where a killed run of the same experiment stopped. Nothing is written outside `out`.

    Args:
        experiment: see `landweave.recipe`.
        out: the run folder.
        overwrite: throw away what stands there, another experiment's run or a finished one; a killed run of this one
            goes on all the same.
        progress: show bars and notes.

    Returns:
        The run folder.

    Raises:
        RunError: another experiment's run stands in `out`, or files that are no run's beside an `experiment.yaml`.
        LandweaveError: anything wrong with the data.
    """
    experiment = inherited(experiment)
    folder = Path(out)
    begun = (folder / "experiment.yaml").is_file()
    note = print if progress else _silent
    if _claim(experiment, folder, overwrite):
        note(f"{folder} is finished already; nothing to do")
        return folder
    try:
        _train(experiment, folder, progress, note)
    except LandweaveError:
        if not begun:
            _leave_nothing(folder)
        raise
    return folder


def _train(experiment: Experiment, folder: Path, progress: bool, note: Callable[[str], None]) -> None:
    """All stages of a run whose folder is claimed."""
    material = gather(experiment, folder)  # faults of the data show before lightning has been loaded
    for doubt in (*implausible(material.contract), *_doubts(experiment, material)):
        note(f"warning: {doubt}")
    experiment.method.faults.require({n: s.bands for n, s in material.contract.streams.items()})
    start = None
    if experiment.first is not None:
        own = _pretrained(experiment.first, material, folder, progress)
        start = open_start(experiment, material.contract, own, material.kind)
    elif experiment.start:
        start = open_start(experiment, material.contract, Path(experiment.start), material.kind)
    if start is not None:
        given = experiment.data.statistics
        material = adopted(material, start) if experiment.method.teacher else read_alike(material, start, given)
    from landweave.run.fit import fit

    fit(experiment, material, folder, start=start, progress=progress, note=note)


def _pretrained(stage: Experiment, material: Material, folder: Path, progress: bool) -> Path:
    """Train the first stage in a folder of its own, or go on with it; the data are measured once for both."""
    own = folder / PRETRAIN
    if not (own / "contract.json").is_file():
        write_json(own / "contract.json", material.contract.to_json())
    return train(stage, own, progress=progress)


def _doubts(experiment: Experiment, material: Material) -> Iterator[str]:
    """What is allowed, and probably not what was meant."""
    method, settings = experiment.method, experiment.train
    if getattr(method, "freeze", False) and not (experiment.pretrain or experiment.start):
        yield "method.freeze holds encoders of random weights: give `pretrain` or `start`"
    blind = method.fusion.kind == "bilinear" or (method.fusion.kind == "concat" and not method.fusion.flags)
    if method.sensor_dropout and blind:
        yield (
            f"method.fusion.kind={method.fusion.kind} reads a dropped sensor as zeros in training, and as its mean "
            "feature afterwards; for one checkpoint that serves any sensors take mean, attention, or concat with "
            "flags=true"
        )
    if method.sensor_dropout and method.fusion.kind == "stages" and method.fusion.absent == "mean":
        yield (
            "method.fusion.absent=mean reads a dropped sensor as zeros in training, and as its mean map afterwards; "
            "for one checkpoint that serves any sensors take learned or zero"
        )
    if method.kind == "contrast" and not (settings.places_per_group or settings.one_group):
        spread = diversity(material.dataset, material.train, settings.batch_size * settings.devices)
        if spread.warning:
            yield spread.warning


def _claim(experiment: Experiment, folder: Path, overwrite: bool) -> bool:
    """Make the folder this experiment's. True if it holds a finished run of it."""
    known, finished = folder / "experiment.yaml", (folder / "config.json").is_file()
    if int(os.environ.get("LOCAL_RANK", "0")):
        overwrite = False  # a further process of the same training, begun after the first one had claimed the folder
    if known.is_file():
        same = recipe(known) == experiment
        if not same or (overwrite and (finished or not _same_start(experiment, folder))):
            _clear(experiment, folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    _require_same_start(experiment, folder)
    if (folder / "config.json").is_file():
        return True
    if not known.is_file():
        save(experiment, known)
    return False


def _clear(experiment: Experiment, folder: Path, overwrite: bool) -> None:
    """Take away what a run has written, and nothing else that stands in its folder.

    Raises:
        RunError: a run that was trained, and no leave to overwrite it; or no run, but somebody's own folder.
    """
    # without metrics it failed before its first epoch: nothing to lose
    trained = any(
        (folder / stage / name).is_file() for stage in (PRETRAIN, "") for name in ("metrics.jsonl", "config.json")
    )
    known = recipe(folder / "experiment.yaml")
    if trained and not overwrite:
        raise RunError(
            f"another experiment's run stands there: {_unlike(known, experiment)}",
            where=folder,
            fix="choose another --out, or add --overwrite to throw it away",
        )
    others = sorted(p.name for p in folder.iterdir() if not _written(p.name))
    if others and not trained:
        raise RunError(
            f"another experiment.yaml stands there, which was never trained, beside {listed(others, 3)}",
            where=folder,
            fix="choose another --out, or take that file away",
        )
    for path in folder.iterdir():
        if _written(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _written(name: str) -> bool:
    """Whether training, or a command on its run, writes a file or folder of this name in a run folder."""
    return any(fnmatch(name, pattern) for pattern in WRITTEN)


def _same_start(experiment: Experiment, folder: Path) -> bool:
    """Whether a run that stands there began with the weights that `start` holds now, as far as anybody noted."""
    file = folder / START
    weights = weights_mark(Path(experiment.start)) if experiment.start else ""
    return not weights or not file.is_file() or json.loads(file.read_text(encoding="utf-8"))["weights"] == weights


def _require_same_start(experiment: Experiment, folder: Path) -> None:
    """Note which weights a run begins with, and refuse to take for it one that began with others under their name.

    A run from before such notes were kept is taken at its word.

    Raises:
        RunError: the run that `start` names was trained anew since.
    """
    if not experiment.start or int(os.environ.get("LOCAL_RANK", "0")):
        return
    if not (folder / "experiment.yaml").is_file():
        if weights := weights_mark(Path(experiment.start)):
            write_json(folder / START, {"weights": weights})
    elif not _same_start(experiment, folder):
        raise RunError(
            f"it began with other weights than stand in {experiment.start} now",
            where=folder,
            fix="choose another --out, or add --overwrite to train it anew",
        )


def _leave_nothing(folder: Path) -> None:
    """Take away what a refused run has written, as long as nothing has been trained there."""
    if int(os.environ.get("LOCAL_RANK", "0")) or not folder.is_dir():
        return
    for stage in (folder / PRETRAIN, folder):
        if (
            not stage.is_dir()
            or (stage / PRETRAIN).exists()
            or any((stage / n).exists() for n in ("state", "metrics.jsonl"))
        ):
            continue
        for name in ("experiment.yaml", "contract.json", START):
            (stage / name).unlink(missing_ok=True)
        if not any(stage.iterdir()):
            stage.rmdir()


def _unlike(there: Experiment, here: Experiment) -> str:
    """The first few keys in which two experiments differ: `optim.lr 0.001 there, 0.5 here`."""
    one, other = (dict(_leaves(e.model_dump(mode="json"))) for e in (there, here))
    keys = [k for k in {**one, **other} if one.get(k) != other.get(k) and k != "recipe"]
    keys.sort(key=lambda k: not k.endswith("kind"))  # another kind explains other keys
    told = [f"{k} {_shown(one, k)} there, {_shown(other, k)} here" for k in keys[:MOST_KEYS]]
    more = f"; and {len(keys) - MOST_KEYS} more keys" if len(keys) > MOST_KEYS else ""
    return ("; ".join(told) or "its recipe has another name") + more


def _leaves(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its dotted key."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _shown(leaves: Mapping[str, Any], key: str) -> str:
    if key not in leaves:
        return "not"
    text = json.dumps(leaves[key], ensure_ascii=False).strip('"')
    return text if len(text) <= 60 else text[:57] + "..."


def _silent(text: str) -> None:
    """Where notes go that nobody reads."""
