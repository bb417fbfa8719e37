"""Commands on a trained model's work: `map` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from landweave.cli.common import Json, Pairs, bar, emit, pairs, say


def map_(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    image: Annotated[
        Pairs,
        typer.Option("--image", metavar="SENSOR=FILE", help="A raster of each sensor; of a series files or a folder."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The map to write (.tif).")] = Path("map.tif"),
    bands: Annotated[Pairs, typer.Option(metavar="SENSOR=B02,B03", help="Band names in the file's order.")] = None,
    offset: Annotated[
        Pairs,
        typer.Option(
            metavar="SENSOR=NUMBER",
            help="Added to raw values: s2-l2a=-1000; of a series from a day on: s2-l2a=-1000@2022-01-25",
        ),
    ] = None,
    dates: Annotated[
        Pairs,
        typer.Option(
            metavar="SENSOR=DATES",
            help="Dates of a series where file names do not tell them: s2-l2a=2021-05-03,2021-06-12 or a text file. "
            "Also the day of a single image, of a run that reads it (method.circumstances.dates).",
        ),
    ] = None,
    average: Annotated[
        Literal["none", "monthly", "semi-monthly"] | None,
        typer.Option(help="Give series as means by period; default: as the run's data were read."),
    ] = None,
    overlap: Annotated[float, typer.Option(min=0, max=0.9, help="Share by which windows overlap.")] = 0.5,
    batch_size: Annotated[int, typer.Option(help="Windows a step.")] = 8,
    task: Annotated[
        str, typer.Option(help="Of a run that learned several tasks, the one to map; default: the main.")
    ] = "",
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write class probabilities too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a map that stands there.")] = False,
    json_: Json = "",
) -> None:
    """Map a scene of any size as one COG.

    With colours, class names and a QGIS style. Memory does not grow with the scene.
    """
    from landweave.maps.engine import map_scene
    from landweave.maps.made import remember
    from landweave.run.predict import fastest, open_run

    opened = open_run(run, device=fastest())
    opened.require_classifier()
    with bar("map") as progress:
        result = map_scene(
            opened.through(task),
            pairs(image, "--image"),
            out,
            bands=pairs(bands, "--bands"),
            offset=pairs(offset, "--offset"),
            dates=pairs(dates, "--dates"),
            average=average,
            overlap=overlap,
            batch_size=batch_size,
            probabilities=probabilities,
            overwrite=overwrite,
            progress=progress,
        )
    remember(run, out)
    for line in result.lines():
        say(line, json_)
    say(f"next: landweave report {run}", json_)
    emit(result.to_json(), json_)


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    maps: Annotated[list[Path] | None, typer.Option("--map", help="A map to show; default: all that RUN made.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The page; default RUN/report.html.")] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Score with single sensors too, where that has not been done.")
    ] = False,
    json_: Json = "",
) -> None:
    """Write one self-contained HTML page.

    Curves, scores, confusion, class spectra, embeddings, Grad-CAM, examples, the map and the leak meter; every figure
    also as SVG in RUN/figures.
    """
    from landweave.reports.report import report as write

    page = write(run, maps=maps or (), out=out, ablation=ablation, say=lambda t: say(t, json_))
    say(f"wrote {page}\nopen it in a browser", json_)
    emit({"report": str(page)}, json_)
