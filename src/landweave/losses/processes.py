"""Rows of all processes, with their gradient: a contrastive loss across processes is the loss of the joint batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def gather(x: Tensor) -> Tensor:
    """The rows of every process one after the other, in the order of their ranks; `x` itself where there is one.

    Processes may hold different numbers of rows, none included; what follows the first dimension must be the same.
    Labels and masks are gathered like embeddings. Every process must call it, as often and in the same order.

    The gradient that comes back is the sum over processes of what each one's loss asks of these rows. Each process
    computes the loss of the joint batch, so the sum is their number times its gradient, and the mean over processes
    that DistributedDataParallel takes of a parameter's gradient makes it that of the joint batch.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    out: Tensor = _Gather.apply(x) if x.requires_grad else _all_rows(x)[0]
    return out


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows, sizes = _all_rows(x)
        start = sum(sizes[: dist.get_rank()])
        ctx.own = slice(start, start + len(x))
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own]


def _all_rows(x: Tensor) -> tuple[Tensor, list[int]]:
    """All rows, and how many each process has; shorter parts travel padded, since parts must be of one size."""
    sent = x.detach().to(torch.uint8) if x.dtype == torch.bool else x.detach()
    count = torch.tensor([len(x)], device=x.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    longest = max(sizes)
    padded = sent.new_zeros(longest, *x.shape[1:])
    padded[: len(x)] = sent
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([p[:n] for p, n in zip(parts, sizes, strict=True)]).to(x.dtype), sizes
