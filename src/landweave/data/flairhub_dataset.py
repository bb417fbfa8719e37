"""One place of FLAIR-HUB at a time: its images as streams, its label maps as tasks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.data import flairhub_read as files
from landweave.data import official
from landweave.data.dataset import Averaged, Dataset, Place, Task
from landweave.data.flairhub_index import COSIA, LPIS, MASK, PARTS, S2, Part, Patch, Patches
from landweave.data.flairhub_mtd import Dates
from landweave.data.series import averaged, clear_dates, clearest_date
from landweave.errors import DataError, LandweaveWarning, MissingDataError
from landweave.legends import LEGENDS
from landweave.sample import NO_DAY, Image, Label, Sample

if TYPE_CHECKING:
    from landweave.data.flairhub import FlairHub
    from landweave.grid import Grid

LAYERS = {"cosia": (COSIA, 0, 1), "lpis-1": (LPIS, 0, 3), "lpis-2": (LPIS, 1, 3), "lpis-3": (LPIS, 2, 3)}
"""Of each task: the kind of file, which of its layers, and how many it has."""

NAMED = 5
"""Places that warnings name before they stop: of 241,100 many may be without a clear date."""


def tasks_of(patches: Patches, cosia: str, names: Sequence[str]) -> dict[str, Task]:
    """The tasks that any patch has a label of; a label of crops has three levels."""
    legends = {**LEGENDS, "cosia": LEGENDS[cosia]}
    return {n: Task("map", legends[n]) for n in names if LAYERS[n][0] in patches.at}


@dataclass(frozen=True)
class Codes:
    """One layer of a label file: its codes H W, where they lie, and the file."""

    values: NDArray[Any]
    grid: Grid
    path: str


class FlairHubDataset(Dataset):
    """Places of FLAIR-HUB. A file that a place lacks is an absent sensor, or a label of which nothing is known."""

    def __init__(
        self,
        where: str,
        patches: Patches,
        *,
        places: Sequence[Place],
        wanted: Mapping[str, Part],
        dates: Mapping[str, Dates],
        tasks: Mapping[str, Task],
        config: FlairHub,
    ) -> None:
        self.where, self.patches, self.places, self.tasks = where, patches, places, tasks
        self.streams = [spec.stream for part, spec in PARTS.items() if part in patches.at]
        self._wanted, self._dates, self._config = wanted, dates, config
        self._offsets = official.raw_offsets(config.offset, self.streams, where=where)
        self.averaged = Averaged(config.average, config.empty_periods == "previous")
        self._shape = self._label_shape()
        self._cloudy: set[str] = set()
        if config.clouds and S2 in wanted:
            self._tell_unmasked()

    def _label_shape(self) -> tuple[int, int]:
        """(H, W) of the label maps, from the header of the first; what a place without one is given."""
        from landweave.data import raster

        for part in {LAYERS[t][0]: None for t in self.tasks}:
            path = self.patches.path(int(np.argmax(self.patches.has(part))), part)
            if path is not None and path.is_file():
                return raster.header(path).grid.shape
        return (512, 512)

    def _tell_unmasked(self) -> None:
        masked = self.patches.has(MASK) if MASK in self.patches.at else np.zeros(len(self), bool)
        if without := int((self.patches.has(S2) & ~masked).sum()):
            warnings.warn(
                f"{without} places have Sentinel-2 and no {MASK}: none of their dates is left out as cloudy "
                "(data.clouds=null filters none)",
                LandweaveWarning,
                stacklevel=2,
            )

    # ---- reading

    def read(self, index: int) -> Sample:
        """Read the chosen sensors that the place has, and its label maps."""
        try:
            images = {}
            for part, spec in self._wanted.items():
                if path := self.patches.path(index, part):
                    images[spec.stream] = self._image(index, part, path)
            labels = self._labels(index)
        except MissingDataError as error:
            raise self._told(error, index) from None
        if not images:
            raise DataError("none of the chosen sensors is there", where=self._line(index), fix="choose others")
        place = self.places[index]
        return Sample(images, labels, place.name, place.group)

    def _line(self, index: int) -> str:
        """Where a place stands: its line in a CSV, or its name."""
        return self.patches.listed_in[index] if self.patches.listed_in else self.places[index].name

    def _told(self, error: MissingDataError, index: int) -> MissingDataError:
        """A lacking file with the line of the CSV that names it."""
        if not self.patches.listed_in:
            return error
        fix = "unpack the archive that holds it, or empty the cell: the sensor is then absent at this place"
        return MissingDataError(f"{error.what}, and {self._line(index)} names it", where=error.where, fix=fix)

    def _days(self, index: int, part: str) -> list[int]:
        return self._dates[part].of(index) if part in self._dates else [NO_DAY]

    def _stack(self, index: int, part: str, path: Path) -> files.Stack:
        """The images of one file with their days."""
        spec = self._wanted[part]
        told = self._dates[part].file if part in self._dates else ""
        return files.read_stack(path, spec.bands, self._days(index, part), told, zero_is_nodata=spec.series)

    def _image(self, index: int, part: str, path: Path) -> Image:
        import torch

        spec, stack = self._wanted[part], self._stack(index, part, path)
        dates_seen = None
        if spec.series:
            stack = self._around(index, part, self._cleared(index, part, stack))
            stack, dates_seen = self._means(stack)
        image = Image.of(
            spec.stream,
            spec.bands,
            stack.data,
            grid=stack.grid,
            days=stack.days,
            offset=self._offsets[spec.stream],
            pixels_seen=stack.seen,
        ).with_differences(spec.stream)
        seen = image.pixels_seen.flatten(1).any(1)  # a date without a single pixel was not seen at all
        if dates_seen is not None:
            seen = seen & torch.from_numpy(dates_seen)
        return replace(image, dates_seen=seen)

    def _cleared(self, index: int, part: str, stack: files.Stack) -> files.Stack:
        """Sentinel-2 without its cloudy dates; never without any."""
        clouds = self._config.clouds
        path = self.patches.path(index, MASK) if part == S2 and clouds else None
        if clouds is None or path is None:
            return stack
        mask = files.read_mask(path, len(stack.days))
        keep = clear_dates(mask, cover=clouds.cover, probability=clouds.probability)
        if not keep.any():
            keep[clearest_date(mask, probability=clouds.probability)] = True
            self._tell_cloudy(self.places[index].name, len(keep))
        return stack.take(keep)

    def _tell_cloudy(self, name: str, dates: int) -> None:
        """A warning for each of the first places without a clear date, once in a process."""
        if name in self._cloudy or len(self._cloudy) == NAMED:
            return
        self._cloudy.add(name)
        last = "; further places are not named" if len(self._cloudy) == NAMED else ""
        warnings.warn(
            f"{name}: snow or cloud on each of the {dates} dates of {PARTS[S2].stream}; the clearest is kept{last}",
            LandweaveWarning,
            stacklevel=2,
        )

    def _around(self, index: int, part: str, stack: files.Stack) -> files.Stack:
        """The series with the ground around the place, where that is asked for."""
        if self._config.context == 1:
            return stack
        patch = Patch.parse(self.places[index].name)

        def neighbour(rows: int, cols: int) -> files.Stack | None:
            at = self.patches.find(str(replace(patch, row=patch.row + rows, col=patch.col + cols)))
            path = None if at is None else self.patches.path(at, part)
            return self._stack(at, part, path) if at is not None and path is not None else None

        return files.widen(stack, self._config.context, neighbour)

    def _means(self, stack: files.Stack) -> tuple[files.Stack, NDArray[np.bool_] | None]:
        """Means by period, where they are asked for, and which periods have a date."""
        period, official_ = self.averaged
        if period == "none":
            return stack, None
        found = averaged(stack.data, stack.seen, stack.days, period, official=official_)
        means = replace(stack, data=found.values.astype(np.float32), seen=found.pixels_seen, days=found.days)
        return means, found.dates_seen

    # ---- labels

    def _codes(self, index: int, tasks: Iterable[str]) -> dict[str, Codes]:
        """The label layers of tasks that the place has; a file of several is read once."""
        from landweave.data import raster

        found: dict[str, raster.Raster] = {}
        out = {}
        for task in tasks:
            part, layer, layers = LAYERS[task]
            if (path := self.patches.path(index, part)) is None:
                continue
            if part not in found:
                found[part] = raster.read(path)
                if len(found[part].data) != layers:
                    what = f"{len(found[part].data)} layers of labels, not {layers}"
                    raise DataError(what, where=path, fix=files.AGAIN)
            out[task] = Codes(found[part].data[layer], found[part].grid, str(path))
        return out

    def labels(self, index: int) -> dict[str, Label]:
        """Without reading an image."""
        try:
            return self._labels(index)
        except MissingDataError as error:
            raise self._told(error, index) from None

    def _labels(self, index: int) -> dict[str, Label]:
        codes = self._codes(index, self.tasks)
        out = {}
        for name, task in self.tasks.items():
            if one := codes.get(name):
                out[name] = Label.of_map(one.values, task.legend, grid=one.grid, where=one.path)
            else:
                out[name] = Label.of_map(np.zeros(self._shape, np.uint8), task.legend).unknown()
        return out

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """The classes of a label map, which is read for it (a few milliseconds a place); None where there is none."""
        if (one := self._codes(index, [task]).get(task)) is None:
            return None
        legend = self.tasks[task].legend
        there = np.bincount(legend.encode(one.values, where=one.path).ravel(), minlength=256)[: len(legend)]
        return tuple(np.flatnonzero(there).tolist()) or None

    # ---- files

    def look(self, index: int) -> None:
        """Headers of the images, and the labels in full: a code outside the legend shows in seconds."""
        from landweave.data import raster

        try:
            for part, spec in self._wanted.items():
                if path := self.patches.path(index, part):
                    told = self._dates[part].file if part in self._dates else ""
                    days = self._days(index, part)
                    files.require_layers(path, raster.header(path).count, spec.bands, days, told)
            for task, codes in self._codes(index, self.tasks).items():
                self.tasks[task].legend.encode(codes.values, where=codes.path)
        except MissingDataError as error:
            raise self._told(error, index) from None

    def files(self, index: int) -> tuple[Path, ...]:
        """The images of the chosen sensors, the cloud mask, the label maps, as far as they exist."""
        mask = (MASK,) if S2 in self._wanted and self._config.clouds else ()
        parts = (*self._wanted, *mask, *dict.fromkeys(LAYERS[t][0] for t in self.tasks))
        return tuple(path for part in parts if (path := self.patches.path(index, part)))

    def file_of(self, index: int, stream: str) -> Path | None:
        """The file of one stream."""
        part = next((p for p, spec in self._wanted.items() if spec.stream == stream), "")
        return self.patches.path(index, part) if part else None

    def located(self) -> Sequence[Place]:
        """The places with coordinates: of the metadata, else from the header of a file of each."""
        return [p if p.lon is not None else self._at(i, p) for i, p in enumerate(self.places)]

    def _at(self, index: int, place: Place) -> Place:
        from landweave.data import raster

        found = next((raster.lonlat(raster.header(f).grid) for f in self.files(index)), None)
        return replace(place, lon=found[0], lat=found[1]) if found else place
