"""Images of places as people look at them: true colour, radar composite, class maps. Arrays in, PNG data URIs out."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landweave.legends import UNKNOWN
from landweave.sample import Image
from landweave.sensors import sensor

Pixels = NDArray[np.uint8]
RADAR_DB = ((-22.0, -2.0), (-28.0, -8.0), (3.0, 15.0))
"""What the composite shows from black to full: VV, VH and VV - VH, in dB."""


def data_uri(pixels: Pixels) -> str:
    """Red, green, blue, alpha (H W 4) as a PNG that stands inside a page."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(pixels, "RGBA").save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def class_picture(values: NDArray[np.uint8], colors: Sequence[str]) -> Pixels:
    """A map of class indices H W in the legend's colours; transparent where unknown."""
    table = np.zeros((256, 4), np.uint8)
    for i, color in enumerate(colors):
        text = color.lstrip("#")
        table[i] = (int(text[:2], 16), int(text[2:4], 16), int(text[4:6], 16), 255)
    table[UNKNOWN] = 0
    found: Pixels = table[values]
    return found


def look(stream: str, image: Image) -> tuple[str, Pixels] | None:
    """How one image of one place is best looked at: a caption and its pixels; None where nothing is seen.

    Of a series the date of which most is seen. True colour where there are red, green and blue bands, VV, VH and
    their ratio for radar, else the first band in grey.
    """
    row = sensor(stream)
    seen = image.seen
    date = int(seen.flatten(1).float().mean(1).argmax())
    if not bool(seen[date].any()):
        return None
    values, mask = image.physical()[date].numpy(), seen[date].numpy()
    if row.radar and {"VV", "VH"} <= set(image.bands):
        db = {b: _decibel(values[image.bands.index(b)], row.unit) for b in ("VV", "VH")}
        at = [image.bands.index(b) for b in ("VV", "VH")]
        layers = [_stretch(v, *r) for v, r in zip((db["VV"], db["VH"], db["VV"] - db["VH"]), RADAR_DB, strict=True)]
        return f"{row.name}: VV, VH, VV − VH", _rgba(layers, np.logical_and.reduce(mask[at]))
    common = {row.band(b).common: i for i, b in enumerate(image.bands)}
    if {"red", "green", "blue"} <= set(common):
        at = [common[c] for c in ("red", "green", "blue")]
        low, high = _range(values[at], mask[at])
        return f"{row.name}: true colour", _rgba(
            [_stretch(values[i], low, high) for i in at], np.logical_and.reduce(mask[at])
        )
    low, high = _range(values[:1], mask[:1])
    grey = _stretch(values[0], low, high)
    return f"{row.name}: {image.bands[0]}", _rgba([grey] * 3, mask[0])


def _decibel(values: NDArray[np.float32], unit: str) -> NDArray[np.float32]:
    return values if unit == "dB" else (10 * np.log10(np.maximum(values, 1e-6))).astype(np.float32)


def _range(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The 2nd and 98th percentile over all three colours together, so that colours keep their balance."""
    found = values[mask]
    if not found.size:
        return 0.0, 1.0
    low, high = np.percentile(found, [2, 98])
    return float(low), float(max(high, low + 1e-6))


def _stretch(values: NDArray[np.float32], low: float, high: float) -> Pixels:
    found: Pixels = np.rint(255 * ((values - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    return found


def _rgba(layers: Sequence[Pixels], mask: NDArray[np.bool_]) -> Pixels:
    return np.stack([*layers, np.where(mask, 255, 0).astype(np.uint8)], axis=-1)
