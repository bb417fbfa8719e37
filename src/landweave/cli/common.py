"""What every command needs: JSON where it is asked for, `NAME=VALUE` options, a bar, a recipe with changes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from landweave.errors import ConfigError

Json = Annotated[
    str,
    typer.Option("--json", metavar="[FILE]", help="Write the result as JSON to FILE.json, or to standard output."),
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe: data.path=DIR train.epochs=5"),
]
DataChanges = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the data: data.path=DIR")
]
Pairs = list[str] | None


def pairs(texts: Pairs, option: str) -> dict[str, str]:
    """`sensor=value` options as a dictionary; a key that stands twice is joined by `;`."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, eq, value = text.partition("=")
        if not (key and eq and value):
            raise ConfigError(f"`{text}` is not NAME=VALUE", where=option, fix=f"for example {option} s2-l2a=...")
        found[key] = f"{found[key]};{value}" if key in found else value
    return found


def numbers(texts: Pairs, option: str) -> dict[str, float]:
    """`sensor=number` options as a dictionary."""
    found = {}
    for key, value in pairs(texts, option).items():
        try:
            found[key] = float(value)
        except ValueError:
            raise ConfigError(f"`{value}` is not a number", where=f"{option} {key}") from None
    return found


def emit(result: Any, target: str) -> None:
    """Write a result as JSON where the user asked for it."""
    if not target:
        return
    text = json.dumps(result, indent=1, ensure_ascii=False, default=str)
    if target == "-":
        print(text)
    else:
        from landweave.files import write_text

        write_text(Path(target), text + "\n")
        say(f"wrote {target}", target)


def say(text: str, target: str = "") -> None:
    """A line for the person; on standard error where standard output carries JSON."""
    print(text, file=sys.stderr if target == "-" else sys.stdout, flush=True)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar where somebody looks at it, otherwise nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit="", leave=False) as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield progress


def is_change(word: str) -> bool:
    """`data.path=x` is a change; a file whose name holds `=` is not, if it is there."""
    return "=" in word and not os.path.exists(word)  # False for a text that is too long for a path


def data_of(first: str, changes: Sequence[str] | None) -> Any:
    """The data part of a recipe, of a run, of a table file, or of bare `data.kind=... data.path=...` changes."""
    from landweave.config import override, parse
    from landweave.run.experiment import DataOnly, raw_recipe

    changes = list(changes or ())
    if not first or is_change(first):
        raw, where, lines = {}, "", None
        changes = [c for c in (first, *changes) if c]
    elif Path(first).suffix in (".parquet", ".csv", ".gpkg"):
        raw, where, lines = {"data": {"kind": "table", "path": first}}, "", None
    else:
        if Path(first).is_dir():
            raise _folder(Path(first))
        raw, where, lines = raw_recipe(first)
    raw = {"data": override(raw, changes).get("data", {})}
    return parse(DataOnly, raw, where=where, lines=lines, changes=changes).data


def _folder(folder: Path) -> ConfigError:
    """What to say to somebody who gives a folder of data where a recipe or a table is expected."""
    from landweave.data.layouts import meant

    typed = meant(folder)
    fix = f"type {typed} in its place" if typed else "give data.kind=KIND data.path=DIR (docs/your-data.md), or a table"
    return ConfigError("a folder, where a recipe or a table of places is expected", where=folder, fix=fix)
