"""FLAIR-HUB: names, streams, labels, splits, CSVs, metadata; the series are in test_flairhub_series.py."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from landweave.data import raster
from landweave.data.dataset import Chosen
from landweave.data.flairhub import FlairHub
from landweave.data.flairhub_index import Patch, list_folders
from landweave.data.layouts import meant
from landweave.data.packed import PackedDataset
from landweave.data.stats import contract_of
from landweave.data.store import pack
from landweave.errors import ConfigError, DataError, LandweaveWarning, MissingDataError
from landweave.legends import COSIA_19, LEGENDS, UNKNOWN
from landweave.sample import NO_DAY, collate, day_of
from landweave.sensors import StreamChoice
from tests.data.flair_layout import NAMES, SIZES, Layout, grid_of, series_text, values

STREAMS = [
    "aerial", "aerial-pan", "dsm-dtm", "spot", "s2-l2a", "s1-grd-sigma0-asc-linear", "s1-grd-sigma0-desc-linear",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Never changed by a test."""
    return Layout(tmp_path_factory.mktemp("flair")).write()


@pytest.fixture
def own(whole: Layout, tmp_path: Path) -> Layout:
    """A copy that a test may spoil."""
    return Layout(Path(shutil.copytree(whole.root, tmp_path / "flair")))


def at(name: str) -> int:
    return sorted(NAMES, key=_order).index(name)


def _order(name: str) -> tuple[str, str, str, int, int]:
    patch = Patch.parse(name)
    return patch.domain, patch.year, patch.roi, patch.row, patch.col


# ---- a place


def test_streams_tasks_names_groups_and_places(whole: Layout) -> None:
    dataset = FlairHub(path=str(whole.root)).open()
    assert list(dataset.streams) == STREAMS
    assert [p.name for p in dataset.places] == sorted(NAMES, key=_order)
    assert [p.group for p in dataset.places] == [Patch.parse(p.name).domain for p in dataset.places]
    assert {k: t.legend.name for k, t in dataset.tasks.items()} == {
        "cosia": "cosia-15", "lpis-1": "lpis-1", "lpis-2": "lpis-2", "lpis-3": "lpis-3",
    }  # fmt: skip
    lonlat = raster.lonlat(grid_of(dataset.places[0].name, 16))
    assert lonlat is not None
    assert (dataset.places[0].lon, dataset.places[0].lat) == pytest.approx(lonlat, abs=1e-9)


def test_the_same_region_name_in_two_domains_is_two_regions(whole: Layout) -> None:
    dataset = FlairHub(path=str(whole.root)).open()
    twice = [p for p in dataset.places if "_UN-S1-3_1-1" in p.name]
    assert [p.group for p in twice] == ["D012", "D017"]
    one, other = (dataset.read(dataset.places.index(p)).images["aerial"].data for p in twice)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["D012-2019_AF-S1-27_5-10", "D059062-2021_FF-S1-14_10-2"])
def test_every_image_is_what_the_file_holds(whole: Layout, name: str) -> None:
    dataset = FlairHub(path=str(whole.root)).open()
    sample = dataset.read(at(name))
    images = sample.images
    assert sample.name == name
    for stream, part, bands in (
        ("aerial", "AERIAL_RGBI", ("R", "G", "B", "N")),
        ("aerial-pan", "AERIAL-RLT_PAN", ("P",)),
        ("spot", "SPOT_RGBI", ("R", "G", "B", "N")),
    ):
        assert images[stream].bands == bands
        np.testing.assert_array_equal(images[stream].data[0].numpy(), values(name, part))
        assert images[stream].grid == grid_of(name, SIZES[part])
    np.testing.assert_allclose(images["spot"].physical()[0].numpy(), values(name, "SPOT_RGBI") * 1e-4, rtol=1e-6)
    year = Patch.parse(name).year
    assert images["aerial"].days.tolist() == [day_of(f"{year}0713")]
    assert images["spot"].days.tolist() == [day_of(f"{year}0604")]
    assert all(im.seen.all() for im in images.values())


def test_heights_are_surface_less_terrain(whole: Layout) -> None:
    image = FlairHub(path=str(whole.root)).open().read(0).images["dsm-dtm"]
    assert image.bands == ("DSM", "DTM", "HEIGHT")
    dsm, dtm, height = image.data[0]
    assert torch.equal(height, dsm - dtm)
    assert height.max() == 6
    assert torch.equal(image.select(("HEIGHT",)).data[0, 0], height), "alone it tells no altitude"
    assert height.mean() < 4 < dtm.mean()


