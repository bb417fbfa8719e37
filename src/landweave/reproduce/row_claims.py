"""Claims that compare the columns, rows and ends of tables: what a text says of many rows at once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from landweave.reproduce.checks import Finding, Verdict, figure
from landweave.reproduce.published import Paper, Printed

Claim = Mapping[str, Any]
LEVEL = 0.05
"""Of the sign test."""
MANY_TIMES = 10
"""A mean over classes that varies so much more between runs, for its size, than the IoU of the same maps, jumps."""
NEAR = 0.03
"""How far a ratio of two levels may lie from that of a class more in the denominator."""


def marked(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """The row that is highlighted as the highest or lowest of a column is that."""
    table = paper.tables[claim["table"]]
    values = _column(table, claim["column"], claim.get("without", ()))
    end = min if claim["end"] == "lowest" else max
    found = end(values, key=lambda row: values[row])
    mine, theirs = figure(values[claim["row"]], table), figure(values[found], table)
    said = f"{found} {theirs}" + ("" if found == claim["row"] else f", and {claim['row']} {mine}")
    yield _finding(claim, table, claim["column"], said, bad=values[found] != values[claim["row"]])


def near(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Columns of two tables that are said to be of the same experiments are `within` so much of each other."""
    first, second = (paper.tables[name] for name in claim["tables"])
    a, b = (_column(t, c) for t, c in zip((first, second), claim["columns"], strict=True))
    shared = [row for row in a if row in b]
    apart = [r for r in shared if abs(a[r] - b[r]) > claim["within"] + first.half + second.half]
    told = "; ".join(f"{r}: {figure(a[r], first)} and {figure(b[r], second)}" for r in apart)
    said = f"{len(shared)} shared rows, {len(apart)} more than {claim['within']} apart" + (f": {told}" if told else "")
    where = f"{claim['where']}, {claim['columns'][0]} and {claim['columns'][1]}"
    yield Finding(where, claim["says"], "two tables", said, "disagrees" if apart else "agrees")


