"""What a paper's text says of its tables, checked against them. Claims are stored as data, with where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from landweave.reproduce import cell_claims, row_claims
from landweave.reproduce.checks import Finding, Verdict
from landweave.reproduce.published import Paper, Printed

Claim = Mapping[str, Any]


def claims(paper: Paper) -> Iterator[Finding]:
    """Every stored claim."""
    for claim in paper.claims:
        yield from KINDS[claim["kind"]](paper, claim)


def _best(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A row has the best figure of each column; a tie is no win."""
    for table, dataset in _places(paper, claim):
        behind, ties, columns = [], [], claim.get("columns", table.columns)
        for column in columns:
            values = table.column(dataset, column)
            mine = values.pop(claim["row"])
            ahead = [row for row, v in values.items() if (v > mine if table.better == "higher" else v < mine)]
            if ahead:
                theirs = ", ".join(f"{row} {_text(values[row], table)}" for row in ahead)
                behind.append(f"{_words(column)} {_text(mine, table)}: behind {theirs}")
            elif mine in values.values():
                ties.append(_words(column))
        said = "; ".join(behind) + (f"; {len(ties)} ties" if ties else "")
        verdict: Verdict = "disagrees" if behind else "doubtful" if ties else "agrees"
        yield _finding(claim, table, dataset, said.lstrip("; ") or f"best in all {len(columns)}", verdict)


def _outperform(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Rows are ahead of all rows of the other groups in every column."""
    for table, dataset in _places(paper, claim):
        for row in claim["rows"]:
            others = [r for r in table.rows(dataset) if r not in claim["rows"]]
            found = []
            for column in table.columns:
                values = table.column(dataset, column)
                ahead = [r for r in others if values[r] > values[row]]
                if ahead:
                    theirs = ", ".join(f"{r} {_text(values[r], table)}" for r in ahead)
                    found.append(f"{_words(column)} {_text(values[row], table)} below {theirs}")
            said = f"{row}: " + ("; ".join(found) or "ahead of all")
            yield _finding(claim, table, dataset, said, "disagrees" if found else "agrees")


def _ahead(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A row is ahead of another by about so much. Doubtful if off by half of it or more, false if it is not ahead."""
    for table, dataset in _places(paper, claim):
        for column in claim["columns"]:
            values = table.column(dataset, column)
            gap = values[claim["row"]] - values[claim["of"]]
            off = abs(gap - claim["by"])
            verdict: Verdict = "disagrees" if gap <= 0 else "doubtful" if off >= claim["by"] / 2 else "agrees"
            yield _finding(claim, table, dataset, f"{_words(column)}: {gap:+.{table.decimals}f}", verdict)


def _same(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Cells that stand in two tables are the same."""
    first, second = (paper.tables[name] for name in claim["tables"])
    shared, unlike = 0, []
    for (dataset, row, column), cell in first.cells.items():
        other = second.get(dataset, row, column)
        if other is None:
            continue
        shared += 1
        if (cell.mean, cell.std) != (other.mean, other.std):
            unlike.append(f"{row}, {column}: {cell.mean} and {other.mean}")
    said = f"{shared} shared cells, " + ("; ".join(unlike) or "all equal")
    yield _finding(claim, first, "", said, "disagrees" if unlike or not shared else "agrees")


def _easy(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Classes printed as 0.00 are easy; or so rare that never naming them is printed as 0.00 too."""
    for table, dataset in _places(paper, claim):
        shares = paper.prevalence.get(dataset, {})
        zero = [c for c in table.columns if table.column(dataset, c)[claim["row"]] == 0]
        rare = [c for c in zero if shares[c] < table.half]
        said = f"{len(rare)} of the {len(zero)} are so rare that never naming them is printed as 0 too: "
        said += ", ".join(f"{c} ({100 * shares[c]:.2f} % of places)" for c in rare)
        yield _finding(claim, table, dataset, said, "disagrees" if rare else "agrees")


def _both_better(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Nothing with one sensor is above the same score with both, which stands in another table."""
    table, whole = paper.tables[claim["table"]], paper.tables[claim["reference"]]
    dataset = claim["dataset"]
    for row in claim["rows"]:
        found = []
        for column in (c for c in table.columns if c in whole.columns):
            full = whole.column(dataset, column)[row] / whole.factor
            for one, value in table.column(dataset, column).items():
                if value / table.factor - table.half / table.factor > full:
                    found.append(f"{_words(column)} {_text(value, table)} ({one}) above {full:.4f}")
        said = f"against {row} of {whole.name}: " + ("; ".join(found) or "below in all")
        yield _finding(claim, table, dataset, said, "disagrees" if found else "agrees")


def _unreadable(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A claim on a figure whose values are not in the text."""
    yield Finding(claim["where"], claim["says"], "a figure", "no value of it can be read", "doubtful")


KINDS: Mapping[str, Callable[[Paper, Claim], Iterator[Finding]]] = {
    "best": _best,
    "outperform": _outperform,
    "ahead": _ahead,
    "same": _same,
    "easy": _easy,
    "both-better": _both_better,
    "unreadable": _unreadable,
    **row_claims.KINDS,
    **cell_claims.KINDS,
}


def _places(paper: Paper, claim: Claim) -> Iterator[tuple[Printed, str]]:
    for name in claim["tables"]:
        table = paper.tables[name]
        for dataset in table.datasets:
            if claim.get("dataset", dataset) == dataset:
                yield table, dataset


def _finding(claim: Claim, table: Printed, dataset: str, said: str, verdict: Verdict) -> Finding:
    where = f"{claim['where']}, against {table.name}" + (f", {dataset}" if dataset else "")
    return Finding(where, claim["says"], "the text", said, verdict)


def _text(value: float, table: Printed) -> str:
    return f"{value:.{table.decimals}f}"


def _words(column: str) -> str:
    return column.replace("_", " ") if column.islower() else column
