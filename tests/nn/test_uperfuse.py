"""UPerFuse: several tasks, branches that learn, any subset of sensors, any pixel sizes and windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from landweave.contract import Contract
from landweave.errors import ConfigError
from landweave.nn.config import (
    UTAE,
    Circumstances,
    DeepLabV3,
    Early,
    Encoder,
    Late,
    Mean,
    MeanOfDates,
    SegFormer,
    Stages,
    UNet,
    UPerNet,
    UPerNetFlair,
)
from landweave.nn.series import cropped, sampled
from landweave.nn.stages import FuseByStage, FuseLogits, laid
from landweave.nn.uperfuse import UPerFuseModel
from landweave.nn.utae import Reflected
from landweave.sample import NO_DAY, Batch
from tests.nn.flair_models import absent, batch_of, image, model_of, row

S2, ASC = "s2-l2a", "s1-grd-sigma0-asc-linear"
SMALL = Encoder(name="resnet10t")
WIDTHS = {"encoder_widths": (8, 8, 16, 16), "decoder_widths": (8, 8, 16, 16), "hidden": (8,)}
SERIES = UTAE(heads=4, width=32, **WIDTHS)
DECODER = UPerNetFlair(pyramid=8, channels=8)
TASKS = {"cosia": 4, "lpis-1": 3}
SIZES = {"aerial": (64, 64), "spot": (16, 16), S2: (10, 10), ASC: (10, 10)}


def contract_of(*names: str, **more: Any) -> Contract:
    return Contract({n: row(n, SIZES[n], **({} if n not in (S2, ASC) else more)) for n in names or tuple(SIZES)})


def batch(contract: Contract, *, B: int = 2, T: int = 3, seed: int = 0) -> Batch:
    made, images = torch.Generator().manual_seed(seed), {}
    for name, r in contract.streams.items():
        dates = T if r.series else 1
        x = torch.rand(B, dates, len(r.bands), *r.size, generator=made) * (3000 if name == S2 else 0.2) + 0.01
        days = torch.linspace(-100, 150, dates).round().expand(B, -1)
        images[name] = image(r, x, days)
    return batch_of(images)


def model(contract: Contract, **more: Any) -> UPerFuseModel:
    torch.manual_seed(0)
    return model_of(contract, SMALL, **{"series": SERIES, "decoder": DECODER, "classes": TASKS, **more})


def no_gradient(module: nn.Module) -> list[str]:
    return [n for n, p in module.named_parameters() if p.requires_grad and (p.grad is None or not bool(p.grad.any()))]


def test_one_pass_answers_all_tasks_and_its_branches_learn() -> None:
    """Weakness 1 of the spec: the official auxiliary decoders get no gradient."""
    made = model(contract_of(), auxiliary=("aerial", "spot", S2, ASC))
    out = made(batch(contract_of()))
    assert {t: tuple(f.shape) for t, f in out.by_task.items()} == {"cosia": (2, 4, 64, 64), "lpis-1": (2, 3, 64, 64)}
    assert {n: f["lpis-1"].shape[-1] for n, f in out.auxiliary.items()} == {"aerial": 64, "spot": 16, S2: 10, ASC: 10}
    total = sum(f.square().mean() for f in out.by_task.values())
    total += sum(f.square().mean() for b in out.auxiliary.values() for f in b.values())
    total.backward()
    idle = [n for n in no_gradient(made) if not n.startswith("fuse.learned")]
    # keys and queries: a softmax over dates that say alike has a gradient near 0, never none
    assert [n for n in idle if made.get_parameter(n).grad is None] == []
    assert not any(n.startswith(("branches.", "answers.", "decoders.", "fuse.narrow.")) for n in idle)


def test_the_branches_are_left_out_where_an_answer_is_all_that_is_wanted() -> None:
    made, plain = model(contract_of(), auxiliary=("aerial", S2)).eval(), batch(contract_of())
    with torch.no_grad():
        whole = made(plain)
        for heads in made.branches.values():
            heads.register_forward_hook(lambda *_: pytest.fail("a branch ran"))
            for head in heads.children():
                head.register_forward_hook(lambda *_: pytest.fail("a branch ran"))
        answer = made.answer(plain)
        assert all(torch.equal(answer[t], whole.by_task[t]) for t in TASKS)
        assert torch.equal(made.logits(plain), whole.logits)


def test_each_convolution_runs_once_and_sees_seen_dates_only() -> None:
    """Weakness 21 of the spec: the official U-TAE runs each of its blocks twice."""
    made, plain = model(contract_of("aerial", S2)).eval(), batch(contract_of("aerial", S2), T=5)
    seen = torch.tensor([[True, False, True, True, False], [False, False, True, False, False]])
    plain = replace(plain, images={**plain.images, S2: replace(plain.images[S2], dates_seen=seen)})
    rows: dict[nn.Module, list[int]] = {}
    for module in made.encoders[S2].modules():
        if isinstance(module, Reflected):
            module.register_forward_hook(lambda m, x, _: rows.setdefault(m, []).append(len(x[0])))
    made(plain)
    assert sorted(rows.values()) == [[2]] * 6 + [[4]] * 11  # 4 dates on the way down, 2 places on the way up


def test_no_network_is_built_to_be_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weaknesses 10 and 23 of the spec: settings that change while a model is built, and encoders made in decoders."""
    import timm

    built: list[str] = []
    create = timm.create_model

    def counted(name: str, **options: Any) -> Any:
        assert not options.get("pretrained")
        built.append(name)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", counted)
    before = (SERIES.model_dump(), DECODER.model_dump(), SMALL.model_dump())
    model(contract_of(), auxiliary=("aerial", "spot", S2))
    assert built == ["resnet10t"] * 2
    assert before == (SERIES.model_dump(), DECODER.model_dump(), SMALL.model_dump())


