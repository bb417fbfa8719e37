"""Fusion of scene models: the features of several sensors become one vector a place, for the linear head to read."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landweave.nn.absent import MeanFeatures, filled, flags, mean_of_seen
from landweave.nn.config import Attention, Bilinear, Concat, Fusion, Late, Mean, Stages
from landweave.nn.fusion import of_uperfuse

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Features = Mapping[str, "Float[Tensor, 'B D']"]
Seen = Mapping[str, "Bool[Tensor, ' B']"]


class FuseVectors(nn.Module, abc.ABC):
    """One vector a place, of `width` numbers. Sensors are taken in the order of their names."""

    width: int

    @abc.abstractmethod
    def forward(self, features: Features, seen: Seen) -> Float[Tensor, "B D2"]:
        """Fuse. Whatever stands in the features of a sensor that is not seen is not read."""


def fuse_vectors(fusion: Fusion, widths: Mapping[str, int], means: MeanFeatures) -> FuseVectors:
    """The fusion that the settings name, with random weights if it has any.

    Args:
        fusion: settings; of `early` fusion, whose one encoder has read all sensors, nothing is left to do.
        widths: features by sensor.
        means: the mean feature of each, for those fusions that fill absent sensors in.
    """
    match fusion:
        case Mean():
            return FuseMean(widths)
        case Attention():
            return FuseAttention(fusion, widths)
        case Bilinear():
            return FuseBilinear(widths, means, rank=fusion.rank)
        case Stages() | Late():
            raise of_uperfuse(fusion)
    return FuseConcat(widths, means, flags=isinstance(fusion, Concat) and fusion.flags)


class FuseConcat(FuseVectors):
    """Side by side. An absent sensor is its mean feature; or, with `flags`, zeros and a flag of 0 in place of 1."""

    def __init__(self, widths: Mapping[str, int], means: MeanFeatures, *, flags: bool = False) -> None:
        super().__init__()
        self.means = means
        self.flags = flags
        self.width = sum(widths.values()) + (len(widths) if flags else 0)

    def forward(self, features: Features, seen: Seen) -> Float[Tensor, "B D2"]:
        """See `FuseVectors.forward`."""
        names = sorted(features)
        parts = [filled(features[n], seen[n], None if self.flags else self.means[n]) for n in names]
        if self.flags:
            parts.append(flags([seen[n] for n in names], parts[0]))
        return torch.cat(parts, 1)


class FuseMean(FuseVectors):
    """The mean over the sensors that are seen; 0 where none is."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.width = next(iter(widths.values()))

    def forward(self, features: Features, seen: Seen) -> Float[Tensor, "B D2"]:
        """See `FuseVectors.forward`."""
        names = sorted(features)
        return mean_of_seen([features[n] for n in names], [seen[n] for n in names])


class FuseBilinear(FuseVectors):
    """Features side by side, as `FuseConcat` has them, and after them the low-rank product of each pair of sensors.

    With the linear head that follows, the score of a class for two sensors is

        w . [h_a, h_b] + v . (tanh(U_a h_a) * tanh(U_b h_b))

    whose second part is low-rank bilinear pooling with an activation before the product (Kim et al., ICLR 2017).
    Ours: the linear part is that of `FuseConcat`, and the products of several pairs are added up, where the paper has
    two inputs. One sensor alone has no product.
    """

    def __init__(self, widths: Mapping[str, int], means: MeanFeatures, *, rank: int) -> None:
        super().__init__()
        several = len(widths) > 1
        self.means = means
        self.project = nn.ModuleDict({n: nn.Linear(widths[n], rank) for n in sorted(widths) if several})
        self.width = sum(widths.values()) + (rank if several else 0)

    def forward(self, features: Features, seen: Seen) -> Float[Tensor, "B D2"]:
        """See `FuseVectors.forward`."""
        parts = {n: filled(features[n], seen[n], self.means[n]) for n in sorted(features)}
        small = [project(parts[n]).tanh() for n, project in self.project.items()]
        products = [a * b for a, b in combinations(small, 2)]
        return torch.cat([*parts.values(), *([torch.stack(products).sum(0)] if products else [])], 1)


class FuseAttention(FuseVectors):
    """Cross-attention between sensors: each is a token, and a learned query gathers what the seen ones have to say.

    A token is a linear map of the normalised feature; its bias, one a sensor, is the embedding that says which sensor
    it is. In each layer every token, the query among them, attends to the query and the sensors that are seen; what
    the query has become is the fused vector. Layers are those of a transformer, normalised first (Vaswani et al.
    2017; Xiong et al. 2020). No mean feature is used. Where no sensor is seen the result depends on the query alone.
    """

    def __init__(self, settings: Attention, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.width = settings.width
        names = sorted(widths)
        self.tokens = nn.ModuleDict(
            {n: nn.Sequential(nn.LayerNorm(widths[n]), nn.Linear(widths[n], self.width)) for n in names}
        )
        self.query = nn.Parameter(torch.randn(self.width) * 0.02)
        self.layers = nn.ModuleList([_Layer(self.width, settings.parts) for _ in range(settings.layers)])
        self.norm = nn.LayerNorm(self.width)

    def forward(self, features: Features, seen: Seen) -> Float[Tensor, "B D2"]:
        """See `FuseVectors.forward`."""
        names = sorted(features)
        tokens = [self.tokens[n](filled(features[n], seen[n], None)) for n in names]
        x = torch.stack([self.query.to(tokens[0]).expand_as(tokens[0]), *tokens], 1)
        mask = torch.stack([torch.ones_like(seen[names[0]]), *(seen[n] for n in names)], 1)
        for layer in self.layers:
            x = layer(x, mask)
        fused: Tensor = self.norm(x[:, 0])
        return fused


class _Layer(nn.Module):
    """One layer of a transformer over few tokens."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.before, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Float[Tensor, "B S D"], seen: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        q, k, v = self.qkv(self.before(x)).unflatten(2, (3, self.parts, -1)).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None])
        x = x + self.out(read.transpose(1, 2).flatten(2))
        y: Tensor = x + self.mlp(x)
        return y
