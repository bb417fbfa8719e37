"""The checks of an audit: each computes a figure again from others that are printed, and says whether they agree.

Printed figures are rounded, so each check allows for half a unit of the last digit of everything that goes into it.
A mean over runs of a ratio is not the ratio of means; between four runs that is far less than what is reported here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Literal

from landweave.reproduce.published import Paper, Printed, plain

Verdict = Literal["disagrees", "doubtful", "trivial", "agrees"]


@dataclass(frozen=True)
class Finding:
    """One check. `trivial`: the printed figure is no better than that of a predictor that looks at no image."""

    where: str
    check: str
    printed: str
    recomputed: str
    verdict: Verdict

    def to_json(self) -> dict[str, str]:
        """Plain data."""
        return asdict(self)


def figure(value: float, table: Printed, *, more: int = 0) -> str:
    """A value in the table's decimals, with one more where it is printed with one more."""
    exact = abs(round(value, table.decimals) - value) < 1e-9
    odd = not exact and abs(round(value, table.decimals + 1) - value) < 1e-9  # printed with one digit more
    return f"{value:.{table.decimals + max(more, odd)}f}"


# ---- counts and decimals


def counts(paper: Paper) -> Iterator[Finding]:
    """Do the splits add up, and is the labelled share what it is said to be?"""
    for dataset, n in paper.counts.items():
        splits = [n[s] for s in ("train", "validation", "test") if s in n]
        if "all" in n:
            same = sum(splits) == n["all"]
            rest = "" if same else f"; {n['all'] - sum(splits):,} pairs are in no split"
            yield Finding(
                f"text, {dataset}",
                "the splits add up to all pairs",
                f"{n['all']:,}",
                f"{sum(splits):,}{rest}",
                "agrees" if same else "disagrees",
            )
        if "labelled" in n and paper.fraction:
            exact = paper.fraction * n["train"]
            how = "cut off" if n["labelled"] == math.floor(exact) != round(exact) else "rounded"
            good = n["labelled"] in (math.floor(exact), round(exact))
            yield Finding(
                f"text, {dataset}",
                f"{100 * paper.fraction:g} % of the training places",
                f"{n['labelled']:,}",
                f"{exact:,.1f}, {how}",
                "agrees" if good else "disagrees",
            )


def decimals(paper: Paper) -> Iterator[Finding]:
    """Cells with other decimals than the rest of their table."""
    for table in paper.tables.values():
        for dataset in table.datasets:
            odd = [(row, cell.printed) for (d, row, _), cell in table.cells.items() if d == dataset and cell.printed]
            if odd:
                found = ", ".join(f"{row} {text}" for row, text in odd)
                usual = f"{table.decimals} decimals elsewhere"
                yield Finding(f"{table.name}, {dataset}", "equal decimals", found, usual, "doubtful")


# ---- precision, recall, F1


def micro_f1(paper: Paper) -> Iterator[Finding]:
    """Micro F1 is the harmonic mean of micro precision and micro recall."""
    for table, _, row, get in _rows(paper, "micro_precision", "micro_recall", "micro_f1"):
        p, r, f = get["micro_precision"], get["micro_recall"], get["micro_f1"]
        low, high = (harmonic(p + s * table.half, r + s * table.half) for s in (-1, 1))
        good = low - table.half <= f <= high + table.half
        yield Finding(
            f"{table.name}, {row}",
            "micro F1 from micro precision and recall",
            figure(f, table),
            figure(harmonic(p, r), table),
            "agrees" if good else "disagrees",
        )


def macro_f1(paper: Paper) -> Iterator[Finding]:
    """The mean of F1 over classes is at most the F1 of mean precision and mean recall: F1 is concave in the two."""
    for table, _, row, get in _rows(paper, "macro_precision", "macro_recall", "macro_f1"):
        p, r, f = get["macro_precision"], get["macro_recall"], get["macro_f1"]
        most = harmonic(p + table.half, r + table.half)
        yield Finding(
            f"{table.name}, {row}",
            "macro F1 at most that of macro precision and recall",
            figure(f, table),
            f"at most {figure(most, table)}",
            "agrees" if f - table.half <= most else "disagrees",
        )


def one_answer(paper: Paper) -> Iterator[Finding]:
    """With one answer and one label a place, micro precision, micro recall, micro F1 and accuracy are one number."""
    table = paper.tables.get("single-label")
    if table is None:
        return
    for one, _, row, get in _rows(paper, "micro_precision", "micro_recall", "micro_f1"):
        if one is table:
            values = [get[k] for k in ("micro_precision", "micro_recall", "micro_f1")]
            spread = max(values) - min(values)
            yield Finding(
                f"{table.name}, {row}",
                "micro precision = recall = F1 for single labels",
                " / ".join(figure(v, table) for v in values),
                f"they differ by {figure(spread, table)}",
                "agrees" if spread <= 2 * table.half else "disagrees",
            )


def harmonic(p: float, r: float) -> float:
    """The F1 of a precision and a recall."""
    return 2 * p * r / (p + r) if p + r else 0.0


