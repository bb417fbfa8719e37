"""The full claims of issue 3. `make evidence NAME=contrast`; hours on two cores, resumable run by run.

The runs stand in `build/evidence/contrast`, each under the fingerprint of the code that made it: a change of the code
that a training passes through starts a part anew.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evidence.record import HERE, ROOT, SHARED, Record, landweave, shared

if TYPE_CHECKING:
    from landweave.reproduce import Adaptation, Protocol, Table
    from landweave.reproduce.paired import Pair

EUROSAT = SHARED / "data" / "eurosat-rgb"
TILES = SHARED / "data" / "terramind"
OFFSET = {"433D_629L_3_1": ("--offset", "s2-l2a=-1000")}  # the tile whose numbers carry the offset of baseline 04.00
PLACES = 1600  # of a synthetic world: half to train on, a quarter to validate, a quarter to test
NULLS = {
    "": (),
    "s1": ("only S2", "late fusion", "MoSAiC-1"),
    "labels": ("late fusion", "MoSAiC-1"),
}
"""Null worlds and the methods that are run on them; all on the world itself."""
NULL_RUNS = 5
"""Half as many as on the world itself, to spare two hours of a core."""
RETRIEVAL = ("method.encoder.name=resnet10t", "pretrain.optim.lr=1e-3", "pretrain.train.epochs=60",
             "pretrain.train.batch_size=64", "train.epochs=1")  # fmt: skip
SEEDS = (0, 1, 2)
WORKERS = 2


def main() -> None:
    """Run what is not recorded yet."""
    record = Record("contrast")
    record.part("smoke", "landweave reproduce mosaic/table-1 --scale smoke", lambda: smoke(record.scratch))
    command = "python -m benchmarks.losses --works nt_xent,mul_sup_con --rows 8192,65536"
    record.part("losses", command, lambda: losses(record.scratch))
    for null, rows in NULLS.items():
        name = f"synthetic/null-{null}" if null else "synthetic"
        command = (
            f"landweave reproduce evidence/protocols/synthetic.yaml --data world={'null-' + null if null else 'DIR'}"
        )
        runs = list(range(NULL_RUNS if null else 10))
        record.part(name, command, partial(synthetic, record.scratch, null, rows), seeds=runs)
    command = "landweave reproduce evidence/protocols/cause.yaml --data world=DIR"
    record.part("synthetic/cause", command, lambda: cause(record.scratch), seeds=list(range(5)))
    command = "landweave reproduce evidence/protocols/eurosat.yaml --data eurosat-rgb=../shared/data/eurosat-rgb"
    record.part("eurosat-rgb", command, lambda: eurosat(record.scratch), seeds=list(range(10)))
    command = "landweave train d-simclr pretrain.train.epochs=60 ... on four tiles, S1 to S2 on the fifth"
    record.part("retrieval", command, lambda: retrieval(record.scratch), seeds=list(SEEDS))


# ---- methods against each other


def synthetic(scratch: Path, null: str, rows: tuple[str, ...]) -> dict[str, Any]:
    """Ten paired runs on the synthetic world, or five on one in which a sensor or the labels mean nothing."""
    from landweave.reproduce import protocol

    world = scratch / f"world-{null or 'none'}"
    if not (world / "metadata.parquet").exists():
        shutil.rmtree(world, ignore_errors=True)
        more = ("--null", null) if null else ()
        landweave("synth", "bigearthnet-v2", world, "--places", str(PLACES), "--seed", "0", *more)
    given = protocol(HERE / "protocols" / "synthetic.yaml")
    if rows:
        compare = tuple(n for n in given.compare if n in rows)
        kept = tuple(r for r in given.rows if r.name in rows)
        less = {"rows": kept, "compare": compare, "name": f"synthetic-null-{null}", "runs": NULL_RUNS}
        given = given.model_copy(update=less)
    return {"places": PLACES, **figures(run(given, {"world": world}, scratch / f"synthetic{null and '-'}{null}"))}


def cause(scratch: Path) -> dict[str, Any]:
    """Why MoSAiC-1 does not lead on the synthetic world: larger batches, or less weight on its contrasts."""
    from landweave.reproduce import protocol

    given = protocol(HERE / "protocols" / "cause.yaml")
    return figures(run(given, {"world": scratch / "world-none"}, scratch / "synthetic"))


def eurosat(scratch: Path) -> dict[str, Any]:
    """Labels alone, SimCLR with a probe and SupCon with cross-entropy, at five shares of the labels."""
    from landweave.reproduce import protocol

    given = protocol(HERE / "protocols" / "eurosat.yaml")
    return figures(run(given, {"eurosat-rgb": EUROSAT}, scratch / "eurosat"))


def run(given: Protocol | Adaptation, data: dict[str, Path], out: Path) -> Table:
    """The table, with every run that is lacking made first."""
    from landweave.reproduce import run_protocol

    table = run_protocol(given, {k: str(v) for k, v in data.items()}, out, workers=WORKERS)
    if not table.ok:
        raise SystemExit(f"{len(table.failures)} runs failed: {table.failures[:1]}")
    return table


def figures(table: Table) -> dict[str, Any]:
    """Means, deviations, trivial predictors and paired differences, rounded."""
    scores = [
        {
            "dataset": e.dataset,
            "labels": e.fraction,
            "method": e.row,
            "score": e.column,
            "mean": _round(e.mean),
            "std": _round(e.std),
            "runs": len(e.values),
        }
        for e in table.entries
    ]
    trivial = [
        {"labels": t.fraction, "predictor": t.name, **{k: _round(v) for k, v in t.values.items()}}
        for t in table.trivials
    ]
    wanted = set(table.protocol.headline)
    return {"scores": scores, "trivial": trivial, "pairs": [_pair(p) for p in table.pairs if p.metric in wanted]}


def _pair(p: Pair) -> dict[str, Any]:
    return {
        "labels": p.fraction,
        "score": p.metric,
        "first": p.first,
        "second": p.second,
        "runs": p.n,
        "difference": _round(p.difference),
        "interval": [_round(p.low), _round(p.high)],
        "verdict": p.verdict,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# ---- sensors that find each other


def retrieval(scratch: Path) -> dict[str, Any]:
    """D-SimCLR on four genuine tiles; on the fifth each Sentinel-1 image looks for its Sentinel-2 image, and back."""
    names = sorted(p.stem for p in (TILES / "LULC").glob("*.tif"))
    found: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    for left_out in names:
        table = _tiles(scratch / "retrieval" / left_out, names, left_out)
        for seed in SEEDS:
            out = table.parent / f"run-{seed}"  # a finished run is left alone, a killed one goes on
            data = ("data.kind=pack", f"data.path={table.parent / 'store'}", "data.streams=[s1-rtc-gamma0, s2-l2a]")
            landweave("train", "d-simclr", *data, *RETRIEVAL, f"seed={seed}", "--out", out)
            for when, trained in (("before", False), ("after", True)):
                found[when].append(_recall(out / "pretrain", trained) | {"tile": left_out, "seed": seed})
    return {"tiles": len(names), **{when: _pooled(rows) for when, rows in found.items()}}


def _tiles(folder: Path, names: list[str], left_out: str) -> Path:
    """A packed table of windows of 280 m: one tile to test on, the others to learn from."""
    table = folder / "places.parquet"
    if (folder / "store" / "manifest.json").exists():
        return table
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i, name in enumerate([*(n for n in names if n != left_out), left_out]):
        images = ("--image", f"s2-l2a={TILES}/S2L2A/{name}.tif", "--image", f"s1-rtc-gamma0={TILES}/S1RTC/{name}.tif")
        label = ("--label", f"lulc={TILES}/LULC/{name}.tif", "--legend", TILES / "legend.yaml", "--multilabel")
        part = ("--split", "test") if name == left_out else ("--shares", "0.8,0.2,0")
        more = (*part, *(("--append",) if i else ()), *OFFSET.get(name, ()))
        landweave("tile", *images, *label, "--size", "28", *more, "--out", table)
    landweave("pack", table, folder / "store")
    return table


def _recall(run_folder: Path, trained: bool) -> dict[str, Any]:
    """Both ways, on the windows of the tile that is left out, and on windows of the other tiles not learned from."""
    from landweave.run.embed import between, embed

    ways = {"S1 to S2": ("s1-rtc-gamma0", "s2-l2a"), "S2 to S1": ("s2-l2a", "s1-rtc-gamma0")}
    out: dict[str, Any] = {}
    for where, split in (("left-out tile", "test"), ("held-out windows of the training tiles", "validation")):
        seen = embed(run_folder, split, trained=trained)
        out[where] = {"places": len(seen)}
        for way, (query, key) in ways.items():
            r = between(seen, query, key, head="main", at=(1, 5))
            out[where][way] = {f"recall@{k}": r.recall[k] for k in (1, 5)} | {
                f"chance@{k}": r.chance[k] for k in (1, 5)
            }
    return out


def _pooled(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """By where it was looked: mean over tiles for each seed, then mean and deviation over seeds; each tile's mean."""
    return {where: _pooled_at([r | r[where] for r in rows]) for where in rows[0] if isinstance(rows[0][where], dict)}


