"""Print what was seen: `evidence/*.json` into the README's block and `docs/evidence.md`. Run by `make evidence`."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from evidence.record import HERE, ROOT

START, END = "<!-- evidence:spine -->", "<!-- /evidence -->"


def spine() -> dict[str, Any]:
    """The record of the first issue, as far as it has been run."""
    path = HERE / "spine.json"
    return json.loads(path.read_text()) if path.exists() else {}


def block(record: dict[str, Any]) -> str:
    """The README's short table; a claim whose part was not run says so."""
    rows = ["| claim | seen |", "|---|---|"]
    rows += [f"| {claim} | {_seen(record, part, text)} |" for part, claim, text in _CLAIMS]
    return "\n".join(rows)


def _seen(record: dict[str, Any], part: str, text: Any) -> str:
    return (
        text(record[part]["figures"]) if part in record else f"not run yet (`make evidence NAME=spine`, part `{part}`)"
    )


def _eurosat(runs: list[dict[str, Any]]) -> str:
    mean, std = (f([r["test_accuracy"] for r in runs]) for f in (statistics.mean, statistics.stdev))
    forest = statistics.mean(r["random forest on band statistics"] for r in runs)
    slowest = max(r["train_seconds"] for r in runs) / 60
    return (
        f"test accuracy {mean:.3f} ± {std:.3f} ({len(runs)} seeds, {runs[0]['test_places']} test images); "
        f"majority class {runs[0]['majority class']:.3f}, random forest on band statistics {forest:.3f}; "
        f"slowest run {slowest:.1f} minutes"
    )


def _tiles(f: dict[str, Any]) -> str:
    scores = "; ".join(f"{name} {s['oa']:.3f}" for name, s in f["scores"].items())
    lines_up = all(f["map"][k] for k in ("crs_equal", "transform_equal", "shape_equal"))
    what = "agreement with a land-cover product on one tile, which shows the way and not skill"
    return f"{what}: {scores}; the map lines up: {lines_up}"


def _demo(f: dict[str, Any]) -> str:
    return f"{f['seconds'] / 60:.1f} minutes; " + "; ".join(_row(n, s) for n, s in f["scores"].items())


def _row(name: str, scores: dict[str, dict[str, float]]) -> str:
    (metric, *_) = next(iter(scores.values()))
    return f"{name} {metric.replace('_', ' ')} " + ", ".join(f"{v[metric]:.3f} ({k})" for k, v in scores.items())


def _refusals(f: dict[str, Any]) -> str:
    slowest, lines = f["slowest_seconds"], f["most_lines"]
    return f"{len(f['cases'])} bad inputs, each refused within {slowest:.1f} s in at most {lines} lines"


def _kills(f: dict[str, Any]) -> str:
    return f"{len(f['passed'])} tests with `kill -9`, equal to the uninterrupted result"


_CLAIMS = (
    ("demo", "`make demo`, a tenth of the labels of a synthetic world", _demo),
    ("eurosat-rgb", "EuroSAT RGB, 2,400 training images, ResNet-18 from scratch, two cores", _eurosat),
    ("terramind", "Five genuine tiles: learn on four, map the fifth", _tiles),
    ("refusals", "Bad input", _refusals),
    ("kills", "Killed during `pack`, `train` and `map`", _kills),
)


def page(record: dict[str, Any]) -> str:
    """`docs/evidence.md`: every part with its command, commit, seeds, seconds and figures."""
    out = [
        "# What was seen",
        "",
        "Written by `python -m evidence.show` from `evidence/spine.json`; nothing here is typed by hand.",
        "",
    ]
    for name, part in record.items():
        seeds = f", seeds {', '.join(map(str, part['seeds']))}" if "seeds" in part else ""
        out += [f"## {name}", "", f"`{part['command']}`", ""]
        out += [f"Commit {part['commit']}, {part['machine']}, {part['seconds']:.0f} s{seeds}.", ""]
        out += ["```json", json.dumps(part["figures"], indent=1, ensure_ascii=False), "```", ""]
    return "\n".join(out)


def readme(text: str, record: dict[str, Any]) -> str:
    """The README with its block renewed."""
    head, rest = text.split(START)
    return f"{head}{START}\n{block(record)}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Renew both files."""
    record = spine()
    path: Path = ROOT / "README.md"
    path.write_text(readme(path.read_text(), record))
    (ROOT / "docs" / "evidence.md").write_text(page(record))


if __name__ == "__main__":
    main()
