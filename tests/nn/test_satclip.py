"""A checkpoint of SatCLIP's layout (made here, with random weights): bands by name, safely read, really trainable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from landweave.contract import BandStats, Contract, StreamContract
from landweave.data.dataset import Task
from landweave.errors import ConfigError, ContractError, LandweaveError, RunError
from landweave.methods import Adapt
from landweave.nn.satclip import BANDS, load_visual, read_visual
from landweave.run.start import Foreign, open_start
from landweave.sample import Batch, Image
from landweave.sensors import sensor
from tests.methods.recipes_in_test import method_of
from tests.nn.tiny_models import LEGEND

EUROSAT = next(order for order in sensor("s2-l1c").orders if len(order) == 13)
TASK = Task("class", LEGEND)
SATCLIP = {"name": "resnet50", "width": 256, "input": "physical"}
FAULTS = {"faults": [{"kind": "missing", "bands": ["B02"]}], "complete": 0.0}


def visual(name: str = "resnet50") -> nn.Module:
    import timm

    torch.manual_seed(0)
    net: nn.Module = timm.create_model(name, in_chans=13, num_classes=256)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.0)
        assert norm.running_mean is not None
        nn.init.uniform_(norm.running_mean, -0.1, 0.1)
    return net.eval()


def write(path: Path, net: nn.Module, **more: Any) -> Path:
    state = {f"model.visual.{k}": v for k, v in net.state_dict().items()}
    state |= {"model.location.posenc.w": torch.zeros(3), "model.logit_scale": torch.tensor(2.89)}
    plain = {"embed_dim": 256, "vision_layer": "moco_resnet50", "eval_downstream": False, "air_temp_data_path": None}
    torch.save({"epoch": 3, "state_dict": state, "hyper_parameters": plain, **more}, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("satclip") / "satclip-resnet50-l40.ckpt", visual())


def contract_of(bands: tuple[str, ...] = EUROSAT, name: str = "s2-l1c") -> Contract:
    stats = tuple(BandStats(0.1 + i / 100, 0.05, 0, 1, 0, 1, 9) for i in range(len(bands)))
    return Contract({name: StreamContract(name, bands, "reflectance", 10.0, (64, 64), stats)})


def batch_of(numbers: Tensor, bands: tuple[str, ...] = EUROSAT) -> Batch:
    """Digital numbers as EuroSAT's files hold them (B C H W), as a cube in reflectance."""
    B, C, _, _ = numbers.shape
    image = Image(
        bands=bands,
        data=(numbers * 1e-4)[:, None],
        scale=torch.ones(B, 1, C),
        offset=torch.zeros(B, 1, C),
        days=torch.zeros(B, 1, dtype=torch.int32),
        dates_seen=torch.ones(B, 1, dtype=torch.bool),
        bands_seen=torch.ones(B, C, dtype=torch.bool),
        pixels_seen=torch.ones(B, 1, 1, *numbers.shape[2:], dtype=torch.bool),
    )
    return Batch({"s2-l1c": image}, {}, tuple(f"p{i}" for i in range(B)), ("",) * B)


def numbers() -> Tensor:
    return torch.randint(0, 6000, (2, 13, 64, 64), generator=torch.Generator().manual_seed(0)).float()


def adapt(**encoder: Any) -> Adapt:
    method = method_of("adapt", encoder={**SATCLIP, **encoder}, faults=FAULTS)
    assert isinstance(method, Adapt)
    return method


def opened(method: Adapt, file: Path, contract: Contract | None = None) -> Foreign:
    return Foreign(file, method, contract or contract_of(), TASK)


def test_eurosat_s_file_order_gives_what_timm_gives_on_satclip_s_order(file: Path) -> None:
    assert EUROSAT[-1] == "B8A" != BANDS[-1]
    cubes = numbers()
    model = opened(adapt(), file).model
    order = [EUROSAT.index(b) for b in BANDS]
    with torch.no_grad():
        expected = visual()(cubes[:, order] / 10000)
        wrong = visual()(cubes / 10000)
        found = model.targets(batch_of(cubes)).pooled.value
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert (found - wrong).norm() > 100 * (found - expected).norm(), "by place in the file it would be another encoder"


def test_bands_that_the_data_lack_are_left_out(file: Path) -> None:
    """A band that is not there is a band of zeros: SatCLIP itself was trained with B10 like that."""
    bands = ("B04", "B8A", "B02")
    cubes = numbers()
    at = [EUROSAT.index(b) for b in bands]
    model = opened(adapt(), file, contract_of(bands)).model
    full = torch.zeros_like(cubes)
    full[:, [BANDS.index(b) for b in bands]] = cubes[:, at]
    with torch.no_grad():
        expected = visual()(full / 10000)
        found = model.targets(batch_of(cubes[:, at], bands)).pooled.value
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_student_is_really_unfrozen_and_may_read_a_mask(file: Path) -> None:
    method = adapt(band_mask=True)
    start = opened(method, file)
    model = method.build(contract_of(), TASK)
    method.attach(model, start)
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {"encoders.s2-l1c.net.conv1.weight", "encoders.s2-l1c.net.fc.weight"} <= learning
    assert learning == {n for n, _ in model.named_parameters() if not n.startswith("head.")}
    batch = batch_of(numbers())
    with torch.no_grad():
        mine, theirs = (m.eval().targets(batch).pooled.value for m in (model, start.model))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    held = method.model_copy(update={"train": "head"})
    held.attach(model, start)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        f"encoders.s2-l1c.net.fc.{w}" for w in ("weight", "bias")
    }