def _pooled_at(rows: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {"places": sum(r["places"] for r in rows) // len(SEEDS)}
    for way in ("S1 to S2", "S2 to S1"):
        for key in rows[0][way]:
            by_seed = [statistics.mean(r[way][key] for r in rows if r["seed"] == s) for s in SEEDS]
            out[f"{way}, {key}"] = {"mean": _round(statistics.mean(by_seed)), "std": _round(statistics.stdev(by_seed))}
        tiles = dict.fromkeys(r["tile"] for r in rows)
        out[f"{way}, recall@1 by tile"] = {
            t: _round(statistics.mean(r[way]["recall@1"] for r in rows if r["tile"] == t)) for t in tiles
        }
    return out


# ---- the machinery


def losses(scratch: Path) -> dict[str, Any]:
    """The sizes that have a limit, paired with their peers; `make benchmarks` runs all of them."""
    target = scratch / "losses.json"
    words = ["--works", "nt_xent,mul_sup_con", "--rows", "8192,65536", "--json", str(target)]
    command = [sys.executable, "-m", "benchmarks.losses", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def smoke(scratch: Path) -> dict[str, Any]:
    """Table 1 at its smallest, on both layouts: killed half way, started again, and the time of both together."""
    worlds = {"bigearthnet-v2": scratch / "smoke-ben", "sen12ms": scratch / "smoke-sen12ms"}
    for layout, folder in worlds.items():
        if not folder.exists():
            landweave("synth", layout, folder, "--places", "300", "--seed", "0")
    out = scratch / "smoke"
    shutil.rmtree(out, ignore_errors=True)
    data = [w for layout, folder in worlds.items() for w in ("--data", f"{layout}={folder}")]
    words = ["reproduce", "mosaic/table-1", *data, "--scale", "smoke", "--workers", str(WORKERS), "--out", str(out)]
    start = time.perf_counter()
    ledger = out / "runs.jsonl"
    first = subprocess.Popen([sys.executable, "-m", "landweave", *map(str, words)], cwd=ROOT, start_new_session=True)
    while first.poll() is None and (not ledger.exists() or len(ledger.read_text().splitlines()) < 12):
        time.sleep(1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = ledger.read_text().splitlines()
    done = landweave(*words)
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    return {
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "runs": len(lines),
        "ended": sum(line["status"] == "ok" for line in lines),
        "finished_before_the_kill_and_kept": kept == ledger.read_text().splitlines()[: len(kept)],
        "runs_before_the_kill": len(kept),
        "table": [line for line in done.stdout.splitlines() if line.strip()][-60:],
        "data": {
            layout: shared(folder) if SHARED in folder.parents else "synthetic" for layout, folder in worlds.items()
        },
    }


if __name__ == "__main__":
    main()
