"""What is measured once training is over, and kept beside the weights: the data contract and what the model is like."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from landweave.data.dataset import Chosen
from landweave.data.order import evenly, shuffled
from landweave.files import write_json
from landweave.run import checkpoint
from landweave.run.experiment import Experiment
from landweave.run.learned import write_learned
from landweave.run.score import Scorer
from landweave.sample import Batch, Label
from landweave.transforms import cubes

if TYPE_CHECKING:
    from landweave.data.dataset import Task
    from landweave.nn.model import Model
    from landweave.run.material import Material

MEANT = 2000
"""Training places that mean features are of, at most: evenly through the split."""


def class_counts(material: Material) -> dict[str, list[int]]:
    """How often each class of each task occurs among the known training labels: places, or pixels of label maps.

    Of a student, whose classifier is its teacher's, there. A run without labels has an entry of no class, named "".
    """
    if material.counts is not None:
        return {material.task: list(material.counts)}
    if not material.counted:  # weights of classes ask before training, `config.json` after it
        material.counted.update(_counted(material))
    return {name: list(counts) for name, counts in material.counted.items()}


def _counted(material: Material) -> dict[str, list[int]]:
    dataset, tasks = material.dataset, material.tasks or {"": material.kind}
    counts = {name: torch.zeros(len(task.legend), dtype=torch.int64) for name, task in tasks.items()}
    maps = [name for name, task in tasks.items() if task.kind == "map" and name]
    for i in material.train:
        if not (material.task and dataset.places[i].labelled):
            continue
        labels = dataset.labels(i) if maps else {}
        for name, count in counts.items():
            if name in maps:
                count += _pixels(labels[name], len(count))
            else:
                for c in dataset.classes(i, name) or ():
                    count[c] += 1
    return {name: [int(n) for n in count] for name, count in counts.items()}


def _met(experiment: Experiment, material: Material, trained: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """By task the classes of the training split, those among the labels that a share of them leaves out too.

    A score over the classes of one label in a hundred would be no score of the others, and not below that of all.
    """
    dataset = material.dataset
    if experiment.data.fraction == 1 or not isinstance(dataset, Chosen):
        return {n: list(classes) for n, classes in trained.items()}
    return {
        n: sorted({*classes, *(c for i in dataset.of_split("train") for c in (n and dataset.base.classes(i, n)) or ())})
        for n, classes in trained.items()
    }


def known_places(material: Material, task: str) -> int | None:
    """Of a task of label sets, the training places whose label is known, which `class_counts` are of; else None.

    Of a student, whose counts are its teacher's, there.
    """
    kind = material.tasks.get(task)
    if kind is None or kind.kind != "multilabel":
        return None
    if material.counts is not None:
        return material.known_places
    places = material.dataset.places
    labelled = (i for i in material.train if places[i].labelled)
    return sum(material.dataset.classes(i, task) is not None for i in labelled)


def _pixels(label: Label, K: int) -> Tensor:
    return torch.bincount(label.values[label.known].long(), minlength=K)


def class_weights(experiment: Experiment, material: Material) -> dict[str, Tensor] | None:
    """By task, weights of 1/sqrt(frequency), mean 1 over the classes that occur; None unless asked for."""
    if experiment.train.class_weights == "none":
        return None
    return {name: _balanced(torch.tensor(n, dtype=torch.float32)) for name, n in class_counts(material).items()}


def _balanced(counts: Tensor) -> Tensor:
    weights = torch.where(counts > 0, counts.clamp(min=1).rsqrt(), torch.zeros_like(counts))
    return weights / weights[counts > 0].mean()


def finish(experiment: Experiment, material: Material, model: Model, folder: Path) -> None:
    """Measure mean features and the validation confusion with the kept weights, and write `config.json`.

    `config.json` is written last: a folder that has it holds a finished run. A pretraining has no confusion and no
    scores, and `classifier` false.
    """
    model.eval()
    with torch.inference_mode():
        means = _mean_features(experiment, material, model)
        model.set_mean_features(means)
        scorers = _validated(experiment, material, model) if experiment.classifier and material.scored else {}
        passes = (
            partial(_cubes, experiment, material, model, shuffled(at)) for at in (material.train, material.validation)
        )
        measured = experiment.method.measure(model, *passes)
    checkpoint.write_tensors(folder / "model.safetensors", model.state_dict())
    write_json(folder / "versions.json", versions())
    write_learned(folder, [material.dataset.places[i] for i in material.train])
    counts, scorer = class_counts(material), scorers.get(material.task)
    trained = {n: [i for i, k in enumerate(row) if k] for n, row in counts.items()}
    write_json(
        folder / "config.json",
        {
            "landweave": version("landweave"),
            "task": material.task,
            "kind": material.kind.kind,
            "legend": material.kind.legend.to_json(),
            "contract": material.contract.to_json(),
            "averaged": material.dataset.averaged,
            "class_counts": counts[material.task],
            "known_places": known_places(material, material.task),
            "classifier": experiment.classifier,
            "validation_confusion": scorer.confusion() if scorer else None,
            "validation_scores": validation_scores(scorers),
            "trained": material.trained or trained,
            "met": material.met or _met(experiment, material, trained),
            "tasks": {
                n: {**_of_task(task, counts[n], scorers.get(n)), "known_places": known_places(material, n)}
                for n, task in material.tasks.items()
            },
            "measured": measured,
            "mean_features": {name: mean.tolist() for name, mean in means.items()},
            "experiment": experiment.model_dump(mode="json"),
        },
    )


def _of_task(task: Task, counts: list[int], scorer: Scorer | None) -> dict[str, Any]:
    """What `config.json` says of one task."""
    return {
        "kind": task.kind,
        "legend": task.legend.to_json(),
        "class_counts": counts,
        "validation_confusion": scorer.confusion() if scorer else None,
    }


def validation_scores(scorers: Mapping[str, Scorer]) -> dict[str, float]:
    """Scores by name; those of the tasks beside the first are led by the task's: `lpis-1.miou_existing`."""
    first = next(iter(scorers), "")
    return {
        (key if name == first else f"{name}.{key}"): value
        for name, scorer in scorers.items()
        for key, value in scorer.scores().items()
    }


