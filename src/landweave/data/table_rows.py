"""A table of places as columns: read from Parquet, CSV or GeoPackage, its column names checked, and written.

Nothing here opens an image. The meaning of the columns stands in `table.py`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.data.flairhub_index import FOLDERS
from landweave.errors import ConfigError, DataError, MissingDataError, did_you_mean, listed
from landweave.legends import LEGENDS, Legend
from landweave.sensors import SENSORS, sensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from landweave.sample import LabelKind

LABEL = "label:"
WINDOW = ("left", "bottom", "right", "top")
PLAIN = ("name", "split", "group", "lon", "lat", *WINDOW, "crs")
PARTS = ("bands", "dates", "offset", "scale")
METADATA = b"landweave"
_GEOMETRY = ("geometry", "geom", "wkb_geometry")


@dataclass(frozen=True)
class Rows:
    """The columns of a table, in file order, with the legends and kinds of label that the file itself carries."""

    path: Path
    columns: dict[str, list[Any]]
    legends: dict[str, Legend] = field(default_factory=dict)
    kinds: dict[str, LabelKind] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    @property
    def streams(self) -> tuple[str, ...]:
        """The columns that hold images."""
        return tuple(c for c in self.columns if is_stream(c))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the labels."""
        return tuple(c.removeprefix(LABEL) for c in self.columns if c.startswith(LABEL))

    def text(self, column: str, row: int) -> str:
        """A cell as text; empty where the cell or the column is."""
        return text(self.columns[column][row]) if column in self.columns else ""

    def cells(self, column: str, row: int) -> tuple[str, ...]:
        """A cell as a list: a list of the file, or text split at `;`."""
        return cells(self.columns[column][row]) if column in self.columns else ()

    def numbers(self, column: str, row: int) -> tuple[float, ...]:
        """A cell as numbers.

        Raises:
            DataError: naming table, row and column.
        """
        try:
            return tuple(float(c) for c in self.cells(column, row))
        except ValueError:
            found = self.text(column, row)
            raise DataError(f"`{found}` in column {column} is not a number", where=self.at(row)) from None

    def floats(self, column: str) -> NDArray[np.float64]:
        """A whole column of single numbers, NaN where empty or absent; fast where the file holds numbers."""
        import numpy as np

        values = self.columns.get(column, [None] * len(self))
        if not any(isinstance(v, str | list) for v in values):
            return np.array(values, np.float64)
        return np.array([(*self.numbers(column, i), np.nan)[0] for i in range(len(self))])

    def at(self, row: int) -> str:
        """Where a row is, for messages."""
        return f"{self.path} (place {self.text('name', row) or row + 1})"


def is_stream(column: str) -> bool:
    """Whether a column is named as a stream: `s2-l2a`, `aerial@0.2`."""
    return column.partition("@")[0] in SENSORS and column.rpartition(".")[2] not in PARTS


