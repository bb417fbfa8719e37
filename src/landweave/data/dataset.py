"""What every reader gives: an index of places that is cheap to look at, and one `Sample` at a time."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, get_args

from pydantic import Discriminator, Field, Tag, field_validator

from landweave.config import EACH, ONE, Config, one_or_each
from landweave.errors import ConfigError, DataError, did_you_mean, listed, nearest
from landweave.legends import Legend
from landweave.sample import LabelKind, Sample, require_streams
from landweave.sensors import SENSORS, StreamChoice, native_streams, sensor

if TYPE_CHECKING:
    from landweave.sample import Image, Label

Split = Literal["train", "validation", "test", "snow_cloud", ""]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Statistics = dict[str, dict[str, tuple[float, float]]]
"""By sensor and band: mean and standard deviation, in the sensor's unit."""
SET_ASIDE: Split = "snow_cloud"
"""Places that a dataset sets aside as spoilt. Nothing is learned or chosen by them: a natural fault test."""


@dataclass(frozen=True)
class Place:
    """A row of the index. `group` is what must stay on one side of a split: scene, region, domain."""

    name: str
    split: Split = ""
    group: str = ""
    lon: float | None = None
    lat: float | None = None
    labelled: bool = True
    """False: its labels are treated as unknown (outside the labelled fraction)."""


@dataclass(frozen=True)
class Task:
    """One label of a dataset: what kind it is, and its classes; with those that are learned in the same run."""

    kind: LabelKind
    legend: Legend
    beside: Mapping[str, Task] = field(default_factory=dict, hash=False)
    """Further labels by name, of a method that learns several; their own `beside` is empty."""

    def named(self, name: str) -> dict[str, Task]:
        """This task under its name, then those beside it; of no name (a run without labels) none."""
        return {name: replace(self, beside={}), **self.beside} if name else {}


class Averaged(NamedTuple):
    """How a reader gives series: date by date, or as means by period; `official` as in `series.averaged`."""

    period: Literal["none", "monthly", "semi-monthly"] = "none"
    official: bool = False


class Dataset(abc.ABC):
    """Places on disk. Readers are picklable, hold no open file between reads, and never drop a place silently."""

    where: str
    """The folder or file it stands on, for messages."""
    places: Sequence[Place]
    tasks: Mapping[str, Task]
    streams: Sequence[str]
    """Every stream that a place may have (`s2-l2a@10`, ...)."""
    averaged: Averaged = Averaged()

    @abc.abstractmethod
    def read(self, index: int) -> Sample:
        """Read one place from disk, all streams.

        Raises:
            DataError: naming the file.
        """

    def read_streams(self, index: int, streams: Collection[str]) -> Sample:
        """Read one place, of its images at least those of `streams`; a reader that can leaves the others on disk.

        Raises:
            DataError: as `read`.
        """
        return self.read(index)

    def labels(self, index: int) -> dict[str, Label]:
        """The labels of one place, as `read` gives them; a reader that can leaves the images on disk.

        Raises:
            DataError: as `read`.
        """
        return dict(self.read_streams(index, ()).labels)

    def facts(self, index: int) -> tuple[str, ...]:
        """What its source says of a place beside its files, as an offset; a pack of other facts is another pack."""
        return ()

    def look(self, index: int) -> None:  # noqa: B027  (optional: a packed store has no file to look at)
        """Read a place's files without building tensors, so that a bad one shows before torch has been loaded.

        Raises:
            DataError: as `read`.
        """

    @abc.abstractmethod
    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """Class indices present at a place, without reading images where the index knows them; None if unknown."""

    def files(self, index: int) -> tuple[Path, ...]:
        """The files a place is read from, for messages and checks; empty where there are none of its own."""
        return ()

    def located(self) -> Sequence[Place]:
        """The places with coordinates, also where finding them means to open files."""
        return self.places

    def file_of(self, index: int, stream: str) -> Path | None:
        """The file or folder that one stream of a place is read from, where a reader can tell; for messages."""
        return next(iter(self.files(index)), None)

    def __len__(self) -> int:
        return len(self.places)

    def of_split(self, split: Split) -> list[int]:
        """Positions of the places of a split.

        Raises:
            DataError: the split is empty.
        """
        found = [i for i, p in enumerate(self.places) if p.split == split]
        if found:
            return found
        have = sorted({p.split or "(none)" for p in self.places})
        raise DataError(
            f"no place in split `{split}`; the {len(self.places)} places are in {listed(have)}",
            where=self.where,
            fix=f"write `{split}` into the split column of some rows, or let `landweave tile` make the splits",
        )


