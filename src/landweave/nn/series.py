"""A series as a network reads it: its numbers, its dates, and the ground that a map answers for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from landweave.contract import StreamContract
from landweave.errors import ConfigError
from landweave.nn.absent import at_seen
from landweave.nn.config import UTAE
from landweave.nn.utae import UTAENet, widths_of
from landweave.sample import NO_DAY, Image
from landweave.sensors import sensor
from landweave.transforms.resampling import decibel

if TYPE_CHECKING:
    from jaxtyping import Float, Int

DAYS_TO_2000 = 730425
"""Days from 1 March of the year 0 to 1 January 2000."""
MAY_15 = 75
"""Days from 1 March to 15 May."""


class SeriesEncoder(nn.Module):
    """U-TAE over one sensor, at the places where it is seen; maps of the label's ground, deepest first.

    A place of which nothing is seen never enters the network, nor does a date of which nothing is; their maps are 0.
    A sensor whose images reach further than the label (`StreamContract.context`) is read as wide as it is, and the
    maps are cut to the label's ground then.

    Args:
        settings: see `UTAE`.
        row: what is known of the sensor.
        beside: whether sensors of one date are there too, which decides about widths that are not given.

    Raises:
        ConfigError: steps of a stride of 2 that an image is too small for.
    """

    def __init__(self, settings: UTAE, *, row: StreamContract, beside: bool) -> None:
        super().__init__()
        steps = len(widths_of(settings, beside=beside)[0]) - 1
        if min(row.size) < settings.stride**steps:
            raise ConfigError(
                f"{row.sensor} has {row.size[0]} x {row.size[1]} pixels, too few for {steps} steps of a stride of 2",
                where="method.series.stride",
                fix="set method.series.stride=1, or read more ground with data.context",
            )
        self.settings, self.context = settings, row.context
        self.net = UTAENet(settings, bands=len(row.bands), beside=beside)
        self.widths = list(self.net.widths)
        """Channels of the maps, deepest first."""
        self.read = Numbers(row) if settings.input == "numbers" else Standardised(row)

    def forward(self, image: Image) -> list[Float[Tensor, "B D h w"]]:
        """The maps.

        Args:
            image: a cube in the sensor's unit.
        """
        with torch.autocast(image.data.device.type, enabled=False):
            x, seen, days = self.read(image), image.dates_with_data, since_may(image.days)
        if self.settings.padding == "official":
            seen = seen & x.ne(0).flatten(2).any(2)
        there = seen.any(1)
        dated = seen | ~there[:, None]  # if nothing at all is seen, one place of zeros goes through for its gradients
        maps = at_seen(self.net, lambda part: self.net(part[0], part[1], part[2]), [x, days, dated], there)
        return [cropped(f, self.context) for f in maps]


class Standardised(nn.Module):
    """Values less the band's mean over its deviation, 0 where nothing is seen. Linear power is brought to dB before.

    Contracts of before do not tell mean and deviation of the dB, which are those of `BandStats.decibel` then.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, row: StreamContract) -> None:
        super().__init__()
        self.power = row.unit == "linear power"
        levels = torch.tensor([s.decibel for s in row.stats] if self.power and not row.decibel else row.levels)
        for name, value in (("mean", levels[:, 0]), ("std", levels[:, 1])):
            self.register_buffer(name, value[:, None, None].float(), persistent=False)

    def forward(self, image: Image) -> Float[Tensor, "B T C H W"]:
        """The image as the network sees it."""
        values = image.physical()
        values = decibel(values) if self.power else values
        return torch.where(image.seen, (values - self.mean) / self.std, 0.0)


class Numbers(nn.Module):
    """The numbers of the files (Sentinel-2 0 to 10000, Sentinel-1 linear power); the band's mean where it is unseen."""

    fill: Tensor

    def __init__(self, row: StreamContract) -> None:
        super().__init__()
        file = sensor(row.sensor)
        self.scale, self.offset = file.scale, file.offset
        fill = (torch.tensor(row.mean) - self.offset) / self.scale
        self.register_buffer("fill", fill[:, None, None].float(), persistent=False)

    def forward(self, image: Image) -> Float[Tensor, "B T C H W"]:
        """The image as the network sees it."""
        return torch.where(image.seen, (image.physical() - self.offset) / self.scale, self.fill)


def since_may(days: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Days since 15 May of the same year, from days since 2000-01-01; NaN where the day is unknown.

    In years that begin with March a leap day is the last day, and days can be told apart by arithmetic alone.
    """
    since = days.long() + DAYS_TO_2000
    cycle = since.div(146097, rounding_mode="floor")  # 400 years
    day = since - cycle * 146097
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    of_year = day - (365 * year + year // 4 - year // 100)
    following = year + 1
    leap = (following % 4 == 0) & ((following % 100 != 0) | (following % 400 == 0))
    length = 365 + leap.long()
    offset = torch.where(of_year < 306, of_year, of_year - length) - MAY_15  # January and February are of the next year
    return torch.where(days == NO_DAY, torch.nan, offset.double()).float()


def cropped(x: Float[Tensor, "B D H W"], context: float) -> Float[Tensor, "B D h w"]:
    """The middle of a map that covers `context` times the label's ground a side."""
    if context == 1:
        return x
    sizes = [(n, n / context) for n in x.shape[-2:]]
    starts = [(n - part) / 2 for n, part in sizes]
    if all(start.is_integer() for start in starts) and all(part.is_integer() for _, part in sizes):
        (top, left), (h, w) = (int(s) for s in starts), (int(part) for _, part in sizes)
        return x[..., top : top + h, left : left + w]
    size = [max(1, round(part)) for _, part in sizes]
    return sampled(x, (1 / context, 1 / context), (size[0], size[1]), middle=True)


def sampled(
    x: Float[Tensor, "B D H W"], share: tuple[float, float], size: tuple[int, int], *, middle: bool = False
) -> Float[Tensor, "B D h w"]:
    """A map resampled bilinearly to `size` over a part of its ground, or over more than it.

    Args:
        x: the map.
        share: height and width of the ground wanted, in those of the map.
        size: (h, w) of the result.
        middle: whether that ground lies in the middle of the map's, or at its upper left corner.
    """
    a, b = share
    right, down = (0.0, 0.0) if middle else (b - 1, a - 1)
    theta = torch.tensor([[b, 0, right], [0, a, down]], dtype=x.dtype, device=x.device)
    grid = nn.functional.affine_grid(theta.expand(len(x), 2, 3), [len(x), 1, *size], align_corners=False)
    return nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
