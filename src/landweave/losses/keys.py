"""Supervised contrast of queries against keys: the other view from a momentum encoder, and a queue of earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from landweave.losses.rows import blocks, check_temperature, key_lse, no_autocast, unit, zero
from landweave.losses.supcon import Contrast, Reduction, check_labels, known_labels, weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Num


def mul_sup_con_keys(
    queries: Float[Tensor, "B D"],
    labels: Num[Tensor, "B K"],
    keys: Float[Tensor, "M D"],
    key_labels: Num[Tensor, "M K"],
    *,
    temperature: float,
    reduction: Reduction = "pairs",
    known: Bool[Tensor, " B"] | Bool[Tensor, "B K"] | None = None,
    key_known: Bool[Tensor, " M"] | Bool[Tensor, "M K"] | None = None,
) -> Contrast:
    """MulSupCon of queries by keys, the published form: every pair of a query and one of its labels is a row.

        L_ij = 1/n_j sum_{p: y_pj = 1} [ log sum_a exp(s_ia) - s_ip ],   s = cosine / temperature,  p, a over all keys

    Zhang & Wu 2024 (MulSupCon, AAAI), eq. 4. Keys are the queries' other views, of which none is left out, and after
    them a queue once it is full: put both into `keys`. `reduction="pairs"` is the published default; `batch` is its
    `with_weight` (divided by all queries, labelled or not); `anchors` divides by the queries that have a valid label.
    Keys get a gradient if they ask for one; those of a momentum encoder do not. `known` and `key_known` as in
    `mul_sup_con`.

    Returns:
        The loss (0 with a gradient of 0 when no pair is valid), the valid pairs, and the pairs dropped because no
        key has their label.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.
    """
    _check(queries, labels, known, keys, key_labels, key_known, temperature)
    with no_autocast(queries):
        q, k = unit(queries, temperature**-0.5), unit(keys, temperature**-0.5)
        with torch.no_grad():
            y, of_key = known_labels(labels, known, q), known_labels(key_labels, key_known, k)
            n = of_key.sum(0)
            pairs = y.sum().long()
            y = y * (n > 0)
            valid = y.sum().long()
            weight = weights(y, reduction)
        if not len(q) or not len(k):
            return Contrast(zero(queries) + zero(keys), valid, pairs - valid)
        apart = (weight.sum(1) * key_lse(q, k, 1 / temperature)).sum()
        together = (((weight / n.clamp(min=1)).T @ q) * (of_key.T @ k)).sum()
        return Contrast(apart - together, valid, pairs - valid)


def sup_con_keys(
    queries: Float[Tensor, "B D"],
    labels: Num[Tensor, "B K"],
    keys: Float[Tensor, "M D"],
    key_labels: Num[Tensor, "M K"],
    *,
    temperature: float,
    match: Literal["all", "any"],
) -> Contrast:
    """SupCon of queries by keys for label sets: a positive has all the labels of the query and no other, or any.

        L_i = 1/|P_i| sum_{p in P_i} [ log sum_a exp(s_ia) - s_ip ],   s = cosine / temperature

    The baselines ALL and ANY of Zhang & Wu 2024, section 3.2. The mean is over queries with a positive; one without a
    label has none, which is ours for `all` (two empty sets are equal), and where the published form divides by 0.

    Returns:
        The loss (0 with a gradient of 0 without a valid query), the valid queries, and the labelled ones dropped.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.
    """
    _check(queries, labels, None, keys, key_labels, None, temperature)
    with no_autocast(queries):
        q, k = unit(queries, temperature**-0.5), unit(keys, temperature**-0.5)
        y, of_key = known_labels(labels, None, q), known_labels(key_labels, None, k)
        n, sums = _over_positives(y, of_key, k.detach(), match)
        valid = (n > 0).sum()
        dropped = (y.sum(1) > 0).sum() - valid
        if not len(q) or not len(k):
            return Contrast(zero(queries) + zero(keys), valid, dropped)
        weight = (n > 0).to(q.dtype) / valid.clamp(min=1)
        share = (weight / n.clamp(min=1)).unsqueeze(1)
        # sum_i share_i q_i . sum_{p in P_i} k_p is linear in q and in k: with each one's cofactor as a constant, the
        # sum of both less its value has its value and its gradient
        pulled = (q * (share * sums)).sum()
        if k.requires_grad:
            _, cofactor = _over_positives(of_key, y, share * q.detach(), match)
            pulled = pulled + (k * cofactor).sum() - pulled.detach()
        return Contrast((weight * key_lse(q, k, 1 / temperature)).sum() - pulled, valid, dropped)


@torch.no_grad()
def _over_positives(y: Tensor, others: Tensor, rows: Tensor, match: str) -> tuple[Tensor, Tensor]:
    """For each label set of `y` how many of `others` match it, and the sum of their rows; tile by tile."""
    n, sums = rows.new_zeros(len(y)), rows.new_zeros(len(y), rows.shape[1])
    for i, j, _ in blocks(len(y), len(others), rows.device):
        shared = y[i] @ others[j].T
        mask = shared > 0
        if match == "all":
            mask &= (shared == y[i].sum(1, keepdim=True)) & (shared == others[j].sum(1))
        n[i] += mask.sum(1)
        sums[i].addmm_(mask.to(rows.dtype), rows[j])
    return n, sums


def _check(
    queries: Tensor, labels: Tensor, known: Tensor | None,
    keys: Tensor, key_labels: Tensor, key_known: Tensor | None, temperature: float,
) -> None:  # fmt: skip
    check_temperature(temperature)
    check_labels(queries, labels, known, "queries")
    check_labels(keys, key_labels, key_known, "keys")
    if queries.shape[1] != keys.shape[1] or labels.shape[1] != key_labels.shape[1]:
        raise ValueError(
            f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)}, labels {tuple(labels.shape)} and "
            f"{tuple(key_labels.shape)}: their columns must be the same"
        )
