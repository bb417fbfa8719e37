"""How the learning rate goes."""

from __future__ import annotations

import pytest
import torch

from landweave.run.experiment import Optim
from landweave.run.fit import rate


@pytest.mark.parametrize(("total", "warmup", "div"), [(40, 0.2, 1000.0), (7, 0.3, 25.0), (200, 0.2, 1000.0)])
def test_one_cycle_is_that_of_torch(total: int, warmup: float, div: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    peer = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=5e-5, total_steps=total, pct_start=warmup, div_factor=div, cycle_momentum=False
    )
    optim = Optim(lr=5e-5, schedule="one-cycle", warmup=warmup, div=div)
    for step in range(total):
        assert optim.lr * rate(optim, total, step) == pytest.approx(peer.get_last_lr()[0], rel=1e-6), step
        optimizer.step()
        if step + 1 < total:
            peer.step()


def test_a_cosine_rises_over_its_warm_up_and_ends_at_zero() -> None:
    optim = Optim(warmup=0.1)
    found = [rate(optim, 100, s) for s in range(101)]
    assert found[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert found[10] == 1
    assert found[-1] == pytest.approx(0)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert rate(Optim(schedule="constant", warmup=0.0), 100, 99) == 1


@pytest.mark.parametrize("total", [1, 7, 21, 25, 30, 50, 110, 2010])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_no_step_is_above_the_peak(schedule: str, total: int) -> None:
    """With 21 steps and a warm-up of 5 %, 1.05 steps, the second was at 1.9 times the rate."""
    found = [rate(Optim(schedule=schedule), total, s) for s in range(total)]
    assert max(found) <= 1
    top = found.index(max(found))
    assert found[:top] == sorted(found[:top])
    assert found[top:] == sorted(found[top:], reverse=True)
