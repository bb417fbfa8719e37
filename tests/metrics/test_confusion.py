from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from landweave.metrics import Confusion, majority, per_class, scores, skills

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())["cases"]


def drawn(n: int = 400, K: int = 6, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Class 5 is never true but predicted, class 4 never predicted but true."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K - 1, n)
    predicted = np.where(rng.random(n) < 0.6, truth, rng.integers(0, K, n))
    predicted[predicted == 4] = 0
    return truth, predicted


def counted(n: int = 400, K: int = 6) -> Confusion:
    found = Confusion(K)
    found.update(*drawn(n, K))
    return found


def test_counts_by_a_loop_and_what_is_not_counted() -> None:
    truth, predicted = drawn()
    truth[::7] = 255
    predicted[::7] = 255  # a map writes 255 where it knows nothing; not counted where the truth is unknown too
    known = np.arange(400) % 5 > 0
    found = Confusion(6)
    found.update(truth.reshape(20, 20).astype(np.uint8), predicted.reshape(20, 20), known.reshape(20, 20))
    expected = np.zeros((6, 6), int)
    for t, p, k in zip(truth, predicted, known, strict=True):
        if k and t != 255:
            expected[t, p] += 1
    assert (found.array == expected).all()
    assert found.n == expected.sum()


def test_parts_add_up_to_the_whole() -> None:
    truth, predicted = drawn()
    parts = [Confusion(6) for _ in range(3)]
    for i, part in enumerate(parts):
        part.update(truth[i::3], predicted[i::3])
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert (merged.array == counted().array).all()
    assert scores(merged) == scores(counted())


def test_scores_equal_sklearn() -> None:
    from sklearn.metrics import (
        balanced_accuracy_score,
        cohen_kappa_score,
        f1_score,
        jaccard_score,
        precision_score,
        recall_score,
    )

    truth, predicted = drawn()
    found, present = scores(counted()), [0, 1, 2, 3, 4]
    options: dict[str, Any] = {"labels": present, "average": "macro", "zero_division": 0}
    assert found["oa"] == pytest.approx((truth == predicted).mean())
    assert found["aa_existing"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found["aa_fixed"] == pytest.approx(recall_score(truth, predicted, labels=range(6), average="macro"))
    assert found["macro_precision"] == pytest.approx(precision_score(truth, predicted, **options))
    assert found["macro_recall"] == pytest.approx(recall_score(truth, predicted, **options))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, **options))
    assert found["miou_existing"] == pytest.approx(jaccard_score(truth, predicted, **options))
    assert found["miou_all"] == pytest.approx(jaccard_score(truth, predicted, labels=range(6), average="macro"))
    assert found["fw_iou"] == pytest.approx(jaccard_score(truth, predicted, average="weighted"))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, predicted))
    assert (found["n"], found["n_present"]) == (400, 5)


def test_scores_equal_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

    truth, predicted = (torch.from_numpy(v) for v in drawn())
    classes = torch.arange(6)
    recalls = multiclass_accuracy(predicted, truth, 6, average="none")
    assert scores(counted())["aa_fixed"] == pytest.approx(float(recalls[classes].mean()), abs=1e-6)
    unions = multiclass_jaccard_index(predicted, truth, 6, average="none")
    assert [r["iou"] for r in per_class(counted(), list("abcdef"))] == pytest.approx(unions.tolist(), abs=1e-6)


def test_a_fixed_class_list() -> None:
    rows = per_class(counted(), list("abcdef"))
    found = scores(counted(), fixed=[0, 2, 5])
    assert found["aa_fixed"] == pytest.approx((rows[0]["recall"] + rows[2]["recall"] + 0) / 3)
    assert found["miou_all"] == pytest.approx((rows[0]["iou"] + rows[2]["iou"] + rows[5]["iou"]) / 3)


def test_undefined_is_nan_and_not_zero() -> None:
    rows = per_class(Confusion(7, np.pad(counted().array, (0, 1))), list("abcdefg"))
    assert np.isnan(rows[5]["recall"])  # predicted, but nowhere true
    assert rows[5]["precision"] == rows[5]["f1"] == rows[5]["iou"] == 0
    assert rows[5]["predicted"] > rows[5]["support"] == 0
    assert all(np.isnan(rows[6][k]) for k in ("precision", "recall", "f1", "iou"))  # neither
    nothing = scores(Confusion(3))
    assert np.isnan(nothing["oa"])
    assert np.isnan(nothing["miou_existing"])
    assert nothing["n_present"] == 0


def test_never_predicting_a_class_does_not_raise_the_mean_precision() -> None:
    found = Confusion(2, [[8, 0], [2, 0]])
    assert np.isnan(per_class(found, ["a", "b"])[1]["precision"])
    assert scores(found)["macro_precision"] == pytest.approx(0.4)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: c["name"])
def test_flair_hub_golden(case: dict[str, Any]) -> None:
    kept = [i for i in range(len(case["confusion"])) if i not in case["ignored"]]
    found = Confusion(len(kept), np.array(case["confusion"])[np.ix_(kept, kept)])
    s, rows = scores(found), per_class(found, [str(k) for k in kept])
    for name, key in (
        ("miou_all", "miou_official"),
        ("miou_existing", "miou_paper"),
        ("oa", "overall_accuracy"),
        ("aa_fixed", "mean_recall_official"),
    ):
        assert 100 * s[name] == pytest.approx(case[key][0]), name
    for name, key in (("iou", "iou"), ("precision", "precision"), ("recall", "recall"), ("f1", "fscore")):
        official = [100 * np.nan_to_num(r[name]) for r in rows]
        assert official == pytest.approx(case[f"per_class_{key}"]), name
    assert s["n_present"] == sum(case["has_reference_pixels"])


def test_majority_and_skill() -> None:
    found = counted()
    trivial = majority(found, [1, 9, 3, 0, 2, 0])
    assert (trivial.array[:, 1] == found.support).all()
    assert trivial.n == found.n
    best, worth = scores(trivial), skills(scores(found), scores(trivial))
    assert best["oa"] == pytest.approx(found.support[1] / 400)
    assert worth["oa"] == pytest.approx((scores(found)["oa"] - best["oa"]) / (1 - best["oa"]))
    assert best["kappa"] == pytest.approx(0)
    assert not {"n", "n_present"} & set(worth)


def test_refuses_what_is_no_class() -> None:
    found = Confusion(3)
    with pytest.raises(ValueError, match="predicted class indices run from 0 to 255, not in 0"):
        found.update(np.array([0, 1]), np.array([255, 0], np.uint8))
    with pytest.raises(ValueError, match="true class indices"):
        found.update(np.array([0, -1]), np.array([0, 0]))
    with pytest.raises(ValueError, match="truth is"):
        found.update(np.zeros(3, int), np.zeros((3, 1), int))
    with pytest.raises(ValueError, match="2 names for 3 classes"):
        per_class(found, ["a", "b"])
    assert found.n == 0


def test_the_room_loads_without_torch() -> None:
    code = "import sys, landweave.metrics; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
