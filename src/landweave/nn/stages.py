"""Fusion of UPerFuse: pyramids of sensors of one date with maps of series, stage by stage; and logits with logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from landweave.nn.absent import MeanFeatures, filled, flags, over
from landweave.nn.config import Stages
from landweave.nn.encoders import DEPTH, resize
from landweave.nn.series import sampled

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Maps = Mapping[str, Sequence[Float[Tensor, "B D H W"]]]
    Seen = Mapping[str, Bool[Tensor, " B"]]

M = TypeVar("M")

MEETS = 1
"""The first stage of a pyramid that the maps of a series join: that of 1/4."""


class FuseByStage(nn.Module):
    """At each stage the maps of all sensors side by side, in the size of one of them, narrowed by a 1 x 1 convolution.

    The maps of a series join the stages from 1/4 on, its deepest map the finest stage (FLAIR-HUB's official code; a
    series of fewer maps repeats its deepest). One sensor passes as it is.

    Args:
        settings: what stands in the maps of an absent sensor.
        pyramids: channels of the `DEPTH` maps of each sensor that has a pyramid, fine to coarse.
        series: channels of the maps of each series, deepest first.
        means: the mean of all maps of a sensor, side by side.
        stages: which stages the decoder reads.
    """

    def __init__(
        self,
        settings: Stages,
        pyramids: Mapping[str, Sequence[int]],
        series: Mapping[str, Sequence[int]],
        *,
        means: MeanFeatures,
        stages: Sequence[int],
    ) -> None:
        super().__init__()
        self.settings, self.means, self.stages = settings, means, tuple(stages)
        self.channels = {n: list(w) for n, w in {**pyramids, **series}.items()}
        self.series = tuple(series)
        self.widths = list(next(iter(pyramids.values())))
        self.learned = nn.ParameterDict()
        self.narrow = nn.ModuleDict()
        if len(self.channels) == 1:
            return
        if settings.absent == "learned":
            self.learned.update({n: nn.Parameter(torch.zeros(sum(w))) for n, w in self.channels.items()})
        for stage in self.stages:
            wide = sum(w[stage] for w in pyramids.values())
            wide += sum(paired(w)[stage - MEETS] for w in series.values()) if stage >= MEETS else 0
            wide += len(self.channels) if settings.flags else 0
            if self.widths[stage]:
                self.narrow[str(stage)] = nn.Conv2d(wide, self.widths[stage], 1)

    def forward(
        self, maps: Maps, seen: Seen, *, reference: str, extent: tuple[float, float]
    ) -> list[Float[Tensor, "B D H W"]]:
        """The fused pyramid.

        Args:
            maps: of each sensor of the constructor.
            seen: at which places it is seen; what stands elsewhere in its maps is not read.
            reference: the sensor with a pyramid whose sizes are taken.
            extent: of the area that pyramids are laid on, in heights and widths of the images; series cover the images.
        """
        maps = {n: self._whole(n, maps[n], seen[n]) for n in self.channels}
        out = list(maps[reference])
        if len(self.channels) == 1:
            return out
        for stage in self.stages:
            if not self.widths[stage]:
                continue
            size = (out[stage].shape[-2], out[stage].shape[-1])
            here = [resize(m[stage], size) for n, m in maps.items() if n not in self.series]
            if stage >= MEETS:
                here += [laid(paired(maps[n])[stage - MEETS], extent, size) for n in self.series]
            here += [flags([seen[n] for n in maps], here[0])] if self.settings.flags else []
            out[stage] = self.narrow[str(stage)](torch.cat(here, 1))
        return out

    def _whole(
        self, name: str, maps: Sequence[Float[Tensor, "B D H W"]], seen: Bool[Tensor, " B"]
    ) -> list[Float[Tensor, "B D H W"]]:
        """The maps of a sensor, with what stands for them where it is absent."""
        stand_in = self.means[name] if self.settings.absent == "mean" else self.learned.get(name)
        parts = [None] * len(maps) if stand_in is None else torch.split(stand_in, self.channels[name])
        return [filled(f, seen, part) for f, part in zip(maps, parts, strict=True)]


def paired(maps: Sequence[M]) -> list[M]:
    """What a series gives to each stage from 1/4 on: its maps deepest first, the deepest again where they are few."""
    lacking = DEPTH - MEETS - len(maps)
    return [*[maps[0]] * lacking, *maps]


def laid(x: Float[Tensor, "B D H W"], extent: tuple[float, float], size: tuple[int, int]) -> Float[Tensor, "B D h w"]:
    """The map of an image in the size of a stage, whose area is `extent` times as high and wide as the image's."""
    return resize(x, size) if extent == (1.0, 1.0) else sampled(x, extent, size)


class FuseLogits(nn.Module):
    """The logits of the sensors that are seen, averaged: alike, or weighted by what is learned for each sensor.

    The weights are a softmax over the sensors seen at a place, so that they always sum to 1; 0 where none is seen.
    """

    def __init__(self, sensors: Sequence[str], *, weighted: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(sensors))) if weighted and len(sensors) > 1 else None

    def forward(
        self, logits: Sequence[Float[Tensor, "B K H W"]], seen: Sequence[Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B K H W"]:
        """One map of logits, from those of all sensors in one size."""
        marks = torch.stack(list(seen), 1)
        weight = (
            torch.zeros_like(marks, dtype=torch.float32) if self.weight is None else self.weight.expand(marks.shape)
        )
        shares = weight.masked_fill(~marks, float("-inf")).softmax(1).nan_to_num(0.0)
        return torch.stack(
            [
                torch.where(over(m, f), f, 0.0) * over(s, f)
                for f, m, s in zip(logits, seen, shares.unbind(1), strict=True)
            ]
        ).sum(0)
