"""The check: every fault in one list, whatever comes first; and suspicions calibrated on genuine tiles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landweave.data import raster
from landweave.data.check import CheckReport, check, check_image, refuse_implausible
from landweave.data.dataset import Dataset
from landweave.data.table import Table, write_table
from landweave.data.table_rows import read_rows
from landweave.data.tile import TileReport, tile
from landweave.errors import DataError
from landweave.grid import Grid
from landweave.legends import LandClass, Legend
from landweave.sample import Image, Sample, collate

LEGEND = Legend("two", (LandClass(1, "water", "#0000ff"), LandClass(2, "crops", "#ffff00")), (0,))
BANDS = ("B02", "B03", "B04", "B08")
RNG = np.random.default_rng(0)


def grid(left: float = 5e5, *, rows: int = 16, metres: float = 10.0, crs: str = "EPSG:32633") -> Grid:
    return Grid(crs, (metres, 0.0, left, 0.0, -metres, 5e6), (rows, rows))


def decibel(shape: tuple[int, ...] = (2, 16, 16)) -> np.ndarray:
    return RNG.normal(-13, 4, shape).clip(-30, -1).astype(np.float32)


def places(folder: Path, changes: Mapping[int, Mapping[str, Any]] | None = None, *, n: int = 6) -> Dataset:
    """A sound table of n places, two a split, with some rows changed."""
    rows = []
    for i in range(n):
        raster.write(folder / f"r{i}.tif", decibel(), grid(5e5 + 1000 * i))
        raster.write(folder / f"l{i}.tif", np.full((1, 16, 16), i % 2 + 1, np.uint8), grid(5e5 + 1000 * i))
        split = ("train", "validation", "test")[i // 2 % 3]
        rows.append({"name": f"p{i}", "split": split, "s1-rtc-gamma0": f"r{i}.tif", "label:lulc": f"l{i}.tif",
                     "group": "", **(changes or {}).get(i, {})})  # fmt: skip
    write_table(folder / "t.parquet", rows, {"lulc": LEGEND}, {"lulc": "map"})
    return Table(path=str(folder / "t.parquet")).open()


def about(texts: list[str], words: str) -> str:
    """The one text that holds these words."""
    found = [t for t in texts if words in t]
    assert len(found) == 1, texts
    return found[0]


def test_a_sound_table_is_ok_and_counted(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = check(places(tmp_path), progress=lambda done, of: steps.append((done, of)))
    assert report.ok
    assert (report.errors, report.warnings) == ([], [])
    assert steps == [(i, 6) for i in range(1, 7)]
    count = report.to_json()["streams"]["s1-rtc-gamma0"]
    assert count["places"] == 6
    assert count["bands"] == {"VV,VH": 6}
    assert count["dtype"] == {"float32": 6}
    assert count["crs"] == {"EPSG:32633": 6}
    assert (count["metres"], count["size"], count["unseen_share"]) == ({"10": 6}, {"16 x 16": 6}, 0)
    assert report.splits == {"train": 2, "validation": 2, "test": 2, "": 0}
    assert report.classes["lulc"]["crops"] == {"train": 1, "validation": 1, "test": 1, "": 0}
    assert json.loads(json.dumps(report.to_json()))["ok"] is True
    text = "\n".join(report.lines())
    assert "6 places (2 train, 2 validation, 2 test), 0 unreadable" in text
    assert "2 bands, float32" in text


def test_it_goes_on_after_every_bad_file_and_names_each(tmp_path: Path) -> None:
    data = places(tmp_path, {4: {"s1-rtc-gamma0": "absent.tif"}}, n=7)
    (tmp_path / "r0.tif").write_text("text")
    whole = (tmp_path / "r1.tif").read_bytes()
    (tmp_path / "r1.tif").write_bytes(whole[:700])
    raster.write(tmp_path / "l2.tif", np.full((1, 16, 16), 9, np.uint8), grid(5e5 + 2000))
    raster.write(tmp_path / "l3.tif", np.full((1, 16, 16), np.nan, np.float32), grid(5e5 + 3000))
    raster.write(tmp_path / "l5.tif", np.full((1, 16, 16), 1, np.uint8), grid(5e5 + 5010))
    report = check(data)
    assert report.unreadable == 6
    assert len(report.errors) == 6
    for name, what in [("r0.tif", "not a raster"), ("r1.tif", "truncated"), ("l2.tif", "value 9"), ("l3.tif", "NaN"),
                       ("absent.tif", "no such file"), ("l5.tif", "other ground")]:  # fmt: skip
        assert name in about(report.errors, what)
    assert not report.ok
    assert report.streams["s1-rtc-gamma0"].places == 1


def test_a_fault_of_a_reader_hides_no_other_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = places(tmp_path)
    read = type(data).read

    def breaks(self: Dataset, index: int) -> Sample:
        if index == 2:
            raise ZeroDivisionError("a bug")
        return read(self, index)

    monkeypatch.setattr(type(data), "read", breaks)
    report = check(data)
    assert report.errors == ["ZeroDivisionError: a bug (place p2)"]
    assert report.streams["s1-rtc-gamma0"].places == 5


def test_many_errors_are_cut_in_the_terminal_only(tmp_path: Path) -> None:
    data = places(tmp_path, n=20)
    for i in range(20):
        (tmp_path / f"r{i}.tif").unlink()
    report = check(data)
    assert len(report.errors) == 20
    assert "... and 8 more errors (--json lists all)" in report.lines()


@pytest.mark.parametrize(
    ("changes", "words", "wrong"),
    [
        ({0: {"split": ""}, 1: {"split": ""}}, "split train is empty", True),
        ({2: {"s1-rtc-gamma0": "r0.tif", "label:lulc": "l0.tif"}}, "validation share ground, first p0 and p2", True),
        ({0: {"group": "north"}, 4: {"group": "north"}}, "1 groups have places in several splits: north", False),
        ({0: {"label:lulc": "l1.tif", "s1-rtc-gamma0": "r1.tif"}}, "never sees: water", False),
        ({3: {"s1-rtc-gamma0.bands": "VH,VV"}}, "has bands VH,VV at 1 places", True),
    ],
    ids=["empty", "ground", "group", "class", "bands"],
)  # fmt: skip
def test_what_only_the_whole_shows(
    tmp_path: Path, changes: Mapping[int, Mapping[str, Any]], words: str, wrong: bool
) -> None:
    report = check(places(tmp_path, changes))
    about(report.errors if wrong else report.warnings, words)
    assert report.ok is not wrong


def test_places_that_only_touch_share_no_ground(tmp_path: Path) -> None:
    data = places(tmp_path)
    for i in range(6):
        raster.write(tmp_path / f"r{i}.tif", decibel(), grid(5e5 + 160 * i))
        raster.write(tmp_path / f"l{i}.tif", np.full((1, 16, 16), i % 2 + 1, np.uint8), grid(5e5 + 160 * i))
    assert check(data).errors == []


def test_sizes_pixel_sizes_and_shifts_that_differ(tmp_path: Path) -> None:
    data = places(tmp_path, {i: {"dem": f"d{i}.tif"} for i in range(6)})
    for i in range(6):
        raster.write(
            tmp_path / f"d{i}.tif", np.ones((1, 16, 16), np.int16), grid(5e5 + 1000 * i + (30 if i == 3 else 0))
        )
    raster.write(tmp_path / "r5.tif", decibel((2, 8, 8)), grid(5e5 + 5000, rows=8, metres=20))
    raster.write(tmp_path / "l5.tif", np.full((1, 16, 16), 1, np.uint8), grid(5e5 + 5000))
    report = check(data)
    assert "p5" in about(report.errors, "s1-rtc-gamma0 has size 8 x 8 at 1 places")
    about(report.warnings, "s1-rtc-gamma0 has metres 20")
    assert "p3" in about(report.warnings, "lies up to 3 pixels")


def image(stream: str, data: np.ndarray, **more: Any) -> Image:
    bands = {2: ("VV", "VH"), 4: BANDS, 1: ("elevation",), 3: ("R", "G", "B")}[data.shape[-3]]
    return Image.of(stream, bands, data, **more)


@pytest.mark.parametrize(
    ("stream", "data", "more", "words"),
    [
        ("s1-rtc-gamma0", 10 ** (decibel() / 10), {}, "not dB"),
        ("s1-rtc-gamma0-linear", decibel(), {}, "not linear power"),
        ("s1-grd-sigma0", RNG.integers(20, 900, (2, 16, 16)).astype(np.uint16), {}, "not dB"),
        ("s2-l2a", RNG.uniform(0.01, 0.4, (4, 16, 16)).astype(np.float32), {}, "scaled twice"),
        ("s2-l2a", RNG.integers(100, 4000, (4, 16, 16)).astype(np.uint16), {"scale": 1.0}, "not scaled"),
        ("dem", np.full((1, 16, 16), -32768, np.int16), {}, "outside -12000 to 9000 metre"),
    ],
)
def test_units_mixed_up_are_refused(stream: str, data: np.ndarray, more: dict[str, Any], words: str) -> None:
    odd = image(stream, data, **more)
    with pytest.raises(DataError, match=words) as caught:
        refuse_implausible(stream, odd, "somewhere.tif")
    assert str(caught.value).startswith("somewhere.tif: ")
    assert caught.value.fix
    assert words in check_image(stream, odd)[0]
    with pytest.raises(DataError, match=words):  # a batch is judged place by place
        refuse_implausible(stream, collate([Sample({stream: odd}, {}, str(i)) for i in range(2)]).images[stream], "b")


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        ("s1-rtc-gamma0", decibel()),
        ("s1-rtc-gamma0-linear", 10 ** (decibel() / 10)),
        ("s2-l2a", RNG.integers(100, 4000, (4, 16, 16)).astype(np.uint16)),
        ("s2-l2a", RNG.integers(6000, 11000, (4, 16, 16)).astype(np.int16)),  # snow
        ("s2-l2a", RNG.integers(1, 60, (4, 16, 16)).astype(np.int16)),  # deep water
        ("dem", RNG.integers(-5, 4000, (1, 16, 16)).astype(np.int16)),
        ("rgb", RNG.integers(0, 256, (3, 16, 16)).astype(np.uint8)),
    ],
)
def test_sound_values_are_left_in_peace(stream: str, data: np.ndarray) -> None:
    sound = image(stream, data)
    assert check_image(stream, sound) == []
    refuse_implausible(stream, sound, "x")
    refuse_implausible(stream, sound.unseen(), "x")
    dead = data.copy().astype(np.float32)
    dead[..., 0, 0] = np.nan
    refuse_implausible(stream, image(stream, dead), "x")


def test_an_alpha_channel_under_the_name_of_a_band_is_warned_of() -> None:
    def four(colours: np.ndarray, fourth: np.ndarray) -> Image:
        return Image.of("aerial", ["R", "G", "B", "N"], np.concatenate([colours, fourth[None]]).astype(np.uint8))

    colours = RNG.integers(1, 255, (3, 16, 16))
    for fourth in (np.full((16, 16), 255), RNG.choice([0, 255], (16, 16))):
        (told,) = check_image("aerial", four(colours, fourth))
        assert told.startswith("N looks like an alpha channel")
        assert "gdal_translate -b 1 -b 2 -b 3 IN OUT" in told
    for fourth in (colours[0], colours[0] * 0):  # infrared; and dead infrared, which is no alpha
        assert not check_image("aerial", four(colours, fourth))
    saturated = four(colours * 0, np.full((16, 16), 255))
    assert not check_image("aerial", saturated), "beside dead bands"


def test_unseen_values_count_for_nothing() -> None:
    data = decibel()
    mask = np.ones((1, 16, 16), bool)
    data[:, :8], mask[:, :8] = 9e9, False
    assert check_image("s1-rtc-gamma0", image("s1-rtc-gamma0", data, pixels_seen=mask)) == []


def test_odd_but_bearable_values_are_warned_of() -> None:
    few = RNG.integers(100, 4000, (4, 64, 64)).astype(np.uint16)
    few[0, 0, :9] = 65535
    assert "outside" in check_image("s2-l2a", image("s2-l2a", few))[0]
    refuse_implausible("s2-l2a", image("s2-l2a", few), "x")
    empty = few.clip(0, 4000)
    empty[:, :4] = 0
    assert "zero in every band: 6.2%" in check_image("s2-l2a", image("s2-l2a", empty))[0]
    unit = RNG.uniform(0, 1, (3, 16, 16)).astype(np.float32)
    assert "all within 0 to 1" in check_image("rgb", image("rgb", unit))[0]


def tiles(folder: Path, real: Path) -> Path:
    """The table of the five tiles."""
    base, out = real / "terramind", folder / "places.parquet"
    images = {"s2-l2a": "S2L2A", "s1-rtc-gamma0": "S1RTC", "dem": "DEM"}
    tile(
        {stream: str(base / name / "*.tif") for stream, name in images.items()},
        {"lulc": str(base / "LULC/*.tif")},
        legend=base / "legend.yaml",
        size=112,
        out=out,
    )
    return out


def with_offset(table: Path, **offset: float) -> Dataset:
    """The same table with an offset for tiles whose names begin so."""
    rows = read_rows(table)
    body = [{c: v[i] for c, v in rows.columns.items()} for i in range(len(rows))]
    for row in body:
        row["s2-l2a.offset"] = offset.get(f"t{row['name'][:4]}")
    write_table(table.with_name("other.parquet"), body, rows.legends, rows.kinds)
    return Table(path=str(table.with_name("other.parquet"))).open()


def test_classes_at_no_place_share_a_line() -> None:
    counts = {"water": {"train": 3, "": 1}, "snow": {"train": 0, "": 0}, "bare ground": {"train": 0, "": 0}}
    lines = CheckReport("t", 4, classes={"lulc": counts}, unlabelled={"lulc": 0}).lines()
    assert "    water: 3 train, 1 unused" in lines
    assert "    at no place: snow, bare ground" in lines
    assert not any(line.endswith(": ") for line in lines)
    told = TileReport("t.parquet", 8, 1, classes={"lulc": counts}, unlabelled={"lulc": 0}).lines()
    assert "    at no place: snow, bare ground" in told
    assert "    water: 3 train" in told


def test_real_tiles_the_one_with_the_offset_is_found_until_it_is_subtracted(tmp_path: Path, real: Path) -> None:
    table = tiles(tmp_path, real)
    report = check(Table(path=str(table)).open())
    assert report.errors == []
    assert "S2L2A/433D_629L_3_1.tif" in about(report.warnings, "suspected +1000 offset")
    mend = next(w for w in report.warnings if "suspected +1000" in w).partition("fix: ")[2]
    assert "1 of 5 images only" in mend  # data.offset, or --offset for a glob, would spoil the other four
    assert "column s2-l2a.offset of its rows" in mend
    assert "--append --offset s2-l2a=-1000" in mend
    assert report.streams["s2-l2a"].values == 5 * 224 * 224 * 12
    assert len(report.streams["dem"].crs) == 5
    mended = check(with_offset(table, t433D=-1000))
    assert mended.errors == []
    assert [w for w in mended.warnings if "offset" in w] == []
    assert set(mended.streams["s2-l2a"].offset) == {"0", "-0.1"}
    wrong = check(with_offset(table, t637U=-1000, t433D=-2000)).warnings
    found = [w for w in wrong if "below zero in bulk" in w]
    assert len(found) == 2
    assert {"433D", "637U"} == {w.partition("S2L2A/")[2][:4] for w in found}


def suspects(files: list[Path], stream: str, **more: Any) -> set[str]:
    found = {f.name: check_image(stream, raster.read(f), **more) for f in files}
    return {name for name, texts in found.items() if any("+1000" in t for t in texts)}


def test_real_offsets_of_both_levels_and_of_satclip(real: Path) -> None:
    l2a = sorted((real / "terramind/S2L2A").iterdir())
    l1c = sorted((real / "terramind/S2L1C").iterdir())
    order = (*(f"B{i:02d}" for i in range(1, 9)), "B8A", "B09", "B10", "B11", "B12")
    patches = sorted((real / "satclip-s2").rglob("*.tif"))
    assert suspects(l2a, "s2-l2a") == {"433D_629L_3_1.tif"}
    assert {n[:4] for n in suspects(l1c, "s2-l1c", bands=order)} == {"282D", "433D", "609U"}
    assert suspects(patches, "s2-l2a") == {"patch_445.tif", "patch_8845.tif", "patch_74721.tif"}
    assert all(check_image("s1-rtc-gamma0", raster.read(f)) == [] for f in (real / "terramind/S1RTC").iterdir())


def test_real_product_names_tell_the_baseline(tmp_path: Path, real: Path) -> None:
    scenes = sorted((real / "formats/major-tom/S2L2A").glob("*/*/*"))
    rows = [{"name": s.name, "split": "train", "s2-l2a": str(s)} for s in scenes]
    write_table(tmp_path / "t.parquet", rows, {}, {})
    report = check(Table(path=str(tmp_path / "t.parquet")).open())
    assert "T33NZA" in about(report.warnings, "the name says baseline 0400")
    assert report.ok
    mended = check(Table(path=str(tmp_path / "t.parquet"), offset={"s2-l2a": -1000}).open())
    assert [w for w in mended.warnings if "+1000" in w] == []
    assert "T48QUE" in about(mended.warnings, "s2-l2a@10 below zero in bulk")


def test_real_grids_that_do_not_quite_fit_are_warned_of(tmp_path: Path, real: Path) -> None:
    folder = next((real / "formats/ssl4eo-s12/s2a/0000200").iterdir())
    write_table(tmp_path / "t.parquet", [{"name": "p", "split": "train", "s2-l2a": str(folder)}], {}, {})
    report = check(Table(path=str(tmp_path / "t.parquet")).open())
    assert report.errors == []
    about(report.warnings, "s2-l2a@60 lies up to 2.5 pixels of s2-l2a@10")
