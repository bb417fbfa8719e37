"""Batch norm that a single value a channel does not stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from jaxtyping import Float


class BatchNorm(_BatchNorm):
    """Batch norm over all but the channels, of vectors and maps alike.

    In training a channel with one value (a map pooled to one pixel, of one place) has no deviation, and torch refuses
    it. Here the running statistics serve then, as in prediction, and stay as they are: a layer has the same weights
    and gives the same prediction as torch's, whatever the size of the batches was. With two and more values it is
    torch's.
    """

    def forward(self, x: Float[Tensor, "B C *HW"]) -> Float[Tensor, "B C *HW"]:
        """Normalise each channel."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from two on."""


def only_ours(module: nn.Module) -> None:
    """Put this batch norm in the place of each of torch's in a module."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, BatchNorm(child.num_features, eps=child.eps, momentum=child.momentum))
        else:
            only_ours(child)
