"""Changing pixel values as sensors and weather do: light and contrast, blur, noise; speckle on radar power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from landweave.sample import Batch, Image
from landweave.sensors import sensor
from landweave.transforms.augment import Augment, Draw, draw
from landweave.transforms.resampling import decibel, physical, power

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

TAPS = 9
"""Taps of the blur: two deviations to each side at the widest default of 2 pixels."""


def coloured(batch: Batch, settings: Augment, key: Sequence[int]) -> Batch:
    """The batch with values changed as `draw` says, each sensor by a draw of its own. See `augment`."""
    images = {s: _coloured(s, im, settings, key, batch.names) for s, im in batch.images.items()}
    return replace(batch, images=images)


def _coloured(stream: str, image: Image, settings: Augment, key: Sequence[int], names: tuple[str, ...]) -> Image:
    row = sensor(stream)
    optical = row.unit in ("reflectance", "digital number")
    light = optical and bool(settings.brightness or settings.contrast or settings.noise)
    speckle = row.radar and settings.speckle_looks > 0
    if not (light or speckle or (settings.blur and row.unit != "metre")):
        return image
    # the light of a place is one for all pixel sizes of a sensor; the noise of their pixels is not
    draws = [draw(settings, key, place, row.name) for place in names]
    noises = [draw(settings, key, place, f"{stream} pixels") for place in names]
    image = physical(image)
    seen = image.seen
    data = power(image.data) if row.unit == "dB" else image.data
    if light:
        data = _light(data, seen, settings, draws, noises)
    if settings.blur:
        data = _blurred(data, seen, [d.sigma for d in draws])
    if speckle:
        data = data * _gamma(data, settings.speckle_looks, noises)
    data = decibel(data) if row.unit == "dB" else data
    return replace(image, data=torch.where(seen, data, 0.0))


def _light(
    data: Float[Tensor, "B T C H W"],
    seen: Bool[Tensor, "B T C H W"],
    settings: Augment,
    draws: list[Draw],
    noises: list[Draw],
) -> Float[Tensor, "B T C H W"]:
    """Contrast about the mean a date and band, then brightness, then noise in shares of the deviation.

    All bands of a sensor share the factors, so that ratios of bands (what a vegetation index is) survive brightness.
    """
    n = seen.sum((-1, -2), keepdim=True).clamp(min=1)
    mean = torch.where(seen, data, 0).sum((-1, -2), keepdim=True) / n
    contrast, brightness = (_column(data, [getattr(d, f) for d in draws]) for f in ("contrast", "brightness"))
    out = (mean + (data - mean) * contrast) * brightness
    if settings.noise:
        variance = torch.where(seen, (data - mean) ** 2, 0).sum((-1, -2), keepdim=True) / n
        normal = [_generator(d).standard_normal(data.shape[1:], np.float32) for d in noises]
        out = out + settings.noise * variance.sqrt() * torch.from_numpy(np.stack(normal)).to(data.device)
    return out


def _gamma(data: Float[Tensor, "B T C H W"], looks: float, noises: list[Draw]) -> Float[Tensor, "B T C H W"]:
    """Speckle of fully developed scattering: gamma distributed with mean 1 and variance 1 / looks (Goodman 1976)."""
    found = [_generator(d).standard_gamma(looks, data.shape[1:], np.float32) / np.float32(looks) for d in noises]
    return torch.from_numpy(np.stack(found)).to(data.device)


def _generator(d: Draw) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=d.seed))


def _column(data: Tensor, values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=data.dtype, device=data.device).reshape(-1, *(1,) * (data.ndim - 1))


def _blurred(
    data: Float[Tensor, "B T C H W"], seen: Bool[Tensor, "B T C H W"], sigmas: list[float]
) -> Float[Tensor, "B T C H W"]:
    """A separable Gaussian of a width a place, over seen pixels only; places of width 0 stay untouched."""
    at = [i for i, s in enumerate(sigmas) if s > 0]
    if not at:
        return data
    part, mask = data[at], seen[at]
    sigma = [sigmas[i] for i in at]
    if bool(mask.all()):
        smooth = _convolved(part, sigma)
    else:
        weight = _convolved(mask.to(part.dtype), sigma)
        smooth = _convolved(torch.where(mask, part, 0), sigma) / weight.clamp(min=1e-12)
    out = data.clone()
    out[at] = smooth
    return out


def _convolved(data: Float[Tensor, "B T C H W"], sigmas: list[float]) -> Float[Tensor, "B T C H W"]:
    """Along rows, then along columns, as one grouped convolution each (measured: 1.8 times a plain 2-D one)."""
    B, T, C, H, W = data.shape
    half = TAPS // 2
    x = torch.arange(-half, half + 1, dtype=data.dtype, device=data.device)
    kernel = torch.exp(-0.5 * (x / torch.tensor(sigmas, dtype=data.dtype, device=data.device)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(T * C, 0)
    flat = data.reshape(1, B * T * C, H, W)
    flat = F.conv2d(F.pad(flat, (half, half, 0, 0), mode="replicate"), kernel[:, None, None], groups=B * T * C)
    flat = F.conv2d(F.pad(flat, (0, 0, half, half), mode="replicate"), kernel[:, None, :, None], groups=B * T * C)
    return flat.reshape(data.shape)
