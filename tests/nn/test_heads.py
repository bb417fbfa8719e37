from __future__ import annotations

import pytest
import torch
from torch import nn

from landweave.nn.config import Projection
from landweave.nn.heads import ProjectionHead


@pytest.mark.parametrize("norm", [True, False])
def test_only_seen_rows_count(norm: bool) -> None:
    torch.manual_seed(0)
    head = ProjectionHead(Projection(width=8, dim=4, batch_norm=norm), width=6).train()
    h, seen = torch.rand(5, 6), torch.tensor([True, False, True, True, False])
    z = head(h, seen)
    assert (z[~seen] == 0).all()
    torch.testing.assert_close(z[seen], head(h[seen], torch.ones(3, dtype=torch.bool)))


def test_one_row_or_none_moves_no_statistics() -> None:
    head = ProjectionHead(Projection(width=8, dim=4), width=6).train()
    before = {k: v.clone() for k, v in head.state_dict().items()}
    for seen in (torch.tensor([True, False]), torch.tensor([False, False])):
        z = head(torch.rand(2, 6), seen)
        assert z.shape == (2, 4)
        assert z.isfinite().all()
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items())
    assert all(m.training for m in head.modules())


HEADS = {
    "iai-simclr": (Projection(), "Linear(6, 6, no bias) BatchNorm1d ReLU Linear(6, 128)"),
    "d-simclr": (Projection(batch_norm=False), "Linear(6, 6) ReLU Linear(6, 128)"),
    "mulsupcon": (
        Projection(width=3, dim=256, dropout=0.1),
        "Linear(6, 3, no bias) BatchNorm1d ReLU Dropout Linear(3, 256)",
    ),
    "linear": (Projection(layers=1, dim=4), "Linear(6, 4)"),
    "deep": (
        Projection(layers=3, width=5, dim=4),
        "Linear(6, 5, no bias) BatchNorm1d ReLU Linear(5, 5, no bias) BatchNorm1d ReLU Linear(5, 4)",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_the_papers(name: str) -> None:
    settings, wanted = HEADS[name]
    head = ProjectionHead(settings, width=6)
    found = []
    for m in head.layers:
        text = type(m).__name__
        if isinstance(m, nn.Linear):
            text += f"({m.in_features}, {m.out_features}{'' if m.bias is not None else ', no bias'})"
        found.append(text)
    assert " ".join(found) == wanted
    assert head(torch.rand(3, 6), torch.tensor([True, True, False])).shape == (3, settings.dim)


def test_dropout_is_of_training_only() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(Projection(dropout=0.5), width=6)
    h, seen = torch.rand(4, 6), torch.ones(4, dtype=torch.bool)
    assert not torch.equal(head(h, seen), head(h, seen))
    head.eval()
    assert torch.equal(head(h, seen), head(h, seen))
