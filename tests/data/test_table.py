"""The table reader: what a cell may hold, on tiny written rasters and on the genuine files."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from landweave.data import raster
from landweave.data.table import PlaceTable, Table, write_table
from landweave.errors import ConfigError, DataError, GridError, LandweaveError, MissingDataError
from landweave.grid import Grid
from landweave.legends import LandClass, Legend
from landweave.maps.given import files_of
from landweave.sample import NO_DAY, Sample, collate, day_of
from landweave.sensors import sensor

LEGEND = Legend("two", (LandClass(1, "water", "#0000ff"), LandClass(4, "crops", "#ffff00")), (0,))
UTM = "EPSG:32633"


def grid(rows: int = 8, *, metres: float = 10.0, left: float = 500000.0, top: float = 5e6, crs: str = UTM) -> Grid:
    return Grid(crs, (metres, 0.0, left, 0.0, -metres, top), (rows, rows))


def tif(path: Path, bands: int = 2, *, where: Grid | None = None, dtype: str = "float32", **more: Any) -> np.ndarray:
    where = where or grid()
    values = np.arange(bands * where.shape[0] * where.shape[1]).reshape(bands, *where.shape) % 97
    data = (values - 40 if dtype == "float32" else values).astype(dtype)
    raster.write(path, data, where, **more)
    return data


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="") as stream:
        out = csv.DictWriter(stream, list(dict.fromkeys(k for r in rows for k in r)))
        out.writeheader()
        out.writerows(rows)
    return path


def opened(path: Path, **more: Any) -> PlaceTable:
    return Table(path=str(path), **more).open()


def one(tmp_path: Path, **row: Any) -> PlaceTable:
    """A table of one place."""
    return opened(write_csv(tmp_path / "t.csv", [{"name": "p", **row}]))


def refusal(action: Any, kind: type[LandweaveError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        action()
    text = str(caught.value)
    assert len(text.splitlines()) <= 10
    assert caught.value.where
    return text


def test_the_pixels_of_a_file_arrive_with_bands_grid_and_group(tmp_path: Path) -> None:
    data = tif(tmp_path / "a.tif")
    table = one(tmp_path, **{"s1-rtc-gamma0": "a.tif", "split": "train", "group": "north"})
    sample = table.read(0)
    image = sample.images["s1-rtc-gamma0"]
    assert (sample.name, sample.group, table.places[0].split) == ("p", "north", "train")
    assert image.bands == ("VV", "VH")
    assert np.array_equal(image.data[0].numpy(), data)
    assert image.grid == grid()
    assert image.days.tolist() == [NO_DAY]
    assert table.files(0) == (tmp_path / "a.tif",)


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "gpkg"])
def test_every_form_of_table_gives_the_same_places(tmp_path: Path, form: str) -> None:
    tif(tmp_path / "a.tif")
    rows = [{"name": f"p{i}", "split": s, "s1-rtc-gamma0": "a.tif", "label:use": u} for i, (s, u) in enumerate(
        [("train", "b"), ("validation", "a"), ("test", "")])]  # fmt: skip
    file = tmp_path / f"places.{form}"
    if form == "parquet":
        write_table(file, rows, {}, {})
    elif form == "gpkg":
        import geopandas
        from shapely.geometry import box

        shapes = [box(9 + i, 44, 10 + i, 45) for i in range(3)]
        geopandas.GeoDataFrame(rows, geometry=shapes, crs="EPSG:4326").to_file(file, driver="GPKG")
    else:
        sep = "," if form == "csv" else "\t"
        file.write_text("\n".join(sep.join(r) for r in [list(rows[0]), *(list(x.values()) for x in rows)]) + "\n")
    table = opened(file)
    assert [(p.name, p.split) for p in table.places] == [("p0", "train"), ("p1", "validation"), ("p2", "test")]
    assert table.tasks["use"].legend.names == ("a", "b")
    assert [table.classes(i, "use") for i in range(3)] == [(1,), (0,), None]
    assert table.read(2).labels["use"].known.item() is False
    if form == "gpkg":
        assert (table.places[1].lon, table.places[1].lat) == pytest.approx((10.5, 44.5))


def test_legends_and_kinds_come_back_from_parquet(tmp_path: Path) -> None:
    tif(tmp_path / "a.tif")
    rows: list[dict[str, Any]] = [
        {"name": n, "s1-rtc-gamma0": ["a.tif"], "label:use": names}
        for n, names in [("all", ["crops", "water"]), ("none", []), ("unknown", None)]
    ]
    write_table(tmp_path / "t.parquet", rows, {"use": LEGEND}, {"use": "multilabel"})
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []
    table = opened(tmp_path / "t.parquet")
    assert (table.tasks["use"].kind, table.tasks["use"].legend) == ("multilabel", LEGEND)
    assert [table.classes(i, "use") for i in range(3)] == [(1, 0), (), None]
    labels = [table.read(i).labels["use"] for i in range(3)]
    assert [lab.values.tolist() for lab in labels] == [[1, 1], [0, 0], [0, 0]]
    assert [lab.known.all().item() for lab in labels] == [True, True, False]  # an empty set is not "nobody said"


def test_a_window_reads_its_part_at_each_pixel_size(tmp_path: Path) -> None:
    fine = tif(tmp_path / "s2_B02.tif", 1, where=grid(12), dtype="uint16")
    coarse = tif(tmp_path / "s2_B01.tif", 1, where=grid(2, metres=60), dtype="uint16")
    codes = np.random.default_rng(0).choice([0, 1, 4], (1, 12, 12)).astype(np.uint8)
    raster.write(tmp_path / "l.tif", codes, grid(12, left=500000.0 + 1e-9))
    row = {
        "s2-l2a": "s2_B02.tif;s2_B01.tif", "label:lulc": "l.tif",
        "left": 500060, "bottom": 5e6 - 60, "right": 500120, "top": 5e6, "crs": "epsg:32633",
    }  # fmt: skip
    write_table(tmp_path / "t.parquet", [{"name": "p", **row}], {"lulc": LEGEND}, {"lulc": "map"})
    table = opened(tmp_path / "t.parquet")
    assert table.streams == ["s2-l2a@10", "s2-l2a@60"]
    sample = table.read(0)
    assert np.array_equal(sample.images["s2-l2a@10"].data[0, 0], fine[0, :6, 6:])
    assert np.array_equal(sample.images["s2-l2a@60"].data[0, 0], coarse[0, :1, 1:])
    label = sample.labels["lulc"]
    for r in range(6):
        for c in range(6):
            code = int(codes[0, r, c + 6])
            assert label.known[r, c].item() is (code != 0)
            assert code == 0 or LEGEND.classes[int(label.values[r, c])].value == code
    assert table.classes(0, "lulc") == tuple(sorted({0 if v == 1 else 1 for v in np.unique(codes[0, :6, 6:]) if v}))
    assert (table.places[0].lon, table.places[0].lat) == pytest.approx(raster.lonlat(grid(6, left=500060)))


def test_several_dates_are_stacked_with_their_days_and_offsets(tmp_path: Path) -> None:
    first = tif(tmp_path / "a.tif", 10, dtype="uint16")
    raster.write(tmp_path / "b.tif", first + 1000, grid())
    row = {"s2-l2a": "a.tif;b.tif", "s2-l2a.dates": "2021-06-01;2022-06-01", "s2-l2a.offset": "0;-1000"}
    image = one(tmp_path, **row).read(0).images["s2-l2a"]
    assert image.days.tolist() == [day_of("2021-06-01"), day_of("2022-06-01")]
    assert image.data.shape == (2, 10, 8, 8)
    assert np.allclose(image.physical()[0], first * 1e-4, atol=1e-6)
    assert np.allclose(image.physical()[1], first * 1e-4, atol=1e-6)


def test_one_file_per_band_in_any_order(tmp_path: Path) -> None:
    data = {band: tif(tmp_path / f"s_{band}.tif", 1, dtype="uint16") + 0 for band in ("B04", "B02", "B8A")}
    raster.write(tmp_path / "s_B02.tif", data["B02"] + 7, grid())
    image = one(tmp_path, **{"s2-l2a": "s_B04.tif;s_B8A.tif;s_B02.tif"}).read(0).images["s2-l2a"]
    assert image.bands == ("B02", "B04", "B8A")
    assert np.array_equal(image.data[0, 0], data["B02"][0] + 7)
    asked = one(tmp_path, **{"s2-l2a": "s_B04.tif;s_B02.tif", "s2-l2a.bands": "B4,B2"}).read(0).images["s2-l2a"]
    assert asked.bands == ("B04", "B02")


def test_heights_are_made_of_surface_and_terrain(tmp_path: Path) -> None:
    raster.write(tmp_path / "s_DTM.tif", np.full((1, 8, 8), 100, "float32"), grid(), nodata=-9999)
    surface = np.full((1, 8, 8), 112.5, "float32")
    surface[0, 0, 0] = -9999
    raster.write(tmp_path / "s_DSM.tif", surface, grid(), nodata=-9999)
    image = one(tmp_path, **{"dsm-dtm": "s_DTM.tif;s_DSM.tif"}).read(0).images["dsm-dtm"]
    assert image.bands == ("DSM", "DTM", "HEIGHT")
    assert not image.pixels_seen[0, 2, 0, 0]
    assert image.physical()[0, 2, 1, 1] == 12.5
    alone = one(tmp_path, **{"dsm-dtm": "s_DSM.tif"}).read(0).images["dsm-dtm"]
    assert alone.bands == ("DSM",)


def test_scale_and_offset_come_from_the_file_then_the_row_then_the_recipe(tmp_path: Path) -> None:
    import rasterio

    def offset_of(table: PlaceTable) -> tuple[float, float]:
        image = table.read(0).images["s2-l2a"]
        return round(image.scale[0, 0].item(), 6), round(image.offset[0, 0].item(), 6)

    tif(tmp_path / "a.tif", 4, dtype="uint16")
    plain = write_csv(tmp_path / "t.csv", [{"name": "p", "s2-l2a": "a.tif"}])
    assert offset_of(opened(plain)) == (1e-4, 0)
    assert offset_of(opened(plain, offset={"s2-l2a": -1000})) == (1e-4, -0.1)
    row = write_csv(tmp_path / "r.csv", [{"name": "p", "s2-l2a": "a.tif", "s2-l2a.offset": -200, "s2-l2a.scale": 0.01}])
    assert offset_of(opened(row, offset={"s2-l2a": -1000})) == (0.01, -2)
    with rasterio.open(tmp_path / "a.tif", "r+") as out:
        out.scales, out.offsets = [2e-4] * 4, [-0.1] * 4
    assert offset_of(opened(plain)) == (2e-4, -0.1)
    assert "metadata say" in refusal(lambda: opened(row).read(0))
    assert "metadata say offset" in refusal(lambda: opened(plain, offset={"s2-l2a": -1000}).read(0))
    assert "data.offset" in refusal(lambda: opened(plain, offset={"s1-rtc-gamma0": 1}), ConfigError)


def test_nodata_and_pixels_beyond_the_raster_are_unseen(tmp_path: Path) -> None:
    data = np.ones((2, 8, 8), np.float32)
    data[0, 0, 0], data[1, 1, 1] = -9999, np.nan
    raster.write(tmp_path / "a.tif", data, grid(), nodata=-9999)
    window = {"left": 499990, "bottom": 5e6 - 80, "right": 500080, "top": 5e6, "crs": UTM}
    image = one(tmp_path, **{"s1-rtc-gamma0": "a.tif", **window}).read(0).images["s1-rtc-gamma0"]
    expected = np.ones((2, 8, 9), bool)
    expected[:, :, 0] = expected[0, 0, 1] = expected[1, 1, 2] = False
    assert np.array_equal(image.seen[0], expected)


def test_nodata_of_a_label_is_unknown_unless_it_is_a_class(tmp_path: Path) -> None:
    codes = np.array([[[255, 1], [4, 0]]], np.uint8)
    tif(tmp_path / "a.tif", where=grid(2))
    raster.write(tmp_path / "l.tif", codes, grid(2), nodata=255)
    rows = [{"name": "p", "s1-rtc-gamma0": "a.tif", "label:l": "l.tif"}]
    write_table(tmp_path / "t.parquet", rows, {"l": LEGEND}, {"l": "map"})
    assert opened(tmp_path / "t.parquet").read(0).labels["l"].known.tolist() == [[False, True], [True, False]]
    wide = replace(LEGEND, classes=(*LEGEND.classes, LandClass(255, "snow", "#ffffff")))
    write_table(tmp_path / "t.parquet", rows, {"l": wide}, {"l": "map"})
    assert opened(tmp_path / "t.parquet").read(0).labels["l"].values.tolist() == [[2, 0], [1, 255]]


def test_a_png_label_fits_by_its_size(tmp_path: Path) -> None:
    from PIL import Image as Picture

    tif(tmp_path / "a.tif", where=grid(4))
    for size in (4, 5):
        Picture.fromarray(np.full((size, size), 4, np.uint8)).save(tmp_path / f"l{size}.png")
    rows = [{"name": f"p{n}", "s1-rtc-gamma0": "a.tif", "label:l": f"l{n}.png"} for n in (4, 5)]
    (tmp_path / "t.legend.yaml").write_text(json.dumps(LEGEND.to_json()))
    table = opened(write_csv(tmp_path / "t.csv", rows))
    assert table.read(0).labels["l"].values.unique().tolist() == [1]
    assert "l5.png" in refusal(lambda: table.read(1), GridError)


def test_a_missing_sensor_is_absent_and_collates_as_unseen(tmp_path: Path) -> None:
    tif(tmp_path / "a.tif")
    tif(tmp_path / "d.tif", 1)
    rows = [{"name": "p", "s1-rtc-gamma0": "a.tif", "dem": "d.tif"}, {"name": "q", "s1-rtc-gamma0": "a.tif", "dem": ""}]
    table = opened(write_csv(tmp_path / "t.csv", rows))
    assert list(table.read(1).images) == ["s1-rtc-gamma0"]
    assert collate([table.read(0), table.read(1)]).images["dem"].sensor_seen.tolist() == [True, False]


def test_band_names_come_from_the_table_the_file_its_name_or_its_count(tmp_path: Path) -> None:
    def bands(path: str, **row: Any) -> tuple[str, ...]:
        return one(tmp_path, **{"s2-l1c": path, **row}).read(0).images["s2-l1c"].bands

    tif(tmp_path / "four.tif", 4)
    tif(tmp_path / "named.tif", 3, descriptions=("nir", "red", "swir1"))
    tif(tmp_path / "alike.tif", 4, descriptions=("x", "x", "x", "x"))
    tif(tmp_path / "scene_B8.tif", 1)
    tif(tmp_path / "13.tif", 13)
    assert bands("four.tif") == ("B02", "B03", "B04", "B08")
    assert bands("four.tif", **{"s2-l1c.bands": "B12,nir,B4,B2"}) == ("B12", "B08", "B04", "B02")
    assert bands("named.tif") == ("B08", "B04", "B11")
    assert bands("alike.tif") == ("B02", "B03", "B04", "B08")
    assert bands("scene_B8.tif") == ("B08",)
    text = refusal(lambda: bands("13.tif"))
    assert "13.tif" in text
    assert text.count("--bands s2-l1c=") == 2
    assert "four.tif: 4 bands, but 2 names" in refusal(lambda: bands("four.tif", **{"s2-l1c.bands": "B02,B03"}))


def bad_table(tmp_path: Path, fault: str) -> Any:
    """A table with one fault, and an action that must meet it."""
    tif(tmp_path / "a.tif")
    tif(tmp_path / "other.tif", 1, where=grid(crs="EPSG:32632"))
    tif(tmp_path / "far.tif", 1, where=grid(left=700000.0))
    raster.write(tmp_path / "l.tif", np.full((1, 8, 8), 7 if fault == "value" else 1, np.uint8), grid())
    raster.write(tmp_path / "nan.tif", np.full((1, 8, 8), np.nan, np.float32), grid())
    raster.write(tmp_path / "shifted.tif", np.ones((1, 8, 8), np.uint8), grid(left=500010.0))
    (tmp_path / "text.tif").write_text("not an image")
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    row = {"name": "p", "s1-rtc-gamma0": "a.tif", "label:lulc": "l.tif"}
    row |= {
        "missing": {"s1-rtc-gamma0": "nope/a.tif"}, "text": {"s1-rtc-gamma0": "text.tif"},
        "cut": {"s1-rtc-gamma0": "cut.tif"}, "count": {"dem": "a.tif"}, "nan": {"label:lulc": "nan.tif"},
        "crs": {"dem": "other.tif"}, "far": {"dem": "far.tif"}, "shifted": {"label:lulc": "shifted.tif"},
        "dates": {"s1-rtc-gamma0.dates": "2020-01-01;2020-01-02"}, "date": {"s1-rtc-gamma0.dates": "May"},
        "column": {"splitt": "train"}, "part": {"s1-rtc-gamma0.band": "VV"}, "label": {"labels_use": "x"},
        "sensor": {"s2_l2a": "a.tif"}, "split": {"split": "val"}, "noname": {"name": ""},
        "zone": {"left": 500000, "bottom": 5e6 - 80, "right": 500080, "top": 5e6, "crs": "EPSG:32634"},
        "window": {"left": 0, "bottom": 0, "right": 10, "top": 10, "crs": UTM}, "half": {"left": 1},
        "number": {"s1-rtc-gamma0.offset": "big"},
    }.get(fault, {})  # fmt: skip
    rows = [row, row] if fault == "twice" else [row]
    write_table(tmp_path / "t.parquet", rows, {"lulc": LEGEND}, {"lulc": "map"})
    return lambda: opened(tmp_path / ("folder" if fault == "folder" else "t.parquet")).read(0)


@pytest.mark.parametrize(
    ("fault", "says"),
    {
        "folder": "no such table", "missing": "no such file", "text": "text.tif: not a raster", "cut": "truncated",
        "count": "a.tif: 2 bands, but dem has 1", "nan": "nan.tif: label has NaN", "value": "l.tif: label value 7",
        "crs": "other.tif: in EPSG:32632, but", "far": "far.tif: covers other ground", "shifted": "covers other ground",
        "dates": "2 dates for 1 paths", "date": "`May`", "column": "mean `split`", "part": "did you mean `bands`",
        "label": "label:<task>", "sensor": "did you mean `s2-l2a`", "split": "did you mean `validation`",
        "noname": "no name", "twice": "stands twice", "window": "outside the raster",
        "zone": "a.tif: the window is in EPSG:32634, the raster in EPSG:32633", "half": "a window needs",
        "number": "`big`",
    }.items(),
)  # fmt: skip
def test_each_fault_names_the_file_and_the_fix(tmp_path: Path, fault: str, says: str) -> None:
    assert says in refusal(bad_table(tmp_path, fault), LandweaveError)


def test_a_class_outside_the_legend_is_refused_on_opening(tmp_path: Path) -> None:
    tif(tmp_path / "a.tif")
    rows = [{"name": "p", "s1-rtc-gamma0": "a.tif", "label:use": "watr"}]
    write_table(tmp_path / "t.parquet", rows, {"use": LEGEND}, {"use": "class"})
    assert "did you mean `water`" in refusal(lambda: opened(tmp_path / "t.parquet"))
    rows[0]["label:use"] = "water;crops"
    write_table(tmp_path / "t.parquet", rows, {"use": LEGEND}, {"use": "class"})
    assert "multilabel" in refusal(lambda: opened(tmp_path / "t.parquet"))


def test_a_table_without_splits_is_refused_when_one_is_wanted(tmp_path: Path) -> None:
    tif(tmp_path / "a.tif")
    assert "split column" in refusal(lambda: one(tmp_path, **{"s1-rtc-gamma0": "a.tif"}).of_split("train"))


def test_columns_of_ones_own_are_left_alone(tmp_path: Path) -> None:
    tif(tmp_path / "a.tif")
    table = one(tmp_path, **{"s1-rtc-gamma0": "a.tif", "country": "FR", "date": "2020", "cloud_cover": 3})
    assert table.streams == ["s1-rtc-gamma0"]


def test_a_reader_survives_pickling(tmp_path: Path) -> None:
    tif(tmp_path / "a.tif")
    table = one(tmp_path, **{"s1-rtc-gamma0": "a.tif", "label:use": "x"})
    again = pickle.loads(pickle.dumps(table))
    assert again.read(0).images["s1-rtc-gamma0"].data.equal(table.read(0).images["s1-rtc-gamma0"].data)


def test_a_hundred_thousand_windows_open_fast_and_without_touching_a_raster(tmp_path: Path) -> None:
    import time

    n = 100_000
    rows = [
        {"name": str(i), "s1-rtc-gamma0": "absent.tif", "left": 5e5 + i, "bottom": 5e6, "right": 5e5 + i + 10,
         "top": 5e6 + 10, "crs": UTM, "label:use": "a"}
        for i in range(n)
    ]  # fmt: skip
    write_table(tmp_path / "t.parquet", rows, {}, {})
    start = time.process_time()
    table = opened(tmp_path / "t.parquet")
    assert time.process_time() - start < 10
    place = table.places[n - 1]
    expected = raster.lonlat(Grid(UTM, (10.0, 0.0, 5e5 + n - 1, 0.0, -10.0, 5e6 + 10), (1, 1)))
    assert (place.lon, place.lat) == pytest.approx(expected)


def read_one(folder: Path, row: Mapping[str, Any], **more: Any) -> tuple[PlaceTable, Sample]:
    table = opened(write_csv(folder / "t.csv", [{"name": "p", **row}]), **more)
    return table, table.read(0)


def test_real_terramind_place_without_a_window(tmp_path: Path, real: Path) -> None:
    folder, tile = real / "terramind", "433D_629L_3_1.tif"
    row = {"s2-l2a": folder / "S2L2A" / tile, "s1-rtc-gamma0": folder / "S1RTC" / tile, "dem": folder / "DEM" / tile,
           "rgb": folder / "S2RGB" / tile, "label:lulc": folder / "LULC" / tile}  # fmt: skip
    table, sample = read_one(tmp_path, row, legend=str(folder / "legend.yaml"))
    assert sample.images["s2-l2a"].data.shape == (1, 12, 224, 224)
    assert sample.images["s2-l2a"].bands[8:] == ("B8A", "B09", "B11", "B12")
    assert sample.images["s1-rtc-gamma0"].data.median().item() < 0
    names = table.tasks["lulc"].legend.names
    assert {names[i] for i in table.classes(0, "lulc") or ()} == {
        "water", "trees", "flooded vegetation", "crops", "built area", "rangeland"}  # fmt: skip
    assert table.places[0].lon is None
    assert table.located()[0].lon == pytest.approx(-72.4, abs=0.2)


def test_real_satclip_patches(tmp_path: Path, real: Path) -> None:
    files = sorted((real / "satclip-s2/ssl4eo/example/images").glob("*.tif"))
    rows = [{"name": f.stem, "split": "train", "s2-l2a": str(f)} for f in files]
    table = opened(write_csv(tmp_path / "t.csv", rows))
    batch = collate([table.read(i) for i in range(3)])
    assert batch.images["s2-l2a"].data.shape == (3, 1, 12, 256, 256)
    assert len(table) == 20


def test_real_major_tom_scene_of_one_file_per_band(tmp_path: Path, real: Path) -> None:
    scene = next((real / "formats/major-tom").glob("S2L2A/0U/*/*"))
    table, sample = read_one(tmp_path, {"s2-l2a": str(scene), "s2-l2a.dates": "20220706"})
    assert table.streams == ["s2-l2a@10", "s2-l2a@20", "s2-l2a@60"]
    sizes = {s: tuple(im.data.shape) for s, im in sample.images.items()}
    assert sizes == {
        "s2-l2a@10": (1, 4, 1068, 1068), "s2-l2a@20": (1, 6, 534, 534), "s2-l2a@60": (1, 2, 178, 178)}  # fmt: skip
    assert sample.images["s2-l2a@60"].bands == ("B01", "B09")
    direct = raster.read(scene / "B8A.tif").data[0]
    fine = sample.images["s2-l2a@20"]
    assert np.array_equal(fine.data[0, fine.bands.index("B8A")], direct)


def test_real_ssl4eo_place_with_two_dates_in_folders(tmp_path: Path, real: Path) -> None:
    base = real / "formats/ssl4eo-s12"
    row: dict[str, Any] = {}
    for stream, folder in [("s2-l1c", "s2c"), ("s2-l2a", "s2a"), ("s1-grd-sigma0", "s1")]:
        dates = sorted((base / folder / "0000200").iterdir())
        row[stream] = ";".join(map(str, dates))
        row[f"{stream}.dates"] = ";".join(d.name.split("_")[4 if stream.startswith("s1") else 0][:8] for d in dates)
    table, sample = read_one(tmp_path, row)
    assert sample.images["s2-l1c@10"].data.shape == (2, 4, 264, 264)
    assert sample.images["s2-l1c@60"].bands == ("B01", "B09", "B10")
    assert sample.images["s2-l2a@20"].days.tolist() == [day_of("2020-06-04"), day_of("2020-08-13")]
    assert sample.images["s1-grd-sigma0"].data.shape == (2, 2, 264, 264)
    assert len(table.streams) == 7
    second = sorted((base / "s2a/0000200").iterdir())[1]
    assert np.array_equal(sample.images["s2-l2a@60"].data[1, 1], raster.read(second / "B9.tif").data[0])


def test_real_bigearthnet_v1_patch_with_its_label_json(tmp_path: Path, real: Path) -> None:
    rows = []
    for patch in sorted((real / "formats/bigearthnet-v1/tiny").iterdir()):
        meta = json.loads(next(patch.glob("*.json")).read_text())
        rows.append({"name": patch.name, "s2-l2a": str(patch), "s2-l2a.dates": meta["acquisition_date"][:10],
                     "label:clc": ";".join(meta["labels"])})  # fmt: skip
    table = opened(write_csv(tmp_path / "t.csv", rows))
    assert table.tasks["clc"].kind == "multilabel"
    sample = table.read(0)
    assert {s: im.data.shape[-1] for s, im in sample.images.items()} == {
        "s2-l2a@10": 120, "s2-l2a@20": 60, "s2-l2a@60": 20}  # fmt: skip
    legend, values = table.tasks["clc"].legend, sample.labels["clc"].values
    assert {n for n, v in zip(legend.names, values, strict=True) if v} == set(rows[0]["label:clc"].split(";"))


def test_a_folder_says_what_is_wrong_with_it(tmp_path: Path, real: Path) -> None:
    scene = next((real / "formats/major-tom").glob("S2L2A/0U/*/*"))
    shutil.copytree(scene, tmp_path / "scene")
    shutil.copy(scene / "B02.tif", tmp_path / "scene/again_B2.tif")
    assert "two files of band B02" in refusal(lambda: read_one(tmp_path, {"s2-l2a": "scene"}))
    (tmp_path / "empty").mkdir()
    assert "no file is named after a band" in refusal(lambda: read_one(tmp_path, {"s2-l2a": "empty"}))
    with pytest.raises(MissingDataError):
        read_one(tmp_path, {"s2-l2a": "absent/"})


def test_real_treesatai_aerial_images_of_four_bands_at_20_cm(real: Path, tmp_path: Path) -> None:
    files = sorted((real / "formats/treesatai-ts").rglob("*.tif"))
    assert len(files) == 2
    rows = ["name,split,aerial,aerial.bands,label:genus"]  # near infrared comes first in these files, unnamed
    rows += [f'{f.stem},train,{f},"NIR,R,G,B",{f.name.split("_")[0]}' for f in files]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    dataset = Table(path=str(tmp_path / "t.csv")).open()
    for i, file in enumerate(files):
        image = dataset.read(i).images["aerial"]
        assert image.bands == ("N", "R", "G", "B")
        assert image.data.shape == (1, 4, 304, 304)
        assert (image.data[0].numpy() == raster.read(file).data).all()
        assert isinstance(image.grid, Grid)
        assert round(image.grid.pixel[0], 2) == 0.2
        means = image.physical().mean((0, 2, 3))
        assert means[0] > 1.5 * means[1:].max(), "trees are brightest in the near infrared"
    assert dataset.tasks["genus"].legend.names == ("Abies", "Betula")


@pytest.mark.parametrize(
    ("descriptions", "bands"),
    [
        (("B04", "B03", "B02", "B08"), ("B04", "B03", "B02", "B08")),
        (("one", "two", "three", "four"), ("B02", "B03", "B04", "B08")),
        (("x_B08", "x_B03", "x_B02", "x_B04"), ("B08", "B03", "B02", "B04")),
    ],
)
def test_descriptions_name_all_bands_or_none(tmp_path: Path, descriptions: tuple[str, ...], bands: Any) -> None:
    tif(tmp_path / "a.tif", 4, dtype="uint16", descriptions=descriptions)
    assert one(tmp_path, **{"s2-l2a": "a.tif"}).read(0).images["s2-l2a"].bands == bands


def test_a_foreign_layer_among_bands_is_refused(tmp_path: Path) -> None:
    tif(tmp_path / "a.tif", 4, dtype="uint16", descriptions=("B4", "B3", "B2", "NDVI"))
    text = refusal(lambda: one(tmp_path, **{"s2-l2a": "a.tif"}).read(0))
    for part in ("B04, B03, B02", "NDVI", "gdal_translate -b 1 -b 2 -b 3 IN OUT"):
        assert part in text
    with pytest.raises(DataError, match="NDVI"):
        files_of(sensor("s2-l2a"), str(tmp_path / "a.tif"), "")


def test_offsets_are_one_a_date_not_one_a_band_file(tmp_path: Path) -> None:
    for band in ("B02", "B03"):
        tif(tmp_path / f"s_{band}.tif", 1, dtype="uint16")
    row = {"s2-l2a": "s_B02.tif;s_B03.tif", "s2-l2a.offset": "-1000;-500"}
    assert "2 values in s2-l2a.offset, but there is 1 date" in refusal(lambda: one(tmp_path, **row).read(0))


@pytest.mark.parametrize("text", ["2020-1-12", "2020-1-2", "12.01.2020", "202001", "2020-0112", "202001123"])
def test_dates_are_whole(text: str) -> None:
    with pytest.raises(ValueError, match=r"date|month|day"):
        day_of(text)
    assert day_of("2020-01-12T10:11:12") == day_of("20200112T101112") == day_of("2020-01-12")


def test_masks_and_the_nodata_of_each_band_hide_pixels(tmp_path: Path) -> None:
    data = np.full((2, 8, 8), 500, "uint16")
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 2, "height": 8, "width": 8, "crs": UTM}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "m.tif", "w", **profile) as out:
        out.write(data)
        out.write_mask(np.repeat([0, 255], 32).astype("uint8").reshape(8, 8))
    assert raster.read(tmp_path / "m.tif").valid[0].any(1).tolist() == [False] * 4 + [True] * 4
    for name, nodata in (("a", 0), ("b", 65535)):
        one_band = data[:1].copy()
        one_band[0, 0, 0] = nodata
        raster.write(tmp_path / f"{name}.tif", one_band, grid(), nodata=nodata)
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{i}"><NoDataValue>{v}</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{n}.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand>"
        for i, (n, v) in enumerate((("a", 0), ("b", 65535)), 1)
    )
    (tmp_path / "both.vrt").write_text(f'<VRTDataset rasterXSize="8" rasterYSize="8">{bands}</VRTDataset>')
    valid = raster.read(tmp_path / "both.vrt", bands=[1]).valid
    assert not valid[0, 0, 0]
    assert valid.sum() == 63
    with rasterio.open(
        tmp_path / "rgbn.tif", "w", **{**profile, "dtype": "uint8", "count": 4}, photometric="RGB", alpha="YES"
    ) as out:
        out.write(np.zeros((4, 8, 8), "uint8"))
    assert raster.read(tmp_path / "rgbn.tif").valid.all(), "near infrared marked as transparency hides nothing"
