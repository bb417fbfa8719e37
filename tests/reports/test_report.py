from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from report_fakes import LULC, Drawn, Teller, legend_of, run_folder, tiny_run
from report_html import Reader

from landweave.data import raster
from landweave.errors import DataError, RunError
from landweave.files import digest
from landweave.grid import Grid
from landweave.legends import UNKNOWN
from landweave.maps.cog import Writer
from landweave.maps.made import remember
from landweave.reports import page
from landweave.reports.examples import collect_examples
from landweave.reports.report import report, write_report
from landweave.run import evaluate  # bound before any test puts another open_run in its place
from landweave.run.evaluate import Scene


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.leak.TREES", 10)


def a_map(path: Path, run: Path | None = None) -> Path:
    values = np.random.default_rng(0).choice([1, 2, 4], (1, 90, 120)).astype(np.uint8)
    values[:, :10] = UNKNOWN
    rows = [(c.value, c.name, c.color) for c in LULC.classes]
    with Writer(path, Grid("EPSG:32631", (10, 0, 5e5, 0, -10, 5e6), (90, 120)), nodata=UNKNOWN) as out:
        out.lane(0, 120)
        out.add(values)
        tags = {"unseen sensors": "s1-rtc-gamma0"} | (
            {"run": run.name, "weights": digest(run / "model.safetensors")} if run else {}
        )
        out.finish(descriptions=["lulc"], tags=tags, classes=rows)
    return path


def opened(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, dataset: Drawn | None) -> None:
    """Let `report` open a made-up run on drawn places."""
    run = tiny_run(folder, kind, dataset or Drawn(kind, legend_of(kind)))
    assert evaluate.open_run
    monkeypatch.setattr("landweave.run.predict.open_run", lambda path: run)

    def reopen(run: object, split: str) -> Scene:
        if dataset is None:
            raise DataError("no such table", where="places.parquet")
        return Scene(dataset, dataset.of_split("train"), dataset.of_split(split))

    monkeypatch.setattr("landweave.run.evaluate.reopen", reopen)


