"""The benchmark of reading: it compares the same numbers, and says so where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import reading, show
from landweave.data import raster


def test_rows_and_the_numbers_behind_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakness 22 of the spec: six to ten rasters opened a sample. A place of a pack opens none."""
    rasterio, reader = reading.compare(tmp_path, places=2, rounds=1)
    assert (rasterio.peer, reader.peer) == (reading.RASTERIO, reading.READER)
    assert rasterio.limit == reading.LIMIT == 10
    assert rasterio.reached == (rasterio.times_more >= reading.LIMIT)
    assert reader.limit is None
    assert rasterio.times_more == pytest.approx(rasterio.ours / rasterio.figure)
    files, stored = reading.FlairHub(path=str(tmp_path / "flair"), clouds=None).open(), tmp_path / "pack"
    packed = reading.PackedDataset(stored)
    reading.same(files, packed)
    with monkeypatch.context() as patched:
        patched.setattr("rasterio.open", None)
        assert len(packed.read(0).images) == 7
    path = files.file_of(1, "spot")
    assert path is not None
    found = raster.read(path)
    raster.write(path, found.data + np.uint16(1), found.grid)
    with pytest.raises(SystemExit, match="spot differs"):
        reading.same(files, packed)


def test_the_page_prints_a_section_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = reading.Row("flair-hub place", 32, reading.WHAT, "rasterio", 22.0, 310.0, 14.1, 10.0, True, "a note")
    for name in ("reading.py", "utae.py"):
        (tmp_path / name).write_text(f'"""About {name}."""\n')
    content = {"machine": {"processor": "one"}, "rows": [{**row.__dict__}]}
    (tmp_path / "reading.json").write_text(json.dumps(content))
    monkeypatch.setattr(show, "HERE", tmp_path)
    text = show.page()
    assert "## Reading (reading.json)\n\nAbout reading.py.\n\none.\n" in text
    cells = ("flair-hub place x 32", reading.WHAT, "rasterio", "22", "310", "14.1 x more", "10 times more")
    assert f"| {' | '.join(cells)} | reached; a note |" in text
    assert "U-TAE" not in text.replace(show.HEAD, "")
