"""The same answers, read in another way: as coarser classes, or only where somebody declared a crop.

They follow from the table of an evaluation, and cost nothing. LPIS has three levels, of which each class lies in one
of the level above: taking winter for spring wheat is an error at level 3 and none at level 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from landweave.legends import LEGENDS, PARENTS, Legend
from landweave.metrics.confusion import Confusion

BACKGROUND = "background"
"""The class of LPIS for ground that nobody declared. It may be a crop all the same, so it is no error to say one."""


@dataclass(frozen=True)
class Reading:
    """A table with its legend: `name` (crops, lpis-1, ...), and what it counts."""

    name: str
    about: str
    table: Confusion
    legend: Legend


def background_of(legend: Legend) -> int | None:
    """The index of the class of undeclared ground; None where there is none."""
    return legend.names.index(BACKGROUND) if BACKGROUND in legend.names else None


def readings(table: Confusion, legend: Legend) -> Iterator[Reading]:
    """All that a table can be read as; nothing for a legend without background and without parents.

    `crops`: only truths that are no background, whatever they were taken for. `lpis-1`, `lpis-2`: truths and answers
    as the classes that they lie in there, and the crops of that.
    """
    yield from _crops(table, legend)
    while legend.name in PARENTS:
        parents = PARENTS[legend.name]
        above = above_of(legend.name)
        table = table.rolled_up(parents, len(above))
        yield Reading(above.name, f"answers of {legend.name} as the classes of {above.name} they lie in", table, above)
        yield from _crops(table, above, f"{above.name} ")
        legend = above


def above_of(name: str) -> Legend:
    """The legend one level above one that has parents: `lpis-1` above `lpis-2`."""
    stem, _, level = name.rpartition("-")
    return LEGENDS[f"{stem}-{int(level) - 1}"]


def _crops(table: Confusion, legend: Legend, lead: str = "") -> Iterator[Reading]:
    outside = background_of(legend)
    if outside is not None:
        kept: Sequence[int] = [k for k in range(len(legend)) if k != outside]
        yield Reading(f"{lead}crops", "only where a crop is declared", table.of_truth(kept), legend)