@pytest.mark.parametrize("kind", ["map", "class", "multilabel"])
def test_the_page_is_whole_self_contained_and_says_what_it_must(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(tmp_path / "a-run", kind, product="ESRI land cover")
    a_map(folder / "map.tif")
    opened(folder, kind, monkeypatch, Drawn(kind, legend_of(kind)))
    told: list[str] = []
    path = report(folder, say=told.append)
    text = path.read_text(encoding="utf-8")
    found = Reader(text)
    assert path == folder / "report.html"
    assert all(link.startswith(("data:", "#")) for link in found.links)
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert all(image.get("alt") or image.get("aria-label") for image in found.images)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    evaluation = json.loads((folder / "evaluation-test.json").read_text())
    head = page.headline(evaluation)
    assert head
    for words in (
        "agreement with that product, not accuracy", "It proves the way, not skill", "20 places of 4 scenes",
        f"{head['value']:.3f}", f"{head['skill']:.3f}", *evaluation["references"], "not in training",
        "0.1 of the training labels (draw 3)", "resnet18", "s1-rtc-gamma0", "map.tif", "Made without s1-rtc-gamma0",
        "landweave train", "landweave evaluate", "landweave map", "random split", "2.15.0",
    ):  # fmt: skip
        assert words in found.text, words
    assert (folder / "leak.json").is_file()
    drawings = {p.stem for p in (folder / "figures").glob("*.svg")}
    assert {"curves", "spectral-traces", "class-similarity"} <= drawings
    assert ("tsne" in drawings, "Where it looks" in found.text) == ((kind != "map"),) * 2
    assert ("Losses of each class" in found.text) == (kind == "multilabel")
    assert "landweave report " + str(folder) + " --ablation" in found.text
    if kind != "map":
        assert "nearest neighbours of a place" in found.text
        assert "Does the embedding of one sensor find the same place" in found.text
    pngs = [i for i in found.images if i["tag"] == "img"]
    assert len(pngs) > 6 * (3 if kind == "map" else 1)
    assert any("examples" in t for t in told)


def test_only_trained_classes_are_scored_and_the_others_come_last(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r")
    table = page.classes(page.evaluations(folder)[0])
    states = [r["state"] for r in table["rows"]]
    assert states == sorted(states, key=("", "not in this split", "not in training").index)
    absent = [r for r in table["rows"] if r["state"] == "not in training"]
    assert {r["name"] for r in absent} == {"flooded vegetation", "snow and ice"}
    assert all(r[k] is None for r in absent for k, _ in table["keys"])
    tables = page.confusions(page.evaluations(folder)[0])
    assert tables
    assert [t["name"] for t in tables["tables"]] == ["this run", "majority class", "random forest on pixel bands"]
    assert "snow and ice" not in {c["name"] for c in tables["classes"]}
    for row in tables["tables"][0]["rows"]:
        assert sum(c["share"] or 0 for c in row) == pytest.approx(1) or row[0]["share"] is None


def test_what_is_missing_is_said_with_the_command_that_makes_it(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r", evaluated=False)
    for name in ("metrics.jsonl", "versions.json", "experiment.yaml"):
        (folder / name).unlink()
    found = Reader(write_report(folder).read_text(encoding="utf-8"))
    for words in (
        f"not been evaluated yet. Scores, classes and confusion come with landweave evaluate {folder}",
        f"no map in this folder yet. Make one with landweave map {folder} --image s2-l2a=FILE",
        "no learning curves",
        "No example could be drawn",
        "Put them back and run landweave report",
    ):
        assert words in found.text, words


def test_a_page_is_written_although_the_data_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(tmp_path / "r")
    opened(folder, "map", monkeypatch, None)
    told: list[str] = []
    text = Reader(report(folder, out=tmp_path / "other.html", say=told.append).read_text(encoding="utf-8")).text
    assert "could not be read again: no such table" in text
    assert any("no such table" in t for t in told)
    assert not (folder / "leak.json").exists()


def test_names_from_outside_cannot_break_the_page(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r")
    for name in ("config.json", "evaluation-test.json"):
        text = (folder / name).read_text().replace("built area", "<script>alert(1)</script>")
        (folder / name).write_text(text)
    page_ = write_report(folder).read_text(encoding="utf-8")
    assert "<script>" not in page_
    assert "&lt;script&gt;" in page_


def test_a_map_that_is_none_is_refused_if_named_and_left_out_if_found(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r")
    grid = Grid("EPSG:32631", (10, 0, 5e5, 0, -10, 5e6), (8, 8))
    other = raster.write(folder / "other.tif", np.zeros((1, 8, 8), np.uint8), grid)
    assert "no map in this folder" in Reader(write_report(folder).read_text(encoding="utf-8")).text
    with pytest.raises(DataError, match=r"other\.tif: not a classified map"):
        write_report(folder, maps=[other])


def test_a_map_that_another_run_wrote_over_is_not_shown_as_its_own(tmp_path: Path) -> None:
    one, other = (run_folder(tmp_path / name) for name in ("a", "b"))
    for run in (one, other):
        (run / "model.safetensors").write_text(f"weights of {run.name}")
        remember(run, a_map(tmp_path / "m.tif", run))
    mine, theirs = (Reader(write_report(r).read_text(encoding="utf-8")) for r in (other, one))
    said = "m.tif is not shown: it was made by another model, b"
    assert [said in read.text for read in (mine, theirs)] == [False, True]
    assert [len(images(read)) for read in (mine, theirs)] == [1, 0]
    assert "no map of this model yet" in theirs.text
    named = Reader(write_report(one, maps=[tmp_path / "m.tif"]).read_text(encoding="utf-8"))
    assert len(images(named)) == 1  # who names it means it
    moved = other.rename(tmp_path / "c")
    assert len(images(Reader(write_report(moved).read_text(encoding="utf-8")))) == 1, "a new name is no new model"


def test_a_map_of_the_model_that_stood_there_before_is_not_shown(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r")
    weights = folder / "model.safetensors"
    weights.touch()
    os.utime(a_map(folder / "map.tif"), (1, 1))  # made before maps had a mark of their model
    read = Reader(write_report(folder).read_text(encoding="utf-8"))
    assert "map.tif is not shown: it is older than the model of this run" in read.text
    assert images(read) == []
    os.utime(weights, (1, 1))
    assert len(images(Reader(write_report(folder).read_text(encoding="utf-8")))) == 1


def test_scores_of_data_that_were_named_anew_say_so() -> None:
    evaluation = {"n_places": 500, "changes": ["data.path=other.csv"]}
    (told,) = page.cautions(evaluation)
    assert "data.path=other.csv" in told
    assert not page.cautions({**evaluation, "changes": []})


def images(read: Reader) -> list[str]:
    """Their descriptions."""
    return [str(i.get("alt")) for i in read.images if i["tag"] == "img"]


def test_an_unfinished_or_damaged_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a finished run"):
        write_report(tmp_path)
    folder = run_folder(tmp_path / "r")
    (folder / "evaluation-test.json").write_text('{"split": ')
    with pytest.raises(RunError, match=r"evaluation-test\.json: not JSON"):
        write_report(folder)


def test_a_run_that_does_not_beat_the_forest_is_told_so(tmp_path: Path) -> None:
    evaluation = page.evaluations(run_folder(tmp_path / "r"))[0]
    assert "beats the better reference, random forest" in page.headline(evaluation)["verdict"]
    evaluation["scores"]["miou_existing"] = 0.2
    assert "does not beat random forest" in page.headline(evaluation)["verdict"]


def test_the_leak_meter_is_measured_again_only_after_a_new_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(tmp_path / "r")
    opened(folder, "map", monkeypatch, Drawn("map", LULC))
    (folder / "leak.json").write_text(
        json.dumps({"score": "accuracy", "model": "m", "distance": {"series": []}, "splits": [], "says": ["kept"]})
    )
    assert "kept" in report(folder, examples=1).read_text(encoding="utf-8")
    os.utime(folder / "leak.json", (1, 1))
    assert "kept" not in report(folder, examples=1).read_text(encoding="utf-8")


def test_examples_go_from_the_worst_to_the_best() -> None:
    data = Drawn("class", LULC)
    test = data.of_split("test")
    scores = {data.places[i].name: float(i % 7) for i in test}
    found = collect_examples(Teller(LULC, "class"), data, test, 4, scores=scores)
    assert [e.score for e in found] == sorted(e.score for e in found)
    assert (found[0].score, found[-1].score) == (min(scores.values()), max(scores.values()))
    assert len(collect_examples(Teller(LULC, "class"), data, test[:2], 4)) == 2


def test_an_example_tells_true_false_and_missed_classes() -> None:
    import torch

    class Fixed(Teller):
        def predict(self, batch):
            p = torch.zeros(1, 8)
            p[0, 0], p[0, 1], p[0, 2] = 0.9, 0.6, 0.2
            return p

    data = Drawn("multilabel", LULC)
    data.classes = lambda index, task: (0, 2)
    (example,) = collect_examples(Fixed(LULC, "multilabel"), data, [3], 1)
    assert [(s.name, s.true, s.said) for s in example.classes] == [
        ("water", True, True),
        ("trees", False, True),
        ("flooded vegetation", True, False),
    ]


def test_the_fault_test_and_the_ablation_are_shown_where_they_were_made(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r", "multilabel")
    clear = json.loads((folder / "evaluation-test.json").read_text())
    spoilt = {**clear, "split": "snow_cloud", "n_places": 7, "scores": {**clear["scores"], "micro_f1": 0.111}}
    (folder / "evaluation-snow_cloud.json").write_text(json.dumps(spoilt))
    alone = {**clear, "only": ["s2-l2a"], "scores": {**clear["scores"], "micro_recall": 0.222}}
    (folder / "evaluation-test-only-s2-l2a-zero.json").write_text(json.dumps(alone))
    found = Reader(write_report(folder).read_text(encoding="utf-8"))
    lost = clear["scores"]["micro_f1"] - 0.111
    for words in (
        "7 places of the test regions", "0.111", f"{lost:.3f}", "s2-l2a, zeros for s1-rtc-gamma0", "0.222",
        "Some rows are lacking",
    ):  # fmt: skip
        assert words in found.text, words
    assert any("Modality ablation" in (i.get("aria-label") or "") for i in found.images)
    assert (folder / "figures" / "modality-ablation.svg").is_file()


def test_a_pretraining_has_a_page_without_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(tmp_path / "r", "multilabel", evaluated=False)
    config = {**json.loads((folder / "config.json").read_text()), "classifier": False}
    (folder / "config.json").write_text(json.dumps(config))
    opened(folder, "multilabel", monkeypatch, Drawn("multilabel", legend_of("multilabel")))
    found = Reader(report(folder).read_text(encoding="utf-8"))
    for words in ("pretrained without labels", "start=", "no class speaks for itself", "by t-SNE"):
        assert words in found.text, words
    assert "Modality ablation" not in found.text
