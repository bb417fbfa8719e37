"""Paired differences against scipy's own test and by hand, Holm's correction, and the pool of workers."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from landweave.reproduce import pool
from landweave.reproduce.paired import Pair, deviation, difference, with_holm
from landweave.reproduce.render import _paired
from landweave.reproduce.table import Column, Table
from tests.reproduce import small
from tests.reproduce.jobs import answer

ROOT = Path(__file__).parents[2]


def test_interval_and_p_are_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.6, 0.1, 10), rng.normal(0.55, 0.1, 10)
    found = difference(dict(enumerate(a)), dict(enumerate(b)))
    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    assert (found["low"], found["high"], found["p"]) == pytest.approx((low, high, test.pvalue))
    assert found["difference"] == pytest.approx((a - b).mean())


def test_only_common_runs_count() -> None:
    found = difference({0: 0.5, 1: 0.7, 3: 0.9}, {0: 0.4, 1: 0.4, 2: 0.0})
    assert found["n"] == 2
    assert found["difference"] == pytest.approx(0.2)
    assert difference({0: 1.0}, {1: 1.0})["n"] == 0


def test_equal_differences_and_single_runs() -> None:
    """One difference in all runs tells no spread: it proves as little as a single run."""
    flat = difference({0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.5})
    assert flat["difference"] == pytest.approx(0.1)
    assert [flat[k] for k in ("low", "high", "p")] == [None] * 3
    assert difference({0: 0.5, 1: 0.7}, {0: 0.5, 1: 0.7}) == {"n": 2, "difference": 0, "low": 0, "high": 0, "p": 1}
    assert difference({0: 0.5}, {0: 0.4})["low"] is None


def test_equal_differences_are_not_claimed_and_the_table_says_why() -> None:
    column = Column("macro_f1")
    found = Pair("w", 1.0, column.key, "a", "b", **difference({0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.5}))
    table = Table(small.built(), "full", (column,), (), (), (found,), (), 0)
    section = next(_paired(table, "w"))
    assert section.rows[0][3:] == ("2", "+0.100", "-", "too few runs", "-")
    assert "the same difference in all" in section.notes[-1]


def pair(low: float | None, high: float | None, p: float | None = None) -> Pair:
    return Pair("d", 0.1, "m", "a", "b", 3, 0.0, low, high, p)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "higher"), (-0.2, -0.1, "lower"), (-0.1, 0.1, "not distinguishable"), (0, 0.1, "not distinguishable")],
)
def test_the_interval_decides(low: float, high: float, verdict: str) -> None:
    assert pair(low, high).verdict == verdict
    assert pair(None, None).verdict == "too few runs"


def test_holm_by_hand() -> None:
    found = with_holm([pair(0, 0, p) for p in (0.04, 0.01, 0.03, None)])
    assert [f.holm for f in found] == [pytest.approx(0.06), pytest.approx(0.03), pytest.approx(0.06), None]


def test_deviation_is_the_sample_one() -> None:
    assert deviation([1.0, 2.0, 4.0]) == pytest.approx(float(np.std([1, 2, 4], ddof=1)))
    assert math.isnan(deviation([1.0]))


# ---- workers


def test_workers_have_their_threads_and_one_that_dies_is_replaced() -> None:
    found = dict(pool.over(range(6), answer, 2, threads=3))
    dead = found.pop(3)
    assert isinstance(dead, pool.Died)
    assert "signal 9" in dead.why
    assert found == {job: (job * job, "3") for job in (0, 1, 2, 4, 5)}


SLEEPERS = """
import os, sys, time
from pathlib import Path
from landweave.reproduce import pool

def sleep(job):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(pool.over([1, 2], sleep, 2))
"""


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    script, pids = tmp_path / "sleepers.py", tmp_path / "pids"
    script.write_text(SLEEPERS)
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(pids)], cwd=ROOT)
    deadline = time.monotonic() + 120
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = [int(p.name) for p in pids.iterdir()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
