"""Commands on data: `tile`, `synth`, `check`, `pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from landweave.cli.common import DataChanges, Json, Pairs, bar, data_of, emit, is_change, numbers, pairs, say
from landweave.errors import ConfigError

if TYPE_CHECKING:
    from landweave.data.dataset import Dataset


def tile(
    image: Annotated[Pairs, typer.Option("--image", metavar="SENSOR=FILE", help="A raster, or a quoted glob.")] = None,
    label: Annotated[Pairs, typer.Option("--label", metavar="TASK=FILE", help="A label raster, or a glob.")] = None,
    legend: Annotated[Path | None, typer.Option(help="YAML: class values, names, colours, ignored values.")] = None,
    size: Annotated[int, typer.Option(help="Pixels of the label raster along a side of a place.")] = 128,
    out: Annotated[Path, typer.Option("--out", help="The table to write (.parquet).")] = Path("places.parquet"),
    append: Annotated[bool, typer.Option("--append", help="Add to the table instead of making a new one.")] = False,
    bands: Annotated[Pairs, typer.Option(metavar="SENSOR=B02,B03", help="Band names in the file's order.")] = None,
    offset: Annotated[Pairs, typer.Option(metavar="SENSOR=NUMBER", help="Added to raw values: s2-l2a=-1000")] = None,
    multilabel: Annotated[bool, typer.Option("--multilabel", help="Label places by the classes they hold.")] = False,
    min_share: Annotated[float, typer.Option(help="With --multilabel: least share of a class.")] = 0.05,
    split: Annotated[str, typer.Option(help="Put all places of this call into train, validation or test.")] = "",
    split_by: Annotated[
        Literal["block", "file"], typer.Option(help="Split by blocks of ground or by whole files.")
    ] = "block",
    shares: Annotated[str, typer.Option(help="Shares of train, validation, test.")] = "0.6,0.2,0.2",
    buffer: Annotated[
        float | None, typer.Option(help="Unused ground between splits, CRS units; default: one place.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    json_: Json = "",
) -> None:
    """Cut large rasters into a table of places.

    No pixel is copied: the table keeps the bounds of each place. Files given as globs are matched by their names.
    """
    from landweave.data.tile import tile as run

    with bar("tile") as progress:
        report = run(
            pairs(image, "--image"),
            pairs(label, "--label"),
            legend=legend,
            size=size,
            out=out,
            append=append,
            bands=pairs(bands, "--bands"),
            offset=numbers(offset, "--offset"),
            kind="multilabel" if multilabel else "map",
            min_share=min_share,
            split=split or None,
            split_by=split_by,
            splits=_shares(shares),
            buffer=buffer,
            seed=seed,
            progress=progress,
        )
    for line in report.lines():
        say(line, json_)
    say(f"next: landweave check {out}", json_)
    if label:
        name = "supervised" if multilabel else "segment"
        say(f"then: landweave train {name} data.kind=table data.path={out} --out runs/mine", json_)
    emit(report.to_json(), json_)


def _shares(text: str) -> tuple[float, float, float]:
    try:
        parts = [float(p) for p in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or abs(sum(parts) - 1) > 1e-6:
        raise ConfigError(
            f"`{text}` is not three shares that add up to 1", where="--shares", fix="--shares 0.6,0.2,0.2"
        )
    train_, validation, test = parts
    return train_, validation, test


def synth(
    layout: Annotated[
        str, typer.Argument(help="bigearthnet-v2, eurosat, eurosat-rgb, sen12ms, dfc2020, flair-hub or table.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    places: Annotated[int, typer.Option(help="How many places.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the world.")] = 0,
    size: Annotated[
        int | None, typer.Option(help="Pixels along a side of a place; of sen12ms, dfc2020 and table alone.")
    ] = None,
    null: Annotated[str, typer.Option(help="A world in which a gain must vanish: s1, dates or labels.")] = "",
    json_: Json = "",
) -> None:
    """Write a synthetic world in a public layout."""
    from landweave.data.synth import write

    with bar("synth") as progress:
        folder = write(layout, out, places=places, seed=seed, size=size, null=null or None, progress=progress)
    data = f"data.kind={_kind(layout)} data.path={_path(folder)}"
    say(f"wrote {places} places to {folder}\nnext: landweave check {data}", json_)
    name, _, change = _RECIPES.get(layout, "segment").partition(" ")
    say(f"then: landweave train {' '.join(w for w in (name, data, change) if w)} --out runs/mine", json_)
    emit({"layout": layout, "out": str(folder), "places": places, "seed": seed, "size": size, "null": null}, json_)


_RECIPES = {
    "bigearthnet-v2": "supervised",
    "eurosat": "supervised",
    "eurosat-rgb": "supervised",
    "flair-hub": "flair/lc-a --scale smoke",
}
"""What a first training on a layout may be; on the others, whose labels are maps, `segment`."""


def _kind(layout: str) -> str:
    return "eurosat" if layout.startswith("eurosat") else layout


def _path(folder: Path) -> Path:
    table = folder / "places.parquet"
    return table if table.exists() else folder


def check(
    recipe: Annotated[str, typer.Argument(help="A recipe, a table file, or data.kind=KIND.")],
    changes: DataChanges = None,
    imperfect: Annotated[
        bool, typer.Option("--imperfect", help="List training images with clouds, dead pixels, stripes, colour casts.")
    ] = False,
    json_: Json = "",
) -> None:
    """Read all data once and say what is wrong.

    Exit code 1 if anything is. With --imperfect, only list the training images that have something odd about them.
    """
    from landweave.data.check import check as run
    from landweave.data.dataset import Chosen

    data = data_of(recipe, changes)
    if imperfect:
        _imperfect(Chosen(data.open(), data.choices, coarsen=data.coarsen), json_)
        return
    with bar("check") as progress:
        report = run(Chosen(data.open(), data.choices, coarsen=data.coarsen), progress=progress)
    for line in report.lines():
        say(line, json_)
    emit(report.to_json(), json_)
    if not report.ok:
        raise typer.Exit(1)


def _imperfect(dataset: Dataset, json_: str) -> None:
    """`check --imperfect`."""
    from landweave.data.check_imperfect import imperfect

    with bar("check") as progress:
        found = imperfect(dataset, progress=progress)
    for line in found.lines():
        say(line, json_)
    emit(found.to_json(), json_)


def pack(
    words: Annotated[
        list[str], typer.Argument(metavar="[RECIPE] OUT [KEY=VALUE]...", help="A recipe or table file; the store.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store of other data.")] = False,
    json_: Json = "",
) -> None:
    """Pack places into one store that reads fast.

    Training reads it many times faster than single files. Goes on after a kill.
    For example: landweave pack places.parquet store, or landweave pack store data.kind=eurosat data.path=DIR
    """
    from landweave.data.dataset import Chosen
    from landweave.data.store import pack as run

    paths, changes = [w for w in words if not is_change(w)], [w for w in words if is_change(w)]
    if len(paths) not in (1, 2):
        raise ConfigError(
            f"{len(paths)} paths, but a store and at most one recipe or table are needed",
            where="landweave pack",
            fix="landweave pack places.parquet store",
        )
    *first, out = paths
    data = data_of(first[0] if first else "", changes)
    with bar("pack") as progress:
        report = run(
            Chosen(data.open(), data.choices, coarsen=data.coarsen), Path(out), overwrite=overwrite, progress=progress
        )
    for line in report.lines():
        say(line, json_)
    say(f"next: landweave train RECIPE data.kind=pack data.path={out} --out runs/mine", json_)
    emit(report.to_json(), json_)
