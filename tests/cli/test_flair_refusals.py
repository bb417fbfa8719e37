"""Bad FLAIR-HUB input at the command line: one clear error each, with file and fix; and what is no error."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from landweave.__main__ import main
from landweave.errors import LandweaveWarning
from tests.cli.places import run
from tests.data.flair_layout import NAMES, Layout, values

PARTS = ("AERIAL_RGBI", "SENTINEL2_TS", "SENTINEL2_MSK-SC", "AERIAL_LABEL-COSIA", "ALL_LABEL-LPIS")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("flair") / "toy").write(PARTS)


@pytest.fixture
def own(whole: Layout, tmp_path: Path) -> Layout:
    return Layout(Path(shutil.copytree(whole.root, tmp_path / "toy")))


class Command:
    """The command line in this process: exit code, standard output and error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["landweave", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = self.capsys.readouterr()
        code = caught.value.code
        return code if isinstance(code, int) else int(code is not None), out, err

    def refused(self, layout: Layout, *changes: str, names: tuple[str, ...], code: int = 1) -> None:
        data = ("data.kind=flair-hub", f"data.path={layout.root}", "data.task=cosia")
        out = layout.root.parent / "run"
        exit_code, _, text = self("train", "segment", *data, *changes, "--out", out)
        assert exit_code == code, text
        assert len(text.strip().splitlines()) <= 10, text
        for name in (*names, "fix: "):
            assert name in text, (name, text)
        assert not out.exists()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_a_label_value_outside_the_table(own: Layout, command: Command) -> None:
    path = own.put(NAMES[2], "AERIAL_LABEL-COSIA", np.full((1, 16, 16), 77, np.uint8))
    command.refused(own, names=(str(path), "label value 77", "cosia-15"))


def test_a_date_list_shorter_than_the_stack(own: Layout, command: Command) -> None:
    text = json.dumps({"1": "20200105", "2": "20200115"})
    Layout(own.root, dates={"SENTINEL2_TS": {NAMES[1]: text}}).metadata()
    path = own.path(NAMES[1], "SENTINEL2_TS")
    command.refused(own, names=(str(path), "6 images in the file, and 2 dates", "GLOBAL_SENTINEL2_MTD_DATES.gpkg"))


def test_a_series_without_a_date(own: Layout, command: Command) -> None:
    Layout(own.root, dates={"SENTINEL2_TS": {NAMES[1]: "{}"}}).metadata()
    command.refused(own, names=(str(own.path(NAMES[1], "SENTINEL2_TS")), "6 images in the file, and 0 dates"))


def test_statistics_of_another_channel_count(own: Layout, command: Command) -> None:
    """Weakness 4 of the spec: three statistics for four channels are refused, never dealt out by position."""
    three = "data.statistics={aerial: {R: [105.66, 52.23], G: [111.35, 45.62], B: [102.18, 44.30]}}"
    names = ("data.statistics.aerial", "3 bands of aerial have statistics", "the images have 4: none for N")
    command.refused(own, three, names=names, code=2)
    five = "data.statistics={aerial: {R: [1, 1], G: [1, 1], B: [1, 1], N: [1, 1], I: [1, 1]}}"
    data = ("data.kind=flair-hub", f"data.path={own.root}", "data.task=cosia")
    code, _, text = command("train", "segment", *data, five, "--out", own.root.parent / "run")
    assert code == 2
    assert "aerial has no band `I`; it has R, G, B, N" in text


def test_a_csv_with_a_wrong_column(own: Layout, command: Command) -> None:
    """Weakness 25 of the spec: a bad CSV is told with its path and the fix."""
    file = own.csv(own.root.parent / "toy_TRAIN.csv", NAMES, prefix="toy/")
    file.write_text(file.read_text().replace("SENTINEL2_TS", "SENTINEL2", 1))
    command.refused(own, f"data.path={file}", names=(str(file), "unknown column `SENTINEL2`, did you mean"))


def test_a_csv_row_that_names_a_file_that_is_not_there(own: Layout, command: Command) -> None:
    file = own.csv(own.root.parent / "toy.csv", NAMES, prefix="toy/")
    gone = own.path(NAMES[0], "AERIAL_RGBI")
    gone.unlink()
    command.refused(own, f"data.path={file}", names=(str(gone), "no such file", f"{file}:2 names it"))


def test_a_patch_that_the_metadata_lack(own: Layout, command: Command) -> None:
    Layout(own.root, names=NAMES[1:], splits=own.splits[1:]).metadata()
    names = ("GLOBAL_ALL_MTD_SPLIT.gpkg", f"1 of 9 patches are not in it; the first: {NAMES[0]}")
    command.refused(own, names=names)


def test_a_place_without_a_sensor_and_one_under_clouds_are_no_errors(own: Layout, command: Command) -> None:
    own.path(NAMES[0], "SENTINEL2_TS").unlink()
    own.put(NAMES[1], "SENTINEL2_MSK-SC", np.full((12, 10, 10), 99, np.uint16))
    with pytest.warns(LandweaveWarning, match=f"{NAMES[1]}: snow or cloud on each of the 6 dates"):
        code, out, err = command("check", "data.kind=flair-hub", f"data.path={own.root}")
    assert code == 0, err
    assert "aerial: 9 places, 4 bands" in out
    assert "s2-l2a: 8 places, 10 bands" in out
    assert "6 (7), 1 (1) date(s)" in out
    assert "0 error(s)" in out


def test_a_warning_is_told_without_its_place_in_the_code(own: Layout) -> None:
    own.put(NAMES[1], "SENTINEL2_MSK-SC", np.full((12, 10, 10), 99, np.uint16))
    done = run("check", "data.kind=flair-hub", f"data.path={own.root}")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "snow or cloud" in line]
    assert [line.partition(": snow")[0] for line in told] == [f"landweave: {NAMES[1]}"]
    assert ".py" not in done.stderr


def test_a_misspelt_setting_is_refused_before_anything_is_loaded(own: Layout) -> None:
    words = ("check", "data.kind=flair-hub", f"data.path={own.root}", "data.cloud=null")
    done = run(*words)
    assert done.returncode == 2
    assert "unknown key `data.cloud`, did you mean `clouds`?" in done.stderr


def test_a_place_is_packed_as_it_is_read(own: Layout, command: Command) -> None:
    import torch

    from landweave.data.flairhub import FlairHub
    from landweave.data.store import Pack

    store = own.root.parent / "store"
    code, out, err = command("pack", store, "data.kind=flair-hub", f"data.path={own.root}")
    assert code == 0, err
    assert "9 places packed" in out
    folder, packed = FlairHub(path=str(own.root)).open(), Pack(path=str(store)).open()
    assert [p.group for p in packed.places] == [p.group for p in folder.places]
    one, other = folder.read(4), packed.read(4)
    for stream, image in one.images.items():
        assert torch.equal(image.data, other.images[stream].data)
        assert torch.equal(image.days, other.images[stream].days)
    for task, label in one.labels.items():
        assert torch.equal(label.values, other.labels[task].values)
        assert label.legend == other.labels[task].legend
    assert values(folder.places[4].name, "AERIAL_RGBI")[0, 0, 0] == other.images["aerial"].data[0, 0, 0, 0]
