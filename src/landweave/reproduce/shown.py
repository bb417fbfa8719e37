"""What every protocol has, whatever it runs: its data, its scales, and the published table that it stands beside."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from landweave.config import Config
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.reproduce.published import Printed, paper

Changes = tuple[str, ...]
Runs = int | dict[float, int]
"""How many runs: one number, or one a share of labels."""


class Source(Config):
    """A dataset of a protocol. `data` is a recipe's data section; its `path` comes from --data or stands here."""

    data: dict[str, Any] = Field(description="kind, streams, ... as in a recipe")
    label: Literal["", "class", "multilabel", "map"] = Field("", description="the kind of label that is needed")
    published: str = Field("", description="its name in the published table")
    places: dict[str, int] = Field({}, description="places of the genuine archive by split, for the estimate of cost")
    synth: str = Field("", description="the layout of `landweave synth` that stands in for it")
    of_recipe: bool = Field(
        False, description="each row reads the data as its own recipe says; `data` is laid on that, and no pack will do"
    )

    @property
    def path(self) -> str:
        """Where the data lie; empty where --data must say so."""
        return str(self.data.get("path", ""))


class Metric(Config):
    """A score by its name in `landweave evaluate`, and the published column it stands beside.

    Of runs of several tasks, or rows of different ones, a score is led by its task: `lpis-1.miou_paper`.
    """

    score: str
    published: str = ""


class Scale(Config):
    """What a scale changes."""

    about: str = ""
    runs: Runs | None = None
    fractions: tuple[float, ...] | None = None
    changes: Changes = ()
    datasets: dict[str, Changes] = Field({}, description="more changes by dataset")
    recipes: str = Field("", description="the scale of that name of the recipes, below all changes")
    pack: bool = Field(False, description="pack the data below OUT first: many short runs read much faster")


class Shown(Config):
    """A protocol as the table of its runs knows it."""

    name: str
    title: str = ""
    paper: str = Field("", description="whose published figures stand beside ours")
    table: str = Field("", description="which of its tables")
    settings: tuple[str, ...] = Field((), description="which settings are the paper's and which are ours")
    datasets: dict[str, Source]
    changes: Changes = ()
    fractions: tuple[float, ...] = (1.0,)
    runs: Runs = 4
    first_seed: int = Field(0, ge=0)
    split: str = "test"
    metrics: tuple[Metric, ...] = ()
    per_class: str = Field("", description="a score of single classes, each a column")
    classes: dict[str, str] = Field({}, description="class -> published column; default: all, under their own names")
    compare: tuple[str, ...] = ()
    folds: bool = Field(
        False, description="the rows are folds: add a row `average` of them, with the deviation of a population"
    )
    headline: tuple[str, ...] = Field((), description="scores whose paired differences the terminal shows")
    scales: dict[str, Scale] = Field({"full": Scale()}, description="`full`, and smaller forms of it")

    def scale(self, name: str) -> Scale:
        """The scale of that name.

        Raises:
            ConfigError: there is none.
        """
        if name in self.scales:
            return self.scales[name]
        known = list(self.scales)
        raise ConfigError(
            f"no scale `{name}`{did_you_mean(name, known)}", where=self.name, fix=f"use one of {listed(known)}"
        )

    def shares(self, scale: Scale) -> dict[float, int]:
        """Share of labels -> number of runs."""
        runs = self.runs if scale.runs is None else scale.runs
        found = {}
        for share in scale.fractions or self.fractions:
            count = runs if isinstance(runs, int) else runs.get(share)
            if count is None or count < 1:
                raise ConfigError(
                    f"no number of runs for {share:g} of the labels", where=f"{self.name}: runs", fix=f"{share:g}: 4"
                )
            found[share] = count
        return found

    @property
    def published(self) -> Printed | None:
        """The published table, if there is one.

        Raises:
            ConfigError: no such paper or table.
        """
        if not self.paper:
            return None
        tables = paper(self.paper).tables
        if self.table not in tables:
            known = list(tables)
            raise ConfigError(
                f"{self.paper} has no table `{self.table}`{did_you_mean(self.table, known)}",
                where=self.name,
                fix=f"use one of {listed(known)}",
            )
        return tables[self.table]

    def printed_name(self, dataset: str) -> str:
        """What a dataset of the table is called in the published one."""
        return self.datasets[dataset].published or dataset
