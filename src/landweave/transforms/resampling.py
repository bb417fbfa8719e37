"""Images at another pixel size. Unseen pixels never leak into seen ones, and radar is averaged as power, not as dB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from landweave.grid import Grid
from landweave.sample import Batch, Grids, Image
from landweave.sensors import FLOOR, Unit, sensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Method = Literal["bilinear", "nearest"]


def resample(image: Image, size: tuple[int, int], *, unit: Unit = "reflectance", method: Method = "bilinear") -> Image:
    """The same ground at `size` (H, W), in float32 and in `unit` (scale 1, offset 0).

    `bilinear` interpolates where pixels become smaller and takes the mean of the covered pixels where they become
    larger; `nearest` copies. Either way the mean is one of seen pixels only, and a pixel is seen where its nearest
    original is. An image whose `unit` is dB is averaged as power.
    """
    image = physical(image)
    if image.data.shape[-2:] == size:
        return image
    if method == "nearest":
        data = copy_nearest(image.data, size)
    else:
        values = power(image.data) if unit == "dB" else image.data
        data = _mean_of_seen(values, image.pixels_seen, size)
        data = decibel(data) if unit == "dB" else data
    there = replace(image, data=data, pixels_seen=copy_nearest(image.pixels_seen, size), grid=scaled(image.grid, size))
    return replace(there, data=blanked(there, data))


def to_common(batch: Batch, size: tuple[int, int], *, method: Method = "bilinear") -> Batch:
    """All sensors on one raster of `size` (H, W), for models that stack sensors; labels stay as they are."""
    images = {k: resample(v, size, unit=sensor(k).unit, method=method) for k, v in batch.images.items()}
    return replace(batch, images=images)


def answers_on(found: Float[Tensor, "B K h w"], size: Sequence[int]) -> Float[Tensor, "B K H W"]:
    """Probabilities of classes on a finer or coarser grid, by the rule of the losses: logits are interpolated.

    Logits are the logarithms of probabilities but for one number a pixel, which `softmax` takes out again, before
    interpolating or after. Between two pixels the surer one so has more to say than in a mean of probabilities.
    """
    if tuple(found.shape[-2:]) == tuple(size):
        return found
    logits = found.clamp(min=torch.finfo(torch.float32).tiny).log()
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False).softmax(1)


def physical(image: Image) -> Image:
    """The image as float32 in its sensor's unit: scale 1, offset 0, and 0 where it is not seen."""
    raw = image.data.dtype != torch.float32 or bool((image.scale != 1).any()) or bool(image.offset.any())
    if not raw:
        return replace(image, data=blanked(image, image.data))
    one, none = torch.ones_like(image.scale), torch.zeros_like(image.offset)
    return replace(image, data=blanked(image, image.physical()), scale=one, offset=none)


def blanked(image: Image, data: Tensor) -> Tensor:
    """`data` with 0 where `image` is not seen. Looking first spares the usual, wholly seen image a pass."""
    return data if wholly_seen(image) else torch.where(image.seen, data, 0.0)


def wholly_seen(image: Image) -> bool:
    """Whether nothing of an image is missing at any place."""
    return all(bool(t.all()) for t in (image.dates_seen, image.bands_seen, image.pixels_seen))


def power(decibels: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Linear power of decibels: 10^(dB / 10)."""
    return torch.pow(10.0, decibels / 10)


def decibel(linear: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Decibels of linear power: 10 log10(p). Powers below -60 dB, and those that noise removal left at or below 0,
    are taken as -60 dB."""
    return 10 * torch.log10(linear.clamp(min=FLOOR))


def copy_nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Copy the nearest pixel (by pixel centres); any dtype, `*N H W`."""
    rows, cols = (
        ((torch.arange(n, device=values.device) + 0.5) * (old / n)).long()
        for n, old in zip(size, values.shape[-2:], strict=True)
    )
    return values[..., rows[:, None], cols]


def scaled(grid: Grids, size: tuple[int, int]) -> Grids:
    """The grid, or one grid a place, with another number of pixels."""
    if isinstance(grid, tuple):
        return tuple(g.scaled(*size) if g else None for g in grid)
    return grid.scaled(*size) if isinstance(grid, Grid) else None


def _mean_of_seen(
    values: Float[Tensor, "*B T C H W"], seen: Bool[Tensor, "*B T C|1 H W"], size: tuple[int, int]
) -> Float[Tensor, "*B T C h w"]:
    if bool(seen.all()):
        return _interpolate(values, size)
    weight = _interpolate(seen.to(values.dtype), size)
    total = _interpolate(torch.where(seen, values, 0), size)
    return torch.where(weight > 0, total / weight.clamp(min=1e-12), 0)


def _interpolate(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear where an axis grows, the mean of the covered pixels where it shrinks."""
    *lead, H, W = values.shape
    flat = values.reshape(-1, 1, H, W)
    small = (min(H, size[0]), min(W, size[1]))
    if small != (H, W):
        flat = F.interpolate(flat, small, mode="area")
    if small != size:
        flat = F.interpolate(flat, size, mode="bilinear", align_corners=False)
    return flat.reshape(*lead, *size)
