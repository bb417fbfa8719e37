"""Models, contracts and batches of the whole-model cases, in the sensors of FLAIR-HUB."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from landweave.contract import BandStats, Contract, StreamContract
from landweave.nn.config import UTAE, Encoder, Stages, UPerNetFlair
from landweave.nn.flair_inputs import BANDS
from landweave.nn.flair_weights import SENSORS, U_TAE, UPERNET, Head
from landweave.nn.uperfuse import UPerFuseModel
from landweave.sample import EPOCH, Batch, Image
from landweave.sensors import sensor
from tests.nn.flair_golden import Case

MICRO = "swin_of_case_5a"
MAY = (date(2021, 5, 15) - EPOCH).days
TASKS = {"cosia": 19, "lpis-1": 23}
OFFICIAL = UTAE(padding="official", last="official", input="numbers")
SERIES = ("s2-l2a", "s1-grd-sigma0-asc-linear", "s1-grd-sigma0-desc-linear")
HEADS = {
    "cosia": Head("AERIAL_LABEL-COSIA", 19, tuple(range(19))),
    "lpis-1": Head("ALL_LABEL-LPIS", 23, tuple(range(23))),
}


def swin_of_case_5a(pretrained: bool = False, **options: Any) -> SwinTransformer:
    """The micro Swin of the golden vectors, which timm has not by name."""
    from timm.models._builder import build_model_with_cfg

    sizes = {"patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
    model: SwinTransformer = build_model_with_cfg(
        SwinTransformer,
        "swin_tiny_patch4_window7_224",
        False,
        feature_cfg={"flatten_sequential": True, "out_indices": (0, 1, 2, 3)},
        **sizes,
        **options,
    )
    return model


def micro() -> Encoder:
    """Settings of that network, whose name is not in our list."""
    return Encoder.model_construct(**{**Encoder().model_dump(), "name": MICRO})


@contextmanager
def known() -> Iterator[None]:
    """That network is known to timm, for as long as a model is built."""
    from timm.models._registry import _model_entrypoints, _model_pretrained_cfgs

    _model_entrypoints[MICRO] = swin_of_case_5a
    _model_pretrained_cfgs[MICRO] = timm.models.get_pretrained_cfg("swin_tiny_patch4_window7_224")
    try:
        yield
    finally:
        del _model_entrypoints[MICRO], _model_pretrained_cfgs[MICRO]


def row(name: str, size: tuple[int, int], bands: Sequence[str] = (), **more: Any) -> StreamContract:
    """A sensor with mean 0 and deviation 1, so that nothing changes on the way to the network."""
    bands = tuple(bands or BANDS[name])
    stats = (BandStats(0.0, 1.0, -3.0, 3.0, -2.0, 2.0, 9),) * len(bands)
    given = {"series": name in SERIES, **more}
    return StreamContract(name, bands, sensor(name).unit, None, size, stats, **given)


def image(stream: StreamContract, numbers: Tensor, offsets: Tensor | None = None) -> Image:
    """Numbers B T C H W of a file, in the sensor's unit; days by their offsets to 15 May."""
    B, T, C, H, W = numbers.shape
    file = sensor(stream.sensor)
    days = torch.zeros(B, T) if offsets is None else offsets
    return Image(
        bands=stream.bands,
        data=numbers * file.scale + file.offset if stream.series else numbers,
        scale=torch.ones(B, T, C),
        offset=torch.zeros(B, T, C),
        days=(days + MAY).to(torch.int32),
        dates_seen=torch.ones(B, T, dtype=torch.bool),
        bands_seen=torch.ones(B, C, dtype=torch.bool),
        pixels_seen=torch.ones(B, T, 1, H, W, dtype=torch.bool),
    )


def batch_of(images: Mapping[str, Image]) -> Batch:
    B = len(next(iter(images.values())).data)
    return Batch(dict(images), {}, tuple(f"p{b}" for b in range(B)), ("",) * B)


def inputs(case: Case) -> tuple[Contract, Batch]:
    """The images of a whole-model case, and their contract."""
    rows, images = {}, {}
    for part, name in SENSORS.items():
        if f"inputs.{part}" not in case.tensors:
            continue
        x = case.input(part)
        x = x if x.ndim == 5 else x[:, None]
        rows[name] = row(name, (x.shape[-2], x.shape[-1]))
        dates = f"inputs.{part.removesuffix('_TS')}_DATES"
        images[name] = image(rows[name], x, case.tensors.get(dates))
    return Contract(rows), batch_of(images)


def write(case: Case, path: Path, **more: Tensor) -> Path:
    """The weights of a case as a released file."""
    state = {f"model.{k}": v for k, v in case.weights().items()}
    save_file({**state, "criterion.AERIAL_LABEL-COSIA.weight": torch.ones(19), **more}, path)
    return path


def as_released(model: UPerFuseModel, path: Path, labels: Mapping[str, str]) -> Path:
    """The weights of a model of ours as a released file: `renamed` the other way round.

    Args:
        model: whose bands stand in the official order.
        path: of the file.
        labels: the official name of each task.
    """
    parts = {sensor: part for part, sensor in SENSORS.items()}
    state = {}
    for key, value in model.state_dict().items():
        head, _, rest = key.partition(".")
        owner, _, name = rest.partition(".")
        if head == "encoders" and name.startswith("net."):
            name = name.removeprefix("net.")
            name = _back(name, U_TAE) if owner in model.series else f"seg_model.model.{name}"
            state[f"model.encoders.{parts[owner]}.{name}"] = value
        elif head == "answers":
            state[f"model.encoders.{parts[owner]}.{_back(name, U_TAE)}"] = value
        elif head == "decoders":
            name = f"seg_model.{_back(name, UPERNET)}" if "." in name else name
            state[f"model.main_decoders.{labels[owner]}.{name}"] = value
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    return path


def _back(name: str, rules: Sequence[tuple[str, str]]) -> str:
    """The official name of ours."""
    for official, ours in rules:
        pattern = re.escape(ours).replace(r"\\1", r"(\d+)")
        template = official.removesuffix("$").replace(r"(\d+)", r"\1").replace(r"\.", ".")
        new, found = re.subn(f"^{pattern}", template, name)
        if found:
            return new
    return name


def model_of(contract: Contract, encoder: Encoder, **more: Any) -> UPerFuseModel:
    """As the whole-model cases are built."""
    settings: dict[str, Any] = {
        "series": OFFICIAL,
        "fusion": Stages(),
        "decoder": UPerNetFlair(),
        "classes": TASKS,
        **more,
    }
    with known():
        return UPerFuseModel(contract, encoder, settings.pop("series"), **settings)


def absent(batch: Batch, name: str, *places: int) -> Batch:
    """The batch without a sensor at some places, and with nonsense in its stead."""
    old = batch.images[name]
    dates, data = old.dates_seen.clone(), old.data.clone()
    for b in places:
        dates[b], data[b] = False, 1e3
    return replace(batch, images={**batch.images, name: replace(old, dates_seen=dates, data=data)})
