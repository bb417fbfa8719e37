"""Genuine series go through the same encoders and fusion: two places of TreeSatAI, with real dates and cloud masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from landweave.contract import Contract
from landweave.data.stats import contract_of
from landweave.nn.config import UTAE, Encoder, Late, Stages, UPerNetFlair
from landweave.nn.uperfuse import UPerFuseModel
from landweave.sample import Batch
from landweave.transforms import cubes
from tests.data.treesat import genuine
from tests.data.treesat import genuine_batch as raw

SERIES = UTAE(heads=4, width=32, encoder_widths=(8, 8, 16, 16), decoder_widths=(8, 8, 16, 16), hidden=(8,))
RADAR = ("s1-grd-sigma0-asc-linear", "s1-grd-sigma0-desc-linear")


@pytest.fixture(scope="module")
def read(real: Path) -> tuple[Contract, Batch]:
    data = genuine(real)
    contract = contract_of(data, range(len(data)))
    return contract, cubes(raw(real), contract)


def model(contract: Contract, **more: object) -> UPerFuseModel:
    torch.manual_seed(0)
    settings = {"fusion": Stages(), "auxiliary": sorted(contract.streams), **more}
    return UPerFuseModel(
        contract,
        Encoder(name="resnet10t"),
        SERIES,
        decoder=UPerNetFlair(pyramid=16, channels=16),
        classes={"trees": 3, "crops": 5},
        **settings,  # type: ignore[arg-type]
    )


def test_aerial_images_and_three_genuine_series_make_maps_and_gradients(read: tuple[Contract, Batch]) -> None:
    contract, batch = read
    assert [n for n, row in sorted(contract.streams.items()) if row.series] == [*RADAR, "s2-l2a"]
    made = model(contract).train()
    out = made(batch)
    assert {t: tuple(f.shape) for t, f in out.by_task.items()} == {"trees": (2, 3, 304, 304), "crops": (2, 5, 304, 304)}
    assert all(bool(seen.all()) for seen in out.seen.values())
    assert out.auxiliary["s2-l2a"]["trees"].shape == (2, 3, 6, 6)
    loss = sum(
        f.square().mean() for f in (*out.by_task.values(), *(f for b in out.auxiliary.values() for f in b.values()))
    )
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    idle = [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert idle == []


def test_what_the_networks_are_shown_is_of_the_order_of_one(read: tuple[Contract, Batch]) -> None:
    """The official code normalises no series. Here power is read in dB, and both are centred."""
    contract, batch = read
    made = model(contract)
    for name in made.series:
        encoder = made.encoders[name]
        shown = encoder.read(batch.images[name])  # type: ignore[union-attr, operator]
        values = shown[batch.images[name].seen]
        assert 0.3 < float(values.std()) < 3, name
        assert abs(float(values.mean())) < 1.5, name


def test_the_longer_series_of_one_place_is_no_padding_to_the_other(read: tuple[Contract, Batch]) -> None:
    contract, batch = read
    dates = batch.images["s2-l2a"].dates_seen
    assert dates.sum(1).tolist() != [dates.shape[1]] * 2, "one of them is padded"
    made = model(contract).eval()
    with torch.no_grad():
        both = made(batch)
        for b in range(2):
            one = replace(batch.map(lambda t, b=b: t[b : b + 1]), names=batch.names[b : b + 1])  # type: ignore[misc]
            alone = made(one)
            apart = (alone.logits[0] - both.logits[b]).abs()
            assert float(apart.mean()) < 1e-4


def test_the_dates_of_genuine_series_count(read: tuple[Contract, Batch]) -> None:
    contract, batch = read
    turned = {n: replace(batch.images[n], days=batch.images[n].days.flip(1)) for n in ("s2-l2a", *RADAR)}
    made = model(contract, fusion=Late()).eval()
    with torch.no_grad():
        found = [made(b).auxiliary for b in (batch, replace(batch, images={**batch.images, **turned}))]
    for name in turned:
        assert float((found[0][name]["trees"] - found[1][name]["trees"]).abs().max()) > 1e-4
    assert torch.equal(found[0]["aerial"]["trees"], found[1]["aerial"]["trees"])
