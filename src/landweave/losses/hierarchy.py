"""Cross-entropy over the levels of a hierarchy of classes, of which only the finest has logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from landweave.losses.rows import no_autocast
from landweave.losses.supervised import check_classes, known_truth, on_label, weighted_mean
from landweave.sample import Label

if TYPE_CHECKING:
    from jaxtyping import Float


def hierarchical_cross_entropy(
    logits: Float[Tensor, "B K *HW"],
    label: Label,
    parents: Sequence[Sequence[int]],
    *,
    share: float = 1.0,
    weights: Float[Tensor, " K"] | None = None,
) -> Float[Tensor, ""]:
    """`cross_entropy` of the finest level, and `share` times that of each level above it.

    The probability of a parent is the sum of those of its children, `p_parent = sum_c p_c`, so that

        loss = mean_x w_y ( -log p(y) - share * sum_l log p(parent_l(y)) ) / mean_x w_y

    and to mistake a winter wheat for a spring wheat costs less than for a vineyard. This loss is ours for LPIS; sums
    of children over a softmax are those of Redmon and Farhadi (2017, "YOLO9000", section 4), who factor it instead.

    Args:
        logits: of the finest level, B K or B K h w; brought to the label's size as by `cross_entropy`.
        label: of the finest level.
        parents: from fine to coarse, of each class of a level the index of its parent in the level above.
        share: how much each level above counts.
        weights: of the finest classes. One of weight 0 is left out at every level.

    Raises:
        ValueError: another kind of label, or levels that do not stand on one another.
    """
    check_classes(logits, label, ("class", "map"))
    with no_autocast(logits):
        log_p = on_label(logits, label).log_softmax(1)
        truth, count = known_truth(label, log_p, weights)
        loss = F.nll_loss(log_p, truth, reduction="none")
        for above in parents:
            to = torch.tensor(list(above), device=log_p.device)
            log_p, truth = _above(log_p, above), to[truth]
            loss = loss + share * F.nll_loss(log_p, truth, reduction="none")
        return weighted_mean(loss, count)


def _above(log_p: Float[Tensor, "B K *HW"], parents: Sequence[int]) -> Float[Tensor, "B K2 *HW"]:
    """Log-probabilities of parents from those of their children."""
    if len(parents) != log_p.shape[1]:
        raise ValueError(f"{len(parents)} parents for a level of {log_p.shape[1]} classes")
    children: dict[int, list[int]] = {}
    for child, parent in enumerate(parents):
        children.setdefault(parent, []).append(child)
    if sorted(children) != list(range(len(children))):
        raise ValueError(f"parents are numbered 0, 1, ..., each with a child; there are {sorted(children)}")
    return torch.stack([torch.logsumexp(log_p[:, children[p]], 1) for p in range(len(children))], 1)
