"""Losses against labels, of which any part may be unknown: a place, one class of a place, a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from landweave.losses.rows import full_precision, no_autocast
from landweave.sample import Label

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def cross_entropy(
    logits: Float[Tensor, "B K *HW"], label: Label, *, weights: Float[Tensor, " K"] | None = None
) -> Float[Tensor, ""]:
    """Cross-entropy of a label of kind `class` (logits B K) or `map` (logits B K h w), mean over what is known.

    Logits of another size than the label raster are brought to it bilinearly (the label is never resampled). With
    `weights` a class, it is the weighted mean `sum w_y l / sum w_y`, so that a class of weight 0 is left out. Where
    nothing is known it is 0, with a gradient of 0.

    Raises:
        ValueError: another kind of label, or logits of another number of classes.
    """
    check_classes(logits, label, ("class", "map"))
    with no_autocast(logits):
        scores = on_label(logits, label)
        truth, count = known_truth(label, scores, weights)
        return weighted_mean(F.cross_entropy(scores, truth, reduction="none"), count)


def binary_cross_entropy(
    logits: Float[Tensor, "B K"], label: Label, *, weights: Float[Tensor, " K"] | None = None
) -> Float[Tensor, ""]:
    """Binary cross-entropy of a label of kind `multilabel`, mean over the known entries (place and class).

    With `weights` a class, the weighted mean `sum w_k l / sum w_k`. Where nothing is known it is 0, with a gradient
    of 0; a known empty label set counts like any other.

    Raises:
        ValueError: another kind of label, or logits of another number of classes.
    """
    check_classes(logits, label, ("multilabel",))
    with no_autocast(logits):
        scores = full_precision(logits)
        count = label.known.to(scores.dtype)
        if weights is not None:
            count = count * weights.to(scores)
        loss = F.binary_cross_entropy_with_logits(scores, label.values.to(scores.dtype), reduction="none")
        return weighted_mean(loss, count)


def supervised_loss(
    logits: Float[Tensor, "B K *HW"], label: Label, *, weights: Float[Tensor, " K"] | None = None
) -> Float[Tensor, ""]:
    """The loss that a label's kind calls for: `binary_cross_entropy` for `multilabel`, else `cross_entropy`."""
    loss = binary_cross_entropy if label.kind == "multilabel" else cross_entropy
    return loss(logits, label, weights=weights)


def on_label(logits: Float[Tensor, "B K *HW"], label: Label) -> Float[Tensor, "B K *HW"]:
    """Logits in full precision, of a label map in its size: a label is never resampled."""
    scores = full_precision(logits)
    if label.kind == "map" and scores.shape[-2:] != label.values.shape[-2:]:
        scores = F.interpolate(scores, size=label.values.shape[-2:], mode="bilinear", align_corners=False)
    return scores


def known_truth(
    label: Label, scores: Tensor, weights: Float[Tensor, " K"] | None
) -> tuple[Int[Tensor, "B *HW"], Float[Tensor, "B *HW"]]:
    """Class indices, any where nothing is known, and how much each counts: 0 there, else 1 or its class's weight."""
    truth = label.values.long().masked_fill(~label.known, 0)  # where unknown, 255 is no index
    count = label.known.to(scores.dtype)
    return truth, count if weights is None else count * weights.to(scores)[truth]


def weighted_mean(loss: Tensor, count: Tensor) -> Float[Tensor, ""]:
    """`sum count * loss / sum count`; 0, with a gradient of 0, where nothing counts."""
    total = count.sum()
    return (loss * count).sum() / total.masked_fill(total == 0, 1)


def check_classes(logits: Tensor, label: Label, kinds: tuple[str, ...]) -> None:
    """Refuse a label of another kind, and logits of another number of classes.

    Raises:
        ValueError: one of these.
    """
    if label.kind not in kinds:
        raise ValueError(f"a label of kind {' or '.join(kinds)} is needed, not {label.kind}")
    if logits.shape[1] != len(label.legend):
        raise ValueError(f"{logits.shape[1]} logits for the {len(label.legend)} classes of {label.legend.name}")
