"""From a protocol to runs: every method on every dataset, share of labels and seed, as experiments that are checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from landweave.config import override, parse
from landweave.data.dataset import DataConfig
from landweave.errors import ConfigError, LandweaveError
from landweave.reproduce import fingerprint
from landweave.reproduce.config import Protocol, Row
from landweave.reproduce.shown import Scale, Source

if TYPE_CHECKING:
    from landweave.run.experiment import Experiment


Wanted = tuple[int, float, str, Row, dict[str, "Experiment"]]
"""A run before it has marks."""


@dataclass(frozen=True)
class Stage:
    """A first stage: an experiment of its own, which several runs may start from."""

    experiment: Experiment
    fingerprint: str

    @property
    def folder(self) -> str:
        """Its folder below OUT."""
        return f"stages/{self.fingerprint}"


@dataclass(frozen=True)
class Planned:
    """One run of one method. `training` tells trainings apart, `fingerprint` trainings with a way of scoring."""

    dataset: str
    row: str
    fraction: float
    run: int
    experiment: Experiment = field(hash=False)
    only: tuple[str, ...]
    absent: Literal["mean", "zero"]
    split: str
    scored: tuple[str, ...]
    without: tuple[str, ...]
    printed_row: str
    stage: Stage | None = field(hash=False)
    marks: Mapping[str, str] = field(hash=False)
    training: str
    fingerprint: str

    @property
    def key(self) -> str:
        """How it is called in print."""
        return f"{self.dataset}, {self.row}, {100 * self.fraction:g} % of the labels, run {self.run}"

    @property
    def folder(self) -> str:
        """Its folder below OUT, by its fingerprint alone: rows, tables and ways of scoring share one training."""
        return f"runs/{self.training}"


def plan(protocol: Protocol, paths: Mapping[str, str], scale_name: str) -> list[Planned]:
    """All runs of a protocol, in the order they are made: run by run through all methods, so that pairs come early.

    Raises:
        ConfigError: an unknown scale or recipe, or a change that does not fit.
        LandweaveError: the data cannot be opened, or are not what the protocol needs.
    """
    found = list(experiments(protocol, paths, scale_name))
    _look(protocol, {name: row["main"] for *_, name, _, row in found})
    marks = Marks()
    return [_planned(protocol, marks, *one) for one in found]


def experiments(
    protocol: Protocol, paths: Mapping[str, str], scale_name: str, *, first: bool = False
) -> Iterator[Wanted]:
    """Every run as (number, share, dataset, row, experiments), read and checked; no data are opened.

    `first`: run 0 only, of which the others differ in the seed alone.
    """
    shares = protocol.shares(protocol.scale(scale_name))
    data = {name: section(_source(protocol, name), path) for name, path in paths.items()}
    for run in range(1 if first else max(shares.values())):
        for share, count in shares.items():
            for name in (n for n in protocol.datasets if n in paths and run < count):
                seed = protocol.first_seed + run
                for row in (r for r in protocol.rows if not r.datasets or name in r.datasets):
                    yield run, share, name, row, _pair(protocol, scale_name, row, name, data, share, seed)


def recipe_of(name: str, scale: str = "") -> tuple[dict[str, Any], str, Any]:
    """`raw_recipe`, of which each shipped file is read once: rows, scales and seeds ask for it again and again."""
    if Path(name).suffix in (".yaml", ".yml"):
        return _read(name, scale)
    return deepcopy(_shipped(name, scale))


def _read(name: str, scale: str) -> tuple[dict[str, Any], str, Any]:
    from landweave.run.experiment import raw_recipe

    return raw_recipe(name, scale=scale)


_shipped = cache(_read)


def _source(protocol: Protocol, name: str) -> Source:
    return protocol.datasets.get(name) or protocol.pretraining[name]


def section(source: Source, path: str) -> dict[str, Any]:
    """The data section of a recipe; a packed store may lie where the archive is expected.

    Raises:
        ConfigError: one does, where rows read the data each in a way of its own.
    """
    section = {**source.data, "path": path}
    folder = Path(path)
    if section.get("kind") != "pack" and (folder / "data.mdb").is_file() and (folder / "manifest.json").is_file():
        if source.of_recipe:
            raise ConfigError(
                "a pack has one split and one legend, and the rows of this table differ in those",
                where=folder,
                fix="give the archive",
            )
        shared = {k: v for k, v in section.items() if k in DataConfig.model_fields}
        return {"kind": "pack", **shared}
    return section


def _pair(
    protocol: Protocol,
    scale_name: str,
    row: Row,
    dataset: str,
    data: Mapping[str, dict[str, Any]],
    share: float,
    seed: int,
) -> dict[str, Experiment]:
    """The experiment of a row (`main`) and, if its first stage learns from other data, the same on those (`before`)."""
    scale = protocol.scale(scale_name)
    main = _experiment(protocol, scale, scale_name, row, dataset, data[dataset], share, seed)
    if not row.pretrain_on:
        return {"main": main}
    return {
        "main": main,
        "before": _experiment(protocol, scale, scale_name, row, row.pretrain_on, data[row.pretrain_on], 1.0, seed),
    }


def _experiment(
    protocol: Protocol,
    scale: Scale,
    scale_name: str,
    row: Row,
    dataset: str,
    data: Mapping[str, Any],
    share: float,
    seed: int,
) -> Experiment:
    from landweave.run.experiment import Experiment

    raw, where, lines = recipe_of(row.recipe, scale.recipes)
    own = raw.get("data", {}) if _source(protocol, dataset).of_recipe else {}
    raw = {**raw, "data": {**own, **data}}
    changes = (
        *protocol.changes,
        *row.changes,
        *scale.changes,
        *scale.datasets.get(dataset, ()),
        *row.scales.get(scale_name, ()),
    )
    for change in changes:
        if change.partition("=")[0] in ("data.path", "data.fraction", "data.seed", "seed"):
            raise ConfigError(f"`{change}` cannot be changed in a protocol", where=f"{protocol.name}: {row.name}")
    fitting = [c for c in changes if not c.startswith("pretrain.") or raw.get("pretrain")]
    raw = override(raw, fitting)
    raw["seed"] = seed
    raw["data"] |= {"path": data["path"], "fraction": share, "seed": seed}
    try:
        return parse(Experiment, raw, where=where, lines=lines, changes=fitting)
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{protocol.name}: {row.name}", fix=error.fix) from None


def _look(protocol: Protocol, experiments: Mapping[str, Experiment]) -> None:
    """Open each dataset once, so that a wrong folder shows before anything is trained."""
    for name, experiment in experiments.items():
        with _named(name):
            opened = experiment.data.open()
        task = experiment.data.choose_task(opened, experiment.method.kinds)
        wanted, kind = protocol.datasets[name].label, opened.tasks[task].kind
        if wanted and kind != wanted:
            raise ConfigError(
                f"{protocol.name} needs labels of kind {wanted}, and task `{task}` has {kind}",
                where=opened.where,
                fix="pack the data anew with the labels of the protocol, or give the unpacked archive",
            )
        for split in dict.fromkeys(("train", "validation", *(r.split or protocol.split for r in protocol.rows))):
            opened.of_split(split)  # type: ignore[arg-type]  # names the splits that there are


@contextmanager
def _named(dataset: str) -> Iterator[None]:
    """Errors speak of `--data DATASET=DIR`, which was typed, where readers speak of `data.path`, which was not."""
    try:
        yield
    except LandweaveError as error:
        what, fix = ((t or "").replace("data.path", f"--data {dataset}=DIR") for t in (error.what, error.fix))
        raise type(error)(what, where=error.where, fix=fix or None) from None


class Marks:
    """Marks of experiments; each dataset is looked at once."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def of(self, experiment: Experiment) -> dict[str, str]:
        """Its marks by name."""
        data = experiment.data
        settings = data.model_dump_json(exclude={"fraction", "seed", "streams", "task"})
        if settings not in self.seen:
            self.seen[settings] = fingerprint.data_mark(data)
        return {
            "code": fingerprint.code_mark(),
            "recipe": fingerprint.recipe_mark(experiment),
            "data": self.seen[settings],
            "versions": fingerprint.versions_mark(),
        }


