"""Every number of `synth flair-hub` that the world of `params.py` does not have. FROZEN, with a fingerprint of its own.

The land is the same frozen world. What is new here are crops with a calendar each, what lies in a field of 0.2 m
pixels, how high things stand, years, and departments. To change anything is to make another world: raise `version`.

A crop's calendar is a code word, not agronomy. The year has eight windows. In the fourth, when aerial and SPOT images
are taken, every crop is half grown; in three of the others a crop is green and in four it is not, in two spells that
part the same way. So all crops show the same values equally often in a year, and only *when* tells them apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass

from landweave.data.synth.zones import Mix

Lpis = tuple[int, int, int]
NOT_DECLARED: Lpis = (22, 30, 45)


@dataclass(frozen=True)
class Crop:
    """A crop: its codes in the three levels of LPIS, in which windows it is green, and its share of arable land."""

    name: str
    lpis: Lpis
    green: tuple[int, int, int]
    share: float


CROPS: tuple[Crop, ...] = (
    # sown in autumn: green before the images (window 2), gone after (window 4)
    Crop("winter wheat", (1, 1, 2), (7, 1, 2), 0.16),
    Crop("winter barley", (2, 2, 4), (6, 1, 2), 0.11),
    Crop("rapeseed", (8, 12, 21), (5, 1, 2), 0.11),
    Crop("ley", (0, 0, 0), (5, 6, 2), 0.09),
    Crop("winter triticale", (4, 5, 10), (7, 0, 2), 0.04),
    Crop("winter protein", (11, 15, 26), (6, 7, 2), 0.03),
    # sown in spring: the mirror image
    Crop("maize", (3, 3, 6), (4, 5, 7), 0.14),
    Crop("sunflower", (7, 11, 20), (4, 5, 0), 0.11),
    Crop("beetroots", (13, 18, 31), (4, 6, 7), 0.09),
    Crop("soy", (10, 14, 24), (4, 5, 1), 0.05),
    Crop("potatoes", (14, 19, 32), (4, 7, 0), 0.05),
    Crop("sorghum", (4, 4, 7), (4, 0, 1), 0.02),
)


@dataclass(frozen=True)
class Cover:
    """Something that the world has no material for: spectra, backscatter and season are those of the one it is like."""

    name: str
    like: str


COVERS: tuple[Cover, ...] = (
    Cover("track", "light soil"),
    Cover("hedge", "shrub"),
    Cover("clear cut", "heath"),
    Cover("mixed wood", "conifer"),
    Cover("mixed crops", "fodder"),
)

_ROOF = ("tile roof", "slate roof", "metal roof")
COSIA: dict[str, int] = {
    **dict.fromkeys(_ROOF, 0), "greenhouse": 1, "pool": 2, "asphalt": 3, "concrete": 3, "track": 4,
    "soil": 5, "light soil": 5, "sand": 5, "mud": 5, "rock": 5, "sea": 6, "lake": 6, "river": 6, "snow": 7,
    "grass": 8, "natural grass": 8, "reed": 8, "salt marsh": 8, "fodder": 9, "mixed crops": 9,
    **{c.name: 9 for c in CROPS}, "vine": 11, "broadleaf": 12, "evergreen oak": 12, "conifer": 13,
    "shrub": 14, "heath": 14, "clear cut": 15, "hedge": 16, "mixed wood": 17,
}  # fmt: skip
"""Class of COSIA by what is seen. Soil of a farmed parcel is 10 (plowed), soil of a vineyard 11, an unread spot 18."""

LPIS: dict[str, Lpis] = {
    **{c.name: c.lpis for c in CROPS},
    "grass": (0, 0, 1), "fodder": (12, 16, 28), "vine": (16, 23, 37), "mixed crops": (21, 29, 44),
    "greenhouse": (15, 20, 33),
}  # fmt: skip
"""What is declared for a parcel, by what grows on it; vineyards and orchards are declared as such as a whole."""

HEIGHT: dict[str, tuple[float, float]] = {
    "tile roof": (5.0, 4.0), "slate roof": (5.0, 4.0), "metal roof": (8.0, 5.0), "greenhouse": (3.5, 1.0),
    "broadleaf": (8.0, 11.0), "evergreen oak": (5.0, 4.0), "conifer": (12.0, 12.0), "mixed wood": (10.0, 9.0),
    "shrub": (1.0, 1.5), "hedge": (2.5, 2.0), "heath": (0.4, 0.3), "clear cut": (0.3, 0.6), "vine": (1.4, 0.4),
    "reed": (1.6, 0.6), "natural grass": (0.3, 0.2), "mixed crops": (0.6, 0.3), "fodder": (0.4, 0.2),
    **{c.name: (0.6, 0.3) for c in CROPS},
}  # fmt: skip
"""Metres above the terrain: least, and what the element or parcel adds at most."""

TREES = ("broadleaf", "evergreen oak", "conifer", "mixed wood")
"""Lower between their crowns."""

GRAIN: dict[str, float] = {
    "broadleaf": 0.22, "evergreen oak": 0.22, "conifer": 0.26, "mixed wood": 0.24, "shrub": 0.2, "hedge": 0.2,
    "heath": 0.14, "clear cut": 0.25, "reed": 0.14, "natural grass": 0.1, "rock": 0.15, "grass": 0.05,
}  # fmt: skip
"""Spread of log brightness over decimetres; 0.04 where nothing is said."""

_FARMED = tuple((c.name, c.share * 0.9) for c in CROPS)
MIXES: dict[str, Mix] = {
    "arable": (*_FARMED, ("fodder", 0.05), ("soil", 0.05)),
    "small fields": (*((n, s * 0.5) for n, s in _FARMED), ("grass", 0.2), ("vine", 0.09), ("soil", 0.05),
                     ("fodder", 0.08), ("mixed crops", 0.06), ("greenhouse", 0.07)),
    "fields and nature": (*((n, s * 0.5) for n, s in _FARMED), ("grass", 0.2), ("broadleaf", 0.15), ("shrub", 0.2)),
    "agro-forestry": (*((n, s * 0.4) for n, s in _FARMED), ("natural grass", 0.64)),
    "mixed forest": (("broadleaf", 0.45), ("conifer", 0.4), ("mixed wood", 0.15)),
    "conifer forest": (("conifer", 0.85), ("clear cut", 0.1), ("shrub", 0.05)),
}  # fmt: skip
"""Zones that consist of other things here than in `zones.py`: crops of this file instead of the world's."""

