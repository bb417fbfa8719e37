"""What a model was promised about its inputs: kept beside its weights, checked before it sees another image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from landweave.errors import ContractError
from landweave.sensors import FLOOR, sensor

QUANTILES = 4.6527
"""How many standard deviations lie between the 1st and the 99th percentile of a normal distribution."""


@dataclass(frozen=True)
class BandStats:
    """Statistics of one band over the *training* places, in the sensor's unit; `n` counts the pixels seen."""

    mean: float
    std: float
    minimum: float
    maximum: float
    p01: float
    p99: float
    n: int

    @property
    def decibel(self) -> tuple[float, float]:
        """Mean and deviation in dB, of a band in linear power: from its percentiles, as of a normal distribution.

        Its own mean is that of the few brightest pixels. A deviation of less than 1 dB is taken as that.
        """
        low, high = self.decibel_range
        return (low + high) / 2, max((high - low) / QUANTILES, 1.0)

    @property
    def decibel_range(self) -> tuple[float, float]:
        """The 1st and the 99th percentile of a band in linear power, in dB."""
        low, high = (10 * math.log10(max(p, FLOOR)) for p in (self.p01, self.p99))
        return low, high


@dataclass(frozen=True)
class StreamContract:
    """One sensor as a model reads it: one cube of `bands`, in this order, in `unit`, at `size` pixels of `metres`.

    `metres` is the pixel size on the ground, None without georeference. `size` is (H, W) of a training place.
    `series` says that training places had several dates of it; `context` is the side of the ground that it covers, in
    sides of the label map's ground, or of the finest sensor's (2 where it looks half a place beyond each border).

    `decibel` has mean and deviation a band in dB where networks read a sensor of linear power in dB. It is empty for
    other sensors, and in contracts of before, whose networks read power as it is (all but U-TAE).
    """

    sensor: str
    bands: tuple[str, ...]
    unit: str
    metres: float | None
    size: tuple[int, int]
    stats: tuple[BandStats, ...]
    series: bool = False
    context: float = 1.0
    decibel: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        for stats in (self.stats, self.decibel or self.stats):
            if len(stats) != len(self.bands):
                raise ValueError(f"{len(stats)} statistics for {len(self.bands)} bands")
        if self.decibel and self.unit != "linear power":
            raise ValueError(f"statistics in dB for values in {self.unit}")

    @property
    def mean(self) -> list[float]:
        """Mean a band, in `unit`."""
        return [s.mean for s in self.stats]

    @property
    def std(self) -> list[float]:
        """Standard deviation a band, in `unit`; 1 where a band is constant."""
        return [s.std if s.std > 1e-12 else 1.0 for s in self.stats]

    @property
    def levels(self) -> list[tuple[float, float]]:
        """Mean and deviation a band as a network reads it: in dB where there is `decibel`, otherwise in `unit`."""
        return list(self.decibel or zip(self.mean, self.std, strict=True))

    def accepts(self, other: str) -> bool:
        """Whether images of sensor `other` can be read, as they are or by converting dB to linear power and back."""
        mine, theirs = sensor(self.sensor), sensor(other)
        return mine.name == theirs.name or bool(mine.family and mine.family == theirs.family)

    def require(self, stream: str) -> None:
        """Refuse an image of a sensor that this contract does not accept.

        Raises:
            ContractError: naming both sensors.
        """
        if not self.accepts(stream):
            raise ContractError(
                f"the model was trained on {self.sensor} ({self.unit}), not on {stream}",
                where=stream,
                fix=f"give an image of {self.sensor}, or train on {sensor(stream).name}",
            )


@dataclass(frozen=True)
class Contract:
    """All the streams of a model, by sensor name."""

    streams: Mapping[str, StreamContract]

    def to_json(self) -> dict[str, Any]:
        """Plain data for `config.json`."""
        return {name: asdict(s) for name, s in self.streams.items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Contract:
        """Inverse of `to_json`."""
        return cls(
            {
                name: StreamContract(
                    **{
                        **row,
                        "bands": tuple(row["bands"]),
                        "size": tuple(row["size"]),
                        "stats": tuple(BandStats(**s) for s in row["stats"]),
                        "decibel": tuple((mean, std) for mean, std in row.get("decibel", ())),
                    }
                )
                for name, row in raw.items()
            }
        )
