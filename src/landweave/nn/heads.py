"""Heads on vectors: the one that answers, and the projection heads of contrastive methods."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from landweave.nn.config import Head, Linear, Projection

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def answering(settings: Head, *, width: int, classes: int) -> nn.Linear | nn.Sequential:
    """The head from fused features (B `width`) to logits (B `classes`)."""
    if isinstance(settings, Linear):
        return nn.Linear(width, classes)
    sizes = [width, *settings.layers]
    inner = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*inner, nn.Linear(sizes[-1], classes))


class ProjectionHead(nn.Module):
    """Features h (B D) to embeddings z (B `settings.dim`): linear, batch norm, ReLU, linear (SimCLR, section 4.2).

    Args:
        settings: how many layers, how wide, and what stands between them.
        width: D.
    """

    def __init__(self, settings: Projection, *, width: int) -> None:
        super().__init__()
        hidden = settings.width or width
        layers: list[nn.Module] = []
        for _ in range(settings.layers - 1):
            layers.append(nn.Linear(width, hidden, bias=not settings.batch_norm))
            layers += [nn.BatchNorm1d(hidden)] if settings.batch_norm else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(settings.dropout)] if settings.dropout else []
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, settings.dim))

    def forward(self, h: Float[Tensor, "B D"], seen: Bool[Tensor, " B"]) -> Float[Tensor, "B P"]:
        """Embeddings, float32; 0 where `seen` is False. Only seen rows enter a batch norm."""
        at = seen.nonzero().flatten()
        norms = [m for m in self.layers if isinstance(m, nn.BatchNorm1d) and m.training]
        if len(at) < 2:
            for norm in norms:
                norm.eval()  # one row has no statistics of its own
        z: Tensor = self.layers(h[at]).float()
        for norm in norms:
            norm.train()
        return z.new_zeros(len(h), z.shape[1]).index_copy(0, at, z)
