from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from landweave.metrics import MultiLabel, all_negative, per_class, prevalence, scores, skill, skills

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text())["cases"]


def drawn(n: int = 60, K: int = 5, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities rounded, so that many are equal; class 4 is nowhere true."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, K)) < [0.5, 0.3, 0.1, 0.7, 0.0]).astype(np.uint8)
    return truth, np.round(np.clip(rng.normal(0.35 + 0.3 * truth, 0.25), 0, 1), 1)


def counted(truth: NDArray[Any], p: NDArray[Any], known: NDArray[Any] | None = None) -> MultiLabel:
    found = MultiLabel(truth.shape[1])
    found.update(truth, p, known)
    return found


def test_golden() -> None:
    (case,) = [c for c in GOLDEN if c["name"] == "multilabel_metrics"]
    truth, p, e = np.array(case["inputs"]["target"]), np.array(case["inputs"]["prob"]), case["expected"]
    found = counted(truth, p)
    s, rows = scores(found), per_class(found, list("abcd"))
    assert [r["hamming"] for r in rows] == pytest.approx(e["hamming_per_class"])
    assert [r["brier"] for r in rows] == pytest.approx(e["brier_per_class"])
    ap = [r["average_precision"] for r in rows]
    assert ap[:3] == pytest.approx(e["ap_per_class_sklearn"][:3])
    assert np.isnan(ap[3])
    assert np.isnan(rows[3]["recall"])
    for name in ("hamming", "brier", "micro_precision", "micro_recall", "micro_f1"):
        assert s[name] == pytest.approx(e[name]), name
    for name in ("macro_precision", "macro_recall", "macro_f1"):
        assert s[f"{name}_all"] == pytest.approx(e[name]), name
        assert s[name] == pytest.approx(e[name] * 4 / 3), name  # the absent class counts as 0 in theirs
    assert s["average_precision"] == pytest.approx(np.mean(ap[:3]))  # 0.6861, where torchmetrics says 0.5146
    assert s["n_present"] == 3


def test_counts_by_a_loop_with_unknown_entries() -> None:
    truth, p = drawn()
    known = np.random.default_rng(1).random(truth.shape) < 0.7
    shouting = np.where(known, p, np.nan)  # what stands at unknown entries means nothing
    found = counted(truth, shouting, known)
    cells = np.zeros((5, 4), int)
    squared = np.zeros(5)
    for i in range(60):
        for k in range(5):
            if known[i, k]:
                said = p[i, k] > 0.5
                cells[k, {(1, 1): 0, (0, 1): 1, (1, 0): 2, (0, 0): 3}[int(truth[i, k]), int(said)]] += 1
                squared[k] += (p[i, k] - truth[i, k]) ** 2
    assert (np.stack([found.tp, found.fp, found.fn, found.tn], 1) == cells).all()
    assert found.squared == pytest.approx(squared)
    assert found.n == known.sum()


def test_means_over_all_classes_are_over_those_that_count() -> None:
    found = counted(*drawn())
    rows, s = per_class(found, list("abcde")), scores(found, fixed=[0, 2, 4])
    for key in ("precision", "recall", "f1"):
        assert s[f"macro_{key}_all"] == pytest.approx((rows[0][key] + rows[2][key]) / 3), "class 4 is nowhere: 0"
        assert s[f"macro_{key}"] == scores(found)[f"macro_{key}"]


def test_one_half_is_not_said() -> None:
    found = counted(np.array([[0, 1]]), np.array([[0.5, 0.5]]))
    assert found.tn.tolist() == [1, 0]
    assert found.fn.tolist() == [0, 1]


def test_scores_equal_sklearn_and_torchmetrics() -> None:
    import torch
    from sklearn.metrics import average_precision_score, f1_score, hamming_loss, precision_score, recall_score
    from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

    truth, p = drawn()
    said = p > 0.5
    s, rows = scores(counted(truth, p)), per_class(counted(truth, p), list("abcde"))
    for name, theirs in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        for mean in ("macro", "micro"):
            expected = theirs(truth, said, average=mean, zero_division=0)
            assert s[f"{mean}_{name}" + ("_all" if mean == "macro" else "")] == pytest.approx(expected)
        assert s[f"macro_{name}"] == pytest.approx(theirs(truth[:, :4], said[:, :4], average="macro", zero_division=0))
    assert s["hamming"] == pytest.approx(hamming_loss(truth, said))
    for k in range(4):
        assert rows[k]["average_precision"] == pytest.approx(average_precision_score(truth[:, k], p[:, k]))
    y, q = torch.from_numpy(truth).long(), torch.from_numpy(p)
    ours = [r["average_precision"] for r in rows[:4]]
    assert ours == pytest.approx(multilabel_average_precision(q, y, 5, average="none")[:4].tolist(), abs=1e-6)
    assert s["macro_f1_all"] == pytest.approx(float(multilabel_f1_score(q, y, 5)), abs=1e-6)


def test_parts_add_up_and_order_does_not_matter() -> None:
    truth, p = drawn()
    whole = scores(counted(truth, p))
    parts = counted(truth[40:], p[40:]).merge(counted(truth[:40], p[:40]))
    assert scores(parts) == pytest.approx(whole, nan_ok=True)
    assert scores(counted(truth[:40], p[:40]).merge(MultiLabel(5)))["n"] == 200
    assert np.isnan(scores(MultiLabel(5))["micro_f1"])


def test_trivial_predictors() -> None:
    truth, p = drawn()
    found, q = counted(truth, p), truth.mean(0)
    never = per_class(all_negative(found), list("abcde"))
    assert [r["hamming"] for r in never] == pytest.approx(q)
    best = per_class(prevalence(found, q), list("abcde"))
    assert [r["brier"] for r in best] == pytest.approx(q * (1 - q), abs=1e-7)
    assert [r["average_precision"] for r in best[:4]] == pytest.approx(q[:4])
    assert [r["support"] for r in never] == truth.sum(0).tolist()
    assert scores(all_negative(found))["macro_recall"] == 0


def test_skill_of_losses_and_scores() -> None:
    assert skill(0.05, 0.2, perfect=0) == pytest.approx(1 - 0.05 / 0.2)
    assert skill(0.9, 0.6, perfect=1) == pytest.approx((0.9 - 0.6) / (1 - 0.6))
    assert skill(0.2, 0.2, perfect=0) == 0
    assert np.isnan(skill(0.0, 0.0, perfect=0))
    worth = skills({"hamming": 0.1, "micro_f1": 0.5, "n": 7.0}, {"hamming": 0.2, "micro_f1": 0.0, "n": 7.0})
    assert worth == pytest.approx({"hamming": 0.5, "micro_f1": 0.5})


def test_refuses_what_is_no_probability() -> None:
    truth, p = drawn()
    assert counted(truth, np.where(p == 1, np.float32(1.0000001), p)).n == 300  # rounding is forgiven
    for wrong in (p + 1, np.where(p > 0.4, np.nan, p)):
        with pytest.raises(ValueError, match="NaN or outside"):
            counted(truth, wrong)
    with pytest.raises(ValueError, match="N x 5 is needed"):
        counted(truth, p[:, :4])
