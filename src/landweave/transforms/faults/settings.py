"""Settings of faults: what may be wrong with an image. No torch here, so that recipes may hold them.

A fault that is *known* marks what it hides as unseen; what a network is shown there is its encoder's `fill`. A
*silent* one changes values, and nobody tells the model. Both act on cubes in physical units, before `normalise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from landweave.config import Config
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.sensors import SENSORS, Sensor
from landweave.sensors import sensor as sensor_of
from landweave.transforms.faults.schedules import Between, Constant, Ratio, SizeSchedule

Bands = Mapping[str, Sequence[str]]
"""The bands of each sensor of a batch or of a contract."""


class Target(Config):
    """What all faults have: where they strike, and how often."""

    sensor: str = Field("", description="the sensor; by default every one that has the bands")
    bands: tuple[str, ...] = Field((), description="official names or aliases; by default any band of the sensor")
    chance: float = Field(1.0, ge=0, le=1, description="share of places that it strikes")

    @field_validator("sensor")
    @classmethod
    def _sensor_is_known(cls, name: str) -> str:
        if name and name not in SENSORS:
            raise ValueError(f"unknown sensor `{name}`{did_you_mean(name, list(SENSORS))}")
        return name

    @model_validator(mode="after")
    def _bands_are_known(self) -> Self:
        rows = [SENSORS[self.sensor]] if self.sensor else list(SENSORS.values())
        answers = {s for row in rows for band in row.bands for s in band.spellings()}
        for name in self.bands:
            if name.casefold() not in answers:
                names = list(dict.fromkeys(b for row in rows for b in row.band_names))
                who = f"{self.sensor} has no" if self.sensor else "no sensor has a"
                raise ValueError(f"{who} band `{name}`{did_you_mean(name, names)}")
        return self

    def suits(self, row: Sensor) -> bool:
        """Whether a fault that names no sensor strikes this one."""
        return True

    def chosen(self, there: Bands) -> dict[str, tuple[str, ...]]:
        """The bands that the fault may strike, by sensor, with official names in the order of `bands`.

        Args:
            there: the bands that there are.

        Raises:
            ConfigError: no sensor is meant, or one lacks a band that the fault names.
        """
        if self.sensor and self.sensor not in there:
            raise ConfigError(
                f"no sensor `{self.sensor}`{did_you_mean(self.sensor, list(there))}; there is {listed(sorted(there))}",
                where=self._where,
                fix="name one that there is, or none",
            )
        meant = [n for n in there if n == self.sensor or (not self.sensor and self.suits(sensor_of(n)))]
        if not self.bands:
            found = {n: tuple(there[n]) for n in meant}
        else:
            found = {n: named for n in meant if (named := self._named(n, there[n]))}
        if found:
            return found
        raise ConfigError(self._lack(meant, there), where=self._where, fix="name bands that there are, all of them")

    @property
    def _where(self) -> str:
        return f"fault `{getattr(self, 'kind', '')}`"

    def _named(self, name: str, there: Sequence[str]) -> tuple[str, ...]:
        """The official names of `bands`; none unless the sensor has them all."""
        official = _official(sensor_of(name), self.bands)
        return tuple(official) if all(b in there for b in official) else ()

    def _lack(self, meant: Sequence[str], there: Bands) -> str:
        """Which bands are lacking, of the sensor that lacks the fewest."""
        lacks = {n: [b for b in _official(sensor_of(n), self.bands) if b not in there[n]] for n in meant}
        if not lacks:
            return f"no sensor that it could strike; there is {listed(sorted(there))}"
        name = min(lacks, key=lambda n: len(lacks[n]))
        return f"{name} has no {listed(lacks[name])} here, but {listed(list(there[name]), 20)}"


def _official(row: Sensor, names: Sequence[str]) -> list[str]:
    """Official names where the sensor knows them, otherwise the names as they are."""
    found = []
    for name in names:
        hits = [b.name for b in row.bands if name.casefold() in b.spellings()]
        found.append(hits[0] if len(hits) == 1 else next((b for b in hits if b.casefold() == name.casefold()), name))
    return found


class Missing(Target):
    """Bands that are missing, wholly or in a share of their pixels (Petcu 2024, section 3.1.2).

    A pixel of a band is missing with the chance `ratio`, independently of others (the paper does not say whether its
    count is exact). `native` draws once for each pixel as the sensor has it: a 60 m band in a cube of 10 m loses blocks
    of 6 x 6. `model` draws for every pixel of the cube, as the paper does for images that it has enlarged fourfold:
    survivors then tell what the band was (NIR at 0.9, enlarged: R2 0.96 of the band against 0.67 with `native`).
    """

    kind: Literal["missing"] = "missing"
    size: SizeSchedule | None = Field(
        None,
        description="how many of the bands, at random each time: the number is drawn first, evenly between two bounds; "
        "or a schedule of it; by default all of them. Where neither `sensor` nor `bands` is named at least one band of "
        "each sensor is left, and sensors of one band are left alone",
    )
    ratio: Ratio = Field(Constant(value=1.0), description="share of pixels: a number, or a schedule")
    shared: bool = Field(
        False,
        description="one mask for all bands of a sensor (native: in blocks of the coarsest), in place of one each",
    )
    at: Literal["native", "model"] = Field("native", description="the grid on which pixels are drawn")
    known: bool = Field(True, description="marked unseen; false: the numbers are 0, and nobody says so (a dead band)")

    def chosen(self, there: Bands) -> dict[str, tuple[str, ...]]:
        """See `Target.chosen`; sensors of one band have none to spare for a `size`.

        Raises:
            ConfigError: also for a `size` beyond the bands of what is named, or where no sensor has two bands.
        """
        found = super().chosen(there)
        if self.size is None:
            return found
        if self.sensor or self.bands:
            fewest = min(map(len, found.values()))
            most = self.size.high if isinstance(self.size, Between) else max(self.size.start, self.size.end or 0)
            if most > fewest:
                what = f"it hides up to {most} bands, of {fewest}"
                raise ConfigError(what, where=self._where, fix="lower its size")
            return found
        found = {n: bands for n, bands in found.items() if self.most(len(bands))}
        if not found:
            what = f"one band of each of {listed(sorted(there))}, of which a size leaves one"
            raise ConfigError(what, where=self._where, fix="take kind=absent, or leave `size` out")
        return found

    def most(self, count: int) -> int:
        """How many of `count` bands a `size` may hide: one is left, unless sensor or bands are named."""
        return count if self.sensor or self.bands else count - 1


class Absent(Target):
    """A sensor of which there is nothing at a place. Without a name: one of those that are seen there, at random.

    The last sensor of a model cannot be absent.
    """

    kind: Literal["absent"] = "absent"

    @field_validator("bands")
    @classmethod
    def _no_bands(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if bands:
            raise ValueError("a sensor is absent with all its bands; for some of them take kind=missing")
        return bands

    def chosen(self, there: Bands) -> dict[str, tuple[str, ...]]:
        """See `Target.chosen`."""
        found = super().chosen(there)
        if len(there) < 2:
            raise ConfigError(f"{listed(list(there))} is the only sensor", where=self._where, fix="take kind=missing")
        return found


class Holes(Target):
    """Holes of the shape of clouds in all bands of an optical sensor, others at each date; known.

    Cumulus-like: a smooth random field, cut at the level that leaves exactly the wanted cover. Radar sees through
    clouds, so a sensor must be named for it to be struck.
    """

    kind: Literal["holes"] = "holes"
    cover: tuple[float, float] = Field((0.3, 0.3), description="share of the pixels, drawn between two bounds")
    scale: float = Field(0.25, gt=0, le=1, description="size of the clouds, as a share of the longer side")

    @field_validator("cover", mode="before")
    @classmethod
    def _one_is_both(cls, given: object) -> object:
        return (given, given) if isinstance(given, int | float) else given

    @field_validator("cover")
    @classmethod
    def _shares(cls, cover: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= cover[0] <= cover[1] <= 1:
            raise ValueError(f"cover is {list(cover)}: two bounds are needed, 0 <= low <= high <= 1")
        return cover

    def suits(self, row: Sensor) -> bool:
        """Optical sensors."""
        return not row.radar and row.unit != "metre"


class Stripes(Target):
    """Stripes across a band, every `period` lines, from a line that differs by place and band; alike at all dates.

    Detectors that answer unequally: each line of a stripe is brighter or darker by `strength`. With `gap`, lines that
    no detector reads: they are 0, or unseen if `known`. `slope` tilts the lines, as a map projection does.
    """

    kind: Literal["stripes"] = "stripes"
    period: int = Field(10, ge=2, description="native pixels of the band from stripe to stripe")
    width: int = Field(1, ge=1, description="native pixels across a stripe")
    axis: Literal["rows", "columns"] = Field("rows", description="what the lines are")
    slope: float = Field(0.0, ge=-1, le=1, description="pixels by which a line moves over one pixel along it")
    strength: float = Field(0.2, ge=0, le=1, description="lines times 1 + this or 1 - this (radar: its power)")
    gap: bool = Field(False, description="lines without data")
    known: bool = Field(False, description="mark the lines unseen")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width >= self.period:
            raise ValueError(f"stripes of width {self.width} leave nothing between them at a period of {self.period}")
        return self


class DeadColumns(Target):
    """Columns of a band, drawn at random and alike at all dates, that read 0: single detectors of a line are dead."""

    kind: Literal["dead-columns"] = "dead-columns"
    share: float = Field(0.05, ge=0, le=1, description="chance of a native column to be dead")
    axis: Literal["rows", "columns"] = Field("columns", description="what is dead")
    known: bool = Field(False, description="mark them unseen")


class Saturation(Target):
    """Bright values cut off: those above a level read as that level."""

    kind: Literal["saturation"] = "saturation"
    share: float = Field(0.1, gt=0, lt=1, description="of a band's values at a place, the brightest, that are cut")
    at: float | None = Field(None, description="the level in the sensor's unit, in place of a share")
    known: bool = Field(False, description="mark the cut values unseen")


class Noise(Target):
    """Noise of its own in every native pixel: Gaussian and added; of radar, gamma distributed and times its power."""

    kind: Literal["noise"] = "noise"
    level: float = Field(
        0.2, gt=0, le=10, description="deviation as a share of the band's own over the place; of radar, of the power"
    )


class Gain(Target):
    """Values times `gain`, plus `offset`: a calibration that is off. Of radar in dB the power is multiplied.

    `number` is an offset in digital numbers, for reflectance only: +1000 is what Sentinel-2's processing baseline
    04.00 (since 2022-01-25) adds, and a reader who does not know it gets reflectance that is 0.1 too high.
    """

    kind: Literal["gain"] = "gain"
    gain: float = Field(1.0, gt=0, description="factor")
    spread: float = Field(0.0, ge=0, lt=1, description="a factor a band more, drawn from 1 - this to 1 + this")
    offset: float = Field(0.0, description="added, in the sensor's unit")
    number: float = Field(0.0, description="added, in digital numbers of a product of reflectance")

    @model_validator(mode="after")
    def _reflectance(self) -> Self:
        if self.number and self.sensor and SENSORS[self.sensor].unit != "reflectance":
            raise ValueError(f"`number` is for reflectance, and {self.sensor} is in {SENSORS[self.sensor].unit}")
        return self

    def suits(self, row: Sensor) -> bool:
        """With `number`, sensors of reflectance."""
        return not self.number or row.unit == "reflectance"


class Swap(Target):
    """Two bands in each other's place: the two that `bands` names, or two of them at random."""

    kind: Literal["swap"] = "swap"

    def chosen(self, there: Bands) -> dict[str, tuple[str, ...]]:
        """See `Target.chosen`; sensors of one band have nothing to swap."""
        found = {n: bands for n, bands in super().chosen(there).items() if len(bands) > 1}
        if not found:
            raise ConfigError("it takes two bands to swap", where=self._where, fix="name two, or none")
        return found


