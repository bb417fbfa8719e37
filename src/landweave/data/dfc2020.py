"""DFC2020: the places of the IEEE GRSS Data Fusion Contest 2020, 986 for validation and 5,128 for test.

Layout: `ROIs0000_validation/{s1,s2,dfc}_{validation or 0}/..._p<id>.tif` and `ROIs0000_test/{s1,s2,dfc}_{test or 0}/
..._p<id>.tif`, 256 x 256 pixels at 10 m, sensors as in SEN12MS. The dfc files hold the ten classes of the simplified
scheme at 10 m, drawn by hand. Savanna and snow do not occur in them and are ignored unless classes=10.

The contest trained on SEN12MS and has no training part. As published later work does, the contest's *validation*
part is trained on here, less a share that is held out, and its *test* part is tested on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from landweave.data import official, patches
from landweave.data.dataset import DataConfig, Dataset, Place, Split
from landweave.errors import MissingDataError
from landweave.legends import DFC2020_8, DFC2020_10

PARTS = ("s1", "s2", "dfc")
RUN = 8
"""Consecutive numbers that stay on one side of the split. The archive names no scene, and patches with neighbouring
numbers are taken to be neighbours on the ground; nothing in the files says so."""


class DFC2020(DataConfig):
    """Streams `s1-grd-sigma0` (VV, VH in dB) and `s2-l1c` (13 bands, B8A after B08), one label.

    Task `map` (labels=map), `labels` (labels=multilabel: classes that cover at least `min_share` of the patch) or
    `scene` (labels=single: the class that covers most; ignored pixels count for none).
    """

    kind: Literal["dfc2020"] = "dfc2020"
    labels: patches.Labels = Field("map", description="map, or scene labels: multilabel, single")
    classes: Literal[8, 10] = Field(8, description="8 leaves out savanna and snow, as evaluations do; 10 keeps them")
    min_share: float = Field(0.1, gt=0, le=1, description="share of a patch at which a class counts (multilabel)")
    split_seed: int = Field(0, description="draw of the held out part of the contest's validation patches")
    validation_share: float = Field(0.2, gt=0, lt=1, description="how much of them is held out, in runs of 8 numbers")
    partial: bool = Field(False, description="use a folder in which some files are missing")

    def open(self) -> Dataset:
        """List the folders; no file is opened."""
        root = official.folder(self.path, "DFC2020")
        scenes = [s for s in (_part(root, "validation"), _part(root, "test")) if s]
        if not scenes:
            raise MissingDataError(
                "neither ROIs0000_validation nor ROIs0000_test with s2_0, s2_validation or s2_test",
                where=root,
                fix="set data.path to the folder that holds ROIs0000_validation",
            )
        present = {p for s in scenes for p in s.folders}
        parts = [p for p in PARTS if p in present]
        rows = patches.complete(scenes, parts, where=str(root), partial=self.partial)
        places = self._places(scenes, rows)
        legend = DFC2020_8 if self.classes == 8 else DFC2020_10
        rule = patches.LabelRule("dfc", 0, 1, legend, self.labels, self.min_share)
        return patches.Patches(str(root), scenes, rows, places, rule, offset=self.offset)

    def _places(self, scenes: Sequence[patches.Scene], rows: Sequence[tuple[int, int]]) -> list[Place]:
        groups = [f"{scenes[at].name}_{number // RUN}" for at, number in rows]
        held_out = official.drawn(
            (g for g in groups if g.startswith("validation_")), self.validation_share, self.split_seed
        )
        places = []
        for (at, number), group in zip(rows, groups, strict=True):
            name = scenes[at].name
            split: Split = "test" if name == "test" else "validation" if group in held_out else "train"
            places.append(Place(f"{name}_p{number}", split, group))
        return places


def _part(root: Path, name: str) -> patches.Scene | None:
    """The contest's validation or test part, under either spelling of its folders."""
    where = root / f"ROIs0000_{name}"
    folders = {}
    for part in PARTS:
        spellings = [where / f"{part}_{word}" for word in (name, "0")]
        if found := [f for f in spellings if f.is_dir()]:
            folders[part] = found[0]
    return patches.scene(name, folders) if folders else None