@pytest.mark.parametrize("fusion", [Stages(), Stages(flags=True), Stages(absent="mean"), Stages(absent="zero"), Late()])
def test_an_absent_sensor_says_nothing_and_takes_nothing(fusion: Any) -> None:
    """Weakness 2 of the spec: fresh noise stands in a dropped sensor's maps there."""
    contract = contract_of()
    made, plain = model(contract, fusion=fusion, auxiliary=("aerial", S2)).eval(), batch(contract)
    for p in made.parameters():
        if p.ndim == 1:
            nn.init.normal_(p.data, 0.1, 0.1)
    made.set_mean_features({n: torch.randn_like(m) for n, m in made.mean_features.items()})
    with torch.no_grad():
        whole = made(plain)
        for name in SIZES:
            less = made(absent(plain, name, 1))
            assert less.seen[name].tolist() == [True, False]
            for task in TASKS:
                torch.testing.assert_close(less.by_task[task][0], whole.by_task[task][0], rtol=1e-4, atol=1e-4)
                assert float((less.by_task[task][1] - whole.by_task[task][1]).abs().max()) > 1e-5, (name, task)
            again = made(absent(plain, name, 1))
            assert torch.equal(again.logits, less.logits)
            if name in less.auxiliary:
                assert not bool(less.auxiliary[name]["cosia"][1].any())
            assert not bool(less.features[name][1].any())


def test_what_stands_for_an_absent_sensor_is_learned() -> None:
    contract = contract_of("aerial", S2)
    made = model(contract)
    assert isinstance(made.fuse, FuseByStage)
    made(batch(contract)).logits.square().mean().backward()
    assert not bool(made.fuse.learned[S2].grad.any())
    made(absent(batch(contract), S2, 0)).logits.square().mean().backward()
    assert bool(made.fuse.learned[S2].grad.any())
    assert not bool(made.fuse.learned["aerial"].grad.any())


