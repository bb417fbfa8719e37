"""Ridge regression of each band on the others, in closed form, for any set of bands that are left out.

One matrix of moments serves all: the features of a pixel are the values of all bands there and their means over the
3 x 3 pixels around it, so that the moments of any band with any others are entries of one Gram matrix. It adds up over
images, and to leave a band out of the prediction is to leave out its rows and columns.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

REACH = 1
"""Pixels to each side that a prediction looks at."""


class Ridge(nn.Module):
    """Predicts each band of an image from the others. It has learned nothing until `add` was called.

    Args:
        bands: C.
        penalty: added to the diagonal of the mean Gram matrix, but for the intercept's entry.
    """

    gram: Tensor
    images: Tensor

    def __init__(self, bands: int, penalty: float = 1e-3) -> None:
        super().__init__()
        self.bands, self.penalty = bands, penalty
        size = 2 * bands + 1
        self.register_buffer("gram", torch.zeros(size, size, dtype=torch.float64))
        self.register_buffer("images", torch.zeros((), dtype=torch.float64))

    def reset(self) -> None:
        """Forget all images."""
        self.gram.zero_()
        self.images.zero_()

    def add(self, values: Float[Tensor, "N C H W"], seen: Bool[Tensor, "N C H W"]) -> None:
        """Learn from images. Each counts as one, whatever its size; pixels count where every band is seen."""
        for one, known in zip(values, seen, strict=True):
            gram = moments(one, known)
            if gram is not None:
                self.gram += gram.to(self.gram)
                self.images += 1

    def weights(self, band: int, hidden: Collection[int] = ()) -> Float[Tensor, " F"]:
        """Weight of each feature (values, means around, 1) in the prediction of a band; 0 for it and for hidden ones.

        Raises:
            ValueError: no image was added.
        """
        if not float(self.images):
            raise ValueError("no image was added")
        C = self.bands
        kept = [c for c in range(C) if c != band and c not in hidden]
        at = torch.tensor([*kept, *(c + C for c in kept), 2 * C], device=self.gram.device)
        gram = self.gram / self.images
        penalty = torch.full((len(at),), self.penalty, dtype=gram.dtype, device=gram.device)
        penalty[-1] = 0
        found = torch.linalg.solve(gram[at][:, at] + penalty.diag(), gram[at, band])
        return torch.zeros_like(gram[0]).index_put((at,), found)

    def looser(self, hidden: Collection[int]) -> Float[Tensor, " C"]:
        """By what factor the root mean square error of each band over the learned images grows without hidden ones."""
        gram = self.gram / self.images

        def error(band: int, without: Collection[int]) -> Tensor:
            weights = self.weights(band, without)
            found: Tensor = gram[band, band] - 2 * weights @ gram[band] + weights @ gram @ weights
            return found.clamp(min=1e-12)

        return torch.stack([(error(b, hidden) / error(b, ())).sqrt() for b in range(self.bands)]).clamp(min=1)

    def forward(
        self,
        values: Float[Tensor, "N C H W"],
        seen: Bool[Tensor, "N C H W"],
        *,
        bands: Collection[int],
        hidden: Collection[int] = (),
    ) -> Float[Tensor, "N P H W"]:
        """The given bands, each from those that are neither it nor hidden; unseen values count as the band's mean."""
        weights = torch.stack([self.weights(b, hidden) for b in bands]).to(values)
        return torch.einsum("pf,nfhw->nphw", weights[:, :-1], features(values, seen)) + weights[:, -1, None, None]


def features(values: Float[Tensor, "N C H W"], seen: Bool[Tensor, "N C H W"]) -> Float[Tensor, "N F H W"]:
    """Values, and means of the seen ones of the 3 x 3 pixels around: 2 C; 0 where nothing is seen."""
    known = seen.to(values)
    side, clear = 2 * REACH + 1, values * known
    total, weight = (F.avg_pool2d(v, side, 1, REACH) for v in (clear, known))
    return torch.cat([clear, torch.where(weight > 0, total / weight.clamp(min=1e-6), 0)], 1)


def moments(values: Float[Tensor, "C H W"], seen: Bool[Tensor, "C H W"]) -> Float[Tensor, "F F"] | None:
    """Mean products of the features (with a 1 as the last) over the pixels at which all bands are seen.

    None where there are none.
    """
    known = seen.all(0).flatten()
    if not bool(known.any()):
        return None
    found = features(values[None], seen[None])[0].flatten(1)[:, known].double()
    found = torch.cat([found, torch.ones_like(found[:1])])
    return found @ found.T / found.shape[1]
