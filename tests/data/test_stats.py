"""Statistics against numpy over everything at once, and the contract made from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fake import Fake

from landweave.config import override, parse
from landweave.contract import BandStats, Contract, StreamContract
from landweave.data import stats as module
from landweave.data.dataset import Chosen, Dataset, Place
from landweave.data.raster import header
from landweave.data.stats import contract_of, ground_metres, implausible, measure
from landweave.errors import ConfigError, DataError
from landweave.grid import Grid
from landweave.run.experiment import DataOnly
from landweave.sample import Image, Sample
from landweave.sensors import StreamChoice


@dataclass
class Given(Dataset):
    """Images handed in, one dict a place."""

    images: list[dict[str, Image]]
    where: str = "given"

    def __post_init__(self) -> None:
        self.places = [Place(f"p{i}", "train") for i in range(len(self.images))]
        self.streams = sorted({k for images in self.images for k in images})
        self.tasks = {}

    def read(self, index: int) -> Sample:
        return Sample(self.images[index], {}, f"p{index}")

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        return None


def everything(dataset: Dataset, indices: Sequence[int], sensor: str, band: str) -> np.ndarray:
    """All seen values, with a loop over pixels' masks only."""
    found: list[float] = []
    for i in indices:
        for stream, image in dataset.read(i).images.items():
            if stream.partition("@")[0] != sensor or band not in image.bands:
                continue
            c = image.bands.index(band)
            mask = min(c, image.pixels_seen.shape[1] - 1)
            for t in range(image.data.shape[0]):
                if image.dates_seen[t] and image.bands_seen[c]:
                    values = image.data[t, c].numpy().astype(float)[image.pixels_seen[t, mask].numpy()]
                    found += (values * float(image.scale[t, c]) + float(image.offset[t, c])).tolist()
    return np.array(found)


def test_equal_to_numpy_over_everything() -> None:
    dataset = Fake()
    indices = dataset.of_split("train")
    found = measure(dataset, indices)
    assert list(found) == ["s2-l2a", "s1-rtc-gamma0", "dem"]
    assert list(found["s2-l2a"]) == ["B02", "B03", "B04", "B05", "B08", "B8A"], "two streams, one order"
    for sensor, bands in found.items():
        for band, stats in bands.items():
            values = everything(dataset, indices, sensor, band)
            assert stats.n == len(values)
            got = (stats.mean, stats.std, stats.minimum, stats.maximum)
            assert got == pytest.approx((values.mean(), values.std(), values.min(), values.max()), rel=1e-9)
            assert (stats.p01, stats.p99) == pytest.approx(np.percentile(values, [1, 99]))


def test_only_the_given_places_count() -> None:
    dataset = Fake()
    assert measure(dataset, [0]) != measure(dataset, [0, 1])
    assert measure(dataset, [0, 2]) == measure(dataset, [0, 2])
    assert measure(dataset, [0, 2])["dem"]["elevation"].n == 32


def test_stable_far_from_zero() -> None:
    """A spread of 1e-3 around 1e6 at float64 keeps six digits; a sum of squares keeps none."""
    rng = np.random.default_rng(0)
    data = rng.normal(0, 1e-3, (20, 1, 1, 32, 32)) + 8000.0
    dataset = Given([{"dem": Image.of("dem", ("elevation",), d, offset=1e6)} for d in data])
    stats = measure(dataset, range(20))["dem"]["elevation"]
    assert stats.std == pytest.approx(data.std(), rel=1e-6)


