"""The weights of every configuration of FLAIR-HUB's tables, counted by their rule, to 0.1 million."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers import weight_init

from landweave.contract import Contract
from landweave.nn import model as models
from landweave.nn.config import Decoder, DeepLabV3, Encoder, SegFormer, UNet, UPerNetFlair
from landweave.nn.decoders import MapHead
from landweave.nn.encoders import StreamEncoder
from tests.conftest import SHARED
from tests.nn.flair_models import SERIES, model_of, row

SWIN = "swin_base_patch4_window12_384"
SIZES = {"aerial": 512, "aerial-pan": 256, "dsm-dtm": 512, "spot": 64, **dict.fromkeys(SERIES, 10)}
INPUTS = {
    "aerial_vhr": ("aerial",),
    "elevation": ("dsm-dtm",),
    "spot": ("spot",),
    "sentinel2_sits": ("s2-l2a",),
    "sentinel1_sits": ("s1-grd-sigma0-asc-linear", "s1-grd-sigma0-desc-linear"),
    "historical": ("aerial-pan",),
}
LEVELS = {1: 23, 2: 31, 3: 46}
GRID = {
    "ResNet50": "resnet50",
    "ResNeXt50": "resnext50_32x4d",
    "HRNet32": "hrnet_w32",
    "ConvNeXtV2 (tiny)": "convnextv2_tiny",
    "ConvNeXtV2": "convnextv2_base",
    "MiT-B2": "mit_b2",
    "Swin-Tiny": "swin_tiny_patch4_window7_224",
    "Swin-Small": "swin_small_patch4_window7_224",
    "Swin-Base": SWIN,
    "Swin-Large": "swin_large_patch4_window12_384",
}
DECODERS: dict[str, Decoder] = {
    "UNet": UNet(),
    "SegFormer": SegFormer(),
    "DeepLabV3": DeepLabV3(),
    "UPerNet": UPerNetFlair(),
}


def tables(*numbers: int) -> list[dict[str, Any]]:
    path = SHARED / "specs" / "tables" / "flair-hub.json"
    if not path.exists():
        pytest.skip(f"no tables: {path} is absent (set LANDWEAVE_SHARED)")
    found = json.loads(path.read_text())["tables"]
    return [r for n in numbers for r in found[f"table_{n}"]["rows"]]


@pytest.fixture(scope="module")
def shared_encoders() -> Any:
    """Each kind of backbone is made once: on no device, so that none of its weights is."""
    made: dict[Any, StreamEncoder] = {}

    def once(settings: Encoder, *, bands: int, size: tuple[int, int], **more: Any) -> StreamEncoder:
        key = (settings.name, bands, size)
        if key not in made:
            made[key] = StreamEncoder(settings, bands=bands, size=size, **more)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "StreamEncoder", once)
        patch.setattr(weight_init, "_trunc_normal_", lambda weight, *_: weight)  # there are no values to draw
        patch.setattr(
            models.Model, "by_name", property(lambda self: {n: e for n, e in self.encoders.items() if n not in SERIES})
        )
        yield once


def millions(sensors: list[str], classes: dict[str, int]) -> float:
    contract = Contract({n: row(n, (SIZES[n], SIZES[n])) for n in sensors})
    auxiliary = sensors if len(sensors) > 1 else []
    if all(n in SERIES for n in sensors):
        auxiliary = []
    with torch.device("meta"):
        model = model_of(contract, Encoder(name=SWIN), classes=classes, auxiliary=auxiliary)
    return model.counted_parameters() / 1e6


def test_all_24_configurations_have_as_many_weights_as_printed(shared_encoders: Callable[..., Any]) -> None:
    """Line 1 of what issue 5 must show: Tables X and XIV, and both rows of several tasks of Table XVIII."""
    rows = [(r, {"cosia": 19}) for r in tables(10)]
    rows += [(r, {"lpis": LEVELS[r["level"]]}) for r in tables(14)]
    assert len({r["model_id"] for r, _ in rows}) == 24
    rows += [(r, {"cosia": 19, "lpis": 23}) for r in tables(18) if r["training"] == "Multi-task"]
    assert len(rows) == 24 + 2 + 2
    apart = {}
    for printed, classes in rows:
        sensors = [n for column, names in INPUTS.items() if printed.get(column) for n in names]
        found = millions(sensors, classes)
        apart[f"{printed['model_id']} {sorted(classes.items())}"] = found - printed["params_millions"]
    assert {k: v for k, v in apart.items() if abs(v) >= 0.1} == {}


def test_the_grid_of_encoders_and_decoders_has_as_many_weights_as_printed(shared_encoders: Callable[..., Any]) -> None:
    """Table IX."""
    rows = tables(9)
    apart = {}
    for encoder, decoder in sorted({(r["encoder"], r["decoder"]) for r in rows}):
        real = encoder.startswith("MiT")  # its library reads numbers from a tensor, which `meta` has not
        with torch.device("cpu" if real else "meta"):
            backbone = shared_encoders(Encoder(name=GRID[encoder]), bands=3, size=(512, 512), form="pyramid")
            head = MapHead(DECODERS[decoder], channels=backbone.widths, classes=19)
        found = sum(p.numel() for m in (backbone, head) for p in m.parameters()) / 1e6
        printed = {r["params_millions"] for r in rows if (r["encoder"], r["decoder"]) == (encoder, decoder)}
        apart[encoder, decoder] = min(abs(found - p) for p in printed), found, printed
    assert {k: v for k, v in apart.items() if v[0] >= 0.1} == {}
    assert len(apart) == 19
