"""Settings of the networks. No torch here: a recipe is checked, and a misspelt name refused, before anything loads."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from landweave.config import Config
from landweave.errors import RunError, did_you_mean


@cache
def backbones() -> tuple[str, ...]:
    """The names of timm's models, from a list shipped with landweave, since importing timm takes seconds."""
    text = (files("landweave") / "nn" / "timm_names.txt").read_text(encoding="utf-8")
    return tuple(text.split())


MIT = tuple(f"mit_b{i}" for i in range(6))
"""The Mix Transformers of SegFormer (Xie et al. 2021), which segmentation-models-pytorch has and timm lacks."""

OWN = ("mma-vgg", *MIT)
"""Backbones that timm lacks: `landweave.nn.vgg`, and those of `MIT`."""

RANDOM, LIBRARY = "random", "timm"
"""`encoder.weights` where none are read, and for those that timm has for a backbone."""


class Encoder(Config):
    """The backbone that reads one sensor; each sensor has its own weights."""

    name: str = Field(
        "resnet18", description="any backbone of timm; mit_b0 ... mit_b5; or mma-vgg (of MMA: a dense map of 1/8)"
    )
    stem: Literal["own", "no-pool", "small"] = Field(
        "own",
        description="of a ResNet, for small images: no-pool leaves the max-pool out (IaI-SimCLR); small also makes the "
        "first convolution 3 x 3 with stride 1 (common for 32 px; 16 times the work)",
    )
    stride: Literal[8, 16, 32] = Field(
        32, description="of the coarsest map: 8 or 16 dilates the last convolutions instead (ResNet, for deeplabv3)"
    )
    date_pooling: Literal["mean"] = Field("mean", description="features of a series: mean over the seen dates")
    band_mask: bool = Field(False, description="give the network one more channel a band: where it is seen")
    fill: Literal["mean", "scalar", "zero", "minus-one", "learned"] = Field(
        "mean",
        description="what the network is shown where a value is not seen: the mean of the band; the mean of the means "
        "of a sensor's bands (Petcu 2024); 0 or -1 in the sensor's unit (linear power: -60 dB); or a learned value a "
        "band, at first its mean",
    )
    input: Literal["standardised", "physical"] = Field(
        "standardised",
        description="values less the band's mean over its deviation, linear power in dB before; or in the sensor's "
        "unit, for weights that were trained on them (SatCLIP: reflectance)",
    )
    width: int | None = Field(
        None, ge=1, description="size of the features, by one more linear layer after the pooling; of places, not maps"
    )
    weights: str = Field(
        RANDOM,
        description="what it begins with: random weights; `timm` for those of timm (ImageNet; fetched once); or a file "
        "of them, .safetensors or .pth",
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known = (*OWN, *backbones())
        if name not in known:
            raise ValueError(f"unknown backbone `{name}`{did_you_mean(name, known)}; see `timm.list_models()`")
        return name

    @field_validator("weights")
    @classmethod
    def _of_timm(cls, weights: str, info: ValidationInfo) -> str:
        name = info.data.get("name", "")
        if weights != RANDOM and name in OWN:
            raise ValueError(
                f"{name} is not timm's, and there are no weights that it could begin with; "
                f"set method.encoder.weights={RANDOM}"
            )
        return weights

    def require(self) -> None:
        """Refuse a file of weights that is not there.

        Raises:
            RunError: it is not.
        """
        if self.weights not in (RANDOM, LIBRARY) and not Path(self.weights).is_file():
            raise RunError(
                "no such file of weights",
                where=self.weights,
                fix=f"give method.encoder.weights a .safetensors or .pth file, or {LIBRARY}",
            )


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


class Stages(Config):
    """Mid fusion of UPerFuse: at each stage of the pyramid the maps side by side, narrowed by a 1 x 1 convolution.

    The deepest map of a series meets the finest stage (1/4), its last map the coarsest, as in the official code. At a
    place without a sensor something else stands in its maps, so that one checkpoint serves any of its sensors:

        learned   a parameter a channel, from 0 on; it learns where a sensor is absent in training, or is dropped
        mean      its mean map over the training places, known at the end of training
        zero      nothing
    """

    kind: Literal["stages"] = "stages"
    absent: Literal["learned", "mean", "zero"] = Field("learned", description="what stands in an absent sensor's maps")
    flags: bool = Field(False, description="one more map a sensor: whether it is seen")


class Late(Config):
    """Each sensor has a decoder of its own; the logits of those that are seen are averaged."""

    kind: Literal["late"] = "late"
    weighted: bool = Field(True, description="learn for each task how much a sensor counts; they begin alike")


FuseStages = Annotated[Stages | Early | Late, Field(discriminator="kind")]
"""How UPerFuse brings its sensors together: between encoders and decoder, before them, or after."""

Fusion = Annotated[Concat | Mean | Early | Attention | Bilinear | Stages | Late, Field(discriminator="kind")]


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


class UPerNetFlair(Config):
    """UPerNet in the shape that FLAIR-HUB published: that of segmentation-models-pytorch 0.4.0, which later ones left.

    Pooling branches of a quarter of the channels each, a pyramid of `pyramid` channels added top down, and one 3 x 3
    convolution of all its maps at 1/4 to `channels`. 2.546 million weights above a Swin-B, where 0.6.0 has 10.135.
    """

    kind: Literal["upernet-flair"] = "upernet-flair"
    pyramid: int = Field(256, ge=1, description="width of the pyramid")
    channels: int = Field(64, ge=1, description="width below the last layer")


class SegFormer(Config):
    """The decoder of SegFormer (Xie et al. 2021), of segmentation-models-pytorch: one linear layer a stage."""

    kind: Literal["segformer"] = "segformer"
    channels: int = Field(256, ge=1, description="width")


class DeepLabV3(Config):
    """The decoder of DeepLabV3 (Chen et al. 2017), of segmentation-models-pytorch: ASPP on the coarsest map alone."""

    kind: Literal["deeplabv3"] = "deeplabv3"
    channels: int = Field(256, ge=8, multiple_of=8, description="width")
    dilations: tuple[int, int, int] = Field((12, 24, 36), description="of the three dilated branches")
    dropout: float = Field(0.5, ge=0, lt=1, description="after ASPP")


Decoder = Annotated[
    UNet | UPerNet | DeepLab | UPerNetFlair | SegFormer | DeepLabV3,
    Field(discriminator="kind"),
]


class UTAE(Config):
    """U-TAE (Garnot and Landrieu 2021) for a series: a U-Net a date, whose dates are gathered by attention (L-TAE).

    The sizes are those of FLAIR-HUB, which has two sets of widths: one where series stand alone, and one beside
    sensors of one date, whose four stages the four maps then meet.

        alone    encoder_widths: [64, 64, 64, 128]    decoder_widths: [32, 32, 64, 128]
        beside   encoder_widths: [64, 64, 128, 128]   decoder_widths: [64, 64, 128, 128]
    """

    kind: Literal["utae"] = "utae"
    encoder_widths: tuple[int, ...] | None = Field(None, description="channels on the way down; by default see above")
    decoder_widths: tuple[int, ...] | None = Field(None, description="channels on the way up; by default see above")
    hidden: tuple[int, ...] = Field(
        (32, 19), min_length=1, description="channels of the last convolutions, before that of the classes"
    )
    heads: int = Field(16, ge=1, description="parts of the features that attend each by itself")
    key: int = Field(4, ge=1, description="size of the keys")
    width: int = Field(256, ge=2, description="size of the attended features")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the attended features dropped")
    attention_dropout: float = Field(0.1, ge=0, lt=1, description="share of the attention dropped")
    period: float = Field(1000.0, gt=1, description="longest period of the encoding of the dates, in days over 2 pi")
    stride: Literal[1, 2] = Field(1, description="of the way down; 1 keeps the few pixels of a patch as they are")
    padding: Literal["left-out", "official"] = Field(
        "left-out",
        description="dates that are not seen: left out; or as in the official code, with which released weights were "
        "trained: they count as zeros in a group norm, so that a place's answer depends on its batch, and a date of "
        "nothing but zeros is taken for one of them",
    )
    last: Literal["linear", "official"] = Field(
        "linear", description="official: a batch norm and a ReLU after the last convolution, so that no logit is < 0"
    )
    input: Literal["standardised", "numbers"] = Field(
        "standardised",
        description="values less the band's mean over its deviation, linear power in dB before; or the file's numbers "
        "as they are (Sentinel-2 0 to 10000, Sentinel-1 linear power), as the official code reads them",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        down, up = self.encoder_widths, self.decoder_widths
        if (down is None) != (up is None):
            raise ValueError("give encoder_widths and decoder_widths, or neither")
        if down is not None and up is not None:
            if len(down) != len(up) or not 2 <= len(down) <= 4:
                raise ValueError(f"{len(down)} encoder_widths and {len(up)} decoder_widths: give 2, 3 or 4 of each")
            if down[-1] != up[-1]:
                raise ValueError(f"the last of encoder_widths ({down[-1]}) and decoder_widths ({up[-1]}) are one map")
            odd = [w for w in down if w % self.heads or w % 4]
            if odd:
                raise ValueError(f"an encoder width of {odd[0]} does not divide into {self.heads} heads and 4 groups")
        if self.width % (2 * self.heads):
            raise ValueError(f"a width of {self.width} does not divide into {self.heads} heads of an even size")
        return self


class MeanOfDates(Config):
    """A series read date by date with a backbone, its maps averaged over the dates: their order plays no part."""

    kind: Literal["mean"] = "mean"
    encoder: Encoder | None = Field(None, description="its backbone; by default that of the sensors of one date")


Series = Annotated[UTAE | MeanOfDates, Field(discriminator="kind")]
"""What reads a sensor that has several dates a place."""


class Circumstances(Config):
    """When and where an image was taken, told to the network beside the image; off by default, as in the paper.

    A small network makes one vector a place of it, which is added to each fused map. Where it is not known the vector
    is 0, and it begins as 0.
    """

    dates: bool = Field(False, description="the day of the year, by sensor of one date")
    place: bool = Field(False, description="longitude and latitude: a model may then learn a region by heart")
    width: int = Field(64, ge=1, description="hidden units")

    @property
    def any(self) -> bool:
        """Whether anything is told."""
        return self.dates or self.place


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
