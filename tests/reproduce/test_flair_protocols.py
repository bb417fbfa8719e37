"""FLAIR-HUB's tables as protocols: every printed figure has its cell, rows share trainings, folds are summed up."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from landweave.errors import ConfigError
from landweave.legends import LEGENDS
from landweave.reproduce import protocol, protocols
from landweave.reproduce.config import Protocol
from landweave.reproduce.fingerprint import recipe_mark
from landweave.reproduce.listing import offer
from landweave.reproduce.plan import Planned, experiments, section
from landweave.reproduce.render import lines, sections
from landweave.reproduce.shown import Source
from landweave.reproduce.table import Column, Table, columns_of, table_of
from tests.nn.test_flair_parameters import DECODERS, GRID
from tests.reproduce import small

NAMES = tuple(n for n in protocols() if n.startswith("flair/"))
SIZES = {"params_millions", "best_epoch", "classes", "classes_removed", "supervision_pixels_e9"}
"""Printed columns that are no scores; see tests of the networks and the audit."""
OTHERS = {"U-Net, FLAIR #1", "U-T&T, FLAIR #2"}
"""Printed rows that are of other papers' models."""


def given(name: str) -> Protocol:
    one = protocol(name)
    assert isinstance(one, Protocol)
    return one


def made(name: str, scale: str) -> dict[str, Any]:
    found = experiments(given(name), {"flair-hub": "DIR"}, scale, first=True)
    return {row.name: pair["main"] for *_, row, pair in found}


def test_all_tables_are_there() -> None:
    numbers = {9, 10, 11, 12, 13, 14, 15, 16, 17, 18}
    assert set(NAMES) == {f"flair/table-{n}" for n in numbers} | {"flair/table-12-folds"}


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_every_scale_is_a_valid_experiment(name: str) -> None:
    for scale in ("full", "smoke"):
        found = made(name, scale)
        assert list(found) == [row.name for row in given(name).rows]
        for one in found.values():
            assert (one.data.kind, one.data.path, one.data.fraction, one.seed) == ("flair-hub", "DIR", 1.0, 0)
            assert one.train.epochs == (150 if scale == "full" else 2)


@pytest.mark.parametrize("name", NAMES)
def test_every_published_figure_has_its_cell(name: str) -> None:
    """No row or column of a published table is left without a run or a score, by a slip in a name say."""
    one = given(name)
    printed = one.published
    assert printed is not None
    rows = {row.published or row.name for row in one.rows} | ({"average"} if one.folds else set())
    columns = [c.published for c in columns_of(one, [])]
    found = {id(cell) for row in rows for c in columns if (cell := printed.get("FLAIR-HUB", row, c)) is not None}
    lacking = {(row, column) for (_, row, column), cell in printed.cells.items() if id(cell) not in found}
    assert {(row, column) for row, column in lacking if column not in SIZES and row not in OTHERS} == set()


@pytest.mark.parametrize("name", [n for n in NAMES if given(n).per_class])
def test_classes_are_those_of_the_legend_in_its_order(name: str) -> None:
    one = given(name)
    legend = LEGENDS["lpis-1" if "mixed crops" in one.classes else "cosia-15"]
    assert list(one.classes) == [n for n in legend.names if n in one.classes]
    assert set(legend.names) - set(one.classes) <= {"rice", "other oilseed crops"}


def test_tables_share_their_trainings() -> None:
    """LC-A is Swin-B with UPerNet; LC-F is the row with branches; the first fold is the official split."""
    marks = {name: {row: recipe_mark(e) for row, e in made(name, "full").items()} for name in NAMES}
    first = marks["flair/table-10"]
    assert marks["flair/table-11"] == first
    assert marks["flair/table-9"]["Swin-Base + UPerNet"] == first["LC-A"]
    assert marks["flair/table-12"]["auxiliary losses"] == first["LC-F"]
    assert marks["flair/table-12"]["plain"] == marks["flair/table-12-folds"]["split_1"]
    assert marks["flair/table-18"]["LC-L alone"] == first["LC-L"]
    assert set(marks["flair/table-13"].values()) == {first["LC-L"]}, "scored elsewhere, on fewer classes"
    crops = marks["flair/table-14"]
    assert marks["flair/table-15"].items() <= crops.items()
    assert set(marks["flair/table-16"].values()) == {crops["LPIS-I"]}
    assert marks["flair/table-17"]["split_1"] == marks["flair/table-18"]["LPIS-I alone"] == crops["LPIS-I"]
    for name in ("flair/table-9", "flair/table-10", "flair/table-12", "flair/table-14", "flair/table-17"):
        assert len(set(marks[name].values())) == len(marks[name]), f"{name} has a row twice"


