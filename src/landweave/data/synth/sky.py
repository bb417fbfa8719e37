"""Between the ground and the sensor: sunlight on slopes, snow, clouds, air and the sensor's own noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landweave.data.synth.fields import F32, F64, U32, noise, normal, rehash
from landweave.data.synth.params import Params
from landweave.data.synth.spectra import BANDS, MICROMETRES, SPECTRA

# Clear-sky path reflectance and two-way transmittance of the 13 bands at the top of the atmosphere, set by hand
# to the order of a clear continental sky. 6S (Vermote et al. 1997, IEEE TGRS 35) would compute them; it was not run.
PATH = np.array([105, 80, 48, 27, 22, 18, 16, 13, 12, 6, 1.2, 3, 1.5], np.float32) / 1000
THROUGH = np.array([0.78, 0.82, 0.86, 0.91, 0.90, 0.92, 0.94, 0.95, 0.96, 0.45, 0.012, 0.94, 0.90], np.float32)
CLOUD = np.array([650, 640, 630, 640, 645, 650, 655, 655, 655, 600, 350, 450, 340], np.float32) / 1000
LEAN = ((np.array(MICROMETRES) - 0.85) / 0.75).clip(-1, 1.4).astype(np.float32)  # what a tilt multiplies
"""What a spectral tilt multiplies, a band."""


def sunlight(east: F32, north: F32, day: int) -> F32:
    """Sunlight on a slope (rise a metre to the east and to the north) against level ground, softened.

    Minnaert's correction with k = 0.5 (Teillet et al. 1982, Canadian Journal of Remote Sensing 8), for the sun of
    Sentinel-2's overpass at 48 degrees north.
    """
    height = np.radians(40 - 22 * np.cos(2 * np.pi * (day + 10) / 365))
    azimuth = np.radians(158.0)
    flat = np.sin(height)
    facing = flat - np.cos(height) * (np.sin(azimuth) * east + np.cos(azimuth) * north)
    facing = facing / np.sqrt(1 + east * east + north * north)
    return np.asarray(np.sqrt(np.clip(facing / flat, 0.15, 2.5)), np.float32)


def snowed(values: F32, at: Sequence[int], day: int, elevation: F32, p: Params, *, warm: float) -> F32:
    """Cover land above the snow line of the day, which summer lifts; dark water stays open."""
    winter, lift = p.season_snow
    line = winter + 0.7 * lift * (1 - np.cos(2 * np.pi * (day - 30) / 365)) + 500 * warm
    lying = np.clip((elevation - np.float32(line)) / 120, 0, 1)
    if not lying.any():
        return values
    white = 0.8 * np.array(SPECTRA["snow"], np.float32)[at] / 1000
    share = 0.85 * lying * (values.mean(0) > 0.04)
    return np.asarray(values * (1 - share) + white[:, None, None] * share, np.float32)


def clouds(x: F64, y: F64, keys: Sequence[int], p: Params, *, cover: float) -> F32:
    """Opacity of clouds, 0 ... 1, that cover about a share `cover` of the sky: H W."""
    from scipy.stats import norm

    limit = np.float32(norm.isf(min(max(cover, 1e-6), 1 - 1e-6)))
    big, small = p.cloud_wave
    lump = np.float32(0.95) * noise(x, y, big, keys[0]) + np.float32(0.31) * noise(x, y, small, keys[1])
    return np.asarray((lump - limit) * np.float32(2.5) + np.float32(0.5), np.float32).clip(0, 1)


def clouded(values: F32, at: Sequence[int], cloud: F32, shadow: F32) -> F32:
    """Clouds over the land, and their shadows on it."""
    values = values * (1 - np.float32(0.55) * shadow * (1 - cloud))
    return np.asarray(values * (1 - cloud) + CLOUD[at][:, None, None] * cloud, np.float32)


def through_air(values: F32, at: Sequence[int], weather: U32, p: Params, *, top: bool) -> F32:
    """Surface reflectance as seen at the top of the atmosphere, or with what a correction for it leaves."""
    if top:
        path = PATH[at] * np.exp(np.float32(0.25) * normal(weather)[0])
        return np.asarray(path[:, None, None] + THROUGH[at][:, None, None] * values, np.float32)
    left = np.float32(p.haze) * normal(rehash(weather, 1))[0] * (0.49 / np.array(MICROMETRES)[at]) ** 2
    return np.asarray(values + left.astype(np.float32)[:, None, None], np.float32)


def grained(values: F32, at: Sequence[int], grain: U32, p: Params) -> F32:
    """Add the sensor's noise, an eighth of it in the dark cirrus band; never below 0.0001."""
    out = np.empty_like(values)
    for i, b in enumerate(at):
        spread = np.float32(p.noise * (0.12 if BANDS[b] == "B10" else 1))
        out[i] = values[i] + spread * normal(rehash(grain, b + 1))
    return np.maximum(out, np.float32(0.0001))