@pytest.mark.parametrize("fusion", [Stages(), Late(), Early()])
def test_trains_where_a_sensor_is_absent_from_the_whole_batch(fusion: Any) -> None:
    contract = contract_of("aerial", "spot", S2)
    made = model(contract, fusion=fusion, auxiliary=() if fusion.kind == "early" else (S2,)).train()
    before = {k: v.clone() for k, v in made.state_dict().items() if "running" in k}
    out = made(absent(absent(batch(contract), S2, 0, 1), "aerial", 0, 1))
    (out.logits.square().mean() + sum(f.sum() for b in out.auxiliary.values() for f in b.values())).backward()
    assert bool(out.logits.isfinite().all())
    after = made.state_dict()
    moved = {k for k, v in before.items() if not torch.equal(v, after[k])}
    assert not any(
        k.startswith((f"encoders.{S2}", "encoders.aerial", f"branches.{S2}", f"answers.{S2}")) for k in moved
    )
    assert all(p.grad is not None for n, p in made.named_parameters() if n.startswith("encoders."))


@pytest.mark.parametrize("fusion", [Stages(flags=True), Late()])
def test_learns_in_half_precision_with_every_weight_in_the_graph(fusion: Any) -> None:
    """Several processes agree on what has a gradient only if every weight has one, whatever is absent."""
    contract = contract_of()
    made = model(contract, fusion=fusion, auxiliary=("aerial", S2))
    less = absent(absent(batch(contract), S2, 1), "spot", 0, 1)
    with torch.autocast("cpu", torch.bfloat16):
        out = made(less)
        total = sum(f.square().mean() for f in out.by_task.values())
        total += sum(f.square().mean() for b in out.auxiliary.values() for f in b.values())
    total.backward()
    assert {f.dtype for f in out.by_task.values()} == {torch.float32}
    assert [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []


@pytest.mark.parametrize(
    "decoder",
    [DECODER, UPerNet(channels=16), UNet(channels=(8, 8, 8, 8, 8)), SegFormer(channels=8), DeepLabV3(channels=8)],
)
def test_every_decoder_trains_on_a_single_place(decoder: Any) -> None:
    contract = contract_of("aerial", S2)
    made = model(contract, decoder=decoder, auxiliary=("aerial",)).train()
    one = batch(contract, B=1)
    out = made(one)
    out.logits.square().mean().backward()
    assert bool(out.logits.isfinite().all())
    assert tuple(made.eval()(one).logits.shape) == (1, 4, 64, 64)


def test_series_alone_are_averaged_without_a_decoder() -> None:
    contract = contract_of(S2, ASC)
    made, plain = model(contract, classes={"cosia": 4}).eval(), batch(contract)
    assert len(made.decoders) == len(made.branches) == 0
    with torch.no_grad():
        both = made(plain).logits
        alone = [made(absent(plain, n, 0, 1)).logits for n in (ASC, S2)]
    assert tuple(both.shape) == (2, 4, 10, 10)
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)


def test_a_wider_window_is_read_and_only_its_middle_answered_for() -> None:
    near, wide = contract_of("aerial", S2), contract_of("aerial", S2, context=2.0)
    wide = Contract({**wide.streams, S2: replace(wide.streams[S2], size=(20, 20))})
    plain = batch(wide)
    middle = plain.images[S2].data[..., 5:15, 5:15]
    inner = replace(
        plain,
        images={**plain.images, S2: replace(image(near.streams[S2], middle), days=plain.images[S2].days, data=middle)},
    )
    made, close = model(wide, auxiliary=(S2,)).eval(), model(near, auxiliary=(S2,)).eval()
    close.load_state_dict(made.state_dict())
    edge = plain.images[S2].data.clone()
    edge[..., :3] *= 2  # further than the label's ground
    other = replace(plain, images={**plain.images, S2: replace(plain.images[S2], data=edge)})
    with torch.no_grad():
        out, cut, moved = made(plain), close(inner), made(other)
    assert out.auxiliary[S2]["cosia"].shape == cut.auxiliary[S2]["cosia"].shape == (2, 4, 10, 10)
    assert not torch.allclose(out.logits, moved.logits, atol=1e-6)
    level = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(cropped(level, 3.0), level[..., 2:4, 2:4])
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    torch.testing.assert_close(cropped(ramp, 2.0)[0, 0, 0], torch.tensor([1.375, 2.625]))  # 2.5 pixels, as 2
    assert cropped(level, 1.0) is level


