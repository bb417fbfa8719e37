"""README and docs say what the repository does and what was seen."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from evidence import show
from landweave.__main__ import app
from tests.cli.places import TINY, write_table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        inside = False
        for line in page.read_text().splitlines():
            if line.startswith("```"):
                inside = not inside
            elif inside and line.startswith("landweave "):
                found.append((page.name, line))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_printed_command_is_one_that_the_command_line_takes(page: str, line: str) -> None:
    _, verb, *words = shlex.split(line, comments=True)
    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    command.make_context(verb, list(words), resilient_parsing=False)


def test_every_recipe_in_a_command_is_shipped() -> None:
    from landweave.run.experiment import recipes

    verbs = [shlex.split(line, comments=True) for _, line in commands()]
    named = {w[2] for w in verbs if w[1] == "train" and not w[2].endswith(".yaml")}
    assert named <= set(recipes())


def test_readme_and_page_print_the_evidence_as_it_is_recorded() -> None:
    found = show.records()
    text = (ROOT / "README.md").read_text()
    assert show.readme(text, found) == text, "run python -m evidence.show"
    assert (ROOT / "docs" / "evidence.md").read_text() == show.page(found)


def test_no_record_names_a_path_of_a_machine() -> None:
    from evidence.record import ROOT as HERE
    from evidence.record import SHARED, plain

    found = plain({"wrote": f"wrote {HERE}/build/a.md, {SHARED}/data/b.tif"})
    assert found == {"wrote": "wrote build/a.md, ../shared/data/b.tif"}
    for path in (*(ROOT / "evidence").glob("*.json"), *(ROOT / "benchmarks").glob("*.json"), *PAGES):
        absolute = re.findall(r"(?<![\w.])/(?:work|home|root|tmp|opt|Users)/\S+", path.read_text())
        assert not absolute, f"{path.name}: {absolute[:3]}"


def test_the_tree_of_the_readme_is_the_tree() -> None:
    text = (ROOT / "README.md").read_text().split("src/landweave/\n")[1].split("```")[0]
    named = {line.split()[0].rstrip("/") for line in text.splitlines() if line.startswith("  ")}
    there = {p.name for p in (ROOT / "src" / "landweave").iterdir() if not p.name.startswith(("__", "py."))}
    assert named - {"__main__.py"} == there


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    table = write_table(tmp_path, 16)
    tiny = ", ".join(repr(t) for t in TINY)
    for old, new in (('"data.path=places.parquet"', f"'data.path={table}', {tiny}"), ("S2b", "s2_7"), ("S1b", "s1_7")):
        assert old in text
        text = text.replace(old, new)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(text, found)
    scores = found["scores"]
    assert isinstance(scores, dict)
    assert scores["n_places"] == 4
    for made in ("runs/mine/model.safetensors", "map.tif", "runs/mine/report.html"):
        assert (tmp_path / made).exists()
