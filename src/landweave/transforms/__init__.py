"""A batch as read -> one cube a sensor (`cubes`) -> views of it (`augment`) -> faults in them (`spoil`) -> centred
values (`normalise`).

Each takes a `Batch` and gives another. `Augment` and `Faults` are loaded without torch, so that recipes may hold them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from landweave.transforms.augment import CONTRASTIVE, Augment, augment
from landweave.transforms.faults import Faults, named, spoil

if TYPE_CHECKING:
    from landweave.transforms.cube import cubes as cubes
    from landweave.transforms.normalisation import normalise as normalise
    from landweave.transforms.resampling import resample as resample
    from landweave.transforms.resampling import to_common as to_common

__all__ = [
    "CONTRASTIVE",
    "Augment",
    "Faults",
    "augment",
    "cubes",
    "named",
    "normalise",
    "resample",
    "spoil",
    "to_common",
]


_HOME = {"cubes": "cube", "normalise": "normalisation", "resample": "resampling", "to_common": "resampling"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
