"""Contrast between two views of the same places, or between two sensors over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landweave.losses.rows import no_autocast, row_lse, unit, zero

if TYPE_CHECKING:
    from jaxtyping import Float


def nt_xent(z_a: Float[Tensor, "B D"], z_b: Float[Tensor, "B D"], *, temperature: float) -> Float[Tensor, ""]:
    """NT-Xent: each of the 2B rows must find its other view among all 2B - 1 others.

        L = 1/2B sum_i [ log sum_{p != i} exp(s_ip) - s_i,other(i) ],   s_ip = cos(z_i, z_p) / temperature

    Chen et al. 2020 (SimCLR), eq. 1. With the rows of two sensors as `z_a` and `z_b` it is the inter-sensor loss of
    D-SimCLR and IaI-SimCLR: negatives come from both sensors (`inter_cross` takes them from the other one only).
    Inputs are normalised here. B is the batch's own, so a short last batch is right; B = 1 gives 0.

    Raises:
        ValueError: unequal shapes, or a temperature that is not positive.
    """
    _same_shape(z_a, z_b)
    if len(z_a) < 2:
        return zero(z_a) + zero(z_b)
    with no_autocast(z_a):
        a, b = unit(z_a), unit(z_b)
        together = (a * b).sum() / temperature
        return row_lse(torch.cat([a, b]), temperature).mean() - together / len(a)


def inter_cross(z_a: Float[Tensor, "B D"], z_b: Float[Tensor, "B D"], *, temperature: float) -> Float[Tensor, ""]:
    """Symmetric cross-entropy between two sensors: negatives come from the other sensor only.

        L = 1/2 [ CE(G, diagonal) + CE(G^T, diagonal) ],   G_ip = cos(a_i, b_p) / temperature

    Radford et al. 2021 (CLIP), figure 3; the literal reading of the inter-modal term of MoSAiC-2. It is another
    number than `nt_xent` of the same inputs. Inputs are normalised here; B = 1 gives 0.

    Raises:
        ValueError: unequal shapes, or a temperature that is not positive.
    """
    _same_shape(z_a, z_b)
    if len(z_a) < 2:
        return zero(z_a) + zero(z_b)
    with no_autocast(z_a):
        a, b = unit(z_a), unit(z_b)
        together = (a * b).sum() / temperature
        both = row_lse(a, temperature, keys=b).mean() + row_lse(b, temperature, keys=a).mean()
        return both / 2 - together / len(a)


def _same_shape(z_a: Tensor, z_b: Tensor) -> None:
    if z_a.shape != z_b.shape or z_a.ndim != 2:
        raise ValueError(f"two embeddings B D of one shape are needed, not {tuple(z_a.shape)} and {tuple(z_b.shape)}")
