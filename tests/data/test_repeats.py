"""Places of rare classes come more often, and the draw is of seed and epoch alone."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from landweave.data.order import drawn, repeat_factors


def order(repeats: list[float], epoch: int, *, world: int = 1) -> list[list[int]]:
    at = np.arange(100, 100 + len(repeats))
    found = drawn(
        at, 4, (7, epoch), groups=[], cap=None, one_group=False, drop_last=False, world=world, where="", repeats=repeats
    )
    return [batch.tolist() for batch in found]


def test_factors_are_those_of_the_rarest_class_of_a_place() -> None:
    classes = [(0,)] * 8 + [(0, 1), (0, 1, 2), None, ()]
    found = repeat_factors(classes, 0.5)  # of 11 known places class 0 stands at 10, 1 at 2, 2 at 1
    assert found[:8] == [1.0] * 8
    assert found[8] == pytest.approx(math.sqrt(0.5 * 11 / 2))
    assert found[9] == pytest.approx(math.sqrt(0.5 * 11 / 1))
    assert found[10:] == [1.0, 1.0], "nothing is known, or nothing is there"
    assert repeat_factors(classes, 0.0) == [1.0] * 12


def test_an_epoch_has_as_many_places_each_in_proportion() -> None:
    repeats = [1.0] * 30 + [3.0] * 10
    counts: Counter[int] = Counter()
    for epoch in range(40):
        batches = order(repeats, epoch)
        assert [len(b) for b in batches] == [4] * 10
        one = Counter(p for b in batches for p in b)
        counts += one
        assert all(math.floor(r * 40 / 60) <= one[100 + i] <= math.ceil(r * 40 / 60) for i, r in enumerate(repeats))
    assert sum(counts[100 + i] for i in range(30, 40)) / sum(counts.values()) == pytest.approx(0.5, abs=0.01)


def test_the_draw_is_of_seed_and_epoch_alone_and_one_for_all_processes() -> None:
    repeats = [1.0, 2.0, 5.0, 1.0] * 6
    assert order(repeats, 3) == order(repeats, 3) != order(repeats, 4)
    two = order(repeats, 3, world=2)
    assert Counter(p for b in two for p in b).total() == 24


def test_without_repeats_nothing_is_drawn_differently() -> None:
    at = np.arange(8)
    plain = drawn(at, 4, (0, 0), groups=[], cap=None, one_group=False, drop_last=False, world=1, where="")
    expected = np.random.default_rng([0, 0]).permutation(8)
    assert np.concatenate(plain).tolist() == expected.tolist()
