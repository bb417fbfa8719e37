"""Nested and stratified labels; splits by chance, by group and by block."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fake import Fake
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from landweave.data.dataset import Place, Split, Task
from landweave.data.splits import EARTH_KM, block_split, group_split, labelled_places, random_split, stratified_prefix
from landweave.errors import ConfigError, DataError
from landweave.legends import BIGEARTHNET_19
from landweave.sample import Sample

SIX_TWO_TWO: dict[Split, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}


class Tagged(Fake):
    """An index with given class sets, nothing to read."""

    def __init__(self, sets: list[tuple[int, ...] | None], *, held_out: int = 0) -> None:
        self.where, self.streams, self.sets = "tagged", (), sets
        self.tasks = {"tags": Task("multilabel", BIGEARTHNET_19)}
        self.places = [Place(f"p{i:06d}", "test" if i < held_out else "train") for i in range(len(sets))]

    def read(self, index: int) -> Sample:
        raise AssertionError("no image is needed to choose labels")

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        return self.sets[index]


def many(n: int, seed: int = 0) -> NDArray[np.bool_]:
    """Classes as frequent as BigEarthNet's, drawn on their own; 2.9 a place."""
    share = np.array([670, 738, 6329, 6398, 6984, *np.linspace(9000, 120_000, 14)]) / 237_871
    return np.random.default_rng(seed).random((n, 19)) < share


label_sets = st.lists(
    st.none() | st.sets(st.integers(0, 18), max_size=5).map(lambda s: tuple(sorted(s))), min_size=1, max_size=90
).filter(lambda sets: any(s is not None for s in sets))


