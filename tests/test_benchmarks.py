"""The comparison with other libraries: it compares like with like, and says what it did not run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import losses as command
from benchmarks import measure, show
from benchmarks.works import CPU, MEMORY, OURS, WORKS, Limit, Peer


@pytest.mark.parametrize(("work", "peer"), [(w, p) for w, work in WORKS.items() for p in work.peers])
def test_a_peer_computes_the_same_loss_and_gradient(work: str, peer: str) -> None:
    inputs = WORKS[work].inputs(64, torch.device("cpu"))
    values, gradients = [], []
    for loss in (WORKS[work].ours, WORKS[work].peers[peer].make()):
        values.append(measure.one_pass(loss, inputs))
        gradients.append({k: x.grad.clone() for k, x in inputs.items() if x.grad is not None})
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=0)
    assert gradients[0].keys() == gradients[1].keys() != set()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-7)


def test_plain_torch_stands_for_a_library_that_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import works

    monkeypatch.setattr(works, "find_spec", lambda name: None)
    ((name, peer),) = works._nt_xent_peers().items()
    assert name == "torch, as lightly computes it"
    inputs = works.two_views(64, torch.device("cpu"))
    torch.testing.assert_close(peer.make()(inputs), WORKS["nt_xent"].ours(inputs))


def test_memory_is_that_beyond_the_inputs() -> None:
    cpu = torch.device("cpu")
    here = torch.ones(2_000_000)
    peak = measure.peak_of(cpu)
    there = torch.ones(10_000_000)  # 40 MB
    del there
    assert 38 < peak() < 60
    assert here.sum() == 2_000_000


def test_the_command_prints_and_writes_every_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "in_own_process", measure.measure)  # the same, without starting Python four times
    path = tmp_path / "losses.json"
    assert command.main(["--rows", "256,512", "--works", "clip", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert [(r["rows"], r["what"]) for r in found["rows"]] == [(n, w) for n in (256, 512) for w in (CPU, MEMORY)]
    assert all(r["ours"] > 0 for r in found["rows"])
    seconds = found["rows"][0]
    assert seconds["times_less"] > 0
    assert seconds["note"].startswith("losses differ by")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "x less" in lines[0]
    assert set(found["machine"]) >= {"processor", "python", "torch"}


def test_a_process_of_its_own_needs_torch_and_numpy_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ("pydantic", "jaxtyping", "rasterio", "lightning", "timm", "lightly", "pytorch_metric_learning", "yaml")
    block = f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
    (tmp_path / "sitecustomize.py").write_text(block + "sys.blocked = True\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = subprocess.run([sys.executable, "-c", "import sys; print(sys.blocked)"], capture_output=True, text=True)
    assert told.stdout == "True\n"
    found = measure.in_own_process(measure.Task("nt_xent", 300, (OURS,), "cpu", memory=True))
    assert found["MB"] > 0
    assert found["seconds"][OURS][0] > 0


def test_a_peer_that_would_not_fit_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "free_bytes", lambda device: 10e9)
    square, cube = Peer(lambda: sum), Peer(lambda: sum, power=3)  # type: ignore[arg-type]
    assert command._too_large(square, 2048, (1024, 1e9), "cpu") == ""
    assert "16 GB of 10 GB free" in command._too_large(square, 4096, (1024, 1e9), "cpu")
    assert "8 GB" in command._too_large(cube, 2048, (1024, 1e9), "cpu")
    assert command._too_large(cube, 2048, None, "cpu") == ""
    ours = {"seconds": {OURS: [2.0]}, "MB": 30.0}
    rows = list(command._ours_alone("nt_xent", WORKS["nt_xent"], 65536, ours, "lightly", "not started: too large"))
    assert [(r.figure, r.ours, r.times_less) for r in rows] == [(None, 2.0, None), (None, 30.0, None)]
    assert rows[0].note == "not started: too large"
    assert (rows[1].limit, rows[1].reached) == ("at most 200 MB", True)


def test_a_limit_can_be_missed() -> None:
    less, most = Limit(8192, CPU, "x", times_less=5), Limit(8192, MEMORY, at_most=200)
    assert command._judge(less, 1.0, 5.1) == ("5 times less", True)
    assert command._judge(less, 1.0, 4.9) == ("5 times less", False)
    assert command._judge(less, 1.0, None)[1] is None
    assert command._judge(most, 201.0, None) == ("at most 200 MB", False)


def test_the_page_prints_the_committed_figures() -> None:
    assert show.PAGE.read_text() == show.page()
    rows = json.loads((show.HERE / "losses.json").read_text())["rows"]
    assert {"nt_xent", "mul_sup_con"} <= {r["work"] for r in rows}
    for name in {r["work"] for r in rows}:
        for limit in WORKS[name].limits:
            told = [r for r in rows if (r["work"], r["rows"], r["what"]) == (name, limit.rows, limit.what)]
            assert any(r["limit"] and r["reached"] for r in told), (name, limit)


def test_refuses_an_unknown_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--works", "nt_xnet"])
    assert "no work nt_xnet; there are nt_xent" in capsys.readouterr().err
