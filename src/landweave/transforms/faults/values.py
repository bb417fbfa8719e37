"""Values that a fault changes without saying so. Radar is changed as power, whatever unit it is in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from landweave.sample import Image
from landweave.sensors import FLOOR, Sensor
from landweave.transforms.faults.draws import Draws
from landweave.transforms.faults.patterns import native, spread
from landweave.transforms.faults.settings import Gain, Noise, Saturation, Shift
from landweave.transforms.resampling import decibel, power

if TYPE_CHECKING:
    from landweave.transforms.faults.strike import Cube

Values = Float[Tensor, "B T C H W"]
Hits = Mapping[int, Sequence[str]]


def nothing(row: Sensor) -> float:
    """What a detector without signal reads, in the sensor's unit: 0, in dB the least power that has a value."""
    return 10 * math.log10(FLOOR) if row.unit == "dB" else 0.0


def times(row: Sensor, data: Values, factor: Tensor | float) -> Values:
    """Values times a factor; of decibels, their power."""
    if row.unit != "dB":
        return data * factor
    factor = torch.as_tensor(factor, dtype=data.dtype, device=data.device)
    return torch.where(factor == 1, data, decibel(power(data) * factor))  # what is not struck stays exact


def saturated(
    image: Image, struck: Bool[Tensor, "B C"], settings: Saturation
) -> tuple[Values, Bool[Tensor, "B T C H W"]]:
    """Values cut at a level, and where that was; the level of a share is the band's own at the place."""
    data, seen = image.data, image.seen
    level = torch.full(data.shape[:3:2], math.inf, dtype=data.dtype)
    for b, c in struck.nonzero().tolist():
        if settings.at is not None:
            level[b, c] = settings.at
            continue
        own = data[b, :, c][seen[b, :, c]]
        if len(own):
            rank = max(1, math.ceil(len(own) * (1 - settings.share)))
            level[b, c] = own.kthvalue(rank).values
    top = level.to(data.device)[:, None, :, None, None]
    return torch.minimum(data, top), (data > top) & seen


def noisy(cube: Cube, hits: Hits, settings: Noise, draws: Draws) -> Values:
    """Gaussian noise as a share of the deviation of what is seen; of radar, gamma noise of mean 1 on the power."""
    data, order = cube.image.data, cube.image.bands
    drawn = np.ones(data.shape, np.float32) if cube.row.radar else np.zeros(data.shape, np.float32)
    looks = settings.level**-2  # a gamma distribution of mean 1 and this shape has a deviation of `level`
    for b, bands in hits.items():
        for band in bands:
            rng, c, block = draws.rng(cube.places[b], f"{cube.name} {band}"), order.index(band), cube.block(band)
            shape = native(cube.size, block)
            if cube.row.radar:
                one = rng.standard_gamma(looks, shape, np.float32) / looks
            else:
                one = rng.standard_normal(shape, np.float32)
            drawn[b, :, c] = spread(one, cube.size, block)
    noise = torch.from_numpy(drawn).to(data.device)
    if cube.row.radar:
        return times(cube.row, data, noise)
    return data + settings.level * _deviation(data, cube.image.seen) * noise


def _deviation(data: Values, seen: Bool[Tensor, "B T C H W"]) -> Values:
    """Standard deviation a place, date and band over what is seen; 0 where nothing is."""
    axes = (-1, -2)
    n = seen.sum(axes, keepdim=True).clamp(min=1)
    mean = torch.where(seen, data, 0).sum(axes, keepdim=True) / n
    return (torch.where(seen, data - mean, 0).square().sum(axes, keepdim=True) / n).sqrt()


def calibrated(cube: Cube, hits: Hits, settings: Gain, draws: Draws) -> Values:
    """`gain * x + offset` at the bands that are struck."""
    data, row = cube.image.data, cube.row
    factor = torch.ones(data.shape[0], data.shape[2], dtype=data.dtype)
    for b, bands in hits.items():
        for band in bands:
            drawn = 2 * draws.chance(cube.places[b], f"{cube.name} {band}") - 1 if settings.spread else 0.0
            factor[b, cube.image.bands.index(band)] = settings.gain * (1 + settings.spread * drawn)
    gained = times(row, data, factor.to(data.device)[:, None, :, None, None])
    offset = settings.offset + settings.number * row.scale
    return gained + offset * cube.rows(hits)[:, None, :, None, None] if offset else gained


def swapped(cube: Cube, hits: Hits, draws: Draws) -> Values:
    """Two bands of a place in each other's place, at the pixels where both are seen."""
    data, seen = cube.image.data.clone(), cube.image.seen
    for b, bands in hits.items():
        pair = bands
        if len(bands) > 2:
            order = draws.rng(cube.places[b], cube.name).permutation(len(bands))
            pair = [bands[i] for i in order[:2]]
        i, j = (cube.image.bands.index(band) for band in pair)
        both = seen[b, :, i] & seen[b, :, j]
        first, second = (cube.image.data[b, :, c] for c in (i, j))
        data[b, :, i], data[b, :, j] = torch.where(both, second, first), torch.where(both, first, second)
    return data


def shifted(cube: Cube, hits: Hits, settings: Shift, draws: Draws) -> Values:
    """Bands moved by `pixels` in a direction of their own, interpolated bilinearly between what is seen.

    At the border the outermost pixels go on; where nothing is seen a value stays as it is.
    """
    data, row, image = cube.image.data.clone(), cube.row, cube.image
    at = [(b, t, image.bands.index(band)) for b, bands in hits.items() for band in bands for t in range(cube.size[0])]
    if not at:
        return data
    angles = [2 * math.pi * draws.chance(cube.places[b], f"{cube.name} {image.bands[c]} {t}") for b, t, c in at]
    down, right = (
        torch.tensor([settings.pixels * f(a) for a in angles], device=data.device) for f in (math.sin, math.cos)
    )
    places, dates, bands = (torch.tensor(list(i), device=data.device) for i in zip(*at, strict=True))
    old, seen = data[places, dates, bands], image.seen[places, dates, bands]
    level = power(old) if row.unit == "dB" else old
    weight = _along(_along(seen.to(level.dtype), down, 1), right, 2)
    total = _along(_along(torch.where(seen, level, 0), down, 1), right, 2)
    moved = total / weight.clamp(min=1e-12)
    data[places, dates, bands] = torch.where(weight > 1e-6, decibel(moved) if row.unit == "dB" else moved, old)
    return data


def _along(x: Float[Tensor, "N H W"], by: Float[Tensor, " N"], axis: int) -> Float[Tensor, "N H W"]:
    """Each image moved by a number of pixels along one axis, linear between two neighbours."""
    n = x.shape[axis]
    source = torch.arange(n, device=x.device) - by[:, None]
    first = source.floor()
    part = source - first
    low, high = (i.clamp(0, n - 1).long() for i in (first, first + 1))
    shape = (len(x), n, 1) if axis == 1 else (len(x), 1, n)
    low, high = (i.view(shape).expand_as(x) for i in (low, high))
    part = part.view(shape).to(x.dtype)
    return x.gather(axis, low) * (1 - part) + x.gather(axis, high) * part
