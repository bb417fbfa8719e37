"""Every published vector, in float64 and in float32: losses, and gradients where a vector has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from loss_oracles import golden
from torch import Tensor

from landweave.legends import LandClass, Legend
from landweave.losses import (
    binary_cross_entropy,
    clip,
    dense_alignment,
    inter_cross,
    mul_sup_con,
    mul_sup_con_keys,
    nt_xent,
    soft_con,
    sup_con,
    sup_con_keys,
)
from landweave.sample import Label

Inputs = dict[str, Any]
ELSEWHERE = {"multilabel_metrics": "tests/metrics/test_multilabel.py"}
PRECISION = {torch.float64: 1e-6, torch.float32: 1e-4}


def two(loss: Callable[..., Tensor]) -> Callable[[Inputs], Tensor]:
    return lambda x: loss(x["z_a"], x["z_b"], temperature=x["temperature"])


def self_masked(reduction: str) -> Callable[[Inputs], Tensor]:
    return lambda x: mul_sup_con(x["z"], x["labels"], temperature=x["temperature"], reduction=reduction).loss  # type: ignore[arg-type]


def fused(x: Inputs) -> Tensor:
    return mul_sup_con(torch.cat([x["z_s1"], x["z_s2"]], 1), x["labels"], temperature=x["temperature"]).loss


def fused_each(x: Inputs) -> Tensor:
    return fused({**x, "z_s1": F.normalize(x["z_s1"], dim=1), "z_s2": F.normalize(x["z_s2"], dim=1)})


def by_keys(x: Inputs) -> Tensor:
    reduction = "batch" if x.get("with_weight") else "pairs"
    return mul_sup_con_keys(
        x["q"], x["labels"], x["k"], x["labels"], temperature=x["temperature"], reduction=reduction
    ).loss  # type: ignore[arg-type]


def with_queue(x: Inputs) -> Tensor:
    keys, labels = torch.cat([x["k"], x["queue"]]), torch.cat([x["labels"], x["queue_labels"]])
    return mul_sup_con_keys(x["q"], x["labels"], keys, labels, temperature=x["temperature"]).loss


def pattern(match: Any) -> Callable[[Inputs], Tensor]:
    return lambda x: (
        sup_con_keys(x["q"], x["labels"], x["k"], x["labels"], temperature=x["temperature"], match=match).loss
    )


def one_hot(x: Inputs) -> Tensor:
    losses = [
        mul_sup_con(x["z"], x["labels"], temperature=x["temperature"]).loss,
        sup_con(x["z"], x["labels"].argmax(1), temperature=x["temperature"]).loss,
        soft_con(x["z"], x["labels"], temperature=x["temperature"]).loss,
    ]
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(losses[2], losses[0])
    return losses[0]


def private(x: Inputs) -> Tensor:
    z, own = torch.cat([x["z_a"], x["z_b"]]), torch.eye(len(x["z_a"])).repeat(2, 1)
    found = nt_xent(x["z_a"], x["z_b"], temperature=x["temperature"])
    for loss in (mul_sup_con, soft_con):
        torch.testing.assert_close(loss(z, own, temperature=x["temperature"]).loss, found)
    torch.testing.assert_close(sup_con(z, own.argmax(1), temperature=x["temperature"]).loss, found)
    return found


def bce(x: Inputs) -> Tensor:
    values = x["target"].to(torch.uint8)
    legend = Legend("classes", tuple(LandClass(i, f"c{i}", "#000000") for i in range(values.shape[1])))
    return binary_cross_entropy(x["logits"], Label("multilabel", values, torch.ones_like(values).bool(), legend))


LOSSES: dict[str, Callable[[Inputs], Tensor]] = {
    "ntxent_": two(nt_xent),
    "inter_crossmodal": two(inter_cross),
    "mma_dense": lambda x: dense_alignment(x["feat_a"], x["feat_b"], temperature=x["temperature"]),
    "mulsupcon_official_qk": by_keys,
    "mulsupcon_official_unlabelled": by_keys,
    "mulsupcon_official_queue": with_queue,
    "supcon_official_pattern_all": pattern("all"),
    "supcon_official_pattern_any": pattern("any"),
    "mulsupcon_selfmask_2views_T": self_masked("pairs"),
    "mulsupcon_selfmask_2views_anchor_mean": self_masked("anchors"),
    "mosaic1_fused_mulsupcon_concat": fused,
    "mosaic1_fused_mulsupcon_normalise_each": fused_each,
    "mulsupcon_onehot_equals_supcon": one_hot,
    "mulsupcon_unique_labels_equals_ntxent": private,
    "bce_with_logits": bce,
}


def loss_of(name: str) -> Callable[[Inputs], Tensor]:
    (found,) = [loss for prefix, loss in LOSSES.items() if name.startswith(prefix)]
    return found


def tensors(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return {k: torch.tensor(v, dtype=dtype) if isinstance(v, list) else v for k, v in inputs.items()}


@pytest.mark.parametrize("dtype", PRECISION, ids=str)
@pytest.mark.parametrize("case", golden(""), ids=lambda c: c["name"])
def test_vector(case: dict[str, Any], dtype: torch.dtype) -> None:
    if case["name"] in ELSEWHERE or case["name"] == "mosaic_composition":
        return
    x, rtol = tensors(case["inputs"], dtype), PRECISION[dtype]
    gradients = {k.removeprefix("grad_"): v for k, v in case["expected"].items() if k.startswith("grad_")}
    for name in gradients:
        x[name].requires_grad_()
    loss = loss_of(case["name"])(x)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(case["expected"]["loss"], rel=rtol, abs=rtol / 10)
    if gradients:
        loss.backward()
    for name, rows in gradients.items():
        torch.testing.assert_close(x[name].grad, torch.tensor(rows, dtype=dtype), rtol=rtol, atol=rtol / 10)


def test_there_are_29_and_none_is_left_out() -> None:
    names = [c["name"] for c in golden("")]
    assert len(set(names)) == 29
    for name in names:
        assert name in ELSEWHERE or name == "mosaic_composition" or loss_of(name)


@pytest.mark.parametrize("dtype", PRECISION, ids=str)
def test_every_term_and_total_of_mosaic(dtype: torch.dtype) -> None:
    (case,) = golden("mosaic_composition")
    x, rtol = tensors(case["inputs"], dtype), PRECISION[dtype]
    t, y = x["temperature"], x["labels"]
    v = {k: x[f"z_{k}"] for k in ("s1_v1", "s1_v2", "s2_v1", "s2_v2")}
    both = [torch.cat([v[f"s1_v{k}"], v[f"s2_v{k}"]], 1) for k in (1, 2)]
    msc = lambda z: mul_sup_con(torch.cat(z), y.repeat(len(z), 1), temperature=t).loss  # noqa: E731
    terms = {
        "intra_s1": nt_xent(v["s1_v1"], v["s1_v2"], temperature=t),
        "intra_s2": nt_xent(v["s2_v1"], v["s2_v2"], temperature=t),
        "inter_ntxent": nt_xent(v["s1_v1"], v["s2_v1"], temperature=t),
        "inter_cross": clip(v["s1_v1"], v["s2_v1"], scale=1 / t),
        "msc_fused_two_views": msc(both),
        "msc_fused_view1_only": msc(both[:1]),
        "msc_s1": msc([v["s1_v1"], v["s1_v2"]]),
        "msc_s2": msc([v["s2_v1"], v["s2_v2"]]),
        "bce": bce({"logits": torch.cat([x["h_s1"], x["h_s2"]], 1) @ x["W"].T + x["b"], "target": y}),
    }
    for name, value in terms.items():
        assert value.item() == pytest.approx(case["expected"][name], rel=rtol), name
    intra = ["intra_s1", "intra_s2"]
    totals = {
        "total_intra_simclr": intra,
        "total_iai_simclr_ntxent": [*intra, "inter_ntxent"],
        "total_iai_simclr_cross": [*intra, "inter_cross"],
        "total_mosaic1_two_views": [*intra, "msc_fused_two_views", "bce"],
        "total_mosaic1_view1": [*intra, "msc_fused_view1_only", "bce"],
        "total_mosaic2_ntxent": ["inter_ntxent", "msc_s1", "msc_s2", "bce"],
        "total_mosaic2_cross": ["inter_cross", "msc_s1", "msc_s2", "bce"],
    }
    assert set(terms) | set(totals) == set(case["expected"])
    for name, parts in totals.items():
        assert sum(terms[p].item() for p in parts) == pytest.approx(case["expected"][name], rel=rtol), name


def test_the_similarities_behind_the_dense_vectors() -> None:
    """`dense_alignment` of two places gives back the difference of their similarities."""
    for case in golden("mma_dense"):
        x, t = tensors(case["inputs"], torch.float64), case["inputs"]["temperature"]
        s = torch.tensor(case["expected"]["similarities"], dtype=torch.float64)[:2, :2] / t
        expected = (F.cross_entropy(s, torch.arange(2)) + F.cross_entropy(s.T, torch.arange(2))) / 2
        torch.testing.assert_close(dense_alignment(x["feat_a"][:2], x["feat_b"][:2], temperature=t), expected)
