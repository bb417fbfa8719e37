"""Losses: pure functions of embeddings or logits and labels, each with the equation that it computes.

The names are loaded on first use, so that a command which only looks at a recipe does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landweave.losses.contrastive import clip as clip
    from landweave.losses.contrastive import inter_cross as inter_cross
    from landweave.losses.contrastive import nt_xent as nt_xent
    from landweave.losses.dense import dense_alignment as dense_alignment
    from landweave.losses.hierarchy import hierarchical_cross_entropy as hierarchical_cross_entropy
    from landweave.losses.keys import mul_sup_con_keys as mul_sup_con_keys
    from landweave.losses.keys import sup_con_keys as sup_con_keys
    from landweave.losses.match import cosine as cosine
    from landweave.losses.match import mse as mse
    from landweave.losses.match import multi_clip as multi_clip
    from landweave.losses.processes import gather as gather
    from landweave.losses.rows import row_lse as row_lse
    from landweave.losses.soft import soft_con as soft_con
    from landweave.losses.supcon import Contrast as Contrast
    from landweave.losses.supcon import mul_sup_con as mul_sup_con
    from landweave.losses.supcon import sup_con as sup_con
    from landweave.losses.supervised import binary_cross_entropy as binary_cross_entropy
    from landweave.losses.supervised import cross_entropy as cross_entropy
    from landweave.losses.supervised import supervised_loss as supervised_loss

_HOME = {
    "nt_xent": "contrastive",
    "inter_cross": "contrastive",
    "clip": "contrastive",
    "Contrast": "supcon",
    "sup_con": "supcon",
    "mul_sup_con": "supcon",
    "mul_sup_con_keys": "keys",
    "sup_con_keys": "keys",
    "soft_con": "soft",
    "dense_alignment": "dense",
    "mse": "match",
    "cosine": "match",
    "multi_clip": "match",
    "row_lse": "rows",
    "gather": "processes",
    "hierarchical_cross_entropy": "hierarchy",
    "cross_entropy": "supervised",
    "binary_cross_entropy": "supervised",
    "supervised_loss": "supervised",
}
__all__ = [  # noqa: RUF022  (grouped as in the files)
    "nt_xent", "inter_cross", "clip", "Contrast", "sup_con", "mul_sup_con", "mul_sup_con_keys", "sup_con_keys",
    "soft_con", "dense_alignment", "mse", "cosine", "multi_clip", "row_lse", "gather",
    "hierarchical_cross_entropy", "cross_entropy", "binary_cross_entropy", "supervised_loss",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
