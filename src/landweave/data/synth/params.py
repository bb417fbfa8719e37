"""Every number of the synthetic world that is not in the tables of `spectra.py` and `zones.py`. FROZEN.

They were set from how the pictures look and from what a linear model on mean spectra scores, in a commit made before
any method of this package was trained on the world. `fingerprint` covers them and the tables; a test holds it. To
change anything here is to make another world: raise `version`, and every figure measured on the old one is void.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass

from landweave.data.synth import spectra, zones


@dataclass(frozen=True)
class Params:
    """Lengths in metres, angles in degrees, spreads as standard deviations."""

    version: str = "1"

    # relief: mean height, and (wavelength, height) of each octave
    height: float = 170.0
    octaves: tuple[tuple[float, float], ...] = ((42_000, 125), (14_000, 60), (4_500, 20), (1_500, 6))
    rugged: tuple[tuple[float, float], ...] = ((1_100, 0.06), (420, 0.03))  # share of the height above the sea
    mountain: tuple[float, float, float] = (60_000, 1_100, 0.8)  # wavelength, height a unit, threshold
    snow_line: float = 1_900.0  # of lasting snow

    # water and roads: (wavelength of the field whose zero line it is, wavelength and share of its meanders)
    river: tuple[float, float, float] = (9_000, 1_300, 0.16)
    river_half_width: tuple[float, float, float] = (38.0, 20.0, 14.0)  # mean, spread, least
    road: tuple[float, float, float] = (13_000, 4_000, 0.1)
    road_half_width: float = 15.0
    road_verge: float = 26.0
    lake: tuple[float, float, float] = (2_600, 700, 1.55)  # wavelength, wavelength of the shore, threshold
    beach: tuple[float, float] = (2.6, 0.1)  # up to this height, where the shore's noise is above
    marsh_height: float = 9.0  # cells below, at the coast, are salt marsh

    # zones: spacing of cells (the square root of the minimum mapping unit), bending of their borders
    cell: float = 520.0
    bend: tuple[tuple[float, float], ...] = ((420, 45.0), (120, 9.0))
    climate_wave: float = 6_500.0  # of moisture and of settlement
    wild: float = 1.4  # how strongly farmed and wild land part
    clump_wave: float = 1_500.0  # neighbouring cells favour the same zone
    clump: float = 1.35
    gumbel: float = 0.55
    region_taste: float = 0.5  # spread of each zone's log odds between regions

    # within a zone
    patch: tuple[float, float] = (75.0, 21.0)  # wavelengths of the patches of natural land
    element: float = 7.0  # side of the square that holds one crown
    parcel_light: float = 0.15  # log brightness of a parcel
    parcel_tilt: float = 0.14  # log slope over the spectrum
    parcel_vigour: float = 0.16  # greenness factor
    parcel_days: float = 9.0  # season
    parcel_db: float = 0.8
    patch_light: float = 0.07  # log brightness over natural land
    gap: float = 0.6  # textures darker between crowns
    zone_light: float = 0.08
    zone_db: float = 0.5

    # regions: squares of the military grid
    region: float = 100_000.0
    region_gain: float = 0.06
    region_tilt: float = 0.07
    region_band: float = 0.02
    region_days: float = 8.0
    region_warm_days: float = 14.0  # green-up is this much earlier in the warmest region
    region_db: float = 0.4

    # acquisition
    haze: float = 0.008  # spread of path reflectance left in L2A at 0.49 micrometres
    noise: float = 0.0025  # reflectance
    water_wind_db: float = 2.5  # spread of water's backscatter between dates
    soil_moisture_db: float = 0.5
    looks: float = 4.4  # equivalent number of looks of Sentinel-1 IW GRD at 10 m
    noise_floor_db: tuple[float, float] = (-27.0, -29.0)  # noise equivalent of VV, VH
    misregistration: float = 0.35  # of a pixel, Sentinel-1 against Sentinel-2
    psf: float = 0.12  # share of the light that comes from each side's neighbouring sub-sample
    cloud_wave: tuple[float, float] = (520, 150)
    cloud_shift: tuple[float, float] = (330.0, 240.0)  # of a shadow
    season_snow: tuple[float, float] = (250.0, 1_700.0)  # height of the snow line in midwinter and what summer adds

    # labels
    label_noise: float = 0.04  # share of cells mapped as their second likeliest zone


PARAMS = Params()


def fingerprint(params: Params = PARAMS) -> str:
    """A short hash of the parameters and of the tables: what "frozen" means."""
    world = (astuple(params), spectra.SPECTRA, spectra.MATERIALS, zones.ZONES, zones.LULC)
    return hashlib.sha256(repr(world).encode()).hexdigest()[:16]
