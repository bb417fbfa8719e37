"""What several runs make of the same places under the same faults: features, answers and scores, in one reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.data.dataset import Task
from landweave.errors import ConfigError, DataError, RunError, listed
from landweave.run.evaluate import Scene, clean
from landweave.run.predict import Run
from landweave.run.probe import Rows, together
from landweave.run.score import Scorer
from landweave.sample import Batch, Label
from landweave.transforms.faults import Faults

if TYPE_CHECKING:
    import torch

MEMORY = 2**30
"""Bytes of images that are kept for the next look; larger data are read again each time."""


@dataclass(frozen=True)
class Seen:
    """One run on N places.

    `features` N D are what its head reads; of a model of maps, the spatial means of all stages of its encoders.
    `answers` are class indices (N, or N H W on the label's raster), or 0/1 of a set of classes (N K); None for a
    pretraining. `scores` are those of `landweave evaluate`; empty for a pretraining.
    """

    features: Rows
    answers: NDArray[np.uint8] | None
    scores: Mapping[str, float | None]


@dataclass
class Places:
    """Some places of a scene as cubes, read once if they fit in memory, in the batches of an evaluation."""

    scene: Scene
    indices: Sequence[int]
    run: Run
    _kept: list[Batch] = field(default_factory=list)
    _whole: bool = False

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Batch]:
        if self._whole:
            yield from self._kept
            return
        size, kept = 0, []
        for batch in self.scene.batches(self.indices, batch_size=self.run.settings.train.batch_size):
            size += sum(im.data.nbytes for im in batch.images.values())
            if size <= MEMORY:
                kept.append(batch)
            yield batch
        if size <= MEMORY:
            self._kept, self._whole = kept, True

    def label(self) -> Label:
        """The labels of all places."""
        return together([batch.labels[self.run.task] for batch in self])


def look(
    runs: Sequence[Run],
    places: Places,
    faults: Faults,
    key: Sequence[int],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Seen]:
    """Every run on every place. With the key of `landweave evaluate`, its scores are the same.

    Raises:
        ConfigError: a fault names a band that the runs do not read.
        DataError: there is no place.
    """
    from landweave.transforms import cubes
    from landweave.transforms.faults import spoil

    contract = runs[0].contract
    faults.require({name: s.bands for name, s in contract.streams.items()})
    parts: list[list[tuple[Rows, NDArray[np.uint8] | None]]] = [[] for _ in runs]
    scorers = [Scorer(Task(r.kind, r.legend), scored=r.trained_classes) if r.classifier else None for r in runs]
    metres = {name: s.metres for name, s in contract.streams.items()}
    done = 0
    for batch in places:
        spoilt = spoil(cubes(batch, contract), faults, key, metres=metres)
        for run, found, scorer in zip(runs, parts, scorers, strict=True):
            found.append(_forward(run, spoilt, scorer))
        done += len(batch)
        if progress:
            progress(done, len(places))
    if not done:
        raise DataError("no place to look at", where=places.scene.dataset.where)
    return [_joined(found, scorer) for found, scorer in zip(parts, scorers, strict=True)]


def _forward(run: Run, batch: Batch, scorer: Scorer | None) -> tuple[Rows, NDArray[np.uint8] | None]:
    """One batch. What the head reads is caught on its way in, so that any fusion will do.

    A network of several tasks has a decoder a task and no such head; it answers without calling itself.
    """
    import torch

    model, caught = run.model, {}
    device = next(model.parameters()).device

    def into(_: Any, given: tuple[Any, ...]) -> None:
        caught["fused"] = given[0]

    def out_of(_: Any, __: Any, given: Any) -> None:
        caught["features"] = given.features

    hooks = [model.register_forward_hook(out_of)]
    if isinstance(head := getattr(model, "head", None), torch.nn.Module):
        hooks.append(head.register_forward_pre_hook(into))
    try:
        with torch.inference_mode():
            found = run.predict(batch) if run.classifier else None
            if found is None:
                model(batch.to(device))
            if "features" not in caught:
                caught["features"] = model.features(batch.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    fused = caught.get("fused")
    if not isinstance(fused, torch.Tensor) or fused.ndim != 2:  # a decoder reads pyramids
        fused = torch.cat([caught["features"][n] for n in sorted(caught["features"])], 1)
    features: Rows = fused.float().cpu().numpy()
    if found is None or scorer is None:
        return features, None
    label = batch.labels[run.task]
    scorer.add(label, found)
    return features, _answers(found, label)


def _answers(found: torch.Tensor, label: Label) -> NDArray[np.uint8]:
    """Class indices on the label's raster, as a `Scorer` counts them; of sets of classes 0/1."""
    import torch

    from landweave.transforms.resampling import answers_on

    if label.kind == "multilabel":
        said = found > 0.5
    else:
        if label.kind == "map":
            found = answers_on(found, label.values.shape[-2:])
        said = found.argmax(1)
    answers: NDArray[np.uint8] = said.to(torch.uint8).cpu().numpy()
    return answers


def _joined(parts: Sequence[tuple[Rows, NDArray[np.uint8] | None]], scorer: Scorer | None) -> Seen:
    answers = [a for _, a in parts if a is not None]
    return Seen(
        np.concatenate([f for f, _ in parts]),
        np.concatenate(answers) if answers else None,
        clean(scorer.scores()) if scorer else {},
    )


def require_alike(runs: Sequence[Run], *, probed: bool = False) -> None:
    """Refuse runs that cannot stand in one table: they must read the same bands of the same data, for the same classes.

    Statistics, backbones and shares of labels may differ.

    Raises:
        ConfigError: two runs that differ, and in what.
        RunError: a run is a reconstruction of bands; or to be probed, and of uperfuse.
    """
    refused = {"reconstruct": ("a reconstruction of bands has neither features nor answers", "give runs that classify")}
    if probed:
        what = "a probe trains one decoder on fused maps anew, and a run of uperfuse may have series and several"
        refused["uperfuse"] = (what, "leave probes out: --no-probe")
    for run in runs:
        if why := refused.get(run.settings.method.kind):
            raise RunError(why[0], where=run.folder, fix=why[1])
    first = runs[0]
    for other in runs[1:]:
        for what, mine, theirs in (
            ("sensors and bands", _bands(first), _bands(other)),
            ("classes", [first.kind, *first.legend.names], [other.kind, *other.legend.names]),
            ("data", _data(first), _data(other)),
        ):
            if mine != theirs and (what != "classes" or (first.task and other.task)):
                raise ConfigError(
                    f"{first.folder} and {other.folder} have different {what}",
                    where="landweave matrix",
                    fix=_unlike(mine, theirs) or "give runs that were adapted from one teacher on its own data",
                )


def _bands(run: Run) -> list[str]:
    return [f"{n}:{'+'.join(s.bands)}" for n, s in sorted(run.contract.streams.items())]


def _data(run: Run) -> list[str]:
    """What decides which places are trained on and which are tested on."""
    plain = run.settings.data.model_dump(mode="json", exclude={"path", "fraction", "seed", "streams", "task"})
    return [f"{k}={v}" for k, v in sorted(plain.items())]


def _unlike(mine: Sequence[str], theirs: Sequence[str]) -> str:
    here, there = ([x for x in a if x not in b] for a, b in ((mine, theirs), (theirs, mine)))
    return f"{listed(here) or 'nothing'} there, and {listed(there) or 'nothing'} here" if here or there else ""
