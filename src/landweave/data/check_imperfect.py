"""Images with clouds, dead or saturated pixels, stripes, colour casts: what `landweave check --imperfect` lists.

Simple measures on values as they are, without a model. Each is an indication to look at the image, not a mask:

    cloud      blue above 0.25 reflectance, white (blue and red within 30 % of their mean), and not snow (NDSI below
               0.4); or cirrus above 0.012, where there is such a band (Level-1C)
    dead       a band of which most pixels are one number, or 0 where other bands are not
    saturated  a band of which pixels in number are its greatest value, five times as many as are any value in the mean
    stripes    rows or columns of a band that jump against their neighbours as no other band's do there
    cast       a band's brightness, as a share of the image's, far from what it is in the other images (robust z)

Clouds are told for reflectance only, all others for any optical sensor; radar and heights are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.data.dataset import Dataset, Split
from landweave.sensors import Sensor, sensor

if TYPE_CHECKING:
    from landweave.sample import Image

Values = NDArray[np.float64]

BLUE, WHITE, NDSI, CIRRUS = 0.25, 0.3, 0.4, 0.012
"""Cloud: blue reflectance; how far blue and red may lie apart; snow index; cirrus reflectance (Sentinel-2 Level-1C)."""
LEAST = {"cloud": 0.05, "dead": 0.02, "saturated": 0.01, "stripes": 4.0, "cast": 6.0}
"""From which amount on an image is listed: shares of pixels, times the other bands' jump, robust z."""
ONE = 0.5
"""Share of a band's pixels that are one number, from which the band is dead in it."""
PLATEAU = 5.0
"""Pixels at the greatest value, as times the mean over all values that occur: dark water has few values."""
ENOUGH = 8
"""Images of a sensor from which on colour casts are looked for."""
PIXELS = 64
"""Seen pixels of an image below which nothing is said."""


@dataclass(frozen=True)
class Imperfect:
    """One thing that is wrong with one image. `amount` is in the measure of `LEAST`."""

    place: str
    split: str
    stream: str
    date: int
    band: str
    what: str
    amount: float

    def __str__(self) -> str:
        when = f", date {self.date + 1}" if self.date else ""
        band = f" {self.band}" if self.band else ""
        return f"{self.place}: {self.stream}{band}{when}: {self._told()}"

    def _told(self) -> str:
        if self.what == "cloud":
            return f"cloud, {self.amount:.0%} of the pixels"
        if self.what == "stripes":
            return f"stripes, jumps {self.amount:.1f} times those of the other bands"
        if self.what == "cast":
            return f"colour cast, {self.amount:+.1f} robust deviations from the other images"
        kind = {"dead": "dead or cut off", "saturated": "saturated"}[self.what]
        return f"{kind}, {self.amount:.0%} of the pixels"


@dataclass
class ImperfectReport:
    """All that was found, worst of its kind first."""

    where: str
    split: str
    images: int
    found: list[Imperfect]
    streams: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        rows = [asdict(f) for f in self.found]
        return {"where": self.where, "split": self.split, "images": self.images, "imperfect": rows}

    def lines(self, most: int = 12) -> list[str]:
        """For a terminal: of each kind at most `most`."""
        if not self.images:
            return [f"{self.where}: no optical image in split {self.split}; radar and heights are not looked at"]
        spoilt = len({(f.place, f.stream, f.date) for f in self.found})
        out = [f"{self.where}: {self.images} images of split {self.split} looked at, {spoilt} of them imperfect"]
        for what in LEAST:
            rows = [f for f in self.found if f.what == what]
            out += [f"  {row}" for row in rows[:most]]
            if len(rows) > most:
                out.append(f"  ... and {len(rows) - most} more with {what} (--json lists all)")
        return [*out, "simple measures on the values: look at an image before you leave it out"]


@dataclass(frozen=True)
class _Looked:
    """One date of one image: what it shows by itself, and its bands' medians and greatest values."""

    place: str
    split: str
    stream: str
    date: int
    bands: tuple[str, ...]
    own: tuple[tuple[str, str, float], ...]
    medians: Values


def imperfect(
    dataset: Dataset, *, split: Split = "train", progress: Callable[[int, int], None] | None = None
) -> ImperfectReport:
    """Look at all optical images of a split.

    Args:
        dataset: any reader.
        split: the places to look at.
        progress: called with places done and in all.

    Raises:
        DataError: the split is empty, or a place cannot be read (`check` lists all of these).
    """
    looked: list[_Looked] = []
    places = dataset.of_split(split)
    for done, index in enumerate(places, 1):
        for stream, image in dataset.read(index).images.items():
            row = sensor(stream)
            if not row.radar and row.unit in ("reflectance", "digital number"):
                looked += _dates(dataset.places[index].name, split, stream, row, image)
        if progress:
            progress(done, len(places))
    found = [f for one in looked for f in _own(one)] + list(_casts(looked))
    found = sorted((f for f in found if abs(f.amount) >= LEAST[f.what]), key=lambda f: -abs(f.amount))
    streams = tuple(dict.fromkeys(one.stream for one in looked))
    return ImperfectReport(dataset.where, split, len(looked), found, streams)


