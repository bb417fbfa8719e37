from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import landweave.losses.rows as rows_module
from landweave.losses import nt_xent, row_lse


def dense(z: Tensor, t: float) -> Tensor:
    s = z @ z.T / t
    return torch.logsumexp(s.masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf")), 1)


def unit_rows(n: int, d: int = 8, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(n)).to(dtype), dim=1)


@pytest.mark.parametrize("tile", [(1, 1), (5, 7), (16, 8), (64, 64)])
def test_equals_a_dense_matrix_whatever_the_tile(monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int]) -> None:
    monkeypatch.setitem(rows_module.TILE, "cpu", tile)
    z = unit_rows(37).requires_grad_()
    weight = torch.linspace(-1, 2, 37, dtype=torch.float64)
    (row_lse(z, 0.1) * weight).sum().backward()
    again = z.detach().clone().requires_grad_()
    (dense(again, 0.1) * weight).sum().backward()
    torch.testing.assert_close(row_lse(z, 0.1), dense(again, 0.1))
    torch.testing.assert_close(z.grad, again.grad)


@pytest.mark.parametrize("t", [0.1, 0.01])  # as plain exponentials, and with a running maximum
@pytest.mark.parametrize("tile", [(1, 1), (5, 7), (64, 64)])
def test_both_directions_equal_a_dense_matrix(monkeypatch: pytest.MonkeyPatch, t: float, tile: tuple[int, int]) -> None:
    monkeypatch.setitem(rows_module.TILE, "cpu", tile)
    a, b = (unit_rows(n, dtype=torch.float32).div(t**0.5) for n in (23, 31))
    assert rows_module._plain(a, 1 / t) == (t > 0.02)
    w, v = torch.linspace(-1, 2, 23), torch.linspace(1, -1, 31)

    def gradients(x: Tensor, y: Tensor, ours: bool) -> tuple[Tensor, ...]:
        x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
        s = x @ y.T
        rows, columns = rows_module.cross_lse(x, y, 1 / t) if ours else (s.logsumexp(1), s.logsumexp(0))
        ((rows * w.to(x)).sum() + (columns * v.to(x)).sum()).backward()
        assert x.grad is not None
        assert y.grad is not None
        return rows.detach().double(), columns.detach().double(), x.grad.double(), y.grad.double()

    for ours, exact in zip(gradients(a, b, True), gradients(a.double(), b.double(), False), strict=True):
        torch.testing.assert_close(ours, exact, rtol=2e-4, atol=2e-4)
    x = a.clone().requires_grad_()  # keys without a gradient go another way
    fixed = rows_module.key_lse(x, b, 1 / t)
    (fixed * w).sum().backward()
    exact = a.double().requires_grad_()
    ((exact @ b.double().T).logsumexp(1) * w).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=2e-4, atol=2e-4)
    here, there = rows_module.cross_lse(a, b, 1 / t)
    torch.testing.assert_close(fixed, here)
    torch.testing.assert_close(rows_module.key_lse(a, b, 1 / t), here)
    torch.testing.assert_close(rows_module.key_lse(b, a, 1 / t), there)


@pytest.mark.parametrize("t", [0.0105, 0.016, 0.018])  # the last one needs no maximum
def test_no_overflow_with_many_equal_rows(t: float) -> None:
    z = unit_rows(1, dtype=torch.float32).repeat(3000, 1).requires_grad_()
    lse = row_lse(z, t)
    lse.mean().backward()
    assert lse.detach().double().sub(1 / t + log(2999)).abs().max() < 1e-4
    assert z.grad is not None
    torch.testing.assert_close(z.grad, 2 * z.detach() / 3000 / t, rtol=1e-4, atol=1e-6)


def test_gradcheck_with_and_without_keys() -> None:
    z, keys = unit_rows(5, 3).requires_grad_(), unit_rows(7, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: row_lse(a, 0.3), (z,))
    assert torch.autograd.gradcheck(lambda a, b: row_lse(a, 0.3, keys=b), (z, keys))


def test_exact_in_float32_at_a_temperature_of_a_hundredth() -> None:
    z = torch.cat([unit_rows(6), -unit_rows(6)])  # opposite vectors: log(softmax) is log(0) here
    precise = row_lse(z, 0.01)
    single = z.float().requires_grad_()
    lse = row_lse(single, 0.01)
    lse.sum().backward()
    assert (lse.double() - precise).abs().max() < 5e-5  # of values up to 100: float32's own last digit
    assert single.grad is not None
    assert single.grad.isfinite().all()
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert row_lse(opposite, 0.01).tolist() == [-100.0, -100.0]  # exp(-100) is 0 in float32


def test_full_precision_under_autocast_forward_and_backward() -> None:
    plain = unit_rows(9, dtype=torch.float32).requires_grad_()
    row_lse(plain, 0.01).sum().backward()
    mixed = plain.detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lse = row_lse(mixed, 0.01)
        lse.sum().backward()
    assert lse.dtype == torch.float32
    torch.testing.assert_close(lse, row_lse(plain, 0.01), rtol=0, atol=0)
    torch.testing.assert_close(mixed.grad, plain.grad, rtol=0, atol=0)
    assert row_lse(plain.detach().bfloat16(), 0.1).dtype == torch.float32


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, Tensor):
                self.numel = max(self.numel, t.numel())
        return out


def test_no_matrix_of_all_rows_is_ever_made_nor_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rows_module.TILE, "cpu", (64, 64))
    saved: dict[int, int] = {}
    largest: dict[int, int] = {}
    for n in (256, 512):
        stored: dict[int, int] = {}
        a, b = (torch.randn(n, 4, requires_grad=True) for _ in "ab")
        with (
            Largest() as seen,
            torch.autograd.graph.saved_tensors_hooks(
                lambda t, stored=stored: stored.update({t.data_ptr(): t.numel()}) or t,  # type: ignore[misc]
                lambda t: t,
            ),
        ):
            nt_xent(a, b, temperature=0.1).backward()
        saved[n], largest[n] = sum(stored.values()), seen.numel
    assert saved[512] <= 2 * saved[256]
    assert largest[512] <= max(2 * 64 * 64, 4 * 1024)  # room for two tiles, out of 1,024 x 1,024


def test_refuses_what_has_no_value() -> None:
    with pytest.raises(ValueError, match="1 rows"):
        row_lse(unit_rows(1), 0.1)
    with pytest.raises(ValueError, match="no key"):
        row_lse(unit_rows(3), 0.1, keys=unit_rows(3)[:0])
    with pytest.raises(ValueError, match="temperature"):
        row_lse(unit_rows(3), 0.0)


def test_a_zero_row_stays_zero_and_gets_no_gradient() -> None:
    z = torch.randn(4, 3, dtype=torch.float64)
    z[1] = 0
    z.requires_grad_()
    y = rows_module.unit(z, 2.0)
    (y * torch.randn(4, 3)).sum().backward()
    assert z.grad is not None
    assert not y[1].any()
    assert not z.grad[1].any()
    assert z.grad[0].any()
    rest = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rows_module.unit(x, 2.0), (rest,))
