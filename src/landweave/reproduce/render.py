"""The table for people: lines for a terminal, Markdown, CSV and JSON. All four are made from the same sections."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from landweave.columns import aligned, piped
from landweave.errors import listed
from landweave.files import write_json, write_text
from landweave.reproduce.paired import Pair
from landweave.reproduce.published import Printed
from landweave.reproduce.table import AVERAGE, Column, Entry, Table

NOTHING = "-"
MANY = 12
"""Classes and scores, more than which are shown as rows."""


@dataclass(frozen=True)
class Section:
    """A heading, a table of texts, and what is to be said under it. `brief`: it is shown in a terminal too.

    `keys` is how many of the first columns say what a row is of.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    brief: bool = True
    keys: int = 1


def write(table: Table, folder: Path) -> list[Path]:
    """`NAME.md`, `NAME.json` and `NAME.csv` in a folder."""
    name = table.protocol.name.replace("/", "-")
    return [
        write_text(folder / f"{name}.md", "\n".join(markdown(table)) + "\n"),
        write_json(folder / f"{name}.json", table.to_json()),
        write_text(folder / f"{name}.csv", comma_separated(table)),
    ]


def lines(table: Table, *, width: int = 0) -> Iterator[str]:
    """The table for a terminal, of `width` characters if given; wider tables go on below themselves."""
    yield _heading(table)
    for section in sections(table):
        if section.brief:
            yield ""
            yield section.title
            yield from aligned(section.header, section.rows, keys=section.keys, width=width)
            yield from (f"  {note}" for note in section.notes)
    yield from _ends(table)


def markdown(table: Table) -> Iterator[str]:
    """The whole table, all paired differences with it."""
    yield f"# {_heading(table)}"
    for section in sections(table):
        yield ""
        yield f"## {section.title}"
        yield ""
        yield from piped(section.header, section.rows)
        if section.notes:
            yield ""
            yield from (f"- {note}" for note in section.notes)
    yield ""
    yield from (f"- {line}" for line in _ends(table))


