"""EuroSAT: band order, both forms, three sources of splits, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from landweave.data import raster
from landweave.data.eurosat import FILE_ORDER, INNER, EuroSAT
from landweave.errors import ConfigError, DataError, MissingDataError
from landweave.grid import Grid

GRID = Grid("EPSG:32632", (10.0, 0.0, 500000.0, 0.0, -10.0, 5300000.0), (64, 64))


def _write(root: Path, name: str, form: str = "ms") -> Path:
    """A tif whose band i holds the number 100 * i, or a jpg."""
    where = root / name.rpartition("_")[0]
    if form == "ms":
        data = np.stack([np.full((64, 64), 100 * i, np.uint16) for i in range(13)])
        return raster.write(where / f"{name}.tif", data, GRID)
    from PIL import Image

    where.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (200, 100, 50)).save(where / f"{name}.jpg", quality=100)
    return where / f"{name}.jpg"


def _lists(where: Path, stem: str = "eurosat", **names: str) -> None:
    for word in ("train", "val", "test"):
        (where / f"{stem}-{word}.txt").write_text("".join(f"{n}.jpg\n" for n in names.get(word, "").split()))


def test_bands_are_named_in_the_order_of_the_file_b8a_last(tmp_path: Path) -> None:
    _write(tmp_path, "Forest_1")
    dataset = EuroSAT(path=str(tmp_path), splits="random").open()
    image = dataset.read(0).images["s2-l1c"]
    assert image.bands == FILE_ORDER
    assert image.bands[8:] == ("B09", "B10", "B11", "B12", "B8A")
    numbers = {band: int(image.data[0, i, 0, 0]) for i, band in enumerate(image.bands)}
    assert (numbers["B08"], numbers["B8A"], numbers["B10"]) == (700, 1200, 900)
    assert image.grid == GRID
    assert (float(image.scale[0, 0]), float(image.offset[0, 0])) == (pytest.approx(1e-4), 0.0)


def test_genuine_pixels_of_the_13_band_form(real: Path) -> None:
    dataset = EuroSAT(path=str(real / "formats/eurosat-ms"), splits="random").open()
    assert [p.name for p in dataset.places] == ["AnnualCrop_1", "Pasture_300", "SeaLake_3000"]
    expected = {  # row 0, column 0 and row 31, column 40, printed with rasterio
        "AnnualCrop_1": ({"B01": 1420, "B08": 2016, "B8A": 2319, "B10": 13}, {"B04": 1297, "B12": 1962, "B8A": 2457}),
        "Pasture_300": ({"B02": 806, "B07": 3573, "B8A": 3812, "B09": 837}, {"B11": 1956, "B8A": 3510, "B10": 9}),
        "SeaLake_3000": ({"B03": 570, "B11": 40, "B8A": 157}, {"B02": 798, "B09": 68, "B8A": 162}),
    }
    for i, place in enumerate(dataset.places):
        sample = dataset.read(i)
        image = sample.images["s2-l1c"]
        assert image.data.shape == (1, 13, 64, 64)
        assert image.pixels_seen.all()
        for (row, col), values in zip(((0, 0), (31, 40)), expected[place.name], strict=True):
            assert {b: int(image.data[0, image.bands.index(b), row, col]) for b in values} == values
        cirrus = image.physical()[0, image.bands.index("B10")]
        assert 0.0005 < cirrus.mean() < 0.0015  # only cirrus is that dark, on land and on water
        legend = sample.labels["scene"].legend
        assert legend.names[int(sample.labels["scene"].values)] == place.name.rpartition("_")[0]


def test_the_genuine_rgb_form(real: Path) -> None:
    dataset = EuroSAT(path=str(real / "eurosat-rgb"), splits="random").open()
    assert len(dataset) == 4000
    for name in ("AnnualCrop", "SeaLake"):
        of_class = [p.split for p in dataset.places if p.name.startswith(f"{name}_")]
        assert [of_class.count(s) for s in ("train", "validation", "test")] == [240, 80, 80]
    assert len(dataset.of_split("test")) == 800
    at = next(i for i, p in enumerate(dataset.places) if p.name == "River_7")
    image = dataset.read(at).images["rgb"]
    assert image.bands == ("R", "G", "B")
    assert image.data[0, :, 0, 0].tolist() == [109, 113, 122]
    assert image.data[0, :, 10, 20].tolist() == [69, 85, 101]
    assert image.grid is not None
    assert image.grid.crs == ""
    assert dataset.classes(at, "scene") == (8,)


def test_the_random_split_of_a_place_depends_on_its_name_and_the_seed_alone(tmp_path: Path) -> None:
    for i in range(1, 21):
        _write(tmp_path, f"River_{i}", "rgb")
    config = EuroSAT(path=str(tmp_path), splits="random")
    whole = {p.name: p.split for p in config.open().places}
    assert [list(whole.values()).count(s) for s in ("train", "validation", "test")] == [12, 4, 4]
    for i in (2, 3, 5, 7, 11, 13):
        (tmp_path / f"River/River_{i}.jpg").unlink()
    _write(tmp_path, "Forest_1", "rgb")
    part = {p.name: p.split for p in config.open().places if p.name in whole}
    assert part == {name: whole[name] for name in part}
    other = {p.name: p.split for p in config.model_copy(update={"split_seed": 1}).open().places}
    assert any(other[name] != whole[name] for name in part)


@pytest.mark.parametrize("depth", ["inner", "beside"])
def test_official_lists_name_jpg_files_for_both_forms(tmp_path: Path, depth: str) -> None:
    root = tmp_path / INNER if depth == "inner" else tmp_path
    for name in ("Forest_1", "Forest_2", "River_1", "River_9"):
        _write(root, name)
    _lists(tmp_path, train="Forest_1", val="River_1", test="Forest_2")
    for path in (tmp_path, root):
        dataset = EuroSAT(path=str(path)).open()
        splits = {p.name: p.split for p in dataset.places}
        # River_9 stands in no list: it is there, and in no split
        assert splits == {"Forest_1": "train", "Forest_2": "test", "River_1": "validation", "River_9": ""}


def test_spatial_lists_are_their_own(tmp_path: Path) -> None:
    _write(tmp_path, "Forest_1")
    _lists(tmp_path, train="Forest_1")
    _lists(tmp_path, "eurosat-spatial", test="Forest_1")
    assert EuroSAT(path=str(tmp_path), splits="spatial").open().places[0].split == "test"


def test_lists_that_are_lacking_are_asked_for(tmp_path: Path) -> None:
    _write(tmp_path, "Forest_1")
    with pytest.raises(MissingDataError, match=r"eurosat-train\.txt[\s\S]*data\.splits=random"):
        EuroSAT(path=str(tmp_path)).open()


def test_an_incomplete_folder_is_refused_with_count_and_first_name(tmp_path: Path) -> None:
    _write(tmp_path, "Forest_1")
    _lists(tmp_path, train="Forest_1 Forest_7 Forest_5", test="River_2")
    with pytest.raises(MissingDataError, match=r"3 of the 4 images .* the first: Forest_5"):
        EuroSAT(path=str(tmp_path)).open()


def test_a_place_in_two_lists_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "Forest_1")
    _lists(tmp_path, train="Forest_1", test="Forest_1")
    with pytest.raises(DataError, match="Forest_1 stands in the lists of train and of test"):
        EuroSAT(path=str(tmp_path)).open()


def test_both_forms_in_one_folder_need_a_choice(tmp_path: Path) -> None:
    _write(tmp_path, "Forest_1")
    _write(tmp_path, "Forest_1", "rgb")
    with pytest.raises(MissingDataError, match=r"data\.form=ms"):
        EuroSAT(path=str(tmp_path), splits="random").open()
    assert list(EuroSAT(path=str(tmp_path), splits="random", form="rgb").open().streams) == ["rgb"]


def test_faults_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no such folder"):
        EuroSAT(path=str(tmp_path / "nowhere")).open()
    with pytest.raises(MissingDataError, match="no class folder"):
        EuroSAT(path=str(tmp_path)).open()
    raster.write(tmp_path / "Forest/Forest_1.tif", np.zeros((12, 64, 64), np.uint16), GRID)
    (tmp_path / "Forest/Forest_2.tif").write_text("not an image")
    dataset = EuroSAT(path=str(tmp_path), splits="random").open()
    with pytest.raises(DataError, match=r"Forest_1\.tif: 12 bands, but a file of s2-l1c has 13"):
        dataset.read(0)
    with pytest.raises(DataError, match=r"Forest_2\.tif: not a raster"):
        dataset.read(1)
    (tmp_path / "Annual Crop").mkdir()
    with pytest.raises(DataError, match="`Annual Crop` is not a class, did you mean `AnnualCrop`"):
        EuroSAT(path=str(tmp_path), splits="random").open()
    (tmp_path / "Annual Crop").rmdir()
    (tmp_path / "Forest/copy.tif").write_text("")
    with pytest.raises(DataError, match="Forest_<number>"):
        EuroSAT(path=str(tmp_path), splits="random").open()


def test_an_offset_is_added_in_raw_numbers(tmp_path: Path) -> None:
    _write(tmp_path, "Forest_1")
    dataset = EuroSAT(path=str(tmp_path), splits="random", offset={"s2-l1c": -1000}).open()
    image = dataset.read(0).images["s2-l1c"]
    assert float(image.physical()[0, 12, 0, 0]) == pytest.approx(0.02)  # (1200 - 1000) / 10,000
    with pytest.raises(ConfigError, match=r"data\.offset names `s2-l2a`"):
        EuroSAT(path=str(tmp_path), splits="random", offset={"s2-l2a": -1000}).open()


def test_it_is_picklable_and_opens_without_heavy_imports(tmp_path: Path) -> None:
    _write(tmp_path, "Forest_1")
    dataset = pickle.loads(pickle.dumps(EuroSAT(path=str(tmp_path), splits="random").open()))
    assert dataset.read(0).name == "Forest_1"
    assert dataset.files(0) == (tmp_path / "Forest/Forest_1.tif",)
