"""Networks: an encoder a sensor, a fusion, then a linear head (one answer a place) or a decoder (one a pixel).

`landweave.nn.config` holds the settings and imports no torch; the networks load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from landweave.nn.config import (
    UTAE,
    Attention,
    Bilinear,
    Circumstances,
    Concat,
    Decoder,
    DeepLab,
    DeepLabV3,
    Early,
    Encoder,
    FuseStages,
    Fusion,
    Head,
    Late,
    Linear,
    Mean,
    MeanOfDates,
    Mlp,
    Projection,
    SegFormer,
    Series,
    Stages,
    UNet,
    UPerNet,
    UPerNetFlair,
)

if TYPE_CHECKING:
    from landweave.nn.encoders import StreamEncoder as StreamEncoder
    from landweave.nn.model import MapModel as MapModel
    from landweave.nn.model import Model as Model
    from landweave.nn.model import Outputs as Outputs
    from landweave.nn.model import SceneModel as SceneModel
    from landweave.nn.uperfuse import UPerFuseModel as UPerFuseModel

_HOME = {"StreamEncoder": "encoders", "MapModel": "model", "Model": "model", "Outputs": "model", "SceneModel": "model",
         "UPerFuseModel": "uperfuse"}  # fmt: skip
__all__ = [  # noqa: RUF022  (settings, then networks)
    "Encoder", "Fusion", "Concat", "Mean", "Early", "Attention", "Bilinear", "FuseStages", "Stages", "Late",
    "Series", "UTAE", "MeanOfDates", "Circumstances",
    "Decoder", "UNet", "UPerNet", "DeepLab", "UPerNetFlair", "SegFormer", "DeepLabV3",
    "Head", "Linear", "Mlp", "Projection",
    "Model", "SceneModel", "MapModel", "UPerFuseModel", "Outputs", "StreamEncoder",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
