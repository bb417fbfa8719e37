"""The references beside a run: from the whole split, blind to padding, and asked about a part of large maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from landweave.data.order import evenly
from landweave.run.embed import embed
from landweave.run.evaluate import Scene, evaluate, reopen
from landweave.run.evaluate_text import table
from landweave.run.experiment import Experiment, recipe
from landweave.run.predict import open_run
from landweave.run.references import Forest, _mean_of_seen, thinned
from landweave.run.train import train
from landweave.sample import Image
from tests.cli.places import load_rows, write_table
from tests.run.made import make_run
from tests.run.scenes import write_scenes


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.references.TREES", 5)


def small(name: str, table: Path, *more: str) -> Experiment:
    words = ("data.kind=table", f"data.path={table}", "method.encoder.name=test_resnet", "train.batch_size=8")
    return recipe(name, [*words, *more])


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    return make_run(small("segment", write_table(folder, 24), "data.fraction=0.5"), folder / "run")


def test_evenly_reaches_both_ends() -> None:
    assert evenly(range(10), None) == list(range(10))
    assert evenly(range(10), 10) == list(range(10))
    assert evenly([*range(0, 2000, 2)], 3) == [0, 1000, 1998]
    assert len(set(evenly(range(1000), 900))) == 900


def test_the_forest_learns_from_labelled_places_through_the_whole_split(
    maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EuroSAT stands in order of class: from its first places a forest learned some of the classes only."""
    asked: list[list[int]] = []
    usual = Scene.batches

    def batches(self: Scene, indices: list[int], *, batch_size: int) -> object:
        asked.append(list(indices))
        return usual(self, indices, batch_size=batch_size)

    monkeypatch.setattr(Scene, "batches", batches)
    monkeypatch.setattr("landweave.run.evaluate.LEARNED_FROM", 4)
    evaluate(maps)
    scene = reopen(open_run(maps), "test")
    assert all(scene.dataset.places[i].labelled for i in scene.train)
    assert 4 < len(scene.train) < 15, "of half the labels"
    assert asked[0] == evenly(scene.train, 4)
    assert asked[0][-1] == scene.train[-1]


def test_mean_features_are_of_places_through_the_whole_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.finish.MEANT", 3)
    run = make_run(small("supervised", write_scenes(tmp_path)), tmp_path / "run")
    found = embed(run, "train")
    rows = evenly(range(len(found.names)), 3)
    for name, mean in open_run(run).config["mean_features"].items():
        assert found.features[name][rows].mean(0) == pytest.approx(np.array(mean), abs=1e-4)