def comma_separated(table: Table) -> str:
    """A line a cell; scores between 0 and 1."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    named = {c.key: c for c in table.columns}
    fields = ("mean", "std", "published", "published_std", "difference", "trivial", "trivial_name", "skill", "doubt")
    writer.writerow(["dataset", "fraction", "method", "score", "class", "runs", "planned", *fields])
    for e in table.entries:
        column = named[e.column]
        cells = ["" if getattr(e, f) is None else getattr(e, f) for f in fields]
        writer.writerow([e.dataset, e.fraction, e.row, column.score, column.of, len(e.values), e.planned, *cells])
    return out.getvalue()


def sections(table: Table) -> Iterator[Section]:
    """All parts, dataset by dataset."""
    for dataset in dict.fromkeys(e.dataset for e in table.entries):
        mine = [e for e in table.entries if e.dataset == dataset]
        if _by_class(table):
            for fraction in dict.fromkeys(e.fraction for e in mine):
                yield _classes(table, dataset, fraction, [e for e in mine if e.fraction == fraction])
        else:
            yield _methods(table, dataset, mine)
            if any(e.skill is not None for e in mine):
                yield _skills(table, dataset, mine)
        yield from _paired(table, dataset)


def _by_class(table: Table) -> bool:
    """Whether classes are rows and methods columns: where all columns are classes, or too many for a line."""
    single = sum(bool(c.of) for c in table.columns)
    return single > 0 and (single == len(table.columns) or len(table.columns) > MANY)


# ---- methods as rows


def _methods(table: Table, dataset: str, entries: Sequence[Entry]) -> Section:
    """Ours, theirs and the difference of each score; of a score that nobody published, ours alone."""
    theirs = {e.column for e in entries if e.published is not None}
    parts = {c.key: ("", " (paper)", " (difference)") if c.key in theirs else ("",) for c in table.columns}
    header = ("method", "labels", "runs", *(f"{c.title}{part}" for c in table.columns for part in parts[c.key]))
    rows: list[tuple[str, ...]] = []
    for fraction, row in dict.fromkeys((e.fraction, e.row) for e in entries):
        mine = {e.column: e for e in entries if (e.fraction, e.row) == (fraction, row)}
        runs = max(mine.values(), key=lambda e: len(e.values))  # a row of another task has no value of the first
        cells = [cell for c in table.columns for cell in _cells(table, mine[c.key], c.key in theirs)]
        rows.append((row, _share(fraction), _runs(runs), *cells))
    for t in (t for t in table.trivials if t.dataset == dataset and t.values):
        known = [_score(table, t.values.get(c.key)) for c in table.columns]
        cells = [x for c, v in zip(table.columns, known, strict=True) for x in (v, *[""] * (len(parts[c.key]) - 1))]
        whose = f": {listed(t.rows, 3)}" if t.rows else ""
        rows.append((f"({t.name}{whose})", _share(t.fraction), "", *cells))
    return Section(
        f"{dataset}: mean ± standard deviation over runs, {_unit(table)}",
        header,
        tuple(rows),
        tuple(_doubts(table, entries)),
        keys=3,
    )


def _unit(table: Table) -> str:
    if table.factor == 100:
        return "percent"
    return "as printed" if table.printed and table.printed.unit == "loss" else "between 0 and 1"


def _cells(table: Table, entry: Entry, theirs: bool) -> list[str]:
    ours = _with_spread(table, entry.mean, entry.std)
    if not theirs:
        return [ours]
    printed = _with_spread(table, entry.published, entry.published_std) + ("?" if entry.doubt else "")
    return [ours, printed, _signed(table, entry.difference)]


def _skills(table: Table, dataset: str, entries: Sequence[Entry]) -> Section:
    """What the scores are worth beside the best trivial predictor."""
    header = ("method", "labels", *(c.title for c in table.columns))
    rows = []
    for fraction, row in dict.fromkeys((e.fraction, e.row) for e in entries):
        mine = {e.column: e for e in entries if (e.fraction, e.row) == (fraction, row)}
        values = [mine[c.key].skill for c in table.columns]
        rows.append((row, _share(fraction), *(NOTHING if v is None else f"{v:+.2f}" for v in values)))
    best = {table_column: name for table_column, name in ((e.column, e.trivial_name) for e in entries) if name}
    which = ", ".join(f"{c.title}: {best[c.key]}" for c in table.columns if c.key in best)
    note = f"0: no better than the best predictor that looks at no image ({which}); 1: perfect"
    return Section(f"{dataset}: skill", header, tuple(rows), (note,), keys=2)


# ---- classes as rows


def _classes(table: Table, dataset: str, fraction: float, entries: Sequence[Entry]) -> Section:
    """A row a class, a column a method: ours, and the published figure in brackets."""
    names = list(dict.fromkeys(e.row for e in entries))
    cells = {(e.column, e.row): e for e in entries}
    rows = []
    for column in table.columns:
        mine = [cells[column.key, name] for name in names]
        rows.append((column.title, _floors(table, mine), *(_bracketed(table, e) for e in mine)))
    score = table.columns[0].score
    said = ", ".join(sorted({e.trivial_name for e in entries if e.trivial_name}))
    runs = ", ".join(f"{name} {_runs(cells[table.columns[0].key, name])}" for name in names)
    skills = [e.skill for e in entries if e.skill is not None]
    below = sum(s <= 0 for s in skills)
    notes = (
        f"in brackets the published figure; trivial: the best of the predictors that look at no image ({said})",
        f"{below} of {len(skills)} cells are no better than trivial",
        f"runs: {runs}",
        *_doubts(table, entries),
    )
    title = f"{dataset}, {_share(fraction)} of the labels: {Column(score).title} by class"
    return Section(title, ("class", "trivial", *names), tuple(rows), notes, keys=2)


def _floors(table: Table, entries: Sequence[Entry]) -> str:
    """The best trivial figure; of rows with other truths the lowest and the highest."""
    values = sorted({_score(table, e.trivial) for e in entries if e.trivial is not None}, key=float)
    return NOTHING if not values else values[0] if len(values) == 1 else f"{values[0]} ... {values[-1]}"


def _bracketed(table: Table, entry: Entry) -> str:
    ours = _with_spread(table, entry.mean, entry.std) if table.protocol.folds else _score(table, entry.mean)
    if entry.published is None:
        return ours
    theirs = _with_spread(table, entry.published, entry.published_std)
    return f"{ours} ({theirs}{'?' if entry.doubt else ''})"


# ---- pairs


def _paired(table: Table, dataset: str) -> Iterator[Section]:
    mine = [p for p in table.pairs if p.dataset == dataset]
    if not mine:
        return
    headline = set(table.protocol.headline) or {c.key for c in table.columns[:2]}
    brief, rest = [p for p in mine if p.metric in headline], [p for p in mine if p.metric not in headline]
    if _by_class(table):
        yield _by_pair(table, dataset, mine)
        brief, rest = [], mine
    for pairs, shown in ((brief, True), (rest, False)):
        if pairs:
            title = f"{dataset}: paired differences, same labelled places and seeds"
            yield Section(
                title if shown else f"{title}, other scores",
                ("score", "labels", "pair", "runs", "difference", "95 % interval", "first is", "p (Holm)"),
                tuple(_pair(table, p) for p in pairs),
                ("Student's t on the differences by run; Holm: corrected for the pairs of one score", *_flat(pairs)),
                brief=shown,
                keys=3,
            )


def _pair(table: Table, pair: Pair) -> tuple[str, ...]:
    named = {c.key: c for c in table.columns}
    interval = NOTHING if pair.low is None else f"{_signed(table, pair.low)} ... {_signed(table, pair.high)}"
    p = NOTHING if pair.holm is None else f"{pair.holm:.3f}"
    return (
        named[pair.metric].title,
        _share(pair.fraction),
        f"{pair.first} - {pair.second}",
        str(pair.n),
        _signed(table, pair.difference),
        interval,
        pair.verdict,
        p,
    )


def _by_pair(table: Table, dataset: str, pairs: Sequence[Pair]) -> Section:
    """Over all classes: in how many the first is higher, lower, or cannot be told from the second."""
    rows = []
    for key in dict.fromkeys((p.fraction, p.first, p.second) for p in pairs):
        mine = [p.verdict for p in pairs if (p.fraction, p.first, p.second) == key]
        counts = [str(mine.count(v)) for v in ("lower", "higher", "not distinguishable", "too few runs")]
        rows.append((_share(key[0]), f"{key[1]} - {key[2]}", *counts))
    header = ("labels", "pair", "lower", "higher", "not distinguishable", "too few runs")
    return Section(f"{dataset}: classes by paired difference", header, tuple(rows), tuple(_flat(pairs)), keys=2)


def _flat(pairs: Sequence[Pair]) -> Iterator[str]:
    """Why pairs of several runs may have no interval, where there are such."""
    if any(p.n > 1 and p.low is None for p in pairs):
        yield "too few runs: fewer than two, or the same difference in all, which tells nothing of its spread"


# ---- texts


def _heading(table: Table) -> str:
    title = table.protocol.title or (table.printed.title if table.printed else "")
    return f"{table.protocol.name}, scale {table.scale}" + (f": {title}" if title else "")


def _ends(table: Table) -> Iterator[str]:
    yield ""
    for run, error in table.failures:
        yield f"failed: {run}: {error}"
    if table.unfinished:
        yield f"{table.unfinished} runs are not made yet"
    if table.protocol.folds:
        yield f"{AVERAGE}: over the rows, ± the deviation of a population (divided by their number), as it is published"
    yield from table.notes
    about = table.protocol.scales[table.scale].about
    if about:
        yield f"scale {table.scale}: {about}"
    yield from table.protocol.settings


def _doubts(table: Table, entries: Sequence[Entry]) -> Iterator[str]:
    named = {c.key: c for c in table.columns}
    for e in entries:
        if e.doubt:
            yield f"? {e.row}, {named[e.column].title} as published: {e.doubt}"


def _share(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _runs(entry: Entry) -> str:
    return str(len(entry.values)) if len(entry.values) == entry.planned else f"{len(entry.values)} of {entry.planned}"


def _decimals(table: Table) -> int:
    """One digit more than printed, where whole numbers are printed; two of a percentage, three of a share."""
    printed: Printed | None = table.printed
    return 3 if table.factor == 1 else max(1, printed.decimals if printed else 2)


def _score(table: Table, value: float | None) -> str:
    return NOTHING if value is None else f"{value * table.factor:.{_decimals(table)}f}"


def _with_spread(table: Table, mean: float | None, std: float | None) -> str:
    return _score(table, mean) + (f" ± {_score(table, std)}" if std is not None else "")


def _signed(table: Table, value: float | None) -> str:
    return NOTHING if value is None else f"{value * table.factor:+.{_decimals(table)}f}"
