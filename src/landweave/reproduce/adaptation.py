"""A protocol of the second kind: a teacher a seed, and students of it, one for each set of faults and seed.

    kind: adapt
    datasets: {eurosat: {label: class, data: {kind: eurosat, streams: [s2-l1c]}}}
    teacher: {recipe: supervised}
    student: {recipe: petcu2024}
    sets: {one: [train.epochs=15], several: [train.epochs=25]}

Run i of every set has the same teacher, of seed i. A row is a set of bands; each dataset is measured under each
`preset`, by which a set's label becomes official names. What is measured is the same for all tables of a kind of label
(`adapt_measure`), so that tables share their runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from landweave.config import Config, parse
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.reproduce.shown import Changes, Shown
from landweave.run.probe import Probe
from landweave.transforms.faults import SETS, Faults

NONE = "none"
"""The row of complete images, on which the student is the teacher."""


class Trained(Config):
    """What is trained: a recipe with changes."""

    recipe: str
    changes: Changes = ()


class Weights(Config):
    """Weights that a user may supply: with `--data NAME=FILE` they replace the teacher's recipe by this one."""

    about: str = Field(description="what they are, and where they are from")
    recipe: str = "supervised"
    changes: Changes = ()


class SetRow(Config):
    """One row: which bands are missing, how much of them, and what that changes in the student's training."""

    bands: str = Field(NONE, description="a set of the presets, as the paper labels it")
    name: str = Field("", description="the row's; default: the set's")
    ratio: float | dict[str, Any] = Field(0.9, description="share of pixels, or a schedule, while the student learns")
    tested: float | None = Field(None, description="share of pixels in tests; default: `ratio`, or a schedule's end")
    changes: Changes = ()

    @property
    def row(self) -> str:
        """Its name."""
        return self.name or self.bands

    @property
    def count(self) -> int:
        """How many bands are missing."""
        return 0 if self.bands == NONE else len(self.bands.split())


class PerSize(Config):
    """Changes of the student's training by the number of bands that are missing."""

    one: Changes = ()
    several: Changes = ()


class Adaptation(Shown):
    """Students of teachers, under sets of faults, and the table that they make."""

    kind: Literal["adapt"]
    runs: int = Field(3, ge=1)
    fractions: tuple[float, ...] = (1.0,)
    teacher: Trained
    student: Trained
    weights: dict[str, Weights] = Field({}, description="name -> weights that a user may supply for the teacher")
    presets: tuple[str, ...] = tuple(SETS)[::-1]
    rows: tuple[SetRow, ...] = Field((), description="default: all sets of the presets, 0.9 of the pixels missing")
    sets: PerSize = Field(PerSize(), description="changes of the student by the number of bands")
    at: Literal["native", "model"] = Field("model", description="grid on which pixels are masked; model is the paper's")
    complete: float = Field(0.0, ge=0, lt=1, description="share of complete images that a student sees; 0 in the paper")
    probe: Probe = Field(Probe(), description="the head that is trained anew, one a run; of label maps the decoder")
    smaller: dict[str, Probe] = Field({}, description="scale -> how it is trained there, where that is otherwise")

    @model_validator(mode="after")
    def _known(self) -> Self:
        for preset in self.presets:
            if preset not in SETS:
                raise ValueError(
                    f"presets: no `{preset}`{did_you_mean(preset, list(SETS))}; there are {listed(list(SETS))}"
                )
        labels = list(next(iter(SETS.values())))
        for row in self.rows:
            if row.bands not in labels:
                raise ValueError(f"rows: no set `{row.bands}`{did_you_mean(row.bands, labels)}")
        names = [r.row for r in self.of_rows]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"rows of the same name: {listed(twice)}")
        return self

    @property
    def of_rows(self) -> tuple[SetRow, ...]:
        """The rows, by default one a set."""
        return self.rows or tuple(SetRow(bands=label) for label in next(iter(SETS.values())))

    def faults(self, preset: str, row: SetRow, *, tested: bool = False) -> Faults:
        """What images suffer: of a student's training, or of every test.

        Masks of single bands are drawn on their own, as `at` says.
        """
        bands = SETS[preset][row.bands]
        if not bands:
            return Faults()
        ratio: Any = row.ratio
        if tested:
            ratio = row.tested if row.tested is not None else _end(row.ratio)
        fault = {"kind": "missing", "bands": bands, "ratio": ratio, "at": self.at}
        return parse(
            Faults, {"faults": [fault], "complete": 0.0 if tested else self.complete}, where=f"{self.name}: {row.row}"
        )

    def printed_name(self, dataset: str) -> str:
        """A dataset of the table is one of `datasets` under a preset."""
        name, _, _ = dataset.partition(", ")
        return self.datasets[name].published or name

    def shown(self, paths: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
        """Every dataset of the table as (its name there, name in `datasets`, preset)."""
        for name in (n for n in self.datasets if paths.get(n)):
            for preset in self.presets:
                yield f"{name}, {preset}", name, preset


def _end(ratio: float | Mapping[str, Any]) -> float:
    """The share at the end of a schedule; 0.8 where it does not say, which is the schedules' own default."""
    if isinstance(ratio, Mapping):
        return float(ratio.get("end", ratio.get("value", 0.8)))
    return float(ratio)


def placed(given: Adaptation, data: Mapping[str, str]) -> dict[str, str]:
    """Where data and supplied weights lie: what --data says, else what the protocol says.

    Raises:
        ConfigError: a name that the protocol does not have, or no dataset.
    """
    known = [*given.datasets, *given.weights]
    for name in data:
        if name not in known:
            raise ConfigError(
                f"{given.name} has no dataset `{name}`{did_you_mean(name, known)}",
                where="--data",
                fix=f"it has {listed(known)}",
            )
    found = {name: data.get(name) or source.path for name, source in given.datasets.items()}
    if not any(found.values()):
        first = next(iter(given.datasets))
        synth = given.datasets[first].synth
        stand_in = (
            f"; an invented stand-in: landweave synth {synth} DIR --places 300, then --scale smoke" if synth else ""
        )
        raise ConfigError("no dataset is given", where="--data", fix=f"add --data {first}=DIR{stand_in}")
    supplied = {name: data[name] for name in given.weights if data.get(name)}
    if len(supplied) > 1:
        raise ConfigError(f"{listed(list(supplied))}: one teacher only", where="--data", fix="give one of them")
    return {name: path for name, path in {**found, **supplied}.items() if path}
