"""FLAIR-HUB: 241,100 places of 102.4 m in 74 domains of France, six sensors, land cover (COSIA) and crops (LPIS).

Layout: `D012-2019_AERIAL_RGBI/AF-S1-27/D012-2019_AERIAL_RGBI_AF-S1-27_5-10.tif` (domain, year, kind; region; row and
column), ten such folders a domain, and `GLOBAL_ALL_MTD/*.gpkg` with dates and splits; or CSVs that name the files.
Garioud et al. 2025, "FLAIR-HUB: Large-scale Multimodal Dataset for Land Cover and Crop Mapping", arXiv 2506.07080,
sections III and IV.

Names of ROIs are unique within a domain only; a domain (`D006`, whatever the year) is the group of its places.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from landweave.config import Config
from landweave.data import flairhub_mtd as mtd
from landweave.data import official
from landweave.data.dataset import DataConfig, Dataset, Place, Split
from landweave.data.flairhub_csv import WORDS, read_csvs
from landweave.data.flairhub_dataset import FlairHubDataset, tasks_of
from landweave.data.flairhub_index import METADATA, PARTS, Part, Patch, Patches, list_folders
from landweave.errors import ConfigError, LandweaveWarning, MissingDataError

LabelName = Literal["cosia", "lpis-1", "lpis-2", "lpis-3"]


class Clouds(Config):
    """Which dates of Sentinel-2 are left out: those of which more than `cover` is above `probability` per cent.

    Snow counts as cloud does. Where no date passes, snow alone is judged, and where none passes that, the clearest
    date is kept and a warning says so.
    """

    cover: float = Field(0.05, ge=0, lt=1, description="share of a place's pixels that may be covered")
    probability: float = Field(1, ge=0, le=100, description="per cent of snow or cloud up to which a pixel is clear")


class FlairHub(DataConfig):
    """Streams `aerial` (R, G, B, N), `aerial-pan` (images of the 1950s), `dsm-dtm`, `spot`, and three series.

    `dsm-dtm` has a third band, HEIGHT = DSM - DTM: `dsm-dtm:DSM+HEIGHT` is the official input, `dsm-dtm:HEIGHT` one
    that does not tell the altitude, by which a place can be known. Series: `s2-l2a` (ten bands) and, as linear power,
    `s1-grd-sigma0-asc-linear` and `s1-grd-sigma0-desc-linear`; a pixel that is 0 in all bands of a date was not seen.
    Tasks `cosia`, `lpis-1`, `lpis-2`, `lpis-3`, all maps. A place need not have every sensor or label.

    `path` is the folder of the domains, or a CSV of the official form: one whose name says TRAIN, VALID or TEST stands
    for all three. Its paths are looked for under `root`, beside it, and under the working directory.
    """

    kind: Literal["flair-hub"] = "flair-hub"
    root: str = Field("", description="folder of the domains, where a CSV's paths do not lead there")
    metadata: str = Field("", description=f"the folder {METADATA}, if it does not lie beside the domains")
    legend: Literal["cosia-19", "cosia-15", "cosia-12"] = Field(
        "cosia-15", description="classes of land cover; 15 ignores the weak ones, 12 also greenhouse, pool and snow"
    )
    labels: tuple[LabelName, ...] = Field(
        ("cosia", "lpis-1", "lpis-2", "lpis-3"), min_length=1, description="label maps that are read"
    )
    splits: Literal["auto", "flairhub", "1", "2", "3", "4", "5", "challenge", "csv"] = Field(
        "auto", description="official split, fold, FLAIR challenge, or what the CSVs say; auto: csv if there are any"
    )
    challenge_test: Literal["both", "1", "2"] = Field(
        "both",
        description="1 or 2: of the test places only those of FLAIR #1 or #2 (Table XIII), whatever the splits",
    )
    clouds: Clouds | None = Field(Clouds(), description="filter of Sentinel-2 dates by snow and cloud; null: none")
    average: Literal["none", "monthly", "semi-monthly"] = Field("none", description="means of the series by period")
    empty_periods: Literal["unseen", "previous"] = Field(
        "unseen", description="previous: as the official code, a period without a date repeats the one before, date too"
    )
    context: int = Field(
        1, ge=1, le=9, description="side of the series' window in sides of the place, from the places around it"
    )

    @field_validator("splits", "challenge_test", mode="before")
    @classmethod
    def _word(cls, given: Any) -> Any:
        """YAML reads `splits=1` as a number."""
        return str(given) if isinstance(given, int) and not isinstance(given, bool) else given

    def open(self) -> Dataset:
        """List the folders or read the CSVs, and the metadata; no image is opened, but the header of one label."""
        path = Path(self.path)
        listed = path.is_file() or self.splits == "csv"
        patches = read_csvs(path, root=self.root) if listed else list_folders(official.folder(self.path, "FLAIR-HUB"))
        folder = mtd.folder(self.metadata, patches.bases, path.parent if path.is_file() else path)
        wanted = self._wanted(patches)
        return FlairHubDataset(
            str(path),
            patches,
            places=self._places(patches, folder, list(wanted)),
            wanted=wanted,
            dates={part: found for part in wanted if (found := self._dates(patches, folder, part))},
            tasks=tasks_of(patches, self.legend, self.labels),
            config=self,
        )

    def _wanted(self, patches: Patches) -> dict[str, Part]:
        """The kinds of images that are read: of the chosen sensors, or all that are there."""
        chosen = {c.sensor for c in self.choices}
        return {p: spec for p, spec in PARTS.items() if p in patches.at and (not chosen or spec.stream in chosen)}

    def _dates(self, patches: Patches, folder: Path | None, part: str) -> mtd.Dates | None:
        """Dates of a sensor; a single image may do without, a series not."""
        file = folder / mtd.dates_file(part) if folder else None
        if file is not None and file.is_file():
            return mtd.read_dates(file, patches.names, patches.has(part), series=PARTS[part].series)
        if not PARTS[part].series:
            return None
        raise MissingDataError(
            f"no {mtd.dates_file(part)}, which tells the dates of {PARTS[part].stream}",
            where=folder or self.path,
            fix=f"put the archive's {METADATA} there, set data.metadata to it, or choose other sensors (data.streams)",
        )

    def _places(self, patches: Patches, folder: Path | None, wanted: Sequence[str]) -> list[Place]:
        """Places with their splits; one that has none of the chosen sensors is in no split, and a warning counts."""
        splits = self._splits(patches, folder)
        empty = ~np.any([patches.has(part) for part in wanted], axis=0) if wanted else np.ones(len(splits), bool)
        without = sum(bool(s) and e for s, e in zip(splits, empty.tolist(), strict=True))
        if wanted and without:
            warnings.warn(
                f"{self.path}: {without} places have none of the chosen sensors: not used",
                LandweaveWarning,
                stacklevel=2,
            )
        geometry = folder / mtd.GEOM_FILE if folder else None
        there = geometry is not None and geometry.is_file()
        centres = mtd.read_centres(geometry, patches.names) if geometry and there else [None] * len(splits)
        rows = zip(patches.names, splits, centres, empty.tolist(), strict=True)
        return [Place(n, "" if e else s, Patch.parse(n).domain, *(at or (None, None))) for n, s, at, e in rows]

    def _splits(self, patches: Patches, folder: Path | None) -> list[Split]:
        told = bool(patches.splits) and any(patches.splits)
        if self.splits == "csv" and not told:
            raise ConfigError(
                "the CSV tells no split: neither its name (TRAIN, VALID, TEST) nor a column `split`",
                where=self.path,
                fix="set data.splits=flairhub, which reads the archive's metadata",
            )
        name = {"auto": "flairhub", "challenge": "flairchallenge"}.get(self.splits, self.splits)
        by_csv = self.splits == "csv" or (self.splits == "auto" and told)
        words = list(patches.splits) if by_csv else self._official(patches, folder, name)
        splits = [_split(word) for word in words]
        if self.challenge_test == "both":
            return splits
        tests = self._official(patches, folder, "flairchallenge")
        wanted = f"test-{self.challenge_test}"
        return ["" if s == "test" and word != wanted else s for s, word in zip(splits, tests, strict=True)]

    def _official(self, patches: Patches, folder: Path | None, name: str) -> list[str]:
        """A column of the archive's splits."""
        if folder is None or not (folder / mtd.SPLIT_FILE).is_file():
            raise MissingDataError(
                f"no {METADATA}/{mtd.SPLIT_FILE}, which tells the splits",
                where=folder or self.path,
                fix=f"put the archive's {METADATA} there, or give its CSVs: data.path=FILE.csv data.root={self.path}",
            )
        return mtd.read_splits(folder / mtd.SPLIT_FILE, f"split_{name}", patches.names)


def _split(word: str) -> Split:
    """Our name of a split; the challenges have two test sets."""
    return "test" if word.startswith("test-") else WORDS[word.lower()]


__all__ = ["Clouds", "FlairHub", "FlairHubDataset"]
