"""The kinds of land in the synthetic world: where each is likely, what it is made of, and its code in each legend.

A *zone* is what a map of land cover or land use would show. Below it lie parcels, and in them materials
(`spectra.py`): a street, a roof, a crown. Two zones may well be made of the same materials in other shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landweave.data.synth.spectra import INDEX

Mix = tuple[tuple[str, float], ...]
NATURAL = (0.0, 0.0)


@dataclass(frozen=True)
class Zone:
    """One kind of land.

    `base`, `moist`, `urban`, `warm`, `high`, `wild` weigh its log odds: always, and by moisture, settlement, climate,
    kilometres above 250 m, and how little the land is farmed. `parcels` is drawn once a parcel, `elements` (crown,
    bush, gap) once every 7 m inside it, where the shares leave room for what the parcel has. `size` is a parcel in
    metres, along and across; natural land has none, its materials follow a smooth field.
    """

    name: str
    clc: int
    igbp: int
    lccs: tuple[int, int, int]
    eurosat: str
    lulc: int
    parcels: Mix
    elements: Mix = ()
    size: tuple[float, float] = NATURAL
    base: float | None = None
    moist: float = 0.0
    urban: float = 0.0
    warm: float = 0.0
    high: float = 0.0
    wild: float = 0.0


_ARABLE: Mix = (
    ("wheat", 0.33), ("barley", 0.14), ("maize", 0.2), ("rapeseed", 0.12), ("sugar beet", 0.07), ("sunflower", 0.06),
    ("fodder", 0.08),
)  # fmt: skip
_SMALL: Mix = (
    ("wheat", 0.16), ("maize", 0.1), ("sugar beet", 0.1), ("fodder", 0.14), ("grass", 0.2), ("vine", 0.1),
    ("soil", 0.08), ("broadleaf", 0.08), ("greenhouse", 0.04),
)  # fmt: skip

# CORINE code; IGBP value; LCCS land cover, land use and hydrology values (MCD12Q1 v6 user guide, tables 6 to 8)
ZONES: tuple[Zone, ...] = (
    # the first six lie where the relief, a river or a road puts them; they are not drawn for a cell
    Zone("sea", 523, 17, (3, 3, 3), "SeaLake", 1, (("sea", 1),)),
    Zone("lake", 512, 17, (3, 3, 3), "SeaLake", 1, (("lake", 1),)),
    Zone("river", 511, 17, (3, 3, 3), "River", 1, (("river", 1),)),
    Zone("motorway", 122, 13, (1, 9, 1), "Highway", 5, (("asphalt", 1),)),
    Zone("beach", 331, 16, (1, 1, 1), "", 6, (("sand", 1),)),
    Zone("snow", 335, 15, (2, 2, 2), "", 7, (("snow", 0.9), ("rock", 0.1))),
    Zone("urban", 112, 13, (1, 9, 1), "Residential", 5, (("grass", 1),), (("broadleaf", 0.2),), (92, 66),
         -0.7, urban=2.0, high=-2.0, wild=-1.0),
    Zone("industrial", 121, 13, (1, 9, 1), "Industrial", 5, (("asphalt", 0.75), ("concrete", 0.25)), (), (170, 120),
         -1.8, urban=1.7, high=-2.5, wild=-1.0),
    Zone("arable", 211, 12, (31, 36, 30), "AnnualCrop", 4, _ARABLE, (), (300, 130), 2.1, -0.4, high=-3.0, wild=-1.7),
    Zone("vineyard", 221, 12, (31, 36, 30), "PermanentCrop", 4, (("light soil", 0.7), ("vine", 0.3)),
         (("vine", 0.5),), (130, 90), -1.1, -0.5, warm=1.3, high=-2.0, wild=-0.9),
    Zone("orchard", 222, 12, (31, 36, 30), "PermanentCrop", 4, (("grass", 0.75), ("soil", 0.25)),
         (("broadleaf", 0.42),), (160, 110), -1.1, warm=0.8, high=-2.0, wild=-0.9),
    Zone("pasture", 231, 10, (31, 30, 30), "Pasture", 4, (("grass", 0.9), ("fodder", 0.1)), (("broadleaf", 0.02),),
         (220, 150), 0.9, 0.6, warm=-0.3, high=-0.5, wild=-0.8),
    Zone("small fields", 242, 14, (31, 36, 30), "", 4, _SMALL, (("broadleaf", 0.03),), (72, 44),
         0.3, urban=0.5, warm=0.3, high=-2.0, wild=-1.2),
    Zone("fields and nature", 243, 14, (31, 25, 30), "", 4,
         (("wheat", 0.25), ("grass", 0.3), ("broadleaf", 0.22), ("shrub", 0.23)), (("shrub", 0.1),), (160, 110),
         0.4, high=-1.0, wild=-0.2),
    Zone("agro-forestry", 244, 9, (22, 20, 20), "", 9, (("natural grass", 0.65), ("wheat", 0.35)),
         (("evergreen oak", 0.24),), NATURAL, -1.4, -0.5, warm=2.4, high=-2.0, wild=0.0),
    Zone("broadleaf forest", 311, 4, (14, 10, 10), "Forest", 2, (("broadleaf", 0.95), ("shrub", 0.05)),
         (("conifer", 0.05),), NATURAL, 1.0, 0.2, high=-0.3, wild=1.5),
    Zone("conifer forest", 312, 1, (11, 10, 10), "Forest", 2, (("conifer", 0.95), ("shrub", 0.05)),
         (("broadleaf", 0.05),), NATURAL, 1.0, warm=-0.9, high=1.0, wild=1.8),
    Zone("mixed forest", 313, 5, (15, 10, 10), "Forest", 2, (("broadleaf", 0.55), ("conifer", 0.45)),
         (("conifer", 0.25), ("broadleaf", 0.2)), NATURAL, 1.0, 0.1, warm=-0.2, high=0.4, wild=1.8),
    Zone("natural grassland", 321, 10, (31, 30, 30), "HerbaceousVegetation", 9,
         (("natural grass", 0.85), ("rock", 0.05), ("grass", 0.1)), (("shrub", 0.1),), NATURAL,
         -0.9, -0.6, high=1.2, wild=0.2),
    Zone("heathland", 322, 7, (43, 40, 40), "HerbaceousVegetation", 9, (("heath", 0.9), ("natural grass", 0.1)),
         (("shrub", 0.12),), NATURAL, -1.1, 0.2, warm=-0.3, high=1.2, wild=0.6),
    Zone("shrub and young trees", 324, 8, (21, 20, 20), "", 9, (("shrub", 0.6), ("natural grass", 0.4)),
         (("broadleaf", 0.22), ("shrub", 0.2)), NATURAL, 0.4, warm=0.2, high=0.3, wild=1.1),
    Zone("inland marsh", 411, 11, (31, 30, 50), "", 3, (("reed", 0.8), ("natural grass", 0.2)),
         (("lake", 0.12), ("shrub", 0.05)), NATURAL, -1.5, 1.6, high=-3.0, wild=0.2),
    Zone("salt marsh", 421, 11, (31, 30, 50), "", 3, (("salt marsh", 0.85), ("mud", 0.15)), (("mud", 0.2),),
         NATURAL, -0.4, wild=0.0),
    Zone("bare land", 333, 16, (1, 1, 1), "", 6, (("rock", 0.6), ("natural grass", 0.25), ("light soil", 0.15)),
         (("natural grass", 0.12), ("rock", 0.2)), NATURAL, -1.6, -0.9, warm=0.2, high=1.6, wild=0.3),
)  # fmt: skip

ZONE = {z.name: i for i, z in enumerate(ZONES)}
DRAWN = tuple(i for i, z in enumerate(ZONES) if z.base is not None)
NONE = 255

LULC = {  # the land cover of the `table` layout: value -> name, colour
    1: ("water", "#1a5bab"), 2: ("trees", "#358221"), 3: ("flooded vegetation", "#87d19e"), 4: ("crops", "#ffdb5c"),
    5: ("built area", "#ed022a"), 6: ("bare ground", "#ede9e4"), 7: ("snow and ice", "#f2faff"),
    9: ("rangeland", "#efcfa8"),
}  # fmt: skip


def codes(of: str) -> NDArray[np.uint16]:
    """Zone index -> value in a legend: `clc`, `igbp`, `lulc`."""
    return np.array([getattr(z, of) for z in ZONES], np.uint16)


def lccs_codes() -> NDArray[np.uint16]:
    """Zone index -> the three LCCS values: zones x 3."""
    return np.array([z.lccs for z in ZONES], np.uint16)


def _table(mix: Mix) -> NDArray[np.uint8]:
    out = np.full(256, NONE, np.uint8)
    start = 0.0
    for name, share in mix:
        out[round(start * 256) : round((start + share) * 256)] = INDEX[name]
        start += share
    return out


def parcel_table() -> NDArray[np.uint8]:
    """A byte of hash -> material of a parcel: zones x 256."""
    rows = np.stack([_table(z.parcels) for z in ZONES])
    if (rows == NONE).any():
        raise AssertionError("shares of a zone's parcels do not sum to 1")
    return rows


def element_table() -> NDArray[np.uint8]:
    """A byte of hash -> material of an element, or NONE: zones x 256. A disc covers about half of its square."""
    return np.stack([_table(tuple((m, min(s / 0.5, 1)) for m, s in z.elements)) for z in ZONES])


def sizes() -> NDArray[np.float32]:
    """Length and width of a parcel in metres, zones x 2; natural land counts as one huge parcel a cell."""
    return np.array([z.size if z.size[0] else (9_999, 9_999) for z in ZONES], np.float32)


def natural() -> NDArray[np.bool_]:
    """Which zones have no parcels."""
    return np.array([not z.size[0] for z in ZONES])
