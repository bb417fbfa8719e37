"""Alignment, unchanged answers and the area over the missing rate, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landweave.metrics.align import SCALE, alignment, area, unchanged


def rows(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def loop_loss(s: np.ndarray, t: np.ndarray) -> float:
    """Row by row, and column by column."""
    cosine = [[float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in t] for a in s]
    total = 0.0
    for i in range(len(s)):
        across = math.log(sum(math.exp(SCALE * c) for c in cosine[i]))
        down = math.log(sum(math.exp(SCALE * row[i]) for row in cosine))
        total += across + down - 2 * SCALE * cosine[i][i]
    return total / (2 * len(s))


def test_loss_cosine_and_retrieval_are_those_of_loops() -> None:
    t = rows(20, 5, 0)
    s = t + 0.7 * rows(20, 5, 1)
    found = alignment(s, t, batch=8)
    drawn = np.random.default_rng(0).permutation(20)
    s, t = s[drawn], t[drawn]
    assert found.loss == pytest.approx(np.mean([loop_loss(s[i : i + 8], t[i : i + 8]) for i in (0, 8)]))
    assert found.floor == pytest.approx(np.mean([loop_loss(t[i : i + 8], t[i : i + 8]) for i in (0, 8)]))
    assert found.excess == pytest.approx(found.loss - found.floor)
    near = []
    for i in range(20):
        cosine = [float(s[i] @ b / np.linalg.norm(b)) for b in t]
        near.append(int(np.argmax(cosine)) == i)
    assert found.retrieval_all == np.mean(near)
    assert 0 < found.retrieval_all < 1
    first = [max(range(8), key=lambda j: s[i] @ t[j] / np.linalg.norm(t[j])) == i for i in range(8)]
    second = [max(range(8, 16), key=lambda j: s[i] @ t[j] / np.linalg.norm(t[j])) == i for i in range(8, 16)]
    assert found.retrieval_batch == np.mean([*first, *second])
    each = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(s, t, strict=True)]
    assert found.cosine == pytest.approx(np.mean(each))


def test_a_teacher_against_itself_is_at_its_floor_which_is_above_zero() -> None:
    t = rows(64, 4, 2)
    found = alignment(t, 3 * t)
    assert found.excess == pytest.approx(0, abs=1e-12)
    assert found.floor > 0.05
    assert found.cosine == pytest.approx(1)
    assert (found.retrieval_batch, found.retrieval_all) == (1, 1)


def test_a_collapsed_student_is_at_chance_and_finds_nothing() -> None:
    t = rows(64, 16, 3)
    found = alignment(np.ones_like(t), t)
    assert found.loss >= math.log(64)  # what the paper calls chance, 4.159, is the least of a constant student
    assert found.retrieval_all == 1 / 64  # the one teacher nearest to the constant finds its own
    assert alignment(t, np.ones_like(t)).retrieval_all == 0


def test_a_short_last_batch_counts_only_where_it_is_the_only_one() -> None:
    t, s = rows(10, 4, 4), rows(10, 4, 5)
    drawn = np.random.default_rng(0).permutation(10)[:8]
    assert alignment(s, t, batch=8).loss == pytest.approx(loop_loss(s[drawn], t[drawn]))
    assert alignment(s, t, batch=64).loss == pytest.approx(loop_loss(s, t))


@pytest.mark.parametrize("pair", [(rows(3, 2, 0), rows(3, 3, 0)), (np.zeros((0, 2)), np.zeros((0, 2)))])
def test_other_shapes_are_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="N D"):
        alignment(*pair)


def test_values_that_are_not_finite_are_refused() -> None:
    bad = rows(3, 2, 0)
    bad[1, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        alignment(rows(3, 2, 1), bad)


def test_unchanged_is_counted_by_a_loop_over_known_answers() -> None:
    rng = np.random.default_rng(0)
    a, b, known = rng.integers(0, 3, (4, 5)), rng.integers(0, 3, (4, 5)), rng.random((4, 5)) < 0.7
    same = [a[i, j] == b[i, j] for i in range(4) for j in range(5) if known[i, j]]
    assert unchanged(a, b, known) == sum(same) / len(same)
    assert unchanged(a, b) == np.mean([a[i, j] == b[i, j] for i in range(4) for j in range(5)])
    assert math.isnan(unchanged(a, b, np.zeros((4, 5), bool)))
    with pytest.raises(ValueError, match="answers"):
        unchanged(a, b[:2])


def test_the_area_is_a_sum_of_trapezoids() -> None:
    x, y = [0.0, 0.1, 0.5, 1.0], [0.9, 0.8, 0.3, 0.25]
    hand = 0.1 * (0.9 + 0.8) / 2 + 0.4 * (0.8 + 0.3) / 2 + 0.5 * (0.3 + 0.25) / 2
    assert area(x, y) == pytest.approx(hand)
    assert area(x[::-1], y[::-1]) == pytest.approx(hand)
    assert area([0.0, 0.9], [0.7, 0.7]) == pytest.approx(0.7)
    for rates in ([0.5], [0.5, 0.5]):
        with pytest.raises(ValueError, match="two or more"):
            area(rates, [1.0] * len(rates))
