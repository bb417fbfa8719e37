"""An experiment: everything that decides what a run does, on one page. It is what a recipe describes.

`landweave train mosaic-1 data.path=DIR optim.lr=3e-4`, the call
`landweave.train(landweave.recipe("mosaic-1", ["data.path=DIR", "optim.lr=3e-4"]), "runs/a")`, and
`landweave train runs/a/experiment.yaml` are the same thing three ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer, field_validator, model_validator

from landweave.config import Config, override, parse, read_yaml, to_yaml
from landweave.data import Data
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.methods import Method
from landweave.nn.config import Fusion

CHECKPOINT = ".ckpt"
"""How the name of a foreign checkpoint ends, where `start` otherwise names a run folder."""


class Optim(Config):
    """AdamW with a warm-up and a cosine decay to zero, or in one cycle."""

    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="not applied to biases and norms")
    schedule: Literal["cosine", "constant", "one-cycle"] = Field(
        "cosine",
        description="one-cycle: up from lr / div and down to its 10,000th part, by cosines (torch's OneCycleLR)",
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps over which the rate rises")
    div: float = Field(1000.0, ge=1, description="of one-cycle: what the peak is divided by for the first step")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 for none")


def _as_text(value: Any) -> Any:
    """YAML reads `precision: 32` as a number."""
    return str(value) if type(value) is int else value


class Train(Config):
    """How long, in which batches, on what."""

    epochs: int = Field(20, ge=0, description="0 makes a run of what it starts with, such as released weights")
    max_minutes: float | None = Field(None, gt=0, description="stop after the epoch in which this is passed")
    batch_size: int = Field(32, ge=1, description="places a step and process")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are added up before a step")
    precision: Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(_as_text)] = Field(
        "auto", description="auto: bf16 where a GPU has it, otherwise 32"
    )
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(1, ge=1, description="GPUs, or processes on a CPU; more than one trains with DDP")
    workers: int = Field(0, ge=0, description="processes that read; 0 reads in the training process")
    places_per_group: int | None = Field(None, ge=1, description="at most so many places of one group in a batch")
    one_group: bool = Field(False, description="every batch from one group (hard negatives), filled up with others")
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: rare classes weigh more")
    balanced: float = Field(
        0.0,
        ge=0,
        le=1,
        description="classes that stand at fewer than this share of the places come more often: sqrt(share / theirs)",
    )
    validate_every: int = Field(1, ge=1, description="epochs between two looks at the validation places")
    monitor: str = Field("", description="validation score that picks the kept epoch; default by kind of label")


class Stage(Config):
    """A training that comes before the main one, on the same data, and leaves its encoders to it."""

    method: Method
    optim: Optim = Optim()
    train: Train = Train()


class Experiment(Config):
    """A recipe, read.

    With `pretrain` it is sequential: that stage is trained first, in the folder `pretrain` of the run, and the method
    begins with its encoders. Encoder and fusion of the stage are those of the method, and need not be said twice.
    """

    recipe: str = Field("", description="the recipe it came from")
    seed: int = Field(0, description="of weights, order and augmentation")
    data: Data
    method: Method
    optim: Optim = Optim()
    train: Train = Train()
    pretrain: Stage | None = Field(None, description="what is trained first, to begin with its encoders")
    start: str = Field(
        "",
        description="what to begin with (of all stages, the first): a finished run folder, a SatCLIP file .ckpt, or "
        "FLAIR-HUB's released weights (.safetensors, .ckpt, .pth; method uperfuse)",
    )
    classifier: bool = Field(True, description="false: a pretraining on its own, which ends with encoders only")

    @field_validator("pretrain")
    @classmethod
    def _one_encoder(cls, stage: Stage | None, info: ValidationInfo) -> Stage | None:
        """Give the stage the encoder and the fusion of the method, where it names none; refuse others."""
        method = info.data.get("method")
        if stage is None or method is None:
            return stage
        shared = ("encoder", *(("fusion",) if _reads(stage.method, method.fusion) else ()))
        own = {k: getattr(method, k) for k in shared if k not in stage.method.model_fields_set}
        if own:
            plain = stage.method.model_dump() | {k: v.model_dump() for k, v in own.items()}
            stage = stage.model_copy(update={"method": type(stage.method).model_validate(plain)})
        if stage.method.encoder != method.encoder:
            mine, theirs = stage.method.encoder, method.encoder
            unlike = [f"{k} {v} and {getattr(theirs, k)}" for k, v in mine if v != getattr(theirs, k)]
            raise ValueError(f"the encoders of the stage and of `method` differ: {'; '.join(unlike)}; leave one out")
        if (stage.method.fusion.kind == "early") != (method.fusion.kind == "early"):
            raise ValueError("one of the stage and `method` has fusion.kind=early, the other has not")
        return stage

    @field_serializer("pretrain", mode="wrap")
    def _said_once(self, stage: Stage | None, write: Callable[[Stage | None], Any]) -> Any:
        """Leave out what the stage has of the method, so that a change of that in a kept recipe reaches both."""
        plain = write(stage)
        if stage is not None:
            for key in ("encoder", "fusion"):
                if getattr(stage.method, key) == getattr(self.method, key):
                    del plain["method"][key]
        return plain

    @field_validator("classifier")
    @classmethod
    def _as_the_method(cls, classifier: bool, info: ValidationInfo) -> bool:
        """Refuse to end without a classifier by accident."""
        method, train = info.data.get("method"), info.data.get("train")
        if method is None or train is None:
            return classifier
        if method.teacher:
            return cls._with_a_teacher(classifier, info)
        if classifier and not method.classifier:
            raise ValueError(
                "no term of the method learns to classify; add one of kind supervised, move the method to `pretrain`, "
                "or say classifier=false for a pretraining on its own"
            )
        if not classifier and method.classifier:
            raise ValueError("false is for a pretraining, and the method learns to classify; leave it out")
        if not classifier and (train.monitor or train.class_weights != "none"):
            raise ValueError("a pretraining has no scores and no classes: leave train.monitor and class_weights out")
        return classifier

    @classmethod
    def _with_a_teacher(cls, classifier: bool, info: ValidationInfo) -> bool:
        """A student has the classifier of its teacher, which only its training can look up."""
        train = info.data["train"]
        if not (info.data.get("start") or info.data.get("pretrain")):
            raise ValueError("the method has a teacher: give it, as start=RUN (or as the stage `pretrain`)")
        if train.class_weights != "none":
            raise ValueError("a student learns from its teacher, not from classes: leave train.class_weights out")
        if not classifier and train.monitor:
            raise ValueError("without a classifier there are no scores: leave train.monitor out")
        return classifier

    @model_validator(mode="after")
    def _something_learned(self) -> Self:
        """Refuse a run of random weights."""
        if self.train.epochs == 0 and not (self.start and self.method.kind == "uperfuse"):
            raise ValueError("train.epochs=0 keeps released weights as they are: give start=FILE, and method uperfuse")
        return self

    @property
    def first(self) -> Experiment | None:
        """The pretraining stage as an experiment of its own."""
        if self.pretrain is None:
            return None
        stage = self.pretrain
        return Experiment(
            recipe=self.recipe,
            seed=self.seed,
            data=self.data,
            method=stage.method,
            optim=stage.optim,
            train=stage.train,
            start=self.start,
            classifier=stage.method.classifier,
        )


def _reads(method: Method, fusion: Fusion) -> bool:
    """Whether a stage of this method can have that fusion; fusion of maps means nothing to a method of whole places."""
    return method.kind == "uperfuse" or fusion.kind not in ("stages", "late")


class DataOnly(Config):
    """The data part of a recipe, for commands that train nothing."""

    data: Data


HIDDEN = "_"
"""How the name of a file begins that other recipes extend, and that is none itself."""


def recipes() -> dict[str, Path]:
    """The shipped recipes by name; one in a folder has its name before it: `flair/lc-a`."""
    return {name: path for name, path in _files().items() if not path.stem.startswith(HIDDEN)}


def _files() -> dict[str, Path]:
    """Every shipped file by name, also those that are only extended."""
    folder = Path(str(files("landweave") / "recipes"))
    return {p.relative_to(folder).with_suffix("").as_posix(): p for p in sorted(folder.rglob("*.yaml"))}


def recipe(name: str | Path, changes: Sequence[str] = (), *, scale: str = "") -> Experiment:
    """Read a shipped recipe by name, or a YAML file (a run's `experiment.yaml` too), and apply `a.b=c` changes.

    Args:
        name: of the recipe, or of a file.
        changes: laid on it, last of all.
        scale: one of the recipe's `scales`, whose changes are laid on it before: `smoke` for a small machine.

    Raises:
        ConfigError: unknown recipe or scale, or a fault in the file or the changes, with file:line and the nearest
            known key.
    """
    raw, where, lines = raw_recipe(name, scale=scale)
    return parse(Experiment, override(raw, changes), where=where, lines=lines, changes=changes)


def raw_recipe(name: str | Path, *, scale: str = "") -> tuple[dict[str, Any], str, Any]:
    """A recipe as plain data, with the file it stands in and its lines.

    `extends: flair/_base` takes every key that the file does not write itself from another shipped file, setting by
    setting (another `kind` takes nothing). `scales: {smoke: [a.b=c, ...]}` are changes for smaller machines or data;
    they are no part of the experiment.
    """
    shipped = recipes()
    path = shipped.get(str(name), Path(name))
    if str(name) not in shipped and path.suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"unknown recipe `{name}`{did_you_mean(str(name), list(shipped))}",
            fix=f"use one of {listed(list(shipped))}, or a file that ends in .yaml",
        )
    raw, lines = read_yaml(path)
    where = path.name if str(name) in shipped else str(path)
    own = {"recipe": str(name) if str(name) in shipped else path.stem, **_extended(raw, where)}
    scales = own.pop("scales", {})
    if scale and scale not in scales:
        raise ConfigError(
            f"no scale `{scale}`{did_you_mean(scale, list(scales))}",
            where=where,
            fix=f"use one of {listed(list(scales))}"
            if scales
            else "the recipe has none: change its settings by key=value",
        )
    return override(own, scales[scale]) if scale else own, where, lines


def _extended(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A file laid on the shipped one that it extends."""
    own, base = {k: v for k, v in raw.items() if k != "extends"}, raw.get("extends")
    if base is None:
        return own
    known = _files()
    if base not in known:
        raise ConfigError(f"extends the unknown `{base}`{did_you_mean(str(base), list(known))}", where=where)
    below, _ = read_yaml(known[base])
    return _laid(_extended(below, known[base].name), own)


def _laid(below: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid on others; a mapping of another `kind` replaces the whole."""
    out = dict(below)
    for key, value in own.items():
        old = below.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same = value.get("kind", old.get("kind")) == old.get("kind")
            out[key] = _laid(old, value) if same else value
        else:
            out[key] = value
    return out


def save(experiment: Experiment, path: Path) -> None:
    """Write an experiment so that `recipe(path)` reads an equal one."""
    path.write_text("# landweave train THIS_FILE --out RUN repeats this run\n" + to_yaml(experiment), encoding="utf-8")
