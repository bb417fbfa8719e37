"""Label-fraction curves: a score against the share of labels that was known, a line a method, with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landweave.reports.figures import SERIES, figure_of, legend, svg_of
from landweave.reports.plots import MARKS

Found = dict[str, dict[str, list[tuple[float, float, float, int]]]]
"""Dataset -> method -> (share of labels, mean, standard deviation, runs), by rising share."""


def label_fraction(rows: Sequence[Mapping[str, Any]], *, title: str = "score", salt: str = "fractions") -> str:
    """Draw the curves of runs, a panel a dataset; empty text where no method has two shares of labels.

    Args:
        rows: one a run, with `method`, `fraction` (0 ... 1), `seed`, `score` and `dataset`. Rows without a score do
            not count.
        title: what the score is.
        salt: makes the ids of the figure its own within a page.
    """
    found = summary(rows)
    found = {d: lines for d, lines in found.items() if any(len(points) > 1 for points in lines.values())}
    if not found:
        return ""
    methods = list(dict.fromkeys(m for lines in found.values() for m in lines))
    figure, axes = figure_of(len(found), (max(5.2, 4.3 * len(found)), 3.3 + 0.2 * -(-len(methods) // 3)))
    handles: dict[str, Any] = {}
    for ax, (dataset, lines) in zip(axes, found.items(), strict=True):
        for method, points in lines.items():
            handles[method] = _line(ax, points, methods.index(method))
        shares = sorted({p[0] for points in lines.values() for p in points})
        ax.set_xscale("log")
        ax.set_xticks(shares, [f"{100 * s:g} %" for s in shares])
        ax.xaxis.set_minor_locator(_none())
        ax.set_xlabel("training labels known")
        ax.set_title(f"{dataset}: {title}" if dataset else title, loc="left", fontsize=10)
    legend(figure, [handles[m] for m in methods], methods, loc="outside lower left", ncols=min(3, len(methods)))
    return svg_of(figure, words(found, title), salt)


def _line(ax: Any, points: Sequence[tuple[float, float, float, int]], index: int) -> Any:
    x, mean, std = (np.array([p[i] for p in points]) for i in range(3))
    color, style = SERIES[index % len(SERIES)], "-" if index < len(SERIES) else "--"
    ax.fill_between(x, mean - std, mean + std, color=color, alpha=0.15, lw=0)
    (line,) = ax.plot(x, mean, style, marker=MARKS[index % len(MARKS)], ms=4.5, lw=1.6, color=color)
    return line


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def summary(rows: Sequence[Mapping[str, Any]]) -> Found:
    """Mean and standard deviation over runs (divided by n - 1; 0 of one run) a dataset, method and share of labels."""
    scores: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in rows:
        if row.get("score") is not None:
            key = (str(row.get("dataset", "")), str(row["method"]))
            scores.setdefault(key, {}).setdefault(float(row["fraction"]), []).append(float(row["score"]))
    found: Found = {}
    for (dataset, method), by_share in scores.items():
        found.setdefault(dataset, {})[method] = [
            (share, float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else 0.0, len(v))
            for share, v in sorted(by_share.items())
        ]
    return found


def words(found: Found, title: str) -> str:
    """The curves in numbers."""
    told = []
    for dataset, lines in found.items():
        for method, points in lines.items():
            numbers = ", ".join(f"{100 * s:g} % of labels {mean:.3f} ± {std:.3f}" for s, mean, std, _ in points)
            told.append(f"{dataset + ', ' if dataset else ''}{method}: {numbers}")
    return f"{title} against the share of labels. " + "; ".join(told)
