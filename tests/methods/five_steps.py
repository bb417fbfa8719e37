"""Five steps of every shipped recipe: `python -m tests.methods.five_steps` writes tests/golden/five-steps.json anew.

The method is the recipe's own, but for a small encoder; places are synthetic cubes with an absent sensor and an unknown
label. Steps are plain gradient descent, since AdamW divides rounding noise by itself in its first steps. A recipe
with a teacher begins from one of random weights, in which every batch norm has a scale.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from landweave.methods import Adapt, MethodConfig
from landweave.nn.model import Model
from landweave.run.experiment import recipes
from landweave.sample import Batch, LabelKind
from tests.methods import flair_batches as flair
from tests.methods.recipes_in_test import SIZES, tiny_recipe
from tests.methods.teachers import teacher_for
from tests.nn.tiny_models import batch_of, contract_of, task_of

GOLDEN = Path(__file__).parents[1] / "golden" / "five-steps.json"
KINDS: dict[str, LabelKind] = {
    "segment": "map", "supcon": "class", "supervised": "class", "adapt": "class", "adapt-any": "class",
    "adapt-maps": "map", "adapt-petcu2024": "class", "uperfuse": "map",
}  # fmt: skip


FLAIR = ("flair/lc-f", "flair/lpis-i-3", "flair/both-lpis-i")
"""Of the recipes of FLAIR-HUB, which differ in their sensors and labels alone, those that stand for the others."""


def names() -> list[str]:
    """The recipes whose steps are kept."""
    return [*(name for name in recipes() if not name.startswith("flair/")), *FLAIR]


def five_steps(name: str) -> dict[str, list[float]]:
    """Losses of five steps, of the pretraining too where there is one."""
    if name in FLAIR:
        return _flair_steps(name.removeprefix("flair/"))
    unet, upernet = "{kind: unet, channels: [32, 16, 16, 8, 8]}", "{kind: upernet-flair, pyramid: 32, channels: 16}"
    decoder = upernet if name == "uperfuse" else unet
    experiment = tiny_recipe(name, *([f"method.decoder={decoder}"] if KINDS.get(name) == "map" else []))
    kind = KINDS.get(name, "multilabel")
    sizes = {"s2-l2a": (32, 32)} if name in ("simclr-rgb", "reconstruct") else SIZES
    absent = [("s1-rtc-gamma0", 2)] if len(sizes) > 1 else []
    batch = batch_of(sizes, B=8, kind=kind, absent=absent)
    batch.labels["task"].known[5] = False
    found = {}
    state: dict[str, Tensor] = {}
    for stage in (experiment.first, experiment):
        if stage is not None:
            method = stage.method if not isinstance(stage.method, Adapt) else _on_three_bands(stage.method)
            torch.manual_seed(0)
            model = method.build(contract_of(sizes), task_of(kind))
            if isinstance(method, Adapt):
                method.attach(model, teacher_for(method, sizes, kind))
            if state:
                model.load_encoders(state, name)
            found["method" if stage is experiment else "pretrain"] = _descend(method, model, batch)
            state = model.encoder_state()
    return found


def _flair_steps(name: str) -> dict[str, list[float]]:
    """Losses of five steps at smoke scale, without the dropout of the attention, whose draws are torch's own."""
    experiment = flair.tiny(name, "method.series.dropout=0", "method.series.attention_dropout=0")
    torch.manual_seed(0)
    model = experiment.method.build(flair.contract_of(experiment), flair.tasks_of(experiment))
    batch = flair.batch_of(experiment, absent=[("s2-l2a", 1)])
    # Short steps: the group norms of U-TAE on so few places turn rounding of 1e-7 into 1e-4 within five longer ones.
    return {"method": _descend(experiment.method, model, batch, experiment.data.task, rate=1e-4)}


def _on_three_bands(method: Adapt) -> Adapt:
    """The method with its faults on two of the three bands that the places of a test have; of no names, as it is."""
    less = {"sensor": "s2-l2a", "bands": ("B02", "B04")}
    faults = [f.model_copy(update=less) if f.bands else f for f in method.faults.faults]
    return method.model_copy(update={"faults": method.faults.model_copy(update={"faults": tuple(faults)})})


def _descend(
    method: MethodConfig, model: Model, batch: Batch, task: str = "task", *, rate: float = 1e-3
) -> list[float]:
    learned = [p for p in model.train().parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=rate)
    losses = []
    for epoch in range(5):
        optimizer.zero_grad()
        loss = method.loss(model, batch, task, key=(0, epoch))["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    GOLDEN.write_text(json.dumps({name: five_steps(name) for name in names()}, indent=1) + "\n")
