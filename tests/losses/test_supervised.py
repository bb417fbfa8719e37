from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from loss_oracles import golden

from landweave.legends import LandClass, Legend
from landweave.losses import binary_cross_entropy, cross_entropy, supervised_loss
from landweave.sample import Label

LEGEND = Legend("four", tuple(LandClass(i, f"c{i}", "#000000") for i in range(4)))
WEIGHTS = torch.tensor([1.0, 2.0, 0.0, 0.5])


def class_label() -> Label:
    return Label("class", torch.tensor([0, 255, 3, 1, 2]), torch.tensor([True, False, True, True, True]), LEGEND)


def map_label() -> Label:
    values = torch.randint(0, 4, (2, 6, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    values[0, :2] = 255
    return Label("map", values, values != 255, LEGEND)


def many_label() -> Label:
    g = torch.Generator().manual_seed(2)
    values = (torch.rand(8, 4, generator=g) < 0.4).to(torch.uint8)
    return Label("multilabel", values, torch.rand(8, 4, generator=g) < 0.7, LEGEND)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_class_loops(weights: torch.Tensor | None) -> None:
    label, logits = class_label(), torch.randn(5, 4)
    top = bottom = 0.0
    for i in (0, 2, 3, 4):
        row, c = logits[i].tolist(), int(label.values[i])
        w = 1.0 if weights is None else float(weights[c])
        top += w * (log(sum(exp(v) for v in row)) - row[c])
        bottom += w
    assert cross_entropy(logits, label, weights=weights).item() == pytest.approx(top / bottom, rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_map_equals_ignore_index(weights: torch.Tensor | None) -> None:
    label, logits = map_label(), torch.randn(2, 4, 6, 8)
    expected = F.cross_entropy(logits, label.values.long(), weight=weights, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, label, weights=weights), expected)


def test_known_rules_and_not_the_value() -> None:
    label, logits = map_label(), torch.randn(2, 4, 6, 8)
    half = replace(label, known=label.known & (torch.arange(8) < 4))
    expected = F.cross_entropy(logits[..., :4], label.values[..., :4].long(), ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, half), expected)


def test_coarse_logits_are_brought_to_the_label() -> None:
    label, logits = map_label(), torch.randn(2, 4, 3, 4)
    grown = F.interpolate(logits, size=(6, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(cross_entropy(logits, label), cross_entropy(grown, label))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_multilabel_loops(weights: torch.Tensor | None) -> None:
    label, logits = many_label(), torch.randn(8, 4)
    top = bottom = 0.0
    for i in range(8):
        for k in range(4):
            if label.known[i, k]:
                p = 1 / (1 + exp(-float(logits[i, k])))
                w = 1.0 if weights is None else float(weights[k])
                top -= w * log(p if label.values[i, k] else 1 - p)
                bottom += w
    assert binary_cross_entropy(logits, label, weights=weights).item() == pytest.approx(top / bottom, rel=1e-5)


def test_multilabel_golden() -> None:
    (case,) = golden("bce_with_logits")
    logits = torch.tensor(case["inputs"]["logits"], dtype=torch.float64)
    values = torch.tensor(case["inputs"].get("labels", case["inputs"].get("target"))).to(torch.uint8)
    label = Label("multilabel", values, torch.ones_like(values, dtype=torch.bool), LEGEND)
    assert binary_cross_entropy(logits, label).item() == pytest.approx(case["expected"]["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("label", "shape"), [(class_label(), (5, 4)), (map_label(), (2, 4, 6, 8)), (many_label(), (8, 4))]
)
def test_nothing_known_is_zero_with_a_gradient(label: Label, shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, requires_grad=True)
    loss = supervised_loss(logits, label.unknown())
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_an_empty_label_set_is_not_unknown() -> None:
    empty = Label("multilabel", torch.zeros(2, 4, dtype=torch.uint8), torch.ones(2, 4, dtype=torch.bool), LEGEND)
    assert supervised_loss(torch.zeros(2, 4), empty).item() == pytest.approx(log(2))


def test_float32_under_autocast() -> None:
    label, logits = class_label(), torch.randn(5, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supervised_loss(logits, label)
    torch.testing.assert_close(loss, supervised_loss(logits.float(), label))


def test_refuses_the_wrong_kind_and_count() -> None:
    with pytest.raises(ValueError, match="multilabel is needed, not class"):
        binary_cross_entropy(torch.randn(5, 4), class_label())
    with pytest.raises(ValueError, match="3 logits for the 4 classes of four"):
        cross_entropy(torch.randn(5, 3), class_label())


def test_the_room_loads_without_torch() -> None:
    code = "import sys, landweave.losses; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
