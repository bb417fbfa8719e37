"""A student and its teacher, on models that are small enough to look at every weight."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from landweave.errors import ConfigError, RunError
from landweave.losses import clip
from landweave.methods import Adapt
from landweave.methods.match import SCALE
from landweave.nn.model import Model, Targets
from landweave.sample import Batch, LabelKind
from landweave.transforms import augment
from landweave.transforms.faults import spoil
from tests.methods.recipes_in_test import SIZES, method_of
from tests.methods.teachers import ONE, Trained, teacher_for, teacher_of
from tests.nn.tiny_models import batch_of, contract_of, task_of

MISSING = {"faults": [{"kind": "missing", "sensor": "s2-l2a", "bands": ["B02"]}], "complete": 0.0}
UNET = {"kind": "unet", "channels": [16, 16, 8, 8, 8]}


def pair(
    kind: LabelKind = "class", sizes: Mapping[str, tuple[int, int]] = ONE, **settings: Any
) -> tuple[Adapt, Model, Trained]:
    """A method, a student that has begun, and its teacher."""
    method = method_of("adapt", **{"faults": MISSING, **settings})
    assert isinstance(method, Adapt)
    trained = teacher_for(method, sizes, kind)
    torch.manual_seed(2)
    student = method.build(contract_of(sizes), task_of(kind))
    method.attach(student, trained)
    return method, student, trained


def same(a: Targets, b: Targets) -> None:
    for x, y in zip(a.parts, b.parts, strict=True):
        torch.testing.assert_close(x.value, y.value, rtol=1e-5, atol=1e-6)
        assert torch.equal(x.seen, y.seen)


MATCHES: list[tuple[LabelKind, dict[str, Any]]] = [
    ("class", {}),
    ("multilabel", {"match": {"m": {"kind": "mse", "on": "maps"}, "c": {"kind": "cosine"}}, "masks": 2}),
    ("class", {"head": {"kind": "mlp", "layers": [8]}, "fusion": {"kind": "attention", "width": 16}}),
    ("map", {"decoder": UNET, "match": {"m": {"kind": "mse", "on": "maps"}, "p": {"kind": "clip"}}}),
    ("map", {"decoder": {"kind": "deeplab", "channels": 16, "low": 8}, "match": {"m": {"kind": "mse", "on": "maps"}}}),
]


@pytest.mark.parametrize(("kind", "settings"), MATCHES)
def test_the_student_begins_as_its_teacher_and_every_weight_below_the_head_learns(
    kind: LabelKind, settings: dict[str, Any]
) -> None:
    method, student, trained = pair(kind, SIZES, **settings)
    before = copy.deepcopy(trained.model.state_dict())
    assert student.state_dict().keys() == before.keys(), "the teacher is no part of the student's state"
    batch = batch_of(SIZES, B=4, kind=kind, absent=[("s1-rtc-gamma0", 2)])
    same(student.eval().targets(batch), trained.model.targets(batch))
    torch.testing.assert_close(student.logits(batch), trained.model.logits(batch))

    student.train()
    assert not trained.model.training, "it stays in eval mode"
    found = method.loss(student, batch, "task", key=(0, 0))
    assert set(method.match) | {"loss"} <= set(found)
    assert all(torch.isfinite(v) for v in found.values())
    found["loss"].backward()
    for name, weight in student.named_parameters():
        if name.startswith("head."):
            assert not weight.requires_grad, name
            assert weight.grad is None
        else:
            assert weight.grad is not None, name
    dead = [n for n, p in student.named_parameters() if p.requires_grad and p.ndim > 1 and not p.grad.any()]
    assert not [n for n in dead if n.startswith("encoders.")]
    assert all(p.grad is None and not p.requires_grad for p in trained.model.parameters())

    torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=1e-2).step()
    after = trained.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items()), "the teacher never changes"
    learned = student.state_dict()
    assert any(not torch.equal(learned[k], v) for k, v in before.items() if k.startswith("encoders."))
    assert all(torch.equal(learned[k], v) for k, v in before.items() if k.startswith("head."))


def test_on_complete_images_nothing_is_left_to_learn() -> None:
    """A fault that hides a share of 0 pixels: squared error and cosine are 0, and contrast is at its floor."""
    faults = {"faults": [{"kind": "missing", "bands": ["B02"], "sensor": "s2-l2a", "ratio": 0.0}], "complete": 0.0}
    terms = {"m": {"kind": "mse"}, "c": {"kind": "cosine"}, "x": {"kind": "clip"}}
    method, student, _ = pair(faults=faults, match=terms, masks=2)
    found = method.look(student.eval(), batch_of(ONE, B=5), "task", key=(0, 0))
    assert float(found["m"]) == pytest.approx(0, abs=1e-6)
    assert float(found["c"]) == pytest.approx(0, abs=1e-6)
    assert float(found["x"]) == pytest.approx(float(found["x.floor"]), abs=1e-5)
    assert float(found["pooled.cosine"]) == pytest.approx(1, abs=1e-5)
    assert float(found["pooled.retrieval@1"]) == 1


def test_contrast_is_clip_of_the_pooled_features_at_the_paper_s_temperature() -> None:
    assert pytest.approx(18.0889, abs=1e-4) == SCALE
    method, student, trained = pair(match={"clip": {"kind": "clip"}})
    student.eval()
    batch = batch_of(ONE, B=6)
    seen = augment(replace(batch, labels={}), method.augment, (0, 3, 0))
    s = student.targets(spoil(seen, method.faults, (0, 3, 0))).pooled.value
    t = trained.model.targets(seen).pooled.value
    assert not torch.allclose(s, t), "the student sees faults, the teacher none"
    found = method.loss(student, batch, "task", key=(0, 3))
    torch.testing.assert_close(found["clip"], clip(s, t, scale=SCALE))

    told = method.look(student, batch, "task", key=(0, 3))
    t = trained.model.targets(batch).pooled.value
    cosines = SCALE * nn.functional.normalize(t) @ nn.functional.normalize(t).T
    floor = (cosines.logsumexp(1) - cosines.diagonal()).mean()
    torch.testing.assert_close(told["clip.floor"], floor)
    s = student.targets(spoil(replace(batch, labels={}), method.faults, (0, 3, 0))).pooled.value
    near = nn.functional.normalize(s) @ nn.functional.normalize(t).T
    torch.testing.assert_close(told["pooled.cosine"], near.diagonal().mean())
    assert float(told["pooled.retrieval@1"]) == float((near.argmax(1) == torch.arange(6)).float().mean())


def test_a_share_of_every_batch_stays_complete_but_none_in_validation() -> None:
    seen: list[Batch] = []
    method, student, _ = pair(faults={**MISSING, "complete": 0.5})
    original = type(student).targets
    student.targets = lambda batch: (seen.append(batch), original(student, batch))[1]  # type: ignore[method-assign]
    batch = batch_of(ONE, B=32)
    method.loss(student, batch, "task", key=(0, 0))
    whole = seen[-1].images["s2-l2a"].seen.flatten(1).all(1)
    assert 8 < int(whole.sum()) < 24
    method.look(student.eval(), batch, "task", key=(0, 0))
    assert not seen[-1].images["s2-l2a"].seen.flatten(1).all(1).any()


def test_several_masks_have_faults_of_their_own_against_one_complete_image() -> None:
    faults = {"faults": [{"kind": "missing", "sensor": "s2-l2a", "size": [1, 2]}], "complete": 0.0}
    method, student, trained = pair(faults=faults, masks=3)
    seen: list[Batch] = []
    taught: list[Batch] = []
    for model, log in ((student, seen), (trained.model, taught)):
        original = type(model).targets
        model.targets = lambda b, m=model, f=original, to=log: (to.append(b), f(m, b))[1]  # type: ignore[assignment,method-assign,misc]
    method.loss(student, batch_of(ONE, B=8), "task", key=(0, 0))
    assert (len(seen), len(taught)) == (3, 1)
    masks = [b.images["s2-l2a"].bands_seen for b in seen]
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])
    assert taught[0].images["s2-l2a"].seen.all()


@pytest.mark.parametrize("kind", ["class", "map"])
def test_a_mask_that_the_teacher_does_not_read_begins_with_no_say(kind: LabelKind) -> None:
    settings: dict[str, Any] = {"decoder": UNET} if kind == "map" else {}
    trained = teacher_of(method_of("segment" if kind == "map" else "supervised", **settings), ONE, kind)
    encoder = {"name": "test_resnet", "band_mask": True, "fill": "learned"}
    method = method_of("adapt", faults=MISSING, encoder=encoder, **settings)
    student = method.build(contract_of(ONE), task_of(kind))
    method.attach(student, trained)
    first = "encoders.s2-l2a.net.conv1.0.weight"
    mine, theirs = student.state_dict()[first], trained.model.state_dict()[first]
    assert torch.equal(mine[:, :3], theirs)
    assert mine.shape[1] == 6
    assert not mine[:, 3:].any()
    batch = spoil(batch_of(ONE, B=3, kind=kind), method.faults, (0, 0))
    same(student.eval().targets(batch), trained.model.targets(batch))


def test_a_student_of_another_form_is_refused() -> None:
    trained = teacher_of(method_of("supervised", head={"kind": "mlp", "layers": [8]}))
    method = method_of("adapt", faults=MISSING)
    student = method.build(contract_of(ONE), task_of("class"))
    with pytest.raises(RunError, match=r"another network: its teacher has no `head\.weight`"):
        method.attach(student, trained)
    wider = teacher_of(method_of("supervised", head={"kind": "mlp", "layers": [8]}))
    method = method_of("adapt", faults=MISSING, head={"kind": "mlp", "layers": [16]})
    with pytest.raises(RunError, match=r"is \(8, .*\) there and \(16, "):
        method.attach(method.build(contract_of(ONE), task_of("class")), wider)


def test_only_the_last_layer_may_learn() -> None:
    """As SatCLIP's own file holds all but `fc`; its batch statistics move all the same."""
    encoder = {"name": "test_resnet", "width": 12}
    trained = teacher_of(method_of("supervised", encoder=encoder))
    method = method_of("adapt", faults=MISSING, encoder=encoder, train="head")
    student = method.build(contract_of(ONE), task_of("class"))
    method.attach(student, trained)
    learning = {n for n, p in student.named_parameters() if p.requires_grad}
    assert learning == {"encoders.s2-l2a.net.fc.weight", "encoders.s2-l2a.net.fc.bias"}
    before = student.state_dict()["encoders.s2-l2a.net.bn1.running_mean"].clone()
    method.loss(student.train(), batch_of(ONE, B=4), "task", key=(0, 0))["loss"].backward()
    assert not torch.equal(before, student.state_dict()["encoders.s2-l2a.net.bn1.running_mean"])
    with pytest.raises(ConfigError, match="there is neither"):
        pair(train="head")


