"""Claims on cells: what a text says of the difference of two, and figures that follow from others by arithmetic.

Printed figures are rounded, and so is the text that speaks of them. A difference agrees where the figures before
rounding can have had it; what is said of it and what the table gives both stand in the finding.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from landweave.reproduce.checks import Finding, Verdict, figure
from landweave.reproduce.published import Paper, Printed

Claim = Mapping[str, Any]


def gain(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """One row is so much ahead of another in a column."""
    table, column = paper.tables[claim["table"]], claim["column"]
    a, b = (_cell(table, claim[key], column) for key in ("row", "of"))
    yield _difference(claim, a - b, f"{claim['row']} less {claim['of']}", table, of=f"{table.name}, {_words(column)}")


def gain_across(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """The same of cells of two tables."""
    (first, a), (second, b) = (_at(paper, claim[key]) for key in ("first", "second"))
    names = [f"{name} {row}" for name, row, _ in (claim["first"], claim["second"])]
    yield _difference(claim, a - b, " less ".join(names), first if first.half > second.half else second)


def gap(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """The best of some rows is so much ahead of the worst."""
    table, column = paper.tables[claim["table"]], claim["column"]
    values = {row: _cell(table, row, column) for row in claim["rows"]}
    low, high = min(values, key=lambda r: values[r]), max(values, key=lambda r: values[r])
    yield _difference(claim, values[high] - values[low], f"{high} less {low}", table, of=f"{table.name}, {column}")


def _difference(claim: Claim, found: float, what: str, table: Printed, *, of: str = "") -> Finding:
    off = abs(found - claim["by"])
    same, possible = off < 0.5 * table.half, off <= 3 * table.half + 1e-9
    more = "" if same else ", the same before rounding" if possible else f", {off:.{table.decimals}f} off"
    where = claim["where"] + (f", against {of}" if of else "")
    said = f"{what}: {found:+.{table.decimals}f}{more}"
    return Finding(where, claim["says"], f"{claim['by']:+g}", said, "agrees" if possible else "disagrees")


def equal(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Two rows have the same figures in every column that both tables print, or in those that are named.

    `columns` may name a column of the second table for one of the first.
    """
    (first, row), (second, other) = ((paper.tables[name], row) for name, row in (claim["first"], claim["second"]))
    named = claim.get("columns") or [c for c in first.columns if c in second.columns]
    pairs = dict(named) if isinstance(named, Mapping) else dict.fromkeys(named)
    shared, unlike = 0, []
    for column, theirs in pairs.items():
        a = first.get(first.datasets[0], row, column)
        b = second.get(second.datasets[0], other, theirs or column)
        if a is None or b is None:
            continue
        shared += 1
        if a.mean != b.mean:
            unlike.append(f"{_words(column)} {a.mean:g} and {b.mean:g}")
    said = f"{shared} shared figures, " + (f"unlike: {'; '.join(unlike)}" if unlike else "all equal")
    names = f"{first.name} {row} and {second.name} {other}"
    yield Finding(claim["where"], claim["says"], names, said, "disagrees" if unlike or not shared else "agrees")