def test_series_lie_where_they_are_though_backbones_need_a_larger_area() -> None:
    """An image of 300 pixels is laid on 320: what a series says of its right edge must not slip to the right."""
    ramp = torch.linspace(0.5, 9.5, 10).expand(1, 1, 10, 10)  # its own column, in pixels
    there = laid(ramp, (320 / 300, 320 / 300), (80, 80))
    columns = (torch.arange(80) + 0.5) * 4 / 300 * 10
    torch.testing.assert_close(there[0, 0, 0], columns.clamp(0.5, 9.5))
    torch.testing.assert_close(sampled(there, (300 / 320, 300 / 320), (10, 10))[0, 0, 0, 1:9], ramp[0, 0, 0, 1:9])


@pytest.mark.parametrize("size", [(64, 64), (75, 51), (33, 100)])
def test_any_height_and_width(size: tuple[int, int]) -> None:
    contract = contract_of("aerial", "spot", S2)
    made, images = model(contract, auxiliary=("aerial", "spot", S2)).eval(), {}
    for name, r in contract.streams.items():
        scale = r.size[0] / 64
        shape = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        images[name] = image(r, torch.rand(1, 2 if r.series else 1, len(r.bands), *shape))
    with torch.no_grad():
        out = made(batch_of(images))
    assert out.logits.shape[-2:] == size
    for name, branch in out.auxiliary.items():
        assert branch["cosia"].shape[-2:] == images[name].data.shape[-2:]


def test_late_fusion_weighs_the_sensors_that_are_seen() -> None:
    merge = FuseLogits(["a", "b", "c"], weighted=True)
    assert merge.weight is not None
    merge.weight.data = torch.tensor([0.0, 1.0, 2.0])
    logits = [torch.full((2, 1, 1, 1), v) for v in (1.0, 10.0, float("nan"))]
    seen = [torch.tensor([True, True]), torch.tensor([True, False]), torch.tensor([False, False])]
    e = torch.tensor([0.0, 1.0]).softmax(0)
    want = torch.stack([e[0] * 1 + e[1] * 10, torch.tensor(1.0)])
    torch.testing.assert_close(merge(logits, seen).flatten(), want)
    assert FuseLogits(["a"], weighted=True).weight is None
    contract = contract_of("aerial", S2)
    late = model(contract, fusion=Late()).eval()
    with torch.no_grad():
        out = late(absent(batch(contract), S2, 0, 1))
        alone = late._branch("aerial", late._read(batch(contract), alone=True))
    torch.testing.assert_close(out.logits, alone["cosia"])


def test_early_fusion_is_one_encoder_of_all_bands() -> None:
    contract = contract_of("aerial", S2)
    made = model(contract, fusion=Early())
    assert list(made.encoders) == ["early"]
    assert made.by_name["early"].channels == 3 + 10
    assert tuple(made(batch(contract)).by_task["lpis-1"].shape) == (2, 3, 64, 64)


def test_a_mean_of_dates_does_not_know_their_order() -> None:
    contract = contract_of("aerial", S2)
    made, plain = model(contract, series=MeanOfDates(encoder=Encoder(name="resnet18"))).eval(), batch(contract)
    assert made.series == ()
    assert made.references == ("aerial",)
    assert made.by_name[S2].settings.name == "resnet18"
    turned = replace(plain.images[S2], days=plain.images[S2].days.flip(1))
    with torch.no_grad():
        one, two = (made(b).logits for b in (plain, replace(plain, images={**plain.images, S2: turned})))
        utae = model(contract).eval()
        three, four = (utae(b).logits for b in (plain, replace(plain, images={**plain.images, S2: turned})))
    assert torch.equal(one, two)
    assert not torch.allclose(three, four, atol=1e-6)


