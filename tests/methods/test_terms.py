from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from landweave.legends import LandClass, Legend
from landweave.losses import mul_sup_con, nt_xent
from landweave.methods.embedded import Embedded, View, label_sets
from landweave.methods.terms import Inter, Intra, MulSupCon, Supervised, Term, weighted_sum
from landweave.sample import Label
from tests.methods.recipes_in_test import contrast

FIVE = Legend("five", tuple(LandClass(i, f"c{i}", "#000000") for i in range(5)))


@pytest.fixture(scope="module")
def case() -> dict[str, Any]:
    """`mosaic_composition` of the shared vectors: lightly's NT-Xent, brute-force MulSupCon, torch's BCE."""
    cases = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text())["cases"]
    found: dict[str, Any] = next(c for c in cases if c["name"] == "mosaic_composition")
    return found


def embedded(case: dict[str, Any]) -> Embedded:
    given = {k: torch.tensor(v, dtype=torch.float64) for k, v in case["inputs"].items()}
    labels = given["labels"].byte()
    logits = F.linear(torch.cat([given["h_s1"], given["h_s2"]], 1), given["W"], given["b"])

    def view(number: int) -> View:
        z = {n: given[f"z_{n}_v{number}"] for n in ("s1", "s2")}
        # nothing may look at the classifier of the second view
        found = logits if number == 1 else torch.full_like(logits, float("nan"))
        return View(found, {n: torch.ones(len(labels), dtype=torch.bool) for n in z}, {"main": z})

    known = torch.ones_like(labels, dtype=torch.bool)
    return Embedded({"a": view(1), "b": view(2)}, Label("multilabel", labels, known, FIVE))


def rows_of(found: Embedded, view: str) -> dict[str, torch.Tensor]:
    return found.views[view].embeddings["main"]


def value(term: Term, case: dict[str, Any], name: str = "") -> float:
    return float(term.values(embedded(case))[name])


def test_every_term_equals_the_vectors(case: dict[str, Any]) -> None:
    expected = case["expected"]
    found = {
        "intra_s1": value(Intra(), case, "s1"),
        "intra_s2": value(Intra(), case, "s2"),
        "inter_ntxent": value(Inter(), case, "s1+s2"),
        "inter_cross": value(Inter(form="cross"), case, "s1+s2"),
        "msc_fused_two_views": value(MulSupCon(), case),
        "msc_fused_view1_only": value(MulSupCon(views=("a",)), case),
        "msc_s1": value(MulSupCon(of="each"), case, "s1"),
        "msc_s2": value(MulSupCon(of="each"), case, "s2"),
        "bce": value(Supervised(), case),
    }
    for name, number in found.items():
        assert number == pytest.approx(expected[name], rel=1e-6), name


def test_every_method_of_the_paper_is_a_list_of_terms(case: dict[str, Any]) -> None:
    expected = case["expected"]
    as_the_vectors = (  # which have one head, two views and a temperature of 0.1
        "pretrain.method.terms.intra.head=main",
        "pretrain.method.terms.inter.head=main",
        "pretrain.method.terms.inter.views=[a]",
        "pretrain.method.heads={main: {}}",
        "pretrain.method.terms.intra.temperature=0.1",
        "pretrain.method.terms.inter.temperature=0.1",
    )
    methods = {
        "total_mosaic1_two_views": contrast("mosaic-1"),
        "total_mosaic1_view1": contrast("mosaic-1", "method.terms.msc.views=[a]"),
        "total_mosaic2_cross": contrast("mosaic-2"),
        "total_mosaic2_ntxent": contrast("mosaic-2", "method.terms.inter.form=ntxent"),
        "total_intra_simclr": contrast("intra-simclr"),
        "total_iai_simclr_ntxent": contrast("iai-simclr", *as_the_vectors),
        "total_iai_simclr_cross": contrast("iai-simclr", *as_the_vectors, "pretrain.method.terms.inter.form=cross"),
    }
    for name, method in methods.items():
        loss = float(weighted_sum(method.terms, embedded(case))["loss"])
        assert loss == pytest.approx(expected[name], rel=1e-6), name


