"""The record of `make evidence NAME=robust` in a few lines: what masking costs, and what adapting gives back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Figures = dict[str, Any]
COMPLETE = "complete"
COST = 0.05
"""What masking must cost a segmentation before the share that is won back says anything."""


def sets(f: Figures) -> str:
    """The claims on the twelve sets under one reading of the band numbers."""
    told = []
    for way in ("probe", "drop-in"):
        row = f[way]
        costly = [r for r in row["sets"] if r["costs_3_points"]]
        gains = sum(r["holds"] for r in costly)
        rest = len(row["sets"]) - len(costly)
        told.append(
            f"{way}: complete {row[COMPLETE]:.3f}; gain where masking costs 3 points: {gains} of {len(costly)} sets; "
            f"not lower elsewhere: {row['hold'] - gains} of {rest}; rank correlation of cost and gain "
            f"{row['rank_correlation_of_cost_and_gain']:.2f}"
        )
    return ". ".join(told)


def rgb(runs: Sequence[Figures]) -> str:
    """Complete and faulty images, drop-in, over seeds."""
    return _cells([r["cells"] for r in runs], ("teacher", "ours", "thesis"), f"{len(runs)} seeds")


def patches(f: Figures) -> str:
    """The same on real patches, and the gain over scenes."""
    cells = _cells([r["cells"] for r in f["seeds"]], ("teacher", "ours", "thesis"), f"{len(f['seeds'])} seeds")
    over = f["student less teacher, drop-in, over scenes"]
    told = ", ".join(
        f"{name} {row['difference']:+.3f} [{row['interval'][0]:+.3f}, {row['interval'][1]:+.3f}]"
        for name, row in over.items()
    )
    return f"{cells}. Ours less teacher over {f['scenes']} scenes, drop-in: {told}"


def anything(f: Figures) -> str:
    """One encoder for every subset beside dedicated ones, means over seeds."""
    steps = f["student images a training place"]
    told = []
    for name in [*f["seeds"][0]]:
        rows = [s[name] for s in f["seeds"]]
        told.append(f"{name}: " + ", ".join(f"{who} {_two(rows, who)}" for who in rows[0]))
    cost = ", ".join(f"{who} {count:g}" for who, count in steps.items())
    return "probe / drop-in. " + "; ".join(told) + f" ({len(f['seeds'])} seeds; images a training place: {cost})"


def _two(rows: Sequence[Figures], who: str) -> str:
    return " / ".join(_mean([r[who][way] for r in rows]) for way in ("probe", "drop_in"))


def segmentation(f: Figures) -> str:
    """Share of the lost mIoU that comes back with the original decoder, of the sets that cost enough."""
    told, cheap = [], []
    for name, runs in f.items():
        cells = [{k: {_kind(e): c for e, c in row.items()} for k, row in r["cells"].items()} for r in runs]
        cost = statistics.mean(c[COMPLETE]["teacher"]["drop_in"] - c[name]["teacher"]["drop_in"] for c in cells)
        if cost < COST:
            cheap.append(f"{_set(name)} {cost:.3f}")
            continue
        back = ", ".join(f"{who} {_mean([c[name][who]['recovered'] for c in cells])}" for who in ("maps", "pooled"))
        told.append(f"{_set(name)} costs {cost:.3f}, comes back: {back}")
    rest = f"; masking costs less than {COST} (nothing claimed): {', '.join(cheap)}" if cheap else ""
    return "; ".join(told) + rest


def tiles(f: Figures) -> str:
    """Differences only."""
    rows: Mapping[str, Mapping[str, float]] = f["mean over tiles"]
    return "; ".join(f"{who}: " + ", ".join(f"{k} {v:+.3f}" for k, v in row.items()) for who, row in rows.items())


def _cells(by_seed: Sequence[Mapping[str, Mapping[str, Figures]]], who: Sequence[str], over: str) -> str:
    told = []
    for fault in by_seed[0]:
        cells = [s[fault] for s in by_seed]
        parts = []
        for name in who:
            back = [c[name]["recovered"] for c in cells if c[name]["recovered"] is not None]
            more = (
                f" ({statistics.mean(back):.0%} recovered)" if back and name != "teacher" and fault != COMPLETE else ""
            )
            parts.append(f"{name} {_mean([c[name]['drop_in'] for c in cells])}{more}")
        told.append(f"{fault}: {', '.join(parts)}")
    return f"drop-in accuracy, {over}. " + "; ".join(told)


def _mean(values: Sequence[float | None]) -> str:
    found = [v for v in values if v is not None]
    if not found:
        return "-"
    std = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.3f}{std}"


def _kind(encoder: str) -> str:
    """`maps-0` is `maps`."""
    return encoder.rpartition("-")[0] or encoder


def _set(name: str) -> str:
    return name.partition("/")[2] or name
