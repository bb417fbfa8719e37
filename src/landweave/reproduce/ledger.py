"""`runs.jsonl`: a line a finished or failed run. One process writes it, a line at a time, and each line is on the disk
before the next run is thought of: a kill costs the runs that were under way, and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from landweave.errors import ConfigError, RunError
from landweave.files import write_bytes

NAME = "runs.jsonl"
MARKS = ("code", "recipe", "data", "versions")


class Ledger:
    """The runs of a folder, by fingerprint; of two lines of one fingerprint the later counts."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.rows: dict[str, dict[str, Any]] = {}
        whole, rest = self._lines()
        for number, line in enumerate(whole, 1):
            row = self._parsed(number, line)
            self.rows[row["fingerprint"]] = row
        if rest:  # torn by a kill in the middle of a write
            write_bytes(self.path, b"".join(whole))

    def _lines(self) -> tuple[list[bytes], bytes]:
        if not self.path.is_file():
            return [], b""
        lines = self.path.read_bytes().splitlines(keepends=True)
        torn = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        return lines, torn

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            row: dict[str, Any] = json.loads(line)
            _ = row["fingerprint"], row["status"]
        except (ValueError, KeyError, TypeError):
            raise RunError("not a line of a run", where=f"{self.path}:{number}", fix="delete the line") from None
        return row

    @property
    def finished(self) -> dict[str, dict[str, Any]]:
        """Runs that need not be made again."""
        return {mark: row for mark, row in self.rows.items() if row["status"] == "ok"}

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one line: in one write, flushed to the disk."""
        line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
        self.rows[row["fingerprint"]] = dict(row)

    def aside(self, current: Mapping[tuple[str, ...], Mapping[str, str]], planned: Container[str]) -> str:
        """One line on finished runs of the same name whose fingerprint is another; empty if there are none.

        Args:
            current: the marks of what is planned, by the names that `name_of` gives.
            planned: its fingerprints.
        """
        differing = [
            [m for m in MARKS if row["marks"].get(m) != current[name_of(row)].get(m)]
            for mark, row in self.finished.items()
            if mark not in planned and name_of(row) in current
        ]
        if not differing:
            return ""
        what = ", ".join(m for m in MARKS if any(m in d for d in differing)) or "the first stage"
        return f"{len(differing)} finished runs stay in {self.path.name} unused: of another fingerprint ({what})"


def name_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a run, which say what it is but not with which code, settings and data it was made."""
    return tuple(str(row[k]) for k in ("protocol", "scale", "dataset", "row", "fraction", "run"))


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder, and hold it for this process; the lock goes with the process, however it ends.

    Raises:
        ConfigError: it cannot be written.
        RunError: another process works there.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror})", where=folder, fix="choose another folder with --out"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                "another `landweave reproduce` works there", where=folder, fix="wait for it, or choose another --out"
            ) from None
        yield
