"""U-TAE: the official numbers, padding that changes nothing, and dates that matter."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from landweave.nn.config import UTAE
from landweave.nn.flair_weights import U_TAE, renamed
from landweave.nn.utae import LTAE, Answer, UTAENet
from tests.nn.flair_golden import Case, case, high_bits, rule

REDUCED = {"encoder_widths": (16, 16, 16, 64), "decoder_widths": (8, 8, 16, 64), "hidden": (8, 19)}
GOLDEN: dict[str, tuple[dict[str, Any], int, int]] = {
    "case1a": (REDUCED, 10, 19),
    "case1b": (REDUCED, 10, 19),
    "case1c": (
        {"encoder_widths": (16, 16, 64), "decoder_widths": (16, 16, 64), "hidden": (8, 5), "width": 64, "stride": 2},
        4,
        5,
    ),
    "case2": ({"encoder_widths": (64, 64, 64, 128), "decoder_widths": (32, 32, 64, 128)}, 10, 19),
}


def official(found: Case, *, padding: str = "official") -> tuple[UTAENet, Answer]:
    """The networks of a case, with its weights."""
    given, bands, classes = GOLDEN[found.name.partition("_")[0]]
    settings = UTAE(**given, padding=padding, last="official")
    net = UTAENet(settings, bands=bands).eval()
    answer = Answer(settings, channels=net.widths[-1], classes=classes).eval()
    state = {renamed(k, U_TAE): v for k, v in found.weights().items()}
    inconv = "attention.project.weight"
    state[inconv] = state[inconv].squeeze(2)
    net.load_state_dict({k: v for k, v in state.items() if not k.startswith("layers.")})
    answer.load_state_dict({k: v for k, v in state.items() if k.startswith("layers.")})
    return net, answer


def test_the_rule_of_the_weights_is_the_manifests() -> None:
    check = rule()["check"]
    assert high_bits(check["key"], 6).tolist() == check["first_six_z_shifted_right_40"]
    found = case("case1a")
    state = found.weights()
    stored = {k.removeprefix("weights."): v for k, v in found.tensors.items() if k.startswith("weights.")}
    assert stored.keys() == state.keys()
    assert all(torch.equal(state[k], v) for k, v in stored.items())


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


def test_dates_that_are_not_seen_change_nothing_whatever_stands_there() -> None:
    """Facts 1 of the spec's golden vectors: the official numbers move by up to 0.78 with two padding dates."""
    found = case("case1a")
    x, days = found.input("x"), found.input("day_offsets")
    seen = x.ne(0).flatten(2).any(2)
    assert seen.sum(1).tolist() == [7, 5]
    net, answer = official(found, padding="left-out")
    junk = torch.full((2, 3, *x.shape[2:]), float("nan"))
    more = torch.cat([junk[:, :1], x[:, :3], junk[:, 1:], x[:, 3:]], 1)  # before, between
    nothing = torch.zeros(2, 1, dtype=torch.bool)
    where = torch.cat([nothing, seen[:, :3], nothing, nothing, seen[:, 3:]], 1)
    when = torch.cat([days[:, :1] * 0 + 99, days[:, :3], days[:, :2] - 77, days[:, 3:]], 1)
    with torch.no_grad():
        maps, attention = net.attend(x, days, seen)
        others, wider = net.attend(more, when, where)
        alone = net(x[1:, :5], days[1:, :5], seen[1:, :5])
        logits = answer(maps[-1])
    for here, there, one in zip(maps, others, alone, strict=True):
        assert torch.equal(here, there)
        apart = (here[1:] - one).abs()  # its own 5 dates, in another batch, where no date is to be masked
        assert float(apart.max()) < 2e-3  # as loose as the manifest on the first map, whose groups hardly vary
        assert float(apart.mean()) < 1e-5
    assert torch.equal(attention, wider[:, :, [1, 2, 3, 6, 7, 8, 9]])
    assert bool((wider[:, :, [0, 4, 5]] == 0).all())
    # and that is another answer than the official one, for the place with padding only
    apart = (logits - found.expected("logits")).abs().amax((1, 2, 3))
    assert float(apart[0]) < 1e-4
    assert 0.5 < float(apart[1]) < 1.0


