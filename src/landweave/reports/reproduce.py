"""A folder of `landweave reproduce` as one HTML page: tables beside the published figures, paired differences, curves.

    from landweave.reports.reproduce import page
    page("out")                     # out/reproduce.html, and out/figures/*.svg

It reads the tables (`NAME.json`) that lie in the folder, whichever protocols made them. Nothing is trained.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from landweave.errors import RunError, listed
from landweave.files import write_text
from landweave.metrics.trivial import LOSSES
from landweave.reports import plots
from landweave.reports.curves import label_fraction
from landweave.reports.insight import write_figures
from landweave.reports.page import NAMES
from landweave.reproduce.table import AVERAGE

Found = Mapping[str, Any]
CURVES = 2
"""Scores of which curves over the share of labels are drawn."""
NEEDED = ("protocol", "scale", "entries", "trivials", "pairs")


def page(folder: str | os.PathLike[str], *, out: Path | None = None) -> Path:
    """Write the page on all tables of a folder.

    Args:
        folder: the `--out` of `landweave reproduce`.
        out: the page; `reproduce.html` in the folder by default.

    Raises:
        RunError: no table lies there, or one is damaged.
    """
    from landweave.reports.report import template

    where = Path(folder)
    tables = [_shown(found) for found in read_tables(where)]
    write_figures(where, {name: svg for t in tables for name, svg in t["figures"].items()})
    text = template("reproduce.html.j2").render(name=where.resolve().name, tables=tables)
    return write_text(out or where / "reproduce.html", text)


def read_tables(folder: Path) -> list[dict[str, Any]]:
    """The tables of a folder, by the name of their protocol. Other JSON files are left alone, copies of tables too.

    Raises:
        RunError: there is none, or one is no JSON.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"not JSON: {error}", where=path, fix="run landweave reproduce again") from None
        if isinstance(raw, dict) and all(key in raw for key in NEEDED) and path.stem == _id(raw):
            found.append(raw)
    if not found:
        raise RunError(
            "no table of landweave reproduce lies there", where=folder, fix="landweave reproduce ... --out FOLDER"
        )
    return found


def _id(found: Found) -> str:
    """What the files of a protocol's table are called."""
    return str(found["protocol"]).replace("/", "-")


def _shown(found: Found) -> dict[str, Any]:
    """One table as the template shows it."""
    salt = _id(found)
    parts = [_part(found, dataset, salt) for dataset in dict.fromkeys(e["dataset"] for e in found["entries"])]
    figures: dict[str, str] = {}
    for part in parts:
        for kind in ("curves", "pairs"):
            figures |= {f["file"]: f["svg"] for f in part[f"{kind}_figures"]}
    said = {"title": found.get("title", ""), "folds": found.get("folds", False), "words": list(_words(found))}
    return {**found, **said, "id": salt, "parts": parts, "figures": figures}


def _words(found: Found) -> Iterator[str]:
    """What the figures are and how they were made, in the order of the printed table; older tables lack some."""
    if found.get("folds"):
        yield f"{AVERAGE}: over the rows, ± the deviation of a population (divided by their number), as it is published"
    yield from found.get("notes", ())
    if found.get("about"):
        yield f"scale {found['scale']}: {found['about']}"
    yield from found.get("settings", ())


def _part(found: Found, dataset: str, salt: str) -> dict[str, Any]:
    """The rows of one dataset."""
    entries = [e for e in found["entries"] if e["dataset"] == dataset]
    columns = list(dict.fromkeys(e["column"] for e in entries))
    averaged = [c for c in columns if "[" not in c]
    pairs = [p for p in found["pairs"] if p["dataset"] == dataset]
    stem = f"{salt}-{_plain(dataset)}"
    return {
        "dataset": dataset,
        "columns": [{"key": c, "title": title(c)} for c in averaged],
        "rows": list(_methods(entries, averaged)),
        "trivials": list(_trivials([t for t in found["trivials"] if t["dataset"] == dataset], averaged)),
        "classes": _classes(entries, [c for c in columns if "[" in c]),
        "pairs": [{**p, "title": title(p["metric"])} for p in pairs],
        "pairs_figures": list(_pair_figures(pairs, averaged, stem)),
        "curves_figures": list(_curve_figures(entries, averaged, dataset, stem)),
        "doubts": [{"row": e["row"], "title": title(e["column"]), "doubt": e["doubt"]} for e in entries if e["doubt"]],
    }


