"""Training through lightning, in a run folder, so that a kill at any moment costs at most one epoch.

All randomness is drawn from (seed, epoch, place): order, augmentation, dropout. A run that was killed and started
again with the same command therefore ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from landweave.data.order import repeat_factors, shuffled
from landweave.errors import RunError
from landweave.files import write_text
from landweave.methods.base import Start
from landweave.nn.pretrained import begin
from landweave.run import checkpoint, finish
from landweave.run.experiment import Experiment, Optim
from landweave.run.material import Material
from landweave.run.released import Released
from landweave.run.score import Scorer, monitor_of
from landweave.run.state import whole_state
from landweave.run.trainer import quiet, trainer_of
from landweave.sample import Batch
from landweave.transforms import cubes
from landweave.transforms.faults import LOOK, spoil

if TYPE_CHECKING:
    from landweave.methods.base import ClassWeights
    from landweave.nn.model import Model

STATE = "state"
FAULTY = "faulty."
"""Stands before the validation scores on faulty images, of methods with faults: the same faults in each epoch."""

Note = Callable[[str], None]
"""Where a line for the person goes."""


class Means:
    """Terms of a loss, averaged over steps."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.steps = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Count one step."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.steps += 1

    def values(self) -> dict[str, float]:
        """The mean of each term."""
        return {k: v / max(1, self.steps) for k, v in self.sums.items()}


