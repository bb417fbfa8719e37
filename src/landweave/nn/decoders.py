"""Decoders on a pyramid of feature maps, most of them of segmentation-models-pytorch, and the layer of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landweave.errors import ConfigError
from landweave.nn.config import Decoder, DeepLab, DeepLabV3, SegFormer, UNet, UPerNetFlair
from landweave.nn.decoders_flair import UPerNetFlairDecoder
from landweave.nn.encoders import DEPTH, resize
from landweave.nn.norms import only_ours

if TYPE_CHECKING:
    from jaxtyping import Float


LOW = 1
"""The stage of 1/4, by its place in a pyramid."""


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
        self.corners = isinstance(settings, UPerNetFlair)
        """Whether logits are enlarged with their corners on those of the image, as published."""
        self.decoder, width = _decoder(settings, channels)
        side = 3 if isinstance(settings, UNet) else 1
        self.last = nn.Conv2d(width, classes, side, padding=side // 2)

    def forward(self, maps: Sequence[Float[Tensor, "B D H W"]], size: tuple[int, int]) -> Float[Tensor, "B K H2 W2"]:
        """Logits, float32, of `size`: that of the image that the pyramid was made of."""
        if self.corners:
            found = self.last(self.decoder(maps)).float()
            return F.interpolate(found, size=size, mode="bilinear", align_corners=True)
        empty = maps[-1].new_zeros(len(maps[-1]), 0, *size)
        return resize(self.last(self.decoder([empty, *maps])).float(), size)


def stages_of(settings: Decoder) -> tuple[int, ...]:
    """Which stages of a pyramid the decoder reads; DeepLab reads two, DeepLabV3 one, `upernet` not the finest."""
    match settings:
        case DeepLab():
            return (LOW, DEPTH - 1)
        case DeepLabV3():
            return (DEPTH - 1,)
        case UNet() | SegFormer() | UPerNetFlair():
            return tuple(range(DEPTH))
    return tuple(range(1, DEPTH))


def _decoder(settings: Decoder, channels: Sequence[int]) -> tuple[nn.Module, int]:
    """The decoder, and the channels of what it gives. Of segmentation-models-pytorch where not said otherwise."""
    match settings:
        case UNet():
            from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

            return UnetDecoder([0, *channels], settings.channels, n_blocks=DEPTH), settings.channels[-1]
        case DeepLab():
            return DeepLabDecoder(settings, low=channels[LOW], high=channels[-1]), settings.channels
        case UPerNetFlair():  # ours
            return UPerNetFlairDecoder(settings, channels=channels), settings.channels
        case SegFormer():
            from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder

            decoder = SegformerDecoder([0, *channels], DEPTH, settings.channels)
            only_ours(decoder)
            return decoder, settings.channels
        case DeepLabV3():
            from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder

            wide = settings.channels
            decoder = DeepLabV3Decoder(channels[-1], wide, settings.dilations, False, settings.dropout)
            only_ours(decoder)
            return decoder, wide
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    decoder = UPerNetDecoder([0, *channels], DEPTH, settings.channels)
    _group_norm(decoder.psp)
    return decoder, settings.channels


class DeepLabDecoder(nn.Module):
    """The decoder of DeepLabV3+ (Chen et al. 2018) with plain convolutions, as the baseline of DFC2020 wires it.

    high (1/32) x 2 bilinear (of an encoder of stride 16: as it is) -> ASPP: 1 x 1, three dilated 3 x 3, mean of the
    image -> 1 x 1 -> resized to 1/4 (corners aligned) -> beside low (1/4), narrowed by 1 x 1 -> two 3 x 3. Each
    convolution has a batch norm and a ReLU. The decoder of segmentation-models-pytorch separates its convolutions and
    has one layer where this has two, so only its ASPP serves. Ours: the encoder's last stage keeps its stride (Petcu
    2024, section 3.2.2, does the same), and the mean of the image has a group norm, since a batch norm cannot train on
    one place.

    Args:
        settings: widths, dilations, dropout.
        low, high: channels of the maps of 1/4 and 1/32.

    Raises:
        ConfigError: the backbone has no map of 1/4.
    """

    def __init__(self, settings: DeepLab, *, low: int, high: int) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP

        if not low:
            raise ConfigError(
                "the decoder deeplab reads a map of 1/4 of the pixels, which this backbone lacks",
                where="method.decoder.kind",
                fix="choose another backbone (resnet50, convnext_atto, ...), or method.decoder.kind=unet",
            )
        wide, (first, second, third) = settings.channels, settings.dropout
        self.aspp = ASPP(high, wide, settings.dilations, separable=False, dropout=first)
        _group_norm(self.aspp.convs[-1])
        self.narrow = _conv(low, settings.low, 1)
        self.join = nn.Sequential(
            *_conv(wide + settings.low, wide, 3), nn.Dropout(second), *_conv(wide, wide, 3), nn.Dropout(third)
        )

    def forward(self, maps: Sequence[Float[Tensor, "B D H W"]]) -> Float[Tensor, "B D H4 W4"]:
        """The map of 1/4 that the last layer reads, from the image (of no channel) and the `DEPTH` maps below it."""
        low, high = maps[LOW + 1], maps[-1]
        if 6 * high.shape[-1] < low.shape[-1]:  # an encoder of stride 16 has its last map in 1/16 already
            high = resize(high, (2 * high.shape[-2], 2 * high.shape[-1]))
        high = self.aspp(high)
        high = F.interpolate(high, size=low.shape[-2:], mode="bilinear", align_corners=True)
        joined: Tensor = self.join(torch.cat([high, self.narrow(low)], 1))
        return joined


def _conv(wide: int, narrow: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(wide, narrow, side, padding=side // 2, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()
    )


def _group_norm(module: nn.Module) -> None:
    """Replace batch norms below the pyramid pooling: it pools to 1 x 1, where batch norm cannot train on one place."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(8, child.num_features))
        else:
            _group_norm(child)
