"""Noise as a pure function of position: the same metre gives the same number in whatever window it is asked for.

Nothing is stored and no generator has a state. A value is the hash of a lattice index and of a key; smooth fields are
cubic B-splines over such values. All in float32, but lattice indices are taken in float64, so that a world may be
tens of thousands of kilometres wide.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U32 = NDArray[np.uint32]
Ints = NDArray[np.int64]

_SPREAD = 0.479365  # mean over a cell of the sum of squared cubic B-spline weights, by which smoothing cuts variance


@lru_cache(maxsize=4096)
def key_of(*words: object) -> int:
    """A 32-bit key of a seed and of words, the same on every machine and in every process."""
    return zlib.crc32("/".join(map(str, words)).encode())


def mix(h: U32) -> U32:
    """Scramble 32-bit integers in place (the finaliser `lowbias32` of Wellons' hash prospector)."""
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return h


def lattice_hash(i: NDArray[Any], j: NDArray[Any], key: int | U32) -> U32:
    """Hash integer indices (broadcast against each other) under a key, or under one key a point."""
    a = i.astype(np.uint32) * np.uint32(0x9E3779B1)
    b = j.astype(np.uint32) * np.uint32(0x85EBCA77)
    k = np.uint32(key) if isinstance(key, int) else key
    return mix(mix(a + k) + b)


def rehash(h: U32, key: int) -> U32:
    """Fresh random bits from old ones: the n-th draw of the same point."""
    return mix(h + np.uint32(key))


def uniform(h: U32) -> F32:
    """Hash bits as numbers in (0, 1)."""
    return ((h >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)


@lru_cache(maxsize=16)
def _quantiles(shape: float) -> F32:
    """4,096 mid-quantiles of the normal distribution (shape 0) or of a gamma distribution of mean 1."""
    from scipy import stats

    p = (np.arange(4096) + 0.5) / 4096
    q = stats.norm.ppf(p) if shape == 0 else stats.gamma.ppf(p, shape, scale=1 / shape)
    return np.asarray(q / (q.std() if shape == 0 else q.mean()), np.float32)


def normal(h: U32) -> F32:
    """Hash bits as standard normal numbers (to the resolution of 4,096 quantiles)."""
    return _quantiles(0.0).take(h >> np.uint32(20))


def gamma(h: U32, looks: float) -> F32:
    """Hash bits as gamma numbers of mean 1 and variance 1 / `looks`: speckle in linear power."""
    return _quantiles(looks).take(h >> np.uint32(20))


def _weights(f: F32) -> tuple[F32, F32, F32, F32]:
    g = 1 - f
    sixth = np.float32(1 / 6)
    return (
        g * g * g * sixth,
        (3 * f * f * f - 6 * f * f + 4) * sixth,
        (3 * g * g * g - 6 * g * g + 4) * sixth,
        f * f * f * sixth,
    )


def _slopes(f: F32) -> tuple[F32, F32, F32, F32]:
    g, half = 1 - f, np.float32(0.5)
    return -g * g * half, (3 * f * f - 4 * f) * half, -(3 * g * g - 4 * g) * half, f * f * half


def _split(x: F64, spacing: float) -> tuple[Ints, F32]:
    u = x / spacing
    i = np.floor(u)
    return i.astype(np.int64), (u - i).astype(np.float32)


def _lattice(i0: int, ni: int, j0: int, nj: int, keys: Sequence[int]) -> F32:
    i, j = np.arange(i0, i0 + ni), np.arange(j0, j0 + nj)[:, None]
    return np.stack([normal(lattice_hash(i, j, k)) for k in keys]) / np.float32(_SPREAD)


def noise(x: F64, y: F64, spacing: float, key: int, *, slope: str = "") -> F32:
    """Smooth noise, about standard normal, at every crossing of the axes `x` (W) and `y` (H): H W.

    `slope` "x" or "y" gives the derivative along that axis, per metre.
    """
    i, fx = _split(x, spacing)
    j, fy = _split(y, spacing)
    i0, j0 = int(i.min()), int(j.min())
    values = _lattice(i0, int(i.max()) - i0 + 4, j0, int(j.max()) - j0 + 4, [key])[0]
    wx = _slopes(fx) if slope == "x" else _weights(fx)
    wy = _slopes(fy) if slope == "y" else _weights(fy)
    i, j = i - i0, j - j0
    rows = sum(w[:, None] * values[j + k] for k, w in enumerate(wy))
    out = sum(rows.take(i + k, axis=1) * w for k, w in enumerate(wx))
    return np.asarray(out / np.float32(spacing) if slope else out, np.float32)


def noise_at(x: F64, y: F64, spacing: float, keys: Sequence[int]) -> F32:
    """The same noise at scattered points (N), for several keys at once: K N."""
    i, fx = _split(x, spacing)
    j, fy = _split(y, spacing)
    i0, j0 = int(i.min()), int(j.min())
    values = _lattice(i0, int(i.max()) - i0 + 4, j0, int(j.max()) - j0 + 4, keys)
    i, j, wx, wy = i - i0, j - j0, _weights(fx), _weights(fy)
    out = np.zeros((len(keys), x.size), np.float32)
    for m in range(4):
        row = sum(values[:, j + m, i + k] * wx[k] for k in range(4))
        out += np.asarray(row * wy[m], np.float32)
    return out


def cells(u: F64, v: F64, key: int) -> tuple[Ints, Ints, NDArray[np.int32]]:
    """Which jittered lattice point is nearest (a Voronoi cell), at points `u`, `v` (H W) in lattice units.

    Returns:
        Lattice indices `i`, `j` (N) of the points near the window, and for each position the row in them (H W).
    """
    iu, iv = np.floor(u), np.floor(v)
    fu, fv = (u - iu).astype(np.float32), (v - iv).astype(np.float32)
    i0, j0 = int(iu.min()) - 1, int(iv.min()) - 1
    ni, nj = int(iu.max()) - i0 + 2, int(iv.max()) - j0 + 2
    i, j = np.arange(i0, i0 + ni), np.arange(j0, j0 + nj)
    ju, jv = seed_offsets(i, j[:, None], key)
    flat = ((iv.astype(np.int32) - j0) * ni + (iu.astype(np.int32) - i0)).astype(np.int32)
    best, found = np.full(u.shape, np.float32(9)), flat
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            at = flat + np.int32(dj * ni + di)
            d = (ju.take(at) + np.float32(di) - fu) ** 2
            d += (jv.take(at) + np.float32(dj) - fv) ** 2
            closer = d < best
            found = np.where(closer, at, found)
            best = np.minimum(best, d)
    return np.tile(i, nj), np.repeat(j, ni), found


def seed_offsets(i: NDArray[Any], j: NDArray[Any], key: int) -> tuple[F32, F32]:
    """Where within its lattice square the point of a cell lies, in lattice units."""
    h = lattice_hash(i, j, key)
    reach, start = np.float32(0.8), np.float32(0.1)
    return start + reach * uniform(h), start + reach * uniform(rehash(h, 1))


def block_mean(a: F32, n: int) -> F32:
    """Average blocks of n x n over the last two axes (which n must divide)."""
    if n == 1:
        return a
    H, W = a.shape[-2] // n, a.shape[-1] // n
    out = sum(a[..., r::n, c::n] for r in range(n) for c in range(n))
    return np.asarray(out, np.float32)[..., :H, :W] * np.float32(1 / (n * n))


def as_axis(x: ArrayLike) -> F64:
    """Coordinates as a one-dimensional float64 array."""
    return np.atleast_1d(np.asarray(x, np.float64)).ravel()