def _planned(
    protocol: Protocol,
    marks: Marks,
    run: int,
    share: float,
    dataset: str,
    row: Row,
    experiments: Mapping[str, Experiment],
) -> Planned:
    main, before = experiments["main"], experiments.get("before")
    stage = _stage(marks, main if before is None else before)
    if before is not None and stage is None:
        raise ConfigError(
            f"recipe `{row.recipe}` has no first stage",
            where=f"{protocol.name}: {row.name}",
            fix="leave pretrain_on out",
        )
    main = main.model_copy(update={"pretrain": None})
    mine = marks.of(main)
    training = fingerprint.together(mine, stage.fingerprint if stage else "")
    split = row.split or protocol.split
    way = (split, row.only, row.absent if row.only else "", row.scored, row.without)
    scored = fingerprint.together({"training": training}, *way)
    return Planned(
        dataset=dataset,
        row=row.name,
        fraction=share,
        run=run,
        experiment=main,
        only=row.only,
        absent=row.absent,
        split=split,
        scored=row.scored,
        without=row.without,
        printed_row=row.published or row.name,
        stage=stage,
        marks=mine,
        training=training,
        fingerprint=scored,
    )


def _stage(marks: Marks, experiment: Experiment) -> Stage | None:
    """The first stage of an experiment.

    Where it learns from all places and from no label, neither the share of labels nor its draw is part of it, so that
    one stage of a seed serves all shares.
    """
    first = experiment.first
    if first is None:
        return None
    if first.method.unlabelled == "rest" and not first.method.learns_labels:
        first = first.model_copy(update={"data": first.data.model_copy(update={"fraction": 1.0, "seed": 0})})
    return Stage(first, fingerprint.together(marks.of(first), "stage"))
