from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from map_fakes import STATS, Fake, contract, field_of, grid, optical, write

from landweave.contract import Contract, StreamContract
from landweave.data import raster
from landweave.data.stats import ground_metres
from landweave.errors import ConfigError, ContractError, DataError, GridError, MissingDataError
from landweave.maps.engine import map_scene
from landweave.maps.given import in_name
from landweave.maps.sources import open_sources
from landweave.sensors import sensor


def opened(images: dict, mine: Contract | None = None, **options: dict):
    return open_sources(mine or contract(), images, **({"bands": {}, "offset": {}} | options))


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("T48QUE_20200223_B8A_20m.jp2", "B8A"),
        ("b04.tif", "B04"),
        ("B2.tif", "B02"),
        ("scene_red.tif", "B04"),
        ("cloud_mask.tif", ""),
        ("B02_B03.tif", ""),
        ("thumbnail.png", ""),
    ],
)
def test_a_file_name_says_its_band(name: str, band: str) -> None:
    assert in_name(sensor("s2-l2a"), name) == band


def test_bands_are_found_by_name_not_by_position(tmp_path: Path) -> None:
    data = field_of(20, 20)
    path = write(tmp_path / "a.tif", {"nir": data, "B03": data, "B4": data}, grid(20, 20))
    (source,) = opened({"s2-l2a": path}).sources
    assert source.bands == ("B08", "B04")
    assert source.parts[0].at == (0, 2)


def test_band_names_come_from_the_option_before_the_file(tmp_path: Path) -> None:
    data = field_of(20, 20)
    path = write(tmp_path / "a.tif", {"B04": data, "B08": data}, grid(20, 20))
    (source,) = opened({"s2-l2a": path}, bands={"s2-l2a": "B08, B04"}).sources
    assert source.bands == ("B08", "B04")
    path = raster.write(tmp_path / "b.tif", np.stack([data] * 4), grid(20, 20))
    (source,) = opened({"s2-l2a": path}).sources  # four unnamed bands: the 10 m ones, in the sensor's order
    assert source.bands == ("B04", "B08")
    assert source.parts[0].at == (2, 3)


def test_files_joined_and_folders_give_the_same_map(tmp_path: Path) -> None:
    data = field_of(40, 40)
    one = write(tmp_path / "both.tif", {"B04": data, "B08": data[::-1]}, grid(40, 40))
    folder = tmp_path / "bands"
    for band, values in (("B04", data), ("B08", data[::-1])):
        write(folder / f"T32_{band}.tif", {"": values}, grid(40, 40))
    (folder / "B99.txt").write_text("no raster")
    write(folder / "cloud.tif", {"": data}, grid(40, 40))
    joined = f"{folder}/T32_B08.tif;{folder}/T32_B04.tif"
    maps = []
    for images in ({"s2-l2a": one}, {"s2-l2a": folder}, {"s2-l2a": joined}):
        with rasterio.open(map_scene(Fake(contract()), images, tmp_path / "m.tif", overwrite=True).path) as out:
            maps.append(out.read())
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    assert any("cloud.tif" in n for n in opened({"s2-l2a": folder}).notes)


def test_scale_and_offset_of_the_file_come_first_and_the_option_is_in_raw_numbers(tmp_path: Path) -> None:
    path = optical(tmp_path / "a.tif", 20, 20)
    (source,) = opened({"s2-l2a": path}, offset={"s2-l2a": -1000}).sources
    np.testing.assert_allclose(source.scale, 1e-4)
    np.testing.assert_allclose(source.offset, -0.1, rtol=1e-6)
    with rasterio.open(path, "r+") as out:
        out.scales, out.offsets = (2e-4, 2e-4), (-0.2, -0.2)
    (source,) = opened({"s2-l2a": path}).sources
    np.testing.assert_allclose(source.scale, 2e-4)
    np.testing.assert_allclose(source.offset, -0.2)


