"""Supervised contrast among the rows of one batch, in the form that needs no N x N label mask.

What pulls rows together is a sum over pairs with a label in common. Summed label by label it is a product of the sums
of all rows with that label, K x D numbers; only the log-sum-exp of each row looks at all pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from landweave.losses.rows import check_temperature, no_autocast, self_lse, unit, zero

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Num

Reduction = Literal["pairs", "anchors", "batch"]


class Contrast(NamedTuple):
    """A loss, of how many anchors (MulSupCon: pairs of anchor and label) it is a mean, and how many were left out."""

    loss: Float[Tensor, ""]
    valid_pairs: Int[Tensor, ""]
    dropped: Int[Tensor, ""]


def sup_con(
    z: Float[Tensor, "N D"], classes: Int[Tensor, " N"], *, temperature: float, known: Bool[Tensor, " N"] | None = None
) -> Contrast:
    """SupCon among the rows of one batch: each row pulls the others of its class.

        L_i = 1/(n - 1) sum_{p != i, y_p = y_i} [ log sum_{a != i} exp(s_ia) - s_ip ],   s = cosine / temperature

    Khosla et al. 2020, eq. 2 (L_out); n rows have the class. The mean is over rows that have a second one of their
    class; the others, and rows that are not `known`, are negatives only. There may be as many classes as rows.

    Returns:
        The loss (0 with a gradient of 0 without any valid row), the valid rows, and the known rows that were dropped.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.
    """
    check_temperature(temperature)
    if z.ndim != 2 or classes.shape != z.shape[:1] or (known is not None and known.shape != classes.shape):
        raise ValueError(f"z must be N D, classes and known N, not {tuple(z.shape)} and {tuple(classes.shape)}")
    with no_autocast(z):
        e = unit(z, temperature**-0.5)
        with torch.no_grad():
            values, index = torch.unique(classes, return_inverse=True)
            if known is not None:
                index = index.masked_fill(~known, len(values))  # a class of its own that nobody is pulled to
            anchors, n, own = (e.new_zeros(len(values) + 1) for _ in range(3))
            n.index_add_(0, index, e.new_ones(len(z)))
            n[-1] = 0
            own.index_add_(0, index, e.square().sum(1))
            anchors = n[index] > 1
            valid, dropped = anchors.sum(), (n[index] == 1).sum()
            weight = anchors / valid.clamp(min=1).to(e.dtype)
        if len(z) < 2:
            return Contrast(zero(z), valid, dropped)
        sums = e.new_zeros(len(n), z.shape[1]).index_add(0, index, e)
        share = (n > 1) / (n - 1).clamp(min=1) / valid.clamp(min=1)
        together = (share * (sums.square().sum(1) - own)).sum()
        return Contrast((weight * self_lse(e, 1 / temperature)).sum() - together, valid, dropped)


def mul_sup_con(
    z: Float[Tensor, "N D"],
    labels: Num[Tensor, "N K"],
    *,
    temperature: float,
    known: Bool[Tensor, " N"] | Bool[Tensor, "N K"] | None = None,
    reduction: Reduction = "pairs",
) -> Contrast:
    """MulSupCon among the rows of one batch, a row never being its own positive or negative.

    Every pair (row i, label j of i) pulls i towards the other rows that have j:

        L_ij = 1/(n_j - 1) sum_{p != i, y_pj = 1} [ log sum_{a != i} exp(s_ia) - s_ip ],   s = cosine / temperature

    Zhang & Wu 2024 (MulSupCon, AAAI), eq. 4, with the row itself left out as in SimCLR. With one label a row it is
    SupCon (Khosla et al. 2020, eq. 2, L_out); with a private label for the two views of each place it is NT-Xent.

    Args:
        z: embeddings, normalised here; views of one place are rows of their own, with the labels repeated.
        labels: 0/1, or bool. A row without any label is a negative of all others and no anchor.
        temperature: positive.
        known: False where nobody said, by row or by row and label. Such an entry is neither an anchor nor a
            positive, whatever `labels` holds there; the row stays in the denominators as a negative.
        reduction: `pairs`: mean over the valid pairs; `anchors`: mean over an anchor's valid labels, then over
            anchors that have one; `batch`: the same, but divided by all rows.

    Returns:
        The loss (0 with a gradient of 0 when no pair is valid), the valid pairs, and the pairs dropped because no
        other row has their label. Dropped pairs count in no sum: an eps in the denominator would keep them in the
        mean.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.
    """
    check_temperature(temperature)
    check_labels(z, labels, known, "z")
    with no_autocast(z):
        e = unit(z, temperature**-0.5)
        with torch.no_grad():
            y = known_labels(labels, known, e)
            n = y.sum(0)
            pairs = y.sum().long()
            y = y * (n > 1)
            valid = y.sum().long()
            weight = weights(y, reduction)
        if len(z) < 2:
            return Contrast(zero(z), valid, pairs - valid)
        apart = (weight.sum(1) * self_lse(e, 1 / temperature)).sum()
        together = aligned(e, weight / (n - 1).clamp(min=1), y)
        return Contrast(apart - together, valid, pairs - valid)


def aligned(e: Float[Tensor, "N D"], weight: Float[Tensor, "N K"], y: Float[Tensor, "N K"]) -> Float[Tensor, ""]:
    """`sum_{i, p != i} (weight_i . y_p) (e_i . e_p)` by two K x D products.

    The rows' own part is taken off as a constant: rows come from `unit`, whose gradient along the row is 0.
    """
    everything = ((weight.T @ e) * (y.T @ e)).sum()
    with torch.no_grad():
        own = ((weight * y).sum(1) * e.square().sum(1)).sum()
    return everything - own


def weights(y: Tensor, reduction: Reduction) -> Tensor:
    """What each (row, label) pair counts in the mean; they add up to 1, or to less for `batch` and without a pair."""
    if reduction == "pairs":
        return y / y.sum().clamp(min=1)
    of_row = y.sum(1, keepdim=True)
    rows = max(len(y), 1) if reduction == "batch" else (of_row > 0).sum().clamp(min=1)
    return y / of_row.clamp(min=1) / rows


def known_labels(labels: Tensor, known: Tensor | None, like: Tensor) -> Tensor:
    """Labels as 0/1 numbers of the type and place of `like`, 0 where not known."""
    y = labels.to(like)
    return y if known is None else y * (known if known.ndim == 2 else known[:, None])


def check_labels(z: Tensor, labels: Tensor, known: Tensor | None, name: str) -> None:
    """Raises ValueError unless there is one row of labels, and of what is known of them, for each embedding."""
    if z.ndim != 2 or labels.ndim != 2 or len(z) != len(labels):
        raise ValueError(f"{name} must be N D and its labels N K, not {tuple(z.shape)} and {tuple(labels.shape)}")
    if known is not None and known.shape not in (labels.shape, labels.shape[:1]):
        raise ValueError(f"known is {tuple(known.shape)}, neither N nor N K of labels {tuple(labels.shape)}")