SIZES: dict[str, tuple[float, float]] = {
    "arable": (62, 44), "small fields": (40, 26), "fields and nature": (52, 38), "agro-forestry": (70, 52),
    "pasture": (80, 60), "vineyard": (60, 40), "orchard": (60, 44),
}  # fmt: skip
"""A parcel in metres: smaller than the world's, so that a patch of 102.4 m holds several."""

INCLUDED: dict[str, Mix] = {
    "arable": (("broadleaf forest", 0.07), ("pasture", 0.06), ("urban", 0.05), ("vineyard", 0.04), ("lake", 0.01)),
    "small fields": (("urban", 0.14), ("orchard", 0.06), ("broadleaf forest", 0.06), ("vineyard", 0.05)),
    "fields and nature": (("broadleaf forest", 0.1), ("pasture", 0.1), ("urban", 0.03)),
    "pasture": (("broadleaf forest", 0.1), ("arable", 0.12), ("urban", 0.04), ("orchard", 0.04), ("lake", 0.02)),
    "urban": (("broadleaf forest", 0.06), ("industrial", 0.05), ("small fields", 0.05)),
    "industrial": (("urban", 0.1), ("natural grassland", 0.1)),
    "vineyard": (("arable", 0.12), ("broadleaf forest", 0.06), ("urban", 0.04)),
    "orchard": (("arable", 0.12), ("pasture", 0.08), ("urban", 0.04)),
    "broadleaf forest": (("shrub and young trees", 0.07), ("pasture", 0.05), ("conifer forest", 0.07)),
    "conifer forest": (("shrub and young trees", 0.08), ("broadleaf forest", 0.08)),
    "mixed forest": (("pasture", 0.05), ("shrub and young trees", 0.07)),
    "natural grassland": (("shrub and young trees", 0.1), ("bare land", 0.06)),
    "heathland": (("shrub and young trees", 0.1), ("conifer forest", 0.06)),
    "shrub and young trees": (("broadleaf forest", 0.1), ("natural grassland", 0.08), ("arable", 0.06)),
}  # fmt: skip
"""Copses, farmsteads and ponds that a map of 25 ha leaves out: share of the small plots inside a zone."""


