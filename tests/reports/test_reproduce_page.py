"""The page on a folder of `landweave reproduce`, and the curves over the share of labels."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_html import Reader

from landweave.errors import RunError
from landweave.files import write_json
from landweave.reports.curves import label_fraction, summary
from landweave.reports.reproduce import page, read_tables, title
from landweave.reproduce.paired import Pair, difference
from landweave.reproduce.table import Entry, Trivial

METHODS = {"MoSAiC-1": 0.61, "IaI-SimCLR": 0.55, "ResNet-34 <late>": 0.60}
SHARES = (0.01, 0.1, 1.0)


def entry(row: str, fraction: float, column: str, rng: np.random.Generator, *, doubt: str = "") -> Entry:
    values = {i: float(METHODS[row] + 0.08 * np.log10(fraction) + rng.normal(0, 0.01)) for i in range(4)}
    mean = float(np.mean(list(values.values())))
    std = float(np.std(list(values.values()), ddof=1))
    known = fraction == 0.1
    return Entry(
        "bigearthnet-v2", fraction, row, column, values, 5 if row == "IaI-SimCLR" else 4, mean, std,
        published=0.58 if known else None, doubt=doubt, trivial=0.3, trivial_name="always", skill=(mean - 0.3) / 0.7,
    )  # fmt: skip


def table(**more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    columns = ("micro_f1", "macro_precision", "hamming[Urban fabric]")
    doubt = "the printed row does not add up"
    entries = [
        entry(row, share, c, rng, doubt=doubt if (row, share) == ("IaI-SimCLR", 0.1) and c == "micro_f1" else "")
        for share in SHARES
        for row in METHODS
        for c in columns
    ]
    pairs = []
    for share in SHARES:
        at = {e.row: e for e in entries if (e.fraction, e.column) == (share, "micro_f1")}
        for other in list(METHODS)[1:]:
            facts = difference(at["MoSAiC-1"].values, at[other].values)
            pairs.append(Pair("bigearthnet-v2", share, "micro_f1", "MoSAiC-1", other, **facts))
    trivials = [Trivial("bigearthnet-v2", 0.1, "training prevalence", {"micro_f1": 0.21})]
    return {
        "protocol": "mosaic/table-1", "scale": "smoke", "ok": False,
        "entries": [{**asdict(e), "difference": e.difference} for e in entries],
        "trivials": [asdict(t) for t in trivials], "pairs": [p.to_json() for p in pairs],
        "failures": [{"run": "IaI-SimCLR, run 4", "error": "no space <left>"}], "unfinished": 2, "notes": ["a note"],
        **more,
    }  # fmt: skip


def test_the_page_shows_ours_theirs_and_the_paired_differences(tmp_path: Path) -> None:
    found = table()
    write_json(tmp_path / "mosaic-table-1.json", found)
    write_json(tmp_path / "other.json", {"some": "file"})
    path = page(tmp_path)
    text = path.read_text(encoding="utf-8")
    read = Reader(text)
    assert path == tmp_path / "reproduce.html"
    assert all(link.startswith(("data:", "#")) for link in read.links)
    assert len(read.ids) == len(set(read.ids))
    first = next(e for e in found["entries"] if e["row"] == "MoSAiC-1" and e["fraction"] == 0.1)
    for words in (
        "mosaic/table-1, scale smoke", f"{first['mean']:.3f} ± {first['std']:.3f}", f"{first['difference']:+.3f}",
        "0.580?", "the printed row does not add up", "training prevalence", "4 of 5", "2 of the runs are not made yet",
        "no space <left>", "ResNet-34 <late>", "All 6 paired differences", "Urban fabric", "a note", "1 %",
    ):  # fmt: skip
        assert words in read.text, words
    assert "<late>" not in text
    told = [i["aria-label"] or "" for i in read.images if i["tag"] == "svg"]
    assert sum("against the share of labels" in t for t in told) == 2
    pairs = [t for t in told if "Paired differences" in t]
    assert len(pairs) == 3
    assert f"{found['pairs'][0]['difference']:+.3f}" in pairs[0]
    assert found["pairs"][0]["verdict"] in pairs[0]
    files = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert len(files) == 5
    for file in files:
        svg = (tmp_path / "figures" / file).read_text()
        assert not re.search(r"var\(|currentColor", svg)


def test_tables_of_classes_alone_and_of_one_share_are_shown_too(tmp_path: Path) -> None:
    found = table(failures=[], unfinished=0)
    found["entries"] = [e for e in found["entries"] if "[" in e["column"] and e["fraction"] == 0.1]
    found["pairs"], found["trivials"] = [], []
    write_json(tmp_path / "mosaic-table-2.json", found)
    read = Reader(page(tmp_path).read_text(encoding="utf-8"))
    assert "Hamming loss by class, 10 % of the labels" in read.text
    assert not [i for i in read.images if i["tag"] == "svg"]


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no table"):
        read_tables(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(RunError, match=r"a\.json: not JSON"):
        read_tables(tmp_path)


def test_names_of_scores() -> None:
    assert [title(c) for c in ("micro_f1", "hamming[Urban fabric]", "brier")] == [
        "micro F1", "Urban fabric", "Brier score",
    ]  # fmt: skip


def test_curves_are_means_and_deviations_over_runs() -> None:
    rows = [
        {"method": m, "fraction": f, "seed": s, "score": s + f + (m == "b"), "dataset": "d"}
        for m in "ab"
        for f in (1.0, 0.1)
        for s in range(3)
    ]
    found = summary([*rows, {"method": "a", "fraction": 0.1, "seed": 9, "score": None, "dataset": "d"}])
    assert found["d"]["a"] == [(0.1, pytest.approx(1.1), 1.0, 3), (1.0, 2.0, 1.0, 3)]
    assert found["d"]["b"][0][1] == pytest.approx(2.1)
    svg = label_fraction(rows, title="micro F1")
    assert "d, a: 10 % of labels 1.100 ± 1.000, 100 % of labels 2.000 ± 1.000" in svg
    assert svg.startswith("<svg")
    assert label_fraction([r for r in rows if r["fraction"] == 1.0]) == ""


def test_more_methods_than_colours_still_differ() -> None:
    rows = [
        {"method": f"m{k}", "fraction": f, "seed": 0, "score": k / 10 + f, "dataset": ""}
        for k in range(11)
        for f in (0.1, 1.0)
    ]
    svg = label_fraction(rows)
    assert "stroke-dasharray" in svg
    assert json.dumps(svg)
