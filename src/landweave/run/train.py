"""Training, as the command line and the library offer it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from landweave.data.load import diversity
from landweave.data.stats import implausible
from landweave.errors import LandweaveError, RunError
from landweave.files import write_json
from landweave.run.experiment import Experiment, recipe, save
from landweave.run.material import Material, gather
from landweave.run.start import adopted, inherited, open_start, read_alike, weights_mark

PRETRAIN = "pretrain"
"""The folder in a run folder in which its first stage is trained."""
START = "start.json"
"""Which weights a run began with."""
MOST_KEYS = 4
"""Of what differs from a run that stands in the folder, so many keys are told."""


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
    experiment = inherited(experiment)
    folder = Path(out)
    note = print if progress else _silent
    if _claim(experiment, folder, overwrite):
        note(f"{folder} is finished already; nothing to do")
        return folder
    try:
        _train(experiment, folder, progress, note)
    except LandweaveError:
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
    if method.kind == "contrast" and not (settings.places_per_group or settings.one_group):
        spread = diversity(material.dataset, material.train, settings.batch_size * settings.devices)
        if spread.warning:
            yield spread.warning


def _claim(experiment: Experiment, folder: Path, overwrite: bool) -> bool:
    """Make the folder this experiment's. True if it holds a finished run of it."""
    known = folder / "experiment.yaml"
    if int(os.environ.get("LOCAL_RANK", "0")):
        overwrite = False  # a further process of the same training, begun after the first one had claimed the folder
    if known.is_file() and (overwrite or recipe(known) != experiment):
        # without metrics it failed before its first epoch: nothing to lose
        trained = any((folder / stage / "metrics.jsonl").is_file() for stage in (PRETRAIN, ""))
        if trained and not overwrite:
            raise RunError(
                f"another experiment's run stands there: {_unlike(recipe(known), experiment)}",
                where=folder,
                fix="choose another --out, or add --overwrite to throw it away",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _require_same_start(experiment, folder)
    if (folder / "config.json").is_file():
        return True
    save(experiment, known)
    return False


def _require_same_start(experiment: Experiment, folder: Path) -> None:
    """Note which weights a run begins with, and refuse to take for it one that began with others under their name.

    A run from before such notes were kept is taken at its word.

    Raises:
        RunError: the run that `start` names was trained anew since.
    """
    file = folder / START
    if not experiment.start or int(os.environ.get("LOCAL_RANK", "0")):
        return
    weights = weights_mark(Path(experiment.start))
    if not (folder / "experiment.yaml").is_file() and weights:
        write_json(file, {"weights": weights})
    elif weights and file.is_file() and json.loads(file.read_text(encoding="utf-8"))["weights"] != weights:
        raise RunError(
            f"it began with other weights than stand in {experiment.start} now",
            where=folder,
            fix="choose another --out, or add --overwrite to train it anew",
        )


def _leave_nothing(folder: Path) -> None:
    """Take away what a refused run has written, as long as nothing has been trained there."""
    ours = {"experiment.yaml", "contract.json", START, PRETRAIN}
    if int(os.environ.get("LOCAL_RANK", "0")) or not folder.is_dir():
        return
    for stage in (folder / PRETRAIN, folder):
        if stage.is_dir() and {p.name for p in stage.iterdir()} <= ours and not (stage / PRETRAIN).exists():
            shutil.rmtree(stage)


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
