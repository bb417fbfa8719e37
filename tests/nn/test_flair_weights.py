"""Released weights: a file in the official key scheme, and what is said where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from landweave.contract import BandStats, Contract
from landweave.data.flairhub_index import COSIA, LPIS
from landweave.errors import ConfigError, ContractError, RunError
from landweave.legends import COSIA_12, COSIA_15, COSIA_19, LPIS_2, Legend
from landweave.nn.config import UTAE, Early, Encoder, Stages, UNet, UPerNetFlair
from landweave.nn.flair_inputs import BANDS, ORDERS, SHIPPED_SPOT, STATISTICS, assumed
from landweave.nn.flair_weights import Head, load_released, read_released, reading, require_fit, resized
from landweave.nn.norms import BatchNorm
from landweave.nn.uperfuse import UPerFuseModel
from landweave.run.experiment import recipe
from landweave.sample import Batch
from tests.nn.flair_golden import Case, case
from tests.nn.flair_models import HEADS, OFFICIAL, TASKS, as_released, batch_of, inputs, micro, model_of, row, write
from tests.nn.flair_models import image as picture

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


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "test_efficientnet"])
@pytest.mark.parametrize("colours", ["IR", "RGB"])
def test_the_first_layer_of_any_backbone_has_its_columns_turned(tmp_path: Path, name: str, colours: str) -> None:
    """A ConvNeXt's is `stem_0`, a ResNet's `conv1`; contracts have the bands in the order of the sensor: R, G, N."""
    settings = {"decoder": UPerNetFlair(pyramid=8, channels=8), "classes": {"main": 19}}
    orders = ORDERS[colours], tuple(sorted(ORDERS[colours], key="RGBN".find))
    contracts = [Contract({"aerial": row("aerial", (64, 64), order)}) for order in orders]
    torch.manual_seed(0)
    theirs, ours = (model_of(c, Encoder(name=name), **settings).eval() for c in contracts)
    saved = as_released(theirs, tmp_path / f"FLAIR-HUB_LC-A_{colours}_x-upernet.safetensors", {"main": COSIA})
    assert load_released(ours, saved, {"main": Head.of(COSIA_19)}) == []
    image = torch.randn(2, 1, 3, 64, 64)
    one = batch_of({"aerial": picture(contracts[0].streams["aerial"], image)})
    turned = replace(one, images={"aerial": one.images["aerial"].select(contracts[1].streams["aerial"].bands)})
    maps = [m.encoders["aerial"](b.images["aerial"]) for m, b in ((theirs, one), (ours, turned))]
    for a, b in zip(*maps, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(logits(theirs, one), logits(ours, turned))
    swapped = replace(turned, images={"aerial": replace(turned.images["aerial"], data=image)})
    assert colours == "RGB" or not torch.allclose(logits(ours, swapped)["main"], logits(ours, turned)["main"])


def test_a_first_layer_that_is_none_is_not_guessed() -> None:
    assert reading(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 1)), 3) == "0.weight"
    for odd in (torch.nn.Linear(3, 3), torch.nn.Conv2d(6, 3, 1)):
        with pytest.raises(ConfigError, match="and the images have 3 bands"):
            reading(odd, 3)


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


# ---- files of series alone


def series(path: Path, **classes: int) -> tuple[Path, UPerFuseModel, Batch]:
    """A released file of Sentinel-2 alone, its model, and a batch; logits are spread about 0 before their last ReLU."""
    contract = Contract({S2: row(S2, (6, 6))})
    torch.manual_seed(2)
    model = model_of(contract, micro(), classes=classes).eval()
    for part in model.answers.modules():
        if isinstance(part, BatchNorm):
            torch.nn.init.normal_(part.weight, 1, 0.2)
            torch.nn.init.normal_(part.bias, 0.5, 0.5)
    labels = {"main": COSIA, "lpis-1": LPIS}
    saved = as_released(model, path / "FLAIR-HUB_LC-G_utae.safetensors", labels)
    numbers = 1000 + 300 * torch.randn(2, 4, 10, 6, 6)
    return saved, model, batch_of({S2: picture(contract.streams[S2], numbers, torch.arange(8.0).view(2, 4))})


def alone(contract: Contract, classes: dict[str, int], **settings: Any) -> UPerFuseModel:
    torch.manual_seed(3)
    return model_of(contract, micro(), series=OFFICIAL.model_copy(update=settings), classes=classes).eval()


@pytest.mark.parametrize("legend", [COSIA_15, COSIA_12])
@pytest.mark.parametrize("settings", [{}, {"last": "linear"}, {"hidden": (32,)}])
def test_series_alone_keep_the_answers_of_fewer_classes(
    tmp_path: Path, legend: Legend, settings: dict[str, Any]
) -> None:
    """A legend of 15 has one more layer than the file of 19, or another last one: the answers are the file's."""
    saved, theirs, batch = series(tmp_path, main=19)
    head = Head.of(legend)
    ours = alone(theirs.contract, {"main": len(legend)}, **settings)
    notes = load_released(ours, saved, {"main": head}, untrained=True)
    picks = f"answers.{S2}.layers.6 picks {len(legend)} of the 19 classes of the file"
    assert notes == ([] if settings.get("hidden") else [picks])
    expected = logits(theirs, batch)["main"][:, list(head.kept)]
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(ours, batch)["main"], expected, atol=1e-5, rtol=1e-5)


