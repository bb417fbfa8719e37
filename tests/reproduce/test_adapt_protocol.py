"""Adaptation protocols: what is planned, what is measured, and what is never made twice."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from landweave.errors import ConfigError
from landweave.files import write_bytes
from landweave.metrics.align import alignment
from landweave.reproduce import protocol, protocols, run_protocol
from landweave.reproduce.adapt_measure import losses
from landweave.reproduce.adapt_plan import experiments, plan
from landweave.reproduce.adapt_work import AdaptJob, make
from landweave.reproduce.adaptation import Adaptation, SetRow, placed
from landweave.reproduce.table import Table
from landweave.reproduce.work import _alone
from landweave.run.evaluate import evaluate
from landweave.run.predict import open_run
from landweave.transforms.faults import SETS
from tests.reproduce import small
from tests.run.matrix_runs import store

TEXT = """kind: adapt
title: Small
datasets: {w: {data: {kind: pack, streams: ["s2-l2a:B02+B03+B04+B08"], task: scene}, label: class}}
teacher: {recipe: supervised, changes: [train.epochs=1, "method.head={kind: mlp}"]}
student: {recipe: adapt, changes: [train.epochs=2]}
presets: [petcu2024-names]
rows: [{bands: none}, {bands: B2}, {bands: B2 B8, changes: [student.train.epochs=1]}]
changes: [teacher.method.encoder.name=test_resnet, train.batch_size=8, train.accelerator=cpu, train.validate_every=1]
runs: 1
probe: {epochs: 3, draws: 2, batch_size: 8}
metrics: [{score: teacher_oa}, {score: student_oa}, {score: loss_test}]
"""


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.references.TREES", 5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("data") / "store")


def given(folder: Path, text: str = TEXT, name: str = "small") -> Adaptation:
    found = protocol(small.write(folder, text, name))
    assert isinstance(found, Adaptation)
    return found


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("landweave.run.references.TREES", 5)
        return folder, run_protocol(given(folder / "given"), {"w": data}, folder / "out", say=lambda _: None)


def lines(folder: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "out" / "runs.jsonl").read_text().splitlines()]
    return {row["row"]: row for row in rows}


# ---- shipped ones


def test_every_shipped_row_and_column_has_a_published_figure() -> None:
    shipped = {n: protocol(n) for n in protocols() if n.startswith("adapt/")}
    assert sorted(shipped) == [f"adapt/table-{t}" for t in ("4.1", "4.2", "4.3", "4.4", "a.3", "a.4", "a.5", "a.6")]
    for one in shipped.values():
        assert isinstance(one, Adaptation)
        printed = one.published
        assert printed is not None
        (source,) = one.datasets.values()
        assert {r.row for r in one.of_rows} == set(printed.rows(source.published))
        assert {m.published for m in one.metrics if m.published} == set(printed.columns)
        for scale in one.scales:
            assert len(list(experiments(one, {next(iter(one.datasets)): "DIR"}, scale, first=True))) == 2 * len(
                one.of_rows
            )


def test_the_papers_settings_reach_the_student() -> None:
    one = protocol("adapt/table-4.3")
    assert isinstance(one, Adaptation)
    found = {(preset, row.row): (t, s) for _, _, _, preset, row, t, s in experiments(one, {"eurosat": "DIR"}, "full")}
    teacher, student = found["petcu2024-positional", "B8 B9 B10 B11 B12"]
    fault = student.method.faults.faults[0].model_dump()
    assert fault["bands"] == SETS["petcu2024-positional"]["B8 B9 B10 B11 B12"] == ("B08", "B8A", "B09", "B10", "B11")
    assert (fault["at"], student.method.faults.complete) == ("model", 0)
    assert (student.train.epochs, student.train.batch_size, student.optim.lr) == (25, 64, 1e-4)
    assert found["petcu2024-names", "B8"][1].train.epochs == 15
    assert student.method.encoder == teacher.method.encoder
    assert student.method.encoder.fill == "scalar"
    assert student.classifier


def test_a_schedule_is_tested_at_the_share_that_is_said() -> None:
    one = protocol("adapt/table-a.5")
    assert isinstance(one, Adaptation)
    row = next(r for r in one.of_rows if r.row == "B8, gradual")
    (learned,) = one.faults("petcu2024-names", row).faults
    (tested,) = one.faults("petcu2024-names", row, tested=True).faults
    assert learned.model_dump()["ratio"]["end"] == 0.8
    assert one.faults("petcu2024-names", SetRow(bands="B8"), tested=True).faults == (tested,)
    assert not one.faults("petcu2024-names", SetRow(bands="none"))


# ---- a run of one


def test_figures_are_those_of_the_run_folders(made: tuple[Path, Table]) -> None:
    folder, table = made
    assert table.ok, table.failures
    rows = lines(folder)
    assert list(rows) == ["none", "B2", "B2 B8"]
    out = folder / "out"
    teacher = out / "stages" / rows["B2"]["stage"]
    student = out / rows["B2"]["folder"]
    assert {r["stage"] for r in rows.values()} == {rows["none"]["stage"]}  # one teacher a seed
    assert open_run(student).settings.start == str(teacher)
    given_ = given(folder / "again").faults("petcu2024-names", SetRow(bands="B2"), tested=True)
    for who, run in (("teacher", teacher), ("student", student)):
        scores = evaluate(run, faults=given_, fault_name="B2")["scores"]
        assert rows["B2"]["scores"][f"{who}_oa_drop_in"] == pytest.approx(scores["oa"])
        assert rows["B2"]["scores"][f"{who}_oa_complete"] == pytest.approx(evaluate(run)["scores"]["oa"])
    assert table.get("B2", "student_oa").mean == rows["B2"]["scores"]["student_oa"]
    trivial = evaluate(teacher)["references"]["majority class"]["scores"]["oa"]
    assert table.get("B2", "student_oa").trivial == pytest.approx(trivial)
    assert table.get("B2", "loss_test").trivial is None


def test_losses_are_read_from_the_students_log(made: tuple[Path, Table]) -> None:
    folder, _ = made
    row = lines(folder)["B2"]
    log = [json.loads(x) for x in (folder / "out" / row["folder"] / "metrics.jsonl").read_text().splitlines()]
    seen = [r["clip"] for r in log if r["split"] == "validation"]
    assert len(seen) == 2
    assert [row["scores"][k] for k in ("loss_first", "loss_middle", "loss_last")] == [seen[0], seen[0], seen[1]]


@pytest.mark.parametrize(("epochs", "middle"), [(15, 8), (25, 13), (1, 1), (2, 1)])
def test_the_middle_epoch_is_the_papers(epochs: int, middle: int, tmp_path: Path) -> None:
    rows = [{"epoch": e, "split": "validation", "clip": float(e + 1), "clip.floor": 0.1} for e in range(epochs)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert losses(tmp_path) == {"loss_first": 1, "loss_middle": middle, "loss_last": epochs}


def test_on_complete_images_the_student_is_the_teacher(made: tuple[Path, Table]) -> None:
    found = lines(made[0])["none"]["scores"]
    assert found["loss_test"] == found["floor"] == found["loss_first"]
    assert found["student_oa"] == found["teacher_oa"]
    assert found["gain_oa"] == 0
    assert found["cosine"] == pytest.approx(1)
    assert alignment([[1.0, 0.0]], [[1.0, 0.0]]).excess == 0


def test_nothing_is_made_twice_and_tables_share_their_lines(made: tuple[Path, Table], data: Path) -> None:
    folder, _ = made
    ledger = folder / "out" / "runs.jsonl"
    said: list[str] = []
    before = ledger.read_text()
    other = given(folder / "other", TEXT.replace("{score: loss_test}", "{score: cosine}"), "other")
    table = run_protocol(other, {"w": data}, folder / "out", say=said.append)
    assert ledger.read_text() == before
    assert "3 of them made already" in said[0]
    assert table.get("B2", "cosine").mean == lines(folder)["B2"]["scores"]["cosine"]


def test_another_probe_is_another_line_of_the_same_student(made: tuple[Path, Table], data: Path) -> None:
    folder, _ = made
    text = TEXT.replace("epochs: 3, draws", "epochs: 2, draws").replace("rows: [{bands: none}, ", "rows: [")
    before = lines(folder)["B2"]
    run_protocol(given(folder / "less", text), {"w": data}, folder / "out", say=lambda _: None)
    after = lines(folder)["B2"]
    assert after["fingerprint"] != before["fingerprint"]
    assert after["training"] == before["training"]
    assert after["seconds"]["student"] < before["seconds"]["student"] / 2


def test_rows_that_share_a_student_train_it_one_at_a_time(made: tuple[Path, Table], data: Path) -> None:
    folder, _ = made
    rows = "rows: [{bands: B8, tested: 0.3, name: a}, {bands: B8, tested: 0.6, name: b}]"
    text = TEXT.replace(next(x for x in TEXT.splitlines() if x.startswith("rows")), rows)
    first, second = plan(given(folder / "tested", text), {"w": str(data)}, "full")
    assert first.training == second.training
    assert first.fingerprint != second.fingerprint
    student = folder / "out" / first.folder
    with ThreadPoolExecutor() as pool:
        with _alone(student.with_suffix(".lock")):  # another worker trains it
            waiting = pool.submit(make, AdaptJob(folder / "out", "small", "full", (first,)))
            sleep(3)
            assert not student.exists()
        (line,) = waiting.result()
    log = (student / "metrics.jsonl").stat()
    (after,) = make(AdaptJob(folder / "out", "small", "full", (second,)))
    assert line["status"] == after["status"] == "ok"
    assert (student / "metrics.jsonl").stat() == log  # found finished


def test_a_student_that_fails_is_said_and_the_others_stand(made: tuple[Path, Table], data: Path) -> None:
    folder, _ = made
    text = TEXT.replace("student.train.epochs=1", "student.optim.lr=1e30")
    table = run_protocol(given(folder / "high", text), {"w": data}, folder / "out", say=lambda _: None)
    assert not table.ok
    ((run, error),) = table.failures
    assert "B2 B8" in run
    assert error
    assert table.get("B2", "student_oa").mean is not None


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT.replace("petcu2024-names", "petcu2024-nams"), "no `petcu2024-nams`, did you mean `petcu2024-names`"),
        (TEXT.replace("bands: B2 B8", "bands: B2 B9"), "no set `B2 B9`"),
        (TEXT.replace("bands: B2 B8,", "bands: B2,"), "rows of the same name: B2"),
        (TEXT.replace("teacher:", "techer:"), "did you mean `teacher`"),
        (TEXT.replace("kind: adapt\n", "kind: adopt\n"), "`adopt` is unknown, did you mean `adapt`"),
    ],
)
def test_a_fault_in_the_file_is_told(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        given(tmp_path, text)


def test_data_and_weights_that_are_not_there(data: Path, tmp_path: Path) -> None:
    one = given(tmp_path)
    with pytest.raises(ConfigError, match="no dataset is given"):
        placed(one, {})
    with pytest.raises(ConfigError, match="no dataset `v`"):
        placed(one, {"v": "DIR"})
    full = protocol("adapt/table-4.3")
    assert isinstance(full, Adaptation)
    assert placed(full, {"eurosat": "DIR", "satclip": "x.ckpt"}) == {"eurosat": "DIR", "satclip": "x.ckpt"}
    bands = given(tmp_path, TEXT.replace("bands: B2 B8", "bands: B2 B11"))
    with pytest.raises(ConfigError, match="has no B11 here"):
        run_protocol(bands, {"w": data}, tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out" / "stages").exists()


def test_supplied_weights_begin_every_teacher() -> None:
    one = protocol("adapt/table-4.3")
    assert isinstance(one, Adaptation)
    (_, _, _, _, _, teacher, student), *_ = experiments(one, {"eurosat": "DIR", "satclip": "x.ckpt"}, "full")
    assert teacher.start == "x.ckpt"
    assert teacher.method.model_dump()["freeze"] is True
    assert student.method.encoder.input == "physical"


def test_other_weights_of_the_same_name_and_size_are_another_teacher(data: Path, tmp_path: Path) -> None:
    one = given(tmp_path, TEXT + "weights: {theirs: {about: of a test}}\n")
    file = tmp_path / "theirs.safetensors"

    def stages(content: bytes) -> set[str]:
        write_bytes(file, content)
        return {p.stage.fingerprint for p in plan(one, {"w": str(data), "theirs": str(file)}, "full")}

    before, after = stages(b"before"), stages(b"after!")
    assert len(before) == len(after) == 1
    assert before != after
    assert stages(b"before") == before
    file.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        plan(one, {"w": str(data), "theirs": str(file)}, "full")
