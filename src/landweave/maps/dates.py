"""Dates in maps: which the given rasters are of, and the means of series by period, as in training."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landweave.errors import ConfigError, DataError, listed
from landweave.sample import EPOCH, day_of
from landweave.sensors import sensor

if TYPE_CHECKING:
    from landweave.data.series import Period
    from landweave.sample import Image

_SINCE = "-1000@2022-01-25"
DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")


def days_of(text: str, stream: str) -> list[int]:
    """The days that `--dates` tells, in its order: ISO dates between `,` or `;` or blanks, or a text file of them.

    Raises:
        DataError: what stands there is no date, or one stands there twice.
    """
    where = f"--dates {stream}"
    if os.path.isfile(text):  # False for a text that is too long for a path
        where, text = text, Path(text).read_text(encoding="utf-8", errors="replace")
    found = []
    for word in re.split(r"[\s,;]+", text.strip()):
        if not DATE.fullmatch(word):
            raise DataError(f"`{word[:40]}` is not a date", where=where, fix="write them as 2021-05-03,2021-06-12")
        found.append(_day(word, where))
    return _once(found, where)


def offsets_of(told: float | str, days: Sequence[int], stream: str) -> list[float]:
    """The number to add to the raw values of each date: `-1000` of all, `-1000@2022-01-25` from that day on.

    Args:
        told: what `--offset` tells.
        days: of the series in order of time; empty for an image of one date.
        stream: for messages.

    Raises:
        ConfigError: no number, no day after `@`, or a day where no date is known.
    """
    where = f"--offset {stream}"
    text, at, since = str(told).partition("@")
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not math.isfinite(number):
        raise ConfigError(
            f"`{text[:40]}` is not a number", where=where, fix=f"{where}=-1000, or from a day on: {_SINCE}"
        )
    if not at:
        return [number] * max(1, len(days))
    if not DATE.fullmatch(since.strip()):
        raise ConfigError(f"`{since[:40]}` is not a date", where=where, fix=f"write {_SINCE}")
    if not days:
        raise ConfigError("there is one image, whose date is not known", where=where, fix="leave the day out")
    first = _day(since.strip(), where)
    return [number if day >= first else 0.0 for day in days]


def day_in_name(path: Path, stream: str) -> int:
    """The day that the name of a file or folder tells: `S2_20210503.tif`, `2021-05-03/`.

    Raises:
        DataError: it tells none or two.
    """
    told = _in_name(path)
    if len(told) != 1:
        what = listed([iso(d) for d in sorted(told)]) if told else "no date"
        raise DataError(
            f"its name tells {what}, and the model reads {stream} as a series",
            where=path,
            fix=f"give the dates in the order of the files: --dates {stream}=2021-05-03,2021-06-12,...",
        )
    return told.pop()


def day_of_one(told: str, names: Sequence[Sequence[Path]], stream: str) -> tuple[int | None, str]:
    """The day of an image of one date, for a model that reads it; else None. And a note that says which, or why none.

    Args:
        told: what `--dates` tells, which goes before names.
        names: what was given, then the files in it; the first of these that tell any day count.
        stream: for messages.

    Raises:
        ConfigError: several dates are told.
        DataError: what is told is no date.
    """
    days = set(days_of(told, stream)) if told else set()
    if len(days) > 1:
        raise ConfigError(
            f"{len(days)} dates, and the model reads one image of {stream}",
            where=f"--dates {stream}",
            fix=f"give the one of the image: --dates {stream}=2021-05-03",
        )
    for paths in () if days else names:
        days = days or {day for path in paths for day in _in_name(path)}
    if len(days) == 1:
        (day,) = days
        return day, told_days([day])
    what = listed([iso(d) for d in sorted(days)]) if days else "no date"
    return None, f"names tell {what}, so the model does not learn its day (--dates {stream}=2021-05-03)"


def require_names(paths: Sequence[Path], days: Sequence[int], stream: str) -> None:
    """Refuse dates that the names of their files gainsay.

    Raises:
        DataError: naming the first.
    """
    for path, day in zip(paths, days, strict=True):
        own = _in_name(path)
        if len(own) == 1 and own != {day}:
            raise DataError(
                f"--dates says {iso(day)} of it, its name {iso(own.pop())}",
                where=path,
                fix=f"leave --dates {stream} out, or give the dates in the order of the files",
            )


def _in_name(path: Path) -> set[int]:
    return {_day(m.group(), str(path)) for m in DATE.finditer(path.name)}


def iso(day: int) -> str:
    """A day as it is written."""
    return str(EPOCH + timedelta(days=day))


def told_days(days: Sequence[int]) -> str:
    """How many dates there are, and from when to when."""
    first, last = iso(min(days)), iso(max(days))
    return f"{len(days)} dates, {first} to {last}" if len(days) > 1 else f"one date, {first}"


def _day(word: str, where: str) -> int:
    try:
        return day_of(word)
    except ValueError:
        raise DataError(f"there is no day {word}", where=where, fix="write dates as 2021-05-03") from None


def _once(days: list[int], where: str) -> list[int]:
    if len(set(days)) < len(days):
        raise DataError("a date stands there twice", where=where, fix="give each date once")
    return days


def means(image: Image, stream: str, period: Period, *, official: bool = False) -> Image:
    """A batch of series as means by month or half month, in the sensor's unit; radar in dB is averaged as power.

    `official` is what `landweave.data.series.averaged` says of it.
    """
    import torch

    from landweave.data.series import averaged
    from landweave.transforms.resampling import decibel, power

    in_db = sensor(stream).unit == "dB"
    values = image.physical()
    values = power(values) if in_db else values
    parts = [
        averaged(v.numpy(), s.numpy(), d.tolist(), period, official=official)
        for v, s, d in zip(values, image.pixels_seen & image.dates_seen[..., None, None, None], image.days, strict=True)
    ]
    data = torch.from_numpy(np.stack([p.values for p in parts]).astype(np.float32))
    seen = torch.from_numpy(np.stack([p.pixels_seen for p in parts]))
    B, P, C = data.shape[:3]
    return replace(
        image,
        data=decibel(data) if in_db else data,
        scale=torch.ones(B, P, C),
        offset=torch.zeros(B, P, C),
        days=torch.tensor([p.days for p in parts], dtype=torch.int32),
        dates_seen=torch.from_numpy(np.stack([p.dates_seen for p in parts])) & seen.flatten(2).any(2),
        pixels_seen=seen,
    )
