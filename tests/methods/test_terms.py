from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from landweave.legends import LandClass, Legend
from landweave.losses import mul_sup_con, nt_xent
from landweave.methods import Mosaic1
from landweave.methods.terms import Embedded, Inter, Intra, MulSupCon, Supervised, Term, label_sets, weighted_sum
from landweave.sample import Label

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
    B = len(labels)
    return Embedded(
        first={"s1": given["z_s1_v1"], "s2": given["z_s2_v1"]},
        second={"s1": given["z_s1_v2"], "s2": given["z_s2_v2"]},
        seen={n: torch.ones(B, dtype=torch.bool) for n in ("s1", "s2")},
        logits=F.linear(torch.cat([given["h_s1"], given["h_s2"]], 1), given["W"], given["b"]),
        label=Label("multilabel", labels, torch.ones_like(labels, dtype=torch.bool), FIVE),
    )


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
        "msc_fused_view1_only": value(MulSupCon(views="first"), case),
        "msc_s1": value(MulSupCon(of="each"), case, "s1"),
        "msc_s2": value(MulSupCon(of="each"), case, "s2"),
        "bce": value(Supervised(), case),
    }
    for name, number in found.items():
        assert number == pytest.approx(expected[name], rel=1e-6), name


def test_every_method_of_the_paper_is_a_list_of_terms(case: dict[str, Any]) -> None:
    expected = case["expected"]
    one = Mosaic1().terms
    first = Mosaic1.model_validate({"terms": {"msc": {"views": "first"}}}).terms
    two: dict[str, Term] = {"inter": Inter(form="cross"), "msc": MulSupCon(of="each"), "supervised": Supervised()}
    methods: dict[str, dict[str, Term]] = {
        "total_mosaic1_two_views": one,
        "total_mosaic1_view1": first,
        "total_mosaic2_cross": two,
        "total_mosaic2_ntxent": {**two, "inter": Inter()},
        "total_intra_simclr": {"intra": Intra()},
        "total_iai_simclr_ntxent": {"intra": Intra(), "inter": Inter()},
        "total_iai_simclr_cross": {"intra": Intra(), "inter": Inter(form="cross")},
    }
    for name, terms in methods.items():
        loss = float(weighted_sum(terms, embedded(case))["loss"])
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
        found = Embedded(
            z, z, dict.fromkeys(z, seen), torch.zeros(len(labels), 5), Label("multilabel", labels, known, FIVE)
        )
        term = MulSupCon.model_validate({"views": "first", "normalise": how})
        assert float(term.values(found)[""]) == pytest.approx(case["expected"]["loss"], rel=1e-6)


def test_weights_scale_and_zero_leaves_out(case: dict[str, Any]) -> None:
    method = Mosaic1.model_validate({"terms": {"intra": {"weight": 0}, "msc": {"weight": 0.5}}})
    found = weighted_sum(method.terms, embedded(case))
    assert set(found) == {"msc", "supervised", "loss"}
    expected = case["expected"]["bce"] + 0.5 * case["expected"]["msc_fused_two_views"]
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-6)


def test_absent_sensors_are_left_out_of_their_terms(case: dict[str, Any]) -> None:
    found = embedded(case)
    found.seen["s1"][1] = False
    rows = torch.tensor([0, 2, 3])
    a, b = found.first, found.second
    assert torch.equal(Intra().values(found)["s1"], nt_xent(a["s1"][rows], b["s1"][rows], temperature=0.1))
    assert torch.equal(Inter().values(found)["s1+s2"], nt_xent(a["s1"][rows], a["s2"][rows], temperature=0.1))
    # in the fused row of place 1 only the other sensor speaks
    blank = {"s1": a["s1"].clone(), "s2": a["s2"]}
    blank["s1"][1] = 0
    fused = torch.cat([blank["s1"], blank["s2"]], 1)
    plain = mul_sup_con(fused, found.label.values, temperature=0.1).loss
    assert float(MulSupCon(views="first").values(found)[""]) == pytest.approx(float(plain))
    a["s1"][1] = float("inf")  # whatever stands at an absent sensor is not looked at
    assert torch.isfinite(Intra().values(found)["s1"])


def test_place_of_which_nothing_is_seen_has_no_fused_row(case: dict[str, Any]) -> None:
    found = embedded(case)
    for seen in found.seen.values():
        seen[2] = False
    rows = torch.tensor([0, 1, 3])
    fused = [torch.cat([view["s1"], view["s2"]], 1)[rows] for view in (found.first, found.second)]
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
