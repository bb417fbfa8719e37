"""A training in a process of its own: killed, resumed, repeated; on two processes: tests/run/test_sequence.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.cli.places import TINY, call, write_table

EPOCHS = 4


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("places"))


def words(table: Path, out: Path, *changes: str) -> list[str]:
    data = ["data.kind=table", f"data.path={table}"]
    return ["train", "segment", *data, *TINY, f"train.epochs={EPOCHS}", *changes, "--out", str(out)]


def rows(run_folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    call(*words(table, out))
    return out


def same(a: Path, b: Path) -> None:
    x, y = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert x.keys() == y.keys()
    for name in x:
        assert (x[name] == y[name]).all(), name
    assert rows(a) == rows(b)
    one, two = (json.loads((f / "config.json").read_text()) for f in (a, b))
    assert one == two


def test_a_run_folder_holds_what_it_promises_and_no_pickle(whole: Path) -> None:
    files = {p.name for p in whole.iterdir()}
    assert {"experiment.yaml", "versions.json", "metrics.jsonl", "model.safetensors", "config.json"} <= files
    config = json.loads((whole / "config.json").read_text())
    assert config["legend"]["classes"]["4"]["name"] == "built area"
    assert config["contract"]["s2-l2a"]["bands"] == ["B02", "B03", "B04", "B08"]
    assert config["contract"]["s1-rtc-gamma0"]["unit"] == "dB"
    assert sum(config["class_counts"]) == 40 * 32 * 32, "40 training places, all pixels labelled"
    for path in whole.rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:4]
            assert not head.startswith(b"\x80"), f"{path} is a pickle"
            assert not head.startswith(b"PK"), f"{path} is a zip, as torch.save writes"


def test_it_learns(whole: Path) -> None:
    found = rows(whole)
    assert found[-1]["split"] == "validation"
    assert found[-1]["miou_existing"] > 0.5
    assert found[-1]["epoch"] == EPOCHS - 1


def test_the_kept_yaml_repeats_the_run(whole: Path, tmp_path: Path) -> None:
    call("train", whole / "experiment.yaml", "--out", tmp_path / "again")
    same(whole, tmp_path / "again")


def test_a_finished_run_is_not_done_again(whole: Path, table: Path) -> None:
    before = (whole / "config.json").stat().st_mtime_ns
    assert "finished already" in call(*words(table, whole))
    assert (whole / "config.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("moment", ["first epoch", "later epoch"])
def test_kill_9_and_the_same_command_end_as_if_nothing_had_happened(
    table: Path, whole: Path, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "landweave", *words(table, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    sign = out / ("contract.json" if moment == "first epoch" else "state")
    until = time.monotonic() + 120
    while not sign.exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.01)
    if moment == "later epoch":
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "config.json").exists(), "it had finished already"
    text = call(*words(table, out))
    if moment == "later epoch":
        assert "going on from the training state" in text
    same(whole, out)