def test_a_thinned_forest_says_what_the_whole_one_says_there(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(maps)
    name = "random forest on pixel bands"
    H, W = 32, 32
    monkeypatch.setattr("landweave.run.references.MOST_PIXELS", whole["n_places"] * H * W // 9 + 1)
    thin = evaluate(maps)
    assert (whole["references"][name]["step"], thin["references"][name]["step"]) == (1, 3)
    assert thin["scores"] == whole["scores"]
    assert thin["references"]["majority class"] == whole["references"]["majority class"]
    cells = [np.array(f["references"][name]["confusion"]).sum() for f in (whole, thin)]
    assert cells == [whole["n_places"] * H * W, whole["n_places"] * 11 * 11]  # rows 1, 4, ... 31
    assert f"{name}: asked about one in 9 pixels, for time" in list(table(thin))


def test_thinned_labels_and_answers_are_of_the_same_pixels(maps: Path) -> None:
    run = open_run(maps)
    scene = reopen(run, "test")
    (batch,) = scene.batches(scene.scored[:2], batch_size=2)
    forest = Forest(run.contract, run.task, "map", len(run.legend))
    for some in scene.batches(scene.train, batch_size=8):
        forest.look(some, np.random.default_rng(0))
    assert forest.grow(np.random.default_rng(0))
    whole = forest.predict(batch)
    forest.step = 4
    assert np.array_equal(forest.predict(batch), whole[..., 2::4, 2::4])
    label = batch.labels[run.task]
    assert torch.equal(thinned(label, 4).values, label.values[..., 2::4, 2::4])
    assert torch.equal(thinned(label, 4).known, label.known[..., 2::4, 2::4])


def test_padding_of_a_series_changes_no_feature() -> None:
    random = np.random.default_rng(0)
    short = Image.of("s2-l2a", ("B04", "B08"), random.random((3, 2, 4, 4), np.float32), days=(1, 2, 3))
    long = Image.of("s2-l2a", ("B04", "B08"), np.concatenate([short.data.numpy(), np.zeros((2, 2, 4, 4), np.float32)]))
    long = replace(long, dates_seen=torch.tensor([True, True, True, False, False]))
    one, other = (_mean_of_seen(_batched(im)) for im in (short, long))
    assert one == pytest.approx(short.data.numpy().mean(0)[None], abs=1e-6)
    assert torch.allclose(one, other)
    nothing = replace(_batched(short), bands_seen=torch.tensor([[True, False]]))
    assert _mean_of_seen(nothing)[0, 1].abs().max() == 0


def _batched(image: Image) -> Image:
    names = ("data", "scale", "offset", "days", "dates_seen", "bands_seen", "pixels_seen")
    return replace(image, **{n: getattr(image, n)[None] for n in names})


def test_labels_are_those_of_read(maps: Path) -> None:
    dataset = reopen(open_run(maps), "test").dataset
    for i in range(0, len(dataset), 5):
        found, wanted = dataset.labels(i), dataset.read(i).labels
        assert found.keys() == wanted.keys()
        for name, label in found.items():
            assert torch.equal(label.values, wanted[name].values)
            assert torch.equal(label.known, wanted[name].known)


@pytest.mark.parametrize(("teacher", "student"), [(0.3, 1.0), (1.0, 0.3)])
def test_the_prevalence_beside_a_student_is_that_of_its_teachers_places(
    tmp_path: Path, teacher: float, student: float
) -> None:
    table = write_scenes(tmp_path / "places")
    data = ("data.kind=table", f"data.path={table}", "data.streams=[s2-l2a]", "method.encoder.name=test_resnet")
    first = make_run(recipe("supervised", [*data, f"data.fraction={teacher}"]), tmp_path / "teacher")
    fault = "method.faults.faults=[{kind: missing, bands: [B02], ratio: 1.0}]"
    given = recipe(
        "adapt", [*data, f"start={first}", f"data.fraction={student}", fault, "train.epochs=1", "train.batch_size=8"]
    )
    train(given, tmp_path / "student", progress=False)
    scores = [evaluate(run)["references"]["training prevalence"]["scores"] for run in (first, tmp_path / "student")]
    assert scores[0] == scores[1]
    assert 0 < scores[0]["brier"] < 0.3


def test_the_majority_is_of_classes_that_count(maps: Path) -> None:
    """An answer that is never right would flatter every run."""
    counts = dict(zip(open_run(maps).legend.names, open_run(maps).config["class_counts"], strict=True))
    most, next_ = sorted(counts, key=lambda name: -counts[name])[:2]
    for without, answer in (((), most), ((most,), next_)):
        found = evaluate(maps, without=without)
        table = np.array(found["references"]["majority class"]["confusion"])
        assert table.sum(0).argmax() == list(counts).index(answer)
        assert found["skill"]["oa"] == pytest.approx(
            (found["scores"]["oa"] - table.trace() / table.sum()) / (1 - table.trace() / table.sum())
        )


def test_sets_of_a_single_class_have_a_forest_too(tmp_path: Path) -> None:
    """scikit-learn gives no list of classes where there is one."""
    rows = load_rows(write_scenes(tmp_path))
    columns = {k: [r[k] for r in rows] for k in rows[0] if k != "label:cover"}
    sets = [["trees"] if "trees" in r["label:cover"] else [] if r["label:cover"] else None for r in rows]
    pq.write_table(pa.table({**columns, "label:cover": pa.array(sets)}), tmp_path / "one.parquet")
    run = make_run(small("supervised", tmp_path / "one.parquet", "data.fraction=1"), tmp_path / "run")
    opened = open_run(run)
    assert (opened.kind, opened.legend.names) == ("multilabel", ("trees",))
    found = evaluate(run)["references"]["random forest on band statistics"]["scores"]
    scene = reopen(opened, "test")
    forest = Forest(opened.contract, opened.task, "multilabel", 1)
    for some in scene.batches(scene.train, batch_size=8):
        forest.look(some, np.random.default_rng(0))
    assert forest.grow(np.random.default_rng(0))
    (batch,) = scene.batches(scene.scored, batch_size=99)
    label, p = batch.labels[opened.task], forest.predict(batch)
    assert p.shape == (len(scene.scored), 1)
    known = label.known.numpy()
    assert 0 < label.values.numpy()[known].mean() < 1
    assert found["brier"] == pytest.approx(((p - label.values.numpy()) ** 2)[known].mean(), abs=1e-6)
