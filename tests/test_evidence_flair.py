"""What is said of the record of `make evidence NAME=flair`."""

from __future__ import annotations

from typing import Any

from evidence import show_flair


def run(seconds: float, **tasks: tuple[float, float]) -> dict[str, Any]:
    """A configuration at one seed: task -> mIoU of the run and of the majority class."""
    return {
        "seconds": seconds,
        "cpu_seconds": seconds / 2,
        "test": {task: {"miou_paper": ours} for task, (ours, _) in tasks.items()},
        "majority class": {task: {"miou_paper": trivial} for task, (_, trivial) in tasks.items()},
    }


def test_a_run_of_two_tasks_is_told_by_both() -> None:
    first, second = run(10, cosia=(0.2, 0.1), lpis=(0.4, 0.3)), run(20, cosia=(0.4, 0.1), lpis=(0.4, 0.3))
    told = show_flair.smoke([{"both": first}, {"both": second}])
    assert "both cosia 0.300 ± 0.141 (majority class 0.100), lpis 0.400 ± 0.000 (majority class 0.300), 20 s" in told
    assert "(2 seeds)" in told


def test_a_run_of_one_task_is_told_by_its_own_name() -> None:
    told = show_flair.smoke([{"lc-a": run(10, cosia=(0.2, 0.1))}])
    assert "lc-a 0.200 (majority class 0.100), 10 s, 5 s of CPU (1 seed)" in told


def test_years_are_told_where_both_were_asked() -> None:
    rows = {"the same years": {"accuracy": 0.8}, "a later year": {"accuracy": 0.6}}
    told = show_flair.years([{**rows, "departments": ["D017", "D080"]}])
    assert told.startswith("in D017, D080, ")
    assert "the same years 0.800, a later year 0.600" in told
