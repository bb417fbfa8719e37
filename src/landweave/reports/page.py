"""What a report says, as plain values for the template: everything is read from the files of a run folder."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landweave.errors import RunError
from landweave.reports import figures
from landweave.run.score import MONITORS

NAMES = {
    "oa": "overall accuracy",
    "oa_paper": "overall accuracy, answers of unscored classes forgotten",
    "aa_existing": "average accuracy, classes present",
    "aa_fixed": "average accuracy, all trained classes",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "micro_precision": "micro precision",
    "micro_recall": "micro recall",
    "micro_f1": "micro F1",
    "miou_existing": "mean IoU, classes present",
    "miou_paper": "mean IoU, the rule of FLAIR-HUB's paper",
    "miou_all": "mean IoU, all trained classes",
    "miou_official": "mean IoU, the rule of FLAIR-HUB's code",
    "fw_iou": "frequency-weighted IoU",
    "miou_weighted": "frequency-weighted IoU, all classes",
    "kappa": "Cohen's kappa",
    "hamming": "Hamming loss (less is better)",
    "brier": "Brier score (less is better)",
    "average_precision": "mean average precision",
}
"""Scores that a table shows, in its order, in words."""

SIBLINGS = {"oa_paper": "oa", "miou_paper": "miou_existing", "miou_official": "miou_all", "miou_weighted": "fw_iou"}
"""A score by another rule, which a table has where it is another number than this one."""
CURVES = ("macro_f1", "micro_f1", "miou_existing", "oa", "average_precision")
FEW_PLACES, FEW_GROUPS = 30, 5
"""Fewer places, or fewer scenes or regions, say nothing of how skilful a method is."""


def read(path: Path) -> Any:
    """JSON, or None where the file is absent.

    Raises:
        RunError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"not JSON: {error}", where=path, fix="make it again") from None


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise RunError(f"not JSON lines: {error}", where=path) from None


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run, the test split first."""
    found = {s: read(folder / f"evaluation-{s}.json") for s in ("test", "validation", "train")}
    return [e for e in found.values() if e]


def facts(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was trained on what, as terms and their texts."""
    setting = config["experiment"]
    data, method, train = (setting.get(k) or {} for k in ("data", "method", "train"))
    encoder = method.get("encoder") or {}
    name = encoder.get("name", "") if isinstance(encoder, Mapping) else str(encoder)
    share = float(data.get("fraction", 1.0))
    labels = "all training labels" if share == 1 else f"{share:.3g} of the training labels (draw {data.get('seed', 0)})"
    unit = {"map": "pixels", "class": "places", "multilabel": "class mentions"}[config["kind"]]
    rows = [
        ("method", method.get("kind", "") + (f", encoder {name}" if name else "")),
        ("recipe", setting.get("recipe", "")),
        ("data", f"{data.get('kind', '')}: {data.get('path', '')}"),
        ("labels", f"{labels}; {sum(config['class_counts']):,} labelled {unit}".replace(",", " ")),
        ("training", f"{train.get('epochs', '?')} epochs at most, seed {setting.get('seed', 0)}"),
    ]
    return [(term, text) for term, text in rows if text]


