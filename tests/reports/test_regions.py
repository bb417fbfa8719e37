"""The page of a run on label maps: regions, readings, and tasks beside the main one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from landweave.reports import page, regions
from landweave.reports.report import write_report
from tests.reports.report_fakes import run_folder
from tests.reports.report_html import Reader


def scores(value: float | None) -> dict[str, Any]:
    return {"oa": value, "miou_paper": value, "macro_f1": value, "n_present": 3.0}


def with_regions(folder: Path, count: int = 3) -> Path:
    run_folder(folder)
    file = folder / "evaluation-test.json"
    main = json.loads(file.read_text())
    main["groups"] = {
        f"D{n:03d}": {"places": n + 1, "n": 100, "scores": scores(None if n == 2 else 0.9 - 0.01 * n), "cells": []}
        for n in range(count)
    }
    main["readings"] = [{"name": "crops", "about": "only where a crop is declared", "n": 70, "scores": scores(0.61)}]
    main["scores"] |= {"miou_paper": main["scores"]["miou_existing"], "miou_weighted": 0.814}
    for reference in main["references"].values():
        reference["scores"] |= {"miou_paper": reference["scores"]["miou_existing"], "miou_weighted": 0.5}
    file.write_text(json.dumps(main))
    (folder / "evaluation-test-task-crops.json").write_text(json.dumps({**main, "task": "crops"}))
    config = json.loads((folder / "config.json").read_text())
    config["tasks"] = {name: {} for name in ("lulc", "crops", "later")}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_page_shows_regions_readings_and_tasks(tmp_path: Path) -> None:
    text = Reader(write_report(with_regions(tmp_path / "r")).read_text(encoding="utf-8")).text
    for words in ("By group", "D001", "only where a crop is declared", "Task crops", "Classes of crops", "0.610"):
        assert words in text, words
    assert "worst mean IoU first: 0.890 to 0.900, median 0.895, over 3 groups" in text
    assert "Task later" not in text, "it was not scored"
    assert "Task lulc" not in text, "that is the main one"


def test_regions_are_ranked_and_undefined_ones_stand_last(tmp_path: Path) -> None:
    found = regions.groups(page.evaluations(with_regions(tmp_path / "r"))[0])
    assert found is not None
    assert [r["name"] for r in found["rows"]] == ["D001", "D000", "D002"]
    assert regions.groups({"groups": {"D001": {}}}) is None
    assert regions.groups({}) is None


def test_of_many_regions_the_middle_is_left_out_and_said_so(tmp_path: Path) -> None:
    folder = with_regions(tmp_path / "r", 45)
    found = regions.groups(page.evaluations(folder)[0])
    assert found is not None
    names = [r["name"] for r in found["rows"]]
    assert (len(names), names[0], found["left_out"], found["count"]) == (40, "D044", 5, 45)
    assert "5 groups in the middle are not shown" in Reader(write_report(folder).read_text(encoding="utf-8")).text


def test_a_score_by_another_rule_stands_only_where_it_is_another_number(tmp_path: Path) -> None:
    rows = [r["name"] for r in page.averages(page.evaluations(with_regions(tmp_path / "r"))[0])["rows"]]
    assert page.NAMES["miou_weighted"] in rows
    assert page.NAMES["miou_existing"] in rows
    assert page.NAMES["miou_paper"] not in rows
