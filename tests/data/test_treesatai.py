"""TreeSatAI: two genuine places in both layouts, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from landweave.data import raster
from landweave.data.layouts import meant
from landweave.data.packed import PackedDataset
from landweave.data.stats import contract_of
from landweave.data.store import pack
from landweave.data.treesatai import TreeSatAI
from landweave.errors import ConfigError, DataError, LandweaveError, LandweaveWarning, MissingDataError
from landweave.grid import Grid
from landweave.sample import day_of
from landweave.transforms.cube import cubes
from tests.data.treesat import genuine, genuine_batch, write_list, write_series

DAYS = ["20190103", "20190512", "20190820"]
BETULA, ABIES = 0, 1


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Three places: a listed one, one without a list, one without an image."""
    for name in ("a_1", "b_2"):
        grid = Grid("EPSG:32632", (0.2, 0, 5e5, 0, -0.2, 5.8e6), (304, 304))
        raster.write(tmp_path / "aerial" / f"{name}.tif", np.full((4, 304, 304), 90, np.uint8), grid)
    for name in ("a_1_2019", "b_2_2020", "c_3"):
        write_series(tmp_path / "sentinel-ts" / f"{name}.h5", DAYS)
    write_list(tmp_path / "train.csv", ["a_1.tif,a_1_2019.h5,20190701"], Abies=0.5, Picea=0.06, Tilia=0.07)
    return tmp_path


# ---- genuine files


def test_genuine_places_become_samples(real: Path) -> None:
    data = genuine(real)
    assert [p.name for p in data.places] == ["Betula_spec._1_15679_WEFL_NLF", "Abies_alba_1_1005_WEFL_NLF"]
    betula, abies = (data.read(i) for i in range(2))
    for sample in (betula, abies):
        shapes = {k: tuple(v.data.shape[1:]) for k, v in sample.images.items()}
        assert shapes == {
            "aerial": (4, 304, 304), "s2-l2a": (10, 6, 6),
            "s1-grd-sigma0-asc-linear": (2, 6, 6), "s1-grd-sigma0-desc-linear": (2, 6, 6),
        }  # fmt: skip
        days = sample.images["s2-l2a"].days
        assert (days[1:] >= days[:-1]).all()
        assert 15 < len(days) < 80  # of 146; the others are cloudy
    assert betula.images["aerial"].days.tolist() == [day_of("2019-07-01")]
    assert betula.images["s1-grd-sigma0-desc-linear"].days[0] == day_of("2019-01-03")
    names = data.tasks["genus"].legend.names
    assert [names[i] for i in data.classes(BETULA, "genus") or ()] == ["Betula", "Picea"]
    assert betula.labels["genus"].known.all()
    assert not abies.labels["genus"].known.any()  # no list names it
    assert data.located()[ABIES].lat == pytest.approx(52.08, abs=0.05)


def test_genuine_values_are_what_the_sensors_say(real: Path) -> None:
    for i in range(2):
        images = genuine(real).read(i).images
        for name in ("s1-grd-sigma0-asc-linear", "s1-grd-sigma0-desc-linear"):
            image = images[name]
            mean = image.data.movedim(1, 0)[:, image.pixels_seen[:, 0] if image.pixels_seen.shape[1] == 1 else
                                            image.pixels_seen.all(1)].mean(1)  # fmt: skip
            db = 10 * torch.log10(mean)
            assert -13 < db[0] < -8  # VV of forest: linear power, for dB would be negative numbers
            assert -20 < db[1] < -13
        aerial = images["aerial"].select(["N", "G", "B", "R"]).data[0].float().flatten(1)
        order = aerial[1:].mean(0).argsort()
        tenth = len(order) // 10
        dark, bright = aerial[:, order[:tenth]].mean(1), aerial[:, order[-tenth:]].mean(1)
        left = dark / bright
        assert left[2] == left[1:].max()  # in shadow, the light of the sky is blue
        assert aerial[0].mean() > 1.5 * aerial[3].mean()  # trees
        summer = images["s2-l2a"]
        july = summer.days.remainder(365).sub(195).abs().argmin()
        value = summer.physical()[july].mean((1, 2))
        assert value[6] > 5 * value[2] > 0  # B08 and B04