def weighted(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A printed mean over classes, beside the plain mean and the one by how frequent the classes are."""
    table, (name, share) = paper.tables[claim["table"]], claim["weights"]
    printed = _cell(table, claim["row"], claim["column"])
    shares = paper.tables[name].column(table.datasets[0], share)
    values = {c: _cell(table, claim["row"], c) for c in table.classes if _has(table, claim["row"], c)}
    plain = statistics.fmean(values.values())
    total = math.fsum(shares[c] for c in values)
    found = math.fsum(values[c] * shares[c] for c in values) / total
    near = abs(found - printed) <= 2 * table.half
    odd = abs(plain - printed) > 2 * table.half
    said = f"plain mean of {len(values)} classes {plain:.2f}, weighted by the pixels of {name} {found:.2f}"
    if odd and near:
        said += ": the printed figure is the weighted one"
    verdict: Verdict = "disagrees" if odd else "agrees"
    yield Finding(claim["where"], claim["says"], figure(printed, table), said, verdict)


def moves(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """From one row to another, columns go up (or down, by `by` at least), and those of `except` the other way."""
    table, way = paper.tables[claim["table"]], 1 if claim["way"] == "up" else -1
    least, out = claim.get("by", 0.0), []
    for column in claim["columns"]:
        change = _cell(table, claim["row"], column) - _cell(table, claim["of"], column)
        wanted = -way if column in claim.get("except", ()) else way
        if change * wanted < least or change == 0:
            out.append(f"{_words(column)} {change:+.{table.decimals}f}")
    said = f"{len(claim['columns']) - len(out)} of {len(claim['columns'])} do" + (
        f"; not {', '.join(out)}" if out else ""
    )
    yield _finding(claim, table, said, bad=bool(out))


def vanish(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Columns of a row are 0."""
    table = paper.tables[claim["table"]]
    values = {c: _cell(table, claim["row"], c) for c in claim["columns"]}
    said = ", ".join(f"{_words(c)} {figure(v, table)}" for c, v in values.items())
    yield _finding(claim, table, said, bad=any(v > table.half for v in values.values()))


def spread_of(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """All rows but some are at least so high, and those are not."""
    table = paper.tables[claim["table"]]
    values = table.column(table.datasets[0], claim["column"])
    low = [row for row, v in values.items() if v <= claim["least"] and row not in claim["without"]]
    said = "; ".join(f"{row} {figure(v, table)}" for row, v in values.items())
    yield _finding(claim, table, said, bad=bool(low))


def leads(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A class is more than so much ahead of all others, in every row."""
    table, behind, rows = paper.tables[claim["table"]], [], 0
    for row in table.rows(table.datasets[0]):
        if row in claim.get("without", ()):
            continue
        rows += 1
        values = {c: _cell(table, row, c) for c in claim["classes"] if _has(table, row, c)}
        mine = values.pop(claim["column"])
        best = max(values, key=lambda c: values[c])
        if mine - values[best] <= claim["by"]:
            behind.append(f"{row} {mine - values[best]:.{table.decimals}f} ({_words(best)})")
    said = f"{rows - len(behind)} of {rows} rows" + (f"; not {', '.join(behind)}" if behind else "")
    yield _finding(claim, table, said, bad=bool(behind))


def sums(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A column adds up to so much, `within` some; or some of its rows to `least` so much.

    `times_row`: each figure times the number that its row is called; `each`: all times that.
    """
    table = paper.tables[claim["table"]]
    values = table.column(table.datasets[0], claim["column"])
    rows = claim.get("rows", values)
    total = math.fsum(values[r] * (float(r) if claim.get("times_row") else 1) for r in rows) * claim.get("each", 1)
    if "least" in claim:
        good, wanted = total >= claim["least"], f"more than {claim['least']:,}"
    else:
        good, wanted = abs(total - claim["is"]) <= claim.get("within", 0) + 1e-9, f"{claim['is']:,}"
    off = "" if "least" in claim or abs(total - claim["is"]) < 1e-9 else f", {total - claim['is']:+,.2f}".rstrip("0")
    where = f"{claim['where']}, {_words(claim['column'])}"
    yield Finding(
        where, claim["says"], wanted, f"{total:,.2f}".rstrip("0").rstrip(".") + off.rstrip("."), _verdict(good)
    )


def shares(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A column of percentages follows from one of counts."""
    table = paper.tables[claim["table"]]
    counts, printed = (table.column(table.datasets[0], c) for c in claim["columns"])
    total = math.fsum(counts.values())
    off = {row: 100 * n / total for row, n in counts.items() if abs(100 * n / total - printed[row]) > table.half + 1e-9}
    said = f"{len(counts) - len(off)} of {len(counts)}" + "".join(
        f"; {r} {v:.3f}, not {printed[r]}" for r, v in off.items()
    )
    yield _finding(claim, table, said, bad=bool(off))


def product(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Two columns multiply to the same in every row."""
    table = paper.tables[claim["table"]]
    a, b = (table.column(table.datasets[0], c) for c in claim["columns"])
    off = {row: a[row] * b[row] for row in a if abs(a[row] * b[row] - claim["is"]) > 1e-6}
    said = f"{len(a) - len(off)} of {len(a)} rows give {claim['is']}"
    yield _finding(claim, table, said, bad=bool(off))


def pooled(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Means and deviations of a whole follow from those of its parts, weighted by how many patches each has."""
    table = paper.tables[claim["table"]]
    dataset = table.datasets[0]
    counts = [paper.counts[dataset][part] for part in claim["parts"]]
    worst, at = 0.0, ""
    for row in table.rows(dataset):
        means, stds = ([_cell(table, row, f"{p}_{what}") for p in claim["parts"]] for what in ("mean", "std"))
        mean = math.fsum(n * m for n, m in zip(counts, means, strict=True)) / sum(counts)
        second = math.fsum(n * (s * s + m * m) for n, m, s in zip(counts, means, stds, strict=True)) / sum(counts)
        found = {"mean": mean, "std": math.sqrt(second - mean * mean)}
        for what, value in found.items():
            off = abs(value - _cell(table, row, f"{claim['whole']}_{what}"))
            if off > worst:
                worst, at = off, f"{row}, {what}"
    good = worst <= 4 * table.half
    yield _finding(claim, table, f"largest distance {worst:.3f} ({at})", bad=not good)


def deviation(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A row of means over the other rows, with deviations: of a population (divided by n) or of a sample (n - 1)?"""
    table = paper.tables[claim["table"]]
    dataset = table.datasets[0]
    rows = [r for r in table.rows(dataset) if r != claim["row"]]
    off, fits, cells = [], {"population": 0, "sample": 0}, 0
    for column in table.columns:
        cell = table.get(dataset, claim["row"], column)
        if cell is None or cell.mean is None or cell.std is None:
            continue
        values = [_cell(table, row, column) for row in rows]
        mean = statistics.fmean(values)
        slack = (0.5 if column == "best_epoch" else 2 * table.half) + 1e-9  # epochs are whole numbers
        if abs(mean - cell.mean) > slack:
            off.append(f"{_words(column)} {figure(cell.mean, table)}, not {mean:.2f}")
        cells += 1
        for name, found in (("population", statistics.pstdev(values)), ("sample", statistics.stdev(values))):
            fits[name] += abs(found - cell.std) <= slack
    said = "; ".join(off) or f"all {cells} averages agree"
    yield _finding(claim, table, said, bad=bool(off))
    whole = f"{fits['population']} of {cells} are those of a population (divided by {len(rows)})"
    told = f"{whole}, {fits['sample']} of a sample"
    verdict: Verdict = "doubtful" if fits["population"] > fits["sample"] else "agrees"
    yield Finding(
        f"{claim['where']}, against {table.name}", "deviations of a sample of folds", "± deviation", told, verdict
    )


KINDS: Mapping[str, Callable[[Paper, Claim], Iterator[Finding]]] = {
    "gain": gain,
    "gain-across": gain_across,
    "gap": gap,
    "equal": equal,
    "weighted": weighted,
    "moves": moves,
    "vanish": vanish,
    "spread-of": spread_of,
    "leads": leads,
    "sums": sums,
    "shares": shares,
    "product": product,
    "pooled": pooled,
    "deviation": deviation,
}


def _cell(table: Printed, row: str, column: str) -> float:
    cell = table.get(table.datasets[0], row, column)
    if cell is None or cell.mean is None:
        raise KeyError(f"{table.name} prints nothing at {row}, {column}")
    return cell.mean


def _at(paper: Paper, where: Sequence[str]) -> tuple[Printed, float]:
    name, row, column = where
    return paper.tables[name], _cell(paper.tables[name], row, column)


def _has(table: Printed, row: str, column: str) -> bool:
    cell = table.get(table.datasets[0], row, column)
    return cell is not None and cell.mean is not None


def _words(column: str) -> str:
    return column.replace("_", " ")


def _verdict(good: bool) -> Verdict:
    return "agrees" if good else "disagrees"


def _finding(claim: Claim, table: Printed, said: str, *, bad: bool) -> Finding:
    return Finding(f"{claim['where']}, against {table.name}", claim["says"], "the text", said, _verdict(not bad))
