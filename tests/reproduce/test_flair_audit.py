"""The audit of FLAIR-HUB's tables and text: what a reader found, found again by computing, and nothing typed."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from typing import Any

import pytest

from landweave.reproduce.auditing import audit, audit_of
from landweave.reproduce.cell_claims import KINDS
from landweave.reproduce.checks import Finding
from landweave.reproduce.published import Cell, Paper, Printed, paper
from tests.conftest import SHARED


def said(verdict: str, *words: str) -> list[Finding]:
    found = [f for f in audit("flair").findings if f.verdict == verdict]
    return [f for f in found if all(w in f"{f.where} {f.check} {f.printed} {f.recomputed}" for w in words)]


KNOWN = {
    "the validation 81.4 is no mean of its row": ("disagrees", "table-16, validation", "22 classes", "46.955"),
    "it is the weighted one": ("disagrees", "81.4", "plain mean of 22 classes 46.95", "81.37", "is the weighted one"),
    "fold 2 of the crops averages 36.0": ("disagrees", "table-17, split_2", "34.2", "36.023"),
    "LC-L has two accuracies": ("disagrees", "table-18 LC-L", "oa 78.2 and 78.4"),
    "its gain fits the other one": ("agrees", "with the LC-L of table XVIII", "+0.9"),
    "and not that of table X": ("disagrees", "LC-L gains 0.9", "+0.7"),
    "LC-L has two sizes": ("disagrees", "276.4 and 276.3"),
    "LPIS-I has two best epochs": ("disagrees", "best epoch 49 and 53"),
    "LC-F against LC-A": ("disagrees", "both (LC-F) gain 0.4", "+0.8"),
    "and in accuracy": ("disagrees", "change no accuracy", "+0.2"),
    "LPIS-D against LPIS-A": ("disagrees", "LPIS-D gains 11.9", "+11.7"),
    "LPIS-D against LPIS-C": ("disagrees", "LPIS-D gains 6.5", "+6.3"),
    "LPIS-J against LPIS-E": ("disagrees", "LPIS-J gains 2.0", "+5.1"),
    "LPIS-J against LPIS-I on flax": ("disagrees", "40.6", "-46.4"),
    "background leads by 6.0 only": ("disagrees", "background is more than 28 ahead", "LPIS-I 6.0 (rapeseed)"),
    "decoders are 3.0 apart, or 2.9": ("agrees", "2.9 apart in accuracy", "+3.0, the same before rounding"),
    "deviations are of a population": ("doubtful", "18 of 18 are those of a population (divided by 5)"),
    "the folds have no branches": ("disagrees", "the folds are of LC-F", "97.7 and 95.2"),
    "pixels of land cover are lacking": ("disagrees", "63,200,642,967", "-2,275,433"),
    "pixels of crops are not": ("agrees", "the crop classes are all annotated pixels"),
    "soy and olives are detected": ("disagrees", "no longer detected", "soy 51.8, olive groves 14.2"),
    "mixed crops rise": ("disagrees", "decline substantially", "mixed crops +3.1"),
    "a figure of two decimals": ("doubtful", "table-9", "63.25"),
    "regions, cells and patches": ("agrees", "25 patches", "241,100 241,100"),
    "table VIII pools": ("agrees", "all follow from the three splits"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_contradictions_are_found(name: str) -> None:
    verdict, *words = KNOWN[name]
    assert len(said(verdict, *words)) == 1


def test_rows_average_to_what_is_printed() -> None:
    """Tables IX, XI, XII, XV and XVII in every row but one, and the test row of XVI."""
    means = [f for f in audit("flair").findings if "the average is the mean of" in f.check]
    assert len(means) == 19 + 13 + 5 + 6 + 11 + 2 + 5
    assert {f.where for f in means if f.verdict != "agrees"} == {"table-16, validation", "table-17, split_2"}


def test_rows_that_stand_twice_are_the_same() -> None:
    found = [f for f in audit("flair").findings if "all equal" in f.recomputed]
    assert len(found) == 2 + 8
    assert {f.verdict for f in found} == {"agrees"}


def changed(table: str, row: str, column: str, mean: float) -> list[Finding]:
    one = paper("flair")
    old = one.tables[table]
    key = (old.datasets[0], row, column)
    cells = {**old.cells, key: replace(old.cells[key], mean=mean)}
    return list(audit_of(replace(one, tables={**one.tables, table: replace(old, cells=cells)})).findings)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (("table-16", "validation", "miou", 46.95), "plain mean of 22 classes"),
        (("table-17", "split_2", "miou", 36.0), "table-17, split_2"),
        (("table-18", "LC-L alone", "land_cover_oa", 78.2), "table-10 LC-L and table-18"),
        (("table-14", "LPIS-J", "miou", 32.3), "LPIS-J gains 2.0"),
        (("table-6", "building", "pixels", 3483982647 + 2275433), "land-cover classes are all"),
    ],
)
def test_a_finding_goes_with_its_figure(cell: tuple[str, str, str, float], words: str) -> None:
    """Nothing is typed: correct the misprint, and what was found disagrees no more."""
    mine = [f for f in changed(*cell) if words in f"{f.where} {f.check} {f.printed} {f.recomputed}"]
    assert {f.verdict for f in mine} == {"agrees"}


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (("table-11", "LC-B", "water", 80.0), "with elevation only snow falls"),
        (("table-7", "grasses", "pixels", 6.4e9), "crop classes are all annotated"),
        (("table-8", "SPOT_RGBI R", "train_validation_std", 320.0), "training and validation together"),
        (("table-5", "SPOT_RGBI", "metres", 1.5), "every sensor covers the ground"),
        (("table-12-folds", "average", "oa", 79.5), "average and deviation over five folds"),
        (("table-7", "background", "test", 70.0), "more than 88 %"),
        (("table-12-folds", "split_3", "miou", 65.0), "all folds but the first"),
        (("table-10", "LC-A", "miou", 64.2), "Swin-Base with UPerNet is LC-A"),
    ],
)
def test_a_wrong_figure_is_found(cell: tuple[str, str, str, float], words: str) -> None:
    mine = [f for f in changed(*cell) if words in f"{f.where} {f.check}"]
    assert "disagrees" in {f.verdict for f in mine}
    assert "disagrees" not in {f.verdict for f in audit("flair").findings if words in f"{f.where} {f.check}"}


# ---- the claims, on a made table


def made(**rows: dict[str, float]) -> Paper:
    cells = {("d", row, c): Cell(v, None) for row, values in rows.items() for c, v in values.items()}
    table = Printed("t", "", "percent", 1, "higher", cells, classes=("a", "b"), average="mean")
    return Paper(
        "made", "", "", {"t": table, "u": replace(table, name="u")}, {"d": {"x": 3, "y": 1}}, None, {}, "", (), ()
    )


def verdict(one: Paper, kind: str, **claim: Any) -> str:
    (found,) = KINDS[kind](one, {"where": "w", "says": "s", "table": "t", **claim})
    return found.verdict


def test_a_difference_may_be_off_by_what_rounding_explains() -> None:
    one = made(p={"a": 10.0}, q={"a": 12.0})
    for by, expected in ((2.0, "agrees"), (2.1, "agrees"), (1.9, "agrees"), (2.2, "disagrees"), (-2.0, "disagrees")):
        assert verdict(one, "gain", column="a", row="q", of="p", by=by) == expected
        assert verdict(one, "gap", column="a", rows=["p", "q"], by=by) == expected


def test_a_weighted_mean_by_hand() -> None:
    one = made(p={"a": 20.0, "b": 80.0, "mean": 65.0}, a={"share": 1.0}, b={"share": 3.0})
    (found,) = KINDS["weighted"](
        one, {"where": "w", "says": "s", "table": "t", "row": "p", "column": "mean", "weights": ["u", "share"]}
    )
    assert (found.verdict, found.printed) == ("disagrees", "65.0")
    assert "plain mean of 2 classes 50.00" in found.recomputed
    assert f"{(20 * 1 + 80 * 3) / 4:.2f}: the printed figure is the weighted one" in found.recomputed


def test_pooled_deviations_by_hand() -> None:
    values = {"x": [1.0, 2.0, 6.0], "y": [11.0]}
    every = [v for part in values.values() for v in part]
    row = {"x_mean": 3.0, "x_std": statistics.pstdev(values["x"]), "y_mean": 11.0, "y_std": 0.0}
    whole = {"z_mean": statistics.fmean(every), "z_std": statistics.pstdev(every)}
    assert verdict(made(p={**row, **whole}), "pooled", parts=["x", "y"], whole="z") == "agrees"
    wrong = {**whole, "z_std": statistics.stdev(every)}
    assert verdict(made(p={**row, **wrong}), "pooled", parts=["x", "y"], whole="z") == "disagrees"


def test_deviations_are_told_apart() -> None:
    folds = {f"f{i}": {"a": v} for i, v in enumerate((64.3, 67.4, 66.9, 69.1, 66.2))}
    values = [row["a"] for row in folds.values()]
    for deviation, expected in ((statistics.pstdev(values), "doubtful"), (statistics.stdev(values), "agrees")):
        one = made(**folds, average={"a": round(math.fsum(values) / 5, 1)})
        table = one.tables["t"]
        key = ("d", "average", "a")
        cells = {**table.cells, key: replace(table.cells[key], std=round(deviation, 1))}
        one = replace(one, tables={"t": replace(table, cells=cells)})
        first, second = KINDS["deviation"](one, {"where": "w", "says": "s", "table": "t", "row": "average"})
        assert (first.verdict, second.verdict) == ("agrees", expected)


# ---- the stored figures


def test_published_figures_are_those_of_the_shared_tables() -> None:
    """Every number of tables IX to XVIII, every class and every doubtful cell, and no others."""
    file = SHARED / "specs" / "tables" / "flair-hub.json"
    if not file.is_file():
        pytest.skip("no shared tables")
    raw, ours = json.loads(file.read_text())["tables"], paper("flair").tables
    for n in (9, 10, 11, 15, 16, 17):
        key, name = f"table_{n}", f"table-{n}"
        row_of = _pair if n == 9 else (lambda r: r.get("fold") or r.get("partition") or r["model_id"])
        stored = 0
        for row in raw[key]["rows"]:
            for column, value in row.items():
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    continue
                cell = ours[name].get("FLAIR-HUB", row_of(row), column)
                assert cell is not None, (name, row_of(row), column)
                assert cell.mean == value
                assert bool(cell.doubt) == (column in row.get("suspect", {}))
                stored += 1
        twice = {9: 2 * (4 + len(raw["table_9"]["class_columns"]))}.get(
            n, 0
        )  # two rows of table IX stand in two blocks
        assert stored - twice == len(ours[name].cells)
    for row in raw["table_12_folds"]["rows"][:5]:
        assert ours["table-12-folds"].get("FLAIR-HUB", row["fold"], "snow") == Cell(row["snow"], None)
    mean, std = raw["table_12_folds"]["rows"][5:]
    assert ours["table-12-folds"].get("FLAIR-HUB", "average", "snow") == Cell(mean["snow"], std["snow"])
    for row in raw["table_14"]["rows"]:
        name = row["model_id"] + (f", level {row['level']}" if row["level"] > 1 else "")
        assert ours["table-14"].get("FLAIR-HUB", name, "miou") == Cell(row["miou"], None)
    for row in raw["table_13"]["rows"]:
        for challenge in (1, 2):
            cell = ours["table-13"].get("FLAIR-HUB", f"{row['model']}, FLAIR #{challenge}", "miou")
            assert (cell.mean if cell else None) == row[f"flair{challenge}_miou"]
    values = [[c.mean for c in ours["table-18"].cells.values()]]
    printed = [
        v for r in raw["table_18"]["rows"] for v in r.values() if isinstance(v, (int, float)) and v not in (True, False)
    ]
    assert sorted(v for v in values[0] if v is not None) == sorted(printed)
    assert len(ours["table-12"].rows("FLAIR-HUB")) == len(raw["table_12"]["rows"])


def _pair(row: dict[str, Any]) -> str:
    return f"{row['encoder']} + {row['decoder']}"