def test_genuine_cloudy_dates_are_left_out(real: Path) -> None:
    path = str(real / "formats/treesatai-ts")
    every = TreeSatAI(path=path, splits="none", clouds=None).open()
    some = genuine(real)
    for i in range(2):
        all_, left = every.read(i).images["s2-l2a"], some.read(i).images["s2-l2a"]
        assert all_.data.shape[0] == 146
        assert set(left.days.tolist()) <= set(all_.days.tolist())
        assert left.physical()[:, 0].mean() < 0.5 * all_.physical()[:, 0].mean()
        assert left.dates_seen.all()
        seen = left.pixels_seen.float().mean((1, 2, 3))
        assert seen.min() >= 0.94  # of a date that stays at most 5 % are covered, and those are not seen


def test_genuine_scenes_that_end_are_unseen_there(real: Path) -> None:
    """A descending scene ends within the place: NaN in the file."""
    image = genuine(real).read(BETULA).images["s1-grd-sigma0-desc-linear"]
    assert image.data.isfinite().all()
    lost = ~image.pixels_seen.all(1)
    assert 0 < lost.sum() < 40
    assert lost.flatten(1).any(1).sum() == 2


def test_genuine_places_pass_collate_cubes_and_the_store(real: Path, tmp_path: Path) -> None:
    batch = genuine_batch(real)
    data = genuine(real)
    contract = contract_of(data, [0, 1])
    assert {n for n, row in contract.streams.items() if row.series} == set(data.streams) - {"aerial"}
    assert contract.streams["aerial"].metres == pytest.approx(0.2)
    linear = contract.streams["s1-grd-sigma0-asc-linear"]
    radar = replace(linear, sensor="s1-grd-sigma0-asc", unit="dB", decibel=())
    others = {n: row for n, row in contract.streams.items() if n != linear.sensor}
    made = cubes(batch, replace(contract, streams={**others, radar.sensor: radar}))
    assert made.images["aerial"].bands == ("R", "G", "B", "N")
    image = made.images["s1-grd-sigma0-asc"]
    assert image.data[image.seen].median() < -9  # linear power, asked for in dB
    lengths = made.images["s2-l2a"].dates_seen.sum(1)
    assert lengths[0] != lengths[1]  # the shorter is padded, and says so
    pack(data, tmp_path / "pack")
    stored = PackedDataset(tmp_path / "pack")
    for i in range(2):
        one, other = data.read(i), stored.read(i)
        for name, image in one.images.items():
            assert torch.equal(image.data, other.images[name].data)
            assert torch.equal(image.pixels_seen, other.images[name].pixels_seen)
            assert torch.equal(image.days, other.images[name].days)


def test_the_genuine_folder_s_three_equal_lists_are_no_splits(real: Path) -> None:
    with pytest.raises(DataError, match="stands in the lists of train and of validation") as error:
        TreeSatAI(path=str(real / "formats/treesatai-ts")).open()
    assert "data.splits=none" in str(error.value)


# ---- lists and names


def test_listed_and_unlisted_places(made: Path) -> None:
    data = TreeSatAI(path=str(made)).open()
    assert [(p.name, p.split) for p in data.places] == [("a_1", "train"), ("b_2", ""), ("c_3", "")]
    names = data.tasks["genus"].legend.names
    assert [names[i] for i in data.classes(0, "genus") or ()] == ["Abies", "Tilia"]  # 0.06 is too little
    assert data.classes(1, "genus") is None
    assert set(data.read(2).images) == {"s2-l2a", "s1-grd-sigma0-asc-linear"}  # no image, nothing descending
    assert data.read(1).images["aerial"].bands == ("N", "G", "B", "R")
    assert [f.name for f in data.files(1)] == ["b_2.tif", "b_2_2020.h5"]
    assert meant(made) == f"data.kind=treesatai data.path={made}"
    for i in range(3):
        data.look(i)


def test_clouds_leave_out_dates_but_never_all(made: Path) -> None:
    """Weakness 8 of the spec: a sample left with no date at all."""
    mask = np.zeros((3, 2, 6, 6), np.float32)
    mask[0, 1] = 100
    mask[1, 0, 0, 0] = 60  # one of 36 pixels: the date stays, the pixel is not seen
    write_series(made / "sentinel-ts/a_1_2019.h5", DAYS, mask=mask)
    data = TreeSatAI(path=str(made)).open()
    image = data.read(0).images["s2-l2a"]
    assert image.days.tolist() == [day_of(d) for d in DAYS[1:]]
    assert image.pixels_seen.sum((1, 2, 3)).tolist() == [35, 36]
    mask[:, :, :, :] = 100
    mask[2, 1, 0, 0] = 99
    write_series(made / "sentinel-ts/a_1_2019.h5", DAYS, mask=mask)
    with pytest.warns(LandweaveWarning, match="the clearest is kept"):
        image = TreeSatAI(path=str(made)).open().read(0).images["s2-l2a"]
    assert image.days.tolist() == [day_of(DAYS[2])]
    assert image.pixels_seen.all()


