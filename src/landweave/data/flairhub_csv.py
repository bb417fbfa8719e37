"""CSVs of FLAIR-HUB's official form: one row a patch, a column a kind of file, separated by commas or semicolons.

The archive hands out three (`FLAIR-HUB_TOY-DATASET_TRAIN.csv`, `..._VALID.csv`, `..._TEST.csv`); any of them stands
for all three.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from landweave.data.dataset import SPLITS, Split
from landweave.data.flairhub_index import FOLDERS, Patches, Rows
from landweave.errors import DataError, MissingDataError, did_you_mean, listed

NAME, SPLIT = "patch_id", "split"
_SIDE = re.compile(r"(?<![A-Za-z])(TRAIN|VALIDATION|VALID|VAL|TEST)(?![A-Za-z])", re.IGNORECASE)
WORDS: dict[str, Split] = {
    "train": "train",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "none": "",
    "": "",
}
"""What the archive's words for splits mean."""


def sides(path: Path) -> dict[Path, str]:
    """The CSVs that belong together, and the split that each one's name tells ("" if none).

    `path` is one CSV, or a folder of them.

    Raises:
        MissingDataError: no such file, or no CSV of a split in the folder.
        DataError: those of several sets in the folder.
    """
    if path.is_dir():
        found = [p for p in path.glob("*.csv") if _side(p) is not None]
        if not found:
            raise MissingDataError(
                "no CSV with TRAIN, VALID or TEST in its name", where=path, fix="set data.path to the CSV itself"
            )
        if len({_SIDE.sub("*", p.name) for p in found}) > 1:
            what = f"CSVs that do not belong together: {listed(sorted(p.name for p in found))}"
            raise DataError(what, where=path, fix=f"set data.path to one of them: data.path={min(found)}")
    elif not path.is_file():
        raise MissingDataError("no such file", where=path, fix="set data.path to a folder or a CSV of FLAIR-HUB")
    elif _side(path) is None:
        return {path: ""}
    else:
        stem = _SIDE.sub("*", path.name)
        found = [p for p in path.parent.glob("*.csv") if _side(p) is not None and _SIDE.sub("*", p.name) == stem]
    return {p: _side(p) or "" for p in sorted(found, key=lambda p: (SPLITS.index(_side(p) or "train"), p))}


def _side(path: Path) -> Split | None:
    found = _SIDE.findall(path.stem)
    return WORDS[found[-1].lower()] if found else None


def read_csvs(path: Path, *, root: str = "") -> Patches:
    """Read one CSV or the three that belong together.

    Raises:
        MissingDataError: no such CSV, or none of the folders that its paths name.
        DataError: a wrong column, a row of another length, a patch that stands twice, a path that is not its patch's.
    """
    files = sides(path)
    found = Rows(next(iter(files)).parent, root)
    for file, side in files.items():
        for number, row in _rows(file):
            line = f"{file}:{number}"
            split = _split(row[SPLIT], line) if SPLIT in row else side
            found.add(row[NAME], split, {c: row[c] for c in row if c in FOLDERS}, line)
    return found.patches()


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Numbered rows by column; what separates the cells is what the header has more of."""
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        first = stream.readline()
        separator = ";" if first.count(";") > first.count(",") else ","
        head = [c.strip() for c in next(csv.reader([first], delimiter=separator), [])]
        if not head:
            raise DataError("the file is empty", where=file)
        _check_head(head, file)
        number = 1
        try:
            for number, row in enumerate(csv.reader(stream, delimiter=separator), 2):
                if len(row) not in (0, len(head)):
                    raise DataError(f"{len(row)} cells under {len(head)} columns", where=f"{file}:{number}")
                if any(row):
                    yield number, dict(zip(head, (c.strip() for c in row), strict=True))
        except csv.Error as error:
            raise DataError(f"not a CSV file: {error}", where=f"{file}:{number}") from None
    if number == 1:
        raise DataError("no row below the header", where=file)


def _check_head(head: list[str], file: Path) -> None:
    known = (NAME, SPLIT, *FOLDERS)
    wrong = [c for c in head if c not in known]
    if NAME not in head or wrong:
        what = f"unknown column `{wrong[0]}`{did_you_mean(wrong[0], known)}" if wrong else f"no column {NAME}"
        raise DataError(what, where=file, fix=f"columns are {listed(known, 20)}; {NAME} and one image are needed")
    if twice := sorted({c for c in head if head.count(c) > 1}):
        raise DataError(f"column `{twice[0]}` stands twice", where=file)


def _split(word: str, where: str) -> str:
    if word.lower() not in WORDS:
        raise DataError(f"split `{word}`, not one of {listed(list(WORDS)[:-1])}", where=where)
    return WORDS[word.lower()]
