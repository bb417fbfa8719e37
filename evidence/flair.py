"""The claims of issue 5 that take hours: `make evidence NAME=flair`, resumable run by run and part by part.

All on `synth flair-hub`, whose crops show the same values equally often in a year: only *when* tells them apart. Runs
stand in `build/evidence/flair`; finished ones are left alone.
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evidence.record import Record, landweave

if TYPE_CHECKING:
    from landweave.metrics.confusion import Confusion

SMOKE = ("lc-a", "lc-f", "lc-all", "lpis-i", "both-lpis-i")
SMOKE_PLACES = 60
PLACES = 400
SEEDS = (0, 1, 2)
BOTH = "aerial:N+R+G, s2-l2a"
SHUFFLED = ("method.faults={faults: [{kind: shuffle, sensor: s2-l2a}]}", "train.monitor=faulty.oa")
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "aerial image": ("aerial:N+R+G", ()),
    "Sentinel-2 series": ("s2-l2a", ()),
    "both": (BOTH, ()),
    "both, dates shuffled": (BOTH, SHUFFLED),
}
LEARNING = (
    "method.without={lpis-1: [background, mixed crops]}",
    "method.branches=[]",
    "optim.lr=1e-2",
    "train.batch_size=4",
    "train.epochs=16",
    "train.validate_every=4",
    "train.monitor=oa",
)
"""Crops alone are learned and scored: which one it is, where one is declared."""
FORM = ("data.labels=[lpis-1]", "data.coarsen={aerial: 8, labels: 16}", "data.average=monthly")


def main() -> None:
    """Run what is not recorded yet."""
    record = Record("flair")
    for seed in SEEDS:
        command = "landweave train flair/NAME --scale smoke; landweave evaluate"
        record.part(f"smoke/{seed}", command, partial(smoke, record.scratch, seed), seeds=[seed])
    for seed in SEEDS:
        command = "landweave train flair/lpis-c --scale smoke ... on crops alone; landweave evaluate --faults shuffle"
        record.part(f"phenology/{seed}", command, partial(phenology, record.scratch, seed), seeds=[seed])
    for seed in SEEDS:
        command = "landweave train flair/lpis-f --scale smoke ... data.path=csv/FLAIR-HUB_YEARS_TRAIN.csv"
        record.part(f"years/{seed}", command, partial(years, record.scratch, seed), seeds=[seed])


# ---- that they train


def smoke(scratch: Path, seed: int) -> dict[str, Any]:
    """Each configuration from an archive of GeoTIFFs: its time, its losses, its scores beside the majority class."""
    world = _world(scratch, SMOKE_PLACES)
    return {name: _smoke(scratch / f"smoke-{seed}" / name, name, world, seed) for name in SMOKE}


def _smoke(out: Path, name: str, world: Path, seed: int) -> dict[str, Any]:
    began, cpu = time.monotonic(), _cpu()
    landweave("train", f"flair/{name}", "--scale", "smoke", f"data.path={world}", f"seed={seed}", "--out", out)
    took = {"seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(_cpu() - cpu, 1)}
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    train = [r for r in rows if r["split"] == "train"]
    terms = [k for k in train[0] if k not in ("epoch", "split", "lr")]
    losses = {k: [_round(train[0][k]), _round(train[-1][k])] for k in terms}
    found = _evaluated(out)
    tasks = [r for of in found["results"].values() for r in of.values()] if "results" in found else [found]
    return {
        **took,
        "epochs": len(train),
        "first and last loss": losses,
        "weights": _weights(out),
        "test": {r["task"]: _headline(r["scores"]) for r in tasks},
        "majority class": {r["task"]: _headline(r["references"]["majority class"]["scores"]) for r in tasks},
    }


def _headline(scores: dict[str, float | None]) -> dict[str, float | None]:
    return {k: _round(scores[k]) for k in ("miou_paper", "oa")}


def _cpu() -> float:
    """Processor seconds of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _weights(run: Path) -> int:
    from safetensors.numpy import load_file

    return int(sum(v.size for v in load_file(run / "model.safetensors").values()))


# ---- that a series adds what an image lacks


