"""CSVs of FLAIR-HUB's official form: separators, where paths lead, splits, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from landweave.data.flairhub import FlairHub
from landweave.data.table import Table
from landweave.errors import ConfigError, DataError, MissingDataError
from tests.data.flair_layout import NAMES, Layout

THREE = {"TRAIN": NAMES[:4], "VALID": NAMES[4:6], "TEST": NAMES[6:]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("flair") / "FLAIR-HUB_TOY").write()


@pytest.fixture
def own(whole: Layout, tmp_path: Path) -> Layout:
    return Layout(Path(shutil.copytree(whole.root, tmp_path / "FLAIR-HUB_TOY")))


def three(layout: Layout, folder: Path, *, prefix: str, separator: str = ",") -> Path:
    """The archive's three CSVs; returns the first."""
    for word, names in THREE.items():
        layout.csv(folder / f"TOY-DATASET_{word}.csv", names, prefix=prefix, separator=separator)
    return folder / "TOY-DATASET_TRAIN.csv"


@pytest.mark.parametrize("separator", [",", ";"])
def test_three_csvs_make_three_splits_and_paths_lead_from_their_folder(own: Layout, separator: str) -> None:
    first = three(own, own.root.parent / "csv", prefix="../FLAIR-HUB_TOY/", separator=separator)
    dataset = FlairHub(path=str(first)).open()
    assert {p.name: p.split for p in dataset.places} == {
        n: {"TRAIN": "train", "VALID": "validation", "TEST": "test"}[word]
        for word, names in THREE.items()
        for n in names
    }
    by_folder = FlairHub(path=str(own.root)).open()
    for i, place in enumerate(dataset.places):
        other = next(j for j, p in enumerate(by_folder.places) if p.name == place.name)
        assert [f.resolve() for f in dataset.files(i)] == [f.resolve() for f in by_folder.files(other)]
    assert set(dataset.read(0).images) == set(by_folder.read(0).images)
    assert len(FlairHub(path=str(first.with_name("TOY-DATASET_TEST.csv"))).open()) == len(NAMES)
    assert len(FlairHub(path=str(first.parent), splits="csv").open()) == len(NAMES)