@settings(max_examples=15, deadline=None)
@given(label_sets, st.integers(-5, 5), st.sampled_from([0.01, 0.05, 0.29, 0.5, 0.9]))
def test_prefixes_of_one_order(sets: list[tuple[int, ...] | None], seed: int, fraction: float) -> None:
    """Size, nestedness, determinism; unlabelled places never in; all classes in as soon as there is room for them."""
    dataset = Tagged(sets)
    known = {f"p{i:06d}": s for i, s in enumerate(sets) if s is not None}
    found = labelled_places(dataset, "tags", fraction, seed)
    assert found is not None
    assert found <= known.keys()
    assert len(found) == max(1, int(round(fraction * 100) * len(known) // 100))
    assert found == labelled_places(Tagged(sets), "tags", fraction, seed)
    for more in (0.29, 0.95):
        larger = labelled_places(dataset, "tags", more, seed)
        assert larger is not None
        assert found <= larger if more >= fraction else larger <= found
    occurring = {c for s in known.values() for c in s}
    if len(found) >= len(occurring):
        assert {c for name in found for c in known[name]} == occurring


def test_the_order_of_the_files_does_not_matter_and_the_seed_does() -> None:
    sets: list[tuple[int, ...] | None] = [(i % 5,) for i in range(200)]
    dataset = Tagged(sets)
    first = labelled_places(dataset, "tags", 0.1, 3)
    order = np.random.default_rng(0).permutation(200)
    turned = Tagged([sets[i] for i in order])
    turned.places = [dataset.places[i] for i in order]
    assert labelled_places(turned, "tags", 0.1, 3) == first
    assert labelled_places(dataset, "tags", 0.1, 4) != first


def test_only_training_places_and_all_of_them_at_one() -> None:
    dataset = Tagged([(0,)] * 100, held_out=50)
    found = labelled_places(dataset, "tags", 0.2, 0)
    assert found is not None
    assert len(found) == 10
    assert min(found) >= "p000050"
    assert labelled_places(dataset, "tags", 1.0, 0) is None
    assert math.floor(0.29 * 100) == 28, "the trap that exact fractions avoid"
    assert len(labelled_places(Tagged([(0,)] * 100), "tags", 0.29, 0) or ()) == 29


def test_of_the_three_kinds_of_label() -> None:
    dataset = Fake(count=60)
    for task in dataset.tasks:
        found = labelled_places(dataset, task, 0.5, 0)
        assert found is not None
        assert len(found) == 39 // 2  # 40 training places, one without a label
        assert "place-002" not in found


def test_faults_are_told() -> None:
    with pytest.raises(DataError, match="no training place has a label"):
        labelled_places(Tagged([None, None]), "tags", 0.5, 0)
    with pytest.raises(ConfigError, match="share of the labels"):
        labelled_places(Tagged([(0,)]), "tags", 0.0, 0)


def test_proportions_hold_in_every_prefix() -> None:
    """Each class is near its share at each 1 %, far nearer than chance; and prefixes are prefixes."""
    classes = many(3000)
    ours, chance, before = [], [], np.array([], int)
    for count in (30, 60, 150, 300, 1500, 3000):
        found = stratified_prefix(classes, count, 1)
        assert len(set(found.tolist())) == count
        assert set(before.tolist()) <= set(found.tolist())
        before = found
        wanted = classes.sum(0) * count / 3000
        ours.append(np.abs(classes[found].sum(0) - wanted).max())
        for seed in range(5):
            drawn = np.random.default_rng(seed).permutation(3000)[:count]
            chance.append(np.abs(classes[drawn].sum(0) - wanted).max())
    assert max(ours) <= 8
    assert np.mean(ours) < np.mean(chance) / 3


def test_every_class_stands_at_the_front() -> None:
    classes = many(1500)
    classes[:, 0] = False
    classes[1432, 0] = True  # met once
    for seed in range(2):
        assert classes[stratified_prefix(classes, 19, seed)].any(0).all()
        assert classes[stratified_prefix(classes, 8, seed)].any(0).all(), "few places have all"


def test_balance_is_that_of_the_package() -> None:
    """A tenth is as near to the proportions as a fold of ten from the package itself."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    classes = many(4000)
    wanted = classes.sum(0) / 10
    folds = MultilabelStratifiedKFold(n_splits=10, shuffle=True, random_state=0).split(classes, classes)
    theirs = max(np.abs(classes[test].sum(0) - wanted).max() for _, test in folds)
    ours = max(np.abs(classes[stratified_prefix(classes, 400, s)].sum(0) - wanted).max() for s in range(3))
    assert ours <= theirs + 3  # the cover in front


def test_time_is_short() -> None:
    """A reduced form of 60 s for 237,871 places of 19 classes."""
    start = time.process_time()
    stratified_prefix(many(24_000), 2400, 0)
    assert time.process_time() - start < 60 * 24_000 / 237_871


# ---- splits of an index

shares_ = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9)).map(
    lambda t: {
        "train": t[0] / sum(t),
        "validation": t[1] / sum(t),
        "test": t[2] / sum(t),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 80), shares_, st.integers(-3, 3))
def test_random_split_keeps_the_shares(n: int, shares: dict[Split, float], seed: int) -> None:
    places = [Place(str(i)) for i in range(n)]
    found = random_split(places, shares, seed)
    assert len(found) == n
    for split, share in shares.items():
        assert abs(found.count(split) - share * n) < 1 + 1e-6
    assert found == random_split(places, shares, seed)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=80), shares_, st.integers(0, 3))
def test_group_split_keeps_groups_whole(groups: list[int], shares: dict[Split, float], seed: int) -> None:
    places = [Place(str(i), group=f"g{g}" if g else "") for i, g in enumerate(groups)]
    found = group_split(places, shares, seed)
    sides = {(p.group, s) for p, s in zip(places, found, strict=True) if p.group}
    assert len(sides) == len({g for g, _ in sides})
    largest = max([*Counter(p.group for p in places if p.group).values(), 1])
    for split, share in shares.items():
        assert abs(found.count(split) - share * len(places)) < largest + 1 + 1e-6
    assert found == group_split(places, shares, seed)


def _km(a: Place, b: Place) -> float:
    """Haversine."""
    assert a.lon is not None
    assert b.lon is not None
    assert a.lat is not None
    assert b.lat is not None
    p, q = math.radians(a.lat), math.radians(b.lat)
    u = math.sin((q - p) / 2) ** 2 + math.cos(p) * math.cos(q) * math.sin(math.radians(b.lon - a.lon) / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(u))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(9, 11), st.floats(50, 51)), min_size=1, max_size=50),
    st.integers(0, 3),
    st.sampled_from([0.0, 2.0, 20.0]),
)
def test_block_split_keeps_a_distance(points: list[tuple[float, float]], seed: int, buffer_km: float) -> None:
    places = [Place(str(i), lon=lon, lat=lat) for i, (lon, lat) in enumerate(points)]
    found = block_split(places, SIX_TWO_TWO, seed, block_km=30, buffer_km=buffer_km)
    assert found == block_split(places, SIX_TWO_TWO, seed, block_km=30, buffer_km=buffer_km)
    for a, s in zip(places, found, strict=True):
        for b, t in zip(places, found, strict=True):
            if s and t and s != t:
                assert _km(a, b) >= buffer_km - 1e-6
    if buffer_km == 0:
        assert "" not in found


def test_block_split_leaves_out_only_what_is_near_another_side() -> None:
    rng = np.random.default_rng(0)
    places = [Place(str(i), lon=10 + 3 * x, lat=50 + 2 * y) for i, (x, y) in enumerate(rng.random((600, 2)))]
    whole = block_split(places, SIX_TWO_TWO, 0, block_km=40, buffer_km=0)
    found = block_split(places, SIX_TWO_TWO, 0, block_km=40, buffer_km=3)
    assert 0 < found.count("") < 200
    for i, (before, after) in enumerate(zip(whole, found, strict=True)):
        if after == "":
            others = [p for p, s in zip(places, whole, strict=True) if s != before]
            assert min(_km(places[i], p) for p in others) < 3
            assert before != "test" or SIX_TWO_TWO["validation"] > SIX_TWO_TWO["test"]
        else:
            assert after == before
    assert abs(whole.count("train") - 360) < 40


def test_blocks_are_squares_of_ground_and_whole() -> None:
    """Two places 1 km apart around a block's middle share a side whatever the seed; the south and the date line too."""
    for lon, lat in ((10.0, 50.0), (-70.0, -45.0), (179.0, 5.0)):
        near = [Place("a", lon=lon, lat=lat), Place("b", lon=lon + 0.002, lat=lat + 0.002)]
        far = [Place(str(i), lon=lon - 5 - i, lat=lat) for i in range(8)]
        for seed in range(4):
            found = block_split([*near, *far], SIX_TWO_TWO, seed, block_km=60, buffer_km=0)
            assert found[0] == found[1]
            assert len(set(found)) == 3


def test_split_faults_are_told() -> None:
    places = [Place("a", lon=1.0, lat=None), Place("b")]
    with pytest.raises(DataError, match="a: no longitude"):
        block_split(places, SIX_TWO_TWO, 0)
    for split in (random_split, group_split):
        with pytest.raises(ConfigError, match="add up to 1"):
            split(places, {"train": 0.5}, 0)
    with pytest.raises(ConfigError, match="buffer"):
        block_split([replace(places[0], lat=0.0)], SIX_TWO_TWO, 0, block_km=0)
