from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from landweave.contract import BandStats, Contract, StreamContract
from landweave.errors import ContractError, DataError
from landweave.grid import Grid
from landweave.sample import Batch, Image, Sample, collate
from landweave.sensors import sensor
from landweave.transforms import Augment, augment, cubes, normalise, resample, to_common


def stats(n: int, mean: float = 0.2, std: float = 0.1) -> tuple[BandStats, ...]:
    return tuple(BandStats(mean + i, std * (i + 1), 0, 1, 0, 1, 9) for i in range(n))


def contract(**bands: tuple[str, ...]) -> Contract:
    rows = {}
    for key, names in bands.items():
        name = key.replace("_", "-")
        rows[name] = StreamContract(name, names, sensor(name).unit, 10.0, (12, 12), stats(len(names)))
    return Contract(rows)


def numbers(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(1, 4000, shape).astype(np.uint16)


def grid(n: int) -> Grid:
    return Grid("EPSG:32633", (120 / n, 0, 0, 0, -120 / n, 0), (n, n))


def place(name: str = "p", **more: Image) -> Sample:
    images = {
        "s2-l2a@10": Image.of("s2-l2a@10", ["B02", "B08"], numbers(2, 12, 12), grid=grid(12), days=[5]),
        "s2-l2a@20": Image.of("s2-l2a@20", ["B05", "B8A"], numbers(2, 6, 6, seed=1), grid=grid(6), days=[5]),
        "s2-l2a@60": Image.of("s2-l2a@60", ["B01"], numbers(1, 2, 2, seed=2), grid=grid(2), days=[5]),
    } | {k.replace("_at_", "@").replace("_", "-"): v for k, v in more.items()}
    return Sample(images, {}, name)


L2A = contract(s2_l2a=("B8A", "B01", "B08", "B02"))


def test_bands_by_name_on_the_finest_raster() -> None:
    batch = collate([place("a"), place("b")])
    cube = cubes(batch, L2A, method="nearest").images["s2-l2a"]
    assert cube.bands == ("B8A", "B01", "B08", "B02")
    assert cube.data.shape == (2, 1, 4, 12, 12)
    assert cube.data.dtype == torch.float32
    fine = {b: numbers(2, 12, 12)[i] for i, b in enumerate(["B02", "B08"])}
    half = {b: numbers(2, 6, 6, seed=1)[i] for i, b in enumerate(["B05", "B8A"])}
    sixth = numbers(1, 2, 2, seed=2)[0]
    for r in range(12):
        for c in range(12):
            expected = [half["B8A"][r // 2, c // 2], sixth[r // 6, c // 6], fine["B08"][r, c], fine["B02"][r, c]]
            assert cube.data[1, 0, :, r, c].tolist() == pytest.approx([v * 1e-4 for v in expected])
    assert cube.seen.all()
    assert (cube.scale == 1).all()
    assert not cube.offset.any()
    assert cube.days.tolist() == [[5], [5]]
    assert cube.grid == (grid(12), grid(12))
    turned = cubes(augment(batch, Augment(), (0, 0)), L2A).images["s2-l2a"]
    assert (turned.grid, turned.moved_from) == ((None, None), (grid(12), grid(12)))


def test_a_band_is_taken_where_it_is_finest() -> None:
    twice = Image.of("s2-l2a@20", ["B08", "B8A"], numbers(2, 6, 6, seed=1), grid=grid(6), days=[5])
    for order in (("s2-l2a@10", "s2-l2a@20"), ("s2-l2a@20", "s2-l2a@10")):
        images = place().images | {"s2-l2a@20": twice}
        batch = collate([Sample({s: images[s] for s in order}, {}, "p")])
        cube = cubes(batch, contract(s2_l2a=("B08", "B8A"))).images["s2-l2a"]
        torch.testing.assert_close(cube.data[0, 0, 0], torch.from_numpy(numbers(2, 12, 12)[1].astype("f4")) * 1e-4)


def test_bilinear_is_torchs_by_pixel_centres() -> None:
    batch = collate([place()])
    cube = cubes(batch, L2A).images["s2-l2a"]
    coarse = torch.from_numpy(numbers(2, 6, 6, seed=1).astype(np.float32))[None, 1:] * 1e-4
    expected = torch.nn.functional.interpolate(coarse, (12, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(cube.data[0, 0, :1], expected[0])
    assert cube.data[0, 0, 0, 0, 1] == pytest.approx(0.75 * coarse[0, 0, 0, 0] + 0.25 * coarse[0, 0, 0, 1])


def test_cubes_of_cubes_are_the_same() -> None:
    once = cubes(collate([place()]), L2A)
    twice = cubes(once, L2A)
    torch.testing.assert_close(twice.images["s2-l2a"].data, once.images["s2-l2a"].data, rtol=0, atol=0)


def test_the_offset_of_a_file_is_applied() -> None:
    shifted = Image.of("s2-l2a@10", ["B02", "B08"], numbers(2, 12, 12) + 1000, offset=-0.1, grid=grid(12), days=[5])
    batch = collate([place("a"), place("b", s2_l2a_at_10=shifted)])
    cube = cubes(batch, L2A).images["s2-l2a"].data
    torch.testing.assert_close(cube[0], cube[1])


def test_unseen_pixels_never_leak() -> None:
    raw = numbers(2, 6, 6, seed=1)
    seen = np.ones((6, 6), bool)
    seen[2, 3] = False
    results = []
    for junk in (0, 60000):
        raw[:, 2, 3] = junk
        image = Image.of("s2-l2a@20", ["B05", "B8A"], raw, grid=grid(6), days=[5], pixels_seen=seen)
        results.append(cubes(collate([place(s2_l2a_at_20=image)]), L2A).images["s2-l2a"])
    torch.testing.assert_close(results[0].data, results[1].data, rtol=0, atol=0)
    hidden = ~results[0].seen[0, 0, 0]
    assert hidden.sum() == 4
    assert hidden[4:6, 6:8].all()
    assert (results[0].data[0, 0, 0][hidden] == 0).all()
    neighbour = float(results[0].data[0, 0, 0, 4, 5])  # pulled to the pixels around, not to 0 or 60000
    assert raw[1, 1:3, 2:3].min() * 1e-4 <= neighbour <= raw[1, 1:3, 1:4].max() * 1e-4
    assert results[0].seen[0, 0, 1:].all()


def test_absent_bands_streams_and_sensors_are_there_unseen() -> None:
    lacking = replace(place("b"), images={"s2-l2a@10": place().images["s2-l2a@10"]})
    batch = collate([place("a"), lacking])
    promised = Contract({**L2A.streams, **contract(s1_grd_sigma0=("VV", "VH")).streams})
    images = cubes(batch, promised).images
    assert images["s2-l2a"].bands_seen.tolist() == [[True] * 4, [False, False, True, True]]
    assert images["s2-l2a"].sensor_seen.tolist() == [True, True]
    assert (images["s2-l2a"].data[1, 0, :2] == 0).all()
    radar = images["s1-grd-sigma0"]
    assert radar.data.shape == (2, 1, 2, 12, 12)
    assert not radar.seen.any()
    assert not radar.sensor_seen.any()
    more = contract(s2_l2a=("B08", "B12"))
    assert cubes(batch, more).images["s2-l2a"].bands_seen.tolist() == [[True, False]] * 2
    assert cubes(batch, contract(s2_l2a=("B12",))).images["s2-l2a"].data.shape == (2, 1, 1, 12, 12)


def test_a_series_keeps_its_dates_and_each_pixel_size_its_own_gaps() -> None:
    def series(days: list[int], gap: int | None = None) -> Sample:
        T = len(days)
        ten = Image.of("s2-l2a@10", ["B02"], numbers(T, 1, 12, 12), days=days, grid=grid(12))
        twenty = Image.of("s2-l2a@20", ["B05"], numbers(T, 1, 6, 6), days=days, grid=grid(6))
        if gap is not None:
            twenty = replace(twenty, dates_seen=torch.arange(T) != gap)
        return Sample({"s2-l2a@10": ten, "s2-l2a@20": twenty}, {}, f"p{T}")

    bands = contract(s2_l2a=("B02", "B05"))
    cube = cubes(collate([series([1, 9, 30], gap=1), series([4])]), bands).images["s2-l2a"]
    assert cube.data.shape == (2, 3, 2, 12, 12)
    assert cube.days[0].tolist() == [1, 9, 30]
    assert cube.dates_seen.tolist() == [[True] * 3, [True, False, False]]
    assert cube.seen[0, :, :, 0, 0].tolist() == [[True, True], [True, False], [True, True]]

    short = series([4])
    only_ten = replace(series([1, 9, 30]), images={"s2-l2a@10": series([1, 9, 30]).images["s2-l2a@10"]})
    cube = cubes(collate([only_ten, short]), bands).images["s2-l2a"]  # the @20 series of this batch has 1 date
    assert cube.seen[:, :, :, 0, 0].sum((1, 2)).tolist() == [3, 2]

    other = replace(short, images={**short.images, "s2-l2a@20": series([5]).images["s2-l2a@20"]})
    with pytest.raises(DataError, match="s2-l2a@10 and s2-l2a@20 have different dates"):
        cubes(collate([other]), bands)


def test_db_and_power_are_converted_both_ways() -> None:
    given, promised = "s1-rtc-gamma0-linear", "s1-rtc-gamma0"
    power = np.array([[[1.0, 0.1], [0.01, 0.0]]] * 2, np.float32)
    rows = contract(s1_rtc_gamma0=("VH", "VV"), s1_rtc_gamma0_linear=("VV",))
    batch = collate([Sample({given: Image.of(given, ["VV", "VH"], power)}, {}, "p")])
    only = Contract({promised: rows.streams[promised]})
    decibels = cubes(batch, only).images[promised]
    assert decibels.bands == ("VH", "VV")
    assert decibels.data[0, 0, 0].flatten().tolist() == pytest.approx([0, -10, -20, -60], abs=1e-4)
    back = cubes(replace(batch, images={promised: decibels}), Contract({given: rows.streams[given]})).images[given]
    assert back.data[0, 0, 0].flatten().tolist() == pytest.approx([1, 0.1, 0.01, 1e-6])


def test_radar_is_averaged_as_power() -> None:
    decibels = np.array([[[0.0, -20.0], [-20.0, -20.0]]], np.float32)
    batch = collate([Sample({"s1-grd-sigma0": Image.of("s1-grd-sigma0", ["VV"], decibels)}, {}, "p")])
    mean = to_common(batch, (1, 1)).images["s1-grd-sigma0"].data.item()
    assert mean == pytest.approx(10 * np.log10((1 + 3 * 0.01) / 4), abs=1e-4)  # -5.9 dB, where the mean of dB is -15


def test_an_image_of_another_sensor_is_refused() -> None:
    batch = collate([Sample({"s2-l1c": Image.of("s2-l1c", ["B02"], numbers(1, 4, 4))}, {}, "p")])
    with pytest.raises(ContractError, match=r"trained on s2-l2a, not on s2-l1c") as caught:
        cubes(batch, L2A)
    assert "data.streams" in str(caught.value)
    both = {n: Image.of(n, ["VV"], np.ones((1, 4, 4), np.float32)) for n in ("s1-rtc-gamma0", "s1-rtc-gamma0-linear")}
    with pytest.raises(ContractError, match="one sensor in two units"):
        cubes(collate([Sample(both, {}, "p")]), contract(s1_rtc_gamma0=("VV",)))


def test_batch_order_and_a_batch_of_one() -> None:
    a, b = place("a"), place("b", s2_l2a_at_20=Image.of("s2-l2a@20", ["B05", "B8A"], numbers(2, 6, 6, seed=9)))
    together, turned = cubes(collate([a, b]), L2A), cubes(collate([b, a]), L2A)
    alone = cubes(collate([b]), L2A)
    for other, i in ((turned, 0), (alone, 0)):
        torch.testing.assert_close(together.images["s2-l2a"].data[1], other.images["s2-l2a"].data[i], rtol=0, atol=0)


def test_resample_grows_shrinks_and_scales_the_grid() -> None:
    data = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    image = collate([Sample({"dem": Image.of("dem", ["elevation"], data, grid=grid(4))}, {}, "p")]).images["dem"]
    small = resample(image, (2, 2))
    assert small.data.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert small.grid == (grid(2),)
    assert resample(image, (2, 2), method="nearest").data.flatten().tolist() == [5.0, 7.0, 13.0, 15.0]
    assert resample(image, (8, 2)).data.shape[-2:] == (8, 2)
    half = replace(image, pixels_seen=(torch.arange(4) > 0).expand(1, 1, 1, 4, 4))
    assert resample(half, (2, 2)).data.flatten().tolist() == [3.0, 4.5, 11.0, 12.5]  # means of what is seen


def test_normalise_centres_and_leaves_the_unseen_at_zero() -> None:
    batch = cubes(collate([place()]), contract(s2_l2a=("B02", "B12", "B08")))
    image = normalise(batch, contract(s2_l2a=("B02", "B12", "B08"))).images["s2-l2a"]
    raw = numbers(2, 12, 12).astype(np.float32) * 1e-4
    assert image.data[0, 0, 0].numpy() == pytest.approx((raw[0] - 0.2) / 0.1, abs=1e-4)
    assert image.data[0, 0, 2].numpy() == pytest.approx((raw[1] - 2.2) / 0.3, abs=1e-4)
    assert (image.data[0, 0, 1] == 0).all()


def test_normalise_does_not_look_at_unseen_values() -> None:
    batch = cubes(collate([place()]), L2A)
    image = batch.images["s2-l2a"]
    hidden = replace(image, pixels_seen=image.pixels_seen & (torch.arange(12) > 3))
    for junk in (1e30, float("nan")):
        data = torch.where(hidden.seen, image.data, junk)
        out = normalise(replace(batch, images={"s2-l2a": replace(hidden, data=data)}), L2A).images["s2-l2a"].data
        assert (out[..., :4] == 0).all()
        assert out.isfinite().all()


def test_normalise_refuses_what_is_not_a_cube() -> None:
    batch = collate([place()])
    with pytest.raises(ContractError, match="s2-l2a@10: the model was not trained on it"):
        normalise(batch, L2A)
    swapped: Batch = cubes(batch, contract(s2_l2a=("B08", "B02")))
    with pytest.raises(ContractError, match=r"its bands are B08, B02"):
        normalise(swapped, L2A)


def test_full_precision_under_autocast() -> None:
    batch = collate([place()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = normalise(to_common(cubes(batch, L2A), (5, 5)), L2A)
    plain = normalise(to_common(cubes(batch, L2A), (5, 5)), L2A)
    assert torch.equal(mixed.images["s2-l2a"].data, plain.images["s2-l2a"].data)


def test_a_genuine_bigearthnet_place(real: Path) -> None:
    from landweave.data import raster

    files = sorted(p for p in (real / "formats/bigearthnet-v2").rglob("*") if "_B" in p.name and ".tif" in p.suffix)
    images: dict[str, Image] = {}
    for metres in (10, 20, 60):
        mine = {sensor("s2-l2a").band(p.stem.rpartition("_")[2]): p for p in files}
        mine = {b: p for b, p in mine.items() if b.metres == metres}
        rasters = [raster.read(p) for p in mine.values()]
        assert rasters, metres
        data = np.concatenate([r.data for r in rasters])
        name = f"s2-l2a@{metres}"
        images[name] = Image.of(name, [b.name for b in mine], data, grid=rasters[0].grid)
    names = sensor("s2-l2a").band_names
    cube = cubes(collate([Sample(images, {}, "p")]), contract(s2_l2a=names), method="nearest").images["s2-l2a"]
    assert cube.data.shape == (1, 1, 12, 120, 120)
    for band, factor in (("B02", 1), ("B8A", 2), ("B09", 6)):
        stream = next(im for im in images.values() if band in im.bands)
        raw = stream.select([band]).data[0, 0]
        found = cube.data[0, 0, names.index(band), ::factor, ::factor]
        torch.testing.assert_close(found, raw.float() * 1e-4)
