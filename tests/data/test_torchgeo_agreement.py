"""Our readers against torchgeo 0.8.1's on the same folders. What differs is asserted as a difference, and explained.

Importing torchgeo takes 10 to 15 s, so everything that needs it stands in this file.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from landweave.data import mgrs, raster
from landweave.data.bigearthnet import BigEarthNetV2
from landweave.data.eurosat import FILE_ORDER, INNER, EuroSAT
from landweave.data.sen12ms import SEASONS, SEN12MS
from landweave.grid import Grid
from landweave.legends import BIGEARTHNET_19, EUROSAT
from landweave.sample import UNKNOWN


@pytest.fixture(scope="module")
def torchgeo() -> Any:
    lent = importlib.util.find_spec("requests") is None
    if lent:  # torchgeo 0.8.1 imports it for one downloader, and does not declare it
        sys.modules["requests"] = types.ModuleType("requests")
    try:
        return importlib.import_module("torchgeo.datasets")
    finally:
        if lent:
            del sys.modules["requests"]


SLIPS = version("torchgeo").startswith("0.8.")
"""Whether what 0.8 gets wrong is expected; a later one may have mended it."""


def _ours(path: str, kind: Any, split: str, **options: Any) -> dict[str, Any]:
    """Samples of a split by name."""
    dataset = kind(path=path, **options).open()
    return {dataset.places[i].name: dataset.read(i) for i in dataset.of_split(split)}


# EuroSAT


@pytest.fixture
def eurosat(real: Path, tmp_path: Path) -> Path:
    """One place a class and split (torchgeo wants a file in each class folder), and the three genuine ones."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    grid = Grid("EPSG:32632", (10.0, 0.0, 500000.0, 0.0, -10.0, 5300000.0), (64, 64))
    for i, name in enumerate(EUROSAT.names):
        for j, split in enumerate(lists):
            rng = np.random.default_rng(10 * i + j)
            data = rng.integers(0, 10000, (13, 64, 64)).astype(np.uint16)
            raster.write(tmp_path / INNER / name / f"{name}_{9000 + j}.tif", data, grid)
            lists[split].append(f"{name}_{9000 + j}.jpg")
    for file in (real / "formats/eurosat-ms").rglob("*.tif"):
        (tmp_path / INNER / file.parent.name / file.name).symlink_to(file)
        lists["train"].append(f"{file.stem}.jpg")
    for split, lines in lists.items():
        (tmp_path / f"eurosat-{split}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_eurosat(torchgeo: Any, eurosat: Path) -> None:
    for split, word in (("train", "train"), ("validation", "val"), ("test", "test")):
        theirs = torchgeo.EuroSAT(str(eurosat), split=word)
        ours = _ours(str(eurosat), EuroSAT, split)
        assert theirs.all_band_names == FILE_ORDER
        assert tuple(theirs.classes) == EUROSAT.names
        assert len(theirs) == len(ours) == (13 if split == "train" else 10)
        for i, (file, _) in enumerate(theirs.imgs):
            sample, mine = theirs[i], ours[Path(file).stem]
            # Same numbers under the same names. Theirs are float32 without unit; ours stay uint16 and carry the scale.
            image = mine.images["s2-l1c"]
            assert torch.equal(sample["image"], image.data[0].float())
            assert image.data.dtype == torch.uint16
            torch.testing.assert_close(image.physical()[0], sample["image"] * 1e-4)
            assert int(sample["label"]) == int(mine.labels["scene"].values)


# BigEarthNet v2

PRODUCT = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
SCENE = "S1A_IW_GRDH_1SDV_20170613T165043"
LABELS = ["Arable land", "Coniferous forest", "Urban fabric"]  # alphabetical, as in the official metadata


@pytest.fixture
def bigearthnet(real: Path, tmp_path: Path) -> Path:
    """The genuine Sentinel-2 and Sentinel-1 files under one place's names, and a map with every code."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    formats = real / "formats/bigearthnet-v2"
    patch, radar = f"{PRODUCT}_75_43", f"{SCENE}_33UUP_75_43"
    for top, product, name in (("BigEarthNet-S2", PRODUCT, patch), ("BigEarthNet-S1", SCENE, radar)):
        for file in (formats / top).rglob("*.tif"):
            where = tmp_path / top / product / name / f"{name}_{file.stem.rpartition('_')[2]}.tif"
            where.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, where)
    codes = np.resize([0, 111, 112, 211, 312, 334, 423, 523], (1, 120, 120)).astype(np.uint16)
    grid = mgrs.tile("33UUP").patch(75, 43, 1200.0, 120)
    where = tmp_path / "Reference_Maps" / PRODUCT / patch / f"{patch}_reference_map.tif"
    raster.write(where, codes, grid, nodata=0)
    rows = {"patch_id": [patch], "s1_name": [radar], "labels": [LABELS], "split": ["validation"]}
    pq.write_table(pa.table(rows), tmp_path / "metadata.parquet")
    return tmp_path


def test_bigearthnet_v2(torchgeo: Any, bigearthnet: Path) -> None:
    theirs = torchgeo.BigEarthNetV2(str(bigearthnet), split="val", bands="all")[0]
    (mine,) = _ours(str(bigearthnet), BigEarthNetV2, "validation").values()

    # Sentinel-2: theirs is one cube of 120 pixels in the order B01 ... B08, B8A, B09, B11, B12, upsampled by GDAL.
    # At 10 m both have the numbers of the file; at 20 and 60 m ours stay native.
    order = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    for stream in ("s2-l2a@10", "s2-l2a@20", "s2-l2a@60"):
        image = mine.images[stream]
        for k, band in enumerate(image.bands):
            cube = theirs["image_s2"][order.index(band)]
            native = image.data[0, k].float()
            if stream == "s2-l2a@10":
                assert torch.equal(cube, native)
            else:
                times = 120 // native.shape[0]
                inner = cube.reshape(native.shape[0], times, -1, times).mean((1, 3))
                assert native.shape[0] == {"s2-l2a@20": 60, "s2-l2a@60": 20}[stream]
                assert torch.corrcoef(torch.stack([inner.ravel(), native.ravel()]))[0, 1] > 0.98

    # Sentinel-1: theirs sorts file names, so VH comes first (its documentation says VV, VH), and reads into whole
    # numbers, which costs up to half a decibel. Ours has the numbers of the file, VV first.
    radar = mine.images["s1-grd-sigma0"]
    assert radar.bands == ("VV", "VH")
    if SLIPS:
        difference = theirs["image_s1"][[1, 0]] - radar.data[0]
        assert torch.equal(theirs["image_s1"], theirs["image_s1"].round())
        assert 0.4 < difference.abs().max() <= 0.5
    assert not torch.equal(radar.data[0], radar.data[0].round())
    assert float(radar.data[0, 0, 5, 7]) == pytest.approx(-16.378056)

    # Labels: both follow the nomenclature, not the alphabet of the metadata.
    assert tuple(torchgeo.BigEarthNetV2.class_set) == BIGEARTHNET_19.names
    assert torch.equal(theirs["label"], mine.labels["labels"].values.long())

    # Map: equal where a code has a class. Theirs leaves other codes as they are (334 is then "class 334"), and
    # nodata 0 becomes class 0, Urban fabric; ours is unknown there.
    mask, label = theirs["mask"][0], mine.labels["map"]
    codes = raster.read(next(bigearthnet.rglob("*_reference_map.tif"))).data[0]
    known = torch.from_numpy(~np.isin(codes, (0, 334, 423)))
    assert torch.equal(label.known, known)
    assert torch.equal(mask[known], label.values.long()[known])
    assert not SLIPS or set(mask[~known].tolist()) == {0, 334, 423}
    assert (label.values[~known] == UNKNOWN).all()


def test_bigearthnet_19_classes_of_every_corine_code(torchgeo: Any) -> None:
    """Their table of codes, and the one of our legend."""
    from landweave.legends import BIGEARTHNET_MAP

    ours = {code: index for code, index in BIGEARTHNET_MAP.table().items() if index != UNKNOWN}
    assert ours == torchgeo.BigEarthNetV2.clc_codes


# SEN12MS


@pytest.fixture
def sen12ms(tmp_path: Path) -> Path:
    """One scene a season (torchgeo wants all four), with NaN in one radar image."""
    grid = Grid("EPSG:32633", (10.0, 0.0, 400000.0, 0.0, -10.0, 5300000.0), (32, 32))
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for k, season in enumerate(SEASONS):
        for number in (30, 31):
            rng = np.random.default_rng(100 * k + number)
            arrays = {
                "s1": rng.normal(-12, 4, (2, 32, 32)).astype(np.float32),
                "s2": rng.integers(0, 10000, (13, 32, 32)).astype(np.uint16),
                "lc": np.stack([rng.choice(v, (32, 32)) for v in (range(1, 18), (1, 31), (9, 36), (10, 27))]),
            }
            if (k, number) == (1, 30):
                arrays["s1"][0, 2, 3] = np.nan
            for part, data in arrays.items():
                name = f"{season}_{part}_{k + 1}_p{number}.tif"
                dtype = np.uint16 if part == "lc" else data.dtype
                raster.write(tmp_path / season / f"{part}_{k + 1}" / name, data.astype(dtype), grid)
            lists["test" if k == 3 else "train"].append(f"{season}_s2_{k + 1}_p{number}.tif")
    for split, lines in lists.items():
        (tmp_path / f"{split}_list.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_sen12ms(torchgeo: Any, sen12ms: Path) -> None:
    ours: dict[str, Any] = {}
    dataset = SEN12MS(path=str(sen12ms), splits="lists", scheme="igbp-17").open()
    for i, place in enumerate(dataset.places):
        ours[place.name] = (place.split, dataset.read(i))
    for split in ("train", "test"):
        theirs = torchgeo.SEN12MS(str(sen12ms), split=split)
        for i, file in enumerate(theirs.ids):
            sample = theirs[i]
            found, mine = ours[file.removesuffix(".tif").replace("_s2_", "_")]
            # Theirs has no validation split; ours draws whole scenes of train_list for it.
            assert found == split or (split, found) == ("train", "validation")
            radar, optical = mine.images["s1-grd-sigma0"], mine.images["s2-l1c"]
            assert (*radar.bands, *optical.bands) == theirs.band_names
            assert torch.equal(sample["image"][2:], optical.data[0].float())
            # NaN stays NaN in theirs; ours marks the pixel as unseen.
            seen = radar.seen[0]
            assert torch.equal(sample["image"][:2][seen], radar.data[0][seen])
            assert torch.equal(sample["image"][:2].isnan(), ~seen)
            # Theirs keeps the file's values 1..17 of the first layer; ours are indices 0..16 that carry their names.
            assert torch.equal(sample["mask"], mine.labels["map"].values.long() + 1)
    assert sum(int((~s.images["s1-grd-sigma0"].seen).sum()) for _, s in ours.values()) == 1


def test_sen12ms_slips_of_torchgeo(torchgeo: Any) -> None:
    """Its `s2-reduced` lists B10 (cirrus) and B11 where its documentation says B11 and B12: bands go by name here."""
    assert not SLIPS or torchgeo.SEN12MS.BAND_SETS["s2-reduced"] == ("B02", "B03", "B04", "B08", "B10", "B11")
    from landweave.sensors import StreamChoice

    assert StreamChoice.parse("s2-l1c:B02+B03+B04+B08+swir16+swir22").bands[-2:] == ("B11", "B12")
