"""Shapley values against the mean over all orders, and their laws."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from landweave.metrics.contribution import contributions

BANDS = ("B02", "B04", "B08", "B11")


def table(seed: int = 0) -> dict[frozenset[str], float]:
    rng = np.random.default_rng(seed)
    subsets = [frozenset(b for i, b in enumerate(BANDS) if code >> i & 1) for code in range(16)]
    return dict(zip(subsets, rng.random(16).tolist(), strict=True))


def test_it_is_the_mean_over_all_orders() -> None:
    scores, calls = table(), []

    def value(subset: frozenset[str]) -> float:
        calls.append(subset)
        return scores[subset]

    found = contributions(BANDS, value)
    for one in found:
        gains = []
        for order in permutations(BANDS):
            before = frozenset(order[: order.index(one.band)])
            gains.append(scores[before | {one.band}] - scores[before])
        assert one.shapley == pytest.approx(np.mean(gains))
        every = frozenset(BANDS)
        assert one.left_out == scores[every] - scores[every - {one.band}]
        assert one.alone == scores[frozenset({one.band})] - scores[frozenset()]
        assert one.error == 0
    assert len(calls) == len(set(calls)) == 16  # once a subset
    assert sum(c.shapley for c in found) == pytest.approx(scores[frozenset(BANDS)] - scores[frozenset()])


def test_two_bands_that_say_the_same_share_what_leaving_one_out_calls_nothing() -> None:
    """Red or near infrared is enough; blue adds a little; the last band nothing."""

    def value(seen: frozenset[str]) -> float:
        return 0.2 + 0.6 * bool({"B04", "B08"} & seen) + 0.1 * ("B02" in seen)

    found = {c.band: c for c in contributions(BANDS, value)}
    assert found["B04"].left_out == pytest.approx(0)
    assert found["B04"].shapley == pytest.approx(0.3)
    assert found["B08"].shapley == pytest.approx(0.3)
    assert found["B02"].shapley == pytest.approx(0.1)
    assert found["B11"].shapley == pytest.approx(0)


def test_drawn_values_come_near_the_exact_ones_and_repeat() -> None:
    scores = table(1)
    exact = {c.band: c.shapley for c in contributions(BANDS, scores.__getitem__)}
    drawn = contributions(BANDS, scores.__getitem__, exact=2, draws=400, seed=3)
    for one in drawn:
        assert abs(one.shapley - exact[one.band]) < 4 * one.error
        assert 0 < one.error < 0.03
    assert drawn == contributions(BANDS, scores.__getitem__, exact=2, draws=400, seed=3)
    assert drawn != contributions(BANDS, scores.__getitem__, exact=2, draws=400, seed=4)
    assert sum(c.shapley for c in drawn) == pytest.approx(scores[frozenset(BANDS)] - scores[frozenset()])


@pytest.mark.parametrize("bands", [(), ("B02", "B02")])
def test_no_band_or_one_twice_is_refused(bands: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="different"):
        contributions(bands, lambda s: 0.0)
