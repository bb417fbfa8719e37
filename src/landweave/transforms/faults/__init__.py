"""Faults of images, for training and for testing: settings (`Faults`), names of them (`named`, `SETS`), and `spoil`.

No torch is imported until a batch is spoilt, so that recipes may hold `Faults`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from landweave.transforms.faults.schedules import (
    LOOK,
    Between,
    Constant,
    Gradual,
    Growing,
    Ratio,
    SizeSchedule,
    Staircase,
)
from landweave.transforms.faults.sets import SETS, label, named
from landweave.transforms.faults.settings import (
    Absent,
    DeadColumns,
    Fault,
    Faults,
    Gain,
    Holes,
    Missing,
    Noise,
    Saturation,
    Shift,
    Shuffle,
    Stripes,
    Swap,
)

if TYPE_CHECKING:
    from landweave.sample import Batch

__all__ = [
    "LOOK",
    "SETS",
    "Absent",
    "Between",
    "Constant",
    "DeadColumns",
    "Fault",
    "Faults",
    "Gain",
    "Gradual",
    "Growing",
    "Holes",
    "Missing",
    "Noise",
    "Ratio",
    "Saturation",
    "Shift",
    "Shuffle",
    "SizeSchedule",
    "Staircase",
    "Stripes",
    "Swap",
    "label",
    "named",
    "spoil",
]


def spoil(
    batch: Batch, faults: Faults, key: Sequence[int], *, metres: Mapping[str, float | None] | None = None
) -> Batch:
    """The batch with faults.

    What a place gets depends on the key and its name only, wherever it stands in a batch and on whatever device.
    Schedules are read at epoch `key[1]` (at their end if there is none, or for `LOOK`). Known faults mark what they
    hide in `pixels_seen` and `bands_seen`; silent ones leave the masks alone. Nothing that was unseen becomes seen, and
    unseen values are 0. The batch that is given stays as it is.

    Args:
        batch: cubes in physical units (`landweave.transforms.cubes`), not normalised.
        faults: what may happen.
        key: integers that tell this draw from others: (seed, epoch, ...).
        metres: pixel size of the cubes by sensor, for faults on native pixels; by default the finest native size among
            a cube's bands, which is what `cubes` makes.

    Raises:
        ConfigError: a fault names a sensor or a band that the batch does not have.
    """
    if not faults:
        return batch
    from landweave.transforms.faults.strike import struck

    return struck(batch, faults, key, metres or {})