def test_circumstances_begin_as_nothing_and_are_learned() -> None:
    contract = contract_of("aerial", S2)
    made, plain = model(contract, circumstances=Circumstances(dates=True)), batch(contract)
    assert made.told is not None
    without = model(contract).eval()
    without.load_state_dict({k: v for k, v in made.state_dict().items() if not k.startswith("told.")})
    with torch.no_grad():
        assert torch.equal(made.eval()(plain).logits, without(plain).logits)
    made.train()(plain).logits.square().mean().backward()
    assert made.told.last.weight.grad is not None
    assert bool(made.told.last.weight.grad.any())
    nn.init.normal_(made.told.last.weight)
    without.load_state_dict({k: v for k, v in made.state_dict().items() if not k.startswith("told.")})
    later = replace(plain.images["aerial"], days=plain.images["aerial"].days + 90)
    unknown = replace(plain.images["aerial"], days=torch.full_like(later.days, NO_DAY))
    with torch.no_grad():
        found = [made.eval()(replace(plain, images={**plain.images, "aerial": im})).logits for im in (later, unknown)]
        assert not torch.allclose(found[0], made(plain).logits, atol=1e-5)
        torch.testing.assert_close(found[1], without(plain).logits)


def test_a_place_is_told_by_its_grid() -> None:
    from landweave.grid import Grid

    contract = contract_of("aerial")
    made, plain = model(contract, circumstances=Circumstances(place=True)).eval(), batch(contract)
    assert made.told is not None
    nn.init.normal_(made.told.last.weight)
    grids = (Grid("EPSG:2154", (0.2, 0, 7e5, 0, -0.2, 6.6e6), (64, 64)), None)
    known = replace(plain, images={"aerial": replace(plain.images["aerial"], grid=grids)})
    with torch.no_grad():
        apart = (made(known).logits - made(plain).logits).abs().amax((1, 2, 3))
    assert float(apart[0]) > 1e-4
    assert float(apart[1]) == 0


def test_encoders_go_from_one_model_to_another_of_other_classes() -> None:
    contract = contract_of("aerial", S2)
    one, two = model(contract), model(contract, classes={"other": 9})
    nn.init.constant_(one.get_parameter(f"encoders.{S2}.net.attention.query"), 3.0)
    two.load_encoders(one.state_dict(), "one")
    mine, theirs = two.encoder_state(), one.encoder_state()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], v) for k, v in theirs.items())
    two.freeze_encoders()
    two.train()(batch(contract)).logits.mean().backward()
    assert all(p.grad is None for p in two.encoders.parameters())
    assert all(p.grad is not None for p in two.decoders.parameters())


def test_targets_are_the_maps_that_the_decoder_reads() -> None:
    contract = contract_of("aerial", S2)
    found = model(contract).eval().targets(batch(contract))
    assert list(found.maps) == ["2", "4", "8", "16", "32"]
    assert found.pooled.value.shape == (2, 512)
    alone = model(contract_of(S2)).eval().targets(batch(contract_of(S2)))
    assert list(alone.maps) == ["1"]


@pytest.mark.parametrize(
    ("names", "more", "what"),
    [
        (("aerial",), {"fusion": Mean()}, "fuses by stage, early or late, not by mean"),
        (("aerial",), {"auxiliary": ("arial",)}, "did you mean `aerial`"),
        (("aerial", S2), {"fusion": Early(), "auxiliary": ("aerial",)}, "no branch of a single sensor"),
        ((S2,), {"circumstances": Circumstances(dates=True)}, "added to fused maps, and here there are none"),
    ],
)
def test_what_does_not_go_together_is_refused(names: tuple[str, ...], more: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        model(contract_of(*names), **more)
    assert "fix:" in str(caught.value)


def test_windows_and_strides_that_cannot_be_read_are_refused() -> None:
    wide = contract_of("aerial", S2, context=2.0)
    with pytest.raises(ConfigError, match="reaches beyond the label"):
        model(wide, fusion=Early())
    with pytest.raises(ConfigError, match="only U-TAE can read"):
        model(wide, series=MeanOfDates())
    tiny = Contract({S2: row(S2, (6, 6))})
    with pytest.raises(ConfigError, match="too few for 3 steps of a stride of 2"):
        model(tiny, series=SERIES.model_copy(update={"stride": 2}))
