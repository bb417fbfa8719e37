"""How the features of several sensors become one, where any of them may be absent at any place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from landweave.nn.encoders import resize
from landweave.sample import Batch, Image

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

How = Literal["concat", "mean"]


class MeanFeatures(nn.Module):
    """The mean feature of each sensor over the training places: what stands for a sensor that is absent.

    Zero until `set` is called at the end of training; kept with the weights. At prediction time this is the
    "average S2" of MoSAiC's table 4, at feature level.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        for name, width in widths.items():
            self.register_buffer(name, torch.zeros(width))

    def __getitem__(self, name: str) -> Float[Tensor, " D"]:
        return self.get_buffer(name)

    def set(self, means: Mapping[str, Float[Tensor, " D"]]) -> None:
        """Keep new means.

        Raises:
            ValueError: a sensor too many or too few, or a mean of another length.
        """
        have = dict(self.named_buffers())
        if set(means) != set(have):
            raise ValueError(f"means of {sorted(means)} for the sensors {sorted(have)}")
        for name, mean in means.items():
            if mean.shape != have[name].shape:
                raise ValueError(f"{name}: mean of {tuple(mean.shape)} for features of {tuple(have[name].shape)}")
            have[name].copy_(mean)


class FuseVectors(nn.Module):
    """One vector a place. `concat` fills absent sensors in with their mean feature; `mean` leaves them out."""

    def __init__(self, how: How, widths: Mapping[str, int], means: MeanFeatures) -> None:
        super().__init__()
        self.how, self.means = how, means
        self.width = sum(widths.values()) if how == "concat" else next(iter(widths.values()))

    def forward(
        self, features: Mapping[str, Float[Tensor, "B D"]], seen: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B D2"]:
        """Fuse, in the order of the names."""
        names = sorted(features)
        if self.how == "concat":
            return torch.cat([_filled(features[n], seen[n], self.means[n]) for n in names], 1)
        return _mean_of_seen([features[n] for n in names], [seen[n] for n in names])


class FuseMaps(nn.Module):
    """A pyramid of maps: at each stage the sensors are brought to one size, then fused.

    `concat` fills absent sensors in with their mean feature and narrows the result by a 1 x 1 convolution; `mean`
    leaves absent sensors out. Only the stages that the decoder reads are fused. One sensor passes unchanged, but
    for the filling.
    """

    def __init__(
        self,
        how: How,
        channels: Mapping[str, Sequence[int]],
        means: MeanFeatures,
        *,
        stages: Sequence[int],
    ) -> None:
        super().__init__()
        self.how, self.means, self.stages = how, means, tuple(stages)
        self.channels = {name: list(widths) for name, widths in channels.items()}
        self.widths = list(next(iter(self.channels.values())))
        self.narrow = nn.ModuleDict()
        if how == "concat" and len(channels) > 1:
            for stage in self.stages:
                wide = sum(widths[stage] for widths in channels.values())
                if wide:
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
            if self.how == "mean":
                out[stage] = _mean_of_seen(here, [seen[n] for n in names])
                continue
            here = [_filled(f, seen[n], means[n][stage]) for n, f in zip(names, here, strict=True)]
            out[stage] = self.narrow[str(stage)](torch.cat(here, 1)) if len(here) > 1 else here[0]
        return out


def _over(seen: Bool[Tensor, " B"], like: Tensor) -> Tensor:
    return seen.view(-1, *(1,) * (like.ndim - 1))


def _filled(feature: Tensor, seen: Bool[Tensor, " B"], mean: Tensor) -> Tensor:
    fill = mean.to(feature).view(1, -1, *(1,) * (feature.ndim - 2))
    return torch.where(_over(seen, feature), feature, fill)


def _mean_of_seen(features: Sequence[Tensor], seen: Sequence[Bool[Tensor, " B"]]) -> Tensor:
    """Mean over the sensors that are seen; 0 where none is."""
    total = torch.stack([f * _over(s, f) for f, s in zip(features, seen, strict=True)]).sum(0)
    count = torch.stack(list(seen)).sum(0).clamp(min=1)
    return total / _over(count, total)


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


def drop_sensors(batch: Batch, share: float, key: Sequence[int]) -> Batch:
    """Mark each sensor of each place unseen with probability `share`, but never the last one that is seen.

    The draw depends on `key` (seed, epoch, ...) and on the name of the place alone: not on the other places of the
    batch, nor on the order of the sensors, so that a resumed run repeats it.
    """
    names = sorted(batch.images)
    if share <= 0 or len(names) < 2:
        return batch
    device = batch.images[names[0]].dates_seen.device
    draws = torch.tensor([[_uniform(place, n, key) for n in names] for place in batch.names], device=device)
    seen = torch.stack([batch.images[n].sensor_seen for n in names], 1)
    keep = seen & (draws >= share)
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
        data=image.data * _over(keep, image.data),
        dates_seen=image.dates_seen & keep[:, None],
        bands_seen=image.bands_seen & keep[:, None],
        pixels_seen=image.pixels_seen & _over(keep, image.pixels_seen),
    )
