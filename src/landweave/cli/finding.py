"""The command that looks for faulty bands: `faults`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from landweave.cli.common import Json, Pairs, bar, emit, pairs, say


def faults(
    run: Annotated[Path, typer.Argument(help="A run folder of `landweave train reconstruct`.")],
    image: Annotated[Pairs, typer.Option("--image", metavar="SENSOR=FILE", help="A raster of each sensor.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The scores to write (.tif), a table beside it.")] = Path(
        "faults.tif"
    ),
    block: Annotated[
        int, typer.Option(help="Pixels along a side of a block: 16, 32, 48 or 64 unless trained otherwise.")
    ] = 32,
    bands: Annotated[Pairs, typer.Option(metavar="SENSOR=B02,B03", help="Band names in the file's order.")] = None,
    offset: Annotated[Pairs, typer.Option(metavar="SENSOR=NUMBER", help="Added to raw values: s2-l2a=-1000")] = None,
    by: Annotated[
        Literal["auto", "network", "ridge"], typer.Option(help="Who predicts; auto: the better on clean places.")
    ] = "auto",
    fill: Annotated[Path | None, typer.Option(help="Write the image with faulty blocks reconstructed (.tif).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that stand there.")] = False,
    json_: Json = "",
) -> None:
    """Find the faulty band of an image.

    Each band is predicted from the others. Scores every band and block, names the bands that do not go with the others
    and why, says `none` where all do, and tells an image that is unlike all it learned from.
    """
    from landweave.maps.finding import find_faults
    from landweave.run.predict import open_run

    with bar("faults") as progress:
        found = find_faults(
            open_run(run),
            pairs(image, "--image"),
            out,
            block=block,
            bands=pairs(bands, "--bands"),
            offset=pairs(offset, "--offset"),
            by=None if by == "auto" else by,
            fill=fill,
            overwrite=overwrite,
            progress=progress,
        )
    for result in found:
        for line in result.lines():
            say(line, json_)
    emit([result.to_json() for result in found], json_)
