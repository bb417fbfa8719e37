"""FLAIR-HUB's classes: counts, codes and names of the tables, the three merges, and how crop levels nest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from landweave.errors import DataError
from landweave.legends import (
    COSIA_12,
    COSIA_15,
    COSIA_19,
    LEGENDS,
    LPIS_1,
    LPIS_2,
    LPIS_3,
    PARENTS,
    UNKNOWN,
    Legend,
)
from tests.conftest import SHARED


def tables() -> dict[str, dict[str, list[dict[str, object]]]]:
    file = SHARED / "specs" / "tables" / "flair-hub.json"
    if not file.is_file():
        pytest.skip(f"no {file} (set LANDWEAVE_SHARED)")
    found: dict[str, dict[str, list[dict[str, object]]]] = json.loads(file.read_text(encoding="utf-8"))["tables"]
    return found


@pytest.mark.parametrize(
    ("legend", "table"),
    [(COSIA_19, "table_6"), (LPIS_1, "table_7"), (LPIS_2, "table_7_level_2"), (LPIS_3, "table_7_level_3")],
)
def test_names_and_codes_are_those_of_the_paper(legend: Legend, table: str) -> None:
    rows = tables()[table]["rows"]
    assert [(c.value, c.name) for c in legend.classes] == [(r["label"], str(r["class"]).lower()) for r in rows]
    assert LEGENDS[legend.name] is legend


def test_fifteen_classes_are_those_that_the_paper_counts() -> None:
    counted = [str(r["class"]).lower() for r in tables()["table_6"]["rows"] if r["baseline"]]
    assert list(COSIA_15.names) == counted
    assert {v for v, i in COSIA_15.table().items() if i == UNKNOWN} == {15, 16, 17, 18}
    assert COSIA_15.colors == COSIA_19.colors[:15]


def test_twelve_classes_are_those_of_the_first_flair_sets() -> None:
    """FLAIR #1 and #2 number their classes from 1: these are the first 12, the only ones that they score."""
    first_twelve = {
        "building", "pervious surface", "impervious surface", "bare soil", "water", "coniferous", "deciduous",
        "brushwood", "vineyard", "herbaceous vegetation", "agricultural land", "plowed land",
    }  # fmt: skip
    assert set(COSIA_12.names) == first_twelve
    assert len(COSIA_12) == 12
    codes: NDArray[np.uint8] = np.arange(19, dtype=np.uint8)
    known = COSIA_12.encode(codes) != UNKNOWN
    assert known.sum() == 12
    names = [COSIA_19.names[c] for c in codes[known]]
    assert [COSIA_12.names[i] for i in COSIA_12.encode(codes[known])] == names


def test_every_code_is_in_a_legend_or_is_refused() -> None:
    """Weakness 3 of the spec: values outside the table do not become class 0 (building), they are refused."""
    for legend in (COSIA_19, COSIA_15, COSIA_12):
        with pytest.raises(DataError, match=r"f\.tif: label value 19, 255 is not in legend"):
            legend.encode(np.array([[0, 19], [255, 3]], np.uint8), where="f.tif")
    for legend, last in ((LPIS_1, 22), (LPIS_2, 30), (LPIS_3, 45)):
        assert legend.encode(np.array([last], np.uint8)).tolist() == [last]
        with pytest.raises(DataError, match=f"label value {last + 1} "):
            legend.encode(np.array([last + 1], np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_counting_bytes_encodes_as_sorting_does(dtype: type) -> None:
    codes: NDArray[Any] = np.random.default_rng(0).integers(0, 19, (3, 40, 41)).astype(dtype)
    table = COSIA_15.table()
    plain = np.vectorize(table.__getitem__)(codes).astype(np.uint8)
    np.testing.assert_array_equal(COSIA_15.encode(codes), plain)
    np.testing.assert_array_equal(COSIA_15.encode(codes[:, ::2, ::-1]), plain[:, ::2, ::-1])


@pytest.mark.parametrize(("fine", "coarse"), [(LPIS_2, LPIS_1), (LPIS_3, LPIS_2)])
def test_levels_nest(fine: Legend, coarse: Legend) -> None:
    parents = PARENTS[fine.name]
    assert len(parents) == len(fine)
    assert sorted(set(parents)) == list(range(len(coarse))), "every class of the coarser level has a child"
    assert list(parents) == sorted(parents), "the levels list crops in one order"
    only = [k for k in range(len(coarse)) if parents.count(k) == 1]
    for k in only:
        child = parents.index(k)
        assert fine.colors[child] == coarse.colors[k]
    assert coarse.names[parents[fine.index("background")]] == "background"
    assert coarse.names[parents[fine.index("mixed crops")]] == "mixed crops"


def test_parents_are_those_of_the_paper_but_for_winter_rye() -> None:
    """Table VII prints winter rye in the row at which "other spring cereals" begins; it is a winter cereal here."""
    for legend, key in ((LPIS_2, "parent_level_1"), (LPIS_3, "parent_level_2")):
        rows = tables()[f"table_7_level_{legend.name[-1]}"]["rows"]
        printed = [r[key] for r in rows]
        differ = {legend.names[i] for i, p in enumerate(PARENTS[legend.name]) if p != printed[i]}
        assert differ == ({"winter rye"} if legend is LPIS_3 else set())
    assert LPIS_2.names[PARENTS["lpis-3"][LPIS_3.index("winter rye")]] == "other winter cereals"


def test_colours_of_a_level_tell_its_classes_apart() -> None:
    for legend in (COSIA_19, COSIA_15, COSIA_12):
        assert len(set(legend.colors)) == len(legend)
    for legend in (LPIS_2, LPIS_3):
        same = [n for n, c in zip(legend.names, legend.colors, strict=True) if c == "#000000"]
        assert same == ["mixed crops", "background"]
        crops = [c for c in legend.colors if c != "#000000"]
        assert len(set(crops)) == len(crops)
