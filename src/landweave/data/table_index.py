"""The index of a table: places with splits, groups and middles, tasks with kinds and legends. No image is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landweave.data.dataset import SPLITS, Place, Task
from landweave.data.table_rows import LABEL, WINDOW, Rows, load_legends
from landweave.errors import ConfigError, DataError, did_you_mean
from landweave.legends import PALETTE, LandClass, Legend
from landweave.sample import LabelKind

_MEANT = {"val": "validation", "valid": "validation", "dev": "validation", "training": "train", "testing": "test"}
_RASTERS = (".tif", ".tiff", ".png", ".jp2", ".img", ".vrt")


def places_of(rows: Rows) -> list[Place]:
    """The index of a table.

    Raises:
        DataError: a name that is empty or stands twice, or a split that is none.
    """
    names = [rows.text("name", i) for i in range(len(rows))]
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if not name or name in seen:
            what = f"name `{name}` stands twice: rows {seen[name] + 1} and {i + 1}" if name else f"row {i + 1}: no name"
            raise DataError(what, where=rows.path, fix="give each place a unique name")
        seen[name] = i
    splits = [rows.text("split", i) for i in range(len(rows))]
    for i, split in enumerate(splits):
        if split and split not in SPLITS:
            hint = f", did you mean `{_MEANT[split]}`?" if split in _MEANT else did_you_mean(split, SPLITS)
            raise DataError(f"unknown split `{split}`{hint}", where=rows.at(i), fix=f"use {', '.join(SPLITS)}, or none")
    middle = _centres(rows)
    return [
        Place(names[i], splits[i], rows.text("group", i), *(middle[i] or (None, None)))  # type: ignore[arg-type]
        for i in range(len(rows))
    ]


def _centres(rows: Rows) -> list[tuple[float, float] | None]:
    """lon, lat of each place from its columns, else from its window: one transformation a CRS."""
    import numpy as np

    lon, lat = rows.floats("lon"), rows.floats("lat")
    left, bottom, right, top = (rows.floats(w) for w in WINDOW)
    x, y = (left + right) / 2, (bottom + top) / 2
    by_crs: dict[str, list[int]] = {}
    for i in np.flatnonzero((np.isnan(lon) | np.isnan(lat)) & ~np.isnan(x) & ~np.isnan(y)).tolist():
        if crs := rows.text("crs", i):
            by_crs.setdefault(crs, []).append(i)
    if by_crs:
        from landweave.data.raster import crs_name, transform_points

        for crs, at in by_crs.items():
            lon[at], lat[at] = transform_points(x[at].tolist(), y[at].tolist(), crs_name(crs))
    known = np.isfinite(lon) & np.isfinite(lat)
    return [(a, b) if ok else None for a, b, ok in zip(lon.tolist(), lat.tolist(), known, strict=True)]


def tasks_of(rows: Rows, legend: str, kinds: Mapping[str, LabelKind]) -> dict[str, Task]:
    """Kind and legend of each label: as set, else as the table carries them, else beside it, else as the cells show."""
    if wrong := [k for k in kinds if k not in rows.tasks]:
        raise ConfigError(f"no label `{wrong[0]}`{did_you_mean(wrong[0], rows.tasks)}", where="data.kinds")
    beside = rows.path.with_name(f"{rows.path.stem}.legend.yaml")
    legends = dict(rows.legends)
    if legend:
        legends |= load_legends(legend, rows.tasks)
    elif beside.is_file() and (lacking := [t for t in rows.tasks if t not in legends]):
        legends |= load_legends(beside, lacking)
    out = {}
    for task in rows.tasks:
        kind: LabelKind = kinds.get(task) or rows.kinds.get(task) or _kind(rows, LABEL + task)
        if kind == "map" and task not in legends:
            raise ConfigError(
                f"no legend for the label rasters of `{task}`",
                where=rows.path,
                fix=f"set data.legend=FILE.yaml, or write {beside.name} beside the table",
            )
        out[task] = Task(kind, legends.get(task) or _own_legend(rows, task))
    return out


def _kind(rows: Rows, column: str) -> LabelKind:
    """What the cells show: paths of rasters, several names in a cell, or one."""
    values: Sequence[Any] = rows.columns[column]
    texts = [rows.text(column, i) for i in range(len(rows))]
    if any(t.lower().endswith(_RASTERS) for t in texts):
        return "map"
    return "multilabel" if any(isinstance(v, list) or ";" in t for v, t in zip(values, texts, strict=True)) else "class"


def _own_legend(rows: Rows, task: str) -> Legend:
    """The class names that occur, sorted."""
    names = sorted({n for i in range(len(rows)) for n in rows.cells(LABEL + task, i)})
    return Legend(task, tuple(LandClass(i, n, PALETTE[i % len(PALETTE)]) for i, n in enumerate(names)))
