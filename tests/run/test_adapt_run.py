"""Adapting as a user runs it: from a finished run to one that takes its place, killed on the way, or refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from landweave.errors import ConfigError, LandweaveError, RunError
from landweave.run.experiment import recipe
from landweave.run.predict import open_run
from tests.cli.places import call, write_table
from tests.run.scenes import ALONE, words, write_scenes

MISSING = "method.faults.faults=[{kind: missing, sensor: s2-l2a, bands: [B04, B08]}]"
TINY = ("train.epochs=2", "train.batch_size=8", "train.accelerator=cpu")
EPOCHS = 2


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def teacher(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLP and attention, so that there is something to take over."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    more = ("method.head.kind=mlp", "method.fusion={kind: attention, width: 16}", "train.epochs=1")
    call(*words("supervised", table, out, *more, tiny=ALONE))
    return out


@pytest.fixture(scope="module")
def student(table: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("student") / "run"
    (out.parent / "said.txt").write_text(call(*adapting(table, teacher, out)))
    return out


def adapting(table: Path, teacher: Path, out: Path, *changes: str, kind: str = "adapt") -> list[str]:
    return words(kind, table, out, f"start={teacher}", MISSING, *changes, tiny=TINY)


def rows(folder: Path, split: str = "") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [r for r in found if split in ("", r["split"])]


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def weights(folder: Path) -> dict[str, Any]:
    return dict(load_file(folder / "model.safetensors"))


def test_the_student_is_a_run_with_the_head_of_its_teacher(student: Path, teacher: Path) -> None:
    mine, theirs = config(student), config(teacher)
    for key in ("task", "kind", "legend", "class_counts", "contract", "classifier"):
        assert mine[key] == theirs[key], key
    method = open_run(student).settings.method
    assert method.encoder == open_run(teacher).settings.method.encoder
    assert (method.fusion.kind, method.head.kind) == ("attention", "mlp")  # type: ignore[union-attr]
    a, b = weights(student), weights(teacher)
    assert a.keys() == b.keys(), "no weight of the teacher's stands among those of the student"
    assert all(np.array_equal(a[k], b[k]) for k in a if k.startswith("head."))
    assert any(not np.array_equal(a[k], b[k]) for k in a if k.startswith("encoders."))
    said = (student.parent / "said.txt").read_text()
    assert f"beginning with the whole of {teacher}" in said
    assert "mse = 1 x mse of pooled" in said


def test_every_epoch_tells_terms_floor_alignment_and_scores(student: Path) -> None:
    for row in rows(student, "train"):
        assert {"mse", "clip", "loss"} <= row.keys()
    looked = rows(student, "validation")
    assert len(looked) == EPOCHS
    told = {"mse", "clip", "loss", "clip.floor", "pooled.cosine", "pooled.retrieval@1", "micro_f1", "faulty.micro_f1"}
    for row in looked:
        assert told <= row.keys()
        assert -1 <= row["pooled.cosine"] <= 1
    assert looked[0]["clip.floor"] == looked[1]["clip.floor"], "the teacher never changes, nor do validation's images"
    assert all(row["clip"] > 0 and row["mse"] > 0 for row in looked)


def test_the_last_epoch_is_kept_unless_a_score_is_watched(
    student: Path, table: Path, teacher: Path, tmp_path: Path
) -> None:
    state = load_file(student / "state" / "state.safetensors")
    kept = {(v.shape, v.tobytes()) for v in state.values()}
    of_encoders = [v for k, v in weights(student).items() if k.startswith("encoders.")]
    assert all((v.shape, v.tobytes()) in kept for v in of_encoders)
    with pytest.raises(ConfigError, match="no score `micro`, did you mean `micro_f1`"):
        call(*adapting(table, teacher, tmp_path / "r", "train.monitor=faulty.micro"))
    call(*adapting(table, teacher, tmp_path / "r", "train.monitor=faulty.micro_f1"))


def test_evaluate_and_a_probe_take_it_as_any_run(student: Path, teacher: Path, table: Path, tmp_path: Path) -> None:
    call("evaluate", student)
    call("evaluate", student, "--faults", "missing:B04,B08@1.0")
    assert len(list(student.glob("evaluation-test*.json"))) == 2
    own = ("method.freeze=true", "method.fusion={kind: attention, width: 16}", MISSING, "train.epochs=1")
    call(*words("supervised", table, tmp_path / "probe", f"start={student}", *own, tiny=ALONE))
    a, b = weights(student), weights(tmp_path / "probe")
    assert all(np.array_equal(a[k], b[k]) for k in a if k.startswith("encoders."))
    last = rows(tmp_path / "probe", "validation")[-1]
    assert {"micro_f1", "faulty.micro_f1"} <= last.keys()


def test_kill_9_and_the_same_command_end_as_if_nothing_had_happened(
    student: Path, teacher: Path, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "landweave", *adapting(table, teacher, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 240
    while not (out / "state").exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "config.json").exists(), "it had finished already"
    assert "going on from the training state" in call(*adapting(table, teacher, out))
    a, b = weights(student), weights(out)
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert rows(student) == rows(out)
    assert config(student) == config(out)


def test_a_pretraining_teaches_a_pretraining_also_without_any_label(tmp_path: Path) -> None:
    bare = write_scenes(tmp_path / "bare", labelled=False)
    one = ("classifier=false", "method.unlabelled=rest", "train.epochs=1")
    terms = ("method.terms.msc.weight=0", "method.terms.supervised.weight=0")
    call(*words("mosaic-1", bare, tmp_path / "pre", *one, *terms, tiny=ALONE))
    match = "method.match={c: {kind: clip, 'on': projection}, m: {kind: mse}}"
    call(*adapting(bare, tmp_path / "pre", tmp_path / "adapted", match, "train.epochs=1"))
    found = config(tmp_path / "adapted")
    assert found["classifier"] is False
    assert recipe(tmp_path / "adapted" / "experiment.yaml").classifier is False
    assert any(k.startswith("projections.main.") for k in weights(tmp_path / "adapted"))
    last = rows(tmp_path / "adapted", "validation")[-1]
    assert {"c", "c.s2-l2a", "c.floor", "m"} <= last.keys()
    assert "micro_f1" not in last
    with pytest.raises(RunError, match="has no classifier"):
        call("evaluate", tmp_path / "adapted")


def test_a_classifier_is_adapted_on_places_without_a_label(teacher: Path, tmp_path: Path) -> None:
    bare = write_scenes(tmp_path / "bare", labelled=False)
    call(*adapting(bare, teacher, tmp_path / "adapted", "train.epochs=1"))
    found, theirs = config(tmp_path / "adapted"), config(teacher)
    assert found["classifier"] is True
    assert found["legend"] == theirs["legend"]
    assert found["contract"] == theirs["contract"], "its statistics are its teacher's, whatever it is adapted on"
    assert found["validation_scores"] == {}


def test_a_segmentation_with_a_mask_to_read_and_the_stages_of_its_decoder(tmp_path: Path) -> None:
    table = write_table(tmp_path / "places")
    data = ("data.kind=table", f"data.path={table}", "data.streams=[s2-l2a]", *TINY, "train.epochs=1")
    encoder = ("method.encoder.name=test_resnet", "method.decoder={kind: deeplab, channels: 16, low: 8}")
    call("train", "segment", *data, *encoder, "--out", tmp_path / "teacher")
    more = (f"start={tmp_path / 'teacher'}", MISSING, "method.encoder.band_mask=true", "optim.lr=1e-12")
    call("train", "adapt-maps", *data, *more, "--out", tmp_path / "student")
    mine, theirs = weights(tmp_path / "student"), weights(tmp_path / "teacher")
    first = next(k for k in mine if mine[k].shape != theirs[k].shape)
    half = theirs[first].shape[1]
    np.testing.assert_allclose(mine[first][:, :half], theirs[first], atol=1e-6)
    np.testing.assert_allclose(mine[first][:, half:], 0, atol=1e-6)
    assert all(np.array_equal(mine[k], theirs[k]) for k in mine if k.startswith("head."))
    last = rows(tmp_path / "student", "validation")[-1]
    assert {"maps", "maps.4", "maps.32", "miou_existing", "faulty.miou_existing"} <= last.keys()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["method.encoder.name=resnet18"], "name test_resnet there and resnet18 here"),
        (["method.head.kind=linear"], "method.head is another there"),
        (["method.fusion.kind=mean"], "method.fusion is another there"),
        (["method.decoder.kind=unet"], "method.decoder is another there"),
        (["data.streams=[s2-l2a]"], "it read s1-rtc-gamma0, s2-l2a, and s2-l2a are wanted here"),
        (["method.faults.faults=[{kind: missing, sensor: s2-l2a, bands: [B11]}]"], "B11"),
        (["start="], "the method has a teacher: give it, as start=RUN"),
        (["start=/no/such/run"], "no such run folder"),
        (["method.match.m={kind: mse, 'on': maps, stages: [4]}"], "no map of 1/4"),
        (["train.class_weights=balanced"], "learns from its teacher, not from classes"),
    ],
)
def test_what_cannot_be_is_refused(teacher: Path, table: Path, tmp_path: Path, changes: list[str], says: str) -> None:
    with pytest.raises(LandweaveError) as error:
        call(*adapting(table, teacher, tmp_path / "r", *changes))
    assert says in str(error.value)
    assert not (tmp_path / "r" / "config.json").exists()
