"""Backbones that begin with weights in timm's form, given as a file: which filters go to which band."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from landweave.contract import BandStats, Contract, StreamContract
from landweave.errors import ConfigError, LandweaveError, RunError
from landweave.nn.config import Concat, Early, Encoder, Fusion
from landweave.nn.model import SceneModel
from landweave.nn.pretrained import begin, spread

STATS = BandStats(0.0, 1.0, -1.0, 1.0, -1.0, 1.0, 10)


def contract(**streams: tuple[str, ...]) -> Contract:
    rows = {n.replace("_", "-"): bands for n, bands in streams.items()}
    return Contract(
        {
            n: StreamContract(n, bands, "digital number", None, (64, 64), (STATS,) * len(bands))
            for n, bands in rows.items()
        }
    )


def model(
    weights: str, of: Contract, *, name: str = "test_resnet", fusion: Fusion | None = None, mask: bool = False
) -> SceneModel:
    torch.manual_seed(1)
    return SceneModel(of, Encoder(name=name, weights=weights, band_mask=mask), fusion or Concat(), classes=3)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file({k: v.contiguous() for k, v in timm.create_model("test_resnet").state_dict().items()}, path)
    return path


def test_colours_go_by_name_and_the_rest_is_the_same(file: Path) -> None:
    there = timm.create_model("test_resnet", checkpoint_path=str(file)).state_dict()
    made = model(str(file), contract(aerial=("N", "G", "R")))
    (told,) = begin(made)
    assert told.endswith("resnet.safetensors")
    own = made.by_name["aerial"].net.state_dict()
    (first,) = [k for k, v in there.items() if v.ndim == 4 and v.shape[1] == 3]
    red, green = there[first][:, 0], there[first][:, 1]
    torch.testing.assert_close(own[first], torch.stack([there[first].mean(1), green, red], 1))
    for key in set(own) - {first}:
        torch.testing.assert_close(own[key], there[key])


def test_an_even_image_gives_what_it_gave_with_three_bands(file: Path) -> None:
    """The scale of 3 / bands keeps the sum over the bands, whatever their number; a mask's channels add nothing."""
    filters = torch.randn(5, 3, 3, 3)
    wide = spread(filters, ["blue", "green", "red", "nir", "swir16"], channels=10)
    assert wide.shape == (5, 10, 3, 3)
    assert not wide[:, 5:].any()
    torch.testing.assert_close(wide.sum(1), filters.sum(1))
    torch.testing.assert_close(wide[:, 2], filters[:, 0] * 3 / 5)


def test_maps_masks_and_early_fusion_begin_with_them_too(file: Path) -> None:
    both = contract(aerial=("R", "G", "B", "N"), dem=("elevation",))
    begun = model(str(file), both, fusion=Early(), mask=True)
    before = {k: v.clone() for k, v in begun.by_name["early"].net.state_dict().items()}
    begin(begun)
    after = begun.by_name["early"].net.state_dict()
    changed = [k for k, v in after.items() if v.is_floating_point() and v.ndim == 4 and not torch.equal(v, before[k])]
    assert len(changed) == sum(v.ndim == 4 for v in after.values())
    first = next(v for v in after.values() if v.ndim == 4)
    assert first.shape[1] == 10
    assert not first[:, 5:].any()


def test_random_weights_stay_what_they_were() -> None:
    made = model("random", contract(aerial=("R", "G", "B")))
    before = {k: v.clone() for k, v in made.state_dict().items()}
    assert begin(made) == []
    for key, value in made.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("what", ["other network", "no weights", "code"])
def test_files_that_do_not_fit_are_refused(file: Path, tmp_path: Path, what: str) -> None:
    bad = tmp_path / "bad.pth"
    if what == "other network":
        torch.save(timm.create_model("test_convnext").state_dict(), bad)
    elif what == "no weights":
        torch.save({"epoch": 3}, bad)
    else:
        torch.save({"model": timm.create_model("test_resnet")}, bad)
    with pytest.raises(LandweaveError) as caught:
        begin(model(str(bad), contract(aerial=("R", "G", "B"))))
    assert caught.value.fix
    assert len(str(caught.value).splitlines()) <= 10


def test_a_file_that_is_not_there_and_backbones_of_our_own_are_refused_first() -> None:
    with pytest.raises(RunError, match="no such file"):
        Encoder(weights="nowhere.pth").require()
    Encoder(weights="timm").require()
    with pytest.raises(ValueError, match="not timm's"):
        Encoder(name="mit_b2", weights="timm")


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(ConfigError, match="cannot be fetched: no route to host"):
        begin(model("timm", contract(aerial=("R", "G", "B"))))


def state(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return {k: v.contiguous() for k, v in timm.create_model(name).state_dict().items()}


def test_the_file_of_a_deeper_network_is_not_of_this_one(tmp_path: Path) -> None:
    deep, rgb = tmp_path / "deep.pth", contract(aerial=("R", "G", "B"))
    torch.save(state("resnet34"), deep)
    with pytest.raises(ConfigError, match=r"not of resnet18: it has no `layer1\.2\.conv1\.weight`, nor 79 more"):
        begin(model(str(deep), rgb, name="resnet18"))


def test_what_lies_beside_a_backbone_in_a_file_is_left_there(tmp_path: Path) -> None:
    other, rgb = tmp_path / "other.safetensors", contract(aerial=("R", "G", "B"))
    given = {k: v for k, v in state("resnet18").items() if not k.endswith("num_batches_tracked")}
    beside = {"fc.weight": torch.ones(10, 512), "fc.bias": torch.ones(10), "projector.0.weight": torch.ones(8, 512)}
    save_file({**given, **beside}, other)
    made = model(str(other), rgb, name="resnet18")
    assert begin(made) == ["aerial: resnet18 begins with the weights of " + str(other)]
    own = made.by_name["aerial"].net.state_dict()
    torch.testing.assert_close(own["layer4.1.bn2.weight"], given["layer4.1.bn2.weight"])


def test_lacking_weights_are_named_whatever_they_begin_as(tmp_path: Path) -> None:
    few, none = tmp_path / "few.safetensors", tmp_path / "none.safetensors"
    given, rgb = state("resnet18"), contract(aerial=("R", "G", "B"))
    lacking = ["layer4.1.conv2.weight", "layer4.1.bn2.weight", "layer4.1.bn2.bias", "layer4.1.bn2.running_mean"]
    save_file({k: v for k, v in given.items() if k not in lacking}, few)
    (told,) = begin(model(str(few), rgb, name="resnet18"))
    assert told.endswith(f"few.safetensors, but for {', '.join(lacking)}")
    save_file({k: v for k, v in given.items() if "bn" not in k and "downsample.1" not in k}, none)
    with pytest.raises(ConfigError, match=r"80 of its 100 weights are lacking, bn1\.weight first"):
        begin(model(str(none), rgb, name="resnet18"))