def test_the_same_ground_at_another_pixel_size_is_read_on_its_own_grid(tmp_path: Path) -> None:
    from landweave.maps.strips import Strip, lay_out

    fine, coarse = field_of(60, 72), field_of(16, 20, seed=1)
    a = write(tmp_path / "B04.tif", {"": fine}, grid(60, 72))
    write(tmp_path / "B8A.tif", {"": coarse}, grid(16, 20, metres=20.0, x=500_040.0, y=5_000_000.0 - 120))
    layout = lay_out(opened({"s2-l2a": tmp_path}, contract(bands=("B04", "B8A"))).sources)
    assert layout.grid == raster.header(a).grid
    assert layout.step == 2
    assert layout.base == (0, 0)
    large, small = sorted(layout.placed, key=lambda p: p.ratio)
    assert (small.ratio, small.row, small.col) == (2, 12, 4)
    assert small.source.stream == "s2-l2a@20"
    for placed, values in ((large, fine), (small, coarse)):
        strip = Strip(placed, -4, 76)
        for row in (-2, 6, 14, 44):  # each a strip further down
            strip.advance(row, 16)
            image = strip.image([(row, 0), (row, 60)], (16, 16))
            for b, col in enumerate((0, 60)):
                size, k = 16 // placed.ratio, placed.ratio
                for i in range(size):
                    for j in range(size):
                        r, c = (row - placed.row) // k + i, (col - placed.col) // k + j
                        inside = 0 <= r < values.shape[0] and 0 <= c < values.shape[1]
                        assert bool(image.pixels_seen[b, 0, 0, i, j]) == inside
                        if inside:
                            assert image.data[b, 0, 0, i, j] == values[r, c]
                assert image.grid[b].bounds[0] == 500_000 + 10 * col
            seen = strip.seen_on_reference(row, 10, -4, 70)
            for i in range(10):
                for j in range(74):
                    r, c = (row + i - placed.row) // placed.ratio, (j - 4 - placed.col) // placed.ratio
                    assert seen[i, j] == (0 <= r < values.shape[0] and 0 <= c < values.shape[1])


def test_nan_never_flows_and_a_band_without_a_seen_pixel_is_missing(tmp_path: Path) -> None:
    from landweave.maps.strips import Strip, lay_out

    vv, vh = np.full((20, 40), -9, np.float32), np.full((20, 40), -15, np.float32)
    vv[3, 4], vh[:, 20:] = np.nan, np.nan
    path = write(tmp_path / "s1.tif", {"VV": vv, "VH": vh}, grid(20, 40))
    layout = lay_out(opened({"s1-rtc-gamma0": path}, contract(radar=True)).sources)
    strip = Strip(layout.placed[0], 0, 40)
    strip.advance(0, 16)
    image = strip.image([(0, 0), (0, 20), (0, 24)], (16, 16))
    assert bool(image.data.isfinite().all())
    assert not bool(image.pixels_seen[0, 0, 0, 3, 4])
    assert image.bands_seen.tolist() == [[True, True], [True, False], [True, False]]


def test_coarse_rasters_whose_corners_never_meet_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "B04.tif", {"": field_of(40, 40)}, grid(40, 40))
    write(tmp_path / "B05.tif", {"": field_of(20, 20)}, grid(20, 20, metres=20.0))
    write(tmp_path / "B09.tif", {"": field_of(5, 5)}, grid(5, 5, metres=60.0, x=500_010.0))
    with pytest.raises(GridError, match="never meet"):
        map_scene(Fake(contract(bands=("B04", "B05", "B09"))), {"s2-l2a": tmp_path}, tmp_path / "m.tif")


def test_bands_of_one_pixel_size_and_another_extent_are_refused_not_lost(tmp_path: Path) -> None:
    write(tmp_path / "B04.tif", {"": field_of(40, 40)}, grid(40, 40))
    write(tmp_path / "B08.tif", {"": field_of(40, 38)}, grid(40, 38))
    with pytest.raises(GridError, match=r"(?s)B08 and B04 have pixels of one size.*40 x 38 .*40 x 40 .*gdalwarp"):
        opened({"s2-l2a": tmp_path})


def test_bands_pixels_and_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data = field_of(20, 20)
    lacking = write(tmp_path / "a.tif", {"B04": data, "B03": data}, grid(20, 20))
    with pytest.raises(ContractError, match=r"a\.tif: no band B08 of s2-l2a; there are B04, B03"):
        opened({"s2-l2a": lacking})
    coarse = write(tmp_path / "c.tif", {"B04": data, "B08": data}, grid(20, 20, metres=20.0))
    with pytest.raises(
        ContractError, match=r"c\.tif: pixels of 20 m on the ground, but the model was trained on s2-l2a at 10 m"
    ):
        opened({"s2-l2a": coarse})
    nowhere = write(tmp_path / "n.tif", {"B04": data, "B08": data}, raster.Grid("", (1, 0, 0, 0, 1, 0), (20, 20)))
    with pytest.raises(GridError, match="no coordinate reference system"):
        opened({"s2-l2a": nowhere})
    with pytest.raises(MissingDataError, match="no such file"):
        opened({"s2-l2a": tmp_path / "nothing.tif"})
    (tmp_path / "text.tif").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.tif: not a raster"):
        opened({"s2-l2a": tmp_path / "text.tif"})
    five = raster.write(tmp_path / "five.tif", np.stack([data] * 5), grid(20, 20))
    with pytest.raises(DataError, match="5 bands, but s2-l2a has"):
        opened({"s2-l2a": five})
    for name in ("x_B04.tif", "y_B04.tif"):
        write(tmp_path / "two" / name, {"": data}, grid(20, 20))
    with pytest.raises(DataError, match="band B04 of s2-l2a is in two files"):
        opened({"s2-l2a": tmp_path / "two"})
    with pytest.raises(ConfigError, match="no image"):
        opened({})


