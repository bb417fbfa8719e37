"""Networks that predict each band from the others: a small convolutional one, and ridge regression beside it.

Both read values on a scale on which a gain is a sum: natural log of reflectance, numbers or power above a small floor,
decibels as they are (times ln(10)/10), heights in standard deviations. A residual of 0.26 is then a factor of 1.3.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landweave.contract import Contract, StreamContract
from landweave.errors import RunError
from landweave.nn.absent import MeanFeatures
from landweave.nn.model import Model, Outputs, Targets
from landweave.nn.ridge import Ridge
from landweave.sample import Batch, Image

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

By = Literal["network", "ridge"]
REACH = 2
"""Pixels to each side that the network looks at; ridge regression looks at one."""
FLOOR = 0.1
"""What is added before the log, as a share of the mean over bands of their means: deep shadow and clear water, whose
relative noise is large, weigh less."""


DECIBEL = math.log(10) / 10
"""Of a natural logarithm, in a dB."""


@dataclass(frozen=True)
class BandScale:
    """From a sensor's unit to the scale that predictions are made on, centred a band, and back."""

    centre: tuple[float, ...]
    floor: float | None
    """Added before the log; None: a linear scale."""
    factor: tuple[float, ...]

    @classmethod
    def of(cls, stream: StreamContract) -> BandScale:
        """The scale of a sensor by its unit and training statistics."""
        C = len(stream.bands)
        if stream.unit == "dB":
            return cls(tuple(stream.mean), None, (DECIBEL,) * C)
        if stream.unit == "metre":
            return cls(tuple(stream.mean), None, tuple(1 / s for s in stream.std))
        floor = max(FLOOR * sum(stream.mean) / C, 1e-6)
        return cls(tuple(math.log(max(m, 0.0) + floor) for m in stream.mean), floor, (1.0,) * C)

    @property
    def dark(self) -> float:
        """Values at or below it may be cut off, not measured: Level-2A of Sentinel-2 has 1 for what came out lower."""
        return -math.inf if self.floor is None else self.floor / 30

    def to(self, values: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """On the scale."""
        centre, factor = self._columns(values)
        if self.floor is None:
            return (values - centre) * factor
        found: Tensor = torch.log(values.clamp(min=0) + self.floor) - centre
        return found

    def back(self, values: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """In the sensor's unit."""
        centre, factor = self._columns(values)
        return values / factor + centre if self.floor is None else (values + centre).exp() - self.floor

    def departure(self, level: float, value: float, band: int) -> tuple[float, Literal["times", "more"]]:
        """What a residual of `level` on the scale is in the unit, at a pixel of `value`: a ratio, or of heights a sum.

        A log to which a floor was added says less of a dark pixel than of a bright one: a reflectance of 0.02 that is
        1.5 times what it should be has the residual of one of 0.2 that is 1.26 times it.
        """
        if self.floor is None:
            share = level / self.factor[band]
            return (math.exp(level), "times") if self.factor[band] == DECIBEL else (share, "more")
        due = (max(value, 0.0) + self.floor) * math.exp(-level) - self.floor
        return (value / due if due > self.dark else math.inf), "times"

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        made = (torch.tensor(v, dtype=like.dtype, device=like.device) for v in (self.centre, self.factor))
        centre, factor = (v[:, None, None] for v in made)
        return centre, factor


@dataclass(frozen=True)
class Read:
    """Images of one sensor: in its unit, on the scale of predictions (0 where unseen), and what is seen."""

    physical: Float[Tensor, "N C H W"]
    values: Float[Tensor, "N C H W"]
    seen: Bool[Tensor, "N C H W"]

    def one(self, index: int) -> Read:
        """A batch of one of them."""
        at = slice(index, index + 1)
        return Read(self.physical[at], self.values[at], self.seen[at])


class BandNet(nn.Module):
    """C bands of which some are hidden, and C channels that say which are there -> all C bands.

    A linear map of the bands, and beside it layers of 1 x 1 convolutions with two 3 x 3 ones a channel between them:
    what a band is follows from the spectrum of a pixel more than from its neighbours.
    """

    def __init__(self, bands: int, width: int, depth: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(2 * bands, bands, 1)
        layers: list[nn.Module] = [nn.Conv2d(2 * bands, width, 1), nn.GELU()]
        for at in range(depth):
            if at < REACH:
                layers.append(nn.Conv2d(width, width, 3, padding=1, groups=width))
            layers += [nn.Conv2d(width, width, 1), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, bands, 1))
        for last in (self.linear, self.layers[-1]):  # it begins with the bands' means, not with noise
            for weight in last.parameters():
                nn.init.zeros_(weight)

    def forward(self, values: Float[Tensor, "N C H W"], there: Bool[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """All bands, from those that are there."""
        known = there.to(values)
        read = torch.cat([values * known, known], 1)
        found: Tensor = self.linear(read) + self.layers(read)
        return found


class SensorNet(nn.Module):
    """Both predictors of one sensor."""

    def __init__(self, stream: StreamContract, *, width: int, depth: int, penalty: float) -> None:
        super().__init__()
        self.scale = BandScale.of(stream)
        self.network = BandNet(len(stream.bands), width, depth)
        self.ridge = Ridge(len(stream.bands), penalty)

    def predict(
        self,
        values: Float[Tensor, "N C H W"],
        seen: Bool[Tensor, "N C H W"],
        *,
        by: By,
        hidden: Collection[int] = (),
        bands: Collection[int] | None = None,
    ) -> Float[Tensor, "N P H W"]:
        """Bands (all by default), each from those that are neither it nor hidden. `values` are on `scale`."""
        wanted = list(range(values.shape[1])) if bands is None else list(bands)
        if by == "ridge":
            fitted: Tensor = self.ridge(values, seen, bands=wanted, hidden=hidden)
            return fitted
        found = []
        for band in wanted:
            there = seen.clone()
            there[:, [band, *hidden]] = False
            found.append(self.network(values, there)[:, band])
        return torch.stack(found, 1)


class ReconstructModel(Model):
    """A `SensorNet` for each sensor. It classifies nothing, and has no encoder that another run could begin with.

    Args:
        contract: sensors, bands, units and statistics of the inputs.
        width: channels of the network.
        depth: its 1 x 1 layers.
        penalty: of ridge regression.
    """

    def __init__(self, contract: Contract, *, width: int, depth: int, penalty: float) -> None:
        nn.Module.__init__(self)  # there is no backbone to build
        self.contract = contract
        self.sensors = tuple(sorted(contract.streams))
        self.largest, self.early, self.frozen = self.sensors[0], False, False
        self.encoders, self.means = nn.ModuleDict(), MeanFeatures({})
        self.nets = nn.ModuleDict(
            {n: SensorNet(contract.streams[n], width=width, depth=depth, penalty=penalty) for n in self.sensors}
        )

    def net(self, sensor: str) -> SensorNet:
        """The predictors of a sensor."""
        found = self.nets[sensor]
        assert isinstance(found, SensorNet)
        return found

    def read(self, sensor: str, image: Image) -> Read:
        """The images of a cube, every date one of its own, with values on the sensor's scale."""
        physical, seen = image.physical().flatten(0, 1), image.seen.flatten(0, 1)
        return Read(physical, torch.where(seen, self.net(sensor).scale.to(physical), 0), seen)

    def forward(self, batch: Batch) -> Outputs:
        """Refused: see `net`."""
        raise RunError("a reconstruction has no classes", where="model", fix="predict bands with model.net(SENSOR)")

    def features(self, batch: Batch) -> dict[str, Float[Tensor, "B D"]]:
        """None: nothing is fused."""
        return {}

    def targets(self, batch: Batch) -> Targets:
        """Refused: it teaches nobody."""
        raise RunError("a reconstruction has no features", where="model", fix="start with another run")


def hidden_loss(
    net: SensorNet,
    values: Float[Tensor, "N C H W"],
    seen: Bool[Tensor, "N C H W"],
    hidden: Bool[Tensor, "N C"],
) -> Float[Tensor, ""]:
    """Mean absolute error of the network at the seen values of hidden bands; 0 where there are none."""
    gone = hidden[:, :, None, None]
    error = F.l1_loss(net.network(values, seen & ~gone).float(), values, reduction="none")
    counted = (seen & gone).to(error)
    return (error * counted).sum() / counted.sum().clamp(min=1)
