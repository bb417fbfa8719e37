from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch

from landweave.contract import Contract
from landweave.errors import ConfigError, ContractError
from landweave.nn.config import (
    Attention,
    Bilinear,
    Concat,
    Decoder,
    Early,
    Encoder,
    Fusion,
    Mean,
    Projection,
    UNet,
    UPerNet,
)
from landweave.nn.model import MapModel, Model, SceneModel
from landweave.sample import Batch, Image
from landweave.transforms import cubes
from tests.nn.tiny_models import TWO, batch_of, contract_of, with_image

MAP_FUSIONS: tuple[Fusion, ...] = (Concat(), Concat(flags=True), Mean(), Early())
FUSIONS: tuple[Fusion, ...] = (*MAP_FUSIONS, Attention(width=16), Bilinear(rank=8))
DECODERS: tuple[Decoder, ...] = (UNet(channels=(32, 24, 16, 16, 8)), UPerNet(channels=16))
SMALL = Encoder(name="test_resnet")  # timm's own model for tests: five stages, 0.4 M weights
WIDTH = 96
TENSORS = ("data", "scale", "offset", "days", "dates_seen", "bands_seen", "pixels_seen")
MIXED = {"s2-l2a": (64, 64), "s1-rtc-gamma0": (30, 30), "dem": (7, 7)}


def scene(fusion: Fusion = FUSIONS[0], sizes: dict[str, tuple[int, int]] = TWO, mask: bool = False) -> SceneModel:
    torch.manual_seed(0)
    encoder = SMALL.model_copy(update={"band_mask": mask})
    return SceneModel(contract_of(sizes), encoder, fusion, classes=3, heads={"main": Projection(dim=8)})


def mapper(fusion: Fusion = FUSIONS[0], decoder: Decoder = DECODERS[0], **sizes: tuple[int, int]) -> MapModel:
    torch.manual_seed(0)
    contract = contract_of({k.replace("_", "-"): v for k, v in sizes.items()} or TWO)
    return MapModel(contract, SMALL, fusion, decoder=decoder, classes=3)


