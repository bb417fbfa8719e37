"""What the writers of the layouts share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

Progress = Callable[[int, int], None] | None


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write lines, each with its end."""
    write_text(path, "".join(f"{line}\n" for line in lines))
