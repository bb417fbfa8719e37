"""The curves of a report as SVG text that stands inside a page and takes the page's colours, light or dark.

matplotlib draws with placeholder colours, which are then replaced by CSS variables; `standalone` turns such text into
a file of its own, in the colours of paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

INK = "#010203"
SERIES = tuple(f"#0a000{i}" for i in range(1, 9))
"""Placeholders of `--s1` ... `--s8` of the page."""
PAPER = ("#2f6db3", "#c8642b", "#3a8f5c", "#8a5bb0", "#b0456b", "#8c7a1e", "#2a8f99", "#6b6f75")
"""What `--s1` ... `--s8` are on paper; the page's style sheet has the same."""
PAPER_INK = "#22282c"
FONT = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Line:
    """One line of a plot. `weights` scales the area of its points, where given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    weights: Sequence[float] = ()
    dashed: bool = False


def curves(losses: Sequence[Line], scores: Sequence[Line], *, salt: str) -> str:
    """Loss and validation scores against the epoch, side by side."""
    sides = [(losses, "loss"), (scores, "validation score")]
    shown = [(lines, title) for lines, title in sides if lines]
    figure, axes = figure_of(len(shown), (4.6 * len(shown), 2.9))
    for ax, (lines, title) in zip(axes, shown, strict=True):
        drawn = []
        for i, line in enumerate(lines):
            mark = "o" if len(line.x) < 25 else None
            style = "--" if line.dashed else "-"
            drawn += ax.plot(line.x, line.y, style, marker=mark, ms=3, lw=1.6, color=SERIES[i % len(SERIES)])
        ax.set_xlabel("epoch")
        ax.set_title(title, loc="left", fontsize=10)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if title != "loss":
            ax.set_ylim(0, 1)
        legend(ax, drawn, [line.name for line in lines])
    return svg_of(figure, _words("Learning curves", [*losses, *scores]), salt)


def against_distance(lines: Sequence[Line], *, score: str, salt: str) -> str:
    """A score against the distance to the nearest training place (km, logarithmic where it spans much)."""
    figure, (ax,) = figure_of(1, (4.8, 3.0))
    drawn = []
    for i, line in enumerate(lines):
        drawn += ax.plot(line.x, line.y, "--" if line.dashed else "-", lw=1.4, color=SERIES[i % len(SERIES)])
        most = max(line.weights, default=1)
        ax.scatter(line.x, line.y, s=[12 + 80 * w / most for w in line.weights], color=SERIES[i % len(SERIES)], lw=0)
    xs = [x for line in lines for x in line.x if x > 0]
    if xs and max(xs) / min(xs) > 20:
        ax.set_xscale("symlog", linthresh=min(xs))
        ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.set_ylim(0, 1)
    ax.set_xlabel("distance to the nearest training place (km)")
    ax.set_title(score, loc="left", fontsize=10)
    legend(ax, drawn, [line.name for line in lines])
    return svg_of(figure, _words(f"{score} against distance to the nearest training place", lines), salt)


def split_bars(rows: Sequence[Mapping[str, Any]], *, score: str, salt: str) -> str:
    """Scores under several kinds of split, each with a tick where the trivial predictor stands."""
    figure, (ax,) = figure_of(1, (4.2, 0.8 + 0.55 * len(rows)))
    for i, row in enumerate(reversed(rows)):
        ax.barh(i, row["score"], height=0.55, color=SERIES[0])
        ax.plot([row["trivial"]] * 2, [i - 0.38, i + 0.38], color=SERIES[1], lw=2.5)
        ax.text(min(0.98, row["score"] + 0.02), i, f"{row['score']:.2f}", va="center", fontsize=9, color=INK)
    ax.set_yticks(range(len(rows)), [str(row["name"]) for row in reversed(rows)])
    ax.set_xlim(0, 1.08)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    ax.set_title(f"{score}; the tick is the trivial predictor", loc="left", fontsize=10)
    ax.tick_params(axis="y", length=0)
    told = ", ".join(f"{r['name']} {r['score']:.2f} (trivial {r['trivial']:.2f})" for r in rows)
    return svg_of(figure, f"{score} by kind of split: {told}", salt)


def figure_of(count: int, size: tuple[float, float]) -> tuple[Any, Sequence[Any]]:
    """An empty figure of `count` axes side by side, `size` in inches, in the house style."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, count, squeeze=False)[0]
        for ax in axes:
            ax.grid(visible=True, color=INK, alpha=0.12, lw=0.6)
            ax.set_axisbelow(True)
            ax.set_facecolor("none")
    return figure, axes


def legend(where: Any, handles: Sequence[Any], names: Sequence[str], **how: Any) -> None:
    """A legend of a figure or of axes, in the house style."""
    made = where.legend(handles, ["-"] * len(handles), frameon=False, fontsize=8, labelcolor=INK, **how)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(name)  # only now: older matplotlib leaves out names that begin with `_`


def svg_of(figure: Any, words: str, salt: str) -> str:
    """The figure as an `svg` element with a text alternative, in the page's own colours and font.

    A `$` in a name is a `$`: no text is read as mathematics.
    """
    import matplotlib as mpl
    from matplotlib.text import Text

    buffer = io.StringIO()
    for one in figure.findobj(Text):
        one.set_parse_math(False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "text.parse_math": False}):  # ticks yet to come
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg\b[^>]*?) width="([\d.]+)pt"', r'\1 style="width:\2pt;stroke-linejoin:round"', text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) height="[\d.]+pt"', r"\1", text, count=1)
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)  # it would rule the whole page
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{salt}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", FONT, _colored(text))
    label = escape(words, quote=True)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def standalone(svg: str) -> str:
    """An `svg` element of a page as the text of a file, which every viewer and text processor shows."""
    for i, color in enumerate(PAPER, 1):
        svg = svg.replace(f"var(--s{i})", color)
    svg = svg.replace("currentColor", PAPER_INK)
    svg = re.sub(r'(<svg\b[^>]*?) style="width:([\d.]+p[tx]);', r'\1 width="\2" style="', svg, count=1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'


def _colored(text: str) -> str:
    for i, color in enumerate(SERIES, 1):
        text = text.replace(color, f"var(--s{i})")
    return text.replace(INK, "currentColor")


def _words(title: str, lines: Sequence[Line]) -> str:
    """A text alternative: each line with its first and last value."""
    told = [f"{line.name} from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines if line.y]
    return f"{title}: " + "; ".join(told)
