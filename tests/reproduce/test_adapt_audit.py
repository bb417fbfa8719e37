"""The audit of the band-adaptation thesis, and its stored figures, against the transcribed tables."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from landweave.reproduce.auditing import audit, audit_of
from landweave.reproduce.checks import Finding
from landweave.reproduce.published import Cell, Paper, paper
from landweave.reproduce.row_claims import two_levels


def said(one: Paper, verdict: str, *words: str) -> list[Finding]:
    found = [f for f in audit_of(one).findings if f.verdict == verdict]
    return [f for f in found if all(w in f"{f.where} {f.check} {f.printed} {f.recomputed}" for w in words)]


def changed(one: Paper, name: str, row: str, column: str, **cell: Any) -> Paper:
    table = one.tables[name]
    key = (table.datasets[0], row, column)
    cells = {**table.cells, key: replace(table.cells[key], **cell)}
    return replace(one, tables={**one.tables, name: replace(table, cells=cells)})


KNOWN = {
    "4.3 and A.4 print other accuracies": ("disagrees", "95.16 and 71.51", "69.44 and 91.51", "69.86 and 92.07"),
    "the wrong row is highlighted": ("disagrees", "B2 B8 has the lowest accuracy", "B8 95.52"),
    "gains of three and more bands": ("disagrees", "3 to 6", "+1.56", "+17.46", "+28.18", "5 of 5"),
    "segmentation is a consistent loss by mIoU": ("disagrees", "mIoU", "10 of 11, 1 ties", "p = 0.002", "+1.48"),
    "and not by average accuracy": ("agrees", "neither encoder", "8 of 11", "p = 0.227"),
    "8/7, encoder as it was": ("disagrees", "equation 3.3", "3 rows", "(1.143)", "B11 79.18", "B8 B11 77.56"),
    "8/7, adapted": ("disagrees", "equation 3.3", "2 rows", "B2 B11 76.02", "B2 B3 B4 74.86"),
    "1.0 is easier than 0.9": ("disagrees", "overfits", "0.245", "0.4125"),
    "0.6 is as hard as 0.9": ("disagrees", "control run within 7 epochs", "0.442"),
    "the differences are as printed": ("agrees", "largest 6.84, mean 2.93, median 2.29"),
    "one more decimal": ("doubtful", "table-4.1", "B8 0.6449"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_contradictions_are_found(name: str) -> None:
    verdict, *words = KNOWN[name]
    assert len(said(paper("adapt"), verdict, *words)) == 1


def test_findings_follow_the_stored_figures() -> None:
    one = paper("adapt")
    mended = changed(one, "table-a.4", "B2 B11", "test_acc", mean=95.1)
    assert said(mended, "disagrees", "tables 4.3 and A.4", "2 more than 2 apart")
    mended = changed(one, "table-4.3", "B2 B8", "finetuned", mean=95.5)
    assert said(mended, "agrees", "B2 B8 has the lowest accuracy")
    steady = changed(one, "table-4.4", "B2 B11", "finetuned_avg_acc", std=0.5)
    assert said(steady, "disagrees", "equation 3.3", "finetuned", "1 rows")


@pytest.mark.parametrize("high", [1, 2])
def test_two_levels_are_found_again_from_mean_and_deviation(high: int) -> None:
    values = [80.0] * high + [70.0] * (3 - high)
    assert two_levels(statistics.mean(values), statistics.stdev(values), 3, high) == pytest.approx(8 / 7)


def test_two_levels_of_five_runs() -> None:
    values = [9.0, 9.0, 6.0, 6.0, 6.0]
    assert two_levels(statistics.mean(values), statistics.stdev(values), 5, 2) == pytest.approx(1.5)


def test_the_sign_test_by_hand() -> None:
    """10 of 10: 2 x (1/2)^10; 8 of 11: twice the sum over 8 ... 11 of the binomial."""
    (miou,) = said(paper("adapt"), "disagrees", "sign test")
    assert f"p = {2 / 2**10:.3f}" in miou.recomputed
    (accuracy,) = said(paper("adapt"), "agrees", "sign test")
    assert f"p = {2 * sum(math.comb(11, k) for k in range(8, 12)) / 2**11:.3f}" in accuracy.recomputed


def test_published_figures_are_those_of_the_shared_tables(real: Path) -> None:
    raw = json.loads((real.parent / "specs" / "tables" / "band-adaptation.json").read_text())
    ours = paper("adapt").tables
    seen = 0
    for name, key in (("table-4.1", "table_4_1"), ("table-4.2", "table_4_2"), ("table-a.3", "table_A_3"),
                      ("table-a.4", "table_A_4")):  # fmt: skip
        for row in raw[key]["rows"]:
            for column, value in zip(raw[key]["columns"], row["values"], strict=True):
                mean, std = (value["mean"], value["sd"]) if isinstance(value, dict) else (value, None)
                assert ours[name].cells["EuroSAT", row["label"], column] == Cell(
                    mean, std, printed=str(mean) if name == "table-4.1" and round(mean, 3) != mean else ""
                )
                seen += 1
    for row in raw["table_4_3"]["rows"]:
        for column in ("pretrained", "finetuned"):
            mine = ours["table-4.3"].cells.get(("EuroSAT", row["label"], column))
            assert (mine is None) == (row[column] is None)
            if mine is not None:
                assert (mine.mean, mine.std) == (row[column]["mean"], row[column]["sd"])
                seen += 1
    for row in raw["table_4_4"]["rows"]:
        for who in ("pretrained", "finetuned"):
            for score, factor in (("avg_acc", 1), ("mIoU", 100)):
                mine = ours["table-4.4"].cells.get(("SEN12MS", row["label"], f"{who}_{score}"))
                assert (mine is None) == (row[who] is None)
                if mine is not None and mine.mean is not None and mine.std is not None:
                    assert mine.mean == pytest.approx(factor * row[who][score]["mean"])
                    assert mine.std == pytest.approx(factor * row[who][score]["sd"])
                    seen += 1
    for name, key in (("table-a.5", "table_A_5"), ("table-a.6", "table_A_6")):
        rows = ours[name].rows("EuroSAT")
        for row, mine_row in zip(raw[key]["rows"], rows, strict=True):
            assert mine_row.split(",")[0] == (" ".join(row["masked"]) or "none")
            found = [ours[name].cells["EuroSAT", mine_row, c].mean for c in ours[name].columns]
            assert found == row["values"]
            seen += len(found)
    assert seen == sum(len(t.cells) for t in ours.values())


def test_both_readings_of_the_band_numbers_are_told() -> None:
    remarks = " ".join(audit("adapt").paper.remarks)
    assert "by position in table A.1" in remarks
    assert "by official name" in remarks
