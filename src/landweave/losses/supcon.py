"""Supervised contrast for places with several labels each: MulSupCon, in the form that needs no N x N label mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from landweave.losses.rows import no_autocast, row_lse, unit, zero

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Num

Reduction = Literal["pairs", "anchors"]


class MulSupCon(NamedTuple):
    """The loss, how many (row, label) pairs it is a mean of, and how many had no second row with that label."""

    loss: Float[Tensor, ""]
    valid_pairs: Int[Tensor, ""]
    dropped: Int[Tensor, ""]


def mul_sup_con(
    z: Float[Tensor, "N D"],
    labels: Num[Tensor, "N K"],
    *,
    temperature: float,
    known: Bool[Tensor, "N"] | Bool[Tensor, "N K"] | None = None,
    reduction: Reduction = "pairs",
) -> MulSupCon:
    """MulSupCon among the rows of one batch, a row never being its own positive or negative.

    Every pair (row i, label j of i) pulls i towards the other rows that have j:

        L_ij = 1/(n_j - 1) sum_{p != i, y_pj = 1} [ log sum_{a != i} exp(s_ia) - s_ip ],   s = cosine / temperature

    Zhang & Wu 2024 (MulSupCon, AAAI), eq. 4, with the row itself left out as in SimCLR. Summed in closed form it is
    one log-sum-exp a row and a K x D product. With one label a row it is SupCon (Khosla et al. 2020, eq. 2, L_out);
    with a private label for the two views of each place it is NT-Xent.

    Args:
        z: embeddings, normalised here; views of one place are rows of their own, with the labels repeated.
        labels: 0/1, or bool. A row without any label is a negative of all others and no anchor.
        temperature: positive.
        known: False where nobody said, by row or by row and label. Such an entry is neither an anchor nor a
            positive, whatever `labels` holds there; the row stays in the denominators as a negative.
        reduction: `pairs`: mean over the valid pairs; `anchors`: mean over an anchor's valid labels, then over
            anchors that have one.

    Returns:
        The loss (0 with a gradient of 0 when no pair is valid), the valid pairs, and the pairs dropped because no
        other row has their label. Dropped pairs count in no sum: an eps in the denominator would keep them in the
        mean.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.
    """
    _check(z, labels, known, temperature)
    with no_autocast(z), torch.no_grad():
        y = labels.to(torch.float64 if z.dtype == torch.float64 else torch.float32)
        if known is not None:
            y = y * (known if known.ndim == 2 else known[:, None])
        n = y.sum(0)
        pairs = y.sum().long()
        y = y * (n > 1)
        valid = y.sum().long()
        weight = _weights(y, reduction)
    if len(z) < 2:
        return MulSupCon(zero(z), valid, pairs - valid)
    with no_autocast(z):
        e = unit(z)
        apart = (weight.sum(1) * row_lse(e, temperature)).sum()
        share = 1.0 / (n - 1).clamp(min=1)
        # sum over positives p != i of e_i . e_p  =  e_i . (sum over all p) - e_i . e_i
        all_pairs = ((weight.T @ e) * (y.T @ e)).sum(1)
        own = weight.T @ e.square().sum(1)
        together = (share * (all_pairs - own)).sum() / temperature
        return MulSupCon(apart - together, valid, pairs - valid)


def _weights(y: Tensor, reduction: Reduction) -> Tensor:
    """What each (row, label) pair counts in the mean; they add up to 1, or to 0 when no pair is valid."""
    if reduction == "pairs":
        return y / y.sum().clamp(min=1)
    of_row = y.sum(1, keepdim=True)
    return y / of_row.clamp(min=1) / (of_row > 0).sum().clamp(min=1)


def _check(z: Tensor, labels: Tensor, known: Tensor | None, temperature: float) -> None:
    if z.ndim != 2 or labels.ndim != 2 or len(z) != len(labels):
        raise ValueError(f"z must be N D and labels N K, not {tuple(z.shape)} and {tuple(labels.shape)}")
    if known is not None and known.shape not in (labels.shape, labels.shape[:1]):
        raise ValueError(f"known is {tuple(known.shape)}, neither N nor N K of labels {tuple(labels.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, it must be positive")
