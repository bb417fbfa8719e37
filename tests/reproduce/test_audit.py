"""The audit finds, by computation, every numeric contradiction that a reader found in the papers' tables."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from landweave.errors import ConfigError
from landweave.reproduce.auditing import audit, audit_of
from landweave.reproduce.checks import Finding, harmonic, implied_recall
from landweave.reproduce.published import paper

SHARED = Path(os.environ.get("LANDWEAVE_SHARED", Path(__file__).parents[3] / "shared")).resolve()


def said(name: str, verdict: str, *words: str) -> list[Finding]:
    found = [f for f in audit(name).findings if f.verdict == verdict]
    return [f for f in found if all(w in f"{f.where} {f.check} {f.printed} {f.recomputed}" for w in words)]


KNOWN = {
    "splits do not add up, 69,450 pairs in none": ("disagrees", "480,038", "69,450"),
    "7,584.9 was cut off": ("agrees", "7,584", "7,584.9, cut off"),
    "decimals of table 1": ("doubtful", "table-1, BigEarthNet v2.0", "IaI-SimCLR 67", "MoSAiC-2 66.0", "MoSAiC-2 43"),
    "MoSAiC-1 is third in macro precision": ("disagrees", "highest on all four", "64.00", "67.00", "66.00"),
    "IaI is 9 behind in micro precision": ("disagrees", "IaI is about 2 %", "micro precision: -9.04"),
    "IaI is 3 ahead in macro precision": ("doubtful", "IaI is about 2 %", "macro precision: +3.00"),
    "MoSAiC-2 below three rows in macro F1": ("disagrees", "outperform", "43.00", "44.17", "45.17", "50.63"),
    "MoSAiC-2 below two rows in micro F1": ("disagrees", "outperform", "65.00", "65.61", "67.50"),
    "a misprint beside ResNet-101": ("doubtful", "66.72 and 56.77", "9.95", "0.95", "56.72"),
    "table 2 is in table 5": ("agrees", "excerpt of table 5", "35 shared cells", "all equal"),
    "micro F1 of only S1": ("disagrees", "table-4, Only S1", "0.16", "0.21"),
    "one sensor above both": ("disagrees", "micro precision 0.76 (S2 + Average S1)", "0.7404"),
    "urban fabric, and seven ties": ("disagrees", "table-5", "Urban fabric 0.10", "IaI-SimCLR 0.08", "7 ties"),
    "six ties in table 6": ("doubtful", "table-6", "6 ties"),
    "single labels have one micro score": ("disagrees", "0.70 / 0.65 / 0.67"),
    "three decimals of macro F1": ("doubtful", "MoSAiC-1 0.615"),
    "ResNet-34 is all-negative": ("trivial", "table-5, ResNet-34", "0.184", "0.158"),
    "rare classes are not easy": ("disagrees", "2 of the 2", "Beaches", "Coastal wetlands"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_contradictions_are_found(name: str) -> None:
    verdict, *words = KNOWN[name]
    assert len(said("mosaic", verdict, *words)) >= 1


def test_all_underlines_agree_and_all_class_averages_of_the_poster() -> None:
    marks = [f for f in audit("mosaic").findings if "underlined" in f.check]
    assert [f.verdict for f in marks] == ["agrees"] * 8
    means = [f for f in audit("fusion-poster").findings if "the mean of 8 classes" in f.check]
    assert [f.verdict for f in means] == ["agrees"] * 11


@pytest.mark.parametrize(("row", "total"), [("SimCLR (RGB)", 60), ("D-SimCLR", 105), ("MMA", 83)])
def test_what_two_lost_cells_add_up_to(row: str, total: int) -> None:
    (found,) = [f for f in audit("fusion-poster").findings if f.where == f"multi-label, {row}"]
    assert found.recomputed == f"they add up to {total} ± 7"


def test_tables_one_and_five_cannot_both_hold_for_the_supervised_rows() -> None:
    """By hand, ConvNeXt: recall .6767 x .6750 / (2 x .6767 - .6750), prevalences that add up to 2.9963."""
    recall = 0.6767 * 0.6750 / (2 * 0.6767 - 0.6750)
    hit = 2.9963 * recall
    wrong = (hit / 0.6767 - hit + 2.9963 - hit) / 19
    (found,) = said("mosaic", "disagrees", "table-5 and table-1, ConvNeXt")
    assert float(found.recomputed) == pytest.approx(wrong, abs=6e-4)
    assert float(found.printed) == pytest.approx(4.23 / 19, abs=6e-4)
    assert said("mosaic", "agrees", "table-5 and table-1, MoSAiC-1")


def test_a_finding_follows_the_stored_figure() -> None:
    """Nothing is typed: correct the misprint, and the finding goes."""
    one = paper("mosaic")
    table = one.tables["table-4"]
    key = ("BigEarthNet v2.0", "Only S1 + No S2", "micro_f1")
    repaired = replace(table, cells={**table.cells, key: replace(table.cells[key], mean=0.21)})
    found = audit_of(replace(one, tables={**one.tables, "table-4": repaired})).findings
    verdicts = {f.verdict for f in found if f.where == "table-4, Only S1 + No S2" and "micro F1 from" in f.check}
    assert verdicts == {"agrees"}


def test_harmonic_and_its_inverse() -> None:
    assert harmonic(0.26, 0.18) == pytest.approx(0.2127, abs=1e-4)
    assert implied_recall(0.6, harmonic(0.6, 0.3)) == pytest.approx(0.3)
    assert implied_recall(0.3, 0.7) == float("inf")


def test_published_figures_are_those_of_the_shared_tables() -> None:
    """Every number and every doubtful cell of the transcribed tables, and no others."""
    if not SHARED.is_dir():
        pytest.skip("no shared tables")
    raw = json.loads((SHARED / "specs" / "tables" / "mosaic.json").read_text())["tables"]
    ours = paper("mosaic").tables
    for row in raw["table_1"]["rows"]:
        for column in raw["table_1"]["metric_columns"]:
            cell = ours["table-1"].get(row["dataset"], row["model"], column)
            assert cell is not None
            assert (cell.mean, cell.std) == (row[column]["mean"], row[column]["std"])
            assert bool(cell.doubt) == (column in row.get("suspect", {}))
    models = {
        "ResNet34": "ResNet-34",
        "ResNet50": "ResNet-50",
        "ResNet101": "ResNet-101",
        "ConvNext": "ConvNeXt V2 Base",
    }
    for name, key in (("table-2", "table_2"), ("table-5", "table_5"), ("table-6", "table_6")):
        for row in raw[key]["rows"]:
            for model in raw[key]["metric_columns"]:
                cell = ours[name].get("BigEarthNet v2.0", models.get(model, model), row["class"])
                assert cell is not None
                assert (cell.mean, cell.std) == (row[model]["mean"], row[model]["std"])
    for row in raw["table_4"]["rows"]:
        for column in raw["table_4"]["metric_columns"]:
            cell = ours["table-4"].get("BigEarthNet v2.0", row["configuration"], column)
            assert cell is not None
            assert cell.mean == row[column]
            assert bool(cell.doubt) == (column in row.get("suspect", {}))
    poster = json.loads((SHARED / "specs" / "tables" / "fusion-poster.json").read_text())["tables"]
    for name, key in (("single-label", "single_label"), ("multi-label", "multi_label")):
        columns = paper("fusion-poster").tables[name].columns
        for row in poster[key]["rows"]:
            for column in columns:
                cell = paper("fusion-poster").tables[name].get("DFC2020", row["method"], column)
                assert cell is not None
                assert (cell.mean, cell.std) == (row[column]["mean"], row[column]["std"])
                assert bool(cell.doubt) == bool(row[column].get("uncertain"))


def test_an_unknown_paper_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `mosaic`"):
        audit("mosiac")
