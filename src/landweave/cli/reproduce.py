"""Commands on published work: `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landweave.cli.common import Json, Pairs, emit, pairs, say


def reproduce(
    table: Annotated[str, typer.Argument(help="A table (mosaic/table-1, ...), or a protocol as a YAML file.")] = "",
    data: Annotated[Pairs, typer.Option("--data", metavar="DATASET=DIR", help="Where a dataset lies.")] = None,
    scale: Annotated[str, typer.Option(help="full: as published; smoke: minutes, to see that it runs.")] = "full",
    out: Annotated[
        Path, typer.Option("--out", help="Folder for runs and tables; one may serve several tables.")
    ] = Path("reproduced"),
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
    list_: Annotated[bool, typer.Option("--list", help="Say what can be reproduced, and its cost.")] = False,
    audit: Annotated[str, typer.Option(metavar="PAPER", help="Compute a paper's printed figures again.")] = "",
    json_: Json = "",
) -> None:
    """Make a paper's table again.

    Published figures beside ours. The same command goes on where a killed one stopped. Exit code 1 if a run failed.
    """
    if audit:
        from landweave.reproduce.auditing import audit as check

        found = check(audit)
        say("\n".join(found.lines()), json_)
        emit(found.to_json(), json_)
    elif list_ or not table:
        from landweave.reproduce.listing import offers

        tables = offers()
        say("\n".join(line for one in tables for line in one.lines()), json_)
        emit([one.to_json() for one in tables], json_)
    else:
        from landweave.columns import screen
        from landweave.reproduce import protocol, run_protocol
        from landweave.reproduce.render import lines

        chosen, places = protocol(table), pairs(data, "--data")
        made = run_protocol(chosen, places, out, scale=scale, workers=workers, say=lambda t: say(t, json_))
        say("\n".join(lines(made, width=screen())), json_)
        from landweave.reports.reproduce import page

        say("wrote " + ", ".join(made.files), json_)
        say(f"open {page(out)} in a browser", json_)
        emit(made.to_json(), json_)
        if not made.ok:
            raise typer.Exit(1)
