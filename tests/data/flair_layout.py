"""FLAIR-HUB's layout in small, on disk: ten folders a domain, GeoPackages, CSVs. Values tell patch, date and band."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from zlib import crc32

import numpy as np

from landweave.data import raster
from landweave.data.flairhub_index import FOLDERS, PARTS, Patch
from landweave.grid import Grid

SIDE = 102.4
SIZES = {  # the archive's are 512, 256, 512, 64, 10, 10, 10, 10, 512, 512
    "AERIAL_RGBI": 16, "AERIAL-RLT_PAN": 8, "DEM_ELEV": 16, "SPOT_RGBI": 4, "SENTINEL2_TS": 10, "SENTINEL1-ASC_TS": 10,
    "SENTINEL1-DESC_TS": 10, "SENTINEL2_MSK-SC": 10, "AERIAL_LABEL-COSIA": 16, "ALL_LABEL-LPIS": 16,
}  # fmt: skip
DATES = {"SENTINEL2_TS": 6, "SENTINEL1-ASC_TS": 3, "SENTINEL1-DESC_TS": 2}
NAMES = (
    "D006-2020_UU-S2-11_1-1", "D006-2020_UU-S2-11_1-2", "D006-2020_UU-S2-11_2-1", "D006-2020_UU-S2-11_2-2",
    "D012-2019_AF-S1-27_5-10", "D012-2019_UN-S1-3_1-1", "D017-2018_UN-S1-3_1-1", "D017-2021_NV-S1-V4_2-3",
    "D059062-2021_FF-S1-14_10-2",
)  # fmt: skip
SPLITS = ("train", "train", "train", "valid", "train", "valid", "test", "test", "test")


def corner(name: str) -> tuple[float, float]:
    """Left and top of a patch in EPSG:2154: rows run south, columns east, ROIs lie 10 km apart."""
    patch = Patch.parse(name)
    region = crc32(f"{patch.domain}-{patch.year}_{patch.roi}".encode()) % 40
    return 700_000 + 10_000 * region + (patch.col - 1) * SIDE, 6_600_000 - (patch.row - 1) * SIDE


def grid_of(name: str, size: int) -> Grid:
    left, top = corner(name)
    return Grid("EPSG:2154", (SIDE / size, 0.0, left, 0.0, -SIDE / size, top), (size, size))


def days(part: str, year: str) -> list[str]:
    """Every 20 days from 5 January."""
    return [f"{date(int(year), 1, 5) + timedelta(days=20 * t):%Y%m%d}" for t in range(DATES[part])]


def values(name: str, part: str) -> np.ndarray:
    """Layers H W of one file, made of the patch's number, the date and the band."""
    size, number = SIZES[part], NAMES.index(name) if name in NAMES else 50
    if part in DATES:
        T, C = DATES[part], len(PARTS[part].bands)
        base = 1000 * (np.arange(T)[:, None] + 1) + 10 * (np.arange(C)[None] + 1) + number
        scale = 1e5 if part.startswith("SENTINEL1") else 1
        stack = np.broadcast_to((base / scale).reshape(T * C, 1, 1), (T * C, size, size))
        return stack.astype(np.uint16 if part == "SENTINEL2_TS" else np.float32)
    if part == "SENTINEL2_MSK-SC":
        return np.zeros((2 * DATES["SENTINEL2_TS"], size, size), np.uint16)
    rows = np.arange(size * size).reshape(size, size)
    if part == "AERIAL_LABEL-COSIA":
        return (rows % 19).astype(np.uint8)[None]
    if part == "ALL_LABEL-LPIS":
        return np.stack([rows % n for n in (23, 31, 46)]).astype(np.uint8)
    if part == "DEM_ELEV":
        terrain = 300 + np.zeros((size, size)) + number
        return np.stack([terrain + rows % 7, terrain]).astype(np.float32)
    C = len(PARTS[part].bands)
    dtype = np.uint16 if part == "SPOT_RGBI" else np.uint8
    return (10 * (np.arange(C)[:, None, None] + 1) + number + 0 * rows[None]).astype(dtype)


