"""Where in an image a fault lies: pixels drawn on native grids, lines of detectors, clouds. Arrays of booleans."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from landweave.transforms.faults.settings import DeadColumns, Stripes

Mask = NDArray[np.bool_]
Size = tuple[int, int]
Value = TypeVar("Value", bound=np.generic)


def native(size: tuple[int, int, int], block: int) -> tuple[int, int, int]:
    """T H W in native pixels of `block` x `block` of the cube's, the last of which may be cut."""
    T, H, W = size
    return T, -(-H // block), -(-W // block)


def spread(values: NDArray[Value], size: tuple[int, int, int], block: int) -> NDArray[Value]:
    """T H W of the cube from one value for each native pixel."""
    _, H, W = size
    return values if block == 1 else values.repeat(block, 1).repeat(block, 2)[:, :H, :W]


def pixels(rng: np.random.Generator, size: tuple[int, int, int], *, ratio: float, block: int) -> Mask:
    """T H W: each block of `block` x `block` pixels by itself with chance `ratio`; cut off below and to the right.

    A greater ratio keeps what a smaller one has.
    """
    return spread(rng.random(native(size, block), np.float32) < ratio, size, block)


def stripes(rng: np.random.Generator, size: Size, settings: Stripes, block: int) -> tuple[Mask, NDArray[np.float32]]:
    """H W: whether a pixel is of a stripe, and the factor of its line, 1 between stripes.

    Lines are as wide as `block` pixels. Where they begin is drawn, and for each line whether it is bright or dark.
    """
    H, W = size if settings.axis == "rows" else size[::-1]
    across, along = np.arange(H)[:, None] // block, np.arange(W)[None] / block
    line = across + np.floor(settings.slope * along).astype(int) + int(rng.integers(settings.period))
    first = int(line.min())
    signs = 2 * rng.integers(0, 2, int(line.max()) - first + 1) - 1
    struck = line % settings.period < settings.width
    factor = np.where(struck, 1 + settings.strength * signs[line - first], 1).astype(np.float32)
    return (struck, factor) if settings.axis == "rows" else (struck.T, factor.T)


def dead_columns(rng: np.random.Generator, size: Size, settings: DeadColumns, block: int) -> Mask:
    """H W: whole native columns (or rows) drawn by themselves."""
    n = size[1] if settings.axis == "columns" else size[0]
    dead = (rng.random(-(-n // block)) < settings.share).repeat(block)[:n]
    return np.broadcast_to(dead[None] if settings.axis == "columns" else dead[:, None], size)


def clouds(rng: np.random.Generator, size: Size, *, cover: float, scale: float) -> Mask:
    """H W: the highest `round(cover * H * W)` pixels of a smooth random field.

    White noise with the spectrum of a Matérn field of smoothness 2, made on an area that is larger by the size of a
    cloud, since what a Fourier transform gives is a torus.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    H, W = size
    longer = max(H, W)
    length = scale * longer / 4  # so that a cloud is about `scale` across: the field forgets over about 4 lengths
    room = next_fast_len(math.ceil((1 + scale) * longer), real=True)
    k2 = np.fft.fftfreq(room)[:, None] ** 2 + np.fft.rfftfreq(room)[None] ** 2
    shape = ((1 + (2 * np.pi * length) ** 2 * k2) ** -1.5).astype(np.float32)
    field = irfft2(rfft2(rng.standard_normal((room, room), np.float32)) * shape, (room, room))[:H, :W]
    found = np.zeros(H * W, bool)
    count = round(cover * H * W)
    if count:
        found[np.argpartition(field, -count, axis=None)[-count:]] = True
    return found.reshape(H, W)