def implied_recall(p: float, f: float) -> float:
    """The recall that a precision and an F1 imply; infinite where there is none."""
    return p * f / (2 * p - f) if 2 * p > f else math.inf


def recall_bound(paper: Paper) -> Iterator[Finding]:
    """Where only precision and F1 are printed: is there a recall of at most 1 that gives both?"""
    for table in paper.tables.values():
        if "micro_recall" in table.columns or "micro_f1" not in table.columns:
            continue
        for dataset in table.datasets:
            p, f = table.column(dataset, "micro_precision"), table.column(dataset, "micro_f1")
            found = {row: implied_recall(p[row] / table.factor, f[row] / table.factor) for row in p if row in f}
            bad = [row for row, r in found.items() if r > 1]
            top = max(found, key=lambda row: found[row])
            yield Finding(
                f"{table.name}, {dataset}",
                "micro precision and F1 leave a possible recall",
                f"{len(found)} rows",
                f"highest {found[top]:.2f} ({top}); impossible: {', '.join(bad) or 'none'}",
                "disagrees" if bad else "agrees",
            )


# ---- tables against one another


def near_copies(paper: Paper) -> Iterator[Finding]:
    """Two rows that agree in all columns but one, where they lie far apart: most likely a misprint.

    Only of scores: what a table says of data may be alike for good reasons.
    """
    for table in paper.tables.values():
        for dataset in table.datasets if table.better else ():
            for one, other in combinations(table.rows(dataset), 2):
                gaps = _gaps(table, dataset, one, other)
                if len(gaps) < 4:
                    continue
                *small, (gap, column) = sorted((g, c) for c, g in gaps.items())
                if small[-1][0] > 10 * table.half or gap < 20 * small[-1][0]:
                    continue
                a, b = table.column(dataset, column)[one], table.column(dataset, column)[other]
                extra = _recall_words(table, dataset, column, one, a)
                yield Finding(
                    f"{table.name}, {dataset}",
                    f"{one} and {other} agree to {small[-1][0]:.2f} in {len(small)} of {len(gaps)} columns",
                    f"{column.replace('_', ' ')} {figure(a, table)} and {figure(b, table)}",
                    f"{gap:.2f} apart{extra}{_digit(a, b, table)}",
                    "doubtful",
                )


def _gaps(table: Printed, dataset: str, one: str, other: str) -> dict[str, float]:
    found = {c: table.column(dataset, c) for c in table.columns}
    return {c: abs(v[one] - v[other]) for c, v in found.items() if one in v and other in v}


def _recall_words(table: Printed, dataset: str, column: str, row: str, value: float) -> str:
    if column != "micro_f1" or "micro_precision" not in table.columns:
        return ""
    p = table.column(dataset, "micro_precision")[row] / table.factor
    return f"; it would need a micro recall of {implied_recall(p, value / table.factor):.2f}"


def _digit(value: float, near: float, table: Printed) -> str:
    """Whether changing one digit of a figure brings it beside the other."""
    text = figure(value, table)
    for i, old in enumerate(text):
        for new in "0123456789" if old.isdigit() else "":
            changed = text[:i] + new + text[i + 1 :]
            if new != old and abs(float(changed) - near) <= 10.01 * table.half:
                return f"; one digit makes it {changed}"
    return ""


def class_averages(paper: Paper) -> Iterator[Finding]:
    """A printed average is the mean of its classes; where cells are lost, what they must add up to."""
    for table in paper.tables.values():
        if not table.average:
            continue
        for dataset in table.datasets:
            for row in table.rows(dataset):
                yield _average(table, dataset, row)


def _average(table: Printed, dataset: str, row: str) -> Finding:
    classes = [c for c in table.classes if (dataset, row, c) in table.cells]  # a class without a cell is in no mean
    cells = [table.cells[dataset, row, c] for c in classes]
    known = [c.mean for c in cells if c.mean is not None]
    printed = table.cells[dataset, row, table.average].mean or 0.0
    lost, where = len(cells) - len(known), f"{table.name}, {row}"
    if lost:
        total = len(cells) * printed - math.fsum(known)
        reach = table.half * (len(cells) + len(known))
        names = ", ".join(c for c, cell in zip(classes, cells, strict=True) if cell.mean is None)
        possible = -reach <= total <= lost * table.factor + reach
        return Finding(
            where,
            f"the average leaves room for what cannot be read ({names})",
            figure(printed, table),
            f"they add up to {total:.0f} ± {reach:.0f}",
            "agrees" if possible else "disagrees",
        )
    mean = math.fsum(known) / len(known)
    good = abs(mean - printed) <= 2 * table.half
    return Finding(
        where,
        f"the average is the mean of {len(known)} classes",
        figure(printed, table),
        figure(mean, table, more=2),
        "agrees" if good else "disagrees",
    )


def underlines(paper: Paper) -> Iterator[Finding]:
    """Underlined figures are the second best of their column."""
    for table in paper.tables.values():
        for dataset in table.datasets if table.underlined else ():
            for column in table.columns:
                marked = [r for r in table.rows(dataset) if column in table.underlined.get((dataset, r), ())]
                values = table.column(dataset, column)
                second = sorted(values, key=lambda r: values[r], reverse=table.better == "higher")[1]
                yield Finding(
                    f"{table.name}, {dataset}",
                    f"underlined = second best in {column.replace('_', ' ')}",
                    ", ".join(marked) or "nothing",
                    second,
                    "agrees" if marked == [second] else "disagrees",
                )


