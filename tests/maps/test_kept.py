"""A map that was killed goes on where it stopped, and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from map_fakes import Fake, contract, optical

from landweave.errors import ConfigError
from landweave.files import digest
from landweave.maps.cog import Writer
from landweave.maps.engine import MapResult, map_scene
from landweave.maps.kept import Kept


@dataclass
class Run(Fake):
    """A fake with a folder, in which a run's files would stand."""

    folder: Path = field(default=Path())


def run_in(folder: Path, kind: str = "map") -> Run:
    folder.mkdir(exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        if not (folder / name).exists():
            (folder / name).write_text(name)
    return Run(contract(128), kind=kind, folder=folder)  # type: ignore[arg-type]


def made(folder: Path, out: str, *, kind: str = "map", **options: object) -> MapResult:
    words = {"probabilities": True, "memory": 2**23, **options}  # lanes of 512 columns
    return map_scene(run_in(folder / "run", kind), {"s2-l2a": folder / "a.tif"}, folder / out / "map.tif", **words)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def killed(folder: Path, share: float, *, kind: str = "map") -> int:
    """Kill the process that makes a map after some share of its windows."""
    code = (
        "import os, signal; from pathlib import Path; from test_kept import made\n"
        f"kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done > {share} * total else None\n"
        f"made(Path(r'{folder}'), 'out', kind='{kind}', progress=kill)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, env=env, check=False).returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    optical(tmp_path / "a.tif", 1300, 1100)
    return tmp_path


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_killed_map_goes_on_and_ends_as_if_nothing_had_happened(folder: Path, share: float) -> None:
    whole = made(folder, "whole")
    assert killed(folder, share) == -signal.SIGKILL
    calls: list[tuple[int, int]] = []
    again = made(folder, "out", progress=lambda d, t: calls.append((d, t)))
    assert files(folder / "out") == files(folder / "whole")
    assert {p.name for p in (folder / "out").iterdir()} == {p.name for p in (folder / "whole").iterdir()}
    assert again.windows < whole.windows
    assert again.shares == whole.shares
    assert again.unknown == whole.unknown
    assert any(n.startswith("went on after") for n in again.notes)
    with rasterio.open(again.path) as out:
        assert out.tags()["weights"] == digest(folder / "run" / "model.safetensors")
    assert calls[-1][0] == calls[-1][1]


def test_a_map_of_scene_classes_goes_on_too(folder: Path) -> None:
    whole = made(folder, "whole", kind="class")
    with pytest.raises(KeyboardInterrupt):
        made(folder, "out", kind="class", progress=_stop(0.95))
    again = made(folder, "out", kind="class")
    assert files(folder / "out") == files(folder / "whole")
    assert again.windows < whole.windows
    assert again.shares == whole.shares


def _stop(share: float):  # type: ignore[no-untyped-def]
    def stop(done: int, total: int) -> None:
        if done > share * total:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("what", ["overlap", "weights", "image", "below a VRT"])
def test_another_map_begins_anew(folder: Path, what: str) -> None:
    if what == "below a VRT":
        (folder / "a.tif").rename(folder / "inner.tif")
        rasterio.shutil.copy(folder / "inner.tif", folder / "middle.vrt", driver="VRT")
        rasterio.shutil.copy(folder / "middle.vrt", folder / "a.tif", driver="VRT")
    with pytest.raises(KeyboardInterrupt):
        made(folder, "out", progress=_stop(0.6))
    assert [p.name for p in (folder / "out").iterdir() if p.is_dir()] != []
    if what == "weights":
        (folder / "run" / "model.safetensors").write_text("others")
    if what == "below a VRT":
        optical(folder / "inner.tif", 1300, 1100, seed=1)
    if what == "image":
        optical(folder / "a.tif", 1300, 1100, seed=1)
    options = {"overlap": 0.25} if what == "overlap" else {}
    again, whole = made(folder, "out", **options), made(folder, "whole", **options)
    assert again.windows == whole.windows
    assert any("were thrown away" in n for n in again.notes)
    assert files(folder / "out") == files(folder / "whole")


def test_smaller_batches_go_on(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        made(folder, "out", progress=_stop(0.6))
    assert any(n.startswith("went on after") for n in made(folder, "out", batch_size=3).notes)


def test_damaged_rows_are_made_again(folder: Path) -> None:
    whole = made(folder, "whole")
    with pytest.raises(KeyboardInterrupt):
        made(folder, "out", progress=_stop(0.95))
    rows = folder / "out" / ".map.tif.rows"
    (rows / "512-0.npz").write_bytes((rows / "512-0.npz").read_bytes()[:-40])
    content = bytearray((rows / "0-512.npz").read_bytes())
    content[60:100] = bytes(40)
    (rows / "0-512.npz").write_bytes(content)
    made(folder, "out")
    assert files(folder / "out") == files(folder / "whole")
    assert whole.windows


def test_nothing_is_left_of_a_map_that_has_no_finished_row(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        made(folder, "out", progress=_stop(0.0))
    assert list((folder / "out").iterdir()) == []


def test_one_process_makes_a_map(folder: Path) -> None:
    refused: list[ConfigError] = []

    def second(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(ConfigError, match="another process is making this map") as error:
                made(folder, "out", overlap=0.25)
            refused.append(error.value)

    first = made(folder, "out", progress=second)
    assert refused
    assert files(folder / "out") == files(made(folder, "whole").path.parent)
    assert first.windows


def test_what_a_killed_map_left_of_probabilities_goes_with_the_next(folder: Path) -> None:
    assert killed(folder, 0.6) == -signal.SIGKILL
    made(folder, "out", probabilities=False)
    assert {p.name for p in (folder / "out").iterdir()} == {"map.tif", "map.qml", "map.tif.aux.xml"}


def test_stopped_between_two_files_it_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies take minutes of a large map; nothing stands under a final name before both are whole."""
    real, calls = Writer.finish, []

    def finish(self: Writer, **words: object) -> Path:
        calls.append(self.path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        made(folder, "out")
    assert not [p for p in (folder / "out").iterdir() if p.suffix == ".tif" and not p.name.startswith(".")]
    monkeypatch.setattr(Writer, "finish", real)
    assert made(folder, "out").windows == 0


def test_rows_have_no_gap(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "rows", "a")
    kept.open()
    for row in (0, 4, 12):
        kept.add(0, row, np.full((1, 4, 6), row, np.uint8))
    assert [int(b[0, 0, 0]) for b in kept.blocks(0, 1, 6)] == [0, 4]
    assert list(kept.blocks(0, 2, 6)) == []
    assert list(kept.blocks(0, 1, 5)) == []
    Kept(kept.folder, "a").open()
    assert not kept.empty
    Kept(kept.folder, "b").open()
    assert kept.empty
