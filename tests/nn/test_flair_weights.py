"""Released weights: a file in the official key scheme, and what is said where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from landweave.contract import Contract
from landweave.errors import ConfigError, ContractError, RunError
from landweave.legends import COSIA_15, COSIA_19, LPIS_2
from landweave.nn.config import UTAE, Early, Stages, UNet, UPerNetFlair
from landweave.nn.flair_weights import BANDS, Head, load_released, read_released, require_fit, resized
from landweave.nn.uperfuse import UPerFuseModel
from landweave.sample import Batch
from tests.nn.flair_golden import Case, case
from tests.nn.flair_models import HEADS, OFFICIAL, TASKS, inputs, micro, model_of, row, write

S2 = "s2-l2a"


@pytest.fixture(scope="module")
def golden() -> Case:
    return case("case5a")


@pytest.fixture(scope="module")
def file(golden: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(golden, tmp_path_factory.mktemp("released") / "case5a.safetensors")


def built(golden: Case, contract: Contract | None = None, **more: Any) -> UPerFuseModel:
    torch.manual_seed(1)
    return model_of(contract or inputs(golden)[0], micro(), **more).eval()


def logits(model: UPerFuseModel, batch: Batch) -> dict[str, Tensor]:
    with torch.no_grad():
        return model.answer(batch)


@pytest.mark.parametrize("suffix", [".ckpt", ".pth"])
def test_a_checkpoint_of_lightning_is_read_without_running_anything(
    golden: Case, file: Path, tmp_path: Path, suffix: str
) -> None:
    state = load_file(file)
    saved = tmp_path / f"released{suffix}"
    plain = {"epoch": 3, "state_dict": state, "hyper_parameters": {"lr": 5e-5}} if suffix == ".ckpt" else state
    torch.save(plain, saved)
    assert read_released(saved).keys() == read_released(file).keys()
    assert not any("criterion" in k for k in read_released(saved))
    model, (_, batch) = built(golden), inputs(golden)
    assert load_released(model, saved, HEADS) == []
    for task, label in (("cosia", "AERIAL_LABEL-COSIA"), ("lpis-1", "ALL_LABEL-LPIS")):
        golden.require(f"logits.{label}", logits(model, batch)[task])


def test_a_file_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": UTAE()}, tmp_path / "bad.ckpt")
    (tmp_path / "torn.safetensors").write_bytes(b"\x05\x00\x00\x00\x00\x00\x00\x00{}")
    for name in ("bad.ckpt", "torn.safetensors"):
        with pytest.raises(RunError, match="cannot be read as plain weights"):
            read_released(tmp_path / name)
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(RunError, match=r"no `model.encoders.\*`, but conv1.weight"):
        read_released(tmp_path / "other.safetensors")


def test_bands_go_by_name(golden: Case, file: Path) -> None:
    """The released aerial network reads near infrared, red, green: an image of another order gives the same answer."""
    contract, batch = inputs(golden)
    one = contract.streams["aerial"]
    turned = replace(one, bands=("R", "G", "N"))
    other = Contract({**contract.streams, "aerial": turned})
    image = batch.images["aerial"]
    assert image.bands == ("N", "R", "G")
    model = built(golden, other)
    load_released(model, file, HEADS)
    moved = replace(batch, images={**batch.images, "aerial": image.select(("R", "G", "N"))})
    golden.require("logits.AERIAL_LABEL-COSIA", logits(model, moved)["cosia"])


def test_15_of_the_19_classes_keep_their_weights(golden: Case, file: Path) -> None:
    """Of cosia-15 nothing starts anew: it is 15 rows of the last layer."""
    model, whole = built(golden, classes={"main": 15}), built(golden)
    assert load_released(model, file, {"main": Head.of(COSIA_15)}) == []
    load_released(whole, file, HEADS)
    batch = inputs(golden)[1]
    torch.testing.assert_close(logits(model, batch)["main"], logits(whole, batch)["cosia"][:, :15])


def test_another_number_of_classes_starts_its_last_layer_anew_and_says_so(golden: Case, file: Path) -> None:
    """Users' FLAIR-HUB #2 and FLAIR-1 #22: heads of another size."""
    model = built(golden, classes={"main": 19, "lpis-2": 31, "mine": 3}, auxiliary=("aerial",))
    before = {t: model.decoders[t].last.weight.clone() for t in model.tasks}  # type: ignore[union-attr, operator]
    heads = {"main": Head.of(COSIA_19), "lpis-2": Head.of(LPIS_2), "mine": Head()}
    (note,) = load_released(model, file, heads)
    assert note.startswith(
        "starting anew: branches.aerial.lpis-2.last, branches.aerial.mine.last, decoders.lpis-2.last"
    )
    theirs = read_released(file)
    state = model.state_dict()
    body = "seg_model.decoder.fpn_bottleneck.0.weight"
    assert torch.equal(state["decoders.lpis-2.decoder.join.0.weight"], theirs[f"main_decoders.ALL_LABEL-LPIS.{body}"])
    assert torch.equal(state["decoders.mine.decoder.join.0.weight"], theirs[f"main_decoders.AERIAL_LABEL-COSIA.{body}"])
    assert torch.equal(state["decoders.mine.last.weight"], before["mine"])
    assert not torch.equal(state["decoders.main.last.weight"], before["main"])