def test_percentiles_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far more values than are kept, coming in sorted: the sample must be uniform over all of them."""
    monkeypatch.setattr(module, "_KEPT", 3000)
    values = np.linspace(0, 1000, 64 * 4096).reshape(64, 1, 64, 64)
    dataset = Given([{"dem": Image.of("dem", ("elevation",), v)} for v in values])
    stats = measure(dataset, range(64))["dem"]["elevation"]
    assert stats.p01 == pytest.approx(10, abs=6)
    assert stats.p99 == pytest.approx(990, abs=6)
    moments = module._Moments(np.random.default_rng(0))
    for v in values:
        moments.add(v.ravel())
    moments.stats()
    assert moments.values.size == 3000
    assert np.histogram(moments.values, 4, (0, 1000))[0] == pytest.approx([750] * 4, abs=90)


def test_a_rare_sensor_is_found_and_an_absent_one_named() -> None:
    some, other = Image.of("dem", ("elevation",), np.ones((1, 4, 4))), Image.of("rgb", "RGB", np.ones((3, 4, 4)))
    seen: list[tuple[int, int]] = []
    images = [{"dem": some}] * 39 + [{"dem": some, "rgb": other}]
    found = measure(Given(images), range(40), max_places=5, progress=lambda *at: seen.append(at))
    assert found["rgb"]["R"].n == 16
    assert found["dem"]["elevation"].n < 16 * 41
    assert seen[-1] == (5, 5)
    with pytest.raises(DataError, match="no seen pixel of rgb at any of the 39") as caught:
        measure(Given(images), range(39))
    assert "data.streams=[dem]" in str(caught.value)
    with pytest.raises(DataError, match="no training places"):
        measure(Given(images), [])
    unseen = replace(other, dates_seen=other.dates_seen & False)
    small = Image.of("rgb", "RGB", np.ones((3, 2, 2)))
    assert contract_of(Given([{"rgb": unseen}, {"rgb": unseen}, {"rgb": small}]), range(3)).streams["rgb"].size == (
        2,
        2,
    )
    with pytest.raises(DataError, match="rgb"):
        measure(Given([{"dem": some, "rgb": unseen}]), [0])


def test_contract_of_streams_at_several_sizes() -> None:
    dataset = Fake()
    contract = contract_of(dataset, dataset.of_split("train"))
    s2, s1, dem = contract.streams.values()
    assert (s2.sensor, s2.bands) == ("s2-l2a", ("B02", "B03", "B04", "B05", "B08", "B8A"))
    assert (s2.unit, s2.metres, s2.size) == ("reflectance", 10.0, (16, 16))
    assert (s1.unit, s1.metres, s1.size, s1.bands) == ("dB", 10.0, (16, 16), ("VV", "VH"))
    assert (dem.unit, dem.metres, dem.size) == ("metre", None, (4, 4))
    assert Contract.from_json(contract.to_json()) == contract
    narrow = contract_of(Chosen(dataset, [StreamChoice.parse("s2-l2a:B8A+B05")]), [0, 1])
    assert [s.bands for s in narrow.streams.values()] == [("B05", "B8A")]
    assert narrow.streams["s2-l2a"].metres == 20.0


def test_size_is_that_of_most_places() -> None:
    sizes = [8, 8, 16, 8, 12]
    images = [{"rgb": Image.of("rgb", "RGB", np.ones((3, n, n), np.uint8))} for n in sizes]
    assert contract_of(Given(images), range(5)).streams["rgb"].size == (8, 8)
    grid = Grid("EPSG:2154", (0.2, 0, 7e5, 0, -0.2, 6.6e6), (8, 8))
    images = [
        {"rgb": Image.of("rgb", "RGB", np.ones((3, n, n), np.uint8), grid=replace(grid, shape=(n, n)))} for n in sizes
    ]
    assert contract_of(Given(images), range(5)).streams["rgb"].size == (8, 8)


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        ("EPSG:32631", (10.0, 0, 5e5, 0, -10.0, 5.4e6), 10.0),
        ("EPSG:2154", (0.2, 0, 7e5, 0, -0.2, 6.6e6), 0.2),
        ("EPSG:4326", (1e-4, 0, 2.0, 0, -1e-4, 48.0), 11.1),
        ("EPSG:3857", (10.0, 0, 2e5, 0, -10.0, 6.1e6), 6.69),
        ("", (10.0, 0, 0, 0, -10.0, 0), None),
    ],
)
def test_metres_on_the_ground(crs: str, transform: tuple[float, ...], metres: float | None) -> None:
    assert ground_metres(Grid(crs, transform, (64, 64))) == metres  # type: ignore[arg-type]


def test_metres_of_a_genuine_tile(real: Path) -> None:
    for file in (real / "terramind" / "S2L2A").glob("*.tif"):
        assert ground_metres(header(file).grid) == 10.0


def _contract(sensor: str, band: str, mean: float, low: float, high: float) -> Contract:
    stats = BandStats(mean, 1.0, low, high, low, high, 100)
    return Contract({sensor: StreamContract(sensor, (band,), "u", 10.0, (8, 8), (stats,))})


@pytest.mark.parametrize(
    ("sensor", "band", "mean", "low", "high", "says"),
    [
        ("s1-rtc-gamma0", "VV", 0.2, 0.001, 3.0, "linear power"),
        ("s1-rtc-gamma0-linear", "VV", -12.0, -30.0, 3.0, "dB"),
        ("s2-l2a", "B04", 1200.0, 30.0, 9000.0, "outside"),
        ("s2-l2a", "B04", 2e-5, 0.0, 1e-4, "twice"),
        ("s2-l2a", "B04", 0.2, 0.1, 0.6, "offset"),
        ("rgb", "R", 0.4, 0.0, 1.0, "255"),
        ("aerial", "R", 900.0, 0.0, 4000.0, "outside"),
        ("dem", "elevation", 9500.0, 0.0, 9999.0, "outside"),
        ("s1-rtc-gamma0", "VV", -12.0, -30.0, 3.0, ""),
        ("s2-l2a", "B04", 0.1, 0.01, 1.2, ""),
        ("s2-l2a", "B08", 0.3, 0.1, 0.6, ""),
        ("rgb", "R", 90.0, 0.0, 255.0, ""),
    ],
)
def test_what_a_unit_does_not_allow(sensor: str, band: str, mean: float, low: float, high: float, says: str) -> None:
    found = implausible(_contract(sensor, band, mean, low, high))
    assert len(found) == bool(says)
    if says:
        assert says in found[0]
        assert f"{sensor} {band}" in found[0]


def test_a_contract_knows_series_and_how_far_a_sensor_reaches() -> None:
    fine = Grid("EPSG:2154", (0.2, 0, 7e5, 0, -0.2, 6.6e6), (8, 8))  # 1.6 m of ground
    same = Grid("EPSG:2154", (0.8, 0, 7e5, 0, -0.8, 6.6e6), (2, 2))
    wide = Grid("EPSG:2154", (0.8, 0, 7e5 - 0.8, 0, -0.8, 6.6e6 + 0.8), (4, 4))

    def place(T: int, grid: Grid) -> dict[str, Image]:
        side = grid.shape[0]
        return {
            "aerial": Image.of("aerial", "RGBN", np.ones((4, 8, 8), np.uint8), grid=fine),
            "s2-l2a": Image.of("s2-l2a", ("B02", "B03"), np.ones((T, 2, side, side), np.uint16), grid=grid),
            "rgb": Image.of("rgb", "RGB", np.ones((3, 4, 4), np.uint8)),
        }

    streams = contract_of(Given([place(1, wide), place(3, wide)]), range(2)).streams
    assert [s.series for s in streams.values()] == [False, False, True]
    assert [s.context for s in streams.values()] == [1.0, 1.0, 2.0]
    streams = contract_of(Given([place(1, same), place(1, same)]), range(2)).streams
    assert not any(s.series for s in streams.values())
    assert {s.context for s in streams.values()} == {1.0}


def test_a_contract_of_an_older_run_opens() -> None:
    contract = contract_of(Fake(), [0, 3])
    raw = contract.to_json()
    for row in raw.values():
        del row["series"], row["context"], row["decibel"]
    opened = Contract.from_json(raw)
    assert not any(s.series or s.context != 1 for s in opened.streams.values())
    assert {n: s.stats for n, s in opened.streams.items()} == {n: s.stats for n, s in contract.streams.items()}


def test_given_statistics_take_the_place_of_measured_ones_by_name() -> None:
    """Weakness 4 of the spec: statistics go by the name of a band, so that no order of channels can mix them up."""
    spot = Image.of("spot", ("N", "R", "G"), np.full((3, 4, 4), 5000, np.uint16))
    dataset = Given([{"spot": spot}])
    given = {"spot": {"R": (0.0433, 0.0313), "G": (0.0509, 0.0285), "B": (0.0468, 0.0226), "N": (0.1137, 0.0543)}}
    plain, ours = (contract_of(dataset, [0], given=g).streams["spot"] for g in (None, given))
    assert ours.bands == ("R", "G", "N")
    assert ours.mean == [0.0433, 0.0509, 0.1137]
    assert ours.std == [0.0313, 0.0285, 0.0543]
    assert [s.maximum for s in ours.stats] == [s.maximum for s in plain.stats] == [pytest.approx(0.5)] * 3
    del given["spot"]["N"]
    with pytest.raises(
        ConfigError, match=r"(?s)data\.statistics\.spot: 3 bands .* none for N.*fix: give mean"
    ) as caught:
        contract_of(dataset, [0], given=given)
    assert caught.value.exit_code == 2


def test_linear_power_is_told_in_decibels() -> None:
    """From the percentiles, since the mean of power is that of a few bright pixels; or as given, in dB."""
    name = "s1-rtc-gamma0-linear"
    decibels = np.random.default_rng(0).normal((-11, -18), 3, (100, 100, 2)).transpose(2, 0, 1)
    power = (10 ** (decibels / 10)).astype(np.float32)
    power[:, 0, 0] = 500
    dataset = Given([{name: Image.of(name, ("VV", "VH"), power), "dem": Image.of("dem", ("elevation",), power[:1])}])
    plain = contract_of(dataset, [0])
    row = plain.streams[name]
    assert np.array(row.decibel) == pytest.approx(np.array([(-11, 3), (-18, 3)]), abs=0.15)
    assert row.mean == pytest.approx(power.mean((1, 2)).tolist(), rel=1e-4), "statistics stay in the sensor's unit"
    assert row.levels == list(row.decibel)
    other = plain.streams["dem"]
    assert (other.decibel, other.levels) == ((), list(zip(other.mean, other.std, strict=True)))
    assert Contract.from_json(json.loads(json.dumps(plain.to_json()))) == plain
    given = {name: {"VH": (-17.0, 2.0), "VV": (-10.0, 4.0)}}
    ours = contract_of(dataset, [0], given=given).streams[name]
    assert ours.levels == [(-10.0, 4.0), (-17.0, 2.0)]
    assert ours.stats == row.stats
    with pytest.raises(ConfigError, match=r"(?s)mean of VV is given as 0\.13, and in dB .* fix: .* in dB"):
        contract_of(dataset, [0], given={name: {"VV": (0.13, 0.2), "VH": (0.02, 0.1)}})
    with pytest.raises(ConfigError, match="none for VH"):
        contract_of(dataset, [0], given={name: {"VV": (-10.0, 4.0)}})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{spott: {R: [1, 1]}}", "`spott` is not a sensor, did you mean `spot`?"),
        ("{spot: {I: [1, 1]}}", "spot has no band `I`; it has R, G, B, N"),
        ("{spot: {R: [1, 0]}}", "the deviation of spot R is 0, which is not positive"),
        ("{spot: {R: [1]}}", "data.statistics.spot.R"),
    ],
)
def test_statistics_that_fit_no_band_are_refused_with_the_recipe(text: str, told: str) -> None:
    changes = ["data.kind=table", "data.path=x.csv", f"data.statistics={text}"]
    with pytest.raises(ConfigError) as caught:
        parse(DataOnly, override({}, changes), changes=changes)
    assert told in str(caught.value)
