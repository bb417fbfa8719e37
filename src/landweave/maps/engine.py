"""From a trained run and rasters of any size to a classified map, in bounded memory.

The raster is worked off in vertical lanes, each lane in rows of overlapping windows. Of a lane only as many rows are
held as a window is high, and a lane is as wide as the memory allows, so that no array ever has the raster's size.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landweave.data.dataset import Averaged
from landweave.errors import ConfigError, LandweaveWarning
from landweave.files import digest, write_text
from landweave.grid import Grid
from landweave.legends import UNKNOWN
from landweave.maps import qml
from landweave.maps.cog import CACHE_MIB, Writer
from landweave.maps.job import Job, Predictor, Progress, mine_of
from landweave.maps.sources import Sources, looked_at, open_sources, read_by
from landweave.maps.strips import Layout, lay_out
from landweave.maps.windows import BLOCK, Axis, axis
from landweave.sample import EPOCH

if TYPE_CHECKING:
    from landweave.data.series import Period

__all__ = ["MEMORY", "MapResult", "Predictor", "map_scene"]

Path_ = str | os.PathLike[str]
MEMORY = 512 * 2**20
"""Bytes of working memory of the engine, beside the model's own."""
SCENE_ROWS = 16
"""Rows kept at a time of a map with a pixel a window: those of a whole tile of Sentinel-2 are no block."""


@dataclass(frozen=True)
class MapResult:
    """What was written, and what to tell the user. `shares` are of the pixels that have a class."""

    path: Path
    style: Path
    probabilities: Path | None
    grid: Grid
    shares: Mapping[str, float]
    unknown: float
    """Share of the pixels that no sensor saw: 255 in the map."""
    pixel: str
    """What a pixel of the map is: `10 m`, or the ground of a window and how much of it is new."""
    unseen: tuple[str, ...]
    notes: tuple[str, ...]
    windows: int
    seconds: float

    def lines(self) -> list[str]:
        """The result for a terminal."""
        height, width = self.grid.shape
        found = sorted(self.shares.items(), key=lambda row: -row[1])
        cover = ", ".join(f"{name} {share:.1%}" for name, share in found[:8])
        nothing = f"; {self.unknown:.1%} of the pixels are 255, as no sensor saw them" if self.unknown else ""
        more = [f"wrote {self.probabilities} (probabilities)"] if self.probabilities else []
        return [
            *(f"note: {n}" for n in self.notes),
            f"{height} x {width} pixels from {self.windows} windows in {self.seconds:.1f} s: "
            f"{cover or 'no class'}{nothing}",
            f"a pixel of the map is {self.pixel}",
            f"wrote {self.path} (with {self.style.name} for QGIS)",
            *more,
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "map": str(self.path),
            "style": str(self.style),
            "probabilities": str(self.probabilities) if self.probabilities else None,
            "crs": self.grid.crs,
            "transform": self.grid.transform,
            "shape": self.grid.shape,
            "pixel": self.pixel,
            "shares": dict(self.shares),
            "unknown": self.unknown,
            "unseen sensors": list(self.unseen),
            "notes": list(self.notes),
            "windows": self.windows,
            "seconds": round(self.seconds, 2),
        }