def ahead_everywhere(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """One column is above another in every row that has both."""
    table, gaps = _gaps(paper, claim)
    behind = [f"{row} {gap:+.{table.decimals}f}" for row, gap in gaps.items() if gap <= 0]
    said = f"ahead in {len(gaps) - len(behind)} of {len(gaps)}" + (f"; not in {', '.join(behind)}" if behind else "")
    yield _finding(claim, table, "", said, bad=bool(behind))


def gains(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Rows of so many bands gain between two bounds, which are rounded like the text that says them."""
    table, gaps = _gaps(paper, claim)
    low, high = claim["between"]
    slack = 0.5 if all(float(x).is_integer() for x in (low, high)) else 0.05
    mine = {row: gap for row, gap in gaps.items() if _has(row, claim["bands"])}
    outside = [row for row, gap in mine.items() if not low - slack <= gap <= high + slack]
    told = ", ".join(f"{row} {gap:+.{table.decimals}f}" for row, gap in mine.items())
    said = f"{told}; {len(outside)} of {len(mine)} outside"
    yield _finding(claim, table, "", said, bad=bool(outside))


def bounds(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """All figures of a column lie between two bounds."""
    table = paper.tables[claim["table"]]
    values = _column(table, claim["column"], claim.get("without", ()))
    low, high = claim["between"]
    outside = {row: v for row, v in values.items() if not low <= v <= high}
    told = ", ".join(f"{row} {figure(v, table)}" for row, v in outside.items())
    yield _finding(claim, table, claim["column"], f"not {told}" if told else "all are", bad=bool(outside))


def control(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Rows of so many bands lie within so much of one row of another column."""
    table = paper.tables[claim["table"]]
    values = _column(table, claim["columns"][0], (claim["row"],))
    base = _column(table, claim["columns"][1])[claim["row"]]
    gaps = {row: v - base for row, v in values.items() if _has(row, claim["bands"])}
    outside = {row: gap for row, gap in gaps.items() if abs(gap) > claim["within"] + 2 * table.half}
    told = ", ".join(f"{row} {gap:+.{table.decimals}f}" for row, gap in outside.items())
    said = f"{len(outside)} of {len(gaps)} are not" + (f": {told}" if told else "")
    yield _finding(claim, table, "", said, bad=bool(outside))


def spread(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A column spans at most so much."""
    table = paper.tables[claim["table"]]
    values = _column(table, claim["column"])
    low, high = min(values, key=lambda r: values[r]), max(values, key=lambda r: values[r])
    width = values[high] - values[low]
    said = (
        f"{width:.{table.decimals}f}, from {low} {figure(values[low], table)} to {high} {figure(values[high], table)}"
    )
    yield _finding(claim, table, claim["column"], said, bad=width > claim["within"] + 2 * table.half)


def wins(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """One column is ahead of another in so many rows."""
    table, gaps = _gaps(paper, claim)
    ahead, ties = sum(g > 0 for g in gaps.values()), sum(g == 0 for g in gaps.values())
    said = f"ahead in {ahead} of {len(gaps)}" + (f", {ties} ties" if ties else "")
    yield _finding(claim, table, "", said, bad=ahead != claim["count"])


def inconclusive(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """Neither of two columns is ahead more often than a fair coin would be (two-sided sign test, ties left out)."""
    table, gaps = _gaps(paper, claim)
    ahead, ties = sum(g > 0 for g in gaps.values()), sum(g == 0 for g in gaps.values())
    n = len(gaps) - ties
    p = min(1.0, 2 * sum(math.comb(n, k) for k in range(max(ahead, n - ahead), n + 1)) / 2**n)
    mean, most = statistics.mean(gaps.values()), max(gaps.values(), key=abs)
    said = (
        f"{claim['columns'][0].replace('_', ' ')} is ahead in {ahead} of {len(gaps)}, {ties} ties: sign test "
        f"p = {p:.3f}; mean difference {mean:+.2f}, largest {most:+.2f}"
    )
    yield _finding(claim, table, "", said, bad=p < LEVEL)


def differences(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """The largest, mean and median distance of two columns."""
    table, gaps = _gaps(paper, claim)
    sizes = [abs(g) for g in gaps.values()]
    found = {"largest": max(sizes), "mean": statistics.mean(sizes), "median": statistics.median(sizes)}
    off = [k for k, v in found.items() if abs(v - claim[k]) > 0.05 + 2 * table.half]
    said = ", ".join(f"{k} {v:.2f}" for k, v in found.items())
    yield _finding(claim, table, "", said, bad=bool(off))


def overall_accuracy(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """A score that is printed as overall accuracy, and jumps between runs while the IoU of the same maps stands still.

    With n runs at two levels, of which k are the higher one, mean and deviation give both levels; where their ratio
    is K / (K - 1), a class without ground truth left the denominator of a mean over classes in some runs. Overall
    accuracy has no such denominator.
    """
    table, K, n = paper.tables[claim["table"]], claim["classes"], claim["runs"]
    score, still = claim["columns"]
    jumps = []
    for row in table.rows(table.datasets[0]):
        a, b = table.get(table.datasets[0], row, score), table.get(table.datasets[0], row, still)
        if a is None or b is None or not a.mean or not b.mean or a.std is None or b.std is None:
            continue
        if a.std / a.mean <= MANY_TIMES * b.std / b.mean and a.std < 5:
            continue
        ratios = [two_levels(a.mean, a.std, n, k) for k in range(1, n)]
        if any(abs(r - K / (K - 1)) < NEAR for r in ratios):
            jumps.append(f"{row} {a.mean} ± {a.std}: levels {min(ratios):.3f} to {max(ratios):.3f} apart")
    said = f"{len(jumps)} rows fit a mean over classes of which one of {K} is absent in some runs ({K / (K - 1):.3f})"
    yield _finding(claim, table, score, f"{said}: {'; '.join(jumps)}" if jumps else "no row jumps", bad=bool(jumps))


def two_levels(mean: float, std: float, n: int, k: int) -> float:
    """The ratio of two levels that give a mean and a sample deviation over n runs, k of which have the higher level."""
    apart = std * math.sqrt((n - 1) * n / (k * (n - k)))
    low = mean - apart * k / n
    return (low + apart) / low


def cells(paper: Paper, claim: Claim) -> Iterator[Finding]:
    """One cell is `above` another, or `about` the same: within a third of it."""
    (a, first), (b, second) = (_cell(paper, claim[key]) for key in ("first", "second"))
    bad = a <= b if claim["relation"] == "above" else not b / 1.33 <= a <= b * 1.33
    said = f"{first} {a}, {second} {b}"
    yield Finding(claim["where"], claim["says"], "the text", said, "disagrees" if bad else "agrees")


KINDS: Mapping[str, Callable[[Paper, Claim], Iterator[Finding]]] = {
    "marked": marked,
    "near": near,
    "ahead-everywhere": ahead_everywhere,
    "gains": gains,
    "bounds": bounds,
    "control": control,
    "spread": spread,
    "wins": wins,
    "inconclusive": inconclusive,
    "differences": differences,
    "overall-accuracy": overall_accuracy,
    "cells": cells,
}


def _column(table: Printed, column: str, without: Sequence[str] = ()) -> dict[str, float]:
    found = table.column(table.datasets[0], column)
    return {row: v for row, v in found.items() if row not in without}


def _gaps(paper: Paper, claim: Claim) -> tuple[Printed, dict[str, float]]:
    """First column less second, of the rows that have both."""
    table = paper.tables[claim["table"]]
    first, second = (_column(table, c) for c in claim["columns"])
    return table, {row: round(first[row] - second[row], 9) for row in first if row in second}


def _has(row: str, bands: Sequence[int]) -> bool:
    """Whether a row's name holds so many bands; `none` has none."""
    count = 0 if row == "none" else len(row.split())
    return bands[0] <= count <= bands[1]


def _cell(paper: Paper, at: Sequence[str]) -> tuple[float, str]:
    name, row, column = at
    return _column(paper.tables[name], column)[row], f"{name} {row}"


def _finding(claim: Claim, table: Printed, column: str, said: str, *, bad: bool) -> Finding:
    where = f"{claim['where']}, against {table.name}" + (f", {column.replace('_', ' ')}" if column else "")
    verdict: Verdict = "disagrees" if bad else "agrees"
    return Finding(where, claim["says"], "the text", said, verdict)
