"""The head that answers, and features that one more layer makes: of the form, and under the names, that runs have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landweave.config import parse
from landweave.errors import ConfigError
from landweave.nn.config import Concat, Encoder, Linear, Mlp
from landweave.nn.heads import answering
from landweave.nn.model import SceneModel
from tests.nn.tiny_models import batch_of, contract_of

ONE = {"s2-l2a": (32, 32)}


def test_a_linear_head_is_a_linear_layer_under_its_old_names() -> None:
    assert set(answering(Linear(), width=5, classes=3).state_dict()) == {"weight", "bias"}
    model = SceneModel(contract_of(ONE), Encoder(name="test_resnet"), Concat(), classes=3)
    assert {"head.weight", "head.bias"} <= set(model.state_dict())


def test_the_mlp_of_the_thesis_ends_without_a_relu() -> None:
    head = answering(Mlp(), width=256, classes=10)
    assert [type(m) for m in head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(m.weight.shape) for m in head if isinstance(m, nn.Linear)] == [(64, 256), (10, 64)]
    torch.manual_seed(0)
    x = torch.randn(50, 256)
    first, _, last = head
    torch.testing.assert_close(head(x), last(first(x).relu()))
    assert (head(x) < 0).any()
    deep = answering(Mlp(layers=(8, 4)), width=6, classes=3)
    assert [tuple(m.weight.shape) for m in deep if isinstance(m, nn.Linear)] == [(8, 6), (4, 8), (3, 4)]
    with pytest.raises(ConfigError, match="at least 1"):
        parse(Mlp, {"layers": []})


def test_a_width_is_one_more_layer_after_the_pooling() -> None:
    torch.manual_seed(0)
    plain = SceneModel(contract_of(ONE), Encoder(name="test_resnet"), Concat(), classes=3, head=Mlp())
    wide = SceneModel(
        contract_of(ONE), Encoder(name="test_resnet", width=7), Concat(), classes=3, head=Mlp(), maps=True
    )
    wide.encoders.load_state_dict(plain.encoder_state(), strict=False)
    batch = batch_of(ONE, B=3)
    with torch.no_grad():
        h = plain.eval()(batch).features["s2-l2a"]
        out = wide.eval()(batch)
        last = wide.by_name["s2-l2a"].net.get_classifier()
        torch.testing.assert_close(out.features["s2-l2a"], last(h))
    assert out.features["s2-l2a"].shape == (3, 7)
    assert out.maps["s2-l2a"].shape[:2] == (3, h.shape[1]), "the map is of what is pooled"
    with pytest.raises(ConfigError, match="no linear layer"):
        SceneModel(contract_of({"s2-l2a": (64, 64)}), Encoder(name="mma-vgg", width=7), Concat(), classes=3)