def test_a_later_baseline_has_its_offset(made: Path) -> None:
    later = "S2A_MSIL2A_{day}T104431_N0510_R008_T32UMD_{day}T115449"
    write_series(made / "sentinel-ts/c_3.h5", DAYS, product=later)
    data = TreeSatAI(path=str(made)).open()
    assert data.read(2).images["s2-l2a"].physical().abs().max() < 1e-6  # 1000 - 1000
    assert data.read(1).images["s2-l2a"].physical().mean() == pytest.approx(0.1)


# ---- bad input


def refusal(made: Path, index: int | None = None) -> LandweaveError:
    try:
        data = TreeSatAI(path=str(made)).open()
        if index is not None:
            data.read(index)
    except LandweaveError as error:
        return error
    raise AssertionError("not refused")


def test_wrong_lists(made: Path) -> None:
    """Weakness 25 of the spec: a bad list without its path, a missing column as an empty sensor."""
    path = made / "train.csv"
    good = path.read_text()
    path.write_text(good.replace("Tilia", "Linden"))
    assert "no column Tilia" in str(refusal(made))
    path.write_text(good.replace("0.5", "1.5"))
    assert "a share of 1.5" in str(refusal(made))
    assert "line 2" in str(refusal(made))
    path.write_text(good.replace("20190701", "2019-07-01"))
    assert "dates are YYYYMMDD" in str(refusal(made))
    path.write_text(good.replace("a_1.tif", "z.tif"))
    assert isinstance(refusal(made, 0), MissingDataError)
    path.write_text(good)
    write_series(made / "sentinel-ts/b_2_2021.h5", DAYS)
    assert "several series of one image" in str(refusal(made))
    assert "name b_2.tif and one of them in train.csv" in str(refusal(made))


def test_of_several_series_a_list_says_which(made: Path) -> None:
    """What the refusal of several series asks for mends it."""
    write_series(made / "sentinel-ts/a_1_2018.h5", DAYS)
    write_series(made / "sentinel-ts/b_2_2021.h5", DAYS)
    rows = ["a_1.tif,a_1_2019.h5,20190701", "b_2.tif,b_2_2021.h5,20190701"]
    write_list(made / "train.csv", rows, Abies=0.5)
    data = TreeSatAI(path=str(made)).open()
    assert [p.name for p in data.places] == ["a_1", "b_2", "c_3"]
    assert [f.name for i in (0, 1) for f in data.files(i)] == ["a_1.tif", "a_1_2019.h5", "b_2.tif", "b_2_2021.h5"]


def test_wrong_series(made: Path) -> None:
    path = made / "sentinel-ts/a_1_2019.h5"

    def change(name: str, values: object) -> str:
        write_series(path, DAYS)
        with h5py.File(path, "a") as file:
            del file[name]
            if values is not None:
                file[name] = values
        return str(refusal(made, 0))

    assert "2 products for 3 images of sen-2" in change("sen-2-products", [b"x", b"y"])
    assert "no sen-2-products" in change("sen-2-products", None)
    assert "tells no day" in change("sen-2-products", [b"x", b"y", b"z"])
    assert "masks of 2 dates for 3 images" in change("sen-2-masks", np.zeros((2, 2, 6, 6)))
    assert "not dates x 10 x rows" in change("sen-2-data", np.zeros((3, 4, 6, 6)))
    path.write_bytes(path.read_bytes()[:500])
    assert "not an HDF5 file, or cut short" in str(refusal(made, 0))
    path.unlink()
    assert "take its line out of the list" in str(refusal(made, 0))


def test_an_empty_folder_and_a_missing_package(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    assert "neither images" in str(refusal(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "h5py", None)
    error = refusal(made, 0)
    assert isinstance(error, ConfigError)
    assert "pip install 'landweave[hdf5]'" in str(error)
