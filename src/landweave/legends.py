"""Legends: the classes of a label, with the values they have in files, names, colours, merges and what is ignored.

Inside landweave a class is its *index* in a legend (0 ... K-1, in the legend's order); the number that a file holds
is its *value*. Every artefact carries the legend, so that an index is never read under another order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.errors import ConfigError, DataError, listed
from landweave.legends_flair import COSIA_NOT_IN_12, COSIA_ROWS, COSIA_WEAK, LPIS_1_ROWS, LPIS_2_ROWS, LPIS_3_ROWS
from landweave.legends_flair import PARENTS as PARENTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNKNOWN = 255
"""What stands in an integer label raster (and in the maps we write) where no class is known."""


@dataclass(frozen=True)
class LandClass:
    """One class: the value in files, its name, and its colour as `#rrggbb`."""

    value: int
    name: str
    color: str


@dataclass(frozen=True)
class Legend:
    """An ordered table of classes. `ignored` are file values that mean "no label here"."""

    name: str
    classes: tuple[LandClass, ...]
    ignored: tuple[int, ...] = ()
    merge: tuple[tuple[int, int], ...] = ()
    """Other file values, and the class value each of them counts as."""
    unscored: tuple[int, ...] = ()
    """Values of classes that may be learned and predicted, and that no score counts (metric-ignored)."""

    def __post_init__(self) -> None:
        values, names = [str(c.value) for c in self.classes], [c.name for c in self.classes]
        for what, words in (("value", values), ("name", names)):
            twice = sorted({w for w in words if words.count(w) > 1})
            if twice:
                raise ConfigError(f"class {what} twice: {listed(twice)}", where=f"legend {self.name}")
        if len(self.classes) > UNKNOWN:
            raise ConfigError(f"{len(self.classes)} classes, at most {UNKNOWN}", where=f"legend {self.name}")
        if unknown := sorted({str(v) for v in self.unscored} - set(values)):
            raise ConfigError(f"`unscored` has {listed(unknown)}, which no class has", where=f"legend {self.name}")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in index order."""
        return tuple(c.name for c in self.classes)

    @property
    def colors(self) -> tuple[str, ...]:
        """Colours in index order."""
        return tuple(c.color for c in self.classes)

    def index(self, name: str) -> int:
        """Index of a class by its name.

        Raises:
            DataError: the legend has no such class.
        """
        from landweave.errors import did_you_mean

        if name in self.names:
            return self.names.index(name)
        raise DataError(
            f"class `{name}` is not in legend {self.name}{did_you_mean(name, self.names)}",
            fix=f"use one of {listed(self.names, 20)}",
        )

    @property
    def unscored_indices(self) -> tuple[int, ...]:
        """Indices of the classes of `unscored`."""
        return tuple(i for i, c in enumerate(self.classes) if c.value in self.unscored)

    def table(self) -> dict[int, int]:
        """File value -> class index, with merged values, and `UNKNOWN` for the ignored ones."""
        index = {c.value: i for i, c in enumerate(self.classes)}
        index |= {source: index[target] for source, target in self.merge}
        return index | dict.fromkeys(self.ignored, UNKNOWN)

    def encode(self, codes: NDArray[Any], *, where: str = "") -> NDArray[np.uint8]:
        """File values of any shape as class indices, `UNKNOWN` for the ignored ones.

        Raises:
            DataError: a code is NaN, or stands neither among the classes nor among the ignored.
        """
        import numpy as np

        if np.issubdtype(codes.dtype, np.floating):
            whole = np.isfinite(codes) & (codes == np.round(codes))
            if not whole.all():
                what = "NaN" if not np.isfinite(codes).all() else "fractions"
                raise DataError(
                    f"label has {what} at {int((~whole).sum())} of {codes.size} pixels",
                    where=where,
                    fix="write whole class values; where none is known, one that the legend lists under `ignore`",
                )
            codes = codes.astype(np.int64)
        table = self.table()
        found, inverse = _distinct(codes)
        outside = [int(v) for v in found if int(v) not in table]
        if outside:
            raise DataError(
                f"label value {', '.join(map(str, outside[:8]))} is not in legend {self.name} "
                f"(values {', '.join(map(str, sorted(table)[:24]))})",
                where=where,
                fix="add the class to the legend, or list the value under `ignore`",
            )
        lookup = np.array([table[int(v)] for v in found], np.uint8)
        encoded: NDArray[np.uint8] = lookup[inverse].reshape(codes.shape)
        return encoded

    def to_json(self) -> dict[str, Any]:
        """Plain data, the same keys as a legend file."""
        out: dict[str, Any] = {
            "name": self.name,
            "classes": {c.value: {"name": c.name, "color": c.color} for c in self.classes},
        }
        if self.ignored:
            out["ignore"] = list(self.ignored)
        if self.merge:
            out["merge"] = dict(self.merge)
        if self.unscored:
            out["unscored"] = list(self.unscored)
        return out

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], *, where: str = "legend") -> Legend:
        """Build from plain data: `name`, `classes: {value: {name, color}}` or `[name, ...]`.

        It may have `ignore`, `merge` and `unscored`, all of file values. Values that are both a class and ignored are
        dropped from the classes.

        Raises:
            ConfigError: a key is missing or of the wrong form.
        """
        try:
            ignored = tuple(int(v) for v in raw.get("ignore", ()))
            rows = raw["classes"]
            if isinstance(rows, Sequence):
                rows = dict(enumerate(rows))
            classes = []
            for i, (value, row) in enumerate(rows.items()):
                row = {"name": row} if isinstance(row, str) else row
                if int(value) not in ignored:
                    color = str(row.get("color") or PALETTE[i % len(PALETTE)])
                    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
                        raise ValueError(f"color `{color}` of {row['name']} is not #rrggbb, in quotes")
                    classes.append(LandClass(int(value), str(row["name"]), color))
            merge = tuple((int(k), int(v)) for k, v in dict(raw.get("merge", {})).items())
            unscored = tuple(int(v) for v in raw.get("unscored", ()))
            values = {c.value for c in classes}
            for source, target in merge:
                if target not in values or source in values:
                    what = f"{target} is no class" if target not in values else f"{source} is a class itself"
                    raise ValueError(f"merge {source}: {target}, but {what}")
            return cls(str(raw.get("name", "legend")), tuple(classes), ignored, merge, unscored)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"not a legend ({error})",
                where=where,
                fix="write `name: ...`, `classes: {1: {name: water, color: '#1a5bab'}, ...}`, `ignore: [0]`",
            ) from None


