from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from landweave.errors import ConfigError
from landweave.nn.config import Encoder
from landweave.nn.encoders import DEPTH, Form, StreamEncoder, lay_on
from landweave.sample import Image
from landweave.transforms import normalise
from tests.nn.tiny_models import batch_of, contract_of

SIZE = {"s2-l2a": (64, 64)}
# one of each kind that timm builds differently: residual, channels-last inside, fixed size by windows, fixed by tokens
BACKBONES = (
    "resnet18",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
    "mobilenetv3_small_050",
    "mma-vgg",
    "mit_b0",
)


def image_of(T: int = 1, B: int = 2, seed: int = 0, size: tuple[int, int] = (64, 64)) -> Image:
    sizes = {"s2-l2a": size}
    return normalise(batch_of(sizes, B=B, T=T, seed=seed), contract_of(sizes)).images["s2-l2a"]


def encoder_of(name: str = "resnet18", *, form: Form = "vector", **settings: object) -> StreamEncoder:
    torch.manual_seed(0)
    return StreamEncoder(Encoder.model_validate({"name": name, **settings}), bands=3, size=(64, 64), form=form)


@pytest.mark.parametrize("form", ["vector", "map", "pyramid"])
@pytest.mark.parametrize("name", BACKBONES)
def test_contract_of_every_kind_of_backbone(name: str, form: Form) -> None:
    if (name, form) == ("mma-vgg", "pyramid"):
        with pytest.raises(ConfigError, match="mma-vgg gives one map of 1/8 of the pixels"):
            encoder_of(name, form=form)
        return
    encoder = encoder_of(name, form=form).eval()
    image = image_of(T=3, B=3)
    image.dates_seen[1, 1:] = False
    image.bands_seen[2] = False
    with torch.no_grad():
        found = encoder(image)
        alone = encoder(replace(_rows(image, [1]), dates_seen=torch.tensor([[True, False, False]])))
    assert [f.shape[1] for f in found] == encoder.widths
    if form == "pyramid":
        assert len(found) == DEPTH
        sizes = [f.shape[-1] for f in found]
        assert sizes == sorted(sizes, reverse=True), "fine to coarse"
    for f, g in zip(found, alone, strict=True):
        assert (f[2] == 0).all(), "an absent sensor has features of 0"
        if f.shape[1]:
            assert not (f[0] == 0).all()
            torch.testing.assert_close(f[1], g[0], rtol=1e-3, atol=1e-3)


LAST = {"resnet18": 2, "convnext_atto": 2, "vit_tiny_patch16_224": 4, "mobilenetv3_small_050": 2, "mma-vgg": 8}


@pytest.mark.parametrize("name", BACKBONES)
def test_map_lies_as_the_image_does_and_the_vector_is_that_of_no_map(name: str) -> None:
    encoder, plain = encoder_of(name, form="map").eval(), encoder_of(name).eval()
    image = image_of(B=1)
    change = replace(image, data=image.data.clone())
    change.data[..., :32, 32:] += 3.0
    with torch.no_grad():
        vector, maps = encoder(image)
        torch.testing.assert_close(vector, plain(image)[0])
        moved = (encoder(change)[1] - maps).abs().sum(1)[0]
    assert maps.shape[-2:] == (LAST.get(name, 2),) * 2
    assert encoder.widths == [vector.shape[1], maps.shape[1]]
    if name != "mobilenetv3_small_050":  # its squeeze-and-excitation spreads a change over the whole map
        half = moved.shape[0] // 2
        assert moved[:half, half:].sum() > max(moved[:half, :half].sum(), moved[half:].sum())


def test_tokens_go_back_to_their_patches_and_the_class_token_is_none() -> None:
    encoder = encoder_of("vit_tiny_patch16_224", form="map").eval()
    image = image_of(B=1)
    with torch.no_grad():
        maps = encoder(image)[1]
        tokens = encoder.net.forward_features(image.data[:, 0])
    for i in range(4):
        for j in range(4):
            torch.testing.assert_close(maps[0, :, i, j], tokens[0, 1 + 4 * i + j])


def test_backbone_without_a_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no map below its features"):
        encoder_of("levit_128s", form="map")


def _rows(image: Image, rows: list[int]) -> Image:
    tensors = {k: getattr(image, k)[rows] for k in ("data", "scale", "offset", "days", "dates_seen", "bands_seen")}
    return replace(image, **tensors, pixels_seen=image.pixels_seen[rows])