def test_a_raster_in_degrees_is_compared_in_metres(tmp_path: Path) -> None:
    data = field_of(20, 20)
    where = raster.Grid("EPSG:4326", (9e-5, 0.0, 5.0, 0.0, -9e-5, 45.0), (20, 20))
    path = write(tmp_path / "a.tif", {"B04": data, "B08": data}, where)
    assert opened({"s2-l2a": path}).sources[0].grid == where
    with pytest.raises(ContractError, match=r"(?s)pixels of 10 m on the ground.*-tr 0.000254237 0.00018 "):
        opened({"s2-l2a": path}, contract(metres=20.0))


def test_pixels_are_compared_as_training_measures_them(tmp_path: Path) -> None:
    data = field_of(20, 20)
    mercator = raster.Grid("EPSG:3857", (10.0, 0.0, 1_300_000.0, 0.0, -10.0, 6_100_000.0), (20, 20))  # 48 N
    path = write(tmp_path / "a.tif", {"B04": data, "B08": data}, mercator)
    mine = contract(metres=ground_metres(mercator))
    assert not opened({"s2-l2a": path}, mine).notes
    with pytest.raises(ContractError, match=r"(?s)pixels of 6\.6\d? m on the ground.*-tr 14\.95?\d* 14\.9\d* "):
        opened({"s2-l2a": path}, contract(metres=10.0))
    far = raster.Grid("EPSG:4326", (9e-5, 0.0, 25.0, 0.0, -9e-5, 65.0), (20, 20))
    path = write(tmp_path / "b.tif", {"B04": data, "B08": data}, far)
    assert "4.23 m wide and 10 m high" in opened({"s2-l2a": path}).notes[0]


def test_the_command_that_mends_is_in_units_of_the_crs(tmp_path: Path) -> None:
    degrees = raster.Grid("EPSG:4326", (8.9e-5, 0.0, 5.0, 0.0, -8.9e-5, 45.0), (20, 20))
    two = write(tmp_path / "a.tif", {"B04": field_of(20, 20), "B08": field_of(20, 20)}, degrees)
    radar = write(
        tmp_path / "r.tif",
        {"VV": np.full((20, 20), -12, "float32"), "VH": np.full((20, 20), -18, "float32")},
        grid(20, 20),
    )
    images = {"s2-l2a": two, "s1-rtc-gamma0": radar}
    with pytest.raises(GridError, match=r"(?s)CRS EPSG:32631.*-t_srs EPSG:4326 .*-tr 8.9e-05 8.9e-05 IN OUT"):
        map_scene(Fake(contract(radar=True)), images, tmp_path / "m.tif")


def test_a_real_scene_in_three_pixel_sizes_is_mapped(real: Path, tmp_path: Path) -> None:
    folder = next((real / "formats" / "major-tom" / "S2L2A" / "0U").glob("*/S2A*"))
    bands = ("B04", "B08", "B11", "B01")
    found = map_scene(
        Fake(contract(100, bands=bands)), {"s2-l2a": folder}, tmp_path / "m.tif", overlap=0, offset={"s2-l2a": -1000}
    )
    with rasterio.open(folder / "B04.tif") as source, rasterio.open(found.path) as out:
        assert (out.crs, out.transform, out.shape) == (source.crs, source.transform, source.shape)
        assert "102 x 102" in out.tags()["windows"]  # the next multiple of 6 pixels, as 60 m bands need
        assert (out.read(1) != 255).all()
    assert any("cloud_mask.tif" in n and "thumbnail.png" in n for n in found.notes)


def test_real_tiles_of_three_sensors_line_up(real: Path, tmp_path: Path) -> None:
    tiles = real / "terramind"
    names = {"s2-l2a": "S2L2A", "s1-rtc-gamma0": "S1RTC", "dem": "DEM"}
    streams = {
        s: StreamContract(s, b := sensor(s).band_names, sensor(s).unit, 10.0, (56, 56), (STATS,) * len(b))
        for s in names
    }
    images = {s: tiles / folder / "433D_629L_3_1.tif" for s, folder in names.items()}
    run = Fake(Contract(streams), keep=True)
    found = map_scene(run, images, tmp_path / "m.tif", offset={"s2-l2a": -1000})
    with rasterio.open(images["s2-l2a"]) as source, rasterio.open(found.path) as out:
        assert (out.crs, out.transform, out.shape) == (source.crs, source.transform, source.shape)
        pixels = source.read()
    image = run.batches[0].images["s2-l2a"]
    assert image.bands == sensor("s2-l2a").band_names
    assert int(image.data[1, 0, 3, 5, 7]) == int(pixels[3, 5, 28 + 7])
    expected = (int(pixels[3, 5, 35]) - 1000) * 1e-4
    assert float(image.physical()[1, 0, 3, 5, 7]) == pytest.approx(expected, abs=1e-6)
