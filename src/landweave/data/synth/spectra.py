"""What the synthetic land is made of: materials with reflectance, a seasonal curve and radar backscatter.

Numbers are round and set by hand, as such curves and levels are generally known. The cited works are where to check
them: no number was copied or resampled from a library file, and a [n] beside a row names the work that covers such a
material, not the origin of its digits. Only [4] was measured for this table. Tests hold trees and water against it.

[1] Kokaly et al. 2017, USGS Spectral Library Version 7, USGS Data Series 1035 (soil, sand, rock, snow, dry grass).
[2] Meerdink et al. 2019, The ECOSTRESS spectral library version 1.0, Remote Sens. Environ. 230 (trees, grass, water,
    roofing, asphalt, concrete, snow).
[3] Herold et al. 2004, Spectrometry for urban area remote sensing, Remote Sens. Environ. 91 (roofs, roads).
[4] Genuine Sentinel-2 L2A tiles (TerraMesh sample of IBM/terramind): means over water, trees, crops, built, snow.
[5] Veloso et al. 2017, Understanding the temporal behavior of crops using Sentinel-1 and Sentinel-2-like data for
    agricultural applications, Remote Sens. Environ. 199 (NDVI and C-band curves of cereals, rapeseed, maize,
    sunflower).
[6] Vreugdenhil et al. 2018, Sensitivity of Sentinel-1 backscatter to vegetation dynamics: an Austrian case study,
    Remote Sens. 10, 1396 (C-band of cereals, rapeseed, maize, sugar beet).
[7] Ulaby and Dobson 1989, Handbook of Radar Scattering Statistics for Terrain, Artech House (C-band VV, VH of soil,
    grass, shrub, trees, roads, snow).
[8] Bauer-Marschallinger et al. 2021, The normalised Sentinel-1 Global Backscatter Model, mapping Earth's land
    surface with C-band microwaves, Scientific Data 8, 277 (levels by land cover, both polarisations).
[9] Zhang et al. 2003, Monitoring vegetation phenology using MODIS, Remote Sens. Environ. 84; Beck et al. 2006,
    Improved monitoring of vegetation dynamics at very high latitudes, Remote Sens. Environ. 100 (logistic curves).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landweave.data.synth.fields import F32

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
MICROMETRES = (0.4427, 0.4924, 0.5598, 0.6646, 0.7041, 0.7405, 0.7828, 0.8328, 0.8647, 0.9451, 1.3735, 1.6137, 2.2024)

Curve = tuple[float, float, float, float, float, float]
"""Greenness over the year, a double logistic [9]: least, most, day of green-up, its days, day of decline, its days."""


@dataclass(frozen=True)
class Material:
    """One material: `bare` and `green` are rows of `SPECTRA`, mixed linearly by the greenness of the day.

    `bare_db` and `green_db` are VV and VH in dB (sigma nought near 38 degrees); `texture` is the standard deviation
    of log brightness between neighbouring crowns, roofs or tufts.
    """

    name: str
    bare: str
    bare_db: tuple[float, float]
    green: str = ""
    green_db: tuple[float, float] = (0.0, 0.0)
    curve: Curve = (0, 0, 100, 10, 300, 10)
    texture: float = 0.05


# Reflectance x 1000, in the order of BANDS.
SPECTRA: dict[str, tuple[int, ...]] = {
    "soil": (70, 85, 115, 150, 175, 195, 210, 225, 240, 250, 290, 310, 270),  # [1] brown loam
    "light soil": (130, 160, 215, 265, 290, 310, 325, 345, 360, 370, 400, 430, 390),  # [1] calcareous
    "stubble": (75, 95, 135, 175, 215, 245, 265, 285, 305, 315, 360, 375, 300),  # [1] dry straw over soil
    "dry grass": (60, 80, 120, 150, 190, 230, 260, 280, 300, 310, 360, 360, 270),  # [1] golden dry grass
    "grass": (25, 35, 75, 45, 105, 280, 360, 390, 410, 410, 300, 220, 115),  # [1, 2, 4]
    "tuft": (35, 48, 85, 75, 130, 245, 300, 325, 340, 345, 290, 240, 140),  # [1] half green natural grass
    "broadleaf": (18, 22, 50, 25, 75, 240, 310, 335, 350, 350, 230, 165, 75),  # [2, 4]
    "branches": (40, 50, 70, 85, 110, 140, 155, 170, 190, 200, 230, 235, 170),  # [2] bark and litter
    "conifer": (15, 18, 32, 20, 50, 135, 165, 180, 190, 190, 130, 85, 40),  # [2, 4]
    "conifer winter": (16, 20, 34, 25, 52, 120, 145, 158, 166, 168, 125, 90, 45),  # [2]
    "shrub": (25, 33, 60, 50, 90, 190, 230, 250, 265, 270, 240, 200, 115),  # [1] sagebrush, chaparral, greener
    "heath": (25, 30, 45, 50, 75, 130, 155, 170, 185, 190, 200, 190, 120),  # [1] heather
    "heath winter": (30, 36, 50, 60, 82, 115, 132, 145, 158, 165, 195, 195, 130),  # [1]
    "cereal": (20, 30, 65, 30, 95, 320, 420, 450, 460, 460, 300, 190, 85),  # [2, 4, 5]
    "maize": (22, 30, 65, 30, 90, 300, 390, 420, 435, 440, 280, 180, 85),  # [1, 5]
    "rapeseed": (30, 40, 110, 85, 160, 330, 410, 440, 450, 450, 300, 200, 100),  # [5] with flowers
    "beet": (25, 35, 80, 35, 110, 360, 470, 500, 510, 510, 320, 210, 100),  # [2] broad fleshy leaves
    "sunflower": (30, 40, 85, 50, 120, 310, 390, 420, 430, 430, 300, 210, 110),  # [5]
    "fodder": (20, 30, 70, 35, 100, 330, 430, 460, 470, 470, 300, 200, 90),  # [1] alfalfa
    "vine": (30, 40, 75, 55, 100, 230, 280, 300, 310, 310, 270, 220, 130),  # [2] leaves over soil
    "reed": (30, 40, 70, 60, 100, 200, 240, 260, 270, 270, 220, 170, 90),  # [1] marsh plants
    "dry reed": (50, 65, 90, 110, 140, 170, 190, 200, 210, 210, 220, 200, 130),  # [1]
    "salt marsh": (30, 40, 65, 60, 90, 160, 185, 200, 210, 200, 170, 140, 80),  # [1]
    "salt marsh winter": (45, 55, 75, 85, 105, 130, 142, 150, 158, 155, 150, 140, 90),  # [1]
    "mud": (70, 85, 105, 120, 125, 130, 130, 130, 130, 120, 100, 90, 60),  # [1] wet sediment
    "sea": (40, 34, 26, 13, 9, 7, 7, 6, 6, 5, 2, 3, 2),  # [2]
    "lake": (32, 33, 38, 22, 19, 14, 14, 12, 12, 10, 3, 5, 4),  # [2, 4]
    "river": (50, 60, 85, 75, 70, 42, 40, 32, 28, 22, 8, 12, 9),  # [1, 4] turbid
    "asphalt": (70, 80, 90, 100, 105, 110, 115, 120, 125, 130, 140, 150, 140),  # [2, 3]
    "concrete": (170, 200, 235, 260, 270, 280, 285, 290, 295, 300, 320, 330, 300),  # [2, 3]
    "tile": (60, 65, 90, 170, 200, 220, 230, 245, 260, 270, 320, 340, 310),  # [3] red clay tile
    "slate": (70, 75, 80, 85, 90, 95, 100, 100, 105, 110, 130, 140, 130),  # [2, 3]
    "metal": (280, 320, 350, 360, 370, 370, 370, 375, 380, 380, 400, 400, 370),  # [2, 3] painted sheet
    "plastic": (300, 330, 350, 360, 370, 390, 400, 405, 410, 405, 380, 370, 300),  # [1] greenhouse film
    "pool": (210, 280, 300, 120, 80, 45, 40, 35, 32, 28, 10, 12, 8),  # [3]
    "sand": (170, 220, 290, 345, 370, 385, 400, 410, 420, 430, 480, 490, 450),  # [1, 4]
    "rock": (100, 120, 150, 175, 190, 200, 205, 215, 220, 225, 250, 260, 240),  # [1]
    "snow": (920, 930, 920, 900, 890, 880, 870, 850, 820, 750, 200, 100, 80),  # [1, 2]; dirty snow is half [4]
}

MATERIALS: tuple[Material, ...] = (
    Material("sea", "sea", (-17.0, -25.5), texture=0.04),
    Material("lake", "lake", (-19.5, -26.5), texture=0.04),
    Material("river", "river", (-18.0, -25.5), texture=0.05),
    Material("asphalt", "asphalt", (-14.5, -22.5), texture=0.08),
    Material("concrete", "concrete", (-11.5, -20.0), texture=0.12),
    Material("tile roof", "tile", (-3.5, -11.5), texture=0.15),
    Material("slate roof", "slate", (-3.5, -11.5), texture=0.15),
    Material("metal roof", "metal", (-0.5, -9.0), texture=0.22),
    Material("greenhouse", "plastic", (-2.5, -10.5), texture=0.15),
    Material("pool", "pool", (-12.0, -20.0)),
    Material("soil", "soil", (-11.8, -20.0), texture=0.06),
    Material("light soil", "light soil", (-12.2, -20.5), texture=0.06),
    Material("sand", "sand", (-17.5, -25.5), texture=0.06),
    Material("mud", "mud", (-14.5, -23.5), texture=0.08),
    Material("rock", "rock", (-9.5, -17.0), texture=0.16),
    Material("snow", "snow", (-12.0, -19.5), texture=0.05),
    Material("wheat", "stubble", (-12.0, -20.2), "cereal", (-14.2, -19.8), (0.18, 0.95, 95, 14, 180, 8)),
    Material("barley", "stubble", (-12.0, -20.2), "cereal", (-12.8, -18.0), (0.22, 0.90, 88, 14, 163, 8)),
    Material("maize", "soil", (-11.8, -20.0), "maize", (-9.6, -15.8), (0.02, 0.95, 172, 9, 262, 10)),
    Material("rapeseed", "stubble", (-11.8, -19.8), "rapeseed", (-10.0, -14.6), (0.30, 0.92, 88, 13, 170, 8)),
    Material("sugar beet", "soil", (-11.8, -20.0), "beet", (-9.4, -15.4), (0.02, 0.95, 158, 10, 300, 12)),
    Material("sunflower", "soil", (-11.8, -20.0), "sunflower", (-9.4, -15.6), (0.02, 0.85, 164, 8, 238, 9)),
    Material("fodder", "soil", (-11.8, -20.0), "fodder", (-11.4, -17.8), (0.35, 0.92, 92, 14, 300, 18)),
    Material("grass", "dry grass", (-12.0, -19.8), "grass", (-12.4, -19.2), (0.45, 0.88, 92, 15, 292, 24)),
    Material(
        "natural grass", "dry grass", (-12.0, -19.8), "tuft", (-12.0, -18.6), (0.15, 0.90, 115, 12, 222, 22), 0.10
    ),
    Material("broadleaf", "branches", (-9.0, -14.6), "broadleaf", (-9.2, -14.2), (0.06, 0.97, 118, 8, 292, 10), 0.20),
    Material(
        "evergreen oak", "branches", (-9.0, -14.8), "shrub", (-9.2, -14.6), (0.80, 0.95, 110, 15, 300, 15), 0.20
    ),
    Material(
        "conifer", "conifer winter", (-9.4, -15.0), "conifer", (-9.4, -14.8), (0.10, 0.95, 105, 16, 300, 16), 0.22
    ),
    Material("shrub", "branches", (-10.4, -16.6), "shrub", (-10.2, -16.0), (0.30, 0.92, 120, 14, 285, 16), 0.18),
    Material("heath", "heath winter", (-12.0, -18.2), "heath", (-11.8, -17.6), (0.10, 0.90, 135, 16, 280, 18), 0.12),
    Material("vine", "light soil", (-10.0, -17.2), "vine", (-9.8, -16.2), (0.03, 0.90, 130, 12, 285, 12), 0.14),
    Material("reed", "dry reed", (-7.6, -16.4), "reed", (-7.8, -15.8), (0.08, 0.92, 138, 12, 280, 14), 0.12),
    Material("salt marsh", "salt marsh winter", (-12.0, -19.8), "salt marsh", (-11.6, -19.0),
             (0.1, 0.9, 125, 15, 275, 18), 0.1),
)  # fmt: skip

INDEX = {m.name: i for i, m in enumerate(MATERIALS)}
VEGETATED = tuple(i for i, m in enumerate(MATERIALS) if m.green)


def reflectances() -> tuple[F32, F32]:
    """Reflectance of every material, bare and green: two arrays of bands x materials."""
    bare = np.array([SPECTRA[m.bare] for m in MATERIALS], np.float32).T / np.float32(1000)
    green = np.array([SPECTRA[m.green or m.bare] for m in MATERIALS], np.float32).T / np.float32(1000)
    return bare, green


def backscatter() -> tuple[F32, F32]:
    """Backscatter in dB of every material, bare and green: two arrays of (VV, VH) x materials."""
    bare = np.array([m.bare_db for m in MATERIALS], np.float32).T
    green = np.array([m.green_db if m.green else m.bare_db for m in MATERIALS], np.float32).T
    return bare, green


def curves() -> F32:
    """Greenness of every material on each of 366 days: materials x days."""
    day = np.arange(366, dtype=np.float32)
    out: NDArray[np.float32] = np.zeros((len(MATERIALS), 366), np.float32)
    for i in VEGETATED:
        least, most, up, up_days, down, down_days = MATERIALS[i].curve
        rise = 1 / (1 + np.exp(-(day - up) / up_days))
        fall = 1 / (1 + np.exp(-(day - down) / down_days))
        out[i] = least + (most - least) * (rise - fall)
    return out.clip(0, 1)


def textures() -> F32:
    """Standard deviation of log brightness between neighbouring elements, a material."""
    return np.array([m.texture for m in MATERIALS], np.float32)
