"""Runs are made once, paired, scored beside trivial predictors, told apart by fingerprints; a kill costs little."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from landweave.errors import RunError
from landweave.reproduce import Table, protocol, run_protocol
from landweave.reproduce.ledger import Ledger, claimed
from landweave.reproduce.trivial import trivials
from tests.reproduce import small


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.store(tmp_path_factory.mktemp("world") / "w")


@pytest.fixture(scope="module")
def made(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Path, list[str]]:
    """The small protocol, made in this process without a break."""
    out = tmp_path_factory.mktemp("made")
    said: list[str] = []
    table = run_protocol(protocol(small.write(out / "p")), {"w": store}, out, say=said.append)
    return table, out, said


def rows(out: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    return {(r["row"], r["fraction"], r["run"]): r for r in lines}


def test_every_method_share_and_run_has_a_line(made: tuple[Table, Path, list[str]]) -> None:
    table, out, said = made
    assert table.ok
    assert set(rows(out)) == {
        (row, share, run) for row in ("plain", "radar alone", "probe") for share, run in ((0.5, 0), (0.5, 1), (1.0, 0))
    }
    for (row, share, run), line in rows(out).items():
        assert line["seed"] == run
        assert line["labelled"] == (11 if share == 0.5 else 23)  # of 24 training places one has no label
        assert (line["stage"] != "") == (row == "probe")
        assert not (out / line["folder"] / "state").exists()
    assert said[-1].startswith("[6/6]")  # one training serves `plain` and `radar alone`


def test_mean_deviation_and_pairs_are_those_of_the_lines(made: tuple[Table, Path, list[str]]) -> None:
    table, out, _ = made
    values = [rows(out)["plain", 0.5, run]["scores"]["macro_f1"] for run in (0, 1)]
    entry = table.get("plain", "macro_f1", fraction=0.5)
    assert entry.mean == pytest.approx(sum(values) / 2)
    assert entry.std == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    others = [rows(out)["probe", 0.5, run]["scores"]["macro_f1"] for run in (0, 1)]
    pair = table.pair("plain", "probe", "macro_f1", fraction=0.5)
    assert pair.difference == pytest.approx(sum(a - b for a, b in zip(values, others, strict=True)) / 2)
    assert table.pair("plain", "probe", "macro_f1", fraction=1.0).verdict == "too few runs"


def test_runs_of_one_number_share_labelled_places_and_stage(made: tuple[Table, Path, list[str]]) -> None:
    _, out, _ = made
    lines = rows(out)
    stages = {key: line["stage"] for key, line in lines.items() if key[0] == "probe"}
    assert stages["probe", 0.5, 0] == stages["probe", 1.0, 0] != stages["probe", 0.5, 1]
    assert len(list((out / "stages").glob("*/config.json"))) == 2

    def subset(row: str, run: int) -> list[int]:
        folder = out / lines[row, 0.5, run]["folder"]
        counts: list[int] = json.loads((folder / "config.json").read_text())["class_counts"]
        return counts

    assert subset("plain", 0) == subset("probe", 0)
    assert subset("plain", 1) == subset("probe", 1)


def test_one_training_scored_in_two_ways(made: tuple[Table, Path, list[str]]) -> None:
    _, out, _ = made
    both, radar = rows(out)["plain", 0.5, 0], rows(out)["radar alone", 0.5, 0]
    assert both["training"] == radar["training"]
    assert both["fingerprint"] != radar["fingerprint"]
    assert both["scores"]["brier"] != radar["scores"]["brier"]
    assert (radar["only"], radar["absent"]) == (["s1-rtc-gamma0"], "zero")


def test_trivial_predictors_follow_from_the_prevalence(made: tuple[Table, Path, list[str]]) -> None:
    table, out, _ = made
    line = rows(out)["plain", 1.0, 0]
    shares = [r["prevalence"] for r in line["per_class"] if r["prevalence"] is not None]
    never, always = line["trivial"]["no class anywhere"], line["trivial"]["every class everywhere"]
    assert never["scores"]["hamming"] == pytest.approx(sum(shares) / len(shares))
    assert never["scores"]["micro_f1"] in (0, None)
    present = [q for q in shares if q]
    assert always["scores"]["macro_f1"] == pytest.approx(sum(2 * q / (1 + q) for q in present) / len(present))
    entry = table.get("plain", "hamming", fraction=1.0)
    floor = min(t["scores"]["hamming"] for t in line["trivial"].values())
    assert entry.trivial == pytest.approx(floor)
    assert entry.mean is not None
    assert entry.skill == pytest.approx(1 - entry.mean / floor)


def test_trivial_predictors_answer_and_average_over_the_classes_that_count() -> None:
    rows = [{"name": n, "support": s, "prevalence": s / 10} for n, s in (("a", 0), ("b", 4), ("c", 6), ("d", 0))]
    classes = [{"name": r["name"], "trained": r["name"] != "d"} for r in rows]
    result = {"kind": "class", "classes": classes, "per_class": rows, "without": ["a"], "n_places": 10}
    most = trivials(result, [99, 5, 7, 0], 10)["most frequent class"]["scores"]
    assert most["oa"] == pytest.approx(0.6), "of c: a is more frequent in training, and counts nowhere"
    assert most["aa_fixed"] == pytest.approx((0 + 1) / 2), "of b and c"
    always = trivials({**result, "kind": "multilabel"}, [9, 5, 7, 0], 10)["every class everywhere"]["scores"]
    assert always["macro_recall_all"] == pytest.approx((1 + 1 + 0) / 3), "of b, c and d, which no place has"


def test_a_second_start_makes_nothing_again(made: tuple[Table, Path, list[str]], store: Path) -> None:
    table, out, _ = made
    before = (out / "runs.jsonl").read_bytes()
    said: list[str] = []
    again = run_protocol(table.protocol, {"w": store}, out, say=said.append)
    assert (out / "runs.jsonl").read_bytes() == before
    assert said == ["small, scale full: 9 runs, 9 of them made already"]
    assert again.entries == table.entries


def test_another_recipe_is_another_run_and_neutral_keys_are_not(
    made: tuple[Table, Path, list[str]], store: Path, tmp_path: Path
) -> None:
    import shutil

    table, out, _ = made
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    one = replace_rows(table.protocol, ("plain",), (1.0,))
    neutral = one.model_copy(update={"changes": (*one.changes, "train.workers=0", "train.accelerator=auto")})
    said: list[str] = []
    run_protocol(neutral, {"w": store}, copy, say=said.append)
    assert said == ["small, scale full: 1 runs, 1 of them made already"]
    said.clear()
    changed = one.model_copy(update={"changes": (*one.changes, "optim.lr=2e-3")})
    assert run_protocol(changed, {"w": store}, copy, say=said.append).ok
    assert said[0] == "1 finished runs stay in runs.jsonl unused: of another fingerprint (recipe)"
    assert said[1].startswith("[1/1]")
    assert len((copy / "runs.jsonl").read_text().splitlines()) == 10


def replace_rows(one: Any, names: tuple[str, ...], fractions: tuple[float, ...]) -> Any:
    kept = tuple(r for r in one.rows if r.name in names)
    return one.model_copy(update={"rows": kept, "fractions": fractions, "compare": ()})


def test_packed_first_or_not_the_scores_are_the_same(store: Path, tmp_path: Path) -> None:
    scales = {name: {"pack": name == "packed", "changes": ("data.coarsen=2",)} for name in ("packed", "plain")}
    one = small.built(scales=scales)
    found = [run_protocol(one, {"w": store}, tmp_path / s, scale=s, say=lambda _: None) for s in scales]
    assert (tmp_path / "packed" / "stores").is_dir()
    assert not (tmp_path / "plain" / "stores").exists()
    assert found[0].entries == found[1].entries
    marks = [rows(tmp_path / s)["plain", 1.0, 0]["fingerprint"] for s in scales]
    assert marks[0] == marks[1]


def test_a_failed_run_is_said_and_the_rest_goes_on(store: Path, tmp_path: Path) -> None:
    bad = {"name": "bad", "recipe": "supervised", "changes": ("optim.lr=1e30", "optim.clip=0", "train.epochs=3")}
    one = small.built(rows=(bad, {"name": "plain", "recipe": "supervised"}))
    said: list[str] = []
    table = run_protocol(one, {"w": store}, tmp_path, say=said.append)
    assert not table.ok
    ((run, error),) = table.failures
    assert run == "w, bad, 100 % of the labels, run 0"
    assert "loss is" in error
    assert "FAILED" in said[0]
    assert table.get("plain", "macro_f1").mean is not None
    again: list[str] = []
    assert not run_protocol(one, {"w": store}, tmp_path, say=again.append).ok
    assert [line for line in again if line.startswith("[1/1]")]  # the failed one is tried again, the other is not


def test_killed_half_way_it_goes_on_to_the_same_scores(
    made: tuple[Table, Path, list[str]], store: Path, tmp_path: Path
) -> None:
    """SIGKILL after the first line; the same command then gives, run by run, what an unbroken one gave."""
    table, _, _ = made
    file, out = small.write(tmp_path / "p"), tmp_path / "out"
    command = [sys.executable, "-m", "landweave", "reproduce", str(file), "--data", f"w={store}", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (out / "runs.jsonl").is_file() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (out / "runs.jsonl").read_bytes()
    lines = len(first.splitlines())
    assert 1 <= lines < 9
    with (out / "runs.jsonl").open("ab") as torn:
        torn.write(b'{"protocol": "sm')  # a write that the kill cut short
    again = run_protocol(protocol(file), {"w": store}, out, say=lambda _: None)
    assert (out / "runs.jsonl").read_bytes().startswith(first)
    assert len(rows(out)) == 9
    assert [replace(e, values=dict(e.values)) for e in again.entries] == list(table.entries)


def test_two_processes_in_one_folder_are_refused(tmp_path: Path, store: Path) -> None:
    with claimed(tmp_path), pytest.raises(RunError, match="another `landweave reproduce`"):
        run_protocol(small.built(), {"w": store}, tmp_path)


def test_a_strange_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(RunError, match=r"runs\.jsonl:1"):
        Ledger(tmp_path)
    assert os.listdir(tmp_path) == ["runs.jsonl"]
