"""Encoders that stand still, and encoders that move from one model to another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from landweave.errors import ContractError, LandweaveError, RunError
from landweave.nn.config import Attention, Concat, Early, Encoder, Fusion, Projection, UNet
from landweave.nn.model import MapModel, Model, SceneModel
from tests.nn.tiny_models import TWO, batch_of, contract_of

SMALL = Encoder(name="test_resnet")


def scene(
    fusion: Fusion = Concat(),  # noqa: B008
    encoder: Encoder = SMALL,
    seed: int = 0,
    sizes: dict[str, tuple[int, int]] = TWO,
) -> SceneModel:
    torch.manual_seed(seed)
    return SceneModel(contract_of(sizes), encoder, fusion, classes=3, heads={"main": Projection(dim=8)})


def mapper(seed: int = 0) -> MapModel:
    torch.manual_seed(seed)
    return MapModel(contract_of(), SMALL, Concat(), decoder=UNet(channels=(16, 8, 8, 8, 8)), classes=3)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in state.items()}


@pytest.mark.parametrize("make", [scene, mapper])
def test_frozen_encoders_stand_still_while_the_rest_learns(make: type[Model]) -> None:
    model = make()
    batch = batch_of(B=3, absent=[("s2-l2a", 1)])
    model.logits(batch).sum().backward()
    model.freeze_encoders()
    assert not any(m.training for m in model.encoders.modules())
    model.train()
    assert not any(m.training for m in model.encoders.modules())
    assert model.training
    before, encoders = copied(model.state_dict()), copied(model.encoder_state())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model.logits(batch).square().sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in model.encoders.parameters())
    optimiser.step()
    assert all(torch.equal(v, encoders[k]) for k, v in model.encoder_state().items())
    moved = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert "head" in moved
    assert "encoders" not in moved
    model.eval()
    model.train()
    assert not any(m.training for m in model.encoders.modules())


def test_without_freezing_the_statistics_move() -> None:
    model = scene().train()
    before = copied(model.encoder_state())
    model.logits(batch_of())
    assert any(not torch.equal(v, before[k]) for k, v in model.encoder_state().items() if "running" in k)


def test_a_whole_batch_that_is_not_seen_leaves_frozen_encoders_in_eval_mode() -> None:
    model = scene()
    model.freeze_encoders()
    model.train()
    model.logits(batch_of(absent=[("s2-l2a", 0), ("s2-l2a", 1)]))
    assert not any(m.training for m in model.encoders.modules())


@pytest.mark.parametrize("whole", [False, True], ids=["encoder_state", "state_dict"])
def test_encoders_move_to_a_model_with_another_head(whole: bool) -> None:
    source, model = scene(seed=0), scene(Attention(width=8), seed=1)
    source.train().logits(batch_of())  # moves the statistics of batch norm, which belong to the encoders
    state = source.state_dict() if whole else source.encoder_state()
    head = model.head.weight.clone()
    model.load_encoders(state, "runs/pretrain")
    source.eval()
    model.eval()
    batch = batch_of(seed=3)
    for n, f in source.features(batch).items():
        assert torch.equal(model.features(batch)[n], f)
    assert torch.equal(model.head.weight, head)
    assert set(model.encoder_state()) == set(source.encoder_state())
    assert "s2-l2a.net.conv1.0.weight" in model.encoder_state()


def test_a_model_of_fewer_sensors_takes_its_own() -> None:
    source, model = scene(seed=0), scene(seed=1, sizes={"s2-l2a": (64, 64)})
    model.load_encoders(source.encoder_state(), "runs/pretrain")
    for k, v in model.encoder_state().items():
        assert torch.equal(v, source.encoder_state()[k])


def test_weights_of_a_scene_model_with_maps_fit_one_without() -> None:
    with_maps = SceneModel(contract_of(), Encoder(name="mma-vgg"), Concat(), classes=3, maps=True)
    scene(encoder=Encoder(name="mma-vgg")).load_encoders(with_maps.encoder_state(), "x")


def unfit(kind: str) -> tuple[dict[str, Tensor], type[LandweaveError], str]:
    """A state that does not fit, the error, and a part of what it says."""
    one = {"s2-l2a": (64, 64)}
    if kind == "sensor":
        return scene(sizes=one).encoder_state(), ContractError, "encoders of s2-l2a are there.* those of s1-rtc-gamma0"
    if kind == "early":
        return scene(Early()).encoder_state(), ContractError, "encoders of early are there"
    if kind == "bands":
        masked = SMALL.model_copy(update={"band_mask": True})
        return scene(encoder=masked).state_dict(), ContractError, "reads 4 channels there, and 2 in this model"
    if kind == "backbone":
        return scene(encoder=Encoder(name="mma-vgg")).state_dict(), RunError, "those of another backbone"
    if kind == "stage":  # as if the stem read other bands, but a later weight differs too
        state = scene().encoder_state()
        unlike = {k: v[:, :1] for k, v in state.items() if v.ndim == 4 and v.shape[1] > 1}
        return state | unlike, RunError, "those of another backbone"
    if kind == "width":
        wider = {k: v.repeat_interleave(2, 0) if v.ndim else v for k, v in scene().encoder_state().items()}
        return wider, RunError, "those of another backbone"
    return {"head.weight": torch.zeros(3, 3)}, ContractError, "encoders of head are there"


@pytest.mark.parametrize("kind", ["sensor", "early", "bands", "backbone", "stage", "width", "none"])
def test_what_does_not_fit_is_named_and_nothing_is_loaded(kind: str) -> None:
    state, error, text = unfit(kind)
    model = scene(seed=1)
    before = copied(model.state_dict())
    with pytest.raises(error, match=text) as caught:
        model.load_encoders(state, "runs/pretrain")
    assert str(caught.value).startswith("runs/pretrain: ")
    assert caught.value.fix
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_last_sensor_that_does_not_fit_keeps_the_first_from_loading() -> None:
    model = scene(seed=1)
    state = copied(scene(seed=0).encoder_state())
    state["s2-l2a.net.conv1.0.weight"] = torch.zeros(8, 5, 3, 3)
    before = copied(model.encoder_state())
    with pytest.raises(LandweaveError):
        model.load_encoders(state, "x")
    assert all(torch.equal(v, before[k]) for k, v in model.encoder_state().items())


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "swin_tiny_patch4_window7_224", "test_resnet"])
def test_a_pyramid_takes_the_weights_of_a_whole_backbone(name: str) -> None:
    """timm names the stages of a pyramid otherwise (`stages_0` for `stages.0`), and has no norm above the last."""
    contract, small = contract_of({"s2-l2a": (64, 64)}), UNet(channels=(16, 16, 8, 8, 8))
    whole = SceneModel(contract, Encoder(name=name), Concat(), classes=3)
    maps = MapModel(contract, Encoder(name=name), Concat(), decoder=small, classes=3)
    maps.load_encoders(whole.encoder_state(), "a run")
    theirs = {k.replace(".", "_"): v for k, v in whole.encoder_state().items()}
    for key, value in maps.encoder_state().items():
        assert torch.equal(value, theirs[key.replace(".", "_").replace("net_model_", "net_")]), key


def test_a_deeper_backbone_is_another_one() -> None:
    contract, small = contract_of({"s2-l2a": (64, 64)}), UNet(channels=(16, 16, 8, 8, 8))
    whole = SceneModel(contract, Encoder(name="resnet34"), Concat(), classes=3)
    maps = MapModel(contract, Encoder(name="resnet18"), Concat(), decoder=small, classes=3)
    with pytest.raises(RunError, match="another backbone"):
        maps.load_encoders(whole.encoder_state(), "a run")
