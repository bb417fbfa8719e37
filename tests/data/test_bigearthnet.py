"""BigEarthNet v2: both forms on disk, labels by name, reference maps in CORINE codes, dates and places from names."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from landweave.data import mgrs, raster, ricohdl
from landweave.data.bigearthnet import S2, BigEarthNetV2
from landweave.data.bigearthnet_index import METADATA, SNOW_CLOUD
from landweave.data.check import check
from landweave.data.dataset import Chosen
from landweave.data.store import Pack, pack
from landweave.errors import ConfigError, DataError, GridError, MissingDataError
from landweave.legends import BIGEARTHNET_19
from landweave.sample import UNKNOWN, collate, day_of
from landweave.sensors import StreamChoice, sensor

PRODUCT = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
SCENE = "S1A_IW_GRDH_1SDV_20170614T165043"
PIXELS = {"s2-l2a@10": 120, "s2-l2a@20": 60, "s2-l2a@60": 20}
BANDS = sensor("s2-l2a").band_names
CODES = (112, 211, 312, 512, 334, 0)  # 334, burnt areas, has no class; 0 is nodata


def names(x: int, y: int) -> tuple[str, str]:
    """Of Sentinel-2 and Sentinel-1."""
    return f"{PRODUCT}_{x:02d}_{y:02d}", f"{SCENE}_33UUP_{x}_{y}"


def arrays(x: int, y: int) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Bands of a made-up place, a function of its indices."""
    rng = np.random.default_rng(100 * x + y)
    s2 = {
        b: rng.integers(1, 5000, (PIXELS[stream], PIXELS[stream])).astype(np.uint16)
        for stream, bands in S2.items()
        for b in bands
    }
    s1 = {b: rng.normal(-15, 4, (120, 120)).astype(np.float32) for b in ("VV", "VH")}
    return s2, s1, rng.choice(CODES, (120, 120)).astype(np.uint16)


def place(root: Path, x: int, y: int, end: str = ".tif") -> None:
    """Write a place in the official layout."""
    s2, s1, codes = arrays(x, y)
    patch, radar = names(x, y)
    tile = mgrs.tile("33UUP")
    grid = tile.patch(x, y, 1200.0, 120)
    for band, data in s2.items():
        where = root / "BigEarthNet-S2" / PRODUCT / patch / f"{patch}_{band}{end}"
        raster.write(where, data[None], grid.scaled(*data.shape), nodata=0)
    for band, data in s1.items():
        raster.write(root / "BigEarthNet-S1" / SCENE / radar / f"{radar}_{band}{end}", data[None], grid)
    raster.write(root / "Reference_Maps" / PRODUCT / patch / f"{patch}_reference_map{end}", codes[None], grid, nodata=0)


def metadata(file: Path, rows: Sequence[tuple[str, str, list[str], str]], **columns: Any) -> None:
    """Write the columns of the official file; `columns` replaces some."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    patches, radars, labels, splits = (list(c) for c in zip(*rows, strict=True))
    flags = [False] * len(rows)
    table = {
        "patch_id": patches,
        "labels": labels,
        "split": splits,
        "country": ["Austria"] * len(rows),
        "s1_name": radars,
        "s2v1_name": [p.replace("_MSIL2A_", "_MSIL2A_v1_") for p in patches],
        "contains_seasonal_snow": flags,
        "contains_cloud_or_shadow": flags,
    }
    table |= columns
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), file)


THREE = [(26, 57), (70, 48), (75, 43)]
LABELS = [
    ["Coniferous forest", "Arable land"],
    ["Urban fabric"],
    ["Marine waters", "Arable land", "Beaches, dunes, sands"],
]


def archive(root: Path, end: str = ".tif") -> Path:
    """Three places, one a split."""
    for xy in THREE:
        place(root, *xy, end)
    splits = ("train", "validation", "test")
    metadata(root / METADATA, [(*names(*xy), lab, s) for xy, lab, s in zip(THREE, LABELS, splits, strict=True)])
    return root


def lmdb_of(root: Path, where: Path) -> Path:
    """Write what rico-hdl writes: a key a patch, a safetensors dictionary of bands."""
    import lmdb
    from safetensors.numpy import save

    where.mkdir()
    environment = lmdb.open(str(where), map_size=1 << 28)
    with environment.begin(write=True) as out:
        for xy in THREE:
            s2, s1, codes = arrays(*xy)
            patch, radar = names(*xy)
            out.put(patch.encode(), save(s2))
            out.put(radar.encode(), save(s1))
            out.put(f"{patch}_reference_map".encode(), save({"Data": codes}))
    environment.close()
    shutil.copy(root / METADATA, where / METADATA)
    return where


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Every test starts and ends without an open database."""
    yield
    for _, environment in ricohdl._opened.values():
        environment.close()
    ricohdl._opened.clear()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(tmp_path_factory.mktemp("ben"))


