"""The two genuine places of TreeSatAI, and small invented ones of its layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landweave.data.dataset import Dataset
from landweave.data.treesatai import TreeSatAI
from landweave.legends import TREESATAI_15
from landweave.sample import Batch, collate

S2 = "S2A_MSIL2A_{day}T104431_N0211_R008_T32UMD_{day}T115449"
S1 = "S1A_IW_GRDH_1SDV_{day}T171656_{day}T171721_025287_02CC09_1570"


def genuine(real: Path) -> Dataset:
    """Both places; their three lists hold the same row, so that no split can be made of them."""
    return TreeSatAI(path=str(real / "formats/treesatai-ts"), splits="none").open()


def genuine_batch(real: Path) -> Batch:
    """Both places side by side: aerial images 1 4 304 304, and three series T C 6 6 of unequal length."""
    data = genuine(real)
    return collate([data.read(i) for i in range(len(data))])


def write_series(
    path: Path, days: Sequence[str], *, product: str = S2, mask: NDArray[np.float32] | None = None
) -> None:
    """An HDF5 file of Sentinel-2 (all 1,000) and ascending Sentinel-1 (all 0.1) on some days."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["sen-2-data"] = np.full((len(days), 10, 6, 6), 1000, np.float32)
        file["sen-2-masks"] = np.zeros((len(days), 2, 6, 6), np.float32) if mask is None else mask
        file["sen-2-products"] = [product.format(day=d).encode() for d in days]
        file["sen-1-asc-data"] = np.full((len(days), 2, 6, 6), 0.1, np.float32)
        file["sen-1-asc-products"] = [S1.format(day=d).encode() for d in days]


def write_list(path: Path, rows: Sequence[str], **shares: float) -> None:
    """A list whose places all have these shares of genera."""
    genera = list(reversed(TREESATAI_15.names))  # columns are found by name, in any order
    lines = [",".join(["aerial_name", "sen_name", "aerial_date", *genera])]
    lines += [",".join([row, *(str(shares.get(g, 0.0)) for g in genera)]) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
