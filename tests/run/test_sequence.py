"""A pretraining and what begins with its encoders, as a user runs them: to the end, killed, refused."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from landweave.errors import DataError, LandweaveError, RunError
from landweave.run.experiment import recipe
from landweave.run.predict import open_run
from tests.cli.places import call, run
from tests.run.scenes import ALONE, words, write_scenes

TERMS = {"intra.s1-rtc-gamma0", "intra.s2-l2a", "inter.s1-rtc-gamma0+s2-l2a", "loss"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    (out / "said.txt").write_text(call(*words("iai-simclr", table, out)))
    return out


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def encoders(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {k: v for k, v in load_file(folder / "model.safetensors").items() if k.startswith("encoders.")}


def test_the_stage_stands_in_a_folder_of_its_own_without_scores(whole: Path) -> None:
    first = config(whole / "pretrain")
    assert first["classifier"] is False
    assert first["validation_scores"] == {}
    assert first["validation_confusion"] is None
    assert sum(abs(v) for mean in first["mean_features"].values() for v in mean) > 0
    found = rows(whole / "pretrain")
    assert [(r["epoch"], r["split"]) for r in found] == [(e, s) for e in (0, 1) for s in ("train", "validation")]
    assert all(TERMS <= r.keys() for r in found)
    assert all(r["intra.s2-l2a"] > 0 for r in found)
    second = config(whole)
    assert second["classifier"] is True
    assert second["validation_scores"]["n_present"] == 3
    assert second["contract"] == first["contract"]
    assert recipe(whole / "pretrain" / "experiment.yaml") == recipe(whole / "experiment.yaml").first


def test_the_probe_has_the_encoders_of_the_last_epoch_of_the_pretraining(whole: Path) -> None:
    before, after = encoders(whole / "pretrain"), encoders(whole)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[k], after[k]) for k in before), "frozen, statistics of batch norm included"
    state = load_file(whole / "pretrain" / "state" / "state.safetensors")
    kept = {(v.shape, v.tobytes()) for v in state.values()}
    assert all((v.shape, v.tobytes()) in kept for v in before.values()), "the last epoch, which the state is of"


def test_fine_tuning_begins_where_the_pretraining_ended_and_goes_on(whole: Path, table: Path, tmp_path: Path) -> None:
    start = (f"start={whole / 'pretrain'}", "data.streams=[s2-l2a]", "optim.lr=1e-6", "train.epochs=1")
    text = call(*words("supervised", table, tmp_path / "tuned", *start, tiny=ALONE))
    assert f"beginning with the encoders of {whole / 'pretrain'}" in text
    before, after = encoders(whole / "pretrain"), encoders(tmp_path / "tuned")
    assert {k for k in before if "s2-l2a" in k} == after.keys(), "one of the two sensors is taken"
    changed = [k for k in after if not np.array_equal(before[k], after[k])]
    assert changed
    for k in after:
        if "running" not in k and "num_batches" not in k:
            np.testing.assert_allclose(after[k], before[k], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["method.encoder.name=resnet18"], "name test_resnet there and resnet18 here"),
        (["method.encoder.band_mask=true"], "band_mask False there and True here"),
        (["data.streams=['s2-l2a:B02+B03', s1-rtc-gamma0]"], "s2-l2a had the bands B02, B03, B04, B08 there"),
        (["method.fusion.kind=early"], "fusion.kind is concat there and early here"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(
    whole: Path, table: Path, tmp_path: Path, changes: list[str], says: str
) -> None:
    with pytest.raises(RunError, match=r"(?s)cannot begin with its encoders.*fix") as error:
        call(*words("supervised", table, tmp_path / "r", f"start={whole}", *changes, tiny=ALONE))
    assert says in str(error.value)
    assert not (tmp_path / "r" / "config.json").exists()


def test_a_sensor_that_was_not_pretrained_is_refused(whole: Path, table: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    call(*words("supervised", table, one, "data.streams=[s2-l2a]", "train.epochs=1", tiny=ALONE))
    with pytest.raises(RunError, match=r"it read s2-l2a, and s1-rtc-gamma0, s2-l2a are wanted here"):
        call(*words("supervised", table, tmp_path / "r", f"start={one}", tiny=ALONE))
    with pytest.raises(RunError, match="no such run folder"):
        call(*words("supervised", table, tmp_path / "s", "start=/no/such/run", tiny=ALONE))


def test_a_pretraining_is_not_scored_and_not_mapped(whole: Path, tmp_path: Path) -> None:
    first = whole / "pretrain"
    image = ("--image", f"s2-l2a={tmp_path / 'none.tif'}")
    for command in (["evaluate", first], ["map", first, *image, "--out", tmp_path / "m.tif"]):
        with pytest.raises(RunError, match=r"(?s)has no classifier.*train supervised start="):
            call(*command)
    assert not open_run(first).classifier
    with pytest.raises(RunError, match="no classifier"):
        open_run(first).require_classifier()


def test_data_without_any_label_can_be_pretrained_on_and_nothing_else(whole: Path, table: Path, tmp_path: Path) -> None:
    bare = write_scenes(tmp_path / "bare", labelled=False)
    kept = whole / "pretrain" / "experiment.yaml"
    text = call("train", kept, f"data.path={bare}", "train.epochs=1", "--out", tmp_path / "first")
    assert "30 training places" in text
    assert config(tmp_path / "first")["task"] == ""
    call(
        *words(
            "supervised", table, tmp_path / "second", f"start={tmp_path / 'first'}", "method.freeze=true", tiny=ALONE
        )
    )
    assert config(tmp_path / "second")["validation_scores"]
    only_labelled = ("method.unlabelled=none", "--out", str(tmp_path / "no"))
    with pytest.raises(DataError, match=r"(?s)no training place has a known label.*method.unlabelled=rest"):
        call("train", kept, f"data.path={bare}", *only_labelled)
    with pytest.raises(LandweaveError, match="no label"):
        call(*words("supervised", bare, tmp_path / "never", tiny=ALONE))


def test_a_pretraining_may_keep_to_the_labelled_places(whole: Path, tmp_path: Path) -> None:
    kept, out = whole / "pretrain" / "experiment.yaml", tmp_path / "few"
    none = ("data.fraction=0.5", "method.unlabelled=none", "train.epochs=1")
    assert "9 training places (9 labelled)" in call("train", kept, *none, "--out", out)
    assert "30 training places" in (whole / "said.txt").read_text(), "of which 18 have a label"


def test_kill_9_in_both_stages_and_the_same_command_end_as_if_nothing_had_happened(
    table: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = words("iai-simclr", table, out)
    for stage in (out / "pretrain", out):
        # a copy of this process, which has the learning libraries loaded
        process = multiprocessing.get_context("fork").Process(target=call, args=command)
        process.start()
        until = time.monotonic() + 200
        while not (stage / "state").exists():
            assert process.is_alive(), "it ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.005)
        process.kill()
        process.join()
        assert not (stage / "config.json").exists(), "the stage had finished already"
    text = call(*command)
    assert f"going on from the training state in {out / 'state'}" in text
    assert f"{out / 'pretrain'} is finished already" in text
    for part in (".", "pretrain"):
        x, y = load_file(whole / part / "model.safetensors"), load_file(out / part / "model.safetensors")
        assert x.keys() == y.keys()
        assert all(np.array_equal(x[k], y[k]) for k in x), part
        assert rows(whole / part) == rows(out / part)
        assert config(whole / part) == config(out / part)


def test_a_stage_that_was_trained_is_not_thrown_away(table: Path, whole: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "metrics.jsonl").unlink()
    (out / "config.json").unlink()
    with pytest.raises(RunError, match="another experiment's run stands there"):
        call(*words("iai-simclr", table, out, "optim.lr=0.5"))
    assert (out / "pretrain" / "config.json").exists()


def test_two_processes_train_both_stages(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    two = ("train.devices=2", "pretrain.train.devices=2", "train.epochs=1", "pretrain.train.epochs=1")
    done = run(*words("iai-simclr", table, out, *two))
    assert done.returncode == 0, done.stderr[-3000:]
    assert config(out)["classifier"] is True
    assert config(out / "pretrain")["classifier"] is False
    (validation,) = [r for r in rows(out) if r["split"] == "validation"]
    assert validation["n"] == 18, "each label of the 6 validation places is counted once"
    before, after = encoders(out / "pretrain"), encoders(out)
    assert all(np.array_equal(before[k], after[k]) for k in before), "both processes began with what was written"
