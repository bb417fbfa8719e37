"""Training through lightning, in a run folder, so that a kill at any moment costs at most one epoch.

All randomness is drawn from (seed, epoch, place): order, augmentation, dropout. A run that was killed and started
again with the same command therefore ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from landweave.errors import RunError
from landweave.files import write_text
from landweave.run import checkpoint
from landweave.run.experiment import Experiment
from landweave.run.material import Material
from landweave.run.score import Scorer, monitor_of
from landweave.run.state import SafeCheckpointIO, whole_state
from landweave.sample import Batch
from landweave.transforms import cubes

if TYPE_CHECKING:
    from landweave.nn.model import Model

STATE = "state"

Note = Callable[[str], None]
"""Where a line for the person goes."""


class Fitting(L.LightningModule):
    """A method and its model, as lightning wants to see them."""

    def __init__(self, experiment: Experiment, material: Material, model: Model, weights: Tensor | None) -> None:
        super().__init__()
        self.experiment, self.material, self.model = experiment, material, model
        self.weights = weights
        self.spent = 0.0
        self.best = -math.inf
        self.history: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._scorer: Scorer | None = None

    # ---- data: one pass is one list of batches, drawn from (seed, epoch)
    def train_dataloader(self) -> Any:
        """Batches of this epoch."""
        train = self.experiment.train
        return self._loader(
            self.material.train,
            shuffle_key=(self.experiment.seed, self.current_epoch),
            group_cap=train.places_per_group,
            drop_last=len(self.material.train) // self.trainer.world_size > train.batch_size,
        )

    def val_dataloader(self) -> Any:
        """All validation places, in order, each once."""
        return self._loader(self.material.validation, shuffle_key=None)

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
        self._sums, self._steps, self._started = {}, 0, time.monotonic()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The method's loss."""
        terms = self.experiment.method.loss(
            self.model,
            cubes(batch, self.material.contract),
            self.material.task,
            key=(self.experiment.seed, self.current_epoch),
            class_weights=self.weights,
        )
        loss = terms["loss"]
        if not torch.isfinite(loss):
            raise RunError(
                f"the loss is {loss.item()} at epoch {self.current_epoch}, places {', '.join(batch.names[:3])}, ...",
                where=self.experiment.recipe,
                fix="lower optim.lr, or run `landweave check` on the data",
            )
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        self._steps += 1
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW without decay on biases and norms; warm-up, then cosine to zero over steps or minutes."""
        optim = self.experiment.optim
        decay = [p for p in self.model.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": optim.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=optim.lr)
        total = max(1, int(self.trainer.estimated_stepping_batches))

        def rate(step: int) -> float:
            done = min(1.0, step / total)
            if done < optim.warmup:
                return (step + 1) / max(1.0, optim.warmup * total)
            if optim.schedule == "constant":
                return 1.0
            return 0.5 * (1 + math.cos(math.pi * (done - optim.warmup) / (1 - optim.warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ---- looking
    def on_validation_epoch_start(self) -> None:
        """Start to count."""
        self._scorer = Scorer(self.material.kind)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count one batch."""
        assert self._scorer is not None
        label = batch.labels[self.material.task]
        found = self.experiment.method.predict(
            self.model, cubes(batch, self.material.contract), self.material.kind.kind
        )
        self._scorer.add(label, found.float().cpu())

    def on_validation_epoch_end(self) -> None:
        """Add up over processes, and keep the scores of the epoch."""
        assert self._scorer is not None
        if self.trainer.world_size > 1:
            self._scorer.add_up()
        self.scores = self._scorer.scores()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a resumed run must know beside weights and optimiser."""
        checkpoint["landweave"] = {"spent": self.spent, "best": self.best, "history": self.history}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Inverse of `on_save_checkpoint`."""
        kept = checkpoint["landweave"]
        self.spent, self.best, self.history = kept["spent"], kept["best"], kept["history"]


