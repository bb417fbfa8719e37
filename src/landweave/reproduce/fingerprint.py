"""Telling runs apart: four marks, of the code, the recipe, the data and the libraries, and one fingerprint of them.

A finished run is used again where all four are the same, and never where one differs.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landweave.data.dataset import DataConfig, Dataset
    from landweave.run.experiment import Experiment

Marks = dict[str, str]
"""code, recipe, data, versions."""

ROOMS = ("data", "losses", "metrics", "transforms", "nn", "methods", "run")
MODULES = ("config", "contract", "grid", "legends", "sample", "sensors")
SPARED = (
    "data/synth",
    "data/check",
    "data/tile",
    "run/leak.py",
    "run/ablate.py",
    "run/embed.py",
    "run/matrix",
    "run/probe.py",
)
"""Code that no training and no score passes through."""
LIBRARIES = ("torch", "torchvision", "lightning", "timm", "numpy", "kornia", "iterative-stratification")
NEUTRAL: Mapping[str, tuple[str, ...]] = {
    "": ("recipe",),
    "data": ("path",),
    "train": ("workers", "accelerator"),
}
"""Keys of an experiment that change no figure: names, places on disk, who reads, and the device (which is recorded)."""
TEACHER = "TEACHER"
"""`start` of a student until its run is made. Which teacher that is stands in the fingerprint of the first stage."""
LOOKED_AT = 2000
"""Places whose files' sizes are looked at: all of a small set, an even sample of a large one."""
OPENED = 300
"""Places whose files are read too: rasters that are not compressed have one size, whatever they show."""
PIECE = 16_384
"""Bytes that are read at the start, in the middle and at the end of such a file."""


@cache
def code_mark() -> str:
    """Of the code that a training or a score passes through; comments, docstrings and layout do not count."""
    root = Path(str(files("landweave")))
    found = [root / f"{name}.py" for name in MODULES]
    for room in ROOMS:
        found += sorted((root / room).rglob("*.py"))
    digest = blake2b(digest_size=12)
    for file in found:
        name = file.relative_to(root).as_posix()
        if name.startswith(SPARED):
            continue
        digest.update(name.encode() + b"\0" + _meaning(file.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


@cache
def files_mark(names: tuple[str, ...]) -> str:
    """The same of some modules alone, by their paths below the package."""
    root = Path(str(files("landweave")))
    return _hash([[name, _meaning((root / name).read_text(encoding="utf-8"))] for name in names])


def _meaning(source: str) -> str:
    """A module without its docstrings, as a text that comments and layout do not change."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


@cache
def versions_mark() -> str:
    """Of the libraries that figures depend on."""
    return " ".join(f"{name} {_version(name)}" for name in LIBRARIES)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def recipe_mark(experiment: Experiment) -> str:
    """Of all settings but the neutral ones; of what it starts with the weights, wherever they lie."""
    plain = experiment.model_dump(mode="json")
    start = plain.pop("start")
    if start and start != TEACHER:
        plain["start"] = _weights(start)
    for section, keys in NEUTRAL.items():
        for part in _sections(plain, section):
            for key in keys:
                part.pop(key, None)
    return _hash(plain)


def _weights(start: str) -> str:
    """The mark of a run's weights, or of a file; where there are none the path, so that two such starts differ."""
    path = Path(start)
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        return start
    seen = path.stat()
    return _read(path, seen.st_mtime_ns, seen.st_size, seen.st_ino)


@cache
def _read(path: Path, *_: int) -> str:
    """Read once while the file stays as it is: every run of a row asks for it."""
    from landweave.run.start import weights_mark

    return weights_mark(path)


def _sections(plain: dict[str, Any], section: str) -> list[dict[str, Any]]:
    """A section of the experiment and, if it has a first stage, of that too."""
    if not section:
        return [plain]
    parts = [plain.get(section), (plain.get("pretrain") or {}).get(section)]
    return [p for p in parts if isinstance(p, dict)]


def data_mark(data: DataConfig) -> str:
    """Of the places, their splits, groups and classes, and the names and sizes of their files; not of where they lie.

    Of an even sample of `OPENED` places three pieces of every file count as well. A pixel changed outside of those, in
    a file that keeps its size, goes unseen; another world, product level or processing does not.

    A packed store has a fingerprint of its own, which says the same. Opening the data is part of it.

    Raises:
        LandweaveError: the data cannot be opened.
    """
    dataset = data.open()
    tasks = {name: [task.kind, task.legend.to_json()] for name, task in dataset.tasks.items()}
    settings = data.model_dump(mode="json", exclude={"path", "fraction", "seed", "streams", "task"})
    packed = getattr(dataset, "fingerprint", "")
    if packed:
        return _hash([settings, tasks, packed])
    places = [[p.name, p.split, p.group, p.labelled] for p in dataset.places]
    step = max(1, len(places) // LOOKED_AT)
    seen = range(0, len(places), step)
    kinds = [name for name, task in dataset.tasks.items() if task.kind != "map"]
    opened = range(0, len(places), max(1, len(places) // OPENED))
    return _hash([settings, tasks, places, [_place(dataset, i, kinds) for i in seen], _content(dataset, opened)])


def _content(dataset: Dataset, indices: Iterable[int]) -> str:
    """Of the start, the middle and the end of every file of some places; a file that is not there counts as empty."""
    digest = blake2b(digest_size=12)
    for file in dict.fromkeys(f for i in indices for f in dataset.files(i)):
        digest.update(file.name.encode() + b"\0")
        if not file.is_file():
            continue
        size = file.stat().st_size
        with file.open("rb") as content:
            for start in sorted({0, max(0, size // 2 - PIECE // 2), max(0, size - PIECE)}):
                content.seek(start)
                digest.update(content.read(PIECE))
    return digest.hexdigest()


def _place(dataset: Dataset, index: int, tasks: list[str]) -> list[Any]:
    sizes = [(f.name, f.stat().st_size if f.exists() else -1) for f in dataset.files(index)]
    return [sizes, [dataset.classes(index, task) for task in tasks]]


def together(marks: Mapping[str, str], *more: object) -> str:
    """One fingerprint of marks and whatever else tells runs apart."""
    return _hash([dict(sorted(marks.items())), *more])


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return blake2b(text.encode(), digest_size=8).hexdigest()
