from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from map_fakes import LEGEND, Fake, contract, field_of, grid, optical, write

from landweave.data import raster
from landweave.errors import ConfigError, ContractError, DataError, GridError, RunError
from landweave.grid import Grid, Window
from landweave.maps.engine import map_scene
from landweave.maps.windows import axis, hann
from landweave.nn.config import Encoder
from landweave.nn.encoders import StreamEncoder
from landweave.sample import Batch
from landweave.transforms import cubes


def whole(run: Fake, path: Path, size: int, stride: int) -> np.ndarray:
    """The map by plain loops with arrays of the raster's size."""
    run = Fake(run.contract, keep=True)
    source = raster.read(path)
    _, H, W = source.data.shape
    sums = np.zeros((3, H, W))
    for r in axis(H, size, stride).starts:
        for c in axis(W, size, stride).starts:
            part = raster.read(path, window=Window(r, c, size, size))
            x = torch.from_numpy(part.data[:1] * part.valid[:1] * 1e-4).float()[None]
            x = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
            p = (-30 * (x - torch.tensor([0.05, 0.3, 0.6]).reshape(1, 3, 1, 1)).abs()).softmax(1)[0].numpy()
            h, w = min(size, H - r), min(size, W - c)
            sums[:, r : r + h, c : c + w] += (p * np.outer(hann(size), hann(size)))[:, :h, :w]
    values = np.array([1, 4, 9])[sums.argmax(0)]
    values[~source.valid.any(0)] = 255
    return values


@pytest.mark.parametrize(("height", "width"), [(53, 61), (16, 40), (7, 11), (97, 16)])
def test_a_map_equals_plain_loops_whatever_the_shape(tmp_path: Path, height: int, width: int) -> None:
    path = optical(tmp_path / "a.tif", height, width)
    run = Fake(contract())
    found = map_scene(run, {"s2-l2a": path}, tmp_path / "map.tif")
    with rasterio.open(found.path) as out:
        values = out.read(1)
    expected = whole(run, path, 16, 8)
    assert values.shape == (height, width)
    assert (values == expected).mean() > 0.999  # float32 against float64 sums may turn a tie
    np.testing.assert_allclose(sum(found.shares.values()), 1)


def test_batch_size_lanes_and_memory_do_not_change_the_map(tmp_path: Path) -> None:
    path = optical(tmp_path / "a.tif", 70, 1200)
    found = []
    for name, options in {"a": {"batch_size": 1}, "b": {"batch_size": 7}, "c": {"memory": 1}}.items():
        result = map_scene(
            Fake(contract()), {"s2-l2a": path}, tmp_path / f"{name}_map.tif", probabilities=True, stride=5, **options
        )
        with rasterio.open(result.path) as out, rasterio.open(result.probabilities) as more:
            found.append((out.read(), more.read()))
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


def test_windows_out_of_sight_are_not_predicted_and_unseen_pixels_are_255(tmp_path: Path) -> None:
    data = field_of(64, 64)
    data[:, 20:] = 0
    path = write(tmp_path / "a.tif", {"B04": data, "B08": data}, grid(64, 64), nodata=0)
    run = Fake(contract(), keep=True)
    found = map_scene(run, {"s2-l2a": path}, tmp_path / "map.tif")
    with rasterio.open(found.path) as out:
        values = out.read(1)
    assert (values[:, 20:] == 255).all()
    assert (values[:, :20] != 255).all()
    assert found.unknown == pytest.approx(44 / 64)
    assert found.windows == 7 * 3  # starts 0, 8 and 16 of 7 a row
    assert all(bool(b.images["s2-l2a"].seen.any()) for b in run.batches)


def test_the_file_is_a_cog_with_names_colours_and_place(tmp_path: Path) -> None:
    path = optical(tmp_path / "a.tif", 600, 530)
    found = map_scene(Fake(contract(128)), {"s2-l2a": path}, tmp_path / "map.tif", probabilities=True, overlap=0)
    with rasterio.open(path) as source, rasterio.open(found.path) as out, rasterio.open(found.probabilities) as more:
        assert out.crs == source.crs
        assert out.transform == source.transform
        assert out.shape == source.shape == more.shape
        assert out.nodata == 255
        assert out.dtypes == ("uint8",)
        assert out.block_shapes == [(512, 512)]
        assert out.overviews(1) == [2]
        assert out.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert out.descriptions == ("lulc",)
        assert json.loads(out.tags(1)["CLASS_NAMES"]) == {"1": "water", "4": "crops & <trees>", "9": "bare"}
        assert out.colormap(1)[4] == (0x35, 0x82, 0x21, 255)
        assert out.tags()["values"] == "file values of the legend"
        assert out.tags()["unseen sensors"] == "none"
        assert set(np.unique(out.read(1))) <= {1, 4, 9}
        assert more.descriptions == LEGEND.names
        assert more.scales == pytest.approx((1 / 255,) * 3)
        assert np.abs(more.read().astype(int).sum(0) - 255).max() <= 2
        assert (np.array([1, 4, 9])[more.read().argmax(0)] == out.read(1)).mean() > 0.99


