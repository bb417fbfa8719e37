"""The synthetic folders: read by our readers, of the form of genuine files, and the same bytes every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from landweave.data import raster
from landweave.data.bigearthnet import BigEarthNetV2
from landweave.data.dataset import Dataset
from landweave.data.dfc2020 import DFC2020
from landweave.data.eurosat import EuroSAT
from landweave.data.layouts import meant
from landweave.data.official import present, shares
from landweave.data.sen12ms import SEN12MS
from landweave.data.store import pack
from landweave.data.synth import LAYOUTS, write
from landweave.data.synth.places import Sites
from landweave.data.synth.world import World
from landweave.data.synth.write_sen12ms import dfc2020_patch, sen12ms_patch
from landweave.data.table import Table
from landweave.errors import ConfigError, DataError
from landweave.legends import load_legend

PLACES = {
    "sen12ms": (18, 32),
    "dfc2020": (6, 32),
    "table": (5, 32),
    "bigearthnet-v2": (4, None),
    "flair-hub": (1, None),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("synth")
    found = {}
    for layout in LAYOUTS:
        places, size = PLACES.get(layout, (20, None))
        found[layout] = write(layout, top / layout, places=places, size=size)
    return found


def splits(dataset: Dataset) -> Counter[str]:
    return Counter(p.split for p in dataset.places)


def test_bigearthnet(folders: dict[str, Path]) -> None:
    data = BigEarthNetV2(path=str(folders["bigearthnet-v2"])).open()
    assert splits(data) == {"train": 2, "validation": 1, "test": 1}
    assert len(BigEarthNetV2(path=str(folders["bigearthnet-v2"]), snow_cloud=True).open()) == 5
    for i in range(len(data)):
        sample = data.read(i)
        sizes = {k: tuple(v.data.shape[-3:]) for k, v in sample.images.items()}
        assert sizes == {
            "s2-l2a@10": (4, 120, 120), "s2-l2a@20": (6, 60, 60), "s2-l2a@60": (2, 20, 20),
            "s1-grd-sigma0": (2, 120, 120),
        }  # fmt: skip
        assert all(v.seen.all() for v in sample.images.values())
        assert (sample.images["s2-l2a@10"].days == sample.images["s1-grd-sigma0"].days).all()
        cover = shares(sample.labels["map"].values.numpy(), data.tasks["map"].legend)
        assert tuple(sorted(data.classes(i, "labels") or ())) == present(cover, 0.08)


def test_bigearthnet_files_are_as_the_genuine_ones(folders: dict[str, Path], real: Path) -> None:
    def kinds(root: Path) -> dict[str, tuple[object, ...]]:
        found = {}
        for file in sorted(root.rglob("*.tif")):
            head = raster.header(file)
            name = file.stem.rpartition("_")[2]
            top = file.relative_to(root).parts[0]
            found[f"{top} {name}"] = (head.dtype, head.count, head.grid.shape, head.grid.pixel, head.nodata)
        return found

    assert kinds(folders["bigearthnet-v2"]) == kinds(real / "formats/bigearthnet-v2")


def test_eurosat(folders: dict[str, Path], real: Path) -> None:
    for layout, form, bands in (("eurosat", "s2-l1c", 13), ("eurosat-rgb", "rgb", 3)):
        for rule in ("official", "spatial"):
            data = EuroSAT(path=str(folders[layout]), splits=rule).open()
            assert len(data) == 20
            assert "" not in splits(data)
        image = data.read(0).images[form]
        assert image.data.shape == (1, bands, 64, 64)
    assert splits(EuroSAT(path=str(folders["eurosat"])).open()) == {"train": 12, "validation": 4, "test": 4}
    image = EuroSAT(path=str(folders["eurosat"])).open().read(0).images["s2-l1c"]
    assert image.data[0, image.bands.index("B10")].float().mean() < 100  # the cirrus band, not B8A, stands tenth
    ours = raster.header(next(folders["eurosat"].rglob("Forest_1.tif")))
    theirs = raster.header(next((real / "formats/eurosat-ms").rglob("*.tif")))
    assert (ours.dtype, ours.count, ours.grid.shape) == (theirs.dtype, theirs.count, theirs.grid.shape)


def test_sen12ms_and_dfc2020(folders: dict[str, Path]) -> None:
    path = str(folders["sen12ms"])
    data = SEN12MS(path=path).open()
    assert set(splits(data)) == {"train", "validation", "test"}
    assert not {p.group for p in data.places if p.split == "test"} & {p.group for p in data.places if p.split != "test"}
    assert set(splits(SEN12MS(path=path, splits="lists").open())) == {"train", "validation", "test"}
    for scheme in ("igbp-17", "lccs-landcover", "lccs-landuse", "lccs-hydrology"):
        data = SEN12MS(path=path, scheme=scheme).open()
        for i in range(len(data)):
            sample = data.read(i)
            assert sample.labels["map"].known.all()
    assert {k: v.data.shape[-3] for k, v in sample.images.items()} == {"s1-grd-sigma0": 2, "s2-l1c": 13}
    contest = DFC2020(path=str(folders["dfc2020"])).open()
    assert splits(contest)["test"] == 3
    assert all(contest.read(i).labels for i in range(len(contest)))


@pytest.mark.parametrize("count", [24, 240, 600, 2400])
def test_every_place_of_sen12ms_has_files_of_its_own(count: int) -> None:
    """The numbers of held-out scenes are few and come again; their patches must not."""
    patches = [sen12ms_patch(0, i, size=16) for i in range(count)]
    assert len({p.name("s2") for p in patches}) == count
    assert len({p.place.grid for p in patches}) == count
    assert sum(p.test for p in patches) == pytest.approx(count / 4, abs=8)
    assert {p.number for p in patches[:174]} == {30, 31}, "as they were, before any number came again"


def test_a_world_without_more_places_says_so() -> None:
    for patch, last in ((sen12ms_patch, 5119), (dfc2020_patch, 2559)):
        assert patch(0, last, size=16)
        with pytest.raises(DataError, match="no more places"):
            patch(0, last + 1, size=16)


def test_names_of_sen12ms_agree_with_its_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists name every file once, and the held-out scenes are those of the test list."""
    monkeypatch.setattr(
        raster, "write", lambda path, *_: (path.parent.mkdir(parents=True, exist_ok=True), path.touch())
    )
    root = write("sen12ms", tmp_path / "many", places=184, size=16)
    lines = {name: (root / f"{name}_list.txt").read_text().split() for name in ("train", "test")}
    assert len(set(lines["train"])) + len(set(lines["test"])) == sum(map(len, lines.values())) == 184
    assert {p.name for p in root.rglob("*_s2_*.tif")} == {*lines["train"], *lines["test"]}
    by_scene, by_list = (SEN12MS(path=str(root), splits=rule).open() for rule in ("holdout", "lists"))
    assert len(by_scene) == len(by_list) == 184
    for data in (by_scene, by_list):
        assert {p.name for p in data.places if p.split == "test"} == {
            name.removesuffix(".tif").replace("_s2_", "_") for name in lines["test"]
        }


