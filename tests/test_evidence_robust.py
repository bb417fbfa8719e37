"""What the record of `make evidence NAME=robust` is made of and what is said of it: aims, gates and ratios."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from evidence import robust, show_robust
from landweave.metrics.confusion import Confusion

SET = "petcu2024-names/B2@0.9"


def cell(value: float) -> dict[str, Any]:
    return {"drop_in": value, "probe": value}


def seed(whole: float, faulty: float, maps: float, *, at: int) -> dict[str, Any]:
    rows = {"complete": (whole, whole, whole), SET: (faulty, maps, faulty)}
    return {"cells": {k: dict(zip((f"teacher-{at}", f"maps-{at}", f"pooled-{at}"), map(cell, v), strict=True))
                      for k, v in rows.items()}}  # fmt: skip


def test_a_cell_is_told_by_the_score_of_its_matrix() -> None:
    one = SimpleNamespace(
        drop_in={"oa": 0.9, "miou_existing": 0.55}, probe={}, recovered=None, unchanged_teacher=None, alignment=None
    )
    assert robust._cell(one, "miou_existing")["drop_in"] == 0.55  # type: ignore[arg-type]


def test_the_share_that_comes_back_is_a_ratio_of_sums() -> None:
    told = show_robust.segmentation({SET: [seed(0.60, 0.40, 0.59, at=0), seed(0.60, 0.58, 0.50, at=1)]})
    assert "costs 0.110 mIoU" in told
    assert "maps 50%" in told  # (.19 - .08) / (.20 + .02); the mean of ratios would be below -1
    assert "worst seed -400%" in told
    assert "aim 90%, missed" in told


def test_nothing_is_claimed_where_masking_costs_little() -> None:
    told = show_robust.segmentation({SET: [seed(0.60, 0.56, 0.60, at=0)]})
    assert told.startswith("masking costs less than 0.05")
    assert "comes back" not in told


@pytest.mark.parametrize(("kept", "said"), [(0.80, "reached"), (0.76, "missed")])
def test_one_model_must_win_back_and_keep_complete_images(kept: float, said: str) -> None:
    complete = {"teacher": cell(0.80), "ours": cell(kept), "thesis": cell(0.3)}
    faulty = {"teacher": cell(0.40), "ours": cell(0.72), "thesis": cell(0.6)}
    told = show_robust.rgb([{"cells": {"complete": complete, "missing:G,B@0.9": faulty}}])
    assert "wins back 80% at 0.9" in told
    assert f": {said}, in the mean over seeds; the thesis's settings win back 50%" in told


def test_gains_are_held_against_the_cost_to_other_teachers_too() -> None:
    costs = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.1], [0.3, 0.1, 0.2]]  # nothing but noise: every set costs .2 on average
    assert robust._apart(costs, costs) == pytest.approx(-1.0)
    steady = [[0.1] * 3, [0.2] * 3, [0.3] * 3]
    assert robust._apart(steady, steady) == pytest.approx(1.0)


def test_tiles_are_one_table_of_pixels() -> None:
    rare = Confusion(2, [[90, 0], [0, 0]])  # one class, all right: mIoU 1
    other = Confusion(2, [[0, 0], [10, 0]])  # the other class, all wrong: mIoU 0
    assert robust._miou(robust._sum([rare, other])) == pytest.approx(0.45)  # (90 / 100 + 0) / 2
    assert robust._miou(Confusion(2)) is None