def test_sensors_in_another_order_and_fewer_of_them(golden: Case, file: Path, tmp_path: Path) -> None:
    """The columns of the fusion go with their sensors: SPOT comes before Sentinel-2 there, and a sensor may be left."""
    state = load_file(file)
    given = {k: v for k, v in state.items() if "AERIAL_RGBI" in k and k.startswith("model.encoders.")}
    spot = {k.replace("AERIAL_RGBI", "SPOT_RGBI"): 1.1 * v for k, v in given.items()}
    wide = {}
    for i, width in enumerate((16, 32, 64, 128)):
        key = f"model.fusion_handler.conv_f.{i}.weight"
        conv = state[key]
        wide[key] = torch.cat([conv[:, :width], torch.full((width, width, 1, 1), 7.0), conv[:, width:]], 1)
    saved = tmp_path / "three.safetensors"
    save_file({**state, **spot, **wide}, saved)
    contract, batch = inputs(golden)
    model = built(golden)
    assert load_released(model, saved, HEADS) == ["left there: spot"]
    golden.require("logits.AERIAL_LABEL-COSIA", logits(model, batch)["cosia"])
    three = built(golden, Contract({**contract.streams, "spot": row("spot", (64, 64))}))
    assert load_released(three, saved, HEADS) == []
    narrow = three.state_dict()["fuse.narrow.1.weight"]  # aerial, spot, then the series
    assert torch.equal(narrow[:, 16:32], torch.full((16, 16, 1, 1), 7.0))
    assert torch.equal(narrow[:, 32:], state["model.fusion_handler.conv_f.0.weight"][:, 16:])
    flagged = built(golden, fusion=Stages(flags=True))
    load_released(flagged, file, HEADS)
    golden.require("logits.AERIAL_LABEL-COSIA", logits(flagged, batch)["cosia"])