def test_attention_is_that_of_the_plain_formula() -> None:
    """Scores and values by loops, in the published order of the sums."""
    torch.manual_seed(0)
    settings = UTAE(heads=2, key=3, width=8, encoder_widths=(8, 8), decoder_widths=(8, 8))
    ltae = LTAE(settings, channels=8).eval()
    for p in ltae.parameters():
        torch.nn.init.normal_(p, std=0.5)
    rows, days = torch.randn(3, 8, 1, 1), torch.tensor([[-100.0, 20.0, 150.0]])
    with torch.no_grad():
        found, attention = ltae(rows, days, torch.ones(1, 3, dtype=torch.bool))
        series = rows.flatten(1)
        normed = torch.nn.functional.group_norm(series.T[None], 2, ltae.norm.weight, ltae.norm.bias)[0].T
        angle = [[float(d) / 1000 ** (2 * (j // 2) / 4) for j in range(4)] for d in days[0]]
        code = torch.tensor([[math.cos(a) if j % 2 else math.sin(a) for j, a in enumerate(one)] for one in angle])
        projected = ltae.project(normed) + torch.cat([code, code], 1)
        keys = ltae.keys(projected).view(3, 2, 3)
        heads = []
        for h in range(2):
            weights = torch.stack([ltae.query[h] @ keys[t, h] / 3**0.5 for t in range(3)]).softmax(0)
            torch.testing.assert_close(attention[0, :, h, 0, 0], weights)
            heads.append(sum(weights[t] * projected[t, 4 * h : 4 * h + 4] for t in range(3)))
        want = ltae.last(ltae.mix(torch.cat(heads)[None]))[0]
    torch.testing.assert_close(found[0, :, 0, 0], want)


def test_the_dates_are_read() -> None:
    net = UTAENet(UTAE(heads=4, width=32, encoder_widths=(8, 16), decoder_widths=(8, 16)), bands=2).eval()
    torch.manual_seed(0)
    x, seen = torch.randn(1, 4, 2, 6, 6), torch.ones(1, 4, dtype=torch.bool)
    days = torch.tensor([[-90.0, -10.0, 60.0, 170.0]])
    with torch.no_grad():
        maps = net(x, days, seen)[-1]
        order = [2, 0, 3, 1]
        torch.testing.assert_close(net(x[:, order], days[:, order], seen)[-1], maps)  # a set of dated images
        assert float((net(x, days[:, order], seen)[-1] - maps).abs().max()) > 1e-3  # other images at those dates
        unknown = net(x, days.fill_(float("nan")), seen)[-1]
    assert bool(unknown.isfinite().all())


def test_logits_may_be_negative_and_the_published_ones_never_are() -> None:
    """Weakness 9 of the spec: a batch norm and a ReLU after the last convolution."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 5)
    with torch.no_grad():
        assert float(Answer(UTAE(), channels=8, classes=4)(x).min()) < 0
        assert float(Answer(UTAE(last="official"), channels=8, classes=4)(x).min()) == 0
    names = [type(m).__name__ for m in Answer(UTAE(), channels=8, classes=19).layers]
    assert names == ["Reflected", "BatchNorm", "ReLU", "Reflected"]  # 32, and the 19 that are the classes


@pytest.mark.parametrize(("size", "stride"), [((1, 1), 1), ((1, 7), 1), ((5, 9), 1), ((5, 9), 2)])
def test_any_size_trains_even_one_pixel_of_one_place(size: tuple[int, int], stride: int) -> None:
    widths = {"encoder_widths": (8, 8, 16), "decoder_widths": (8, 8, 16)}
    net = UTAENet(UTAE(heads=4, width=32, stride=stride, **widths), bands=3).train()
    seen = torch.tensor([[True, False, True]])
    maps = net(torch.randn(1, 3, 3, *size), torch.zeros(1, 3), seen)
    assert [tuple(f.shape[1:]) for f in maps][-1] == (8, *size)
    sum(f.square().sum() for f in maps).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"encoder_widths": (64, 64)}, "give encoder_widths and decoder_widths"),
        ({"encoder_widths": (64, 64), "decoder_widths": (64, 64, 64)}, "2 encoder_widths and 3 decoder_widths"),
        ({"encoder_widths": (64, 64), "decoder_widths": (64, 32)}, "are one map"),
        ({"encoder_widths": (40, 64), "decoder_widths": (64, 64)}, "an encoder width of 40 does not divide"),
        ({"width": 100}, "a width of 100 does not divide"),
    ],
)
def test_widths_that_do_not_go_together_are_refused(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        UTAE(**given)
