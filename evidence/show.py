"""Print what was seen: `evidence/*.json` into the README's blocks and `docs/evidence.md`. Run by `make evidence`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evidence import show_flair, show_robust
from evidence.record import HERE, ROOT

END = "<!-- /evidence -->"
NAMES = ("spine", "contrast", "robust", "finding", "flair")

Records = dict[str, dict[str, Any]]
Text = Callable[[Any], str]


def records() -> Records:
    """Every record, as far as it has been run."""
    paths = {name: HERE / f"{name}.json" for name in NAMES}
    return {name: json.loads(p.read_text()) if p.exists() else {} for name, p in paths.items()}


def block(name: str, record: dict[str, Any]) -> str:
    """The README's short table of one record; a claim whose part was not run says so."""
    rows = ["| claim | seen |", "|---|---|"]
    rows += [f"| {claim} | {_seen(name, record, part, text)} |" for part, claim, text in CLAIMS[name]]
    return "\n".join(rows)


def _seen(name: str, record: dict[str, Any], part: str, text: Text) -> str:
    by_seed = [record[p]["figures"] for p in record if p.rpartition("/")[0] == part and p.rpartition("/")[2].isdigit()]
    if part in record:
        return text(record[part]["figures"])
    return text(by_seed) if by_seed else f"not run yet (`make evidence NAME={name}`, part `{part}`)"


# ---- spine


def _eurosat(runs: list[dict[str, Any]]) -> str:
    mean, std = _mean_std([r["test_accuracy"] for r in runs])
    forest = statistics.mean(r["random forest on band statistics"] for r in runs)
    slowest = max(r["train_seconds"] for r in runs) / 60
    return (
        f"test accuracy {mean:.3f} ± {std:.3f} ({len(runs)} seeds, {runs[0]['test_places']} test images); "
        f"majority class {runs[0]['majority class']:.3f}, random forest on band statistics {forest:.3f}; "
        f"slowest run {slowest:.1f} minutes"
    )


