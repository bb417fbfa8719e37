from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_oracles import golden, mul_sup_con_loops
from torch import Tensor

import landweave.losses.rows as rows_module
from landweave.losses import mul_sup_con, sup_con


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def random_batch(n: int = 12, K: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, dtype=torch.float64, generator=g), (torch.rand(n, K, generator=g) < 0.3).long()


def test_what_is_counted_in_the_fused_vectors() -> None:
    for case in golden("mosaic1_fused"):
        z = torch.cat([tensor(case["inputs"]["z_s1"]), tensor(case["inputs"]["z_s2"])], 1)
        found = mul_sup_con(z, tensor(case["inputs"]["labels"]), temperature=case["inputs"]["temperature"])
        assert (int(found.valid_pairs), int(found.dropped)) == (7, 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reduction", ["pairs", "anchors"])
def test_loops(seed: int, reduction: Any) -> None:
    z, y = random_batch(seed=seed)
    found = mul_sup_con(z, y, temperature=0.2, reduction=reduction)
    loss, valid, dropped = mul_sup_con_loops(z.tolist(), y.tolist(), 0.2, reduction)
    assert found.loss.item() == pytest.approx(loss, rel=1e-9)
    assert (int(found.valid_pairs), int(found.dropped)) == (valid, dropped)


def test_unknown_is_neither_anchor_nor_positive_but_a_negative() -> None:
    z, y = random_batch()
    known = torch.ones(12, 5, dtype=torch.bool)
    known[3], known[5, 2], known[7, :2] = False, False, False
    found = mul_sup_con(z, y, temperature=0.2, known=known)
    loss, valid, _ = mul_sup_con_loops(z.tolist(), (y * known).tolist(), 0.2, "pairs")
    assert found.loss.item() == pytest.approx(loss, rel=1e-9)
    assert found.valid_pairs == valid
    shouting = torch.where(known, y, 1 - y)  # what stands at unknown entries means nothing
    torch.testing.assert_close(mul_sup_con(z, shouting, temperature=0.2, known=known).loss, found.loss)
    by_row = torch.ones(12, dtype=torch.bool)
    by_row[3] = False
    empty = y.clone()
    empty[3] = 0
    row_unknown = mul_sup_con(z, y, temperature=0.2, known=by_row).loss
    torch.testing.assert_close(row_unknown, mul_sup_con(z, empty, temperature=0.2).loss)
    absent = mul_sup_con(z[by_row], y[by_row], temperature=0.2).loss
    assert not torch.isclose(row_unknown, absent)  # the unknown row still is a negative


@pytest.mark.parametrize("reduction", ["pairs", "anchors"])
def test_nothing_valid_is_zero_with_a_gradient(reduction: Any) -> None:
    for y, dropped in ((torch.zeros(4, 3), 0), (torch.eye(4), 4)):
        z = torch.randn(4, 6, requires_grad=True)
        found = mul_sup_con(z, y, temperature=0.01, reduction=reduction)
        found.loss.backward()
        assert (found.loss.item(), int(found.valid_pairs), int(found.dropped)) == (0, 0, dropped)
        assert z.grad is not None
        assert not z.grad.any()
    z = torch.randn(1, 6, requires_grad=True)
    found = mul_sup_con(z, torch.ones(1, 3), temperature=0.1, reduction=reduction)
    found.loss.backward()
    assert (found.loss.item(), int(found.dropped)) == (0, 3)


def test_order_of_rows_and_of_labels_does_not_matter() -> None:
    z, y = random_batch()
    rows, columns = torch.randperm(12), torch.tensor([4, 2, 0, 1, 3])
    here = mul_sup_con(z, y, temperature=0.1)
    there = mul_sup_con(z[rows], y[rows][:, columns], temperature=0.1)
    torch.testing.assert_close(here.loss, there.loss)
    assert here.valid_pairs == there.valid_pairs


@pytest.mark.parametrize("reduction", ["pairs", "anchors"])
def test_gradcheck(reduction: Any) -> None:
    z, y = random_batch(n=7)
    assert torch.autograd.gradcheck(
        lambda a: mul_sup_con(a, y, temperature=0.3, reduction=reduction).loss, (z.requires_grad_(),)
    )


def test_single_precision_at_a_low_temperature() -> None:
    z, y = random_batch()
    precise = mul_sup_con(z, y, temperature=0.01).loss
    assert mul_sup_con(z.float(), y.bool(), temperature=0.01).loss.item() == pytest.approx(precise.item(), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mul_sup_con(z.float(), y, temperature=0.01).loss
    assert mixed.item() == pytest.approx(precise.item(), rel=1e-5)


def test_no_label_mask_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from test_rows import Largest

    monkeypatch.setitem(rows_module.TILE, "cpu", (64, 64))
    z, y = random_batch(n=600)
    with Largest() as seen:
        mul_sup_con(z.requires_grad_(), y, temperature=0.1).loss.backward()
    assert seen.numel <= 2 * 64 * 64


def test_batch_divides_by_all_rows() -> None:
    z, y = random_batch()
    y[2] = y[7] = 0
    by_anchor = mul_sup_con(z, y, temperature=0.2, reduction="anchors")
    anchors = int(((y * (y.sum(0) > 1)).sum(1) > 0).sum())
    by_batch = mul_sup_con(z, y, temperature=0.2, reduction="batch").loss
    torch.testing.assert_close(by_batch, by_anchor.loss * anchors / 12)


def test_sup_con_is_mul_sup_con_of_one_label_each() -> None:
    z, _ = random_batch(n=15)
    classes = torch.tensor([4, 4, 7, 1, 7, 7, -3, 1, 255, 4, 1, 1, 9, 7, 9])  # any numbers will do
    known = torch.ones(15, dtype=torch.bool)
    known[[3, 8, 12]] = False
    y = torch.nn.functional.one_hot(torch.unique(classes, return_inverse=True)[1])
    for mask in (None, known):
        here = sup_con(z, classes, temperature=0.2, known=mask)
        torch.testing.assert_close(here, mul_sup_con(z, y, temperature=0.2, known=mask))
        loss, valid, dropped = mul_sup_con_loops(
            z.tolist(), (y if mask is None else y * mask[:, None]).tolist(), 0.2, "pairs"
        )
        assert here.loss.item() == pytest.approx(loss, rel=1e-9)
        assert (int(here.valid_pairs), int(here.dropped)) == (valid, dropped)
    assert torch.autograd.gradcheck(
        lambda a: sup_con(a, classes, temperature=0.2, known=known).loss, (z.requires_grad_(),)
    )


def test_sup_con_with_a_class_a_place_makes_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    from test_rows import Largest

    monkeypatch.setitem(rows_module.TILE, "cpu", (64, 64))
    z, _ = random_batch(n=600)
    with Largest() as seen:
        sup_con(z.requires_grad_(), torch.arange(300).repeat(2), temperature=0.1).loss.backward()
    assert seen.numel <= 2 * 64 * 64


def test_sup_con_without_a_valid_row_is_zero_with_a_gradient() -> None:
    for n in (0, 1, 4):
        z = torch.randn(n, 6, requires_grad=True)
        for known in (None, torch.zeros(n, dtype=torch.bool)):
            z.grad = None
            found = sup_con(z, torch.arange(n), temperature=0.01, known=known)
            found.loss.backward()
            assert (found.loss.item(), int(found.valid_pairs)) == (0, 0)
            assert int(found.dropped) == (n if known is None else 0)
            assert z.grad is not None
            assert not z.grad.any()


def test_refuses_shapes_that_do_not_fit() -> None:
    z, y = random_batch()
    with pytest.raises(ValueError, match="N K"):
        mul_sup_con(z, y[:5], temperature=0.1)
    with pytest.raises(ValueError, match="known"):
        mul_sup_con(z, y, temperature=0.1, known=torch.ones(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="classes"):
        sup_con(z, y, temperature=0.1)
    with pytest.raises(ValueError, match="temperature"):
        mul_sup_con(z, y, temperature=-1)
