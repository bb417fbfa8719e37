"""What a report says of classes, sensors and embeddings, as plain values and SVG for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.reports import gradcam, plots, spectra
from landweave.reports.page import NAMES
from landweave.run.score import MONITORS

if TYPE_CHECKING:
    from landweave.run.ablate import Row

Found = Mapping[str, Any]
TRACES, MATRIX = 6, 24
"""At most so many classes in the figure of spectra, and in the matrix."""
ABLATION = ("macro_precision", "macro_recall", "macro_f1", "micro_precision", "micro_recall", "micro_f1")
SINGLE = ("oa", "macro_precision", "macro_recall", "macro_f1", "miou_existing")


def class_losses(evaluation: Found) -> list[dict[str, Any]]:
    """Hamming and Brier of each class beside what costs nothing; empty unless places have sets of classes.

    The predictor that never says a class has its prevalence π as Hamming loss; the constant π has the Brier score
    π(1 − π). Skill is 1 − loss / trivial loss: 0 where nothing was gained, negative where it is worse than nothing.
    """
    if evaluation["kind"] != "multilabel":
        return []
    rows = []
    for about, row in zip(evaluation["classes"], evaluation["per_class"], strict=True):
        p = row.get("prevalence")
        if not about["trained"] or p is None or row.get("hamming") is None:
            continue
        trivial = {"hamming": p, "brier": p * (1 - p)}
        rows.append(
            {
                "name": about["name"],
                "color": about["color"],
                "prevalence": p,
                **{k: row[k] for k in trivial},
                **{f"trivial_{k}": v for k, v in trivial.items()},
                **{f"skill_{k}": 1 - row[k] / v if v > 0 else None for k, v in trivial.items()},
            }
        )
    return sorted(rows, key=lambda r: -r["prevalence"])


def class_figures(found: Found, evaluation: Found | None) -> dict[str, Any]:
    """Traces, similarity matrix, and the correlation of similarity with loss; `why` where there are none."""
    if "similarity" not in found:
        return {"why": found.get("why", ""), "traces": "", "matrix": "", "against": "", "rows": [], "correlations": []}
    rows = spectra.nearest(found)
    most = sorted(range(len(rows)), key=lambda i: -rows[i]["n"])
    shown = sorted(most[:MATRIX])
    named = [rows[i]["name"] for i in shown]
    matrix = [[found["similarity"][i][j] for j in shown] for i in shown]
    first = max(rows, key=lambda r: r["similarity"])
    correlations = spectra.correlations(found, evaluation) if evaluation else []
    score = next((c for c in correlations if "/" in c["name"]), correlations[0] if correlations else None)
    return {
        "why": "",
        "sensor": found["sensor"],
        "by": found["by"],
        "places": found["places"],
        "split": found["split"],
        "traces": _traces(found, [rows[i] for i in most[:TRACES]]),
        "matrix": plots.similarity(
            named,
            matrix,
            words=f"Class similarity from mean spectra; the most alike are {first['name']} and {first['like']} with "
            f"{first['similarity']:.3f}",
            salt="similarity",
        ),
        "rows": rows,
        "first": first,
        "correlations": correlations,
        "against": _against(score) if score else "",
    }


def _traces(found: Found, rows: Sequence[Mapping[str, Any]]) -> str:
    told = "; ".join(
        f"{r['name']} " + ", ".join(f"{b} {m:.3f}" for b, m in zip(found["bands"], r["mean"], strict=True))
        for r in rows
    )
    return plots.traces(
        rows, found["bands"], nanometres=found["nanometres"], words=f"Mean reflectance by band. {told}", salt="traces"
    )


def _against(row: Mapping[str, Any]) -> str:
    words = f"{row['name']} against class similarity, {row['n']} classes: Spearman {row['spearman']:.2f}"
    return plots.against(
        row["points"], x="similarity to the nearest other class", y=row["name"], words=words, salt="against"
    )


def embedding(found: Found) -> dict[str, Any]:
    """The t-SNE, and how well neighbours and sensors find each other; `why` where there is none."""
    if "after" not in found:
        return {"why": found.get("why", ""), "figure": ""}
    agree = found["agreement"]
    words = f"t-SNE of {found['n']} places before and after training"
    if agree:
        words += (
            f"; of the {agree['k']} nearest neighbours {agree['before']:.0%} are of the same class before and "
            f"{agree['after']:.0%} after, {agree['chance']:.0%} by chance"
        )
    panels = {"before: random weights": found["before"], "after training": found["after"]}
    return {
        "why": "",
        "figure": plots.scatter(panels, found["group"], found["groups"], words=words, salt="tsne"),
        "n": found["n"],
        "split": found["split"],
        "coloured": found["coloured"],
        "agreement": agree,
        "retrieval": found["retrieval"],
    }


def looking(found: Found) -> dict[str, Any]:
    """The Grad-CAM panel; `why` where there is none."""
    if "rows" not in found:
        return {"why": found.get("why", ""), "figure": ""}
    return {"why": "", "figure": gradcam.drawn(found), "split": found["split"]}


def ablation(rows: Sequence[Row], kind: str) -> dict[str, Any]:
    """The table and the bars of the modality ablation, as far as its evaluations are there."""
    keys = [(k, NAMES[k].partition(",")[0]) for k in (ABLATION if kind == "multilabel" else SINGLE)]
    main = MONITORS[kind]  # type: ignore[index]
    made = [(r, r.evaluation["scores"]) for r in rows if r.evaluation]
    if len(made) < 2 or made[0][0].only:
        return {"rows": [], "keys": keys, "figure": "", "lacking": len(rows) - len(made)}
    bars = [{"name": r.name, "value": s[main] or 0.0} for r, s in made]
    told = "; ".join(f"{b['name']} {b['value']:.3f}" for b in bars)
    return {
        "keys": keys,
        "rows": [{"name": r.name, "scores": s} for r, s in made],
        "lacking": len(rows) - len(made),
        "split": made[0][0].evaluation["split"] if made[0][0].evaluation else "",
        "figure": plots.ablation_bars(
            bars, score=NAMES[main], words=f"Modality ablation, {NAMES[main]}: {told}", salt="ablation"
        ),
    }


def fault_test(spoilt: Found | None, main: Found | None) -> dict[str, Any] | None:
    """Scores at the places set aside for snow, cloud and shadow beside those of the test places."""
    if not spoilt:
        return None
    key = MONITORS[spoilt["kind"]]
    clean = main if main and main["split"] == "test" else None
    names = ["this run", *spoilt["references"]]

    def scores(found: Found) -> list[float | None]:
        return [found["scores"].get(key), *(r["scores"].get(key) for r in found["references"].values())]

    here = scores(spoilt)
    there: list[float | None] = scores(clean) if clean else [None] * len(here)
    rows = [
        {"name": n, "sound": t, "spoilt": h, "drop": t - h if t is not None and h is not None else None}
        for n, t, h in zip(names, there, here, strict=False)
    ]
    return {"key": NAMES[key], "n": spoilt["n_places"], "rows": rows}


def write_figures(folder: Path, svgs: Mapping[str, str]) -> list[str]:
    """Write each figure that there is as RUN/figures/NAME.svg; gives the names."""
    from landweave.files import write_text
    from landweave.reports.figures import standalone

    names = [name for name, text in svgs.items() if text]
    for name in names:
        write_text(folder / "figures" / f"{name}.svg", standalone(svgs[name]))
    return names
