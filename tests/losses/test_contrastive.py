from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_oracles import cross_loops, golden, nt_xent_loops

from landweave.losses import inter_cross, nt_xent


def pair(case: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, float]:
    a, b = (torch.tensor(case["inputs"][k], dtype=torch.float64, requires_grad=True) for k in ("z_a", "z_b"))
    return a, b, case["inputs"]["temperature"]


@pytest.mark.parametrize("case", golden("ntxent_") + golden("mulsupcon_unique"), ids=lambda c: c["name"])
def test_nt_xent_golden(case: dict[str, Any]) -> None:
    a, b, t = pair(case)
    loss = nt_xent(a, b, temperature=t)
    loss.backward()
    assert loss.item() == pytest.approx(case["expected"]["loss"], rel=1e-6, abs=1e-12)
    for z, name in ((a, "grad_z_a"), (b, "grad_z_b")):
        if name in case["expected"]:
            expected = torch.tensor(case["expected"][name], dtype=torch.float64)
            torch.testing.assert_close(z.grad, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", golden("inter_cross"), ids=lambda c: c["name"])
def test_inter_cross_golden(case: dict[str, Any]) -> None:
    a, b, t = pair(case)
    assert inter_cross(a, b, temperature=t).item() == pytest.approx(case["expected"]["loss"], rel=1e-6)


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