def phenology(scratch: Path, seed: int) -> dict[str, Any]:
    """Crops of departments that nobody learned from: an image, a series, both, and both under one another's dates."""
    store = _packed(scratch, "store", _world(scratch, PLACES))
    found: dict[str, Any] = {}
    for row, (streams, more) in ROWS.items():
        out = scratch / f"phenology-{seed}" / row.replace(" ", "-").replace(",", "")
        _learn(out, store, streams, seed, *more)
        found[row] = _crops(_evaluated(out, *(("--faults", "shuffle:s2-l2a") if more else ())))
    both = scratch / f"phenology-{seed}" / "both"
    found["both, asked with shuffled dates"] = _crops(_evaluated(both, "--faults", "shuffle:s2-l2a"))
    return found | {"most frequent crop": _most_frequent(both, _evaluated(both))}


def years(scratch: Path, seed: int) -> dict[str, Any]:
    """Learned in 2018 and 2019; asked of other regions in those years, and in 2021, 18 to 25 days later.

    Both in the departments alone that both lists have, so that a year is not told apart by its departments. The last
    epoch is kept: none is chosen by looking at the same years.
    """
    world = _world(scratch, PLACES)
    store = _packed(scratch, "years", world / "csv" / "FLAIR-HUB_YEARS_TRAIN.csv")
    out = scratch / f"years-{seed}"
    _learn(out, store, "s2-l2a", seed, "train.validate_every=16")
    splits = {"the same years": "validation", "a later year": "test"}
    found = {when: _evaluated(out, "--split", split) for when, split in splits.items()}
    both = frozenset.intersection(*(frozenset(map(_department, r["groups"])) for r in found.values()))
    trivial = {f"most frequent crop, {when}": _most_frequent(out, r, both) for when, r in found.items()}
    return {when: _crops(r, both) for when, r in found.items()} | trivial | {"departments": sorted(both)}


def _learn(out: Path, store: Path, streams: str, seed: int, *more: str) -> None:
    names = ", ".join(f"'{s}'" if ":" in s else s for s in streams.split(", "))
    data = f"data={{kind: pack, path: '{store}', task: lpis-1, streams: [{names}]}}"
    words = ("method.auxiliary=0", *LEARNING, *more, f"seed={seed}")
    landweave("train", "flair/lpis-c", "--scale", "smoke", data, *words, "--out", out)


def _packed(scratch: Path, name: str, source: Path) -> Path:
    store = scratch / name
    if not (store / "manifest.json").exists():
        landweave(
            "pack", "data.kind=flair-hub", f"data.path={source}", "data.streams=['aerial:N+R+G', s2-l2a]", *FORM, store
        )
    return store


def _world(scratch: Path, places: int) -> Path:
    world = scratch / f"world-{places}"
    if not (world / "GLOBAL_ALL_MTD").exists():
        landweave("synth", "flair-hub", world, "--places", str(places), "--seed", "0")
    return world


def _evaluated(run: Path, *words: str) -> dict[str, Any]:
    done = landweave("evaluate", run, *words, "--json", "-")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _table(result: dict[str, Any], departments: frozenset[str] | None) -> Confusion:
    """The answers of all places, or of those in some departments."""
    from landweave.metrics.confusion import Confusion

    found = Confusion(len(result["classes"]))
    for name, group in result["groups"].items():
        if departments is None or _department(name) in departments:
            found = found.merge(Confusion.from_json(found.classes, group["cells"]))
    return found


def _department(domain: str) -> str:
    return domain.partition("-")[0]


def _crops(result: dict[str, Any], departments: frozenset[str] | None = None) -> dict[str, float | None]:
    """Accuracy and mean IoU over pixels that some farmer declared."""
    table, rows = _table(result, departments).array, _declared(result)
    right, total = sum(table[i][i] for i in rows), sum(table[i].sum() for i in rows)
    ious = []
    for i in rows:
        union = table[i].sum() + sum(table[j][i] for j in rows) - table[i][i]
        if table[i].sum():
            ious.append(float(table[i][i] / union))
    return {"accuracy": _round(right / total), "miou": _round(statistics.mean(ious)), "pixels": int(total)}


def _most_frequent(
    run: Path, result: dict[str, Any], departments: frozenset[str] | None = None
) -> dict[str, float | None]:
    """What it gives to say the most frequent crop of the training places everywhere."""
    learned = json.loads((run / "config.json").read_text())["class_counts"]
    rows, support = _declared(result), _table(result, departments).support
    most, total = max(rows, key=lambda i: learned[i]), sum(support[i] for i in rows)
    right, there = support[most], sum(bool(support[i]) for i in rows)
    return {"accuracy": _round(right / total), "miou": _round(right / total / there), "pixels": int(total)}


def _declared(result: dict[str, Any]) -> list[int]:
    return [i for i, c in enumerate(result["classes"]) if c["name"] != "background"]


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


if __name__ == "__main__":
    main()
