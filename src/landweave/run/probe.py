"""Probes: a head trained on the features of a frozen encoder, to say what can still be read from them.

Features are computed once and kept, so that a probe costs a fraction of a training: an encoder in eval mode makes the
same of a place whatever stands beside it in a batch. The paper draws new masks at every epoch (Petcu 2024, section
3.1.2); here each place is kept under `draws` different draws, which the epochs take in turn. That number is ours.
Images are not augmented.

Label maps have no short way: their probe is a decoder trained anew by `landweave train segment start=RUN
method.freeze=true method.faults=...`, with new faults at every epoch, since kept pyramids of maps fill a memory.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from landweave.config import Config
from landweave.data.dataset import Task
from landweave.nn.config import Head, Mlp
from landweave.run.score import Scorer
from landweave.sample import Label

if TYPE_CHECKING:
    from torch import Tensor, nn

    from landweave.run.predict import Run
    from landweave.transforms.faults import Faults

Rows = NDArray[np.float32]


class Probe(Config):
    """How a probe is trained. The defaults are those of Petcu 2024, section 3.2.2 and table 4.3, but for `draws`."""

    head: Head = Field(Mlp(), description="of places: mlp with 64 hidden units (256-64-10 of the paper), or linear")
    lr: float = Field(0.01, gt=0, description="of Adam")
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(64, ge=1)
    draws: int = Field(4, ge=1, description="of faults, for each training place; the epochs take them in turn (ours)")
    seeds: Annotated[int, Field(ge=1)] = Field(3, description="heads that are trained, each from other random weights")


@dataclass(frozen=True)
class Learned:
    """A trained head. `curve` has the validation scores after each epoch; empty without validation places."""

    head: nn.Module
    curve: tuple[Mapping[str, float], ...] = ()

    def answers(self, features: Rows, kind: str) -> Tensor:
        """Probabilities N K."""
        import torch

        with torch.inference_mode():
            logits: Tensor = self.head(torch.from_numpy(features)).float()
            return logits.sigmoid() if kind == "multilabel" else logits.softmax(1)


@dataclass(frozen=True)
class Known:
    """Places with kept features: one array N D a draw, all of the same places, and their labels."""

    draws: tuple[Rows, ...]
    label: Label = field(hash=False)

    def __len__(self) -> int:
        return len(self.draws[0])


def train_head(
    known: Known, task: Task, probe: Probe, *, seed: int, validation: Known | None = None, scored: Sequence[int] = ()
) -> Learned:
    """Train a head on kept features, with Adam and plain cross-entropy; places of unknown label are left out.

    Epoch e reads draw e mod `draws` of every place, in an order drawn from the seed.

    Args:
        known: training places.
        task: classes, and the kind of label (not a map).
        probe: how.
        seed: of the head's weights and of the order.
        validation: places to score after each epoch, by their first draw.
        scored: classes that count there; all by default.
    """
    import torch

    from landweave.losses import supervised_loss
    from landweave.nn.heads import answering

    at = _labelled(known.label)
    label = _rows(known.label, at)
    inputs = [torch.from_numpy(d)[at] for d in known.draws]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = answering(probe.head, width=inputs[0].shape[1], classes=len(task.legend))
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(head.parameters(), lr=probe.lr)
    curve = []
    for epoch in range(probe.epochs):
        x = inputs[epoch % len(inputs)]
        mixed = torch.randperm(len(x), generator=order)
        for start in range(0, len(x), probe.batch_size):
            rows = mixed[start : start + probe.batch_size]
            optimizer.zero_grad()
            loss = supervised_loss(head(x[rows]), _rows(label, rows))
            torch.autograd.backward(loss)
            optimizer.step()
        if validation is not None:
            curve.append(score(Learned(head), validation, task, scored=scored))
    return Learned(head.eval(), tuple(curve))


def score(learned: Learned, places: Known, task: Task, *, scored: Sequence[int] = ()) -> dict[str, float]:
    """Scores of a head on the first draw of places."""
    scorer = Scorer(task, scored=scored or None)
    scorer.add(places.label, learned.answers(places.draws[0], task.kind))
    return scorer.scores()


def spread_of(rows: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, Any]]:
    """Score -> mean and sample deviation of the defined values (None of none, and of one), and all values, over heads.

    An undefined value is None: a head that never answers with a class leaves a precision undefined.
    """
    out = {}
    for name in rows[0] if rows else ():
        values = [None if v is None or not math.isfinite(v) else float(v) for v in (r[name] for r in rows)]
        known = [v for v in values if v is not None]
        mean = statistics.fmean(known) if known else None
        out[name] = {"mean": mean, "std": statistics.stdev(known) if len(known) > 1 else None, "values": values}
    return out


def classes_of(label: Label) -> tuple[int, ...]:
    """Indices of the classes that occur among known labels."""
    values, known = label.values, label.known
    if label.kind == "multilabel":
        return tuple(((values != 0) & known).any(0).nonzero().flatten().tolist())
    return tuple(sorted(set(values[known].tolist())))


def together(labels: Sequence[Label]) -> Label:
    """The labels of several batches as one."""
    import torch

    values, known = (torch.cat([getattr(label, k) for label in labels]) for k in ("values", "known"))
    return replace(labels[0], values=values, known=known, grid=None)


def _labelled(label: Label) -> Tensor:
    known = label.known if label.known.ndim == 1 else label.known.any(1)
    return known.nonzero().flatten()


def _rows(label: Label, at: Tensor) -> Label:
    return replace(label, values=label.values[at], known=label.known[at], grid=None)


# ---- label maps


def decoders(
    run: Run,
    faults: Faults,
    name: str,
    probe: Probe,
    *,
    like: Run,
    work: Path,
    changes: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> Iterator[Path]:
    """Run folders of decoders trained anew on the frozen encoders of a run, one a seed; finished ones are used again.

    All that are compared are taught alike: on the labels, in batches, by a schedule and with an augmentation of one
    run. By each run's own, a student's decoder would differ from its teacher's by more than the encoder below it.

    Args:
        run: the run whose encoders are held.
        faults: what training images suffer, anew at every epoch.
        name: of the faults, safe as a folder's name.
        probe: epochs, rate and seeds; its head, draws and batch size do not count.
        like: the run whose data and training settings they are taught with, the first of a comparison.
        work: the folder below which they are trained.
        changes: where the data are now, if they have moved.
        seeds: those of the decoders, `probe.seeds` from 0 by default.
    """
    from landweave.config import override, parse
    from landweave.methods import Segment
    from landweave.run.experiment import Experiment
    from landweave.run.start import weights_mark
    from landweave.run.train import train

    mine, theirs = run.settings, like.settings
    method = Segment(
        encoder=mine.method.encoder,
        fusion=mine.method.fusion,
        augment=theirs.method.augment,
        decoder=decoder_of(run),
        faults=faults,
        freeze=True,
    )
    settings = {"epochs": probe.epochs, "max_minutes": None, "monitor": "", "validate_every": probe.epochs}
    taught: dict[str, Any] = {
        "recipe": "segment",
        "method": method,
        "train": theirs.train.model_copy(update=settings),
        "optim": theirs.optim.model_copy(update={"lr": probe.lr}),
        "pretrain": None,
        "start": str(run.folder.resolve()),
        "classifier": True,
    }
    for seed in range(probe.seeds) if seeds is None else seeds:
        experiment = theirs.model_copy(update={**taught, "seed": seed})
        if changes:
            experiment = parse(Experiment, override(experiment.model_dump(mode="json"), changes), changes=changes)
        told = experiment.model_dump(mode="json", exclude={"start", "seed"})  # encoders are told by their weights
        mark = blake2b(json.dumps([weights_mark(run.folder), told]).encode(), digest_size=6).hexdigest()
        yield train(experiment, work / f"{run.folder.resolve().name}-{name}-{mark}-{seed}", progress=False)


def decoder_of(run: Run) -> Any:
    """The settings of a run's decoder: its own, or those of the run that it was adapted from.

    Raises:
        RunError: there is none.
    """
    from landweave.errors import RunError
    from landweave.run.predict import open_run

    own = getattr(run.settings.method, "decoder", None)
    if own is not None:
        return own
    if not run.settings.start:
        raise RunError("it has no decoder, nor a run that it began with", where=run.folder)
    return decoder_of(open_run(run.settings.start))
