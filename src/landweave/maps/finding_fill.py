"""An image with the faulty blocks of its bands replaced by what the other bands say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from landweave.data.raster import header
from landweave.maps.cog import Writer
from landweave.maps.finding_scene import Scene
from landweave.nn.reconstruct import Read

Blocks = NDArray[np.bool_]
"""C h w: the blocks to replace."""


def write_filled(scene: Scene, path: Path, hidden: Sequence[int], wrong: Blocks) -> None:
    """Write the bands of the contract, in its order and in the file's own numbers, faulty blocks reconstructed.

    Bands of coarser rasters come resampled to the finest one. Numbers of blocks that are not replaced stay what they
    were, to the rounding of a float32 where the file holds such; integers exactly, but for a seen one that equals the
    nodata number, which becomes the next.

    Args:
        scene: the rasters.
        path: the GeoTIFF (COG) to write.
        hidden: the suspect bands, which take no part in the reconstruction.
        wrong: the blocks of them to replace.
    """
    sources = [p.source for p in scene.layout.placed]
    nodata = header(scene.layout.reference.where).nodata
    kinds = {s.dtype for s in sources}
    dtype = kinds.pop() if len(kinds) == 1 else "float32"
    bands, (H, W), size = scene.stream.bands, scene.layout.grid.shape, scene.many * scene.block
    scale, offset = _numbers(scene)
    top, left = scene.first
    with Writer(path, scene.layout.grid, len(bands), nodata=nodata, dtype=dtype) as writer:
        writer.lane(0, W)
        for row in range(0, scene.shape[0], scene.many):
            strip = np.zeros((len(bands), size, W), dtype)
            for (_, col), read in scene.reads([at for at in scene.windows if at[0] == row]):
                values = _mended(scene, read, hidden, wrong[:, row : row + scene.many, col : col + scene.many])
                raw = _raw(values, scene.inner(read).seen[0].numpy(), scale, offset, dtype, nodata)
                first = left + col * scene.block
                a, b = max(first, 0), min(first + size, W)
                strip[:, :, a:b] = raw[:, :, a - first : b - first]
            start = top + row * scene.block
            writer.add(strip[:, max(0, -start) : min(size, H - start)])
        writer.finish(descriptions=bands, tags={"filled": ", ".join(bands[c] for c in hidden)}, overviews="AVERAGE")


def _numbers(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and offset of each band of the contract."""
    table = {
        b: (s, o)
        for p in scene.layout.placed
        for b, s, o in zip(p.source.bands, p.source.scale, p.source.offset, strict=True)
    }
    scale, offset = np.array([table[b] for b in scene.stream.bands], np.float64).T
    return scale, offset


def _mended(scene: Scene, read: Read, hidden: Sequence[int], wrong: Blocks) -> NDArray[np.float64]:
    """Values C H W in the sensor's unit of a window, without its margin."""
    values = scene.inner(read).physical[0].double().numpy()
    if not wrong.any():
        return values
    with torch.inference_mode():
        back = (
            scene.model.net(scene.stream.sensor).scale.back(scene.predicted(read, (*hidden, *scene.lacking)))[0].numpy()
        )
    pixels = wrong.repeat(scene.block, 1).repeat(scene.block, 2)
    h, w = pixels.shape[1:]
    values[:, :h, :w] = np.where(pixels, back[:, :h, :w], values[:, :h, :w])
    return values


def _raw(
    values: NDArray[np.float64],
    seen: NDArray[np.bool_],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    dtype: str,
    nodata: float | None,
) -> NDArray[Any]:
    """Numbers of the file: of what is not seen its nodata, or 0. A seen integer that is nodata becomes the next."""
    raw = (values - offset[:, None, None]) / scale[:, None, None]
    kind = np.dtype(dtype)
    if np.issubdtype(kind, np.integer):
        raw = np.clip(np.rint(raw), np.iinfo(kind).min, np.iinfo(kind).max)
        if nodata is not None:
            raw[raw == nodata] = nodata + 1 if nodata < np.iinfo(kind).max else nodata - 1
    return np.where(seen, raw, 0.0 if nodata is None else nodata).astype(kind)
