"""The page on a folder of `landweave reproduce`, and the curves over the share of labels."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_html import Reader

from landweave.errors import RunError
from landweave.files import write_json
from landweave.reports.curves import label_fraction, summary
from landweave.reports.reproduce import page, read_tables, title
from landweave.reproduce import protocol
from landweave.reproduce.paired import Pair, difference
from landweave.reproduce.render import markdown
from landweave.reproduce.table import Entry, Table, Trivial

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
    write_json(tmp_path / "mosaic-table-1.json", found)
    read = Reader(page(tmp_path).read_text(encoding="utf-8"))
    assert "Hamming loss by class, 10 % of the labels" in read.text
    assert "runs 4 4 of 5 4 Urban fabric 0.300" in read.text  # in the order of METHODS
    assert not [i for i in read.images if i["tag"] == "svg"]


def cell(row: str, column: str, mean: float | None, **more: Any) -> Entry:
    values = {} if mean is None else {0: mean}
    return Entry("flair-hub", 1.0, row, column, values, 1, mean, None, **more)


def built(name: str, *entries: Entry, trivials: tuple[Trivial, ...] = ()) -> Table:
    return Table(protocol(name), "full", (), entries, trivials, (), (), 0)


def shown(folder: Path, table: Table) -> Reader:
    write_json(folder / f"{table.protocol.name.replace('/', '-')}.json", table.to_json())
    return Reader(page(folder).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["flair/table-17", "mosaic/table-1"])
def test_the_page_says_of_the_figures_what_the_terminal_says(tmp_path: Path, name: str) -> None:
    table = replace(built(name), scale="smoke", notes=("a note",))
    assert table.protocol.settings
    about = table.protocol.scales["smoke"].about
    assert about
    text = shown(tmp_path, table).text
    head, *lines = [line for line in markdown(table) if line]
    for words in (head.partition(": ")[2], f"scale smoke: {about}", *(line.removeprefix("- ") for line in lines)):
        assert re.sub(r"\s+", " ", words) in text, words
    assert ("deviation of a population" in text) == (name == "flair/table-17")


def test_rows_of_other_truths_have_their_own_floors_runs_and_trivial_predictors(tmp_path: Path) -> None:
    rows = ("fold 1", "fold 2")
    floors = {"iou[vineyard]": (0.1, 0.35), "iou[orchard]": (0.2, 0.2)}
    entries = [
        cell(row, column, 0.5, trivial=floor, trivial_name="most frequent class", skill=0.1, doubt=doubt, published=0.6)
        for column, both in floors.items()
        for row, floor, doubt in zip(rows, both, ("blurred", ""), strict=True)
    ]
    entries += [cell("fold 1", "oa", None), cell("fold 2", "oa", 0.9)]
    entries += [cell("fold 1", "lpis-1.oa", 0.8), cell("fold 2", "lpis-1.oa", None)]
    trivials = tuple(
        Trivial("flair-hub", 1.0, "most frequent class", {key: 0.4}, (row,))
        for row, key in zip((*rows, "fold 3"), ("lpis-1.oa", "oa", "iou[vineyard]"), strict=True)
    )
    read = shown(tmp_path, built("flair/table-18", *entries, trivials=trivials))
    for words in (
        "vineyard 0.100 … 0.350 0.500 (0.600?) 0.500 (0.600)", "orchard 0.200 0.500",
        "fold 1 100 % 1 –", "fold 2 100 % 1 0.900", "most frequent class: fold 1", "most frequent class: fold 2",
    ):  # fmt: skip
        assert words in read.text, words
    assert "most frequent class: fold 3" not in read.text  # it has no averaged score


def test_a_copy_of_a_table_is_not_shown_beside_it(tmp_path: Path) -> None:
    for name in ("mosaic-table-1", "result"):
        write_json(tmp_path / f"{name}.json", table())
    assert len(read_tables(tmp_path)) == 1
    ids = Reader(page(tmp_path).read_text(encoding="utf-8")).ids
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["$5 and $6 of it", "a$_$b", "_hidden"])
def test_every_name_stands_on_the_page_as_it_is(tmp_path: Path, name: str) -> None:
    text = json.dumps(table()).replace("IaI-SimCLR", name)
    write_json(tmp_path / "mosaic-table-1.json", json.loads(text))
    page(tmp_path)
    for file, words in (("fractions-micro-f1", name), ("pairs-10", f"MoSAiC-1 − {name}")):
        svg = (tmp_path / "figures" / f"mosaic-table-1-bigearthnet-v2-{file}.svg").read_text(encoding="utf-8")
        assert f">{words}</text>" in svg, file


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
