"""Beginning with what was trained before: what must be alike, said before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.config import parse
from landweave.contract import Contract
from landweave.data.dataset import Statistics, Task
from landweave.errors import RunError, listed
from landweave.files import digest
from landweave.methods import MethodConfig
from landweave.methods.base import Start
from landweave.methods.uperfuse import UPerFuse
from landweave.run.experiment import CHECKPOINT, Experiment
from landweave.run.material import Material
from landweave.run.predict import Run, open_run
from landweave.run.released import SUFFIXES, Released, released

if TYPE_CHECKING:
    from landweave.nn.model import Model

SHARED = ("encoder", "fusion", "head", "heads", "decoder")
"""What a student takes from its teacher where its recipe does not say it."""


@dataclass(frozen=True)
class Foreign:
    """The checkpoint of somebody else's encoder (SatCLIP), in the form of a model of ours. It has no classifier."""

    folder: Path
    """The file."""
    method: MethodConfig
    contract: Contract
    task: Task
    classifier: bool = False

    @cached_property
    def model(self) -> Model:
        """A model with the encoder's weights, in eval mode."""
        from landweave.nn.satclip import load_visual

        plain = self.method.encoder.model_copy(update={"band_mask": False, "fill": "mean"})
        model = self.method.model_copy(update={"encoder": plain}).build(self.contract, self.task)
        load_visual(model, self.folder)
        return model.eval()


def weights_mark(start: Path) -> str:
    """A short mark of the weights in a run folder, or of a file of weights; empty if there are none."""
    path = start / "model.safetensors" if start.is_dir() else start
    return digest(path) if path.is_file() else ""


def inherited(experiment: Experiment) -> Experiment:
    """An experiment whose method has what it does not say of itself from the run that teaches it.

    Of methods without a teacher the experiment as it is. A run that was only pretrained teaches a pretraining.

    Raises:
        RunError: no such run.
        ConfigError: settings that do not go together then.
    """
    method = experiment.method
    if not method.teacher:
        return experiment
    if experiment.pretrain is not None:
        theirs, classifier = experiment.pretrain.method, experiment.pretrain.method.classifier
    elif experiment.start.endswith(CHECKPOINT):
        theirs, classifier = None, False
    else:
        run = open_run(experiment.start)
        theirs, classifier = run.settings.method, run.classifier
    plain = experiment.model_dump(mode="json")
    if theirs is not None:
        plain["method"] |= _taken(method, theirs)
    plain["classifier"] = experiment.classifier and classifier
    return parse(Experiment, plain)


def _taken(mine: MethodConfig, theirs: MethodConfig) -> dict[str, Any]:
    """Settings of the teacher's method that the student's leaves open."""
    given = theirs.model_dump(mode="json")
    found = {key: given[key] for key in SHARED if key in given and key not in mine.model_fields_set}
    if "encoder" not in found:
        said = mine.encoder.model_dump(mode="json", include=mine.encoder.model_fields_set)
        found["encoder"] = given["encoder"] | said
    if "heads" in found:  # projection heads are trained only where a term looks at them
        looked = {t.head for t in getattr(mine, "match", {}).values() if t.on == "projection" and t.weight}
        found["heads"] = {n: h for n, h in found["heads"].items() if n in looked or "" in looked}
    return found


def open_start(experiment: Experiment, contract: Contract, folder: Path, task: Task) -> Start:
    """Open what a training begins with, and compare it with what is to be trained.

    A new method takes encoders, and reads images normalised by the statistics of the data at hand, whatever they were
    there (`read_alike`). A student takes everything, statistics included (`adopted`).

    Args:
        experiment: what is to be trained.
        contract: of its data.
        folder: a finished run (of whose encoders those of sensors that are lacking here are left there), or the
            checkpoint of a foreign encoder, or FLAIR-HUB's released weights.
        task: the label of its data.

    Raises:
        RunError: no such run, unfinished, or of other sensors, bands, backbone or kind of fusion.
        ConfigError, ContractError: of a checkpoint, the same.
    """
    if isinstance(experiment.method, UPerFuse) and folder.suffix in SUFFIXES:
        untrained = experiment.train.epochs == 0
        return released(experiment.method, contract, folder, task, untrained=untrained)
    if folder.suffix == CHECKPOINT:
        from landweave.nn.satclip import require_fit

        require_fit(experiment.method.encoder, contract, folder)
        return Foreign(folder, experiment.method, contract, task)
    run = open_run(folder)
    mine, theirs = experiment.method, run.settings.method
    _same_network(mine, theirs, folder)
    lacking = [name for name in contract.streams if name not in run.contract.streams]
    whole = mine.teacher or mine.fusion.kind == "early"
    if lacking or (whole and set(contract.streams) != set(run.contract.streams)):
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


def _same_network(mine: MethodConfig, theirs: MethodConfig, folder: Path) -> None:
    """Refuse networks whose weights cannot be exchanged."""
    free = () if not mine.teacher else ("fill",) if theirs.encoder.band_mask else ("fill", "band_mask")
    unlike = [
        f"{key} {value} there and {getattr(mine.encoder, key)} here"
        for key, value in theirs.encoder
        if value != getattr(mine.encoder, key) and key not in (*free, "weights")
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
    for key in ("fusion", "head", "decoder") if mine.teacher else ():
        here, there = getattr(mine, key), getattr(theirs, key, None)
        if here != there and not (key == "head" and there is None):
            raise _unlike(
                folder, f"method.{key} is another there", f"leave method.{key} out: the student takes its own"
            )


def adopted(material: Material, start: Start) -> Material:
    """The material of a student: labels, class counts and statistics of its teacher.

    So the student is the same function as its teacher, whatever images it is adapted on. Where the data have that
    label too, validation scores the answers.
    """
    if not isinstance(start, Run):
        return replace(material, scored=False)
    theirs = Task(start.kind, start.legend)
    same = material.task and (theirs.kind, theirs.legend.names) == (material.kind.kind, material.kind.legend.names)
    return replace(
        material,
        kind=theirs,
        task=material.task if same else start.task,
        contract=start.contract,
        counts=tuple(start.config["class_counts"]),
        known_places=start.known_places_of(start.task),
        trained={material.task if same else start.task: tuple(start.trained_classes)},
        met={material.task if same else start.task: tuple(start.met_of(start.task))},
        scored=bool(same),
    )


def read_alike(material: Material, start: Start, given: Statistics) -> Material:
    """The material with radar read as the encoders that are taken read it; of released weights with all classes.

    Runs of before standardised linear power as it is, where it is read in dB today.

    Args:
        material: of the data at hand.
        start: what the training begins with.
        given: `data.statistics`; what they tell of a sensor stays.
    """
    if isinstance(start, Released) and start.untrained:
        every = {n: tuple(range(len(t.legend))) for n, t in material.tasks.items()}
        material = replace(material, trained=every, met=every)
    streams = dict(material.contract.streams)
    for name, row in streams.items():
        other = start.contract.streams.get(name)
        if other and other.unit == row.unit and not other.decibel and name not in given:
            streams[name] = replace(row, decibel=())
    return replace(material, contract=Contract(streams))


def _unlike(folder: Path, what: str, fix: str) -> RunError:
    return RunError(f"cannot begin with its encoders: {what}", where=folder, fix=fix)
