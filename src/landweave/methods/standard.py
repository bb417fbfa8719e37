"""What the residuals of clean images are like: the standard by which `landweave faults` judges, and its figures.

Measured at the end of a run of `reconstruct`: ridge regression is fitted on the training places, then both predictors
are looked at on the validation places, of which neither has seen anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

from landweave.contract import StreamContract
from landweave.errors import DataError
from landweave.metrics.reconstruction import Reconstruction
from landweave.metrics.suspicion import Values, block_statistics, of_image
from landweave.metrics.verdict import Clean
from landweave.nn.reconstruct import By, Read, ReconstructModel, SensorNet
from landweave.sample import Batch

if TYPE_CHECKING:
    from jaxtyping import Float

Batches = Callable[[], Iterable[Batch]]
"""A pass over places, as cubes, in a drawn order: of many the first `MOST` stand for all."""
PREDICTORS: tuple[By, ...] = get_args(By)
TRIVIAL = ("most correlated band", "band mean")
"""Predictions that cost nothing: one other band, scaled, and the band's mean over the training places."""
MOST = 500
"""Images of a sensor that are looked at, at most."""


def figures(
    net: SensorNet, read: Read, found: Float[Tensor, "1 C H W"], block: int, *, hidden: Collection[int] = ()
) -> Values:
    """`block_statistics` of one image of any size: what a last block lacks counts as unseen.

    So does a pixel at which a band that took part in the prediction is unseen, as nobody can say what it should be.
    """
    H, W = found.shape[-2:]
    room = ((0, 0), (0, -H % block), (0, -W % block))
    part = [c for c in range(read.seen.shape[1]) if c not in hidden]
    parts = (read.values - found, read.physical, read.seen & read.seen[:, part].all(1, keepdim=True))
    residual, physical, seen = (np.pad(t[0].cpu().numpy(), room) for t in parts)
    return block_statistics(residual, physical, seen, block=block, dark=net.scale.dark)


def medians(read: Read) -> Values:
    """Median of the seen values of each band of one image, on the scale; NaN where none is seen."""
    pairs = zip(read.values[0], read.seen[0], strict=True)
    found = [v[s].median() if bool(s.any()) else torch.tensor(torch.nan) for v, s in pairs]
    return torch.stack([f.double().cpu() for f in found]).numpy()


@dataclass
class Gathered:
    """Figures of clean images and of their blocks, by size of block."""

    images: dict[int, list[Values]] = field(default_factory=lambda: defaultdict(list))
    blocks: dict[int, list[Values]] = field(default_factory=lambda: defaultdict(list))

    def add(self, net: SensorNet, read: Read, found: Tensor, sizes: Sequence[int]) -> None:
        """One image, and what was predicted of it."""
        for size in sizes:
            told = figures(net, read, found, size)
            if np.isfinite(told).any():
                self.blocks[size].append(told)
                self.images[size].append(of_image(told))


def images(model: ReconstructModel, sensor: str, batches: Batches) -> Iterator[Read]:
    """The images of a sensor, one at a time, each of a batch of one; those of which nothing is seen are left out."""
    device, count = next(model.parameters()).device, 0
    for batch in batches():
        read = model.read(sensor, batch.to(device).images[sensor])
        for n in range(len(read.values)):
            if bool(read.seen[n].any()):
                count += 1
                yield read.one(n)
                if count == MOST:
                    return


def measured(
    model: ReconstructModel, train: Batches, validation: Batches, *, blocks: Sequence[int], alarm: float
) -> dict[str, Any]:
    """Fit ridge regression, then measure both predictors: by sensor, plain data for `config.json`.

    Args:
        model: whose network is trained; ridge regression is fitted here.
        train: training places, as cubes.
        validation: validation places.
        blocks: sizes of blocks that faults may be told for; those that the places are too small for are left out.
        alarm: share of clean images that may be accused.

    Raises:
        DataError: no image of a sensor in one of the splits is seen whole enough.
    """
    return {name: _of_sensor(model, name, train, validation, blocks, alarm) for name in model.sensors}