def test_what_the_rows_differ_in() -> None:
    folds = made("flair/table-17", "full")
    assert [e.data.splits for e in folds.values()] == ["flairhub", "2", "3", "4", "5"]
    levels = made("flair/table-14", "full")
    assert [levels[f"LPIS-I{more}"].data.task for more in ("", ", level 2", ", level 3")] == [
        "lpis-1",
        "lpis-2",
        "lpis-3",
    ]
    dates = made("flair/table-12", "full")
    assert {name: e.data.average for name, e in dates.items() if e.data.average != "none"} == {
        "monthly averages": "monthly"
    }
    together = made("flair/table-18", "full")
    assert {name: list(e.method.tasks) for name, e in together.items()} == {
        "LC-L alone": [],
        "LPIS-I alone": [],
        "LC-L together": ["lpis-1"],
        "LPIS-I together": ["lpis-1"],
    }
    assert len(made("flair/table-10", "full")["LC-ALL"].data.choices) == 7


def test_encoders_and_decoders_are_those_whose_weights_are_as_many_as_printed() -> None:
    """`test_flair_parameters.py` counts them; here the rows name the same ones."""
    for name, one in made("flair/table-9", "full").items():
        encoder, decoder = name.split(" + ")
        assert one.method.encoder.name == GRID[encoder]
        assert type(one.method.decoder) is type(DECODERS[decoder])
        assert one.method.decoder == DECODERS[decoder]


def test_the_list_tells_what_they_cost() -> None:
    found = {name: offer(given(name)) for name in ("flair/table-9", "flair/table-10", "flair/table-16")}
    assert found["flair/table-10"].runs == {"full": 13, "smoke": 13}
    assert found["flair/table-16"].runs["full"] == 1, "one training, scored twice"
    assert found["flair/table-9"].passes == pytest.approx(152225 * 150 * 19)


def test_a_pack_is_refused_where_rows_read_the_data_each_in_its_own_way(tmp_path: Path) -> None:
    for name in ("data.mdb", "manifest.json"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="a pack has one split"):
        section(Source(data={"kind": "flair-hub"}, of_recipe=True), str(tmp_path))
    assert section(Source(data={"kind": "flair-hub"}), str(tmp_path))["kind"] == "pack"


# ---- tables of made results


def planned(one: Protocol, name: str) -> list[Planned]:
    return [
        Planned(
            "w", row.name, 1.0, 0, experiment=None, only=(), absent="mean",  # type: ignore[arg-type]
            split=row.split or one.split, scored=row.scored, without=row.without, marks={}, training=name,
            printed_row=row.published or row.name, stage=None, fingerprint=f"{name} {row.name}",
        )
        for row in one.rows
    ]  # fmt: skip


def line(
    task: str, values: dict[str, float], trivial: float, *, split: str = "test", tasks: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "status": "ok",
        "task": task,
        "split": split,
        "marks": {"data": split},
        "scores": values,
        "per_class": [],
        "trivial": {"most frequent class": {"scores": dict.fromkeys(values, trivial), "per_class": []}},
        "tasks": tasks or {},
    }


def of(values: list[float], **changes: Any) -> Table:
    """A table of one score of as many rows."""
    rows = tuple({"name": f"row {i}", "recipe": "supervised"} for i in range(len(values)))
    one = small.built(rows=rows, metrics=({"score": "oa"},), **changes)
    results = {p.fingerprint: line("t", {"oa": v}, 0.1 * (i + 1), split=str(i)) for i, (p, v) in
               enumerate(zip(planned(one, "x"), values, strict=True))}  # fmt: skip
    return table_of(one, "full", planned(one, "x"), results)


