"""Each band from the others: ridge regression against an oracle, the network's masks, the settings that are refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from landweave.contract import BandStats, Contract, StreamContract
from landweave.data.dataset import Task
from landweave.data.order import shuffled
from landweave.errors import ConfigError
from landweave.legends import Legend
from landweave.methods.reconstruct import Reconstruct
from landweave.methods.standard import images, most_correlated
from landweave.nn.reconstruct import BandScale, Read, ReconstructModel
from landweave.nn.ridge import Ridge, features
from landweave.run.experiment import recipe
from landweave.sample import Batch, Image, Sample, collate
from landweave.transforms import cubes

BANDS = ("B02", "B03", "B04", "B08")
NOTHING = Task("multilabel", Legend("none", ()))


def contract(bands: tuple[str, ...] = BANDS, sensor: str = "s2-l2a", unit: str = "reflectance") -> Contract:
    stats = tuple(BandStats(0.1 + 0.05 * i, 0.05, 0.0, 1.0, 0.01, 0.9, 100) for i in range(len(bands)))
    return Contract({sensor: StreamContract(sensor, bands, unit, 10.0, (16, 16), stats)})


def batch(seed: int = 0, places: int = 3) -> Batch:
    rng = np.random.default_rng(seed)
    images = [rng.integers(200, 4000, (4, 16, 16)).astype(np.uint16) for _ in range(places)]
    return collate([Sample({"s2-l2a": Image.of("s2-l2a", BANDS, im)}, {}, f"p{i}") for i, im in enumerate(images)])


def model(method: Reconstruct | None = None) -> ReconstructModel:
    torch.manual_seed(0)
    made = (method or Reconstruct(width=8)).build(contract(), NOTHING)
    assert isinstance(made, ReconstructModel)
    for weight in made.parameters():  # it begins at zero, of which nothing can be told
        torch.nn.init.normal_(weight, std=0.2)
    return made


def values(seed: int = 0, n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    mixed = torch.randn(n, 4, 12, 12) @ torch.randn(12, 12) * 0.1
    return mixed + mixed.flip(1), torch.ones(n, 4, 12, 12, dtype=torch.bool)


@pytest.mark.parametrize("hidden", [(), (3,), (0, 3)])
def test_ridge_is_least_squares_with_a_penalty(hidden: tuple[int, ...]) -> None:
    """An oracle that stacks pixels, leaves the hidden bands out, and solves the augmented least squares."""
    x, seen = values()
    ridge = Ridge(4, penalty=0.01)
    ridge.add(x, seen)
    f = features(x, seen).double()
    kept = [c for c in range(4) if c != 1 and c not in hidden]
    rows = torch.cat([f[:, kept], f[:, [c + 4 for c in kept]]], 1).permute(0, 2, 3, 1).reshape(-1, 2 * len(kept))
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
    target = x[:, 1].reshape(-1).double()
    extra = (0.01 * len(rows)) ** 0.5 * torch.eye(rows.shape[1], dtype=torch.float64)[:-1]
    solved = torch.linalg.lstsq(torch.cat([rows, extra]), torch.cat([target, target.new_zeros(len(extra))])).solution
    found = ridge(x, seen, bands=[1], hidden=hidden)[:, 0].reshape(-1)
    torch.testing.assert_close(found.double(), rows @ solved, rtol=1e-4, atol=1e-5)


def test_a_band_and_hidden_bands_take_no_part_in_a_prediction() -> None:
    x, seen = values()
    ridge = Ridge(4)
    ridge.add(x, seen)
    other = x.clone()
    other[:, [1, 2]] = 77.0
    torch.testing.assert_close(ridge(x, seen, bands=[1], hidden=(2,)), ridge(other, seen, bands=[1], hidden=(2,)))
    assert not torch.allclose(ridge(x, seen, bands=[1]), ridge(other, seen, bands=[1]))


def test_an_error_grows_for_want_of_bands_and_never_shrinks() -> None:
    x, seen = values()
    ridge = Ridge(4)
    ridge.add(x, seen)
    assert ridge.looser(()).tolist() == [1.0] * 4
    assert (ridge.looser((0, 3)) >= 1).all()
    assert float(ridge.looser((3,))[0]) > 1.01  # 3 is the mirror image of 0


def test_pixels_of_which_a_band_is_unseen_teach_nothing() -> None:
    x, seen = values()
    spoilt, marked = x.clone(), seen.clone()
    spoilt[:, 2, :, 6:], marked[:, 2, :, 6:] = 1e3, False
    a, b = Ridge(4), Ridge(4)
    a.add(spoilt, marked)
    x2 = x.clone()
    x2[:, 2, :, 6:] = -5e4
    b.add(x2, marked)
    torch.testing.assert_close(a.gram, b.gram)


def test_the_network_never_sees_the_band_that_it_predicts() -> None:
    made = model()
    read = made.read("s2-l2a", cubes(batch(), contract()).images["s2-l2a"])
    other = read.values.clone()
    other[:, 1] = 5.0
    net = made.net("s2-l2a")
    a, b = (net.predict(v, read.seen, by="network") for v in (read.values, other))
    torch.testing.assert_close(a[:, 1], b[:, 1])
    assert not torch.allclose(a[:, 0], b[:, 0])
    alone = net.predict(other, read.seen, by="network", hidden=(1,))
    torch.testing.assert_close(alone[:, 0], net.predict(read.values, read.seen, by="network", hidden=(1,))[:, 0])


def test_the_loss_counts_hidden_bands_only_and_every_weight_has_a_gradient() -> None:
    method, made = Reconstruct(width=8), model()
    cube = cubes(batch(), contract())
    terms = method.loss(made, cube, "", key=(0, 1))
    assert list(terms) == ["loss"]
    terms["loss"].backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in made.parameters())
    again, other = (method.loss(made, cube, "", key=(0, epoch))["loss"].item() for epoch in (1, 2))
    assert terms["loss"].item() == again != other


def test_what_is_hidden_belongs_to_a_place_wherever_it_stands() -> None:
    method, many = Reconstruct(), batch(places=40)
    gone = method._hidden(many, "s2-l2a", 12, (0, 3))
    assert set(gone.sum(1).tolist()) == {1, 2, 3, 4}  # one to a third of twelve
    alone = Batch(many.images, {}, many.names[7:8], many.groups[7:8])
    assert method._hidden(alone, "s2-l2a", 12, (0, 3)).tolist() == gone[7:8].tolist()
    assert method._hidden(many, "s2-l2a", 12, (0, 4)).tolist() != gone.tolist()


@pytest.mark.parametrize(("sensor", "unit"), [("s2-l2a", "reflectance"), ("s1-grd-sigma0", "dB"), ("dem", "metre")])
def test_a_scale_goes_there_and_back(sensor: str, unit: str) -> None:
    stream = contract(("a", "b"), sensor, unit).streams[sensor]
    scale = BandScale.of(stream)
    x = torch.rand(2, 2, 3, 3)
    torch.testing.assert_close(scale.back(scale.to(x)), x)
    shifted = scale.to(x * 1.3) - scale.to(x) if unit == "reflectance" else scale.to(x + 3) - scale.to(x)
    if unit == "reflectance":
        assert float(scale.to(x * 1.3 + 0.3 * (scale.floor or 0)).sub(scale.to(x)).mean()) == pytest.approx(np.log(1.3))
    if unit == "dB":
        assert float(shifted.mean()) == pytest.approx(np.log(10**0.3), rel=1e-5)


@pytest.mark.parametrize(("sensor", "unit"), [("s2-l2a", "reflectance"), ("s1-grd-sigma0", "dB"), ("dem", "metre")])
@pytest.mark.parametrize("due", [0.02, 0.3])
def test_a_residual_is_told_in_the_unit(sensor: str, unit: str, due: float) -> None:
    scale = BandScale.of(contract(("a", "b"), sensor, unit).streams[sensor])
    value = {"reflectance": 1.5 * due, "dB": due + 10 * np.log10(1.5), "metre": due + 1.5}[unit]
    level = scale.to(torch.full((1, 2, 1, 1), value)) - scale.to(torch.full((1, 2, 1, 1), due))
    much, how = scale.departure(float(level[0, 1]), value, 1)
    assert much == pytest.approx(1.5, rel=1e-4)
    assert how == ("more" if unit == "metre" else "times")
    assert unit != "reflectance" or scale.departure(9.0, 0.02, 0) == (np.inf, "times"), "no light was due"


def test_no_more_images_are_read_than_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.methods.standard.MOST", 4)
    made, taken = model(), []

    def batches() -> Iterator[Batch]:
        for i in range(9):
            taken.append(i)
            yield cubes(batch(i), contract())

    assert len(list(images(made, "s2-l2a", batches))) == 4
    assert taken == [0, 1]
    drawn = shuffled(range(1000))
    assert sorted(drawn) == list(range(1000))
    assert drawn == shuffled(range(1000))
    assert 400 < np.mean(drawn[:100]) < 600, "the first are of the whole"


def test_the_most_correlated_band_predicts_a_multiple_of_itself() -> None:
    made = model()
    net = made.net("s2-l2a")
    x, seen = values()
    x[:, 2] = 0.5 * x[:, 0] + 0.1
    net.ridge.add(x, seen)
    read = Read(net.scale.back(x), x, seen)
    torch.testing.assert_close(most_correlated(net)(read)[:, 2], read.physical[:, 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("method.encoder.name=resnet34", "means nothing here"),
        ("method.sensor_dropout=0.5", "means nothing here"),
        ("method.faults.complete=0.5", "means nothing here"),
        ("method.blocks=[2]", "4 pixels or more"),
        ("classifier=true", "classif"),
        ("method.widht=8", "did you mean `width`"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(change: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        recipe("reconstruct", [change])


def test_of_two_bands_nobody_can_say_which_is_wrong() -> None:
    with pytest.raises(ConfigError, match="fewer than 3"):
        Reconstruct().build(contract(("VV", "VH"), "s1-grd-sigma0", "dB"), NOTHING)


def test_it_begins_with_no_other_run() -> None:
    with pytest.raises(ConfigError, match="begins with no other run"):
        Reconstruct().attach(model(), None)  # type: ignore[arg-type]
