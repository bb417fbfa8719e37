"""What a network is shown where nothing is seen, against the formulas; the defaults change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from landweave.nn.config import Concat, Early, Encoder, UNet
from landweave.nn.encoders import StreamEncoder
from landweave.nn.fill import Levels, Show
from landweave.nn.model import MapModel, SceneModel
from landweave.sample import Batch, Image
from landweave.transforms import normalise
from landweave.transforms.faults import named, spoil
from tests.nn.tiny_models import batch_of, contract_of, with_image

S2, S1 = "s2-l2a", "s1-rtc-gamma0"
SIZES = {S2: (32, 32), S1: (32, 32)}
CONTRACT = contract_of(SIZES)
MEANS, STDS, SCALAR = (0.2, 0.4, 0.001), (0.1, 0.2, 0.0005), (0.2 + 0.4 + 0.001) / 3
LEVELS = Levels(MEANS, STDS, (SCALAR,) * 3)
EXPECTED = {  # in the sensor's unit, a band
    "mean": MEANS,
    "scalar": (SCALAR,) * 3,
    "zero": (0.0,) * 3,
    "minus-one": (-1.0,) * 3,
    "learned": MEANS,
}


def encoder(**settings: Any) -> Encoder:
    return Encoder.model_validate({"name": "test_resnet", **settings})


def image_of() -> Image:
    """Normalised, with a hole in one band, and another band missing at the second place."""
    image = batch_of({S2: (32, 32)}, B=2, T=2).images[S2]
    seen = torch.ones_like(image.data, dtype=torch.bool)
    seen[0, :, 1, 4:9, 5:8] = False
    bands = torch.ones(2, 3, dtype=torch.bool)
    bands[1, 2] = False
    image = replace(image, pixels_seen=seen, bands_seen=bands)
    return replace(image, data=torch.where(image.seen, image.data, 0.0))


@pytest.mark.parametrize("fill", EXPECTED)
@pytest.mark.parametrize("form", ["standardised", "physical"])
def test_a_fill_by_a_loop(fill: str, form: str) -> None:
    image = image_of()
    shown, beyond = Show(encoder(fill=fill, input=form), LEVELS)(image)
    shown = shown.view(2, 2, 3, 32, 32)
    for b, t, c, row, col in ((0, 0, 1, 4, 5), (0, 1, 1, 8, 7), (1, 0, 2, 0, 0), (1, 1, 2, 31, 31), (0, 0, 0, 4, 5)):
        if image.seen[b, t, c, row, col]:
            value = float(image.data[b, t, c, row, col]) * STDS[c] + MEANS[c]
        else:
            value = EXPECTED[fill][c]
        expected = value if form == "physical" else (value - MEANS[c]) / STDS[c]
        assert float(shown[b, t, c, row, col].detach()) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    if (fill, form) == ("mean", "standardised"):
        assert beyond is None
        assert shown.data_ptr() == image.data.data_ptr(), "the default gives the very numbers it was given"
    else:
        assert beyond is not None
        units = [
            EXPECTED[fill][c] if form == "physical" else (EXPECTED[fill][c] - MEANS[c]) / STDS[c] for c in range(3)
        ]
        assert beyond.tolist() == pytest.approx(units, rel=1e-5, abs=1e-6)


def test_the_papers_scalar_is_far_out_in_a_dark_band() -> None:
    """Section 0, fact 7: the mean over all bands is hundreds of deviations away in a band like cirrus."""
    shown, _ = Show(encoder(fill="scalar"), LEVELS)(image_of())
    assert float(shown[2, 2, 0, 0]) == pytest.approx((SCALAR - 0.001) / 0.0005)
    assert float(shown[2, 2, 0, 0]) > 300


def test_statistics_are_not_kept_with_the_weights() -> None:
    plain, other = (
        StreamEncoder(encoder(fill=f), bands=3, size=(32, 32), form="vector", levels=LEVELS) for f in ("mean", "zero")
    )
    assert list(plain.state_dict()) == list(other.state_dict())
    assert all(key.startswith("net.") for key in plain.state_dict())
    learned = StreamEncoder(encoder(fill="learned"), bands=3, size=(32, 32), form="vector", levels=LEVELS)
    assert set(learned.state_dict()) - set(plain.state_dict()) == {"show.learned"}


def run(model_settings: Encoder, image: Image, form: str = "vector", **more: Any) -> list[torch.Tensor]:
    torch.manual_seed(3)
    net = StreamEncoder(model_settings, bands=3, size=(32, 32), form=form, levels=LEVELS).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        return net(image, **more)


def test_a_learned_fill_begins_as_the_mean_and_learns() -> None:
    image = image_of()
    torch.testing.assert_close(run(encoder(fill="learned"), image)[0], run(encoder(), image)[0])
    torch.manual_seed(0)
    net = StreamEncoder(encoder(fill="learned"), bands=3, size=(32, 32), form="vector", levels=LEVELS)
    net(image)[0].square().sum().backward()
    assert net.show.learned is not None
    gradient = net.show.learned.grad
    assert gradient is not None
    assert gradient[0] == 0, "a band that is seen everywhere"
    assert gradient[1:].abs().min() > 0
    hidden = replace(image, dates_seen=torch.zeros_like(image.dates_seen))
    net.zero_grad()
    out = net(replace(hidden, data=torch.zeros_like(image.data)))[0]
    assert (out == 0).all()
    out.sum().backward()
    assert net.show.learned.grad is not None, "several processes must agree on what has a gradient"
    assert (net.show.learned.grad == 0).all()


@pytest.mark.parametrize("fill", ["mean", "zero", "minus-one"])
def test_what_is_laid_around_an_image_is_filled_alike(fill: str) -> None:
    """An image cut smaller and laid on the old area, and the whole image with the rest unseen, are the same."""
    batch = batch_of({S2: (64, 64)}, B=2)
    whole = batch.images[S2]
    seen = torch.zeros_like(whole.pixels_seen)
    seen[..., :32, :32] = True
    whole = replace(whole, data=torch.where(seen, whole.data, 0.0), pixels_seen=seen)
    cut = replace(whole, data=whole.data[..., :32, :32], pixels_seen=seen[..., :32, :32])
    for band_mask in (False, True):
        settings = encoder(fill=fill, input="physical", band_mask=band_mask)
        a, b = run(settings, whole, "pyramid"), run(settings, cut, "pyramid", extent=(2.0, 2.0))
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_a_backbone_of_fixed_size_is_padded_with_the_fill() -> None:
    settings = encoder(name="vit_tiny_patch16_224", fill="minus-one", input="physical")
    torch.manual_seed(0)
    net = StreamEncoder(settings, bands=3, size=(24, 24), form="vector", levels=LEVELS)
    caught: list[torch.Tensor] = []
    net.net.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    with torch.no_grad():
        net.eval()(batch_of({S2: (24, 24)}).images[S2])
    assert caught[0].shape[-2:] == (32, 32)
    torch.testing.assert_close(caught[0][..., 24:, :], torch.full_like(caught[0][..., 24:, :], -1.0))
    torch.testing.assert_close(caught[0][..., :, 24:], torch.full_like(caught[0][..., :, 24:], -1.0))


def seen_by(model: SceneModel | MapModel, batch: Batch) -> dict[str, torch.Tensor]:
    """What each network of a model is given."""
    caught: dict[str, torch.Tensor] = {}
    for name, one in model.by_name.items():
        one.net.register_forward_pre_hook(lambda _, given, name=name: caught.__setitem__(name, given[0].detach()))
    with torch.no_grad():
        model.eval()(batch)
    return caught


def test_physical_input_undoes_the_normalisation() -> None:
    batch = batch_of(SIZES)
    model = SceneModel(CONTRACT, encoder(input="physical"), Concat(), classes=3)
    given = seen_by(model, batch)
    for name in SIZES:
        torch.testing.assert_close(given[name], batch.images[name].data[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fill", ["scalar", "zero", "minus-one"])
def test_early_fusion_has_the_statistics_of_each_sensor(fill: str) -> None:
    """A band is missing of either sensor; both stand in one image, each with the level of its own sensor."""
    batch = batch_of(SIZES)
    for name in SIZES:
        image = batch.images[name]
        bands = image.bands_seen.clone()
        bands[:, 0] = False
        batch = with_image(batch, name, replace(image, bands_seen=bands))
    late = seen_by(SceneModel(CONTRACT, encoder(fill=fill, input="physical"), Concat(), classes=3), batch)
    (early,) = seen_by(SceneModel(CONTRACT, encoder(fill=fill, input="physical"), Early(), classes=3), batch).values()
    assert early.shape[1] == 5
    torch.testing.assert_close(early, torch.cat([late[n] for n in sorted(late)], 1), rtol=1e-4, atol=1e-4)
    level = {"scalar": {S1: -12.0, S2: 0.1}, "zero": {S1: 0.0, S2: 0.0}, "minus-one": {S1: -1.0, S2: -1.0}}[fill]
    assert float(early[0, 0, 0, 0]) == pytest.approx(level[S1], abs=1e-4)
    assert float(early[0, 2, 0, 0]) == pytest.approx(level[S2], abs=1e-4)


def test_a_wholly_missing_band_may_hold_any_numbers() -> None:
    batch = batch_of(SIZES)
    image = batch.images[S2]
    for fill in ("mean", "zero", "learned"):
        torch.manual_seed(0)
        model = SceneModel(CONTRACT, encoder(fill=fill), Concat(), classes=3).eval()
        answers = []
        for junk in (0.0, 1e4):
            data = image.data.clone()
            data[:, :, 1] = junk
            spoilt = spoil(with_image(batch, S2, replace(image, data=data)), named("missing:B03"), (0, 0))
            with torch.no_grad():
                answers.append(model.logits(spoilt))
        assert torch.equal(*answers)
        assert torch.equal(normalise(spoilt, CONTRACT).images[S2].data[:, :, 1], torch.zeros_like(image.data[:, :, 1]))


def test_maps_take_every_fill() -> None:
    decoder = UNet(channels=(16, 8, 8, 8, 8))
    batch = spoil(batch_of(SIZES, kind="map"), named("missing@0.5"), (0, 0))
    found = []
    for fill in EXPECTED:
        torch.manual_seed(0)
        model = MapModel(CONTRACT, encoder(fill=fill), Concat(), decoder=decoder, classes=3).eval()
        with torch.no_grad():
            found.append(model.logits(batch))
    torch.testing.assert_close(found[0], found[-1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found[0], found[3], atol=1e-3)


def test_encoders_move_between_runs_of_unlike_fill() -> None:
    """`start=RUN`: what a fill has learned goes along where the other learns one too; otherwise it stays."""
    torch.manual_seed(0)
    plain, learned, again = (
        SceneModel(CONTRACT, encoder(fill=f), Concat(), classes=3) for f in ("mean", "learned", "learned")
    )
    first = learned.by_name[S2]
    assert first.show.learned is not None
    with torch.no_grad():
        first.show.learned += 2
    learned.load_encoders(plain.encoder_state(), "a")
    for key, value in plain.encoder_state().items():
        assert torch.equal(learned.encoder_state()[key], value)
    assert (first.show.learned == 2).all(), "a fill of its own stays"
    again.load_encoders(learned.state_dict(), "b")
    assert again.by_name[S2].show.learned is not None
    assert torch.equal(again.encoder_state()[f"{S2}.show.learned"], first.show.learned)
    plain.load_encoders(learned.encoder_state(), "c")
