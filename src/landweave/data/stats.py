"""Statistics of the training places, band by band, in the sensor's unit: what a model's contract is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from landweave.contract import BandStats, Contract, StreamContract
from landweave.data.dataset import Dataset
from landweave.errors import DataError
from landweave.sample import Image
from landweave.sensors import sensor

MOST_PLACES = 2000
SAMPLED = 4096
"""Values a band and place that are kept for the percentiles, evenly spaced over what is seen."""
MOST_VALUES = 2_000_000

Progress = Callable[[int, int], None] | None


@dataclass
class Moments:
    """Mean and variance that add up, by the pairwise update of Chan, Golub & LeVeque 1979; float64 throughout."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    sample: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, values: NDArray[np.float32]) -> None:
        """Take in the seen values of one band of one place."""
        if not values.size:
            return
        wide = values.astype(np.float64)
        n, mean = wide.size, float(wide.mean())
        gap, both = mean - self.mean, self.n + n
        self.squares += float(((wide - mean) ** 2).sum()) + gap * gap * self.n * n / both
        self.mean += gap * n / both
        self.n = both
        self.low, self.high = min(self.low, float(wide.min())), max(self.high, float(wide.max()))
        if sum(s.size for s in self.sample) < MOST_VALUES:
            self.sample.append(values[:: max(1, values.size // SAMPLED)][:SAMPLED].copy())

    def stats(self) -> BandStats:
        """The statistics; percentiles are those of the sample."""
        p01, p99 = np.percentile(np.concatenate(self.sample), [1, 99])
        std = float(np.sqrt(self.squares / self.n))
        return BandStats(self.mean, std, self.low, self.high, float(p01), float(p99), self.n)


def measure(
    dataset: Dataset, indices: Sequence[int], *, most: int = MOST_PLACES, progress: Progress = None
) -> dict[str, dict[str, Moments]]:
    """Moments by sensor and band over seen pixels only.

    Args:
        dataset: where to read.
        indices: the training places, and no others.
        most: of more places than this, so many are read, evenly spaced.
        progress: called with (places done, places in all).

    Raises:
        DataError: the first bad file.
    """
    found: dict[str, dict[str, Moments]] = {}
    for done, i in enumerate(_evenly(indices, most), 1):
        for stream, image in dataset.read(i).images.items():
            bands = found.setdefault(stream.partition("@")[0], {})
            values, seen = image.physical().numpy(), image.seen.numpy()
            for c, band in enumerate(image.bands):
                bands.setdefault(band, Moments()).add(values[:, c][seen[:, c]])
        if progress:
            progress(done, min(most, len(indices)))
    return found


def _evenly(indices: Sequence[int], most: int) -> list[int]:
    if len(indices) <= most:
        return list(indices)
    return [indices[int(k)] for k in np.linspace(0, len(indices) - 1, most)]


def contract_of(dataset: Dataset, indices: Sequence[int], *, progress: Progress = None) -> Contract:
    """The contract that a model trained on these places will keep.

    One cube a sensor: the bands of all its streams in the sensor's own order, the grid of its finest stream.

    Raises:
        DataError: the first bad file, or a band of which no pixel is seen at any place.
    """
    from landweave.data.load import templates

    found = measure(dataset, indices, progress=progress)
    finest = _finest(templates(dataset, indices))
    streams = {}
    for name, bands in found.items():
        blind = [b for b, m in bands.items() if m.n == 0]
        if blind:
            raise DataError(
                f"no pixel of {name} {', '.join(blind)} is seen at any training place",
                where=dataset.where,
                fix=f"leave the band out: data.streams=[{name}:{'+'.join(b for b in bands if b not in blind)}]",
            )
        row, image = sensor(name), finest[name]
        order = [b for b in row.band_names if b in bands]
        H, W = image.data.shape[-2:]
        metres = None
        if image.grid is not None and not isinstance(image.grid, tuple) and image.grid.crs:
            metres = round(image.grid.pixel[0], 6)
        streams[name] = StreamContract(
            name, tuple(order), row.unit, metres, (H, W), tuple(bands[b].stats() for b in order)
        )
    return Contract(streams)


def _finest(examples: Mapping[str, Image]) -> dict[str, Image]:
    """The example with the most pixels of each sensor."""
    best: dict[str, Image] = {}
    for stream, image in examples.items():
        name = stream.partition("@")[0]
        if name not in best or image.data.shape[-1] > best[name].data.shape[-1]:
            best[name] = image
    return best
