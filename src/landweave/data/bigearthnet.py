"""BigEarthNet v2 (reBEN): 480,038 places of 1.2 km in ten European countries, Sentinel-1 and -2, CORINE labels.

Layout, by folders (`.tif` or `.tiff`):
`BigEarthNet-S2/<product>/<product>_<x>_<y>/<...>_<band>.tif`, 12 bands at 120, 60 and 20 pixels, uint16, 0 = nodata;
`BigEarthNet-S1/<scene>/<scene>_<tile>_<x>_<y>/<...>_{VV,VH}.tif`, 120 pixels, float32, dB;
`Reference_Maps/<product>/<patch>/<patch>_reference_map.tif`, 120 pixels, uint16, CORINE Land Cover 2018 codes;
`metadata.parquet`: patch_id, labels, split, s1_name and more. Or one LMDB database that rico-hdl wrote from them.

Clasen et al. 2024, "reBEN: Refined BigEarthNet dataset for remote sensing image analysis", arXiv 2407.03653.

What is known of Sentinel-1's calibration: the files carry no tag. The dataset's papers speak of calibrated, terrain
corrected backscatter in dB without naming sigma or gamma; it is read as `s1-grd-sigma0`. The preparation scripts that
were published for it (jiankang1991/BigEarthNet-Sen1) call sen1mosaic with a speckle filter, whose SNAP graphs also
flatten the terrain at some of their versions. Values from another source may therefore differ on slopes, and be
rougher.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from landweave.data import bigearthnet_index as metadata
from landweave.data import official
from landweave.data.dataset import DataConfig, Dataset, Task
from landweave.data.ricohdl import Database
from landweave.errors import DataError, MissingDataError, listed
from landweave.grid import Grid
from landweave.legends import BIGEARTHNET_19, BIGEARTHNET_MAP
from landweave.sample import Image, Label, Sample, day_of
from landweave.sensors import native_streams, sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDERS = ("BigEarthNet-S2", "BigEarthNet-S1", "Reference_Maps")
S1 = "s1-grd-sigma0"
S2 = native_streams("s2-l2a", sensor("s2-l2a").band_names)
"""`s2-l2a@60`, `@10`, `@20`, and the bands of each."""

_DAY = re.compile(r"_(\d{8})T\d{6}_")


class BigEarthNetV2(DataConfig):
    """Streams `s2-l2a@10`, `s2-l2a@20`, `s2-l2a@60` and `s1-grd-sigma0` (VV, VH in dB); tasks `labels` and `map`.

    Task `labels`: the 19 classes in the order of the nomenclature (Urban fabric first), whatever the order in the
    metadata. Task `map`: the reference map, CORINE codes merged to the same 19 classes; codes without a class are
    unknown. A folder `BigEarthNet-S1` or `BigEarthNet-S2` that is lacking as a whole is an absent sensor, a lacking
    `Reference_Maps` an absent task. Patches that lie on disk but not in the metadata (the snow and cloud ones) are no
    places unless snow_cloud=true; then those of the test regions are the split `snow_cloud`, and the others, whose
    ground training or validation may have seen on a better day, are in no split.
    """

    kind: Literal["bigearthnet-v2"] = "bigearthnet-v2"
    form: Literal["auto", "tif", "lmdb"] = Field("auto", description="folders of tif, or rico-hdl's LMDB")
    metadata: str = Field("", description="metadata.parquet, if it does not lie in the folder or beside it")
    snow_cloud: bool = Field(False, description="also the 69,450 places with seasonal snow, cloud or cloud shadow")
    partial: bool = Field(False, description="use a folder that lacks some of the places of the metadata")

    def open(self) -> Dataset:
        """Read the metadata and list the folders (or the database's keys); no image is opened."""
        root = official.folder(self.path, "BigEarthNet v2")
        source = _source(root, self.form)
        file = metadata.find(root, self.metadata)
        index = metadata.read_index(file, metadata.beside(file) if self.snow_cloud else None)
        stored = source.stored()
        keep = metadata.kept(index, stored, where=str(root), partial=self.partial)
        return BigEarthNetDataset(str(root), source, index.take(keep), stored, offset=self.offset)


class Source(Protocol):
    """Where pixels come from: folders of tif, or a database."""

    def stored(self) -> dict[str, set[str]]:
        """Names of the patches that are there, for each of `s2`, `s1` and `map` that is there at all."""

    def bands(self, name: str, bands: Sequence[str], stream: str, grid: Grid, offset: float, day: int) -> Image:
        """One stream of a patch. `grid` is what its name says; a file's own georeference goes before it."""

    def codes(self, patch: str, grid: Grid) -> tuple[NDArray[Any], Grid, str]:
        """CORINE codes of a reference map, its grid, and where it lies."""

    def files(self, name: str, bands: Sequence[str]) -> list[Path]:
        """The files of a patch's bands."""


@dataclass(frozen=True)
class TifFolders:
    """The official folders."""

    root: Path

    def stored(self) -> dict[str, set[str]]:
        """List product folders, without a look at any patch in them."""
        return {
            key: {patch for product in _folders(self.root / name) for patch in os.listdir(product)}
            for key, name in zip(("s2", "s1", "map"), FOLDERS, strict=True)
            if (self.root / name).is_dir()
        }

    def _file(self, top: str, product: str, patch: str, last: str) -> Path:
        stem = self.root / top / product / patch / f"{patch}_{last}"
        plain = stem.with_name(f"{stem.name}.tif")
        longer = stem.with_name(f"{stem.name}.tiff")
        return longer if not plain.exists() and longer.exists() else plain

    def files(self, name: str, bands: Sequence[str]) -> list[Path]:
        """One file a band; the name tells the sensor."""
        top, parts = ("BigEarthNet-S1", 3) if name.startswith("S1") else ("BigEarthNet-S2", 2)
        if bands == ("reference_map",):
            top = "Reference_Maps"
        return [self._file(top, name.rsplit("_", parts)[0], name, band) for band in bands]

    def bands(self, name: str, bands: Sequence[str], stream: str, grid: Grid, offset: float, day: int) -> Image:
        """Read the files."""
        files = dict(zip(bands, self.files(name, bands), strict=True))
        return official.read_bands(files, stream, offset=offset, days=[day])

    def codes(self, patch: str, grid: Grid) -> tuple[NDArray[Any], Grid, str]:
        """Read the reference map."""
        file = self.files(patch, ("reference_map",))[0]
        codes, found = official.read_codes(file, 0, 1)
        return codes, found, str(file)


@dataclass(frozen=True)
class RicoHDL:
    """rico-hdl's database. It has no georeference: grids follow from the names."""

    database: Database

    def stored(self) -> dict[str, set[str]]:
        """Sort the keys by what they are."""
        end = "_reference_map"
        found: dict[str, set[str]] = {"s2": set(), "s1": set(), "map": set()}
        for key in self.database.keys():  # noqa: SIM118  (not a mapping)
            if key.endswith(end):
                found["map"].add(key.removesuffix(end))
            else:
                found["s1" if key.startswith("S1") else "s2"].add(key)
        self.database.close()  # workers that fork now inherit nothing
        return {key: names for key, names in found.items() if names}

    def files(self, name: str, bands: Sequence[str]) -> list[Path]:
        """Patches have no files of their own."""
        return []

    def bands(self, name: str, bands: Sequence[str], stream: str, grid: Grid, offset: float, day: int) -> Image:
        """Read the arrays of one size. As in the tif files, 0 is nodata of Sentinel-2."""
        import numpy as np

        found = self.database.bands(name)
        if lacking := [b for b in bands if b not in found]:
            raise DataError(f"patch `{name}` lacks band {listed(lacking)}", where=self.database.folder)
        data = np.stack([found[b] for b in bands])
        seen = None if stream == S1 else data != 0
        if seen is not None and (seen == seen[:1]).all():
            seen = seen[:1]
        rows, cols = data.shape[-2:]
        return Image.of(stream, bands, data, grid=grid.scaled(rows, cols), offset=offset, days=[day], pixels_seen=seen)

    def codes(self, patch: str, grid: Grid) -> tuple[NDArray[Any], Grid, str]:
        """Read the reference map."""
        found = self.database.bands(f"{patch}_reference_map")
        if "Data" not in found:
            raise DataError(f"the reference map of `{patch}` lacks its entry Data", where=self.database.folder)
        codes = found["Data"]
        return codes, grid.scaled(*codes.shape), f"{self.database.folder} ({patch})"


class BigEarthNetDataset(Dataset):
    """Two sensors, multi-labels and a reference map a place."""

    def __init__(
        self,
        where: str,
        source: Source,
        index: metadata.Index,
        stored: Mapping[str, set[str]],
        *,
        offset: Mapping[str, float],
    ) -> None:
        self.where, self._source, self._index = where, source, index
        self.streams = [*(sorted(S2) if "s2" in stored else ()), *([S1] if "s1" in stored else ())]
        self.tasks = {"labels": Task("multilabel", BIGEARTHNET_19)}
        if "map" in stored:
            self.tasks["map"] = Task("map", BIGEARTHNET_MAP)
        self._offsets = official.raw_offsets(offset, self.streams, where=where)
        self._absent = {  # only what is lacking: nothing in the usual case
            "s2": metadata.lacking(index.patches, stored, "s2"),
            "s1": metadata.lacking(index.s1, stored, "s1"),
            "map": metadata.lacking(index.patches, stored, "map"),
        }
        self.places = metadata.places(index)

    def read(self, index: int) -> Sample:
        """Read the sensors that the place has. A date is that of the product's name."""
        return self.read_streams(index, self.streams)

    def read_streams(self, index: int, streams: Collection[str]) -> Sample:
        """Read one place without the files of its other images. See `Dataset.read_streams`."""
        patch, s1 = self._index.patches[index], self._index.s1[index]
        grid = metadata.grid_of(patch)
        images = {}
        for stream in (s for s in self.streams if s in streams):
            name, bands = (s1, ("VV", "VH")) if stream == S1 else (patch, S2[stream])
            if name not in self._absent["s1" if stream == S1 else "s2"]:
                offset = self._offsets[stream]
                images[stream] = self._source.bands(name, bands, stream, grid, offset, _day(name))
        labels = {"labels": Label.of_classes(self.classes(index, "labels"), BIGEARTHNET_19)}
        if "map" in self.tasks:
            labels["map"] = self._map(patch, grid)
        return Sample(images, labels, patch, self.places[index].group)

    def _map(self, patch: str, grid: Grid) -> Label:
        import numpy as np

        if patch in self._absent["map"]:
            return Label.of_map(np.zeros(grid.shape, np.uint16), BIGEARTHNET_MAP, grid=grid)
        codes, found, where = self._source.codes(patch, grid)
        return Label.of_map(codes, BIGEARTHNET_MAP, grid=found, where=where)

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """The place's labels. They were derived from the same map, so for task `map` no file is read either."""
        if task == "map" and self._index.patches[index] in self._absent["map"]:
            return None
        starts = self._index.starts
        return tuple(self._index.labels[starts[index] : starts[index + 1]].tolist())

    def files(self, index: int) -> tuple[Path, ...]:
        """Every band file, and the reference map; none of a database."""
        patch, s1 = self._index.patches[index], self._index.s1[index]
        found: list[Path] = []
        for stream in self.streams:
            name, bands = (s1, ("VV", "VH")) if stream == S1 else (patch, S2[stream])
            if name not in self._absent["s1" if stream == S1 else "s2"]:
                found += self._source.files(name, bands)
        if "map" in self.tasks and patch not in self._absent["map"]:
            found += self._source.files(patch, ("reference_map",))
        return tuple(found)


def _source(root: Path, form: str) -> Source:
    """The folders or the database at the path.

    Raises:
        MissingDataError: neither is there, or not the one that is asked for.
        DataError: both are.
    """
    tif = any((root / name).is_dir() for name in FOLDERS[:2])
    near = [p for p in (root, *_folders(root)) if (p / "data.mdb").is_file()]
    if form == "auto" and tif and near:
        raise DataError("both folders of tif and an LMDB database", where=root, fix="set data.form=tif or =lmdb")
    if form != "lmdb" and tif:
        return TifFolders(root)
    if form != "tif" and len(near) == 1:
        return RicoHDL(Database(near[0]))
    if form != "tif" and near:
        raise DataError(f"{len(near)} databases", where=root, fix=f"set data.path to one, such as {near[0]}")
    raise MissingDataError(
        f"neither {FOLDERS[0]} nor {FOLDERS[1]} nor a database (data.mdb) in it"
        if form == "auto"
        else f"no {'folder of tif' if form == 'tif' else 'data.mdb'} in it",
        where=root,
        fix="set data.path to the folder that holds BigEarthNet-S2, or to rico-hdl's output",
    )


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir())


def _day(name: str) -> int:
    match = _DAY.search(name)
    return day_of(match[1] if match else None)