def test_the_last_layer_of_a_mix_transformer_may_learn_alone() -> None:
    encoder = {"name": "mit_b0", "width": 12}
    method = method_of("adapt", faults=MISSING, encoder=encoder, train="head")
    student = method.build(contract_of(ONE), task_of("class"))
    method.attach(student, teacher_of(method_of("supervised", encoder=encoder)))
    learning = {n for n, p in student.named_parameters() if p.requires_grad}
    assert learning == {"encoders.s2-l2a.net.fc.weight", "encoders.s2-l2a.net.fc.bias"}


def test_projections_are_matched_and_kept() -> None:
    heads = {"main": {"dim": 6}, "other": {"dim": 4}}
    terms = {"intra": {"kind": "intra"}, "far": {"kind": "inter", "head": "other"}}
    trained = teacher_of(method_of("contrast", heads=heads, terms=terms, fusion={"kind": "concat"}), SIZES)
    match = {"c": {"kind": "clip", "on": "projection", "head": "other"}}
    method = method_of("adapt", faults=MISSING, heads={"other": {"dim": 4}}, match=match)
    student = method.build(contract_of(SIZES), task_of("class"))
    method.attach(student, trained)
    found = method.loss(student.train(), batch_of(SIZES, B=4), "task", key=(0, 0))
    assert set(found) == {"c", "c.s1-rtc-gamma0", "c.s2-l2a", "loss"}
    torch.testing.assert_close(found["c"], (found["c.s1-rtc-gamma0"] + found["c.s2-l2a"]) / 2)
    found["loss"].backward()
    assert all(p.grad is not None for p in student.projections.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"faults": {"faults": []}}, "would see what its teacher sees"),
        ({"faults": {**MISSING, "complete": 1.0}}, "would see what its teacher sees"),
        ({"match": {"m": {"kind": "mse", "weight": 0}}}, "no term has a weight"),
        ({"match": {"a.b": {"kind": "mse"}}}, "names have no dot"),
        ({"match": {"m": {"kind": "mse", "stages": [4]}}}, "stages are of on=maps"),
        ({"match": {"m": {"kind": "clip", "on": "maps"}}}, "maps"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        method_of("adapt", **{"faults": MISSING, **settings})


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("class", {"match": {"m": {"kind": "mse", "on": "projection"}}}, "the model has no projection head"),
        ("class", {"match": {"m": {"kind": "mse", "on": "maps", "stages": [4]}}}, "no map of 1/4"),
        (
            "map",
            {"decoder": {"kind": "deeplab"}, "match": {"m": {"kind": "mse", "on": "maps", "stages": [4, 8]}}},
            "no map of 1/8 below the head; there is 1/4, 1/32",
        ),
    ],
)
def test_what_the_model_does_not_give_cannot_be_matched(kind: LabelKind, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        method_of("adapt", **{"faults": MISSING, **settings}).build(contract_of(ONE), task_of(kind))


def test_stages_are_chosen_and_told() -> None:
    match = {"m": {"kind": "mse", "on": "maps", "stages": [4, 32]}}
    method, student, trained = pair("map", decoder=UNET, match=match)
    batch = batch_of(ONE, B=2, kind="map")
    found = method.loss(student.eval(), batch, "task", key=(0, 0))
    assert set(found) == {"m", "m.4", "m.32", "loss"}
    assert list(trained.model.targets(batch).maps) == ["2", "4", "8", "16", "32"]
    assert method.lines([])[-1] == "m = 1 x mse of maps 1/4, 1/32"


def test_a_student_without_a_teacher_says_so() -> None:
    method = method_of("adapt", faults=MISSING)
    with pytest.raises(ValueError, match="has no teacher"):
        method.loss(method.build(contract_of(ONE), task_of("class")), batch_of(ONE), "task", key=(0, 0))
