"""A series on its way into U-TAE: days, numbers, decibels."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
import torch

from landweave.contract import BandStats, StreamContract
from landweave.nn.config import UTAE
from landweave.nn.series import Numbers, SeriesEncoder, Standardised, since_may
from landweave.sample import EPOCH, NO_DAY
from tests.nn.flair_golden import case
from tests.nn.flair_models import image, row

S2, ASC = "s2-l2a", "s1-grd-sigma0-asc-linear"
SMALL = UTAE(heads=4, width=32, encoder_widths=(8, 16), decoder_widths=(8, 16))


def test_days_are_counted_from_15_may_of_their_year() -> None:
    days = [date(1896, 1, 1) + timedelta(n) for n in range(0, 366 * 240, 13)]
    days += [date(y, m, d) for y in (1900, 2000, 2024) for m, d in ((2, 28), (3, 1), (5, 15), (12, 31), (1, 1))]
    found = since_may(torch.tensor([[(d - EPOCH).days for d in days]], dtype=torch.int32))
    assert found[0].tolist() == [(d - date(d.year, 5, 15)).days for d in days]
    assert bool(since_may(torch.tensor([[NO_DAY]], dtype=torch.int32)).isnan().all())


def test_days_are_those_of_the_official_code() -> None:
    found = case("case6e")
    dates = [[str(d) for d in one] for one in found.input("dates_yyyymmdd").tolist()]
    days = [[(date(int(d[:4]), int(d[4:6]), int(d[6:])) - EPOCH).days for d in one] for one in dates]
    assert since_may(torch.tensor(days, dtype=torch.int32)).tolist() == found.expected("day_offsets").tolist()


def radar(p01: float = 0.01, p99: float = 1.0) -> StreamContract:
    stats = BandStats(0.2, 0.3, 0.0, 5.0, p01, p99, 9)
    return StreamContract(ASC, ("VV", "VH"), "linear power", 10.0, (4, 4), (stats, stats), True)


def test_radar_power_is_read_in_decibels() -> None:
    """-20 and 0 dB are the 1st and 99th percentile: 4.65 deviations apart, as of a normal distribution."""
    power = torch.tensor([0.01, 0.1, 1.0, 0.0]).view(1, 4, 1, 1, 1).expand(1, 4, 2, 4, 4).clone()
    found = Standardised(radar())(image(radar(), power))[0, :, 0, 0, 0]
    torch.testing.assert_close(found[:3], torch.tensor([-2.3263, 0.0, 2.3263]), rtol=0, atol=1e-3)
    assert bool(found.isfinite().all())  # no power at all: as little as there can be
    reflectance = row(S2, (4, 4), ["B02"])
    numbers = torch.full((1, 1, 1, 4, 4), 2000.0)
    assert float(Standardised(reflectance)(image(reflectance, numbers)).mean()) == pytest.approx(0.2)


def test_numbers_are_those_of_the_files() -> None:
    """Sentinel-2 as 0 to 10000, Sentinel-1 as power: what the official code reads, and never normalises."""
    one = replace(row(S2, (4, 4), ["B02"]), stats=(BandStats(0.3, 0.1, 0, 1, 0, 1, 9),))
    numbers = torch.full((1, 2, 1, 4, 4), 2345.0)
    shown = image(one, numbers)
    shown = replace(shown, pixels_seen=torch.tensor([True, False]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 4, 4))
    found = Numbers(one)(shown)
    torch.testing.assert_close(found[0, 0], numbers[0, 0], rtol=1e-6, atol=0)
    torch.testing.assert_close(found[0, 1], torch.full((1, 4, 4), 3000.0))  # the band's mean where nothing is seen
    power = torch.full((1, 1, 2, 4, 4), 0.04)
    torch.testing.assert_close(Numbers(radar())(image(radar(), power)), power)


@pytest.mark.parametrize("input_", ["standardised", "numbers"])
def test_what_is_not_seen_is_not_read(input_: str) -> None:
    one = row(S2, (5, 5), ["B02", "B03"])
    encoder = SeriesEncoder(SMALL.model_copy(update={"input": input_}), row=one, beside=False).eval()
    shown = image(one, torch.rand(3, 4, 2, 5, 5) * 3000, torch.tensor([[-90.0, -20.0, 50.0, 120.0]]).expand(3, 4))
    seen = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    data = torch.where(seen[..., None, None, None], shown.data, torch.nan)
    with torch.no_grad():
        whole = encoder(replace(shown, dates_seen=seen))
        junk = encoder(replace(shown, dates_seen=seen, data=data))
        alone = encoder(
            replace(image(one, torch.ones(1, 2, 2, 5, 5)), data=shown.data[1:2, ::2], days=shown.days[1:2, ::2])
        )
    for a, b, c in zip(whole, junk, alone, strict=True):
        assert torch.equal(a, b)
        assert not bool(a[2].any())
        torch.testing.assert_close(a[1:2], c, rtol=1e-3, atol=1e-3)


def test_a_date_of_zeros_is_padding_in_the_official_code_only() -> None:
    """Of the spec: a real date whose values are all 0 is taken for padding there."""
    one = row(S2, (5, 5), ["B02", "B03"])
    numbers = torch.rand(1, 3, 2, 5, 5) * 3000
    numbers[0, 1] = 0
    shown = image(one, numbers, torch.tensor([[-90.0, 10.0, 120.0]]))
    hidden = replace(shown, dates_seen=torch.tensor([[True, False, True]]))
    torch.manual_seed(0)
    apart = {}
    for padding in ("official", "left-out"):
        settings = SMALL.model_copy(update={"input": "numbers", "padding": padding})
        encoder = SeriesEncoder(settings, row=one, beside=False).eval()
        with torch.no_grad():
            apart[padding] = float((encoder(shown)[-1] - encoder(hidden)[-1]).abs().max())
    assert apart["official"] == 0
    assert apart["left-out"] > 1e-3