@dataclass
class Chosen(Dataset):
    """A dataset seen through an experiment's choice of sensors, of labelled places and of pixel size."""

    base: Dataset
    choices: Sequence[StreamChoice] = ()
    labelled: frozenset[str] | None = None
    coarsen: int | Mapping[str, int] = 1
    enlarge: int = 1
    where: str = field(init=False)

    def __post_init__(self) -> None:
        self.where, self.tasks = self.base.where, self.base.tasks
        self.averaged = self.base.averaged
        names = [c.sensor for c in self.choices]
        if names:
            require_streams(self.base.streams, names, where=self.base.where)
        wanted = {c.sensor: c.bands for c in self.choices}
        self.streams = [s for s in self.base.streams if not names or _may_hold(s, wanted)]
        self.places = [
            p if self.labelled is None or p.name in self.labelled or p.split != "train" else replace(p, labelled=False)
            for p in self.base.places
        ]

    def read(self, index: int) -> Sample:
        """Read one place; chosen streams only, in coarser or finer pixels, labels unknown outside the labelled part."""
        sample = self.base.read_streams(index, self.streams) if self.choices else self.base.read(index)
        images = {k: v for k, v in sample.images.items() if k in self.streams}
        labels = self._known(index, sample.labels)
        return self._resized(replace(sample, images=self._narrow(images), labels=labels))

    def labels(self, index: int) -> dict[str, Label]:
        """As `read` gives them."""
        from landweave.data.coarse import coarser_label

        found = self._known(index, self.base.labels(index))
        return {k: coarser_label(v, self._factor(LABELS)) for k, v in found.items()}

    def _known(self, index: int, labels: Mapping[str, Label]) -> dict[str, Label]:
        """Unknown outside the labelled part."""
        return {k: v if self.places[index].labelled else v.unknown() for k, v in labels.items()}

    def facts(self, index: int) -> tuple[str, ...]:
        """As the base."""
        return self.base.facts(index)

    def look(self, index: int) -> None:
        """As the base."""
        self.base.look(index)

    def _resized(self, sample: Sample) -> Sample:
        """Blocks of pixels as one, then each pixel as several; label maps are never made finer."""
        if self.coarsen == self.enlarge == 1:
            return sample
        from landweave.data.coarse import coarser, coarser_label, finer

        images = {k: coarser(k, v, self._factor(k), where=sample.name) for k, v in sample.images.items()}
        return replace(
            sample,
            images={k: finer(k, v, self.enlarge) for k, v in images.items()},
            labels={k: coarser_label(v, self._factor(LABELS)) for k, v in sample.labels.items()},
        )

    def _factor(self, stream: str) -> int:
        """Pixels a side of a stream, or of the label maps, that become one."""
        return self.coarsen if isinstance(self.coarsen, int) else self.coarsen.get(stream.partition("@")[0], 1)

    def _narrow(self, images: dict[str, Image]) -> dict[str, Image]:
        """Keep the chosen bands of each sensor; a stream none of whose bands is chosen goes."""
        out = {}
        wanted = {c.sensor: c.bands for c in self.choices if c.bands}
        for stream, image in images.items():
            bands = wanted.get(stream.partition("@")[0])
            keep = tuple(b for b in bands if b in image.bands) if bands else image.bands
            if keep:
                out[stream] = image.select(keep)
        return out

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """As the base; None outside the labelled fraction."""
        return self.base.classes(index, task) if self.places[index].labelled else None

    def files(self, index: int) -> tuple[Path, ...]:
        """As the base."""
        return self.base.files(index)

    def located(self) -> Sequence[Place]:
        """As the base."""
        return [replace(p, lon=q.lon, lat=q.lat) for p, q in zip(self.places, self.base.located(), strict=True)]

    def file_of(self, index: int, stream: str) -> Path | None:
        """As the base."""
        return self.base.file_of(index, stream)


