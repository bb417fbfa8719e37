"""Cloud filter and averages against golden cases 6a to 6e, against plain loops, and where the official code errs."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landweave.data.series import MIDDLES, Period, averaged, clear_dates, clearest_date
from landweave.sample import EPOCH, day_of
from tests.conftest import VECTORS

Case = dict[str, np.ndarray]


def case(name: str) -> Case:
    from safetensors.numpy import load_file

    file: Path = VECTORS / "flair-hub" / f"case6{name}.safetensors"
    if not file.is_file():
        pytest.skip(f"no golden vectors: {file} (set LANDWEAVE_SHARED)")
    found: Case = load_file(file)
    return found


def days_of(dates: np.ndarray) -> list[int]:
    return [day_of(str(d)) for d in dates.tolist()]


def offset(day: int) -> int:
    """Days after 15 May of the same year, as the official code counts."""
    when = date.fromordinal(EPOCH.toordinal() + day)
    return (when - date(when.year, 5, 15)).days


def all_seen(values: np.ndarray) -> np.ndarray:
    return np.ones((len(values), 1, *values.shape[2:]), bool)


def test_the_filter_keeps_what_the_official_code_keeps() -> None:
    found = case("a_s2_filter_and_average")
    kept = np.flatnonzero(clear_dates(found["inputs.mask"]))
    assert kept.tolist() == found["expected.kept"].tolist()
    offsets = [offset(d) for d in days_of(found["inputs.dates_yyyymmdd"][kept])]
    assert offsets == found["expected.kept_day_offsets"].tolist()


def test_all_cloudy_falls_back_to_snow() -> None:
    found = case("c_filter_all_cloudy_fallback")
    assert np.flatnonzero(clear_dates(found["inputs.mask"])).tolist() == found["expected.kept"].tolist()


def test_where_the_official_filter_keeps_nothing_there_is_a_clearest_date() -> None:
    """Weakness 8 of the spec: no series is left with zero dates; see also test_flairhub_series.py."""
    found = case("d_filter_keeps_nothing")
    mask = found["inputs.mask"]
    assert clear_dates(mask).sum() == found["expected.kept_count"][0] == 0
    clear = [(m <= 1).all(0).sum() for m in mask]
    assert clear[clearest_date(mask)] == max(clear)


def test_of_dates_that_are_equally_covered_the_less_covered_is_the_clearest() -> None:
    mask = np.full((3, 2, 4, 4), 90)
    mask[1, 1] = 40
    assert clearest_date(mask) == 1
    mask[2, :, 0, 0] = 0
    assert clearest_date(mask) == 2, "a clear pixel goes before a lower probability"
    assert clearest_date(np.zeros((3, 2, 4, 4), int)) == 0


def test_a_date_passes_up_to_the_share_that_is_said() -> None:
    mask = np.zeros((1, 2, 10, 10), int)
    for covered in range(101):
        mask[0, 1].flat[:covered] = 50
        for cover in (0.0, 0.05, 0.3, 0.7):
            mask[0, 0] = 100 if covered and covered > round(100 * cover) else 0  # else snow alone would let it pass
            assert clear_dates(mask, cover=cover)[0] == (covered <= round(100 * cover)), (covered, cover)


@pytest.mark.parametrize("name", ["a_s2_filter_and_average", "b_average_across_new_year"])
@pytest.mark.parametrize("period", ["monthly", "semi-monthly"])
def test_averages_are_the_official_ones_where_there_are_data(name: str, period: Period) -> None:
    found = case(name)
    at = found["expected.kept"].astype(int)
    data, dates = found["inputs.data"][at], found["inputs.dates_yyyymmdd"][at]
    word = period.replace("-", "_")
    has = found[f"extra.{word.replace('ly', '')}_has_data"].astype(bool)
    ours = averaged(data, all_seen(data), days_of(dates), period)
    np.testing.assert_allclose(ours.values[has], found[f"expected.{word}_values"][has], rtol=1e-6)
    assert [offset(d) for d in ours.days] == found[f"extra.nominal_{word}_day_offsets"].tolist()
    if name.startswith("b") and period == "semi-monthly":
        has[:4] = True  # both halves of January and February 2021, which the official code drops
    assert (ours.dates_seen == has).all()
    assert (ours.pixels_seen.all((1, 2, 3)) == ours.dates_seen).all()


@pytest.mark.parametrize("name", ["a_s2_filter_and_average", "b_average_across_new_year"])
@pytest.mark.parametrize("period", ["monthly", "semi-monthly"])
def test_the_official_switch_gives_every_official_number(name: str, period: Period) -> None:
    found = case(name)
    at = found["expected.kept"].astype(int)
    data, dates = found["inputs.data"][at], found["inputs.dates_yyyymmdd"][at]
    word = period.replace("-", "_")
    theirs = averaged(data, all_seen(data), days_of(dates), period, official=True)
    np.testing.assert_allclose(theirs.values, found[f"expected.{word}_values"], rtol=1e-6)
    assert [offset(d) for d in theirs.days] == found[f"expected.{word}_day_offsets"].tolist()
    padded = (found[f"expected.{word}_values"] == 0).all((1, 2, 3))
    assert (theirs.dates_seen == ~padded).all()
    assert (theirs.pixels_seen.all((1, 2, 3)) == ~padded).all(), "a repeated period is repeated whole"


def test_day_offsets() -> None:
    found = case("e_day_offsets")
    for dates, expected in zip(found["inputs.dates_yyyymmdd"], found["expected.day_offsets"], strict=True):
        assert [offset(d) for d in days_of(dates)] == expected.tolist()


@pytest.mark.parametrize("period", ["monthly", "semi-monthly"])
def test_averages_against_plain_loops(period: Period) -> None:
    rng = np.random.default_rng(3)
    T, C, H, W = 23, 2, 3, 4
    values = rng.gamma(1.0, 0.1, (T, C, H, W)).astype(np.float32)  # power of radar: averaged as it is, not in dB
    seen = rng.random((T, C, H, W)) > 0.4
    days = sorted(int(d) for d in rng.integers(day_of("2019-01-01"), day_of("2019-12-31"), T))
    ours = averaged(values, seen, days, period)
    for p in range(12 * len(MIDDLES[period])):
        for c, h, w in np.ndindex(C, H, W):
            inside = []
            for t in range(T):
                when = date.fromordinal(EPOCH.toordinal() + days[t])
                same = when.month - 1 == p // len(MIDDLES[period])
                if period == "semi-monthly":
                    same = same and (when.day > 15) == bool(p % 2)
                if same and seen[t, c, h, w]:
                    inside.append(float(values[t, c, h, w]))
            assert ours.pixels_seen[p, c, h, w] == bool(inside)
            if inside:
                assert ours.values[p, c, h, w] == pytest.approx(sum(inside) / len(inside), rel=1e-12)


def test_what_stands_at_unseen_values_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    values, seen = rng.random((6, 2, 2, 2)), rng.random((6, 2, 2, 2)) > 0.5
    days = [day_of(f"2020-0{m}-10") for m in (1, 1, 2, 2, 5, 5)]
    one = averaged(values, seen, days, "monthly")
    other = averaged(np.where(seen, values, np.nan), seen, days, "monthly")
    np.testing.assert_array_equal(one.values, other.values)


def test_the_module_needs_no_torch() -> None:
    import subprocess
    import sys

    heavy = {"torch", "rasterio", "pyogrio", "pandas"}
    code = f"import sys, landweave.data.series; assert not {heavy} & set(sys.modules), 'heavy'"
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
