"""What tells data apart: their index, their files' names and sizes, and what stands in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from landweave.data import BigEarthNetV2
from landweave.data.synth import write
from landweave.reproduce.fingerprint import data_mark


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
