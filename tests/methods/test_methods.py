from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from landweave.config import parse, to_yaml
from landweave.errors import ConfigError
from landweave.methods import MethodConfig, Segment, Supervised
from landweave.nn.model import MapModel, SceneModel
from landweave.sample import Batch, LabelKind
from tests.methods.recipes_in_test import SIZES, Holder, contrast, method_of
from tests.nn.tiny_models import batch_of, contract_of, task_of, with_image

MOSAIC = {
    "intra": {"kind": "intra"},
    "msc": {"kind": "mulsupcon"},
    "supervised": {"kind": "supervised"},
}
CASES: list[tuple[str, LabelKind, dict[str, Any]]] = [
    ("supervised", "class", {}),
    ("supervised", "multilabel", {"fusion": {"kind": "early"}, "sensor_dropout": 0.5}),
    ("segment", "map", {"decoder": {"kind": "unet", "channels": [32, 16, 16, 8, 8]}}),
    ("segment", "map", {"decoder": {"kind": "upernet", "channels": 16}, "fusion": {"kind": "mean"}}),
    ("contrast", "multilabel", {"terms": MOSAIC, "unlabelled": "rest"}),
    ("contrast", "class", {"terms": MOSAIC, "fusion": {"kind": "mean"}, "sensor_dropout": 0.5}),
]
KINDS: list[tuple[str, LabelKind]] = [("supervised", "class"), ("segment", "map"), ("contrast", "class")]


def any_method(kind: str, **settings: Any) -> MethodConfig:
    return method_of(kind, **({"terms": MOSAIC} if kind == "contrast" else {}), **settings)


def unknown(batch: Batch, *places: int) -> Batch:
    label = batch.labels["task"]
    known = label.known.clone()
    known[list(places)] = False
    return replace(batch, labels={"task": replace(label, known=known)})


