"""The rules of FLAIR-HUB: golden cases of the official code, the printed rows, loops; counting on the device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from landweave.data.dataset import Task
from landweave.errors import ConfigError
from landweave.legends import COSIA_15, COSIA_19, LandClass, Legend
from landweave.metrics import Confusion, per_class, rules, scores
from landweave.metrics.segment import miou_over
from landweave.run.score import Scorer, monitor_of
from landweave.sample import Label
from tests.conftest import SHARED, VECTORS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())["cases"]
CASES = ("case7a_metrics_cosia", "case7b_metrics_lpis", "case7c_metrics_from_pixels")


def legend(classes: int, *, unscored: tuple[int, ...] = (), ignored: tuple[int, ...] = ()) -> Legend:
    rows = tuple(LandClass(k, f"c{k}", "#000000") for k in range(classes))
    return Legend("made", rows, ignored, unscored=unscored)


def answers(predicted: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(predicted.long(), classes).movedim(-1, 1).float()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: c["name"])
def test_the_official_rules_from_the_whole_table(case: dict[str, Any]) -> None:
    """Weakness 7 of the spec: what the official code prints is given, under a name that says so, and not as ours."""
    found = rules(Confusion(len(case["confusion"]), case["confusion"]), case["ignored"])
    for name, key in (
        ("miou_paper", "miou_paper"),
        ("miou_official", "miou_official"),
        ("oa_paper", "overall_accuracy"),
    ):
        assert 100 * found[name] == pytest.approx(case[key][0], abs=1e-9), name


@pytest.mark.parametrize("name", CASES)
def test_the_golden_vectors_as_they_are_stored(name: str) -> None:
    """Cases 7a to 7c read from the files: pixels are counted by a Scorer, counts exact and ratios to 1e-9."""
    from safetensors.numpy import load_file

    folder = VECTORS / "flair-hub"
    if not folder.is_dir():
        pytest.skip("no shared vectors")
    case = json.loads((folder / "manifest.json").read_text())["cases"][name]
    raw, ignored = load_file(folder / case["file"]), case["hyper_parameters"]["ignored"]
    if "inputs.confusion" in raw:
        table = Confusion(len(raw["inputs.confusion"]), raw["inputs.confusion"])
    else:
        K = case["hyper_parameters"]["classes"]
        truth, predicted = (torch.from_numpy(raw[f"inputs.{k}"]) for k in ("target", "prediction"))
        known = truth < K  # 19 and 255 stand outside the table, and are not counted
        scorer = Scorer(Task("map", legend(K, unscored=tuple(ignored))))
        scorer.add(Label("map", truth, known, scorer.task.legend), answers(predicted, K))
        table = scorer.table
        assert np.array_equal(table.array, raw["expected.confusion"])
        assert scorer.scores()["miou_paper"] == rules(table, ignored)["miou_paper"]
    found = rules(table, ignored)
    expected = {"miou_paper": "extra.miou_paper", "miou_official": "expected.miou_official"}
    for key, where in (expected | {"oa_paper": "expected.overall_accuracy"}).items():
        assert 100 * found[key] == pytest.approx(float(raw[where][0]), abs=1e-9), key
    kept = [k for k in range(table.classes) if k not in ignored]
    rows = per_class(table.among(kept), [f"c{k}" for k in kept])
    for column, key in (("iou", "iou"), ("precision", "precision"), ("recall", "recall"), ("f1", "fscore")):
        ours = [100 * np.nan_to_num(row[column]) for row in rows]
        assert ours == pytest.approx(list(raw[f"expected.per_class_{key}"]), abs=1e-9)


def drawn(classes: int = 6, n: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes - 1, n)  # the last class is never true
    return truth, np.where(rng.random(n) < 0.6, truth, rng.integers(0, classes, n))


def test_the_weighted_rule_is_that_of_torchmetrics_ignored_classes_included() -> None:
    from torchmetrics.functional.classification import multiclass_jaccard_index

    truth, predicted = drawn()
    table = Confusion(6)
    table.update(truth, predicted)
    official = multiclass_jaccard_index(*(torch.from_numpy(v) for v in (predicted, truth)), 6, average="weighted")
    for without in ((), (1, 2)):
        assert rules(table, without)["miou_weighted"] == pytest.approx(float(official), abs=1e-6)


def test_rules_by_loops_over_pixels() -> None:
    truth, predicted = drawn(seed=3)
    table, without = Confusion(6), [1]
    table.update(truth, predicted)
    ious = {}
    for k in (0, 2, 3, 4, 5):
        pairs = [(t, p) for t, p in zip(truth, predicted, strict=True) if 1 not in (t, p)]
        both = sum(t == p == k for t, p in pairs)
        either = sum(k in (t, p) for t, p in pairs)
        ious[k] = both / either
    found = rules(table, without)
    assert found["miou_paper"] == pytest.approx(sum(ious[k] for k in (0, 2, 3, 4)) / 4)
    assert found["miou_official"] == pytest.approx(sum(ious.values()) / 5)
    assert miou_over(table, [2, 4], without) == pytest.approx((ious[2] + ious[4]) / 2)


def test_a_class_that_is_only_taken_for_an_ignored_one_is_present_all_the_same() -> None:
    found = rules(Confusion(3, [[5, 0, 0], [0, 0, 4], [0, 0, 7]]), [2])
    assert found["miou_paper"] == pytest.approx(0.5), "class 1 has reference pixels: it counts as 0"
    assert found["oa_paper"] == 1, "the paper's rule forgets the four pixels with their column"


def test_what_is_metric_ignored_is_no_truth_and_an_error_as_an_answer() -> None:
    """Weakness 7 of the spec: by our own names, predictions into ignored classes are not deleted with their column."""
    table = [[6, 2, 2], [0, 5, 5], [1, 1, 8]]
    scorer = Scorer(Task("map", legend(3, unscored=(2,))))
    pixels = [(t, p) for t in range(3) for p in range(3) for _ in range(table[t][p])]
    truth, predicted = (torch.tensor([row])[:, None] for row in zip(*pixels, strict=True))
    scorer.add(Label("map", truth, torch.ones_like(truth, dtype=torch.bool), scorer.task.legend), answers(predicted, 3))
    found = scorer.scores()
    assert found["oa"] == pytest.approx(11 / 20)
    assert found["oa_paper"] == pytest.approx(11 / 13)
    assert found["miou_existing"] == pytest.approx((6 / 10 + 5 / 12) / 2)
    assert found["miou_paper"] == pytest.approx((6 / 8 + 5 / 7) / 2)
    assert scorer.support() == [10, 10, 10]
    assert found["n_present"] == 2


def test_legends_say_what_is_metric_ignored_and_keep_it() -> None:
    one = legend(4, unscored=(3,))
    assert Legend.from_json(one.to_json()) == one
    assert one.unscored_indices == (3,)
    with pytest.raises(ConfigError, match="`unscored` has 9, which no class has"):
        legend(4, unscored=(9,))


def test_the_weak_codes_of_cosia_19_are_scored_nowhere() -> None:
    """A model that tells all 15 classes of the paper apart, and says pervious surface where a code is weak."""
    truth = torch.arange(19, dtype=torch.uint8).reshape(1, 1, 19)
    predicted = torch.where(truth < 15, truth, 4)
    scorer = Scorer(Task("map", COSIA_19))
    scorer.add(Label("map", truth, truth < 99, COSIA_19), answers(predicted, 19))
    found = scorer.scores()
    assert [COSIA_19.names[k] for k in scorer.without] == ["clear cut", "ligneous", "mixed", "undefined"]
    assert found["miou_paper"] == found["miou_official"] == found["oa_paper"] == found["miou_existing"] == 1
    assert found["miou_weighted"] < 1, "the official monitor ignores nothing"
    assert Legend.from_json(json.loads(json.dumps(COSIA_19.to_json()))) == COSIA_19
    assert COSIA_15.unscored == ()


def test_counting_on_the_device_is_counting_in_numpy() -> None:
    """One table a place and of all, exact, with unknown pixels and probabilities of another size left to the scorer."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 5, (3, 8, 8)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.2] = 255
    known = (truth != 255) & (rng.random(truth.shape) < 0.9)
    probabilities = torch.from_numpy(rng.random((3, 5, 8, 8)).astype(np.float32))
    scorer = Scorer(Task("map", legend(5)))
    label = Label("map", torch.from_numpy(truth), torch.from_numpy(known), scorer.task.legend)
    for _ in range(2):
        places = scorer.add(label, probabilities)
    assert places is not None
    whole = Confusion(5)
    for b in range(3):
        one = Confusion(5)
        one.update(truth[b], probabilities[b].argmax(0).numpy(), known[b])
        assert np.array_equal(places[b].numpy(), one.array)
        whole = whole.merge(one)
    assert np.array_equal(scorer.table.array, 2 * whole.array)
    scorer.add_place(label, probabilities, 1)
    assert np.array_equal(scorer.table.array - 2 * whole.array, places[1].numpy())
    assert scorer.table.array.dtype == np.int64