@pytest.mark.parametrize("end", [".tif", ".tiff"])
def test_streams_keep_native_sizes_names_and_numbers(tmp_path: Path, end: str) -> None:
    dataset = BigEarthNetV2(path=str(archive(tmp_path, end))).open()
    assert list(dataset.streams) == ["s2-l2a@10", "s2-l2a@20", "s2-l2a@60", "s1-grd-sigma0"]
    assert [p.split for p in dataset.places] == ["train", "validation", "test"]
    for i, xy in enumerate(THREE):
        sample = dataset.read(i)
        s2, s1, _ = arrays(*xy)
        assert (sample.name, sample.group) == (names(*xy)[0], PRODUCT)
        for stream, image in sample.images.items():
            for k, band in enumerate(image.bands):
                np.testing.assert_array_equal(image.data[0, k].numpy(), {**s2, **s1}[band])
            side = PIXELS.get(stream, 120)
            assert image.grid == mgrs.tile("33UUP").patch(*xy, 1200.0, side)
            day = day_of("2017-06-14" if stream.startswith("s1") else "2017-06-13")
            assert image.days.tolist() == [day]
        found = {b for stream in S2 for b in sample.images[stream].bands}
        assert found == set(BANDS)
        assert sample.images["s2-l2a@20"].data.dtype == torch.uint16
        assert len(dataset.files(i)) == 15
        assert all(f.name.endswith(end) and f.is_file() for f in dataset.files(i))


def test_files_of_a_sensor_that_nobody_chose_are_not_read(tmp_path: Path) -> None:
    dataset = BigEarthNetV2(path=str(archive(tmp_path))).open()
    for band in dataset.files(0):
        if "BigEarthNet-S2" in band.parts:
            band.write_bytes(b"no raster")
    chosen = Chosen(dataset, [StreamChoice.parse("s1-grd-sigma0")])
    assert list(chosen.read(0).images) == ["s1-grd-sigma0"]
    with pytest.raises(DataError):
        dataset.read(0)


def test_labels_go_by_name_into_the_order_of_the_nomenclature(root: Path) -> None:
    dataset = BigEarthNetV2(path=str(root)).open()
    assert dataset.tasks["labels"].legend.names[0] == "Urban fabric"
    for i, expected in enumerate(LABELS):
        label = dataset.read(i).labels["labels"]
        assert {label.legend.names[k] for k in label.values.nonzero().flatten().tolist()} == set(expected)
        assert {BIGEARTHNET_19.names[k] for k in dataset.classes(i, "labels") or ()} == set(expected)
        assert label.known.all()


def test_reference_maps_go_from_corine_codes_to_the_19_classes(root: Path) -> None:
    dataset = BigEarthNetV2(path=str(root)).open()
    by_hand = {112: "Urban fabric", 211: "Arable land", 312: "Coniferous forest", 512: "Inland waters"}
    label = dataset.read(0).labels["map"]
    codes = arrays(*THREE[0])[2]
    for code in CODES:
        at = label.values.numpy()[codes == code]
        index = BIGEARTHNET_19.names.index(by_hand[code]) if code in by_hand else UNKNOWN
        assert (at == index).all()
    assert (label.known.numpy() == np.isin(codes, list(by_hand))).all()
    assert label.legend.names == BIGEARTHNET_19.names
    assert label.grid == mgrs.tile("33UUP").patch(*THREE[0], 1200.0, 120)


def test_nodata_of_sentinel_2_is_unseen_and_of_sentinel_1_nothing_is(tmp_path: Path) -> None:
    root = archive(tmp_path)
    patch, _ = names(*THREE[0])
    file = root / "BigEarthNet-S2" / PRODUCT / patch / f"{patch}_B03.tif"
    hole = raster.read(file)
    hole.data[0, 5, 6] = 0
    raster.write(file, hole.data, hole.grid, nodata=0)
    image = BigEarthNetV2(path=str(root)).open().read(0).images["s2-l2a@10"]
    assert image.bands == ("B02", "B03", "B04", "B08")
    assert image.pixels_seen[0, :, 5, 6].tolist() == [True, False, True, True]
    assert int((~image.pixels_seen).sum()) == 1


