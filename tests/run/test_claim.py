"""What a refused run leaves behind, and how a run of another experiment is told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from landweave.errors import LandweaveError, RunError
from landweave.run.experiment import recipe, save
from landweave.run.train import _claim, _unlike, train

HERE = ["data.kind=eurosat", "data.path=/no/such"]


def refused(folder: Path, name: str = "mosaic-1") -> None:
    with pytest.raises(LandweaveError, match="/no/such"):
        train(recipe(name, HERE), folder, progress=False)


@pytest.mark.parametrize("name", ["mosaic-1", "iai-simclr"])
def test_a_refused_run_leaves_no_folder(tmp_path: Path, name: str) -> None:
    refused(tmp_path / "run", name)
    assert not list(tmp_path.iterdir())


def test_what_somebody_else_wrote_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "metrics.jsonl").write_text("{}\n")
    refused(tmp_path, "iai-simclr")
    assert (tmp_path / "pretrain" / "metrics.jsonl").exists()


def test_nothing_but_runs_is_thrown_away(tmp_path: Path) -> None:
    here = recipe("supervised", HERE)
    own = tmp_path / "own"  # a folder of somebody's with an experiment.yaml, as of `train experiment.yaml --out .`
    own.mkdir()
    save(here, own / "experiment.yaml")
    (own / "scene.tif").write_bytes(b"mine")
    text = (own / "experiment.yaml").read_text()
    (own / "experiment.yaml").write_text("# a comment\n" + text)
    refused(own, "supervised")
    assert (own / "experiment.yaml").read_text() == "# a comment\n" + text, "what stood there before stays"
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"never trained, beside scene\.tif"):
            _claim(recipe("supervised", [*HERE, "seed=5"]), own, overwrite)
    assert (own / "scene.tif").exists()
    run = tmp_path / "run"  # of released weights, say, which has no metrics
    _claim(here, run, False)
    for name in ("config.json", "evaluation-test.json", "map.tif"):
        (run / name).write_text("{}")
    with pytest.raises(RunError, match="another experiment's run stands there: seed 0 there, 5 here"):
        _claim(recipe("supervised", [*HERE, "seed=5"]), run, False)
    assert _claim(recipe("supervised", [*HERE, "seed=5"]), run, True) is False
    assert sorted(p.name for p in run.iterdir()) == ["experiment.yaml", "map.tif"]


def test_overwrite_lets_a_killed_run_go_on_and_trains_a_finished_one_anew(tmp_path: Path) -> None:
    here = recipe("supervised", HERE)
    assert _claim(here, tmp_path, True) is False
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert _claim(here, tmp_path, True) is False
    assert (tmp_path / "metrics.jsonl").exists()
    (tmp_path / "config.json").write_text("{}")
    assert _claim(here, tmp_path, False) is True
    assert _claim(here, tmp_path, True) is False
    assert not (tmp_path / "metrics.jsonl").exists()


def test_keys_that_differ_are_named_and_the_rest_counted() -> None:
    there = recipe("mosaic-1", HERE)
    assert _unlike(there, recipe("mosaic-1", [*HERE, "optim.lr=0.5"])) == "optim.lr 0.001 there, 0.5 here"
    assert _unlike(there, recipe("mosaic-1", [*HERE, "method.terms.msc.weight=0.5", "data.streams=[rgb]"])) == (
        'data.streams [] there, ["rgb"] here; method.terms.msc.weight 1.0 there, 0.5 here'
    )
    text = _unlike(there, recipe("supervised", HERE))
    assert "method.kind contrast there, supervised here" in text
    assert " more keys" in text
    assert text.count(" there, ") == 4
    assert "method.terms.intra.kind intra there, not here" in _unlike(
        there, recipe("mosaic-1", [*HERE, "method.terms={supervised: {kind: supervised}}"])
    )


def test_a_run_is_not_taken_for_one_that_began_with_other_weights(tmp_path: Path) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "student"
    teacher.mkdir()
    (teacher / "model.safetensors").write_bytes(b"first")
    student = recipe("supervised", [*HERE, f"start={teacher}"])
    assert _claim(student, out, False) is False
    assert _claim(student, out, False) is False, "a killed one goes on"
    (out / "config.json").write_text("{}")
    assert _claim(student, out, False) is True
    (teacher / "model.safetensors").write_bytes(b"trained anew")
    with pytest.raises(RunError, match=r"other weights than stand in .*teacher now"):
        _claim(student, out, False)
    (out / "metrics.jsonl").write_text("{}\n")
    assert _claim(student, out, True) is False
    (out / "config.json").write_text("{}")
    assert _claim(student, out, False) is True, "the new one begins with the new weights"
    (out / "start.json").unlink()
    (teacher / "model.safetensors").write_bytes(b"and again")
    assert _claim(student, out, False) is True, "a run from before such notes is taken at its word"
