"""Results of evaluations as lines for a terminal: scores, classes, regions, and the gap of two splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from landweave.columns import aligned
from landweave.metrics import Confusion, miou_over
from landweave.metrics.trivial import COUNTS

Result = Mapping[str, Any]
_STANDS = {"mean": "their mean feature", "zero": "zeros"}


def table(result: Result) -> Iterator[str]:
    """Averaged scores beside the references, then the classes, then what else the table can be read as."""
    names = ["this run", *result["references"]]
    columns = [result["scores"], *(r["scores"] for r in result["references"].values())]
    keys = [k for k in result["scores"] if k not in COUNTS]
    rows = [(k, *(_number(c.get(k)) for c in (*columns, result["skill"]))) for k in keys]
    yield from _head(result)
    yield from aligned(("", *names, "skill"), rows)
    for name, row in result["references"].items():
        if row.get("step", 1) > 1:
            yield f"{name}: asked about one in {row['step'] ** 2} pixels, for time"
    if len(result["references"]) == 1:
        yield "no random forest: these data have no labelled training place that it could learn from"
    unknown = [c["name"] for c in result["classes"] if c["support"] and not c["trained"]]
    if unknown:
        yield f"not scored, because no training label had them: {', '.join(unknown)}"
    there = {c["name"] for c in result["classes"] if c["support"]}
    if lacking := [name for name in result.get("unlearned", ()) if name in there]:
        yield f"never answered, because no label in use had them, and counted as wrong: {', '.join(lacking)}"
    if result.get("without"):
        yield f"not scored by choice: {', '.join(result['without'])}"
    yield ""
    yield from _classes(result["per_class"])
    yield from _readings(result.get("readings", ()))


def _head(result: Result) -> Iterator[str]:
    present = int(result["scores"]["n_present"])
    what = f"agreement with {result['product']}" if result["product"] else f"task `{result['task']}`"
    counts = f"{result['n_places']} places, {result['n']} labels, {present} classes present"
    yield f"{what}, split {result['split']}: {counts}"
    if result.get("changes"):
        yield f"on the data of {', '.join(result['changes'])}"
    if result["only"]:
        yield f"only {', '.join(result['only'])} seen; the others stand as {_STANDS[result['absent']]}"
    if result["fault_name"]:
        yield f"with faults: {result['fault_name']}"
    if learned := result.get("learned_from"):
        yield f"caution: the run learned from {learned} of these places: the data were split anew since it was trained"


def _classes(per_class: Sequence[Result]) -> Iterator[str]:
    rows = [r for r in per_class if r.get("support")]
    if not rows:
        return
    keys = [k for k in rows[0] if k not in ("name", "support", "index")]
    broad = max(len(r["name"][:40]) for r in rows)
    yield f"{'class':<{broad}}  {'support':>9}  " + "  ".join(f"{k:>9}" for k in keys)
    for r in rows:
        yield f"{r['name'][:40]:<{broad}}  {r['support']:>9}  " + "  ".join(f"{_number(r[k]):>9}" for k in keys)


def _readings(readings: Sequence[Result]) -> Iterator[str]:
    for one in readings:
        scores = one["scores"]
        told = ", ".join(f"{key} {_number(scores[key])}" for key in ("oa", "miou_paper", "macro_f1"))
        yield ""
        yield f"{one['name']} ({one['about']}): {told}; {one['n']} labels, {int(scores['n_present'])} classes"


# ---- regions


def by_group(result: Result) -> Iterator[str]:
    """A line a region (scene, domain), the worst first, and how far apart they are."""
    rows = result.get("groups", {})
    if not rows:
        why = "its places have no group" if "groups" in result else "only label maps are scored by group"
        yield f"task `{result['task']}`, by group: {why}"
        return
    ranked = sorted(rows, key=lambda name: _low(rows[name]["scores"]["miou_paper"]))
    broad = max(len(name) for name in (*rows, "group"))
    keys = ("oa", "miou_paper", "macro_f1")
    yield f"task `{result['task']}`, split {result['split']}, by group, worst mean IoU first"
    yield f"{'group':<{broad}}  {'places':>7}  {'labels':>11}  {'classes':>7}  " + "  ".join(f"{k:>10}" for k in keys)
    for name in ranked:
        row = rows[name]
        cells = "  ".join(f"{_number(row['scores'][k]):>10}" for k in keys)
        classes = int(row["scores"]["n_present"] or 0)
        yield f"{name:<{broad}}  {row['places']:>7}  {row['n']:>11}  {classes:>7}  {cells}"
    values = {k: [row["scores"][k] for row in rows.values() if row["scores"][k] is not None] for k in keys}
    told = ", ".join(f"{k} {min(v):.3f} to {max(v):.3f}, median {np.median(v):.3f}" for k, v in values.items() if v)
    yield f"over {len(rows)} groups: {told}"


def _low(value: float | None) -> float:
    return float("inf") if value is None else value


# ---- two splits


def gap(first: Result, second: Result) -> dict[str, Any]:
    """What a run loses from one split to another, by one metric: over the classes that are true in both.

    Of label maps and of single labels IoU (of classes and their mean) and overall accuracy, of sets of classes F1 (of
    classes and of the counts of all). Accuracy is of the labels of these classes alone, whatever they are taken for.
    The mean over "the classes present" is another metric on each split where other classes are present: the paper's
    81.4 and 39.2 are not one metric at all.

    Returns:
        `splits`, `classes` (those of both), `scores`: rows of `name`, a value a split, and `gap` (second less first).
    """
    tables = [_table_of(r) for r in (first, second)]
    names = [c["name"] for c in first["classes"]]
    both = [k for k in range(len(names)) if all(r["per_class"][k]["support"] for r in (first, second))]
    key = "f1" if tables[0] is None else "iou"
    rows = []
    if tables[0] is not None and tables[1] is not None:
        without = [names.index(n) for n in first.get("without", ())]
        means = [_defined(miou_over(t, both, without)) for t in tables if t is not None]
        rows = [
            ("oa", [_accuracy(t, both) for t in tables if t is not None]),
            (f"mean IoU of {len(both)} classes", means),
        ]
    else:
        rows = [("micro_f1", [_micro_f1([r["per_class"][k] for k in both]) for r in (first, second)])]
    rows += [(names[k], [r["per_class"][k][key] for r in (first, second)]) for k in both]
    return {
        "splits": [first["split"], second["split"]],
        "task": first["task"],
        "classes": [names[k] for k in both],
        "scores": [{"name": name, "values": v, "gap": _less(v)} for name, v in rows],
    }


def _accuracy(table: Confusion, classes: Sequence[int]) -> float | None:
    """The share of right answers where the truth is one of some classes."""
    found = table.of_truth(classes)
    return float(np.diag(found.array).sum() / found.n) if found.n else None


def _micro_f1(rows: Sequence[Result]) -> float | None:
    """Of some classes that are true somewhere: their counts follow from the ratios of their rows."""
    hits = sum(round(r["recall"] * r["support"]) for r in rows)
    wrong = sum(round(r["hamming"] * r["support"] / r["prevalence"]) for r in rows)
    return 2 * hits / (2 * hits + wrong) if rows else None


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _less(values: Sequence[float | None]) -> float | None:
    a, b = values
    return None if a is None or b is None else b - a


def _table_of(result: Result) -> Confusion | None:
    found = result["confusion"]
    return Confusion(len(found), found) if found else None


def gap_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """`gap` for a terminal."""
    a, b = found["splits"]
    broad = max(len(row["name"][:40]) for row in found["scores"])
    wide = max(9, len(a), len(b))
    yield f"task `{found['task']}`: {b} less {a}, over the {len(found['classes'])} classes that are in both"
    yield f"{'':<{broad}}  {a:>{wide}}  {b:>{wide}}  {'gap':>7}"
    for row in found["scores"]:
        cells = "  ".join(f"{_number(v):>{wide}}" for v in row["values"])
        told = "-" if row["gap"] is None else f"{row['gap']:+.3f}"
        yield f"{row['name'][:40]:<{broad}}  {cells}  {told:>7}"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