# ---- losses by class


def prevalence(paper: Paper) -> Iterator[Finding]:
    """Losses by class beside those of predictors that look at no image: Hamming q, Brier q (1 - q)."""
    for table, _, row, cells, shares in _by_class(paper):
        if len(cells) < len(shares):
            continue
        floor = {c: q if table.measure == "hamming" else q * (1 - q) for c, q in shares.items()}
        slack = table.half + 0.0005  # the shares are rounded too
        equal = sum(abs(cells[c] - floor[c]) <= slack for c in cells)
        worse = sum(cells[c] > floor[c] + slack for c in cells)
        mine, theirs = math.fsum(cells.values()) / len(cells), math.fsum(floor.values()) / len(floor)
        name = "never names a class" if table.measure == "hamming" else "always says the prevalence"
        bad = equal + worse > len(cells) / 2 or mine >= theirs
        yield Finding(
            f"{table.name}, {row}",
            f"better than the predictor that {name}",
            f"mean over classes {mine:.3f}",
            f"{theirs:.3f}; of {len(cells)} classes {equal} equal, {worse} worse; skill {1 - mine / theirs:+.2f}",
            "trivial" if bad else "agrees",
        )


def hamming_and_micro(paper: Paper) -> Iterator[Finding]:
    """The mean Hamming loss follows from micro precision, micro F1 and the prevalences; do the tables agree on it?"""
    source = next((t for t in paper.tables.values() if {"micro_precision", "micro_f1"} <= set(t.columns)), None)
    if source is None:
        return
    for table, dataset, row, cells, shares in _by_class(paper):
        p = source.get(dataset, row, "micro_precision")
        f = source.get(dataset, row, "micro_f1")
        if table.measure != "hamming" or len(cells) < len(shares) or not (p and f and p.mean and f.mean):
            continue
        precision, true = p.mean / source.factor, math.fsum(shares.values())
        hit = true * implied_recall(precision, f.mean / source.factor)
        implied = (hit / precision - hit + true - hit) / len(shares)
        mine = math.fsum(cells.values()) / len(cells)
        slack = 0.01  # ours: four runs, rounding of all cells in one direction, and then some
        yield Finding(
            f"{table.name} and {source.name}, {row}",
            "mean Hamming loss from micro precision, micro F1 and prevalence",
            f"{mine:.3f}",
            f"{implied:.3f}",
            "agrees" if abs(mine - implied) <= slack else "disagrees",
        )


def hamming_and_brier(paper: Paper) -> Iterator[Finding]:
    """A wrong decision at 0.5 costs a Brier score of at least a quarter, so Brier >= Hamming / 4 in every cell."""
    tables = {t.measure: t for t in paper.tables.values() if len(t.columns) > 5 and t.measure}
    if {"hamming", "brier"} - tables.keys():
        return
    hamming, brier = tables["hamming"], tables["brier"]
    bad = []
    for (dataset, row, column), cell in hamming.cells.items():
        other = brier.get(dataset, row, column)
        if cell.mean is None or other is None or other.mean is None:
            continue
        if other.mean + brier.half < (cell.mean - hamming.half) / 4:
            bad.append(f"{row}, {column}")
    yield Finding(
        f"{hamming.name} and {brier.name}",
        "Brier score at least a quarter of the Hamming loss",
        f"{len(hamming.cells)} cells",
        ", ".join(bad) or "holds in all",
        "disagrees" if bad else "agrees",
    )


# ---- walking


def _rows(paper: Paper, *columns: str) -> Iterator[tuple[Printed, str, str, Mapping[str, float]]]:
    """Rows of all tables that have all these columns."""
    for table in paper.tables.values():
        for dataset in table.datasets if set(columns) <= set(table.columns) else ():
            for row in table.rows(dataset):
                cells = {c: table.cells[dataset, row, c].mean for c in columns}
                known = {c: v for c, v in cells.items() if v is not None}
                if len(known) == len(columns):
                    yield table, dataset, row, known


def _by_class(paper: Paper) -> Iterator[tuple[Printed, str, str, dict[str, float], dict[str, float]]]:
    """Rows of tables that print one loss by class, with the prevalences of the dataset."""
    for table in paper.tables.values():
        for dataset in table.datasets if table.measure else ():
            shares = {plain(c): q for c, q in paper.prevalence.get(dataset, {}).items()}
            for row in table.rows(dataset):
                means = {plain(c): table.cells[dataset, row, c].mean for c in table.columns}
                cells = {c: m for c, m in means.items() if m is not None and c in shares}
                if cells:
                    yield table, dataset, row, cells, shares


Check = Callable[[Paper], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    counts,
    decimals,
    micro_f1,
    macro_f1,
    one_answer,
    recall_bound,
    near_copies,
    class_averages,
    underlines,
    prevalence,
    hamming_and_micro,
    hamming_and_brier,
)
