"""Contrast of whole feature maps between two sensors: the alignment loss of MMA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from landweave.losses.rows import check_temperature, cross_lse, no_autocast, unit, zero

if TYPE_CHECKING:
    from jaxtyping import Float

AT_ONCE = 2**22
"""Correlation values held at a time (16 MB of float32)."""


def dense_alignment(
    maps_a: Float[Tensor, "B C H W"], maps_b: Float[Tensor, "B C h w"], *, temperature: float
) -> Float[Tensor, ""]:
    """The maps of a place must agree better than those of different places, at the best shift of one over the other.

        L = 1/2 [ CE(G, diagonal) + CE(G^T, diagonal) ],   G_ip = max over shifts of corr(a_i, b_p) / temperature

    Windsor et al. 2021 (MICCAI), section 3; the poster's MMA. Channels are normalised at each position here, and the
    correlation at a shift is the mean cosine over the positions of the smaller map, which slides within the larger
    one. Maps of one size have one position, and the loss is one product of flattened maps (`cross_lse`). Otherwise
    correlations are computed for a few maps at a time, and only the best position of each pair is kept. B = 1 gives 0.

    Raises:
        ValueError: other than two stacks of B maps with C channels, maps of which neither contains the other, or a
            temperature that is not positive.
    """
    check_temperature(temperature)
    large, small = _by_size(maps_a, maps_b)
    if len(large) < 2 or not small[0].numel():
        return zero(maps_a) + zero(maps_b)
    with no_autocast(large):
        a, b = (unit(m) for m in (large, small))
        factor = 1 / (temperature * b.shape[-2] * b.shape[-1])
        if a.shape == b.shape:
            rows, keys = (a * factor).flatten(1), b.flatten(1)
            of_a, of_b = cross_lse(rows, keys, 1 / temperature)
            return (of_a.mean() + of_b.mean()) / 2 - (rows * keys).sum() / len(a)
        best: Tensor = _BestShift.apply(a, b)
        best = best * factor
        both = torch.logsumexp(best, 1).mean() + torch.logsumexp(best, 0).mean()
        return both / 2 - best.diagonal().mean()


def _by_size(maps_a: Tensor, maps_b: Tensor) -> tuple[Tensor, Tensor]:
    """The larger maps first; the loss is the same both ways."""
    a, b = tuple(maps_a.shape), tuple(maps_b.shape)
    if len(a) != 4 or len(b) != 4 or a[:2] != b[:2]:
        raise ValueError(f"two stacks of maps B C H W with one B and C are needed, not {a} and {b}")
    if a[2] >= b[2] and a[3] >= b[3]:
        return maps_a, maps_b
    if a[2] <= b[2] and a[3] <= b[3]:
        return maps_b, maps_a
    raise ValueError(f"maps of {a[2:]} and {b[2:]} positions: neither contains the other")


class _BestShift(Function):
    """The largest value of the correlation of every a with every b, without keeping the correlations.

    Each pair's gradient goes to its best shift: a map of one entry, taken back through the correlation.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        best = a.new_empty(len(a), len(b))
        place = torch.empty(len(a), len(b), dtype=torch.long, device=a.device)
        with exact_convolutions(a.device):
            for j in _groups(a, b):
                best[:, j], place[:, j] = F.conv2d(a, b[j]).flatten(2).max(2)
        ctx.save_for_backward(a, b, place)
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b, place = ctx.saved_tensors
        high, wide = (m - n + 1 for m, n in zip(a.shape[2:], b.shape[2:], strict=True))
        grad_a, grad_b = torch.zeros_like(a), torch.empty_like(b)
        with no_autocast(a), exact_convolutions(a.device):
            for j in _groups(a, b):
                at = a.new_zeros(len(a), len(b[j]), high * wide)
                at.scatter_(2, place[:, j].unsqueeze(2), grad[:, j].unsqueeze(2))
                at = at.view(len(a), -1, high, wide)
                grad_a += F.conv_transpose2d(at, b[j])
                grad_b[j] = F.conv2d(a.transpose(0, 1), at.transpose(0, 1)).transpose(0, 1)
        return grad_a, grad_b


def exact_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions in float32 on a GPU, where torch rounds their factors to 11 bits unless told not to.

    Divided by the temperature of the paper such a correlation may be off by 0.1. (Products of matrices are not rounded
    unless `torch.set_float32_matmul_precision` asks for it.)
    """
    if device.type != "cuda":
        return nullcontext()
    flags = torch.backends.cudnn
    context: AbstractContextManager[None] = flags.flags(
        enabled=True, benchmark=flags.benchmark, deterministic=flags.deterministic, allow_tf32=False
    )
    return context


def _groups(a: Tensor, b: Tensor) -> Iterator[slice]:
    """As many maps of b at a time as give AT_ONCE correlations with all of a, one at least."""
    each = len(a) * (a.shape[2] - b.shape[2] + 1) * (a.shape[3] - b.shape[3] + 1)
    step = max(1, AT_ONCE // each)
    for start in range(0, len(b), step):
        yield slice(start, min(start + step, len(b)))
