"""What FLAIR-HUB's released networks read: sensors, bands in their order, and the statistics of their training.

A released file holds none of it. Of aerial images there are files for infrared colours and for RGB, which the file's
name tells (`LC-A_IR_...`, `LC-A_RGB_...`); the statistics are those of the paper's Table VIII, and of its configuration
for heights. What can be compared with a run is compared, and what nobody says is said to be so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from landweave.contract import Contract, StreamContract
from landweave.data.flairhub_index import PARTS
from landweave.errors import ContractError, listed

AERIAL = "aerial"
ORDERS: Mapping[str, tuple[str, ...]] = {"IR": ("N", "R", "G"), "RGB": ("R", "G", "B")}
"""The bands that a network of aerial images reads, by the word in the name of its file."""
BANDS: Mapping[str, tuple[str, ...]] = {row.stream: row.bands for row in PARTS.values()} | {
    AERIAL: ORDERS["IR"],
    "spot": ("N", "R", "G"),
    "dsm-dtm": ("DSM", "HEIGHT"),
}
"""The bands that the released networks read, in their order; of aerial images, where nothing says RGB."""

Rows = Mapping[str, tuple[float, float]]

STATISTICS: Mapping[str, Rows] = {
    AERIAL: {"R": (105.66, 52.23), "G": (111.35, 45.62), "B": (102.18, 44.3), "N": (106.59, 39.78)},
    "aerial-pan": {"P": (125.92, 38.45)},
    "spot": {
        "R": (0.043326, 0.031276),
        "G": (0.050875, 0.028461),
        "B": (0.046777, 0.022602),
        "N": (0.113703, 0.054311),
    },
    "dsm-dtm": {"DSM": (311.06, 537.55), "HEIGHT": (311.06, 537.55)},
}
"""Mean and deviation of a band, in the sensor's unit: Table VIII (training and validation), SPOT in reflectance; and
heights by those of altitudes, as the official configuration has them. Series are read as numbers, by none."""
SHIPPED_SPOT: Rows = {"N": STATISTICS["spot"]["R"], "R": STATISTICS["spot"]["G"], "G": STATISTICS["spot"]["B"]}
"""What the official configuration makes of SPOT's: it lists them as R, G, B, N and the channels as N, R, G."""
ROUNDING = 1e-3
"""How far apart, as a share, two statistics are the same: the official configuration has 44.29 where the paper has
44.30."""


def order_of(name: str, bands: Sequence[str], file: Path) -> tuple[str, ...]:
    """The bands that a released file reads of a sensor, in its order.

    Of aerial images as the file's name says; where it says nothing, red, green and blue if these are a run's `bands`,
    and else near infrared, red and green.
    """
    if name != AERIAL:
        return BANDS[name]
    return _said(file) or (ORDERS["RGB"] if set(bands) == set(ORDERS["RGB"]) else BANDS[AERIAL])


def _said(file: Path) -> tuple[str, ...] | None:
    """The order that the name of a file tells, if it tells one."""
    words = re.split(r"[^A-Z0-9]+", file.stem.upper())
    said = [bands for word, bands in ORDERS.items() if word in words]
    return said[0] if len(said) == 1 else None


def require_bands(contract: Contract, file: Path) -> None:
    """Refuse sensors and bands that the released networks do not read.

    Raises:
        ContractError: one of these.
    """
    for name, row in contract.streams.items():
        if name not in BANDS:
            raise ContractError(
                f"FLAIR-HUB has no weights for {name}", where=file, fix=f"choose of {listed(list(BANDS), 10)}"
            )
        order = order_of(name, row.bands, file)
        if set(row.bands) != set(order):
            who = "by its name this file reads" if name == AERIAL and _said(file) else "the released weights read"
            raise ContractError(
                f"{who} {listed(order, 10)} of {name}, the data have {listed(row.bands, 10)}",
                where=file,
                fix=f"data.streams=[{name}:{'+'.join(order)}, ...]",
            )


def assumed(contract: Contract, file: Path) -> list[str]:
    """What a person should know of the inputs of a released file: what no one says, and statistics of another kind."""
    return [line for name, row in contract.streams.items() for line in _assumed(name, row, file)]


def _assumed(name: str, row: StreamContract, file: Path) -> list[str]:
    told = []
    if name == AERIAL and _said(file) is None:
        order = ", ".join(order_of(name, row.bands, file))
        told.append(f"{name}: the file's name says neither RGB nor IR; it is taken to read {order}, in this order")
    published = {b: STATISTICS[name][b] for b in row.bands} if name in STATISTICS else {}
    shipped = {b: SHIPPED_SPOT[b] for b in row.bands} if name == "spot" else {}
    if published and not any(_alike(row, known) for known in (published, shipped) if known):
        told.append(
            f"{name}: the statistics are not those that the networks were trained with; theirs: {_set(name, published)}"
        )
    if shipped:
        told.append(
            f"{name}: the official configuration gives the statistics of R, G, B to the channels N, R, G, and no file "
            f"says whether it was trained so; if it was: {_set(name, shipped)}"
        )
    return told


def _alike(row: StreamContract, known: Rows) -> bool:
    """Whether a run has these statistics, but for rounding."""
    here = zip(row.bands, row.mean, row.std, strict=True)
    return all(
        math.isclose(mine, theirs, rel_tol=ROUNDING)
        for band, mean, std in here
        for mine, theirs in zip((mean, std), known[band], strict=True)
    )


def _set(name: str, rows: Rows) -> str:
    return f"data.statistics.{name}={{{', '.join(f'{b}: [{m:g}, {s:g}]' for b, (m, s) in rows.items())}}}"
