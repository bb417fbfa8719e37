"""Answers on another grid: by logits, as the losses learn them, and never by a mean of probabilities."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from landweave.transforms.resampling import answers_on


@pytest.mark.parametrize("size", [(30, 40), (7, 5), (10, 10), (3, 20)])
def test_logits_are_interpolated(size: tuple[int, int]) -> None:
    logits = 5 * torch.randn(2, 6, 10, 10, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(logits, size, mode="bilinear", align_corners=False).softmax(1)
    assert torch.allclose(answers_on(logits.softmax(1), size), wanted, atol=1e-5)


def test_the_surer_pixel_has_more_to_say() -> None:
    """A pixel is sure of class 1, its neighbour leans to class 0: half way a mean of probabilities would say 0.55."""
    found = torch.tensor([[[[1e-6, 0.9]], [[1 - 1e-6, 0.1]]]])
    third = answers_on(found, (1, 3))[0, :, 0, 1]
    assert third.argmax() == 1
    assert third[1] == pytest.approx(1 / (1 + (1e-6 * 9 / (1 - 1e-6)) ** 0.5), rel=1e-4)


def test_a_class_that_cannot_be_stays_so_and_the_same_grid_changes_nothing() -> None:
    found = torch.rand(1, 3, 4, 4)
    found[:, 2] = 0
    found = found / found.sum(1, keepdim=True)
    assert answers_on(found, (4, 4)) is found
    assert answers_on(found, (9, 9))[:, 2].max() < 1e-12
    assert torch.allclose(answers_on(found, (9, 9)).sum(1), torch.ones(()))
