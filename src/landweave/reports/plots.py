"""Figures on what a run has learned, as SVG text for a page: see `figures` for the way they are coloured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landweave.reports.figures import INK, SERIES, figure_of, legend, svg_of

MARKS = ("o", "^", "s", "D", "v", "P", "X", "*")
EDGE = 0.35  # of a legend's colour, which may be as light as the paper


def scatter(panels: Mapping[str, Sequence[Sequence[float]]], group: Sequence[int], groups: Sequence[Mapping[str, Any]],
            *, words: str, salt: str, same: bool = False) -> str:  # fmt: skip
    """Points of several panels (title -> N 2), each coloured and marked by its group.

    `groups` have a `name`, a `color`, and `faint` for those that only stand behind the others. `same`: the panels show
    one part of one plane, so that points can be compared across them.
    """
    from matplotlib.lines import Line2D

    rows = -(-len(groups) // 4)
    figure, axes = figure_of(len(panels), (4.4 * len(panels), 4.0 + 0.22 * rows))
    order = sorted(range(len(groups)), key=lambda g: not groups[g].get("faint"))
    looks = {g: _look(i, groups[g]) for i, g in enumerate(order)}
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        for g in order:
            at = [p for p, mine in zip(points, group, strict=True) if mine == g]
            ax.scatter([p[0] for p in at], [p[1] for p in at], **looks[g])
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_xticks([])
        ax.set_yticks([])
        if same:
            _one_window(ax, [p for points in panels.values() for p in points])
        else:
            ax.set_aspect("equal", adjustable="datalim")
        for spine in ax.spines.values():
            spine.set_visible(True)
            spine.set_alpha(0.25)
    count = {g: sum(mine == g for mine in group) for g in order}
    handles = [
        Line2D([], [], ls="", marker=looks[g]["marker"], ms=6, color=looks[g]["color"], alpha=looks[g]["alpha"],
               markeredgecolor=looks[g]["edgecolor"], markeredgewidth=0.4)
        for g in reversed(order)
    ]  # fmt: skip
    names = [f"{groups[g]['name']} ({count[g]})" for g in reversed(order)]
    legend(figure, handles, names, loc="outside lower left", ncols=min(4, len(handles)), handletextpad=0.2,
           columnspacing=1.4)  # fmt: skip
    return svg_of(figure, words, salt)


def _one_window(ax: Any, points: Sequence[Sequence[float]]) -> None:
    """A square that holds all points, with a margin."""
    low, high = ([f(p[i] for p in points) for i in (0, 1)] for f in (min, max))
    reach = 0.55 * max(high[0] - low[0], high[1] - low[1], 1e-6)
    for i, limit in ((0, ax.set_xlim), (1, ax.set_ylim)):
        middle = (low[i] + high[i]) / 2
        limit(middle - reach, middle + reach)
    ax.set_aspect("equal")


def _look(index: int, group: Mapping[str, Any]) -> dict[str, Any]:
    if group.get("faint"):
        return {"color": INK, "alpha": 0.25, "marker": ".", "s": 26, "edgecolor": "none", "linewidth": 0}
    return {
        "color": group["color"] or INK,
        "alpha": 0.85,
        "marker": MARKS[index % len(MARKS)],
        "s": 22,
        "edgecolor": INK,
        "linewidth": EDGE,
    }


def similarity(names: Sequence[str], matrix: Sequence[Sequence[float]], *, words: str, salt: str) -> str:
    """A class-similarity matrix in percent, darker for more alike; the diagonal is left empty."""
    K = len(names)
    side = 0.36 * K + 1.2
    figure, (ax,) = figure_of(1, (side + 2.6, side + 0.4))
    ax.grid(visible=False)
    off = [matrix[i][j] for i in range(K) for j in range(K) if i != j]
    low, high = min(off), max(off)
    from matplotlib.patches import Rectangle

    for i in range(K):
        for j in range(K):
            if i == j:
                continue
            share = (matrix[i][j] - low) / (high - low) if high > low else 0.5
            ax.add_patch(Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, color=SERIES[0], alpha=0.06 + 0.54 * share, lw=0))
            ax.text(j, i, f"{100 * matrix[i][j]:.0f}", ha="center", va="center", fontsize=7, color=INK)
    ax.set_xlim(-0.5, K - 0.5)
    ax.set_ylim(K - 0.5, -0.5)
    ax.set_xticks(range(K), [_short(n) for n in names], rotation=90, fontsize=8)
    ax.set_yticks(range(K), [_short(n, 34) for n in names], fontsize=8)
    ax.tick_params(length=0)
    ax.set_aspect("equal")
    for spine in ax.spines.values():
        spine.set_visible(False)
    return svg_of(figure, words, salt)


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1].rstrip(" ,") + "…"


def traces(rows: Sequence[Mapping[str, Any]], bands: Sequence[str], *, nanometres: Sequence[float], words: str,
           salt: str) -> str:  # fmt: skip
    """Spectra: mean reflectance of each class by band with one standard deviation up and down.

    `rows` have `name`, `color`, `mean` and `std`. At their wavelengths, or side by side where those are not known.
    """
    figure, (ax,) = figure_of(1, (8.6, 3.6))
    x = list(nanometres) or list(range(len(bands)))
    order = sorted(range(len(x)), key=lambda i: x[i])
    x = [x[i] for i in order]
    drawn = []
    for i, row in enumerate(rows):
        mean, std = ([row[key][k] for k in order] for key in ("mean", "std"))
        low = [max(0.0, m - s) for m, s in zip(mean, std, strict=True)]
        ax.fill_between(x, low, [m + s for m, s in zip(mean, std, strict=True)], color=row["color"], alpha=0.16, lw=0)
        ax.plot(x, mean, lw=3.4, color=INK, alpha=0.4)  # a rim: a legend's colour may be nearly white
        drawn += ax.plot(x, mean, marker=MARKS[i % len(MARKS)], ms=5.5, lw=2.2, color=row["color"], markeredgecolor=INK,
                         markeredgewidth=0.7)  # fmt: skip
    names = [bands[i] for i in order]
    ax.set_xticks(*_apart(x, names))
    ax.set_xlabel("band, at its wavelength" if nanometres else "band")
    ax.set_ylabel("reflectance")
    ax.set_ylim(bottom=0)
    legend(figure, drawn, [_short(row["name"], 40) for row in rows], loc="outside right upper")
    return svg_of(figure, words, salt)


def _apart(x: Sequence[float], names: Sequence[str]) -> tuple[list[float], list[str]]:
    """Ticks that do not run into one another: names of bands that lie close together share one."""
    least = (max(x) - min(x)) / 16 if len(x) > 1 else 0
    at: list[float] = []
    text: list[str] = []
    for value, name in zip(x, names, strict=True):
        if at and value - at[-1] < least:
            text[-1] += f"\n{name}"
        else:
            at.append(value)
            text.append(name)
    return at, text


def against(rows: Sequence[Mapping[str, Any]], *, x: str, y: str, words: str, salt: str) -> str:
    """Classes as points: their similarity to the nearest other class (x) against their loss (y), named by the room."""
    figure, (ax,) = figure_of(1, (6.4, 4.0))
    for row in rows:
        ax.scatter(row["x"], row["y"], s=46, color=row["color"], edgecolor=INK, linewidth=EDGE)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_ylim(bottom=min(0.0, *(row["y"] for row in rows)))
    ax.margins(x=0.08)
    figure.draw_without_rendering()  # only then is known where the points lie on the page
    at = [tuple(72 / figure.dpi * v for v in ax.transData.transform((r["x"], r["y"]))) for r in rows]
    room = tuple(72 / figure.dpi * v for v in ax.bbox.extents)
    for row, beside in zip(rows, beside_points(at, [_short(r["name"]) for r in rows], room), strict=True):
        if beside:
            ax.annotate(
                _short(row["name"]), (row["x"], row["y"]), xytext=beside, textcoords="offset points", fontsize=7
            )
    return svg_of(figure, words, salt)


Box = tuple[float, float, float, float]
POINT, LINE, LETTER = 5.0, 8.5, 4.1
"""Of a figure, in points: half a mark with its rim, the height of a line of size 7, and the width of its letters."""


def beside_points(at: Sequence[Sequence[float]], names: Sequence[str], room: Sequence[float]) -> list[Any]:
    """Where names stand beside their points: an offset each, or None where it would cover a point or another name.

    Right, left, above and below are tried in this order; the points that stand most alone come first.
    """
    marks: list[Box] = [(px - POINT, py - POINT, px + POINT, py + POINT) for px, py in at]
    alone = [min([abs(px - qx) + abs(py - qy) for qx, qy in at if (qx, qy) != (px, py)] or [0]) for px, py in at]
    taken: list[Box] = []
    out: list[Any] = [None] * len(at)
    for i in sorted(range(len(at)), key=lambda i: -alone[i]):
        width = LETTER * len(names[i])
        gap, low = POINT + 1.5, -LINE / 3
        for dx, dy in ((gap, low), (-gap - width, low), (-width / 2, gap), (-width / 2, -gap - LINE)):
            left, bottom = at[i][0] + dx, at[i][1] + dy
            box = (left, bottom, left + width, bottom + LINE)
            inside = box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]
            if inside and not any(_meet(box, b) for b in (*taken, *marks[:i], *marks[i + 1 :])):
                taken.append(box)
                out[i] = (dx, dy)
                break
    return out


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def ablation_bars(rows: Sequence[Mapping[str, Any]], *, score: str, words: str, salt: str) -> str:
    """One bar a row of the modality ablation; the first row, with all sensors, gives the line."""
    figure, (ax,) = figure_of(1, (7.2, 0.7 + 0.42 * len(rows)))
    most = max(0.05, *(row["value"] for row in rows))
    for i, row in enumerate(reversed(rows)):
        ax.barh(i, row["value"], height=0.6, color=SERIES[0], alpha=1.0 if row is rows[0] else 0.55)
        ax.text(1.16 * most, i, f"{row['value']:.3f}", va="center", ha="right", fontsize=9, color=INK)
    ax.axvline(rows[0]["value"], color=SERIES[1], lw=1.4, ls="--")
    ax.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    ax.set_xlim(0, 1.18 * most)
    ax.set_title(score, loc="left", fontsize=10)
    ax.tick_params(axis="y", length=0)
    return svg_of(figure, words, salt)


def intervals(rows: Sequence[Mapping[str, Any]], *, title: str, loss: bool, words: str, salt: str) -> str:
    """Paired differences `first - second` with their intervals; grey where an interval holds zero.

    The colour says which is better, so for a loss that a higher one is worse.
    """
    figure, (ax,) = figure_of(1, (7.6, 0.8 + 0.3 * len(rows)))
    better, worse = SERIES[2], SERIES[1]
    colors = {"higher": worse, "lower": better} if loss else {"higher": better, "lower": worse}
    for i, row in enumerate(reversed(rows)):
        color = colors.get(row["verdict"], INK)
        faint = 1.0 if row["verdict"] in colors else 0.45
        ax.plot([row["low"], row["high"]], [i, i], color=color, alpha=faint, lw=2.2, solid_capstyle="butt")
        ax.plot(row["difference"], i, "o", color=color, alpha=faint, ms=6)
    ax.axvline(0, color=INK, lw=0.9)
    ax.set_yticks(range(len(rows)), [f"{row['first']} − {row['second']}" for row in reversed(rows)])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_title(f"difference in {title}", loc="left", fontsize=10)
    ax.tick_params(axis="y", length=0)
    return svg_of(figure, words, salt)