def _distinct(codes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The values that occur, in order, and for every pixel which of them it is.

    Of bytes they are counted, which takes a tenth of the time of sorting: FLAIR-HUB has four label maps a place.
    """
    import numpy as np

    if codes.dtype != np.uint8:
        return np.unique(codes, return_inverse=True)
    found = np.flatnonzero(np.bincount(codes.ravel(), minlength=256))
    position = np.zeros(256, np.intp)
    position[found] = np.arange(len(found))
    return found, position[codes]


def load_legend(path: str | os.PathLike[str]) -> Legend:
    """Read a legend from a YAML file.

    Raises:
        ConfigError: the file is missing or is not a legend.
    """
    import yaml

    file = Path(path)
    if not file.is_file():
        raise ConfigError("no such legend file", where=file, fix="give --legend FILE.yaml")
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {str(error).splitlines()[0]}", where=file) from None
    if not isinstance(raw, Mapping):
        raise ConfigError("not a legend: a mapping with `classes` is needed", where=file)
    return Legend.from_json({"name": file.stem, **raw}, where=str(file))


PALETTE = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac",
    "#1f77b4", "#98df8a", "#d62728", "#c5b0d5", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf", "#aec7e8",
)  # fmt: skip


def _legend(name: str, rows: Sequence[tuple[int, str, str]], **more: Any) -> Legend:
    return Legend(name, tuple(LandClass(*row) for row in rows), **more)


EUROSAT = _legend(
    "eurosat",
    [
        (0, "AnnualCrop", "#e8c547"), (1, "Forest", "#1b6e3c"), (2, "HerbaceousVegetation", "#9ccb5a"),
        (3, "Highway", "#6e6e6e"), (4, "Industrial", "#b0418f"), (5, "Pasture", "#c9e29a"),
        (6, "PermanentCrop", "#c98b3b"), (7, "Residential", "#e4572e"), (8, "River", "#57a6d9"),
        (9, "SeaLake", "#1f4e8c"),
    ],
)  # fmt: skip

BIGEARTHNET_19 = _legend(
    # The 19 classes in the order of the nomenclature (Sumbul et al. 2021, BigEarthNet-MM, table 2).
    "bigearthnet-19",
    [
        (0, "Urban fabric", "#e6004d"), (1, "Industrial or commercial units", "#cc4df2"),
        (2, "Arable land", "#ffffa8"), (3, "Permanent crops", "#e68000"), (4, "Pastures", "#e6e64d"),
        (5, "Complex cultivation patterns", "#ffe64d"),
        (6, "Land principally occupied by agriculture, with significant areas of natural vegetation", "#e6cc4d"),
        (7, "Agro-forestry areas", "#f2cca6"), (8, "Broad-leaved forest", "#80ff00"),
        (9, "Coniferous forest", "#00a600"), (10, "Mixed forest", "#4dff00"),
        (11, "Natural grassland and sparsely vegetated areas", "#ccf24d"),
        (12, "Moors, heathland and sclerophyllous vegetation", "#a6ff80"),
        (13, "Transitional woodland, shrub", "#a6f200"), (14, "Beaches, dunes, sands", "#e6e6e6"),
        (15, "Inland wetlands", "#a6a6ff"), (16, "Coastal wetlands", "#ccccff"), (17, "Inland waters", "#80f2e6"),
        (18, "Marine waters", "#e6f2ff"),
    ],
)  # fmt: skip

_CLC = {  # CORINE Land Cover 2018 codes of each of the 19 classes; codes that stand nowhere have no class
    0: (111, 112), 1: (121,), 2: (211, 212, 213), 3: (221, 222, 223, 241), 4: (231,), 5: (242,), 6: (243,),
    7: (244,), 8: (311,), 9: (312,), 10: (313,), 11: (321, 333), 12: (322, 323), 13: (324,), 14: (331,),
    15: (411, 412), 16: (421, 422), 17: (511, 512), 18: (521, 522, 523),
}  # fmt: skip
_CLC_NONE = (0, 122, 123, 124, 131, 132, 133, 141, 142, 332, 334, 335, 423, 999)

BIGEARTHNET_MAP = Legend(
    # The reference maps hold CLC codes. The first code of each class is its value, the others are merged into it.
    "bigearthnet-19-clc",
    tuple(LandClass(_CLC[i][0], c.name, c.color) for i, c in enumerate(BIGEARTHNET_19.classes)),
    _CLC_NONE,
    tuple((code, codes[0]) for codes in _CLC.values() for code in codes[1:]),
)

IGBP_17 = _legend(
    "igbp-17",
    [
        (1, "Evergreen needleleaf forest", "#086a10"), (2, "Evergreen broadleaf forest", "#54a708"),
        (3, "Deciduous needleleaf forest", "#78d203"), (4, "Deciduous broadleaf forest", "#009900"),
        (5, "Mixed forest", "#05450a"), (6, "Closed shrublands", "#c6b044"), (7, "Open shrublands", "#dcd159"),
        (8, "Woody savannas", "#dade48"), (9, "Savannas", "#fbff13"), (10, "Grasslands", "#b6ff05"),
        (11, "Permanent wetlands", "#27ff87"), (12, "Croplands", "#c24f44"), (13, "Urban and built-up", "#a5a5a5"),
        (14, "Cropland and natural vegetation mosaic", "#ff6d4c"), (15, "Snow and ice", "#69fff8"),
        (16, "Barren", "#f9ffa4"), (17, "Water", "#1c0dff"),
    ],
    ignored=(0, 255),
)  # fmt: skip

_DFC = [
    (1, "Forest", "#009900"), (2, "Shrubland", "#c6b044"), (3, "Savanna", "#fbff13"), (4, "Grassland", "#b6ff05"),
    (5, "Wetland", "#27ff87"), (6, "Cropland", "#c24f44"), (7, "Urban", "#a5a5a5"), (8, "Snow and ice", "#69fff8"),
    (9, "Barren", "#f9ffa4"), (10, "Water", "#1c0dff"),
]  # fmt: skip
DFC2020_10 = _legend("dfc2020-10", _DFC, ignored=(0, 255))
DFC2020_8 = _legend("dfc2020-8", [r for r in _DFC if r[0] not in (3, 8)], ignored=(0, 3, 8, 255))

# IGBP value -> simplified class 1..10 (Schmitt et al. 2020, DFC2020): forests, shrublands, savannas, croplands merged
IGBP_TO_SIMPLE = {
    1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 3, 9: 3, 10: 4, 11: 5, 12: 6, 13: 7, 14: 6, 15: 8, 16: 9, 17: 10,
}  # fmt: skip
_FIRST = {simple: igbp for igbp, simple in sorted(IGBP_TO_SIMPLE.items(), reverse=True)}
IGBP_10 = Legend(
    "igbp-simple-10",
    tuple(LandClass(_FIRST[v], name, color) for v, name, color in _DFC),
    (0, 255),
    tuple((i, _FIRST[s]) for i, s in IGBP_TO_SIMPLE.items() if _FIRST[s] != i),
)

# The three layers of the Land Cover Classification System in MCD12Q1 (Sulla-Menashe and Friedl 2018, User Guide to
# Collection 6, tables 8 to 10); colours of the public catalogue entry. Values are the product's own.
_LCCS_NONE = (0, 255)
_LCCS_SHARED = [
    (1, "Barren", "#f9ffa4"), (2, "Permanent snow and ice", "#69fff8"), (3, "Water bodies", "#1c0dff"),
]  # fmt: skip
LCCS_LAND_COVER = _legend(
    "lccs-landcover",
    [
        *_LCCS_SHARED,
        (11, "Evergreen needleleaf forests", "#05450a"), (12, "Evergreen broadleaf forests", "#086a10"),
        (13, "Deciduous needleleaf forests", "#54a708"), (14, "Deciduous broadleaf forests", "#78d203"),
        (15, "Mixed broadleaf/needleleaf forests", "#005a00"),
        (16, "Mixed broadleaf evergreen/deciduous forests", "#009900"), (21, "Open forests", "#006c00"),
        (22, "Sparse forests", "#00d000"), (31, "Dense herbaceous", "#b6ff05"), (32, "Sparse herbaceous", "#98d604"),
        (41, "Dense shrublands", "#dcd159"), (42, "Shrubland/grassland mosaics", "#f1fb58"),
        (43, "Sparse shrublands", "#fbee65"),
    ],
    ignored=_LCCS_NONE,
)  # fmt: skip
LCCS_LAND_USE = _legend(
    "lccs-landuse",
    [
        *_LCCS_SHARED,
        (9, "Urban and built-up lands", "#a5a5a5"), (10, "Dense forests", "#003f00"), (20, "Open forests", "#006c00"),
        (25, "Forest/cropland mosaics", "#e3ff77"), (30, "Natural herbaceous", "#b6ff05"),
        (35, "Natural herbaceous/croplands mosaics", "#93ce04"), (36, "Herbaceous croplands", "#77a703"),
        (40, "Shrublands", "#dcd159"),
    ],
    ignored=_LCCS_NONE,
)  # fmt: skip
LCCS_SURFACE_HYDROLOGY = _legend(
    "lccs-hydrology",
    [
        *_LCCS_SHARED,
        (10, "Dense forests", "#003f00"), (20, "Open forests", "#006c00"), (27, "Woody wetlands", "#72834a"),
        (30, "Grasslands", "#b6ff05"), (40, "Shrublands", "#c6b044"), (50, "Herbaceous wetlands", "#3aba73"),
        (51, "Tundra", "#1e9db3"),
    ],
    ignored=_LCCS_NONE,
)  # fmt: skip

# FLAIR-HUB. The weak codes are ignored in all but the legend of all 19, where they may be learned and no score counts
# them; background of LPIS ("not declared") is a class.
COSIA_19 = _legend("cosia-19", COSIA_ROWS, unscored=COSIA_WEAK)
COSIA_15 = _legend("cosia-15", [r for r in COSIA_ROWS if r[0] not in COSIA_WEAK], ignored=COSIA_WEAK)
_NOT_12 = (*COSIA_NOT_IN_12, *COSIA_WEAK)
COSIA_12 = _legend("cosia-12", [r for r in COSIA_ROWS if r[0] not in _NOT_12], ignored=_NOT_12)
LPIS_1 = _legend("lpis-1", LPIS_1_ROWS)
LPIS_2 = _legend("lpis-2", LPIS_2_ROWS)
LPIS_3 = _legend("lpis-3", LPIS_3_ROWS)

# Genera of TreeSatAI (Ahlswede et al. 2023, ESSD 15, table 3), and ground that was cleared; the colours are ours.
TREESATAI_15 = _legend(
    "treesatai-15",
    [
        (i, name, PALETTE[i])
        for i, name in enumerate(
            ("Abies", "Acer", "Alnus", "Betula", "Cleared", "Fagus", "Fraxinus", "Larix", "Picea", "Pinus", "Populus",
             "Prunus", "Pseudotsuga", "Quercus", "Tilia")
        )
    ],
)  # fmt: skip

LEGENDS: dict[str, Legend] = {
    legend.name: legend
    for legend in (
        EUROSAT,
        BIGEARTHNET_19,
        BIGEARTHNET_MAP,
        IGBP_17,
        IGBP_10,
        LCCS_LAND_COVER,
        LCCS_LAND_USE,
        LCCS_SURFACE_HYDROLOGY,
        DFC2020_10,
        DFC2020_8,
        COSIA_19,
        COSIA_15,
        COSIA_12,
        LPIS_1,
        LPIS_2,
        LPIS_3,
        TREESATAI_15,
    )
}