def _dates(place: str, split: str, stream: str, row: Sensor, image: Image) -> Iterator[_Looked]:
    values, seen = image.physical().double().numpy(), image.seen.numpy()
    for t in range(len(values)):
        v, s = values[t], seen[t]
        if s.any(0).sum() < PIXELS:
            continue
        own = [found for look in (_cloud, _dead, _saturated, _stripes) for found in look(row, image.bands, v, s)]
        medians = np.array([np.median(b[k]) if k.any() else np.nan for b, k in zip(v, s, strict=True)])
        yield _Looked(place, split, stream, t, image.bands, tuple(own), medians)


def _own(one: _Looked) -> list[Imperfect]:
    return [Imperfect(one.place, one.split, one.stream, one.date, b, what, n) for b, what, n in one.own]


def _cloud(row: Sensor, bands: Sequence[str], v: Values, s: NDArray[np.bool_]) -> Iterator[tuple[str, str, float]]:
    """Share of the pixels that look like cloud."""
    at = {row.band(b).common: c for c, b in enumerate(bands)}
    whole = s.all(0)
    if row.unit != "reflectance" or not whole.any():
        return
    cloudy = np.zeros(whole.shape, bool)
    if {"blue", "red", "green", "swir16"} <= at.keys():
        blue, red, green, swir = (v[at[k]] for k in ("blue", "red", "green", "swir16"))
        apart = np.abs(blue - red) / np.maximum((blue + red) / 2, 1e-6)
        snow = (green - swir) / np.maximum(np.abs(green + swir), 1e-6)
        cloudy |= (blue > BLUE) & (apart < WHITE) & (snow < NDSI)
    if "cirrus" in at:
        cloudy |= v[at["cirrus"]] > CIRRUS
    yield "", "cloud", float(cloudy[whole].mean())


def _dead(_: Sensor, bands: Sequence[str], v: Values, s: NDArray[np.bool_]) -> Iterator[tuple[str, str, float]]:
    """Share of a band's pixels that are one number, if they are most; else of those that are 0 alone."""
    zero = (v == 0) & s
    for c, band in enumerate(bands):
        known = v[c][s[c]]
        if not len(known):
            continue
        equal = float((known == np.median(known)).mean())
        # of several bands that are 0 together, as over clear water, none is dead
        alone = zero[c] & (zero.sum(0) == 1) if len(bands) > 2 else zero[c]
        yield band, "dead", equal if equal >= ONE else float(alone.sum() / s[c].sum())


def _saturated(_: Sensor, bands: Sequence[str], v: Values, s: NDArray[np.bool_]) -> Iterator[tuple[str, str, float]]:
    """Share of a band's pixels at its greatest value, where they are a plateau."""
    for c, band in enumerate(bands):
        count = np.unique(v[c][s[c]], return_counts=True)[1]
        if len(count) > 1 and count[-1] > PLATEAU * count.mean():
            yield band, "saturated", float(count[-1] / count.sum())


def _stripes(_: Sensor, bands: Sequence[str], v: Values, s: NDArray[np.bool_]) -> Iterator[tuple[str, str, float]]:
    """The strong jumps of row or column means of each band, as times the median of those of the other bands.

    A jump is the distance of a row's mean from the middle of its neighbours', as a share of the band's deviation; the
    nineteenth twentieth of them counts. Bands of coarse native pixels jump less, not more.
    """
    if len(bands) < 3 or min(v.shape[1:]) < 16 or not s.all():
        return
    deviation = np.maximum(v.std((1, 2)), 1e-6)
    for axis in (1, 2):
        means = v.mean(axis)
        jumps = np.abs(means[:, 1:-1] - (means[:, :-2] + means[:, 2:]) / 2) / deviation[:, None]
        strong = np.quantile(jumps, 0.95, 1)
        for c, band in enumerate(bands):
            others = float(np.median(np.delete(strong, c)))
            yield band, "stripes", float(strong[c] / max(others, 0.02))


def _casts(looked: Sequence[_Looked]) -> Iterator[Imperfect]:
    """Of each band, the log of its median over the image's mean of those, by robust z over the images."""
    for stream, rows in _by_stream(looked).items():
        if len(rows) < ENOUGH or len(rows[0].bands) < 3:
            continue
        logs = np.log(np.maximum(np.stack([r.medians for r in rows]), 1e-3))
        shares = logs - np.nanmean(logs, 1, keepdims=True)
        middle = np.nanmedian(shares, 0)
        width = np.maximum(1.4826 * np.nanmedian(np.abs(shares - middle), 0), 0.05)
        z = np.nan_to_num((shares - middle) / width)
        for n, r in enumerate(rows):
            c = int(np.abs(z[n]).argmax())  # one band that is off moves all shares: the worst is told
            yield Imperfect(r.place, r.split, stream, r.date, r.bands[c], "cast", float(z[n, c]))


def _by_stream(looked: Sequence[_Looked]) -> dict[str, list[_Looked]]:
    found: dict[str, list[_Looked]] = {}
    for one in looked:
        found.setdefault(one.stream, []).append(one)
    return found
