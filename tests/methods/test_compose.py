"""Methods composed in YAML: what is refused at the edge, and that new sums of terms do what they say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from landweave.config import parse, to_yaml
from landweave.errors import ConfigError
from landweave.losses import clip, nt_xent
from landweave.methods import Contrast
from landweave.run.experiment import Experiment, recipe
from landweave.sample import Batch
from tests.methods.recipes_in_test import SIZES, TINY, Holder, contrast, method_of
from tests.nn.tiny_models import batch_of, contract_of, task_of

SUPERVISED = {"kind": "supervised"}


def composed(terms: dict[str, Any], **settings: Any) -> Contrast:
    method = method_of("contrast", terms=terms, **settings)
    assert isinstance(method, Contrast)
    return method


def loss_of(method: Contrast, batch: Batch, sizes: dict[str, tuple[int, int]] = SIZES) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    kind = batch.labels["task"].kind if batch.labels else "class"
    return method.loss(method.build(contract_of(sizes), task_of(kind)), batch, "task", key=(0, 0))


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("mosaic-1", ["method.terms.msc.views=[a, bb]"], "term `msc` looks at view `bb`, did you mean `b`"),
        ("iai-simclr", ["pretrain.method.terms.intra.head=intro"], "head `intro`, did you mean `intra`"),
        ("iai-simclr", ["pretrain.method.views={a: {}, b: {}}"], "looks at view `pair`; in `views` there are a, b"),
        ("mosaic-1", ["method.terms.msc.temprature=1"], "`method.terms.msc.temprature`, did you mean `temperature`"),
        ("mosaic-1", ["method.terms.more.weight=1"], "terms.more.kind` is needed; one of intra, inter, clip"),
        ("mosaic-1", ["method.terms.supervised.w8=1"], "unknown key `method.terms.supervised.w8`"),
        ("mosaic-1", ["method.terms.intra.views=[a, a]"], "`method.terms.intra.views`: a, a: a name stands twice"),
        ("mosaic-1", ["method.views.b.blurr=1"], "unknown key `method.views.b.blurr`, did you mean `blur`"),
        ("mosaic-1", ["method.terms={}"], "no term has a weight"),
        ("mosaic-1", ["method.terms.supervised.weight=0"], "no term of the method learns to classify"),
        ("mosaic-2", ["method.fusion.kind=early"], "`method.terms.inter`: it compares sensors"),
        ("d-simclr", ["pretrain.method.encoder.name=resnet18"], "name resnet18 and resnet50; leave one out"),
        ("intra-simclr", ["pretrain.method.fusion.kind=mean", "method.fusion.kind=early"], "fusion.kind=early"),
        ("mosaic-1", ["classifier=false"], "`classifier`: false is for a pretraining"),
    ],
)
def test_what_does_not_fit_together_is_refused_when_it_is_read(name: str, changes: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        recipe(name, changes)
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) <= 10


def test_a_wrong_view_or_head_names_the_line_of_its_own_term(tmp_path: Path) -> None:
    lines = ["method:", "  kind: contrast", "  terms:", "    supervised: {kind: supervised}", "    one:"]
    lines += ["      kind: intra", "      views: [a, c]", "      head: man"]
    file = tmp_path / "r.yaml"
    for wrong in ("views", "head"):
        kept = [text for text in lines if wrong in text or not text.startswith(("      views", "      head"))]
        file.write_text("\n".join(kept))
        with pytest.raises(ConfigError) as error:
            recipe(file)
        at = 1 + next(i for i, text in enumerate(kept) if f"{wrong}:" in text)
        assert f"`method.terms.one.{wrong}`: term `one` looks at" in str(error.value)
        assert f"(r.yaml:{at})" in str(error.value).replace(str(file), "r.yaml")


def test_a_term_refuses_sensors_that_are_not_there() -> None:
    wrong = composed({"intra": {"kind": "intra", "sensors": ["s2-l2b"]}, "supervised": SUPERVISED})
    with pytest.raises(ConfigError, match=r"(?s)terms.intra.sensors: no sensor `s2-l2b`, did you mean `s2-l2a`.*fix"):
        wrong.build(contract_of(SIZES), task_of("class"))
    for kind in ("inter", "clip", "dense"):
        alone = composed({"pair": {"kind": kind}, "supervised": SUPERVISED})
        with pytest.raises(ConfigError, match=r"(?s)method.terms.pair: it compares sensors, and has s2-l2a only.*fix"):
            alone.build(contract_of({"s2-l2a": (32, 32)}), task_of("class"))


def test_views_are_laid_on_augment_and_kept_as_differences() -> None:
    method = contrast("mosaic-1", "method.augment.blur=0", "method.views.b.noise=0.3")
    a, b = method.views["a"], method.views["b"]
    assert (a.blur, a.noise) == (0, 0.1)
    assert (b.blur, b.noise) == (0, 0.3)
    assert method.model_dump()["views"] == {"a": {}, "b": {"noise": 0.3}}
    other = parse(Holder, {"method": {**method.model_dump(), "augment": {"blur": 0.7}}}).method
    assert isinstance(other, Contrast)
    assert {v.blur for v in other.views.values()} == {0.7}, "a change of augment reaches the views of a kept recipe"


def test_the_stage_has_the_encoder_of_the_method_unless_it_says_otherwise() -> None:
    experiment = recipe("iai-simclr", ["method.encoder.name=test_resnet", "start=runs/before"])
    first = experiment.first
    assert first is not None
    assert first.method.encoder.name == "test_resnet"
    assert (first.pretrain, first.start, first.classifier) == (None, "runs/before", False)
    assert first.train.epochs == 100
    assert recipe("iai-simclr", ["pretrain=null"]).first is None
    import yaml

    assert parse(Experiment, yaml.safe_load(to_yaml(experiment))) == experiment
    assert parse(Experiment, yaml.safe_load(to_yaml(first))) == first
    kept = yaml.safe_load(to_yaml(experiment))
    kept["method"]["encoder"]["name"] = "resnet18"
    changed = parse(Experiment, kept).first
    assert changed is not None
    assert changed.method.encoder.name == "resnet18", "a change in a kept recipe reaches both stages"


def test_only_views_that_a_weighted_term_names_are_drawn_and_each_as_if_it_were_alone() -> None:
    batch = batch_of(SIZES, B=3)
    all_of_them = contrast("iai-simclr")._named_views(batch, (0, 0))
    assert set(all_of_them) == {"a", "b", "pair"}
    alone = contrast("iai-simclr", "pretrain.method.terms.intra.weight=0")._named_views(batch, (0, 0))
    assert set(alone) == {"pair"}
    for name, image in alone["pair"].images.items():
        assert torch.equal(image.data, all_of_them["pair"].images[name].data)


def test_the_views_of_iai_simclr_cut_each_sensor_by_itself_and_those_of_d_simclr_both_alike() -> None:
    """A bright square at one corner: where it stands after the cut tells where the sensor was cut."""
    for name, view, together in (("iai-simclr", "pair", False), ("d-simclr", "a", True)):
        batch = batch_of(SIZES, B=6)
        ramp = torch.linspace(0, 1, 32)[:, None] + torch.linspace(0, 2, 32)[None]
        for image in batch.images.values():
            image.data.copy_(ramp.expand_as(image.data))  # in dB a cut mixes powers: monotonous, not linear
        cut = contrast(name)._named_views(batch, (0, 0))[view]
        corners = [im.data[:, 0, 0, 0, 0] for im in cut.images.values()]
        assert torch.allclose(*corners, atol=0.02) == together, name


def test_a_pretraining_without_labels_reads_every_place_and_needs_no_task() -> None:
    batch = batch_of(SIZES, B=4)
    method = contrast("d-simclr")
    with_labels = loss_of(method, batch)["loss"]
    assert float(with_labels.detach()) > 0
    assert torch.equal(with_labels, loss_of(method, replace(batch, labels={}))["loss"])
    torn = replace(batch, labels=batch_of(SIZES, B=4, kind="map").labels)
    free = contrast("iai-simclr")  # whose geometry would tear images and label maps apart
    assert torch.isfinite(loss_of(free, torn)["loss"])


def test_early_fusion_contrasts_the_one_image_that_it_makes() -> None:
    method = contrast("mosaic-1", "method.fusion.kind=early")
    found = loss_of(method, batch_of(SIZES, B=4))
    assert set(found) == {"intra.early", "msc", "supervised", "loss"}
    assert torch.isfinite(found["loss"])
    alone = composed({"optical": {"kind": "intra", "sensors": ["s2-l2a"]}}, fusion={"kind": "early"})
    with pytest.raises(ConfigError, match="no sensor `s2-l2a`; there are early"):
        alone.build(contract_of(SIZES), task_of("class"))


def test_a_run_says_each_term_with_the_readings_that_it_takes() -> None:
    lines = contrast("mosaic-2", "method.terms.msc.weight=0.5").lines([])
    assert lines == [
        "inter = 1 x inter(head=main, form=cross, temperature=0.1) of view a",
        "msc = 0.5 x mulsupcon(head=main, of=each, normalise=together, temperature=0.1, reduction=pairs) "
        "of views a and b",
        "supervised = 1 x supervised of view a",
    ]


def test_clip_learns_its_temperature_and_keeps_it_below_the_limit() -> None:
    method = composed({"clip": {"kind": "clip", "temperature": 0.07}, "supervised": SUPERVISED})
    torch.manual_seed(0)
    model = method.build(contract_of(SIZES), task_of("class"))
    batch = batch_of(SIZES, B=4)
    state = model.state_dict()
    log = state["log_scales.clip"]
    assert float(log) == pytest.approx(math.log(1 / 0.07))
    model.eval()
    found = method.loss(model, batch, "task", key=(0, 0))
    out = model(method._named_views(batch, (0, 0))["a"])
    a, b = (out.embeddings["main"][n] for n in sorted(SIZES))
    assert torch.allclose(found["clip.s1-rtc-gamma0+s2-l2a"], clip(a, b, scale=1 / 0.07))
    found["loss"].backward()
    grads = {k: p.grad for k, p in model.named_parameters()}
    assert float(grads["log_scales.clip"]) != 0  # type: ignore[arg-type]
    with torch.no_grad():
        log.fill_(9.0)
    model.zero_grad()
    beyond = method.loss(model, batch, "task", key=(0, 0))
    assert torch.allclose(beyond["clip.s1-rtc-gamma0+s2-l2a"], clip(a, b, scale=100.0), rtol=1e-4)
    beyond["loss"].backward()
    held = dict(model.named_parameters())["log_scales.clip"]
    assert float(held.detach()) == pytest.approx(math.log(100))
    assert float(held.grad) != 0, "what brings it back"  # type: ignore[arg-type]
    fixed = composed({"clip": {"kind": "clip", "learn": False}, "supervised": SUPERVISED})
    assert not [k for k in fixed.build(contract_of(SIZES), task_of("class")).state_dict() if "scale" in k]


def test_names_that_terms_cannot_have_are_refused() -> None:
    for name in ("loss", "within.optical"):
        with pytest.raises(ConfigError, match="no name of a term"):
            composed({name: SUPERVISED})
    with pytest.raises(ConfigError, match="keys"):
        composed({"keys": {"kind": "clip"}, "supervised": SUPERVISED}).build(contract_of(SIZES), task_of("class"))


def test_a_composed_method_over_three_sensors_and_two_heads() -> None:
    sizes = {**SIZES, "dem": (32, 32)}
    method = composed(
        {
            "optical": {"kind": "intra", "sensors": ["s2-l2a"], "head": "within"},
            "pairs": {"kind": "inter", "form": "cross", "views": ["a", "b"], "head": "between", "weight": 0.5},
            "alike": {"kind": "soft", "by": "features", "head": "between", "sensors": ["s1-rtc-gamma0", "s2-l2a"]},
            "labels": {"kind": "soft", "of": "each", "head": "within"},
            "off": {"kind": "dense", "weight": 0},
            "supervised": {"kind": "supervised", "views": ["a", "b"]},
        },
        heads={"within": {"dim": 16}, "between": {"dim": 8}, "unused": {}},
    )
    torch.manual_seed(0)
    model = method.build(contract_of(sizes), task_of("class"))
    assert {k.split(".")[1] for k in model.state_dict() if k.startswith("projections.")} == {"within", "between"}
    found = method.loss(model, batch_of(sizes, B=6), "task", key=(0, 0))
    pairs = {f"pairs.{a}+{b}" for a, b in (("dem", "s1-rtc-gamma0"), ("dem", "s2-l2a"), ("s1-rtc-gamma0", "s2-l2a"))}
    each = {f"labels.{n}" for n in sizes}
    assert set(found) == {"optical.s2-l2a", *pairs, "alike", *each, "supervised", "loss"}
    total = sum((0.5 if k in pairs else 1) * v for k, v in found.items() if k != "loss")
    torch.testing.assert_close(found["loss"], total)
    found["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ["mosaic-1", "mosaic-2", "iai-simclr", "d-simclr", "mma"])
def test_a_batch_of_one_and_a_batch_of_which_nothing_is_seen_have_a_loss(name: str) -> None:
    method = contrast(name)
    one = loss_of(method, batch_of(SIZES, B=1))
    assert all(torch.isfinite(v) for v in one.values())
    assert {k for k, v in one.items() if abs(float(v.detach())) > 1e-5} <= {"supervised", "loss"}
    unseen = loss_of(method, batch_of(SIZES, B=3, absent=[(n, i) for n in SIZES for i in range(3)]))
    assert all(torch.isfinite(v) for v in unseen.values())
    assert {k for k, v in unseen.items() if float(v.detach())} <= {"supervised", "loss"}


@pytest.mark.parametrize("name", ["mosaic-1", "mosaic-2", "iai-simclr"])
def test_a_sensor_that_a_batch_lacks_leaves_the_terms_of_the_other(name: str) -> None:
    method = contrast(name, "method.fusion.kind=mean")
    torch.manual_seed(0)
    model = method.build(contract_of(SIZES), task_of("class")).train()
    before = {k: v.clone() for k, v in model.state_dict().items() if "s1-rtc-gamma0" in k}
    batch = batch_of(SIZES, B=4, absent=[("s1-rtc-gamma0", i) for i in range(4)])
    found = method.loss(model, batch, "task", key=(0, 0))
    found["loss"].backward()
    absent = {k: v for k, v in found.items() if "s1-rtc-gamma0" in k}
    assert absent
    assert not any(float(v.detach()) for v in absent.values())
    assert float(found["loss"].detach()) > 0
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items()), "no statistic of it moved"
    grads = {k: p.grad for k, p in model.named_parameters()}
    assert all(g is not None for g in grads.values()), "processes agree on what has a gradient"
    assert not any(g.abs().sum() for k, g in grads.items() if "s1-rtc-gamma0" in k)  # type: ignore[union-attr]


def test_soft_positives_by_features_pull_like_places_together() -> None:
    """Two kinds of places, told apart by features only: descending the term brings those of a kind together."""
    from landweave.methods.embedded import Embedded, View
    from landweave.methods.terms import Soft

    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(8) % 2
    z = torch.randn(8, 4, generator=generator, requires_grad=True)
    h = torch.nn.functional.one_hot(kinds, 2).float() * 5 + torch.rand(8, 2, generator=generator)
    label = batch_of(B=8).labels["task"]
    seen = {"s": torch.ones(8, dtype=torch.bool)}
    term = Soft(by="features", views=("a",), temperature=0.5)

    def value() -> torch.Tensor:
        return term.values(Embedded({"a": View(torch.zeros(8, 3), seen, {"main": {"s": z}}, {"s": h})}, label))[""]

    def contrast_of_kinds() -> float:
        e = torch.nn.functional.normalize(z.detach(), dim=1)
        s = e @ e.T
        same = kinds[:, None] == kinds[None]
        return float(s[same].mean() - s[~same].mean())

    before = contrast_of_kinds()
    for _ in range(30):
        (gradient,) = torch.autograd.grad(value(), z)
        with torch.no_grad():
            z -= gradient
    assert contrast_of_kinds() > before + 0.5
    assert label.known.all()


def test_with_one_private_label_a_place_soft_positives_are_nt_xent() -> None:
    from landweave.methods.embedded import Embedded, View
    from landweave.methods.terms import Soft
    from landweave.sample import Label
    from tests.methods.test_terms import FIVE

    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(5, 4, generator=generator) for _ in range(2))
    own = torch.eye(5, dtype=torch.uint8)
    seen = {"s": torch.ones(5, dtype=torch.bool)}
    views = {n: View(torch.zeros(5, 5), seen, {"main": {"s": z}}) for n, z in (("a", a), ("b", b))}
    found = Soft().values(Embedded(views, Label("multilabel", own, torch.ones(5, 5, dtype=torch.bool), FIVE)))[""]
    assert float(found) == pytest.approx(float(nt_xent(a, b, temperature=0.1)), rel=1e-6)


def test_the_dense_term_reads_the_last_maps() -> None:
    from landweave.losses import dense_alignment

    method = composed({"dense": {"kind": "dense", "temperature": 0.1}}, augment={"crop": None, "blur": 0})
    torch.manual_seed(0)
    model = method.build(contract_of(SIZES), task_of("class")).eval()
    batch = batch_of(SIZES, B=3, absent=[("s2-l2a", 1)])
    found = method.loss(model, batch, "task", key=(0, 0))["dense.s1-rtc-gamma0+s2-l2a"]
    maps = model(method._named_views(batch, (0, 0))["a"]).maps
    a, b = (maps[n][[0, 2]] for n in sorted(SIZES))
    assert torch.equal(found, dense_alignment(a, b, temperature=0.1))
    without = composed({"dense": {"kind": "dense"}}, encoder={**TINY, "name": "vit_tiny_patch16_224"})
    assert without.build(contract_of(SIZES), task_of("class")), "the tokens of a transformer are a map too"
