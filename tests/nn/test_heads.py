from __future__ import annotations

import pytest
import torch

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
