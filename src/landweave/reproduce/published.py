"""Published figures: what a paper prints, cell by cell, with the cells that are doubtful and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from landweave.errors import ConfigError, did_you_mean, listed


@dataclass(frozen=True)
class Cell:
    """One printed figure. `mean` is None where it cannot be read; `printed` where its text has unusual decimals."""

    mean: float | None
    std: float | None
    doubt: str = ""
    printed: str = ""


@dataclass(frozen=True)
class Printed:
    """One printed table: its cells by (dataset, row, column), all in the table's own unit.

    `better` is `higher` or `lower`, empty where the figures are no scores; `groups` says to which group of methods a
    row belongs; `underlined` which columns of a row are marked second best; `measure` what all cells are, where it is
    one loss (hamming, brier); `average` the column that is the mean of `classes`.
    """

    name: str
    title: str
    unit: str
    decimals: int
    better: str
    cells: Mapping[tuple[str, str, str], Cell]
    groups: Mapping[tuple[str, str], str] = field(default_factory=dict)
    underlined: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    measure: str = ""
    classes: tuple[str, ...] = ()
    average: str = ""

    @property
    def factor(self) -> float:
        """What a score between 0 and 1 is multiplied by to be in the table's unit."""
        return 100.0 if self.unit == "percent" else 1.0

    @property
    def half(self) -> float:
        """Half a unit of the last printed digit: how far rounding can move a figure."""
        return float(0.5 * 10.0**-self.decimals)

    @property
    def datasets(self) -> list[str]:
        """Datasets in printed order."""
        return list(dict.fromkeys(dataset for dataset, _, _ in self.cells))

    def rows(self, dataset: str) -> list[str]:
        """Rows of a dataset in printed order."""
        return list(dict.fromkeys(row for d, row, _ in self.cells if d == dataset))

    @property
    def columns(self) -> list[str]:
        """Columns in printed order."""
        return list(dict.fromkeys(column for _, _, column in self.cells))

    def get(self, dataset: str, row: str, column: str) -> Cell | None:
        """A cell; names are compared by letters and digits only. None where nothing is printed."""
        return self._by_plain.get((plain(dataset), plain(row), plain(column)))

    @cached_property
    def _by_plain(self) -> dict[tuple[str, str, str], Cell]:
        return {(plain(d), plain(r), plain(c)): cell for (d, r, c), cell in self.cells.items()}

    def column(self, dataset: str, column: str) -> dict[str, float]:
        """The legible means of a column by row."""
        found = {row: self.cells.get((dataset, row, column)) for row in self.rows(dataset)}
        return {row: cell.mean for row, cell in found.items() if cell is not None and cell.mean is not None}


@dataclass(frozen=True)
class Paper:
    """All that is stored of a paper: its tables, the counts and claims of its text, remarks that need a reader."""

    name: str
    title: str
    source: str
    tables: Mapping[str, Printed]
    counts: Mapping[str, Mapping[str, int]]
    fraction: float | None
    prevalence: Mapping[str, Mapping[str, float]]
    prevalence_source: str
    claims: tuple[Mapping[str, Any], ...]
    remarks: tuple[str, ...]


def plain(name: str) -> str:
    """Letters and digits only, in lower case: how names of classes, methods and datasets are compared."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def papers() -> list[str]:
    """Papers with stored figures."""
    folder = Path(str(files("landweave") / "reproduce" / "published"))
    return sorted(p.stem for p in folder.glob("*.json"))


@cache
def paper(name: str) -> Paper:
    """What is stored of a paper.

    Raises:
        ConfigError: there is nothing of that name.
    """
    known = papers()
    if name not in known:
        raise ConfigError(f"no paper `{name}`{did_you_mean(name, known)}", fix=f"use one of {listed(known)}")
    file = Path(str(files("landweave") / "reproduce" / "published" / f"{name}.json"))
    raw = json.loads(file.read_text(encoding="utf-8"))
    shares = dict(raw.get("prevalence", {}))
    return Paper(
        name=name,
        title=raw["title"],
        source=raw["source"],
        tables={key: _table(key, table) for key, table in raw["tables"].items()},
        counts=raw.get("counts", {}),
        fraction=raw.get("fraction"),
        prevalence_source=str(shares.pop("source", "")),
        prevalence=shares,
        claims=tuple(raw.get("claims", ())),
        remarks=tuple(raw.get("remarks", ())),
    )


def _table(name: str, raw: Mapping[str, Any]) -> Printed:
    rows = raw["rows"]
    return Printed(
        name=name,
        title=raw["title"],
        unit=raw["unit"],
        decimals=raw["decimals"],
        better=raw["better"],
        cells=dict(_cells(rows)),
        groups={(r["dataset"], r["row"]): r["group"] for r in rows if "group" in r},
        underlined={(r["dataset"], r["row"]): tuple(r["underlined"]) for r in rows if "underlined" in r},
        measure=raw.get("measure", ""),
        classes=tuple(raw.get("classes", ())),
        average=raw.get("average", ""),
    )


def _cells(rows: Any) -> Iterator[tuple[tuple[str, str, str], Cell]]:
    for row in rows:
        for column, (mean, std) in row["values"].items():
            doubt = row.get("doubts", {}).get(column, "")
            printed = row.get("printed", {}).get(column, "")
            yield (row["dataset"], row["row"], column), Cell(mean, std, doubt, printed)
