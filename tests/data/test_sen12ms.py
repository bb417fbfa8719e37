"""SEN12MS: layout, groups, the three sources of splits, the five class schemes, missing and broken files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from landweave.data import raster
from landweave.data.sen12ms import BROKEN, SCHEMES, SEN12MS
from landweave.errors import DataError, MissingDataError
from landweave.grid import Grid
from landweave.legends import IGBP_10, IGBP_17, IGBP_TO_SIMPLE
from landweave.sample import NO_DAY, UNKNOWN, collate

SIDE = 16  # the archive's is 256; the reader takes what the file says
GRID = Grid("EPSG:32633", (10.0, 0.0, 400000.0, 0.0, -10.0, 5300000.0), (SIDE, SIDE))


def file(root: Path, season: str, scene: int, part: str, number: int) -> Path:
    return root / season / f"{part}_{scene}" / f"{season}_{part}_{scene}_p{number}.tif"


def patch(root: Path, season: str, scene: int, number: int, igbp: np.ndarray | None = None) -> None:
    """Sentinel-1 from a generator, Sentinel-2 band i = 100 * i + number, land cover by layer."""
    rng = np.random.default_rng(number)
    radar = rng.normal(-12, 4, (2, SIDE, SIDE)).astype(np.float32)
    raster.write(file(root, season, scene, "s1", number), radar, GRID)
    optical = np.stack([np.full((SIDE, SIDE), 100 * i + number, np.uint16) for i in range(13)])
    raster.write(file(root, season, scene, "s2", number), optical, GRID)
    layers = [igbp if igbp is not None else np.full((SIDE, SIDE), 12)]
    layers += [np.full((SIDE, SIDE), value) for value in (31, 36, 30)]
    raster.write(file(root, season, scene, "lc", number), np.stack(layers).astype(np.uint16), GRID)


SPRING, SUMMER = "ROIs1158_spring", "ROIs1868_summer"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("sen12ms")
    for season, scenes in ((SPRING, (1, 2, 10, 63)), (SUMMER, (3, 4))):
        for scene in scenes:
            for number in (30, 31, 130):
                patch(where, season, scene, number)
    (where / "SEN12MS_holdOutScenes.txt").write_text(f"{SPRING}/s1_63\n{SUMMER}/s1_131\n")
    return where


def test_streams_bands_names_and_groups(root: Path) -> None:
    dataset = SEN12MS(path=str(root)).open()
    assert len(dataset) == 18
    assert list(dataset.streams) == ["s1-grd-sigma0", "s2-l1c"]
    assert dataset.places[0].name == f"{SPRING}_1_p30"
    assert [p.group for p in dataset.places[:3]] == [f"{SPRING}_1"] * 3
    sample = dataset.read(2)
    optical, radar = sample.images["s2-l1c"], sample.images["s1-grd-sigma0"]
    assert optical.bands[8:] == ("B8A", "B09", "B10", "B11", "B12")  # not the order of EuroSAT
    assert optical.data[0, :, 0, 0].tolist() == [100 * i + 130 for i in range(13)]
    assert radar.bands == ("VV", "VH")
    np.testing.assert_array_equal(
        radar.data[0].numpy(), np.random.default_rng(130).normal(-12, 4, (2, SIDE, SIDE)).astype(np.float32)
    )
    assert optical.grid == GRID
    assert optical.days.tolist() == [NO_DAY]
    assert [f.name for f in dataset.files(2)] == [f"{SPRING}_{p}_1_p130.tif" for p in ("s1", "s2", "lc")]


def test_hold_out_scenes_are_the_test_split_and_no_scene_is_cut(root: Path) -> None:
    config = SEN12MS(path=str(root), validation_share=0.34)
    splits: dict[str, set[str]] = {}
    for p in config.open().places:
        splits.setdefault(p.group, set()).add(p.split)
    assert splits[f"{SPRING}_63"] == {"test"}
    assert all(len(s) == 1 for s in splits.values())
    of_spring = sorted(str(min(splits[f"{SPRING}_{n}"])) for n in (1, 2, 10))
    assert of_spring == ["train", "train", "validation"]  # a third of three
    assert {min(splits[f"{SUMMER}_{n}"]) for n in (3, 4)} == {"train", "validation"}
    drawn = {tuple(p.split for p in config.model_copy(update={"split_seed": seed}).open().places) for seed in range(5)}
    assert len(drawn) > 1
    assert config.open().places == config.open().places


def test_random_scenes(root: Path) -> None:
    dataset = SEN12MS(path=str(root), splits="random-scene").open()
    of_group = {p.group: p.split for p in dataset.places}
    assert all(of_group[p.group] == p.split for p in dataset.places)
    spring = [split for group, split in of_group.items() if group.startswith(SPRING)]
    assert sorted(spring) == ["test", "train", "train", "validation"]


def test_every_list_form_gives_the_same_splits(root: Path, tmp_path: Path) -> None:
    where = tmp_path / "data"
    where.mkdir()
    for season in (SPRING, SUMMER):
        (where / season).symlink_to(root / season)
    train = [f"{SPRING}_s2_{s}_p{n}.tif" for s in (1, 2, 10) for n in (30, 31)]
    test = [f"{SPRING}_s2_63_p{n}.tif" for n in (30, 31, 130)]
    (where / "train_list.txt").write_text("\n".join(train) + "\n")
    (where / "test_list.txt").write_text("\n".join(test))
    by_text = SEN12MS(path=str(where), splits="lists").open().places
    assert [p.split for p in by_text].count("test") == 3
    assert [p.split for p in by_text].count("validation") == 2  # the listed patches of one drawn scene
    assert [p.split for p in by_text].count("train") == 4
    assert next(p.split for p in by_text if p.name == f"{SPRING}_1_p130") == ""  # in no list: there, in no split
    for name, lines in (("train_list", train), ("test_list", test)):
        (where / f"{name}.txt").unlink()
        (where / f"{name}.pkl").write_bytes(pickle.dumps(lines))
    assert SEN12MS(path=str(where), splits="lists").open().places == by_text
    (where / "val_list.txt").write_text(f"{SPRING}_s1_10_p31.tif\n")  # a part of train_list, as in the archive
    listed = SEN12MS(path=str(where), splits="lists").open()
    assert [p.name for p in listed.places if p.split == "validation"] == [f"{SPRING}_10_p31"]
    (where / "val_list.txt").write_text(f"{SPRING}_s1_10_p99.tif\n")
    with pytest.raises(MissingDataError, match=f"1 places of the lists are missing; the first: {SPRING}_10_p99"):
        SEN12MS(path=str(where), splits="lists").open()


def test_a_pickle_that_asks_for_code_is_refused(root: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path}/ran",)

    where = tmp_path / "data"
    where.mkdir()
    (where / SPRING).symlink_to(root / SPRING)
    (where / "train_list.pkl").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(DataError, match=r"train_list\.pkl: not a plain pickled list"):
        SEN12MS(path=str(where), splits="lists").open()
    assert not (tmp_path / "ran").exists()
    (where / "train_list.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="not a list of file names"):
        SEN12MS(path=str(where), splits="lists").open()


def test_lists_that_are_lacking_or_strange(root: Path, tmp_path: Path) -> None:
    (tmp_path / SPRING).symlink_to(root / SPRING)
    with pytest.raises(MissingDataError, match=r"SEN12MS_holdOutScenes\.txt[\s\S]*random-scene"):
        SEN12MS(path=str(tmp_path)).open()
    (tmp_path / "SEN12MS_holdOutScenes.txt").write_text("spring 63\n")
    with pytest.raises(DataError, match="`spring` is not a scene"):
        SEN12MS(path=str(tmp_path)).open()
    with pytest.raises(MissingDataError, match=r"no train_list\.txt or train_list\.pkl"):
        SEN12MS(path=str(tmp_path), splits="lists").open()


def cover(**shares: int) -> np.ndarray:
    """A patch in which IGBP class `i<n>` covers so many pixels, row by row."""
    values = np.concatenate([np.full(count, int(name[1:])) for name, count in shares.items()])
    assert values.size == SIDE * SIDE
    return values.reshape(SIDE, SIDE)


def test_scene_labels_by_hand(tmp_path: Path) -> None:
    # of 256 pixels: 20 + 20 of two forests, 26 (>= 10 %) of urban, 25 (< 10 %) of water, the rest cropland and unknown
    patch(tmp_path, SPRING, 1, 1, cover(i1=20, i4=20, i13=26, i17=25, i12=90, i14=60, i255=15))
    patch(tmp_path, SPRING, 1, 2, cover(i255=256))
    multi = SEN12MS(path=str(tmp_path), labels="multilabel", splits="random-scene").open()
    assert list(multi.tasks) == ["labels"]
    label = multi.read(0).labels["labels"]
    names = [label.legend.names[k] for k in label.values.nonzero().flatten().tolist()]
    assert names == ["Forest", "Cropland", "Urban"]
    assert multi.classes(0, "labels") == tuple(IGBP_10.index(n) for n in names)
    full = SEN12MS(path=str(tmp_path), labels="multilabel", scheme="igbp-17", splits="random-scene").open()
    assert [IGBP_17.classes[k].value for k in full.classes(0, "labels") or ()] == [12, 13, 14]  # no forest reaches 10 %
    single = SEN12MS(path=str(tmp_path), labels="single", splits="random-scene").open()
    assert single.classes(0, "scene") == (IGBP_10.index("Cropland"),)
    unknown = single.read(1).labels["scene"]
    assert (bool(unknown.known), int(unknown.values)) == (False, UNKNOWN)
    empty = multi.read(1).labels["labels"]
    assert empty.known.all()  # nothing reaches the share: an empty set, which is not the same as unknown
    assert not empty.values.any()


def test_a_share_that_equals_the_threshold_counts(tmp_path: Path) -> None:
    patch(tmp_path, SPRING, 1, 1, cover(i13=64, i12=192))
    at = SEN12MS(path=str(tmp_path), labels="multilabel", min_share=0.25, splits="random-scene").open()
    assert at.classes(0, "labels") == (IGBP_10.index("Cropland"), IGBP_10.index("Urban"))


@pytest.mark.parametrize(
    ("scheme", "value", "name", "count"),
    [
        ("igbp-10", 12, "Cropland", 10),
        ("igbp-17", 12, "Croplands", 17),
        ("lccs-landcover", 31, "Dense herbaceous", 16),
        ("lccs-landuse", 36, "Herbaceous croplands", 11),
        ("lccs-hydrology", 30, "Grasslands", 10),
    ],
)
def test_maps_of_the_five_schemes_read_their_layer(root: Path, scheme: str, value: int, name: str, count: int) -> None:
    dataset = SEN12MS.model_validate({"path": str(root), "scheme": scheme}).open()
    label = dataset.read(0).labels["map"]
    assert len(label.legend) == count
    assert label.values.unique().tolist() == [label.legend.index(name)]
    assert label.legend.classes[label.legend.index(name)].value == value
    assert label.grid == GRID
    assert label.known.all()


def test_simplified_classes_are_the_published_merge(tmp_path: Path) -> None:
    values = np.resize(np.arange(1, 18), (SIDE, SIDE))
    patch(tmp_path, SPRING, 1, 1, values)
    label = SEN12MS(path=str(tmp_path), splits="random-scene").open().read(0).labels["map"]
    for igbp in range(1, 18):
        simple = [0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10][igbp]  # band-adaptation.md, A.5
        assert IGBP_TO_SIMPLE[igbp] == simple
        assert (label.values.numpy()[values == igbp] == simple - 1).all()


def test_the_values_of_the_schemes_do_not_overlap_with_what_is_ignored() -> None:
    for layer, legend in SCHEMES.values():
        assert 0 <= layer <= 3
        assert not {c.value for c in legend.classes} & set(legend.ignored)


def test_nan_in_sentinel_1_is_unseen_and_the_place_stays(tmp_path: Path) -> None:
    patch(tmp_path, SUMMER, 146, 202)
    where = file(tmp_path, SUMMER, 146, "s1", 202)
    radar = raster.read(where).data
    radar[1, 3, 4] = np.nan
    raster.write(where, radar, GRID)
    image = SEN12MS(path=str(tmp_path), splits="random-scene").open().read(0).images["s1-grd-sigma0"]
    assert image.pixels_seen[0, :, 3, 4].tolist() == [True, False]
    assert int((~image.pixels_seen).sum()) == 1
    assert image.data.isfinite().all()


def test_the_file_that_is_broken_in_the_archive_is_named_as_such_only_when_unreadable(tmp_path: Path) -> None:
    patch(tmp_path, SUMMER, 146, 202)
    patch(tmp_path, SUMMER, 146, 203)
    dataset = SEN12MS(path=str(tmp_path), splits="random-scene").open()
    assert dataset.places[0].name == BROKEN
    for number in (202, 203):
        file(tmp_path, SUMMER, 146, "s1", number).write_bytes(b"II*\0 cut short")
    with pytest.raises(DataError, match=r"s1_146_p202\.tif[\s\S]*broken in the archive itself"):
        dataset.read(0)
    with pytest.raises(DataError) as caught:
        dataset.read(1)
    assert "archive itself" not in str(caught.value)


def test_missing_files_are_counted_or_allowed(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        patch(tmp_path, SPRING, 7, number)
    file(tmp_path, SPRING, 7, "s1", 2).unlink()
    file(tmp_path, SPRING, 7, "lc", 3).unlink()
    config = SEN12MS(path=str(tmp_path), splits="random-scene")
    with pytest.raises(
        MissingDataError, match=rf"2 files are missing; the first: {SPRING}_7 p2, s1[\s\S]*data\.partial"
    ):
        config.open()
    dataset = config.model_copy(update={"partial": True}).open()
    samples = [dataset.read(i) for i in range(3)]
    assert collate(samples).images["s1-grd-sigma0"].sensor_seen.tolist() == [True, False, True]
    assert [bool(s.labels["map"].known.any()) for s in samples] == [True, True, False]
    assert dataset.classes(2, "map") is None
    for number in (1, 2, 3):
        file(tmp_path, SPRING, 7, "s2", number).unlink()
    file(tmp_path, SPRING, 7, "s1", 1).unlink()
    assert [p.name for p in config.model_copy(update={"partial": True}).open().places] == [f"{SPRING}_7_p3"]


def test_a_sensor_that_lacks_as_a_whole_is_absent(tmp_path: Path) -> None:
    import shutil

    patch(tmp_path, SPRING, 7, 1)
    shutil.rmtree(tmp_path / SPRING / "s1_7")
    dataset = SEN12MS(path=str(tmp_path), splits="random-scene").open()
    assert list(dataset.streams) == ["s2-l1c"]


def test_faults_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="none of ROIs1158_spring"):
        SEN12MS(path=str(tmp_path)).open()
    patch(tmp_path, SPRING, 7, 1, np.full((SIDE, SIDE), 18))
    config = SEN12MS(path=str(tmp_path), splits="random-scene")
    with pytest.raises(DataError, match=r"lc_7_p1\.tif: label value 18 is not in legend igbp-simple-10"):
        config.open().read(0)
    raster.write(file(tmp_path, SPRING, 7, "lc", 1), np.ones((1, SIDE, SIDE), np.uint16), GRID)
    with pytest.raises(DataError, match=r"lc_7_p1\.tif: 1 layers of labels, not 4"):
        config.open().read(0)
    raster.write(file(tmp_path, SPRING, 7, "s2", 1), np.ones((12, SIDE, SIDE), np.uint16), GRID)
    with pytest.raises(DataError, match=r"s2_7_p1\.tif: 12 bands"):
        config.open().read(0)
    (tmp_path / SPRING / "s2_7" / "notes.tif").write_text("")
    with pytest.raises(DataError, match=r"notes\.tif: not a file of this archive"):
        config.open()


def test_it_is_picklable(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(SEN12MS(path=str(root)).open()))
    assert dataset.read(5).name == f"{SPRING}_2_p130"
