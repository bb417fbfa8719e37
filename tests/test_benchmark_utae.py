"""The benchmark of U-TAE: both sides give the same, and its rows and page say what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import show, utae


def test_both_sides_give_the_same_maps_and_gradients() -> None:
    net = utae.network().double().eval()  # fixed statistics: what is compared is one function
    x, days, seen = utae.series([3, 2, 2, 1], 3)
    inputs = (x.double(), days, seen)
    assert utae.difference(net, (x, days, seen)) < 1e-9
    gradients = []
    for side in (utae.published, utae.ours):
        maps = utae.step(net, side, inputs)
        assert len(maps) == 4
        gradients.append({n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == dict(net.named_parameters()).keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-5, atol=1e-12)


def test_the_peer_runs_each_block_of_dates_twice_and_ours_once() -> None:
    """Weakness 21 of the spec."""
    net = utae.network()
    rows: list[int] = []
    net.down[1].register_forward_hook(lambda _, x, __: rows.append(len(x[0])))
    inputs = utae.series([5, 3, 2, 1], 5)
    utae.published(net, *inputs)
    assert rows == [20, 11]
    rows.clear()
    utae.ours(net, *inputs)
    assert rows == [11]


def test_the_command_writes_what_the_page_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = list(utae.compare(1, dates=2))
    assert [r.work for r in small] == list(utae.SEEN) == list(utae.LIMITS)
    assert all(r.figure > 0 and r.ours > 0 and r.reached == (r.times_less >= r.limit) for r in small)
    monkeypatch.setattr(utae, "compare", lambda rounds: iter(small))
    path = tmp_path / "utae.json"
    assert utae.main(["--json", str(path), "--rounds", "1"]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == len(capsys.readouterr().out.splitlines()) == 2
    assert "| padded | CPU seconds | published blocks |" in show._plain(rows)


def test_the_committed_figures_reach_their_limits() -> None:
    rows = json.loads((show.HERE / "utae.json").read_text())["rows"]
    assert {r["work"]: r["limit"] for r in rows} == utae.LIMITS
    assert all(r["reached"] and r["times_less"] >= r["limit"] for r in rows)
