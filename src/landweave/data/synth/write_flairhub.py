"""FLAIR-HUB's layout: ten folders a domain, `GLOBAL_ALL_MTD/*.gpkg` and lists of files, of the frozen world.

Folders, names, dtypes, shapes, pixel sizes and columns are those of the published archive (Garioud et al. 2025, tables
and text of section III); the histograms and statistics that it adds as further metadata are left out, because no
reader needs them. Files are written as GDAL does by default, label rasters with LZW.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from landweave.data import raster
from landweave.data.synth import Null
from landweave.data.synth.flair_places import CRS, SIDE, Patch, Sensor, flair_patch
from landweave.data.synth.flair_views import COARSE, OLD_PIXELS, PIXELS, SPOT_PIXELS, Lands, Look
from landweave.data.synth.layout import Progress, write_text

SENSORS: tuple[Sensor, ...] = get_args(Sensor)
COLUMNS = ("AERIAL-RLT_PAN", "AERIAL_LABEL-COSIA", "AERIAL_RGBI", "ALL_LABEL-LPIS", "DEM_ELEV", "SENTINEL1-ASC_TS",
           "SENTINEL1-DESC_TS", "SENTINEL2_MSK-SC", "SENTINEL2_TS", "SPOT_RGBI")  # fmt: skip
"""Of the lists, in the order of the published toy dataset."""
METADATA = "GLOBAL_ALL_MTD"
SERIES = ("SENTINEL2", "SENTINEL1-ASC", "SENTINEL1-DESC")
LEARNED_YEARS, TESTED_YEARS = (2018, 2019), (2021,)
"""Of `csv/FLAIR-HUB_YEARS_*.csv`, our own lists: learn in some years, be tested in a later spring."""


@dataclass(frozen=True)
class _Form:
    pixels: int
    values: Callable[[Look], Any]


_FORMS: dict[Sensor, _Form] = {
    "AERIAL_RGBI": _Form(PIXELS, lambda look: look.aerial()),
    "AERIAL-RLT_PAN": _Form(OLD_PIXELS, lambda look: look.pan()),
    "DEM_ELEV": _Form(PIXELS, lambda look: look.elevation()),
    "SPOT_RGBI": _Form(SPOT_PIXELS, lambda look: look.spot()),
    "SENTINEL2_TS": _Form(COARSE, lambda look: look.optical[0]),
    "SENTINEL2_MSK-SC": _Form(COARSE, lambda look: look.optical[1]),
    "SENTINEL1-ASC_TS": _Form(COARSE, lambda look: look.radar("SENTINEL1-ASC")),
    "SENTINEL1-DESC_TS": _Form(COARSE, lambda look: look.radar("SENTINEL1-DESC")),
    "AERIAL_LABEL-COSIA": _Form(PIXELS, lambda look: look.cosia()),
    "ALL_LABEL-LPIS": _Form(PIXELS, lambda look: look.lpis()),
}


def write_flairhub(out: Path, seed: int, *, places: int, null: Null | None = None, progress: Progress = None) -> None:
    """Write the folders of rasters, then metadata and lists."""
    lands = Lands(seed, null)
    patches = [flair_patch(seed, i) for i in range(places)]
    for i, patch in enumerate(patches, 1):
        write_patch(out, Look(lands, patch))
        if progress:
            progress(i, places)
    for name, rows in metadata(patches).items():
        write_gpkg(out / METADATA / f"{name}.gpkg", patches, rows)
    _write_lists(out / "csv", patches)


def write_patch(out: Path, look: Look) -> None:
    """The rasters of one place, of the sensors that saw it."""
    for sensor in SENSORS:
        if look.patch.has(sensor):
            form = _FORMS[sensor]
            path, grid = out / look.patch.file(sensor), look.patch.grid(form.pixels)
            raster.write(path, form.values(look), grid, compress="lzw" if "LABEL" in sensor else "none")


# ---- metadata


def metadata(patches: Sequence[Patch]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each GeoPackage by its name; a place that a sensor lacks has no row of dates."""
    found: dict[str, list[dict[str, Any]]] = {"GLOBAL_ALL_MTD_SPLIT": [], "GLOBAL_ALL_MTD_GEOM": []}
    found["GLOBAL_ALL_MTD_MODALITIES"] = []
    for series in SERIES:
        found[f"GLOBAL_{series}_MTD_DATES"] = []
    for sensor in ("AERIAL", "AERIAL-RLT", "SPOT"):
        found[f"GLOBAL_{sensor}_MTD_DATES"] = []
    for patch in patches:
        row = {"patch_id": patch.patch_id}
        found["GLOBAL_ALL_MTD_SPLIT"].append(row | _splits(patch))
        found["GLOBAL_ALL_MTD_GEOM"].append(row | _geometry(patch))
        found["GLOBAL_ALL_MTD_MODALITIES"].append(row | _files(patch, ""))
        for name, dates in _dates(patch).items():
            found[f"GLOBAL_{name}_MTD_DATES"].append(row | dates)
    return found


