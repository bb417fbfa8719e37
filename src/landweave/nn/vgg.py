"""The encoder of MMA: a small VGG whose last map is dense, one vector for each 8 x 8 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class MmaVgg(nn.Module):
    """Four stages of two 3 x 3 convolutions, each with batch norm and ReLU, and a max-pool between the stages.

    64, 128, 256 and 128 channels, stride 8 (Windsor et al., MICCAI 2021, whose maps have 128 channels). Features
    are the spatial mean of the last map, as the fusion poster's downstream model takes them. It answers to the
    names that timm's models have. The random weights are torch's own; the papers name none.
    """

    num_features = 128

    def __init__(self, channels: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for i, width in enumerate((64, 128, 256, self.num_features)):
            stages += [nn.MaxPool2d(2)] if i else []
            for _ in range(2):
                stages += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.stages = nn.Sequential(*stages)

    def forward_features(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        """The map of 1/8 of the pixels, rounded down."""
        maps: Tensor = self.stages(x)
        return maps

    def forward_head(self, maps: Float[Tensor, "N D h w"]) -> Float[Tensor, "N D"]:
        """Adaptive average pooling to one vector."""
        return maps.mean((2, 3))

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Features of an image."""
        return self.forward_head(self.forward_features(x))
