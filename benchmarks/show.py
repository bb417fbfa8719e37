"""Print what was measured: `benchmarks/*.json` into `docs/benchmarks.md`. Run by `make benchmarks`."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `python -m benchmarks.show` from `benchmarks/*.json`; no figure is typed by hand.

    python -m benchmarks.losses [--json FILE] [--rows 512,8192,...] [--works nt_xent,...] [--device cpu|cuda]

Each row is one forward and backward pass over N x 128 embeddings in float32, labels being 19 with 2.9 a row. Seconds
are CPU seconds on one thread (on a GPU, seconds between two events), a peer and ours in turn in one process; the ratio
is the median of the pairs. MB is the highest resident memory beyond the inputs, gradients included, each side in a
fresh process. `published form (a row a pair)` is MulSupCon as its paper states it, written from the formula; where a
library is not installed, the same computation in plain torch stands for it and is named so. A peer that would not fit
in the free memory is not started, with the estimate from its figure at fewer rows.
"""


OTHERS = {"reading": "Reading", "utae": "U-TAE"}
"""Modules beside `losses` whose figures are printed, each under the text with which its file begins."""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for path in sorted(HERE.glob("losses*.json")):
        found = json.loads(path.read_text())
        parts.append(f"\n## Losses ({path.name})\n\n{_machine(found)}.\n")
        works = list(dict.fromkeys(row["work"] for row in found["rows"]))
        parts += [_table(work, [r for r in found["rows"] if r["work"] == work]) for work in works]
    for module, title in OTHERS.items():
        for path in sorted(HERE.glob(f"{module}*.json")):
            found = json.loads(path.read_text())
            parts.append(
                f"\n## {title} ({path.name})\n\n{_text(module)}\n\n{_machine(found)}.\n{_plain(found['rows'])}"
            )
    return "".join(parts)


def _machine(found: dict[str, Any]) -> str:
    return "; ".join(f"{name} {what}" if name != "processor" else what for name, what in found["machine"].items())


def _text(module: str) -> str:
    """The docstring of a benchmark, read without running it."""
    return ast.get_docstring(ast.parse((HERE / f"{module}.py").read_text())) or ""


def _plain(rows: list[dict[str, Any]]) -> str:
    """Rows of a benchmark that has one size a work."""
    lines = ["", "| work | what | peer | peer's figure | ours | ratio | limit | |", "|" + "---|" * 8]
    for row in rows:
        word = "more" if "times_more" in row else "less"
        limit = "" if row["limit"] is None else f"{row['limit']:g} times {word}"
        work = f"{row['work']} x {row['rows']}" if "rows" in row else row["work"]
        cells = [work, row.get("what", "CPU seconds"), row["peer"], number(row["figure"]), number(row["ours"]),
                 f"{row[f'times_{word}']:.1f} x {word}", limit, _end(row)]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _table(work: str, rows: list[dict[str, Any]]) -> str:
    lines = [f"\n### {work}\n", "| rows | what | peer | peer's figure | ours | ratio | limit | |", "|" + "---|" * 8]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    ratio = "" if row["times_less"] is None else f"{row['times_less']:.1f} x less"
    return [f"{row['rows']:,}", row["what"], row["peer"] or "none", number(row["figure"]), number(row["ours"]), ratio,
            row["limit"], _end(row)]  # fmt: skip


def _end(row: dict[str, Any]) -> str:
    verdict = {None: "", True: "reached", False: "**not reached**"}[row["reached"]]
    return "; ".join(x for x in (verdict, row["note"]) if x)


def number(value: float | None) -> str:
    """Three digits; a dash where nothing was measured."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    PAGE.write_text(page())
