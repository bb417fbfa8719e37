"""SEN12MS: 180,662 places of 256 x 256 pixels in 4 seasons, Sentinel-1 and -2 beside MODIS land cover.

Layout: `ROIs1158_spring/{s1,s2,lc}_<scene>/ROIs1158_spring_{s1,s2,lc}_<scene>_p<id>.tif`, likewise `ROIs1868_summer`,
`ROIs1970_fall`, `ROIs2017_winter`. Schmitt et al. 2019, "SEN12MS - a curated dataset of georeferenced multi-spectral
Sentinel-1/2 imagery for deep learning and data fusion"; scene labels: Schmitt and Wu 2021.

Patches of a scene overlap by half, so a scene (`ROIs1158_spring_63`) is the group that a split must not cut. The
land cover has 500 m pixels, drawn at 10 m: it is coarse and sometimes wrong.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from landweave.data import official, patches
from landweave.data.dataset import DataConfig, Dataset, Place, Split
from landweave.errors import DataError, MissingDataError
from landweave.legends import IGBP_10, IGBP_17, LCCS_LAND_COVER, LCCS_LAND_USE, LCCS_SURFACE_HYDROLOGY, Legend
from landweave.sample import Sample

SEASONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")
BROKEN = "ROIs1868_summer_146_p202"
"""The one place whose Sentinel-1 file is known to be broken: some copies hold NaN (read as unseen), some cannot be
opened."""

Scheme = Literal["igbp-10", "igbp-17", "lccs-landcover", "lccs-landuse", "lccs-hydrology"]
SCHEMES: Mapping[Scheme, tuple[int, Legend]] = {  # layer of the lc files, and its classes
    "igbp-10": (0, IGBP_10),
    "igbp-17": (0, IGBP_17),
    "lccs-landcover": (1, LCCS_LAND_COVER),
    "lccs-landuse": (2, LCCS_LAND_USE),
    "lccs-hydrology": (3, LCCS_SURFACE_HYDROLOGY),
}

Row = tuple[int, int]
"""Position of the scene, and number of the patch."""


class SEN12MS(DataConfig):
    """Streams `s1-grd-sigma0` (VV, VH in dB) and `s2-l1c` (13 bands, B8A after B08), one label of the land cover.

    Task `map` (labels=map), `labels` (labels=multilabel: classes that cover at least `min_share` of the patch; there
    may be none) or `scene` (labels=single: the class that covers most).

    splits=holdout tests on the scenes of the official `SEN12MS_holdOutScenes.txt`; splits=lists reads the official
    `train_list` and `test_list` (and `val_list` if there), `.txt` or `.pkl`; splits=random-scene draws scenes, 60 %
    for training, 20 % each for validation and test, within every season. Validation scenes that no list names are
    drawn from the training scenes of each season: `validation_share` of them.
    """

    kind: Literal["sen12ms"] = "sen12ms"
    labels: patches.Labels = Field("map", description="map, or scene labels: multilabel, single")
    scheme: Scheme = Field("igbp-10", description="class scheme of the land cover")
    min_share: float = Field(0.1, gt=0, le=1, description="share of a patch at which a class counts (multilabel)")
    splits: Literal["holdout", "lists", "random-scene"] = Field("holdout", description="where the splits come from")
    split_seed: int = Field(0, description="draw of scenes where the splits are drawn")
    validation_share: float = Field(0.1, gt=0, lt=1, description="share of training scenes drawn for validation")
    partial: bool = Field(False, description="use a folder in which some files are missing")

    def open(self) -> Dataset:
        """List the folders; no file is opened."""
        root = official.folder(self.path, "SEN12MS")
        scenes = _scenes(root)
        present = {p for s in scenes for p in s.folders}
        parts = [p for p in ("s1", "s2", "lc") if p in present]
        rows = patches.complete(scenes, parts, where=str(root), partial=self.partial)
        splits = self._splits(root, scenes, rows)
        places = [Place(_name(scenes, r), s, scenes[r[0]].name) for r, s in zip(rows, splits, strict=True)]
        layer, legend = SCHEMES[self.scheme]
        rule = patches.LabelRule("lc", layer, 4, legend, self.labels, self.min_share)
        return SEN12MSDataset(str(root), scenes, rows, places, rule, offset=self.offset)

    def _splits(self, root: Path, scenes: Sequence[patches.Scene], rows: Sequence[Row]) -> list[Split]:
        if self.splits == "lists":
            return self._listed(root, scenes, rows)
        names = [s.name for s in scenes]
        test = _drawn(names, 0.2, self.split_seed) if self.splits == "random-scene" else _holdout(root)
        rest = [n for n in names if n not in test]
        share = 0.25 if self.splits == "random-scene" else self.validation_share  # a quarter of 80 % is 20 %
        validation = _drawn(rest, share, self.split_seed)
        of_scene: list[Split] = ["test" if n in test else "validation" if n in validation else "train" for n in names]
        return [of_scene[at] for at, _ in rows]

    def _listed(self, root: Path, scenes: Sequence[patches.Scene], rows: Sequence[Row]) -> list[Split]:
        """Splits by the lists; a place that no list names is in none."""
        lists: dict[Split, set[str]] = {"train": _names(root, "train_list"), "test": _names(root, "test_list")}
        if both := lists["train"] & lists["test"]:
            raise DataError(f"{len(both)} places stand in both lists; the first: {min(both)}", where=root)
        names = [_name(scenes, r) for r in rows]
        validation = _names(root, "val_list", needed=False)
        if not validation:  # val_list is a part of train_list; where it is lacking, scenes are drawn
            drawn = _drawn(
                {s.name for s in scenes if _trains(s, lists["train"])}, self.validation_share, self.split_seed
            )
            validation = {n for n in lists["train"] if n.rpartition("_p")[0] in drawn}
        absent = sorted((lists["train"] | lists["test"] | validation) - set(names))
        if absent and not self.partial:
            raise MissingDataError(
                f"{len(absent)} places of the lists are missing; the first: {absent[0]}",
                where=root,
                fix="unpack all seasons, or set data.partial=true to use what is there",
            )
        test, train = lists["test"], lists["train"]
        return [
            "test" if n in test else "validation" if n in validation else "train" if n in train else "" for n in names
        ]


class SEN12MSDataset(patches.Patches):
    """The patches of SEN12MS."""

    def read(self, index: int) -> Sample:
        """As every patch; an unreadable file that is known to be broken in the archive is named as such."""
        try:
            return super().read(index)
        except DataError as error:
            if self.places[index].name != BROKEN:
                raise
            raise DataError(
                error.what,
                where=error.where,
                fix="this file is broken in the archive itself: remove its s1, s2 and lc files",
            ) from error


def _scenes(root: Path) -> list[patches.Scene]:
    found = []
    for season in SEASONS:
        folders: dict[str, dict[str, Path]] = {}
        for entry in sorted((root / season).iterdir()) if (root / season).is_dir() else ():
            part, _, number = entry.name.partition("_")
            if part in ("s1", "s2", "lc") and number and entry.is_dir():
                folders.setdefault(number, {})[part] = entry
        order = sorted(folders, key=lambda n: (len(n), n))
        found += [patches.scene(f"{season}_{number}", folders[number]) for number in order]
    if not found:
        raise MissingDataError(
            f"none of {', '.join(SEASONS)} with its s1_<scene>, s2_<scene>, lc_<scene>",
            where=root,
            fix="set data.path to the folder that holds the season folders",
        )
    return found


def _name(scenes: Sequence[patches.Scene], row: Row) -> str:
    return f"{scenes[row[0]].name}_p{row[1]}"


def _drawn(names: Sequence[str] | set[str], share: float, seed: int) -> set[str]:
    """Draw scenes within each season, so that every split sees every season."""
    chosen: set[str] = set()
    for season in SEASONS:
        chosen |= official.drawn([n for n in names if n.startswith(season)], share, seed)
    return chosen


def _trains(scene: patches.Scene, train: set[str]) -> bool:
    numbers = frozenset().union(*scene.numbers.values())
    return any(f"{scene.name}_p{n}" in train for n in numbers)


def _file(root: Path, *names: str) -> Path | None:
    """A list in the folder, in its `splits`, or above it."""
    for where in (root, root / "splits", root / "splits" / "split_lists_pkl", root.parent, root.parent / "splits"):
        for name in names:
            if (where / name).is_file():
                return where / name
    return None


def _holdout(root: Path) -> set[str]:
    """The hold-out scenes, from lines such as `ROIs1158_spring/s1_63`."""
    name = "SEN12MS_holdOutScenes.txt"
    file = _file(root, name)
    if file is None:
        raise MissingDataError(
            f"no {name}, which names the test scenes",
            where=root,
            fix="put it there (github.com/schmitt-muc/SEN12MS, folder splits), or set data.splits=random-scene",
        )
    found = set()
    for line in file.read_text(encoding="utf-8").split():
        season, _, scene = line.partition("/")
        part, _, number = scene.partition("_")
        if season not in SEASONS or part not in ("s1", "s2", "lc") or not number:
            raise DataError(f"`{line}` is not a scene such as ROIs1158_spring/s1_63", where=file)
        found.add(f"{season}_{number}")
    return found


def _names(root: Path, stem: str, *, needed: bool = True) -> set[str]:
    """Names of places from a list of file names such as `ROIs1158_spring_s1_63_p30.tif`."""
    file = _file(root, f"{stem}.txt", f"{stem}.pkl")
    if file is None:
        if not needed:
            return set()
        raise MissingDataError(
            f"no {stem}.txt or {stem}.pkl",
            where=root,
            fix="put it there (github.com/schmitt-muc/SEN12MS, folder splits), or set data.splits=holdout",
        )
    lines = file.read_text(encoding="utf-8").split() if file.suffix == ".txt" else _unpickled(file)
    found = set()
    for line in lines:
        words = line.removesuffix(".tif").split("_")
        if len(words) != 5 or "_".join(words[:2]) not in SEASONS or words[2] not in ("s1", "s2", "lc"):
            raise DataError(f"`{line}` is not a file of SEN12MS such as ROIs1158_spring_s1_63_p30.tif", where=file)
        found.add("_".join((*words[:2], *words[3:])))
    return found


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists of texts and nothing else: a pickle that names any class or function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _unpickled(file: Path) -> list[str]:
    try:
        found = _PlainUnpickler(io.BytesIO(file.read_bytes())).load()
    except Exception as error:  # a damaged pickle raises anything
        raise DataError(f"not a plain pickled list ({error})", where=file, fix="use the .txt list") from error
    if not isinstance(found, (list, tuple, set)) or not all(isinstance(x, str) for x in found):
        raise DataError("not a list of file names", where=file, fix="use the .txt list")
    return list(found)
