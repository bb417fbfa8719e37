"""Commands on what is left when bands fail: `matrix`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from landweave.cli.common import Json, bar, emit, say


def matrix(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; the first is the teacher.")],
    faults: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="petcu2024-names, missing:B02,B08@0.9, gain:B08*1.3, ...; any number of them."
        ),
    ] = None,
    ratio: Annotated[float, typer.Option(min=0, max=1, help="Share of pixels missing in the sets of a preset.")] = 0.9,
    teacher: Annotated[
        Path | None, typer.Option(help="The run that others are compared with; default the first.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    data: Annotated[str, typer.Option(help="Where the data are now, if they have moved.")] = "",
    head: Annotated[Literal["mlp", "linear"], typer.Option(help="What is trained anew; of places.")] = "mlp",
    seeds: Annotated[int, typer.Option(min=1, help="How many heads are trained anew.")] = 3,
    draws: Annotated[int, typer.Option(min=1, help="Draws of faults for each training place.")] = 4,
    epochs: Annotated[int, typer.Option(min=1, help="Of a head.")] = 20,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Train heads anew on faulty images.")] = True,
    curve: Annotated[
        bool, typer.Option("--curve", help="Drop-in over the missing rate, and the area under it.")
    ] = False,
    contributions: Annotated[
        str, typer.Option(metavar="B02,B04", help="What each of these bands is worth, over all subsets of them.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", help="FILE.json, with .md and .csv beside it.")] = None,
    json_: Json = "",
) -> None:
    """Score encoders under sets of faults.

    Each as drop-in (its own head) and as probe (a head trained anew on faulty images), on complete images too.
    """
    from landweave.columns import screen
    from landweave.nn.config import Linear, Mlp
    from landweave.run.matrix import columns
    from landweave.run.matrix import matrix as measure
    from landweave.run.matrix_text import lines, write
    from landweave.run.probe import Probe

    sets = columns(list(faults or ()), ratio=ratio)
    how = Probe(head=Mlp() if head == "mlp" else Linear(), seeds=seeds, draws=draws, epochs=epochs)
    with bar("matrix") as progress:
        found = measure(
            runs,
            sets,
            teacher=teacher,
            split=split,
            changes=[f"data.path={json.dumps(str(data))}"] if data else [],
            probe=how if probe else None,
            curve=curve,
            bands=[b for b in contributions.split(",") if b],
            progress=progress,
        )
    for line in lines(found, width=screen()):
        say(line, json_)
    if out is not None:
        say("wrote " + ", ".join(str(p) for p in write(found, out)), json_)
    emit(found.to_json(), json_)
