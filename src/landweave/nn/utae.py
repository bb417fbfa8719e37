"""U-TAE (Garnot and Landrieu 2021, ICCV): a U-Net a date, whose dates are gathered by temporal attention.

    rows N C H W ── in ── down ── down ── down ──┐          each seen date by itself, group norm
                     │      │       │         L-TAE -> map 0, and who attends to which date
                 gathered gathered gathered      │          the maps of the dates, weighted as L-TAE weighs them
                     │      │       │            │
          map 3 ──── up ─── up ──── up ──────────┘          batch norm

Each convolution runs once, and on seen dates only. Attention is that of L-TAE (Garnot and Landrieu 2020): one learned
query a head, keys from the features, values a slice of the features. As the query is learned and the projection linear,
a score is one product with the features, and the projection of the values is done after the sum over the dates: both
are equal to the published order of the sums but for rounding, and cost a tenth of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landweave.nn.config import UTAE
from landweave.nn.encoders import resize
from landweave.nn.norms import BatchNorm

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

GROUPS = 4
"""Groups of the group norms below the attention."""
BESIDE = ((64, 64, 128, 128), (64, 64, 128, 128))
ALONE = ((64, 64, 64, 128), (32, 32, 64, 128))
"""Widths on the way down and up: beside sensors of one date, and of series alone."""


def widths_of(settings: UTAE, *, beside: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The widths down and up that the settings ask for; `beside` says whether sensors of one date are there too."""
    if settings.encoder_widths is not None and settings.decoder_widths is not None:
        return settings.encoder_widths, settings.decoder_widths
    return BESIDE if beside else ALONE


class UTAENet(nn.Module):
    """Maps of a series, deepest first.

    Args:
        settings: see `UTAE`.
        bands: how many bands the images have.
        beside: whether sensors of one date are there too, which decides about widths that are not given.
    """

    def __init__(self, settings: UTAE, *, bands: int, beside: bool = False) -> None:
        super().__init__()
        down, up = widths_of(settings, beside=beside)
        self.official = settings.padding == "official"
        self.widths = tuple(reversed(up))
        """Channels of the maps, deepest first."""
        self.first = _block([bands, down[0], down[0]], dates=True)
        self.down = nn.ModuleList(Down(a, b, stride=settings.stride) for a, b in _pairs(down))
        self.attention = LTAE(settings, channels=down[-1])
        steps = zip(reversed(_pairs(up)), reversed(down[:-1]), strict=True)
        self.up = nn.ModuleList(Up(deep, fine, skip, stride=settings.stride) for (fine, deep), skip in steps)
        self.to(memory_format=torch.channels_last)

    def forward(
        self, x: Float[Tensor, "B T C H W"], days: Float[Tensor, "B T"], seen: Bool[Tensor, "B T"]
    ) -> list[Float[Tensor, "B D h w"]]:
        """The maps.

        Args:
            x: a series as the network should see it. What stands at unseen dates is not read.
            days: of each date, in days from a fixed day of its year; NaN where unknown.
            seen: which dates are seen; at least one of each place.
        """
        return self._run(x, days, seen)[0]

    def attend(
        self, x: Float[Tensor, "B T C H W"], days: Float[Tensor, "B T"], seen: Bool[Tensor, "B T"]
    ) -> tuple[list[Float[Tensor, "B D h w"]], Float[Tensor, "heads B T h w"]]:
        """The maps, and how much each head attends to each date (in training, after dropout). See `forward`."""
        maps, attention, order = self._run(x, days, seen)
        B, _, *rest = attention.shape
        index = order.view(*order.shape, *(1,) * len(rest)).expand(-1, -1, *rest)
        whole = attention.new_zeros(B, seen.shape[1], *rest).scatter(1, index, attention)
        return maps, whole.permute(2, 0, 1, 3, 4)

    def _run(
        self, x: Float[Tensor, "B T C H W"], days: Float[Tensor, "B T"], seen: Bool[Tensor, "B T"]
    ) -> tuple[list[Float[Tensor, "B D h w"]], Float[Tensor, "B t heads h w"], Int[Tensor, "B t"]]:
        """The maps; the attention to the t dates that any place needs, seen ones first; and which dates they are."""
        order = torch.argsort((~seen).byte(), dim=1, stable=True)
        if not self.official:
            order = order[:, : max(1, int(seen.sum(1).max()))]
        here = seen.gather(1, order)
        place, date = here.nonzero(as_tuple=True)
        rows = x[place, order[place, date]].contiguous(memory_format=torch.channels_last)
        levels = [self.first(rows)]
        for step in self.down:
            levels.append(step(levels[-1]))
        deepest, attention = self.attention(levels[-1], days.gather(1, order), here)
        maps = [deepest]
        for step, level in zip(self.up, reversed(levels[:-1]), strict=True):
            maps.append(step(maps[-1], gathered(level, attention, here)))
        return maps, attention, order