def test_normalising_each_sensor_first_is_the_other_vector() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text())["cases"]
    for name, how in (
        ("mosaic1_fused_mulsupcon_concat_then_normalise", "together"),
        ("mosaic1_fused_mulsupcon_normalise_each_then_concat_then_normalise", "each"),
    ):
        case = next(c for c in cases if c["name"] == name)
        given = {k: torch.tensor(v, dtype=torch.float64) for k, v in case["inputs"].items() if k != "temperature"}
        labels = given["labels"].byte()
        seen = torch.ones(len(labels), dtype=torch.bool)
        z = {"s1": given["z_s1"], "s2": given["z_s2"]}
        known = torch.ones_like(labels, dtype=torch.bool)
        view = View(torch.zeros(len(labels), 5), dict.fromkeys(z, seen), {"main": z})
        found = Embedded({"a": view}, Label("multilabel", labels, known, FIVE))
        term = MulSupCon.model_validate({"views": ["a"], "normalise": how})
        assert float(term.values(found)[""]) == pytest.approx(case["expected"]["loss"], rel=1e-6)


def test_weights_scale_and_zero_leaves_out(case: dict[str, Any]) -> None:
    method = contrast("mosaic-1", "method.terms.intra.weight=0", "method.terms.msc.weight=0.5")
    found = weighted_sum(method.terms, embedded(case))
    assert set(found) == {"msc", "supervised", "loss"}
    expected = case["expected"]["bce"] + 0.5 * case["expected"]["msc_fused_two_views"]
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-6)


def test_absent_sensors_are_left_out_of_their_terms(case: dict[str, Any]) -> None:
    found = embedded(case)
    for view in found.views.values():
        view.seen["s1"][1] = False
    rows = torch.tensor([0, 2, 3])
    a, b = rows_of(found, "a"), rows_of(found, "b")
    assert torch.equal(Intra().values(found)["s1"], nt_xent(a["s1"][rows], b["s1"][rows], temperature=0.1))
    assert torch.equal(Inter().values(found)["s1+s2"], nt_xent(a["s1"][rows], a["s2"][rows], temperature=0.1))
    # in the fused row of place 1 only the other sensor speaks
    blank = {"s1": a["s1"].clone(), "s2": a["s2"]}
    blank["s1"][1] = 0
    fused = torch.cat([blank["s1"], blank["s2"]], 1)
    plain = mul_sup_con(fused, found.label.values, temperature=0.1).loss
    assert float(MulSupCon(views=("a",)).values(found)[""]) == pytest.approx(float(plain))
    a["s1"][1] = float("inf")  # whatever stands at an absent sensor is not looked at
    assert torch.isfinite(Intra().values(found)["s1"])


def test_place_of_which_nothing_is_seen_has_no_fused_row(case: dict[str, Any]) -> None:
    found = embedded(case)
    for view in found.views.values():
        for seen in view.seen.values():
            seen[2] = False
    rows = torch.tensor([0, 1, 3])
    fused = [torch.cat([z["s1"], z["s2"]], 1)[rows] for z in (rows_of(found, "a"), rows_of(found, "b"))]
    expected = mul_sup_con(torch.cat(fused), found.label.values[rows].repeat(2, 1), temperature=0.1).loss
    assert float(MulSupCon().values(found)[""]) == pytest.approx(float(expected))


def test_unknown_labels_pull_nothing(case: dict[str, Any]) -> None:
    found = embedded(case)
    before = MulSupCon().values(found)[""]
    found.label.known[0] = False
    after = MulSupCon().values(found)[""]
    assert not torch.equal(before, after)
    found.label.values[0] = 1 - found.label.values[0]
    assert torch.equal(after, MulSupCon().values(found)[""]), "what stands at an unknown label is not looked at"
    found.label.known[:] = False
    assert float(MulSupCon().values(found)[""]) == 0
    assert float(Supervised().values(found)[""]) == 0
    assert float(Intra().values(found)["s1"]) > 0


def test_one_class_a_place_is_a_set_of_one() -> None:
    label = Label("class", torch.tensor([2, 255, 0]), torch.tensor([True, False, True]), FIVE)
    values, known = label_sets(label)
    assert values[[0, 2]].tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert known.tolist() == [[True] * 5, [False] * 5, [True] * 5]
