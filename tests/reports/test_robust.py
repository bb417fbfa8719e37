"""The figures of an adapted run: curves with their floor, schedules, principal components, maps under faults."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landweave.reports.report import report
from landweave.reports.robust import alignment_curves, panels, schedule
from landweave.reports.robust_measure import components, composite
from landweave.run.train import train
from landweave.sample import Image, Sample, collate
from landweave.transforms.faults import Faults
from tests.run.matrix_runs import experiment, made, store

HISTORY = [
    row
    for e in range(4)
    for row in (
        {"epoch": e, "split": "train", "clip": 1.0 - 0.1 * e, "mse": 0.5, "loss": 1.5, "lr": 1e-3},
        {"epoch": e, "split": "validation", "clip": 1.2 - 0.1 * e, "mse": 0.6, "loss": 1.8, "clip.floor": 0.25,
         "pooled.cosine": 0.5 + 0.1 * e, "pooled.retrieval@1": 0.4, "oa": 0.7},
    )
]  # fmt: skip


def label(svg: str) -> str:
    found = re.search(r'aria-label="([^"]*)"', svg)
    assert found is not None
    return found.group(1)


def test_curves_have_each_term_twice_and_the_floor() -> None:
    told = label(alignment_curves(HISTORY))
    for words in ("clip, training from 1 to 0.7", "clip, validation from 1.2 to 0.9", "floor (teacher itself)",
                  "mse, training", "cosine from 0.5 to 0.8", "retrieval@1 of a batch from 0.4"):  # fmt: skip
        assert words in told, words
    assert "loss" not in told.replace("Learning curves", "")
    assert "mse, floor" not in told
    assert alignment_curves([]) == ""


def test_the_schedule_is_drawn_from_the_settings() -> None:
    plain = {
        "faults": [
            {"kind": "missing", "bands": ["B08"], "ratio": {"kind": "gradual", "start": 0.2, "end": 0.8, "epochs": 5}},
            {"kind": "missing", "bands": ["B02", "B03", "B04"], "size": {"kind": "growing", "start": 1, "epochs": 5}},
        ]
    }
    svg = schedule(Faults.model_validate(plain), 5)
    assert "B08: 0.20 to 0.80" in label(svg)
    assert "1 to 3 bands" in label(svg)
    assert "share of pixels masked" in svg
    assert schedule(Faults.model_validate({"faults": [{"kind": "noise"}]}), 5) == ""


def test_components_are_those_of_the_first_rows_and_carry_the_others() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1] + 4
    planes, explained = components({"a": first, "b": first[::-1]})
    x = first / np.linalg.norm(first, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    assert explained == pytest.approx((values[::-1][:2] / values.sum()).tolist(), abs=1e-3)
    by_hand = (x - x.mean(0)) @ vectors[:, ::-1][:, :2]
    assert np.abs(planes["a"]) == pytest.approx(np.abs(by_hand), abs=1e-6)
    assert planes["b"] == pytest.approx(planes["a"][::-1])
    collapsed, none = components({"a": np.ones((5, 3))})
    assert collapsed["a"] == pytest.approx(0)
    assert none == [0, 0]


def test_unseen_pixels_are_black_in_their_band_alone() -> None:
    data = np.random.default_rng(0).integers(500, 3000, (3, 8, 8)).astype(np.uint16)
    one = Image.of("s2-l2a", ("B02", "B04", "B08"), data)
    whole = _batched(one)
    hidden = whole.pixels_seen.expand(whole.data.shape).clone()
    hidden[0, 0, 1, :4] = False
    faulty = replace(whole, pixels_seen=hidden)
    before, after = (composite(im, ("B02", "B04"), whole) for im in (whole, faulty))
    assert (after[:4, :, 1] == 0).all()
    assert (after[4:] == before[4:]).all()
    assert (after[..., 0] == before[..., 0]).all()
    assert (after[..., 3] == 255).all()
    assert (after[..., 2] == after[..., 1]).all()  # two bands fill three colours


def _batched(image: Image) -> Image:
    return collate([Sample({"s2-l2a": image}, {}, "p")]).images["s2-l2a"]


def test_panels_tell_how_much_is_right() -> None:
    pictures = dict.fromkeys(("complete", "faulty", "teacher", "student", "truth"), "data:image/png;base64,AA==")
    row = {"place": "p<1>", "bands": ["B02", "B08"], "right": {"teacher": 0.25, "student": 0.75}, "pictures": pictures}
    svg = panels([row])
    assert "p&lt;1&gt;: teacher 25% right, student 75% right" in svg
    assert svg.count("<image") == 5
    assert "B02, B08" in svg


@pytest.mark.parametrize("task", ["scene", "cover"])
def test_the_page_of_an_adapted_run_has_them_and_measures_once(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landweave.run.leak.TREES", 3)
    monkeypatch.setattr("landweave.reports.report.measure", lambda *a, **k: None)  # t-SNE and Grad-CAM
    data = store(tmp_path / "store")
    maps = task == "cover"
    small = ("method.decoder={kind: unet, channels: [8, 8, 8, 8, 8]}",) if maps else ()
    teacher = made(data, tmp_path / "teacher", "segment" if maps else "supervised", *small, task=task)
    one = "method.faults.faults=[{kind: missing, bands: [B02, B08], ratio: 0.9}]"
    settings = experiment(
        data,
        "adapt-maps" if maps else "adapt",
        f"start={teacher}",
        one,
        "method.encoder={}",
        "train.epochs=1",
        task=task,
    )
    run = train(settings, tmp_path / "student", progress=False)
    text = report(run).read_text(encoding="utf-8")
    assert 'id="adapting"' in text
    names = {p.stem for p in (run / "figures").glob("robust-*.svg")}
    assert names == {"robust-curves", "robust-schedule", "robust-embedding", *(["robust-panels"] if maps else [])}
    kept = json.loads((run / "figures" / "robust.json").read_text())
    assert set(kept["planes"]) == {"teacher, complete images", "teacher, faulty images", "student, faulty images"}
    assert len(kept["panels"]) == (4 if maps else 0)
    monkeypatch.setattr("landweave.reports.robust_measure.look", lambda *a: pytest.fail("measured again"))
    report(run)
    assert 'id="adapting"' not in report(teacher).read_text(encoding="utf-8")


def test_a_lost_teacher_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.leak.TREES", 3)
    monkeypatch.setattr("landweave.reports.report.measure", lambda *a, **k: None)
    data = store(tmp_path / "store")
    teacher = made(data, tmp_path / "teacher")
    run = train(
        experiment(data, "adapt", f"start={teacher}", "method.encoder={}", "train.epochs=1",
                   "method.faults.faults=[{kind: missing, bands: [B08]}]"),
        tmp_path / "student", progress=False,
    )  # fmt: skip
    teacher.rename(tmp_path / "gone")
    text = report(run).read_text(encoding="utf-8")
    assert "The embedding could not be measured: no such run folder" in text
    assert "share of pixels masked" in text
