"""Tables of texts in columns: for a terminal, and as Markdown."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from textwrap import wrap

BETWEEN = 2
"""Blanks between two columns."""
SHORT = 9
"""Characters of a heading that is not broken."""
ROOM = 36
"""Characters of a line, below which breaking names helps nobody."""


def screen() -> int:
    """Characters in a line of the terminal that is written to; 0 where it is none, and a line may be of any length."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 0


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, keys: int = 1, width: int = 0) -> Iterator[str]:
    """Lines of a table whose first column is aligned left and the others right, its headings broken between words.

    Args:
        header: a heading a column.
        rows: texts, as many in each as there are columns.
        keys: the first columns, which say what a row is of.
        width: characters in a line; a wider table goes on in further ones below it, each with the `keys` before it.
            A first text of more than a third of it is broken, too. With 0 lines are as long as they must be.
    """
    if width >= ROOM and rows and max(len(r[0]) for r in rows) > width // 3:
        rows = [line for r in rows for line in _in_lines(r, width // 3)]
    cells = [max((len(r[i]) for r in rows), default=0) for i in range(len(header))]
    heads = [_broken(text, n) for text, n in zip(header, cells, strict=True)]
    wide = [max(n, *map(len, head)) for n, head in zip(cells, heads, strict=True)]
    for at, part in enumerate(_parts(wide, keys, width)):
        if at:
            yield ""
        high = max(len(heads[i]) for i in part)
        above = [[h[-n] if n <= len(h) else "" for h in heads] for n in range(high, 0, -1)]
        for row in (*above, *rows):
            yield (" " * BETWEEN).join(_padded(row[i], wide[i], left=not i) for i in part).rstrip()


def _in_lines(row: Sequence[str], width: int) -> Iterator[Sequence[str]]:
    """A row whose first text goes on in lines of its own, indented."""
    first, *rest = wrap(row[0], width, subsequent_indent="  ") or [""]
    yield [first, *row[1:]]
    yield from ([line, *[""] * (len(row) - 1)] for line in rest)


def _broken(text: str, width: int) -> list[str]:
    """A heading in lines, no longer than `width`, `SHORT` or its longest word; one at least."""
    least = max([SHORT, width, *map(len, text.split())])
    return wrap(text, least, break_long_words=False, break_on_hyphens=False) or [""]


def _padded(text: str, width: int, *, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


def _parts(wide: Sequence[int], keys: int, width: int) -> Iterator[list[int]]:
    """The columns of each table: the keys, and as many of the others as fit; one at least."""
    part = list(range(keys))
    first = sum(wide[:keys]) + BETWEEN * (keys - 1)
    used = first
    for i in range(keys, len(wide)):
        more = BETWEEN + wide[i]
        if width and used + more > width and len(part) > keys:
            yield part
            part, used = list(range(keys)), first
        part.append(i)
        used += more
    yield part


def piped(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of the table in Markdown."""
    yield _row(header)
    yield "|" + "|".join("---" for _ in header) + "|"
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