def test_longitude_and_latitude_come_from_the_name(root: Path) -> None:
    dataset = BigEarthNetV2(path=str(root)).open()
    for p, xy in zip(dataset.places, THREE, strict=True):
        expected = raster.lonlat(mgrs.tile("33UUP").patch(*xy, 1200.0, 120))
        assert (p.lon, p.lat) == pytest.approx(expected, abs=1e-6)


def test_the_database_gives_what_the_folders_give(root: Path, tmp_path: Path) -> None:
    tif = BigEarthNetV2(path=str(root)).open()
    store = lmdb_of(root, tmp_path / "Encoded-BigEarthNet")
    for path in (store, tmp_path):  # the database itself, or the folder that holds it
        shutil.copy(root / METADATA, tmp_path / METADATA)
        lmdb = BigEarthNetV2(path=str(path)).open()
        assert lmdb.places == tif.places
        assert list(lmdb.streams) == list(tif.streams)
        for i in range(3):
            a, b = tif.read(i), lmdb.read(i)
            for stream, image in a.images.items():
                other = b.images[stream]
                assert other.data.dtype == image.data.dtype
                for field in ("data", "pixels_seen", "scale", "offset", "days"):
                    np.testing.assert_array_equal(getattr(other, field).numpy(), getattr(image, field).numpy())
                assert (other.grid, other.bands) == (image.grid, image.bands)
            for task, label in a.labels.items():
                np.testing.assert_array_equal(b.labels[task].values.numpy(), label.values.numpy())
                np.testing.assert_array_equal(b.labels[task].known.numpy(), label.known.numpy())
                assert b.labels[task].grid == label.grid
        assert lmdb.files(0) == ()


def test_the_database_survives_forks_spawns_and_a_second_reader(root: Path, tmp_path: Path) -> None:
    config = BigEarthNetV2(path=str(lmdb_of(root, tmp_path / "db")))
    dataset, second = config.open(), config.open()
    before = dataset.read(1).images["s1-grd-sigma0"].data.sum().item()  # the environment is open now
    assert second.read(1).images["s1-grd-sigma0"].data.sum().item() == before
    copy = pickle.loads(pickle.dumps(dataset))  # what a spawned worker gets
    assert copy.read(1).images["s1-grd-sigma0"].data.sum().item() == before
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                same = dataset.read(1).images["s1-grd-sigma0"].data.sum().item() == before
                own = [pid for pid, _ in ricohdl._opened.values()] == [os.getpid()]  # not the parent's
                os._exit(0 if same and own else 1)
            except BaseException:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert dataset.read(1).images["s1-grd-sigma0"].data.sum().item() == before


def test_the_database_is_opened_once_a_process(root: Path, tmp_path: Path) -> None:
    database = ricohdl.Database(lmdb_of(root, tmp_path / "db"))
    assert not ricohdl._opened.get(str(tmp_path / "db"))
    first = database._environment()
    assert ricohdl.Database(tmp_path / "db")._environment() is first
    database.close()
    assert database._environment() is not first


def test_a_sensor_or_the_maps_may_lack_as_a_whole(tmp_path: Path) -> None:
    root = archive(tmp_path)
    shutil.rmtree(root / "BigEarthNet-S1")
    shutil.rmtree(root / "Reference_Maps")
    dataset = BigEarthNetV2(path=str(root)).open()
    assert list(dataset.streams) == ["s2-l2a@10", "s2-l2a@20", "s2-l2a@60"]
    assert list(dataset.tasks) == ["labels"]
    assert set(dataset.read(0).images) == set(dataset.streams)