def test_table_and_its_scene(folders: dict[str, Path]) -> None:
    data = Table(path=str(folders["table"])).open()
    assert splits(data) == {"train": 3, "validation": 1, "test": 1}
    assert data.tasks["lulc"].kind == "map"
    sample = data.read(4)
    assert {k: tuple(v.data.shape) for k, v in sample.images.items()} == {
        "s2-l2a": (1, 12, 32, 32), "s1-rtc-gamma0": (1, 2, 32, 32), "dem": (1, 1, 32, 32),
    }  # fmt: skip
    assert sample.images["s2-l2a"].days[0] > 6000
    scene = folders["table"].parent / "scene"
    heads = [raster.header(scene / f"{stem}.tif") for stem in ("S2", "S1", "DEM", "LULC")]
    assert {h.grid.shape for h in heads} == {(512, 512)}
    assert len({h.grid for h in heads}) == 1
    legend = load_legend(scene / "legend.yaml")
    assert legend.names == data.tasks["lulc"].legend.names
    assert set(np.unique(raster.read(scene / "LULC.tif").data)) <= set(legend.table())


def test_same_seed_same_bytes_whatever_the_number_of_places(tmp_path: Path) -> None:
    few, many, other = (tmp_path / name for name in ("few", "many", "other"))
    write("bigearthnet-v2", few, places=1, seed=5)
    write("bigearthnet-v2", many, places=2, seed=5)
    write("bigearthnet-v2", other, places=1, seed=6)
    files = [f.relative_to(few) for f in few.rglob("*.tif")]
    assert len(files) == 30  # one place, and one with clouds
    assert all((few / f).read_bytes() == (many / f).read_bytes() for f in files)
    assert not list(many.rglob("*.part"))
    same = {f.relative_to(few).name.rpartition("_")[2]: f.read_bytes() for f in few.rglob("*B0*.tif")}
    assert same != {f.relative_to(other).name.rpartition("_")[2]: f.read_bytes() for f in other.rglob("*B0*.tif")}


