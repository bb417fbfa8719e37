from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landweave.data.load import batches, order, spread, templates
from landweave.errors import DataError
from tests.cli.places import write_table


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):  # type: ignore[no-untyped-def]
    from landweave.data.table import Table

    return Table(path=str(write_table(tmp_path_factory.mktemp("t"), 12))).open()


def names(found) -> list[str]:  # type: ignore[no-untyped-def]
    return [n for b in found for n in b.names]


@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_order_is_a_permutation_that_seed_and_epoch_decide(n: int, seed: int, epoch: int) -> None:
    indices = list(range(100, 100 + n))
    assert order(indices, (seed, epoch)) == order(indices, (seed, epoch))
    assert sorted(order(indices, (seed, epoch))) == indices
    if n > 20:
        assert order(indices, (seed, epoch)) != order(indices, (seed, epoch + 1))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 8), st.integers(1, 4))
@pytest.mark.filterwarnings("ignore:.*cannot fill")
def test_spread_loses_no_place_and_holds_the_cap_where_it_can(groups: list[int], size: int, cap: int) -> None:
    texts = [str(g) for g in groups]
    found = spread(range(len(groups)), texts, size, cap)
    assert sorted(i for b in found for i in b) == list(range(len(groups)))
    assert all(len(b) <= size for b in found)
    if all(groups.count(g) <= cap for g in set(groups)):
        assert all([texts[i] for i in b].count(g) <= cap for b in found for g in set(texts))


def test_spread_says_when_the_cap_cannot_be_held() -> None:
    with pytest.warns(UserWarning, match="6 places of 1 groups cannot fill batches of 4"):
        found = spread(range(6), ["a"] * 6, 4, 2)
    assert [len(b) for b in found] == [4, 2]


def test_two_processes_see_every_training_place_equally_often_and_every_validation_place_once(dataset) -> None:  # type: ignore[no-untyped-def]
    like = templates(dataset, range(11))
    trained = [
        list(batches(dataset, range(11), batch_size=2, like=like, shuffle_key=(0, 1), rank=r, world=2)) for r in (0, 1)
    ]
    assert len(trained[0]) == len(trained[1]) == 3
    assert set(names(trained[0]) + names(trained[1])) == {f"p{i}" for i in range(11)}
    looked = [names(batches(dataset, range(11), batch_size=2, like=like, rank=r, world=2)) for r in (0, 1)]
    assert sorted(looked[0] + looked[1]) == sorted(f"p{i}" for i in range(11))


def test_worker_processes_give_what_this_process_gives(dataset) -> None:  # type: ignore[no-untyped-def]
    like = templates(dataset, range(6))
    here = list(batches(dataset, range(6), batch_size=4, like=like))
    there = list(batches(dataset, range(6), batch_size=4, like=like, workers=1))
    assert names(here) == names(there)
    for a, b in zip(here, there, strict=True):
        for stream in a.images:
            assert torch.equal(a.images[stream].data.float(), b.images[stream].data.float())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_keeps_its_name_and_its_fix_through_a_worker(tmp_path, workers: int) -> None:  # type: ignore[no-untyped-def]
    from landweave.data.table import Table

    table = write_table(tmp_path, 4)
    dataset = Table(path=str(table)).open()
    like = templates(dataset, [0])
    (tmp_path / "s1_3.tif").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        list(batches(dataset, range(4), batch_size=2, like=like, workers=workers))
    assert "s1_3.tif" in str(caught.value)
    assert caught.value.fix
    assert "Traceback" not in str(caught.value)


def test_a_sensor_that_no_place_has_is_refused(dataset) -> None:  # type: ignore[no-untyped-def]
    import copy

    spoilt = copy.copy(dataset)
    spoilt.streams = [*dataset.streams, "dem"]
    with pytest.raises(DataError, match="no training place has dem"):
        templates(spoilt, range(3))