class Fitting(L.LightningModule):
    """A method and its model, as lightning wants to see them."""

    def __init__(self, experiment: Experiment, material: Material, model: Model, weights: ClassWeights | None) -> None:
        super().__init__()
        self.experiment, self.material, self.model = experiment, material, model
        self.weights = weights
        self.spent = 0.0
        self.best = -math.inf
        self.history: list[dict[str, Any]] = []
        self.scores: dict[str, float] = {}
        self.learned, self._looked = Means(), Means()
        self._scorers: dict[str, dict[str, Scorer]] = {}
        self._met: Counter[str] = Counter()

    # ---- data: one pass is one list of batches, drawn from (seed, epoch)
    def train_dataloader(self) -> Any:
        """Batches of this epoch."""
        train = self.experiment.train
        return self._loader(
            self.material.train,
            shuffle_key=(self.experiment.seed, self.current_epoch),
            group_cap=train.places_per_group,
            one_group=train.one_group,
            repeats=self._repeats,
            drop_last=len(self.material.train) // self.trainer.world_size > train.batch_size,
        )

    @cached_property
    def _repeats(self) -> list[float]:
        """How often each training place comes, by the rarest class of all its tasks; empty: once."""
        share, dataset = self.experiment.train.balanced, self.material.dataset
        if not share:
            return []
        tasks = self.material.tasks
        by_task = [repeat_factors([dataset.classes(i, t) for i in self.material.train], share) for t in tasks]
        return [max(factors) for factors in zip(*by_task, strict=True)]

    def val_dataloader(self) -> Any:
        """All validation places, each once, in an order of no meaning: losses of batches are of drawn ones."""
        return self._loader(shuffled(self.material.validation), shuffle_key=None)

    def _loader(self, indices: Sequence[int], **options: Any) -> Any:
        from landweave.data.load import batches

        return batches(
            self.material.dataset,
            indices,
            batch_size=self.experiment.train.batch_size,
            like=self.material.like,
            workers=self.experiment.train.workers,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            **options,
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch."""
        return batch.to(device, non_blocking=True)

    # ---- learning
    def on_train_epoch_start(self) -> None:
        """Draw dropout and the like from (seed, epoch), so that a resumed epoch repeats them."""
        torch.manual_seed(self.experiment.seed * 1_000_003 + self.current_epoch)
        self.learned, self._started = Means(), time.monotonic()
        self._met.clear()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The method's loss."""
        terms = self._terms(self._told_apart(batch), self.current_epoch)
        loss = terms["loss"]
        if not torch.isfinite(loss):
            raise RunError(
                f"the loss is {loss.item()} at epoch {self.current_epoch}, places {', '.join(batch.names[:3])}, ...",
                where=self.experiment.recipe,
                fix="lower optim.lr, or run `landweave check` on the data",
            )
        self.learned.add(terms)
        return loss

    def _told_apart(self, batch: Batch) -> Batch:
        """The batch with a number behind a name that comes again in an epoch (`balanced`): draws go by name."""
        if not self._repeats:
            return batch
        names = []
        for name in batch.names:
            self._met[name] += 1
            names.append(f"{name} ({self._met[name]})" if self._met[name] > 1 else name)
        return replace(batch, names=tuple(names))

    def _terms(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        return self.experiment.method.loss(
            self.model,
            cubes(batch, self.material.contract),
            self.material.task,
            key=(self.experiment.seed, epoch),
            class_weights=self.weights,
        )

    def configure_optimizers(self) -> Any:
        """AdamW without decay on biases and norms, and the schedule of its rate; see `rate`."""
        optim = self.experiment.optim
        decay = [p for p in self.model.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": optim.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=optim.lr)
        total = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, optim, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ---- looking
    def on_validation_epoch_start(self) -> None:
        """Start to count."""
        self._looked = Means()
        answers = self.experiment.classifier and self.material.scored
        seen = ("", *((FAULTY,) if self.experiment.method.faults else ()))
        tasks = self.material.tasks
        self._scorers = {look: {n: Scorer(t) for n, t in tasks.items()} for look in seen if answers}

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count one batch; of a pretraining and of a student its terms, which are those of all processes."""
        method, key = self.experiment.method, (self.experiment.seed, LOOK)
        cube = cubes(batch, self.material.contract)
        every = method.faults.model_copy(update={"complete": 0.0})
        metres = {n: row.metres for n, row in self.material.contract.streams.items()}
        if method.teacher or not self.experiment.classifier:
            self._looked.add(method.look(self.model, cube, self.material.task, key=key))
        for look, scorers in self._scorers.items():
            shown = spoil(cube, every, key, metres=metres) if look else cube
            for name, found in method.predict_tasks(self.model, shown, self.material.tasks).items():
                scorers[name].add(batch.labels[name], found)

    def on_validation_epoch_end(self) -> None:
        """Add up over processes, and keep the scores of the epoch."""
        self.scores = self._looked.values()
        for look, scorers in self._scorers.items():
            if self.trainer.world_size > 1:
                for scorer in scorers.values():
                    scorer.add_up()
            self.scores |= {look + key: value for key, value in finish.validation_scores(scorers).items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a resumed run must know beside weights and optimiser."""
        checkpoint["landweave"] = {"spent": self.spent, "best": self.best, "history": self.history}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Inverse of `on_save_checkpoint`."""
        kept = checkpoint["landweave"]
        self.spent, self.best, self.history = kept["spent"], kept["best"], kept["history"]


def rate(optim: Optim, total: int, step: int) -> float:
    """The learning rate at a step of `total`, as a share of its peak.

    A warm-up, then a cosine to zero, or nothing. `one-cycle` is torch's OneCycleLR with cosines, `warmup` its
    `pct_start` and `div` its `div_factor`; the momentum stays as it is.
    """
    if optim.schedule == "one-cycle":
        peak, last = optim.warmup * total - 1, total - 1
        if step <= peak:
            return _between(1 / optim.div, 1.0, step / peak if peak else 1.0)
        return _between(1.0, 1 / optim.div / FINAL, min(1.0, (step - peak) / (last - peak)) if last > peak else 1.0)
    done = min(1.0, step / total)
    if done < optim.warmup:
        return min(1.0, (step + 1) / max(1.0, optim.warmup * total))  # a warm-up need not be whole steps
    if optim.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (done - optim.warmup) / (1 - optim.warmup)))


FINAL = 1e4
"""Of OneCycleLR: what the rate of its first step is divided by for its last."""


def _between(start: float, end: float, share: float) -> float:
    """From `start` to `end` by half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


LINES = 20
"""Lines about epochs in a log, at most; a terminal has a bar instead."""


class Keep(Callback):
    """After each epoch: metrics, the model if it is the best so far, and the training state, in this order."""

    def __init__(self, folder: Path, note: Note) -> None:
        self.folder, self.note = folder, note

    def on_train_start(self, trainer: L.Trainer, fitting: L.LightningModule) -> None:
        """Give the table of a run that goes on its earlier epochs: its logger begins with an empty file.

        One whose time was spent when it was killed has no further epoch to train, only to be finished.
        """
        from lightning.pytorch.loggers import CSVLogger

        assert isinstance(fitting, Fitting)
        trainer.should_stop = _spent(fitting)
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                for row in fitting.history:
                    logger.log_metrics(_named(row), step=row["epoch"])

    def on_train_epoch_start(self, trainer: L.Trainer, fitting: L.LightningModule) -> None:
        """The last epoch is validated, whatever `train.validate_every` is."""
        assert isinstance(fitting, Fitting)
        train = fitting.experiment.train
        trainer.check_val_every_n_epoch = 1 if fitting.current_epoch + 1 >= train.epochs else train.validate_every

    def on_train_epoch_end(self, trainer: L.Trainer, fitting: L.LightningModule) -> None:
        """Write what the epoch gave."""
        assert isinstance(fitting, Fitting)
        fitting.spent += time.monotonic() - fitting._started
        epoch, train = fitting.current_epoch, fitting.experiment.train
        last = epoch + 1 >= train.epochs
        if train.max_minutes is not None and _spent(fitting) and not last:
            trainer.should_stop = last = True
            self.note(f"stopped after epoch {epoch + 1} of {train.epochs}: train.max_minutes={train.max_minutes:g}")
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        rows: list[dict[str, Any]] = [{"epoch": epoch, "split": "train", **fitting.learned.values(), "lr": rate}]
        looked = (epoch + 1) % train.validate_every == 0 or epoch + 1 >= train.epochs
        if looked:
            scores = {k: v for k, v in fitting.scores.items() if math.isfinite(v)}
            rows.append({"epoch": epoch, "split": "validation", **scores})
        fitting.history = [*fitting.history, *rows]
        value = self._value(fitting) if looked else None
        better = value is not None and value > fitting.best
        if better or (last and fitting.best == -math.inf):
            fitting.best = value if better and value is not None else fitting.best
            if trainer.is_global_zero:
                checkpoint.write_tensors(self.folder / "model.safetensors", fitting.model.state_dict())
        if trainer.is_global_zero:
            self._say(fitting, rows)
            write_text(self.folder / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in fitting.history))
            for logger in trainer.loggers:
                for row in rows:
                    logger.log_metrics(_named(row), step=epoch)
        trainer.save_checkpoint(self.folder / STATE)

    def _say(self, fitting: Fitting, rows: list[dict[str, Any]]) -> None:
        """A line for a log: the loss, and the validation score that picks the kept epoch."""
        epochs, epoch = fitting.experiment.train.epochs, rows[0]["epoch"] + 1
        if sys.stderr.isatty() or (epoch % math.ceil(epochs / LINES) and epoch < epochs):
            return
        watched = all_watched(fitting.experiment, fitting.material)
        told = [f"{r['split']} {k} {r[k]:.4g}" for r in rows for k in ("loss", *watched) if k in r]
        self.note(f"{self.folder.name}: epoch {epoch} of {epochs}, {', '.join(told)}")

    def _value(self, fitting: Fitting) -> float | None:
        """What picks the kept epoch. A pretraining has nothing of the kind, and keeps its last; so does a student,
        unless `train.monitor` names a score (Petcu 2024 keeps the last, section 4.1)."""
        experiment = fitting.experiment
        if not experiment.classifier or (experiment.method.teacher and not experiment.train.monitor):
            return None
        found = [fitting.scores.get(key, math.nan) for key in all_watched(experiment, fitting.material)]
        known = [value for value in found if math.isfinite(value)]  # a label may have no known pixel in validation
        return math.fsum(known) / len(known) if known else math.nan


def _spent(fitting: Fitting) -> bool:
    """Whether the time that `train.max_minutes` gives is over."""
    most = fitting.experiment.train.max_minutes
    return most is not None and fitting.spent > 60 * most


def _named(row: Mapping[str, Any]) -> dict[str, float]:
    """A row for a logger: `train/loss`, ..."""
    return {f"{row['split']}/{k}": v for k, v in row.items() if isinstance(v, float)}


def watched_of(experiment: Experiment, material: Material) -> str:
    """The validation score that picks the kept epoch: of faulty images where the method learns from such.

    Raises:
        ConfigError: `train.monitor` names none.
    """
    wanted = experiment.train.monitor
    faulty = bool(experiment.method.faults) and (not wanted or wanted.startswith(FAULTY))
    if faulty:
        wanted = wanted.removeprefix(FAULTY)
    task, dot, score = wanted.rpartition(".")
    further = material.kind.beside.get(task) if dot else None
    kind, score = (further.kind, score) if further else (material.kind.kind, wanted or experiment.method.monitor)
    return (FAULTY if faulty else "") + (f"{task}." if further else "") + monitor_of(score, kind)


def all_watched(experiment: Experiment, material: Material) -> tuple[str, ...]:
    """The scores whose mean picks the kept epoch: of each task of a run, unless `train.monitor` names one task.

    FLAIR-HUB's code keeps the epochs of its joint runs by the mean over their tasks too.
    """
    first = watched_of(experiment, material)
    bare = first.removeprefix(FAULTY)
    if "." in bare:
        return (first,)
    lead = first.removesuffix(bare)
    alike = (name for name, task in material.kind.beside.items() if task.kind == material.kind.kind)
    return first, *(f"{lead}{name}.{bare}" for name in alike)


def fit(
    experiment: Experiment, material: Material, folder: Path, *, start: Start | None = None, progress: bool, note: Note
) -> None:
    """Train in a claimed folder, going on from its training state if there is one, and finish it.

    Args:
        experiment: what to train.
        material: what `gather` gave.
        folder: the run folder.
        start: what the method begins with.
        progress: show a bar.
        note: told what a person wants to know.
    """
    quiet()
    watched_of(experiment, material)
    if start is not None:
        _ = start.model  # built before the seed is set, since it draws weights of its own
    torch.manual_seed(experiment.seed)
    model = experiment.method.build(material.contract, material.kind)
    if start is not None:
        experiment.method.attach(model, start)
    state = whole_state(folder / STATE)
    _describe(experiment, material, model, note)
    if state is not None:
        note(f"going on from the training state in {state}")
    elif start is not None:
        _begun(experiment, start, note)
    else:
        for line in begin(model):
            note(f"  {line}")
    if experiment.train.epochs == 0:
        finish.finish(experiment, material, model, folder)
        return
    fitting = Fitting(experiment, material, model, finish.class_weights(experiment, material))
    trainer = trainer_of(experiment, folder, Keep(folder, note), progress)
    trainer.fit(fitting, ckpt_path=str(state) if state else None, weights_only=False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        model.load_state_dict(checkpoint.read_tensors(folder / "model.safetensors"))
        finish.finish(experiment, material, model, folder)
    if trainer.world_size > 1:
        torch.distributed.barrier()  # what follows in another process may begin with what was just written


def _begun(experiment: Experiment, start: Start, note: Note) -> None:
    whole = experiment.method.teacher or isinstance(start, Released)
    note(f"beginning with {'the whole of' if whole else 'the encoders of'} {start.folder}")
    for line in start.notes if isinstance(start, Released) else ():
        note(f"  {line}")


def _describe(experiment: Experiment, material: Material, model: nn.Module, note: Note) -> None:
    data, places = material.dataset, material.dataset.places
    labelled = sum(places[i].labelled for i in material.train)
    weights = sum(p.numel() for p in model.parameters())
    size = f"{weights / 1e6:.1f} M" if weights >= 1e5 else f"{weights:,}"
    told = [f"task `{name}`, {len(task.legend)} classes" for name, task in material.tasks.items()]
    what = "; ".join(told) or "no labels"
    aim = "each band from the others" if experiment.method.kind == "reconstruct" else "a pretraining"
    note(f"{experiment.method.kind} on {data.where}: {what if experiment.classifier else f'{aim}; {what}'}")
    note(
        f"  {len(material.train)} training places ({labelled} labelled), {len(material.validation)} validation places, "
        f"{size} weights"
    )
    for line in experiment.method.lines(list(material.contract.streams)):
        note(f"  {line}")
    for s in material.contract.streams.values():
        size = "" if s.metres is None else f" of {s.metres:g} m"
        note(f"  {s.sensor} [{s.unit}] {s.size[0]} x {s.size[1]} pixels{size}: {', '.join(s.bands)}")
