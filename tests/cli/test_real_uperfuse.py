"""UPerFuse on genuine tiles, Sentinel-2, Sentinel-1 and heights: it proves the way, not skill."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tests.cli.places import call

TRAIN, TEST = "282D_485L_3_3", "637U_59R_1_3"
SMALL = (
    "method.encoder.name=test_resnet",
    "method.decoder={kind: upernet-flair, pyramid: 32, channels: 16}",
    "train.epochs=2",
    "train.accelerator=cpu",
)


def test_three_sensors_train_with_branches_and_any_of_them_answers(real: Path, tmp_path: Path) -> None:
    tiles, table, run = real / "terramind", tmp_path / "places.parquet", tmp_path / "run"
    sensors = {"s2-l2a": "S2L2A", "s1-rtc-gamma0": "S1RTC", "dem": "DEM"}
    for name, more in ((TRAIN, ("--shares", "0.5,0.5,0")), (TEST, ("--split", "test", "--append"))):
        images = [w for s, folder in sensors.items() for w in ("--image", f"{s}={tiles}/{folder}/{name}.tif")]
        label = ("--label", f"lulc={tiles}/LULC/{name}.tif", "--legend", tiles / "legend.yaml", "--size", "56")
        call("tile", *images, *label, *more, "--out", table)
    call("train", "uperfuse", "data.kind=table", f"data.path={table}", *SMALL, "--out", run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = [r for r in rows if r["split"] == "train"]
    for term in ("lulc", "lulc.auxiliary", "loss"):
        assert all(math.isfinite(r[term]) for r in train)
    assert train[-1]["lulc.auxiliary"] < train[0]["lulc.auxiliary"]
    call("evaluate", run, "--only", "dem", "--only", "s1-rtc-gamma0")
    found = json.loads((run / "evaluation-test-only-dem+s1-rtc-gamma0-mean.json").read_text())
    assert found["n"] == sum(map(sum, found["confusion"])) > 0
