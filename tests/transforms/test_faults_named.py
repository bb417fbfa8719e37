"""Settings of faults without torch: schedules, the thesis's band sets, faults by name, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from landweave.config import parse, read_yaml, to_yaml
from landweave.errors import ConfigError
from landweave.sensors import SENSORS
from landweave.transforms.faults import (
    LOOK,
    SETS,
    Absent,
    DeadColumns,
    Fault,
    Faults,
    Gain,
    Gradual,
    Growing,
    Holes,
    Missing,
    Noise,
    Saturation,
    Shift,
    Shuffle,
    Staircase,
    Stripes,
    Swap,
    label,
    named,
)

L1C = {"s2-l1c": SENSORS["s2-l1c"].band_names}
L2A = {"s2-l2a": SENSORS["s2-l2a"].band_names}


def test_schedules_at_their_ends_and_between() -> None:
    gradual = Gradual(start=0.2, end=0.8, epochs=4)
    assert [gradual.at(e) for e in (0, 1, 2, 3, 4, LOOK)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    stairs = Staircase()  # 15 epochs, 5 levels of 3
    expected = [0.2 + 0.15 * (e // 3) for e in range(15)]
    assert [stairs.at(e) for e in range(15)] == pytest.approx(expected)
    assert stairs.at(15) == stairs.at(LOOK) == pytest.approx(0.8)
    uneven = [Staircase(epochs=7, steps=3, start=0, end=1).at(e) for e in range(7)]
    assert uneven == [0, 0, 0, 0.5, 0.5, 1, 1]
    assert Gradual(epochs=1).at(0) == 0.8
    assert Missing(ratio=0.4).ratio.at(7) == 0.4
    growing = Growing(start=1, epochs=7)
    assert [growing.at(e, 4) for e in range(9)] == [1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert Growing(start=2, end=9, epochs=2).at(LOOK, 5) == 5
    down = Gradual(start=0.8, end=0.2, epochs=3)
    assert [down.at(e) for e in range(4)] == pytest.approx([0.8, 0.5, 0.2, 0.2])


def test_the_twelve_sets_of_the_thesis_in_both_readings() -> None:
    assert list(SETS) == ["petcu2024-positional", "petcu2024-names"]
    for sets in SETS.values():
        assert next(iter(sets)) == "none"
        assert len(sets) == 12
        assert sets["none"] == ()
        for text, bands in sets.items():
            assert text == "none" or len(bands) == len(text.split()) == len(set(bands))
            assert set(bands) <= set(SENSORS["s2-l1c"].band_names)
    positional, names = SETS.values()
    assert positional["B4 B8 B9 B13"] == ("B04", "B08", "B8A", "B12")  # "red, NIR (8A), SWIR-2", section A.7
    assert names["B4 B8 B9 B13"] == ("B04", "B08", "B09", "B8A")
    assert positional["B8 B9 B10 B11 B12"] == ("B08", "B8A", "B09", "B10", "B11")
    assert names["B8 B9 B10 B11 B12"] == ("B08", "B09", "B10", "B11", "B12")
    assert (positional["B11"], names["B11"]) == (("B10",), ("B11",))
    assert [s for s in names if positional[s] == names[s]] == ["none", "B2", "B8", "B2 B8", "B2 B3 B4"]


def test_the_positional_reading_is_the_position_in_the_order_of_sen12ms() -> None:
    order = SENSORS["s2-l1c"].band_names  # B8A at index 8, as SEN12MS and SatCLIP have it
    for text, bands in SETS["petcu2024-positional"].items():
        if text != "none":
            assert bands == tuple(order[int(word[1:]) - 1] for word in text.split())


def test_the_sets_are_those_of_the_papers_tables(real: Path) -> None:
    tables = json.loads((real.parent / "specs" / "tables" / "band-adaptation.json").read_text())
    for table in ("table_4_3", "table_4_4"):
        assert [row["label"] for row in tables[table]["rows"]] == list(SETS["petcu2024-names"])


ONE: dict[str, Fault] = {
    "missing:B02,B08@0.9": Missing(bands=("B02", "B08"), ratio=0.9),
    "missing@0.5:model": Missing(ratio=0.5, at="model"),
    "missing:s2-l2a:B02": Missing(sensor="s2-l2a", bands=("B02",)),
    "missing:s1-grd-sigma0": Missing(sensor="s1-grd-sigma0"),
    "petcu2024-names/B2-B4-B8-B11@0.9": Missing(bands=("B02", "B04", "B08", "B11"), ratio=0.9),
    "petcu2024-positional/B2 B11": Missing(bands=("B02", "B10")),
    "petcu2024-names/B11@1.0:model": Missing(bands=("B11",), at="model"),
    "dead:B08": Missing(bands=("B08",), known=False),
    "dead@0.01": Missing(ratio=0.01, known=False),
    "absent:s1-grd-sigma0": Absent(sensor="s1-grd-sigma0"),
    "absent": Absent(),
    "gain:B08*1.3": Gain(bands=("B08",), gain=1.3),
    "gain:s1-rtc-gamma0:VH*.5": Gain(sensor="s1-rtc-gamma0", bands=("VH",), gain=0.5),
    "offset+1000": Gain(number=1000),
    "offset:B08-200": Gain(bands=("B08",), number=-200),
    "swap:B02,B08": Swap(bands=("B02", "B08")),
    "shuffle:s2-l2a": Shuffle(sensor="s2-l2a"),
    "shift:B08@1.5": Shift(bands=("B08",), pixels=1.5),
    "noise:B08@0.4": Noise(bands=("B08",), level=0.4),
    "holes@0.5": Holes(cover=(0.5, 0.5)),
    "stripes:B08@0.3": Stripes(bands=("B08",), strength=0.3),
    "gaps@0.25": Stripes(gap=True, known=True, period=4),
    "gaps@0.3": Stripes(gap=True, known=True, period=10, width=3),
    "gaps@0.9": Stripes(gap=True, known=True, period=10, width=9),
    "dead-columns:B08@0.1": DeadColumns(bands=("B08",), share=0.1),
    "saturation@0.2": Saturation(share=0.2),
}


@pytest.mark.parametrize("text", ONE)
def test_faults_by_name(text: str) -> None:
    assert named(text) == named(f" {text} ") == Faults(faults=(ONE[text],))


@pytest.mark.parametrize("size", [[1, 9], {"kind": "growing", "end": 9}, {"kind": "growing", "start": 3}])
def test_more_bands_than_there_are_cannot_be_hidden(size: object) -> None:
    faults = Faults.model_validate({"faults": [{"kind": "missing", "bands": ["B02", "B08"], "size": size}]})
    with pytest.raises(ConfigError, match=r"it hides up to \d bands, of 2"):
        faults.require({"s2-l2a": ("B02", "B03", "B08")})


def test_none_is_no_fault() -> None:
    assert not named("petcu2024-names/none@0.9")
    assert bool(named("missing"))
    assert not Faults(faults=(Missing(),), complete=1)


def test_faults_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "winter day.yaml"
    file.write_text(
        "complete: 0.2\nfaults:\n- {kind: holes, cover: [0.2, 0.6]}\n- {kind: missing, ratio: {kind: gradual}}\n"
    )
    found = named(str(file))
    assert found == Faults(faults=(Holes(cover=(0.2, 0.6)), Missing(ratio=Gradual())), complete=0.2)
    assert label(str(file)) == "winter day"
    assert label(" missing:B02 ") == "missing:B02"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missin:B02", "did you mean `missing`"),
        ("petcu2024-name/B2", "did you mean `petcu2024-names`"),
        ("petcu2024-names/B2-B9", "has no set `B2 B9`"),
        ("petcu2024-names/B2@x", "`x` after @ is not a number"),
        ("missing:B08@1.2", "ratio"),
        ("gaps@5", "gaps are a share of the lines, and this is 5"),
        ("gaps@0", "gaps are a share of the lines, and this is 0"),
        ("missing:B14", "B14"),
        ("missing:s1-grd-sigma0:B02", "s1-grd-sigma0 has no band `B02`"),
        ("absent:s1-grd-sigma", "did you mean `s1-grd-sigma0`"),
        ("absent:B08", "kind=missing"),
        ("gain:B08@1.3", "not how `gain`"),
        ("gain+3", "not how `gain`"),
        ("gain*0", "gain"),
        ("offset*3", "not how `offset`"),
        ("swap:B02,B08@2", "takes no number"),
        ("missing@0.5:nativ", "native"),
        ("nosuch.yaml", "no such file"),
        ("faults/winter.json", "YAML"),
        ("", "no fault"),
    ],
)  # fmt: skip
def test_wrong_names_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")) as caught:
        named(text)
    assert len(str(caught.value).splitlines()) <= 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "missing", "size": [3, 1]}, "low <= high"),
        ({"kind": "missing", "size": [1, 2, 3]}, r"size is \[1, 2, 3\]: two bounds"),
        ({"kind": "missing", "size": 3}, "faults.0.size`: settings"),
        ({"kind": "missing", "ratio": {"kind": "gradua"}}, "gradual"),
        ({"kind": "missing", "ratio": {"kind": "staircase", "steps": 20}}, "20 steps do not fit 15 epochs"),
        ({"kind": "missing", "size": {"kind": "growing", "start": 3, "end": 2}}, "fewer"),
        ({"kind": "holes", "cover": [0.5, 1.2]}, "cover"),
        ({"kind": "stripes", "width": 10}, "nothing between them"),
        ({"kind": "gain", "sensor": "dem", "number": 1000}, "for reflectance"),
        ({"kind": "noise", "sensor": "s2-l2b"}, "did you mean `s2-l2a`"),
        ({"kind": "cloud"}, "holes"),
        ({"kind": "noise", "levle": 1}, "did you mean `level`"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        parse(Faults, {"faults": [wrong]})


def test_a_band_that_the_sensor_lacks_is_named() -> None:
    """Sentinel-2 L2A has no B10: a set with it is refused there, and nothing is left out in silence."""
    both = named("petcu2024-names/B8-B9-B10-B11-B12")
    both.require(L1C)
    with pytest.raises(ConfigError, match="s2-l2a has no B10 here, but B01"):
        both.require(L2A)
    with pytest.raises(ConfigError, match="s2-l2a has no B08 here, but B02, B04"):
        named("missing:B02,B08").require({"s2-l2a": ("B02", "B04")})
    with pytest.raises(ConfigError, match="no sensor `s1-grd-sigma0`; there is s2-l2a"):
        named("absent:s1-grd-sigma0").require(L2A)
    with pytest.raises(ConfigError, match="up to 5 bands, of 2"):
        Faults(faults=(Missing(bands=("B02", "B08"), size=(1, 5)),)).require(L2A)
    with pytest.raises(ConfigError, match="only sensor"):
        named("absent").require(L2A)
    with pytest.raises(ConfigError, match="no sensor that it could strike; there is s1-rtc-gamma0"):
        named("offset+1000").require({"s1-rtc-gamma0": ("VV", "VH")})


def test_bands_find_every_sensor_that_has_them_all() -> None:
    there = {**L2A, "s2-l1c": ("B02", "B03"), "s1-rtc-gamma0": ("VV", "VH")}
    assert Missing(bands=("B03", "B02")).chosen(there) == {"s2-l2a": ("B03", "B02"), "s2-l1c": ("B03", "B02")}
    assert Missing(bands=("nir",)).chosen(there) == {"s2-l2a": ("B08",)}
    assert set(Missing().chosen(there)) == set(there)
    assert set(Holes().chosen(there)) == {"s2-l2a", "s2-l1c"}


def test_settings_go_through_yaml_and_back(tmp_path: Path) -> None:
    faults = Faults(faults=tuple(ONE.values()), complete=0.25)
    file = tmp_path / "faults.yaml"
    file.write_text(to_yaml(faults))
    raw, _ = read_yaml(file)
    assert parse(Faults, raw) == faults
    assert raw["faults"][0]["ratio"] == 0.9, "a constant share stays a number"
    pair = Faults(faults=(Missing(size=(1, 3)),))
    assert pair.model_dump(mode="json")["faults"][0]["size"] == [1, 3]
    assert Faults.model_validate(pair.model_dump()) == pair
    stairs = Faults(faults=(Missing(ratio=Staircase(steps=3), size=Growing()),))
    assert Faults.model_validate(json.loads(stairs.model_dump_json())) == stairs
    schema = Faults.model_json_schema()
    assert "number" in json.dumps(schema["$defs"]["Missing"]["properties"]["ratio"])


def test_lines_say_what_differs_from_the_defaults() -> None:
    assert named("missing:B02,B08@0.9").lines() == ["missing (bands B02+B08, ratio 0.9)"]
    faults = Faults(faults=(Missing(ratio=Gradual()), Noise()), complete=0.2)
    assert faults.lines() == [
        "missing (ratio kind=gradual start=0.2 end=0.8 epochs=15)",
        "noise",
        "20% of places complete",
    ]
    assert Faults(faults=(Missing(size=(1, 3)), Holes(cover=(0.2, 0.5)))).lines() == [
        "missing (size 1 to 3)",
        "holes (cover 0.2 to 0.5)",
    ]
    assert Faults(complete=0.2).lines() == []


def test_settings_load_without_torch() -> None:
    code = "import sys, landweave.transforms.faults as f; f.named('offset+1000'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
