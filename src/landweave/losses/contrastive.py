"""Contrast between two views of the same places, or between two sensors over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landweave.losses.rows import check_temperature, cross_lse, full_precision, no_autocast, self_lse, unit, zero

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
    check_temperature(temperature)
    if len(z_a) < 2:
        return zero(z_a) + zero(z_b)
    with no_autocast(z_a):
        e = unit(torch.cat([z_a, z_b]), temperature**-0.5)  # so that a product of two rows is cosine / temperature
        a, b = e.view(2, len(z_a), -1).unbind()
        return self_lse(e, 1 / temperature).mean() - (a * b).sum() / len(z_a)


def inter_cross(z_a: Float[Tensor, "B D"], z_b: Float[Tensor, "B D"], *, temperature: float) -> Float[Tensor, ""]:
    """Symmetric cross-entropy between two sensors: negatives come from the other sensor only.

    `clip` with a fixed temperature: the literal reading of the inter-modal term of MoSAiC-2. It is another number
    than `nt_xent` of the same inputs. Inputs are normalised here; B = 1 gives 0.

    Raises:
        ValueError: unequal shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    return clip(z_a, z_b, scale=1 / temperature)


def clip(
    z_a: Float[Tensor, "B D"], z_b: Float[Tensor, "B D"], *, scale: float | Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy of the matrix of cosines between two sensors, fixed or learned in its scale.

        L = 1/2 [ CE(G, diagonal) + CE(G^T, diagonal) ],   G_ip = scale cos(a_i, b_p)

    Radford et al. 2021 (CLIP), figure 3. `scale` is 1 / temperature; a tensor gets its gradient (CLIP learns its
    logarithm and holds it below 100, which is the caller's). Inputs are normalised here; B = 1 gives 0.

    Raises:
        ValueError: unequal shapes, or a scale that is not one positive number.
    """
    _same_shape(z_a, z_b)
    if isinstance(scale, Tensor) and scale.numel() != 1:
        raise ValueError(f"scale is one number, not {tuple(scale.shape)}")
    value = float(scale.detach()) if isinstance(scale, Tensor) else float(scale)
    if not value > 0:
        raise ValueError(f"scale is {value}, it must be positive")
    factor = full_precision(scale.reshape(())) if isinstance(scale, Tensor) else scale
    if len(z_a) < 2:
        return (zero(z_a) + zero(z_b)) * factor
    with no_autocast(z_a):
        a, b = unit(z_a) * factor, unit(z_b)
        rows, columns = cross_lse(a, b, value)
        return (rows.mean() + columns.mean()) / 2 - (a * b).sum() / len(z_a)


def _same_shape(z_a: Tensor, z_b: Tensor) -> None:
    if z_a.shape != z_b.shape or z_a.ndim != 2:
        raise ValueError(f"two embeddings B D of one shape are needed, not {tuple(z_a.shape)} and {tuple(z_b.shape)}")
