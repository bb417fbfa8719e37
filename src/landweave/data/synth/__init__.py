"""A synthetic world, written in the official layout of every dataset that landweave reads.

The land is invented, the files are not: names, folders, bands, dtypes, sizes and coordinates are those of the
genuine archives, so that a reader cannot tell. `docs/synth.md` says what the world is and what it is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from landweave.errors import ConfigError, did_you_mean

Layout = Literal["bigearthnet-v2", "eurosat", "eurosat-rgb", "sen12ms", "dfc2020", "flair-hub", "table"]
Null = Literal["s1", "dates", "labels"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_SIZED = ("sen12ms", "dfc2020", "table")


def write(
    layout: str,
    out: str | os.PathLike[str],
    *,
    places: int = 64,
    seed: int = 0,
    null: str | None = None,
    size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic dataset.

    Args:
        layout: one of `LAYOUTS`.
        out: the folder to write; it must be new or empty.
        places: how many; place i of a seed is the same whatever this number.
        seed: another seed is another world.
        null: `s1` (radar shows an unrelated world), `dates` (seasons do not depend on the plant), `labels` (labels of
            an unrelated world): a gain that is claimed to come from there must vanish.
        size: pixels along a side; only `sen12ms`, `dfc2020` and `table` leave a choice. An even number.
        progress: called with (done, all).

    Returns:
        What `data.path` should be: the folder, or the parquet file of `table`.

    Raises:
        ConfigError: an unknown layout or null world, a size that the layout does not have, or a folder in use.
    """
    folder = Path(out)
    _refuse(layout, folder, places, size)
    from landweave.data.synth.world import World, null_world

    world = World(seed, null_world(null))
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "bigearthnet-v2":
        from landweave.data.synth.write_bigearthnet import write_bigearthnet

        write_bigearthnet(folder, world, places=places, progress=progress)
    elif layout in ("eurosat", "eurosat-rgb"):
        from landweave.data.synth.write_eurosat import write_eurosat

        write_eurosat(folder, world, places=places, rgb=layout == "eurosat-rgb", progress=progress)
    elif layout == "flair-hub":
        from landweave.data.synth.write_flairhub import write_flairhub

        write_flairhub(folder, seed, places=places, null=world.null, progress=progress)
    elif layout == "table":
        from landweave.data.synth.write_table import SIZE, write_table

        write_table(folder, world, places=places, size=size or SIZE, progress=progress)
        return folder / "places.parquet"
    else:
        from landweave.data.synth import write_sen12ms as patches

        writer = patches.write_sen12ms if layout == "sen12ms" else patches.write_dfc2020
        writer(folder, world, places=places, size=size or patches.SIZE, progress=progress)
    return folder


def _refuse(layout: str, folder: Path, places: int, size: int | None) -> None:
    if layout not in LAYOUTS:
        raise ConfigError(
            f"unknown layout `{layout}`{did_you_mean(layout, LAYOUTS)}",
            where="synth",
            fix=f"one of {', '.join(LAYOUTS)}",
        )
    if places < 1:
        raise ConfigError(f"{places} places", where="--places", fix="ask for at least one")
    if size is not None and layout not in _SIZED:
        fixed = {"bigearthnet-v2": 120, "flair-hub": 512}.get(layout, 64)
        raise ConfigError(f"places of {layout} always have {fixed} pixels", where="--size", fix="leave --size out")
    if size is not None and (size < 16 or size > 1024 or size % 2):
        raise ConfigError(f"size {size}", where="--size", fix="an even number from 16 to 1024")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("not an empty folder", where=folder, fix="name a new folder")
