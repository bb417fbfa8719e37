"""The classes of FLAIR-HUB as plain rows (value, name, colour), and how its crop levels lie inside one another.

Names are those of the paper's Tables VI and VII in lower case; colours those of the `flair` style that IGN hands out
with the data. IGN gives colours to the crops of level 1 only: a class of level 2 or 3 has its parent's colour, or,
where several share a parent, shades of it. `legends.py` makes legends of these rows.

Garioud et al. 2025, "FLAIR-HUB: Large-scale Multimodal Dataset for Land Cover and Crop Mapping", arXiv 2506.07080.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Rows = tuple[tuple[int, str, str], ...]

COSIA_ROWS: Rows = (
    (0, "building", "#db0e9a"), (1, "greenhouse", "#9999ff"), (2, "swimming pool", "#3de6eb"),
    (3, "impervious surface", "#f80c00"), (4, "pervious surface", "#938e7b"), (5, "bare soil", "#a97101"),
    (6, "water", "#1553ae"), (7, "snow", "#ffffff"), (8, "herbaceous vegetation", "#55ff00"),
    (9, "agricultural land", "#fff30d"), (10, "plowed land", "#e4df7c"), (11, "vineyard", "#660082"),
    (12, "deciduous", "#46e483"), (13, "coniferous", "#194a26"), (14, "brushwood", "#f3a60d"),
    (15, "clear cut", "#8ab3a0"), (16, "ligneous", "#c5dc42"), (17, "mixed", "#6b714f"), (18, "undefined", "#000000"),
)  # fmt: skip

COSIA_WEAK = (15, 16, 17, 18)
"""Codes that the paper neither learns nor scores (Table VI, column Baseline)."""

COSIA_NOT_IN_12 = (1, 2, 7)
"""Greenhouse, swimming pool and snow. Table XIII counts 12 classes and does not name them: FLAIR #1 and #2 scored the
first 12 codes of their own order, and of the 15 classes of FLAIR-HUB these three are not among those. There they were
merged with the weak codes into one class "other", which counted nowhere; so here they are ignored."""

LPIS_1_ROWS: Rows = (
    (0, "grasses", "#92d050"), (1, "wheat", "#d7e600"), (2, "barley", "#e0e000"), (3, "maize", "#fff100"),
    (4, "other cereals", "#ffff00"), (5, "rice", "#e8e8e8"), (6, "hemp/flax/tobacco", "#dceaf7"),
    (7, "sunflower", "#d29ead"), (8, "rapeseed", "#d29ed0"), (9, "other oilseed crops", "#ffbe99"),
    (10, "soy", "#ffc000"), (11, "other protein crops", "#ff9000"), (12, "fodder legumes", "#009999"),
    (13, "beetroots", "#808000"), (14, "potatoes", "#a7a700"), (15, "other arable crops", "#89896d"),
    (16, "vineyard", "#f2cfee"), (17, "olive groves", "#6f6633"), (18, "fruit orchards", "#ac8141"),
    (19, "nut orchards", "#996633"), (20, "other permanent crops", "#80c1d7"), (21, "mixed crops", "#000000"),
    (22, "background", "#000000"),
)  # fmt: skip

_LPIS_2 = (  # parent at level 1, and its classes in the order of their codes
    (0, "grasses"), (1, "wheat"), (2, "barley"), (3, "maize"),
    (4, "sorghum/millet", "other winter cereals", "other spring cereals", "other cereals"), (5, "rice"),
    (6, "hemp/tobacco", "flax"), (7, "sunflower"), (8, "rapeseed"), (9, "other oilseed crops"), (10, "soy"),
    (11, "other protein crops"), (12, "alfalfa", "other fodder legumes"), (13, "beetroots"), (14, "potatoes"),
    (15, "fruits and vegetables", "aromatic/medicinal plants", "other arable crops"), (16, "vineyard"),
    (17, "olive groves"), (18, "fruit orchards"), (19, "nut orchards"), (20, "lavandin", "other permanent crops"),
    (21, "mixed crops"), (22, "background"),
)  # fmt: skip

# Winter rye stands in the row of Table VII at which level 2 begins its class 6, "other spring cereals". It is taken
# for a winter cereal (5) here: level 3 lists all winter cereals before all spring ones, and a merged cell that begins
# one row too early explains the table, while a spring class that opens with a winter crop explains nothing. Rasters
# of the archive decide: `landweave.data.flairhub_read.observed_parents` counts what lies in what.
_LPIS_3 = (
    (0, "grasses monoculture", "grasses mixture"), (1, "winter wheat", "spring wheat"),
    (2, "winter barley", "spring barley"), (3, "maize"), (4, "sorghum", "millet / foxtail millet"),
    (5, "winter durum wheat", "winter triticale", "winter oat", "winter rye"),
    (6, "spring oat", "other spring cereals"), (7, "other cereals"), (8, "rice"), (9, "hemp/tobacco"),
    (10, "fiber flax", "other flax"), (11, "sunflower"), (12, "rapeseed"), (13, "mustard", "other oilseed crops"),
    (14, "soy"), (15, "spring peas", "winter protein crops", "other protein crops"), (16, "alfalfa"),
    (17, "clover", "other fodder legumes"), (18, "beetroots"), (19, "potatoes"), (20, "fruits and vegetables"),
    (21, "aromatic/medicinal plants"), (22, "buckwheat", "other arable crops"), (23, "vineyard"),
    (24, "olive groves"), (25, "fruit orchards"), (26, "nut orchards"), (27, "lavandin"),
    (28, "berries", "other permanent crops"), (29, "mixed crops"), (30, "background"),
)  # fmt: skip


def _parents(groups: Sequence[tuple[int | str, ...]]) -> tuple[int, ...]:
    return tuple(int(parent) for parent, *names in groups for _ in names)


def _rows(groups: Sequence[tuple[int | str, ...]], above: Rows) -> Rows:
    """Rows of a finer level: values are counted from 0, colours are the parent's, or shades of it."""
    out = [(str(n), _shade(above[int(p)][2], i, len(names))) for p, *names in groups for i, n in enumerate(names)]
    return tuple((value, name, color) for value, (name, color) in enumerate(out))


def _shade(color: str, at: int, count: int) -> str:
    """The colour itself for the first of `count`, then ever darker and bluer, so that no two crops look the same."""
    share = 1 - 0.45 * at / max(1, count - 1)
    red, green, blue = (round(int(color[i : i + 2], 16) * share) for i in (1, 3, 5))
    return f"#{red:02x}{green:02x}{min(blue + 40 * at, 255):02x}"


LPIS_2_ROWS = _rows(_LPIS_2, LPIS_1_ROWS)
LPIS_3_ROWS = _rows(_LPIS_3, LPIS_2_ROWS)

PARENTS: Mapping[str, tuple[int, ...]] = {"lpis-2": _parents(_LPIS_2), "lpis-3": _parents(_LPIS_3)}
"""By legend: for each class, the index of its parent in the legend one level above (`lpis-1`, `lpis-2`)."""