def test_styles_are_well_formed_and_carry_the_names(tmp_path: Path) -> None:
    from xml.etree import ElementTree

    found = map_scene(Fake(contract()), {"s2-l2a": optical(tmp_path / "a.tif", 30, 30)}, tmp_path / "map.tif")
    entries = ElementTree.parse(found.style).findall(".//paletteEntry")
    assert [(e.get("value"), e.get("label"), e.get("color")) for e in entries] == [
        (str(c.value), c.name, c.color) for c in LEGEND.classes
    ]
    side = ElementTree.parse(tmp_path / "map.tif.aux.xml")
    assert [c.text or "" for c in side.findall(".//Category")][4] == "crops & <trees>"
    assert [f.text for f in side.findall(".//Row")[2]] == ["9", "bare", "239", "207", "168"]


def test_legend_values_that_do_not_fit_become_indices(tmp_path: Path) -> None:
    from landweave.legends import LandClass, Legend

    big = Legend("clc", tuple(LandClass(111 * (i + 1), n, "#112233") for i, n in enumerate("abc")))
    path = optical(tmp_path / "a.tif", 20, 20)
    found = map_scene(Fake(contract(), legend=big), {"s2-l2a": path}, tmp_path / "map.tif")
    with rasterio.open(found.path) as out:
        assert set(np.unique(out.read(1))) <= {0, 1, 2}
        assert out.tags()["values"] == "class indices"
        assert json.loads(out.tags(1)["CLASS_NAMES"]) == {"0": "a", "1": "b", "2": "c"}


@pytest.mark.parametrize("kind", ["class", "multilabel"])
def test_a_scene_classifier_gives_one_pixel_a_window_at_its_centre(tmp_path: Path, kind: str) -> None:
    data = np.full((40, 56), 500, np.uint16)
    data[:, 28:] = 6000
    path = write(tmp_path / "a.tif", {"B04": data, "B08": data}, grid(40, 56))
    found = map_scene(Fake(contract(), kind=kind), {"s2-l2a": path}, tmp_path / "map.tif", probabilities=True)
    with rasterio.open(found.path) as out, rasterio.open(found.probabilities) as more:
        values = out.read(1)
        assert out.shape == (4, 6) == more.shape
        assert out.res == (80.0, 80.0)
        x, y = out.xy(0, 0)
        said = "80 m wide: the dominant class of the 16 x 16 pixels of s2-l2a around it"
        assert out.tags()["pixel"] == said == found.pixel
    assert f"a pixel of the map is {said}" in found.lines()
    assert (x, y) == (500_000 + 80, 5_000_000 - 80)  # the centre of the first window
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            part = data[i * 8 : i * 8 + 16, j * 8 : j * 8 + 16]
            if (part == part[0, 0]).all():
                assert value == (1 if part[0, 0] == 500 else 9)


def test_lanes_of_a_scene_classifier_join(tmp_path: Path) -> None:
    path = optical(tmp_path / "a.tif", 40, 90)
    a = map_scene(Fake(contract(), kind="class"), {"s2-l2a": path}, tmp_path / "a_map.tif")
    b = map_scene(Fake(contract(), kind="class"), {"s2-l2a": path}, tmp_path / "b_map.tif", memory=1)
    with rasterio.open(a.path) as x, rasterio.open(b.path) as y:
        np.testing.assert_array_equal(x.read(), y.read())


def test_a_prediction_on_a_coarser_grid_is_brought_to_the_windows(tmp_path: Path) -> None:
    path = optical(tmp_path / "a.tif", 40, 40)
    found = map_scene(Fake(contract(), coarse=2), {"s2-l2a": path}, tmp_path / "map.tif")
    with rasterio.open(found.path) as out:
        assert out.shape == (40, 40)


