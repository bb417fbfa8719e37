from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_rows import Largest
from torch import Tensor

import landweave.losses.dense as dense_module
from landweave.losses import dense_alignment, inter_cross


def maps(B: int, H: int, W: int, seed: int = 0) -> Tensor:
    return torch.randn(B, 3, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loops(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Every shift of every pair by itself."""
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    h, w = b.shape[2:]
    best = torch.empty(len(a), len(b), dtype=a.dtype)
    for i in range(len(a)):
        for p in range(len(b)):
            best[i, p] = max(
                float((a[i, :, y : y + h, x : x + w] * b[p]).sum() / (h * w))
                for y in range(a.shape[2] - h + 1)
                for x in range(a.shape[3] - w + 1)
            )
    truth = torch.arange(len(a))
    return (F.cross_entropy(best / t, truth) + F.cross_entropy(best.T / t, truth)) / 2


@pytest.mark.parametrize("small", [(4, 5), (2, 3), (4, 2), (1, 1)])
@pytest.mark.parametrize("at_once", [1, 2**22])
def test_loops_whatever_is_held_at_once(monkeypatch: pytest.MonkeyPatch, small: tuple[int, int], at_once: int) -> None:
    monkeypatch.setattr(dense_module, "AT_ONCE", at_once)
    a, b = maps(4, 4, 5), maps(4, *small, seed=1)
    expected = loops(a, b, 0.1)
    torch.testing.assert_close(dense_alignment(a, b, temperature=0.1), expected)
    torch.testing.assert_close(dense_alignment(b, a, temperature=0.1), expected)  # the larger one is found


@pytest.mark.parametrize("small", [(3, 4), (2, 2)])
def test_gradcheck(small: tuple[int, int]) -> None:
    a, b = maps(3, 3, 4).requires_grad_(), maps(3, *small, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: dense_alignment(x, y, temperature=0.3), (a, b))


def test_a_shifted_copy_is_found_and_one_position_is_clip() -> None:
    a = maps(5, 6, 6)
    assert dense_alignment(a, a[..., 2:5, 1:4], temperature=0.01).item() < 1e-6
    assert dense_alignment(a, a[..., 2:5, 1:4].flip(0), temperature=0.01) > 1
    x, y = maps(5, 1, 1), maps(5, 1, 1, seed=1)
    torch.testing.assert_close(
        dense_alignment(x, y, temperature=0.2), inter_cross(x.flatten(1), y.flatten(1), temperature=0.2)
    )


def test_correlations_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_module, "AT_ONCE", 1000)
    a, b = maps(12, 9, 9).requires_grad_(), maps(12, 2, 2, seed=1)
    with Largest() as seen:
        dense_alignment(a, b, temperature=0.1).backward()
    assert seen.numel <= max(a.numel(), 12 * 64)  # all of them are 12 x 12 x 64


def test_single_precision_at_the_temperature_of_the_paper() -> None:
    for b in (maps(4, 4, 4, seed=1), maps(4, 2, 2, seed=1)):
        a = maps(4, 4, 4)
        precise = dense_alignment(a, b, temperature=0.005).item()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = dense_alignment(a.float(), b.float(), temperature=0.005)
        assert mixed.dtype == torch.float32
        assert mixed.item() == pytest.approx(precise, rel=1e-4)


def test_one_place_is_zero_and_a_dead_position_gives_no_gradient() -> None:
    for B in (0, 1):
        a, b = maps(B, 3, 3).requires_grad_(), maps(B, 2, 2).requires_grad_()
        loss = dense_alignment(a, b, temperature=0.1)
        loss.backward()
        assert loss.item() == 0
        assert a.grad is not None
        assert not a.grad.any()
    a = maps(3, 2, 2)
    a[0, :, 0, 0] = 0
    a.requires_grad_()
    dense_alignment(a, maps(3, 2, 2, seed=1), temperature=0.1).backward()
    assert a.grad is not None
    assert not a.grad[0, :, 0, 0].any()
    assert a.grad[0, :, 0, 1].any()


def test_refuses_maps_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="neither contains the other"):
        dense_alignment(maps(2, 3, 5), maps(2, 5, 3), temperature=0.1)
    with pytest.raises(ValueError, match="one B and C"):
        dense_alignment(maps(2, 3, 3), maps(3, 3, 3), temperature=0.1)


def test_convolutions_on_a_gpu_are_not_rounded() -> None:
    cudnn = torch.backends.cudnn
    before = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    with dense_module.exact_convolutions(torch.device("cuda")):  # flags only: no GPU is needed
        assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (True, *before[1:3], False)
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == before
