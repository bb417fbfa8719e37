"""The one kernel under every contrastive loss: the log-sum-exp of each row of a similarity matrix, never stored.

A batch of N rows has N x N similarities; at 65,536 rows that is 17 GB a matrix in float32, and textbook code keeps
several. Here a tile of rows is computed, reduced and forgotten, and computed again in the backward pass. The row
maximum is taken out before the exponential, so the result is exact at any temperature, 0.01 included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from jaxtyping import Float

TILE = 2**20
"""Similarities in one tile (4 MB of float32: larger tiles leave the cache, smaller ones starve the product)."""


def row_lse(
    rows: Float[Tensor, "N D"], temperature: float, *, keys: Float[Tensor, "M D"] | None = None
) -> Float[Tensor, " N"]:
    """`log sum_p exp(rows_i . keys_p / temperature)` for each row.

    Without `keys` the keys are the rows themselves and p = i is left out, as in NT-Xent and supervised contrast; with
    them nothing is left out, as between two sensors or against a queue. Rows are used as they come: pass unit vectors
    for a cosine. Half-precision input is computed in float32, also under autocast; float64 stays.

    Raises:
        ValueError: fewer than two rows without `keys` (the sum would be empty), or a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, it must be positive")
    if keys is None and len(rows) < 2:
        raise ValueError(f"{len(rows)} rows: nothing is left once a row's own similarity is taken out")
    with no_autocast(rows):
        rows = full_precision(rows)
        others = rows if keys is None else full_precision(keys)
        lse: Tensor = _RowLSE.apply(rows, others, 1.0 / temperature, keys is None)
    return lse


def unit(z: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Rows of length 1 in full precision; a zero row stays zero (`z / max(|z|, 1e-12)`)."""
    return F.normalize(full_precision(z), dim=1, eps=1e-12)


def full_precision(z: Tensor) -> Tensor:
    """float32, or float64 where the input is float64."""
    return z if z.dtype == torch.float64 else z.float()


def no_autocast(z: Tensor) -> AbstractContextManager[Any]:
    """Switch autocast off on the device of `z`: a cosine in bfloat16, divided by 0.01, is off by 0.4."""
    context: AbstractContextManager[Any] = torch.autocast(z.device.type, enabled=False)
    return context


def zero(z: Tensor) -> Tensor:
    """The loss of a batch that has nothing to learn from: 0, and its gradient is 0 too."""
    return full_precision(z).sum() * 0.0


class _RowLSE(Function):
    """lse_i = log sum_p exp(s_ip), s = a bT / temperature; d lse_i / d s_ip = exp(s_ip - lse_i)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, scale: float, skip_self: bool) -> Tensor:
        lse = a.new_empty(len(a))
        for i, s in _tiles(a, b, scale, skip_self):
            top = s.amax(1, keepdim=True)
            lse[i] = s.sub_(top).exp_().sum(1).log_().add_(top[:, 0])
        ctx.save_for_backward(a, b, lse)
        ctx.scale, ctx.skip_self = scale, skip_self
        return lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        a, b, lse = ctx.saved_tensors
        with no_autocast(a):
            weight = grad * ctx.scale
            grad_a, grad_b = torch.empty_like(a), torch.zeros_like(b)
            for i, s in _tiles(a, b, ctx.scale, ctx.skip_self):
                share = s.sub_(lse[i, None]).exp_().mul_(weight[i, None])
                torch.mm(share, b, out=grad_a[i])
                grad_b.addmm_(share.T, a[i])
        return grad_a, grad_b, None, None


def _tiles(a: Tensor, b: Tensor, scale: float, skip_self: bool) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows of `a bT * scale`, each in a tensor that the caller may overwrite."""
    step = max(16, TILE // max(len(b), 1))
    for start in range(0, len(a), step):
        i = slice(start, min(start + step, len(a)))
        s = torch.mm(a[i] * scale, b.T)
        if skip_self:
            s.diagonal(start).fill_(float("-inf"))
        yield i, s
