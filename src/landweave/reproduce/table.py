"""The table that runs make: mean and deviation, published figure, trivial predictors, and paired differences.

All scores stand between 0 and 1 here (losses too); the printed form has the published table's unit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from landweave.reproduce.adapt_plan import Slot
from landweave.reproduce.paired import Pair, deviation, difference, with_holm
from landweave.reproduce.plan import Planned
from landweave.reproduce.published import Printed, plain
from landweave.reproduce.shown import Shown

Results = Mapping[str, Mapping[str, Any]]
"""fingerprint of a run -> its line of runs.jsonl."""

WORDS = {
    "oa": "overall accuracy",
    "oa_paper": "overall accuracy",
    "miou_paper": "mean IoU",
    "miou_weighted": "weighted mean IoU",
    "iou": "IoU",
    "aa_existing": "mean recall",
    "macro_f1_all": "macro F1",
    "hamming": "Hamming loss",
}
AVERAGE = "average"
"""The row that folds are summed up in."""


@dataclass(frozen=True)
class Column:
    """One score: averaged, or `of` one class. `published` is the printed column it stands beside."""

    score: str
    of: str = ""
    published: str = ""

    @property
    def key(self) -> str:
        """How the column is called in files: `macro_f1`, `hamming[Urban fabric]`."""
        return f"{self.score}[{self.of}]" if self.of else self.score

    @property
    def title(self) -> str:
        """How it is called in print."""
        task, _, score = self.score.rpartition(".")
        word = WORDS.get(score, score.replace("_", " ").replace("f1", "F1"))
        return self.of or (f"{task} {word}" if task else word)

    def of_run(self, scored: Mapping[str, Any]) -> float | None:
        """Its value among `scores` and `per_class` of one run; None where it is undefined.

        A score that is led by a task (`lpis-1.oa`) is that of this task, of a run that learned it.
        """
        task, _, score = self.score.rpartition(".")
        if task and task != scored.get("task", task):
            scored = scored.get("tasks", {}).get(task, {})
        rows: Sequence[Mapping[str, Any]] = scored.get("per_class", ())
        found = scored.get("scores", {}) if not self.of else next((r for r in rows if _same(r["name"], self.of)), {})
        value = found.get(score)
        return None if value is None or not math.isfinite(value) else float(value)


def _same(one: str, other: str) -> bool:
    return plain(one) == plain(other)


@dataclass(frozen=True)
class Entry:
    """One cell: the values of its runs, and what they are compared with."""

    dataset: str
    fraction: float
    row: str
    column: str
    values: Mapping[int, float]
    planned: int
    mean: float | None
    std: float | None
    published: float | None = None
    published_std: float | None = None
    doubt: str = ""
    trivial: float | None = None
    trivial_name: str = ""
    skill: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less theirs."""
        return None if self.mean is None or self.published is None else self.mean - self.published


@dataclass(frozen=True)
class Trivial:
    """A predictor that looks at no image: its scores by column, the mean over the runs of a dataset and share.

    `rows` are those that it stands beside, where rows have other truths: folds, splits, tasks. Empty: all.
    """

    dataset: str
    fraction: float
    name: str
    values: Mapping[str, float]
    rows: tuple[str, ...] = ()

    def beside(self, row: str) -> bool:
        """Whether it stands beside a row."""
        return not self.rows or row in self.rows


