"""Which places a run learned from, kept beside its weights: data may be split anew under the same path."""

from __future__ import annotations

import io
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landweave.data.dataset import Place
from landweave.errors import RunError
from landweave.files import write_bytes

FILE = "learned.npy"
"""A mark of eight bytes a training place, in order of size."""


def write_learned(folder: Path, places: Sequence[Place]) -> Path:
    """Note the training places of a run, whether their labels are known or not."""
    found = io.BytesIO()
    np.save(found, np.unique(_marks(places)))
    return write_bytes(folder / FILE, found.getvalue())


def learned_among(folder: Path, places: Sequence[Place]) -> int:
    """How many of the places a run learned from, by name and position; 0 of a run from before they were noted.

    Raises:
        RunError: the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return 0
    try:
        known = np.load(file)
    except (ValueError, EOFError) as error:
        raise RunError(f"damaged: {error}", where=file, fix="train again, or delete it and do without") from None
    return int(np.isin(_marks(places), known).sum())


def _marks(places: Sequence[Place]) -> NDArray[np.uint64]:
    """Names alone would not do: of two tables each may have a `place_00000`."""
    return np.array(
        [int.from_bytes(blake2b(_told(p).encode(), digest_size=8).digest(), "big") for p in places], np.uint64
    )


def _told(place: Place) -> str:
    """Name and position to about a hundred metres, which packing and other versions of PROJ do not change."""
    at = "" if place.lon is None or place.lat is None else f"{place.lon:.3f} {place.lat:.3f}"
    return f"{place.name}|{at}"
