"""`landweave demo`: the whole way on a synthetic world, so that a newcomer sees what every command makes.

Each step is the command that a person would type. All run in this process, because loading the learning libraries
costs as much as some steps; only trainings have processes of their own, to run side by side. They share the cores:
with a thread a core in each, three trainings on two cores took four times as long.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landweave.errors import RunError
from landweave.reproduce.pool import THREADS

STREAMS = "data.streams=[s2-l2a:B02+B03+B04+B08+B11, s1-grd-sigma0]"
SMALL = ("method.encoder.name=lcnet_050", "data.fraction=0.3", "optim.lr=3e-3")
"""Ours: a backbone that two slow cores can train in a minute, and 30 % of the labels: 30 places. With the 10 that are
a tenth, what a method scores is a matter of the draw."""
COARSE = ("data.task=labels", "data.coarsen=2")
"""Ours: places are classified in pixels of 20 m; in those of 10 m there is no time for the steps that it takes."""
LIGHT = ("method.decoder.channels=[64,48,32,24,16]", "train.batch_size=2")
"""Ours: many small steps. In batches of 6 and with balanced classes the map had an accuracy of 0.27 for 0.43."""


def run_demo(
    out: Path, *, places: int, epochs: int, say: Callable[[str], None], command: Callable[[Sequence[str]], None]
) -> dict[str, Any]:
    """Run every step; what is done already is not done again.

    Args:
        out: the folder for everything.
        places: how many places the world has.
        epochs: how long mosaic-1 learns; the others make about as many steps.
        say: told what is being done.
        command: runs one command of landweave, given as its words.

    Raises:
        RunError: a step failed; its output has been shown.
    """
    start = time.monotonic()
    for name in THREADS:  # before torch is loaded, here and in the processes that this one starts
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // 3)))
    demo = _Demo(out, say, command)
    demo.write_world(places)
    demo.pack()
    demo.train(epochs)
    demo.evaluate()
    demo.draw()
    spent = time.monotonic() - start
    demo.part(spent)
    best = demo.runs["segment"]
    return {
        "seconds": round(spent, 1),
        "steps": demo.took,
        "report": str(best / "report.html"),
        "map": str(best / "map.tif"),
    }


@dataclass
class _Demo:
    """The steps, each of them commands that are told before they run."""

    out: Path
    say: Callable[[str], None]
    command: Callable[[Sequence[str]], None]
    took: dict[str, float] = field(default_factory=dict)

    @property
    def world(self) -> Path:
        return self.out / "world"

    @property
    def scene(self) -> Path:
        return self.out / "scene"

    @property
    def store(self) -> Path:
        return self.out / "store"

    @property
    def runs(self) -> dict[str, Path]:
        return {name: self.out / name for name in ("mosaic-1", "supervised", "segment")}

    def step(self, title: str, *commands: Sequence[str | Path]) -> None:
        """Tell and run some commands; trainings side by side."""
        typed = [[str(word) for word in words] for words in commands]
        self.say(f"\n== {title}")
        for words in typed:
            self.say("$ landweave " + " ".join(f"'{w}'" if " " in w or "[" in w else w for w in words))
        began = time.monotonic()
        if typed[0][0] == "train":
            _side_by_side(typed, self.command)
        else:
            for words in typed:
                self.command(words)
        self.took[title] = round(time.monotonic() - began, 1)

    def write_world(self, places: int) -> None:
        """Places to learn from, and a scene to map."""
        self._written(self.world, "in the layout of BigEarthNet v2", "bigearthnet-v2", places)
        self._written(self.scene, "a scene to map", "table", 4)

    def _written(self, folder: Path, what: str, layout: str, places: int) -> None:
        """Write a world once; what a kill left half written is written anew."""
        mark = folder.with_name(f".{folder.name}.begun")
        if mark.exists():
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.exists():
            self.say(f"{folder} stands already and is used again; for other --places give another --out")
            return
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        self.step(f"a synthetic world, {what}", ("synth", layout, folder, "--places", str(places), "--seed", "0"))
        mark.unlink()

    def pack(self) -> None:
        """Read all, and make one store of it."""
        data = ("data.kind=bigearthnet-v2", f"data.path={self.world}")
        self.step("everything is read once, and packed", ("check", *data), ("pack", *data, self.store))

    def train(self, epochs: int) -> None:
        """Three methods on the same labels, in about equally many steps: the first learns from all places, too."""
        packed = ("data.kind=pack", f"data.path={self.store}", STREAMS, *SMALL)
        settings = {
            "mosaic-1": (*COARSE, "method.unlabelled=rest", "train.batch_size=24", f"train.epochs={epochs}"),
            "supervised": (*COARSE, "train.batch_size=8", f"train.epochs={4 * epochs // 3}"),
            "segment": ("data.task=map", f"train.epochs={max(1, epochs // 2)}", *LIGHT),
        }
        commands: list[Sequence[str | Path]] = [
            ("train", name, *packed, *settings[name], f"train.validate_every={epochs}", "--out", folder)
            for name, folder in self.runs.items()
        ]
        self.step("three methods learn from 30 % of the labels, side by side", *commands)

    def evaluate(self) -> None:
        """Score each on the test places."""
        for name, folder in self.runs.items():
            self.step(f"{name}: scores on the test places", ("evaluate", folder))

    def draw(self) -> None:
        """A map of the scene, and a page a run."""
        s2, s1 = self.scene / "scene" / "S2.tif", self.scene / "scene" / "S1_GRD.tif"
        images = ("--image", f"s2-l2a={s2}", "--image", f"s1-grd-sigma0={s1}", "--overwrite")
        best = self.runs["segment"]
        commands: list[Sequence[str | Path]] = [
            ("map", best, *images, "--out", best / "map.tif"),
            *(("report", folder) for folder in self.runs.values()),
        ]
        self.step("a map, and pages", *commands)

    def part(self, spent: float) -> None:
        """Say what to open, and what to try next."""
        best, twin = self.runs["segment"], self.runs["mosaic-1"]
        self.say(
            f"\nDone in {spent / 60:.1f} minutes. Open in a browser:\n"
            f"  {best / 'report.html'}    a land-cover map: curves, scores, confusion, examples, map, leak meter\n"
            f"  {twin / 'report.html'}    classes of places, learned across sensors; beside it supervised/report.html\n"
            f"Open in QGIS: {best / 'map.tif'}    colours and class names come with it\n"
            "The pages say beside every score what a predictor that looks at nothing, or a random forest, would have "
            "had.\n"
            "Try next:\n"
            "  landweave recipes      what can be trained\n"
            f"  landweave train segment data.kind=pack data.path={self.store} data.task=map "
            f"--out {self.out}/all-labels\n"
            "  landweave tile --image s2-l2a=S2.tif --label lulc=LULC.tif --legend legend.yaml    your own rasters"
        )


def _side_by_side(commands: Sequence[Sequence[str]], command: Callable[[Sequence[str]], None]) -> None:
    """All but the last in processes of their own, the last in this one, which needs the same libraries afterwards."""
    *others, own = commands
    to = None if sys.stdout is sys.__stdout__ else sys.stdout  # with --json they talk to standard error, as this one
    started = [subprocess.Popen([sys.executable, "-m", "landweave", *c], stdout=to) for c in others]
    try:
        command(own)
        for c, process in zip(others, started, strict=True):
            if code := process.wait():
                raise RunError(f"step failed with exit code {code}", where="landweave " + " ".join(c))
    finally:
        for process in started:
            process.terminate()