class Keep(Callback):
    """After each epoch: metrics, the model if it is the best so far, and the training state, in this order."""

    def __init__(self, folder: Path, note: Note) -> None:
        self.folder, self.note = folder, note

    def on_train_epoch_end(self, trainer: L.Trainer, fitting: L.LightningModule) -> None:
        """Write what the epoch gave."""
        assert isinstance(fitting, Fitting)
        fitting.spent += time.monotonic() - fitting._started
        epoch, train = fitting.current_epoch, fitting.experiment.train
        last = epoch + 1 >= train.epochs
        if train.max_minutes is not None and fitting.spent > 60 * train.max_minutes and not last:
            trainer.should_stop = last = True
            self.note(f"stopped after epoch {epoch + 1} of {train.epochs}: train.max_minutes={train.max_minutes:g}")
        losses = {k: v / max(1, fitting._steps) for k, v in fitting._sums.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        rows: list[dict[str, Any]] = [{"epoch": epoch, "split": "train", **losses, "lr": rate}]
        looked = (epoch + 1) % train.validate_every == 0 or epoch + 1 >= train.epochs
        if looked:
            scores = {k: v for k, v in fitting.scores.items() if math.isfinite(v)}
            rows.append({"epoch": epoch, "split": "validation", **scores})
        fitting.history = [*fitting.history, *rows]
        value = fitting.scores.get(monitor_of(train.monitor, fitting.material.kind.kind), math.nan) if looked else None
        better = value is not None and value > fitting.best
        if better or (last and fitting.best == -math.inf):
            fitting.best = value if better and value is not None else fitting.best
            if trainer.is_global_zero:
                checkpoint.write_tensors(self.folder / "model.safetensors", fitting.model.state_dict())
        if trainer.is_global_zero:
            write_text(self.folder / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in fitting.history))
            for logger in trainer.loggers:
                for row in rows:
                    named = {f"{row['split']}/{k}": v for k, v in row.items() if isinstance(v, float)}
                    logger.log_metrics(named, step=epoch)
        trainer.save_checkpoint(self.folder / STATE)


def fit(experiment: Experiment, material: Material, folder: Path, *, progress: bool, note: Note) -> None:
    """Train in a claimed folder, going on from its training state if there is one, and finish it."""
    from landweave.run import finish

    _quiet()
    torch.manual_seed(experiment.seed)
    model = experiment.method.build(material.contract, material.kind)
    _describe(experiment, material, model, note)
    fitting = Fitting(experiment, material, model, finish.class_weights(experiment, material))
    trainer = _trainer(experiment, folder, Keep(folder, note), progress)
    state = whole_state(folder / STATE)
    if state is not None:
        note(f"going on from the training state in {state}")
    trainer.fit(fitting, ckpt_path=str(state) if state else None, weights_only=False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        model.load_state_dict(checkpoint.read_tensors(folder / "model.safetensors"))
        finish.finish(experiment, material, model, folder)


def _trainer(experiment: Experiment, folder: Path, keep: Keep, progress: bool) -> L.Trainer:
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    train = experiment.train
    bars: list[Callback] = []
    progress = progress and sys.stderr.isatty()  # a bar in a log file is noise
    if progress:
        from lightning.pytorch.callbacks import TQDMProgressBar

        bars.append(TQDMProgressBar(refresh_rate=5))
    return L.Trainer(
        default_root_dir=folder,
        accelerator=train.accelerator,
        devices=train.devices,
        strategy="ddp" if train.devices > 1 else "auto",
        precision=_precision(train.precision, train.accelerator),
        max_epochs=train.epochs,
        accumulate_grad_batches=train.accumulate,
        gradient_clip_val=experiment.optim.clip or None,
        check_val_every_n_epoch=train.validate_every,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loader deals the places to the processes itself
        reload_dataloaders_every_n_epochs=1,
        plugins=[SafeCheckpointIO()],
        callbacks=[keep, *bars],
        logger=[CSVLogger(folder, name="logs", version="csv"), TensorBoardLogger(folder, name="logs", version="tb")],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        log_every_n_steps=1_000_000,
        inference_mode=True,
    )


def _precision(wanted: str, accelerator: str) -> str:
    if wanted != "auto":
        return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[wanted]
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if _cpu_bf16() else "32-true"


def _cpu_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware; emulated, it is slower than float32."""
    probes = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(bool(probe()) for probe in probes if probe is not None)


def _quiet() -> None:
    """Lightning's advice is for its own users; what matters to ours is said by us."""
    import logging

    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")


def _describe(experiment: Experiment, material: Material, model: nn.Module, note: Note) -> None:
    data, places = material.dataset, material.dataset.places
    labelled = sum(places[i].labelled for i in material.train)
    weights = sum(p.numel() for p in model.parameters()) / 1e6
    note(f"{experiment.method.kind} on {data.where}: task `{material.task}`, {len(material.kind.legend)} classes")
    note(
        f"  {len(material.train)} training places ({labelled} labelled), {len(material.validation)} validation places, "
        f"{weights:.1f} M weights"
    )
    for s in material.contract.streams.values():
        size = "" if s.metres is None else f" of {s.metres:g} m"
        note(f"  {s.sensor} [{s.unit}] {s.size[0]} x {s.size[1]} pixels{size}: {', '.join(s.bands)}")
