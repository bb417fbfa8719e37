"""Changing pixel values as sensors and weather do: light and contrast, blur, noise; speckle on radar power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from landweave.sample import Batch, Image
from landweave.sensors import sensor
from landweave.transforms.augment import Augment, Draw, draw, seed_of
from landweave.transforms.resampling import blanked, decibel, physical, power, wholly_seen

BLOCK = 2**19
"""Values blurred at a time on a CPU (2 MB)."""

Values = Float[Tensor, "B T C H W"]
Seen = Bool[Tensor, "B T C H W"] | None
"""None: everything is seen."""

REACH = 4
"""Least pixels that the blur looks at to each side: two deviations of the widest default, 2 pixels."""


def coloured(batch: Batch, settings: Augment, key: Sequence[int]) -> Batch:
    """The batch with values changed as `draw` says, each sensor by a draw of its own. See `augment`."""
    images = {s: _coloured(s, im, settings, key, batch.names) for s, im in batch.images.items()}
    return replace(batch, images=images)


def _coloured(stream: str, image: Image, settings: Augment, key: Sequence[int], names: tuple[str, ...]) -> Image:
    row = sensor(stream)
    optical = row.unit in ("reflectance", "digital number")
    light = optical and bool(settings.brightness or settings.contrast)
    noise = optical and settings.noise > 0
    speckle = row.radar and settings.speckle_looks > 0
    blur = settings.blur > 0 and row.unit != "metre"
    if not (light or noise or speckle or blur):
        return image
    # the light of a place is one for all pixel sizes of a sensor; the noise of their pixels is not
    draws = [draw(settings, key, place, row.name) for place in names]
    seeds = [seed_of(key, place, f"{stream} pixels") for place in names]
    image = physical(image)
    seen = None if wholly_seen(image) else image.seen
    data = power(image.data) if row.unit == "dB" else image.data
    if light:
        data = _lit(data, seen, draws)
    if blur:
        reach = max(REACH, math.ceil(2 * settings.blur_sigma[1]))
        data = _blurred(data, seen, [d.sigma for d in draws], reach)
    if noise:
        data = data + settings.noise * _deviation(data, seen) * _normal(data, seeds)
    if speckle:
        data = data * _gamma(data, settings.speckle_looks, seeds)
    data = decibel(data) if row.unit == "dB" else data
    return replace(image, data=blanked(image, data))


def _mean(data: Values, seen: Seen) -> Values:
    """Mean a place, date and band over what is seen."""
    if seen is None:
        return data.mean((-1, -2), keepdim=True)
    n = seen.sum((-1, -2), keepdim=True).clamp(min=1)
    return torch.where(seen, data, 0).sum((-1, -2), keepdim=True) / n


def _deviation(data: Values, seen: Seen) -> Values:
    """Standard deviation a place, date and band over what is seen."""
    return _mean((data - _mean(data, seen)).square_(), seen).sqrt_()


def _lit(data: Values, seen: Seen, draws: list[Draw]) -> Values:
    """Contrast about the mean, then brightness.

    All bands of a sensor share the factors, so that ratios of bands (what a vegetation index is) survive brightness.
    """
    contrast, brightness = (
        torch.tensor([getattr(d, f) for d in draws], device=data.device)[:, None, None, None, None]
        for f in ("contrast", "brightness")
    )
    return torch.addcmul((1 - contrast) * brightness * _mean(data, seen), data, contrast * brightness)


def _normal(data: Values, seeds: list[NDArray[np.uint64]]) -> Values:
    out = torch.empty_like(data)
    generator = torch.Generator(data.device)
    for i, seed in enumerate(seeds):
        out[i].normal_(generator=generator.manual_seed(int(seed[0]) >> 1))
    return out


def _gamma(data: Values, looks: float, seeds: list[NDArray[np.uint64]]) -> Values:
    """Speckle of fully developed scattering: gamma distributed with mean 1 and variance 1 / looks (Goodman 1976)."""
    shape = data.shape[1:]
    found = [np.random.Generator(np.random.Philox(key=seed)).standard_gamma(looks, shape, np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(found)).to(data.device) / looks


def _blurred(data: Values, seen: Seen, sigmas: list[float], reach: int) -> Values:
    """A separable Gaussian of a width a place, over seen pixels only; places of width 0 stay untouched."""
    at = [i for i, s in enumerate(sigmas) if s > 0]
    if not at:
        return data
    whole = len(at) == len(data)
    part, sigma = data if whole else data[at], [sigmas[i] for i in at]
    if seen is None:
        smooth = _convolved(part, sigma, reach)
    else:
        mask = seen[at]
        weight = _convolved(mask.to(part.dtype), sigma, reach)
        smooth = _convolved(torch.where(mask, part, 0), sigma, reach) / weight.clamp(min=1e-12)
    if whole:
        return smooth
    out = data.clone()
    out[at] = smooth
    return out


def _convolved(data: Values, sigmas: list[float], half: int) -> Values:
    """Along rows, then along columns, mirrored at the border, as grouped convolutions of a few places at a time.

    A block that fits the cache makes the two passes up to 3.5 times as fast as over the whole batch (13 bands, 120
    pixels, 64 places, one thread); a GPU takes all at once.
    """
    B, T, C, H, W = data.shape
    x = torch.arange(-half, half + 1, dtype=data.dtype, device=data.device)
    kernel = torch.exp(-0.5 * (x / torch.tensor(sigmas, dtype=data.dtype, device=data.device)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(T * C, 0)
    border = "reflect" if min(H, W) > half else "replicate"
    step = max(1, BLOCK // (T * C * H * W)) if data.device.type == "cpu" else B
    flat, out = data.reshape(B * T * C, 1, H, W), torch.empty_like(data).reshape(B * T * C, H, W)
    for i in range(0, B * T * C, step * T * C):
        part = flat[i : i + step * T * C].transpose(0, 1)
        taps, n = kernel[i : i + step * T * C, None, None], part.shape[1]
        part = F.conv2d(F.pad(part, (half, half, 0, 0), mode=border), taps, groups=n)
        part = F.conv2d(F.pad(part, (0, 0, half, half), mode=border), taps.transpose(-1, -2), groups=n)
        out[i : i + n] = part[0]
    return out.reshape(data.shape)
