"""What an experiment trains on, opened, checked and measured before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from landweave.contract import Contract
from landweave.data.dataset import Chosen, Dataset, Task
from landweave.errors import ConfigError, DataError, did_you_mean, listed
from landweave.files import write_json
from landweave.legends import Legend
from landweave.run import checkpoint
from landweave.run.experiment import Experiment
from landweave.sample import Image

LOOKED_AT = 64
"""Places whose files are looked at before torch is loaded; `landweave check` looks at all."""


@dataclass(frozen=True)
class Material:
    """What an experiment trains on, opened and measured once."""

    dataset: Dataset
    task: str
    kind: Task
    """The main task, with those that are learned beside it."""
    train: tuple[int, ...]
    validation: tuple[int, ...]
    contract: Contract
    like: dict[str, Image]
    counts: tuple[int, ...] | None = None
    """How often each class occurred where the classifier was learned, if not here."""
    known_places: int | None = None
    """Of label sets, how many places `counts` are of."""
    trained: dict[str, tuple[int, ...]] | None = None
    """By task, the classes that the answers may be, where they were learned elsewhere; else those that occur."""
    met: dict[str, tuple[int, ...]] | None = None
    """The same for the classes that scores count."""
    scored: bool = True
    """Whether the data have the label that the classifier answers."""
    counted: dict[str, list[int]] = field(default_factory=dict, init=False)
    """Training labels by task and class, once somebody has counted them; a changed copy counts anew."""

    @property
    def tasks(self) -> dict[str, Task]:
        """Every task that is learned, by name, the main one first; none where the data have no label."""
        return self.kind.named(self.task)


def open_data(experiment: Experiment, task: str = "") -> tuple[Dataset, str]:
    """Open the data of an experiment: the chosen sensors, the labelled fraction, and the task.

    Where the data have several labels and none is named, the task is the given one, that of the run that teaches, or
    the only one of a kind that the method learns from. It is empty where nothing asks for a label.

    Raises:
        LandweaveError: anything wrong with the data or the choice.
    """
    from landweave.data.splits import labelled_places

    data = experiment.data
    base = data.open()
    if not base.tasks and not experiment.method.learns_labels:
        return Chosen(base, data.choices, coarsen=data.coarsen, enlarge=data.enlarge), ""
    task = data.choose_task(base, experiment.method.kinds, task or _taught(experiment))
    if not task:
        return Chosen(base, data.choices, coarsen=data.coarsen, enlarge=data.enlarge), ""
    labelled = labelled_places(base, task, data.fraction, data.seed)
    return Chosen(base, data.choices, labelled, data.coarsen, data.enlarge), task


def _taught(experiment: Experiment) -> str:
    """The task of the run that teaches; none without one, or if it has gone."""
    known = Path(experiment.start) / "config.json"
    if not (experiment.method.teacher and experiment.start and known.is_file()):
        return ""
    return str(checkpoint.read_json(known).get("task", ""))


def gather(experiment: Experiment, folder: Path) -> Material:
    """Open the data and measure (or read back) their statistics."""
    from landweave.data.load import templates
    from landweave.data.stats import contract_of

    dataset, task = open_data(experiment)
    sensors = sorted({stream.partition("@")[0] for stream in dataset.streams})
    for stage in (experiment, experiment.first):
        if stage is not None:
            stage.method.require(sensors)
    train, validation = dataset.of_split("train"), dataset.of_split("validation")
    for i in (*train, *validation)[:LOOKED_AT]:
        dataset.look(i)
    _plausible(dataset, train[:8])
    known = folder / "contract.json"
    if known.is_file():
        contract = Contract.from_json(checkpoint.read_json(known))
    else:
        contract = contract_of(dataset, train, given=experiment.data.statistics)
        write_json(known, contract.to_json())
    kind = _with_those_beside(experiment, dataset, task)
    if experiment.method.learns_labels:
        experiment.method.require_tasks(kind.named(task))
    for name in kind.named(task) or ("",):
        _require_labels(experiment, dataset, name, train)
    return Material(
        dataset,
        task,
        kind,
        tuple(_useful(experiment, dataset, train)),
        tuple(validation),
        contract,
        templates(dataset, train),
    )


def _with_those_beside(experiment: Experiment, dataset: Dataset, task: str) -> Task:
    """The main task with those that the method learns beside it.

    Raises:
        ConfigError: the data have no such label, or it is the main one.
    """
    if not task:
        return Task("multilabel", Legend("none", ()))
    others = [name for name in dataset.tasks if name != task]
    for name in experiment.method.beside:
        if name not in others:
            what = "the main task already" if name == task else f"no label{did_you_mean(name, others)}"
            raise ConfigError(
                f"`{name}` is {what}; beside `{task}` there are {listed(others) or 'none'}",
                where="method.tasks",
                fix="name other labels of the data, or choose the main one by data.task",
            )
    return replace(dataset.tasks[task], beside={name: dataset.tasks[name] for name in experiment.method.beside})


def _require_labels(experiment: Experiment, dataset: Dataset, task: str, train: Sequence[int]) -> None:
    """Refuse data of which a method would learn nothing."""
    method = experiment.method
    if not method.learns_labels and method.unlabelled == "rest":
        return
    if not task or not any(dataset.places[i].labelled and dataset.classes(i, task) is not None for i in train):
        fix = f"label `{task}` in some rows" if method.learns_labels else "set method.unlabelled=rest to learn from all"
        of = f" of `{task}`" if method.beside else ""
        raise DataError(f"no training place has a known label{of}", where=dataset.where, fix=fix)


def _plausible(dataset: Dataset, indices: Sequence[int]) -> None:
    """Refuse data whose numbers are clearly in another unit than their sensor's, before anything is learned from it."""
    from landweave.data.check_values import refuse_implausible

    for i in indices:
        for stream, image in dataset.read(i).images.items():
            refuse_implausible(stream, image, str(dataset.file_of(i, stream) or dataset.places[i].name))


def _useful(experiment: Experiment, dataset: Dataset, train: Sequence[int]) -> Sequence[int]:
    """Places outside the labelled fraction are read only by methods that learn from unlabelled places."""
    if experiment.method.unlabelled == "rest":
        return train
    return [i for i in train if dataset.places[i].labelled]