def text(value: Any) -> str:
    """A cell as text: None and NaN are empty, a whole float loses its point."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, list):
        return ";".join(text(v) for v in value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def cells(value: Any) -> tuple[str, ...]:
    """A cell as a list of texts, without empty ones."""
    parts = value if isinstance(value, list | tuple) else text(value).split(";")
    return tuple(t for t in (text(p) for p in parts) if t)


def read_rows(path: str | os.PathLike[str]) -> Rows:
    """Read a table and refuse columns that are misspelt.

    Raises:
        MissingDataError: no such file.
        DataError: not a table, no `name`, no image column, a column that is nearly a known one.
    """
    file = Path(path)
    if not file.is_file():
        what = "a folder, not a table" if file.is_dir() else "no such table"
        raise MissingDataError(what, where=file, fix="set data.path to a .parquet, .csv or .gpkg file")
    readers = {".parquet": _parquet, ".pq": _parquet, ".csv": _csv, ".tsv": _csv, ".gpkg": _gpkg}
    if file.suffix.lower() not in readers:
        raise DataError(f"`{file.suffix}` is not a table", where=file, fix=f"give one of {listed(list(readers))}")
    rows = readers[file.suffix.lower()](file)
    _check_columns(rows)
    if not len(rows):
        raise DataError("the table has no rows", where=file)
    return rows


def _parquet(file: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"not a Parquet file: {str(error).splitlines()[0][:100]}", where=file) from None
    columns = {name: table.column(name).to_pylist() for name in table.column_names if name not in _GEOMETRY}
    raw = (table.schema.metadata or {}).get(METADATA)
    meta = json.loads(raw) if raw else {}
    legends = {t: Legend.from_json(d, where=f"{file}, legend of {t}") for t, d in meta.get("legends", {}).items()}
    return Rows(file, columns, legends, meta.get("kinds", {}))


def _csv(file: Path) -> Rows:
    import csv

    with file.open(newline="", encoding="utf-8-sig") as stream:
        try:
            lines = list(csv.reader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ","))
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"not a CSV file: {error}", where=file) from None
    if not lines:
        raise DataError("the file is empty", where=file)
    head = [h.strip() for h in lines[0]]
    if len(head) == 1 and ";" in head[0]:
        raise DataError(
            "columns are separated by `;`, which separates the paths within a cell",
            where=file,
            fix="save the table with commas, or as Parquet",
        )
    if twice := sorted({h for h in head if head.count(h) > 1}):
        raise DataError(f"column `{twice[0]}` stands twice", where=file)
    body = [(n, line) for n, line in enumerate(lines[1:], 2) if any(line)]
    for number, line in body:
        if len(line) != len(head):
            raise DataError(
                f"{len(line)} cells under {len(head)} columns",
                where=f"{file}:{number}",
                fix='put cells that hold a comma into "quotes"',
            )
    return Rows(file, {h: [line[i] for _, line in body] for i, h in enumerate(head)})


def _gpkg(file: Path) -> Rows:
    import pyogrio

    try:
        layers = [name for name, _ in pyogrio.list_layers(file) if name != "layer_styles"]  # QGIS adds that one
        if len(layers) > 1 and file.stem not in layers:
            raise DataError(f"several layers: {listed(layers)}", where=file, fix=f"name the one to use {file.stem}")
        layer = file.stem if file.stem in layers else layers[0]
        meta, table = pyogrio.raw.read_arrow(file, layer=layer)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, IndexError) as error:
        raise DataError(f"not a GeoPackage: {str(error)[:100]}", where=file) from None
    geometry = meta.get("geometry_name") or "wkb_geometry"
    skip = {geometry, *_GEOMETRY, "fid"}
    columns = {n: table.column(n).to_pylist() for n in table.column_names if n not in skip}
    if geometry in table.column_names and meta.get("crs") and "lon" not in columns:
        columns |= _centroids(table.column(geometry).to_pylist(), meta["crs"])
    return Rows(file, columns)


def _centroids(geometries: list[bytes | None], crs: str) -> dict[str, list[Any]]:
    import shapely

    from landweave.data.raster import transform_points

    points = shapely.centroid(shapely.from_wkb(geometries))
    at = [i for i, p in enumerate(points) if p is not None and not p.is_empty]
    lons: list[Any] = [None] * len(points)
    lats: list[Any] = [None] * len(points)
    found = transform_points([points[i].x for i in at], [points[i].y for i in at], crs)
    for i, lon, lat in zip(at, *found, strict=True):
        lons[i], lats[i] = lon, lat
    return {"lon": lons, "lat": lats}


def _check_columns(rows: Rows) -> None:
    """Refuse what is nearly a known column; other columns are the user's own and are left alone."""
    file, names = rows.path, rows.columns
    known = [*PLAIN, *SENSORS, *(LABEL + t for t in rows.tasks)]
    if "patch_id" in names and set(FOLDERS) & set(names):
        raise DataError("a CSV of FLAIR-HUB", where=file, fix=f"give data.kind=flair-hub data.path={file}")
    for column in names:
        stream, dot, part = column.rpartition(".")
        if column in PLAIN or is_stream(column) or (column.startswith(LABEL) and len(column) > len(LABEL)):
            continue
        if dot and stream in names and is_stream(stream) and part in PARTS:
            continue
        if dot and is_stream(stream) and stream not in names:
            raise DataError(f"column `{column}` without a column `{stream}`", where=file)
        if dot and is_stream(stream):
            hint = did_you_mean(part, PARTS)
            raise DataError(f"unknown column `{column}`{hint}", where=file, fix=f"use one of {listed(PARTS)}")
        if re.match(r"la(be|bl)l?e?ls?([^a-z].*)?$", column.casefold()) or column.casefold().startswith("label"):
            raise DataError(
                f"column `{column}` is not a label column",
                where=file,
                fix="name it `label:<task>`, for example `label:lulc`",
            )
        if "@" in column:
            sensor(column)  # raises, with the nearest name
        near = difflib.get_close_matches(column.casefold(), known, n=1, cutoff=0.8)
        near = near or [k for k in SENSORS if column and k.startswith(f"{column.casefold()}-")]
        if near:
            raise DataError(
                f"unknown column `{column}`, did you mean `{near[0]}`?",
                where=file,
                fix="rename it (a column of your own needs a name less like that)",
            )
    if "name" not in names:
        raise DataError("no column `name`", where=file, fix="give each place a unique name")
    if not rows.streams:
        raise DataError(
            f"no image column among {listed(list(names))}",
            where=file,
            fix=f"name a column after its sensor: {listed(list(SENSORS), 20)}",
        )
    if 0 < len(there := [w for w in (*WINDOW, "crs") if w in names]) < 5:
        raise DataError(f"a window needs left, bottom, right, top and crs; there is only {listed(there)}", where=file)


