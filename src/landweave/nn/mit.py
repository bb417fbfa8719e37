"""The Mix Transformers of SegFormer (Xie et al. 2021), which segmentation-models-pytorch has and timm lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class MixTransformer(nn.Module):
    """A Mix Transformer for any number of bands, in the form of a network of timm.

    Args:
        name: `mit_b0` ... `mit_b5`.
        bands: how many channels the images have.
        pyramid: whether to give the four maps of 1/4 to 1/32, or the mean of the last.
        width: size of one more linear layer after the mean, if any.
    """

    def __init__(self, name: str, bands: int, *, pyramid: bool, width: int | None = None) -> None:
        super().__init__()
        from segmentation_models_pytorch.encoders import get_encoder

        self.pyramid = pyramid
        self.net: Any = get_encoder(name, in_channels=3, depth=5, weights=None)
        first = self.net.patch_embed1.proj
        self.net.patch_embed1.proj = nn.Conv2d(
            bands, first.out_channels, first.kernel_size, stride=first.stride, padding=first.padding
        )
        nn.init.kaiming_normal_(self.net.patch_embed1.proj.weight, mode="fan_out")
        nn.init.zeros_(self.net.patch_embed1.proj.bias)
        self.fc = nn.Linear(self.net.out_channels[-1], width) if width else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """The last layer, under the name that timm's backbones have for it."""
        return self.fc

    def forward(self, x: Float[Tensor, "N C H W"]) -> Any:
        """The maps, fine to coarse, or the features."""
        return self.net(x)[2:] if self.pyramid else self.forward_head(self.forward_features(x))

    def forward_features(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        """The last map."""
        last: Tensor = self.net(x)[-1]
        return last

    def forward_head(self, last: Float[Tensor, "N D h w"]) -> Float[Tensor, "N D"]:
        """From the last map to the features."""
        features: Tensor = self.fc(last.mean((2, 3)))
        return features
