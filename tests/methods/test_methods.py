from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from landweave.config import Config, parse, to_yaml
from landweave.errors import ConfigError
from landweave.methods import Method, MethodConfig, Mosaic1, Segment, Supervised
from landweave.nn.model import MapModel, SceneModel
from landweave.sample import Batch, LabelKind
from tests.nn.tiny_models import batch_of, contract_of, task_of, with_image

TINY = {"name": "test_resnet"}  # timm's own model for tests: five stages, 0.4 M weights
SIZES = {"s2-l2a": (32, 32), "s1-rtc-gamma0": (32, 32)}
CASES: list[tuple[str, LabelKind, dict[str, Any]]] = [
    ("supervised", "class", {}),
    ("supervised", "multilabel", {"fusion": {"kind": "early"}, "sensor_dropout": 0.5}),
    ("segment", "map", {"decoder": {"kind": "unet", "channels": [32, 16, 16, 8, 8]}}),
    ("segment", "map", {"decoder": {"kind": "upernet", "channels": 16}, "fusion": {"kind": "mean"}}),
    ("mosaic-1", "multilabel", {"unlabelled": "rest"}),
    ("mosaic-1", "class", {"fusion": {"kind": "mean"}, "sensor_dropout": 0.5}),
]


class Holder(Config):
    method: Method


def method_of(kind: str, **settings: Any) -> MethodConfig:
    return parse(Holder, {"method": {"kind": kind, "encoder": TINY, **settings}}).method


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
    for kind, labels in (("supervised", "class"), ("segment", "map"), ("mosaic-1", "class")):
        torch.manual_seed(0)
        method = method_of(kind, **({"decoder": {"kind": "upernet", "channels": 32}} if kind == "segment" else {}))
        model = method.build(contract_of(SIZES), task_of(labels))  # type: ignore[arg-type]
        batch = batch_of(SIZES, B=6, kind=labels)  # type: ignore[arg-type]
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
        method = method_of("mosaic-1", unlabelled=setting)
        torch.manual_seed(0)
        model = method.build(contract_of(SIZES), task_of("multilabel"))
        state = {k: v.clone() for k, v in model.state_dict().items()}
        a = method.loss(model, batch, "task", key=(0, 0))["loss"]
        model.load_state_dict(state)
        b = method.loss(model, other, "task", key=(0, 0))["loss"]
        assert torch.equal(a, b) == equal, setting


@pytest.mark.parametrize(("kind", "labels"), [("supervised", "class"), ("segment", "map"), ("mosaic-1", "class")])
def test_batch_of_unknown_labels_gives_zero_with_gradients(kind: str, labels: LabelKind) -> None:
    method = method_of(kind)
    model = method.build(contract_of(SIZES), task_of(labels))
    loss = method.loss(model, unknown(batch_of(SIZES, kind=labels), 0, 1), "task", key=(0, 0))["loss"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_mosaic_works_with_one_sensor_and_with_three() -> None:
    for sizes in ({"s2-l2a": (32, 32)}, {**SIZES, "dem": (32, 32)}):
        method = method_of("mosaic-1")
        model = method.build(contract_of(sizes), task_of("class"))
        found = method.loss(model, batch_of(sizes, B=4), "task", key=(0, 0))
        assert set(found) == {*(f"intra.{n}" for n in sizes), "msc", "supervised", "loss"}
        torch.testing.assert_close(found["loss"], sum(v for k, v in found.items() if k != "loss"))


def test_class_weights_reach_the_supervised_loss() -> None:
    weights = torch.tensor([0.0, 1.0, 5.0])
    for kind, labels in (("supervised", "class"), ("segment", "map"), ("mosaic-1", "class")):
        method = method_of(kind)
        torch.manual_seed(0)
        model = method.build(contract_of(SIZES), task_of(labels)).eval()  # type: ignore[arg-type]
        batch = batch_of(SIZES, B=3, kind=labels)  # type: ignore[arg-type]
        plain = method.loss(model, batch, "task", key=(0, 0))["supervised"]
        weighted = method.loss(model, batch, "task", key=(0, 0), class_weights=weights)["supervised"]
        assert not torch.equal(plain, weighted), kind


def test_a_method_refuses_labels_that_it_cannot_learn_from() -> None:
    for kind, labels, fix in (
        ("supervised", "map", "segment"),
        ("segment", "class", "supervised"),
        ("mosaic-1", "map", "segment"),
    ):
        with pytest.raises(ConfigError, match=f"(?s){kind} learns from .*landweave train {fix}"):
            method_of(kind).build(contract_of(SIZES), task_of(labels))  # type: ignore[arg-type]


def test_views_differ_and_hide_the_same_sensors() -> None:
    batch = batch_of(SIZES, B=8)
    one, two = method_of("mosaic-1", sensor_dropout=0.5)._views(batch, (0, 0), 2)
    hidden = 0
    for name in SIZES:
        a, b = one.images[name], two.images[name]
        assert not torch.equal(a.data, b.data)
        assert torch.equal(a.sensor_seen, b.sensor_seen)
        hidden += int((~a.sensor_seen).sum())
    assert 0 < hidden <= 8


def test_terms_are_changed_and_added_by_name() -> None:
    method = Mosaic1.model_validate({"terms": {"msc": {"temperature": 0.2}, "inter": {"kind": "inter", "weight": 2}}})
    assert list(method.terms) == ["intra", "msc", "supervised", "inter"]
    assert (method.terms["msc"].kind, method.terms["msc"].temperature) == ("mulsupcon", 0.2)
    assert method.terms["inter"].weight == 2
    assert Mosaic1.model_validate({"terms": {"msc": {"kind": "inter"}}}).terms["msc"].kind == "inter"
    with pytest.raises(ConfigError, match=r"`method.terms.msc.temprature`, did you mean `temperature`"):
        parse(Holder, {"method": {"kind": "mosaic-1", "terms": {"msc": {"temprature": 1}}}}, where="r.yaml")
    with pytest.raises(ConfigError, match=r"terms.more.kind` is needed; one of intra, inter, mulsupcon, supervised"):
        parse(Holder, {"method": {"kind": "mosaic-1", "terms": {"more": {"weight": 1}}}})
    with pytest.raises(ConfigError, match=r"`method.terms.supervised.w8`"):  # a name that is a kind too
        parse(Holder, {"method": {"kind": "mosaic-1", "terms": {"supervised": {"w8": 1}}}})


def test_defaults_are_those_of_the_papers() -> None:
    assert Mosaic1().encoder.name == "resnet34"
    assert Mosaic1().unlabelled == "none"
    assert all(t.weight == 1 for t in Mosaic1().terms.values())
    assert "inter" not in {t.kind for t in Mosaic1().terms.values()}
    assert Mosaic1().augment.crop
    assert not Supervised().augment.crop
    assert not Segment().augment.crop
