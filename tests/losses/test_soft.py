from __future__ import annotations

import pytest
import torch
from loss_oracles import soft_con_loops
from torch import Tensor

from landweave.losses import mul_sup_con, soft_con


def batch(n: int = 9, K: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, dtype=torch.float64, generator=g), (torch.rand(n, K, generator=g) < 0.4).double()


@pytest.mark.parametrize("seed", range(3))
def test_label_sets_and_features_loops(seed: int) -> None:
    z, y = batch(seed=seed)
    y[1], y[:, 4] = 0, 0
    y[3] = torch.tensor([0, 0, 0, 0, 1.0])  # like no other
    features = torch.rand(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for f in (y, features):
        found = soft_con(z, f, temperature=0.2)
        loss, valid, dropped = soft_con_loops(z.tolist(), f.tolist(), 0.2)
        assert found.loss.item() == pytest.approx(loss, rel=1e-9)
        assert (int(found.valid_pairs), int(found.dropped)) == (valid, dropped)
    assert int(soft_con(z, y, temperature=0.2).dropped) == 1


def test_likeness_is_a_cosine_and_unknown_is_none() -> None:
    z, y = batch()
    here = soft_con(z, y, temperature=0.2)
    torch.testing.assert_close(soft_con(z, y * 7, temperature=0.2), here)
    known = torch.ones(9, 5, dtype=torch.bool)
    known[4], known[2, :3] = False, False
    torch.testing.assert_close(soft_con(z, y, temperature=0.2, known=known), soft_con(z, y * known, temperature=0.2))
    assert not torch.isclose(mul_sup_con(z, y, temperature=0.2).loss, here.loss)


def test_gradcheck_and_no_gradient_to_the_likeness() -> None:
    z, y = batch(n=6)
    assert torch.autograd.gradcheck(lambda a: soft_con(a, y, temperature=0.3).loss, (z.requires_grad_(),))
    f = torch.rand(6, 3, requires_grad=True)
    soft_con(z, f, temperature=0.3).loss.backward()
    assert f.grad is None


def test_a_tail_of_rounding_is_no_positive() -> None:
    z = torch.randn(300, 4)
    f = torch.cat([torch.rand(299, 3), torch.zeros(299, 1)], 1)
    f = torch.cat([f, torch.tensor([[0, 0, 0, 0.3]])])
    found = soft_con(z, f, temperature=0.1)
    assert (int(found.valid_pairs), int(found.dropped)) == (299, 1)
    f[-1, 0] = 1e-9  # like all others, but less than float32 can tell
    assert int(soft_con(z, f, temperature=0.1).dropped) == 1


def test_nothing_valid_is_zero_with_a_gradient() -> None:
    for n, f, dropped in (
        (3, torch.zeros(3, 2), 0),
        (3, torch.eye(3), 3),
        (1, torch.ones(1, 2), 1),
        (0, torch.ones(0, 2), 0),
    ):
        z = torch.randn(n, 4, requires_grad=True)
        found = soft_con(z, f, temperature=0.01)
        found.loss.backward()
        assert (found.loss.item(), int(found.valid_pairs), int(found.dropped)) == (0, 0, dropped)
        assert z.grad is not None
        assert not z.grad.any()


def test_refuses_negative_likeness_and_shapes() -> None:
    z, y = batch()
    with pytest.raises(ValueError, match="negative"):
        soft_con(z, y - 0.5, temperature=0.1)
    with pytest.raises(ValueError, match="N K"):
        soft_con(z, y[:4], temperature=0.1)
