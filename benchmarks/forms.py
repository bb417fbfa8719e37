"""Contrastive losses in their textbook form, written from the formulas with torch alone: peers to compare with.

Each keeps the whole matrix of similarities, as the papers' own code does. They are right, and are what most projects
run; none is made slower than its formula asks for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent_masked(z_a: Tensor, z_b: Tensor, temperature: float) -> Tensor:
    """NT-Xent in four products of which the diagonals are taken out by a boolean mask, as lightly computes it."""
    a, b = F.normalize(z_a, dim=1), F.normalize(z_b, dim=1)
    n = len(a)
    others = ~torch.eye(n, dtype=torch.bool, device=a.device)
    aa, ab, ba, bb = (x @ y.T / temperature for x, y in ((a, a), (a, b), (b, a), (b, b)))
    aa, bb = aa[others].view(n, -1), bb[others].view(n, -1)
    logits = torch.cat([torch.cat([ab, aa], 1), torch.cat([ba, bb], 1)])
    return F.cross_entropy(logits, torch.arange(n, device=a.device).repeat(2))


def clip_dense(z_a: Tensor, z_b: Tensor, scale: float) -> Tensor:
    """CLIP's loss as in figure 3 of its paper: one matrix of logits, two cross-entropies."""
    logits = scale * F.normalize(z_a, dim=1) @ F.normalize(z_b, dim=1).T
    truth = torch.arange(len(z_a), device=z_a.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def mul_sup_con_pairs(
    queries: Tensor, labels: Tensor, keys: Tensor, key_labels: Tensor, temperature: float, *, own: bool = False
) -> Tensor:
    """MulSupCon (Zhang & Wu 2024, eq. 4) with a row of similarities for every pair of a query and one of its labels.

    `own`: keys are the queries themselves and each leaves itself out; pairs without a positive are dropped.
    """
    scores = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / temperature
    if own:
        scores = scores.masked_fill(torch.eye(len(keys), dtype=torch.bool, device=keys.device), float("-inf"))
    row, label = labels.nonzero(as_tuple=True)
    log_share = F.log_softmax(scores[row], 1)  # a row a pair
    positive = key_labels.T[label].to(scores.dtype)
    if own:
        positive[torch.arange(len(row), device=row.device), row] = 0
        log_share = log_share.masked_fill(log_share == float("-inf"), 0)
    count = positive.sum(1)
    valid = count > 0
    loss = -(positive * log_share).sum(1)[valid] / count[valid]
    return loss.mean()
