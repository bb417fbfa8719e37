"""Scenes of numbered patches with one file a sensor: how SEN12MS and DFC2020 lie on disk.

A scene is one folder a part (`s1_63`, `s2_63`, `lc_63`); the parts of a patch differ in one word of their file name
(`ROIs1158_spring_s1_63_p30.tif`). The index holds numbers, not paths, so that 180,000 patches stay small.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from landweave.data import official
from landweave.data.dataset import Dataset, Place, Task
from landweave.errors import DataError, MissingDataError
from landweave.legends import Legend
from landweave.sample import Image, Label, LabelKind, Sample
from landweave.sensors import sensor

Labels = Literal["multilabel", "single", "map"]
TASKS: Mapping[Labels, tuple[str, LabelKind]] = {
    "multilabel": ("labels", "multilabel"),
    "single": ("scene", "class"),
    "map": ("map", "map"),
}
"""The one task that each form of the labels makes: its name and kind."""

STREAMS: Mapping[str, str] = {"s1": "s1-grd-sigma0", "s2": "s2-l1c"}

_FILE = re.compile(r"(?P<head>.+)_(?P<part>s1|s2|lc|dfc)_(?P<tail>[^_]+)_p(?P<number>\d+)(?P<end>\.tiff?)$")


@dataclass(frozen=True)
class Scene:
    """One scene on disk: per part the folder, the name of its files with `{}` for the number, and the numbers."""

    name: str
    folders: Mapping[str, str]
    patterns: Mapping[str, str]
    numbers: Mapping[str, frozenset[int]]

    def path(self, part: str, number: int) -> Path:
        """The file of one part of a patch."""
        return Path(self.folders[part], self.patterns[part].format(number))


@dataclass(frozen=True)
class LabelRule:
    """How the label file becomes a label: which layer of how many, its legend, and the form."""

    part: str
    layer: int
    layers: int
    legend: Legend
    form: Labels
    min_share: float


def scene(name: str, folders: Mapping[str, Path]) -> Scene:
    """List a scene's folders, without a look at any file.

    Raises:
        DataError: a raster whose name is not of the form `..._<part>_<scene>_p<number>.tif`, or two forms in a folder.
    """
    patterns, numbers = {}, {}
    for part, where in folders.items():
        found: dict[int, str] = {}
        for entry in os.scandir(where):
            if not entry.name.lower().endswith(official.TIFF) or entry.name.startswith("."):
                continue
            match = _FILE.match(entry.name)
            if match is None or match["part"] != part:
                raise DataError(
                    f"not a file of this archive: its name is not of the form ..._{part}_<scene>_p<number>.tif",
                    where=entry.path,
                    fix="move it out of the folder",
                )
            found[int(match["number"])] = f"{match['head']}_{part}_{match['tail']}_p{{}}{match['end']}"
        if len(set(found.values())) > 1:
            raise DataError(f"files of two scenes: {' and '.join(sorted(set(found.values()))[:2])}", where=where)
        numbers[part] = frozenset(found)
        patterns[part] = next(iter(found.values()), "")
    return Scene(name, {k: str(v) for k, v in folders.items()}, patterns, numbers)


def complete(scenes: Sequence[Scene], parts: Sequence[str], *, where: str, partial: bool) -> list[tuple[int, int]]:
    """Every patch that has an image, as (position of its scene, number), in order.

    Raises:
        MissingDataError: a patch lacks one of the parts, and `partial` does not allow it.
    """
    rows, lacking = [], []
    for at, one in enumerate(scenes):
        everything = frozenset().union(*(one.numbers.get(p, ()) for p in parts))
        for part in parts:
            absent = everything - one.numbers.get(part, frozenset())
            lacking += [f"{one.name} p{number}, {part}" for number in sorted(absent)]
        images = frozenset().union(*(one.numbers.get(p, ()) for p in parts if p in STREAMS))
        rows += [(at, number) for number in sorted(images)]
    if lacking and not partial:
        raise MissingDataError(
            f"{len(lacking)} files are missing; the first: {lacking[0]}",
            where=where,
            fix="unpack the archives of all parts, or set data.partial=true to use what is there",
        )
    return rows


class Patches(Dataset):
    """Places that are numbered patches of scenes. A part that a place lacks is an absent sensor, or no label."""

    def __init__(
        self,
        where: str,
        scenes: Sequence[Scene],
        rows: Sequence[tuple[int, int]],
        places: Sequence[Place],
        rule: LabelRule,
        *,
        offset: Mapping[str, float],
    ) -> None:
        self.where, self.scenes, self.rows, self.places, self.rule = where, scenes, rows, places, rule
        found = [p for p in STREAMS if any(s.numbers.get(p) for s in scenes)]
        self.streams = [STREAMS[p] for p in found]
        self._parts = found
        self._offsets = official.raw_offsets(offset, self.streams, where=where)
        self._task, kind = TASKS[rule.form]
        labelled = any(s.numbers.get(rule.part) for s in scenes)
        self.tasks = {self._task: Task(kind, rule.legend)} if labelled else {}

    def path(self, index: int, part: str) -> Path | None:
        """The file of one part, None where the place lacks it."""
        at, number = self.rows[index]
        one = self.scenes[at]
        return one.path(part, number) if number in one.numbers.get(part, ()) else None

    def files(self, index: int) -> tuple[Path, ...]:
        """Sentinel-1, Sentinel-2 and label file, as far as they exist."""
        found = (self.path(index, part) for part in (*self._parts, self.rule.part))
        return tuple(path for path in found if path)

    def read(self, index: int) -> Sample:
        """Read the images that the place has, and its label (unknown where the label file is absent)."""
        place = self.places[index]
        images: dict[str, Image] = {}
        for part in self._parts:
            if path := self.path(index, part):
                stream = STREAMS[part]
                bands = sensor(stream).band_names
                images[stream] = official.read_cube(path, stream, bands, offset=self._offsets[stream])
        labels = {self._task: self._label(index, images)} if self.tasks else {}
        return Sample(images, labels, place.name, place.group)

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """The classes of the label file, which is read for it; of a map all that occur."""
        rule, path = self.rule, self.path(index, self.rule.part)
        if path is None:
            return None
        codes, _ = official.read_codes(path, rule.layer, rule.layers)
        cover = official.shares(official.indices(codes, rule.legend, where=str(path)), rule.legend)
        if rule.form == "single":
            first = official.dominant(cover)
            return None if first is None else (first,)
        found = official.present(cover, rule.min_share if rule.form == "multilabel" else 0.0)
        return found if found or rule.form == "multilabel" else None  # a map without a known pixel says nothing

    def _label(self, index: int, images: Mapping[str, Image]) -> Label:
        rule, path = self.rule, self.path(index, self.rule.part)
        if rule.form == "single":
            found = self.classes(index, self._task)
            return Label.of_class(found[0] if found else None, rule.legend)
        if rule.form == "multilabel":
            return Label.of_classes(self.classes(index, self._task), rule.legend)
        if path is not None:
            codes, grid = official.read_codes(path, rule.layer, rule.layers)
            return Label.of_map(codes, rule.legend, grid=grid, where=str(path))
        return _unknown_map(images, rule.legend)


def _unknown_map(images: Mapping[str, Image], legend: Legend) -> Label:
    """A map of which nothing is known, as large as the place's first image."""
    import numpy as np

    first = next(iter(images.values()))
    return Label.of_map(np.full(first.data.shape[-2:], legend.ignored[0]), legend)
