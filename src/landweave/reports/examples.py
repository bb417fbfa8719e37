"""Some places of a run, from its worst to its best: what the sensors saw, what is true, what the run says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from landweave.legends import UNKNOWN, Legend
from landweave.reports import pictures

if TYPE_CHECKING:
    from torch import Tensor

    from landweave.data.dataset import Dataset
    from landweave.sample import Batch, Image, Label, LabelKind, Sample

SURE = 0.5
"""From this probability on a class counts as said, for sets of classes."""


class Predictor(Protocol):
    """What an example needs of a run."""

    @property
    def legend(self) -> Legend:
        """Its classes."""

    @property
    def task(self) -> str:
        """The label that it learned."""

    @property
    def kind(self) -> LabelKind:
        """Kind of that label."""

    def predict(self, batch: Batch) -> Tensor:
        """Probabilities B K, or B K H W."""


@dataclass(frozen=True)
class Panel:
    """One picture of an example."""

    title: str
    uri: str
    alt: str


@dataclass(frozen=True)
class Said:
    """A class that is true, or that the run says, with its probability."""

    name: str
    color: str
    probability: float
    true: bool
    said: bool


@dataclass(frozen=True)
class Example:
    """One place. `classes` is empty for label maps, which show in `panels`."""

    name: str
    panels: tuple[Panel, ...]
    classes: tuple[Said, ...]
    score: float | None
    known: bool
    """Whether the truth is known."""


def spread(scores: Mapping[int, float | None], count: int) -> list[int]:
    """`count` of the given places, evenly from the worst score to the best; unscored ones only if there are no others.

    Equal scores are ordered by a shuffle that is always the same, so that neighbours in a file are not all alike.
    """
    shuffled = [list(scores)[i] for i in np.random.default_rng(0).permutation(len(scores))]
    scored = [i for i in shuffled if scores[i] is not None]
    order = sorted(scored, key=lambda i: scores[i] or 0.0) if scored else sorted(shuffled)
    if not order:
        return []
    at = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[i] for i in at]


def collect_examples(
    run: Predictor,
    dataset: Dataset,
    indices: Sequence[int],
    count: int = 6,
    *,
    scores: Mapping[str, float | None] | None = None,
) -> list[Example]:
    """Read, predict and draw `count` of the places `indices`, from the worst to the best.

    Args:
        run: an open run.
        dataset: the data as the run sees them.
        indices: positions of the places to choose from.
        count: at most so many.
        scores: by name of a place; without them places are taken evenly in order.
    """
    from landweave.sample import collate

    known = scores or {}
    picked = spread({i: known.get(dataset.places[i].name) for i in indices}, count)
    out = []
    for i in picked:
        sample = dataset.read(i)
        found = run.predict(collate([sample]))[0]
        out.append(_example(run, sample, found, known.get(sample.name)))
    return out


def _example(run: Predictor, sample: Sample, found: Tensor, score: float | None) -> Example:
    panels = []
    for stream, image in shown_streams(sample).items():
        seen = pictures.look(stream, image)
        if seen:
            panels.append(Panel(seen[0], pictures.data_uri(seen[1]), f"{sample.name}, {seen[0]}"))
    label = sample.labels.get(run.task)
    if run.kind == "map":
        panels += _maps(run.legend, label, found, sample.name)
        return Example(sample.name, tuple(panels), (), score, label is not None and bool(label.known.any()))
    known = label is not None and bool(label.known.any())
    return Example(sample.name, tuple(panels), _said(run, label if known else None, found), score, known)


def shown_streams(sample: Sample) -> dict[str, Image]:
    """One stream a sensor: the finest, which holds the visible bands."""
    best: dict[str, str] = {}
    for stream, image in sample.images.items():
        name = stream.partition("@")[0]
        if name not in best or image.data.shape[-1] > sample.images[best[name]].data.shape[-1]:
            best[name] = stream
    return {s: sample.images[s] for s in best.values()}


def _maps(legend: Legend, label: Label | None, found: Tensor, name: str) -> list[Panel]:
    from landweave.transforms.resampling import answers_on

    panels = []
    if label is not None:
        truth = np.where(label.known.numpy(), label.values.numpy(), UNKNOWN).astype(np.uint8)
        found = answers_on(found[None], truth.shape)[0]
        picture = pictures.class_picture(truth, legend.colors)
        panels.append(Panel("truth", pictures.data_uri(picture), f"{name}, truth: {_cover(truth, legend)}"))
    answer = found.argmax(0).numpy().astype(np.uint8)
    picture = pictures.class_picture(answer, legend.colors)
    panels.append(Panel("prediction", pictures.data_uri(picture), f"{name}, prediction: {_cover(answer, legend)}"))
    return panels


def _cover(values: NDArray[np.uint8], legend: Legend) -> str:
    """The largest classes of a map, in words."""
    total = max(1, int((values != UNKNOWN).sum()))
    shares = sorted(((int((values == k).sum()) / total, n) for k, n in enumerate(legend.names)), reverse=True)
    return ", ".join(f"{n} {s:.0%}" for s, n in shares[:3] if s > 0) or "nothing known"


def _said(run: Predictor, label: Label | None, found: Tensor) -> tuple[Said, ...]:
    """The true classes and those that the run says, the likeliest first."""
    p = found.numpy()
    said = {int(p.argmax())} if run.kind == "class" else {int(k) for k in np.flatnonzero(p > SURE)}
    true: set[int] = set()
    if label is not None:
        values = label.values
        true = {int(values)} if run.kind == "class" else {int(k) for k in np.flatnonzero(values.numpy())}
    rows = sorted(said | true, key=lambda k: -p[k])
    classes = run.legend.classes
    return tuple(Said(classes[k].name, classes[k].color, float(p[k]), k in true, k in said) for k in rows)
