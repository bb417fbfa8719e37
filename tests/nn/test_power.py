"""Radar in linear power is read in dB by every network: as if it had come in dB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from landweave.contract import BandStats, Contract, StreamContract
from landweave.nn.config import UTAE, Concat, Early, Encoder, Late, MeanOfDates, Stages, UNet, UPerNetFlair
from landweave.nn.fill import Levels, Show
from landweave.nn.fusion import stack_sensors
from landweave.nn.model import MapModel, Model, SceneModel
from landweave.nn.series import Standardised
from landweave.nn.uperfuse import UPerFuseModel
from landweave.sample import Batch, Image
from landweave.transforms import normalise
from landweave.transforms.faults import named, spoil
from tests.nn.flair_models import batch_of
from tests.nn.flair_models import image as image_of

DB, POWER, S2 = "s1-grd-sigma0-asc", "s1-grd-sigma0-asc-linear", "s2-l2a"
LEVELS = ((-11.0, 2.5), (-18.0, 3.0))
SIDE = 32
ENCODER = Encoder(name="test_resnet")
WIDTHS = {"encoder_widths": (8, 8, 16, 16), "decoder_widths": (8, 8, 16, 16), "hidden": (8,), "heads": 4, "width": 32}


def power_row(*, series: bool = False, decibel: bool = True) -> StreamContract:
    """Percentiles are those of `LEVELS`; the mean of the power is of its few bright pixels."""
    stats = []
    for mean, std in LEVELS:
        low, high = (10 ** ((mean + side * 4.6527 / 2 * std) / 10) for side in (-1, 1))
        stats.append(BandStats(0.3, 0.7, 0.0, 9.0, low, high, 99))
    given = LEVELS if decibel else ()
    return StreamContract(POWER, ("VV", "VH"), "linear power", 10.0, (SIDE, SIDE), tuple(stats), series, decibel=given)


def db_row(*, series: bool = False) -> StreamContract:
    stats = tuple(BandStats(mean, std, -60.0, 30.0, mean - 5, mean + 5, 99) for mean, std in LEVELS)
    return StreamContract(DB, ("VV", "VH"), "dB", 10.0, (SIDE, SIDE), stats, series)


def optical_row() -> StreamContract:
    return StreamContract(S2, ("B02",), "reflectance", 10.0, (SIDE, SIDE), (BandStats(0.1, 0.05, 0, 1, 0, 1, 9),))


def radar(row: StreamContract, *, T: int = 1) -> Image:
    """One scene in the unit of a sensor, with a hole and a few very bright pixels."""
    decibels = torch.randn(2, T, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 3 - 14
    decibels[..., 3, 3] = 20
    values = decibels if row.unit == "dB" else 10 ** (decibels / 10)
    image = image_of(row, values)
    seen = torch.ones(2, T, 1, SIDE, SIDE, dtype=torch.bool)
    seen[1, :, :, 4:9] = False
    return replace(image, pixels_seen=seen, data=torch.where(seen, image.data, 0.0))


def pair(*, T: int = 1, optical: bool = False) -> list[tuple[Contract, Batch]]:
    """The same places with radar in dB, and in linear power."""
    found = []
    for row in (db_row(series=T > 1), power_row(series=T > 1)):
        rows, images = {row.sensor: row}, {row.sensor: radar(row, T=T)}
        if optical:
            rows[S2] = optical_row()
            images[S2] = image_of(rows[S2], torch.full((2, 1, 1, SIDE, SIDE), 0.2))
        found.append((Contract(rows), batch_of(images)))
    return found


def uperfuse(contract: Contract, **more: object) -> UPerFuseModel:
    settings = {"fusion": Stages(), "decoder": UPerNetFlair(pyramid=8, channels=8), "classes": {"a": 3}}
    return UPerFuseModel(contract, ENCODER, **{"series": MeanOfDates(), **settings, **more})  # type: ignore[arg-type]


MODELS: dict[str, tuple[int, bool, Callable[[Contract], Model]]] = {
    "scene": (1, True, lambda c: SceneModel(c, ENCODER, Concat(), classes=3)),
    "early": (1, True, lambda c: SceneModel(c, ENCODER, Early(), classes=3)),
    "maps": (1, True, lambda c: MapModel(c, ENCODER, Concat(), decoder=UNet(channels=(8, 8, 8, 8, 8)), classes=3)),
    "mean of dates": (3, True, uperfuse),
    "uperfuse, early": (1, True, lambda c: uperfuse(c, fusion=Early())),
    "uperfuse, late": (3, True, lambda c: uperfuse(c, fusion=Late())),
    "one date beside U-TAE": (1, True, lambda c: uperfuse(c, series=UTAE(**WIDTHS))),
    "U-TAE": (3, False, lambda c: uperfuse(c, series=UTAE(**WIDTHS))),
}


@pytest.mark.parametrize("name", MODELS)
def test_power_and_decibels_are_the_same_to_a_network(name: str) -> None:
    T, optical, build = MODELS[name]
    found = []
    for contract, batch in pair(T=T, optical=optical):
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(build(contract).eval().logits(batch))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)
    assert float(found[0].std()) > 1e-3


def test_normalised_power_by_hand() -> None:
    contract, batch = pair()[1]
    image = normalise(batch, contract).images[POWER]
    values = batch.images[POWER].data
    for b, c, row, col in ((0, 0, 0, 0), (0, 1, 3, 3), (1, 1, 9, 2)):
        mean, std = LEVELS[c]
        expected = (10 * float(values[b, 0, c, row, col].log10()) - mean) / std
        assert float(image.data[b, 0, c, row, col]) == pytest.approx(expected, abs=1e-4)
    assert not image.data[1, :, :, 4:9].any(), "0 where nothing is seen"
    assert float(image.data.abs().max()) < 20, "a bright pixel does not rule"


def test_what_has_no_power_is_finite() -> None:
    contract, batch = pair()[1]
    dead = spoil(batch, named("dead:VH"), (0, 0))
    found = normalise(dead, contract).images[POWER].data[0, :, 1]
    assert found.unique().tolist() == pytest.approx([(-60 - LEVELS[1][0]) / LEVELS[1][1]])


def test_both_ways_to_a_network_are_one() -> None:
    row = power_row(series=True)
    image = radar(row, T=3)
    shown = normalise(batch_of({POWER: image}), Contract({POWER: row})).images[POWER].data
    assert torch.equal(Standardised(row)(image), shown)
    before = power_row(series=True, decibel=False)
    torch.testing.assert_close(Standardised(before)(image), shown, msg="as U-TAE derived it before it was told")


def test_given_statistics_count_for_both() -> None:
    """`data.statistics` of radar in linear power were accepted and left out by U-TAE."""
    row = replace(power_row(series=True), decibel=((-9.0, 4.0), (-15.0, 5.0)))
    image = radar(row, T=3)
    found = Standardised(row)(image)
    at = 10 * float(image.data[0, 1, 1, 7, 7].log10())
    assert float(found[0, 1, 1, 7, 7]) == pytest.approx((at + 15) / 5, abs=1e-4)
    assert torch.equal(found, normalise(batch_of({POWER: image}), Contract({POWER: row})).images[POWER].data)


def test_contracts_of_before_read_power_as_it_is() -> None:
    row = power_row(decibel=False)
    raw = Contract({POWER: power_row()}).to_json()
    assert Contract.from_json(raw).streams[POWER] == power_row()
    del raw[POWER]["decibel"]
    contract = Contract.from_json(raw)
    assert contract.streams[POWER] == row
    image = radar(row)
    found = normalise(batch_of({POWER: image}), contract).images[POWER].data
    torch.testing.assert_close(found, torch.where(image.seen, (image.data - 0.3) / 0.7, 0.0))


@pytest.mark.parametrize("fill", ["mean", "scalar", "zero", "minus-one", "learned"])
def test_fills_of_power(fill: str) -> None:
    """Standardised in dB, physical as power; no power at all is the least that has a value in dB."""
    contract, batch = pair(optical=True)[1]
    rows = [contract.streams[n] for n in (POWER, S2)]
    images = normalise(batch, contract).images
    both = stack_sensors(images, POWER)
    scalar = sum(mean for mean, _ in LEVELS) / 2
    decibels = {"scalar": (scalar, scalar), "zero": (-60.0, -60.0), "minus-one": (-60.0, -60.0)}
    wanted = decibels.get(fill, tuple(mean for mean, _ in LEVELS))
    reflectance = {"zero": 0.0, "minus-one": -1.0}.get(fill, 0.1)
    for form in ("standardised", "physical"):
        shown, beyond = Show(Encoder.model_validate({"fill": fill, "input": form}), Levels.of(rows))(both)
        hole = shown[1, :2, 5, 5].tolist()
        if form == "physical":
            expected = [*(10 ** (level / 10) for level in wanted), reflectance]
            torch.testing.assert_close(shown[0, :2, 0, 0], batch.images[POWER].data[0, 0, :, 0, 0], rtol=1e-4, atol=0)
        else:
            expected = [(level - m) / s for level, (m, s) in zip(wanted, LEVELS, strict=True)]
            expected.append((reflectance - 0.1) / 0.05)
        assert hole == pytest.approx(expected[:2], rel=1e-4, abs=1e-7)
        assert float(shown[1, 2, 5, 5].detach()) == pytest.approx(0.2 if form == "physical" else 2.0)
        assert beyond is None or beyond.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7)
