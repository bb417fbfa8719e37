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
SMALL = ("method.encoder.name=lcnet_050", "data.fraction=0.1", "optim.lr=3e-3")
"""Ours: a backbone that two slow cores can train in a minute, and a tenth of the labels."""
LIGHT = ("method.decoder.channels=[64,48,32,24,16]", "train.class_weights=balanced")


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
    runs = {name: out / name for name in ("mosaic-1", "supervised", "segment")}
    start = time.monotonic()
    took: dict[str, float] = {}

    def step(title: str, *commands: Sequence[str]) -> None:
        say(f"\n== {title}")
        for c in commands:
            say("$ landweave " + " ".join(f"'{w}'" if " " in w or "[" in w else w for w in c))
        began = time.monotonic()
        if commands[0][0] == "train":
            _side_by_side(commands, command)
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
    packed = ("data.kind=pack", f"data.path={store}", STREAMS, *SMALL)
    settings = {  # about equally many steps: the first learns from all places, the others from the labelled tenth
        "mosaic-1": ("data.task=labels", "method.unlabelled=rest", "train.batch_size=24", f"train.epochs={epochs}"),
        "supervised": ("data.task=labels", "train.batch_size=6", f"train.epochs={6 * epochs}"),
        "segment": ("data.task=map", "train.batch_size=6", f"train.epochs={4 * epochs}", *LIGHT),
    }
    step(
        "three methods learn from a tenth of the labels, side by side",
        *(
            _command("train", name, *packed, *settings[name], f"train.validate_every={epochs}", "--out", folder)
            for name, folder in runs.items()
        ),
    )
    for name, folder in runs.items():
        step(f"{name}: scores on the test places", _command("evaluate", folder))
    s2, s1 = scene / "scene" / "S2.tif", scene / "scene" / "S1_GRD.tif"
    images = ("--image", f"s2-l2a={s2}", "--image", f"s1-grd-sigma0={s1}")
    step(
        "maps and pages",
        _command("map", runs["segment"], *images, "--out", runs["segment"] / "map.tif", "--overwrite"),
        _command(
            "map", runs["mosaic-1"], *images, "--overlap", "0.8", "--out", runs["mosaic-1"] / "map.tif", "--overwrite"
        ),
        *(_command("report", folder) for folder in runs.values()),
    )
    best, twin = runs["segment"], runs["mosaic-1"]
    spent = time.monotonic() - start
    say(
        f"\nDone in {spent / 60:.1f} minutes. Open in a browser:\n"
        f"  {best / 'report.html'}    a land-cover map: curves, scores, confusion, examples, map, leak meter\n"
        f"  {twin / 'report.html'}    classes of places, learned across sensors; beside it supervised/report.html\n"
        f"Open in QGIS: {best / 'map.tif'}    colours and class names come with it\n"
        "The pages say beside every score what a predictor that looks at nothing, or a random forest, would have had.\n"
        "Try next:\n"
        "  landweave recipes      what can be trained\n"
        f"  landweave train segment data.kind=pack data.path={store} data.task=map "
        f"--out {out}/all-labels\n"
        "  landweave tile --image s2-l2a=S2.tif --label lulc=LULC.tif --legend legend.yaml    your own rasters"
    )
    return {
        "seconds": round(spent, 1),
        "steps": took,
        "report": str(best / "report.html"),
        "map": str(best / "map.tif"),
    }


def _side_by_side(commands: Sequence[Sequence[str]], command: Callable[[Sequence[str]], None]) -> None:
    """All but the last in processes of their own, the last in this one, which needs the same libraries afterwards."""
    *others, own = commands
    started = [subprocess.Popen([sys.executable, "-m", "landweave", *c]) for c in others]
    try:
        command(own)
        for c, process in zip(others, started, strict=True):
            if code := process.wait():
                raise RunError(f"step failed with exit code {code}", where="landweave " + " ".join(c))
    finally:
        for process in started:
            process.terminate()
