"""Views of a batch: flipped, turned, cut, blurred, noisy. What a place gets depends on the key and its name only.

No torch is imported until a batch is augmented, so that recipes may hold `Augment`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from landweave.config import Config

if TYPE_CHECKING:
    from typing import Self

    from landweave.sample import Batch


class Augment(Config):
    """What may happen to a place. The default turns and flips only, which changes no pixel value.

    Radar gets no brightness, contrast or additive noise: its values are physical power with multiplicative speckle.
    Heights (unit metre) are moved with the rest and otherwise left alone.
    """

    flip: float = Field(0.5, ge=0, le=1, description="chance of a left-right, and of an up-down, flip")
    rotate90: bool = Field(True, description="turn by 0, 90, 180 or 270 degrees with equal chance")
    crop: tuple[float, float] | None = Field(
        None, description="share of the area to cut out and enlarge, drawn between two bounds; above 1 shows a border"
    )
    brightness: float = Field(0.0, ge=0, lt=1, description="optical values times 1 +- this")
    contrast: float = Field(0.0, ge=0, lt=1, description="optical distance from the band's mean times 1 +- this")
    jitter_chance: float = Field(0.8, ge=0, le=1, description="chance that brightness and contrast are changed")
    blur: float = Field(0.0, ge=0, le=1, description="chance of a Gaussian blur")
    blur_sigma: tuple[float, float] = Field((0.1, 2.0), description="its width in pixels, drawn between two bounds")
    noise: float = Field(0.0, ge=0, description="optical Gaussian noise, as a share of the band's deviation")
    speckle_looks: float = Field(
        0.0, ge=0, description="radar power times gamma noise of mean 1 and this many looks (fewer: stronger); 0: none"
    )
    co_registered: bool = Field(
        True, description="one geometry for all sensors of a place; false: one each, where no label map is carried"
    )

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name, bounds, most in (("crop", self.crop, 4.0), ("blur_sigma", self.blur_sigma, 10.0)):
            if bounds is not None and not 0 < bounds[0] <= bounds[1] <= most:
                raise ValueError(f"{name} is {list(bounds)}: two bounds are needed, 0 < low <= high <= {most:g}")
        return self

    @property
    def moves(self) -> bool:
        """Whether pixels change place."""
        return bool(self.flip or self.rotate90 or self.crop)


CONTRASTIVE = Augment(
    # MoSAiC names crop, rotation and blur as examples and gives no strength. Crop and blur chance: Prexl & Schmitt
    # 2023 (IaI-SimCLR), who jitter by 0.8; 0.4 is Chen et al. 2020 (SimCLR) on small images. Looks: ours; IW GRDH
    # has about 4.4, of which 16 more make 3.3.
    crop=(0.3, 0.9),
    brightness=0.4,
    contrast=0.4,
    blur=0.3,
    noise=0.1,
    speckle_looks=16,
)
"""Two views of a place for contrastive learning."""


@dataclass(frozen=True)
class Draw:
    """What one place, or one sensor of it, gets. `seed` starts the noise of its pixels."""

    flip_cols: bool
    flip_rows: bool
    transpose: bool
    side: float
    """Side of the crop window as a share of the image's; 1 is all of it."""
    row: float
    col: float
    """Centre of the window, from 0 to 1 of the room there is."""
    brightness: float
    contrast: float
    sigma: float
    """Width of the blur in pixels; 0: none."""


def seed_of(key: Sequence[int], place: str, what: str = "") -> NDArray[np.uint64]:
    """128 bits that belong to a key and two names, on every machine: their BLAKE2 hash."""
    text = repr((tuple(int(k) for k in key), place, what)).encode()
    return np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), "<u8").astype(np.uint64)


def draw(settings: Augment, key: Sequence[int], place: str, sensor: str = "") -> Draw:
    """The draw of a place (or of one sensor of it): the same for the same key and names, on every machine.

    Key and names are hashed into the key of a Philox generator (Salmon et al. 2011), whose streams are independent;
    every setting has its own position in the stream, so that switching one on leaves the others alone.
    """
    u = np.random.Generator(np.random.Philox(key=seed_of(key, place, sensor))).random(16).tolist()
    low, high = settings.crop or (1.0, 1.0)
    jitter = u[6] < settings.jitter_chance
    low_sigma, high_sigma = settings.blur_sigma
    quarter = int(u[2] * 4) if settings.rotate90 else 0
    # a quarter turn is a transposition and a flip, a half turn is both flips
    return Draw(
        flip_cols=(u[0] < settings.flip) ^ (quarter in (1, 2)),
        flip_rows=(u[1] < settings.flip) ^ (quarter in (2, 3)),
        transpose=quarter in (1, 3),
        side=(low + u[3] * (high - low)) ** 0.5,
        row=u[4],
        col=u[5],
        brightness=1 + jitter * settings.brightness * (2 * u[7] - 1),
        contrast=1 + jitter * settings.contrast * (2 * u[8] - 1),
        sigma=(u[9] < settings.blur) * (low_sigma + u[10] * (high_sigma - low_sigma)),
    )


def augment(batch: Batch, settings: Augment, key: Sequence[int]) -> Batch:
    """A view of a batch.

    Flips and quarter turns alone are exact copies; with a crop, one affine resampling does all three (bilinear for
    values, as power for radar; nearest for masks and label maps). What falls outside an image is unseen, in a label
    map unknown. Quarter turns need square images; with others only flips and half turns are drawn. Augmented images
    are float32 in their sensor's unit, and have no grid once pixels have moved. Labels that are not maps stay, although
    a crop may lose what they name.

    Args:
        batch: cubes, or images as read; not normalised.
        settings: what may happen.
        key: integers that tell this draw from others: (seed, epoch, view). The same key and place give the same
            result, wherever the place stands in a batch (noise: on the same kind of device).

    Raises:
        ConfigError: a geometry for each sensor (`co_registered: false`) although a label map is carried.
    """
    import torch

    from landweave.transforms.geometry import moved
    from landweave.transforms.radiometry import coloured

    device = next((im.data.device.type for im in batch.images.values()), "cpu")
    with torch.autocast(device, enabled=False):  # in bfloat16 an affine grid is a pixel off
        view = moved(batch, settings, key) if settings.moves else batch
        return coloured(view, settings, key)
