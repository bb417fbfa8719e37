"""What a network is shown: values in the form that its weights expect, and something where nothing is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from landweave.contract import StreamContract
from landweave.nn.config import Encoder
from landweave.sample import Image
from landweave.sensors import FLOOR
from landweave.transforms.resampling import power

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Levels:
    """Statistics of the bands that an encoder reads, in the units of their sensors; linear power in dB.

    `overall` is for each band the mean over the means of all bands of its sensor; `power` says which bands are linear
    power that is read in dB (none by default).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    overall: tuple[float, ...]
    power: tuple[bool, ...] = ()

    @classmethod
    def of(cls, streams: Sequence[StreamContract]) -> Levels:
        """Those of one sensor, or of several whose bands stand one after the other (early fusion)."""
        return cls(
            tuple(mean for s in streams for mean, _ in s.levels),
            tuple(deviation for s in streams for _, deviation in s.levels),
            tuple(sum(mean for mean, _ in s.levels) / len(s.bands) for s in streams for _ in s.bands),
            tuple(bool(s.decibel) for s in streams for _ in s.bands),
        )


class Show(nn.Module):
    """A normalised image as the network reads it: standardised or physical, with a fill where nothing is seen.

    The defaults, standardised and the band's mean, are what `normalise` gives, and change nothing. `mean`, `zero` and
    `minus-one` name one level of each band, `scalar` one level of all bands of a sensor; a level that is far from a
    band's mean becomes many deviations when it is standardised (Petcu's scalar in the cirrus band: over 100). `learned`
    is a parameter a band, in deviations from the mean; it starts at 0, so that it begins as `mean` does.

    Linear power is standardised in dB, where `zero` and `minus-one` are the least power that has a value. Physical
    values are power again.

    The statistics are not kept with the weights: the contract, which stands beside them, has them.
    """

    mean: Tensor
    std: Tensor
    fixed: Tensor
    is_power: Tensor | None
    """Which bands are linear power, if any is."""

    def __init__(self, settings: Encoder, levels: Levels) -> None:
        super().__init__()
        self.physical = settings.input == "physical"
        self.idle = settings.fill == "mean" and not self.physical
        """Whether images are shown as they are."""
        mean, std, overall = (torch.tensor(v, dtype=torch.float64) for v in (levels.mean, levels.std, levels.overall))
        level = {"scalar": overall, "zero": 0 * mean, "minus-one": 0 * mean - 1}.get(settings.fill, mean)
        is_power = torch.tensor(levels.power) if any(levels.power) else None
        if is_power is not None and settings.fill in ("zero", "minus-one"):
            level = torch.where(is_power, 10 * math.log10(FLOOR), level)
        self.register_buffer("is_power", is_power, persistent=False)
        for name, values in (("mean", mean), ("std", std), ("fixed", (level - mean) / std)):
            self.register_buffer(name, values.float(), persistent=False)
        self.learned = nn.Parameter(torch.zeros(len(mean))) if settings.fill == "learned" else None

    def forward(self, image: Image) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, " C"] | None]:
        """The dates of all places as the network reads them.

        Args:
            image: normalised, 0 wherever it is not seen.

        Returns:
            Values, dates folded into the batch; and what stands beyond the edge of an image, None for 0.
        """
        x = image.data.float().flatten(0, 1)
        if self.idle:
            return x, None
        fill = (self.fixed if self.learned is None else self.learned)[:, None, None]
        x = torch.where(image.seen.flatten(0, 1), x, fill)
        if not self.physical:
            return x, fill.flatten()
        return self._physical(x), self._physical(fill).flatten()

    def _physical(self, values: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N C H W"]:
        """Standardised values in their sensor's unit."""
        found = values * self.std[:, None, None] + self.mean[:, None, None]
        return found if self.is_power is None else torch.where(self.is_power[:, None, None], power(found), found)
