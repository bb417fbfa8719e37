"""A user's own data: a table with one row a place, in Parquet, CSV or GeoPackage. Paths are relative to its folder.

| column | holds |
|---|---|
| `name` | unique |
| `split`, `group` | train, validation, test or empty; what must stay on one side of a split |
| `<stream>` (`s2-l2a`, `s1-rtc-gamma0@10`) | a path; several joined by `;`: dates, or a file a band; or such a folder |
| `<stream>.bands` | band names in the file's order, joined by commas |
| `<stream>.dates` | ISO dates joined by `;`, one a path |
| `<stream>.offset`, `<stream>.scale` | number added to raw values (-1000), multiplier; one, or one a date |
| `label:<task>` | a class name; several joined by `;` (`;` alone: none of them); or the path of a label raster |
| `left`, `bottom`, `right`, `top`, `crs` | the part of the rasters that the place is, in CRS units |
| `lon`, `lat` | of its middle, in degrees |

An empty image cell is a sensor that is missing there; an empty label cell is a label that nobody knows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from landweave.data import table_images as images
from landweave.data.dataset import DataConfig, Dataset, Place, Task
from landweave.data.table_index import places_of, tasks_of
from landweave.data.table_labels import (
    read_codes,
    read_label,
    require_label_ground,
    require_one_ground,
    unknown_label,
)
from landweave.data.table_rows import LABEL, WINDOW, Rows, read_rows, write_table
from landweave.errors import ConfigError, DataError, listed
from landweave.grid import Bounds, Grid
from landweave.sample import LabelKind, Sample, day_of
from landweave.sensors import sensor

if TYPE_CHECKING:
    from landweave.sample import Image, Label

__all__ = ["PlaceTable", "Table", "write_table"]


class Table(DataConfig):
    """A table of places. Label rasters need `legend`, unless the table carries it or `<stem>.legend.yaml` is there."""

    kind: Literal["table"] = "table"
    legend: str = Field("", description="YAML file of the classes, one legend or one a task; or a legend's name")
    kinds: dict[str, LabelKind] = Field({}, description="kind of a label where the cells do not show it")

    def open(self) -> PlaceTable:
        """Read the table; images are opened only to learn the pixel sizes of the first row that has a folder.

        Raises:
            MissingDataError: no such table.
            DataError: a column, a split, a name or a class that is wrong.
        """
        rows = read_rows(self.path)
        for key in self.offset:
            name = sensor(key).name
            if name not in {s.partition("@")[0] for s in rows.streams}:
                raise ConfigError(f"offset for `{key}`, but the table has {listed(rows.streams)}", where="data.offset")
        tasks = tasks_of(rows, self.legend, self.kinds)
        return PlaceTable(rows, tasks, dict(self.offset))


@dataclass
class PlaceTable(Dataset):
    """The places of a table."""

    rows: Rows
    tasks: Mapping[str, Task]
    offsets: Mapping[str, float]
    where: str = field(init=False)

    def __post_init__(self) -> None:
        self.where = str(self.rows.path)
        self.places = places_of(self.rows)
        self.streams = self._find_streams()
        for task, row in ((t, i) for t, kind in self.tasks.items() if kind.kind != "map" for i in range(len(self))):
            self._indices(row, task)  # a class outside the legend is found before hours of training

    def _find_streams(self) -> list[str]:
        found: list[str] = []
        for column in self.rows.streams:
            row = next((i for i, v in enumerate(self.rows.columns[column]) if self.rows.cells(column, i)), None)
            if row is None:
                raise DataError(f"column `{column}` is empty in every row", where=self.where, fix="take it out")
            source = self._source(row, column)
            many = len(source.paths) > 1 or source.paths[0].is_dir()
            files = images.by_date(source)[0] if many else {"": source.paths[0]}
            found += [column] if "" in files else list(images.band_streams(files, source))
        return found

    def _path(self, cell: str) -> Path:
        if ".." not in cell:
            return self.rows.path.parent / cell
        return Path(os.path.normpath(self.rows.path.resolve().parent / cell))  # readable in messages

    def bounds(self, index: int) -> tuple[Bounds | None, str]:
        """The window of a place and its CRS, or None where a place is its whole files.

        Raises:
            DataError: a window without one of its numbers.
        """
        rows = self.rows
        values = [v for w in WINDOW for v in rows.numbers(w, index)]
        if not values:
            return None, ""
        if len(values) != len(WINDOW):
            raise DataError("the window lacks left, bottom, right or top", where=rows.at(index))
        from landweave.data.raster import crs_name

        return (values[0], values[1], values[2], values[3]), crs_name(rows.text("crs", index))

    def facts(self, index: int) -> tuple[str, ...]:
        """Bands, dates, offsets and scales that the row tells."""
        ends = (".bands", ".dates", ".offset", ".scale")
        told = sorted(c for c in self.rows.columns if c.endswith(ends))
        return tuple(f"{c}={text}" for c in told if (text := self.rows.text(c, index)))

    def _source(self, index: int, column: str) -> images.Source:
        rows = self.rows
        bounds, crs = self.bounds(index)
        bands = tuple(b.strip() for b in rows.text(f"{column}.bands", index).replace(";", ",").split(",") if b.strip())
        try:
            days = tuple(day_of(d) for d in rows.cells(f"{column}.dates", index))
        except ValueError:
            found = rows.text(f"{column}.dates", index)
            raise DataError(
                f"`{found}` in {column}.dates is not a date",
                where=rows.at(index),
                fix="write 2020-06-04, several joined by `;`",
            ) from None
        return images.Source(
            column,
            tuple(self._path(c) for c in rows.cells(column, index)),
            rows.at(index),
            bands,
            days,
            rows.numbers(f"{column}.offset", index),
            rows.numbers(f"{column}.scale", index),
            bounds,
            crs,
        )

    def read(self, index: int) -> Sample:
        """Read one place: every stream it has, and the labels.

        Raises:
            DataError: naming the file.
            GridError: its rasters lie in different CRS, or on different ground.
        """
        place = self.places[index]
        found: dict[str, tuple[Image, Path]] = {}
        for column in self.rows.streams:
            if self.rows.cells(column, index):
                found |= images.read_images(self._source(index, column), self.offsets)
        if not found:
            raise DataError("no image in any column", where=self.rows.at(index), fix="take the row out")
        if new := [s for s in found if s not in self.streams]:
            raise DataError(
                f"{listed(new)} here, but the first place has {listed(self.streams)}",
                where=found[new[0]][1],
                fix="give all places the same pixel sizes",
            )
        require_one_ground({path: image.grid for image, path in found.values() if isinstance(image.grid, Grid)})
        image, finest = min(found.values(), key=lambda f: _pixel(f[0]))
        labels = {task: self._label(index, task, image.grid, finest) for task in self.tasks}
        return Sample({s: im for s, (im, _) in found.items()}, labels, place.name, place.group)

    def look(self, index: int) -> None:
        """See `Dataset.look`."""
        grids: dict[Path, Grid] = {}
        for column in self.rows.streams:
            if self.rows.cells(column, index):
                grids |= images.look(self._source(index, column), self.offsets)
        if grids:
            require_one_ground(grids)
        bounds, crs = self.bounds(index)
        for task, kind in self.tasks.items():
            cell = self.rows.text(LABEL + task, index)
            if kind.kind == "map" and cell:
                path = self._path(cell)
                codes, legend, _ = read_codes(path, kind.legend, bounds=bounds, crs=crs)
                legend.encode(codes, where=str(path))

    def _label(self, index: int, task: str, grid: Any, finest: Path) -> Label:
        from landweave.sample import Label

        kind, legend = self.tasks[task].kind, self.tasks[task].legend
        if kind == "map":
            return self._map(index, task, grid, finest)
        indices = self._indices(index, task)
        if kind == "class":
            return Label.of_class(indices[0] if indices else None, legend)
        return Label.of_classes(indices, legend)

    def _indices(self, index: int, task: str) -> tuple[int, ...] | None:
        """Classes of a place as the table gives them; None where the cell is empty."""
        column, kind, legend = LABEL + task, self.tasks[task].kind, self.tasks[task].legend
        value, names = self.rows.columns[column][index], self.rows.cells(column, index)
        if not names:
            none = isinstance(value, list) or self.rows.text(column, index) == ";"
            return () if none and kind == "multilabel" else None
        if kind == "class" and len(names) > 1:
            raise DataError(
                f"{len(names)} classes for a task with one: {listed(names)}",
                where=self.rows.at(index),
                fix=f"set data.kinds.{task}=multilabel",
            )
        try:
            return tuple(legend.index(n) for n in names)
        except DataError as error:
            raise DataError(error.what, where=f"{self.rows.at(index)}, {column}", fix=error.fix) from None

    def _map(self, index: int, task: str, grid: Any, finest: Path) -> Label:
        """The label raster of a place, or an unknown one of the size of the finest image."""
        legend, cell = self.tasks[task].legend, self.rows.text(LABEL + task, index)
        if not cell:
            return unknown_label(legend, grid)
        bounds, crs = self.bounds(index)
        label = read_label(self._path(cell), legend, bounds=bounds, crs=crs)
        if isinstance(label.grid, Grid):
            require_label_ground(label.grid, grid, self._path(cell), finest)
        return label

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """Classes of a place from the table; of a label raster, from its window alone."""
        if self.tasks[task].kind != "map":
            return self._indices(index, task)
        cell = self.rows.text(LABEL + task, index)
        if not cell:
            return None
        bounds, crs = self.bounds(index)
        label = read_label(self._path(cell), self.tasks[task].legend, bounds=bounds, crs=crs)
        found = sorted(set(label.values[label.known].tolist()))
        return tuple(found) or None

    def files(self, index: int) -> tuple[Path, ...]:
        """Every path that the row names; a folder of bands as the folder."""
        cells = [c for s in self.rows.streams for c in self.rows.cells(s, index)]
        maps = [self.rows.text(LABEL + t, index) for t, task in self.tasks.items() if task.kind == "map"]
        return tuple(self._path(c) for c in (*cells, *maps) if c)

    def file_of(self, index: int, stream: str) -> Path | None:
        """The first path of the column that a stream comes from."""
        column = stream if stream in self.rows.columns else stream.partition("@")[0]
        return next((self._path(c) for c in self.rows.cells(column, index)), None)

    def located(self) -> list[Place]:
        """The places with lon and lat also where neither the table nor a window gives them: one header read a place.

        Raises:
            DataError: a file that cannot be opened.
        """
        return [p if p.lon is not None else self._locate(i) for i, p in enumerate(self.places)]

    def _locate(self, index: int) -> Place:
        from landweave.data.raster import lonlat

        column = next(c for c in self.rows.streams if self.rows.cells(c, index))
        files = images.by_date(self._source(index, column))[0]
        at = lonlat(images.header(next(iter(files.values()))).grid)
        return replace(self.places[index], lon=at[0], lat=at[1]) if at else self.places[index]


def _pixel(image: Image) -> float:
    return image.grid.pixel[0] if isinstance(image.grid, Grid) else 1.0
