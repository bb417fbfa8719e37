"""The one kernel under every contrastive loss: the log-sum-exp of each row of a similarity matrix, never stored.

A batch of N rows has N x N similarities; at 65,536 rows that is 17 GB a matrix in float32, and textbook code keeps
several. Here a tile is computed, reduced and forgotten, and computed again in the backward pass. Four things make it
fast as well as small:

- each tile serves its rows and its columns. Among the rows of one batch the matrix is symmetric, so only the tiles on
  and above the diagonal are computed, forward and backward; between two sensors both directions come from one pass;
- while no similarity can exceed about 60 (a temperature of 0.017 for unit vectors) the exponential of the plain
  similarity neither over- nor underflows float32, and one serves both sides of a tile. Beyond that each row and each
  column keeps a running maximum, which costs a second exponential and is exact at any temperature;
- against keys that get no gradient, such as a queue, the gradient of a row is the mean of the keys by their share,
  which the forward pass gathers on its way: nothing is computed twice;
- tiles are written into buffers that are used again, of a size that stays in the processor's cache, and hold
  similarities times log2(e): `exp2` takes half the time of `exp`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from jaxtyping import Float

TILE = {"cpu": (384, 768), "cuda": (2048, 4096)}
"""Rows and columns of a tile by kind of device: 1 MB of float32 for a core's cache, 32 MB for few launches."""

LOG2E = 1 / math.log(2)

EPS = 1e-12
"""Rows shorter than this count as zero."""


def row_lse(
    rows: Float[Tensor, "N D"], temperature: float, *, keys: Float[Tensor, "M D"] | None = None
) -> Float[Tensor, " N"]:
    """`log sum_p exp(rows_i . keys_p / temperature)` for each row.

    Without `keys` the keys are the rows themselves and p = i is left out, as in NT-Xent and supervised contrast; with
    them nothing is left out, as between two sensors or against a queue. Rows are used as they come: pass unit vectors
    for a cosine. Half-precision input is computed in float32, also under autocast; float64 stays.

    Raises:
        ValueError: fewer than two rows without `keys` or no key (the sum would be empty), or a temperature that is
            not positive.
    """
    check_temperature(temperature)
    if keys is None and len(rows) < 2:
        raise ValueError(f"{len(rows)} rows: nothing is left once a row's own similarity is taken out")
    with no_autocast(rows):
        if keys is None:
            rows = full_precision(rows) * temperature**-0.5
            return self_lse(rows, longest(rows) ** 2)
        if len(keys) == 0:
            raise ValueError("no key: the sum over keys is empty")
        rows, keys = full_precision(rows) / temperature, full_precision(keys)
        return key_lse(rows, keys, longest(rows) * longest(keys))


def self_lse(rows: Float[Tensor, "N D"], bound: float) -> Float[Tensor, " N"]:
    """`log sum_{p != i} exp(rows_i . rows_p)`, where no product is larger than `bound` either way."""
    lse: Tensor = _LSE.apply(rows, None, False, _plain(rows, bound))[0]
    return lse


def key_lse(rows: Float[Tensor, "N D"], keys: Float[Tensor, "M D"], bound: float) -> Float[Tensor, " N"]:
    """`log sum_p exp(rows_i . keys_p)`, where no product is larger than `bound` either way."""
    plain = _plain(rows, bound)
    fixed = rows.requires_grad and not keys.requires_grad and torch.is_grad_enabled()
    lse: Tensor = _FixedKeysLSE.apply(rows, keys, plain) if fixed else _LSE.apply(rows, keys, False, plain)[0]
    return lse


def cross_lse(
    rows: Float[Tensor, "N D"], keys: Float[Tensor, "M D"], bound: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " M"]]:
    """`key_lse` of the rows and of the keys, from one pass over the products."""
    both: tuple[Tensor, Tensor] = _LSE.apply(rows, keys, True, _plain(rows, bound))
    return both


def unit(z: Float[Tensor, "N D *HW"], length: float = 1.0) -> Float[Tensor, "N D *HW"]:
    """Rows (or the D channels of each position) brought to `length`: `length * z / max(|z|, 1e-12)`, in full precision.

    A zero row stays zero. Its gradient is 0, which is ours: the formula's own is 1e12 times that of any other row.
    """
    out: Tensor = _Unit.apply(full_precision(z), length)
    return out


