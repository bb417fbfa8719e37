"""When and where an image was taken, told to a network that looks at the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from landweave.nn.config import Circumstances
from landweave.nn.series import since_may
from landweave.sample import Batch, Image

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

OCTAVES = 6
"""Frequencies of longitude and latitude: the finest has a period of 360 / 2^5, about 11 degrees."""
YEAR = 365.25


class Told(nn.Module):
    """A vector for each fused stage of a place, from the dates of its images and from where it is; 0 at first.

    Read are, by sensor, sine and cosine of the day of the year of its first seen date and whether it is known; and
    sines and cosines of longitude and latitude, and whether they are known. A place of which nothing is known has 0
    added, whatever was learned.

    Args:
        settings: what is told.
        sensors: those whose dates are.
        widths: channels of the stages.
    """

    def __init__(self, settings: Circumstances, *, sensors: Sequence[str], widths: Sequence[int]) -> None:
        super().__init__()
        self.settings, self.sensors, self.widths = settings, tuple(sensors), list(widths)
        size = 3 * len(self.sensors) * settings.dates + (4 * OCTAVES + 1) * settings.place
        self.last = nn.Linear(settings.width, sum(self.widths))
        self.net = nn.Sequential(nn.Linear(size, settings.width), nn.ReLU(), self.last)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, batch: Batch) -> list[Float[Tensor, "B D 1 1"]]:
        """What to add to each stage."""
        parts, known = [], []
        for name in self.sensors if self.settings.dates else ():
            angle, there = season(batch.images[name])
            parts.append(torch.stack([angle.sin() * there, angle.cos() * there, there.float()], 1))
            known.append(there)
        if self.settings.place:
            where, there = position(batch.images)
            parts.append(where)
            known.append(there)
        found = self.net(torch.cat(parts, 1)) * torch.stack(known).any(0)[:, None]
        return [f[..., None, None] for f in torch.split(found, self.widths, 1)]


def season(image: Image) -> tuple[Float[Tensor, " B"], Bool[Tensor, " B"]]:
    """Of each place the first seen and known date as an angle in the year from 15 May on, and whether there is one."""
    days = since_may(image.days)
    there = image.dates_seen & image.bands_seen.any(1, keepdim=True) & ~days.isnan()
    first = there.byte().argmax(1, keepdim=True)
    return days.gather(1, first)[:, 0].nan_to_num() * (2 * math.pi / YEAR), there.any(1)


def position(images: Mapping[str, Image]) -> tuple[Float[Tensor, "B P"], Bool[Tensor, " B"]]:
    """Sines and cosines of longitude and latitude at several frequencies, a flag beside them, and the flag again.

    Of a place that was flipped, turned or cut they are what they were before.
    """
    from landweave.data.raster import lonlat

    first = next(iter(images.values()))
    rows = []
    for b in range(len(first.data)):
        grids = (g[b] for im in images.values() for g in (im.grid, im.moved_from) if isinstance(g, tuple))
        rows.append(next((at for g in grids if g is not None and (at := lonlat(g)) is not None), None))
    device = first.dates_seen.device
    known = torch.tensor([at is not None for at in rows], device=device)
    degrees = torch.tensor([at or (0.0, 0.0) for at in rows], dtype=torch.float64, device=device)
    angles = torch.deg2rad(degrees)[..., None] * 2.0 ** torch.arange(OCTAVES, device=device)
    waves = torch.cat([angles.sin(), angles.cos()], 2).flatten(1).float() * known[:, None]
    return torch.cat([waves, known[:, None].float()], 1), known
