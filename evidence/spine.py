"""The full claims of the first issue. `make evidence NAME=spine`; about 40 minutes on two cores, resumable by part."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from evidence.record import ROOT, SHARED, Record, landweave

EUROSAT = SHARED / "data" / "eurosat-rgb"
TILES = SHARED / "data" / "terramind"
TEST_TILE = "433D_629L_3_1"
PRODUCT = "the tiles' LULC product (another model's output)"
EUROSAT_CHANGES = ("data.splits=random", "train.epochs=14")  # two threads, which make exports as one
SEEDS = (0, 1, 2)


def main() -> None:
    """Run what is not recorded yet."""
    record = Record("spine")
    record.part("terramind", "see evidence/spine.py: terramind", lambda: terramind(record.scratch))
    changes = " ".join(EUROSAT_CHANGES)
    for seed in SEEDS:
        command = (
            f"landweave train supervised data.kind=eurosat data.path=../shared/data/eurosat-rgb {changes} seed={seed}"
        )
        record.part(f"eurosat-rgb/{seed}", command, partial(eurosat, record.scratch, seed), seeds=[seed])
    record.part("demo", "make demo", lambda: demo(record.scratch))
    record.part("refusals", "pytest tests/cli/test_refusals.py", refusals)
    record.part("kills", "pytest -k 'kill and not skill' tests", kills)


def demo(scratch: Path) -> dict[str, Any]:
    """The demo, and its scores."""
    out = scratch / "demo"
    shutil.rmtree(out, ignore_errors=True)
    landweave("demo", "--out", out, "--json", out.with_suffix(".json"))
    done = json.loads(out.with_suffix(".json").read_text())
    scores = {}
    for name, shown in (("mosaic-1", "micro_f1"), ("supervised", "micro_f1"), ("segment", "miou_existing")):
        found = json.loads((out / name / "evaluation-test.json").read_text())
        rows = {"this run": found["scores"], **{k: v["scores"] for k, v in found["references"].items()}}
        scores[name] = {k: {m: round(s[m], 4) for m in (shown, "macro_f1")} for k, s in rows.items()}
    return {"seconds": done["seconds"], "steps": done["steps"], "scores": scores}


def eurosat(scratch: Path, seed: int) -> dict[str, Any]:
    """ResNet-18 from scratch on 2,400 images, beside what looks at no texture, or at nothing."""
    run = scratch / f"eurosat-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    start = time.perf_counter()
    data = ("data.kind=eurosat", f"data.path={EUROSAT}", *EUROSAT_CHANGES, f"seed={seed}")
    landweave("train", "supervised", *data, "--out", run, OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")
    seconds = time.perf_counter() - start
    landweave("evaluate", run)
    found = json.loads((run / "evaluation-test.json").read_text())
    references = {k: round(v["scores"]["oa"], 4) for k, v in found["references"].items()}
    accuracy = round(found["scores"]["oa"], 4)
    return {"test_accuracy": accuracy, "test_places": found["n_places"], "train_seconds": round(seconds), **references}


def terramind(scratch: Path) -> dict[str, Any]:
    """Four tiles to learn from, the fifth to map: tile, check, pack, train, evaluate, map, report."""
    table, run = scratch / "places.parquet", scratch / "terramind"
    for path in (table, scratch / "store", run):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    legend = ("--legend", TILES / "legend.yaml", "--size", "56")
    names = sorted(p.stem for p in (TILES / "LULC").glob("*.tif"))
    for i, name in enumerate([*(n for n in names if n != TEST_TILE), TEST_TILE]):
        more: tuple[str, ...] = ("--split", "test") if name == TEST_TILE else ("--shares", "0.75,0.25,0")
        append = ("--append",) if i else ()
        landweave(
            "tile", *_images(name), "--label", f"lulc={TILES}/LULC/{name}.tif", *legend, *more, *append, "--out", table
        )
    blind = landweave("check", table, check=False)
    suspected = [line for line in blind.stdout.splitlines() if "+1000" in line or "04.00" in line]
    table.unlink()
    for i, name in enumerate([*(n for n in names if n != TEST_TILE), TEST_TILE]):
        more = ("--split", "test", "--offset", "s2-l2a=-1000") if name == TEST_TILE else ("--shares", "0.75,0.25,0")
        append = ("--append",) if i else ()
        landweave(
            "tile", *_images(name), "--label", f"lulc={TILES}/LULC/{name}.tif", *legend, *more, *append, "--out", table
        )
    handled = landweave("check", table, check=False)
    landweave("pack", table, scratch / "store")
    data = ("data.kind=pack", f"data.path={scratch / 'store'}", "train.epochs=60")
    landweave("train", "segment", *data, "--out", run)
    landweave("evaluate", run, "--product", PRODUCT)
    out = run / "map.tif"
    landweave("map", run, *_images(TEST_TILE), "--offset", "s2-l2a=-1000", "--out", out, "--overwrite")
    landweave("report", run)
    found = json.loads((run / "evaluation-test.json").read_text())
    rows = {"this run": found["scores"], **{k: v["scores"] for k, v in found["references"].items()}}
    return {
        "what": "agreement with a land-cover product on one tile; it shows that the way works, not skill",
        "check_before_offset": {"exit": blind.returncode, "suspected": [_short(s) for s in suspected]},
        "check_after_offset": {"exit": handled.returncode},
        "scores": {k: {m: _round(s[m]) for m in ("oa", "macro_f1", "miou_existing")} for k, s in rows.items()},
        "not_scored": [c["name"] for c in found["classes"] if c["support"] and not c["trained"]],
        "map": _map(out),
    }


def _images(name: str) -> tuple[str, ...]:
    return ("--image", f"s2-l2a={TILES}/S2L2A/{name}.tif", "--image", f"s1-rtc-gamma0={TILES}/S1RTC/{name}.tif")


def _map(path: Path) -> dict[str, Any]:
    """What rasterio reads of the map, beside the image's grid."""
    import rasterio

    with rasterio.open(path) as m, rasterio.open(TILES / "S2L2A" / f"{TEST_TILE}.tif") as image:
        return {
            "crs_equal": m.crs == image.crs,
            "transform_equal": m.transform.almost_equals(image.transform, 1e-6),
            "shape_equal": m.shape == image.shape,
            "nodata": m.nodata,
            "colours": {int(v): list(c) for v, c in m.colormap(1).items() if any(c[:3])} if m.colorinterp else {},
            "tags": {k: v for k, v in {**m.tags(), **m.tags(1)}.items() if "class" in k.lower()},
        }


def _short(line: str) -> str:
    return line.replace(str(SHARED), "../shared").strip()


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def refusals() -> dict[str, Any]:
    """Every bad input: seconds, lines and exit code of the command."""
    log = ROOT / "build" / "refusals.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    _pytest("tests/cli/test_refusals.py", LANDWEAVE_REFUSALS=str(log))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        "slowest_seconds": max(r["seconds"] for r in rows),
        "most_lines": max(r["lines"] for r in rows),
        "cases": rows,
    }


def kills() -> dict[str, Any]:
    """`kill -9` in pack and in train: the tests that compare with the uninterrupted run."""
    out = _pytest("tests", "-k", "kill and not skill", "-rA")
    passed = [line.split("::")[-1].split(" ")[0] for line in out.splitlines() if line.startswith("PASSED")]
    if not passed:
        raise SystemExit("no test ran")
    return {"passed": sorted(passed)}


def _pytest(*words: str, **env: str) -> str:
    command = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:])
    return done.stdout


if __name__ == "__main__":
    main()