@dataclass(frozen=True)
class Table:
    """Everything that a protocol gave. `ok` is False where a run failed."""

    protocol: Shown
    scale: str
    columns: tuple[Column, ...]
    entries: tuple[Entry, ...]
    trivials: tuple[Trivial, ...]
    pairs: tuple[Pair, ...]
    failures: tuple[tuple[str, str], ...]
    unfinished: int
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=(), compare=False)

    @property
    def ok(self) -> bool:
        """No run failed, and all were made."""
        return not self.failures and not self.unfinished

    @property
    def printed(self) -> Printed | None:
        """The published table."""
        return self.protocol.published

    @property
    def factor(self) -> float:
        """From scores between 0 and 1 to the published unit; percent where nothing is published but losses."""
        return self.printed.factor if self.printed else 1.0

    def get(self, row: str, column: str, *, dataset: str = "", fraction: float | None = None) -> Entry:
        """One cell; the first dataset and share unless named.

        Raises:
            KeyError: there is none.
        """
        for entry in self.entries:
            if (entry.row, entry.column) == (row, column) and _is_at(entry, dataset, fraction):
                return entry
        raise KeyError(f"no cell {row}, {column}, {dataset or 'any dataset'}, {fraction or 'any share'}")

    def pair(self, first: str, second: str, column: str, *, dataset: str = "", fraction: float | None = None) -> Pair:
        """One paired difference.

        Raises:
            KeyError: there is none.
        """
        for pair in self.pairs:
            if (pair.first, pair.second, pair.metric) == (first, second, column) and _is_at(pair, dataset, fraction):
                return pair
        raise KeyError(f"no pair {first}, {second}, {column}")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "protocol": self.protocol.name,
            "title": self.protocol.title or (self.printed.title if self.printed else ""),
            "scale": self.scale,
            "about": self.protocol.scales[self.scale].about,
            "settings": list(self.protocol.settings),
            "folds": self.protocol.folds,
            "ok": self.ok,
            "entries": [{**asdict(e), "difference": e.difference} for e in self.entries],
            "trivials": [asdict(t) for t in self.trivials],
            "pairs": [p.to_json() for p in self.pairs],
            "failures": [{"run": run, "error": error} for run, error in self.failures],
            "unfinished": self.unfinished,
            "notes": list(self.notes),
        }


def _is_at(one: Entry | Pair, dataset: str, fraction: float | None) -> bool:
    return (not dataset or one.dataset == dataset) and (fraction is None or one.fraction == fraction)


def table_of(
    protocol: Shown, scale: str, planned: Sequence[Slot], results: Results, notes: Sequence[str] = ()
) -> Table:
    """The table of the runs that are there."""
    done = {p: results[p.fingerprint] for p in planned if p.fingerprint in results}
    good = {p: row for p, row in done.items() if row["status"] == "ok"}
    columns = columns_of(protocol, list(good.values()))
    trivials = list(_trivials(columns, good))
    entries = list(_entries(protocol, planned, columns, good, trivials))
    if protocol.folds:
        entries += _averages(protocol, columns, entries)
    return Table(
        protocol,
        scale,
        tuple(columns),
        tuple(entries),
        tuple(trivials),
        tuple(_pairs(protocol, entries)),
        tuple((p.key, str(row["error"])) for p, row in done.items() if row["status"] != "ok"),
        len(planned) - len(done),
        tuple(notes),
    )


