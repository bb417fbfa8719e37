"""What a run learned from: places that must not be scored as others, and classes that no label in use had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landweave.data.dataset import Place
from landweave.errors import RunError
from landweave.run.evaluate import evaluate, reopen
from landweave.run.evaluate_text import table as lines
from landweave.run.learned import FILE, learned_among, write_learned
from landweave.run.matrix import matrix
from landweave.run.predict import open_run
from tests.cli.places import call, load_rows, save_rows
from tests.run.scenes import ALONE, words, write_scenes


def places(n: int, *, lon: float | None = 10.0) -> list[Place]:
    return [Place(f"p{i}", lon=lon, lat=50 + i / 10) for i in range(n)]


def test_places_are_known_by_name_and_position(tmp_path: Path) -> None:
    write_learned(tmp_path, places(5))
    assert learned_among(tmp_path, places(8)[3:]) == 2
    assert learned_among(tmp_path, [replace(p, lon=10.0002) for p in places(5)]) == 5  # another version of PROJ
    assert learned_among(tmp_path, [replace(p, lon=11.0) for p in places(5)]) == 0  # another table's places
    write_learned(tmp_path, places(3, lon=None))
    assert learned_among(tmp_path, places(3, lon=None)) == 3
    assert learned_among(tmp_path, []) == 0


def test_a_run_of_before_tells_nothing_and_a_damaged_note_is_refused(tmp_path: Path) -> None:
    assert learned_among(tmp_path, places(2)) == 0
    (tmp_path / FILE).write_bytes(b"no array")
    with pytest.raises(RunError, match="damaged"):
        learned_among(tmp_path, places(2))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    call(*words("supervised", table, out, tiny=ALONE))
    return out


def test_places_that_were_learned_from_are_told_where_data_were_split_anew(table: Path, run: Path) -> None:
    assert evaluate(run)["learned_from"] == 0
    assert evaluate(run, split="train")["learned_from"] == 0  # it is asked for
    rows = load_rows(table)
    turned = {"train": "test", "test": "train"}
    save_rows(table, [{**r, "split": turned.get(r["split"], r["split"])} for r in rows])
    try:
        result = evaluate(run)
        scored = len(reopen(open_run(run), "test").scored)
        assert result["learned_from"] == scored == result["n_places"]
        assert f"caution: the run learned from {scored} of these places" in "\n".join(lines(result))
        with pytest.raises(RunError, match=f"learned from {scored} of the {scored} places of the split test"):
            matrix([run], [], probe=None)
    finally:
        save_rows(table, rows)
        evaluate(run)


def test_classes_that_no_label_in_use_had_count_as_wrong(table: Path, tmp_path: Path) -> None:
    """Of one labelled place the one class is always right; the other classes of the split are there all the same."""
    folder = tmp_path / "few"
    call(*words("supervised", table, folder, "data.fraction=0.001", tiny=ALONE))
    opened, result = open_run(folder), evaluate(folder)
    present = [c["name"] for c in result["classes"] if c["support"]]
    assert len(opened.trained_classes) < len(opened.met_of(opened.task))
    assert [c["name"] for c in result["classes"] if c["trained"]] == [
        opened.legend.names[k] for k in opened.met_of(opened.task)
    ]
    known = {opened.legend.names[k] for k in opened.trained_classes}
    lacking = [name for name in present if name not in known]
    assert lacking
    assert f"counted as wrong: {', '.join(lacking)}" in "\n".join(lines(result))
    rows = [r for r in result["per_class"] if r["name"] in lacking]
    assert all(r["recall"] == 0 for r in rows)
    assert np.isfinite([v for v in result["scores"].values() if v is not None]).all()
