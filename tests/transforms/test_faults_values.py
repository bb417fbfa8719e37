"""Faults that change values, against loops and formulas by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from landweave.errors import ConfigError
from landweave.sensors import SENSORS
from landweave.transforms.faults import DeadColumns, Gain, Noise, Saturation, Shift, Shuffle, Stripes, Swap
from tests.transforms.fault_cubes import BANDS, DEM, S1, S2, cubes_of, hit, with_hole

B08, B09, B11 = (BANDS[S2].index(b) for b in ("B08", "B09", "B11"))


def test_a_thousand_digital_numbers_are_a_tenth_of_reflectance() -> None:
    batch = cubes_of(sensors=(S2, S1, DEM))
    found = hit(batch, Gain(number=1000)).images
    torch.testing.assert_close(found[S2].data, batch.images[S2].data + 0.1)
    assert torch.equal(found[S1].data, batch.images[S1].data)
    assert torch.equal(found[DEM].data, batch.images[DEM].data)
    back = hit(hit(batch, Gain(number=1000)), Gain(number=-1000)).images[S2].data
    torch.testing.assert_close(back, batch.images[S2].data)
    with pytest.raises(ConfigError, match="no sensor that it could strike"):
        hit(cubes_of(sensors=(S1, DEM)), Gain(number=1000))


def test_gain_and_offset_of_reflectance_and_of_power() -> None:
    batch = cubes_of()
    found = hit(batch, Gain(gain=1.3, offset=0.02, bands=("B08",))).images[S2].data
    torch.testing.assert_close(found[:, :, B08], batch.images[S2].data[:, :, B08] * 1.3 + 0.02)
    others = [c for c in range(12) if c != B08]
    assert torch.equal(found[:, :, others], batch.images[S2].data[:, :, others])
    radar = hit(batch, Gain(gain=1.3, sensor=S1)).images[S1].data
    power = 10 ** (batch.images[S1].data / 10)
    torch.testing.assert_close(10 ** (radar / 10), 1.3 * power)


def test_the_same_gain_in_decibels_and_in_linear_power() -> None:
    decibels = cubes_of(sensors=(S1,))
    linear = f"{S1}-linear"
    other = cubes_of(sensors=(linear,), bands={linear: ("VV", "VH")})
    images = {linear: other.images[linear]}
    from dataclasses import replace

    images[linear] = replace(images[linear], data=10 ** (decibels.images[S1].data / 10))
    as_power = replace(other, images=images)
    for fault in (Gain(gain=0.5), Gain(gain=2, bands=("VH",))):
        a, b = hit(decibels, fault).images[S1].data, hit(as_power, fault).images[linear].data
        torch.testing.assert_close(10 ** (a / 10), b)


def test_a_spread_of_gains_is_one_factor_a_place_and_band() -> None:
    batch = cubes_of("abcdefghijklmnopqrst", T=2)
    factor = hit(batch, Gain(spread=0.3, sensor=S2)).images[S2].data / batch.images[S2].data
    assert (factor.amax((1, 3, 4)) - factor.amin((1, 3, 4))).max() < 1e-4
    drawn = factor[:, 0, :, 0, 0].flatten()
    assert 0.7 <= drawn.min() < 0.73
    assert 1.27 < drawn.max() <= 1.3001
    assert drawn.mean().item() == pytest.approx(1, abs=4 * 0.3 / math.sqrt(3 * 240))


def test_two_bands_swapped_twice_are_as_they_were() -> None:
    batch = with_hole(cubes_of(T=2))
    fault = Swap(bands=("B08", "B11"))
    once = hit(batch, fault)
    assert torch.equal(once.images[S2].data[:, :, B08], batch.images[S2].data[:, :, B11])
    assert torch.equal(once.images[S2].data[:, :, B11], batch.images[S2].data[:, :, B08])
    assert torch.equal(hit(once, fault).images[S2].data, batch.images[S2].data)
    anything = hit(batch, Swap(sensor=S2)).images[S2].data
    moved = (anything != batch.images[S2].data).flatten(3).any(3).any(1)
    assert moved.sum(1).tolist() == [2] * 4
    with pytest.raises(ConfigError, match="two bands"):
        hit(cubes_of(sensors=(S2,), bands={S2: ("B02",)}), Swap())


def test_bands_are_swapped_where_both_are_seen() -> None:
    from dataclasses import replace

    batch = cubes_of("a", (S2,))
    image = batch.images[S2]
    pixels = image.seen.clone()
    pixels[:, :, B08, 2:6] = False
    data = torch.where(pixels, image.data, 0.0)
    batch = replace(batch, images={S2: replace(image, data=data, pixels_seen=pixels)})
    found = hit(batch, Swap(bands=("B08", "B11"))).images[S2].data
    assert torch.equal(found[:, :, B11, 2:6], data[:, :, B11, 2:6])
    assert torch.equal(found[:, :, B11, 6:], data[:, :, B08, 6:])


def shifted_by_hand(image: np.ndarray, dy: float, dx: float) -> np.ndarray:
    H, W = image.shape
    out = np.zeros_like(image)
    for r in range(H):
        for c in range(W):
            y, x = r - dy, c - dx
            r0, c0 = math.floor(y), math.floor(x)
            total = 0.0
            for i, wy in ((r0, 1 - (y - r0)), (r0 + 1, y - r0)):
                for j, wx in ((c0, 1 - (x - c0)), (c0 + 1, x - c0)):
                    total += wy * wx * image[min(max(i, 0), H - 1), min(max(j, 0), W - 1)]
            out[r, c] = total
    return out


@pytest.mark.parametrize(("sensor", "pixels"), [(S2, 0.5), (S2, 1.7), (S1, 0.5)])
def test_a_shift_by_a_loop(sensor: str, pixels: float) -> None:
    """The direction is found from a plane, whose shift by (dy, dx) lowers it by dy and dx times its slopes."""
    from dataclasses import replace

    batch = cubes_of("ab", (sensor,), side=16)
    image = batch.images[sensor]
    ramp = torch.arange(16.0)
    plane = (ramp[:, None] * 2 + ramp[None] * 0).expand_as(image.data), ramp[None].expand_as(image.data)
    fault = Shift(pixels=pixels)
    moves = []
    for one in plane:
        one = 10 * torch.log10(one + 1) if sensor == S1 else one
        moved = hit(replace(batch, images={sensor: replace(image, data=one.clone())}), fault).images[sensor].data
        back = 10 ** (moved / 10) - 10 ** (one / 10) if sensor == S1 else moved - one
        moves.append(-back[..., 8, 8])
    dy, dx = moves[0] / 2, moves[1]
    torch.testing.assert_close(torch.hypot(dy, dx), torch.full_like(dy, pixels), rtol=1e-3, atol=1e-3)
    assert len({round(float(d), 3) for d in dy.flatten()}) == dy.numel(), "a direction for each band"
    found = hit(batch, fault).images[sensor].data
    for b, c in ((0, 0), (1, 1)):
        values = image.data[b, 0, c].double().numpy()
        values = 10 ** (values / 10) if sensor == S1 else values
        expected = shifted_by_hand(values, float(dy[b, 0, c]), float(dx[b, 0, c]))
        expected = 10 * np.log10(expected) if sensor == S1 else expected
        assert found[b, 0, c].numpy() == pytest.approx(expected, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize(("sensor", "level"), [(S2, 0.3), (S1, -12.0)])
def test_unseen_pixels_count_for_nothing_beside_seen_ones(sensor: str, level: float) -> None:
    """A flat image with a hole stays flat under a shift, and noise relative to its deviation is none."""
    from dataclasses import replace

    batch = with_hole(cubes_of("ab", (sensor,)), sensor)
    image = batch.images[sensor]
    flat = replace(image, data=torch.where(image.seen, torch.full_like(image.data, level), 0))
    batch = replace(batch, images={sensor: flat})
    for fault in (Shift(pixels=2.3), Saturation(share=0.5), *([Noise(level=1)] if sensor == S2 else [])):
        found = hit(batch, fault).images[sensor]
        assert (found.data[found.seen] - level).abs().max() < 1e-4, fault.kind


def test_noise_is_a_share_of_the_deviation_in_native_pixels() -> None:
    batch = cubes_of("abcd", (S2, DEM), side=60)
    for name, image in hit(batch, Noise(level=0.3)).images.items():
        added = image.data - batch.images[name].data
        for c, band in enumerate(SENSORS[name].bands):
            deviation = batch.images[name].data[:, :, c].std((-1, -2), unbiased=False)
            share = (added[:, :, c].std((-1, -2)) / deviation).mean()
            assert share.item() == pytest.approx(0.3, rel=0.15 if band.metres > 20 else 0.05), band.name
            k = int(band.metres // 10)
            blocks = added[:, :, c, ::k, ::k].repeat_interleave(k, 2).repeat_interleave(k, 3)
            torch.testing.assert_close(blocks, added[:, :, c], rtol=1e-3, atol=2e-4 if name == DEM else 1e-6)
    assert abs(float((hit(batch, Noise()).images[S2].data - batch.images[S2].data).mean())) < 1e-3


def test_noise_of_radar_is_multiplied_with_its_power() -> None:
    batch = cubes_of("ab", (S1,), side=120)
    found = hit(batch, Noise(level=0.5)).images[S1].data
    factor = 10 ** ((found - batch.images[S1].data) / 10)
    assert factor.mean().item() == pytest.approx(1, rel=0.01)
    assert factor.std().item() == pytest.approx(0.5, rel=0.02)
    dark = batch.images[S1].data < -15
    assert factor[dark].std().item() == pytest.approx(factor[~dark].std().item(), rel=0.05), "the same for dark pixels"


def test_saturation_cuts_a_share_or_at_a_level() -> None:
    batch = with_hole(cubes_of())
    clean, seen = batch.images[S2].data, batch.images[S2].seen
    found = hit(batch, Saturation(share=0.1, sensor=S2)).images[S2].data
    for b in range(4):
        for c in range(12):
            values = np.sort(clean[b, 0, c][seen[b, 0, c]].numpy())
            level = values[math.ceil(len(values) * 0.9) - 1]
            expected = np.minimum(clean[b, 0, c].numpy(), level)
            assert np.array_equal(found[b, 0, c].numpy(), expected)
            assert np.mean(values > level) == pytest.approx(0.1, abs=1.01 / len(values))
    at = hit(batch, Saturation(at=0.25, bands=("B08",))).images[S2].data
    assert torch.equal(at[:, :, B08], clean[:, :, B08].clamp(max=0.25))
    marked = hit(batch, Saturation(at=0.25, bands=("B08",), known=True)).images[S2]
    assert torch.equal(marked.seen[:, :, B08], seen[:, :, B08] & (clean[:, :, B08] <= 0.25))


def test_stripes_lie_a_period_apart_in_native_lines() -> None:
    batch = cubes_of("abc", (S2,), side=60, T=2)
    fault = Stripes(period=5, width=2, strength=0.2)
    factor = hit(batch, fault).images[S2].data / batch.images[S2].data
    assert torch.allclose(factor[:, 0], factor[:, 1], atol=1e-5), "alike at all dates"
    for c, k in ((B08, 1), (B11, 2), (B09, 6)):
        lines = factor[:, 0, c, :, 0]
        assert torch.allclose(factor[:, 0, c], lines[:, :, None].expand(3, 60, 60), atol=1e-5)
        levels = sorted({round(float(v), 3) for v in lines.flatten()})
        assert set(levels) <= {0.8, 1.0, 1.2}
        struck = (lines - 1).abs() > 0.1
        for b in range(3):
            native = struck[b, ::k]
            assert torch.equal(native.repeat_interleave(k)[:60], struck[b]), "a native line is wholly struck"
            starts = [i for i in range(len(native) - 5) if native[i : i + 5].sum() != 2]
            assert not starts, "two lines in any five"
    phases = {tuple(((factor[b, 0, B08, :, 0] - 1).abs() > 0.1).tolist()) for b in range(3)}
    assert len(phases) > 1


def test_gaps_columns_and_slopes() -> None:
    batch = cubes_of("a", (S2,), side=40)
    clean = batch.images[S2].data
    columns = hit(batch, Stripes(period=8, gap=True, axis="columns", bands=("B08",))).images[S2].data[0, 0, B08]
    gone = columns == 0
    assert gone.all(0).sum() == 5
    assert torch.equal(gone.all(0), gone.any(0))
    slanted = hit(batch, Stripes(period=8, gap=True, slope=0.5, known=True, bands=("B08",))).images[S2]
    assert torch.equal(slanted.data[slanted.seen], clean[slanted.seen])
    lost = ~slanted.seen[0, 0, B08]
    assert torch.equal(lost[1:, :-2], lost[:-1, 2:]), "one row down is two columns back"
    assert lost.float().mean().item() == pytest.approx(1 / 8, abs=0.02)


def test_dead_columns_are_whole_native_columns() -> None:
    batch = cubes_of("abcdefgh", (S2,), side=120, T=2)
    fault = DeadColumns(share=0.2)
    dead = hit(batch, fault).images[S2].data == 0
    for c, k in ((B08, 1), (B11, 2), (B09, 6)):
        lines = dead[:, 0, c, 0]
        assert torch.equal(dead[:, :, c], lines[:, None, None].expand(8, 2, 120, 120))
        assert torch.equal(lines[:, ::k].repeat_interleave(k, 1), lines)
        n = 8 * 120 / k
        assert abs(float(lines.float().mean()) - 0.2) < 4 * (0.16 / n) ** 0.5
    rows = hit(batch, DeadColumns(share=0.2, axis="rows")).images[S2].data == 0
    assert rows[:, 0, B08].all(2).any()
    assert not rows[:, 0, B08].all(1).any()


def test_shuffled_dates_are_the_same_dates_of_other_images() -> None:
    from dataclasses import replace

    batch = cubes_of("abcd", T=6)
    days = torch.arange(100, 106, dtype=torch.int32).expand(4, 6)
    dates = torch.tensor([[True] * 6, [True] * 5 + [False], [True, False] * 3, [True] + [False] * 5])
    images = {n: replace(im, days=days, dates_seen=dates) for n, im in batch.images.items()}
    found = hit(replace(batch, images=images), Shuffle(sensor=S2))
    moved = found.images[S2]
    assert all(torch.equal(im.days, days) for n, im in found.images.items() if n != S2), "only the sensor that is named"
    assert torch.equal(moved.days[~dates], days[~dates]), "a date that is not seen stays"
    for b in range(4):
        assert sorted(moved.days[b][dates[b]].tolist()) == days[b][dates[b]].tolist()
    assert not torch.equal(moved.days[0], days[0])
    again = [hit(replace(batch, images=images), Shuffle(), key=(0, e)).images[S2].days for e in (1, 1, 2)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2]), "another order in each epoch"
    assert torch.equal(moved.data[dates], images[S2].physical()[dates]), "no value changes"