def sensors(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """The data contract, a row a sensor."""
    rows = []
    for name, row in config["contract"].items():
        metres = row.get("metres")
        rows.append(
            {
                "sensor": name,
                "bands": ", ".join(row["bands"]),
                "unit": row["unit"],
                "pixel": f"{metres:g} m" if metres else "unknown",
                "size": f"{row['size'][0]} × {row['size'][1]}",
            }
        )
    return rows


def headline(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The score that counts, beside what costs nothing; None where it is undefined."""
    kind = evaluation["kind"]
    key = MONITORS[kind]
    own = evaluation["scores"].get(key)
    if own is None:
        return None
    others = [(name, r["scores"].get(key)) for name, r in evaluation["references"].items()]
    best = max(((v, n) for n, v in others if v is not None), default=None)
    if best is None:
        verdict = ""
    elif own > best[0]:
        verdict = f"The run beats the better reference, {best[1]}, by {own - best[0]:.3f}."
    else:
        verdict = f"The run does not beat {best[1]}, which costs next to nothing."
    return {
        "key": NAMES.get(key, key),
        "value": own,
        "others": others,
        "skill": evaluation["skill"].get(key),
        "verdict": verdict,
    }


def place_score(evaluation: Mapping[str, Any] | None) -> str:
    """What the score of a single place is, in words."""
    if not evaluation:
        return ""
    name = NAMES[evaluation["place_score"]]
    return f"{name} of its known pixels of trained classes" if evaluation["kind"] == "map" else name


def share(value: float) -> str:
    """A score with three digits; 1.000 only where nothing is wrong, for 0.9996 has its errors too."""
    return "> 0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def cautions(evaluation: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the numbers."""
    out = []
    if product := evaluation.get("product"):
        out.append(
            f"The truth here is {product}, a land-cover product that is itself the output of a model. The scores are "
            "agreement with that product, not accuracy on the ground."
        )
    if changes := evaluation.get("changes"):
        out.append(f"The scores are of data that were named anew for them: {', '.join(changes)}.")
    if learned := evaluation.get("learned_from"):
        out.append(f"The run learned from {learned} of these places: the data were split anew since it was trained.")
    n = evaluation["n_places"]
    groups = len({p.get("group") for p in evaluation.get("places", []) if p.get("group")})
    if n < FEW_PLACES or 0 < groups < FEW_GROUPS:
        where = f"{n} place{'s' * (n != 1)}" + (f" of {groups} scene{'s' * (groups != 1)}" if groups else "")
        out.append(f"It proves the way, not skill: {where} cannot tell a good method from a lucky one.")
    return out


def averages(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Averaged scores: a row a score, a column a predictor."""
    columns = [("this run", evaluation["scores"])]
    columns += [(name, r["scores"]) for name, r in evaluation["references"].items()]
    rows = [
        {"name": text, "values": [scores.get(key) for _, scores in columns], "skill": evaluation["skill"].get(key)}
        for key, text in NAMES.items()
        if key in evaluation["scores"] and not _repeats(key, [s for _, s in columns])
    ]
    return {"columns": [name for name, _ in columns], "rows": rows}


def _repeats(key: str, columns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a score by another rule is the same number for every predictor."""
    return key in SIBLINGS and all(scores.get(key) == scores.get(SIBLINGS[key]) for scores in columns)


def classes(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The table by class: scored ones first, then those that were never asked for, then those not in training."""
    keys = [k for k in ("precision", "recall", "f1", "iou", "average_precision") if k in evaluation["per_class"][0]]
    main = "iou" if evaluation["kind"] == "map" else "f1"
    rows = []
    for about, row in zip(evaluation["classes"], evaluation["per_class"], strict=True):
        state = "" if about["support"] else "not in this split"
        state = state if about["trained"] else "not in training"
        shown = {k: None if state else row.get(k) for k in keys}
        rows.append({**about, **shown, "bar": shown.get(main), "state": state})
    rows.sort(key=lambda r: ("", "not in this split", "not in training").index(r["state"]))
    words = {"f1": "F1", "iou": "IoU", "average_precision": "avg. precision"}
    return {"keys": [(k, words.get(k, k)) for k in keys], "rows": rows, "main": words[main]}


def confusions(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Confusion tables of the run and of the references over the trained classes; None for sets of classes."""
    if not evaluation.get("confusion"):
        return None
    keep = [i for i, c in enumerate(evaluation["classes"]) if c["trained"]]
    named = [("this run", evaluation["confusion"])]
    named += [(n, r["confusion"]) for n, r in evaluation["references"].items() if r.get("confusion")]
    tables = []
    for name, matrix in named:
        rows = []
        for i in keep:
            total = sum(matrix[i])
            rows.append([{"n": matrix[i][j], "share": matrix[i][j] / total if total else None} for j in keep])
        tables.append({"name": name, "rows": rows})
    return {"classes": [evaluation["classes"][i] for i in keep], "tables": tables}


def curves(rows: Sequence[Mapping[str, Any]], kind: str) -> str:
    """The learning curves as SVG; empty where there is nothing to draw."""

    def line(split: str, key: str, name: str) -> figures.Line:
        found = [(r["epoch"], r[key]) for r in rows if r.get("split") == split and r.get(key) is not None]
        return figures.Line(name, [e for e, _ in found], [v for _, v in found], dashed=split == "validation")

    losses = [line("train", "loss", "training"), line("validation", "loss", "validation")]
    keys = sorted(CURVES, key=lambda k: k != MONITORS[kind])  # type: ignore[index]
    scores = [line("validation", k, NAMES[k].partition(",")[0]) for k in keys]
    losses, scores = [x for x in losses if x.x], [x for x in scores if x.x][:3]
    return figures.curves(losses, scores, salt="curves") if losses or scores else ""


def leak_figures(leak: Mapping[str, Any] | None) -> dict[str, str]:
    """The two plots of the leak meter, each empty where it could not be measured."""
    out = {"distance": "", "splits": ""}
    if not leak:
        return out
    lines = []
    for series in leak["distance"]["series"]:
        bins = series["bins"]
        x = [b["km"] for b in bins]
        lines.append(figures.Line(series["name"], x, [b["score"] for b in bins], [b["n"] for b in bins]))
    if lines:
        out["distance"] = figures.against_distance(lines, score=leak["score"], salt="distance")
    if measured := [s for s in leak["splits"] if s.get("score") is not None]:
        out["splits"] = figures.split_bars(measured, score=leak["score"], salt="splits")
    return out


def commands(folder: Path, config: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> list[str]:
    """What to type to get this page again."""
    run = shlex.quote(str(folder))
    images = " ".join(f"--image {name}=FILE" for name in config["contract"])
    product = (evaluation or {}).get("product", "")
    more = f" --split {evaluation['split']}" if evaluation and evaluation["split"] != "test" else ""
    more += f" --product {shlex.quote(product)}" if product else ""
    return [
        f"landweave train {run}/experiment.yaml --out {run}",
        f"landweave evaluate {run}{more}",
        f"landweave map {run} {images} --out {run}/map.tif",
        f"landweave report {run}",
    ]