def _splits(patch: Patch) -> dict[str, str]:
    folds = {f"split_{k}": patch.split(k) for k in range(1, 6)}
    return {"split_flairhub": folds["split_1"], **folds, "split_flairchallenge": patch.challenge}


def _geometry(patch: Patch) -> dict[str, Any]:
    left, bottom, right, top = patch.grid(PIXELS).bounds
    x0, y0, x1, y1 = (round(v, 1) for v in patch.roi.bounds)
    across, down = round((x1 - x0) / SIDE), round((y1 - y0) / SIDE)
    return {
        "patch_xmin": round(left, 1), "patch_ymin": round(bottom, 1),
        "patch_xmax": round(right, 1), "patch_ymax": round(top, 1),
        "ROI_id": patch.roi.name, "ROI_xmin": x0, "ROI_ymin": y0, "ROI_xmax": x1, "ROI_ymax": y1,
        "patch_row": patch.row, "patch_col": patch.column,
        "ROI_nbpitch": across * down, "ROI_nbpitchx": across, "ROI_nbpitchy": down,
    }  # fmt: skip


def _files(patch: Patch, before: str) -> dict[str, str | None]:
    found: dict[str, Sensor] = {s: s for s in SENSORS}
    return {c: before + patch.file(found[c]) if patch.has(found[c]) else None for c in COLUMNS}


def _dates(patch: Patch) -> dict[str, dict[str, str]]:
    out = {}
    for series in SERIES:
        days = [f"{d:%Y%m%d}" for d in patch.dates(series)]
        out[series] = {"acquisition_dates": json.dumps({str(k): day for k, day in enumerate(days, 1)})}
    out["AERIAL"] = {"date": f"{patch.roi.taken('aerial'):%Y%m%d}"}
    out["AERIAL-RLT"] = {"date": f"{patch.roi.taken_long_ago():%Y%m%d}"}
    out["SPOT"] = {"date": f"{patch.roi.taken('spot'):%Y%m%d}"}
    lacking: dict[Sensor, str] = {"AERIAL-RLT_PAN": "AERIAL-RLT", "SPOT_RGBI": "SPOT",
                                  "SENTINEL1-DESC_TS": "SENTINEL1-DESC"}  # fmt: skip
    for sensor, name in lacking.items():
        if not patch.has(sensor):
            del out[name]
    return out


def write_gpkg(path: Path, patches: Sequence[Patch], rows: Sequence[Mapping[str, Any]]) -> None:
    """One layer of patch polygons, whole or not at all."""
    import geopandas
    from shapely.geometry import box

    grounds = {p.patch_id: box(*(round(v, 1) for v in p.grid(PIXELS).bounds)) for p in patches}
    if not rows:
        return  # a sensor that no place has has no dates
    table = geopandas.GeoDataFrame(list(rows), geometry=[grounds[r["patch_id"]] for r in rows], crs=CRS)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    table.to_file(part, driver="GPKG", layer=path.stem, engine="pyogrio")
    os.replace(part, path)


# ---- lists


def _write_lists(folder: Path, patches: Sequence[Patch]) -> None:
    """The toy dataset's three lists of files, by the official split; and the same by years."""
    for word, split in (("TRAIN", "train"), ("VALID", "valid"), ("TEST", "test")):
        _write_list(folder / f"FLAIR-HUB_TOY-DATASET_{word}.csv", [p for p in patches if p.split(1) == split])
        _write_list(folder / f"FLAIR-HUB_YEARS_{word}.csv", [p for p in patches if by_year(p) == split])


def by_year(patch: Patch) -> str:
    """Which list of years a place is in: earlier years train and validate (by ROI), a later one tests."""
    if patch.roi.domain.year in TESTED_YEARS:
        return "test"
    if patch.roi.domain.year not in LEARNED_YEARS:
        return ""
    return "valid" if (patch.roi.turn + patch.roi.number) % 4 == 3 else "train"


def _write_list(path: Path, patches: Sequence[Patch]) -> None:
    if not patches:
        return  # a list of nothing would be refused
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(("patch_id", *COLUMNS))
    for patch in patches:
        files = _files(patch, "../")
        out.writerow((patch.patch_id, *(files[c] or "" for c in COLUMNS)))
    write_text(path, text.getvalue())
