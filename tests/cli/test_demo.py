"""The demo on a smaller world: every step runs, and what it names is there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from landweave.demo import _Demo
from tests.cli.places import run


def test_the_demo_makes_what_it_names(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = run("demo", "--out", out, "--places", "24", "--epochs", "1", "--json", tmp_path / "demo.json")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "demo.json").read_text())
    for key in ("report", "map"):
        assert Path(found[key]).is_file()
        assert found[key] in done.stdout
    for name in ("mosaic-1", "supervised"):
        assert (out / name / "report.html").is_file()
        scores = json.loads((out / name / "evaluation-test.json").read_text())
        assert {"training prevalence", "random forest on band statistics"} == set(scores["references"])
    assert (out / "segment" / "map.tif").is_file()


def test_worlds_that_a_kill_left_half_written_are_written_anew(tmp_path: Path) -> None:
    said: list[str] = []
    typed: list[str] = []
    killed: list[str] = []

    def command(words: Sequence[str]) -> None:
        typed.append(words[1])
        Path(words[2]).mkdir()
        if words[1] in killed:
            raise KeyboardInterrupt
        (Path(words[2]) / "whole").touch()

    demo = _Demo(tmp_path / "demo", said.append, command)
    for killed[:], wanted in (
        (["bigearthnet-v2"], ["bigearthnet-v2"]),
        (["table"], ["bigearthnet-v2", "table"]),
        ([], ["table"]),
    ):
        typed.clear()
        with contextlib.suppress(KeyboardInterrupt):
            demo.write_world(8)
        assert typed == wanted
    assert (demo.world / "whole").exists()
    assert (demo.scene / "whole").exists()
    typed.clear()
    demo.write_world(99)
    assert not typed
    assert "for other --places give another --out" in said[-1]