def columns_of(protocol: Shown, rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The scores of a table: averaged ones, then those of single classes."""
    columns = [Column(m.score, published=m.published) for m in protocol.metrics]
    if not protocol.per_class:
        return columns
    classes = dict(protocol.classes)
    if not classes and protocol.published and not protocol.metrics:
        classes = {name: name for name in protocol.published.columns}
    if not classes:
        classes = {r["name"]: r["name"] for row in rows[:1] for r in row["per_class"]}
    return [*(Column(protocol.per_class, name, printed) for name, printed in classes.items()), *columns]


def _trivials(columns: Sequence[Column], good: Mapping[Slot, Mapping[str, Any]]) -> Iterator[Trivial]:
    at: dict[tuple[str, float, str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for planned, row in good.items():
        way = (planned.scored, planned.without) if isinstance(planned, Planned) else ()
        truth = f"{row.get('task')} {row.get('split')} {row.get('marks', {}).get('data')} {way}"
        for name, scored in row["trivial"].items():
            tasks = {n: r["trivial"][name] for n, r in row.get("tasks", {}).items() if name in r["trivial"]}
            whole = {"task": row.get("task", ""), "tasks": tasks, **scored}
            at.setdefault((planned.dataset, planned.fraction, name, truth), []).append((planned.row, whole))
    for (dataset, fraction, name, _), rows in at.items():
        found = {c.key: [v for v in (c.of_run(r) for _, r in rows) if v is not None] for c in columns}
        values = {key: math.fsum(vs) / len(vs) for key, vs in found.items() if vs}
        alone = sum((dataset, fraction, name) == other[:3] for other in at) == 1
        yield Trivial(dataset, fraction, name, values, () if alone else tuple(dict.fromkeys(r for r, _ in rows)))


def _entries(
    protocol: Shown,
    planned: Sequence[Slot],
    columns: Sequence[Column],
    good: Mapping[Slot, Mapping[str, Any]],
    trivials: Sequence[Trivial],
) -> Iterator[Entry]:
    from landweave.reproduce.trivial import best, skill_of

    printed = protocol.published
    cells = list(dict.fromkeys((p.dataset, p.fraction, p.row) for p in planned))
    for dataset, fraction, row in cells:
        mine = [p for p in planned if (p.dataset, p.fraction, p.row) == (dataset, fraction, row)]
        named = protocol.printed_name(dataset)
        shares = len({f for _, f, _ in cells}) > 1
        for column in columns:
            found = {p.run: column.of_run(good[p]) for p in mine if p in good}
            values = {run: v for run, v in sorted(found.items()) if v is not None}
            floor = best(
                column.score,
                {
                    t.name: t.values[column.key]
                    for t in trivials
                    if (t.dataset, t.fraction) == (dataset, fraction) and column.key in t.values and t.beside(row)
                },
            )
            theirs = mine[0].printed_row
            cell = printed.get(named, theirs, column.published) if printed and column.published and not shares else None
            mean = math.fsum(values.values()) / len(values) if values else None
            spread = deviation(list(values.values()))
            per = printed.factor if printed else 1.0
            yield Entry(
                dataset,
                fraction,
                row,
                column.key,
                values,
                len(mine),
                mean,
                spread if math.isfinite(spread) else None,
                None if cell is None or cell.mean is None else cell.mean / per,
                None if cell is None or cell.std is None else cell.std / per,
                cell.doubt if cell else "",
                floor[1] if floor else None,
                floor[0] if floor else "",
                _finite(skill_of(column.score, mean, floor[1])) if floor and mean is not None else None,
            )


def _averages(protocol: Shown, columns: Sequence[Column], entries: Sequence[Entry]) -> Iterator[Entry]:
    """Of each score the mean over the rows, and the deviation as the paper of the folds prints it: divided by n."""
    printed = protocol.published
    per = printed.factor if printed else 1.0
    for dataset, fraction in dict.fromkeys((e.dataset, e.fraction) for e in entries):
        for column in columns:
            rows = [e for e in entries if (e.dataset, e.fraction, e.column) == (dataset, fraction, column.key)]
            values = {i: e.mean for i, e in enumerate(rows) if e.mean is not None}
            cell = printed.get(protocol.printed_name(dataset), AVERAGE, column.published) if printed else None
            yield Entry(
                dataset,
                fraction,
                AVERAGE,
                column.key,
                values,
                len(rows),
                statistics.fmean(values.values()) if values else None,
                statistics.pstdev(values.values()) if len(values) > 1 else None,
                None if cell is None or cell.mean is None else cell.mean / per,
                None if cell is None or cell.std is None else cell.std / per,
            )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pairs(protocol: Shown, entries: Sequence[Entry]) -> Iterator[Pair]:
    """Each method of `compare` against all others, on the runs that both have."""
    groups = dict.fromkeys((e.dataset, e.fraction, e.column) for e in entries)
    for dataset, fraction, column in groups:
        here = {e.row: e for e in entries if (e.dataset, e.fraction, e.column) == (dataset, fraction, column)}
        found = []
        for i, first in enumerate(f for f in protocol.compare if f in here):
            for second in here:
                if second == first or second in protocol.compare[:i]:
                    continue
                facts = difference(here[first].values, here[second].values)
                if facts["n"]:
                    found.append(Pair(dataset, fraction, column, first, second, **facts))
        yield from with_holm(found)