def test_a_class_index_outside_the_legend_is_refused_and_counted_nowhere() -> None:
    scorer = Scorer(Task("map", legend(3)))
    truth = torch.tensor([[[0, 1, 3, 2]], [[0, 1, 1, 2]]], dtype=torch.uint8)
    places = scorer.add(Label("map", truth, truth < 99, scorer.task.legend), answers(truth.clamp(max=2), 3))
    assert places is not None
    assert places.sum((1, 2)).tolist() == [3, 4], "class 3 of a place is not class 0 of the next"
    with pytest.raises(ValueError, match="1 true class indices are not in 0"):
        scorer.scores()


def test_truths_that_training_never_had_count_by_the_papers_rule_only() -> None:
    scorer = Scorer(Task("map", legend(3)), scored=[0, 1])
    truth = torch.tensor([[[0, 0, 1, 2]]], dtype=torch.uint8)
    scorer.add(Label("map", truth, truth < 9, scorer.task.legend), answers(torch.tensor([[[0, 0, 1, 1]]]), 3))
    found = scorer.scores()
    assert found["miou_existing"] == found["oa"] == 1
    assert found["miou_paper"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_parents_by_loops() -> None:
    truth, predicted = drawn(classes=7, seed=5)
    parents = (0, 0, 1, 2, 2, 2, 1)
    fine, coarse = Confusion(7), Confusion(3)
    fine.update(truth, predicted)
    coarse.update([parents[t] for t in truth], [parents[p] for p in predicted])
    assert np.array_equal(fine.rolled_up(parents, 3).array, coarse.array)
    assert scores(fine.rolled_up(parents, 3))["oa"] >= scores(fine)["oa"]
    with pytest.raises(ValueError, match="2 parents for 7 classes"):
        fine.rolled_up((0, 1), 3)
    assert np.array_equal(Confusion.from_json(7, fine.to_json()).array, fine.array)


def test_the_monitor_of_label_maps_is_no_weighted_mean_unless_asked_for() -> None:
    """Weakness 6 of the spec: theirs is support-weighted and counts ignored classes; `paper` repeats it on request."""
    assert monitor_of("", "map") == "miou_existing"
    assert monitor_of("miou_paper", "map") == "miou_paper"
    assert monitor_of("paper", "map") == "miou_weighted"
    with pytest.raises(ConfigError, match="no score `miou_papr`, did you mean `miou_paper`"):
        monitor_of("miou_papr", "map")
    with pytest.raises(ConfigError, match="no score `paper`"):
        monitor_of("paper", "class")


def printed(name: str) -> dict[str, Any]:
    file = SHARED / "specs" / "tables" / "flair-hub.json"
    if not file.is_file():
        pytest.skip("no shared tables")
    found: dict[str, Any] = json.loads(file.read_text())["tables"][name]
    return found


def test_printed_rows_average_to_the_printed_miou_by_the_papers_rule() -> None:
    """Table XV, over the 21 classes that the test set has of 23: a table of pixels with exactly the printed IoUs."""
    table = printed("table_15")
    classes = table["class_columns"]
    assert len(classes) == 21
    for row in table["rows"]:
        found = rules(with_ious([row[c] for c in classes], absent=2))
        assert 100 * found["miou_paper"] == pytest.approx(row["miou"], abs=0.05 + 0.05), row["model_id"]
        assert 100 * found["miou_official"] == pytest.approx(21 / 23 * row["miou"], abs=0.1)


def test_the_validation_figure_is_the_weighted_one() -> None:
    """Table XVI prints 81.4 beside classes whose plain mean is 47.0: weighted by Table VII's pixels they give 81.4."""
    row = next(r for r in printed("table_16")["rows"] if r["partition"] == "validation")
    shares = {r["key"]: r["validation"] for r in printed("table_7")["rows"]}
    classes = [c for c in printed("table_16")["class_columns"] if shares[c] > 0]
    found = rules(with_ious([row[c] for c in classes], support=[shares[c] for c in classes]))
    assert 100 * found["miou_weighted"] == pytest.approx(81.4, abs=0.05)
    assert 100 * found["miou_paper"] == pytest.approx(46.95, abs=0.01)


def with_ious(percent: list[float], *, absent: int = 0, support: list[float] | None = None) -> Confusion:
    """A table in which each class has this IoU: what is not found of it is taken for a last, absent class."""
    K = len(percent) + max(1, absent)
    out = Confusion(K)
    for k, iou in enumerate(percent):
        n = round(1e6 * (1 if support is None else support[k]))
        out.array[k, k] = round(n * iou / 100)
        out.array[k, K - 1] = n - out.array[k, k]
    return out
