"""The record of `make evidence NAME=robust` in a few lines: what masking costs, what adapting gives back, the aims."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Figures = dict[str, Any]
COMPLETE = "complete"
COST = 0.05
"""What masking must cost a segmentation before the share that is won back says anything."""
BACK, BACK_OF_MAPS, LOSS, RANK = 0.75, 0.9, 0.03, 0.8
"""Aims: shares of the lost score that come back, what complete images may lose, and a rank correlation."""
NEAR = {"any/synthetic": 0.03, "any/patches": 0.06}
"""How far one encoder for all may lie below a dedicated one, by a probe."""


def sets(f: Figures) -> str:
    """The claims on the twelve sets under one reading of the band numbers."""
    told = []
    for way in ("probe", "drop-in"):
        row = f[way]
        costly = [r for r in row["sets"] if r["costs_3_points"]]
        gains = sum(r["holds"] for r in costly)
        rest = len(row["sets"]) - len(costly)
        rank = row["rank_correlation_of_cost_and_gain"]
        told.append(
            f"{way}: complete {row[COMPLETE]:.3f}; gain where masking costs 3 points: {gains} of {len(costly)} sets; "
            f"not lower elsewhere: {row['hold'] - gains} of {rest}; rank correlation of cost and gain "
            f"{rank:.2f} (aim {RANK}, {_met(rank >= RANK)}), of the gain with the cost to other seeds' teachers "
            f"{row['rank_correlation_with_the_cost_to_other_teachers']:.2f}"
        )
    return ". ".join(told)


def rgb(runs: Sequence[Figures]) -> str:
    """Complete and faulty images, drop-in, over seeds, and the two aims."""
    cells = [r["cells"] for r in runs]
    told = _cells(cells, ("teacher", "ours", "thesis"), f"{len(runs)} seeds")
    fault = next(name for name in cells[0] if name.endswith("@0.9"))
    back, lost = _won(cells, fault, "ours"), _lost(cells, "ours")
    worst = min(_won([c], fault, "ours") for c in cells)
    met, most = _met(back >= BACK and lost <= LOSS), max(_lost([c], "ours") for c in cells)
    return (
        f"{told}. One model wins back {back:.0%} at 0.9 (worst seed {worst:.0%}, aim {BACK:.0%}) and loses "
        f"{100 * lost:.1f} points on complete images (worst seed {100 * most:.1f}, aim at most {100 * LOSS:g}): {met}, "
        "in the mean over seeds; the thesis's settings win "
        f"back {_won(cells, fault, 'thesis'):.0%} and lose {100 * _lost(cells, 'thesis'):.1f} points"
    )


def patches(f: Figures) -> str:
    """The same on real patches, and the gain over scenes."""
    cells = _cells([r["cells"] for r in f["seeds"]], ("teacher", "ours", "thesis"), f"{len(f['seeds'])} seeds")
    over = f["student less teacher, drop-in, over scenes"]
    told = ", ".join(
        f"{name} {row['difference']:+.3f} [{row['interval'][0]:+.3f}, {row['interval'][1]:+.3f}]"
        for name, row in over.items()
    )
    return f"{cells}. Ours less teacher over {f['scenes']} scenes, drop-in: {told}"


def any_synthetic(f: Figures) -> str:
    """See `_anything`."""
    return _anything(f, NEAR["any/synthetic"])


def any_patches(f: Figures) -> str:
    """See `_anything`."""
    return _anything(f, NEAR["any/patches"])


def _anything(f: Figures, near: float) -> str:
    """One encoder for every subset beside dedicated ones: means over seeds, paired differences, aims, cost."""
    told, seeds = [], f["seeds"]
    for name in [*seeds[0]]:
        rows = [s[name] for s in seeds]
        one, other = "one for all", "teacher" if name == COMPLETE else "dedicated"
        less = {way: [r[one][way] - r[other][way] for r in rows] for way in ("probe", "drop_in")}
        seen = [who for who in rows[0] if name != COMPLETE or who in (one, other)]
        who = ", ".join(f"{w} {_two(rows, w)}" for w in seen)
        aim = LOSS if name == COMPLETE else near
        reached = all(
            statistics.mean(less[way]) >= -aim for way in (("probe", "drop_in") if name == COMPLETE else ("probe",))
        )
        told.append(
            f"{name}: {who}; less {other} {_mean(less['probe'])} / {_mean(less['drop_in'])} "
            f"(aim: {'both' if name == COMPLETE else 'probe'} at most {100 * aim:g} points lower, {_met(reached)})"
        )
    cost = ", ".join(
        f"{who} {row['steps']:,} steps, {row['student images']:,} images" for who, row in f["cost"].items()
    )
    return "probe / drop-in. " + "; ".join(told) + f" ({len(seeds)} seeds; {cost})"


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
        maps, pooled = (_won(cells, name, who) for who in ("maps", "pooled"))
        worst = min(_won([c], name, "maps") for c in cells)
        told.append(
            f"{_set(name)} costs {cost:.3f} mIoU; comes back: maps {maps:.0%} (worst seed {worst:.0%}, aim "
            f"{BACK_OF_MAPS:.0%}, {_met(maps >= BACK_OF_MAPS)}), pooled {pooled:.0%}"
        )
    rest = f"masking costs less than {COST} (nothing claimed): {', '.join(cheap)}" if cheap else ""
    return "; ".join([*told, *([rest] if rest else [])])


def tiles(f: Figures) -> str:
    """Differences only: over the pixels of all tiles, and their range over tiles."""
    pooled, by_tile = f["miou over the pixels of all tiles"], f["less teacher, by tile"]
    told = []
    for condition, row in pooled.items():
        for who in (w for w in row if w != "teacher"):
            own = [v for v in by_tile[condition][who].values() if v is not None]
            span = f"{min(own):+.3f} to {max(own):+.3f} by tile"
            told.append(f"{condition}, {who} {row[who] - row['teacher']:+.3f} ({span})")
    blank = sum(v is None for v in by_tile[COMPLETE]["maps"].values())
    rest = f"{blank} of {f['tiles']} tiles has no class that the others taught"
    return "; ".join([*told, *([rest] if blank else [])])


def _won(by_seed: Sequence[Mapping[str, Mapping[str, Figures]]], fault: str, who: str) -> float:
    """Of all the points that the fault cost the teachers, the share that the students have more: a ratio of sums."""
    lost = sum(s[COMPLETE]["teacher"]["drop_in"] - s[fault]["teacher"]["drop_in"] for s in by_seed)
    won = sum(s[fault][who]["drop_in"] - s[fault]["teacher"]["drop_in"] for s in by_seed)
    return float(won / lost) if lost > 0 else float("nan")


def _lost(by_seed: Sequence[Mapping[str, Mapping[str, Figures]]], who: str) -> float:
    """What the students lack on complete images, drop-in."""
    return float(statistics.mean(s[COMPLETE]["teacher"]["drop_in"] - s[COMPLETE][who]["drop_in"] for s in by_seed))


def _met(reached: bool) -> str:
    return "reached" if reached else "missed"


def _cells(by_seed: Sequence[Mapping[str, Mapping[str, Figures]]], who: Sequence[str], over: str) -> str:
    told = [
        f"{fault}: " + ", ".join(f"{name} {_mean([s[fault][name]['drop_in'] for s in by_seed])}" for name in who)
        for fault in by_seed[0]
    ]
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
