"""Which patches of FLAIR-HUB there are and where their files lie: from its folders, or from CSVs of the official form.

A path is never stored. It follows from the patch's name, the kind of file and the folder that holds the domains, so
that 241,000 patches of ten files stay small: two bytes a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landweave.errors import DataError, MissingDataError, listed

METADATA = "GLOBAL_ALL_MTD"
RLT = "AERIAL-RLT_PAN"
MASK, COSIA, LPIS = "SENTINEL2_MSK-SC", "AERIAL_LABEL-COSIA", "ALL_LABEL-LPIS"


@dataclass(frozen=True)
class Part:
    """One kind of image file: its stream, and the bands of one date in the file's order."""

    stream: str
    bands: tuple[str, ...]
    series: bool = False


S2 = "SENTINEL2_TS"
PARTS: Mapping[str, Part] = {
    "AERIAL_RGBI": Part("aerial", ("R", "G", "B", "N")),
    RLT: Part("aerial-pan", ("P",)),
    "DEM_ELEV": Part("dsm-dtm", ("DSM", "DTM")),
    "SPOT_RGBI": Part("spot", ("R", "G", "B", "N")),
    S2: Part("s2-l2a", ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"), series=True),
    "SENTINEL1-ASC_TS": Part("s1-grd-sigma0-asc-linear", ("VV", "VH"), series=True),
    "SENTINEL1-DESC_TS": Part("s1-grd-sigma0-desc-linear", ("VV", "VH"), series=True),
}
"""Image files by the end of their folder's name."""
FOLDERS = (*PARTS, MASK, COSIA, LPIS)

_DOMAIN = re.compile(rf"(?P<domain>D\d{{3}}(?:\d{{3}})?)-(?P<year>\d{{4}}|195X)_(?P<part>{'|'.join(FOLDERS)})$")
_PATCH = re.compile(r"(?P<domain>D\d{3}(?:\d{3})?)-(?P<year>\d{4}|195X)_(?P<roi>[^_]+)_(?P<row>\d+)-(?P<col>\d+)$")
HISTORICAL = "195X"


def is_domain(name: str) -> bool:
    """Whether a folder is named as one kind of file of a domain is: `D012-2019_AERIAL_RGBI`."""
    return _DOMAIN.match(name) is not None


@dataclass(frozen=True)
class Patch:
    """A patch's name taken apart: `D012-2019_AF-S1-27_5-10`. Merged departments have six digits."""

    domain: str
    year: str
    roi: str
    row: int
    col: int

    @classmethod
    def parse(cls, name: str, *, where: str = "") -> Patch:
        """Take a name apart.

        Raises:
            DataError: it is not the name of a patch.
        """
        match = _PATCH.match(name)
        if match is None:
            raise DataError(f"`{name}` is not a patch such as D012-2019_AF-S1-27_5-10", where=where)
        return cls(match["domain"], match["year"], match["roi"], int(match["row"]), int(match["col"]))

    def __str__(self) -> str:
        return f"{self.domain}-{self.year}_{self.roi}_{self.row}-{self.col}"

    def tail(self, part: str) -> str:
        """Where a file of it lies under the folder of the domains. The images of the 1950s have a year of their own."""
        head = f"{self.domain}-{HISTORICAL if part == RLT else self.year}_{part}"
        return f"{head}/{self.roi}/{head}_{self.roi}_{self.row}-{self.col}.tif"


@dataclass(frozen=True)
class Patches:
    """The patches, in order; for each kind of file, which of `bases` it lies under (-1: the patch lacks it).

    `listed_in` names, for patches of CSVs, the file and line that each stands in, and `splits` what the CSVs say.
    """

    names: Sequence[str]
    bases: Sequence[str]
    at: Mapping[str, NDArray[np.int16]]
    listed_in: Sequence[str] = ()
    splits: Sequence[str] = ()
    rows: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def path(self, index: int, part: str) -> Path | None:
        """The file of one kind, None where the patch lacks it."""
        base = int(self.at[part][index]) if part in self.at else -1
        return None if base < 0 else Path(self.bases[base], Patch.parse(self.names[index]).tail(part))

    def find(self, name: str) -> int | None:
        """Position of a patch by its name."""
        if not self.rows:
            self.rows.update((n, i) for i, n in enumerate(self.names))
        return self.rows.get(name)

    def has(self, part: str) -> NDArray[np.bool_]:
        """Which patches have a file of a kind."""
        found: NDArray[np.bool_] = self.at[part] >= 0
        return found


def list_folders(root: Path) -> Patches:
    """All patches under the folder that holds `D012-2019_AERIAL_RGBI` and its like, without opening a file.

    A patch is there if it has an image or a label. An image of the 1950s belongs to every year of its domain.

    Raises:
        MissingDataError: no such folder, or no patch in any.
        DataError: a raster that is not named as the archive names it.
    """
    there: dict[str, dict[tuple[str, str], dict[str, set[str]]]] = {part: {} for part in FOLDERS}
    for entry in sorted(os.listdir(root)):
        if match := _DOMAIN.match(entry):
            there[match["part"]][match["domain"], match["year"]] = _rois(root / entry)
    if not any(domains for domains in there.values()):
        raise _no_domain(root)
    _share_history(there)
    together: dict[tuple[str, str, str], set[str]] = {}
    for part, domains in there.items():
        for key, rois in domains.items():
            for roi, positions in rois.items():
                if part != MASK:
                    together.setdefault((*key, roi), set()).update(positions)
    keys = [(*key, p) for key in sorted(together) for p in sorted(together[key], key=_place)]
    if not keys:
        raise MissingDataError("no patch in its folders", where=root, fix="unpack the archives there")
    at = {}
    for part, domains in there.items():
        found = [p in domains.get((d, y), {}).get(roi, ()) for d, y, roi, p in keys]
        if any(found):
            at[part] = np.where(found, 0, -1).astype(np.int16)
    return Patches([f"{d}-{y}_{roi}_{p}" for d, y, roi, p in keys], [str(root)], at)


def _no_domain(root: Path) -> MissingDataError:
    """What to say of a folder without domains: that they lie one folder further in, or are packed still."""
    inside = [p for p in sorted(root.iterdir()) if p.is_dir() and any(map(is_domain, os.listdir(p)))]
    zips = [p for p in root.glob("*.zip") if is_domain(p.stem)]
    fix = f"set data.path={inside[0]}" if inside else "set data.path to the folder that holds those of the domains"
    return MissingDataError(
        f"no folder such as D012-2019_AERIAL_RGBI or D012-2019_{COSIA} in it",
        where=root,
        fix=f"unpack the {len(zips)} archives there" if zips else f"{fix}, or to a CSV of the official form",
    )


def _place(position: str) -> tuple[int, int]:
    row, _, col = position.partition("-")
    return int(row), int(col)


def _rois(domain: Path) -> dict[str, set[str]]:
    """By ROI the positions (`5-10`) of the files in a domain's folder of one kind."""
    found: dict[str, set[str]] = {}
    with os.scandir(domain) as entries:
        rois = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    for roi in rois:
        head = f"{domain.name}_{roi}_"
        for name in os.listdir(domain / roi):
            if not name.endswith(".tif") or name.startswith("."):
                continue
            position = name[len(head) : -4]
            if not name.startswith(head) or not re.fullmatch(r"\d+-\d+", position):
                raise DataError(
                    f"not a file of this archive: its name is not of the form {head}<row>-<column>.tif",
                    where=domain / roi / name,
                    fix="move it out of the folder",
                )
            found.setdefault(roi, set()).add(position)
    return found


def _share_history(there: Mapping[str, dict[tuple[str, str], dict[str, set[str]]]]) -> None:
    """Give the images of the 1950s, which two years of a domain share, to each year that has the patch.

    A patch that only they have goes to the domain's first year, or stays one of 195X where there is no year.
    """
    years: dict[str, dict[str, dict[str, set[str]]]] = {}
    for part, domains in there.items():
        for (domain, year), rois in domains.items() if part != RLT else ():
            known = years.setdefault(domain, {}).setdefault(year, {})
            for roi, positions in rois.items():
                known.setdefault(roi, set()).update(positions)
    for domain, year in [key for key in there[RLT] if key[0] in years]:
        rest = there[RLT].pop((domain, year))
        shared: dict[tuple[str, str], dict[str, set[str]]] = {(domain, y): {} for y in sorted(years[domain])}
        for roi, positions in rest.items():
            for y, known in years[domain].items():
                shared[domain, y][roi] = positions & known.get(roi, set())
            lone = positions.difference(*(s[roi] for s in shared.values()))
            next(iter(shared.values()))[roi] |= lone
        there[RLT].update(shared)


# ---- bases of the paths in a CSV


def base_of(prefix: str, tail: str, *, beside: Path, root: str, where: str) -> str:
    """The folder that a path's beginning in a CSV means.

    It is looked for under `root` if that is given, then beside the CSV, then under the working directory; the first
    that has the domain's folder counts.

    Raises:
        MissingDataError: none has.
    """
    relative = [Path(root) / prefix, Path(root)] if root else []
    tried = [Path(prefix)] if os.path.isabs(prefix) else [*relative, beside / prefix, Path(prefix)]
    domain = tail.partition("/")[0]
    for candidate in tried:
        if (candidate / domain).is_dir():
            return os.path.normpath(candidate)
    looked = listed(list(dict.fromkeys(os.path.abspath(c / domain) for c in tried)))
    raise MissingDataError(
        f"`{prefix}{tail}` is not there: no folder {looked}",
        where=where,
        fix="set data.root to the folder that holds the domains' folders",
    )


class Rows:
    """Patches of CSV rows, added one by one, so that the 2.4 million paths of the archive are never held at once."""

    def __init__(self, beside: Path, root: str) -> None:
        self.beside, self.root = beside, root
        self.names: list[str] = []
        self.lines: list[str] = []
        self.splits: list[str] = []
        self._first: dict[str, str] = {}
        self._bases: dict[str, int] = {}
        self._prefixes: dict[tuple[str, str], int] = {}
        self._at: dict[str, list[int]] = {}

    def add(self, name: str, split: str, cells: Mapping[str, str], line: str) -> None:
        """One row: paths by column, empty where the patch lacks the file; `line` is where it stands.

        Raises:
            DataError: a patch that was there before, or a path that is not that of its patch and column.
            MissingDataError: the folder that a path names is not there.
        """
        patch = Patch.parse(name, where=line)
        if name in self._first:
            what = f"patch `{name}` stands in {Path(self._first[name]).name} too"
            raise DataError(what, where=line, fix="take one of the rows out")
        self._first[name] = line
        for part, cell in cells.items():
            column = self._at.setdefault(part, [])
            column += [-1] * (len(self.names) - len(column))  # a column that an earlier CSV had not
            column.append(self._base(name, part, cell, patch.tail(part), line) if cell else -1)
        self.names.append(name)
        self.lines.append(line)
        self.splits.append(split)

    def _base(self, name: str, part: str, cell: str, tail: str, line: str) -> int:
        path = cell.replace("\\", "/")
        if not path.endswith(tail):
            raise DataError(
                f"column {part} holds `{cell}`, which is no such file of patch `{name}`",
                where=line,
                fix=f"write a path that ends with {tail}; other files are read with data.kind=table",
            )
        prefix = path[: -len(tail)]
        if (part, prefix) not in self._prefixes:
            base = base_of(prefix, tail, beside=self.beside, root=self.root, where=line)
            self._prefixes[part, prefix] = self._bases.setdefault(base, len(self._bases))
        return self._prefixes[part, prefix]

    def patches(self) -> Patches:
        """Everything that was added."""
        at = {p: np.array(c + [-1] * (len(self.names) - len(c)), np.int16) for p, c in self._at.items()}
        kept = {p: a for p, a in at.items() if (a >= 0).any()}
        return Patches(self.names, list(self._bases), kept, self.lines, self.splits)