def test_windows_that_a_backbone_cannot_read_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    encoder = StreamEncoder(Encoder(name="levit_128s"), bands=2, size=(64, 64), form="vector").eval()

    class Backbone(Fake):
        def predict(self, batch: Batch) -> torch.Tensor:
            with torch.no_grad():
                encoder(cubes(batch, self.contract).images["s2-l2a"])
            return super().predict(batch)

    fine = write(tmp_path / "B04.tif", {"B04": field_of(99, 99)}, grid(99, 99))
    coarse = write(tmp_path / "B08.tif", {"B08": field_of(33, 33)}, grid(33, 33, metres=30.0))
    run = Backbone(contract(64))
    map_scene(run, {"s2-l2a": optical(tmp_path / "a.tif", 99, 99)}, tmp_path / "fits.tif")
    with pytest.raises(ConfigError, match="levit_128s cannot read 96 x 96 pixels"):
        map_scene(run, {"s2-l2a": f"{fine};{coarse}"}, tmp_path / "map.tif")
    assert {p.name for p in tmp_path.iterdir()} == {
        "B04.tif",
        "B08.tif",
        "a.tif",
        "fits.tif",
        "fits.qml",
        "fits.tif.aux.xml",
    }


def test_the_offset_is_added_to_raw_numbers(tmp_path: Path) -> None:
    first = field_of(33, 33)
    a = write(tmp_path / "a.tif", {"B04": first, "B08": first}, grid(33, 33))
    b = write(tmp_path / "b.tif", {"B04": first + 1000, "B08": first + 1000}, grid(33, 33))
    maps = []
    for path, offset in ((a, {}), (b, {"s2-l2a": -1000}), (b, {})):
        with rasterio.open(
            map_scene(Fake(contract()), {"s2-l2a": path}, tmp_path / "m.tif", offset=offset, overwrite=True).path
        ) as out:
            maps.append(out.read())
    np.testing.assert_array_equal(maps[0], maps[1])
    assert (maps[0] != maps[2]).any()


