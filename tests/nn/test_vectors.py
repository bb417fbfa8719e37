"""Fusion of vectors: what every kind owes, and each kind by plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from landweave.nn.absent import MeanFeatures
from landweave.nn.config import Attention, Bilinear, Concat, Fusion, Mean
from landweave.nn.vectors import FuseAttention, FuseVectors, fuse_vectors

KINDS: tuple[Fusion, ...] = (Concat(), Concat(flags=True), Mean(), Attention(width=8, parts=2), Bilinear(rank=3))
THREE = {"a": 4, "b": 4, "c": 4}
SEEN = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=torch.bool)
every_kind = pytest.mark.parametrize("fusion", KINDS, ids=lambda f: f"{f.kind}{'+flags' * getattr(f, 'flags', 0)}")


def fuse_of(fusion: Fusion, widths: dict[str, int] = THREE) -> FuseVectors:
    torch.manual_seed(0)
    means = MeanFeatures(widths)
    means.set({n: torch.rand(w) for n, w in widths.items()})
    return fuse_vectors(fusion, widths, means)


def features_of(widths: dict[str, int] = THREE, B: int = 5) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(1)
    return {n: torch.rand(B, w, generator=made) for n, w in widths.items()}


def seen_of(rows: Tensor = SEEN) -> dict[str, Tensor]:
    return {n: rows[:, i] for i, n in enumerate(THREE)}


@every_kind
def test_contract_of_every_kind(fusion: Fusion) -> None:
    fuse, h, seen = fuse_of(fusion), features_of(), seen_of()
    found = fuse(h, seen)
    assert found.shape == (5, fuse.width)
    assert found.isfinite().all(), "also where nothing is seen"
    shuffled = torch.tensor([3, 0, 4, 2, 1])
    moved = fuse({n: f[shuffled] for n, f in h.items()}, {n: s[shuffled] for n, s in seen.items()})
    torch.testing.assert_close(moved, found[shuffled])
    assert torch.equal(fuse(dict(reversed(h.items())), seen), found)
    for rubbish in (7.0, math.inf, math.nan):
        other = {n: torch.where(seen[n][:, None], f, rubbish) for n, f in h.items()}
        assert torch.equal(fuse(other, seen), found)


@every_kind
def test_every_parameter_learns_and_only_what_is_seen_has_a_gradient(fusion: Fusion) -> None:
    fuse, seen = fuse_of(fusion), seen_of()
    h = {n: f.requires_grad_() for n, f in features_of().items()}
    weights = torch.rand(5, fuse.width, generator=torch.Generator().manual_seed(2))
    (fuse(h, seen) * weights).sum().backward()
    for name, p in fuse.named_parameters():
        assert p.grad is not None, name
        assert p.grad.any(), name
    for n, f in h.items():
        assert f.grad is not None
        assert (f.grad[~seen[n]] == 0).all()
        assert f.grad[seen[n]].any(1).all()


@every_kind
def test_one_sensor(fusion: Fusion) -> None:
    fuse = fuse_of(fusion, {"a": 4})
    h = {"a": features_of()["a"].requires_grad_()}
    found = fuse(h, {"a": torch.tensor([True, True, False, True, True])})
    assert found.shape == (5, fuse.width)
    found.square().sum().backward()
    assert all(p.grad is not None for p in fuse.parameters())
    if fusion.kind in ("concat", "bilinear", "mean"):
        assert torch.equal(found[0, :4], h["a"][0])


@every_kind
def test_the_mean_feature_is_read_where_it_is_said_to_be(fusion: Fusion) -> None:
    fuse, h, seen = fuse_of(fusion), features_of(), seen_of()
    before = fuse(h, seen)
    reads = fusion.kind == "bilinear" or fusion == Concat()
    assert any("means" in name for name, _ in fuse.named_buffers()) == (fusion.kind in ("concat", "bilinear"))
    if fusion.kind in ("concat", "bilinear"):
        fuse.means.set({n: torch.rand(w) for n, w in THREE.items()})
    changed = (fuse(h, seen) != before).any(1)
    assert changed.tolist() == [reads and not bool(row.all()) for row in SEEN]


def test_concat_and_mean_by_numbers() -> None:
    h = {
        "a": torch.tensor([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]),
        "b": torch.tensor([[5.0, 6.0], [7.0, 8.0], [9.0, 9.0]]),
    }
    seen = {"a": torch.tensor([True, False, False]), "b": torch.tensor([True, True, False])}
    widths = {"a": 2, "b": 2}
    means = MeanFeatures(widths)
    means.set({"a": torch.tensor([-1.0, -2.0]), "b": torch.tensor([-3.0, -4.0])})
    concat = fuse_vectors(Concat(), widths, means)(h, seen)
    assert concat.tolist() == [[1, 2, 5, 6], [-1, -2, 7, 8], [-1, -2, -3, -4]]
    mean = fuse_vectors(Mean(), widths, means)(h, seen)
    assert mean.tolist() == [[3, 4], [7, 8], [0, 0]]
    swapped = fuse_vectors(Concat(), widths, means)({"b": h["b"], "a": h["a"]}, seen)
    assert torch.equal(swapped, concat)


def test_mean_features_refuse_what_does_not_fit() -> None:
    means = MeanFeatures({"a": 2})
    with pytest.raises(ValueError, match="sensors"):
        means.set({"b": torch.zeros(2)})
    with pytest.raises(ValueError, match="mean of"):
        means.set({"a": torch.zeros(1)})


def test_flags_say_which_sensor_is_seen() -> None:
    found = fuse_of(Concat(flags=True))(features_of(), seen_of())
    assert torch.equal(found[:, -3:], SEEN.float())
    assert torch.equal(found[1], torch.cat([features_of()["a"][1], torch.zeros(4), features_of()["c"][1], SEEN[1]]))


def test_one_checkpoint_with_flags_serves_either_sensor() -> None:
    """With flags a linear head can answer right for each set of sensors, where zeros alone cannot."""
    torch.manual_seed(0)
    x, seen = torch.rand(400, 1) + 2, torch.rand(400) < 0.5
    h, target = {"a": x, "b": 5 - x}, x[:, 0]  # either sensor alone tells the answer, but differently
    pairs = {"a": seen, "b": ~seen}
    errors = {}
    for flags in (False, True):
        means = MeanFeatures({"a": 1, "b": 1})
        fused = fuse_vectors(Concat(flags=flags), {"a": 1, "b": 1}, means)(h, pairs)
        inputs = torch.cat([fused, torch.ones(400, 1)], 1).double()
        # pinv, since with exactly one of two sensors seen the flags add up to the constant
        weights = torch.linalg.pinv(inputs) @ target.double()
        errors[flags] = float((inputs @ weights - target).abs().max())
    assert errors[True] < 1e-6
    assert errors[False] > 0.1


def test_bilinear_by_loops() -> None:
    fuse, h, seen = fuse_of(Bilinear(rank=3)), features_of(), seen_of()
    found = fuse(h, seen)
    for i in range(5):
        parts = [h[n][i] if SEEN[i, k] else fuse.means[n] for k, n in enumerate(THREE)]
        project = [fuse.project[n] for n in THREE]
        product = torch.zeros(3)
        for r in range(3):
            t = [torch.tanh(p.weight[r] @ x + p.bias[r]) for p, x in zip(project, parts, strict=True)]
            product[r] = t[0] * t[1] + t[0] * t[2] + t[1] * t[2]
        torch.testing.assert_close(found[i], torch.cat([*parts, product]))


def test_attention_by_loops_over_the_seen_sensors() -> None:
    fuse = fuse_of(Attention(width=8, parts=2))
    assert isinstance(fuse, FuseAttention)
    h = features_of()
    found = fuse(h, seen_of())
    for i in range(5):
        tokens = [fuse.query] + [fuse.tokens[n](h[n][i]) for k, n in enumerate(THREE) if SEEN[i, k]]
        for layer in fuse.layers:
            tokens = attended(layer, tokens)
        torch.testing.assert_close(found[i], fuse.norm(tokens[0]))


def attended(layer: nn.Module, tokens: list[Tensor]) -> list[Tensor]:
    """One layer by the book (Vaswani et al. 2017, eq. 1), a token and a part of the width at a time."""
    D = len(tokens[0])
    qkv = [layer.qkv(layer.before(t)) for t in tokens]
    out = []
    for i, token in enumerate(tokens):
        read = []
        for part in range(2):
            at = slice(part * D // 2, (part + 1) * D // 2)
            q = qkv[i][:D][at]
            scores = torch.stack([q @ other[D : 2 * D][at] / math.sqrt(D // 2) for other in qkv])
            read.append(sum(s * other[2 * D :][at] for s, other in zip(scores.softmax(0), qkv, strict=True)))
        x = token + layer.out(torch.cat(read))
        out.append(x + layer.mlp(x))
    return out


def test_sensors_attend_to_one_another_and_are_told_apart() -> None:
    fuse, h, seen = fuse_of(Attention(width=8, parts=2)), features_of(), seen_of(torch.ones_like(SEEN))
    swapped = {"a": h["b"], "b": h["a"], "c": h["c"]}
    assert not torch.allclose(fuse(h, seen), fuse(swapped, seen), atol=1e-3)
    # what sensor b has to say depends on what sensor a says: the mixed difference of the two is not 0
    other = features_of(B=10)
    a, b = other["a"][5:], other["b"][5:]
    mixed = fuse(h, seen) - fuse({**h, "a": a}, seen) - fuse({**h, "b": b}, seen) + fuse({**h, "a": a, "b": b}, seen)
    assert mixed.abs().max() > 1e-3