def test_the_last_layer_may_be_a_projection_instead(file: Path) -> None:
    match = {"clip": {"kind": "clip", "on": "projection"}}
    encoder = {**SATCLIP, "width": None}
    method = method_of("adapt", encoder=encoder, heads={"fc": {"layers": 1, "dim": 256}}, match=match, faults=FAULTS)
    assert isinstance(method, Adapt)
    model = opened(method, file).model
    cubes = numbers()
    with torch.no_grad():
        found = model.targets(batch_of(cubes))
        expected = visual()(cubes[:, [EUROSAT.index(b) for b in BANDS]] / 10000)
    assert found.pooled.value.shape == (2, 2048)
    torch.testing.assert_close(found.embeddings["fc"]["s2-l1c"].value, expected, rtol=1e-3, atol=1e-4)


def test_a_segmentation_takes_what_it_has_of_it(file: Path) -> None:
    method = method_of("segment", encoder={**SATCLIP, "width": None}, decoder={"kind": "deeplab"}, freeze=True)
    model = method.build(contract_of(), replace(TASK, kind="map"))
    start = Foreign(file, method, contract_of(), replace(TASK, kind="map"))
    method.attach(model, start)
    own = read_visual(file)["layer1.0.conv1.weight"]
    assert torch.equal(model.state_dict()["encoders.s2-l1c.net.layer1.0.conv1.weight"], own)
    assert not any(p.requires_grad for p in model.encoders.parameters())


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code of the file ran",))


def test_nothing_but_plain_data_is_read(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(file, weights_only=True)["state_dict"]
    evil = tmp_path / "evil.ckpt"
    torch.save({"state_dict": dict(list(state.items())[:2]), "hyper_parameters": _Code()}, evil)
    with pytest.raises(RunError, match="cannot be read as plain weights"):
        read_visual(evil)
    assert "code of the file ran" not in capsys.readouterr().out
    for content, words in (({"a": 1}, "no `state_dict`"), ({"state_dict": {"x": torch.zeros(1)}}, "no `model.visual")):
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(RunError, match=words):
            read_visual(tmp_path / "other.ckpt")
    (tmp_path / "damaged.ckpt").write_bytes(b"nothing of the kind")
    with pytest.raises(RunError, match="cannot be read"):
        read_visual(tmp_path / "damaged.ckpt")


@pytest.mark.parametrize(
    ("encoder", "contract", "error", "words"),
    [
        ({"input": "standardised"}, contract_of(), ConfigError, "encoder.input=standardised centres it"),
        ({}, contract_of(("VV", "VH"), "s1-grd-sigma0"), ContractError, "the data have s1-grd-sigma0"),
        ({}, Contract({**contract_of().streams, **contract_of(EUROSAT[:3], "s2-l2a").streams}), ContractError, "one"),
    ],
)
def test_what_it_cannot_serve_is_refused_before_it_is_read(
    tmp_path: Path, encoder: dict[str, Any], contract: Contract, error: type[LandweaveError], words: str
) -> None:
    from landweave.run.experiment import recipe

    (tmp_path / "x.ckpt").write_bytes(b"")
    changes = [f"start={tmp_path / 'x.ckpt'}", *(f"method.encoder.{k}={v}" for k, v in encoder.items())]
    experiment = recipe("adapt-petcu2024", changes)
    with pytest.raises(error, match=words):
        open_start(experiment, contract, tmp_path / "x.ckpt", TASK)
    with pytest.raises(RunError, match="no such file"):
        open_start(experiment, contract_of(), tmp_path / "none.ckpt", TASK)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ({"name": "resnet18"}, "another network than resnet18"),
        ({"width": 128}, r"`fc\.\w+` is \(256,.*there and \(128,"),
        ({"stem": "small"}, r"`conv1\.weight` is"),
    ],
)
def test_another_network_is_refused(file: Path, encoder: dict[str, Any], words: str) -> None:
    with pytest.raises(RunError, match=words):
        opened(adapt(**encoder), file).model  # noqa: B018


def test_a_small_resnet_of_that_layout_loads_too(tmp_path: Path) -> None:
    small = write(tmp_path / "satclip-resnet18-l10.ckpt", visual("resnet18"))
    method = adapt(name="resnet18")
    model = method.build(contract_of(), TASK)
    load_visual(model, small)
    assert model.encoders["s2-l1c"].net.fc.weight.requires_grad