def test_null_labels_change_labels_and_nothing_else(tmp_path: Path) -> None:
    roots = [tmp_path / "plain", tmp_path / "null"]
    for root, null in zip(roots, (None, "labels"), strict=True):
        write("dfc2020", root, places=2, size=32, null=null)
    equal = {}
    for file in sorted(roots[0].rglob("*_p0.tif")):
        inside = file.relative_to(roots[0])
        equal[inside.parts[1].partition("_")[0]] = file.read_bytes() == (roots[1] / inside).read_bytes()
    assert equal["s1"]
    assert equal["s2"]
    assert not equal["dfc"]


def test_progress_and_refusals(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    write("dfc2020", tmp_path / "a", places=2, size=16, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
    with pytest.raises(ConfigError, match="not an empty folder"):
        write("dfc2020", tmp_path / "a", places=2)
    with pytest.raises(ConfigError, match="did you mean `eurosat`"):
        write("eurosatt", tmp_path / "b")
    with pytest.raises(ConfigError, match="always have 120 pixels"):
        write("bigearthnet-v2", tmp_path / "b", size=64)
    with pytest.raises(ConfigError, match="null world"):
        write("eurosat", tmp_path / "b", null="s2")
    with pytest.raises(ConfigError, match="0 places"):
        write("eurosat", tmp_path / "b", places=0)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_each_layout_is_known_by_its_names(folders: dict[str, Path], layout: str, tmp_path: Path) -> None:
    kind, folder = layout.removesuffix("-rgb"), folders[layout]
    if layout == "table":
        assert meant(folder.parent) == str(folder)
        return
    assert meant(folder) == f"data.kind={kind} data.path={folder}"
    (tmp_path / "below").symlink_to(folder)
    assert meant(tmp_path) == f"data.kind={kind} data.path={tmp_path / 'below'}"


def test_stores_and_runs_are_known_and_other_folders_are_not(folders: dict[str, Path], tmp_path: Path) -> None:
    store, run, other = (tmp_path / name for name in ("store", "run", "other"))
    pack(EuroSAT(path=str(folders["eurosat"])).open(), store)
    assert meant(store) == f"data.kind=pack data.path={store}"
    for folder, file in ((run, "experiment.yaml"), (other, "S2.tif")):
        folder.mkdir()
        (folder / file).touch()
    assert meant(run) == str(run / "experiment.yaml")
    assert meant(other) == ""


def test_a_class_of_which_the_world_has_no_more_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 0 has 63 industrial places: 1,200 places of EuroSAT's layout once ended in a traceback."""
    have = {4: 2, 7: 1, 9: 0}

    def get(self: Sites, scene: int, rank: int) -> tuple[str, float, float]:
        if rank >= have.get(scene, 3):
            raise LookupError
        return "", 0.0, 0.0

    monkeypatch.setattr(Sites, "get", get)
    turns: list[tuple[int, int]] = []
    with pytest.raises(DataError, match="no more places"):
        turns.extend(Sites(World(0, None)).turns())
    assert turns == [(c, r) for r in range(3) for c in range(10) if r < have.get(c, 3)]
