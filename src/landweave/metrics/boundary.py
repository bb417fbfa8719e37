"""Pixels beside a boundary of a label map, whose truth is less sure than that of the others.

Farmers draw the parcels of a land parcel information system by hand, and before they sow: what separates a parcel from
undeclared ground is right to about 1 m, what lies between two parcels to about 5 m (FLAIR-HUB, section III, on LPIS).
A pixel so near to a boundary may be of the other side, and whoever says so is not wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landweave.legends import UNKNOWN


@dataclass(frozen=True)
class Tolerance:
    """Metres on either side of a boundary that are left out: `outside` towards background, `between` parcels."""

    outside: float = 1.0
    between: float = 5.0


def near_boundary(
    values: NDArray[np.uint8], *, metres: float, tolerance: Tolerance | None = None, background: int | None = None
) -> NDArray[np.bool_]:
    """Which pixels lie within the tolerance of a boundary.

    The boundary between two pixels is half a pixel from either's centre; so a pixel is near where the centre of a
    pixel of another class is no farther away than the tolerance and half a pixel. Unknown pixels have no side. That a
    boundary between parcels is one between *classes* is what a raster knows: two neighbouring wheat fields are one.

    Args:
        values: class indices H W, `UNKNOWN` where not known.
        metres: side of a pixel.
        tolerance: metres; those of the paper by default.
        background: the class of undeclared ground; without one all boundaries are between parcels.

    Returns:
        bool H W.
    """
    from scipy.ndimage import distance_transform_edt

    given = tolerance or Tolerance()
    known = values != UNKNOWN
    outside = known & (values == background) if background is not None else np.zeros_like(known)
    declared = known & ~outside
    near = np.zeros(values.shape, bool)

    def mark(mine: NDArray[np.bool_], theirs: NDArray[np.bool_], reach: float) -> None:
        if mine.any() and theirs.any():
            distance = distance_transform_edt(~theirs) * metres
            near[mine] |= distance[mine] <= reach + metres / 2 + 1e-9

    mark(declared, outside, given.outside)
    mark(outside, declared, given.outside)
    crops = np.unique(values[declared])
    for crop in crops if len(crops) > 1 else ():
        mine = declared & (values == crop)
        mark(mine, declared & ~mine, given.between)
    return near
