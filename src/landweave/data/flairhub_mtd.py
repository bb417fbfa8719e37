"""FLAIR-HUB's metadata: GeoPackages of 241,000 rows, read once and kept as Parquet, as dates, splits and places.

A GeoPackage takes minutes to read whole. The columns that are needed are kept in `landweave-index` beside it, or in
the user's cache folder where the data cannot be written to; a change of the GeoPackage's size or time makes it anew.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.data.flairhub_csv import WORDS
from landweave.data.flairhub_index import METADATA
from landweave.errors import DataError, LandweaveWarning, MissingDataError, listed
from landweave.files import write_bytes
from landweave.sample import NO_DAY, day_of

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION = 1
"""Of what the Parquet files hold."""
SPLIT_FILE = "GLOBAL_ALL_MTD_SPLIT.gpkg"
GEOM_FILE = "GLOBAL_ALL_MTD_GEOM.gpkg"
CRS = "EPSG:2154"


def dates_file(part: str) -> str:
    """`GLOBAL_SENTINEL2_MTD_DATES.gpkg` of `SENTINEL2_TS`."""
    return f"GLOBAL_{part.partition('_')[0]}_MTD_DATES.gpkg"


def folder(given: str, bases: Sequence[str], beside: Path) -> Path | None:
    """The folder of the metadata: the given one, or that of the data, or one beside them; None if there is none.

    Raises:
        MissingDataError: the given one is not there.
    """
    if given:
        if Path(given).is_dir():
            return Path(given)
        raise MissingDataError("no such folder", where=given, fix=f"set data.metadata to the folder {METADATA}")
    places = [*(Path(b) for b in bases), beside, beside.parent]
    return next((p / METADATA for p in places if (p / METADATA).is_dir()), None)


# ---- GeoPackage to Parquet


def cached(file: Path, make: Callable[[Path], pa.Table]) -> pa.Table:
    """What `make` reads from a GeoPackage, from the Parquet file of an earlier time if the GeoPackage is the same."""
    import io

    import pyarrow.parquet as pq

    state = file.stat()
    stamp = f"{_VERSION} {state.st_size} {state.st_mtime_ns}".encode()
    near = file.parent / "landweave-index" / f"{file.stem}.parquet"
    far = _user_cache() / f"{file.stem}-{blake2b(str(file.resolve()).encode(), digest_size=8).hexdigest()}.parquet"
    for kept in (near, far):
        if (table := _kept(kept, stamp)) is not None:
            return table
    table = make(file)
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"made_from": stamp}), out, compression="zstd")
    for kept in (near, far):
        try:
            write_bytes(kept, out.getvalue())
            break
        except OSError:  # a read-only archive, then a read-only home: it works without
            continue
    return table


def _user_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "landweave" / "flair-hub"


def _kept(file: Path, stamp: bytes) -> pa.Table | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException):  # not there, or cut short: it is made again
        return None
    return table if (table.schema.metadata or {}).get(b"made_from") == stamp else None


def _columns(file: Path, wanted: Sequence[str], *, any_of: bool = False) -> pa.Table:
    """Columns of a GeoPackage, without geometry; `patch_id` always, the others all, or those that are there.

    Raises:
        DataError: not a GeoPackage, or a column lacks.
    """
    import pyogrio

    try:
        layers = [str(name) for name, _ in pyogrio.list_layers(file) if name != "layer_styles"]
        layer = file.stem if file.stem in layers else layers[0]
        have = [str(f) for f in pyogrio.read_info(file, layer=layer)["fields"]]
        take = [c for c in ("patch_id", *wanted) if c in have]
        lacking = [c for c in ("patch_id", *wanted) if c not in have]
        if "patch_id" in lacking or (lacking and not any_of) or len(take) < min(2, 1 + len(wanted)):
            raise DataError(
                f"no column {listed(lacking)}; there are {listed(have)}", where=file, fix=f"download {METADATA} again"
            )
        _, table = pyogrio.raw.read_arrow(file, layer=layer, columns=take, read_geometry=False)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, IndexError) as error:
        what = f"not a GeoPackage: {str(error)[:100]}"
        raise DataError(what, where=file, fix=f"download {METADATA} again") from None
    return table.select(take)


# ---- dates


@dataclass(frozen=True)
class Dates:
    """Acquisition days of one sensor: those of patch i are `days[starts[row[i]] : starts[row[i] + 1]]`."""

    file: str
    row: NDArray[np.int32]
    starts: NDArray[np.int64]
    days: NDArray[np.int32]

    def of(self, index: int) -> list[int]:
        """The days of a patch, in the order of its images."""
        row = int(self.row[index])
        if row < 0:
            return [NO_DAY]
        found: list[int] = self.days[self.starts[row] : self.starts[row + 1]].tolist()
        return found


def read_dates(file: Path, names: Sequence[str], needed: NDArray[np.bool_], *, series: bool) -> Dates:
    """The dates of a sensor, aligned to the patches.

    Args:
        file: `GLOBAL_<SENSOR>_MTD_DATES.gpkg`.
        names: patches.
        needed: which of them have an image.
        series: whether it holds a list of dates a patch, or one.

    Raises:
        DataError: not of that form, or without a patch that has an image.
    """
    table = cached(file, _read_series if series else _read_single)
    found = _rows_of(table, names, needed if series else needed & _told(table, names), file)
    lists = table["days"].combine_chunks()
    there = np.flatnonzero(needed & (found >= 0))
    without = lists.is_null().to_numpy(zero_copy_only=False)
    if (lacking := there[without[found[there]]]).size:
        raise DataError(
            f"{len(lacking)} of {int(needed.sum())} series have no dates; the first: {names[lacking[0]]}",
            where=file,
            fix=f"download {METADATA} again, or take the files of these patches out",
        )
    starts = lists.offsets.to_numpy().astype(np.int64)
    days = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    if not series and needed.any() and (days == NO_DAY).all():
        warnings.warn(f"{file}: no date can be read in it: its images have none", LandweaveWarning, stacklevel=2)
    return Dates(str(file), found, starts - starts[0], days)


def _rows_of(table: pa.Table, names: Sequence[str], needed: NDArray[np.bool_], file: Path) -> NDArray[np.int32]:
    """Row of each patch in the metadata; -1 where it stands not there and need not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(pa.array(names, pa.string()), table["patch_id"].cast(pa.string()))
    rows: NDArray[np.int32] = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    if (lacking := np.flatnonzero((rows < 0) & needed)).size:
        raise DataError(
            f"{len(lacking)} of {int(needed.sum())} patches are not in it; the first: {names[lacking[0]]}",
            where=file,
            fix=f"download {METADATA} again, or take the files of these patches out",
        )
    return rows


