"""What a model was promised about its inputs: kept beside its weights, checked before it sees another image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from landweave.errors import ContractError
from landweave.sensors import sensor


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


@dataclass(frozen=True)
class StreamContract:
    """One sensor as a model reads it: one cube of `bands`, in this order, in `unit`, at `size` pixels of `metres`.

    `metres` is the pixel size on the ground, None without georeference. `size` is (H, W) of a training place.
    `series` says that training places had several dates of it; `context` is the side of the ground that it covers, in
    sides of the label map's ground, or of the finest sensor's (2 where it looks half a place beyond each border).
    """

    sensor: str
    bands: tuple[str, ...]
    unit: str
    metres: float | None
    size: tuple[int, int]
    stats: tuple[BandStats, ...]
    series: bool = False
    context: float = 1.0

    def __post_init__(self) -> None:
        if len(self.stats) != len(self.bands):
            raise ValueError(f"{len(self.stats)} statistics for {len(self.bands)} bands")

    @property
    def mean(self) -> list[float]:
        """Mean a band, in `unit`."""
        return [s.mean for s in self.stats]

    @property
    def std(self) -> list[float]:
        """Standard deviation a band, in `unit`; 1 where a band is constant."""
        return [s.std if s.std > 1e-12 else 1.0 for s in self.stats]

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
                    }
                )
                for name, row in raw.items()
            }
        )