def test_series_alone_do_not_answer_with_what_is_no_answer(tmp_path: Path) -> None:
    """The layer of 19 below the 23 of crops, or below two labels, is no land cover, although it has the shape of it."""
    for name, file_classes in (("crops", {"main": 23}), ("both", {"main": 19, "lpis-1": 23})):
        (tmp_path / name).mkdir()
        saved, theirs, _ = series(tmp_path / name, **file_classes)
        ours = alone(theirs.contract, {"main": 19})
        before = ours.state_dict()[f"answers.{S2}.layers.3.weight"].clone()
        notes = load_released(ours, saved, {"main": Head.of(COSIA_19)})
        assert f"starting anew: answers.{S2}.layers.3, answers.{S2}.layers.4" in notes
        assert torch.equal(ours.state_dict()[f"answers.{S2}.layers.3.weight"], before)
        with pytest.raises(RunError, match=r"no weights for answers\.s2-l2a\.layers\.3") as caught:
            load_released(ours, saved, {"main": Head.of(COSIA_19)}, untrained=True)
        assert "data.legend=cosia-19" in str(caught.value)
    (tmp_path / "levels").mkdir()
    saved, theirs, _ = series(tmp_path / "levels", main=23)
    finer = alone(theirs.contract, {"main": 31})  # as many layers, of other classes
    assert load_released(finer, saved, {"main": Head.of(LPIS_2)}) == [
        f"starting anew: answers.{S2}.layers.6, answers.{S2}.layers.7",
        f"left there: answers.{S2}.layers.6, answers.{S2}.layers.7",
    ]
    saved, theirs, _ = series(tmp_path, main=19)
    above = {"model.main_decoders.AERIAL_LABEL-COSIA.seg_model.decoder.psp.out_conv.0.weight": torch.zeros(1, 1, 1, 1)}
    save_file({**load_file(saved), **above}, saved)
    with pytest.raises(RunError, match=r"no weights for answers\.s2-l2a\.layers\.3"):
        load_released(theirs, saved, {"main": Head.of(COSIA_19)}, untrained=True)


def test_one_sensor_of_a_file_of_several_lacks_the_fusion_that_its_answers_go_through(golden: Case, file: Path) -> None:
    contract = Contract({"aerial": inputs(golden)[0].streams["aerial"]})
    assert load_released(built(golden, contract), file, HEADS) == ["left there: s2-l2a, the fusion"]
    with pytest.raises(RunError, match=r"through the fusion of several sensors\n  fix: .*evaluate --only"):
        load_released(built(golden, contract), file, HEADS, untrained=True)


def test_without_training_nothing_that_answers_starts_anew(golden: Case, file: Path, tmp_path: Path) -> None:
    saved, theirs, _ = series(tmp_path, main=19, **{"lpis-1": 23})
    heads = {"main": Head.of(COSIA_15), "lpis-1": HEADS["lpis-1"]}
    fewer = alone(theirs.contract, {"main": 15, "lpis-1": 23})
    with pytest.raises(RunError, match=r"no weights for answers.*decoders\.lpis-1.*\n  fix: .*data\.legend=cosia-19"):
        load_released(fewer, saved, heads, untrained=True)
    heads["main"] = Head.of(COSIA_19)
    whole = alone(theirs.contract, {"main": 19, "lpis-1": 23})
    assert load_released(whole, saved, heads, untrained=True) == []
    linear = alone(theirs.contract, {"main": 19, "lpis-1": 23}, last="linear")
    with pytest.raises(RunError, match=r"go through answers\.s2-l2a\.layers\.7, which the run lacks\n.*last=official"):
        load_released(linear, saved, heads, untrained=True)
    other = built(golden, classes={"main": 31}, auxiliary=("aerial",))
    with pytest.raises(RunError, match=r"no weights for decoders\.main\.last"):
        load_released(other, file, {"main": Head.of(LPIS_2)}, untrained=True)
    branches = built(golden, classes={"main": 15}, auxiliary=(S2,))
    (note,) = load_released(branches, file, {"main": Head.of(COSIA_15)}, untrained=True)
    assert note.startswith("starting anew: answers.s2-l2a.layers.6"), "a branch learns in training alone"


# ---- what is refused before, and what is said of the inputs


