"""One encoder a sensor: any timm backbone, any number of bands and dates, absent places left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landweave.errors import ConfigError
from landweave.nn.config import MIT, OWN, Encoder
from landweave.nn.fill import Levels, Show
from landweave.nn.mit import MixTransformer
from landweave.nn.vgg import MmaVgg
from landweave.sample import Image

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

STRIDE = 32
"""Maps are laid on a multiple of so many pixels, so that every stage of a backbone divides evenly."""
DEPTH = 5
"""Stages of a pyramid of feature maps: from 1/2 to 1/32 of the pixels for most backbones."""

Form = Literal["vector", "map", "pyramid"]
"""What an encoder gives: one vector a place; the vector and the last map that it is pooled from; or `DEPTH` maps."""


class StreamEncoder(nn.Module):
    """Features of one sensor: B D for a place, with the map B C h w below it if asked, or a pyramid of maps.

    Dates are folded into the batch, encoded alike, and the features averaged over the seen dates. A date at which
    nothing is seen (padding, a wholly clouded image, an absent sensor) never enters the network, so neither its
    values nor its number can reach a batch norm. Where no date is seen the features are 0.

    Where a value is not seen the network is shown what `settings.fill` says, whatever the reason: a fault, nodata, the
    border of a crop that was cut too wide, and what `extent` or a backbone of fixed size adds to an image.

    Args:
        settings: which backbone, and what it is shown.
        bands: how many bands the images have.
        size: (H, W) of a training place; backbones with position embeddings are made for it.
        form: what to give.
        levels: the statistics that images are normalised with; by default mean 0 and deviation 1.

    Raises:
        ConfigError: the backbone cannot give what is asked, or not for images so small.
    """

    def __init__(
        self, settings: Encoder, *, bands: int, size: tuple[int, int], form: Form, levels: Levels | None = None
    ) -> None:
        super().__init__()
        self.settings, self.form = settings, form
        pyramid = form == "pyramid"
        self.channels = bands * (2 if settings.band_mask else 1)
        self.size = size
        self.net, self.fixed = backbone(settings, self.channels, size, pyramid)
        self.known: set[tuple[int, int]] = set()
        """Sizes that it has read."""
        shapes = self._probe(size)
        self.widths = [shape[1] for shape in shapes]
        """Features of the vector, then channels of the map; or channels a stage from fine to coarse, 0 for a stage
        that the backbone lacks."""
        self.isotropic = pyramid and len({shape[-1] for shape in shapes}) == 1
        if pyramid:
            self.widths = [0] * (DEPTH - len(self.widths)) + self.widths
        self.net.to(memory_format=torch.channels_last)  # convolutions run faster on it, and float32 results agree
        self.show = Show(settings, levels or Levels((0.0,) * bands, (1.0,) * bands, (0.0,) * bands))

    @torch.no_grad()
    def _probe(self, size: tuple[int, int]) -> list[torch.Size]:
        """Shapes of what the network gives, from one pass over zeros."""
        pyramid = self.form == "pyramid"
        H, W = (up(n) for n in size) if pyramid or self.fixed else size
        if pyramid and not self.fixed:
            H = W = 2 * STRIDE
        self.net.eval()
        try:
            found = self._run(torch.zeros(1, self.channels, H, W))
        except ConfigError:
            raise
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            raise _unfit(self.settings, f"cannot read {H} x {W} pixels: {_line(error)}") from None
        self.net.train()
        return [f.shape for f in found]

    def _run(self, x: Tensor) -> list[Tensor]:
        if self.form == "vector":
            return [self.net(x)]
        if self.form == "map":
            last = self.net.forward_features(x)
            return [self.net.forward_head(last), self._as_map(last, (x.shape[-2], x.shape[-1]))]
        out = self.net(x)
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            out = [f.permute(0, 3, 1, 2) for f in out]
        return list(out[-DEPTH:])

    def _as_map(self, last: Any, size: tuple[int, int]) -> Float[Tensor, "N C h w"]:
        """What a backbone pools, as maps: channels to the front, tokens back to where their patches lie."""
        if not isinstance(last, Tensor):
            raise _unfit(self.settings, "has no single map below its features")
        if last.ndim == 4:
            channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
            return last.permute(0, 3, 1, 2) if channels_last else last
        patch = getattr(getattr(self.net, "patch_embed", None), "patch_size", None)
        if last.ndim == 3 and patch is not None:
            h, w = (math.ceil(n / p) for n, p in zip(size, patch, strict=True))
            first = getattr(self.net, "num_prefix_tokens", 0)
            if last.shape[1] == first + h * w:
                return last[:, first:].transpose(1, 2).reshape(len(last), -1, h, w)
        raise _unfit(self.settings, f"has no map below its features, but numbers of shape {tuple(last.shape[1:])}")

    def forward(self, image: Image, *, extent: tuple[float, float] = (1.0, 1.0)) -> list[Float[Tensor, "B D *HW"]]:
        """Encode one sensor of a normalised batch.

        Args:
            image: normalised cube, 0 wherever it is not seen.
            extent: of a pyramid, the area to lay them on in heights and widths of the image, at least 1: it grows to
                the bottom and the right, where nothing is seen.

        Returns:
            `[B D]`, `[B D, B C h w]`, or `DEPTH` maps from fine to coarse; stages that the backbone lacks have no
            channel. Each is a mean over the seen dates, and 0 at places where there is none.
        """
        B, T = image.dates_seen.shape
        rows = image.dates_with_data.flatten()
        x, beyond = self.show(image)
        if self.settings.band_mask:
            x = torch.cat([x, image.seen.flatten(0, 1).to(x)], 1)
            beyond = None if beyond is None else F.pad(beyond, (0, len(beyond)))
        x = self._laid(x, extent, beyond)
        found = self._encode(x, rows)
        if T > 1:
            count = rows.view(B, T).sum(1).clamp(min=1)
            found = [f.float().view(B, T, *f.shape[1:]).sum(1) / count.view(B, *(1,) * (f.ndim - 1)) for f in found]
        return self._pyramid(found, (x.shape[-2], x.shape[-1])) if self.form == "pyramid" else found

    def _laid(
        self, x: Float[Tensor, "N C H W"], extent: tuple[float, float], beyond: Float[Tensor, " C"] | None
    ) -> Float[Tensor, "N C H2 W2"]:
        """Images in the size that the network needs, with a value a channel around them, or 0."""
        if self.form != "pyramid" and not self.fixed:
            return x
        if beyond is not None:
            edge = beyond[:, None, None]
            return self._laid(x - edge, extent, None) + edge
        if self.form == "pyramid":
            return lay_on(x, extent)
        return F.pad(x, (0, up(x.shape[-1]) - x.shape[-1], 0, up(x.shape[-2]) - x.shape[-2]))

    def _encode(self, x: Tensor, rows: Bool[Tensor, " N"]) -> list[Tensor]:
        """Encode the seen rows only, and put zeros at the others."""
        at = rows.nonzero().flatten()
        if len(at) == len(x):
            return self._several(x)
        if len(at):
            some = self._several(x[at])
            return [f.new_zeros(len(x), *f.shape[1:]).index_copy(0, at, f) for f in some]
        # Nothing is seen. The weights stay in the graph, as several processes must agree on what has a gradient,
        # but no statistic may move.
        training = self.net.training
        self.net.eval()
        found = self._of_size(x[:1] * 0 if x.requires_grad else torch.zeros_like(x[:1]))
        self.net.train(training)
        return [(f * 0).expand(len(x), *f.shape[1:]) for f in found]

    def _several(self, x: Tensor) -> list[Tensor]:
        """Encode; a single row is doubled in training, since batch norm refuses one value a channel."""
        if self.training and len(x) == 1:
            return [f[:1] for f in self._of_size(x.expand(2, *x.shape[1:]))]
        return self._of_size(x)

    def _of_size(self, x: Tensor) -> list[Tensor]:
        """Run the network. Windows of a map may be larger than training places, and some backbones read one size."""
        size = (x.shape[-2], x.shape[-1])
        try:
            found = self._run(x)
        except (ConfigError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            if size in self.known:
                raise
            H, W = self.size
            raise ConfigError(
                f"{self.settings.name} cannot read {size[0]} x {size[1]} pixels: {_line(error)}",
                where="method.encoder.name",
                fix=f"give rasters whose pixels nest in windows of {H} x {W}, as in training, or train with a backbone "
                "that reads any size (resnet18, convnext_atto, ...)",
            ) from error
        self.known.add(size)
        return found

    def _pyramid(self, found: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """`DEPTH` maps. Maps of one size (a plain transformer's) become stages of 1/4 to 1/32."""
        if self.isotropic:
            last = DEPTH - len(found) + 1
            sizes = [(size[0] >> (last + i), size[1] >> (last + i)) for i in range(len(found))]
            found = [resize(f, s) for f, s in zip(found, sizes, strict=True)]
        while len(found) < DEPTH:
            B, _, H, W = found[0].shape
            found = [found[0].new_zeros(B, 0, 2 * H, 2 * W), *found]
        return found


def lay_on(x: Float[Tensor, "N C H W"], extent: tuple[float, float]) -> Float[Tensor, "N C H2 W2"]:
    """Lay images on an area `extent` times as high and wide, in a multiple of `STRIDE` pixels; 0 where nothing is.

    Where that is a whole number of pixels, pixels are kept and zeros added; otherwise they are resampled bilinearly,
    so that images of several pixel sizes still cover one and the same area.
    """
    H, W = x.shape[-2:]
    high, wide = H * extent[0], W * extent[1]
    size = (up(high), up(wide))
    if math.isclose(size[0], high) and math.isclose(size[1], wide):
        return x if size == (H, W) else F.pad(x, (0, size[1] - W, 0, size[0] - H))
    a, b = extent
    theta = torch.tensor([[b, 0, b - 1], [0, a, a - 1]], dtype=x.dtype, device=x.device)
    grid = F.affine_grid(theta.expand(len(x), 2, 3), [len(x), 1, *size], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def resize(x: Float[Tensor, "N C H W"], size: tuple[int, int]) -> Float[Tensor, "N C H2 W2"]:
    """Resample maps bilinearly, if they are not of that size already."""
    if tuple(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def up(n: float) -> int:
    """The next multiple of `STRIDE`, at least `n`."""
    return STRIDE * math.ceil(n / STRIDE - 1e-6)


def backbone(
    settings: Encoder, channels: int, size: tuple[int, int], maps: bool, given: Mapping[str, Any] | None = None
) -> tuple[Any, bool]:
    """A network, and whether it is made for one size of image only; `given` goes on to timm, which without it draws."""
    if settings.name in OWN:
        return _restem(_own(settings, channels, maps), settings, channels), False
    import timm
    from timm.models import get_pretrained_cfg

    fixed = bool(getattr(get_pretrained_cfg(settings.name), "fixed_input_size", False))
    form: dict[str, Any] = {"features_only": True} if maps else {"num_classes": settings.width or 0}
    form |= given or {}
    if settings.stride != STRIDE:
        form["output_stride"] = settings.stride
    sized: list[dict[str, Any]] = [{}]
    if fixed:  # each family spells "other sizes too" in its own way, and some have no way
        here = {"img_size": (up(size[0]), up(size[1]))}
        free = {**here, "dynamic_img_size": True}
        sized = [{**free, "dynamic_img_pad": True}, free, {**here, "strict_img_size": False}, here, {}]
    for options in sized:
        try:
            net = timm.create_model(settings.name, in_chans=channels, **form, **options)
            if maps and len(set(net.feature_info.reduction())) == 1 and hasattr(getattr(net, "model", None), "blocks"):
                depth = len(net.model.blocks)
                spread = tuple(depth * (i + 1) // 4 - 1 for i in range(4))
                net = timm.create_model(settings.name, in_chans=channels, out_indices=spread, **form, **options)
            return _restem(net, settings, channels), fixed
        except TypeError:
            continue
        except (RuntimeError, AssertionError, AttributeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            if settings.stride != STRIDE:
                break
            raise _unfit(settings, f"cannot be built for {'maps' if maps else 'places'}: {_line(error)}") from None
    if settings.stride != STRIDE:
        raise _undilated(settings)
    raise _unfit(settings, f"cannot be built for images of {size[0]} x {size[1]} pixels")


def _own(settings: Encoder, channels: int, maps: bool) -> nn.Module:
    """A backbone that is not timm's."""
    if settings.stride != STRIDE:
        raise _undilated(settings)
    if settings.name in MIT:
        return MixTransformer(settings.name, channels, pyramid=maps, width=settings.width)
    if maps:
        raise ConfigError(
            f"{settings.name} gives one map of 1/8 of the pixels, and a decoder reads a pyramid down to 1/{STRIDE}",
            where="method.encoder.name",
            fix="choose a backbone of timm for segmentation (resnet18, convnext_atto, ...)",
        )
    if settings.width:
        raise _unfit(settings, "has no linear layer after its pooling, and width asks for one")
    return MmaVgg(channels)


def _restem(net: Any, settings: Encoder, channels: int) -> Any:
    """Keep more of the resolution of small images."""
    if settings.stem == "own":
        return net
    first = getattr(net, "conv1", None)
    if not (isinstance(first, nn.Conv2d) and hasattr(net, "maxpool")):
        raise ConfigError(
            f"stem={settings.stem} is for ResNets; {settings.name} has another stem",
            where="method.encoder.stem",
            fix="set method.encoder.stem=own, or method.encoder.name=resnet18",
        )
    net.maxpool = nn.Identity()
    if settings.stem == "small":
        conv = nn.Conv2d(channels, first.out_channels, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as timm does for ResNets
        net.conv1 = conv
    return net


def _undilated(settings: Encoder) -> ConfigError:
    return ConfigError(
        f"{settings.name} has no convolutions to dilate for a stride of {settings.stride}",
        where="method.encoder.stride",
        fix=f"set method.encoder.stride={STRIDE}, or name a ResNet or ConvNeXt",
    )


def _unfit(settings: Encoder, what: str) -> ConfigError:
    return ConfigError(
        f"{settings.name} {what}",
        where="method.encoder.name",
        fix="choose another backbone (resnet18, convnext_atto, ...) or larger places",
    )


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
