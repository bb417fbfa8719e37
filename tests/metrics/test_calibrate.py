from __future__ import annotations

import numpy as np
import pytest

from landweave.metrics import Calibration


def test_ece_by_a_loop_and_by_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    rng = np.random.default_rng(0)
    p = rng.random(500)
    right = rng.random(500) < p**2
    found = Calibration(10)
    found.update(p, right)
    expected = 0.0
    for b in range(10):
        inside = (p > b / 10) & (p <= (b + 1) / 10)
        expected += inside.mean() * abs(right[inside].mean() - p[inside].mean())
    assert found.ece() == pytest.approx(expected)
    theirs = binary_calibration_error(torch.from_numpy(p), torch.from_numpy(right).long(), n_bins=10)
    assert found.ece() == pytest.approx(float(theirs), abs=1e-5)


def test_parts_add_up_and_unknown_is_not_counted() -> None:
    p, right = np.array([[0.0, 0.3], [1.0, 0.31]]), np.array([[0, 1], [1, 0]])
    parts = [Calibration(4) for _ in range(2)]
    for part, i in zip(parts, range(2), strict=True):
        part.update(p[i], right[i])
    merged = parts[0].merge(parts[1])
    assert merged.count.tolist() == [1, 2, 0, 1]
    edge = Calibration(4)
    edge.update(np.array([0.25, 0.75]), np.array([1, 1]))  # a bin holds its upper edge
    assert edge.count.tolist() == [1, 0, 1, 0]
    some = Calibration(4)
    some.update(np.array([np.nan, 0.3]), np.array([1, 1]), known=np.array([False, True]))
    assert some.ece() == pytest.approx(0.7)
    rows = merged.rows()
    assert (rows[1]["low"], rows[1]["high"], rows[1]["count"], rows[1]["accuracy"]) == (0.25, 0.5, 2, 0.5)
    assert np.isnan(rows[2]["accuracy"])
    assert np.isnan(Calibration().ece())


def test_refuses_what_is_no_confidence() -> None:
    with pytest.raises(ValueError, match="NaN or outside"):
        Calibration().update(np.array([1.2]), np.array([1]))
    with pytest.raises(ValueError, match="right"):
        Calibration().update(np.array([0.2]), np.array([1, 0]))
