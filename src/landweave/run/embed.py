"""What the encoders of a run make of places: features, embeddings and the fused vector of each, as arrays.

found = embed("runs/a", "test")
found.features["s2-l2a"], found.seen["s2-l2a"]      N D, N
found.embeddings["main"]["s2-l2a"]                  N P, of projection head `main`; none in a linear-probe run
between(found, "s2-l2a", "s1-grd-sigma0")           retrieval of one sensor by the other
embed("runs/a", "test", trained=False)              the same from random weights: "before"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.data.order import evenly
from landweave.errors import DataError
from landweave.metrics.retrieval import Retrieval, retrieval
from landweave.run.evaluate import Scene, reopen
from landweave.run.predict import Run, fastest, open_run

if TYPE_CHECKING:
    from landweave.nn.model import Model
    from landweave.sample import Batch

Rows = NDArray[np.float32]
SETTLED = 64
"""Training places that give an untrained model the statistics of its batch norms."""


@dataclass(frozen=True)
class Embedded:
    """N places as a model sees them, in the order of the split. Rows of a sensor that is not seen are 0.

    `features` and `seen` are by sensor (`early` for early fusion); `embeddings` by projection head and sensor;
    `fused` is what the classifier reads, or the features side by side where there is none (label maps, pretraining);
    `probabilities` are the answers, empty (N 0) for label maps and for runs without a classifier.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    features: Mapping[str, Rows]
    seen: Mapping[str, NDArray[np.bool_]]
    embeddings: Mapping[str, Mapping[str, Rows]]
    fused: Rows
    probabilities: Rows

    def __len__(self) -> int:
        return len(self.names)


def embed(
    run: Run | str | Path,
    split: str = "test",
    *,
    trained: bool = True,
    changes: Sequence[str] = (),
    most: int | None = None,
    scene: Scene | None = None,
) -> Embedded:
    """Encode the places of a split, as they are (no augmentation).

    Args:
        run: an open run, or its folder; a run that was only pretrained will do.
        split: train, validation, test or snow_cloud.
        trained: False for the same model before its training: random weights of the experiment's seed.
        changes: where the data are now, if they have moved.
        most: at most so many places, evenly through the split.
        scene: the data, where they are open already; then `split` and `changes` do not count.

    Raises:
        RunError, ConfigError, DataError: as `evaluate`.
    """
    opened = run if isinstance(run, Run) else open_run(run, device=fastest())
    where = scene or reopen(opened, split, changes)
    model = opened.model if trained else untrained(opened, where)
    return encode(opened, where, evenly(where.scored, most), [model])[0]


def untrained(run: Run, scene: Scene) -> Model:
    """The model of a run before its training: random weights, drawn with the experiment's seed.

    Its batch norms have the statistics of some training places. With those that they are born with (mean 0, variance
    1) the signal of a deep network fades, all places become one point, and any training would look like a gain.
    A run that began from other encoders (`start`, `pretrain`) is shown before those were learned, too.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from landweave.transforms import cubes

    torch.manual_seed(run.settings.seed)
    model = run.settings.method.build(run.contract, run.learned).eval()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    for batch in scene.batches(evenly(scene.train, SETTLED), batch_size=SETTLED // 4) if norms else ():
        if len(batch) > 1:
            with torch.no_grad():
                model(cubes(batch, run.contract))
    return model.eval()


def encode(
    run: Run,
    scene: Scene,
    indices: Sequence[int],
    models: Sequence[Model],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Embedded]:
    """Encode places with several models of one contract, reading each place once."""
    import torch

    from landweave.transforms import cubes

    parts: list[list[Embedded]] = [[] for _ in models]
    done = 0
    for batch in scene.batches(indices, batch_size=run.settings.train.batch_size):
        cube = cubes(batch, run.contract)
        with torch.inference_mode():
            for model, found in zip(models, parts, strict=True):
                found.append(_forward(run, model, cube))
        done += len(batch)
        if progress:
            progress(done, len(indices))
    if not done:
        raise DataError("no place to encode", where=scene.dataset.where)
    return [_joined(found) for found in parts]


def _forward(run: Run, model: Model, cube: Batch) -> Embedded:
    """One batch. What the classifier reads is caught on its way in, so that any fusion will do."""
    import torch
    from torch import nn

    device = next(model.parameters()).device
    caught: list[torch.Tensor] = []
    head = getattr(model, "head", None)
    hook = None
    if isinstance(head, nn.Linear):
        hook = head.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    try:
        out = model(cube.to(device))
    finally:
        if hook:
            hook.remove()
    names = sorted(out.features)
    fused = caught[0] if caught else torch.cat([out.features[n].float() for n in names], 1)
    answers = run.classifier and run.kind != "map"
    logits = out.logits.float() if answers else fused.new_zeros(len(fused), 0)
    said = logits.sigmoid() if run.kind == "multilabel" else logits.softmax(1)
    return Embedded(
        cube.names,
        cube.groups,
        {n: _array(f) for n, f in out.features.items()},
        {n: s.cpu().numpy() for n, s in out.seen.items()},
        {head: {n: _array(z) for n, z in by.items()} for head, by in _heads(out.embeddings).items()},
        _array(fused),
        _array(said),
    )


def _heads(found: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Embeddings by head, then by sensor."""
    return {head: by for head, by in found.items() if by}


def _array(x: Any) -> Rows:
    found: Rows = x.detach().float().cpu().numpy()
    return found


def _joined(parts: Sequence[Embedded]) -> Embedded:
    first = parts[0]
    heads = {
        h: {n: np.concatenate([p.embeddings[h][n] for p in parts]) for n in by} for h, by in first.embeddings.items()
    }
    return Embedded(
        tuple(n for p in parts for n in p.names),
        tuple(g for p in parts for g in p.groups),
        {n: np.concatenate([p.features[n] for p in parts]) for n in first.features},
        {n: np.concatenate([p.seen[n] for p in parts]) for n in first.seen},
        heads,
        np.concatenate([p.fused for p in parts]),
        np.concatenate([p.probabilities for p in parts]),
    )


def between(found: Embedded, query: str, key: str, *, head: str = "", at: Sequence[int] = (1, 5)) -> Retrieval:
    """How well sensor `query` finds the same place in sensor `key`, among the places at which both are seen.

    By the embeddings of projection head `head`, or by the features where none is named. Features of two encoders
    share a space only if a term of the training compared them.

    Raises:
        DataError: no such head or sensor, features of unequal length, or no place at which both are seen.
    """
    rows = found.embeddings.get(head, {}) if head else found.features
    for name in (query, key):
        if name not in rows:
            have = ", ".join(sorted(rows)) or "none"
            raise DataError(f"no {'embedding' if head else 'feature'} of `{name}`; there is {have}", where=head or None)
    both = found.seen[query] & found.seen[key]
    if not both.any() or rows[query].shape != rows[key].shape:
        raise DataError(f"{query} and {key} have no place in common, or features of unequal length")
    return retrieval(rows[query][both], rows[key][both], at=at)