def test_windows_of_another_size_are_resized(golden: Case, file: Path, tmp_path: Path) -> None:
    table = torch.randn(49, 2)
    large = resized(table, 169)
    assert large.shape == (169, 2)
    want = torch.nn.functional.interpolate(table.T.view(1, 2, 7, 7), size=(13, 13), mode="bicubic")
    assert torch.equal(large.T.reshape(1, 2, 13, 13), want)
    assert resized(table, 49) is table
    key = "model.encoders.AERIAL_RGBI.seg_model.model.layers_0.blocks.0.attn.relative_position_bias_table"
    state = load_file(file)
    save_file({**state, key: torch.ones(169, 1)}, tmp_path / "large.safetensors")
    model = built(golden)
    (note,) = load_released(model, tmp_path / "large.safetensors", HEADS)
    assert "169 positions resized to 49" in note
    assert bool((model.state_dict()[note.partition(":")[0]] - 1).abs().max() < 1e-5)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"model.encoders.AERIAL_RGBI.seg_model.model.patch_embed.norm.weight": None},
            "patch_embed.norm.weight is not",
        ),
        ({"model.fusion_handler.conv_f.2.weight": torch.zeros(64, 9, 1, 1)}, "conv_f.2: 9 columns, 128 expected"),
        ({"model.encoders.SENTINEL2_TS.in_conv.conv.conv.3.weight": torch.zeros(8, 8, 3, 3)}, r"\(8, 8, 3, 3\) there"),
        ({"model.encoders.LIDAR.x": torch.zeros(1)}, "encoders.LIDAR is unknown"),
        ({"model.temperature": torch.zeros(1)}, "temperature is unknown"),
    ],
)
def test_what_does_not_fit_is_listed(
    golden: Case, file: Path, tmp_path: Path, change: dict[str, Tensor | None], what: str
) -> None:
    state = {**load_file(file), **change}
    save_file({k: v for k, v in state.items() if v is not None}, tmp_path / "changed.safetensors")
    model = built(golden)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RunError, match=what) as caught:
        load_released(model, tmp_path / "changed.safetensors", HEADS)
    assert len(str(caught.value).splitlines()) <= 10
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_linear_last_layer_leaves_the_official_norm_behind(golden: Case, file: Path) -> None:
    model = built(golden, series=OFFICIAL.model_copy(update={"last": "linear"}), auxiliary=(S2,))
    assert load_released(model, file, HEADS) == ["left there: answers.s2-l2a.layers.7"]
    batch = inputs(golden)[1]
    golden.require("logits.AERIAL_LABEL-COSIA", logits(model, batch)["cosia"])


@pytest.mark.parametrize(
    ("streams", "more", "error", "what"),
    [
        ({"aerial": ("R", "G", "B", "N")}, {}, ContractError, r"read N, R, G of aerial, the data have R, G, B, N"),
        ({"dem": ("elevation",)}, {}, ContractError, "no weights for dem"),
        ({"aerial": (), S2: ()}, {"fusion": Early()}, ConfigError, "fuse by stage, not early"),
        ({"aerial": ()}, {"decoder": UNet()}, ConfigError, "have the decoder upernet-flair, not unet"),
        ({S2: ()}, {"series": UTAE()}, ConfigError, "from the numbers of its files"),
    ],
)
def test_data_and_settings_that_cannot_be_served_are_refused_first(
    tmp_path: Path, streams: dict[str, tuple[str, ...]], more: dict[str, Any], error: type[Exception], what: str
) -> None:
    saved = tmp_path / "x.safetensors"
    saved.touch()
    bands = {n: b or BANDS[n] for n, b in streams.items()}
    contract = Contract({n: row(n, (64, 64), b) for n, b in bands.items()})
    settings: dict[str, Any] = {"series": OFFICIAL, "fusion": Stages(), "decoder": UPerNetFlair(), **more}
    with pytest.raises(error, match=what) as caught:
        require_fit(contract, **settings, file=saved)
    assert "fix:" in str(caught.value)
    with pytest.raises(RunError, match="no such file"):
        require_fit(contract, **settings, file=tmp_path / "none.safetensors")


def test_all_that_the_released_networks_read_is_accepted(tmp_path: Path) -> None:
    saved = tmp_path / "x.safetensors"
    saved.touch()
    contract = Contract({n: row(n, (64, 64)) for n in BANDS})
    require_fit(contract, OFFICIAL, Stages(), UPerNetFlair(), file=saved)
    assert len(contract.streams) == 7
    assert TASKS["cosia"] == HEADS["cosia"].classes
