"""Do the numbers of an image suit its sensor? Units mixed up, scales forgotten, Sentinel-2's offset of baseline 04.00.

Everything is judged on shares of pixels, so that a few saturated or dead ones accuse nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from landweave.errors import DataError
from landweave.sensors import Sensor, sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from landweave.data.raster import Raster
    from landweave.sample import Image

_ENOUGH = 16
"""Pixels below which nothing is said."""

_MOST = 1 << 16
"""Pixels a band that are looked at in one image; a larger one is thinned evenly."""


@dataclass(frozen=True)
class Finding:
    """What is odd, and its mend. `wrong`: training or mapping with it is senseless."""

    what: str
    fix: str
    wrong: bool

    def __str__(self) -> str:
        return f"{self.what}\n  fix: {self.fix}"


@dataclass(frozen=True)
class Values:
    """Numbers of one date: n x C x pixels in the sensor's unit, which of them are seen, and the raw ones."""

    bands: tuple[str, ...]
    unit: NDArray[np.float32]
    seen: NDArray[np.bool_]
    raw_zero: NDArray[np.bool_]
    floating: bool

    @property
    def enough(self) -> bool:
        """Whether enough is seen to say anything."""
        return int(self.seen.sum()) >= _ENOUGH

    @property
    def empty(self) -> float:
        """Share of the pixels that are seen and zero in every band."""
        return float((self.raw_zero & self.seen).all(0).mean())

    def share(self, test: NDArray[np.bool_]) -> float:
        """Share of the seen values for which `test` holds."""
        return float((test & self.seen).sum() / max(1, self.seen.sum()))


def values_of(image: Image) -> list[Values]:
    """The values of an image (or of a batch of them), one entry a date of each place."""
    *_, H, W = image.data.shape
    step = max(1, int(np.ceil((H * W / _MOST) ** 0.5)))
    data = image.data[..., ::step, ::step]
    seen = image.seen[..., ::step, ::step].numpy()
    scale, offset = image.scale[..., None, None].numpy(), image.offset[..., None, None].numpy()
    raw = data.numpy()
    unit = raw.astype(np.float32) * scale + offset
    C = len(image.bands)
    floating = bool(np.issubdtype(raw.dtype, np.floating))
    parts = zip(*(a.reshape(-1, C, a.shape[-2] * a.shape[-1]) for a in (unit, seen, raw == 0)), strict=True)
    return [Values(image.bands, u, s, z, floating) for u, s, z in parts]


def findings(stream: str, dates: Sequence[Values]) -> list[Finding]:
    """What is odd about the dates of an image of a stream, each once."""
    row = sensor(stream)
    found = [f for values in dates if values.enough for f in _of_unit(row, values)]
    unique = {f.what.partition(":")[0]: f for f in reversed(found)}
    return list(reversed(unique.values()))


def _of_unit(row: Sensor, v: Values) -> list[Finding]:
    low, high = row.plausible
    outside = v.share((v.unit < low) | (v.unit > high))
    out = []
    zero = v.share(v.raw_zero)
    if row.unit == "dB" and (empty := v.empty) > 0.005:
        out.append(_zeros(empty))
    if row.unit == "dB" and zero < 0.99 and (positive := v.share((v.unit >= 0) & ~v.raw_zero) / (1 - zero)) > 0.99:
        fix = f"name the stream {row.name}-linear, or convert: 10 * log10(x)"
        return [Finding(f"not dB: {positive:.0%} of the values are 0 or more, as in linear power", fix, True)]
    if row.unit == "linear power" and (negative := v.share(v.unit < 0)) > 0.01:
        fix = f"name the stream {row.name.removesuffix('-linear')}, or convert: 10 ** (x / 10)"
        return [Finding(f"not linear power: {negative:.0%} of the values are below 0, as in dB", fix, True)]
    if row.unit == "reflectance":
        out += _of_reflectance(row, v)
    if row.unit == "digital number" and v.floating and 0 < v.unit[v.seen].max() <= 1:
        out.append(
            Finding(f"all within 0 to 1: {row.name} is read as {low:g} to {high:g}", "set the scale to 255", False)
        )
    if row.unit == "digital number" and (mask := _mask(v)):
        what = f"{mask} looks like an alpha channel: it is 0 or 255 only, the other bands are not"
        keep = " ".join(f"-b {i}" for i, b in enumerate(v.bands, 1) if b != mask)
        out.append(Finding(what, f"if so, cut it off: gdal_translate {keep} IN OUT", False))
    if outside > 0 and not any(f.wrong for f in out):
        lowest, highest = v.unit[v.seen].min(), v.unit[v.seen].max()
        what = f"outside {low:g} to {high:g} {row.unit}: {outside:.2%} of the values ({lowest:g} to {highest:g})"
        fix = "declare the nodata value of the file, or correct scale and offset"
        out.append(Finding(what, fix, outside > 0.01))
    return out


