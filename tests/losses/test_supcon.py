from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from loss_oracles import golden, mul_sup_con_loops
from torch import Tensor

import landweave.losses.rows as rows_module
from landweave.losses import inter_cross, mul_sup_con, nt_xent


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def random_batch(n: int = 12, K: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, dtype=torch.float64, generator=g), (torch.rand(n, K, generator=g) < 0.3).long()


@pytest.mark.parametrize("case", golden("mulsupcon_selfmask"), ids=lambda c: c["name"])
def test_self_masked_golden(case: dict[str, Any]) -> None:
    z, y = tensor(case["inputs"]["z"]).requires_grad_(), tensor(case["inputs"]["labels"])
    reduction = "anchors" if "anchor_mean" in case["name"] else "pairs"
    found = mul_sup_con(z, y, temperature=case["inputs"]["temperature"], reduction=reduction)  # type: ignore[arg-type]
    found.loss.backward()
    assert found.loss.item() == pytest.approx(case["expected"]["loss"], rel=1e-6)
    if "grad_z" in case["expected"]:
        torch.testing.assert_close(z.grad, tensor(case["expected"]["grad_z"]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", golden("mosaic1_fused"), ids=lambda c: c["name"])
def test_fused_golden(case: dict[str, Any]) -> None:
    z1, z2, y = (tensor(case["inputs"][k]) for k in ("z_s1", "z_s2", "labels"))
    if "normalise_each" in case["name"]:
        z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    found = mul_sup_con(torch.cat([z1, z2], 1), y, temperature=case["inputs"]["temperature"])
    assert found.loss.item() == pytest.approx(case["expected"]["loss"], rel=1e-6)
    assert found.valid_pairs == 7
    assert found.dropped == 1


def test_one_hot_labels_are_supcon() -> None:
    (case,) = golden("mulsupcon_onehot")
    found = mul_sup_con(
        tensor(case["inputs"]["z"]), tensor(case["inputs"]["labels"]), temperature=case["inputs"]["temperature"]
    )
    assert found.loss.item() == pytest.approx(case["expected"]["loss"], rel=1e-6)


def test_a_private_label_for_two_views_is_nt_xent() -> None:
    (case,) = golden("mulsupcon_unique")
    a, b, t = tensor(case["inputs"]["z_a"]), tensor(case["inputs"]["z_b"]), case["inputs"]["temperature"]
    found = mul_sup_con(torch.cat([a, b]), torch.eye(4).repeat(2, 1), temperature=t)
    assert found.loss.item() == pytest.approx(case["expected"]["loss"], rel=1e-6)
    torch.testing.assert_close(found.loss, nt_xent(a, b, temperature=t))


def test_every_term_of_mosaic() -> None:
    (case,) = golden("mosaic_composition")
    x = {k: tensor(v) for k, v in case["inputs"].items()}
    t, y = case["inputs"]["temperature"], x["labels"]
    fused = [torch.cat([x[f"z_s1_v{v}"], x[f"z_s2_v{v}"]], 1) for v in (1, 2)]
    twice = torch.cat([y, y])
    terms = {
        "intra_s1": nt_xent(x["z_s1_v1"], x["z_s1_v2"], temperature=t),
        "intra_s2": nt_xent(x["z_s2_v1"], x["z_s2_v2"], temperature=t),
        "inter_ntxent": nt_xent(x["z_s1_v1"], x["z_s2_v1"], temperature=t),
        "inter_cross": inter_cross(x["z_s1_v1"], x["z_s2_v1"], temperature=t),
        "msc_fused_two_views": mul_sup_con(torch.cat(fused), twice, temperature=t).loss,
        "msc_fused_view1_only": mul_sup_con(fused[0], y, temperature=t).loss,
        "msc_s1": mul_sup_con(torch.cat([x["z_s1_v1"], x["z_s1_v2"]]), twice, temperature=t).loss,
        "msc_s2": mul_sup_con(torch.cat([x["z_s2_v1"], x["z_s2_v2"]]), twice, temperature=t).loss,
        "bce": F.binary_cross_entropy_with_logits(torch.cat([x["h_s1"], x["h_s2"]], 1) @ x["W"].T + x["b"], y),
    }
    for name, value in terms.items():
        assert value.item() == pytest.approx(case["expected"][name], rel=1e-6), name
    one = terms["intra_s1"] + terms["intra_s2"] + terms["msc_fused_two_views"] + terms["bce"]
    assert one.item() == pytest.approx(case["expected"]["total_mosaic1_two_views"], rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reduction", ["pairs", "anchors"])
def test_loops(seed: int, reduction: Any) -> None:
    z, y = random_batch(seed=seed)
    found = mul_sup_con(z, y, temperature=0.2, reduction=reduction)
    loss, valid, dropped = mul_sup_con_loops(z.tolist(), y.tolist(), 0.2, reduction)
    assert found.loss.item() == pytest.approx(loss, rel=1e-9)
    assert (int(found.valid_pairs), int(found.dropped)) == (valid, dropped)


def test_unknown_is_neither_anchor_nor_positive_but_a_negative() -> None:
    z, y = random_batch()
    known = torch.ones(12, 5, dtype=torch.bool)
    known[3], known[5, 2], known[7, :2] = False, False, False
    found = mul_sup_con(z, y, temperature=0.2, known=known)
    loss, valid, _ = mul_sup_con_loops(z.tolist(), (y * known).tolist(), 0.2, "pairs")
    assert found.loss.item() == pytest.approx(loss, rel=1e-9)
    assert found.valid_pairs == valid
    shouting = torch.where(known, y, 1 - y)  # what stands at unknown entries means nothing
    torch.testing.assert_close(mul_sup_con(z, shouting, temperature=0.2, known=known).loss, found.loss)
    by_row = torch.ones(12, dtype=torch.bool)
    by_row[3] = False
    empty = y.clone()
    empty[3] = 0
    row_unknown = mul_sup_con(z, y, temperature=0.2, known=by_row).loss
    torch.testing.assert_close(row_unknown, mul_sup_con(z, empty, temperature=0.2).loss)
    absent = mul_sup_con(z[by_row], y[by_row], temperature=0.2).loss
    assert not torch.isclose(row_unknown, absent)  # the unknown row still is a negative


@pytest.mark.parametrize("reduction", ["pairs", "anchors"])
def test_nothing_valid_is_zero_with_a_gradient(reduction: Any) -> None:
    for y, dropped in ((torch.zeros(4, 3), 0), (torch.eye(4), 4)):
        z = torch.randn(4, 6, requires_grad=True)
        found = mul_sup_con(z, y, temperature=0.01, reduction=reduction)
        found.loss.backward()
        assert (found.loss.item(), int(found.valid_pairs), int(found.dropped)) == (0, 0, dropped)
        assert z.grad is not None
        assert not z.grad.any()
    z = torch.randn(1, 6, requires_grad=True)
    found = mul_sup_con(z, torch.ones(1, 3), temperature=0.1, reduction=reduction)
    found.loss.backward()
    assert (found.loss.item(), int(found.dropped)) == (0, 3)


def test_order_of_rows_and_of_labels_does_not_matter() -> None:
    z, y = random_batch()
    rows, columns = torch.randperm(12), torch.tensor([4, 2, 0, 1, 3])
    here = mul_sup_con(z, y, temperature=0.1)
    there = mul_sup_con(z[rows], y[rows][:, columns], temperature=0.1)
    torch.testing.assert_close(here.loss, there.loss)
    assert here.valid_pairs == there.valid_pairs


@pytest.mark.parametrize("reduction", ["pairs", "anchors"])
def test_gradcheck(reduction: Any) -> None:
    z, y = random_batch(n=7)
    assert torch.autograd.gradcheck(
        lambda a: mul_sup_con(a, y, temperature=0.3, reduction=reduction).loss, (z.requires_grad_(),)
    )


def test_single_precision_at_a_low_temperature() -> None:
    z, y = random_batch()
    precise = mul_sup_con(z, y, temperature=0.01).loss
    assert mul_sup_con(z.float(), y.bool(), temperature=0.01).loss.item() == pytest.approx(precise.item(), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mul_sup_con(z.float(), y, temperature=0.01).loss
    assert mixed.item() == pytest.approx(precise.item(), rel=1e-5)


def test_no_label_mask_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from test_rows import Largest

    monkeypatch.setitem(rows_module.TILE, "cpu", (64, 64))
    z, y = random_batch(n=600)
    with Largest() as seen:
        mul_sup_con(z.requires_grad_(), y, temperature=0.1).loss.backward()
    assert seen.numel <= 2 * 64 * 64


def test_refuses_shapes_that_do_not_fit() -> None:
    z, y = random_batch()
    with pytest.raises(ValueError, match="N K"):
        mul_sup_con(z, y[:5], temperature=0.1)
    with pytest.raises(ValueError, match="known"):
        mul_sup_con(z, y, temperature=0.1, known=torch.ones(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="temperature"):
        mul_sup_con(z, y, temperature=-1)
