from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_oracles import cross_loops, nt_xent_loops

from landweave.losses import clip, inter_cross, nt_xent


@pytest.mark.parametrize("B", [2, 3, 7])
@pytest.mark.parametrize("t", [0.05, 0.5])
def test_loops(B: int, t: float) -> None:
    a, b = (torch.randn(B, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (B, 99))
    assert nt_xent(a, b, temperature=t).item() == pytest.approx(nt_xent_loops(a.tolist(), b.tolist(), t), rel=1e-9)
    assert inter_cross(a, b, temperature=t).item() == pytest.approx(cross_loops(a.tolist(), b.tolist(), t), rel=1e-9)


@pytest.mark.parametrize("loss", [nt_xent, inter_cross])
def test_invariances_and_gradient(loss: Any) -> None:
    a, b = (torch.randn(6, 4, dtype=torch.float64, requires_grad=True) for _ in "ab")
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    here = loss(a, b, temperature=0.2)
    torch.testing.assert_close(loss(a[order], b[order], temperature=0.2), here)
    torch.testing.assert_close(loss(b, a, temperature=0.2), here)
    torch.testing.assert_close(loss(7 * a, b, temperature=0.2), here)  # normalised inside
    assert loss(a[order], b, temperature=0.2) != here
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, temperature=0.2), (a, b))


@pytest.mark.parametrize("loss", [nt_xent, inter_cross])
def test_one_place_gives_zero_with_a_gradient(loss: Any) -> None:
    a, b = (torch.randn(1, 4, requires_grad=True) for _ in "ab")
    value = loss(a, b, temperature=0.01)
    value.backward()
    assert value.item() == 0
    assert a.grad is not None
    assert b.grad is not None
    assert not a.grad.any()


@pytest.mark.parametrize("loss", [nt_xent, inter_cross])
def test_bfloat16_under_autocast_is_float32_inside(loss: Any) -> None:
    a, b = (torch.randn(8, 16).bfloat16() for _ in "ab")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss(a, b, temperature=0.01)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(loss(a.double(), b.double(), temperature=0.01).item(), rel=1e-5)


def test_refuses_unequal_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        nt_xent(torch.randn(3, 4), torch.randn(2, 4), temperature=0.1)


def test_a_learned_scale_gets_its_gradient() -> None:
    a, b = (torch.randn(6, 4, dtype=torch.float64, requires_grad=True) for _ in "ab")
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y, s: clip(x, y, scale=s), (a, b, scale))
    torch.testing.assert_close(clip(a, b, scale=scale), inter_cross(a, b, temperature=1 / 3))
    log_scale = torch.tensor([4.0], requires_grad=True)  # as CLIP learns it; 1 / 0.018, beyond what needs no maximum
    high = torch.tensor([5.0], requires_grad=True)
    for learned in (log_scale, high):
        clip(a.detach().float(), b.detach().float(), scale=learned.exp()).backward()
        exact = learned.detach().double().requires_grad_()
        clip(a.detach(), b.detach(), scale=exact.exp()).backward()
        assert learned.grad is not None
        torch.testing.assert_close(learned.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_a_scale_gets_a_zero_from_one_place() -> None:
    for B in (0, 1):
        z, scale = torch.randn(B, 4, requires_grad=True), torch.tensor(10.0, requires_grad=True)
        clip(z, z, scale=scale).backward()
        assert scale.grad == 0


def test_refuses_a_scale_that_is_none() -> None:
    z = torch.randn(3, 4)
    for scale in (0.0, -1.0, torch.tensor(float("nan"))):
        with pytest.raises(ValueError, match="positive"):
            clip(z, z, scale=scale)
    with pytest.raises(ValueError, match="one number"):
        clip(z, z, scale=torch.ones(3))
