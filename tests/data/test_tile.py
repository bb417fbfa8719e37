"""Tiling: whole windows of aligned rasters, splits that never touch, the same ground on one side."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landweave.data import raster
from landweave.data.table import PlaceTable, Table
from landweave.data.tile import TileReport, tile
from landweave.data.tile_plan import UNUSED, Placed, clear_conflicts, lay_out, next_split, settle
from landweave.errors import ConfigError, DataError, GridError, LandweaveError
from landweave.grid import Grid

UTM = "EPSG:32633"
SHARES = (0.6, 0.2, 0.2)
LEGEND = "name: two\nclasses: {1: water, 2: trees, 3: sand}\nignore: [0]\n"


def grid(rows: int, cols: int, *, metres: float = 10.0, left: float = 5e5, top: float = 5e6, crs: str = UTM) -> Grid:
    return Grid(crs, (metres, 0.0, left, 0.0, -metres, top), (rows, cols))


def scene(folder: Path, stem: str, where: Grid, *, seed: int = 0) -> None:
    """A radar image and a label raster of one ground."""
    rng = np.random.default_rng(seed)
    values = rng.normal(-12, 3, (2, *where.shape)).astype(np.float32)
    raster.write(folder / "s1" / f"{stem}.tif", values, where)
    raster.write(folder / "lulc" / f"{stem}.tif", rng.integers(1, 4, (1, *where.shape)).astype(np.uint8), where)
    (folder / "legend.yaml").write_text(LEGEND)


def cut(folder: Path, *, stem: str = "*", size: int = 8, **more: Any) -> tuple[TileReport, PlaceTable]:
    out = folder / "places.parquet"
    report = tile(
        {"s1-rtc-gamma0": str(folder / "s1" / f"{stem}.tif")},
        {"lulc": str(folder / "lulc" / f"{stem}.tif")},
        legend=folder / "legend.yaml",
        size=size,
        out=out,
        **more,
    )
    return report, Table(path=str(out)).open()


def refusal(kind: type[LandweaveError], action: Any, *given: Any, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        action(*given, **more)
    return str(caught.value)


def gaps(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float]:
    """Gaps between two boxes along x and y; negative where they overlap along that axis."""
    return max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3])


def too_near(boxes: list[tuple[float, ...]], splits: list[Any], buffer: float) -> list[tuple[int, int]]:
    """Pairs in different splits nearer than the buffer, by plain loops."""
    used = [i for i, s in enumerate(splits) if s not in ("", UNUSED)]
    return [
        (i, j)
        for i, j in product(used, used)
        if i < j and splits[i] != splits[j] and all(g < buffer - 1e-6 for g in gaps(boxes[i], boxes[j]))
    ]


def boxes_of(table: PlaceTable) -> list[tuple[float, ...]]:
    return [table.bounds(i)[0] or () for i in range(len(table))]


def test_windows_cover_the_raster_and_read_back_pixel_for_pixel(tmp_path: Path) -> None:
    scene(tmp_path, "a", grid(20, 33))
    report, table = cut(tmp_path)
    assert (report.places, report.edge_share) == (2 * 4, pytest.approx(1 - 8 * 64 / 660))
    whole = raster.read(tmp_path / "s1/a.tif").data
    codes = raster.read(tmp_path / "lulc/a.tif").data[0]
    for i, (r, c) in enumerate(product(range(2), range(4))):
        sample = table.read(i)
        at = np.s_[..., r * 8 : r * 8 + 8, c * 8 : c * 8 + 8]
        assert sample.name == f"a_{r * 8}_{c * 8}"
        assert np.array_equal(sample.images["s1-rtc-gamma0"].data[0], whole[at])
        assert np.array_equal(sample.labels["lulc"].values + 1, codes[at])
    assert not Path(table.rows.text("s1-rtc-gamma0", 0)).is_absolute()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 14), cols=st.integers(1, 14), gap=st.integers(0, 2), block=st.none() | st.integers(1, 5),
    seed=st.integers(0, 99), shares=st.sampled_from([SHARES, (0.8, 0.0, 0.2), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)]),
)  # fmt: skip
def test_no_two_splits_lie_within_the_buffer(
    rows: int, cols: int, gap: int, block: int | None, seed: int, shares: tuple[float, float, float]
) -> None:
    boxes = [(float(c), float(r), c + 1.0, r + 1.0) for r in range(rows) for c in range(cols)]
    layout = lay_out((rows, cols), (gap, gap), shares=shares, block=block, rng=np.random.default_rng(seed))
    wanted = {s for s in range(3) if shares[s] > 0}
    if layout is None:
        strips = max(rows, cols) >= 2 * gap + 3 if len(wanted) == 3 else max(rows, cols) >= gap + 2
        assert not strips
        return
    kept = clear_conflicts(layout.split.ravel(), np.array(boxes), (gap, gap))
    assert too_near(boxes, kept.tolist(), gap) == []
    assert wanted <= set(kept.tolist())
    for region in np.unique(layout.region):
        assert len(np.unique(layout.split[layout.region == region])) == 1  # a group is on one side


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_new_windows_agree_with_old_ones_wherever_they_lie(data: st.DataObject) -> None:
    def some(n: int) -> tuple[list[tuple[float, ...]], np.ndarray]:
        corners = data.draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=n, max_size=n))
        found = [(float(x), float(y), x + 2.0, y + 2.0) for x, y in corners]
        return found, np.array(data.draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)), np.int8)

    buffer = data.draw(st.sampled_from([0.0, 1.0, 2.0]))
    old, first = some(data.draw(st.integers(1, 8)))
    kept = clear_conflicts(first, np.array(old), (buffer, buffer))
    new, second = some(data.draw(st.integers(1, 8)))
    names = [f"old{i}" for i in range(len(old))]
    done = settle(
        second, np.array(new), [""] * len(new), buffer=(buffer, buffer), old=Placed(np.array(old), kept, names)
    )
    assert too_near(old + new, [*kept.tolist(), *done.split.tolist()], buffer) == []
    for i, box in enumerate(new):
        on = {int(kept[j]) for j, o in enumerate(old) if all(g < 0 for g in gaps(box, o))}
        if on:
            assert done.groups[i].startswith("old")
            assert done.split[i] in {UNUSED, *on}


def test_ground_with_a_past_goes_before_a_fresh_proposal() -> None:
    old = Placed(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([0], np.int8), ["north"])
    new = np.array([[1.0, 0.0, 3.0, 2.0], [4.0, 0.0, 6.0, 2.0]])  # the second is near the first, not near the old one
    done = settle(np.array([2, 2], np.int8), new, ["a", "b"], buffer=(2.0, 2.0), old=old)
    assert done.split.tolist() == [0, UNUSED]
    assert done.groups == ["north", "b"]


def test_a_large_raster_is_dealt_out_in_blocks_near_the_shares() -> None:
    layout = lay_out((60, 60), (1, 1), shares=SHARES, block=None, rng=np.random.default_rng(0))
    assert layout is not None
    assert len(np.unique(layout.region)) == 100
    boxes = np.array([(c, r, c + 1.0, r + 1.0) for r in range(60) for c in range(60)])
    kept = clear_conflicts(layout.split.ravel(), boxes, (1, 1))
    share = [(kept == s).mean() for s in range(3)]
    assert share[0] > 0.35
    assert min(share[1:]) > 0.12
    assert (kept == UNUSED).mean() < 0.35


def test_every_raster_of_some_size_gives_each_split_and_the_seed_decides(tmp_path: Path) -> None:
    for n, stem in enumerate("abc"):
        scene(tmp_path, stem, grid(32, 32, left=5e5 + 1e4 * n))
    report, table = cut(tmp_path)
    for stem in "abc":
        found = [p.split for p in table.places if p.name.startswith(stem)]
        assert {"train", "validation", "test"} <= set(found)
    assert too_near(boxes_of(table), [p.split for p in table.places], 80) == []
    assert report.unused == sum(p.split == "" for p in table.places) > 0
    assert sum(report.splits.values()) + report.unused == report.places == 48
    again = cut(tmp_path)[1].places
    assert again == table.places
    assert cut(tmp_path, seed=1)[1].places != table.places
    sides: dict[str, set[str]] = {}
    for p in table.places:
        sides.setdefault(p.group, set()).add(p.split)
    assert all(len(s - {""}) <= 1 for s in sides.values())


def test_a_second_date_appended_stays_on_the_side_of_its_ground(tmp_path: Path) -> None:
    scene(tmp_path, "first", grid(64, 64))
    scene(tmp_path, "second", grid(64, 64, left=5e5 + 40), seed=1)  # half a window further
    cut(tmp_path, stem="first")
    report, table = cut(tmp_path, stem="second", append=True)
    assert (len(table), report.on_old_ground) == (128, 64)
    assert too_near(boxes_of(table), [p.split for p in table.places], 80) == []
    assert sum(p.split == "train" for p in table.places[64:]) > 5
    both = cut(tmp_path)[1]  # the same in one call
    assert too_near(boxes_of(both), [p.split for p in both.places], 80) == []
    assert "stand twice" in refusal(DataError, cut, tmp_path, stem="first", append=True)


def test_ground_in_a_neighbouring_zone_is_known_as_the_same(tmp_path: Path) -> None:
    here = grid(32, 32, left=7e5)
    xs, ys = raster.transform_points([7e5], [5e6], UTM, target="EPSG:32634")
    scene(tmp_path, "a", here)
    scene(tmp_path, "b", grid(32, 32, left=xs[0], top=ys[0], crs="EPSG:32634"))
    cut(tmp_path, stem="a", split="test")
    report, table = cut(tmp_path, stem="b", append=True)
    assert report.on_old_ground >= 12
    assert {p.split for p in table.places[16:] if p.split} == {"test"}


def test_ground_out_of_reach_of_a_projection_is_no_neighbour(tmp_path: Path) -> None:
    scene(tmp_path, "a", grid(32, 32, left=617_300, top=9_625_100, crs="EPSG:32736"))  # Kenya, seen from Brazil
    scene(tmp_path, "b", grid(32, 32, left=790_230, top=7_198_100, crs="EPSG:32722"))
    cut(tmp_path, stem="a", split="test")
    report, table = cut(tmp_path, stem="b", split="train", append=True)
    assert (report.on_old_ground, len(table)) == (0, 32)


def test_scenes_go_whole_into_splits_and_into_the_one_asked_for(tmp_path: Path) -> None:
    for n in range(5):
        scene(tmp_path, f"t{n}", grid(16, 16, left=5e5 + 1e4 * n))
    table = cut(tmp_path, split_by="file")[1]
    by_file = {s: {p.split for p in table.places if p.name.startswith(s)} for s in ("t0", "t1", "t2", "t3", "t4")}
    assert sorted(s for sides in by_file.values() for s in sides) == [
        "test", "train", "train", "train", "validation"]  # fmt: skip
    cut(tmp_path, stem="t0", split="test")
    table = cut(tmp_path, stem="t1", append=True, group="north")[1]
    assert {p.split for p in table.places[4:]} == {"train"}
    assert {p.group for p in table.places[4:]} == {"north"}
    table = cut(tmp_path, stem="t2", append=True, group="north")[1]
    assert {p.split for p in table.places[8:]} == {"train"}
    scene(tmp_path, "t0b", grid(16, 16), seed=3)
    text = refusal(DataError, cut, tmp_path, stem="t0b", append=True, split="train")
    assert "already in test" in text


def test_whole_rasters_fill_the_emptiest_split() -> None:
    counts = [0, 0, 0]
    for left in range(10, 0, -1):
        counts[next_split(counts, SHARES, 1, left)] += 1
    assert counts == [6, 2, 2]
    counts = [0, 0, 0]
    for left in (3, 2, 1):
        counts[next_split(counts, SHARES, 1, left)] += 1
    assert counts == [1, 1, 1]


def test_classes_by_share_of_the_known_pixels(tmp_path: Path) -> None:
    scene(tmp_path, "a", grid(8, 32))
    codes = np.zeros((1, 8, 32), np.uint8)
    codes[0, :, :8] = 1
    codes[0, 0, :2] = 2  # 2 of 64
    codes[0, 0, 8:10], codes[0, 0, 10] = 2, 3  # 2 and 1 of 3 known
    codes[0, :, 24:] = 3
    raster.write(tmp_path / "lulc/a.tif", codes, grid(8, 32))
    report, table = cut(tmp_path, kind="multilabel", min_share=0.05)
    assert [table.classes(i, "lulc") for i in range(4)] == [(0,), (1, 2), None, (2,)]
    assert report.unlabelled == {"lulc": 1}
    assert "1 have no known pixel of lulc" in "\n".join(report.lines())
    assert [table.classes(i, "lulc") for i in range(4)] != [
        cut(tmp_path, kind="multilabel", min_share=0.01)[1].classes(i, "lulc") for i in range(4)]  # fmt: skip
    assert cut(tmp_path)[1].classes(2, "lulc") is None


def test_coarser_bands_are_cut_by_whole_pixels_or_not_at_all(tmp_path: Path) -> None:
    fine, coarse = grid(24, 24), grid(4, 4, metres=60)
    raster.write(tmp_path / "S_B02.tif", np.ones((1, 24, 24), np.uint16), fine)
    raster.write(tmp_path / "S_B01.tif", np.arange(16, dtype=np.uint16).reshape(1, 4, 4), coarse)
    (tmp_path / "scene").mkdir()
    for name in ("S_B02.tif", "S_B01.tif"):
        (tmp_path / name).rename(tmp_path / "scene" / name)
    ask: dict[str, Any] = {"images": {"s2-l2a": str(tmp_path / "scene")}, "labels": {}, "out": tmp_path / "t.parquet"}
    text = refusal(GridError, tile, **ask, size=8)
    assert "S_B01.tif" in text
    assert "--size 6" in text
    tile(**ask, size=12, split="train", offset={"s2-l2a": -1000})
    table = Table(path=str(tmp_path / "t.parquet")).open()
    images = table.read(1).images
    assert images["s2-l2a@60"].data.flatten().tolist() == [2, 3, 6, 7]
    assert images["s2-l2a@10"].offset.unique().item() == pytest.approx(-0.1)


def test_pictures_without_georeference_are_cut_too(tmp_path: Path) -> None:
    from PIL import Image as Picture

    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    for stem in ("x", "y"):
        Picture.fromarray(pixels).save(tmp_path / f"{stem}.png")
    tile({"rgb": str(tmp_path / "*.png")}, {}, size=8, out=tmp_path / "t.parquet", buffer=0)
    table = Table(path=str(tmp_path / "t.parquet")).open()
    assert len(table) == 8
    assert np.array_equal(table.read(3).images["rgb"].data[0].numpy(), pixels[8:, 8:].transpose(2, 0, 1))
    assert {p.group.partition("/")[0] for p in table.places} == {"x", "y"}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("crs", "b.tif: in EPSG:32634, but"), ("ground", "but "), ("lonely", "c (no label:lulc)"),
        ("value", "a.tif: label value 9"), ("size", "smaller than one place"), ("absent", "no file fits"),
        ("legend", "--legend"), ("split", "did you mean `validation`"), ("band", "--bands"),
        ("13", "--bands s2-l1c=B01"), ("out", ".parquet"), ("again", "another legend"),
    ],
)  # fmt: skip
def test_each_refusal_names_file_or_option(tmp_path: Path, fault: str, says: str) -> None:
    scene(tmp_path, "a", grid(16, 16))
    more: dict[str, Any] = {"legend": tmp_path / "legend.yaml", "size": 8, "out": tmp_path / "t.parquet"}
    images, labels = {"s1-rtc-gamma0": str(tmp_path / "s1/a.tif")}, {"lulc": str(tmp_path / "lulc/a.tif")}
    if fault in ("crs", "ground"):
        away = {"crs": {"crs": "EPSG:32634"}, "ground": {"left": 5e5 + 10}}[fault]
        raster.write(tmp_path / "b.tif", np.ones((2, 16, 16), np.float32), grid(16, 16, **away))
        images = {"s1-rtc-gamma0": str(tmp_path / "b.tif")}
    elif fault == "lonely":
        raster.write(tmp_path / "s1/c.tif", np.ones((2, 16, 16), np.float32), grid(16, 16))
        images = {"s1-rtc-gamma0": str(tmp_path / "s1/*.tif")}
    elif fault == "value":
        raster.write(tmp_path / "lulc/a.tif", np.full((1, 16, 16), 9, np.uint8), grid(16, 16))
    elif fault == "13":
        raster.write(tmp_path / "13.tif", np.ones((13, 16, 16), np.uint16), grid(16, 16))
        images = {"s2-l1c": str(tmp_path / "13.tif")}
    elif fault == "again":
        tile(images, labels, **more)
        (tmp_path / "legend.yaml").write_text(LEGEND.replace("sand", "rock"))
    more |= {
        "size": {"size": 99}, "legend": {"legend": None}, "split": {"split": "validatoin"},
        "band": {"bands": {"s2-l2a": "B02"}}, "out": {"out": tmp_path / "t.csv"}, "again": {"append": True},
    }.get(fault, {})  # fmt: skip
    if fault == "absent":
        images = {"s1-rtc-gamma0": str(tmp_path / "nope*.tif")}
    with pytest.raises(LandweaveError) as caught:
        tile(images, labels, **more)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 10
    assert fault == "again" or not (tmp_path / "t.parquet").exists()


def test_a_place_larger_than_the_raster_is_told_the_largest_that_fits(tmp_path: Path) -> None:
    scene(tmp_path, "a", grid(29, 40))
    radar = tmp_path / "s1" / "a.tif"
    text = refusal(GridError, cut, tmp_path, size=1000)
    assert "29 x 40 pixels, smaller than one place of 1000 x 1000" in text
    assert "fix: --size 29 gives one place" in text
    assert cut(tmp_path, size=29)[0].places == 1
    raster.write(radar, np.zeros((2, 10, 10), np.float32) - 9, grid(10, 10, metres=30.0))  # whole pixels of both
    raster.write(tmp_path / "lulc" / "a.tif", np.ones((1, 30, 30), np.uint8), grid(30, 30))
    assert "fix: --size 30" in refusal(GridError, cut, tmp_path, size=31)
    raster.write(tmp_path / "lulc" / "a.tif", np.ones((1, 20, 20), np.uint8), grid(20, 20, metres=15.0))
    assert "fix: --size 20" in refusal(GridError, cut, tmp_path, size=31)


def test_tiling_needs_no_torch(tmp_path: Path) -> None:
    scene(tmp_path, "a", grid(24, 24))
    words = ["tile", "--image", f"s1-rtc-gamma0={tmp_path}/s1/a.tif", "--label", f"lulc={tmp_path}/lulc/a.tif"]
    words += ["--legend", f"{tmp_path}/legend.yaml", "--size", "8", "--out", f"{tmp_path}/p.parquet"]
    code = (
        "import sys\nfrom landweave.__main__ import app\n"
        f"app({words!r}, standalone_mode=False)\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "9 places" in done.stdout
    train = next(line for line in done.stdout.splitlines() if line.startswith("then: landweave train segment "))
    assert f"data.path={tmp_path}/p.parquet" in train


def test_unknown_sensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        tile({"s2-l2": "x.tif"}, {}, size=8, out=tmp_path / "t.parquet")


def test_real_terramind_tiles_in_two_calls(tmp_path: Path, real: Path) -> None:
    folder, out = real / "terramind", tmp_path / "places.parquet"
    more: dict[str, Any] = {"legend": folder / "legend.yaml", "size": 56, "out": out}
    for stem in ("282D_485L_3_3", "38D_378R_2_3", "609U_541L_3_0", "637U_59R_1_3", "433D_629L_3_1"):
        last = stem.startswith("433D")
        report = tile(
            {s: str(folder / d / f"{stem}.tif") for s, d in [("s2-l2a", "S2L2A"), ("s1-rtc-gamma0", "S1RTC"),
                                                             ("dem", "DEM")]},
            {"lulc": str(folder / "LULC" / f"{stem}.tif")},
            append=True, split="test" if last else None, offset={"s2-l2a": -1000} if last else {}, **more,
        )  # fmt: skip
    table = Table(path=str(out)).open()
    assert (report.table_places, len(table)) == (80, 80)
    assert {p.split for p in table.places[64:]} == {"test"}
    for n in range(4):
        assert {"train", "validation", "test"} <= {p.split for p in table.places[16 * n : 16 * n + 16]}
    assert all(p.lon is not None for p in table.places)
    sample = table.read(79)
    assert np.array_equal(
        sample.images["s2-l2a"].data[0], raster.read(folder / "S2L2A/433D_629L_3_1.tif").data[:, 168:, 168:]
    )
    assert sample.images["s2-l2a"].offset.unique().item() == pytest.approx(-0.1)
    assert table.read(0).images["s2-l2a"].offset.unique().item() == 0
    unknown = int((raster.read(folder / "LULC/433D_629L_3_1.tif").data == 0).sum())
    assert sum(int((~table.read(i).labels["lulc"].known).sum()) for i in range(64, 80)) == unknown


def test_real_major_tom_scenes_at_three_pixel_sizes(tmp_path: Path, real: Path) -> None:
    pattern = real / "formats/major-tom/S2L2A/*/*/*"
    report = tile({"s2-l2a": str(pattern)}, {}, size=60, out=tmp_path / "t.parquet")
    table = Table(path=str(tmp_path / "t.parquet")).open()
    assert (report.scenes, report.places) == (2, 2 * 17 * 17)
    assert [im.data.shape[-1] for im in table.read(400).images.values()] == [60, 30, 10]
    sizes = [sum(p.split == s for p in table.places) for s in ("train", "validation", "test")]
    assert all(a > b for a, b in pairwise([len(table), sizes[0], sizes[1]]))


def test_files_of_one_name_in_two_places_have_groups_of_their_own(tmp_path: Path) -> None:
    scene(tmp_path / "a", "S2", grid(32, 32))
    scene(tmp_path / "b", "S2", grid(32, 32, left=7e5))
    for folder in (tmp_path / "a", tmp_path / "b"):
        images, labels = {"s1-rtc-gamma0": str(folder / "s1" / "*.tif")}, {"lulc": str(folder / "lulc" / "*.tif")}
        tile(images, labels, legend=folder / "legend.yaml", size=8, out=tmp_path / "places.parquet", append=True)
    table = Table(path=str(tmp_path / "places.parquet")).open()
    sides: dict[str, set[float]] = {}
    for i, place in enumerate(table.places):
        bounds, _ = table.bounds(i)
        sides.setdefault(place.group, set()).add(bounds[0] > 6e5)
    assert all(len(found) == 1 for found in sides.values()), sides
    assert {g.partition("/")[0] for g in sides} == {"S2", "S2_v2"}
