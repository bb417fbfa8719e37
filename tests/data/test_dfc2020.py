"""DFC2020: both spellings of its folders, 10 to 8 classes, scene labels, and what is held out."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from landweave.data import raster
from landweave.data.dfc2020 import DFC2020, RUN
from landweave.data.store import Pack, pack
from landweave.errors import DataError, MissingDataError
from landweave.grid import Grid
from landweave.legends import DFC2020_8
from landweave.sample import UNKNOWN

SIDE = 10  # the archive's is 256; the reader takes what the file says
GRID = Grid("EPSG:32633", (10.0, 0.0, 400000.0, 0.0, -10.0, 5300000.0), (SIDE, SIDE))
CLASSES = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).repeat(SIDE).reshape(SIDE, SIDE)


def file(root: Path, split: str, part: str, number: int, folder: str = "0") -> Path:
    return root / f"ROIs0000_{split}" / f"{part}_{folder}" / f"ROIs0000_{split}_{part}_{folder}_p{number}.tif"


def patch(root: Path, split: str, number: int, codes: np.ndarray = CLASSES, folder: str = "0") -> None:
    radar = np.full((2, SIDE, SIDE), -10 - number, np.float32)
    raster.write(file(root, split, "s1", number, folder), radar, GRID)
    optical = np.stack([np.full((SIDE, SIDE), 100 * i + number, np.uint16) for i in range(13)])
    raster.write(file(root, split, "s2", number, folder), optical, GRID)
    raster.write(file(root, split, "dfc", number, folder), codes[None].astype(np.uint8), GRID)


@pytest.mark.parametrize("folder", ["0", "validation"])
def test_both_spellings_of_the_folders(tmp_path: Path, folder: str) -> None:
    patch(tmp_path, "validation", 5, folder=folder)
    patch(tmp_path, "test", 9)
    dataset = DFC2020(path=str(tmp_path)).open()
    assert [(p.name, p.split) for p in dataset.places] == [("validation_p5", "train"), ("test_p9", "test")]
    sample = dataset.read(0)
    assert sample.images["s2-l1c"].data[0, :, 0, 0].tolist() == [100 * i + 5 for i in range(13)]
    assert sample.images["s2-l1c"].bands[8] == "B8A"
    assert sample.images["s1-grd-sigma0"].data[0, :, 0, 0].tolist() == [-15, -15]
    assert [f.parent.name for f in dataset.files(0)] == [f"{p}_{folder}" for p in ("s1", "s2", "dfc")]


def test_eight_classes_leave_out_savanna_and_snow(tmp_path: Path) -> None:
    patch(tmp_path, "validation", 1)
    eight = DFC2020(path=str(tmp_path)).open().read(0).labels["map"]
    by_row = [0, 1, UNKNOWN, 2, 3, 4, 5, UNKNOWN, 6, 7]  # datasets-sentinel.md, B3
    assert eight.values.tolist() == [[v] * SIDE for v in by_row]
    assert eight.legend.names == (
        "Forest",
        "Shrubland",
        "Grassland",
        "Wetland",
        "Cropland",
        "Urban",
        "Barren",
        "Water",
    )
    ten = DFC2020(path=str(tmp_path), classes=10).open().read(0).labels["map"]
    assert ten.values.tolist() == [[v] * SIDE for v in range(10)]
    assert ten.known.all()


def test_a_map_without_a_known_pixel_counts_as_unlabelled_in_files_and_packs_alike(tmp_path: Path) -> None:
    patch(tmp_path / "d", "validation", 1, np.full((SIDE, SIDE), 3))  # savanna alone, which eight classes leave out
    patch(tmp_path / "d", "validation", 2)
    files = DFC2020(path=str(tmp_path / "d")).open()
    pack(files, tmp_path / "p")
    for dataset in (files, Pack(path=str(tmp_path / "p")).open()):
        assert [dataset.classes(i, "map") for i in (0, 1)] == [None, (0, 1, 2, 3, 4, 5, 6, 7)]


def test_scene_labels_leave_ignored_pixels_out(tmp_path: Path) -> None:
    codes = np.array([3] * 55 + [10] * 25 + [4] * 10 + [6] * 9 + [7]).reshape(SIDE, SIDE)
    patch(tmp_path, "validation", 1, codes)
    multi = DFC2020(path=str(tmp_path), labels="multilabel").open()
    assert [DFC2020_8.names[k] for k in multi.classes(0, "labels") or ()] == ["Grassland", "Water"]
    single = DFC2020(path=str(tmp_path), labels="single").open()
    assert single.classes(0, "scene") == (DFC2020_8.index("Water"),)  # savanna has more pixels, and is ignored
    assert int(single.read(0).labels["scene"].values) == DFC2020_8.index("Water")
    patch(tmp_path, "validation", 1, np.full((SIDE, SIDE), 3))
    assert single.classes(0, "scene") is None
    assert not single.read(0).labels["scene"].known


def test_runs_of_neighbouring_numbers_are_held_out_together(tmp_path: Path) -> None:
    numbers = range(10 * RUN)
    data = np.zeros((2, SIDE, SIDE), np.float32)
    for number in numbers:
        raster.write(file(tmp_path, "validation", "s1", number), data, GRID)
    for number in range(3):
        raster.write(file(tmp_path, "test", "s1", number), data, GRID)
    config = DFC2020(path=str(tmp_path))
    places = config.open().places
    of_group: dict[str, set[str]] = {}
    for p in places:
        of_group.setdefault(p.group, set()).add(p.split)
    assert all(len(splits) == 1 for splits in of_group.values())
    of_number = [p.split for p in places if p.name.startswith("validation_p")]
    assert all(len(set(of_number[n : n + RUN])) == 1 for n in range(0, len(of_number), RUN))
    assert [p.split for p in places].count("validation") == 2 * RUN
    assert [p.split for p in places].count("test") == 3
    other = config.model_copy(update={"split_seed": 1}).open().places
    assert [p.split for p in other] != [p.split for p in places]
    assert list(config.open().tasks) == []  # no label file: no task


def test_faults_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="neither ROIs0000_validation nor ROIs0000_test"):
        DFC2020(path=str(tmp_path)).open()
    patch(tmp_path, "validation", 1)
    patch(tmp_path, "validation", 2, np.full((SIDE, SIDE), 11))
    dataset = DFC2020(path=str(tmp_path)).open()
    with pytest.raises(DataError, match=r"dfc_0_p2\.tif: label value 11 is not in legend dfc2020-8"):
        dataset.read(1)
    file(tmp_path, "validation", "dfc", 2).unlink()
    with pytest.raises(
        MissingDataError, match=r"1 files are missing; the first: validation p2, dfc[\s\S]*partial=true"
    ):
        DFC2020(path=str(tmp_path)).open()
    partial = pickle.loads(pickle.dumps(DFC2020(path=str(tmp_path), partial=True).open()))
    assert not partial.read(1).labels["map"].known.any()
    assert partial.read(0).labels["map"].known.any()
