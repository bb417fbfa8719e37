from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from loss_oracles import by_keys_loops, cosines
from torch import Tensor

import landweave.losses.rows as rows_module
from landweave.losses import mul_sup_con_keys, sup_con_keys

B, M, K = 7, 11, 5


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(n, 4, dtype=torch.float64, generator=g) for n in (B, M))
    y, of_key = ((torch.rand(n, K, generator=g) < 0.35).long() for n in (B, M))
    y[2] = 0
    of_key[:, 4] = 0
    y[3, 4] = 1  # a label that no key has
    return q, y, k, of_key


def of_labels(y: Tensor, of_key: Tensor) -> list[list[list[int]]]:
    return [[of_key[:, j].nonzero()[:, 0].tolist() for j in range(K) if row[j]] for row in y]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reduction", ["pairs", "anchors", "batch"])
def test_mul_sup_con_loops(seed: int, reduction: Any) -> None:
    q, y, k, of_key = batch(seed)
    found = mul_sup_con_keys(q, y, k, of_key, temperature=0.2, reduction=reduction)
    loss, valid, dropped = by_keys_loops(cosines(q.tolist(), k.tolist()), of_labels(y, of_key), 0.2, reduction)
    assert found.loss.item() == pytest.approx(loss, rel=1e-9)
    assert (int(found.valid_pairs), int(found.dropped)) == (valid, dropped)
    assert dropped >= 1


@pytest.mark.parametrize("match", ["all", "any"])
@pytest.mark.parametrize("tile", [(3, 4), (64, 64)])
def test_patterns_loops(monkeypatch: pytest.MonkeyPatch, match: Any, tile: tuple[int, int]) -> None:
    monkeypatch.setitem(rows_module.TILE, "cpu", tile)
    q, y, k, of_key = batch()
    of_key[1], of_key[6] = y[0], y[4]

    def positive(one: Tensor, other: Tensor) -> bool:
        return bool(one.any()) and (torch.equal(one, other) if match == "all" else bool((one * other).any()))

    sets = [[[p for p in range(M) if positive(y[i], of_key[p])]] if y[i].any() else [] for i in range(B)]
    found = sup_con_keys(q, y, k, of_key, temperature=0.2, match=match)
    loss, valid, dropped = by_keys_loops(cosines(q.tolist(), k.tolist()), sets, 0.2)
    assert found.loss.item() == pytest.approx(loss, rel=1e-9)
    assert (int(found.valid_pairs), int(found.dropped)) == (valid, dropped)


@pytest.mark.parametrize("loss", [mul_sup_con_keys, sup_con_keys])
def test_gradcheck_of_queries_and_keys(loss: Any) -> None:
    q, y, k, of_key = batch()
    more = {"match": "any"} if loss is sup_con_keys else {}
    run = lambda a, b: loss(a, y, b, of_key, temperature=0.3, **more).loss  # noqa: E731
    assert torch.autograd.gradcheck(run, (q.requires_grad_(), k.requires_grad_()))
    assert torch.autograd.gradcheck(lambda a: run(a, k.detach()), (q,))


def test_what_is_unknown_neither_pulls_nor_is_pulled_to() -> None:
    q, y, k, of_key = batch()
    known, key_known = torch.ones(B, K, dtype=torch.bool), torch.ones(M, dtype=torch.bool)
    known[0, 1], known[5], key_known[4] = False, False, False
    here = mul_sup_con_keys(q, y, k, of_key, temperature=0.2, known=known, key_known=key_known)
    there = mul_sup_con_keys(q, y * known, k, of_key * key_known[:, None], temperature=0.2)
    torch.testing.assert_close(here, there)
    fewer = mul_sup_con_keys(q, y * known, k[key_known], of_key[key_known], temperature=0.2)
    assert not torch.isclose(here.loss, fewer.loss)  # an unknown key still is a negative


@pytest.mark.parametrize("loss", [mul_sup_con_keys, sup_con_keys])
def test_nothing_valid_is_zero_with_a_gradient(loss: Any) -> None:
    more = {"match": "any"} if loss is sup_con_keys else {}
    for b, m, label, dropped in ((3, 4, 0, 0), (1, 4, 1, 1), (0, 4, 1, 0), (3, 0, 1, 3)):
        q, k = torch.randn(b, 4, requires_grad=True), torch.randn(m, 4, requires_grad=True)
        y = torch.tensor([[label, 0]]).expand(b, 2)
        found = loss(q, y, k, torch.tensor([[0, 1]]).expand(m, 2), temperature=0.01, **more)
        found.loss.backward()
        assert (found.loss.item(), int(found.valid_pairs), int(found.dropped)) == (0, 0, dropped)
        for z in (q, k):
            assert z.grad is not None
            assert not z.grad.any()


def test_exact_at_a_temperature_at_which_the_published_form_is_not_finite() -> None:
    q = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    keys = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])  # the first query's positive is opposite to it
    y = torch.eye(2)
    assert not torch.log(torch.softmax(q @ keys.T / 0.01, 1)).mul(y).sum().isfinite()
    expected = (200 + log(2)) / 2
    loss = mul_sup_con_keys(q, y, keys, y, temperature=0.01).loss
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mul_sup_con_keys(q.bfloat16(), y, keys.bfloat16(), y, temperature=0.01).loss
    assert mixed.item() == pytest.approx(expected, rel=1e-6)


def test_refuses_what_does_not_fit() -> None:
    q, y, k, of_key = batch()
    for bad in ((q, y[:3], k, of_key), (q, y, k[:3], of_key), (q, y[:, :2], k, of_key), (q[:, :2], y, k, of_key)):
        with pytest.raises(ValueError, match="labels"):
            mul_sup_con_keys(*bad, temperature=0.1)
    with pytest.raises(ValueError, match="temperature"):
        sup_con_keys(q, y, k, of_key, temperature=0, match="all")