def longest(rows: Float[Tensor, "N D"]) -> float:
    """The length of the longest row (waits for the device)."""
    return float(torch.linalg.vector_norm(rows.detach(), dim=1).max()) if len(rows) else 0.0


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


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless it is positive."""
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, it must be positive")


def blocks(n: int, m: int, device: torch.device, *, triangle: bool = False) -> Iterator[tuple[slice, slice, bool]]:
    """Rows and columns of the tiles of an n x m matrix, and whether the tile lies on the diagonal.

    With `triangle` (n = m) each strip of rows starts with its square on the diagonal and goes on to the right of it.
    """
    tall, wide = TILE.get(device.type, TILE["cuda"])
    for top in range(0, n, tall):
        i = slice(top, min(top + tall, n))
        if triangle:
            yield i, i, True
        for left in range(i.stop if triangle else 0, m, wide):
            yield i, slice(left, min(left + wide, m)), False


def _plain(rows: Tensor, bound: float) -> bool:
    """Whether `exp` of a product of at most `bound` leaves room for a sum over rows, both ways."""
    return bound <= 0.68 * math.log(torch.finfo(rows.dtype).max)


class _LSE(Function):
    """lse_i = log sum_p exp(s_ip), s = a bT; d lse_i / d s_ip = exp(s_ip - lse_i). `b` None: a itself, p != i."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor | None, columns: bool, plain: bool) -> tuple[Tensor, Tensor | None]:
        of_rows = _LogSum(a, len(a), plain)
        of_columns = of_rows if b is None else _LogSum(b, len(b), plain) if columns else None
        for i, j, diagonal, s, _ in _tiles(a, b):
            _raise(s, diagonal, plain)
            of_rows.add(i, s, 1)
            if of_columns is not None and not diagonal:
                of_columns.add(j, s, 0)
        lse = of_rows.value()
        other = of_columns.value() if b is not None and of_columns is not None else None
        ctx.save_for_backward(a, b, lse, other)
        ctx.plain = plain
        return lse, other

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_other: Tensor | None) -> tuple[Tensor, Tensor | None, None, None]:
        a, b, lse, other = ctx.saved_tensors
        with no_autocast(a):
            share = _Share(lse, grad, ctx.plain)
            across = share if b is None else _Share(other, grad_other, ctx.plain) if other is not None else None
            grad_a = torch.zeros_like(a)
            grad_b = grad_a if b is None else torch.zeros_like(b) if ctx.needs_input_grad[1] else None
            for i, j, diagonal, s, spare in _tiles(a, b):
                _raise(s, diagonal, ctx.plain)
                _weigh(s, spare, share.at(i, 1), across.at(j, 0) if across is not None else None, ctx.plain)
                grad_a[i].addmm_(s, (a if b is None else b)[j])
                if grad_b is not None and not diagonal:
                    grad_b[j].addmm_(s.T, a[i])
        return grad_a, grad_b if b is not None else None, None, None


