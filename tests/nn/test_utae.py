"""U-TAE: the official numbers, padding that changes nothing, and dates that matter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from landweave.nn.config import UTAE
from landweave.nn.flair_weights import UTAE as NAMES
from landweave.nn.flair_weights import renamed
from landweave.nn.utae import Answer, UTAENet
from tests.nn.flair_golden import Case, case, high_bits, rule

REDUCED = {"encoder_widths": (16, 16, 16, 64), "decoder_widths": (8, 8, 16, 64), "hidden": (8, 19)}
GOLDEN = {
    "case1a": (REDUCED, 10, 19),
    "case1b": (REDUCED, 10, 19),
    "case1c": (
        {"encoder_widths": (16, 16, 64), "decoder_widths": (16, 16, 64), "hidden": (8, 5), "width": 64, "stride": 2},
        4,
        5,
    ),
    "case2": ({"encoder_widths": (64, 64, 64, 128), "decoder_widths": (32, 32, 64, 128)}, 10, 19),
}


def official(found: Case, *, last: str = "official") -> tuple[UTAENet, Answer]:
    """The networks of a case, with its weights."""
    given, bands, classes = GOLDEN[found.name.partition("_")[0]]
    settings = UTAE(**given, padding="official", last=last)
    net, answer = UTAENet(settings, bands=bands).eval(), None
    answer = Answer(settings, channels=net.widths[-1], classes=classes).eval()
    state = {renamed(k, NAMES): v for k, v in found.weights().items()}
    inconv = "attention.project.weight"
    state[inconv] = state[inconv].squeeze(2)
    net.load_state_dict({k: v for k, v in state.items() if not k.startswith("layers.")})
    answer.load_state_dict({k: v for k, v in state.items() if k.startswith("layers.")})
    return net, answer


def test_the_rule_of_the_weights_is_the_manifests() -> None:
    check = rule()["check"]
    assert high_bits(check["key"], 6).tolist() == check["first_six_z_shifted_right_40"]
    found = case("case1a")
    for key, stored in ((k, v) for k, v in found.tensors.items() if k.startswith("weights.")):
        assert torch.equal(found.weights()[key.removeprefix("weights.")], stored), key


@pytest.mark.parametrize("name", GOLDEN)
def test_gives_what_the_official_code_gives(name: str) -> None:
    found = case(name)
    net, answer = official(found)
    x = found.input("x")
    seen = x.ne(0).flatten(2).any(2)
    with torch.no_grad():
        maps, attention = net.attend(x, found.input("day_offsets"), seen)
        logits = answer(maps[-1])
    found.require("attention", attention)
    for i, level in enumerate(maps):
        found.require(f"map_{i}", level)
    found.require("logits", logits)
    assert float(logits.min()) == 0.0
