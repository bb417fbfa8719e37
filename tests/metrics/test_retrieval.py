"""Retrieval against plain loops, and where it is easily fooled: ties, collapsed embeddings, galleries."""

from __future__ import annotations

import numpy as np
import pytest

from landweave.metrics.retrieval import ranks, retrieval


def slow_rank(queries: np.ndarray, keys: np.ndarray, i: int) -> int:
    def cosine(j: int) -> float:
        return float(queries[i] @ keys[j] / np.linalg.norm(queries[i]) / np.linalg.norm(keys[j]))

    return 1 + sum(cosine(j) >= cosine(i) for j in range(len(keys)) if j != i)


def test_ranks_and_recall_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 6))
    b = a + rng.normal(size=a.shape)
    expected = [slow_rank(a, b, i) for i in range(40)]
    assert ranks(a, b).tolist() == expected
    assert len(set(expected)) > 4
    found = retrieval(a, b, at=(1, 5, 10))
    assert found.recall == {k: sum(r <= k for r in expected) / 40 for k in (1, 5, 10)}
    assert found.chance == {1: 1 / 40, 5: 5 / 40, 10: 10 / 40}
    assert found.median_rank == float(np.median(expected))
    assert found.to_json()["recall@5"] == found.recall[5]


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 30, 4))
    whole = ranks(a, b).tolist()
    monkeypatch.setattr("landweave.metrics.retrieval._ROWS", 7)
    assert ranks(a, b).tolist() == whole


def test_scale_and_order_of_the_places_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 25, 5))
    order = rng.permutation(25)
    assert ranks(a * rng.uniform(0.1, 9, (25, 1)), b * 3).tolist() == ranks(a, b).tolist()
    assert ranks(a[order], b[order]).tolist() == ranks(a, b)[order].tolist()


def test_a_collapsed_embedding_finds_nothing() -> None:
    rng = np.random.default_rng(3)
    point = rng.normal(size=(1, 8)).repeat(50, 0)
    for keys in (point, point * (1 + 1e-9 * rng.normal(size=point.shape)), np.zeros_like(point)):
        found = retrieval(point, keys)
        assert found.recall == {1: 0.0, 5: 0.0}
        assert found.median_rank == 50


def test_perfect_embeddings_and_a_single_place() -> None:
    assert retrieval(np.eye(6), np.eye(6)).recall == {1: 1.0, 5: 1.0}
    one = retrieval([[1.0, 0.0]], [[1.0, 1.0]], at=(1, 5))
    assert (one.recall, one.chance) == ({1: 1.0, 5: 1.0}, {1: 1.0, 5: 1.0})


def test_galleries_are_ranked_apart_and_pooled() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 12, 3))
    names = ["x"] * 8 + ["y"] * 4
    expected = [*ranks(a[:8], b[:8]), *ranks(a[8:], b[8:])]
    found = retrieval(a, b, at=(2,), galleries=names)
    assert found.recall[2] == pytest.approx(np.mean([r <= 2 for r in expected]))
    assert found.chance[2] == pytest.approx((8 * (2 / 8) + 4 * (2 / 4)) / 12)
    assert found.median_rank == np.median(expected)


@pytest.mark.parametrize(
    ("queries", "keys", "message"),
    [
        (np.zeros((3, 2)), np.zeros((4, 2)), "both must be N D"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "at least one row"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), "not finite"),
    ],
)
def test_what_cannot_be_ranked_is_refused(queries: np.ndarray, keys: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval(queries, keys)