@pytest.mark.parametrize(("kind", "labels", "settings"), CASES)
def test_contract_of_every_method(kind: str, labels: LabelKind, settings: dict[str, Any]) -> None:
    method = method_of(kind, **settings)
    torch.manual_seed(0)
    model = method.build(contract_of(SIZES), task_of(labels))
    assert isinstance(model, MapModel if labels == "map" else SceneModel)
    batch = batch_of(SIZES, B=4, kind=labels, absent=[("s1-rtc-gamma0", 2)])
    before = {n: im.data.clone() for n, im in batch.images.items()}
    state = {k: v.clone() for k, v in model.state_dict().items()}

    def losses(key: tuple[int, int]) -> dict[str, float]:
        model.load_state_dict(state)
        return {k: float(v.detach()) for k, v in method.loss(model, batch, "task", key=key).items()}

    first = losses((0, 0))
    assert first["loss"] > 0
    assert all(torch.isfinite(torch.tensor(list(first.values()))))
    assert losses((0, 0)) == first, "the same key repeats the step"
    assert losses((0, 1)) != first, "another epoch draws anew"
    assert all(torch.equal(batch.images[n].data, d) for n, d in before.items())
    method.loss(model, batch, "task", key=(0, 0))["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    found = method.predict(model.eval(), batch, labels)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.shape == ((4, 3, 32, 32) if labels == "map" else (4, 3))
    if labels != "multilabel":
        torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize(("kind", "labels", "settings"), CASES)
def test_settings_survive_yaml(kind: str, labels: LabelKind, settings: dict[str, Any]) -> None:
    import yaml

    held = Holder(method=method_of(kind, **settings))  # type: ignore[arg-type]
    assert parse(Holder, yaml.safe_load(to_yaml(held))) == held


def test_every_method_learns_a_simple_world() -> None:
    """Three classes told apart by the level of one band: a few steps must be far better than chance."""
    for kind, labels in KINDS:
        torch.manual_seed(0)
        method = any_method(kind, **({"decoder": {"kind": "upernet", "channels": 32}} if kind == "segment" else {}))
        model = method.build(contract_of(SIZES), task_of(labels))
        batch = batch_of(SIZES, B=6, kind=labels)
        image, label = batch.images["s2-l2a"], batch.labels["task"]
        values = (
            torch.arange(6) % 3 if labels == "class" else (torch.arange(6) % 3).byte()[:, None, None].expand(6, 32, 32)
        )
        level = (torch.arange(6) % 3).float().view(6, 1, 1, 1) * 0.1
        data = image.data.clone()
        data[:, :, 0] += level
        batch = replace(
            with_image(batch, "s2-l2a", replace(image, data=data)),
            labels={"task": replace(label, values=values.contiguous())},
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for epoch in range(15):
            optimizer.zero_grad()
            method.loss(model, batch, "task", key=(0, epoch))["loss"].backward()
            optimizer.step()
        truth = batch.labels["task"].values
        right = (method.predict(model.train(), batch, "class").argmax(1) == truth).float().mean()
        assert right > 0.8, (kind, float(right))


def test_unlabelled_places_count_only_where_the_method_says_so() -> None:
    batch = unknown(batch_of(SIZES, B=4, kind="multilabel"), 1, 3)
    other = with_image(batch, "s2-l2a", batch.images["s2-l2a"])
    image = batch.images["s2-l2a"]
    data = image.data.clone()
    data[[1, 3]] += 0.05
    other = with_image(batch, "s2-l2a", replace(image, data=data))
    for setting, equal in (("none", True), ("rest", False)):
        method = any_method("contrast", unlabelled=setting)
        torch.manual_seed(0)
        model = method.build(contract_of(SIZES), task_of("multilabel"))
        state = {k: v.clone() for k, v in model.state_dict().items()}
        a = method.loss(model, batch, "task", key=(0, 0))["loss"]
        model.load_state_dict(state)
        b = method.loss(model, other, "task", key=(0, 0))["loss"]
        assert torch.equal(a, b) == equal, setting


@pytest.mark.parametrize(("kind", "labels"), KINDS)
def test_batch_of_unknown_labels_gives_zero_with_gradients(kind: str, labels: LabelKind) -> None:
    method = any_method(kind)
    model = method.build(contract_of(SIZES), task_of(labels))
    loss = method.loss(model, unknown(batch_of(SIZES, kind=labels), 0, 1), "task", key=(0, 0))["loss"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_mosaic_works_with_one_sensor_and_with_three() -> None:
    for sizes in ({"s2-l2a": (32, 32)}, {**SIZES, "dem": (32, 32)}):
        method = contrast("mosaic-1")
        model = method.build(contract_of(sizes), task_of("class"))
        found = method.loss(model, batch_of(sizes, B=4), "task", key=(0, 0))
        assert set(found) == {*(f"intra.{n}" for n in sizes), "msc", "supervised", "loss"}
        torch.testing.assert_close(found["loss"], sum(v for k, v in found.items() if k != "loss"))


def test_class_weights_reach_the_supervised_loss() -> None:
    weights = torch.tensor([0.0, 1.0, 5.0])
    for kind, labels in KINDS:
        method = any_method(kind)
        torch.manual_seed(0)
        model = method.build(contract_of(SIZES), task_of(labels)).eval()
        batch = batch_of(SIZES, B=3, kind=labels)
        plain = method.loss(model, batch, "task", key=(0, 0))["supervised"]
        weighted = method.loss(model, batch, "task", key=(0, 0), class_weights={"task": weights})["supervised"]
        assert not torch.equal(plain, weighted), kind


def test_a_method_refuses_labels_that_it_cannot_learn_from() -> None:
    for kind, labels, fix in (
        ("supervised", "map", "segment"),
        ("segment", "class", "supervised"),
        ("contrast", "map", "segment"),
    ):
        with pytest.raises(ConfigError, match=f"(?s){kind} learns from .*landweave train {fix}"):
            any_method(kind).build(contract_of(SIZES), task_of(labels))  # type: ignore[arg-type]


def test_views_differ_and_hide_the_same_sensors() -> None:
    batch = batch_of(SIZES, B=8)
    views = contrast("mosaic-1", "method.sensor_dropout=0.5")._named_views(batch, (0, 0))
    one, two = views["a"], views["b"]
    hidden = 0
    for name in SIZES:
        a, b = one.images[name], two.images[name]
        assert not torch.equal(a.data, b.data)
        assert torch.equal(a.sensor_seen, b.sensor_seen)
        hidden += int((~a.sensor_seen).sum())
    assert 0 < hidden <= 8


def test_frozen_encoders_stay_as_they_are_and_only_the_rest_learns() -> None:
    method = method_of("supervised", freeze=True)
    torch.manual_seed(0)
    model = method.build(contract_of(SIZES), task_of("class")).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1.0)
    method.loss(model, batch_of(SIZES, B=4), "task", key=(0, 0))["loss"].backward()
    optimizer.step()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.weight", "head.bias"}


def test_defaults_are_those_of_the_papers() -> None:
    assert not Supervised().augment.crop
    assert not Supervised().freeze
    assert not Segment().augment.crop
