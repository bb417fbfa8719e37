"""What draws a student to its teacher, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from landweave.losses import clip, cosine, mse, multi_clip

SCALE = math.exp(2.8952996730804443)


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2, 3), (1, 4, 2, 2)])
def test_mse_is_the_share_of_the_spread_that_is_missed(shape: tuple[int, ...]) -> None:
    s, t = rows(*shape), 3 * rows(*shape, seed=1) + 10
    a, b = (x.flatten(2).transpose(1, 2).flatten(0, 1) if x.ndim > 2 else x for x in (s, t))
    n, mean = len(b), b.mean(0)
    error = sum(float((a[i] - b[i]) @ (a[i] - b[i])) for i in range(n))
    spread = sum(float((b[i] - mean) @ (b[i] - mean)) for i in range(n)) * n / (n - 1)
    assert float(mse(s, t)) == pytest.approx(error / spread, rel=1e-9)
    assert float(mse(s.float(), t.float())) == pytest.approx(error / spread, rel=1e-4)
    assert float(mse(t, t)) == 0
    assert float(mse(100 * s, 100 * t)) == pytest.approx(error / spread, rel=1e-9), "of no scale"


def test_mse_is_one_for_who_gives_the_mean_throughout() -> None:
    t = rows(400, 6) * 2 + 1
    assert float(mse(t.mean(0).expand_as(t), t)) == pytest.approx(399 / 400, rel=1e-9)


def test_mse_of_one_row_and_of_rows_that_are_all_alike_is_a_number() -> None:
    one = rows(1, 4)
    assert float(mse(torch.zeros_like(one), one)) == pytest.approx(1)
    alike = one.expand(3, 4)
    assert torch.isfinite(mse(alike + 1, alike))
    assert float(mse(alike.float(), alike.float())) == 0


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2, 3)])
def test_cosine_row_by_row_and_position_by_position(shape: tuple[int, ...]) -> None:
    s, t = rows(*shape), rows(*shape, seed=1)
    a, b = (x.flatten(2).transpose(1, 2).flatten(0, 1) if x.ndim > 2 else x for x in (s, t))
    expected = 1 - sum(float(x @ y / x.norm() / y.norm()) for x, y in zip(a, b, strict=True)) / len(a)
    assert float(cosine(s, t)) == pytest.approx(expected, rel=1e-9)
    assert float(cosine(3 * t, t)) == pytest.approx(0, abs=1e-9)


def test_one_mask_is_clip() -> None:
    s, t = rows(6, 1, 4), rows(6, 4, seed=1)
    assert float(multi_clip(s, t, scale=SCALE)) == pytest.approx(float(clip(s[:, 0], t, scale=SCALE)), rel=1e-9)


def test_several_masks_against_one_embedding() -> None:
    s, t = rows(4, 3, 5), rows(4, 5, seed=1)
    N, M = 4, 3

    def g(i: int, m: int, p: int) -> float:
        return SCALE * float(s[i, m] @ t[p] / s[i, m].norm() / t[p].norm())

    forth = back = 0.0
    for i in range(N):
        for m in range(M):
            forth += (math.log(sum(math.exp(g(i, m, p)) for p in range(N))) - g(i, m, i)) / (N * M)
        everyone = math.log(sum(math.exp(g(p, m, i)) for p in range(N) for m in range(M)))
        back += (everyone - sum(g(i, m, i) for m in range(M)) / M) / N
    assert float(multi_clip(s, t, scale=SCALE)) == pytest.approx((forth + back) / 2, rel=1e-9)


def test_only_the_student_gets_a_gradient_and_a_step_against_it_helps() -> None:
    t = rows(6, 5, seed=1).requires_grad_()
    for name, loss in (
        ("mse", mse),
        ("cosine", cosine),
        ("clip", lambda s, t: multi_clip(s[:, None], t, scale=SCALE)),
    ):
        s = rows(6, 5).requires_grad_()
        value = loss(s, t)
        value.backward()
        assert t.grad is None, name
        assert s.grad is not None
        assert loss(s.detach() - 0.01 * s.grad, t) < value, name


def test_nothing_to_learn_from_is_zero_with_a_gradient() -> None:
    for make, loss in (
        ((0, 5), mse),
        ((0, 5), cosine),
        ((0, 5, 2, 2), mse),
        ((0, 5, 2, 2), cosine),
        ((1, 5), lambda s, t: multi_clip(s[:, None], t, scale=SCALE)),
    ):
        s = rows(*make).requires_grad_()
        value = loss(s, rows(*make))
        value.backward()
        assert float(value.detach()) == 0
        assert s.grad is not None


def test_what_does_not_fit_is_refused() -> None:
    for loss in (mse, cosine):
        with pytest.raises(ValueError, match="alike"):
            loss(rows(3, 4), rows(3, 5))
    with pytest.raises(ValueError, match="N M D"):
        multi_clip(rows(3, 4), rows(3, 4), scale=SCALE)
    with pytest.raises(ValueError, match="positive"):
        multi_clip(rows(3, 1, 4), rows(3, 4), scale=0)