def test_features_of_a_series_are_the_mean_over_the_seen_dates() -> None:
    encoder = encoder_of().eval()
    image = image_of(T=3)
    image.dates_seen[0, 1] = False
    with torch.no_grad():
        (found,) = encoder(image)
        for b, dates in enumerate(([0, 2], [0, 1, 2])):
            each: list[Tensor] = []
            for t in dates:
                one = image_of(T=3)
                one.dates_seen[:] = False
                one.dates_seen[b, t] = True
                each.append(encoder(one)[0][b])
            torch.testing.assert_close(found[b], torch.stack(each).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", [False, True])
def test_in_training_nothing_unseen_reaches_features_or_batch_norm(mask: bool) -> None:
    def run(rubbish: float, padding: int) -> tuple[Tensor, dict[str, Tensor]]:
        encoder = encoder_of(band_mask=mask).train()
        image = image_of(T=2 + padding, B=3)
        image.data[:, :2] = image_of(T=2, B=3).data
        image.dates_seen[:, 2:] = False
        image.pixels_seen[1, 0] = False
        image.bands_seen[2] = False
        image = replace(image, data=torch.where(image.seen, image.data, rubbish if rubbish == 0 else 0.0))
        if rubbish:  # places and dates of which nothing is seen never enter the network, whatever stands there
            image.data[2] = rubbish
            image.data[:, 2:] = rubbish
        (found,) = encoder(image)
        return found.detach(), {k: v.clone() for k, v in encoder.state_dict().items()}

    (found, state), (other, after) = run(0.0, 0), run(1e6, 2)
    assert torch.equal(found, other)
    assert all(torch.equal(state[k], after[k]) for k in state)


def test_all_absent_keeps_statistics_and_gives_every_weight_a_gradient_of_zero() -> None:
    encoder = encoder_of(form="pyramid").train()
    image = image_of()
    image.bands_seen[:] = False
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    sum(f.sum() for f in encoder(image)).backward()  # type: ignore[union-attr]
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert all(p.grad is not None and (p.grad == 0).all() for p in encoder.parameters())


def test_one_place_of_one_pixel_in_the_last_stage_trains() -> None:
    encoder = encoder_of().train()
    image = image_of(B=1, size=(32, 32))
    (found,) = encoder(image)
    assert found.shape == (1, 512)
    assert found.isfinite().all()


def test_date_with_no_pixel_seen_is_no_date() -> None:
    image = image_of(T=2)
    image.pixels_seen[0, 1] = False
    assert image.dates_with_data.tolist() == [[True, False], [True, True]]


def test_stems_for_small_images() -> None:
    sizes = {}
    for stem in ("own", "no-pool", "small"):
        encoder = encoder_of(stem=stem, form="pyramid").eval()
        with torch.no_grad():
            sizes[stem] = [f.shape[-1] for f in encoder(image_of())]
    assert sizes == {"own": [32, 16, 8, 4, 2], "no-pool": [32, 32, 16, 8, 4], "small": [64, 64, 32, 16, 8]}
    with pytest.raises(ConfigError, match="convnext_atto has another stem"):
        encoder_of("convnext_atto", stem="small")


def test_backbone_that_cannot_give_what_is_asked_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigError, match="inception_v3 cannot read 64 x 64 pixels"):
        encoder_of("inception_v3")


def test_a_stride_of_8_dilates_the_last_stages_with_the_same_weights() -> None:
    """DeepLabV3 reads a map of 1/8 (Chen et al. 2017): sizes change, weights do not."""
    plain, dense = (encoder_of(form="pyramid", stride=stride).eval() for stride in (32, 8))
    dense.load_state_dict(plain.state_dict())
    with torch.no_grad():
        both = [e(image_of()) for e in (plain, dense)]
    assert [f.shape[-1] for f in both[0]] == [32, 16, 8, 4, 2]
    assert [f.shape[-1] for f in both[1]] == [32, 16, 8, 8, 8]
    assert torch.equal(both[0][2], both[1][2])
    for name in ("vit_tiny_patch16_224", "mit_b0", "mma-vgg"):
        with pytest.raises(ConfigError, match=f"{name} has no convolutions to dilate for a stride of 8"):
            encoder_of(name, stride=8)


def test_lay_on_keeps_pixels_where_it_can_and_positions_everywhere() -> None:
    x = torch.rand(1, 1, 50, 60)
    kept = lay_on(x, (64 / 50, 64 / 60))
    assert torch.equal(kept[..., :50, :60], x)
    assert kept.shape[-2:] == (64, 64)
    assert (kept[..., 50:, :] == 0).all()
    # a ramp over a coarse image of the same area keeps its value at each position
    ramp = (torch.arange(25.0) + 0.5).div(25).expand(1, 1, 25, 25)
    laid = lay_on(ramp, (64 / 50, 64 / 50))
    at = (torch.arange(32) + 0.5) / 32 * 64 / 50
    inside = (at > 0.04) & (at < 0.96)
    torch.testing.assert_close(laid[0, 0, 5][inside], at[inside], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["vector", "pyramid"])
def test_a_size_that_a_backbone_cannot_read_is_said_as_such(form: Form) -> None:
    encoder = encoder_of("levit_128s", form=form).eval()
    with torch.no_grad():
        encoder(image_of())
        with pytest.raises(ConfigError, match="levit_128s cannot read 96 x 96 pixels") as caught:
            encoder(image_of(size=(72, 72)))
    assert "windows of 64 x 64, as in training" in (caught.value.fix or "")
    encoder.net.double()
    with pytest.raises(RuntimeError, match=r"dtype|type"), torch.no_grad():  # the size is not to blame
        encoder(image_of())