def map_scene(
    run: Predictor,
    images: Mapping[str, Path_],
    out: Path_,
    *,
    bands: Mapping[str, str] | None = None,
    offset: Mapping[str, float | str] | None = None,
    dates: Mapping[str, str] | None = None,
    average: Literal["none", "monthly", "semi-monthly"] | None = None,
    overlap: float = 0.5,
    batch_size: int = 8,
    stride: int | None = None,
    probabilities: bool = False,
    overwrite: bool = False,
    memory: int = MEMORY,
    progress: Progress = None,
) -> MapResult:
    """Classify rasters into one COG, uint8, nodata 255, on the grid of the finest of them, with a style beside it.

    Windows have the size of the training places and overlap; their probabilities are blended with weights that fall
    towards the edge. A classifier of scenes gives a coarser map: one pixel per window, with the dominant class.
    Pixel values are the legend's file values where all are below 255, else class indices; the tag `values` says which.

    Args:
        run: an open run.
        images: sensor -> raster, several joined by `;` (one file per band), or a folder. A sensor of the contract
            that is not given counts as failed, which `notes` and the tag `unseen sensors` say. Of a series a raster or
            folder a date, joined by `;` or in a folder, or one raster of all bands of all dates, date by date.
        out: the file to write; it appears only once it is complete.
        bands: sensor -> band names in file order, where files do not say.
        offset: sensor -> number to add to raw values, as in training; of a series also `-1000@2022-01-25`:
            to the dates from that day on.
        dates: sensor -> ISO dates of a series joined by `,`, or a text file of them; by default what names tell. The
            day of a sensor of one date, where the run reads it (`method.circumstances.dates`).
        average: give series as their means by month or half month; by default as the run's data were read.
        overlap: of neighbouring windows, as a share of their size, unless `stride` is given.
        batch_size: windows predicted at once; it does not change the map.
        stride: pixels of the finest raster between windows.
        probabilities: write a second COG, `<out>_prob.tif`: one uint8 band a class, scale 1/255, 0 in all bands where
            nothing is seen.
        overwrite: replace a file that stands at `out`; a map that was not finished leaves none there. What it had done
            is kept in a hidden folder beside, and the same call of the same run on the same files goes on from there.
        memory: bytes of working memory of the engine.
        progress: called with the windows done and their number.

    Raises:
        ConfigError, ContractError, DataError, GridError: as `sources.open_sources` and `strips.lay_out` say, or a
            SAR raster that is clearly in the other unit.
    """
    import rasterio

    began, path = time.monotonic(), Path(out)
    if path.is_dir() or path.suffix.lower() not in (".tif", ".tiff"):
        raise ConfigError("a map is one .tif file", where=path, fix="give --out map.tif")
    if batch_size < 1:
        raise ConfigError("at least 1", where="batch_size")
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MIB):
        sources = open_sources(
            run.contract,
            images,
            bands=bands or {},
            offset=offset or {},
            dates=dates or {},
            dated=_reads_days(run),
        )
        for part in (p for s in sources.sources for p in s.parts):
            if path.resolve() == Path(part.path).resolve():
                raise ConfigError("the map would overwrite its own input", where=path, fix="give another --out")
        if not overwrite:
            _refuse_old([path, *([_second(path)] if probabilities else [])])
        sources = looked_at(sources)
        layout = lay_out(sources.sources)
        axes = _axes(run, layout, overlap, stride)
        period, official = _means(run, sources, average)
        job = Job(run, layout, *axes, batch_size, memory, progress, probabilities, period, official)
        if job.needed > 2 * memory:
            less = "less with fewer dates, or with files in smaller blocks"
            warnings.warn(
                f"the map needs about {job.needed / 2**30:.1f} GiB of memory ({less})", LandweaveWarning, stacklevel=2
            )
        tags = _tags(run, job, sources)
        second = _write(run, job, path, tags, _mark(run, job, tags))
    return _result(run, job, path, second, sources, time.monotonic() - began)


def _reads_days(run: Predictor) -> bool:
    """Whether it is told the day of the year of sensors of one date."""
    settings = getattr(getattr(run, "run", run), "settings", None)  # one of several tasks has its run below it
    told = getattr(getattr(settings, "method", None), "circumstances", None)
    return bool(told and told.dates)


def _means(run: Predictor, sources: Sources, average: str | None) -> tuple[Period | None, bool]:
    """By which period series are averaged, as asked or as in training; and whether as FLAIR-HUB's code does it."""
    if not any(s.days and mine_of(run.contract, s.stream).series for s in sources.sources):
        if average:
            raise ConfigError("no image is a series", where="--average", fix="leave it out")
        return None, False
    trained, official = getattr(run, "averaged", Averaged())
    period: Any = average or trained
    return (None if period == "none" else period), official


def _notes(job: Job) -> Iterator[str]:
    """What to know of how the map was made."""
    if any(p.source.dates > 1 for p in job.layout.placed):
        how = f"as {job.period} means" if job.period else "date by date (as means: --average monthly)"
        yield f"the model sees the series {how}"
    if job.discarded:
        yield "finished rows of a map with other settings, images or weights stood there, and were thrown away"
    if job.restored:
        yield f"went on after {job.restored / job.total:.0%} that an earlier start had done"


def _second(path: Path) -> Path:
    """The file of class probabilities beside a map."""
    return path.with_name(f"{path.stem}_prob{path.suffix}")


def _refuse_old(files: Sequence[Path]) -> None:
    """Refuse to replace a file by accident; the map of a country takes hours."""
    for file in files:
        if file.exists():
            raise ConfigError(
                "a file stands there already", where=file, fix="choose another --out, or add --overwrite to replace it"
            )


def _pixel(job: Job) -> str:
    """What a pixel of the map is on the ground."""
    (width, height), unit = job.grid.pixel, _unit(job.grid.crs)
    shown = [f"{v:,.{7 if unit == 'degrees' else 2}f}".rstrip("0").rstrip(".") for v in (width, height)]
    ground = f"{shown[0]} {unit}" if shown[0] == shown[1] else f"{shown[0]} x {shown[1]} {unit}"
    if job.blends:
        return f"{ground}, as of {job.layout.reference.stream}"
    (rows, cols), fine = job.size, job.layout.reference.stream
    return f"{ground} wide: the dominant class of the {rows} x {cols} pixels of {fine} around it"


def _unit(crs: str) -> str:
    """The unit in which a CRS measures."""
    from rasterio.crs import CRS

    if not crs:
        return "pixels of the image"
    known = CRS.from_user_input(crs)
    unit = "degrees" if known.is_geographic else str(known.linear_units)
    return "m" if unit in ("metre", "meter") else unit