class _FixedKeysLSE(Function):
    """`_LSE` of rows by keys without gradient: d lse_i / d a_i = sum_p exp(s_ip - lse_i) b_p, kept from the forward."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, plain: bool) -> Tensor:
        of_rows, mean = _LogSum(a, len(a), plain), torch.zeros_like(a)
        for i, j, _, s, _ in _tiles(a, b):
            _raise(s, False, plain)
            share, faded = of_rows.add(i, s, 1)
            if faded is not None:
                mean[i] *= faded.unsqueeze(1)
            mean[i].addmm_(share, b[j])
        ctx.save_for_backward(mean.div_(of_rows.total.unsqueeze(1)))
        return of_rows.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (mean,) = ctx.saved_tensors
        return mean * grad.unsqueeze(1), None, None


def _raise(s: Tensor, diagonal: bool, plain: bool) -> None:
    """Exponentials instead of a tile's exponents, if plain; a row's own similarity out of what lies on the diagonal."""
    if plain:
        s.exp2_()
    if diagonal:
        s.fill_diagonal_(0.0 if plain else -math.inf)


class _LogSum:
    """The log-sum-exp of rows or columns, gathered tile by tile: plain, or with a running maximum."""

    def __init__(self, like: Tensor, n: int, plain: bool) -> None:
        self.total = like.new_zeros(n)
        self.top = None if plain else like.new_full((n,), torch.finfo(like.dtype).min)

    def add(self, at: slice, s: Tensor, dim: int) -> tuple[Tensor, Tensor | None]:
        """Take in a tile: of exponentials if plain, else of exponents.

        Returns its exponentials as they were added, and by what all that came before was multiplied (None: by 1).
        """
        if self.top is None:
            self.total[at] += s.sum(dim)
            return s, None
        top = torch.maximum(self.top[at], s.amax(dim))
        here, faded = (s - top.unsqueeze(dim)).exp2_(), (self.top[at] - top).exp2_()
        self.total[at] = self.total[at] * faded + here.sum(dim)
        self.top[at] = top
        return here, faded

    def value(self) -> Tensor:
        """The log-sum-exp of what came in."""
        return self.total.log() if self.top is None else self.total.log().add_(self.top, alpha=math.log(2))


class _Share:
    """What a tile is weighed with in the backward pass: the gradient of each row's sum over that sum."""

    def __init__(self, lse: Tensor, grad: Tensor | None, plain: bool) -> None:
        self.grad = torch.zeros_like(lse) if grad is None else grad
        self.bits = lse * LOG2E
        self.plain = self.grad * torch.exp(-lse) if plain else None

    def at(self, part: slice, dim: int) -> tuple[Tensor, Tensor]:
        """The factor and the log2 of the sum of these rows, shaped to broadcast over a tile along `dim`."""
        factor = self.grad if self.plain is None else self.plain
        return factor[part].unsqueeze(dim), self.bits[part].unsqueeze(dim)


def _weigh(
    s: Tensor, spare: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor] | None, plain: bool
) -> None:
    """Turn a tile into the gradient with respect to its products, in place.

    Plain, s holds exponentials and one factor g_i / sum_i (+ g_p / sum_p) is left; else each side has its own.
    """
    if plain:
        s.mul_(rows[0] if columns is None else torch.add(rows[0], columns[0], out=spare))
        return
    if columns is not None:
        torch.sub(s, columns[1], out=spare).exp2_().mul_(columns[0])
    s.sub_(rows[1]).exp2_().mul_(rows[0])
    if columns is not None:
        s.add_(spare)


def _tiles(a: Tensor, b: Tensor | None) -> Iterator[tuple[slice, slice, bool, Tensor, Tensor]]:
    """Rows, columns, whether on the diagonal, the exponents `log2(e) a[i] b[j]T`, and room of the same shape.

    Both tensors may be overwritten; they are the same memory from tile to tile.
    """
    keys = a if b is None else b
    tall, wide = TILE.get(a.device.type, TILE["cuda"])
    room = a.new_empty(2, min(tall, len(a)) * max(min(wide, len(keys)), min(tall, len(a))))
    for i, j, diagonal in blocks(len(a), len(keys), a.device, triangle=b is None):
        shape = (i.stop - i.start, j.stop - j.start)
        s, spare = (room[k, : shape[0] * shape[1]].view(shape) for k in (0, 1))
        yield i, j, diagonal, torch.mm(a[i] * LOG2E, keys[j].T, out=s), spare


class _Unit(Function):
    """y = length z / |z|; its gradient is that part of the incoming one which is square to the row."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, length: float) -> Tensor:
        norm = torch.linalg.vector_norm(z, dim=1, keepdim=True)
        y: Tensor = z * (length / norm.clamp(min=EPS))
        ctx.save_for_backward(y, norm)
        ctx.length = length
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        y, norm = ctx.saved_tensors
        along = torch.linalg.vecdot(y, grad, dim=1).unsqueeze(1) / -(ctx.length**2)
        factor = torch.where(norm < EPS, 0.0, ctx.length / norm)
        back = torch.addcmul(grad, y, along)
        return back.mul_(factor), None