class Shift(Target):
    """Bands that lie beside their place: by a given distance, in a direction drawn for each band and date."""

    kind: Literal["shift"] = "shift"
    pixels: float = Field(0.5, gt=0, le=16, description="distance in pixels of the cube, of which parts count too")


class Shuffle(Target):
    """The images of a series under one another's dates: what a network learns from their order is gone.

    Which image stands under which of the seen dates is drawn for each place and sensor. Sensors of one date stay.
    """

    kind: Literal["shuffle"] = "shuffle"

    @field_validator("bands")
    @classmethod
    def _no_bands(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if bands:
            raise ValueError("all bands of an image have one date; name a sensor, or none")
        return bands


Fault = Annotated[
    Missing | Stripes | DeadColumns | Saturation | Noise | Gain | Swap | Shift | Shuffle | Holes | Absent,
    Field(discriminator="kind"),
]
"""Any fault, told by `kind`."""


class Faults(Config):
    """Faults, one after the other, at all places but a share that stays complete.

    What a place gets is drawn by the key, its name, the kind of the fault and how many of that kind stand before it:
    other faults, and other places of a batch, change nothing about it.
    """

    faults: tuple[Fault, ...] = Field((), description="in the order in which they happen")
    complete: float = Field(0.0, ge=0, le=1, description="share of places left as they are, drawn by key and name")

    def __bool__(self) -> bool:
        """Whether anything can happen."""
        return bool(self.faults) and self.complete < 1

    def require(self, there: Bands) -> None:
        """Refuse what cannot happen to these sensors and bands.

        Raises:
            ConfigError: a fault names a sensor or a band that is not there.
        """
        for fault in self.faults:
            fault.chosen(there)

    def lines(self) -> list[str]:
        """Each fault with what differs from its defaults, for a person."""
        told = [f"{f.kind}{_told(f.model_dump(mode='json', exclude_defaults=True))}" for f in self.faults]
        return [*told, f"{self.complete:.0%} of places complete"] if self.complete and told else told


def _told(settings: Mapping[str, object]) -> str:
    text = ", ".join(f"{k} {_plain(v)}" for k, v in settings.items() if k != "kind")
    return f" ({text})" if text else ""


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{k}={v}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ("+" if all(isinstance(v, str) for v in value) else " to ").join(map(str, value))
    return str(value)