def title(column: str) -> str:
    """A score's name in words; of one class the class."""
    score, _, of = column.partition("[")
    return of.rstrip("]") or NAMES.get(score, score.replace("_", " ").replace("f1", "F1")).partition(" (")[0]


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)


def _methods(entries: Sequence[Found], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row a method and share of labels, its cells in the order of the columns."""
    by = {(e["fraction"], e["row"], e["column"]): e for e in entries}
    if not columns:
        return
    for fraction, row in dict.fromkeys((e["fraction"], e["row"]) for e in entries):
        cells = [by[fraction, row, c] for c in columns]
        yield {"row": row, "fraction": fraction, "runs": _made(cells), "cells": cells}


def _made(cells: Sequence[Found]) -> str:
    """How many runs of a method are made, of how many if not all."""
    most = max(cells, key=lambda e: len(e["values"]))  # a row of another task has no value of the first
    made, planned = len(most["values"]), most["planned"]
    return str(made) if made == planned else f"{made} of {planned}"


def _trivials(trivials: Sequence[Found], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Those that have a value in one of the columns, named by the rows that they stand beside."""
    for one in trivials:
        if any(c in one["values"] for c in columns):
            whose = f": {listed(one['rows'], 3)}" if one.get("rows") else ""
            yield {**one, "name": f"{one['name']}{whose}"}


def _floors(cells: Sequence[Found]) -> str:
    """The best trivial figure; of rows with other truths the lowest and the highest."""
    values = sorted({f"{e['trivial']:.3f}" for e in cells if e["trivial"] is not None}, key=float)
    return "–" if not values else values[0] if len(values) == 1 else f"{values[0]} … {values[-1]}"


def _classes(entries: Sequence[Found], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Tables of single classes, one a share of labels: a row a class, a cell a method."""
    out = []
    for fraction in dict.fromkeys(e["fraction"] for e in entries) if columns else ():
        mine = {(e["column"], e["row"]): e for e in entries if e["fraction"] == fraction}
        methods = list(dict.fromkeys(row for _, row in mine))
        at = {c: [mine[c, m] for m in methods] for c in columns}
        rows = [{"name": title(c), "trivial": _floors(cells), "cells": cells} for c, cells in at.items()]
        score = columns[0].partition("[")[0]
        runs = [_made([mine[c, m] for c in columns]) for m in methods]
        out.append({"fraction": fraction, "methods": methods, "rows": rows, "runs": runs, "score": title(score)})
    return out


def _curve_figures(
    entries: Sequence[Found], columns: Sequence[str], dataset: str, stem: str
) -> Iterator[dict[str, str]]:
    """Curves over the share of labels of the first scores, where there are several shares."""
    for column in columns[:CURVES]:
        rows = [
            {"method": e["row"], "fraction": e["fraction"], "seed": run, "score": value, "dataset": dataset}
            for e in entries
            if e["column"] == column
            for run, value in e["values"].items()
        ]
        file = f"{stem}-fractions-{_plain(column)}"
        if svg := label_fraction(rows, title=title(column), salt=file):
            yield {"file": file, "svg": svg}


def _pair_figures(pairs: Sequence[Found], columns: Sequence[str], stem: str) -> Iterator[dict[str, str]]:
    """The intervals of the paired differences in the first score, a figure a share of labels."""
    first = next((c for c in columns if any(p["metric"] == c for p in pairs)), None)
    for fraction in dict.fromkeys(p["fraction"] for p in pairs):
        rows = [p for p in pairs if p["metric"] == first and p["fraction"] == fraction and p["low"] is not None]
        if first is None or not rows:
            continue
        told = "; ".join(map(_told, rows))
        file = f"{stem}-pairs-{_plain(f'{100 * fraction:g}')}"
        head = f"{title(first)}, {100 * fraction:g} % of the labels"
        words = f"Paired differences with 95 % intervals, {head}: {told}"
        yield {"file": file, "svg": plots.intervals(rows, title=head, loss=first in LOSSES, words=words, salt=file)}


def _told(pair: Found) -> str:
    span = f"{pair['low']:+.3f} to {pair['high']:+.3f}"
    return f"{pair['first']} less {pair['second']} {pair['difference']:+.3f}, {span}: {pair['verdict']}"
