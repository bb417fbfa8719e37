"""The decoder of FLAIR-HUB: UPerNet (Xiao et al. 2018) in the shape that its weights were published in.

That is the one of segmentation-models-pytorch 0.4.0. Version 0.6.0 has another (10.135 million weights above a Swin-B
in place of 2.546, under other names), which `landweave.nn.decoders` has as `upernet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landweave.nn.config import UPerNetFlair
from landweave.nn.encoders import resize
from landweave.nn.norms import BatchNorm

if TYPE_CHECKING:
    from jaxtyping import Float

POOLED = (1, 2, 3, 6)
"""Sides to which the coarsest map is pooled."""
HALF, QUARTER = 0, 1
"""The stages of 1/2 and 1/4, by their place in a pyramid."""


class UPerNetFlairDecoder(nn.Module):
    """A pyramid of maps to one map of 1/4.

    coarsest -> pooled to 1, 2, 3 and 6 a side, a quarter of its channels each -> 1 x 1; then step by step twice as
    large, a 1 x 1 of the map of that stage added; all of these, brought to 1/4, through one 3 x 3.

    The stage of 1/2 is added too; backbones without one (Swin, ConvNeXt) have its last step all the same, which the
    published code enlarges to 1/2 and shrinks to 1/4 again. That is a smoothing of three pixels, done here at once.

    Args:
        settings: widths.
        channels: of the maps, fine to coarse; 0 for a stage that the backbone lacks.
    """

    def __init__(self, settings: UPerNetFlair, *, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = list(channels)
        wide, deep = settings.pyramid, self.channels[-1]
        self.pooled = nn.ModuleList(_conv(deep, deep // len(POOLED), 1) for _ in POOLED)
        self.coarsest = _conv(deep + deep // len(POOLED) * len(POOLED), wide, 1)
        self.steps = nn.ModuleList(_conv(c, wide, 1) for c in reversed(self.channels[:-1]) if c)
        self.join = _conv(wide * len(self.channels), settings.channels, 3)

    def forward(self, maps: Sequence[Float[Tensor, "B D H W"]]) -> Float[Tensor, "B D2 H4 W4"]:
        """The map of 1/4, from those of the pyramid, fine to coarse."""
        found = self.pyramid(maps)
        size = (maps[QUARTER].shape[-2], maps[QUARTER].shape[-1])
        joined: Tensor = self.join(torch.cat([resize(f, size) for f in found], 1))
        return joined

    def pyramid(self, maps: Sequence[Float[Tensor, "B D H W"]]) -> list[Float[Tensor, "B D2 H W"]]:
        """The maps that are joined, coarse to fine."""
        deep = maps[-1]
        size = (deep.shape[-2], deep.shape[-1])
        pools = [
            resize(conv(F.adaptive_avg_pool2d(deep, n)), size) for n, conv in zip(POOLED, self.pooled, strict=True)
        ]
        found = [self.coarsest(torch.cat([deep, *pools], 1))]
        steps = iter(self.steps)
        for stage in reversed(range(len(maps) - 1)):
            here = maps[stage]
            if stage == HALF and not self.channels[HALF]:
                found.append(smoothed(found[-1]))
                continue
            finer = resize(found[-1], (here.shape[-2], here.shape[-1]))
            found.append(finer + next(steps)(here) if self.channels[stage] else finer)
        return found


def smoothed(x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
    """A map enlarged twice bilinearly, then shrunk to what it was: 1/8, 6/8, 1/8 of three pixels a row and a column."""
    for axis in (2, 3):
        n = x.shape[axis]
        before, after = x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1)
        left = torch.cat([before, x.narrow(axis, 0, n - 1)], axis)
        right = torch.cat([x.narrow(axis, 1, n - 1), after], axis)
        x = 0.75 * x + 0.125 * (left + right)
    return x


def _conv(wide: int, narrow: int, side: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(wide, narrow, side, padding=side // 2, bias=False), BatchNorm(narrow), nn.ReLU())
