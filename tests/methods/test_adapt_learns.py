"""An adapted student answers with a band missing as its teacher answers with all: a small world, a real training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from landweave.methods import MethodConfig
from landweave.nn.model import Model
from landweave.sample import Batch
from landweave.transforms.faults import Faults, Missing, spoil
from tests.methods.recipes_in_test import method_of
from tests.methods.teachers import ONE, Trained
from tests.nn.tiny_models import batch_of, contract_of, task_of, with_image

STILL = {"flip": 0.0, "rotate90": False}
LOST = {"kind": "missing", "sensor": "s2-l2a", "bands": ["B02"]}
GONE = Faults(faults=(Missing(sensor="s2-l2a", bands=("B02",)),))


def world(count: int, seed: int) -> Batch:
    """Three classes that B02 tells apart well, and B03 and B04 together as well, by pattern more than by level."""
    batch = batch_of(ONE, B=count, seed=seed)
    classes = torch.arange(count) % 3
    image = batch.images["s2-l2a"]
    data = image.data * 0.3 + 0.07
    rows = (torch.arange(32) % 4 < 2).float()[:, None] * torch.ones(1, 32)
    patterns = torch.stack([rows, rows.T, ((rows + rows.T) % 2)]) * 0.03
    data[:, 0, 0] += 0.04 * classes.view(-1, 1, 1)
    data[:, 0, 1] += patterns[classes]
    batch = with_image(batch, "s2-l2a", replace(image, data=data))
    return replace(batch, labels={"task": replace(batch.labels["task"], values=classes)})


def descend(method: MethodConfig, model: Model, batch: Batch, *, steps: int, lr: float) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    model.train()
    for step in range(steps):
        rows = torch.randperm(len(batch), generator=torch.Generator().manual_seed(step))[:24]
        some = batch.map(lambda t, rows=rows: t[rows])  # type: ignore[misc]
        some = replace(some, names=tuple(batch.names[int(i)] for i in rows), groups=("",) * 24)
        optimizer.zero_grad()
        method.loss(model, some, "task", key=(0, step))["loss"].backward()
        optimizer.step()
    model.eval()


def right(method: MethodConfig, model: Model, batch: Batch) -> float:
    answers: Tensor = method.predict(model, batch, "class").argmax(1)
    return float((answers == batch.labels["task"].values).float().mean())


@pytest.mark.parametrize("match", [{}, {"match": {"clip": {"kind": "clip"}}}], ids=["mse and clip", "clip alone"])
def test_it_beats_its_teacher_where_a_band_is_missing(
    match: dict[str, object], trained: Callable[[], tuple[MethodConfig, Trained]]
) -> None:
    supervised, teacher = trained()
    train, test = world(96, 0), world(60, 1)
    lost = spoil(test, GONE, (0, 0))
    before = right(supervised, teacher.model, lost)
    assert right(supervised, teacher.model, test) > 0.9
    method = method_of("adapt", augment=STILL, faults={"faults": [LOST], "complete": 0.25}, **match)
    torch.manual_seed(5)
    student = method.build(contract_of(ONE), task_of("class"))
    method.attach(student, teacher)
    descend(method, student, train, steps=40, lr=1e-3)
    after = right(method, student, lost)
    assert before < 0.7
    assert after > before + 0.2, (before, after)
    assert right(method, student, test) > 0.8, "complete images are not forgotten"


@pytest.fixture(scope="module")
def trained() -> Callable[[], tuple[MethodConfig, Trained]]:
    """A classifier of complete images."""
    method = method_of("supervised", augment=STILL)
    torch.manual_seed(0)
    model = method.build(contract_of(ONE), task_of("class"))
    descend(method, model, world(96, 0), steps=30, lr=3e-3)
    return lambda: (method, Trained(model))
