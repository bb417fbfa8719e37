"""A table of 48 small places with a set of classes each, for trainings of scene methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.cli.places import save_rows, write_place

TINY = (
    "method.encoder.name=test_resnet",
    "data.fraction=1",
    "train.epochs=2",
    "train.batch_size=8",
    "train.accelerator=cpu",
    "pretrain.train.epochs=2",
    "pretrain.train.batch_size=8",
    "pretrain.train.accelerator=cpu",
)
ALONE = tuple(change for change in TINY if not change.startswith("pretrain."))


def write_scenes(folder: Path, *, labelled: bool = True) -> Path:
    """Both sensors and 3 groups; labels of places 0, 4, 8, ... are unknown."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(48):
        split = "train" if i % 8 < 5 else "validation" if i % 8 == 5 else "test"
        row = {"name": f"p{i}", "split": split, "group": f"g{i // 16}", **write_place(folder, i)}
        del row["label:lulc"]
        if labelled:
            row["label:cover"] = "" if i % 4 == 0 else ("water;trees", "trees", "crops;water")[i % 3]
        rows.append(row)
    save_rows(folder / "places.csv", rows)
    return folder / "places.csv"


def words(recipe: str | Path, table: Path, out: Path, *changes: str, tiny: Sequence[str] = TINY) -> list[str]:
    data = ("data.kind=table", f"data.path={table}", "data.streams=[s2-l2a, s1-rtc-gamma0]")
    return ["train", str(recipe), *data, *tiny, *changes, "--out", str(out)]