@dataclass
class Layout:
    """A small archive under `root`. What is written can be changed before `write` is called, file by file after it."""

    root: Path
    names: Sequence[str] = NAMES
    splits: Sequence[str] = SPLITS
    dates: dict[str, dict[str, str]] = field(default_factory=dict)
    """By part and patch, in place of the usual dates: the JSON text."""

    def path(self, name: str, part: str) -> Path:
        return self.root / Patch.parse(name).tail(part)

    def put(self, name: str, part: str, layers: np.ndarray) -> Path:
        """Write, or overwrite, one file."""
        return raster.write(self.path(name, part), layers, grid_of(name, layers.shape[-1]))

    def write(self, parts: Sequence[str] = FOLDERS) -> Layout:
        for name in self.names:
            for part in parts:
                self.put(name, part, values(name, part))
        self.metadata()
        return self

    def metadata(self) -> None:
        """The GeoPackages of dates, splits and geometry."""
        mtd = self.root / "GLOBAL_ALL_MTD"
        for part in ("SENTINEL2_TS", "SENTINEL1-ASC_TS", "SENTINEL1-DESC_TS"):
            texts = [self.dates.get(part, {}).get(n, series_text(part, n)) for n in self.names]
            self.table(mtd / f"GLOBAL_{part.partition('_')[0]}_MTD_DATES.gpkg", {"acquisition_dates": texts})
        for part, day in (("AERIAL", "0713"), ("SPOT", "0604")):
            dates = [f"{Patch.parse(n).year}{day}" for n in self.names]
            self.table(mtd / f"GLOBAL_{part}_MTD_DATES.gpkg", {"date": dates, "camera": ["x"] * len(dates)})
        self.table(mtd / "GLOBAL_AERIAL-RLT_MTD_DATES.gpkg", {"date": ["19530621", *[""] * (len(self.names) - 1)]})
        folds = {
            f"split_{n}": [self.splits[(i + n - 1) % len(self.splits)] for i in range(len(self.names))]
            for n in range(1, 6)
        }
        challenge = ["train", "train", "none", "valid", "train", "none", "test-1", "test-2", "test-1"]
        columns: dict[str, list[str]] = {"split_flairhub": list(self.splits), **folds}
        columns["split_flairchallenge"] = challenge[: len(self.names)]
        self.table(mtd / "GLOBAL_ALL_MTD_SPLIT.gpkg", columns)
        corners = np.array([corner(n) for n in self.names])
        self.table(
            mtd / "GLOBAL_ALL_MTD_GEOM.gpkg",
            {
                "patch_xmin": corners[:, 0].tolist(),
                "patch_ymin": (corners[:, 1] - SIDE).tolist(),
                "patch_xmax": (corners[:, 0] + SIDE).tolist(),
                "patch_ymax": corners[:, 1].tolist(),
            },
        )

    def table(self, path: Path, columns: Mapping[str, Sequence[object]]) -> None:
        """Write one GeoPackage of patch polygons."""
        import geopandas
        import shapely

        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        boxes = [shapely.box(x, y - SIDE, x + SIDE, y) for x, y in map(corner, self.names)]
        frame = geopandas.GeoDataFrame({"patch_id": list(self.names), **columns}, geometry=boxes, crs="EPSG:2154")
        frame.to_file(path, driver="GPKG", engine="pyogrio")

    def csv(self, path: Path, names: Sequence[str], *, prefix: str, separator: str = ",") -> Path:
        """A CSV of the official form, with paths that begin with `prefix`."""
        columns = sorted(FOLDERS)
        lines = [separator.join(["patch_id", *columns])]
        for name in names:
            patch = Patch.parse(name)
            cells = [f"{prefix}{patch.tail(c)}" if self.path(name, c).exists() else "" for c in columns]
            lines.append(separator.join([name, *cells]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def series_text(part: str, name: str) -> str:
    """`{"1": "20200105", ...}`."""
    found = days(part, Patch.parse(name).year)
    return json.dumps({str(i): d for i, d in enumerate(found, 1)})
