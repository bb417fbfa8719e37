"""A protocol: which methods are run on which data, how often and how they are scored. One YAML file a table.

`changes` are the words of the command line (`train.epochs=5`), laid on a recipe in this order: the protocol's, the
row's, the scale's, the scale's for the dataset, and the row's for the scale. A change of `pretrain...` counts only for
recipes that have such a stage. Data, seed and share of labels come from the plan and cannot be changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from landweave.config import Config, parse, read_yaml
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.reproduce.adaptation import Adaptation
from landweave.reproduce.published import papers
from landweave.reproduce.shown import Changes, Shown, Source

if TYPE_CHECKING:
    from typing import Self


class Row(Config):
    """One method, or one way of scoring it: rows of one training share it.

    `only` scores it on these sensors alone; `absent` says what stands for the others' features. `scored` changes the
    data for scoring (other test places, say), `without` names classes that no score counts.
    """

    name: str
    recipe: str
    changes: Changes = ()
    scales: dict[str, Changes] = Field({}, description="more changes by scale")
    datasets: tuple[str, ...] = Field((), description="only on these datasets; all by default")
    pretrain_on: str = Field("", description="the dataset of `pretraining` that its first stage learns from")
    only: tuple[str, ...] = Field((), description="sensors that it is scored with; all by default")
    absent: Literal["mean", "zero"] = "mean"
    split: str = Field("", description="the split that it is scored on; by default that of the protocol")
    scored: Changes = Field((), description="changes of the data (`data.`...) for scoring alone")
    without: tuple[str, ...] = Field((), description="classes that no score counts")
    published: str = Field("", description="its name in the published table; default: the name")


class Protocol(Shown):
    """Methods x shares of labels x runs on some datasets, and the table that they make.

    Run i of every method has `seed=i` and `data.seed=i`: the same labelled places, so that methods are compared in
    pairs. `compare` names the methods that are set against all others.
    """

    pretraining: dict[str, Source] = Field({}, description="datasets that first stages learn from")
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [r.name for r in self.rows]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"rows of the same name: {listed(twice)}")
        for what, words, known in (
            ("compare", self.compare, names),
            ("row datasets", [d for r in self.rows for d in r.datasets], list(self.datasets)),
            ("pretrain_on", [r.pretrain_on for r in self.rows if r.pretrain_on], list(self.pretraining)),
            ("headline", self.headline, [m.score for m in self.metrics]),
            ("split", [r.split for r in self.rows if r.split], ("train", "validation", "test")),
        ):
            for word in words:
                if word not in known:
                    raise ValueError(f"{what}: no `{word}`{did_you_mean(word, known)}; there are {listed(known)}")
        if wrong := [c for r in self.rows for c in r.scored if not c.startswith("data.") or c.startswith("data.path")]:
            raise ValueError(f"scored: `{wrong[0]}` changes no data, or where they lie")
        if not self.metrics and not self.per_class:
            raise ValueError("give `metrics`, or `per_class`")
        for share in (*self.fractions, *(f for s in self.scales.values() for f in s.fractions or ())):
            if not 0 < share <= 1:
                raise ValueError(f"fractions: {share:g} is not a share of the labels; 0 < share <= 1")
        return self


KINDS = ("adapt",)
_KIND_FIX = "write kind: adapt for students of teachers, and leave it out for methods side by side"


def protocols() -> dict[str, Path]:
    """The shipped protocols by name: `mosaic/table-1`, ..."""
    folder = Path(str(files("landweave") / "reproduce" / "protocols"))
    return {f"{p.parent.name}/{p.stem}": p for p in sorted(folder.glob("*/*.yaml"))}


def protocol(name: str | Path) -> Protocol | Adaptation:
    """A shipped protocol by name, or a YAML file.

    Raises:
        ConfigError: unknown name, or a fault in the file, with file:line and the nearest known key.
    """
    shipped = protocols()
    path = shipped.get(str(name), Path(name))
    if str(name) not in shipped and path.suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"unknown table `{name}`{did_you_mean(str(name), [*shipped, *papers()])}",
            fix=f"use one of {listed(list(shipped), 20)}, or a file that ends in .yaml",
        )
    raw, lines = read_yaml(path)
    where = path.name if str(name) in shipped else str(path)
    default = str(name) if str(name) in shipped else path.stem
    whole = _extended({"name": default, **raw}, where)
    kind = whole.get("kind")
    if kind == "adapt":
        return parse(Adaptation, whole, where=where, lines=lines)
    if kind is not None:
        raise ConfigError(f"`kind` = `{kind}` is unknown{did_you_mean(str(kind), KINDS)}", where=where, fix=_KIND_FIX)
    return parse(Protocol, whole, where=where, lines=lines)


def _extended(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """What a protocol takes from the shipped one that it `extends`: all keys it does not write itself.

    `take: {rows: [...], datasets: [...]}` keeps only these, in this order.
    """
    raw = dict(raw)
    base, take = raw.pop("extends", ""), raw.pop("take", {})
    if not base:
        return raw
    if base not in protocols():
        known = list(protocols())
        raise ConfigError(f"extends the unknown `{base}`{did_you_mean(str(base), known)}", where=where)
    below, _ = read_yaml(protocols()[base])
    below = {k: v for k, v in _extended(below, where).items() if k not in ("name", "title")}
    for key, names in take.items():
        there = {r["name"]: r for r in below[key]} if key == "rows" else below[key]
        lacking = [n for n in names if n not in there]
        if lacking:
            raise ConfigError(f"{base} has no {lacking[0]}{did_you_mean(lacking[0], list(there))}", where=where)
        below[key] = [there[n] for n in names] if key == "rows" else {n: there[n] for n in names}
    scales = {
        name: {**scale, "datasets": {d: c for d, c in scale.get("datasets", {}).items() if d in _names(raw, below)}}
        for name, scale in below.get("scales", {}).items()
    }
    return {**below, "scales": scales, **raw}


def _names(raw: Mapping[str, Any], below: Mapping[str, Any]) -> set[str]:
    return {*raw.get("datasets", below["datasets"]), *raw.get("pretraining", below.get("pretraining", {}))}


def placed(given: Protocol, data: dict[str, str]) -> dict[str, str]:
    """Where each dataset lies: what --data says, else what the protocol says.

    Raises:
        ConfigError: a dataset that the protocol does not have, or one without a place.
    """
    sources = {**given.datasets, **given.pretraining}
    for name in data:
        if name not in sources:
            raise ConfigError(
                f"{given.name} has no dataset `{name}`{did_you_mean(name, list(sources))}",
                where="--data",
                fix=f"it has {listed(list(sources))}",
            )
    found = {name: data.get(name) or source.path for name, source in sources.items()}
    chosen = _wanted(given, found)
    if not chosen:
        raise ConfigError("no dataset is given", where="--data", fix=_how(given, list(given.datasets)[:1]))
    needed = [*chosen, *(r.pretrain_on for r in given.rows if r.pretrain_on and _meets(r, chosen))]
    lacking = [name for name in dict.fromkeys(needed) if not found[name]]
    if lacking:
        raise ConfigError(f"{given.name} needs {listed(lacking)}", where="--data", fix=_how(given, lacking))
    return {name: found[name] for name in dict.fromkeys(needed)}


def _wanted(given: Protocol, found: dict[str, str]) -> list[str]:
    """Scored datasets that have a place: a table over two archives may be made for one of them."""
    return [name for name in given.datasets if found[name]]


def _meets(row: Row, chosen: Sequence[str]) -> bool:
    return not row.datasets or bool(set(row.datasets) & set(chosen))


def _how(given: Protocol, names: Sequence[str]) -> str:
    sources = {**given.datasets, **given.pretraining}
    words = [f"add --data {name}=DIR" for name in names]
    synth = [f"landweave synth {sources[n].synth} DIR --places 300" for n in names if sources[n].synth]
    more = f"; an invented stand-in: {'; '.join(synth)}, then --scale smoke" if synth else ""
    return "; ".join(words) + more