def wake(model: Model) -> None:
    """Give every norm a scale: timm starts the last one of each residual block at 0, which cuts its gradient."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)


def assert_every_weight_learns(model: Model) -> None:
    # biases right before a batch norm have a gradient of 0 by nature, but they have one
    lacking = [n for n, p in model.named_parameters() if p.grad is None]
    assert not lacking
    dead = [n for n, p in model.named_parameters() if p.grad is not None and p.ndim > 1 and not p.grad.any()]
    assert not dead


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda f: f.kind)
def test_scene_contract_of_every_fusion(fusion: Fusion, T: int) -> None:
    model = scene(fusion, mask=T == 3)
    wake(model)
    batch = batch_of(B=4, T=T, absent=[("s1-rtc-gamma0", 1), ("s2-l2a", 2)])
    out = model(batch)
    names = {"early"} if fusion.kind == "early" else set(TWO)
    assert out.logits.shape == (4, 3)
    assert set(out.features) == set(out.seen) == set(out.embeddings["main"]) == names
    assert all(f.shape == (4, WIDTH) for f in out.features.values())
    (out.logits.square().sum() + sum(z.square().sum() for z in out.embeddings["main"].values())).backward()
    assert_every_weight_learns(model)
    if fusion.kind != "early":
        assert out.seen["s1-rtc-gamma0"].tolist() == [True, False, True, True]
        assert (out.features["s1-rtc-gamma0"][1] == 0).all()
        assert (out.embeddings["main"]["s1-rtc-gamma0"][1] == 0).all()
    model.eval()
    with torch.no_grad():
        shuffled = replace(batch, images=dict(reversed(batch.images.items())))
        swapped = Contract(dict(reversed(model.contract.streams.items())))
        again = SceneModel(
            swapped, model.by_name[min(names)].settings, fusion, classes=3, heads={"main": Projection(dim=8)}
        )
        again.load_state_dict(model.state_dict())
        reference = model.logits(batch)
        assert torch.equal(model.logits(shuffled), reference)
        assert torch.equal(again.eval().logits(batch), reference)
        torch.testing.assert_close(model.features(batch), model(batch).features)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d.kind)
@pytest.mark.parametrize("fusion", MAP_FUSIONS, ids=lambda f: f.kind)
def test_map_contract_of_every_fusion_and_decoder(fusion: Fusion, decoder: Decoder) -> None:
    model = mapper(fusion, decoder, **MIXED)
    wake(model)
    batch = batch_of(MIXED, B=3, absent=[("dem", 1)])
    logits = model.logits(batch)
    assert logits.shape == (3, 3, 64, 64)
    logits.square().mean().backward()
    assert_every_weight_learns(model)
    model.eval()
    with torch.no_grad():
        features = model.features(batch)
        assert features.keys() == model.mean_features.keys()
        assert all(features[n].shape[1:] == m.shape for n, m in model.mean_features.items())
        odd = {"s2-l2a": (45, 70), "s1-rtc-gamma0": (22, 33), "dem": (5, 7)}
        assert model.logits(batch_of(odd, B=1)).shape == (1, 3, 45, 70)


@pytest.mark.parametrize(
    ("kind", "fusion"),
    [*(("scene", f) for f in FUSIONS), *(("map", f) for f in MAP_FUSIONS)],
    ids=lambda v: getattr(v, "kind", v),
)
def test_values_that_are_not_seen_are_never_read(kind: str, fusion: Fusion) -> None:
    model: Model = scene(fusion) if kind == "scene" else mapper(fusion)
    model.train()
    batch = batch_of(T=2, B=3, absent=[("s1-rtc-gamma0", 1)])
    s2 = batch.images["s2-l2a"]
    s2.bands_seen[0, 1] = False
    s2.dates_seen[2, 1] = False
    s2.pixels_seen[1, 0, 0, 10:40, :30] = False
    found = []
    for rubbish in (0.0, 1e9, float("nan")):
        state = {k: v.clone() for k, v in model.state_dict().items()}
        images = {n: replace(im, data=torch.where(im.seen, im.data, rubbish)) for n, im in batch.images.items()}
        found.append(model.logits(replace(batch, images=images)).detach())
        model.load_state_dict(state)
    assert found[0].isfinite().all()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_concat_reads_the_mean_feature_of_an_absent_sensor() -> None:
    model = scene().eval()
    batch = batch_of(absent=[("s2-l2a", 0)])
    with torch.no_grad():
        before = model.logits(batch)
        means = {n: torch.rand(WIDTH) for n in TWO}
        model.set_mean_features(means)
        after = model.logits(batch)
        h = model.features(batch)
        expected = model.head(torch.cat([h["s1-rtc-gamma0"][0], means["s2-l2a"]]))
    assert torch.equal(before[1], after[1])
    torch.testing.assert_close(after[0], expected)


def test_several_heads_a_sensor_each_with_weights_of_its_own() -> None:
    heads = {"intra": Projection(dim=8), "inter": Projection(layers=3, dim=4, batch_norm=False)}
    model, turned = (heads_of(h) for h in (heads, dict(reversed(heads.items()))))
    state = model.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in turned.state_dict().items()), "order of the heads is nothing"
    out = model(batch_of(B=3, absent=[("s2-l2a", 1)]))
    assert {(h, n): z.shape[1] for h, by in out.embeddings.items() for n, z in by.items()} == {
        ("intra", "s2-l2a"): 8, ("intra", "s1-rtc-gamma0"): 8, ("inter", "s2-l2a"): 4, ("inter", "s1-rtc-gamma0"): 4,
    }  # fmt: skip
    for by in out.embeddings.values():
        assert [bool(row.any()) for row in by["s2-l2a"]] == [True, False, True]
    out.embeddings["inter"]["s2-l2a"].square().sum().backward()
    learns = {n for n, p in model.named_parameters() if p.grad is not None and n.startswith("projections")}
    assert {n.rpartition(".layers")[0] for n in learns} == {"projections.inter.s2-l2a"}


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda f: f.kind)
def test_one_sensor_and_a_place_where_it_is_not_seen(fusion: Fusion) -> None:
    sizes = {"s2-l2a": (64, 64)}
    models: list[Model] = [scene(fusion, sizes)]
    models += [mapper(fusion, s2_l2a=(64, 64))] if fusion in MAP_FUSIONS else []
    for model in models:
        wake(model)
        logits = model.logits(batch_of(sizes, B=3, absent=[("s2-l2a", 1)]))
        assert logits.isfinite().all()
        logits.square().sum().backward()
        assert all(p.grad is not None for n, p in model.named_parameters() if not n.startswith("projections"))


def heads_of(heads: dict[str, Projection]) -> SceneModel:
    torch.manual_seed(0)
    return SceneModel(contract_of(), SMALL, Concat(), classes=3, heads=heads)


def test_a_head_of_a_name_that_cannot_be_is_refused() -> None:
    for name in ("a.b", "type", ""):
        with pytest.raises(ConfigError, match=f"no head of the name `{name}`") as caught:
            heads_of({name: Projection()})
        assert caught.value.where == "method.heads"


@pytest.mark.parametrize("fusion", [Concat(), Early()], ids=lambda f: f.kind)
def test_maps_are_those_that_the_features_are_pooled_from(fusion: Fusion) -> None:
    torch.manual_seed(0)
    model = SceneModel(contract_of(), SMALL, fusion, classes=3, maps=True).eval()
    plain = SceneModel(contract_of(), SMALL, fusion, classes=3).eval()
    plain.load_state_dict(model.state_dict())
    batch = batch_of(B=3, T=2, absent=[("s2-l2a", 1)])
    batch.images["s1-rtc-gamma0"].dates_seen[2, 1] = False
    passes = []
    for encoder in model.by_name.values():
        first = next(m for m in encoder.net.modules() if isinstance(m, torch.nn.Conv2d))
        first.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        out, same = model(batch), plain(batch)
    assert len(passes) == len(model.by_name), "one pass a sensor"
    assert not same.maps
    torch.testing.assert_close(out.logits, same.logits)
    for name, maps in out.maps.items():
        assert maps.shape == (3, WIDTH, 2, 2)
        assert maps.dtype == torch.float32
        torch.testing.assert_close(maps.mean((2, 3)), out.features[name])
        torch.testing.assert_close(out.features[name], same.features[name])
    if fusion.kind == "concat":
        assert (out.maps["s2-l2a"][1] == 0).all()


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d.kind)
def test_map_trains_on_one_place(decoder: Decoder) -> None:
    model = mapper(decoder=decoder).train()
    model.logits(batch_of(B=1)).sum().backward()


def test_map_moves_with_the_image() -> None:
    """An image and the same one with a border that is not seen give nearly the same map, at the same place."""
    model = mapper(s2_l2a=(64, 64)).eval()
    small = batch_of({"s2-l2a": (64, 64)})
    large = batch_of({"s2-l2a": (96, 96)})
    image = large.images["s2-l2a"]
    image.data[..., :64, :64] = small.images["s2-l2a"].data
    image.pixels_seen[..., 64:, :] = False
    image.pixels_seen[..., 64:] = False
    with torch.no_grad():
        a, b = model.logits(small), model.logits(large)
    near = (a - b[..., :64, :64])[..., :24, :24].abs().mean()
    shifted = (a[..., :24, :24] - b[..., 40:64, 40:64]).abs().mean()
    assert near < 0.5 * shifted


def test_a_map_is_on_the_grid_of_the_finest_sensor_that_was_learned_from_there_or_not() -> None:
    sizes = {"s2-l2a": (64, 64), "s1-rtc-gamma0": (32, 32)}
    model = mapper(s2_l2a=(64, 64), s1_rtc_gamma0=(32, 32)).eval()
    batch = batch_of(sizes)
    wide = batch_of({"s2-l2a": (8, 8), "s1-rtc-gamma0": (96, 80)})
    absent = with_image(batch, "s1-rtc-gamma0", wide.images["s1-rtc-gamma0"])
    absent = with_image(absent, "s2-l2a", batch.images["s2-l2a"].unseen())
    with torch.no_grad():
        assert model.logits(batch).shape[-2:] == (64, 64)
        assert model.logits(cubes(absent, contract_of(sizes))).shape[-2:] == (192, 160)
        assert model.logits(with_image(batch, "s2-l2a", batch.images["s2-l2a"].unseen())).shape[-2:] == (64, 64)


@pytest.mark.parametrize("fusion", MAP_FUSIONS, ids=lambda f: f.kind)
def test_without_its_finest_sensor_a_place_has_the_same_map_alone_as_beside_others(fusion: Fusion) -> None:
    sizes = {"s2-l2a": (64, 64), "s1-rtc-gamma0": (32, 32)}
    model = mapper(fusion, s2_l2a=(64, 64), s1_rtc_gamma0=(32, 32)).eval()
    batch = batch_of(sizes, B=2)
    fine = batch.images["s2-l2a"]
    seen = fine.dates_seen.clone()
    seen[1] = False
    batch = cubes(with_image(batch, "s2-l2a", replace(fine, dates_seen=seen)), contract_of(sizes))
    second = {n: split(im, 1) for n, im in batch.images.items()}
    second["s2-l2a"] = split(batch_of({"s2-l2a": (8, 8)}).images["s2-l2a"].unseen(), 0)  # a stand-in of any size
    alone = cubes(Batch(second, {}, batch.names[1:], batch.groups[1:]), contract_of(sizes))
    with torch.no_grad():
        torch.testing.assert_close(model.logits(alone)[0], model.logits(batch)[1], rtol=1e-4, atol=1e-5)


def split(image: Image, place: int) -> Image:
    """One place of a batch."""
    return replace(image, **{f: getattr(image, f)[place : place + 1] for f in TENSORS})


def test_sensors_of_unequal_size_lie_on_the_same_ground() -> None:
    """A change in the middle of the coarse image moves the middle of the map, although the map is padded inside."""
    sizes = {"s2-l2a": (100, 100), "s1-rtc-gamma0": (64, 64)}
    model = mapper(s2_l2a=(100, 100), s1_rtc_gamma0=(64, 64)).eval()
    batch = batch_of(sizes, B=1)
    image = batch.images["s1-rtc-gamma0"]
    for at in (0.5, 0.8):
        pixel = int(at * 64)
        data = image.data.clone()
        data[..., pixel - 2 : pixel + 3, pixel - 2 : pixel + 3] += 20.0
        with torch.no_grad():
            moved = model.logits(with_image(batch, "s1-rtc-gamma0", replace(image, data=data))) - model.logits(batch)
        weight, position = moved.abs().sum((0, 1)), (torch.arange(100) + 0.5) / 100
        rows = (weight.sum(1) * position).sum() / weight.sum()
        cols = (weight.sum(0) * position).sum() / weight.sum()
        assert abs(float(rows) - at) < 0.06  # 0.03 at most; 0.14 at least where the padding is left out of account
        assert abs(float(cols) - at) < 0.06


def test_order_of_sensors_does_not_change_the_random_weights() -> None:
    contract = contract_of(TWO)
    states = []
    for streams in (contract.streams, dict(reversed(contract.streams.items()))):
        torch.manual_seed(0)
        states.append(SceneModel(Contract(dict(streams)), SMALL, Concat(), classes=3).state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_state_round_trip_gives_the_same_logits() -> None:
    for model in (scene(Mean()), mapper(Concat(), UPerNet(channels=16))):
        model.train()
        batch = batch_of()
        model.logits(batch)  # moves the statistics of batch norm
        model.set_mean_features({n: torch.rand_like(m) for n, m in model.mean_features.items()})
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        other = scene(Mean()) if isinstance(model, SceneModel) else mapper(Concat(), UPerNet(channels=16))
        for p in other.parameters():
            p.data.add_(0.1)
        other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
        with torch.no_grad():
            assert torch.equal(model.eval().logits(batch), other.eval().logits(batch))


def test_bf16_autocast_stays_near_float32_and_gives_float32() -> None:
    for model in (scene(), scene(Attention(width=16)), scene(Bilinear(rank=8)), mapper()):
        model.eval()
        batch = batch_of(absent=[("s2-l2a", 1)])
        with torch.no_grad():
            exact = model(batch)
            with torch.autocast("cpu", torch.bfloat16):
                rough = model(batch)
        assert rough.logits.dtype == torch.float32
        assert all(f.dtype == torch.float32 for f in rough.features.values())
        assert (rough.logits - exact.logits).abs().max() < 0.1 * exact.logits.abs().max()
        assert not torch.equal(rough.logits, exact.logits), "nothing ran in bf16"


def test_weights_are_channels_last() -> None:
    for model in (scene(), mapper()):
        wide = [p for p in model.parameters() if p.ndim == 4 and min(p.shape) > 1]
        assert wide
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)


def test_batch_without_a_sensor_of_the_contract_is_refused() -> None:
    batch = batch_of()
    less = Batch({"s2-l2a": batch.images["s2-l2a"]}, batch.labels, batch.names, batch.groups)
    with pytest.raises(ContractError, match="the batch has no s1-rtc-gamma0; it has s2-l2a"):
        scene()(less)
