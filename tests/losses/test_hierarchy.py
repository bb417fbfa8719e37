"""Cross-entropy over a hierarchy, against plain loops, and on LPIS."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from landweave.legends import PARENTS, LandClass, Legend
from landweave.losses import cross_entropy, hierarchical_cross_entropy
from landweave.sample import Label

TWO_ABOVE = ((0, 0, 1, 2, 2), (0, 1, 1))
"""Five classes, three above them, two above these."""


def legend(count: int) -> Legend:
    return Legend("made", tuple(LandClass(i, f"class {i}", "#000000") for i in range(count)))


def map_label(values: Tensor, known: Tensor, count: int) -> Label:
    return Label("map", values.to(torch.uint8), known, legend(count))


def by_hand(logits: Tensor, values: Tensor, known: Tensor, weights: Tensor | None, share: float) -> float:
    total = mass = 0.0
    B, _, H, W = logits.shape
    for b in range(B):
        for i in range(H):
            for j in range(W):
                if not known[b, i, j]:
                    continue
                p = [math.exp(float(v)) for v in logits[b, :, i, j]]
                p = [v / sum(p) for v in p]
                y = int(values[b, i, j])
                w = 1.0 if weights is None else float(weights[y])
                loss, here = -math.log(p[y]), y
                for parents in TWO_ABOVE:
                    above = [0.0] * (max(parents) + 1)
                    for child, parent in enumerate(parents):
                        above[parent] += p[child]
                    p, here = above, parents[here]
                    loss += share * -math.log(p[here])
                total += w * loss
                mass += w
    return total / mass


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_what_loops_give(share: float, weighted: bool) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, 4, generator=random) * 3
    values = torch.randint(0, 5, (2, 3, 4), generator=random)
    known = torch.rand(2, 3, 4, generator=random) < 0.7
    values[~known] = 255
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0]) if weighted else None
    found = hierarchical_cross_entropy(logits, map_label(values, known, 5), TWO_ABOVE, share=share, weights=weights)
    assert float(found) == pytest.approx(by_hand(logits, values, known, weights, share), rel=1e-5)


def test_without_levels_it_is_cross_entropy_also_of_small_maps() -> None:
    logits = torch.randn(2, 5, 2, 2, generator=torch.Generator().manual_seed(1))
    label = map_label(torch.arange(32).reshape(2, 4, 4) % 5, torch.ones(2, 4, 4, dtype=torch.bool), 5)
    torch.testing.assert_close(hierarchical_cross_entropy(logits, label, ()), cross_entropy(logits, label))
    torch.testing.assert_close(
        hierarchical_cross_entropy(logits, label, TWO_ABOVE, share=0.0), cross_entropy(logits, label)
    )


def test_to_mistake_a_class_for_its_sister_costs_less() -> None:
    truth = map_label(torch.zeros(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool), 5)

    def loss(answer: int) -> float:
        logits = torch.zeros(1, 5, 1, 1)
        logits[0, answer] = 5.0
        return float(hierarchical_cross_entropy(logits, truth, TWO_ABOVE))

    assert loss(0) < loss(1) < loss(2)


def test_where_nothing_counts_it_is_zero_and_so_is_its_gradient() -> None:
    logits = torch.randn(1, 5, 2, 2, requires_grad=True)
    label = map_label(torch.full((1, 2, 2), 255), torch.zeros(1, 2, 2, dtype=torch.bool), 5)
    loss = hierarchical_cross_entropy(logits, label, TWO_ABOVE)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_levels_of_lpis_stand_on_one_another() -> None:
    parents = (PARENTS["lpis-3"], PARENTS["lpis-2"])
    logits = torch.randn(1, 46, 4, 4, generator=torch.Generator().manual_seed(2))
    label = map_label(torch.arange(16).reshape(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool), 46)
    levels = [float(hierarchical_cross_entropy(logits, label, parents[:n])) for n in range(3)]
    assert levels[0] < levels[1] < levels[2] < 3 * levels[0], "a parent is at least as likely as its child"


@pytest.mark.parametrize("parents", [((0, 0, 1),), ((0, 0, 2, 2, 3),)])
def test_levels_that_do_not_fit_are_refused(parents: tuple[tuple[int, ...], ...]) -> None:
    label = map_label(torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool), 5)
    with pytest.raises(ValueError, match=r"parents"):
        hierarchical_cross_entropy(torch.zeros(1, 5, 2, 2), label, parents)
