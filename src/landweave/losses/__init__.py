"""Losses: pure functions of embeddings or logits and labels, each with the equation that it computes.

The names are loaded on first use, so that a command which only looks at a recipe does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landweave.losses.contrastive import inter_cross as inter_cross
    from landweave.losses.contrastive import nt_xent as nt_xent
    from landweave.losses.rows import row_lse as row_lse
    from landweave.losses.supcon import MulSupCon as MulSupCon
    from landweave.losses.supcon import mul_sup_con as mul_sup_con
    from landweave.losses.supervised import binary_cross_entropy as binary_cross_entropy
    from landweave.losses.supervised import cross_entropy as cross_entropy
    from landweave.losses.supervised import supervised_loss as supervised_loss

_HOME = {
    "inter_cross": "contrastive",
    "nt_xent": "contrastive",
    "row_lse": "rows",
    "MulSupCon": "supcon",
    "mul_sup_con": "supcon",
    "binary_cross_entropy": "supervised",
    "cross_entropy": "supervised",
    "supervised_loss": "supervised",
}
__all__ = [  # noqa: RUF022  (grouped as in the files)
    "nt_xent", "inter_cross", "row_lse", "MulSupCon", "mul_sup_con",
    "cross_entropy", "binary_cross_entropy", "supervised_loss",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
