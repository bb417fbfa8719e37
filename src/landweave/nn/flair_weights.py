"""FLAIR-HUB's released weights in a model of ours: `.safetensors`, or a `.ckpt` or `.pth` of plain tensors.

    model.encoders.AERIAL_RGBI.seg_model.model.*             encoders.aerial.net.*
    model.encoders.SENTINEL2_TS.{in_conv,down_blocks,...}    encoders.s2-l2a.net.{first,down,...}
    model.encoders.SENTINEL2_TS.out_conv.*                   answers.s2-l2a.*
    model.fusion_handler.conv_f.i                            fuse.narrow.(i + 1)
    model.main_decoders.AERIAL_LABEL-COSIA.seg_model.*       decoders.cosia.*
    model.aux_decoders.AERIAL_RGBI__AERIAL_LABEL-COSIA.*     branches.aerial.cosia.*
    criterion.*                                              (class weights of the loss) left there

Bands go by name: the released aerial and SPOT networks read near infrared, red, green. Sensors are side by side in
another order here, so the columns of the fusion are put in ours. What the file has and a model does not ask for
(auxiliary branches, the logits of series that only these read, the last step of the pyramid, which nothing reads) is
left there; what the model asks for and the file lacks is refused, but for parts that FLAIR-HUB has not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from landweave.errors import ContractError, RunError, listed
from landweave.nn.stages import MEETS, paired

if TYPE_CHECKING:
    from landweave.nn.uperfuse import UPerFuseModel

SENSORS = {
    "AERIAL_RGBI": "aerial",
    "AERIAL-RLT_PAN": "aerial-pan",
    "DEM_ELEV": "dsm-dtm",
    "SPOT_RGBI": "spot",
    "SENTINEL2_TS": "s2-l2a",
    "SENTINEL1-ASC_TS": "s1-grd-sigma0-asc-linear",
    "SENTINEL1-DESC_TS": "s1-grd-sigma0-desc-linear",
}
"""Our names of the official sensors, in the order in which their maps stand side by side in the fusion."""
BANDS = {
    "aerial": ("N", "R", "G"),
    "aerial-pan": ("PAN",),
    "dsm-dtm": ("DSM", "HEIGHT"),
    "spot": ("N", "R", "G"),
    "s2-l2a": ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    "s1-grd-sigma0-asc-linear": ("VV", "VH"),
    "s1-grd-sigma0-desc-linear": ("VV", "VH"),
}
"""The bands that the released networks read, in their order."""
TASKS = {"AERIAL_LABEL-COSIA": ("cosia",), "ALL_LABEL-LPIS": ("lpis-1", "lpis-2", "lpis-3")}
SUFFIXES = (".safetensors", ".ckpt", ".pth")

UTAE = (
    (r"in_conv\.conv\.conv\.", "first."),
    (r"down_blocks\.(\d+)\.down\.conv\.", r"down.\1.step."),
    (r"down_blocks\.(\d+)\.conv1\.conv\.", r"down.\1.one."),
    (r"down_blocks\.(\d+)\.conv2\.conv\.", r"down.\1.two."),
    (r"up_blocks\.(\d+)\.up\.", r"up.\1.grow."),
    (r"up_blocks\.(\d+)\.skip_conv\.", r"up.\1.skip."),
    (r"up_blocks\.(\d+)\.conv1\.conv\.", r"up.\1.one."),
    (r"up_blocks\.(\d+)\.conv2\.conv\.", r"up.\1.two."),
    (r"temporal_encoder\.inconv\.", "attention.project."),
    (r"temporal_encoder\.attention_heads\.Q$", "attention.query"),
    (r"temporal_encoder\.attention_heads\.fc1_k\.", "attention.keys."),
    (r"temporal_encoder\.in_norm\.", "attention.norm."),
    (r"temporal_encoder\.out_norm\.", "attention.last."),
    (r"temporal_encoder\.mlp\.", "attention.mix."),
    (r"out_conv\.conv\.conv\.", "layers."),
)
"""Names within an official U-TAE, and ours; `layers` is of the logits, which stand apart here."""
UPERNET = (
    (r"decoder\.psp\.blocks\.(\d+)\.1\.", r"decoder.pooled.\1."),
    (r"decoder\.psp\.out_conv\.", "decoder.coarsest."),
    (r"decoder\.fpn_stages\.(\d+)\.skip_conv\.", r"decoder.steps.\1."),
    (r"decoder\.fpn_bottleneck\.", "decoder.join."),
    (r"segmentation_head\.0\.", "last."),
)
"""Names within an official UPerNet, and ours."""


def renamed(key: str, names: Iterable[tuple[str, str]]) -> str:
    """An official name within a part, as it is here; unchanged where none of the rules is for it."""
    for pattern, ours in names:
        new, found = re.subn(f"^{pattern}", ours, key)
        if found:
            return new
    return key