@dataclass(frozen=True)
class Domain:
    """A department in one year: where it lies (EPSG:2154), whether each optional sensor was there."""

    department: str
    year: int
    x: float
    y: float
    pan: bool = True
    descending: bool = True
    fold: int = 1

    @property
    def name(self) -> str:
        """As in the names of folders."""
        return f"{self.department}-{self.year}"


DOMAINS: tuple[Domain, ...] = (
    Domain("D017", 2018, 400_000, 6_550_000, fold=2),
    Domain("D006", 2020, 1_010_000, 6_310_000, fold=1),
    Domain("D080", 2021, 645_000, 6_980_000, fold=3),
    Domain("D017", 2021, 400_000, 6_550_000, fold=2),
    Domain("D067", 2021, 1_030_000, 6_850_000, pan=False, fold=1),
    Domain("D080", 2018, 645_000, 6_980_000, fold=3),
    Domain("D012", 2019, 665_000, 6_360_000, descending=False, fold=4),
    Domain("D033", 2018, 420_000, 6_420_000, pan=False, fold=5),
)
"""ROIs visit them in turn. Both years of a department are tested in one fold; fold 1 is the official test set."""


@dataclass(frozen=True)
class FlairParams:
    """Days, metres, shares; spreads as standard deviations."""

    version: str = "1"

    # calendar: windows of 365 / 8 days; the fourth is centred on this day
    centre: float = 160.0
    levels: tuple[float, float, float] = (0.12, 0.55, 0.92)  # bare, half grown, green
    ramp: float = 4.0  # scale of the logistic step between two windows
    year_days: tuple[tuple[int, float], ...] = ((2018, -12.0), (2019, -5.0), (2020, 0.0), (2021, 13.0))
    domain_days: float = 2.0
    parcel_days: float = 5.0
    vigour: float = 0.06  # log
    tint: float = 0.012  # log reflectance of a crop's own leaves, a band
    crop_db: float = 0.2

    # ground
    plot: float = 78.0  # spacing of the small plots
    undeclared: float = 0.05  # share of farmed parcels that nobody declared
    unread: float = 0.012  # share of plots that the interpreter left out
    tracked: float = 0.5  # share of the parcels along whose border a track may run
    hedged: float = 0.25
    border: float = 1.6  # metres

    # images
    aerial_days: float = 7.0  # the aerial and the SPOT image lie at most so far from the window's centre
    full: tuple[float, float, float, float] = (0.40, 0.38, 0.36, 0.85)  # reflectance of R, G, B, N shown as 255
    gamma: tuple[float, float, float, float] = (0.58, 0.58, 0.58, 0.85)
    aerial_gain: float = 0.07  # log, a domain and band
    aerial_noise: float = 2.5  # digital numbers
    grain: tuple[float, float] = (0.7, 0.04)  # wavelength, spread where `GRAIN` says nothing
    rows: tuple[float, float] = (1.5, 0.06)  # metres between rows of a crop, log amplitude
    vine_rows: tuple[float, float] = (2.2, 0.3)
    shadow: tuple[float, float] = (0.55, 1.3)  # light left, metres a metre of height
    surface_noise: float = 0.06  # metres, of the surface model
    old_roofs: float = 0.35  # share of today's roofs that stood in the 1950s
    old_noise: float = 7.0

    # series
    dates: tuple[int, int] = (24, 40)  # Sentinel-2 dates a year, least and most
    radar_dates: tuple[int, int] = (24, 31)
    overcast: float = 0.16  # share of dates
    broken: float = 0.16
    snowfall: float = 900.0  # metres by which the snow line lies lower on a snowy winter date
    snowy: float = 0.5  # share of the dates in January, February and December in the snowy departments
    snow_departments: tuple[str, ...] = ("D067", "D006")


FLAIR = FlairParams()


def flair_fingerprint(params: FlairParams = FLAIR) -> str:
    """A short hash of this file's numbers and tables: what "frozen" means."""
    tables = (CROPS, COVERS, COSIA, LPIS, HEIGHT, GRAIN, MIXES, SIZES, INCLUDED, DOMAINS)
    return hashlib.sha256(repr((astuple(params), tables)).encode()).hexdigest()[:16]