def test_memory_stays_bounded_on_a_raster_much_larger_than_the_limit(tmp_path: Path) -> None:
    side, limit = 3072, 6 * 2**20
    path, where = tmp_path / "big.tif", grid(side, side)
    band = field_of(side, side, cell=64)
    write(path, {"B04": band, "B08": band}, where, tiled=True, blockxsize=256, blockysize=256)
    run = Fake(contract(256), smooth=False)
    pages = []

    def watch(done: int, total: int) -> None:
        statm = Path("/proc/self/statm")
        pages.append(int(statm.read_text().split()[1]) * 4096 if statm.is_file() else 0)

    raw = band.nbytes * 2
    del band
    tracemalloc.start()
    map_scene(run, {"s2-l2a": path}, tmp_path / "map.tif", overlap=0, batch_size=2, memory=limit, progress=watch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert raw > 5 * limit
    assert peak < 1.5 * limit
    assert max(pages) - pages[0] < 24 * 2**20  # with torch and GDAL; the raster has 36 MiB, its blocks as sums 108


def test_an_interrupted_map_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    path = optical(tmp_path / "a.tif", 100, 100)

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        map_scene(Fake(contract()), {"s2-l2a": path}, folder / "map.tif", probabilities=True, progress=stop)
    assert list(folder.iterdir()) == []
    old = map_scene(Fake(contract()), {"s2-l2a": path}, folder / "map.tif").path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        map_scene(Fake(contract()), {"s2-l2a": path}, folder / "map.tif", progress=stop, stride=2, overwrite=True)
    assert (folder / "map.tif").read_bytes() == old


def test_a_killed_map_leaves_nothing_under_its_name_and_can_be_made_again(tmp_path: Path) -> None:
    optical(tmp_path / "a.tif", 100, 100)
    code = (
        "import os, signal; from map_fakes import *; from landweave.maps.engine import map_scene\n"
        "kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done > total / 2 else None\n"
        f"map_scene(Fake(contract()), {{'s2-l2a': r'{tmp_path}/a.tif'}}, r'{tmp_path}/out/map.tif', progress=kill)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "map.tif").exists()
    found = map_scene(Fake(contract()), {"s2-l2a": tmp_path / "a.tif"}, tmp_path / "out" / "map.tif")
    assert {p.name for p in found.path.parent.iterdir()} == {"map.tif", "map.qml", "map.tif.aux.xml"}


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = optical(tmp_path / "a.tif", 40, 40)
    map_scene(Fake(contract()), {"s2-l2a": path}, tmp_path / "m.tif", progress=lambda d, t: calls.append((d, t)))
    assert calls[-1] == (16, 16)
    assert [d for d, _ in calls] == [4, 8, 12, 16]


def test_the_result_is_told_in_lines_and_as_json(tmp_path: Path) -> None:
    found = map_scene(Fake(contract(radar=True)), {"s2-l2a": optical(tmp_path / "a.tif", 20, 20)}, tmp_path / "m.tif")
    text = "\n".join(found.lines())
    for word in ("no image of s1-rtc-gamma0", "20 x 20 pixels", "m.tif", "m.qml", "%"):
        assert word in text
    assert json.loads(json.dumps(found.to_json()))["shape"] == [20, 20]


@pytest.mark.parametrize(
    ("options", "kind", "match"),
    [
        ({"overlap": 1.0}, ConfigError, "overlap"),
        ({"stride": 17}, ConfigError, "stride"),
        ({"batch_size": 0}, ConfigError, "batch_size"),
        ({"offset": {"s1-rtc-gamma0": 1.0}}, ConfigError, "no --image"),
        ({"bands": {"s2-l2a": "B04"}}, DataError, "2 bands, but --bands names 1"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict, kind: type, match: str) -> None:
    path = optical(tmp_path / "a.tif", 20, 20)
    with pytest.raises(kind, match=match):
        map_scene(Fake(contract()), {"s2-l2a": path}, tmp_path / "m.tif", **options)
    assert not (tmp_path / "m.tif").exists()


@pytest.mark.parametrize("options", [{}, {"probabilities": True}])
def test_a_map_that_stands_there_is_not_replaced_unasked(tmp_path: Path, options: dict) -> None:
    image, out = {"s2-l2a": optical(tmp_path / "a.tif", 20, 20)}, tmp_path / "m.tif"
    map_scene(Fake(contract()), image, out, **options)
    if options:
        out.unlink()  # the probabilities alone are worth as much
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="stands there already") as error:
        map_scene(Fake(contract()), image, out, overlap=0, **options)
    assert "--overwrite" in str(error.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old
    map_scene(Fake(contract()), image, out, overwrite=True, **options)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Grid("EPSG:32631", (10.0, 0.0, 5e5, 0.0, -10.25, 5e6), (20, 20)), "10 x 10.25 m, as of s2-l2a"),
        (
            Grid("EPSG:4326", (0.00014, 0.0, 5.0, 0.0, -0.00009, 50.0), (20, 20)),
            "0.00014 x 0.00009 degrees, as of s2-l2a",
        ),
        (Grid("EPSG:2263", (30.0, 0.0, 1e6, 0.0, -30.0, 2e5), (20, 20)), "30 US survey foot, as of s2-l2a"),
    ],
)
def test_a_pixel_is_told_in_the_unit_of_the_crs(tmp_path: Path, where: Grid, said: str) -> None:
    data = field_of(20, 20)
    path = write(tmp_path / "a.tif", {"B04": data, "B08": data}, where)
    assert map_scene(Fake(contract()), {"s2-l2a": path}, tmp_path / "m.tif").pixel == said


def test_out_must_be_a_tif_and_not_an_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one \.tif"):
        map_scene(Fake(contract()), {"s2-l2a": tmp_path / "a.tif"}, tmp_path)
    path = optical(tmp_path / "a.tif", 20, 20)
    with pytest.raises(ConfigError, match="its own input"):
        map_scene(Fake(contract()), {"s2-l2a": path}, tmp_path / "a.tif")


def test_the_unit_is_checked_on_the_first_windows(tmp_path: Path) -> None:
    optical(tmp_path / "a.tif", 20, 20)
    power = np.full((20, 20), 0.05, np.float32)  # linear power handed in as dB
    write(tmp_path / "b.tif", {"VV": power, "VH": power / 5}, grid(20, 20))
    images = {"s2-l2a": tmp_path / "a.tif", "s1-rtc-gamma0": tmp_path / "b.tif"}
    with pytest.raises(DataError, match="linear") as error:
        map_scene(Fake(contract(radar=True)), images, tmp_path / "m.tif")
    assert "b.tif" in str(error.value)
    images = {"s2-l2a": tmp_path / "a.tif", "s1-rtc-gamma0-linear": tmp_path / "b.tif"}
    found = map_scene(Fake(contract(radar=True)), images, tmp_path / "m.tif")
    assert any("converted" in n for n in found.notes)


def test_wrong_places_units_and_sensors_are_refused_by_name(tmp_path: Path) -> None:
    first = optical(tmp_path / "a.tif", 20, 20)
    data = np.full((20, 20), -12.0, np.float32)
    run = Fake(contract(radar=True))
    cases = [
        (grid(20, 20, x=900_000.0), GridError, "lies beside"),
        (grid(20, 20, x=500_003.0), GridError, "do not nest"),
        (raster.Grid("EPSG:32632", grid(20, 20).transform, (20, 20)), GridError, "CRS EPSG:32632"),
    ]
    for where, kind, match in cases:
        write(tmp_path / "b.tif", {"VV": data, "VH": data}, where)
        with pytest.raises(kind, match=match) as error:
            map_scene(run, {"s2-l2a": first, "s1-rtc-gamma0": tmp_path / "b.tif"}, tmp_path / "m.tif")
        assert "b.tif" in str(error.value)
        assert "fix:" in str(error.value)
    write(tmp_path / "b.tif", {"VV": data, "VH": data}, grid(20, 20))
    with pytest.raises(ContractError, match="trained on s1-rtc-gamma0"):
        map_scene(run, {"s2-l2a": first, "s1-grd-sigma0": tmp_path / "b.tif"}, tmp_path / "m.tif")
    with pytest.raises(ConfigError, match="did you mean `s2-l2a`"):
        map_scene(run, {"s2-l2b": first}, tmp_path / "m.tif")


def test_a_sensor_that_is_not_given_is_said_and_recorded(tmp_path: Path) -> None:
    path = optical(tmp_path / "a.tif", 20, 20)
    found = map_scene(Fake(contract(radar=True)), {"s2-l2a": path}, tmp_path / "m.tif")
    assert found.unseen == ("s1-rtc-gamma0",)
    assert any("no image of s1-rtc-gamma0" in n for n in found.notes)
    with rasterio.open(found.path) as out:
        assert out.tags()["unseen sensors"] == "s1-rtc-gamma0"


def test_answers_that_are_no_numbers_are_refused_not_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", {"B04": field_of(32, 32), "B08": field_of(32, 32)}, grid(32, 32))
    plain = Fake.predict
    monkeypatch.setattr(Fake, "predict", lambda self, batch: plain(self, batch) * float("nan"))
    with pytest.raises(RunError, match="none \\(NaN\\)"):
        map_scene(Fake(contract()), {"s2-l2a": path}, tmp_path / "m.tif")


def test_the_doubts_of_check_are_notes_of_a_map(tmp_path: Path) -> None:
    dark = (field_of(64, 64) * 0 + 1050).astype("uint16")
    dark[:32] = 0
    dark[40:] += 2000
    path = write(tmp_path / "S2A_N0509_x.tif", dict.fromkeys(("B02", "B04", "B08"), dark), grid(64, 64))
    fake = Fake(contract(bands=("B02", "B04", "B08")))
    notes = map_scene(fake, {"s2-l2a": path}, tmp_path / "m.tif").notes
    assert any("zero in every band: 50.0% of the pixels" in n for n in notes), notes
    assert any("suspected +1000 offset" in n for n in notes), notes


def test_a_radar_scene_with_an_empty_corner_is_still_in_db(tmp_path: Path) -> None:
    radar = np.full((64, 64), -12, np.float32)
    radar[:40] = 0
    optical_ = write(tmp_path / "a.tif", {"B04": field_of(64, 64), "B08": field_of(64, 64)}, grid(64, 64))
    path = write(tmp_path / "r.tif", {"VV": radar, "VH": radar - 6}, grid(64, 64))
    path2 = write(tmp_path / "z.tif", {"VV": radar * 0 + 0.02, "VH": radar * 0 + 0.01}, grid(64, 64))
    images = {"s2-l2a": optical_, "s1-rtc-gamma0": path}
    assert map_scene(Fake(contract(radar=True)), images, tmp_path / "m.tif").path
    with pytest.raises(DataError, match="not dB"):
        map_scene(Fake(contract(radar=True)), images | {"s1-rtc-gamma0": path2}, tmp_path / "n.tif")
