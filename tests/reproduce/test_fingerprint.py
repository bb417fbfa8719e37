"""What tells data apart: their index, files' names, sizes and content; what tells starts apart: their weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from landweave.data import BigEarthNetV2
from landweave.data.synth import write
from landweave.files import write_bytes
from landweave.reproduce.fingerprint import data_mark, recipe_mark
from landweave.reproduce.plan import experiments, plan
from tests.reproduce import small


def of(folder: Path) -> str:
    return data_mark(BigEarthNetV2(path=str(folder), task="labels"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("bigearthnet-v2", tmp_path_factory.mktemp("worlds") / "as-it-is", places=6)


def test_a_copy_elsewhere_is_the_same(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world, tmp_path / "copy")
    assert of(world) == of(tmp_path / "copy")


def test_other_pixels_in_files_of_the_same_size_are_other_data(world: Path, tmp_path: Path) -> None:
    """A null world of radar has the index and the file sizes of the true one; runs of one passed for the other's."""
    null = write("bigearthnet-v2", tmp_path / "null", places=6, null="s1")
    sizes = [sorted((f.name, f.stat().st_size) for f in w.rglob("*.tif")) for w in (world, null)]
    assert sizes[0] == sizes[1]
    assert of(world) != of(null)


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_byte_counts_at_the_start_in_the_middle_and_at_the_end(world: Path, tmp_path: Path, where: float) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    file = max(copy.rglob("*.tif"), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    at = min(int(where * len(content)), len(content) - 1)
    content[at] ^= 1
    file.write_bytes(bytes(content))
    assert of(world) != of(copy)


# ---- what a run starts with


def started(*folders: Path) -> tuple[dict[str, object], ...]:
    """A row from random weights, and one from each folder."""
    rows = [{"name": f.name, "recipe": "supervised", "changes": (f"start={f}",)} for f in folders]
    return ({"name": "scratch", "recipe": "supervised"}, *rows)


def test_rows_that_differ_in_their_start_alone_are_trained_each(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        write_bytes(folder / "model.safetensors", folder.name[:3].encode())
    protocol = small.built(rows=started(one, other, tmp_path / "none", tmp_path / "nothing"))
    planned = plan(protocol, {"w": str(small.store(tmp_path / "w"))}, "full")
    assert len({p.training for p in planned}) == 5
    assert len({p.fingerprint for p in planned}) == 5


def test_a_start_is_known_by_its_weights_not_by_its_path(tmp_path: Path) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    write_bytes(run / "model.safetensors", b"before")
    shutil.copytree(run, copy)
    rows = started(run, copy)

    def marks() -> list[str]:
        found = experiments(small.built(rows=rows), {"w": "DIR"}, "full")
        return [recipe_mark(pair["main"]) for *_, pair in found]

    scratch, mine, theirs = marks()
    assert scratch != mine == theirs
    write_bytes(run / "model.safetensors", b"after!")
    assert marks()[0] == scratch
    assert marks()[1] != mine
    assert marks()[2] == theirs
