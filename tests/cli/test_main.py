from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from landweave.__main__ import _with_json_target, app
from tests.cli.places import call, run, write_table


@pytest.mark.parametrize(
    ("words", "full"),
    [
        (["check", "places.csv", "--json"], ["check", "places.csv", "--json", "-"]),
        (["check", "--json", "places.csv"], ["check", "--json", "-", "places.csv"]),
        (["check", "--json", "a.json", "places.csv"], ["check", "--json", "a.json", "places.csv"]),
        (["check", "--json", "-", "places.csv"], ["check", "--json", "-", "places.csv"]),
    ],
)
def test_json_may_stand_alone_and_never_takes_a_table_for_its_target(words: list[str], full: list[str]) -> None:
    assert _with_json_target(words) == full


def test_every_command_takes_json() -> None:
    from typer.main import get_command

    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert any("--json" in p.opts for p in command.params), name


def test_json_alone_leaves_standard_output_to_the_result(tmp_path: Path) -> None:
    done = run("check", write_table(tmp_path, 8), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["errors"] == []
    assert "8 places" in done.stderr


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, resource\nfrom landweave.__main__ import main\nsys.argv = ['landweave', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'rasterio', 'numpy', 'pyarrow', 'lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy\nused = resource.getrusage(resource.RUSAGE_SELF)\n"
        "assert used.ru_utime + used.ru_stime < 1, used\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "First time?" in done.stdout


def test_dry_run_prints_yaml_that_trains_the_same(tmp_path: Path) -> None:
    from landweave.run.experiment import recipe

    text = call("train", "mosaic-1", "data.fraction=0.5", "method.terms.msc.weight=0.5", "--dry-run")
    (tmp_path / "e.yaml").write_text(text)
    again = recipe(tmp_path / "e.yaml")
    assert again == recipe("mosaic-1", ["data.fraction=0.5", "method.terms.msc.weight=0.5"])
    assert again.method.encoder.name == "resnet34"


def test_every_shipped_recipe_parses_and_says_what_it_is() -> None:
    from landweave.run.experiment import recipes

    lines = call("recipes").splitlines()
    assert {line.split()[0] for line in lines} == set(recipes()) > {"supervised", "segment", "mosaic-1", "iai-simclr"}
    assert all(len(line.split()) > 5 for line in lines)
    schema = json.loads(call("schema"))
    first = {"recipe", "seed", "data", "method", "optim", "train"}
    assert set(schema["properties"]) == first | {"pretrain", "start", "classifier"}


def test_no_word_at_all_shows_the_help() -> None:
    done = run()
    assert "Usage" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "layout", ["bigearthnet-v2", "eurosat", "eurosat-rgb", "sen12ms", "dfc2020", "flair-hub", "table"]
)
def test_synth_says_how_to_train_on_what_it_wrote(layout: str, tmp_path: Path) -> None:
    from landweave.run.experiment import recipe
    from landweave.run.material import open_data

    text = call("synth", layout, tmp_path / "world", "--places", 4 if layout == "flair-hub" else 24)
    words = next(line for line in text.splitlines() if line.startswith("then: ")).split()
    assert words[1:3] == ["landweave", "train"]
    dataset, task = open_data(recipe(words[3], [w for w in words if "=" in w]))
    assert dataset.of_split("train")
    assert dataset.tasks[task].kind in ("map", "class", "multilabel")
