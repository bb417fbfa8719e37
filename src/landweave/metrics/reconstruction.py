"""How well bands were predicted: RMSE, PSNR, SSIM and spectral angle, added up over images. numpy only.

Papers of Sentinel-2 band reconstruction give these four (for example 10.1109/JSTARS.2023.3276912).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
WINDOW = 8
"""Side of the windows that SSIM compares, which do not overlap (Wang et al. 2004 slide theirs, of 11 x 11 pixels with
Gaussian weights: ours, so that images add up fast)."""


@dataclass
class Reconstruction:
    """Sums over images of C bands; parts of a split add up to the whole.

    `span` is what PSNR and SSIM call the range of the data: C, in the unit of the values.
    """

    span: Values
    squares: Values = field(init=False)
    number: Values = field(init=False)
    alike: Values = field(init=False)
    windows: Values = field(init=False)
    angle: float = field(default=0.0, init=False)
    pixels: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("squares", "number", "alike", "windows"):
            setattr(self, name, np.zeros(len(self.span)))

    def add(self, truth: NDArray[Any], found: NDArray[Any], seen: NDArray[np.bool_]) -> None:
        """Count one image: truth and prediction C H W in the sensor's unit, and where the truth is seen."""
        t, p = truth.astype(np.float64), found.astype(np.float64)
        self.squares += np.where(seen, (p - t) ** 2, 0).sum((1, 2))
        self.number += seen.sum((1, 2))
        for c in range(len(t)):
            values, count = ssim(t[c], p[c], seen[c], float(self.span[c]))
            self.alike[c] += values
            self.windows[c] += count
        whole = seen.all(0)
        a, b = t[:, whole], p[:, whole]
        cosine = (a * b).sum(0) / np.maximum(np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0), 1e-12)
        self.angle += float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).sum())
        self.pixels += int(whole.sum())

    def scores(self, bands: list[str]) -> dict[str, Any]:
        """RMSE (unit of the values), PSNR (dB) and SSIM by band; over all, the mean spectral angle SAM in degrees.

        None where nothing was seen, or PSNR is infinite.
        """
        mse = np.divide(self.squares, self.number, out=np.full(len(self.span), np.nan), where=self.number > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            psnr = 10 * np.log10(self.span**2 / mse)
            alike = self.alike / self.windows
        rows = {
            band: {"rmse": _plain(math.sqrt(mse[c])), "psnr": _plain(psnr[c]), "ssim": _plain(alike[c])}
            for c, band in enumerate(bands)
        }
        return {"bands": rows, "sam": _plain(self.angle / self.pixels if self.pixels else math.nan)}


def ssim(truth: Values, found: Values, seen: NDArray[np.bool_], span: float) -> tuple[float, int]:
    """Structural similarity (Wang et al. 2004, eq. 13, with K1 = 0.01 and K2 = 0.03), summed over windows that are
    seen whole, and their number."""
    H, W = (n // WINDOW * WINDOW for n in truth.shape)
    cut = [
        a[:H, :W].reshape(H // WINDOW, WINDOW, W // WINDOW, WINDOW).transpose(0, 2, 1, 3).reshape(-1, WINDOW**2)
        for a in (truth, found, seen)
    ]
    whole = cut[2].all(1)
    x, y = cut[0][whole], cut[1][whole]
    mx, my = x.mean(1), y.mean(1)
    vx, vy = x.var(1), y.var(1)
    both = ((x - mx[:, None]) * (y - my[:, None])).mean(1)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    value = (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(value.sum()), int(whole.sum())


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