def _may_hold(stream: str, wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether a stream is of a wanted sensor and, where its name tells its bands, has a wanted one."""
    name = stream.partition("@")[0]
    if name not in wanted:
        return False
    delivered = native_streams(name, sensor(name).band_names).get(stream)
    return not wanted[name] or delivered is None or bool(set(delivered) & set(wanted[name]))


LABELS = "labels"
"""Stands beside names of sensors for all label maps."""
Factor = Annotated[int, Field(ge=1, le=64)]
Factors = Annotated[Annotated[Factor, Tag(ONE)] | Annotated[dict[str, Factor], Tag(EACH)], Discriminator(one_or_each)]


class DataConfig(Config):
    """What every kind of data has. `path` is relative to the working directory."""

    path: str = Field(description="folder or file of the data")
    streams: tuple[str, ...] = Field((), description="sensors to use, with bands if not all: s2-l2a:B02+B03+B04+B08")
    task: str = Field("", description="which label to learn; needed only where several fit the method")
    fraction: float = Field(1.0, gt=0, le=1, description="share of the training places whose labels are known")
    seed: int = Field(0, description="which nested draw of that share")
    offset: dict[str, float] = Field({}, description="numbers to add to a sensor's raw values: {s2-l2a: -1000}")
    coarsen: Factors = Field(
        1,
        description="pixels a side that become one (their mean): smaller, faster images; by sensor, with the key "
        "`labels` for label maps, where their pixels are not of one size: {aerial: 4, labels: 4}",
    )
    enlarge: int = Field(
        1, ge=1, le=16, description="times a side that images are enlarged, bilinearly, for encoders of larger images"
    )

    statistics: Statistics = Field(
        {},
        description="mean and deviation of a sensor's bands, by name and in its unit (linear power: in dB, as networks "
        "read it), in place of measured ones: {aerial: {R: [105.66, 52.23], ...}}",
    )

    @field_validator("coarsen")
    @classmethod
    def _known_sensors(cls, given: int | Mapping[str, int]) -> int | Mapping[str, int]:
        """Sensors by their names; one that the data lack does no harm."""
        known = [*SENSORS, LABELS]
        for name in given if isinstance(given, Mapping) else ():
            if name not in known:
                raise ValueError(f"`{name}` is not a sensor{did_you_mean(name, known)}, nor `{LABELS}`")
        return given

    @field_validator("statistics")
    @classmethod
    def _known_bands(cls, given: Statistics) -> Statistics:
        """Sensors and bands by their official names; a deviation is positive."""
        for name, bands in given.items():
            if name not in SENSORS:
                known = list(SENSORS)
                raise ValueError(
                    f"`{name}` is not a sensor{did_you_mean(name, known) or f'; one of {listed(known, 20)}'}"
                )
            names = sensor(name).band_names
            for band, (_, deviation) in bands.items():
                if band not in names:
                    raise ValueError(f"{name} has no band `{band}`; it has {listed(names, 20)}")
                if not deviation > 0:
                    raise ValueError(f"the deviation of {name} {band} is {deviation:g}, which is not positive")
        return given

    @property
    def choices(self) -> tuple[StreamChoice, ...]:
        """`streams`, parsed."""
        found = tuple(StreamChoice.parse(s) for s in self.streams)
        for one in found:
            own = [s for s, c in zip(self.streams, found, strict=True) if c.sensor == one.sensor]
            if len(own) > 1:
                raise ConfigError(
                    f"{one.sensor} is named twice: {listed(own)}",
                    where="data.streams",
                    fix=f"name it once, with the bands of all: {one.sensor}:BAND+BAND",
                )
        return found

    @abc.abstractmethod
    def open(self) -> Dataset:
        """Open the whole dataset as it lies on disk, before any choice of sensors or labels.

        Raises:
            MissingDataError: no such folder or file.
            DataError: it does not have the layout of this kind.
        """

    def choose_task(
        self, dataset: Dataset, kinds: Collection[LabelKind] = get_args(LabelKind), otherwise: str = ""
    ) -> str:
        """The one task to learn: as set, or `otherwise`, or the only one of the kinds.

        Args:
            dataset: the opened data.
            kinds: of label, that can be learned from. Where none is, and there are several tasks, the answer is empty.
            otherwise: the task that is meant if none is set, where the data have it.

        Raises:
            ConfigError: several such tasks and none named, an unknown one, or none at all.
        """
        names = list(dataset.tasks)
        if not names:
            raise ConfigError("the data have no labels", where=dataset.where)
        if self.task or otherwise in names:
            name = self.task or otherwise
            if name not in names:
                what = f"unknown task `{name}`{did_you_mean(name, names)}; there are {listed(names)}"
                raise ConfigError(what, where=dataset.where, fix=f"set data.task={nearest(name, names) or names[0]}")
            return name
        fit = [name for name in names if dataset.tasks[name].kind in kinds] or names
        if len(fit) == 1:
            return fit[0]
        if not kinds:
            return ""
        what = f"several tasks; there are {listed(fit)}"
        raise ConfigError(what, where=dataset.where, fix=f"set data.task={fit[0]}")
