"""What landweave raises when the fault is in a file, a setting or a model: never a bare traceback.

Each error says *where* (the file, the key or the class), *what* is wrong there, and the *fix*. The command line
prints exactly that, in at most 10 lines, and exits with `exit_code`. Each class also inherits the builtin that a
caller would catch, so `except ValueError` keeps working.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

Where = str | os.PathLike[str] | None


class LandweaveError(Exception):
    """Base of the family. `where` is a file, a key (`data.path`) or a class name; `fix` is an instruction."""

    exit_code = 1

    def __init__(self, what: str, *, where: Where = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, None if where is None else os.fspath(where), fix
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return place + self.what + (f"\n  fix: {self.fix}" if self.fix else "")


class LandweaveWarning(UserWarning):
    """What a person should know of, and no reason to stop. The command line prints the text alone."""


class ConfigError(LandweaveError, ValueError):
    """A key, a value or an option of a recipe or of the command line is wrong. Exit code 2, as for any usage error."""

    exit_code = 2


class DataError(LandweaveError, ValueError):
    """A file or a place does not hold what it must: unreadable, wrong bands, labels outside the legend."""


class MissingDataError(DataError, FileNotFoundError):
    """A file or folder that a recipe or a table names does not exist."""


class GridError(DataError):
    """Two rasters that must share a grid, or at least a CRS, do not."""


class ContractError(LandweaveError, ValueError):
    """An input does not match what a trained model was promised: sensor, bands, unit or calibration."""


class RunError(LandweaveError, RuntimeError):
    """A run folder is unfinished, damaged, or belongs to another experiment."""


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return `", did you mean `x`?"` for the nearest known word, or an empty string."""
    near = nearest(word, known)
    return f", did you mean `{near}`?" if near else ""


def nearest(word: str, known: Sequence[str]) -> str:
    """The nearest known word, or an empty string.

    Of words that are equally near, the one that begins most alike: `lcnet_05` is `lcnet_050`, not `lcnet_075`.
    """
    import difflib
    from itertools import takewhile

    def alike(other: str) -> tuple[float, int]:
        begins = takewhile(lambda pair: pair[0] == pair[1], zip(other, word, strict=False))
        return difflib.SequenceMatcher(None, other, word).ratio(), len(list(begins))

    near = difflib.get_close_matches(word, known, n=5, cutoff=0.6) or [k for k in known if k.lower() == word.lower()]
    return max(near, key=alike, default="")


def listed(words: Sequence[str], most: int = 12) -> str:
    """Join words for one line of an error, cut after `most`."""
    head = ", ".join(words[:most])
    return head + (f", ... ({len(words)} in all)" if len(words) > most else "")
