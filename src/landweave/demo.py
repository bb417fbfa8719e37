"""`landweave demo`: the whole way on a synthetic world, so that a newcomer sees what every command makes.

Each step is the command that a person would type. All run in this process, because loading the learning libraries
costs as much as some steps; only the two trainings have processes of their own, to run side by side.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from landweave.errors import RunError

STREAMS = "data.streams=[s2-l2a:B02+B03+B04+B08+B11, s1-grd-sigma0]"
LEARN = ("train.batch_size=32", "method.encoder.name=resnet10t", "data.fraction=0.1")


def _command(*words: str | Path) -> list[str]:
    return [str(w) for w in words]


def run_demo(
    out: Path, *, places: int, epochs: int, say: Callable[[str], None], command: Callable[[Sequence[str]], None]
) -> dict[str, Any]:
    """Run every step; what is done already is not done again.

    Args:
        out: the folder for everything.
        places: how many places the world has.
        epochs: how long both methods learn.
        say: told what is being done.
        command: runs one command of landweave, given as its words.

    Raises:
        RunError: a step failed; its output has been shown.
    """
    world, store, scene = out / "world", out / "store", out / "scene"
    runs = {"mosaic-1": out / "mosaic-1", "supervised": out / "supervised"}
    start = time.monotonic()
    took: dict[str, float] = {}

    def step(title: str, *commands: Sequence[str]) -> None:
        say(f"\n== {title}")
        for c in commands:
            say("$ landweave " + " ".join(f"'{w}'" if " " in w or "[" in w else w for w in c))
        began = time.monotonic()
        if commands[0][0] == "train":
            _side_by_side(commands)
        else:
            for c in commands:
                command(c)
        took[title] = round(time.monotonic() - began, 1)

    if not (world / "metadata.parquet").exists():
        step(
            "a synthetic world, in the layout of BigEarthNet v2",
            _command("synth", "bigearthnet-v2", world, "--places", str(places), "--seed", "0"),
            _command("synth", "table", scene, "--places", "4", "--seed", "0"),
        )
    data = ("data.kind=bigearthnet-v2", f"data.path={world}")
    step("everything is read once, and packed", _command("check", *data), _command("pack", *data, store))
    packed = ("data.kind=pack", f"data.path={store}", "data.task=labels", STREAMS)
    step(
        "two methods learn from a tenth of the labels, side by side",
        *(
            _command("train", name, *packed, *LEARN, f"train.epochs={epochs}", "--out", folder)
            for name, folder in runs.items()
        ),
    )
    for name, folder in runs.items():
        step(f"{name}: scores on the test places", _command("evaluate", folder))
    best = runs["mosaic-1"]
    s2, s1 = scene / "scene" / "S2.tif", scene / "scene" / "S1_GRD.tif"
    step(
        "a map and a page",
        _command("map", best, "--image", f"s2-l2a={s2}", "--image", f"s1-grd-sigma0={s1}", "--out", best / "map.tif"),
        _command("report", best),
        _command("report", runs["supervised"]),
    )
    spent = time.monotonic() - start
    say(
        f"\nDone in {spent / 60:.1f} minutes. Open:\n"
        f"  {best / 'report.html'}   in a browser: curves, scores, confusion, examples, map, leak meter\n"
        f"  {best / 'map.tif'}       in QGIS: colours and class names come with it\n"
        "Try next:\n"
        "  landweave recipes                        what else can be trained\n"
        f"  landweave train mosaic-1 {' '.join(packed[:3])} data.fraction=0.5 --out {out}/half\n"
        "  landweave tile --image s2-l2a=S2.tif --label lulc=LULC.tif --legend legend.yaml   your own rasters"
    )
    return {
        "seconds": round(spent, 1),
        "steps": took,
        "report": str(best / "report.html"),
        "map": str(best / "map.tif"),
    }


def _side_by_side(commands: Sequence[Sequence[str]]) -> None:
    started = [subprocess.Popen([sys.executable, "-m", "landweave", *c]) for c in commands]
    for c, process in zip(commands, started, strict=True):
        code = process.wait()
        if code:
            for other in started:
                other.terminate()
            raise RunError(f"step failed with exit code {code}", where="landweave " + " ".join(c))
