"""The demo on a smaller world: every step runs, and what it names is there."""

from __future__ import annotations

import json
from pathlib import Path

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
