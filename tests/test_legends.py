from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from landweave.errors import ConfigError, DataError
from landweave.legends import (
    BIGEARTHNET_19,
    BIGEARTHNET_MAP,
    DFC2020_8,
    IGBP_10,
    LEGENDS,
    UNKNOWN,
    Legend,
    load_legend,
)


@pytest.mark.parametrize("name", sorted(LEGENDS))
def test_json_round_trip(name: str) -> None:
    legend = LEGENDS[name]
    assert Legend.from_json(legend.to_json()) == legend
    assert all(len(c) == 7 and c.startswith("#") for c in legend.colors)


def test_the_genuine_legend_file(real: Path) -> None:
    legend = load_legend(real / "terramind/legend.yaml")
    assert legend.names[:2] == ("water", "trees")
    assert legend.ignored == (0, 8)
    assert legend.table()[9] == 7, "clouds are ignored, so rangeland moves up"
    assert legend.table()[8] == UNKNOWN


def test_igbp_simple_agrees_with_the_published_table() -> None:
    # shared/specs/band-adaptation.md A.5: IGBP 1..17 -> DFC2020 1..10
    table = [1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10]
    assert [IGBP_10.table()[i] + 1 for i in range(1, 18)] == table
    assert IGBP_10.table()[0] == UNKNOWN


def test_dfc2020_without_savanna_and_snow() -> None:
    # shared/vectors/losses.json, simple10_to_dfc8_index
    table = DFC2020_8.table()
    assert [table[v] for v in range(1, 11)] == [0, 1, 255, 2, 3, 4, 5, 255, 6, 7]


def test_corine_codes_reach_the_nineteen_classes() -> None:
    table = BIGEARTHNET_MAP.table()
    assert BIGEARTHNET_MAP.names == BIGEARTHNET_19.names
    assert BIGEARTHNET_19.names[table[312]] == "Coniferous forest"
    assert BIGEARTHNET_19.names[table[333]] == "Natural grassland and sparsely vegetated areas"
    assert BIGEARTHNET_19.names[table[523]] == "Marine waters"
    assert table[142] == UNKNOWN
    assert len(table) == 44 + 2, "the 44 CORINE classes, nodata and unclassified"


def test_a_class_name_outside_the_legend_names_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean `Pastures`"):
        BIGEARTHNET_19.index("Pasture")


def test_two_classes_of_one_value_are_refused() -> None:
    with pytest.raises(ConfigError, match="value twice: 1"):
        Legend.from_json({"classes": {1: "a", "1": "b"}})


def test_a_file_that_is_no_legend_says_what_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "l.yaml"
    path.write_text("- water\n- trees\n")
    with pytest.raises(ConfigError, match="mapping with `classes`"):
        load_legend(path)
    path.write_text("name: x\n")
    with pytest.raises(ConfigError, match="not a legend"):
        load_legend(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"classes": {1: {"name": "water", "color": "blue"}}}, "#rrggbb"),
        ({"merge": {5: 7}}, "7 is no class"),
        ({"merge": {2: 1}}, "2 is a class itself"),
    ],
)
def test_a_legend_that_could_not_be_drawn_or_read_is_refused_at_once(change: dict[str, Any], says: str) -> None:
    whole = {"name": "a", "classes": {1: {"name": "water", "color": None}, 2: {"name": "trees", "color": "#358221"}}}
    assert Legend.from_json(whole).colors[0].startswith("#"), "a colour behind an unquoted # is none"
    with pytest.raises(ConfigError, match=says):
        Legend.from_json(whole | change)
