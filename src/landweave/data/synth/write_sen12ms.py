"""The layouts of SEN12MS and of DFC2020: scenes of overlapping patches, both sensors, land cover at 10 m."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from landweave.data import mgrs, raster
from landweave.data.synth.fields import key_of
from landweave.data.synth.layout import Progress, write_lines
from landweave.data.synth.places import TILES, Spot, sensible, shuffled, spot
from landweave.data.synth.world import View, World, to_db
from landweave.data.synth.zones import codes, lccs_codes
from landweave.errors import DataError
from landweave.legends import IGBP_TO_SIMPLE
from landweave.sensors import sensor

SIZE = 256
PER_SCENE = 2  # side by side, overlapping by half, as in the archive
SEASONS = (("ROIs1158_spring", 115), ("ROIs1868_summer", 195), ("ROIs1970_fall", 285), ("ROIs2017_winter", 35))
HOLDOUT = {  # the official test scenes (schmitt-muc/SEN12MS, splits/SEN12MS_holdOutScenes.txt)
    "ROIs1158_spring": (63, 146, 97, 124, 15, 17),
    "ROIs1868_summer": (43, 131, 19, 104, 72, 15, 79),
    "ROIs1970_fall": (120, 39, 144, 35, 61, 47, 30, 141),
    "ROIs2017_winter": (64, 146, 32, 107, 135),
}
_COARSE = 10  # pixels: SEN12MS's land cover was drawn at 500 m, far coarser than its images


@dataclass(frozen=True)
class Patch:
    """One patch of a scene."""

    season: str
    scene: int
    number: int
    place: Spot

    @property
    def test(self) -> bool:
        """Whether its scene is held out officially."""
        return self.scene in HOLDOUT[self.season]

    def name(self, part: str) -> str:
        """File name of one part: s1, s2, lc."""
        return f"{self.season}_{part}_{self.scene}_p{self.number}.tif"


def sen12ms_patch(seed: int, index: int, *, size: int = SIZE) -> Patch:
    """Patch `index`: scenes follow one another, the seasons take turns, every fourth scene of a season is held out.

    Once all the numbers of a season are taken, of held-out scenes or of others, they come again, with other ground and
    further numbers of patches: so every patch has a name of its own.
    """
    scene, part = divmod(index, PER_SCENE)
    season, day = SEASONS[scene % 4]
    turn = scene // 4
    held = HOLDOUT[season]
    free = [n for n in range(1, 150) if n not in held]
    if turn % 4 == 1:
        again, at = divmod(turn // 4, len(held))
        number = held[at]
    else:
        again, at = divmod(turn - (turn + 2) // 4, len(free))
        number = free[shuffled(len(free), seed, season)[at]]
    where = _scene_spot(seed, scene, size, date(2017, 1, 1).replace(month=1 + day * 12 // 366, day=12))
    left, top = where.grid.transform[2] + part * (size // 2) * 10, where.grid.transform[5]
    return Patch(season, number, 30 + again * PER_SCENE + part, spot(where.tile, left, top, size, where.day))


def _scene_spot(seed: int, scene: int, size: int, day: date) -> Spot:
    """Where a scene starts: a draw without repetition of 5 km squares over all tiles."""
    at = _square(scene, seed, "scenes")
    tile, square = list(TILES)[at // 256], at % 256
    corner = mgrs.tile(tile)
    left, top = corner.left + 6_000 + square % 16 * 5_400, corner.top - 6_000 - square // 16 * 5_400
    return spot(tile, left, top, size, day)


def _square(index: int, *words: object) -> int:
    """The `index`-th of all squares in an order that the words decide.

    Raises:
        DataError: there are not so many.
    """
    count = len(TILES) * 256
    if index >= count:
        raise DataError("the synthetic world has no more places", where="synth", fix="ask for fewer --places")
    return shuffled(count, *words)[index]


def radar_db(view: View, place: Spot) -> Any:
    """VV and VH in dB."""
    return to_db(view.radar(place.of_year))


def cover_layers(view: View) -> Any:
    """IGBP and the three LCCS layers (4 H W), each in blocks of 100 m: coarser than the images, as in the archive."""
    zone = view.landcover()
    row, col = (np.minimum(np.arange(n) // _COARSE * _COARSE + _COARSE // 2, n - 1) for n in zone.shape)
    zone = zone[np.ix_(row, col)]
    return np.concatenate([codes("igbp")[zone][None], lccs_codes()[zone].transpose(2, 0, 1)]).astype(np.uint16)


def simple_cover(view: View) -> Any:
    """The ten simplified classes at 10 m: H W."""
    table = np.zeros(18, np.uint8)
    for igbp, simple in IGBP_TO_SIMPLE.items():
        table[igbp] = simple
    return table[codes("igbp")[view.landcover()]]


def write_sen12ms(out: Path, world: World, *, places: int, size: int = SIZE, progress: Progress = None) -> None:
    """Write the four season folders, the hold-out list and the lists of train and test files."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for season, _ in SEASONS:
        (out / season).mkdir(parents=True, exist_ok=True)
    for i in range(places):
        patch = sen12ms_patch(world.seed, i, size=size)
        view, grid = patch.place.view(world), patch.place.grid
        parts = {
            "s1": radar_db(view, patch.place),
            "s2": sensible(view.optical(patch.place.of_year, sensor("s2-l1c").band_names, level="l1c")),
            "lc": cover_layers(view),
        }
        for part, values in parts.items():
            raster.write(out / patch.season / f"{part}_{patch.scene}" / patch.name(part), values, grid)
        lists["test" if patch.test else "train"].append(patch.name("s2"))
        if progress:
            progress(i + 1, places)
    for name, lines in lists.items():
        write_lines(out / f"{name}_list.txt", lines)
    held = [f"{season}/s1_{number}" for season, numbers in HOLDOUT.items() for number in numbers]
    write_lines(out / "SEN12MS_holdOutScenes.txt", held)


def dfc2020_patch(seed: int, index: int, *, size: int = SIZE) -> tuple[str, int, Spot]:
    """Part (validation or test, which take turns), number and ground of patch `index`."""
    part, number = ("validation", "test")[index % 2], index // 2
    at = _square(index, seed, "contest")
    day = (130, 200, 250)[key_of(seed, "contest", index) % 3]
    where = _scene_spot(seed, at, size, date(2017, 1 + day * 12 // 366, 12))
    return part, number, where


def write_dfc2020(out: Path, world: World, *, places: int, size: int = SIZE, progress: Progress = None) -> None:
    """Write both parts of the contest; `dfc` holds the simplified classes at 10 m, `lc` the coarse layers."""
    for i in range(places):
        part, number, place = dfc2020_patch(world.seed, i, size=size)
        view = place.view(world)
        layers = {
            "s1": radar_db(view, place),
            "s2": sensible(view.optical(place.of_year, sensor("s2-l1c").band_names, level="l1c")),
            "lc": cover_layers(view),
            "dfc": simple_cover(view)[None],
        }
        word = "validation" if part == "validation" else "0"
        where = out / f"ROIs0000_{part}"
        for layer, values in layers.items():
            file = where / f"{layer}_{word}" / f"ROIs0000_{part}_{layer}_{word}_p{number}.tif"
            raster.write(file, values, place.grid)
        if progress:
            progress(i + 1, places)