def _of_sensor(
    model: ReconstructModel, name: str, train: Batches, validation: Batches, blocks: Sequence[int], alarm: float
) -> dict[str, Any]:
    net = model.net(name)
    learned = []
    net.ridge.reset()
    for read in images(model, name, train):
        net.ridge.add(read.values, read.seen)
        learned.append(medians(read))
    if not float(net.ridge.images):
        raise DataError(f"no training image of {name} has a pixel at which all bands are seen", where="data")
    found: dict[By, Gathered] = {by: Gathered() for by in PREDICTORS}
    middles = []
    for read in images(model, name, validation):
        middles.append(medians(read))
        for by in PREDICTORS:
            found[by].add(net, read, net.predict(read.values, read.seen, by=by), blocks)
    whole = [m for m in learned if np.isfinite(m).all()]
    clean = [m for m in middles if np.isfinite(m).all()]
    if not (whole and clean and found["ridge"].images):
        raise DataError(
            f"no validation image of {name} holds a block of {min(blocks)} pixels of which half is seen, in all bands",
            where="data",
            fix="put such places into the validation split, or lower method.blocks",
        )
    told = {
        by: {
            str(size): Clean.of(
                found[by].images[size],
                found[by].blocks[size],
                learned=np.stack(whole),
                medians=np.stack(clean),
                alarm=alarm,
            )
            for size in blocks
            if found[by].images[size]
        }
        for by in PREDICTORS
    }
    return {
        "by": min(PREDICTORS, key=lambda by: _spread(told[by])),
        "images": len(middles),
        "clean": {by: {size: c.to_json() for size, c in sizes.items()} for by, sizes in told.items()},
    }


def _spread(clean: dict[str, Clean]) -> float:
    """How far clean images are off in level, in the mean over bands (of logs): the less, the finer the scales."""
    widths = np.stack([c.spread.width[:, 0] for c in clean.values()])
    return float(np.log(widths).mean())


def scored(model: ReconstructModel, stream: StreamContract, batches: Batches) -> dict[str, Any]:
    """RMSE, PSNR, SSIM by band and SAM of each predictor, and of the trivial ones, over places as cubes."""
    net, name = model.net(stream.sensor), stream.sensor
    span = np.array([s.p99 - s.p01 if s.p99 > s.p01 else 1.0 for s in stream.stats])
    tables = {who: Reconstruction(span) for who in (*PREDICTORS, *TRIVIAL)}
    nearest = most_correlated(net)
    count = 0
    for read in images(model, name, batches):
        count += 1
        predicted = {"most correlated band": nearest(read), "band mean": _means(stream, read)}
        for by in PREDICTORS:
            predicted[by] = net.scale.back(net.predict(read.values, read.seen, by=by))
        for who, table in tables.items():
            table.add(*(t[0].cpu().numpy() for t in (read.physical, predicted[who], read.seen)))
    return {
        "images": count,
        "unit": stream.unit,
        "predictors": {who: table.scores(list(stream.bands)) for who, table in tables.items()},
    }


def _means(stream: StreamContract, read: Read) -> Tensor:
    return torch.tensor(stream.mean, dtype=read.physical.dtype)[:, None, None].expand_as(read.physical)


def most_correlated(net: SensorNet) -> Callable[[Read], Tensor]:
    """Predicts each band as `a * other + b` on the scale, from the one band that it goes with most in training."""
    C = net.ridge.bands
    gram = (net.ridge.gram / net.ridge.images).cpu()
    mean = gram[:C, -1]
    covariance = gram[:C, :C] - mean[:, None] * mean
    deviation = covariance.diag().clamp(min=1e-12).sqrt()
    correlation = (covariance / deviation / deviation[:, None]).abs().fill_diagonal_(-1)
    other = correlation.argmax(1)
    slope = covariance[range(C), other] / covariance[other, other].clamp(min=1e-12)
    start = mean - slope * mean[other]

    def predict(read: Read) -> Tensor:
        a, b = (v.to(read.values)[:, None, None] for v in (slope, start))
        return net.scale.back(read.values[:, other] * a + b)

    return predict
