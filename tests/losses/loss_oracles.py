"""The losses written once more with plain loops, from the formulas."""

from __future__ import annotations

import json
from math import exp, log, sqrt
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.json"
Rows = list[list[float]]


def golden(prefix: str) -> list[dict[str, Any]]:
    cases = [c for c in json.loads(GOLDEN.read_text())["cases"] if c["name"].startswith(prefix)]
    assert cases, f"no golden case {prefix}"
    return cases


def cosines(a: Rows, b: Rows) -> Rows:
    def units(rows: Rows) -> Rows:
        return [[v / max(sqrt(sum(x * x for x in r)), 1e-12) for v in r] for r in rows]

    return [[sum(x * y for x, y in zip(p, q, strict=True)) for q in units(b)] for p in units(a)]


def nt_xent_loops(a: Rows, b: Rows, t: float) -> float:
    z, n = a + b, len(a)
    s = cosines(z, z)
    total = 0.0
    for i in range(2 * n):
        total += log(sum(exp(s[i][p] / t) for p in range(2 * n) if p != i)) - s[i][(i + n) % (2 * n)] / t
    return total / (2 * n)


def cross_loops(a: Rows, b: Rows, t: float) -> float:
    s, n = cosines(a, b), len(a)
    total = 0.0
    for i in range(n):
        total += log(sum(exp(s[i][p] / t) for p in range(n))) + log(sum(exp(s[p][i] / t) for p in range(n)))
        total -= 2 * s[i][i] / t
    return total / (2 * n)


def mul_sup_con_loops(z: Rows, y: list[list[int]], t: float, reduction: str) -> tuple[float, int, int]:
    """A pair of row and label at a time; y holds known positives only. Loss, valid pairs, dropped pairs."""
    s, n, K = cosines(z, z), len(z), len(y[0])
    of_anchor: list[list[float]] = []
    dropped = 0
    for i in range(n):
        losses = []
        for j in range(K):
            positives = [p for p in range(n) if p != i and y[p][j]]
            if y[i][j] and not positives:
                dropped += 1
            if y[i][j] and positives:
                lse = log(sum(exp(s[i][a] / t) for a in range(n) if a != i))
                losses.append(sum(lse - s[i][p] / t for p in positives) / len(positives))
        of_anchor.append(losses)
    pairs = [v for losses in of_anchor for v in losses]
    if not pairs:
        return 0.0, 0, dropped
    if reduction == "pairs":
        return sum(pairs) / len(pairs), len(pairs), dropped
    means = [sum(v) / len(v) for v in of_anchor if v]
    return sum(means) / len(means), len(pairs), dropped


def by_keys_loops(
    s: Rows, positives: list[list[list[int]]], t: float, reduction: str = "pairs"
) -> tuple[float, int, int]:
    """Rows of similarities to keys, and for each query a list of sets of positives (MulSupCon: one a label)."""
    of_query: list[list[float]] = []
    dropped = 0
    for row, sets in zip(s, positives, strict=True):
        lse = log(sum(exp(v / t) for v in row))
        of_query.append([sum(lse - row[p] / t for p in found) / len(found) for found in sets if found])
        dropped += sum(not found for found in sets)
    pairs = [v for losses in of_query for v in losses]
    if not pairs:
        return 0.0, 0, dropped
    if reduction == "pairs":
        return sum(pairs) / len(pairs), len(pairs), dropped
    means = [sum(v) / len(v) for v in of_query if v]
    return sum(means) / (len(s) if reduction == "batch" else len(means)), len(pairs), dropped


def soft_con_loops(z: Rows, f: Rows, t: float) -> tuple[float, int, int]:
    """Loss, rows with a like other row, and rows with something but no like other."""
    s, alike, n = cosines(z, z), cosines(f, f), len(z)
    losses = []
    dropped = 0
    for i in range(n):
        others = [p for p in range(n) if p != i]
        total = sum(alike[i][p] for p in others)
        if total < 1e-4:
            dropped += any(f[i])
            continue
        lse = log(sum(exp(s[i][p] / t) for p in others))
        losses.append(sum(alike[i][p] / total * (lse - s[i][p] / t) for p in others))
    return (sum(losses) / len(losses) if losses else 0.0), len(losses), dropped