def test_folds_are_summed_up_with_the_deviation_of_a_population() -> None:
    values = [0.643, 0.674, 0.669, 0.691, 0.662]
    found = of(values, folds=True).get("average", "oa")
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.std == pytest.approx(statistics.pstdev(values))
    assert [round(100 * (v or 0), 1) for v in (found.mean, found.std)] == [66.8, 1.6], "as table XII prints them"
    told = "\n".join(lines(of(values, folds=True)))
    assert "average: over the rows, ± the deviation of a population" in told
    with pytest.raises(KeyError):
        of(values).get("average", "oa")


def test_the_published_average_of_folds_stands_beside_ours() -> None:
    one = given("flair/table-12-folds")
    slots = [replace(p, dataset="flair-hub") for p in planned(one, "f")]
    results = {p.fingerprint: line("cosia", {"miou_paper": 0.5 + 0.01 * i}, 0.1) for i, p in enumerate(slots)}
    found = table_of(one, "full", slots, results)
    cell = found.get("average", "miou_paper")
    assert [cell.published, cell.published_std] == pytest.approx([0.668, 0.016])
    assert found.get("split_4", "miou_paper").published == pytest.approx(0.691)
    (shown,) = [s for s in sections(found) if "by class" in s.title]
    assert shown.header[-1] == "average"
    assert next(r for r in shown.rows if r[0] == "mean IoU")[-1] == "52.0 ± 1.4 (66.8 ± 1.6)"


def test_rows_with_other_truths_have_trivial_figures_of_their_own() -> None:
    found = of([0.5, 0.6, 0.7])
    assert [found.get(f"row {i}", "oa").trivial for i in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    told = "\n".join(lines(found))
    assert "(most frequent class: row 1)" in told


def test_a_score_may_be_of_a_task() -> None:
    further = {
        "scores": {"oa": 0.4},
        "per_class": [],
        "trivial": {"most frequent class": {"scores": {"oa": 0.2}, "per_class": []}},
    }
    both = line("cosia", {"oa": 0.7}, 0.3, tasks={"lpis-1": further})
    crops = line("lpis-1", {"oa": 0.5}, 0.25)
    first, second = Column("cosia.oa"), Column("lpis-1.oa")
    assert [first.of_run(r) for r in (both, crops)] == [0.7, None]
    assert [second.of_run(r) for r in (both, crops)] == [0.4, 0.5]
    assert Column("oa").of_run(both) == 0.7
    assert second.title == "lpis-1 overall accuracy"
    one = small.built(
        rows=({"name": "both", "recipe": "supervised"}, {"name": "crops", "recipe": "supervised"}),
        metrics=({"score": "cosia.oa"}, {"score": "lpis-1.oa"}),
    )
    slots = planned(one, "t")
    table = table_of(one, "full", slots, {slots[0].fingerprint: both, slots[1].fingerprint: crops})
    assert table.get("both", "lpis-1.oa").trivial == 0.2
    assert table.get("crops", "lpis-1.oa").trivial == 0.25
    assert table.get("crops", "cosia.oa").mean is table.get("crops", "cosia.oa").trivial is None


def test_rows_of_one_training_are_told_apart_by_how_they_are_scored() -> None:
    rows = given("flair/table-13").rows
    assert [r.scored for r in rows] == [("data.challenge_test=1",), ("data.challenge_test=2",)]
    assert set(LEGENDS["cosia-15"].names) - set(rows[0].without) == set(LEGENDS["cosia-12"].names)
    one = small.built(
        rows=tuple({"name": n, "recipe": "supervised", "scored": [f"data.fraction={n}"]} for n in ("0.5", "0.25")),
        metrics=({"score": "oa"},),
    )
    slots = planned(one, "x")
    results = {p.fingerprint: line("t", {"oa": 0.5}, v) for p, v in zip(slots, (0.02, 0.06), strict=True)}
    table = table_of(one, "full", slots, results)
    assert [table.get(n, "oa").trivial for n in ("0.5", "0.25")] == [0.02, 0.06], "each beside its own test set"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"split": "tset"}, "no `tset`, did you mean `test`"),
        ({"scored": ("train.epochs=3",)}, "`train.epochs=3` changes no data"),
        ({"scored": ("data.path=x",)}, "`data.path=x` changes no data, or where they lie"),
    ],
)
def test_a_row_is_scored_in_a_way_that_there_is(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small.built(rows=({"name": "a", "recipe": "supervised", **row},))