def _mean_std(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


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


# ---- contrast


def _losses(f: dict[str, Any]) -> str:
    bounded = list({(r["work"], r["rows"], r["what"]): r for r in f["rows"] if r["limit"]}.values())
    told = [f"{r['work']} {r['rows']:,} rows, {r['what']}: {_ratio(r)}" for r in bounded]
    return f"{sum(bool(r['reached']) for r in bounded)} of {len(bounded)} limits reached; " + "; ".join(told)


def _ratio(row: dict[str, Any]) -> str:
    if row["times_less"] is None:
        return f"{row['ours']:.3g}"
    return f"{row['times_less']:.1f} x less than {row['peer']}"


def _smoke(f: dict[str, Any]) -> str:
    return (
        f"{f['ended']} of {f['runs']} runs ended, in {f['minutes']} minutes together with a `kill -9` after "
        f"{f['runs_before_the_kill']} of them, none of which was made again: {f['finished_before_the_kill_and_kept']}"
    )


def _retrieval(f: dict[str, Any]) -> str:
    def told(when: str, where: str, k: int) -> str:
        cell = f[when][where][f"S1 to S2, recall@{k}"]
        return f"{cell['mean']:.3f} ± {cell['std']:.3f}"

    return ". ".join(
        f"{where}: "
        + "; ".join(
            f"recall@{k} {told('before', where, k)} before, {told('after', where, k)} after, "
            f"chance {f['after'][where][f'S1 to S2, chance@{k}']['mean']:.3f}"
            for k in (1, 5)
        )
        for where in f["after"]
    )


def _synthetic(f: dict[str, Any]) -> str:
    return _means(f, "macro_f1") + ". MoSAiC-1 less " + _pairs(f, "MoSAiC-1", "macro_f1")


def _cause(f: dict[str, Any]) -> str:
    rows = list(dict.fromkeys(p["first"] for p in f["pairs"]))
    return _means(f, "macro_f1") + ". " + "; ".join(f"{row} less {_pairs(f, row, 'macro_f1')}" for row in rows)


def _null(f: dict[str, Any]) -> str:
    return "MoSAiC-1 less " + _pairs(f, "MoSAiC-1", "macro_f1")


def _shares(f: dict[str, Any]) -> str:
    shares = list(dict.fromkeys(r["labels"] for r in f["scores"]))
    return "; ".join(f"{100 * s:g} %: {_means(f, 'oa', s)}" for s in shares)


def _means(f: dict[str, Any], score: str, labels: float | None = None) -> str:
    rows = [r for r in f["scores"] if r["score"] == score and labels in (None, r["labels"])]
    told = [f"{r['method']} {_pm(r)}" for r in rows]
    trivial = [t for t in f["trivial"] if labels in (None, t["labels"]) and t.get(score) is not None]
    told += [f"{t['predictor']} {t[score]:.3f}" for t in sorted(trivial, key=lambda t: -t[score])[:1]]
    return f"{score.replace('_', ' ')}: " + ", ".join(told) + (f" ({rows[0]['runs']} runs)" if rows else "")


def _pm(row: dict[str, Any]) -> str:
    return f"{row['mean']:.3f}" + ("" if row["std"] is None else f" ± {row['std']:.3f}")


def _pairs(f: dict[str, Any], first: str, score: str) -> str:
    rows = [p for p in f["pairs"] if p["first"] == first and p["score"] == score]
    return ", ".join(
        f"{p['second']}: {p['difference']:+.3f} [{p['interval'][0]:+.3f}, {p['interval'][1]:+.3f}]"
        + (" not distinguishable" if p["verdict"].startswith("not") else "")
        for p in rows
    )


# ---- finding


GOALS = ("dead band", "stripes of 20 %, every tenth line", "gain x 1.3", "two bands swapped")


def _found(f: dict[str, Any]) -> str:
    told = [f"{name} {_between(f['faults'][name], 'auroc')}" for name in GOALS]
    rest = ", ".join(f"{name} {row['auroc']:.2f}" for name, row in f["faults"].items() if name not in GOALS)
    alarm = f["clean"]["a band is called faulty"]
    clean = f"{alarm['count']} of {alarm['of']} clean images with a false alarm, {_between(alarm, 'share')}"
    more = f"; further faults: {rest}" if rest else ""
    return f"AUROC over {f['images']} images: {', '.join(told)}{more}. {clean}{_named(f)}"


def _between(row: dict[str, Any], key: str) -> str:
    return f"{row[key]:.3f} [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]"


def _named(f: dict[str, Any]) -> str:
    found = {name: f["named"][name]["exactly"]["share"] for name in GOALS if name in f.get("named", {})}
    told = ", ".join(f"{name} {share:.0%}" for name, share in found.items())
    return f". The right band and no other is named: {told}" if told else ""


CLAIMS: dict[str, tuple[tuple[str, str, Text], ...]] = {
    "spine": (
        ("demo", "`make demo`, 30 % of the labels of a synthetic world", _demo),
        ("eurosat-rgb", "EuroSAT RGB, 2,400 training images, ResNet-18 from scratch, two cores", _eurosat),
        ("terramind", "Five genuine tiles: learn on four, map the fifth", _tiles),
        ("refusals", "Bad input", _refusals),
        ("kills", "Killed during `pack`, `train` and `map`", _kills),
    ),
    "contrast": (
        ("losses", "CPU time and memory of the losses, forward and backward, beside other libraries", _losses),
        ("smoke", "MoSAiC's table 1 at its smallest, on synthetic data in both layouts", _smoke),
        (
            "retrieval",
            "Sentinel-1 finds its Sentinel-2 image, after D-SimCLR on four genuine tiles, five times over",
            _retrieval,
        ),
        ("synthetic", "Synthetic world, 10 % of the labels, ten paired runs, 95 % intervals", _synthetic),
        (
            "synthetic/cause",
            "Why MoSAiC-1 does not lead there: larger batches, lighter contrasts, five paired runs",
            _cause,
        ),
        ("synthetic/null-s1", "The same where radar shows another world: what S1 seems to add must vanish", _null),
        ("synthetic/null-labels", "The same where labels are another world's: every gain must vanish", _null),
        ("eurosat-rgb", "EuroSAT RGB by share of the labels", _shares),
    ),
    "robust": (
        (
            "sets/petcu2024-names",
            "Twelve sets of masked bands, synthetic EuroSAT, band numbers as names",
            show_robust.sets,
        ),
        ("sets/petcu2024-positional", "The same, band numbers as positions", show_robust.sets),
        ("rgb", "EuroSAT RGB, genuine images, green and blue masked, ResNet-18 from scratch", show_robust.rgb),
        ("patches", "23 genuine patches of 12 bands: which scene a chip is from", show_robust.patches),
        ("any/synthetic", "One encoder for every subset of bands, synthetic EuroSAT", show_robust.any_synthetic),
        ("any/patches", "The same on the genuine patches, 40 epochs of the one for all", show_robust.any_patches),
        ("any/patches/long", "The same, 100 epochs as the recipe has", show_robust.any_patches),
        (
            "segmentation",
            "Synthetic SEN12MS, share of the lost mIoU that comes back, students of 300 steps",
            show_robust.segmentation,
        ),
        ("segmentation/long", "The same, students of 1,600 steps at ten times the rate", show_robust.segmentation),
        ("terramind", "Five genuine tiles, each left out once, mIoU less the teacher's", show_robust.tiles),
    ),
    "finding": (
        ("ridge", "Ridge regression, thresholds from other images, its design chosen while looking at these", _found),
        ("network", "A small network, images it has not seen", _found),
    ),
    "flair": (
        ("smoke", "Five configurations at smoke scale, synthetic FLAIR-HUB", show_flair.smoke),
        ("phenology", "Crops that only their calendar tells apart, in departments not learned from", show_flair.crops),
        (
            "years",
            "Learned in 2018 and 2019 from Sentinel-2; a later year's spring is 18 to 25 days later",
            show_flair.years,
        ),
    ),
}


def page(found: Records) -> str:
    """`docs/evidence.md`: every part with its command, commit, seeds, seconds and figures."""
    out = [
        "# What was seen",
        "",
        "Written by `python -m evidence.show` from `evidence/*.json`; nothing here is typed by hand.",
        "",
    ]
    for record, parts in found.items():
        for name, part in parts.items():
            seeds = f", seeds {', '.join(map(str, part['seeds']))}" if "seeds" in part else ""
            out += [f"## {record}: {name}", "", f"`{part['command']}`", ""]
            out += [f"Commit {part['commit']}, {part['machine']}, {part['seconds']:.0f} s{seeds}.", ""]
            out += ["```json", json.dumps(part["figures"], indent=1, ensure_ascii=False), "```", ""]
    return "\n".join(out)


def readme(text: str, found: Records) -> str:
    """The README with its blocks renewed."""
    for name, record in found.items():
        start = f"<!-- evidence:{name} -->"
        head, rest = text.split(start)
        text = f"{head}{start}\n{block(name, record)}\n{END}{rest.split(END, 1)[1]}"
    return text


def main() -> None:
    """Renew both files."""
    found = records()
    path: Path = ROOT / "README.md"
    path.write_text(readme(path.read_text(), found))
    (ROOT / "docs" / "evidence.md").write_text(page(found))


if __name__ == "__main__":
    main()
