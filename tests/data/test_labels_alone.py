"""Labels without images: those that reading a place gives, and no image is read for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from landweave.data import bigearthnet, flairhub_dataset, record
from landweave.data.bigearthnet import BigEarthNetV2
from landweave.data.dataset import Chosen, Dataset
from landweave.data.flairhub import FlairHub
from landweave.data.store import Pack, pack
from landweave.data.synth import write
from tests.data.fake import Fake
from tests.data.flair_layout import Layout


def never(*_: object, **__: object) -> None:
    pytest.fail("an image was read")


def packed(folder: Path) -> Dataset:
    pack(Fake(count=12), folder / "store")
    return Pack(path=str(folder / "store")).open()


def flair(folder: Path) -> Dataset:
    return FlairHub(path=str(Layout(folder / "toy").write().root), streams=("aerial",)).open()


def ben(folder: Path) -> Dataset:
    write("bigearthnet-v2", folder / "ben", places=6, seed=0)
    return BigEarthNetV2(path=str(folder / "ben")).open()


@pytest.mark.parametrize("opened", [packed, flair, ben])
@pytest.mark.parametrize("coarsen", [1, 2])
def test_labels_are_those_of_read_and_cost_no_image(
    opened: object, coarsen: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Chosen(opened(tmp_path), labelled=frozenset(), coarsen=coarsen)  # type: ignore[operator]
    dataset.places = [*dataset.base.places[:4], *dataset.places[4:]]  # training places from the fifth on are unlabelled
    wanted = [dataset.read(i).labels for i in range(len(dataset))]
    monkeypatch.setattr(flairhub_dataset.FlairHubDataset, "_stack", never)
    monkeypatch.setattr(record, "_image", never, raising=False)
    monkeypatch.setattr(bigearthnet.BigEarthNetDataset, "read", never)
    monkeypatch.setattr("landweave.data.packed.PackedDataset.read", never)
    for i, labels in enumerate(wanted):
        found = dataset.labels(i)
        assert found.keys() == labels.keys()
        for name, label in found.items():
            assert torch.equal(label.values, labels[name].values)
            assert torch.equal(label.known, labels[name].known)