def _mark(run: Predictor, job: Job, tags: Mapping[str, str]) -> str:
    """Everything that decides a map, in short, by which rows of a killed one are known again; empty without a folder.

    Files count by name, size and time: weights of the same bytes in another folder begin anew.
    """
    folder = getattr(run, "folder", None)
    files = [] if folder is None else [Path(folder) / "model.safetensors", Path(folder) / "config.json"]
    files += [f for p in {p.path for s in job.layout.placed for p in s.source.parts} for f in read_by(p)]
    if folder is None or not all(f.is_file() for f in files):
        return ""
    states = sorted((str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    sources = [repr(s) for s in job.layout.placed]
    how = (job.rows, job.cols, job.grid, job.shares, job.lanes(), job.official, str(getattr(run, "device", "")))
    parts = [states, sources, dict(tags), repr(how)]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _write(run: Predictor, job: Job, path: Path, tags: Mapping[str, str], mark: str) -> Path | None:
    """Do the work and write the map, its styles, and the probabilities if wanted."""
    classes = [(v, c.name, c.color) for v, c in zip(job.values.tolist(), run.legend.classes, strict=True)]
    second = _second(path) if job.shares else None
    with ExitStack() as stack:
        rows = BLOCK if job.blends else SCENE_ROWS
        writer = stack.enter_context(Writer(path, job.grid, nodata=UNKNOWN, mark=mark, rows=rows))
        more = Writer(_second(path), job.grid, len(run.legend), mark=mark, rows=rows)
        if second:
            stack.enter_context(more)
        else:
            more.forget()
        job.work(writer, more if second else None)
        if second:
            more.finish(descriptions=run.legend.names, tags=tags, scale=1 / 255, overviews="AVERAGE", named=False)
        writer.finish(descriptions=[run.task], tags=tags, classes=classes, named=False)
        if second:  # only now that both are whole, so that a kill hardly ever leaves one without the other
            more.name()
        writer.name()
    write_text(path.with_suffix(".qml"), qml.qml(classes))
    write_text(path.with_name(f"{path.name}.aux.xml"), qml.aux(classes))
    return second


def _result(run: Predictor, job: Job, path: Path, second: Path | None, sources: Sources, seconds: float) -> MapResult:
    total, known = int(job.counts.sum()), max(1, int(job.counts[:-1].sum()))
    return MapResult(
        path=path,
        style=path.with_suffix(".qml"),
        probabilities=second,
        grid=job.grid,
        shares={name: int(n) / known for name, n in zip(run.legend.names, job.counts[:-1], strict=True) if n},
        unknown=int(job.counts[-1]) / total,
        pixel=_pixel(job),
        unseen=sources.unseen,
        notes=(*sources.notes, *_notes(job)),
        windows=job.predicted,
        seconds=seconds,
    )


def _tags(run: Predictor, job: Job, sources: Sources) -> dict[str, str]:
    """What the map says of itself."""
    height, width = job.size
    step = f"{job.rows.stride} x {job.cols.stride}"
    fine = job.layout.reference.stream
    coded = bool((job.values == np.arange(len(job.values))).all())
    said = {
        "landweave": version("landweave"),
        "task": run.task,
        "legend": json.dumps(run.legend.to_json(), ensure_ascii=False),
        "values": "class indices" if coded else "file values of the legend",
        "sensors": json.dumps({s.stream: list(s.bands) for s in sources.sources}),
        "dates": json.dumps({s.stream: [str(EPOCH + timedelta(days=d)) for d in s.days] for s in sources.sources}),
        "series": f"{job.period} means" if job.period else "as given",
        "unseen sensors": ", ".join(sources.unseen) or "none",
        "windows": f"{height} x {width} pixels of {fine}, one every {step}",
        "pixel": _pixel(job),
    }
    folder = getattr(run, "folder", None)
    if folder is None:
        return said
    weights = Path(folder) / "model.safetensors"
    return said | {"run": Path(folder).resolve().name, "weights": digest(weights) if weights.is_file() else ""}


def _axes(run: Predictor, layout: Layout, overlap: float, stride: int | None) -> tuple[Axis, Axis]:
    """Windows of the training size over rows and columns, on the lattice of all rasters."""
    if not 0 <= overlap <= 0.95:
        raise ConfigError(f"{overlap:g} is not between 0 and 0.95", where="overlap")
    step, regular = layout.step, run.kind != "map"
    rows = [mine_of(run.contract, p.source.stream) for p in layout.placed]
    mine = mine_of(run.contract, layout.reference.stream)
    whole = step * (1 + any(round(row.context) % 2 == 0 for row in rows))  # half a window must be whole pixels, too
    found = []
    for length, trained, base in zip(layout.grid.shape, mine.size, layout.base, strict=True):
        size = ceil(round(trained / mine.context) / whole) * whole
        jump = stride or max(step, int(size * (1 - overlap)) // step * step)
        if not 0 < jump <= size or jump % step:
            fix = f"give a number up to {size}" + (f", a multiple of {step}" if step > 1 else "")
            raise ConfigError(f"{jump} pixels between windows of {size}", where="stride", fix=fix)
        found.append(axis(length, size, jump, base=base, step=step, regular=regular))
    return found[0], found[1]