def test_a_folder_with_some_of_the_places_needs_to_be_allowed(tmp_path: Path) -> None:
    root = archive(tmp_path)
    gone, _ = names(*THREE[0])
    shutil.rmtree(root / "BigEarthNet-S2" / PRODUCT / gone)
    with pytest.raises(MissingDataError, match=rf"1 of 3 Sentinel-2 patches .* {gone}[\s\S]*data\.partial=true"):
        BigEarthNetV2(path=str(root)).open()
    dataset = BigEarthNetV2(path=str(root), partial=True).open()
    samples = [dataset.read(i) for i in range(3)]
    assert list(samples[0].images) == ["s1-grd-sigma0"]
    batch = collate(samples)
    assert batch.images["s2-l2a@20"].sensor_seen.tolist() == [False, True, True]
    shutil.rmtree(root / "BigEarthNet-S1" / SCENE / names(*THREE[0])[1])
    shutil.rmtree(root / "Reference_Maps" / PRODUCT / names(*THREE[1])[0])
    dataset = BigEarthNetV2(path=str(root), partial=True).open()
    assert [p.name for p in dataset.places] == [names(*xy)[0] for xy in THREE[1:]]
    assert dataset.classes(0, "map") is None
    assert not dataset.read(0).labels["map"].known.any()
    assert dataset.read(0).labels["map"].values.shape == (120, 120)
    assert dataset.read(1).labels["map"].known.any()
    assert {BIGEARTHNET_19.names[k] for k in dataset.classes(1, "labels") or ()} == set(LABELS[2])
    assert all(f.is_file() for i in range(2) for f in dataset.files(i))


def test_snow_and_cloud_places_are_asked_for_and_never_learned_from(tmp_path: Path) -> None:
    root = archive(tmp_path)
    metadata(root / METADATA, [(*names(*THREE[0]), LABELS[0], "train")])
    assert len(BigEarthNetV2(path=str(root)).open()) == 1
    with pytest.raises(MissingDataError, match=SNOW_CLOUD):
        BigEarthNetV2(path=str(root), snow_cloud=True).open()
    rows = [(*names(*xy), LABELS[2], split) for xy, split in zip(THREE[1:], ("train", "test"), strict=True)]
    metadata(root / SNOW_CLOUD, rows, contains_seasonal_snow=[True, True])
    dataset = BigEarthNetV2(path=str(root), snow_cloud=True).open()
    assert [p.split for p in dataset.places] == ["train", "", "snow_cloud"]
    assert dataset.of_split("snow_cloud") == [2]
    assert {BIGEARTHNET_19.names[k] for k in dataset.classes(2, "labels") or ()} == set(LABELS[2])
    report = check(dataset)
    assert report.splits == {"train": 1, "validation": 0, "test": 0, "snow_cloud": 1, "": 1}
    pack(dataset, tmp_path / "store")
    assert [p.split for p in Pack(path=str(tmp_path / "store")).open().places] == ["train", "", "snow_cloud"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"labels": [["Sea"], [], []]}, "label `Sea` is not one of the 19 classes"),
        ({"split": ["train", "dev", "test"]}, "split `dev`"),
        ({"s1_name": None}, "s1_name"),
        ({"labels": [["Urban fabric"], None, []]}, "empty values in column labels"),
        ({"labels": [["Urban fabric"], [None], []]}, "empty values in column labels"),
        ({"patch_id": [names(*THREE[0])[0]] * 3}, "stands twice"),
    ],
)
def test_metadata_that_are_not_those_of_version_2(root: Path, tmp_path: Path, columns: Any, message: str) -> None:
    file = tmp_path / METADATA
    metadata(file, [(*names(*xy), ["Urban fabric"], "train") for xy in THREE], **columns)
    with pytest.raises(DataError, match=message):
        BigEarthNetV2(path=str(root), metadata=str(file)).open()


def test_faults_name_the_file_and_the_fix(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="neither BigEarthNet-S2"):
        BigEarthNetV2(path=str(tmp_path)).open()
    root = archive(tmp_path / "a")
    patch, _ = names(*THREE[0])
    bands = root / "BigEarthNet-S2" / PRODUCT / patch
    good = raster.read(bands / f"{patch}_B05.tif")
    raster.write(bands / f"{patch}_B06.tif", good.data[:, :30, :30], good.grid.scaled(30, 30), nodata=0)
    dataset = BigEarthNetV2(path=str(root)).open()
    with pytest.raises(GridError, match=r"_B06\.tif: 30 x 30 pixels"):
        dataset.read(0)
    (bands / f"{patch}_B06.tif").unlink()
    with pytest.raises(MissingDataError, match=r"_B06\.tif: no such file"):
        dataset.read(0)
    with pytest.raises(ConfigError, match="s2-l1c"):
        BigEarthNetV2(path=str(root), offset={"s2-l1c": 1}).open()
    (root / METADATA).write_text("not parquet")
    with pytest.raises(DataError, match=r"metadata\.parquet: not the metadata"):
        BigEarthNetV2(path=str(root)).open()
    (root / METADATA).unlink()
    with pytest.raises(MissingDataError, match=r"data\.metadata=FILE"):
        BigEarthNetV2(path=str(root)).open()


