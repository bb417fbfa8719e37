"""Which of the given files holds which band of a sensor, at which date. Headers only are read."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from landweave.data.raster import Header, header
from landweave.data.table_images import RASTERS
from landweave.errors import DataError, MissingDataError, listed
from landweave.maps.dates import day_in_name, days_of, require_names
from landweave.sensors import Sensor


@dataclass(frozen=True)
class File:
    """Some bands of one date; those of a stack of dates begin at channel `first` of the file."""

    head: Header
    bands: tuple[str, ...]
    first: int = 0


@dataclass(frozen=True)
class Date:
    """The files of one date; `day` is None where it is not known."""

    files: tuple[File, ...]
    day: int | None = None


def files_of(row: Sensor, text: str, names: str) -> tuple[list[File], list[str]]:
    """Every file with the names of its bands; and the names of files in a folder that were left alone."""
    asked = row.select(n.strip() for n in names.split(",")) if names else ()
    if os.path.isdir(text):
        return _folder(row, Path(text), asked)
    heads = [header(part.strip()) for part in text.split(";") if part.strip()]
    if not heads:
        raise MissingDataError("an empty path", where=f"--image {row.name}=")
    if asked:
        count = sum(h.count for h in heads)
        if count != len(asked):
            raise DataError(
                f"{count} bands, but --bands names {len(asked)}",
                where=heads[0].path,
                fix=f"name them all in file order: --bands {row.name}=...",
            )
        at = [sum(h.count for h in heads[:i]) for i in range(len(heads))]
        return [File(h, asked[i : i + h.count]) for h, i in zip(heads, at, strict=True)], []
    if len(heads) == 1:
        return [File(heads[0], band_names(row, heads[0]))], []
    return _once(row, [File(h, _single(row, h)) for h in heads]), []


def series_of(row: Sensor, text: str, names: str, told: str) -> tuple[list[Date], list[str]]:
    """The dates of a series in their order, and the names of files that were left alone."""
    days = days_of(told, row.name) if told else []
    paths = [Path(part.strip()) for part in text.split(";") if part.strip()]
    if not paths:
        raise MissingDataError("an empty path", where=f"--image {row.name}=")
    if len(days) == 1:
        files, skipped = files_of(row, text, names)
        return [Date(tuple(files), days[0])], skipped
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        shown = [p for p in folder.iterdir() if not p.name.startswith(".")]
        paths = sorted((p for p in shown if p.is_dir() or p.suffix.lower() in RASTERS), key=_by_number)
        if not paths:
            raise DataError("no raster in it", where=folder, fix="give the folder that has one a date")
    if len(paths) == 1 and days:
        return _in_order(_stack(row, header(paths[0]), names, days)), []
    if not days:
        of_day: dict[int, list[str]] = {}
        for path in paths:
            of_day.setdefault(day_in_name(path, row.name), []).append(str(path))
        found = [files_of(row, ";".join(of_day[day]), names) for day in sorted(of_day)]
        dates = [Date(tuple(files), day) for (files, _), day in zip(found, sorted(of_day), strict=True)]
        return dates, sorted({name for _, skipped in found for name in skipped})
    if len(days) != len(paths):
        raise DataError(
            f"{len(days)} dates for {len(paths)} files of {row.name}",
            where=f"--dates {row.name}",
            fix="give one a file, in their order",
        )
    require_names(paths, days, row.name)
    found = [files_of(row, str(path), names) for path in paths]
    dates = [Date(tuple(files), day) for (files, _), day in zip(found, days, strict=True)]
    return _in_order(dates), sorted({name for _, skipped in found for name in skipped})


def _by_number(path: Path) -> list[tuple[int, str]]:
    """`t2.tif` before `t10.tif`."""
    return [(int(w), "") if w.isdecimal() else (-1, w) for w in re.split(r"(\d+)", path.name) if w]


def _stack(row: Sensor, head: Header, names: str, days: Sequence[int]) -> list[Date]:
    """The dates of a file that holds all of them, all bands of the first before those of the next."""
    each, rest = divmod(head.count, len(days))
    if rest or not each:
        raise DataError(
            f"{head.count} bands are not {len(days)} dates of equally many",
            where=head.path,
            fix=f"correct --dates {row.name}=..., or give one file a date",
        )
    asked = row.select(n.strip() for n in names.split(",")) if names else row.of_count(each, where=head.path)
    if len(asked) != each:
        raise DataError(
            f"{each} bands a date, but --bands names {len(asked)}", where=head.path, fix="name those of one date"
        )
    return [Date((File(head, asked, t * each),), day) for t, day in enumerate(days)]


def _in_order(dates: list[Date]) -> list[Date]:
    return sorted(dates, key=lambda d: d.day or 0)


def _folder(row: Sensor, folder: Path, asked: Sequence[str]) -> tuple[list[File], list[str]]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in RASTERS)
    named = {p: in_name(row, p.name) for p in paths}
    found = [File(header(p), (b,)) for p, b in named.items() if b and (not asked or b in asked)]
    if not found:
        raise DataError(
            f"no raster named after a band of {row.name} among {len(paths)} files",
            where=folder,
            fix=f"name the files after their bands ({listed(row.band_names)}), or give them joined by `;` with --bands",
        )
    for file in found:
        if file.head.count != 1:
            raise DataError(f"{file.head.count} bands in a file named after one", where=file.head.path)
    return _once(row, found), [p.name for p, b in named.items() if not b]


def _single(row: Sensor, head: Header) -> tuple[str, ...]:
    if head.count == 1 and (band := in_name(row, Path(head.path).name)):
        return (band,)
    return band_names(row, head)


def _once(row: Sensor, files: list[File]) -> list[File]:
    seen: dict[str, str] = {}
    for file in files:
        for band in file.bands:
            if band in seen:
                raise DataError(
                    f"band {band} of {row.name} is in two files, the other is {Path(seen[band]).name}",
                    where=file.head.path,
                    fix="give the files to use, joined by `;`",
                )
            seen[band] = file.head.path
    return files


def in_name(row: Sensor, name: str) -> str:
    """The band that a file name says: `T48QUE_20200223_B8A_20m.jp2` is B8A, `B2.tif` is B02.

    Empty where it says none, or two.
    """
    words = re.split(r"[_\-. ]", Path(name).stem)
    official = {b.name.casefold(): b.name for b in row.bands}
    found = {official[w.casefold()] for w in words if w.casefold() in official}
    found = found or {b.name for b in row.bands if words[-1].casefold() in b.spellings()}
    return found.pop() if len(found) == 1 else ""


def band_names(row: Sensor, head: Header) -> tuple[str, ...]:
    """Band names of a file: its descriptions where each is a band of the sensor, else the sensor's order by count.

    Raises:
        DataError: no order, or more than one, has that count; or some descriptions are bands and others are not.
    """
    if head.named_bands and (found := row.described(head.named_bands, where=head.path)):
        return found
    return row.of_count(head.count, where=head.path)
