"""Settings of the networks. No torch here: a recipe is checked, and a misspelt name refused, before anything loads."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from landweave.config import Config
from landweave.errors import did_you_mean


@cache
def backbones() -> tuple[str, ...]:
    """The names of timm's models, from a list shipped with landweave, since importing timm takes seconds."""
    text = (files("landweave") / "nn" / "timm_names.txt").read_text(encoding="utf-8")
    return tuple(text.split())


OWN = ("mma-vgg",)
"""Backbones that timm lacks: `landweave.nn.vgg`."""


class Encoder(Config):
    """The backbone that reads one sensor; each sensor has its own weights."""

    name: str = Field("resnet18", description="any backbone of timm, or mma-vgg (of MMA: a dense map of 1/8)")
    stem: Literal["own", "no-pool", "small"] = Field(
        "own",
        description="of a ResNet, for small images: no-pool leaves the max-pool out (IaI-SimCLR); small also makes the "
        "first convolution 3 x 3 with stride 1 (common for 32 px; 16 times the work)",
    )
    date_pooling: Literal["mean"] = Field("mean", description="features of a series: mean over the seen dates")
    band_mask: bool = Field(False, description="give the network one more channel a band: where it is seen")
    fill: Literal["mean", "scalar", "zero", "minus-one", "learned"] = Field(
        "mean",
        description="what the network is shown where a value is not seen: the mean of the band; the mean of the means "
        "of a sensor's bands (Petcu 2024); 0 or -1 in the sensor's unit; or a learned value a band, at first its mean",
    )
    input: Literal["standardised", "physical"] = Field(
        "standardised",
        description="values less the band's mean over its deviation; or in the sensor's unit, for weights that were "
        "trained on them (SatCLIP: reflectance)",
    )
    width: int | None = Field(
        None, ge=1, description="size of the features, by one more linear layer after the pooling; of places, not maps"
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known = (*OWN, *backbones())
        if name not in known:
            raise ValueError(f"unknown backbone `{name}`{did_you_mean(name, known)}; see `timm.list_models()`")
        return name


class Concat(Config):
    """Late fusion: features side by side. An absent sensor gives the mean feature of the training places.

    With `flags` an absent sensor gives zeros, and one more input a sensor says whether it is seen, so that the weight
    of that input is learned to stand for it. Trained with sensor dropout, one checkpoint then serves any of the
    sensors. Without flags training has nothing but zeros for a dropped sensor, and prediction has its mean feature.
    """

    kind: Literal["concat"] = "concat"
    flags: bool = Field(False, description="one more input a sensor: whether it is seen")


class Mean(Config):
    """Late fusion: the mean of the features of the sensors that are seen."""

    kind: Literal["mean"] = "mean"


class Early(Config):
    """Early fusion: one encoder reads the bands of all sensors on the finest grid, dates averaged before."""

    kind: Literal["early"] = "early"


class Attention(Config):
    """Late fusion: sensors attend to one another, and a learned query to all that are seen. For places, not maps."""

    kind: Literal["attention"] = "attention"
    width: int = Field(256, ge=4, description="size of the tokens and of the fused vector")
    layers: int = Field(2, ge=1, le=12, description="layers")
    parts: int = Field(4, ge=1, description="parts of the width that attend each by itself (attention heads)")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.parts:
            raise ValueError(f"a width of {self.width} does not divide into {self.parts} parts")
        return self


class Bilinear(Config):
    """Late fusion: features as in `concat`, and the low-rank product of each pair of sensors. For places, not maps."""

    kind: Literal["bilinear"] = "bilinear"
    rank: int = Field(256, ge=1, description="size of the product")


Fusion = Annotated[Concat | Mean | Early | Attention | Bilinear, Field(discriminator="kind")]


class UNet(Config):
    """U-Net decoder of segmentation-models-pytorch (Ronneberger et al. 2015)."""

    kind: Literal["unet"] = "unet"
    channels: tuple[int, int, int, int, int] = Field((256, 128, 64, 32, 16), description="width of each stage")


class UPerNet(Config):
    """UPerNet decoder of segmentation-models-pytorch (Xiao et al. 2018)."""

    kind: Literal["upernet"] = "upernet"
    channels: int = Field(256, ge=8, multiple_of=8, description="width")


class DeepLab(Config):
    """DeepLabV3+ decoder (Chen et al. 2018): the map of 1/32, brought to 1/16, through ASPP; the map of 1/4 beside it.

    The defaults are those of the published baseline of DFC2020 (`dfc2020_baseline`), which Petcu 2024 took over.
    """

    kind: Literal["deeplab"] = "deeplab"
    channels: int = Field(256, ge=8, multiple_of=8, description="width of ASPP and of the decoder")
    low: int = Field(48, ge=1, description="what the map of 1/4 is narrowed to")
    dilations: tuple[int, int, int] = Field((6, 12, 18), description="of the three dilated branches of ASPP, at 1/16")
    dropout: tuple[float, float, float] = Field(
        (0.5, 0.5, 0.1), description="after ASPP, and after each of the two convolutions of the decoder"
    )


Decoder = Annotated[UNet | UPerNet | DeepLab, Field(discriminator="kind")]


class Linear(Config):
    """One linear layer from the fused features to the classes."""

    kind: Literal["linear"] = "linear"


class Mlp(Config):
    """Linear layers with a ReLU between them, and none after the last (Petcu 2024: 256-64-10, `layers: [64]`)."""

    kind: Literal["mlp"] = "mlp"
    layers: tuple[int, ...] = Field((64,), min_length=1, description="hidden units of each layer but the last")


Head = Annotated[Linear | Mlp, Field(discriminator="kind")]
"""What answers for a place: from the fused features to the classes."""


class Projection(Config):
    """A head of a few layers, features h -> embedding z, used in training only.

    Each layer but the last is linear, batch norm, ReLU, dropout. The heads of the papers:

        IaI-SimCLR  the defaults (its inner layer has no bias; here none before a batch norm has one)
        D-SimCLR    batch_norm: false
        MulSupCon   width: half the features (256 of a ResNet-34), dim: 256, dropout: 0.1
    """

    layers: int = Field(2, ge=1, le=8, description="linear layers; 1 is a linear map, 3 and more a deeper head")
    width: int | None = Field(None, ge=1, description="hidden units; by default as many as features")
    dim: int = Field(128, ge=2, description="size of the embedding")
    batch_norm: bool = Field(True, description="batch normalisation before each ReLU")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of hidden units dropped after each ReLU")
