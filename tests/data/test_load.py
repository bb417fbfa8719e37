"""Batches: order, ranks, groups, worker processes, and errors that arrive whole."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from fake import STREAMS, Fake
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stats import Given
from test_store import same

from landweave.data import load, order
from landweave.data.dataset import Chosen, Place
from landweave.data.load import Loader, batches, diversity, templates
from landweave.data.store import Pack, pack
from landweave.errors import ConfigError, DataError, LandweaveWarning, MissingDataError
from landweave.sample import Batch, Image, Sample, collate
from landweave.sensors import StreamChoice


def plan(count: int, **options: Any) -> Loader:
    """The batches of `count` places, unread."""
    dataset = options.pop("dataset", None) or Fake(count=count)
    return batches(dataset, range(count), like={}, **options)


def same_batch(a: Batch, b: Batch) -> bool:
    parts = [(a.images, b.images), (a.labels, b.labels)]
    keys = all(list(x) == list(y) for x, y in parts) and (a.names, a.groups) == (b.names, b.groups)
    return keys and all(same(x[k], y[k]) for x, y in parts for k in x)


def test_in_order_each_once() -> None:
    dataset = Fake()
    like = templates(dataset, range(12))
    found = list(batches(dataset, range(12), batch_size=5, like=like))
    assert [name for b in found for name in b.names] == [p.name for p in dataset.places]
    assert [len(b) for b in found] == [4, 4, 4]
    assert len(plan(12, batch_size=5)) == 3
    for b in found:
        assert set(b.images) == set(STREAMS)
    wanted = collate([dataset.read(i) for i in range(4)], like)
    assert same_batch(found[0], wanted)
    assert list(batches(dataset, [], batch_size=5, like={})) == []


def test_order_is_of_seed_and_epoch_alone() -> None:
    first = plan(40, batch_size=8, shuffle_key=(3, 1)).places
    assert first == plan(40, batch_size=8, shuffle_key=(3, 1)).places
    torch.manual_seed(5)
    assert first == plan(40, batch_size=8, shuffle_key=(3, 1)).places
    assert first != plan(40, batch_size=8, shuffle_key=(3, 2)).places
    assert first != plan(40, batch_size=8, shuffle_key=(4, 1)).places
    assert sorted(i for b in first for i in b) == list(range(40))
    assert [i for b in first for i in b] != list(range(40))
    loader = plan(40, batch_size=8, shuffle_key=(-1, 0))
    assert loader.places == loader.places


def test_drop_last() -> None:
    assert [len(b) for b in plan(20, batch_size=8, shuffle_key=(0, 0)).places] == [8, 8, 4]
    assert [len(b) for b in plan(20, batch_size=8, shuffle_key=(0, 0), drop_last=True).places] == [8, 8]
    assert [len(b) for b in plan(16, batch_size=8, shuffle_key=(0, 0), drop_last=True).places] == [8, 8]
    with pytest.raises(ConfigError, match="do not fill a batch") as caught:
        plan(5, batch_size=8, shuffle_key=(0, 0), drop_last=True)
    assert "train.batch_size=5" in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 70), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_ranks_have_as_many_batches_and_all_places(n: int, size: int, world: int, train: bool) -> None:
    key = (0, 0) if train else None
    if n < world:
        with pytest.raises(ConfigError, match="processes"):
            plan(n, batch_size=size, shuffle_key=key, world=world)
        return
    ranks = [plan(n, batch_size=size, shuffle_key=key, rank=r, world=world).places for r in range(world)]
    counts = Counter(i for rank in ranks for batch in rank for i in batch)
    assert len({len(rank) for rank in ranks}) == 1
    assert set(counts) == set(range(n))
    assert all(batch for rank in ranks for batch in rank)
    if train:
        assert all({len(b) for b in step} == {len(step[0])} for step in zip(*ranks, strict=True))
        assert sum(counts.values()) == -(-n // world) * world
        assert max(counts.values()) <= 2
    else:
        assert set(counts.values()) == {1}
    most = max(len(b) for rank in ranks for b in rank)
    assert most <= size or (not train and size == 1 and most == 2)


def test_two_ranks_together_take_the_steps_of_one_large() -> None:
    """So that two devices see what one with the double batch sees."""
    one = plan(32, batch_size=8, shuffle_key=(1, 2)).places
    two = [plan(32, batch_size=4, shuffle_key=(1, 2), rank=r, world=2).places for r in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == one


# ---- groups


class Grouped(Fake):
    def __init__(self, groups: list[str]) -> None:
        self.where, self.streams, self.tasks = f"grouped {groups}", (), {}
        self.places = [Place(f"p{i}", "train", g) for i, g in enumerate(groups)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 3), st.integers(1, 6), st.integers(0, 2))
def test_groups_are_spread(groups: list[int], cap: int, steps: int, epoch: int) -> None:
    """Where batches are of one size and no group exceeds cap * batches, the cap holds, and every place comes once."""
    size = max(1, len(groups) // steps)
    groups = groups[: len(groups) // size * size]
    dataset = Grouped([f"g{g}" if g else "" for g in groups])
    holds = all(n <= cap * (len(groups) // size) for g, n in Counter(groups).items() if g)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        order._warned.clear()
        found = plan(len(groups), dataset=dataset, batch_size=size, shuffle_key=(0, epoch), group_cap=cap).places
    assert sorted(i for b in found for i in b) == list(range(len(groups)))
    assert {len(b) for b in found} == {size}
    worst = max(max(Counter(groups[i] for i in b if groups[i]).values(), default=0) for b in found)
    assert (worst <= cap) == holds
    assert bool(said) == (not holds)


def test_groups_over_ranks_and_a_warning_once() -> None:
    groups = ["a"] * 20 + ["b"] * 3 + [""] * 17
    dataset = Grouped(groups)
    order._warned.clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for epoch in range(3):
            for rank in range(2):
                options: dict[str, Any] = {"rank": rank, "world": 2, "group_cap": 1, "shuffle_key": (0, epoch)}
                plan(40, dataset=dataset, batch_size=4, **options)
    assert len(said) == 1
    assert "group `a` has 10 too many" in str(said[0].message)
    ranks = [
        plan(40, dataset=dataset, batch_size=4, shuffle_key=(0, 0), group_cap=2, rank=r, world=2).places
        for r in range(2)
    ]
    assert all(Counter(groups[i] for i in b)["a"] == 2 for rank in ranks for b in rank)
    assert sorted(i for rank in ranks for b in rank for i in b) == list(range(40))


def test_wrapped_places_with_a_cap() -> None:
    """The places that fill up the last rank's share stand twice in the order and come twice."""
    dataset = Grouped(["a"] * 9)
    order._warned.clear()
    with pytest.warns(LandweaveWarning, match="cannot be held"):
        ranks = [
            plan(9, dataset=dataset, batch_size=5, shuffle_key=(0, 0), group_cap=1, rank=r, world=2).places
            for r in range(2)
        ]
    assert sum(len(b) for rank in ranks for b in rank) == 10


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60).filter(any),
    st.integers(1, 9),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 2),
)
def test_batches_of_one_group(groups: list[int], size: int, world: int, drop: bool, epoch: int) -> None:
    """Every place once, in as many batches as without groups; whole batches of a group wherever it has enough."""
    n = len(groups)
    if n < world or (drop and -(-n // world) < size):
        return
    dataset = Grouped([f"g{g}" if g else "" for g in groups])
    options: dict[str, Any] = {"batch_size": size, "world": world, "drop_last": drop, "shuffle_key": (0, epoch)}
    ranks = [plan(n, dataset=dataset, one_group=True, rank=r, **options).places for r in range(world)]
    plain = [plan(n, dataset=dataset, rank=r, **options).places for r in range(world)]
    assert [[len(b) for b in rank] for rank in ranks] == [[len(b) for b in rank] for rank in plain]
    steps = [[i for b in step for i in b] for step in zip(*ranks, strict=True)]
    drawn = [i for step in zip(*plain, strict=True) for b in step for i in b]
    assert sorted(i for step in steps for i in step) == sorted(drawn)
    joint = len(steps[0])
    counts = Counter(groups[i] for i in drawn if groups[i])
    full = [Counter(groups[i] for i in s if groups[i]) for s in steps if len(s) == joint]
    most = sorted((max(c.values(), default=0) for c in full), reverse=True)
    whole = sum(count // joint for count in counts.values())
    assert most[:whole] == [joint] * whole
    rest = max((count % joint for count in counts.values()), default=0)
    if len(full) > whole and rest > 1:
        assert most[whole] >= rest, "the largest rest stays together"


def test_batches_of_one_group_by_hand() -> None:
    """10 of a, 7 of b and 3 of c in batches of 4: whole batches of a and b, then the rests of b and c filled up."""
    groups = ["a"] * 10 + ["b"] * 7 + ["c"] * 3
    dataset = Grouped(groups)
    fillers, firsts = set(), set()
    for epoch in range(20):
        found = plan(20, dataset=dataset, batch_size=4, shuffle_key=(0, epoch), one_group=True).places
        texts = sorted("".join(sorted(groups[i] for i in b)) for b in found)
        assert texts == ["aaaa", "aaaa", "abbb", "accc", "bbbb"]
        fillers.add(frozenset(i for b in found for i in b if {groups[i] for i in b} > {"a"} and groups[i] == "a"))
        firsts.add(groups[found[0][0]])
    assert len(fillers) > 5, "which places of a group are its rest is drawn anew"
    assert len(firsts) == 3, "and so is the order of the batches"


def test_batches_of_one_group_are_of_seed_and_epoch_alone_and_one_for_all_ranks() -> None:
    dataset = Grouped([f"g{i % 3}" for i in range(36)])
    options: dict[str, Any] = {"dataset": dataset, "one_group": True, "shuffle_key": (1, 2)}
    one = plan(36, batch_size=6, **options).places
    assert one == plan(36, batch_size=6, **options).places
    assert one != plan(36, batch_size=6, **{**options, "shuffle_key": (1, 3)}).places
    two = [plan(36, batch_size=3, rank=r, world=2, **options).places for r in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == one
    assert all(len({i % 3 for i in b}) == 1 for b in one)


def test_one_group_that_cannot_be() -> None:
    dataset = Grouped(["a"] * 4)
    with pytest.raises(ConfigError, match="at most 2 places of a group") as caught:
        plan(4, dataset=dataset, batch_size=2, shuffle_key=(0, 0), one_group=True, group_cap=2)
    assert "train.places_per_group" in str(caught.value)
    with pytest.raises(ConfigError, match="no place has a group") as caught:
        plan(4, dataset=Grouped([""] * 4), batch_size=2, shuffle_key=(0, 0), one_group=True)
    assert "train.one_group=false" in str(caught.value)
    kept = plan(4, dataset=dataset, batch_size=2, one_group=True).places
    assert kept == [(0, 1), (2, 3)], "evaluation keeps the order"


def test_diversity_is_the_expected_share_of_the_largest_group() -> None:
    groups = ["a"] * 30 + ["b"] * 10 + [""] * 60
    dataset = Grouped(groups)
    found = diversity(dataset, range(100), 20)
    assert (found.group, found.places, found.share, found.expected) == ("a", 30, 0.3, 6.0)
    drawn = [plan(100, dataset=dataset, batch_size=20, shuffle_key=(0, epoch)).places[0] for epoch in range(100)]
    mean = sum(groups[i] == "a" for b in drawn for i in b) / 100
    assert abs(mean - found.expected) < 0.6
    text = found.warning
    assert text is not None
    assert all(part in text for part in ("30% of the places (30)", "`a`", "about 6 places", "train.places_per_group"))
    assert diversity(dataset, range(100), 1000).expected == 30
    assert diversity(dataset, range(10, 50), 4).group == "a"
    quarter = diversity(Grouped(["a", "b", "c", "d"] * 5), range(20), 4)
    assert (quarter.group, quarter.share, quarter.warning) == ("a", 0.25, None)
    assert diversity(Grouped([""] * 3), range(3), 2).warning is None
    assert diversity(dataset, [], 2).share == 0


# ---- templates


def test_templates_of_every_stream() -> None:
    dataset = Fake()
    found = templates(dataset, [1, 0])
    assert list(found) == list(STREAMS)  # place 1 lacks Sentinel-1
    narrow = Chosen(dataset, [StreamChoice.parse("s2-l2a:B02")])
    assert list(templates(narrow, [1, 0])) == ["s2-l2a@10"], "no band of @20 was chosen"
    assert found["s1-rtc-gamma0"].bands == ("VV", "VH")
    with pytest.raises(DataError, match="none of the 1 places has s1-rtc-gamma0") as caught:
        templates(dataset, [1])
    assert "data.streams=[s2-l2a,dem]" in str(caught.value)
    apart = Given([{"s2-l2a": found["s2-l2a@10"], "s2-l2a@15": found["s2-l2a@20"]}] * 2)
    assert list(templates(Chosen(apart, [StreamChoice.parse("s2-l2a:B02")]), [0, 1])) == ["s2-l2a"]
    with pytest.raises(DataError, match="none of the 2 places has"):
        templates(Chosen(apart, [StreamChoice.parse("s2-l2a:B12")]), [0, 1])
    alone = next(iter(batches(dataset, [1], batch_size=1, like=found)))
    assert not alone.images["s1-rtc-gamma0"].sensor_seen.any()


# ---- processes


def test_forked_workers_give_the_same_batches(tmp_path: Path) -> None:
    pack(Fake(), tmp_path / "p")
    dataset = Pack(path=str(tmp_path / "p")).open()
    options: dict[str, Any] = {"batch_size": 4, "like": templates(dataset, range(12)), "shuffle_key": (0, 1)}
    here = list(batches(dataset, range(12), **options))
    for workers, pin in ((1, False), (2, True)):
        there = batches(dataset, range(12), workers=workers, pin=pin, start="fork", **options)
        assert all(same_batch(a, b) for a, b in zip(here, there, strict=True))
        state = torch.random.get_rng_state()
        assert len(list(there)) == 3, "and again"
        assert torch.equal(torch.random.get_rng_state(), state), "dropout draws from it, whatever the workers"


class Broken(Fake):
    """A dataset whose faults are of several kinds."""

    kind: str = "data"

    def read(self, index: int) -> Sample:
        if index == 5 and self.kind == "missing":
            raise MissingDataError("no such file", where="fake/5.tif", fix="copy it")
        if index == 5 and self.kind == "bug":
            raise ZeroDivisionError("a fault of the program")
        if index == 5 and self.kind == "size":
            image = Image.of("dem", ("elevation",), torch.ones(1, 7, 7).numpy())
            sample = super().read(index)
            return Sample({**sample.images, "dem": image}, sample.labels, sample.name)
        return super().read(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_arrive_as_they_were_raised(workers: int) -> None:
    def go(dataset: Fake) -> list[Batch]:
        return list(
            batches(dataset, range(12), batch_size=4, like={}, workers=workers, start="fork" if workers else None)
        )

    broken = Broken()
    with pytest.raises(DataError) as bad:
        go(Fake(bad=(5,)))
    assert str(bad.value) == "fake/5.tif: cannot be read, perhaps truncated\n  fix: copy the file again"
    broken.kind = "missing"
    with pytest.raises(MissingDataError) as missing:
        go(broken)
    assert str(missing.value) == "fake/5.tif: no such file\n  fix: copy it"
    broken.kind = "size"
    with pytest.raises(DataError, match="7 x 7"):
        go(broken)
    broken.kind = "bug"
    with pytest.raises(ZeroDivisionError, match="a fault of the program"):
        go(broken)


def test_unequal_sizes_are_padded_if_asked() -> None:
    broken = Broken()
    broken.kind = "size"
    found = list(batches(broken, range(12), batch_size=6, like={}, pad=True))
    assert found[0].images["dem"].data.shape[-2:] == (7, 7)


def test_a_batch_travels_as_one_buffer() -> None:
    dataset = Fake()
    reader = batches(dataset, range(8), batch_size=8, like={}).reader
    flat = reader[0]
    assert isinstance(flat, load._Flat)
    assert sum(isinstance(v, torch.Tensor) for v in vars(flat).values()) == 1
    assert same_batch(pickle.loads(pickle.dumps(flat)).unpack(), reader.batch(0))


SPAWNED = """
import sys
from landweave.data.load import batches, templates
from landweave.data.store import Pack
from landweave.errors import DataError

if __name__ == "__main__":
    dataset = Pack(path=sys.argv[1]).open()
    like = templates(dataset, range(6))
    try:
        for batch in batches(dataset, range(12), batch_size=6, like=like, workers=1, start="spawn"):
            assert set(batch.images) == set(dataset.streams)
            print(*batch.names)
    except DataError as error:
        print(error)
"""


def test_spawned_workers(tmp_path: Path) -> None:
    """In a script of its own, for a spawned child runs the parent's main module. Place 7 has lost its record."""
    import lmdb

    pack(Fake(), tmp_path / "p")
    with lmdb.open(str(tmp_path / "p"), map_size=1 << 26, lock=False) as env, env.begin(write=True) as values:
        values.delete(b"place-007")
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
    manifest["bytes"] = (tmp_path / "p" / "data.mdb").stat().st_size
    (tmp_path / "p" / "manifest.json").write_text(json.dumps(manifest))
    script = tmp_path / "script.py"
    script.write_text(SPAWNED)
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "p")], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        " ".join(f"place-{n:03d}" for n in range(6)),
        f"{tmp_path / 'p'}: no record of place place-007",
        "  fix: run landweave pack again",
    ], done.stderr[-2000:]


def test_the_room_loads_without_torch() -> None:
    names = "landweave.data.load, landweave.data.store, landweave.data.stats, landweave.data.splits"
    heavy = "{'torch', 'rasterio', 'sklearn', 'lmdb', 'blosc2', 'scipy', 'iterstrat'}"
    code = f"import sys, {names}; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
