"""Schedules: a share of pixels, or a number of bands, that changes from epoch to epoch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from landweave.config import Config

LOOK = 2**31 - 1
"""Stands for the epoch wherever draws must be the same each time (validation, evaluation); schedules are at their end
there, so that losses of one run can be compared."""

Share = Annotated[float, Field(ge=0, le=1)]


class Constant(Config):
    """The same share at every epoch. A bare number means this."""

    kind: Literal["constant"] = "constant"
    value: Share = Field(1.0, description="share")

    def at(self, epoch: int) -> float:
        """The share at an epoch, counted from 0."""
        return self.value


class Gradual(Config):
    """A share that moves in equal steps from `start`, at the first epoch, to `end`, at the last of `epochs`.

    Petcu 2024, section 3.1.2 and table A.5: from 0.2 to 0.8. At which epoch the end is reached is not said there.
    """

    kind: Literal["gradual"] = "gradual"
    start: Share = Field(0.2, description="share at the first epoch")
    end: Share = Field(0.8, description="share from epoch `epochs` on, and at every validation")
    epochs: int = Field(15, ge=1, description="epochs from start to end, both counted")

    def at(self, epoch: int) -> float:
        """The share at an epoch, counted from 0."""
        return self.start + (self.end - self.start) * _way(epoch, self.epochs)


class Staircase(Config):
    """As `Gradual`, but the share stays for some epochs before each step up.

    The number of levels is ours: the paper says "every few epochs"; 5 levels of 3 epochs fit its 15.
    """

    kind: Literal["staircase"] = "staircase"
    start: Share = Field(0.2, description="share at the first epoch")
    end: Share = Field(0.8, description="share of the last level, and at every validation")
    epochs: int = Field(15, ge=1, description="epochs of all levels together")
    steps: int = Field(5, ge=2, description="levels, of equal length")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.steps > self.epochs:
            raise ValueError(f"{self.steps} steps do not fit {self.epochs} epochs")
        return self

    def at(self, epoch: int) -> float:
        """The share at an epoch, counted from 0."""
        level = min(self.steps - 1, epoch * self.steps // self.epochs)
        return self.start + (self.end - self.start) * level / (self.steps - 1)


class Between(Config):
    """A number of bands that is drawn each time, evenly from `low` to `high`. A pair of bare numbers means this."""

    kind: Literal["between"] = "between"
    low: int = Field(1, ge=0, description="the fewest")
    high: int = Field(1, ge=0, description="the most")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"size is {[self.low, self.high]}: two bounds are needed, low <= high")
        return self


class Growing(Config):
    """A number of bands that grows from epoch to epoch, in equal steps, rounded down.

    Which bands: the first so many of those that the fault lists (so the first `start` are hidden throughout, and the
    others join them), or, with `drawn`, as many as that at random each time. Ours, after the paper's outlook
    (appendix A.4: constant masking of some bands, more of others as training goes on). To let the share of pixels
    grow in some bands while it is constant in others, write two faults.
    """

    kind: Literal["growing"] = "growing"
    start: int = Field(1, ge=0, description="bands at the first epoch")
    end: int | None = Field(None, ge=1, description="bands from epoch `epochs` on; by default all that may be hidden")
    epochs: int = Field(15, ge=1, description="epochs from start to end, both counted")
    drawn: bool = Field(False, description="which bands: at random each time, in place of the first listed")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"it ends with {self.end} bands, fewer than the {self.start} that it starts with")
        return self

    def at(self, epoch: int, most: int) -> int:
        """The number of bands at an epoch, counted from 0, of `most` that there are."""
        end = most if self.end is None else self.end
        return min(most, self.start + int((end - self.start) * _way(epoch, self.epochs) + 1e-9))


def _way(epoch: int, epochs: int) -> float:
    """From 0 at the first epoch to 1 at the last; 1 throughout where there is only one."""
    return min(1.0, epoch / (epochs - 1)) if epochs > 1 else 1.0


def _constant(given: Any) -> Any:
    number = isinstance(given, int | float) and not isinstance(given, bool)
    return {"kind": "constant", "value": given} if number else given


def _short(ratio: Constant | Gradual | Staircase) -> Any:
    return ratio.value if isinstance(ratio, Constant) else ratio.model_dump()


Ratio = Annotated[
    Constant | Gradual | Staircase,
    Field(discriminator="kind"),
    BeforeValidator(_constant, json_schema_input_type=float | Constant | Gradual | Staircase),
    PlainSerializer(_short),
]
"""A share of pixels: a number, or a schedule."""


def _between(given: Any) -> Any:
    if not isinstance(given, list | tuple):
        return given
    if len(given) != 2:
        raise ValueError(f"size is {list(given)}: two bounds [low, high] are needed, or a schedule")
    return {"kind": "between", "low": given[0], "high": given[1]}


def _pair(size: Between | Growing) -> Any:
    return [size.low, size.high] if isinstance(size, Between) else size.model_dump()


SizeSchedule = Annotated[
    Between | Growing,
    Field(discriminator="kind"),
    BeforeValidator(_between, json_schema_input_type=tuple[int, int] | Between | Growing),
    PlainSerializer(_pair),
]
"""A number of bands: two bounds to draw it between, or a schedule."""
