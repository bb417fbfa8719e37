"""TreeSatAI time series: tree genera of 50,381 places of 60 m, aerial images of 0.2 m and a year of Sentinel-1 and -2.

Ahlswede et al. 2023, "TreeSatAI Benchmark Archive", Earth System Science Data 15; with series: Astruc et al. 2024,
"OmniSat: Self-supervised modality fusion for Earth observation", ECCV. Two layouts: `aerial/NAME.tif` with
`sentinel-ts/NAME_2019.h5`, and `train.csv`, `val.csv`, `test.csv` that name both and give the share of each genus; or
`NAME.tif` with `NAME.h5` in one folder.

What genuine files show (and no text says): Sentinel-1 is linear power (0 to 0.8, mean 0.07 over forest), with 0 where
noise removal left nothing and NaN where a scene ends; the bands of an aerial image are near infrared, green, blue and
red, told by shadows, where blue fades least; masks have two layers, or ten of which the first two are filled.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from landweave.data import official
from landweave.data.dataset import DataConfig, Dataset, Place, Split, Task
from landweave.data.flairhub import Clouds
from landweave.data.series import clear_dates, clearest_date
from landweave.data.treesatai_h5 import Series, opened, read, require
from landweave.errors import DataError, LandweaveWarning, MissingDataError, listed
from landweave.legends import TREESATAI_15
from landweave.sample import Image, Label, Sample, day_of
from landweave.sensors import sensor

AERIAL = ("N", "G", "B", "R")
SERIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "s2-l2a": ("sen-2", ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")),
    "s1-grd-sigma0-asc-linear": ("sen-1-asc", ("VV", "VH")),
    "s1-grd-sigma0-desc-linear": ("sen-1-des", ("VV", "VH")),
}
"""Stream -> what its arrays in the HDF5 file begin with, and its bands."""
LISTS: Mapping[str, Split] = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}
_FIRST = ("aerial_name", "sen_name", "aerial_date")


class TreeSatAI(DataConfig):
    """Streams `aerial` and the series of `SERIES`; task `genus`, the genera that cover at least `min_share`.

    Snow and cloud masks leave dates out by `clouds`; of a date that stays, covered pixels are not seen. A place whose
    image no list names has no split and no known label. splits=none reads labels from the lists and no splits.
    """

    kind: Literal["treesatai"] = "treesatai"
    splits: Literal["csv", "none"] = Field("csv", description="where the splits come from")
    min_share: float = Field(0.07, gt=0, le=1, description="least share of a genus that counts as present")
    clouds: Clouds | None = Field(Clouds(), description="filter of Sentinel-2 dates by snow and cloud; null: none")

    def open(self) -> Dataset:
        """Read the lists and the names of files; none is opened."""
        root = official.folder(self.path, "TreeSatAI")
        rows = _rows(root, several=self.splits == "none")
        if self.splits == "none":
            rows = [replace(r, split="") for r in rows]
        return TreeSatAIDataset(root, rows, self)


@dataclass(frozen=True)
class _Row:
    """A place: its files, where they are there or a list says so, and the share of each genus, if known."""

    name: str
    aerial: Path | None
    series: Path | None
    split: Split = ""
    day: date | None = None
    shares: tuple[float, ...] | None = None


class TreeSatAIDataset(Dataset):
    """Places of TreeSatAI. A file that no list names and that is not there is an absent sensor."""

    tasks: Mapping[str, Task] = {"genus": Task("multilabel", TREESATAI_15)}
    streams = ("aerial", *SERIES)

    def __init__(self, root: Path, rows: Sequence[_Row], config: TreeSatAI) -> None:
        self.where, self._rows, self._config = str(root), rows, config
        self.places = [Place(r.name, r.split) for r in rows]
        self._offsets = official.raw_offsets(config.offset, self.streams, where=self.where)

    def read(self, index: int) -> Sample:
        """Read the image and the series."""
        row = self._rows[index]
        images: dict[str, Image] = {}
        if row.aerial is not None:
            days = [day_of(row.day)] if row.day else ()
            images["aerial"] = official.read_cube(
                row.aerial, "aerial", AERIAL, offset=self._offsets["aerial"], days=days
            )
        if row.series is not None:
            images |= self._series(row.series)
        label = Label.of_classes(self.classes(index, "genus"), TREESATAI_15)
        return Sample(images, {"genus": label}, row.name)

    def _series(self, path: Path) -> dict[str, Image]:
        with opened(path) as file:
            found = {stream: read(file, path, head, bands) for stream, (head, bands) in SERIES.items()}
        out = {}
        for stream, one in found.items():
            if one is None:
                continue
            one = self._cleared(one, path) if stream == "s2-l2a" else one
            row = sensor(stream)
            step = self._offsets[stream]
            offset = [step + a * row.scale for a in one.added]
            image = Image.of(stream, SERIES[stream][1], one.data, days=one.days, offset=offset, pixels_seen=one.seen)
            out[stream] = replace(image, dates_seen=image.pixels_seen.flatten(1).any(1))
        return out

    def _cleared(self, one: Series, path: Path) -> Series:
        """Without cloudy dates, but never without any; covered pixels of the others are not seen."""
        clouds = self._config.clouds
        if clouds is None or one.mask is None:
            return one
        keep = clear_dates(one.mask, cover=clouds.cover, probability=clouds.probability)
        if not keep.any():
            keep[clearest_date(one.mask, probability=clouds.probability)] = True
            what = f"snow or cloud on each of the {len(keep)} dates of s2-l2a; the clearest is kept"
            warnings.warn(f"{path.name}: {what}", LandweaveWarning, stacklevel=2)
        clear = np.asarray((one.mask <= clouds.probability).all(1, keepdims=True))
        covered = ~clear.reshape(len(clear), -1).any(1)
        clear[covered] = True  # a date that is kept although all of it is covered stays whole
        return replace(one, seen=one.seen & clear).take(keep)

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """Of the lists."""
        found = self._rows[index].shares
        return None if found is None else official.present(np.array(found), self._config.min_share)

    def files(self, index: int) -> tuple[Path, ...]:
        """The image and the series."""
        return tuple(f for f in (self._rows[index].aerial, self._rows[index].series) if f)

    def file_of(self, index: int, stream: str) -> Path | None:
        """The file of one stream."""
        return self._rows[index].aerial if stream == "aerial" else self._rows[index].series

    def look(self, index: int) -> None:
        """The header of the image, and the names of the products."""
        from landweave.data import raster

        row = self._rows[index]
        if row.aerial is not None:
            raster.header(row.aerial)
        if row.series is not None:
            with opened(row.series) as file:
                for head, bands in SERIES.values():
                    require(file, row.series, head, len(bands))

    def located(self) -> Sequence[Place]:
        """The places with coordinates, of the headers of their images."""
        from landweave.data import raster

        out = []
        for place, row in zip(self.places, self._rows, strict=True):
            at = raster.lonlat(raster.header(row.aerial).grid) if row.aerial else None
            out.append(replace(place, lon=at[0], lat=at[1]) if at else place)
        return out


# ---- lists and names


def _rows(root: Path, *, several: bool) -> list[_Row]:
    """The rows of the lists, then what lies there beside; `several`: a place may stand in more than one list.

    Raises:
        MissingDataError: no image and no list.
        DataError: a list has other columns, a number is none, a place stands in two lists.
    """
    aerial = root / "aerial" if (root / "aerial").is_dir() else root
    series = root / "sentinel-ts" if (root / "sentinel-ts").is_dir() else root
    found: dict[str, _Row] = {}
    for name, split in LISTS.items():
        if not (root / name).is_file():
            continue
        for row in _listed(root / name, split, aerial, series):
            if row.name in found and not several:
                raise DataError(
                    f"{row.name} stands in the lists of {found[row.name].split} and of {split}",
                    where=root / name,
                    fix="correct the lists, or set data.splits=none, which reads labels only",
                )
            found.setdefault(row.name, row)
    told = set(found)
    for folder, beside in dict.fromkeys(((aerial, series), (root, root))):
        for row in _beside(folder, beside, told):
            found.setdefault(row.name, row)
    if not found:
        raise MissingDataError(
            "neither images (aerial/*.tif) nor series (*.h5) nor train.csv",
            where=root,
            fix="set data.path to the folder that holds aerial/ and sentinel-ts/",
        )
    return list(found.values())


def _listed(path: Path, split: Split, aerial: Path, series: Path) -> list[_Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        head = list(reader.fieldnames or ())
        wrong = [c for c in (*_FIRST, *TREESATAI_15.names) if c not in head]
        if wrong:
            raise DataError(
                f"no column {listed(wrong)}; there are {listed(head, 20)}",
                where=path,
                fix="columns are aerial_name, sen_name, aerial_date, and the share of each of the 15 genera",
            )
        return [_row(line, f"{path}, line {reader.line_num}", split, aerial, series) for line in reader]


def _row(line: Mapping[str, str], where: str, split: Split, aerial: Path, series: Path) -> _Row:
    try:
        shares = tuple(float(line[g]) for g in TREESATAI_15.names)
        text = line["aerial_date"]
        day = datetime.strptime(text, "%Y%m%d").date() if text else None
        if min(shares) < 0 or max(shares) > 1:
            raise ValueError(f"a share of {max(shares)}" if max(shares) > 1 else "a share below 0")
    except (TypeError, ValueError) as error:
        raise DataError(f"{error}", where=where, fix="shares lie in 0 ... 1, dates are YYYYMMDD") from None
    name = Path(line["aerial_name"]).stem or Path(line["sen_name"]).stem
    image = aerial / line["aerial_name"] if line["aerial_name"] else None
    return _Row(name, image, series / line["sen_name"] if line["sen_name"] else None, split, day, shares)


def _beside(aerial: Path, series: Path, told: Collection[str]) -> list[_Row]:
    """Images with the series of their name (and a year), and series without an image.

    Of images whose names are `told`, a list says which series is theirs, and how many others there are is no matter.
    """
    images = {p.stem: p for p in sorted(aerial.glob("*.tif"))}
    stacks: dict[str, list[Path]] = {}
    for path in sorted(series.glob("*.h5")):
        stem = re.sub(r"_(19|20)\d\d$", "", path.stem)
        stacks.setdefault(stem if stem in images else path.stem, []).append(path)
    for stem, paths in stacks.items():
        if len(paths) > 1 and stem not in told:
            raise DataError(
                f"several series of one image: {listed([p.name for p in paths])}",
                where=series,
                fix=f"name {images[stem].name} and one of them in train.csv (or val.csv, test.csv)",
            )
    return [_Row(n, images.get(n), stacks[n][0] if n in stacks else None) for n in sorted({*images, *stacks})]
