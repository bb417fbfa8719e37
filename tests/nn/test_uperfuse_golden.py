"""UPerFuse against the official code: decoder, fusion, and whole models loaded from a file in its key scheme."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from landweave.nn.absent import MeanFeatures, mean_of_seen
from landweave.nn.config import Encoder, Stages, UPerNetFlair
from landweave.nn.decoders import MapHead
from landweave.nn.decoders_flair import UPerNetFlairDecoder
from landweave.nn.encoders import StreamEncoder, resize
from landweave.nn.flair_weights import UNREAD, UPERNET, load_released, renamed
from landweave.nn.stages import FuseByStage
from landweave.nn.uperfuse import UPerFuseModel
from tests.nn.flair_golden import Case, case
from tests.nn.flair_models import HEADS, inputs, micro, model_of, write

LABELS = {"cosia": "AERIAL_LABEL-COSIA", "lpis-1": "ALL_LABEL-LPIS"}
MONO = {"aerial": "AERIAL_RGBI", "spot": "SPOT_RGBI"}


@pytest.mark.parametrize(("name", "widths"), [("case3a", (32, 16)), ("case3b", (256, 64))])
def test_the_decoder_gives_what_the_published_shape_gives(name: str, widths: tuple[int, int]) -> None:
    found = case(name)
    classes = len(found.weights()["segmentation_head.0.weight"])
    settings = UPerNetFlair(pyramid=widths[0], channels=widths[1])
    head = MapHead(settings, channels=[0, 16, 32, 64, 128], classes=classes).eval()
    state = {renamed(k, UPERNET): v for k, v in found.weights().items()}
    head.load_state_dict({k: v for k, v in state.items() if not k.startswith(UNREAD)})
    levels = [found.input(f"level_{i}") for i in range(2, 6)]
    maps = [levels[0].new_zeros(len(levels[0]), 0, 32, 32), *levels]
    assert isinstance(head.decoder, UPerNetFlairDecoder)
    with torch.no_grad():
        pyramid = head.decoder.pyramid(maps)
        found.require("psp", pyramid[0])
        if name == "case3a":
            for i in range(3):
                found.require(f"fpn_{i}", pyramid[1 + i])
            # the map of 1/2 is made at 1/4 at once: the published one, shrunk, is it
            torch.testing.assert_close(pyramid[4], resize(found.expected("fpn_3"), (16, 16)), rtol=0, atol=2e-6)
        found.require("decoder", head.decoder(maps))
        found.require("logits", head(maps, (64, 64)))


@pytest.mark.parametrize("name", ["case4a", "case4b"])
def test_the_fusion_gives_what_the_official_one_gives(name: str) -> None:
    found = case(name)
    maps = {
        n: [torch.zeros(2, 0, 1, 1), *(found.input(f"{part}.level_{i}") for i in range(2, 6))]
        for n, part in MONO.items()
    }
    series = [v for k, v in sorted(found.tensors.items()) if k.startswith("inputs.SENTINEL2_TS")]
    assert len(series) == (4 if name == "case4a" else 3)
    pyramids = {n: [f.shape[1] for f in level] for n, level in maps.items()}
    widths = {"s2-l2a": [f.shape[1] for f in series]}
    means = MeanFeatures({n: sum(w) for n, w in {**pyramids, **widths}.items()})
    fuse = FuseByStage(Stages(), pyramids, widths, means=means, stages=range(5))
    state = found.weights()
    for i in range(4):  # aerial, spot, series: the official order here is ours
        fuse.narrow[str(i + 1)].load_state_dict({p: state[f"conv_f.{i}.{p}"] for p in ("weight", "bias")})
    seen = dict.fromkeys((*maps, "s2-l2a"), torch.ones(2, dtype=torch.bool))
    with torch.no_grad():
        fused = fuse({**maps, "s2-l2a": series}, seen, reference="aerial", extent=(1.0, 1.0))
    for i in range(1, 5):
        found.require(f"fused.level_{i + 1}", fused[i])


def test_series_alone_are_averaged_as_the_official_code_does_it() -> None:
    found = case("case4c")
    logits = [v for k, v in found.tensors.items() if k.startswith("inputs.")]
    found.require("fused", mean_of_seen(logits, [torch.ones(2, dtype=torch.bool)] * 3))


def whole(name: str, encoder: Encoder, tmp_path: Path, *, auxiliary: tuple[str, ...]) -> tuple[Case, UPerFuseModel]:
    """The model of a case, with weights from a file as IGN releases them."""
    found = case(name)
    contract, _ = inputs(found)
    model = model_of(contract, encoder, auxiliary=auxiliary)
    assert load_released(model, write(found, tmp_path / "case.safetensors"), HEADS) == []
    return found, model.eval()


@pytest.mark.parametrize("name", ["case5a", "case5b"])
def test_the_whole_model_gives_what_the_official_one_gives(name: str, tmp_path: Path) -> None:
    encoder = micro() if name == "case5a" else Encoder(name="swin_tiny_patch4_window7_224")
    found, model = whole(name, encoder, tmp_path, auxiliary=("aerial", "s2-l2a"))
    _, batch = inputs(found)
    with torch.no_grad():
        read = model._read(batch, alone=True)
        out = model(batch)
        fused = model._fused(read, batch)
    for i in range(1, 5):
        found.require(f"features.AERIAL_RGBI.level_{i + 1}", read.maps["aerial"][i])
        found.require(f"features.SENTINEL2_TS.level_{i - 1}", read.maps["s2-l2a"][i - 1])
        found.require(f"fused.level_{i + 1}", fused[i])
    found.require("utae_logits.SENTINEL2_TS", read.logits["s2-l2a"])
    for task, label in LABELS.items():
        found.require(f"logits.{label}", out.by_task[task])
        found.require(f"logits.aux_AERIAL_RGBI_{label}", out.auxiliary["aerial"][task])
        found.require(f"logits.aux_SENTINEL2_TS_{label}", resize(out.auxiliary["s2-l2a"][task], (64, 64)))
    assert torch.equal(out.logits, out.by_task["cosia"])
    assert isinstance(model.encoders["aerial"], StreamEncoder)


def test_a_model_of_series_alone_gives_what_the_official_one_gives(tmp_path: Path) -> None:
    found, model = whole("case5c", Encoder(), tmp_path, auxiliary=("s2-l2a",))
    _, batch = inputs(found)
    with torch.no_grad():
        read, out = model._read(batch, alone=True), model(batch)
    for part, name in (("SENTINEL2_TS", "s2-l2a"), ("SENTINEL1-DESC_TS", "s1-grd-sigma0-desc-linear")):
        found.require(f"utae_logits.{part}", read.logits[name])
        for i, level in enumerate(read.maps[name]):
            found.require(f"features.{part}.level_{i}", level)
    for task, label in LABELS.items():  # our logits are on the grid of the series; a loss brings them to the label's
        found.require(f"logits.{label}", F.interpolate(out.by_task[task], size=(32, 32), mode="bilinear"))
        found.require(f"logits.aux_SENTINEL2_TS_{label}", resize(out.auxiliary["s2-l2a"][task], (32, 32)))