@pytest.mark.parametrize(
    ("streams", "more", "error", "what"),
    [
        ({"aerial": ("R", "G", "B", "N")}, {}, ContractError, r"read N, R, G of aerial, the data have R, G, B, N"),
        ({"dem": ("elevation",)}, {}, ContractError, "no weights for dem"),
        ({"aerial": (), S2: ()}, {"fusion": Early()}, ConfigError, "fuse by stage, not early"),
        ({"aerial": ("R", "G", "N"), "spot": ("R", "G", "B")}, {}, ContractError, "read N, R, G of spot"),
        ({"aerial": ()}, {"decoder": UNet()}, ConfigError, "released files with the decoder U-Net are not"),
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


def test_a_file_of_rgb_reads_rgb_and_no_other(tmp_path: Path) -> None:
    """IGN releases LC-A for R, G, B too: following "data.streams=[aerial:N+R+G]" would put its filters on N, R, G."""
    rgb, infrared, other = (tmp_path / f"FLAIR-HUB_LC-A{w}_x-upernet.safetensors" for w in ("_RGB", "_IR", ""))
    red, near = (Contract({"aerial": row("aerial", (64, 64), b)}) for b in (("R", "G", "B"), ("R", "G", "N")))
    settings: tuple[Any, ...] = (OFFICIAL, Stages(), UPerNetFlair())
    for saved in (rgb, infrared, other):
        saved.touch()
    for contract, saved in ((red, rgb), (near, infrared), (red, other), (near, other)):
        require_fit(contract, *settings, file=saved)
    for contract, saved, what in (
        (near, rgb, r"this file reads R, G, B of aerial.*\n  fix: data\.streams=\[aerial:R\+G\+B, "),
        (red, infrared, r"this file reads N, R, G of aerial.*\n  fix: data\.streams=\[aerial:N\+R\+G, "),
    ):
        with pytest.raises(ContractError, match=what):
            require_fit(contract, *settings, file=saved)
    whole = replace(near.streams["aerial"], bands=("R", "G", "N"), stats=_stats("aerial", ("R", "G", "N")))
    assert assumed(Contract({"aerial": whole}), infrared) == []
    assert assumed(Contract({"aerial": whole}), other) == [
        "aerial: the file's name says neither RGB nor IR; it is taken to read N, R, G, in this order"
    ]
    assert "to read R, G, B" in assumed(red, other)[0]


def _stats(name: str, bands: tuple[str, ...], factor: float = 1.0) -> tuple[BandStats, ...]:
    rows = [STATISTICS[name][b] for b in bands]
    return tuple(BandStats(m * factor, s, m - 3 * s, m + 3 * s, m - 2 * s, m + 2 * s, 9) for m, s in rows)


def test_statistics_that_the_networks_were_not_trained_with_are_said(tmp_path: Path) -> None:
    """Heights by a deviation of their own are some 80 times as strong as in training."""
    saved = tmp_path / "FLAIR-HUB_LC-L_IR_x-upernet.safetensors"
    for name in STATISTICS:
        one = row(name, (64, 64))
        (told, *_) = assumed(Contract({name: one}), saved)
        assert told.startswith(f"{name}: the statistics are not those that the networks were trained with")
        near = replace(one, stats=_stats(name, one.bands, 1.0005))
        assert not any("not those" in line for line in assumed(Contract({name: near}), saved)), "44.29 for 44.30"
        far = replace(one, stats=_stats(name, one.bands, 1.01))
        assert any("not those" in line for line in assumed(Contract({name: far}), saved))
    (told,) = assumed(Contract({"dsm-dtm": row("dsm-dtm", (64, 64))}), saved)
    assert told.endswith("data.statistics.dsm-dtm={DSM: [311.06, 537.55], HEIGHT: [311.06, 537.55]}")
    spot = row("spot", (64, 64))
    given = tuple(BandStats(m, s, 0, 1, 0, 1, 9) for m, s in (SHIPPED_SPOT[b] for b in spot.bands))
    (told,) = assumed(Contract({"spot": replace(spot, stats=given)}), saved)
    assert told.endswith(
        "data.statistics.spot={N: [0.043326, 0.031276], R: [0.050875, 0.028461], G: [0.046777, 0.022602]}"
    )
    assert assumed(Contract({S2: row(S2, (6, 6))}), saved) == [], "series are read as numbers"


def test_statistics_of_the_recipes_are_these() -> None:
    given = recipe("flair/lc-all").data.statistics
    assert given == {n: rows for n, rows in STATISTICS.items() if n != "dsm-dtm"}


def test_files_with_a_unet_are_refused_by_what_is_in_them(golden: Case, file: Path, tmp_path: Path) -> None:
    state = {k: v for k, v in load_file(file).items() if not k.startswith("model.main_decoders.")}
    state["model.main_decoders.AERIAL_LABEL-COSIA.seg_model.decoder.blocks.0.conv1.0.weight"] = torch.zeros(4, 4, 3, 3)
    save_file(state, tmp_path / "unet.safetensors")
    with pytest.raises(RunError, match="with the decoder U-Net are not supported here"):
        load_released(built(golden), tmp_path / "unet.safetensors", HEADS)
