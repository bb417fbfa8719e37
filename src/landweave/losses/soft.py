"""Contrast with soft positives: like places far apart are pulled together by how alike they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from landweave.losses.rows import EPS, check_temperature, no_autocast, self_lse, unit, zero
from landweave.losses.supcon import Contrast, aligned, check_labels, known_labels

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Num

LEAST = 1e-4
"""A row whose likeness to all others together is below this has no like other: what is left may be rounding."""


def soft_con(
    z: Float[Tensor, "N D"],
    alike: Num[Tensor, "N K"],
    *,
    temperature: float,
    known: Bool[Tensor, " N"] | Bool[Tensor, "N K"] | None = None,
) -> Contrast:
    """Cross-entropy between how alike two places are and how near their embeddings lie, a row never being its own.

        L_i = - sum_{p != i} w_ip log softmax_{p != i}(s_ip),   w_ip = cos(f_i, f_p) / sum_{q != i} cos(f_i, f_q)

    f are the rows of `alike`, s = cosine of z / temperature. This is ours, an answer to a limit that MoSAiC states
    (every other place is pushed away, however like). Since w is a product of row factors the sum over pairs is two
    K x D products, as in MulSupCon. With one label a row it is SupCon; with a private column for the two views of
    each place it is NT-Xent.

    Args:
        z: embeddings, normalised here; views of one place are rows of their own, with `alike` repeated.
        alike: what likeness is judged by, nowhere negative: label sets (0/1; their cosine is
            |shared| / sqrt(|one| |other|)) or features after a ReLU. It gets no gradient.
        temperature: positive.
        known: False where nobody said, by row or by row and column; such an entry counts as 0.

    Returns:
        The loss, a mean over rows with a like other row (0 with a gradient of 0 without any), their number, and how
        many rows were dropped although something is known of them. Dropped rows stay negatives of the others.

    Raises:
        ValueError: shapes that do not fit, a negative entry, or a temperature that is not positive.
    """
    check_temperature(temperature)
    check_labels(z, alike, known, "z")
    with no_autocast(z):
        e = unit(z, temperature**-0.5)
        with torch.no_grad():
            f = F.normalize(known_labels(alike, known, e), dim=1, eps=EPS)
            if bool((f < 0).any()):
                raise ValueError("alike has negative entries; likeness must not be negative")
            total = (f * (f.sum(0) - f)).sum(1)  # how much likeness a row finds in all others
            anchors = total > LEAST
            valid = anchors.sum()
            dropped = (f > 0).any(1).sum() - valid
            weight = anchors / valid.clamp(min=1).to(e.dtype)
        if len(z) < 2:
            return Contrast(zero(z), valid, dropped)
        apart = (weight * self_lse(e, 1 / temperature)).sum()
        share = weight / total.masked_fill(~anchors, 1)
        return Contrast(apart - aligned(e, share.unsqueeze(1) * f, f), valid, dropped)
