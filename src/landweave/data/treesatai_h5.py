"""The HDF5 files of TreeSatAI: series of images with the names of the products that they were cut from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landweave.errors import ConfigError, DataError, MissingDataError
from landweave.sample import day_of

_BASELINE, _SHIFTED, _ADDED = re.compile(r"_N(\d{4})_"), 400, -1000.0
_DAY = re.compile(r"_(\d{8})T\d{6}")


@dataclass(frozen=True)
class Series:
    """Values T C H W, what is seen T C|1 H W, days, raw numbers to add a date, snow and cloud in per cent T 2 H W."""

    data: NDArray[Any]
    seen: NDArray[np.bool_]
    days: tuple[int, ...]
    added: tuple[float, ...]
    mask: NDArray[Any] | None = None

    def take(self, dates: NDArray[np.bool_]) -> Series:
        """Some of the dates."""
        at = np.flatnonzero(dates).tolist()
        days, added = tuple(self.days[i] for i in at), tuple(self.added[i] for i in at)
        mask = None if self.mask is None else self.mask[dates]
        return Series(self.data[dates], self.seen[dates], days, added, mask)


def opened(path: Path) -> Any:
    """The file, open; close it by `with`."""
    try:
        import h5py
    except ImportError:
        fix = "pip install 'landweave[hdf5]'"
        raise ConfigError("TreeSatAI's series are HDF5 files, and h5py is not installed", where=path, fix=fix) from None
    if not path.is_file():
        raise MissingDataError("no such file", where=path, fix="unpack sentinel-ts, or take its line out of the list")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        what = f"not an HDF5 file, or cut short: {str(error).splitlines()[0][:80]}"
        raise DataError(what, where=path, fix="copy the file again") from None


def require(file: Any, path: Path, head: str, bands: int) -> list[str] | None:
    """The products of a series, one a date; None where the file has none of it.

    Raises:
        DataError: another number of products, mask dates or bands than the images have.
    """
    if f"{head}-data" not in file:
        return None
    shape = file[f"{head}-data"].shape
    if len(shape) != 4 or shape[1] != bands:
        raise DataError(f"{head}-data has the shape {shape}, not dates x {bands} x rows x columns", where=path)
    names = f"{head}-products"
    if names not in file:
        raise DataError(f"no {names}, which tell the dates of {head}-data", where=path, fix="copy the file again")
    products = [p.decode() if isinstance(p, bytes) else str(p) for p in file[names][()]]
    if len(products) != shape[0]:
        raise DataError(f"{len(products)} products for {shape[0]} images of {head}", where=path, fix="copy it again")
    if f"{head}-masks" in file and file[f"{head}-masks"].shape[0] != shape[0]:
        count = file[f"{head}-masks"].shape[0]
        raise DataError(f"masks of {count} dates for {shape[0]} images of {head}", where=path, fix="copy it again")
    return products


def read(file: Any, path: Path, head: str, bands: Sequence[str]) -> Series | None:
    """A series; a pixel that is 0 in every band, or NaN, was not seen. None where there is no date of it."""
    products = require(file, path, head, len(bands))
    if not products:
        return None
    data = file[f"{head}-data"][()]
    days = tuple(_day(p, path) for p in products)
    mask = file[f"{head}-masks"][()][:, :2] if f"{head}-masks" in file else None
    seen = np.isfinite(data).all(1, keepdims=True) & (data != 0).any(1, keepdims=True)
    return Series(data, seen, days, tuple(_added(p) for p in products), mask)


def _day(product: str, path: Path) -> int:
    found = _DAY.search(product)
    if found is None:
        raise DataError(f"`{product[:60]}` is not the name of a Sentinel product: it tells no day", where=path)
    return day_of(found[1])


def _added(product: str) -> float:
    """Raw numbers to add: Sentinel-2's processing baseline 04.00 and later adds 1,000 to each."""
    found = _BASELINE.search(product)
    return _ADDED if found and int(found[1]) >= _SHIFTED else 0.0
