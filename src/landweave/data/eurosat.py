"""EuroSAT: 27,000 places of 64 x 64 pixels in ten classes, as 13-band Sentinel-2 Level-1C, or as RGB JPEG.

Layout: `<Class>/<Class>_<n>.tif` (13 bands, uint16, in the order B01 ... B09, B10, B11, B12, **B8A last**) or
`<Class>/<Class>_<n>.jpg` (the same place under the same name). Helber et al. 2019, "EuroSAT: A novel dataset and
deep learning benchmark for land use and land cover classification", IEEE JSTARS 12(7).

The files say neither scene nor date, and neighbouring places may fall into different official splits; the spatial
lists cut by longitude instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from landweave.data import official
from landweave.data.dataset import DataConfig, Dataset, Place, Split, Task
from landweave.errors import DataError, MissingDataError, did_you_mean, listed
from landweave.legends import EUROSAT
from landweave.sample import Label, Sample
from landweave.sensors import sensor

Form = Literal["ms", "rgb"]
Splits = Literal["official", "spatial", "random"]

FILE_ORDER = next(order for order in sensor("s2-l1c").orders if len(order) == 13)
"""Bands of a 13-band file: B8A stands last, not after B08."""

INNER = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
"""Where EuroSATallBands.zip hides its class folders."""

_STREAM: Mapping[Form, str] = {"ms": "s2-l1c", "rgb": "rgb"}
_ENDINGS: Mapping[Form, tuple[str, ...]] = {"ms": official.TIFF, "rgb": (".jpg", ".jpeg")}
_LISTS: Mapping[str, str] = {"official": "eurosat", "spatial": "eurosat-spatial"}
_WORDS: Mapping[Split, str] = {"train": "train", "validation": "val", "test": "test"}
_STEM = re.compile(r"(?P<name>.+)_(?P<number>\d+)$")


class EuroSAT(DataConfig):
    """Stream `s2-l1c` (form=ms) or `rgb` (form=rgb), task `scene`.

    splits=official and splits=spatial read `eurosat-{train,val,test}.txt` or `eurosat-spatial-{...}.txt`, which lie
    beside the class folders or above them and name `.jpg` files for both forms. splits=random needs no list: of every
    five consecutive numbers of a class three train, one validates and one tests, which the name and `split_seed`
    alone decide, so that a part of the archive keeps the splits of the whole.
    """

    kind: Literal["eurosat"] = "eurosat"
    form: Literal["auto", "ms", "rgb"] = Field("auto", description="13-band tif (ms) or jpg (rgb); auto: what is there")
    splits: Splits = Field("official", description="where the splits come from")
    split_seed: int = Field(0, description="draw of splits=random")

    def open(self) -> Dataset:
        """List the class folders; no image is opened."""
        root = _class_root(official.folder(self.path, "EuroSAT"))
        found = {form: list(_files(root, form)) for form in _STREAM if self.form in ("auto", form)}
        forms = [form for form, files in found.items() if files]
        if len(forms) != 1:
            ending = " and .jpg" if self.form == "auto" else ""
            raise MissingDataError(
                f"no image of form {self.form} in the class folders" if not forms else "both .tif and .jpg images",
                where=root,
                fix=f"unpack EuroSAT there (.tif{ending})" if not forms else "set data.form=ms or data.form=rgb",
            )
        files = found[forms[0]]
        splits = _random(files, self.split_seed) if self.splits == "random" else _listed(root, files, self.splits)
        places = [Place(f.stem, splits.get(f.stem, "")) for f in files]
        return EuroSATDataset(str(root), forms[0], files, places, offset=self.offset)


class EuroSATDataset(Dataset):
    """One image and one class a place."""

    def __init__(
        self, where: str, form: Form, files: Sequence[Path], places: Sequence[Place], *, offset: Mapping[str, float]
    ) -> None:
        self.where, self.places = where, places
        self._files = [f"{f.parent.name}/{f.name}" for f in files]
        self._stream = _STREAM[form]
        self._bands = FILE_ORDER if form == "ms" else sensor("rgb").band_names
        self.streams = [self._stream]
        self.tasks = {"scene": Task("class", EUROSAT)}
        self._offset = official.raw_offsets(offset, self.streams, where=where)[self._stream]

    def files(self, index: int) -> tuple[Path, ...]:
        """The image."""
        return (Path(self.where, self._files[index]),)

    def read(self, index: int) -> Sample:
        """Read the image; the class is that of its folder."""
        place = self.places[index]
        image = official.read_cube(self.files(index)[0], self._stream, self._bands, offset=self._offset)
        label = Label.of_class(self._class(index), EUROSAT)
        return Sample({self._stream: image}, {"scene": label}, place.name, place.group)

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """The class of the folder."""
        return (self._class(index),)

    def _class(self, index: int) -> int:
        return EUROSAT.names.index(self._files[index].partition("/")[0])


def _class_root(path: Path) -> Path:
    """The folder that holds the class folders: the path, a folder in it, or the one deep inside the official zip."""
    inside = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))
    near = [p for p in (path, path / INNER, *inside) if any((p / name).is_dir() for name in EUROSAT.names)]
    if not near:
        raise MissingDataError(
            f"no class folder ({listed(EUROSAT.names)}) in it, nor in a folder of it, nor in {INNER}",
            where=path,
            fix="set data.path to the folder of the unpacked EuroSAT archive",
        )
    if len(near) > 1:
        raise DataError(
            f"class folders in {listed([str(p) for p in near])}", where=path, fix="set data.path to one of them"
        )
    root = near[0]
    strange = [p.name for p in sorted(root.iterdir()) if p.is_dir() and p.name not in EUROSAT.names]
    strange = [name for name in strange if not name.startswith((".", "_")) and did_you_mean(name, EUROSAT.names)]
    if strange:
        raise DataError(f"folder `{strange[0]}` is not a class{did_you_mean(strange[0], EUROSAT.names)}", where=root)
    return root


def _files(root: Path, form: Form) -> Iterator[Path]:
    """Images in order of class, then number."""
    for name in EUROSAT.names:
        if not (root / name).is_dir():
            continue
        numbered = []
        for entry in os.scandir(root / name):
            if entry.name.startswith(".") or not entry.name.lower().endswith(_ENDINGS[form]):
                continue
            match = _STEM.match(Path(entry.name).stem)
            if match is None or match["name"] != name:
                raise DataError(f"an image that is not named {name}_<number>", where=entry.path, fix="move it away")
            numbered.append((int(match["number"]), entry.name))
        yield from (root / name / file for _, file in sorted(numbered))


def _random(files: Sequence[Path], seed: int) -> dict[str, Split]:
    """Three of every five consecutive numbers train, one validates, one tests: exactly 60/20/20 within a class."""
    out: dict[str, Split] = {}
    for file in files:
        name, _, number = file.stem.rpartition("_")
        run = (int(number) - 1) // 5
        order = sorted(range(5), key=lambda i: official.hashed(seed, name, run, i))
        rank = order.index((int(number) - 1) % 5)
        out[file.stem] = "train" if rank < 3 else "validation" if rank == 3 else "test"
    return out


def _listed(root: Path, files: Sequence[Path], splits: Splits) -> dict[str, Split]:
    """Splits by the lists. Places that no list names are in no split.

    Raises:
        MissingDataError: a list is lacking, or images that the lists name are.
    """
    out: dict[str, Split] = {}
    for split, word in _WORDS.items():
        name = f"{_LISTS[splits]}-{word}.txt"
        file = next((p / name for p in (root, *root.parents[:7]) if (p / name).is_file()), None)
        if file is None:
            raise MissingDataError(
                f"no {name} beside the class folders or above them",
                where=root,
                fix="put the three lists there (torchgeo's copy of EuroSAT has them), or set data.splits=random",
            )
        for line in file.read_text(encoding="utf-8").split():
            stem = Path(line).stem
            if out.setdefault(stem, split) != split:
                raise DataError(f"{stem} stands in the lists of {out[stem]} and of {split}", where=file)
    absent = sorted(set(out) - {f.stem for f in files})
    if absent:
        raise MissingDataError(
            f"{len(absent)} of the {len(out)} images that the lists name are missing; the first: {absent[0]}",
            where=root,
            fix="unpack the whole archive, or set data.splits=random to use a part of it",
        )
    return out
