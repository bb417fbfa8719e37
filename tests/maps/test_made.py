from __future__ import annotations

from pathlib import Path

from landweave.maps.made import FILE, made, remember


def test_maps_are_found_wherever_they_were_written(tmp_path: Path) -> None:
    run, far = tmp_path / "run", tmp_path / "far"
    for folder in (run, far):
        folder.mkdir()
    inside, first, second = run / "map.tif", far / "a.tif", far / "b.tif"
    assert made(run) == []
    for path in (inside, first, second, first):
        path.touch()
        remember(run, path)
    assert made(run) == [inside, second, first]
    second.unlink()
    assert made(run) == [inside, first]


def test_a_map_inside_the_folder_needs_no_note(tmp_path: Path) -> None:
    remember(tmp_path, tmp_path / "map.tif")
    assert not (tmp_path / FILE).exists()