def _mask(v: Values) -> str:
    """The last band, if it holds 0 and 255 alone, beside bands of more values; else an empty text."""
    *others, last = [v.unit[i][v.seen[i]] for i in range(len(v.bands))]
    plain = bool(last.size) and bool(((last == 0) | (last == 255)).all()) and bool((last == 255).any())
    return v.bands[-1] if plain and any(((o > 0) & (o < 255)).any() for o in others) else ""


def _of_reflectance(row: Sensor, v: Values) -> list[Finding]:
    out = []
    if v.share(v.unit > 5e-4) < 0.01 and v.share(v.unit > 0) > 0.5:
        most = float(v.unit[v.seen].max())
        fix = f"set the scale to 1 (column {row.name}.scale)"
        out.append(Finding(f"scaled twice: all reflectances are below {max(most, 5e-4):.4f}", fix, True))
    if (above := v.share(v.unit > row.plausible[1])) > 0.01:
        fix = f"set the scale, usually {row.scale:g} (column {row.name}.scale)"
        out.append(Finding(f"not scaled: {above:.0%} of the reflectances are above {row.plausible[1]:g}", fix, True))
    dark = [b for b in _dark_bands(row) if b in v.bands]
    for at in (v.bands.index(b) for b in dark):
        seen = v.seen[at]
        below = float((v.unit[at][seen] < -0.02).mean()) if seen.any() else 0.0
        if below > 0.1:
            what = f"below zero in bulk: {below:.0%} of {v.bands[at]} is under -0.02 reflectance"
            fix = f"take out the offset of {row.name}: it is applied twice, or to an image that carries none"
            out.append(Finding(what, fix, False))
            break
    if (empty := v.empty) > 0.005 and len(v.bands) > 2:
        out.append(_zeros(empty))
    return out


def _zeros(share: float) -> Finding:
    what = f"zero in every band: {share:.1%} of the pixels, which count as data"
    return Finding(what, "declare nodata 0 in the file (gdal_edit.py -a_nodata 0)", False)


def refuse_implausible(stream: str, image: Image, where: str) -> None:
    """Refuse an image (or a batch) whose numbers are clearly in another unit than its sensor's.

    Raises:
        DataError: naming `where` and the fix.
    """
    _refuse(stream, values_of(image), where)


def refuse_numbers(
    stream: str,
    bands: Sequence[str],
    data: NDArray[Any],
    seen: NDArray[np.bool_],
    *,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    where: str,
) -> list[str]:
    """As `refuse_implausible`, of raw numbers C H W (`seen` C or 1, H W; scale and offset C), without torch.

    Returns:
        What is odd and yet no reason to refuse, a line each; a suspected offset of Sentinel-2 among it.

    Raises:
        DataError: naming `where` and the fix.
    """
    C, H, W = data.shape
    step = max(1, int(np.ceil((H * W / _MOST) ** 0.5)))
    raw = data[:, ::step, ::step].reshape(C, -1)
    unit = raw.astype(np.float32) * scale[:, None] + offset[:, None]
    known = np.broadcast_to(seen, data.shape)[:, ::step, ::step].reshape(C, -1)
    floating = bool(np.issubdtype(raw.dtype, np.floating))
    values = Values(tuple(bands), unit, known, raw == 0, floating)
    odd = [f"{f.what} ({f.fix})" for f in _refuse(stream, [values], where)]
    if doubt := _offset_of(stream, [values], where):
        odd.append(f"{doubt.what} ({doubt.fix})")
    return odd


def _refuse(stream: str, dates: Sequence[Values], where: str) -> list[Finding]:
    """What is odd, unless it is plainly wrong."""
    found = findings(stream, dates)
    for finding in found:
        if finding.wrong:
            raise DataError(f"{stream}: {finding.what}", where=where, fix=finding.fix)
    return found


