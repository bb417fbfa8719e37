"""The projection head of contrastive methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from landweave.nn.config import Projection

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class ProjectionHead(nn.Module):
    """Features h (B D) to embeddings z (B `settings.dim`): linear, batch norm, ReLU, linear (SimCLR, section 4.2)."""

    def __init__(self, settings: Projection, *, width: int) -> None:
        super().__init__()
        hidden = settings.width or width
        self.first = nn.Linear(width, hidden, bias=not settings.batch_norm)
        self.norm = nn.BatchNorm1d(hidden) if settings.batch_norm else nn.Identity()
        self.act = nn.ReLU()
        self.last = nn.Linear(hidden, settings.dim)

    def forward(self, h: Float[Tensor, "B D"], seen: Bool[Tensor, " B"]) -> Float[Tensor, "B P"]:
        """Embeddings, float32; 0 where `seen` is False. Only seen rows enter the batch norm."""
        at = seen.nonzero().flatten()
        x = self.first(h[at])
        training = self.norm.training
        if len(x) < 2:
            self.norm.eval()  # one row has no statistics of its own
        x = self.act(self.norm(x))
        self.norm.train(training)
        z: Tensor = self.last(x).float()
        return z.new_zeros(len(h), z.shape[1]).index_copy(0, at, z)
