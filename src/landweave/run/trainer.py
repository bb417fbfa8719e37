"""Lightning's trainer as every run sets it up: where it runs, in which precision, and how much it says."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from landweave.run.experiment import Experiment
from landweave.run.state import SafeCheckpointIO


def trainer_of(experiment: Experiment, folder: Path, keep: Callback, progress: bool) -> L.Trainer:
    """The trainer of a run; `keep` writes what is kept."""
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
    # Processors that multiply bf16 would be faster with it. But torch 2.15 (oneDNN, AVX-512) left weight gradients of
    # 3 x 3 convolutions over a single pixel unwritten, NaN now and then; and a table must not depend on the machine.
    return "32-true"


def quiet() -> None:
    """Lightning's advice is for its own users; what matters to ours is said by us."""
    import logging

    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")