def load_legends(path: str | os.PathLike[str], tasks: Sequence[str]) -> dict[str, Legend]:
    """Legends of tasks: a name of `landweave.legends`, or a YAML file with one legend, or with one a task.

    Raises:
        ConfigError: no such file, not a legend, or a task without one.
    """
    from landweave.config import read_yaml

    if str(path) in LEGENDS:
        return dict.fromkeys(tasks, LEGENDS[str(path)])
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"no such legend file{did_you_mean(str(path), list(LEGENDS))}",
            where=file,
            fix=f"give a YAML file, or one of {listed(list(LEGENDS))}",
        )
    raw, _ = read_yaml(file)
    if "classes" in raw:
        return dict.fromkeys(tasks, Legend.from_json({"name": file.stem, **raw}, where=str(file)))
    for task in tasks:
        if not isinstance(raw.get(task), Mapping):
            raise ConfigError(
                f"no legend of task `{task}`{did_you_mean(task, list(raw))}",
                where=file,
                fix=f"write `classes:` at the top, or under `{task}:`",
            )
    return {t: Legend.from_json({"name": t, **raw[t]}, where=f"{file}, {t}") for t in tasks}


def write_table(
    path: str | os.PathLike[str],
    rows: Iterable[Mapping[str, Any]],
    legends: Mapping[str, Legend],
    kinds: Mapping[str, LabelKind],
) -> Path:
    """Write places as Parquet, one mapping a row, legends and kinds of label in the metadata; whole or not at all.

    Columns are those of all rows, in order of appearance; a row without one is empty there.
    """
    import pyarrow
    import pyarrow.parquet as pq

    target, body = Path(path), list(rows)
    names = list(dict.fromkeys(key for row in body for key in row))
    meta = {"legends": {t: legend.to_json() for t, legend in legends.items()}, "kinds": dict(kinds)}
    table = pyarrow.table({name: [row.get(name) for row in body] for name in names})
    table = table.replace_schema_metadata({METADATA: json.dumps(meta)})
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    pq.write_table(table, part, compression="zstd")
    os.replace(part, target)
    return target