def test_heights_have_statistics_of_their_own(whole: Layout) -> None:
    """Weakness 5 of the spec: a height of 6 m is no hundredth of a deviation, as it is by statistics of altitude.

    Weakness 12: the height that a map is made from is the one that was learned from, a band of the same name.
    """
    config = FlairHub(path=str(whole.root), streams=("dsm-dtm:DSM+HEIGHT",))
    dataset = Chosen(config.open(), config.choices)
    stream = contract_of(dataset, range(len(dataset))).streams["dsm-dtm"]
    assert stream.bands == ("DSM", "HEIGHT")
    heights = np.concatenate([(v[0] - v[1]).ravel() for v in (values(n, "DEM_ELEV") for n in NAMES)])
    assert stream.mean[1] == pytest.approx(heights.mean())
    assert stream.std[1] == pytest.approx(heights.std())
    alone = FlairHub(path=str(whole.root), streams=("dsm-dtm:HEIGHT",))
    assert Chosen(alone.open(), alone.choices).read(0).images["dsm-dtm"].bands == ("HEIGHT",)


def test_a_height_is_seen_where_surface_and_terrain_are(own: Layout) -> None:
    layers = values(NAMES[0], "DEM_ELEV")
    layers[0, 0, 0], layers[1, 0, 1] = np.nan, np.nan
    own.put(NAMES[0], "DEM_ELEV", layers)
    image = FlairHub(path=str(own.root)).open().read(at(NAMES[0])).images["dsm-dtm"]
    assert image.seen[0, :, 0, :3].tolist() == [[False, True, True], [True, False, True], [False, False, True]]


def test_images_of_the_1950s_have_a_year_of_their_own_and_two_years_share_them(whole: Layout, own: Layout) -> None:
    dataset = FlairHub(path=str(whole.root)).open()
    for name in ("D017-2018_UN-S1-3_1-1", "D017-2021_NV-S1-V4_2-3"):
        file = dataset.file_of(at(name), "aerial-pan")
        assert file is not None
        assert file.parts[-3] == "D017-195X_AERIAL-RLT_PAN"
        assert file.name.startswith("D017-195X_AERIAL-RLT_PAN_")
        assert "aerial-pan" in dataset.read(at(name)).images
    assert dataset.read(at("D006-2020_UU-S2-11_1-1")).images["aerial-pan"].days.tolist() == [day_of("1953-06-21")]
    assert dataset.read(at("D012-2019_UN-S1-3_1-1")).images["aerial-pan"].days.tolist() == [NO_DAY]
    both = "D017-2021_UN-S1-3_1-1"  # the second year has the first one's patch too: one file, two places
    own.put(both, "AERIAL_RGBI", values(NAMES[6], "AERIAL_RGBI"))
    found = list_folders(own.root)
    assert {found.path(found.names.index(n), "AERIAL-RLT_PAN") for n in (both, NAMES[6])} == {
        own.path(both, "AERIAL-RLT_PAN")
    }


def test_a_domain_with_images_of_the_1950s_only_keeps_them(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "d", names=["D006-195X_UU-S2-11_1-1"])
    layout.put(layout.names[0], "AERIAL-RLT_PAN", values("", "AERIAL-RLT_PAN"))
    assert list(list_folders(layout.root).names) == list(layout.names)


# ---- labels


def test_labels_are_indices_with_what_is_ignored_unknown(whole: Layout) -> None:
    """Weakness 20 of the spec: labels stay one byte a pixel, no one-hot floats."""
    sample = FlairHub(path=str(whole.root)).open().read(0)
    codes = values(NAMES[0], "AERIAL_LABEL-COSIA")[0]
    label = sample.labels["cosia"]
    assert label.values.dtype == torch.uint8
    np.testing.assert_array_equal(label.values.numpy(), np.where(codes < 15, codes, UNKNOWN))
    np.testing.assert_array_equal(label.known.numpy(), codes < 15)
    for level, name in enumerate(("lpis-1", "lpis-2", "lpis-3")):
        expected = values(NAMES[0], "ALL_LABEL-LPIS")[level]
        np.testing.assert_array_equal(sample.labels[name].values.numpy(), expected)
        assert sample.labels[name].known.all(), "background means that nobody declared a crop; it is a class"


