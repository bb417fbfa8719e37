"""The figures of an adapted run: alignment by epoch, mask schedules, embedding beside the teacher's, maps under faults.

All are SVG text for the page, and files in RUN/figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from landweave.reports import plots
from landweave.reports.figures import SERIES, Line, curves, figure_of, legend, svg_of
from landweave.transforms.faults import Missing

if TYPE_CHECKING:
    from landweave.transforms.faults import Faults

Found = Mapping[str, Any]
ROWS = ("complete", "faulty", "teacher", "student", "truth")
TITLES = {
    "complete": "complete image",
    "faulty": "faulty image",
    "teacher": "teacher on it",
    "student": "student on it",
    "truth": "truth",
}


def figures(history: Sequence[Found], faults: Faults, epochs: int, found: Found) -> dict[str, Any]:
    """All that the template shows, each empty where there is nothing to draw; `why` where nothing was measured."""
    drawn = "planes" in found
    return {
        "curves": alignment_curves(history),
        "schedule": schedule(faults, epochs),
        "embedding": embedding(found) if drawn else "",
        "panels": panels(found["panels"]) if drawn and found["panels"] else "",
        "faults": list(faults.lines()),
        "why": found.get("why", ""),
        "coloured": found.get("coloured", ""),
        "n": found.get("n", 0),
    }


def alignment_curves(history: Sequence[Found]) -> str:
    """Each term by epoch in training and validation, the floor of a contrast dashed; cosine and retrieval beside."""

    def line(split: str, key: str, name: str, *, dashed: bool = False) -> Line:
        rows = [(r["epoch"] + 1, r[key]) for r in history if r.get("split") == split and r.get(key) is not None]
        return Line(name, [e for e, _ in rows], [v for _, v in rows], dashed=dashed)

    seen = {key for row in history if row.get("split") == "validation" for key in row}
    learned = {key for row in history if row.get("split") == "train" for key in row}
    terms = sorted(k for k in seen & learned if k not in ("epoch", "split", "loss", "lr") and "." not in k)
    lines = []
    for term in terms:
        lines += [line("train", term, f"{term}, training"), line("validation", term, f"{term}, validation")]
        if f"{term}.floor" in seen:
            lines.append(line("validation", f"{term}.floor", f"{term}, floor (teacher itself)", dashed=True))
    scores = [
        line("validation", key, name)
        for key, name in (("pooled.cosine", "cosine"), ("pooled.retrieval@1", "retrieval@1 of a batch"))
    ]
    lines, scores = [x for x in lines if x.x], [x for x in scores if x.x]
    return curves(lines, scores, salt="alignment") if lines else ""


def schedule(faults: Faults, epochs: int) -> str:
    """The share of masked pixels by epoch, and the number of masked bands where it changes; validation dashed."""
    missing = [f for f in faults.faults if isinstance(f, Missing)]
    if not missing:
        return ""
    steps = list(range(epochs))
    counts = {i: f for i, f in enumerate(missing) if f.size is not None and hasattr(f.size, "at")}
    figure, axes = figure_of(1 + bool(counts), (4.6 * (1 + bool(counts)), 2.6))
    told, drawn, names = [], [], []
    for i, fault in enumerate(missing):
        names.append(name := "+".join(fault.bands) or "any band")
        color = SERIES[i % len(SERIES)]
        shares = [fault.ratio.at(e) for e in steps]
        drawn += axes[0].step([e + 1 for e in steps], shares, where="mid", color=color, lw=1.8)
        axes[0].axhline(fault.ratio.at(2**31 - 1), color=color, lw=1, ls="--")
        told.append(f"{name}: {shares[0]:.2f} to {shares[-1]:.2f}")
    axes[0].set_title("share of pixels masked (dashed: validation)", loc="left", fontsize=10)
    axes[0].set_ylim(0, 1.04)
    for i, fault in counts.items():
        most = len(fault.bands)
        bands = [fault.size.at(e, most) for e in steps]  # type: ignore[union-attr]  # schedules alone are kept
        axes[1].step([e + 1 for e in steps], bands, where="mid", color=SERIES[i % len(SERIES)], lw=1.8)
        told.append(f"{bands[0]} to {bands[-1]} bands")
    if counts:
        axes[1].set_title("bands masked", loc="left", fontsize=10)
        axes[1].set_ylim(bottom=0)
    for ax in axes:
        ax.set_xlim(0.5, epochs + 0.5)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    legend(axes[0], drawn, names)
    return svg_of(figure, f"Mask schedule over {epochs} epochs: {'; '.join(told)}", "schedule")


def embedding(found: Found) -> str:
    """Principal components of the teacher on complete images, and both on faulty ones along the same axes."""
    shares = " and ".join(f"{s:.0%}" for s in found["explained"])
    words = (
        f"Principal components of {found['n']} places: the teacher on complete images ({shares} of its variance), "
        "and on faulty ones the teacher and the student, along the same axes"
    )
    return plots.scatter(found["planes"], found["group"], found["groups"], words=words, salt="robust-pca", same=True)


def panels(rows: Sequence[Found], *, salt: str = "robust-panels") -> str:
    """A row a place: complete and faulty image, what teacher and student make of the faulty one, and the truth."""
    side, gap, head = 132, 8, 46
    width, height = len(ROWS) * (side + gap) - gap, len(rows) * (side + head)
    parts, told = [], []
    for r, row in enumerate(rows):
        top = r * (side + head)
        for c, key in enumerate(ROWS):
            x = c * (side + gap)
            right = row["right"].get(key)
            note = f"{right:.0%} right" if right is not None else ""
            if key in ("complete", "faulty"):
                note = ", ".join(row["bands"])
            parts += [
                f'<text x="{x}" y="{top + 18}" font-size="11" font-weight="600">{escape(TITLES[key])}</text>',
                f'<text x="{x}" y="{top + 32}" font-size="10" fill-opacity="0.75">{escape(note)}</text>',
                f'<image x="{x}" y="{top + 38}" width="{side}" height="{side}" href="{row["pictures"][key]}" '
                'preserveAspectRatio="none" style="image-rendering:pixelated"/>',
            ]
        shares = ", ".join(f"{who} {v:.0%} right" for who, v in row["right"].items() if v is not None)
        told.append(f"{row['place']}: {shares or 'truth unknown'}")
    label = escape("Maps under faults. " + "; ".join(told), quote=True)
    return (
        f'<svg role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'style="width:{width}px;font-family:system-ui,sans-serif" fill="currentColor" data-figure="{salt}">'
        + "".join(parts)
        + "</svg>"
    )
