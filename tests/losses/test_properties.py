"""What must hold for any batch, tried on many."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_oracles import mul_sup_con_loops, nt_xent_loops, soft_con_loops
from torch import Tensor

from landweave.losses import clip, mul_sup_con, mul_sup_con_keys, nt_xent, row_lse, soft_con, sup_con

TEMPERATURES = st.floats(0.01, 10)
few = settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def batches(draw: st.DrawFn, least: int = 2) -> tuple[Tensor, Tensor, torch.Generator]:
    """Embeddings, label sets (rows and columns without any included), and a source of chance."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n, K = draw(st.integers(least, 12)), draw(st.integers(1, 5))
    z = torch.randn(n, draw(st.integers(1, 6)), generator=g, dtype=torch.float64)
    if draw(st.booleans()):
        z[n // 2 : n // 2 + 1] = z[:1]  # a duplicate
    if draw(st.booleans()):
        z[n - 1 :] = -z[:1]
    share = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    return z, (torch.rand(n, K, generator=g) < share).long(), g


@few
@given(batches(), TEMPERATURES)
def test_the_order_of_the_batch_does_not_matter(batch: tuple[Tensor, Tensor, torch.Generator], t: float) -> None:
    z, y, g = batch
    order = torch.randperm(len(z), generator=g)
    other = z.flip(1)
    close = torch.testing.assert_close
    close(nt_xent(z[order], other[order], temperature=t), nt_xent(z, other, temperature=t))
    close(clip(z[order], other[order], scale=1 / t), clip(z, other, scale=1 / t))
    close(mul_sup_con(z[order], y[order], temperature=t), mul_sup_con(z, y, temperature=t))
    close(sup_con(z[order], y[order, 0], temperature=t), sup_con(z, y[:, 0], temperature=t))
    close(soft_con(z[order], y[order], temperature=t), soft_con(z, y, temperature=t))
    here = mul_sup_con_keys(z[order], y[order], other, y, temperature=t)
    close(here, mul_sup_con_keys(z, y, other[order], y[order], temperature=t))


@few
@given(batches(), st.floats(0.02, 10))
def test_loops_with_duplicates_opposites_and_no_label_at_all(
    batch: tuple[Tensor, Tensor, torch.Generator], t: float
) -> None:
    z, y, _ = batch
    assert nt_xent(z, z.flip(0), temperature=t).item() == pytest.approx(
        nt_xent_loops(z.tolist(), z.flip(0).tolist(), t), rel=1e-8, abs=1e-10
    )
    for found, (loss, valid, dropped) in (
        (mul_sup_con(z, y, temperature=t), mul_sup_con_loops(z.tolist(), y.tolist(), t, "pairs")),
        (soft_con(z, y, temperature=t), soft_con_loops(z.tolist(), y.tolist(), t)),
    ):
        assert found.loss.item() == pytest.approx(loss, rel=1e-8, abs=1e-8)
        assert (int(found.valid_pairs), int(found.dropped)) == (valid, dropped)


@few
@given(batches(), TEMPERATURES)
def test_a_private_label_each_is_nt_xent(batch: tuple[Tensor, Tensor, torch.Generator], t: float) -> None:
    z, _, _ = batch
    both, own = torch.cat([z, z.flip(1)]), torch.arange(len(z)).repeat(2)
    expected = nt_xent(z, z.flip(1), temperature=t)
    private = torch.nn.functional.one_hot(own)
    torch.testing.assert_close(mul_sup_con(both, private, temperature=t).loss, expected)
    torch.testing.assert_close(sup_con(both, own, temperature=t).loss, expected)
    torch.testing.assert_close(soft_con(both, private, temperature=t).loss, expected)


@few
@given(batches(), TEMPERATURES)
def test_one_label_each_is_sup_con(batch: tuple[Tensor, Tensor, torch.Generator], t: float) -> None:
    z, _, g = batch
    classes = torch.randint(3, (len(z),), generator=g)
    one_hot = torch.nn.functional.one_hot(classes, 3)
    expected = sup_con(z, classes, temperature=t)
    torch.testing.assert_close(mul_sup_con(z, one_hot, temperature=t), expected)
    torch.testing.assert_close(soft_con(z, one_hot, temperature=t), expected)


@few
@given(batches(), TEMPERATURES)
def test_float32_is_float64_and_finite_at_any_temperature(
    batch: tuple[Tensor, Tensor, torch.Generator], t: float
) -> None:
    z, y, _ = batch
    single = z.float().requires_grad_()
    unit = torch.nn.functional.normalize
    for exact, found in (
        (row_lse(unit(z), t).sum(), row_lse(unit(single), t).sum()),
        (nt_xent(z, z.flip(0), temperature=t), nt_xent(single, single.flip(0), temperature=t)),
        (mul_sup_con(z, y, temperature=t).loss, mul_sup_con(single, y, temperature=t).loss),
        (soft_con(z, y, temperature=t).loss, soft_con(single, y, temperature=t).loss),
        (mul_sup_con_keys(z, y, -z, y, temperature=t)[0], mul_sup_con_keys(single, y, -single, y, temperature=t)[0]),
    ):
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-4)
        single.grad = None
        found.backward()
        assert single.grad is not None
        assert single.grad.isfinite().all()


@few
@given(batches(least=0), TEMPERATURES)
def test_no_label_at_all_is_zero(batch: tuple[Tensor, Tensor, torch.Generator], t: float) -> None:
    z, y, _ = batch
    z.requires_grad_()
    none = torch.zeros_like(y)
    unknown = torch.zeros(len(z), dtype=torch.bool)
    for found in (
        mul_sup_con(z, none, temperature=t),
        mul_sup_con(z, y, temperature=t, known=unknown),
        sup_con(z, y[:, 0], temperature=t, known=unknown),
        soft_con(z, y, temperature=t, known=unknown),
        mul_sup_con_keys(z, none, z, y, temperature=t),
    ):
        (gradient,) = torch.autograd.grad(found.loss, z)
        assert (found.loss.item(), int(found.valid_pairs), int(found.dropped)) == (0, 0, 0)
        assert not gradient.any()
