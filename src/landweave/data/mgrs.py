"""Where a Sentinel-2 tile lies, from its name alone: `33UUP` -> UTM zone, corner, and longitude and latitude.

A tile's upper left corner is that of its 100 km square of the military grid, moved outwards (west, north) to whole
multiples of 60 m, so that its pixels of 10, 20 and 60 m share one corner. Northern hemisphere and southern alike.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from landweave.errors import DataError
from landweave.grid import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")  # zones 3, 6, ...; 1, 4, ...; 2, 5, ...
_TILE = re.compile(r"T?(\d{2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])$")
_SIDE = 100_000.0


@dataclass(frozen=True)
class Tile:
    """A tile's UTM zone, hemisphere, and upper left corner in metres."""

    zone: int
    north: bool
    left: float
    top: float

    @property
    def crs(self) -> str:
        """`EPSG:326zz` in the north, `EPSG:327zz` in the south."""
        return f"EPSG:{326 if self.north else 327}{self.zone:02d}"

    def patch(self, column: int, row: int, side: float, pixels: int) -> Grid:
        """The grid of one patch of a tile that is cut into patches of `side` metres and `pixels` pixels."""
        step = side / pixels
        left, top = self.left + column * side, self.top - row * side
        return Grid(self.crs, (step, 0.0, left, 0.0, -step, top), (pixels, pixels))


def tile(name: str) -> Tile:
    """The tile of a name such as `33UUP` or `T33UUP`.

    Raises:
        DataError: not a name of a tile of the military grid.
    """
    match = _TILE.match(name)
    zone = int(match[1]) if match else 0
    if match is None or not 1 <= zone <= 60 or match[3] not in _COLUMNS[zone % 3]:
        raise DataError(f"`{name}` is not a tile of the military grid (such as 33UUP)")
    easting = (_COLUMNS[zone % 3].index(match[3]) + 1) * _SIDE
    row = (_ROWS.index(match[4]) - (5 if zone % 2 == 0 else 0)) % 20  # even zones start at F
    northing = _near_band(row * _SIDE, match[2])
    left, top = math.floor(easting / 60) * 60.0, math.ceil((northing + _SIDE) / 60) * 60.0
    return Tile(zone, match[2] >= "N", left, top)


def _near_band(northing: float, band: str) -> float:
    """Row letters repeat every 2,000 km: take the repeat that lies in the latitude band."""
    south = -80 + 8 * _BANDS.index(band)
    middle = 110_950.0 * (south + (6 if band == "X" else 4)) * 0.9996  # metres of a degree of latitude, to 1 %
    middle += 0 if band >= "N" else 10_000_000
    cycle = 2_000_000.0
    return northing + cycle * round((middle - northing - _SIDE / 2) / cycle)


def lonlat(
    zone: NDArray[np.int64], north: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of UTM coordinates on WGS 84, elementwise, in degrees.

    Krüger's series to the third order of the flattening, exact to a millimetre within a zone (Karney 2011,
    "Transverse Mercator with an accuracy of a few nanometers", eq. 36 and 11).
    """
    import numpy as np

    a, f = 6378137.0, 1 / 298.257223563
    n = f / (2 - f)
    radius = a / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    beta = (n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96, n**2 / 48 + n**3 / 15, 17 * n**3 / 480)
    delta = (2 * n - 2 * n**2 / 3 - 2 * n**3, 7 * n**2 / 3 - 8 * n**3 / 5, 56 * n**3 / 15)
    xi = (y - np.where(north, 0.0, 1e7)) / (0.9996 * radius)
    eta = (x - 5e5) / (0.9996 * radius)
    xi_, eta_ = xi.copy(), eta.copy()
    for j, b in enumerate(beta, 1):
        xi_ -= b * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
        eta_ -= b * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
    chi = np.arcsin(np.sin(xi_) / np.cosh(eta_))
    lat = chi + sum(d * np.sin(2 * j * chi) for j, d in enumerate(delta, 1))
    lon = np.degrees(np.arctan2(np.sinh(eta_), np.cos(xi_))) + (6.0 * zone - 183.0)
    return lon, np.degrees(lat)