def test_damaged_databases_are_named(root: Path, tmp_path: Path) -> None:
    import lmdb

    store = lmdb_of(root, tmp_path / "db")
    environment = lmdb.open(str(store), map_size=1 << 28)
    with environment.begin(write=True) as out:
        out.put(names(*THREE[0])[0].encode(), b"not safetensors")
    environment.close()
    dataset = BigEarthNetV2(path=str(store)).open()
    with pytest.raises(DataError, match=f"patch `{names(*THREE[0])[0]}` is damaged"):
        dataset.read(0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/data.mdb").write_bytes(b"0" * 9000)
    shutil.copy(root / METADATA, tmp_path / "other" / METADATA)
    with pytest.raises(DataError, match="not an LMDB database"):
        BigEarthNetV2(path=str(tmp_path / "other")).open()


def test_the_genuine_files(real: Path, tmp_path: Path) -> None:
    """Sentinel-2, Sentinel-1 and the map are of three different places of one tile: each place has one of them."""
    formats = real / "formats/bigearthnet-v2"
    for top in ("BigEarthNet-S2", "BigEarthNet-S1", "Reference_Maps"):
        product = next((formats / top).iterdir())
        patch = next(product.iterdir())
        (tmp_path / top / product.name).mkdir(parents=True)
        (tmp_path / top / product.name / patch.name).symlink_to(patch)
    s2, _ = names(75, 43)
    s1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_70_48"
    mapped, radar = names(26, 57)
    made_up = arrays(26, 57)[1]
    for band, data in made_up.items():  # a place needs an image
        grid = mgrs.tile("33UUP").patch(26, 57, 1200.0, 120)
        raster.write(tmp_path / "BigEarthNet-S1" / SCENE / radar / f"{radar}_{band}.tif", data[None], grid)
    rows = [
        (s2, names(75, 43)[1], ["Arable land"], "train"),
        (names(70, 48)[0], s1, ["Pastures"], "validation"),
        (mapped, radar, ["Arable land", "Pastures", "Broad-leaved forest", "Mixed forest"], "test"),
    ]
    metadata(tmp_path / METADATA, rows)
    dataset = BigEarthNetV2(path=str(tmp_path), partial=True).open()
    first, second, third = (dataset.read(i) for i in range(3))

    # printed with rasterio: row 0 column 0, row 5 column 7, last row and column
    pixels = {
        "B02": (442, 396, 160), "B03": (1050, 882, 442), "B04": (634, 615, 201), "B08": (4968, 4064, 4424),
        "B05": (1697, 1551, 691), "B8A": (4992, 4739, 4066), "B11": (2836, 2384, 1628), "B12": (1798, 1287, 762),
        "B01": (397, 1232, 208), "B09": (4554, 2877, 3683),
    }  # fmt: skip
    for stream, image in first.images.items():
        assert image.data.shape[-1] == PIXELS[stream]
        for k, band in enumerate(image.bands):
            if band in pixels:
                at = image.data[0, k]
                assert (int(at[0, 0]), int(at[5, 7]), int(at[-1, -1])) == pixels[band]
        assert image.days.tolist() == [day_of("2017-06-13")]
    assert list(second.images) == ["s1-grd-sigma0"]
    radar_image = second.images["s1-grd-sigma0"]
    assert radar_image.data[0, :, 5, 7].tolist() == pytest.approx([-16.378056, -22.874975])
    assert radar_image.data[0, :, -1, -1].tolist() == pytest.approx([-11.11234, -16.607456])
    assert radar_image.pixels_seen.all()
    label = third.labels["map"]
    counts = {label.legend.names[k]: int((label.values == k).sum()) for k in label.values.unique().tolist()}
    assert counts == {"Arable land": 7075, "Pastures": 1154, "Broad-leaved forest": 4131, "Mixed forest": 2040}
    assert label.known.all()
    assert set(dataset.classes(2, "map") or ()) == set(label.values.unique().tolist())
