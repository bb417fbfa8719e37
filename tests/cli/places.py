"""A table of 64 small places, written for tests of the command line: two sensors and a label raster each."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from landweave.data import raster
from landweave.grid import Grid

SIZE = 32
LEGEND = """name: four
ignore: [0]
classes:
  1: {name: water, color: "#1a5bab"}
  2: {name: trees, color: "#358221"}
  3: {name: crops, color: "#ffdb5c"}
  4: {name: built area, color: "#ed022a"}
"""
MEANS = np.array([[300, 250, 200, 150], [400, 600, 350, 3000], [900, 1100, 1200, 2400], [1500, 1600, 1700, 1900]])


def grid_of(index: int, crs: str = "EPSG:32633") -> Grid:
    return Grid(crs, (10.0, 0.0, 5e5 + 1000.0 * (index % 8), 0.0, -10.0, 4e6 - 1000.0 * (index // 8)), (SIZE, SIZE))


def write_place(folder: Path, index: int, crs: str = "EPSG:32633") -> dict[str, str]:
    """Halves of two classes, told apart by four bands of Sentinel-2 and by Sentinel-1."""
    rng = np.random.default_rng(index)
    first, second = rng.permutation(4)[:2]
    classes = np.full((SIZE, SIZE), first)
    classes[:, int(rng.integers(8, 24)) :] = second
    optical = MEANS[classes].transpose(2, 0, 1) + rng.normal(0, 80, (4, SIZE, SIZE))
    power = np.array([0.01, 0.1, 0.05, 0.5])[classes] * rng.gamma(4, 0.25, (2, SIZE, SIZE))
    grid = grid_of(index, crs)
    names = {}
    for column, name, data in (
        ("s2-l2a", f"s2_{index}.tif", optical.clip(1, 10000).astype(np.uint16)),
        ("s1-rtc-gamma0", f"s1_{index}.tif", (10 * np.log10(power)).astype(np.float32)),
        ("label:lulc", f"lc_{index}.tif", (classes[None] + 1).astype(np.uint8)),
    ):
        raster.write(folder / name, data, grid)
        names[column] = name
    return names


def write_table(folder: Path, count: int = 64) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        split = "train" if i % 8 < 5 else "validation" if i % 8 == 5 else "test"
        rows.append({"name": f"p{i}", "split": split, "group": f"g{i // 8}", **write_place(folder, i)})
    save_rows(folder / "places.csv", rows)
    (folder / "places.legend.yaml").write_text(LEGEND)
    return folder / "places.csv"


def save_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, fieldnames=list(rows[0]))
        out.writeheader()
        out.writerows(rows)


def load_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command of landweave in a process of its own, as a user runs it."""
    command = [sys.executable, "-m", "landweave", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False, env={**os.environ, "COLUMNS": "100"}
    )


def call(*words: object) -> str:
    """The same command in this process, where the learning libraries are loaded already; gives what it prints."""
    from typer.testing import CliRunner

    from landweave.__main__ import app

    done = CliRunner().invoke(app, [str(w) for w in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


TINY = (
    "method.encoder.name=test_resnet",
    "method.decoder.channels=[32,32,16,16,8]",
    "train.epochs=2",
    "train.batch_size=8",
    "train.accelerator=cpu",
)