def gathered(
    level: Float[Tensor, "N C H W"], attention: Float[Tensor, "B T heads h w"], seen: Bool[Tensor, "B T"]
) -> Float[Tensor, "B C H W"]:
    """The maps of the seen dates (N of them, by place and then date), each head weighing its share of the channels."""
    B, T, heads = attention.shape[:3]
    N, C, H, W = level.shape
    share = attention.flatten(0, 1) if N == B * T else attention[seen]
    weighted = (level.view(N, heads, C // heads, H, W) * resize(share, (H, W))[:, :, None]).flatten(1, 2)
    if N == B * T:
        return weighted.view(B, T, C, H, W).sum(1)
    return weighted.new_zeros(B, C, H, W).index_add(0, seen.nonzero()[:, 0], weighted)


class LTAE(nn.Module):
    """L-TAE a pixel: its dates to one vector, by as many learned queries as there are heads.

    Group norm over (channels of a group, dates), a linear layer, the encoding of the dates added; attention;
    linear layer, batch norm, ReLU, dropout, group norm. Of dates that are not seen nothing is read, except that with
    `padding: official` they stand as zeros in the first group norm.
    """

    def __init__(self, settings: UTAE, *, channels: int) -> None:
        super().__init__()
        self.heads, self.key, self.period = settings.heads, settings.key, settings.period
        self.official = settings.padding == "official"
        self.norm = nn.GroupNorm(self.heads, channels)
        self.project = nn.Linear(channels, settings.width)
        self.query = nn.Parameter(torch.empty(self.heads, self.key))
        self.keys = nn.Linear(settings.width, self.heads * self.key)
        for weight in (self.query, self.keys.weight):
            nn.init.normal_(weight, std=(2 / self.key) ** 0.5)
        self.drop_dates = nn.Dropout(settings.attention_dropout)
        self.mix = nn.Sequential(nn.Linear(settings.width, channels), BatchNorm(channels), nn.ReLU())
        self.drop = nn.Dropout(settings.dropout)
        self.last = nn.GroupNorm(self.heads, channels)

    def forward(
        self, rows: Float[Tensor, "N C h w"], days: Float[Tensor, "B T"], seen: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B T heads h w"]]:
        """Features a pixel, and the attention. `rows` are the maps of the seen dates, by place and then date."""
        (B, T), (N, C, h, w) = seen.shape, rows.shape
        if N < B * T:
            rows = rows.new_zeros(B * T, C, h, w).index_copy(0, seen.flatten().nonzero()[:, 0], rows)
        x = rows.view(B, T, C, h, w).permute(0, 3, 4, 2, 1).reshape(B, h * w, C, T)
        x = self._normed(x, seen)
        encoded = encoding(days, self.project.out_features // self.heads, self.period).to(x)
        attention = self._attention(x, encoded, seen)
        found = self.mix(self._values(x, encoded, attention))
        found = self.last(self.drop(found)).view(B, h, w, C).permute(0, 3, 1, 2)
        return found, attention.view(B, h, w, self.heads, T).permute(0, 4, 3, 1, 2)

    def _normed(self, x: Float[Tensor, "B P C T"], seen: Bool[Tensor, "B T"]) -> Float[Tensor, "B P C T"]:
        """Group norm over the seen dates of a pixel (over all T as the official code does it), without weight and bias.

        These are linear and come after it, with the layers that follow.
        """
        if self.official or bool(seen.all()):
            return F.group_norm(x.flatten(0, 1), self.heads, eps=self.norm.eps).view_as(x)
        B, P, C, T = x.shape
        groups = x.view(B, P, self.heads, C // self.heads, T)
        here = seen.to(x)[:, None, None, None]
        number = here.sum(4, keepdim=True) * groups.shape[3]
        centred = (groups - groups.sum((3, 4), keepdim=True) / number) * here  # unseen dates are 0: nothing in the sum
        deviation = (centred.square().sum((3, 4), keepdim=True) / number + self.norm.eps).sqrt()
        normed: Tensor = (centred / deviation).flatten(2, 3)
        return normed

    def _attention(
        self, x: Float[Tensor, "B P C T"], encoded: Float[Tensor, "B T S"], seen: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B P heads T"]:
        """Softmax over the seen dates of query times key, the layers below the key folded into the query."""
        keys = self.keys.weight.view(self.heads, self.key, -1)
        query = torch.einsum("hk,hkd->hd", self.query, keys) / self.key**0.5
        bias = (self.query * self.keys.bias.view(self.heads, self.key)).sum(1) / self.key**0.5
        below = query @ self.project.weight
        of_days = torch.einsum("hs,bts->bht", query.view(self.heads, self.heads, -1).sum(1), encoded)
        constant = query @ self.project.bias + below @ self.norm.bias + bias
        scores = (below * self.norm.weight) @ x + (of_days + constant[:, None])[:, None]
        weights: Tensor = self.drop_dates(scores.masked_fill(~seen[:, None, None], float("-inf")).softmax(3))
        return weights

    def _values(
        self, x: Float[Tensor, "B P C T"], encoded: Float[Tensor, "B T S"], attention: Float[Tensor, "B P heads T"]
    ) -> Float[Tensor, "BP D"]:
        """Each head's slice of the projected features, summed over the dates first and projected then."""
        total = attention.sum(3, keepdim=True)
        summed = (attention @ x.transpose(2, 3)) * self.norm.weight + total * self.norm.bias
        slices = self.project.weight.view(self.heads, -1, x.shape[2])
        bias = self.project.bias.view(self.heads, -1)
        values = torch.einsum("bphc,hsc->bphs", summed, slices) + total * bias + attention @ encoded[:, None]
        joined: Tensor = values.flatten(2).flatten(0, 1)
        return joined


def encoding(days: Float[Tensor, "B T"], size: int, period: float) -> Float[Tensor, "B T size"]:
    """Sine and cosine of the days, as in L-TAE (the same for each head); 0 for a day that is unknown (NaN)."""
    j = torch.arange(size, device=days.device)
    angle = days.float()[..., None] / period ** (2 * torch.div(j, 2, rounding_mode="floor") / size)
    waves = torch.where(j % 2 == 0, angle.sin(), angle.cos())
    return torch.where(days.isnan()[..., None], 0.0, waves)


class Down(nn.Module):
    """One step down: a strided convolution, and two more with a shortcut around the second."""

    def __init__(self, wide: int, narrow: int, *, stride: int) -> None:
        super().__init__()
        self.step = _block([wide, wide], dates=True, stride=stride)
        self.one = _block([wide, narrow], dates=True)
        self.two = _block([narrow, narrow], dates=True)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        """Of each date by itself."""
        out = self.one(self.step(x))
        total: Tensor = out + self.two(out)
        return total


class Up(nn.Module):
    """One step up, joined with what the dates have on that level."""

    def __init__(self, deep: int, fine: int, skip: int, *, stride: int) -> None:
        super().__init__()
        side = 3 if stride == 1 else 4
        self.grow = nn.Sequential(
            nn.ConvTranspose2d(deep, fine, side, stride=stride, padding=1), BatchNorm(fine), nn.ReLU()
        )
        self.skip = nn.Sequential(nn.Conv2d(skip, skip, 1), BatchNorm(skip), nn.ReLU())
        self.one = _block([fine + skip, fine], dates=False)
        self.two = _block([fine, fine], dates=False)

    def forward(self, x: Float[Tensor, "B C h w"], skip: Float[Tensor, "B S H W"]) -> Float[Tensor, "B D H W"]:
        """One map from the deeper one and the dates' own."""
        grown = resize(self.grow(x), (skip.shape[-2], skip.shape[-1]))
        out = self.one(torch.cat([grown, self.skip(skip)], 1))
        total: Tensor = out + self.two(out)
        return total


class Answer(nn.Module):
    """Logits of a series, from its last map: 3 x 3 convolutions, each but the last with a batch norm and a ReLU.

    The official code has both after the last one too (`last: official`), so that its logits are never negative.
    """

    def __init__(self, settings: UTAE, *, channels: int, classes: int) -> None:
        super().__init__()
        hidden = settings.hidden[:-1] if settings.hidden[-1] == classes else settings.hidden
        if settings.last == "official":
            self.layers = _block([channels, *hidden, classes], dates=False)
        else:
            self.layers = _block([channels, *hidden], dates=False)
            self.layers.append(Reflected((channels, *hidden)[-1], classes))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Logits, float32."""
        found: Tensor = self.layers(x).float()
        return found


class Reflected(nn.Conv2d):
    """A convolution of 3 x 3 (4 x 4 with stride 2) beyond whose edges the image is mirrored; repeated, of one pixel."""

    def __init__(self, wide: int, narrow: int, *, stride: int = 1) -> None:
        super().__init__(wide, narrow, 3 if stride == 1 else 4, stride=stride)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D H2 W2"]:
        """See torch's."""
        mode = "reflect" if min(x.shape[-2:]) > 1 else "replicate"
        return super().forward(F.pad(x, (1, 1, 1, 1), mode=mode))


def _block(widths: Sequence[int], *, dates: bool, stride: int = 1) -> nn.Sequential:
    """Convolutions, each with a norm (group norm where dates go through it one by one) and a ReLU."""
    layers: list[nn.Module] = []
    for wide, narrow in _pairs(widths):
        norm = nn.GroupNorm(GROUPS, narrow) if dates else BatchNorm(narrow)
        layers += [Reflected(wide, narrow, stride=stride), norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _pairs(values: Sequence[int]) -> list[tuple[int, int]]:
    return list(pairwise(values))