@pytest.mark.parametrize(("legend", "known"), [("cosia-19", 19), ("cosia-15", 15), ("cosia-12", 12)])
def test_three_legends_of_land_cover(whole: Layout, legend: str, known: int) -> None:
    dataset = FlairHub(path=str(whole.root), legend=legend, labels=("cosia",)).open()
    assert list(dataset.tasks) == ["cosia"]
    label = dataset.read(0).labels["cosia"]
    assert len(label.legend) == known
    assert dataset.classes(0, "cosia") == tuple(range(known))
    assert sorted(set(label.values[label.known].tolist())) == list(range(known))


def test_a_pack_keeps_what_no_score_counts_and_one_of_before_opens(
    whole: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FlairHub(path=str(whole.root), legend="cosia-19", labels=("cosia",))
    pack(config.open(), tmp_path / "pack")
    assert PackedDataset(tmp_path / "pack").tasks["cosia"].legend == COSIA_19
    monkeypatch.setitem(LEGENDS, "cosia-19", replace(COSIA_19, unscored=()))  # as it was written before
    pack(config.open(), tmp_path / "before")
    monkeypatch.undo()
    older = PackedDataset(tmp_path / "before")
    assert older.tasks["cosia"].legend.names == COSIA_19.names
    assert older.read(0).labels["cosia"].known.all()


def test_a_code_outside_the_table_names_file_and_value(own: Layout) -> None:
    """Weakness 3 of the spec: such a pixel does not become class 0."""
    codes = values(NAMES[0], "AERIAL_LABEL-COSIA")
    codes[0, 3, 3] = 19
    path = own.put(NAMES[0], "AERIAL_LABEL-COSIA", codes)
    dataset = FlairHub(path=str(own.root)).open()
    for look in (dataset.read, dataset.look, lambda i: dataset.classes(i, "cosia")):
        with pytest.raises(DataError, match=f"{path}: label value 19 is not in legend cosia-15"):
            look(at(NAMES[0]))


def test_a_place_without_a_label_is_of_unknown_label(own: Layout) -> None:
    own.path(NAMES[0], "ALL_LABEL-LPIS").unlink()
    dataset = FlairHub(path=str(own.root)).open()
    sample = dataset.read(at(NAMES[0]))
    assert dataset.classes(at(NAMES[0]), "lpis-2") is None
    assert not sample.labels["lpis-2"].known.any()
    assert (sample.labels["lpis-2"].values == UNKNOWN).all()
    assert sample.labels["cosia"].known.any()
    assert len(collate([sample, dataset.read(at(NAMES[1]))])) == 2, "all maps of a task have one size"


def test_data_without_labels_can_be_read(tmp_path: Path) -> None:
    """Weakness 26 of the spec: predicting needs no labels."""
    layout = Layout(tmp_path / "d").write(("AERIAL_RGBI", "SPOT_RGBI"))
    dataset = FlairHub(path=str(layout.root)).open()
    assert not dataset.tasks
    assert dataset.read(0).labels == {}


# ---- sensors that lack


def test_a_place_without_a_sensor_is_read_without_it(own: Layout) -> None:
    for part in ("AERIAL_RGBI", "SENTINEL2_TS", "SENTINEL2_MSK-SC"):
        own.path(NAMES[1], part).unlink()
    dataset = FlairHub(path=str(own.root)).open()
    sample, full = dataset.read(at(NAMES[1])), dataset.read(at(NAMES[0]))
    assert set(STREAMS) - set(sample.images) == {"aerial", "s2-l2a"}
    batch = collate([full, sample])
    assert batch.images["aerial"].sensor_seen.tolist() == [True, False]
    assert batch.images["s2-l2a"].sensor_seen.tolist() == [True, False]
    dataset.look(at(NAMES[1]))


def test_a_place_without_any_chosen_sensor_is_not_used_and_counted(own: Layout) -> None:
    own.path(NAMES[1], "SPOT_RGBI").unlink()
    with pytest.warns(LandweaveWarning, match="1 places have none of the chosen sensors"):
        dataset = FlairHub(path=str(own.root), streams=("spot",)).open()
    assert [p.name for p in dataset.places if not p.split] == [NAMES[1]]
    assert len(dataset) == len(NAMES)
    with pytest.raises(DataError, match=f"{NAMES[1]}: none of the chosen sensors"):
        dataset.read(at(NAMES[1]))


def test_only_chosen_sensors_are_read_and_only_their_dates(own: Layout) -> None:
    shutil.rmtree(own.root / "GLOBAL_ALL_MTD")
    own.table(own.root / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_SPLIT.gpkg", {"split_flairhub": list(own.splits)})
    config = FlairHub(path=str(own.root), streams=("aerial:N+R+G", "spot"))
    dataset = Chosen(config.open(), config.choices)
    images = dataset.read(0).images
    assert list(images) == ["aerial", "spot"]
    assert images["aerial"].bands == ("N", "R", "G")
    assert images["aerial"].days.tolist() == [NO_DAY]
    assert {f.parts[-3].partition("_")[2] for f in dataset.files(0)} == {
        "AERIAL_RGBI", "SPOT_RGBI", "AERIAL_LABEL-COSIA", "ALL_LABEL-LPIS",
    }  # fmt: skip
    with pytest.raises(MissingDataError, match=r"(?s)no GLOBAL_SENTINEL2_MTD_DATES\.gpkg.*fix: put the archive's"):
        FlairHub(path=str(own.root), streams=("s2-l2a",)).open()


def test_a_dataset_can_be_sent_to_a_worker(whole: Layout) -> None:
    dataset = FlairHub(path=str(whole.root)).open()
    sent = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(sent.read(3).images["s2-l2a"].data, dataset.read(3).images["s2-l2a"].data)


# ---- splits


def split_of(config: FlairHub) -> dict[str, str]:
    return {p.name: p.split for p in config.open().places}


def test_official_splits_folds_and_challenge(whole: Layout) -> None:
    path = str(whole.root)
    words = {"train": "train", "valid": "validation", "test": "test", "none": "", "test-1": "test", "test-2": "test"}
    default = split_of(FlairHub(path=path))
    assert default == {n: words[s] for n, s in zip(NAMES, whole.splits, strict=True)}
    for n in range(1, 6):
        shifted = [words[whole.splits[(i + n - 1) % len(NAMES)]] for i in range(len(NAMES))]
        assert split_of(FlairHub.model_validate({"path": path, "splits": n})) == dict(zip(NAMES, shifted, strict=True))
    challenge = {
        t: split_of(FlairHub.model_validate({"path": path, "splits": "challenge", "challenge_test": t}))
        for t in ("both", 1, 2)
    }
    tests = {t: [n for n in NAMES if found[n] == "test"] for t, found in challenge.items()}
    assert tests == {"both": list(NAMES[6:]), 1: [NAMES[6], NAMES[8]], 2: [NAMES[7]]}
    assert challenge["both"][NAMES[2]] == "", "in neither challenge"
    first = split_of(FlairHub.model_validate({"path": path, "splits": "flairhub", "challenge_test": 1}))
    assert first == {n: "" if n == NAMES[7] else s for n, s in default.items()}, "as Table XIII: learned from all"


def test_a_split_that_the_metadata_lack(own: Layout) -> None:
    file = own.root / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_SPLIT.gpkg"
    own.table(file, {"split_flairhub": list(own.splits)})
    with pytest.raises(DataError, match=r"no column split_3; there are split_flairhub[\s\S]*fix: choose"):
        FlairHub(path=str(own.root), splits="3").open()
    own.table(file, {"split_flairhub": ["train"] * 8 + ["trian"]})
    with pytest.raises(DataError, match="split `trian` in column split_flairhub, not one of"):
        FlairHub(path=str(own.root)).open()
    file.unlink()
    with pytest.raises(MissingDataError, match=r"no GLOBAL_ALL_MTD/GLOBAL_ALL_MTD_SPLIT\.gpkg"):
        FlairHub(path=str(own.root)).open()


# ---- metadata


def test_metadata_are_read_once(own: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakness 22 of the spec: the GeoPackages are not parsed anew by every run."""
    import pyogrio

    before = FlairHub(path=str(own.root)).open().read(0)
    kept = own.root / "GLOBAL_ALL_MTD" / "landweave-index"
    assert len(list(kept.glob("*.parquet"))) == 8

    def never(*_: object, **__: object) -> object:
        raise AssertionError("a GeoPackage was read again")

    monkeypatch.setattr(pyogrio.raw, "read_arrow", never)
    after = FlairHub(path=str(own.root)).open().read(0)
    assert torch.equal(before.images["s2-l2a"].days, after.images["s2-l2a"].days)
    monkeypatch.undo()
    text = json.dumps({str(t): f"202012{t + 10}" for t in range(1, 7)})
    changed = Layout(own.root, dates={"SENTINEL2_TS": {NAMES[0]: text}})
    changed.metadata()
    assert FlairHub(path=str(own.root)).open().read(0).images["s2-l2a"].days[0] == day_of("2020-12-11")
    next(kept.glob("GLOBAL_SENTINEL2*")).write_bytes(b"cut sho")
    assert FlairHub(path=str(own.root)).open().read(0).images["s2-l2a"].days[0] == day_of("2020-12-11")


def test_metadata_of_a_read_only_archive_are_kept_elsewhere(
    own: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from landweave import files
    from landweave.data import flairhub_mtd as mtd

    shutil.rmtree(own.root / "GLOBAL_ALL_MTD" / "landweave-index", ignore_errors=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plain = files.write_bytes

    def write(path: Path, content: bytes) -> Path:
        if own.root in path.parents:  # root may write anywhere, so a read-only folder is played
            raise PermissionError(path)
        return plain(path, content)

    monkeypatch.setattr(mtd, "write_bytes", write)
    FlairHub(path=str(own.root)).open()
    assert not (own.root / "GLOBAL_ALL_MTD" / "landweave-index").exists()
    assert len(list((tmp_path / "cache" / "landweave" / "flair-hub").glob("*.parquet"))) == 8


def test_a_patch_that_the_metadata_lack(own: Layout) -> None:
    """Weakness 25 of the spec: said when the data are opened, not by a KeyError in a worker."""
    short = Layout(own.root, names=NAMES[1:], splits=own.splits[1:])
    short.metadata()
    for streams in ("s2-l2a", "aerial"):
        with pytest.raises(DataError) as caught:
            FlairHub(path=str(own.root), streams=(streams,), splits="flairhub").open()
        assert f"1 of 9 patches are not in it; the first: {NAMES[0]}" in str(caught.value)
        assert str(caught.value.where).endswith(".gpkg")
        assert caught.value.fix


def test_metadata_of_another_form(own: Layout) -> None:
    mtd = own.root / "GLOBAL_ALL_MTD"
    own.table(mtd / "GLOBAL_SENTINEL2_MTD_DATES.gpkg", {"dates": ["x"] * len(NAMES)})
    with pytest.raises(
        DataError, match=r"SENTINEL2_MTD_DATES\.gpkg: no column acquisition_dates; there are patch_id, dates"
    ):
        FlairHub(path=str(own.root)).open()
    for text in ("2019-01-05", '{"1": "20191305"}', '{"1": ""}', "[]"):
        own.table(mtd / "GLOBAL_SENTINEL2_MTD_DATES.gpkg", {"acquisition_dates": [text] * len(NAMES)})
        with pytest.raises(DataError, match="is not a list of dates"):
            FlairHub(path=str(own.root)).open()
    (mtd / "GLOBAL_SENTINEL2_MTD_DATES.gpkg").write_text("not a database")
    with pytest.raises(DataError, match="not a GeoPackage"):
        FlairHub(path=str(own.root)).open()


def test_images_of_the_1950s_of_domains_without_a_split_are_in_none(own: Layout) -> None:
    """A part of the archive may hold them alone: the split file knows the domain's other years only."""
    alone = "D099-2020_AA-S1-01_0-0"
    image = own.root / "D099-195X_AERIAL-RLT_PAN" / "AA-S1-01" / "D099-195X_AERIAL-RLT_PAN_AA-S1-01_0-0.tif"
    image.parent.mkdir(parents=True)
    shutil.copy(own.path(NAMES[0], "AERIAL-RLT_PAN"), image)
    with pytest.warns(LandweaveWarning, match=r"1 patches are of domains and years without a split, and in none"):
        dataset = FlairHub(path=str(own.root)).open()
    (place,) = [p for p in dataset.places if p.name not in NAMES]
    assert place.name.startswith("D099-")
    assert place.split == ""
    assert {p.split for p in dataset.places} >= {"train", "validation", "test"}
    assert alone.partition("-")[0] == place.group


def test_dates_that_nobody_needs_stop_nothing(own: Layout) -> None:
    mtd = own.root / "GLOBAL_ALL_MTD"
    own.table(mtd / "GLOBAL_AERIAL_MTD_DATES.gpkg", {"camera": ["x"] * len(NAMES)})
    with pytest.warns(LandweaveWarning, match=r"AERIAL_MTD_DATES\.gpkg: no date can be read in it"):
        FlairHub(path=str(own.root), streams=("aerial",)).open()
    with pytest.warns(LandweaveWarning, match="no date can be read in it"):  # from its Parquet too
        dataset = FlairHub(path=str(own.root), streams=("aerial",)).open()
    assert dataset.read(0).images["aerial"].days.tolist() == [NO_DAY]
    Layout(own.root, names=[], splits=[]).table(mtd / "GLOBAL_AERIAL_MTD_DATES.gpkg", {"date": []})
    with pytest.warns(LandweaveWarning, match="no date can be read in it"):
        FlairHub(path=str(own.root), streams=("aerial",)).open()
    own.table(mtd / "GLOBAL_AERIAL_MTD_DATES.gpkg", {"date": ["20200713"] * len(NAMES)})
    texts: list[object] = [series_text("SENTINEL2_TS", n) for n in NAMES]
    own.table(mtd / "GLOBAL_SENTINEL2_MTD_DATES.gpkg", {"acquisition_dates": [None, *texts[1:]]})
    with pytest.raises(DataError, match=rf"1 of 9 series have no dates; the first: {NAMES[0]}"):
        FlairHub(path=str(own.root), streams=("s2-l2a",)).open()
    own.path(NAMES[0], "SENTINEL2_TS").unlink()
    assert len(FlairHub(path=str(own.root), streams=("aerial", "s2-l2a")).open()) == len(NAMES)


def test_places_are_found_without_the_geometry_file(own: Layout) -> None:
    (own.root / "GLOBAL_ALL_MTD" / "GLOBAL_ALL_MTD_GEOM.gpkg").unlink()
    dataset = FlairHub(path=str(own.root)).open()
    assert dataset.places[0].lon is None
    lonlat = raster.lonlat(grid_of(dataset.places[0].name, 16))
    located = dataset.located()[0]
    assert (located.lon, located.lat) == pytest.approx(lonlat, abs=1e-6)


# ---- folders


def test_folders_that_are_not_the_archive(own: Layout, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no such folder"):
        FlairHub(path=str(tmp_path / "none")).open()
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="no folder such as D012-2019_AERIAL_RGBI"):
        FlairHub(path=str(tmp_path / "empty")).open()
    with pytest.raises(MissingDataError, match=f"fix: set data.path={own.root}, or"):
        FlairHub(path=str(own.root.parent)).open()
    (tmp_path / "empty" / "D012-2019_AERIAL_RGBI.zip").touch()
    with pytest.raises(MissingDataError, match="fix: unpack the 1 archives there"):
        FlairHub(path=str(tmp_path / "empty")).open()
    odd = own.path(NAMES[0], "SPOT_RGBI").with_name("copy.tif")
    shutil.copy(own.path(NAMES[0], "SPOT_RGBI"), odd)
    with pytest.raises(DataError, match=r"copy\.tif: not a file of this archive"):
        FlairHub(path=str(own.root)).open()
    odd.rename(odd.with_suffix(".tif.aux.xml"))
    assert len(FlairHub(path=str(own.root)).open()) == len(NAMES)


def test_a_folder_in_the_place_of_a_recipe_is_told_its_kind(whole: Layout) -> None:
    assert meant(whole.root) == f"data.kind=flair-hub data.path={whole.root}"


def test_choices_by_channel_order_are_by_name(whole: Layout) -> None:
    """Weakness 13 of the spec: a choice of bands of a series does not mix bands and dates."""
    config = FlairHub(path=str(whole.root), streams=("s2-l2a:B08+B04",))
    image = Chosen(config.open(), [StreamChoice.parse("s2-l2a:B08+B04")]).read(0).images["s2-l2a"]
    stack = values(NAMES[0], "SENTINEL2_TS").reshape(6, 10, 10, 10)
    np.testing.assert_array_equal(image.data.numpy(), stack[:, [6, 2]])


def test_paths_are_not_split_at_slashes(whole: Layout) -> None:
    """Weakness 24 of the spec: names of patches are parsed, not their paths; a backslash in a CSV is a slash."""
    patch = Patch.parse("D012-2019_AF-S1-27_5-10")
    assert (patch.domain, patch.year, patch.roi, patch.row, patch.col) == ("D012", "2019", "AF-S1-27", 5, 10)
    assert Patch.parse("D024047-2020_NV-S1-V21_10-2").domain == "D024047"
    for wrong in ("D12-2019_A_1-1", "D012-2019_A_1", "D012_A_1-1", "D0124-2019_A_1-1"):
        with pytest.raises(DataError, match="is not a patch"):
            Patch.parse(wrong)


def test_an_unknown_choice_is_refused(whole: Layout) -> None:
    with pytest.raises(ConfigError, match="no sensor `s2-l1c` in this data"):
        Chosen(FlairHub(path=str(whole.root)).open(), [StreamChoice.parse("s2-l1c")])