def _batches(experiment: Experiment, material: Material, indices: Sequence[int]) -> Iterator[Batch]:
    """Raw batches of places in order."""
    from landweave.data.load import batches

    return iter(batches(material.dataset, indices, batch_size=experiment.train.batch_size, like=material.like))


def _cubes(experiment: Experiment, material: Material, model: Model, indices: Sequence[int]) -> Iterator[Batch]:
    """Places in order, as the model reads them."""
    device = next(model.parameters()).device
    for batch in _batches(experiment, material, indices):
        yield cubes(batch.to(device), material.contract)


def _mean_features(experiment: Experiment, material: Material, model: Model) -> dict[str, Tensor]:
    """The mean feature of each sensor over the labelled training places, or all where none needs a label."""
    places = material.dataset.places
    every = not (experiment.classifier and experiment.method.learns_labels)
    some = evenly([i for i in material.train if every or places[i].labelled], MEANT)
    sums: dict[str, Tensor] = {}
    count: dict[str, Tensor] = {}
    device = next(model.parameters()).device
    for batch in _batches(experiment, material, some):
        cube = cubes(batch.to(device), material.contract)
        for name, features in model.features(cube).items():
            seen = cube.images[name].sensor_seen.float() if name in cube.images else torch.ones(len(batch))
            seen = seen.to(features)
            sums[name] = sums.get(name, 0) + (features * seen[:, None]).sum(0).double().cpu()
            count[name] = count.get(name, 0) + seen.sum().double().cpu()
    return {name: (sums[name] / count[name].clamp(min=1)).float() for name in sums}


def _validated(experiment: Experiment, material: Material, model: Model) -> dict[str, Scorer]:
    """What the model answers at the validation places, counted, by task."""
    tasks = material.tasks
    scorers = {name: Scorer(task) for name, task in tasks.items()}
    device = next(model.parameters()).device
    for batch in _batches(experiment, material, material.validation):
        cube = cubes(batch.to(device), material.contract)
        for name, found in experiment.method.predict_tasks(model, cube, tasks).items():
            scorers[name].add(batch.labels[name], found)
    return scorers


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    names = ("landweave", "torch", "lightning", "timm", "segmentation-models-pytorch", "rasterio", "numpy")
    found = {name: version(name) for name in names}
    return {"python": platform.python_version(), "machine": platform.machine(), **found, "commit": _commit()}


def _commit() -> str:
    here = Path(__file__).parent
    try:
        out = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        return out.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
