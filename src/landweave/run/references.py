"""What a table must print beside a model: predictors that cost nothing, or next to nothing.

A model that does not beat a random forest on the bands of single pixels has learned nothing from space, and one that
does not beat the majority class has learned nothing at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from landweave.contract import Contract
from landweave.sample import Batch, Image, Label
from landweave.transforms import cubes, normalise

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from landweave.data.dataset import Dataset, Task

TREES = 100
PIXELS_PER_CLASS_AND_PLACE = 40
MOST_ROWS = 60_000
MOST_PIXELS = 20_000_000
"""Pixels of label maps that a forest is asked about, at most: about seven minutes. 50,000 places of 512 x 512 pixels
would take 80 hours, and the table says nothing else of them than of an even sample."""


class Reference(Protocol):
    """A predictor that a model is compared with."""

    name: str
    step: int
    """Of label maps: one of so many rows and columns is predicted; see `thinned`."""

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """Probabilities B K, or B K h w for label maps, at the pixels of `thinned`, from a raw collated batch."""


@dataclass
class Forest:
    """A random forest on the bands of a pixel (maps), or on mean and deviation of each band over a place (scenes)."""

    contract: Contract
    task: str
    kind: str
    classes: int
    name: str = ""
    trees: Any = None
    step: int = 1

    def __post_init__(self) -> None:
        self.name = "random forest on pixel bands" if self.kind == "map" else "random forest on band statistics"
        self._seen: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []

    def look(self, batch: Batch, rng: np.random.Generator) -> None:
        """Keep the labelled rows of a training batch."""
        self._seen.append(self._rows(batch, rng))

    def grow(self, rng: np.random.Generator, *, seed: int = 0) -> bool:
        """Learn from what was looked at; False where nothing is labelled."""
        from sklearn.ensemble import RandomForestClassifier

        if not sum(len(y) for _, y in self._seen):
            return False
        x, y = (np.concatenate(part) for part in zip(*self._seen, strict=True))
        self._seen = []
        if len(x) > MOST_ROWS:
            keep = rng.choice(len(x), MOST_ROWS, replace=False)
            x, y = x[keep], y[keep]
        y = y[:, 0] if self._alone else y
        self.trees = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=seed, n_jobs=1).fit(x, y)
        return True

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """Probabilities; a class that the forest never saw has 0."""
        x, shape = self._features(batch, self.step)
        found, known = self.trees.predict_proba(x), self.trees.classes_
        out = np.zeros((len(x), self.classes), np.float32)
        if self.kind == "multilabel":
            found, known = ([found], [known]) if self._alone else (found, known)
            for k, (p, classes) in enumerate(zip(found, known, strict=True)):
                out[:, k] = p[:, list(classes).index(1)] if 1 in classes else 0
            return out
        out[:, known.astype(int)] = found
        if self.kind == "class":
            return out
        B, H, W = shape
        return out.reshape(B, H, W, -1).transpose(0, 3, 1, 2)

    @property
    def _alone(self) -> bool:
        """Whether the sets are of one class: scikit-learn then gives no list of classes, but the one."""
        return self.kind == "multilabel" and self.classes == 1

    def _features(self, batch: Batch, step: int = 1) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        """Rows of features: one a pixel or one a place; of a series its mean over seen dates, and where nothing is
        seen the band's mean."""
        import torch

        cube = normalise(cubes(batch, self.contract), self.contract)
        images = [_mean_of_seen(im) for _, im in sorted(cube.images.items())]
        if self.kind != "map":
            stats = [torch.cat([im.mean((2, 3)), im.std((2, 3))], 1) for im in images]
            return torch.cat(stats, 1).numpy(), (len(batch),)
        H, W = batch.labels[self.task].values.shape[-2:]
        rows, cols = (torch.arange(step // 2, n, step) for n in (H, W))
        stacked = torch.cat([_nearest(im, rows, cols, (H, W)) for im in images], 1)
        shape = (len(batch), *stacked.shape[-2:])
        return stacked.permute(0, 2, 3, 1).reshape(-1, stacked.shape[1]).numpy(), shape

    def _rows(self, batch: Batch, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Labelled rows to learn from; of a map a few pixels a class and place, so that large fields do not rule."""
        x, _ = self._features(batch)
        label = batch.labels[self.task]
        y, known = label.values.numpy().astype(np.int64), label.known.numpy()
        if self.kind == "multilabel":
            return x[known.all(1)], y[known.all(1)]
        if self.kind == "class":
            return x[known], y[known]
        y, known = y.reshape(len(batch), -1), known.reshape(len(batch), -1)
        picked = []
        for b in range(len(batch)):
            for c in np.unique(y[b][known[b]]):
                at = np.flatnonzero((y[b] == c) & known[b])
                picked.append(b * y.shape[1] + rng.permutation(at)[:PIXELS_PER_CLASS_AND_PLACE])
        rows = np.concatenate(picked) if picked else np.zeros(0, np.int64)
        return x[rows], y.reshape(-1)[rows]


@dataclass
class Constant:
    """The same answer everywhere: the most frequent training class, or for label sets the training prevalence."""

    counts: Sequence[int]
    places: int
    kind: str
    task: str
    name: str = ""
    step: int = 1

    def __post_init__(self) -> None:
        self.name = "training prevalence" if self.kind == "multilabel" else "majority class"

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """Probabilities."""
        K = len(self.counts)
        if self.kind == "multilabel":
            row = np.minimum(np.asarray(self.counts, np.float32) / np.float32(max(1, self.places)), 1)
        else:
            row = np.eye(K, dtype=np.float32)[int(np.argmax(self.counts))]
        shape = (len(batch), K)
        if self.kind != "map":
            return np.broadcast_to(row, shape)
        return np.broadcast_to(row[:, None, None], (*shape, 1, 1))  # one answer for the whole raster


def thinned(label: Label, step: int) -> Label:
    """Every `step`-th row and column of label maps, from the middle of the first `step`; other labels as they are."""
    if label.kind != "map" or step == 1:
        return label
    at = slice(step // 2, None, step)
    return replace(label, values=label.values[..., at, at], known=label.known[..., at, at], grid=None)


def _mean_of_seen(image: Image) -> Float[Tensor, "B C H W"]:
    seen = image.seen
    return (image.data * seen).sum(1) / seen.sum(1).clamp(min=1)


def _nearest(image: Tensor, rows: Tensor, cols: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels of an image that lie under some rows and columns of a raster of the same ground and of `size`."""
    h, w = image.shape[-2:]
    return image[..., (rows * h // size[0])[:, None], cols * w // size[1]]


def references(
    dataset: Dataset,
    tasks: Mapping[str, Task],
    contract: Contract,
    *,
    counts: Mapping[str, tuple[Sequence[int], int | None]],
    batches: Iterable[Batch],
    scored: int,
    seed: int = 0,
) -> dict[str, list[Reference]]:
    """The references of an experiment by task, learned from its own labelled training places, which are read once.

    `counts` are those of the training labels by class, for each task, and of how many places they are (None: of all
    labelled ones at hand); `scored` is how many places will be asked about.
    """
    labelled = sum(p.labelled and p.split == "train" for p in dataset.places)
    found: dict[str, list[Reference]] = {}
    for name, task in tasks.items():
        own, places = counts[name]
        found[name] = [Constant(own, labelled if places is None else places, task.kind, name)]
    forests = {n: Forest(contract, n, t.kind, len(t.legend)) for n, t in tasks.items()}
    draws = {n: np.random.default_rng(seed) for n in tasks}
    for batch in batches:
        for name, forest in forests.items():
            forest.look(batch, draws[name])
            if forest.kind == "map":
                pixels = scored * batch.labels[name].values[0].numel()
                forest.step = max(forest.step, math.ceil(math.sqrt(pixels / MOST_PIXELS)))
    for name, forest in forests.items():
        if forest.grow(draws[name], seed=seed):
            found[name].append(forest)
    return found