def test_paths_lead_from_the_working_directory_too(
    own: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = three(own, tmp_path / "far" / "away" / "csv", prefix="../FLAIR-HUB_TOY/")
    with pytest.raises(MissingDataError, match=r"TOY-DATASET_TRAIN\.csv:2: .*no folder") as caught:
        FlairHub(path=str(first)).open()
    assert "data.root" in str(caught.value.fix)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert len(FlairHub(path=str(first)).open()) == len(NAMES)


@pytest.mark.parametrize("deeper", [True, False])
def test_paths_lead_from_the_root_that_is_given(own: Layout, tmp_path: Path, deeper: bool) -> None:
    """`root` is the folder of the domains, or the one that the CSV's paths begin in."""
    first = three(own, tmp_path / "far" / "csv", prefix="FLAIR-HUB_TOY/")
    root = own.root if deeper else own.root.parent
    dataset = FlairHub(path=str(first), root=str(root)).open()
    assert Path(dataset.files(0)[0]).is_relative_to(own.root)
    assert "s2-l2a" in dataset.read(0).images


def test_absolute_paths_and_backslashes(own: Layout, tmp_path: Path) -> None:
    """Weakness 24 of the spec: paths of a CSV that Windows wrote are read too."""
    file = own.csv(tmp_path / "some.csv", NAMES, prefix=f"{own.root}/")
    assert len(FlairHub(path=str(file)).open()) == len(NAMES)
    text = own.csv(tmp_path / "some.csv", NAMES, prefix="FLAIR-HUB_TOY/").read_text()
    file.write_text(text.replace("/", "\\"))
    assert "aerial" in FlairHub(path=str(file)).open().read(0).images


def test_a_single_csv_takes_its_splits_from_the_metadata_or_a_column(own: Layout, tmp_path: Path) -> None:
    file = own.csv(tmp_path / "mine.csv", NAMES[2:7], prefix="FLAIR-HUB_TOY/")
    splits = [p.split for p in FlairHub(path=str(file)).open().places]
    assert splits == ["train", "validation", "train", "validation", "test"]
    with pytest.raises(ConfigError, match="the CSV tells no split"):
        FlairHub(path=str(file), splits="csv").open()
    head, *rows = file.read_text().splitlines()
    words = ["test", "train", "val", "valid", "none"]
    file.write_text("\n".join([f"{head},split", *(f"{r},{w}" for r, w in zip(rows, words, strict=True))]))
    told = [p.split for p in FlairHub(path=str(file)).open().places]
    assert told == ["test", "train", "validation", "validation", ""]
    official = [p.split for p in FlairHub(path=str(file), splits="flairhub").open().places]
    assert official == splits


def test_an_empty_cell_is_an_absent_sensor(own: Layout, tmp_path: Path) -> None:
    own.path(NAMES[0], "SPOT_RGBI").unlink()
    file = own.csv(tmp_path / "mine.csv", NAMES, prefix="FLAIR-HUB_TOY/")
    dataset = FlairHub(path=str(file)).open()
    assert "spot" not in dataset.read(0).images
    assert "spot" in dataset.read(1).images


def test_a_lacking_column_is_an_absent_sensor_that_cannot_be_chosen(own: Layout, tmp_path: Path) -> None:
    """Weakness 25 of the spec: it is no empty image that fails hours later."""
    file = own.csv(tmp_path / "mine.csv", NAMES, prefix="FLAIR-HUB_TOY/")
    rows = [line.split(",") for line in file.read_text().splitlines()]
    at = rows[0].index("SPOT_RGBI")
    file.write_text("\n".join(",".join(c for i, c in enumerate(r) if i != at) for r in rows))
    dataset = FlairHub(path=str(file)).open()
    assert "spot" not in dataset.streams


def test_a_file_that_a_row_names_and_that_is_not_there(own: Layout, tmp_path: Path) -> None:
    file = own.csv(tmp_path / "mine.csv", NAMES, prefix="FLAIR-HUB_TOY/")
    gone = own.path(NAMES[1], "SPOT_RGBI")
    gone.unlink()
    dataset = FlairHub(path=str(file)).open()
    for look in (dataset.read, dataset.look):
        with pytest.raises(MissingDataError) as caught:
            look(1)
        assert str(caught.value).startswith(f"{gone}: no such file, and {file}:3 names it\n  fix: unpack the archive")


def spoilt(own: Layout, tmp_path: Path, old: str, new: str, times: int = 1) -> FlairHub:
    file = own.csv(tmp_path / "mine.csv", NAMES, prefix="FLAIR-HUB_TOY/")
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, times))
    return FlairHub(path=str(file))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("AERIAL_RGBI,", "AERIAL_RGB,", r"mine\.csv: unknown column `AERIAL_RGB`, did you mean `AERIAL_RGBI`\?"),
        ("patch_id", "patch", r"mine\.csv: unknown column `patch`, did you mean `patch_id`\?"),
        ("SPOT_RGBI", "AERIAL_RGBI", r"mine\.csv: column `AERIAL_RGBI` stands twice"),
        (
            NAMES[0] + ",",
            "D006-2020_UU-S2-11_3-1,",
            r"mine\.csv:2: column AERIAL-RLT_PAN holds .*no such file of patch",
        ),
        (NAMES[0] + ",", "patch-1,", r"mine\.csv:2: `patch-1` is not a patch such as"),
        ("_UU-S2-11_1-1.tif,", "_UU-S2-11_1-1.tif,,", r"mine\.csv:2: 12 cells under 11 columns"),
    ],
)
def test_a_wrong_csv_names_file_and_line(own: Layout, tmp_path: Path, old: str, new: str, told: str) -> None:
    """Weakness 25 of the spec: a bad CSV is told with its path, its line and the fix."""
    with pytest.raises(DataError, match=told):
        spoilt(own, tmp_path, old, new).open()


def test_a_patch_in_two_csvs(own: Layout, tmp_path: Path) -> None:
    first = three(own, own.root.parent / "csv", prefix="../FLAIR-HUB_TOY/")
    test = first.with_name("TOY-DATASET_TEST.csv")
    test.write_text(test.read_text() + first.read_text().splitlines()[1] + "\n")
    with pytest.raises(
        DataError, match=rf"TOY-DATASET_TEST\.csv:5: patch `{NAMES[0]}` stands in TOY-DATASET_TRAIN\.csv:2"
    ):
        FlairHub(path=str(first)).open()


def test_such_a_csv_in_the_place_of_a_table_is_told_its_kind(own: Layout, tmp_path: Path) -> None:
    file = own.csv(tmp_path / "mine.csv", NAMES, prefix="FLAIR-HUB_TOY/")
    with pytest.raises(DataError, match=r"a CSV of FLAIR-HUB\n  fix: give data\.kind=flair-hub"):
        Table(path=str(file)).open()


def test_two_sets_of_csvs_in_a_folder(own: Layout, tmp_path: Path) -> None:
    first = three(own, tmp_path / "csv", prefix="../FLAIR-HUB_TOY/")
    shutil.copy(first, first.with_name("MINE_TRAIN.csv"))
    with pytest.raises(DataError, match=r"do not belong together: MINE_TRAIN\.csv, TOY-[\s\S]*data\.path=.*MINE_TRAIN"):
        FlairHub(path=str(first.parent), splits="csv").open()
    assert len(FlairHub(path=str(first)).open()) == len(NAMES)


def test_no_csv_at_all(own: Layout, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no CSV with TRAIN"):
        FlairHub(path=str(own.root), splits="csv").open()
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty\.csv: the file is empty"):
        FlairHub(path=str(tmp_path / "empty.csv")).open()
    (tmp_path / "empty.csv").write_text("patch_id,AERIAL_RGBI\n")
    with pytest.raises(DataError, match="no row below the header"):
        FlairHub(path=str(tmp_path / "empty.csv")).open()