def _told(table: pa.Table, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which patches are of a domain and year that a table has."""
    there = {str(name).partition("_")[0] for name in table["patch_id"].to_pylist()}
    return np.array([name.partition("_")[0] in there for name in names], bool)


def _read_series(file: Path) -> pa.Table:
    """`acquisition_dates` is JSON: position, from "1", to `YYYYMMDD`. Patches of an ROI mostly share the text."""
    table = _columns(file, ["acquisition_dates"])
    return _with_days(table, "acquisition_dates", _series_days, file)


def _read_single(file: Path) -> pa.Table:
    """`date` is `YYYYMMDD`; one that cannot be read (some images of the 1950s) is unknown, as all are without it."""
    import pyarrow as pa

    try:
        table = _columns(file, ["date"])
    except DataError:
        table = _columns(file, [])
        table = table.append_column("date", pa.nulls(len(table), pa.string()))
    return _with_days(table, "date", lambda text, _: [_day(text)], file)


def _with_days(table: pa.Table, column: str, parse: Callable[[Any, str], list[int] | None], file: Path) -> pa.Table:
    import pyarrow as pa

    names = table["patch_id"].to_pylist()
    if len(set(names)) < len(names):
        raise DataError("a patch_id stands twice", where=file, fix=f"download {METADATA} again")
    coded = table[column].combine_chunks().dictionary_encode(null_encoding="encode")
    lists = [parse(text, f"{file}, {column}") for text in coded.dictionary.to_pylist()]
    days = pa.array(lists, pa.list_(pa.int32())).take(coded.indices)
    return pa.table({"patch_id": pa.array(names, pa.string()), "days": days})


def _series_days(text: Any, where: str) -> list[int] | None:
    """None where nothing is told: a fault of the patches that have a series, and of no other."""
    if text is None:
        return None
    try:
        found = json.loads(text)
        entries = [(int(k), v) for k, v in found.items() if str(k).isdigit()]
        days = [day_of(str(v)) for _, v in sorted(entries)]
        if NO_DAY in days:
            raise ValueError("an empty date")
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"`{str(text)[:60]}` is not a list of dates such as {{'1': '20190103', ...}} ({error})",
            where=where,
            fix=f"download {METADATA} again",
        ) from None
    return days


def _day(text: Any) -> int:
    try:
        return day_of(str(text) if text else None)
    except ValueError:
        return NO_DAY


# ---- splits and places


def read_splits(file: Path, column: str, names: Sequence[str]) -> list[str]:
    """The archive's word for each patch's split (`train`, `valid`, `test`, `none`, `test-1`, ...).

    Patches of a domain and year of which the file has none (images of the 1950s alone) have no split, and a warning
    counts them.

    Raises:
        DataError: no such column, or a patch stands not in it, of a domain and year that does.
    """
    table = cached(file, _read_splits)
    if column not in table.column_names:
        have = [c for c in table.column_names if c != "patch_id"]
        raise DataError(f"no column {column}; there are {listed(have)}", where=file, fix="choose another data.splits")
    needed = _told(table, names)
    rows = _rows_of(table, names, needed if needed.any() else ~needed, file)
    if count := int((rows < 0).sum()):
        first = names[int(np.argmax(rows < 0))]
        what = f"{count} patches are of domains and years without a split, and in none; the first: {first}"
        warnings.warn(f"{file.name}: {what}", LandweaveWarning, stacklevel=2)
    found: list[str] = table[column].take(np.maximum(rows, 0)).to_pylist()
    words = [word if row >= 0 else "" for word, row in zip(found, rows.tolist(), strict=True)]
    known = {*WORDS, "test-1", "test-2"}
    for word in set(words):
        if (word or "") not in known:
            raise DataError(f"split `{word}` in column {column}, not one of {listed(sorted(known - {''}))}", where=file)
    return [w or "" for w in words]


def _read_splits(file: Path) -> pa.Table:
    columns = ["split_flairhub", *(f"split_{n}" for n in range(1, 6)), "split_flairchallenge"]
    return _columns(file, columns, any_of=True)


def read_centres(file: Path, names: Sequence[str]) -> list[tuple[float, float] | None]:
    """Longitude and latitude of the patches that the file has; none where it has other columns than the paper says."""
    from landweave.data.raster import transform_points

    edges = ("patch_xmin", "patch_ymin", "patch_xmax", "patch_ymax")
    try:
        table = cached(file, lambda f: _columns(f, edges))
    except DataError:
        return [None] * len(names)
    rows = _rows_of(table, names, np.zeros(len(names), bool), file)
    left, bottom, right, top = (np.asarray(table[e], float) for e in edges)
    lon, lat = transform_points(((left + right) / 2).tolist(), ((bottom + top) / 2).tolist(), CRS)
    return [(lon[r], lat[r]) if r >= 0 else None for r in rows.tolist()]
