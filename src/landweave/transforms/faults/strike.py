"""Faults happen: which places, sensors and bands are struck, and what becomes of their masks and values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from landweave.sample import Batch, Image
from landweave.sensors import Sensor, sensor
from landweave.transforms.faults import patterns, values
from landweave.transforms.faults.draws import Draws
from landweave.transforms.faults.schedules import Between
from landweave.transforms.faults.settings import (
    Absent,
    DeadColumns,
    Fault,
    Faults,
    Gain,
    Holes,
    Missing,
    Noise,
    Saturation,
    Shift,
    Shuffle,
    Stripes,
    Swap,
)
from landweave.transforms.resampling import blanked, physical

Hits = Mapping[int, Sequence[str]]
"""The bands that are struck, by position of the place in the batch."""


@dataclass(frozen=True)
class Cube:
    """One sensor of a batch while faults happen to it; `image` is in physical units."""

    name: str
    image: Image
    places: tuple[str, ...]
    metres: float

    @property
    def row(self) -> Sensor:
        """The sensor."""
        return sensor(self.name)

    @property
    def size(self) -> tuple[int, int, int]:
        """T H W."""
        _, T, _, H, W = self.image.data.shape
        return T, H, W

    def block(self, band: str) -> int:
        """Pixels of the cube along a side of a native pixel of a band."""
        return max(1, round(self.row.band(band).metres / self.metres))

    def where(self, hits: Hits, pattern: Callable[[str, str], NDArray[np.bool_]]) -> Bool[Tensor, "B T C H W"]:
        """What `pattern(place, band)` gives (T H W, or H W for all dates) at the bands that are struck."""
        T, H, W = self.size
        found = np.zeros((len(self.places), T, len(self.image.bands), H, W), bool)
        for b, bands in hits.items():
            for band in bands:
                found[b, :, self.image.bands.index(band)] = pattern(self.places[b], band)
        return torch.from_numpy(found).to(self.image.data.device)

    def rows(self, hits: Hits) -> Bool[Tensor, "B C"]:
        """Which bands of which places are struck."""
        found = torch.zeros(len(self.places), len(self.image.bands), dtype=torch.bool)
        for b, bands in hits.items():
            found[b, [self.image.bands.index(band) for band in bands]] = True
        return found.to(self.image.data.device)

    def hidden(self, gone: Bool[Tensor, "B T C H W"]) -> Image:
        """The image with pixels marked unseen."""
        return _blank(replace(self.image, pixels_seen=self.image.pixels_seen & ~gone))

    def valued(self, data: Float[Tensor, "B T C H W"]) -> Image:
        """The image with other values and the same masks."""
        return _blank(replace(self.image, data=data))

    def dead(self, gone: Bool[Tensor, "B T C H W"], *, known: bool) -> Image:
        """The image with pixels unseen if it is known, otherwise without signal."""
        if known:
            return self.hidden(gone)
        return self.valued(self.image.data.masked_fill(gone, values.nothing(self.row)))


def struck(batch: Batch, faults: Faults, key: Sequence[int], metres: Mapping[str, float | None]) -> Batch:
    """See `landweave.transforms.faults.spoil`."""
    there = {name: image.bands for name, image in batch.images.items()}
    faults.require(there)
    images = {name: physical(image) for name, image in batch.images.items()}
    spared = Draws.of(key, "complete")
    open_ = [b for b, place in enumerate(batch.names) if spared.chance(place) >= faults.complete]
    count: Counter[str] = Counter()
    for fault in faults.faults:
        draws = Draws.of(key, f"{fault.kind} {count[fault.kind]}")
        count[fault.kind] += 1
        hit = [b for b in open_ if draws.chance(batch.names[b], "chance") < fault.chance]
        if isinstance(fault, Absent):
            images = _without(images, fault, hit, batch.names, draws)
            continue
        for name, bands in fault.chosen(there).items():
            finest = min(sensor(name).band(band).metres for band in there[name])
            cube = Cube(name, images[name], batch.names, metres.get(name) or finest)
            images[name] = _strike(cube, fault, dict.fromkeys(hit, bands), draws)
    return replace(batch, images=images)


def _strike(cube: Cube, fault: Fault, hits: Hits, draws: Draws) -> Image:
    match fault:
        case Missing():
            return _missing(cube, fault, hits, draws)
        case Holes():
            return _holes(cube, fault, hits, draws)
        case Stripes():
            return _stripes(cube, fault, hits, draws)
        case DeadColumns():

            def columns(place: str, band: str) -> NDArray[np.bool_]:
                rng = draws.rng(place, f"{cube.name} {band}")
                return patterns.dead_columns(rng, cube.size[1:], fault, cube.block(band))

            return cube.dead(cube.where(hits, columns), known=fault.known)
        case Saturation():
            data, cut = values.saturated(cube.image, cube.rows(hits), fault)
            there = cube.valued(data)
            return replace(cube, image=there).hidden(cut) if fault.known else there
        case Noise():
            return cube.valued(values.noisy(cube, hits, fault, draws))
        case Gain():
            return cube.valued(values.calibrated(cube, hits, fault, draws))
        case Swap():
            return cube.valued(values.swapped(cube, hits, draws))
        case Shift():
            return cube.valued(values.shifted(cube, hits, fault, draws))
        case Shuffle():
            return _shuffled(cube, hits, draws)
        case Absent():
            raise AssertionError("a sensor is made absent beside the others")


def _missing(cube: Cube, fault: Missing, hits: Hits, draws: Draws) -> Image:
    ratio = fault.ratio.at(draws.epoch)
    hits = {b: _subset(fault, cube, b, bands, draws) for b, bands in hits.items()}
    if ratio >= 1:
        gone = cube.rows(hits)
        if fault.known:
            return _blank(replace(cube.image, bands_seen=cube.image.bands_seen & ~gone))
        return cube.dead(gone[:, None, :, None, None].expand_as(cube.image.data), known=False)
    native = fault.at == "native"
    coarsest = {cube.places[b]: max(map(cube.block, bands), default=1) for b, bands in hits.items()}

    def pixels(place: str, band: str) -> NDArray[np.bool_]:
        rng = draws.rng(place, f"{cube.name} {'' if fault.shared else band}")
        block = (coarsest[place] if fault.shared else cube.block(band)) if native else 1
        return patterns.pixels(rng, cube.size, ratio=ratio, block=block)

    return cube.dead(cube.where(hits, pixels), known=fault.known)


def _subset(fault: Missing, cube: Cube, place: int, bands: Sequence[str], draws: Draws) -> Sequence[str]:
    """The bands that are missing at a place: how many is drawn before which."""
    if fault.size is None:
        return bands
    rng, most = draws.rng(cube.places[place], f"{cube.name} size"), fault.most(len(bands))
    if isinstance(fault.size, Between):
        low, high = min(fault.size.low, most), min(fault.size.high, most)
        count = int(rng.integers(low, high + 1))
    else:
        count = fault.size.at(draws.epoch, most)
        if not fault.size.drawn:
            return bands[:count]
    return [bands[i] for i in rng.permutation(len(bands))[:count]]


def _holes(cube: Cube, fault: Holes, hits: Hits, draws: Draws) -> Image:
    def clouds(place: str) -> NDArray[np.bool_]:
        rng = draws.rng(place, cube.name)
        T, H, W = cube.size
        found = np.zeros((T, H, W), bool)
        for date in found:  # one after the other: dates that only pad a series come last and change nothing before
            date[:] = patterns.clouds(rng, (H, W), cover=float(rng.uniform(*fault.cover)), scale=fault.scale)
        return found

    by_place = {cube.places[b]: clouds(cube.places[b]) for b in hits}
    return cube.hidden(cube.where(hits, lambda place, _: by_place[place]))


def _stripes(cube: Cube, fault: Stripes, hits: Hits, draws: Draws) -> Image:
    _, H, W = cube.size
    drawn = {
        (b, band): patterns.stripes(draws.rng(cube.places[b], f"{cube.name} {band}"), (H, W), fault, cube.block(band))
        for b, bands in hits.items()
        for band in bands
    }
    if fault.gap or fault.known:
        at = {(cube.places[b], band): mask for (b, band), (mask, _) in drawn.items()}
        return cube.dead(cube.where(hits, lambda place, band: at[place, band]), known=fault.known)
    factor = np.ones((len(cube.places), 1, len(cube.image.bands), H, W), np.float32)
    for (b, band), (_, one) in drawn.items():
        factor[b, 0, cube.image.bands.index(band)] = one
    return cube.valued(values.times(cube.row, cube.image.data, torch.from_numpy(factor).to(cube.image.data.device)))


def _shuffled(cube: Cube, hits: Hits, draws: Draws) -> Image:
    days = cube.image.days.clone()
    for b in hits:
        seen = cube.image.dates_seen[b].nonzero().flatten().tolist()
        order = draws.rng(cube.places[b], cube.name).permutation(len(seen))
        days[b, seen] = cube.image.days[b, [seen[i] for i in order]]
    return replace(cube.image, days=days)


def _without(
    images: Mapping[str, Image], fault: Absent, hit: Sequence[int], places: Sequence[str], draws: Draws
) -> dict[str, Image]:
    """Hide one sensor at each struck place, unless it is the last that is seen there."""
    seen = {name: image.sensor_seen.cpu() for name, image in images.items()}
    gone = {name: torch.zeros_like(mask) for name, mask in seen.items()}
    for b in hit:
        names = [name for name in sorted(images) if bool(seen[name][b])]
        may = [name for name in names if fault.sensor in ("", name)]
        if len(names) > 1 and may:
            gone[may[int(draws.rng(places[b], "which").integers(len(may)))]][b] = True
    return {name: _hide(image, ~gone[name].to(image.data.device)) for name, image in images.items()}


def _hide(image: Image, keep: Bool[Tensor, " B"]) -> Image:
    return _blank(
        replace(
            image,
            dates_seen=image.dates_seen & keep[:, None],
            bands_seen=image.bands_seen & keep[:, None],
            pixels_seen=image.pixels_seen & keep[:, None, None, None, None],
        )
    )


def _blank(image: Image) -> Image:
    return replace(image, data=blanked(image, image.data))