def _offset_of(stream: str, dates: Sequence[Values], source: str) -> Finding | None:
    """`offset_suspicion` of each date alone; the first."""
    for values in dates:
        dark = Darkest()
        dark.add(stream, values)
        if doubt := offset_suspicion(stream, dark, source):
            return doubt
    return None


def check_image(stream: str, image: Image | Raster, *, bands: Sequence[str] = (), source: str = "") -> list[str]:
    """Everything odd about one image, a line a finding (with its fix), the suspected +1000 offset included.

    Args:
        stream: what it is said to be.
        image: an image, or a raster as read, with the sensor's usual scale and offset.
        bands: of a raster; by default the sensor's for its count.
        source: file or product name, whose processing baseline (`_N0400_`) counts as a hint.
    """
    from landweave.data.raster import Raster
    from landweave.sample import Image

    if isinstance(image, Raster):
        names = bands or sensor(stream).of_count(len(image.data), where=image.header.path)
        source = source or image.header.path
        image = Image.of(stream, names, image.data, grid=image.grid, pixels_seen=image.valid)
    dates = values_of(image)
    found = findings(stream, dates)
    if doubt := _offset_of(stream, dates, source):
        found.append(doubt)
    return [str(f) for f in found]


def _dark_bands(row: Sensor) -> tuple[str, ...]:
    """Bands in which almost every scene has something dark: the visible and short-wave infrared ones."""
    return tuple(b.name for b in row.bands if b.common in ("blue", "green", "red", "swir16", "swir22", "cirrus"))


_BINS = np.arange(-0.3, 0.5, 0.001)


@dataclass
class Darkest:
    """Histograms of reflectance of the dark bands, pooled over the windows of one image."""

    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def add(self, stream: str, values: Values) -> None:
        """Pool one date of one stream, without pixels that are zero in every band: those are no ground."""
        several = len(values.bands) > 1
        there = ~values.raw_zero.all(0) if several else np.ones(values.raw_zero.shape[1], np.bool_)
        for band in _dark_bands(sensor(stream)):
            if band in values.bands:
                at = values.bands.index(band)
                seen = values.unit[at][values.seen[at] & there]
                bins = np.clip(np.floor((seen - _BINS[0]) * 1000 + 1e-3), 0, len(_BINS) - 1).astype(np.int64)
                count = np.bincount(bins, minlength=len(_BINS))
                self.counts[band] = self.counts[band] + count if band in self.counts else count

    def low(self, band: str) -> float:
        """The reflectance below which the darkest hundredth lies."""
        total = np.cumsum(self.counts[band])
        return float(_BINS[int(np.searchsorted(total, 0.01 * total[-1]))])


def offset_suspicion(stream: str, dark: Darkest, source: str = "") -> Finding | None:
    """Whether an image seems to carry the +1000 of Sentinel-2 processing baseline 04.00, unsubtracted.

    Calibrated on genuine tiles that carry it and that do not: the darkest hundredth of the visible, cirrus and
    short-wave infrared bands is 0.00 to 0.04 reflectance over most land, and 0.10 to 0.115 with the offset. Snow
    passes because it is dark in the short-wave infrared. In Level-1C the cirrus band is the dark one; the visible
    bands hold air light of about 0.1 themselves, so without cirrus only the short-wave infrared counts. Deserts
    between 0.115 and 0.15 cannot be told, except by a product name with baseline 04.00 or later.
    """
    row = sensor(stream)
    common = {b.common: b.name for b in row.bands}
    if row.unit != "reflectance" or "swir16" not in common:
        return None
    there = [b for b in _dark_bands(row) if b in dark.counts and dark.counts[b].sum() >= _ENOUGH]
    if "cirrus" in common and common["cirrus"] not in there:
        there = [b for b in there if b in (common["swir16"], common["swir22"])]
    if not there:
        return None
    band = min(there, key=dark.low)
    low = dark.low(band)
    baseline = re.search(r"_N(\d{4})_", source)
    named = baseline is not None and 400 <= int(baseline[1]) < 9000 and low >= 0.09
    if not named and not 0.095 <= low <= 0.115:
        return None
    hint = f", and the name says baseline {baseline[1]}" if named and baseline else ""
    what = f"suspected +1000 offset: the darkest 1 % of {band} is {low:.3f} reflectance, not near 0{hint}"
    fix = f"if so, subtract it: --offset {row.name}=-1000 (tile, map), data.offset, or column {row.name}.offset"
    return Finding(f"{what} (processing baseline 04.00)", fix, False)
