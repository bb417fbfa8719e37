"""What is measured once training is over, and kept beside the weights: the data contract and what the model is like."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from landweave.files import write_json
from landweave.run import checkpoint
from landweave.run.experiment import Experiment
from landweave.run.score import Scorer
from landweave.sample import Label
from landweave.transforms import cubes

if TYPE_CHECKING:
    from landweave.nn.model import Model
    from landweave.run.material import Material


def class_counts(material: Material) -> list[int]:
    """How often each class occurs among the known training labels: places, or pixels of label maps."""
    dataset, K = material.dataset, len(material.kind.legend)
    counts = torch.zeros(K, dtype=torch.int64)
    for i in material.train:
        if not dataset.places[i].labelled:
            continue
        if material.kind.kind == "map":
            counts += _pixels(dataset.read(i).labels[material.task], K)
        else:
            for c in dataset.classes(i, material.task) or ():
                counts[c] += 1
    return [int(n) for n in counts]


def _pixels(label: Label, K: int) -> Tensor:
    return torch.bincount(label.values[label.known].long(), minlength=K)


def class_weights(experiment: Experiment, material: Material) -> Tensor | None:
    """Weights proportional to 1/sqrt(frequency), mean 1 over the classes that occur; None unless asked for."""
    if experiment.train.class_weights == "none":
        return None
    counts = torch.tensor(class_counts(material), dtype=torch.float32)
    weights = torch.where(counts > 0, counts.clamp(min=1).rsqrt(), torch.zeros_like(counts))
    return weights / weights[counts > 0].mean()


def finish(experiment: Experiment, material: Material, model: Model, folder: Path) -> None:
    """Measure mean features and the validation confusion with the kept weights, and write `config.json`.

    `config.json` is written last: a folder that has it holds a finished run.
    """
    from landweave.data.load import batches

    model.eval()
    sums: dict[str, Tensor] = {}
    count: dict[str, Tensor] = {}
    device = next(model.parameters()).device
    known = [i for i in material.train if material.dataset.places[i].labelled][:2000]
    options: dict[str, Any] = {"batch_size": experiment.train.batch_size, "like": material.like}
    with torch.inference_mode():
        for batch in batches(material.dataset, known, **options):
            cube = cubes(batch.to(device), material.contract)
            for name, features in model.features(cube).items():
                seen = cube.images[name].sensor_seen.float() if name in cube.images else torch.ones(len(batch))
                seen = seen.to(features)
                sums[name] = sums.get(name, 0) + (features * seen[:, None]).sum(0).double().cpu()
                count[name] = count.get(name, 0) + seen.sum().double().cpu()
        means = {name: (sums[name] / count[name].clamp(min=1)).float() for name in sums}
        model.set_mean_features(means)
        scorer = Scorer(material.kind)
        for batch in batches(material.dataset, list(material.validation), **options):
            cube = cubes(batch.to(device), material.contract)
            found = experiment.method.predict(model, cube, material.kind.kind).float().cpu()
            scorer.add(batch.labels[material.task], found)
    checkpoint.write_tensors(folder / "model.safetensors", model.state_dict())
    write_json(folder / "versions.json", versions())
    write_json(
        folder / "config.json",
        {
            "landweave": version("landweave"),
            "task": material.task,
            "kind": material.kind.kind,
            "legend": material.kind.legend.to_json(),
            "contract": material.contract.to_json(),
            "class_counts": class_counts(material),
            "validation_confusion": scorer.confusion(),
            "validation_scores": scorer.scores(),
            "mean_features": {name: mean.tolist() for name, mean in means.items()},
            "experiment": experiment.model_dump(mode="json"),
        },
    )


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
