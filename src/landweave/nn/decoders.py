"""Decoders of segmentation-models-pytorch on a pyramid of feature maps, and the layer that gives the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from landweave.nn.config import Decoder, UNet
from landweave.nn.encoders import DEPTH, resize

if TYPE_CHECKING:
    from jaxtyping import Float


class MapHead(nn.Module):
    """Feature maps to logits B K H W.

    Args:
        settings: which decoder.
        channels: channels of each of the `DEPTH` maps, fine to coarse; 0 for a stage that the backbone lacks.
        classes: K.
    """

    def __init__(self, settings: Decoder, *, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.stages = stages_of(settings)
        if isinstance(settings, UNet):
            from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

            self.decoder = UnetDecoder([0, *channels], settings.channels, n_blocks=DEPTH)
            self.last = nn.Conv2d(settings.channels[-1], classes, 3, padding=1)
        else:
            from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

            self.decoder = UPerNetDecoder([0, *channels], DEPTH, settings.channels)
            _group_norm(self.decoder.psp)
            self.last = nn.Conv2d(settings.channels, classes, 1)

    def forward(self, maps: Sequence[Float[Tensor, "B D H W"]], size: tuple[int, int]) -> Float[Tensor, "B K H2 W2"]:
        """Logits, float32, of `size`: that of the image that the pyramid was made of."""
        empty = maps[-1].new_zeros(len(maps[-1]), 0, *size)
        return resize(self.last(self.decoder([empty, *maps])).float(), size)


def stages_of(settings: Decoder) -> tuple[int, ...]:
    """Which stages of a pyramid the decoder reads; UPerNet leaves out the finest."""
    return tuple(range(DEPTH)) if isinstance(settings, UNet) else tuple(range(1, DEPTH))


def _group_norm(module: nn.Module) -> None:
    """Replace batch norms below the pyramid pooling: it pools to 1 x 1, where batch norm cannot train on one place."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(8, child.num_features))
        else:
            _group_norm(child)
