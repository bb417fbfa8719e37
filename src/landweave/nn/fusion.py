"""Fusion of maps, early fusion, and sensor dropout: any sensor may be absent at any place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from landweave.errors import ConfigError
from landweave.nn.absent import MeanFeatures, filled, flags, mean_of_seen, over
from landweave.nn.config import Attention, Bilinear, Concat, Fusion, Late, Mean, Stages
from landweave.nn.encoders import resize
from landweave.sample import Batch, Image

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class FuseMaps(nn.Module):
    """A pyramid of maps: at each stage the sensors are brought to one size, then fused.

    `concat` fills absent sensors in with their mean feature and narrows the result by a 1 x 1 convolution; its flags,
    if it has them, are one more map a sensor, and absent sensors are 0 then. `mean` leaves absent sensors out. Only
    the stages that the decoder reads are fused. One sensor passes unchanged, but for the filling.

    Raises:
        ConfigError: the fusion is of vectors only.
    """

    def __init__(
        self,
        fusion: Fusion,
        channels: Mapping[str, Sequence[int]],
        means: MeanFeatures,
        *,
        stages: Sequence[int],
    ) -> None:
        super().__init__()
        if isinstance(fusion, Attention | Bilinear):
            raise ConfigError(
                f"{fusion.kind} fuses one vector a place, and segmentation fuses maps",
                where="method.fusion.kind",
                fix="choose concat, mean or early",
            )
        if isinstance(fusion, Stages | Late):
            raise of_uperfuse(fusion)
        self.averages, self.flags = isinstance(fusion, Mean), isinstance(fusion, Concat) and fusion.flags
        self.means, self.stages = means, tuple(stages)
        self.channels = {name: list(widths) for name, widths in channels.items()}
        self.widths = list(next(iter(self.channels.values())))
        self.narrow = nn.ModuleDict()
        if not self.averages and len(channels) > 1:
            for stage in self.stages:
                wide = sum(widths[stage] for widths in channels.values())
                if wide:
                    wide += len(channels) if self.flags else 0
                    self.narrow[str(stage)] = nn.Conv2d(wide, self.widths[stage], 1)

    def forward(
        self,
        maps: Mapping[str, Sequence[Float[Tensor, "B D H W"]]],
        seen: Mapping[str, Bool[Tensor, " B"]],
        *,
        reference: str,
    ) -> list[Float[Tensor, "B D H W"]]:
        """Fuse stage by stage, in the order of the names, in the sizes of sensor `reference`."""
        out = list(maps[reference])
        names = sorted(maps)
        means = {n: torch.split(self.means[n], self.channels[n]) for n in names}
        for stage in self.stages:
            if not self.widths[stage]:
                continue
            size = (out[stage].shape[-2], out[stage].shape[-1])
            here = [resize(maps[n][stage], size) for n in names]
            if self.averages:
                out[stage] = mean_of_seen(here, [seen[n] for n in names])
                continue
            fill = {n: None if self.flags else means[n][stage] for n in names}
            here = [filled(f, seen[n], fill[n]) for n, f in zip(names, here, strict=True)]
            if len(names) > 1:
                here += [flags([seen[n] for n in names], here[0])] if self.flags else []
                here = [self.narrow[str(stage)](torch.cat(here, 1))]
            (out[stage],) = here
        return out


def of_uperfuse(fusion: Stages | Late) -> ConfigError:
    """What is said where another method is to fuse as UPerFuse does."""
    return ConfigError(
        f"{fusion.kind} fuses series and decoders of several tasks, which the method uperfuse has",
        where="method.fusion.kind",
        fix="set method.kind=uperfuse, or choose concat, mean or early",
    )


def stack_sensors(images: Mapping[str, Image], reference: str) -> Image:
    """One image of the bands of all sensors, in the order of their names, for early fusion.

    Each sensor is first averaged over what is seen of its dates, pixel by pixel, then brought to the grid of the
    reference sensor bilinearly. Takes and gives normalised values, 0 where nothing is seen.
    """
    H, W = images[reference].data.shape[-2:]
    values, masks, bands = [], [], []
    for name in sorted(images):
        image = images[name]
        seen = image.seen
        value = image.data.float().sum(1) / seen.sum(1).clamp(min=1)
        mask = resize(seen.any(1).float(), (H, W)) > 0.5
        values.append(resize(value, (H, W)) * mask)
        masks.append(mask)
        bands += [f"{name} {b}" for b in image.bands]
    data, pixels = torch.cat(values, 1)[:, None], torch.cat(masks, 1)[:, None]
    B, C = len(data), len(bands)
    first = images[reference]
    return Image(
        bands=tuple(bands),
        data=data,
        scale=data.new_ones(B, 1, C),
        offset=data.new_zeros(B, 1, C),
        days=first.days[:, :1],
        dates_seen=torch.ones_like(first.dates_seen[:, :1]),
        bands_seen=pixels.flatten(3).any(-1)[:, 0],
        pixels_seen=pixels,
        grid=first.grid,
    )


def drop_sensors(batch: Batch, share: float | Mapping[str, float], key: Sequence[int]) -> Batch:
    """Mark each sensor of each place unseen with probability `share`, but never the last one that is seen.

    Given by sensor, one that is not named is never hidden. The draw depends on `key` (seed, epoch, ...) and on the
    name of the place alone: not on the other places of the batch, nor on the order of the sensors, so that a resumed
    run repeats it.
    """
    names = sorted(batch.images)
    shares = {n: share.get(n, 0.0) if isinstance(share, Mapping) else share for n in names}
    if max(shares.values(), default=0) <= 0 or len(names) < 2:
        return batch
    device = batch.images[names[0]].dates_seen.device
    draws = torch.tensor([[_uniform(place, n, key) for n in names] for place in batch.names], device=device)
    seen = torch.stack([batch.images[n].sensor_seen for n in names], 1)
    keep = seen & (draws >= draws.new_tensor(list(shares.values())))
    last = torch.where(seen, draws, -1.0).argmax(1, keepdim=True)
    keep = keep | (seen & torch.zeros_like(keep).scatter(1, last, True) & ~keep.any(1, keepdim=True))
    images = {n: _hide(batch.images[n], keep[:, i]) for i, n in enumerate(names)}
    return replace(batch, images={n: images[n] for n in batch.images})


def _uniform(place: str, sensor: str, key: Sequence[int]) -> float:
    """A number from 0 to 1 that depends on these names and numbers only, on every machine alike."""
    text = repr((tuple(int(k) for k in key), place, sensor, "drop")).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "little") / 2**48


def _hide(image: Image, keep: Bool[Tensor, " B"]) -> Image:
    return replace(
        image,
        data=image.data * over(keep, image.data),
        dates_seen=image.dates_seen & keep[:, None],
        bands_seen=image.bands_seen & keep[:, None],
        pixels_seen=image.pixels_seen & over(keep, image.pixels_seen),
    )
