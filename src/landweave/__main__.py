"""The command line: a verb is a function of the room `cli`. Bodies import what they need: `--help` takes a moment."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from landweave.cli import data, evaluate, faults, finding, maps, reproduce, train
from landweave.errors import LandweaveError, LandweaveWarning

app = typer.Typer(
    name="landweave",
    help="Learn land cover from several sensors with few labels, and turn it into maps.\n\n"
    "First time? `landweave demo`. Your own rasters: `tile`, `train`, `map`, `report`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": train.demo,
    "tile": data.tile,
    "synth": data.synth,
    "check": data.check,
    "pack": data.pack,
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "map": maps.map_,
    "report": maps.report,
    "matrix": faults.matrix,
    "faults": finding.faults,
    "reproduce": reproduce.reproduce,
    "recipes": train.recipes,
    "schema": train.schema,
}
"""Every verb, in the order in which `--help` shows them."""
for _name, _function in COMMANDS.items():
    app.command(name=_name)(_function)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"landweave {version('landweave')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing of its own: options that stand before the verb."""


def _with_json_target(words: Sequence[str]) -> list[str]:
    """`--json` may stand alone. What follows is its file only if it ends in .json: no table is taken for a target."""
    out: list[str] = []
    for word, after in zip(words, [*words, ""][1:], strict=True):
        out.append(word)
        if word == "--json" and after != "-" and not after.endswith(".json"):
            out.append("-")
    return out


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Warnings of ours are told to a person; those of libraries keep their place in the code."""
    if issubclass(category, LandweaveWarning):
        return f"landweave: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def main() -> None:
    """Run a command; a LandweaveError becomes its own text and exit code, never a traceback."""
    warnings.formatwarning = _warning
    try:
        app(_with_json_target(sys.argv[1:]), prog_name="landweave")
    except LandweaveError as error:
        if os.environ.get("LANDWEAVE_TRACEBACK"):
            raise
        print(f"landweave: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("\nlandweave: stopped; pack, train, map and reproduce go on with the same command", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
