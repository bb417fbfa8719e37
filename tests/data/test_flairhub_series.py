"""Series of FLAIR-HUB: date-major stacks, dates, the cloud filter, averages, wider windows, and what is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from landweave.contract import Contract
from landweave.data import raster
from landweave.data.check import check
from landweave.data.dataset import Chosen
from landweave.data.flairhub import Clouds, FlairHub
from landweave.data.flairhub_read import observed_parents
from landweave.data.stats import contract_of
from landweave.errors import ConfigError, DataError, GridError, LandweaveWarning
from landweave.legends import PARENTS
from landweave.sample import EPOCH, Image, collate, day_of
from tests.data.flair_layout import DATES, NAMES, Layout, days, grid_of, values

S2, MASK, ASC = "SENTINEL2_TS", "SENTINEL2_MSK-SC", "SENTINEL1-ASC_TS"
PARTS = (S2, MASK, ASC, "AERIAL_RGBI", "AERIAL_LABEL-COSIA")
FIRST = NAMES[0]  # row 1, column 1 of an ROI of 2 x 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("flair")).write(PARTS)


@pytest.fixture
def own(whole: Layout, tmp_path: Path) -> Layout:
    return Layout(Path(shutil.copytree(whole.root, tmp_path / "flair")))


def config(layout: Layout, **settings: object) -> FlairHub:
    return FlairHub.model_validate({"path": str(layout.root), **settings})


def read(layout: Layout, name: str = FIRST, **settings: object) -> dict[str, Image]:
    dataset = config(layout, **settings).open()
    return dataset.read([p.name for p in dataset.places].index(name)).images


def stack(name: str = FIRST, part: str = S2) -> np.ndarray:
    """T C H W by plain loops over the layers of a file."""
    layers = values(name, part)
    T = DATES[part]
    C = len(layers) // T
    out = np.zeros((T, C, *layers.shape[1:]), layers.dtype)
    for t in range(T):
        for c in range(C):
            out[t, c] = layers[t * C + c]
    return out


def masked(layout: Layout, cloudy: dict[int, int], snowy: dict[int, int], name: str = FIRST) -> None:
    """Dates with so many pixels of cloud or snow."""
    mask = values(name, MASK).reshape(DATES[S2], 2, 10, 10).copy()
    for layer, dates in ((1, cloudy), (0, snowy)):
        for t, pixels in dates.items():
            mask[t, layer].flat[:pixels] = 90
    layout.put(name, MASK, mask.reshape(-1, 10, 10))


# ---- stacks and dates


def test_layers_are_date_major(whole: Layout) -> None:
    images = read(whole)
    np.testing.assert_array_equal(images["s2-l2a"].data.numpy(), stack())
    np.testing.assert_array_equal(images["s1-grd-sigma0-asc-linear"].data.numpy(), stack(part=ASC))
    assert images["s2-l2a"].bands == ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    assert images["s1-grd-sigma0-asc-linear"].bands == ("VV", "VH")
    np.testing.assert_allclose(images["s2-l2a"].physical().numpy(), stack() * 1e-4, rtol=1e-6)


def test_days_are_those_of_the_metadata_in_the_order_of_the_positions(whole: Layout, own: Layout) -> None:
    assert read(whole)["s2-l2a"].days.tolist() == [day_of(d) for d in days(S2, "2020")]
    told = {str(i): d for i, d in enumerate(days(S2, "2020"), 1)}
    mixed = json.dumps({k: told[k] for k in ("3", "1", "6", "2", "5", "4")})
    Layout(own.root, dates={S2: {FIRST: mixed}}).metadata()
    assert read(own)["s2-l2a"].days.tolist() == [day_of(d) for d in days(S2, "2020")]


def test_a_pixel_that_is_zero_in_all_bands_was_not_seen(own: Layout) -> None:
    layers = values(FIRST, S2).reshape(6, 10, 10, 10).copy()
    layers[2], layers[4, :, 3, 3], layers[5, 0, 1, 1] = 0, 0, 0
    own.put(FIRST, S2, layers.reshape(-1, 10, 10))
    image = read(own)["s2-l2a"]
    assert image.dates_seen.tolist() == [True, True, False, True, True, True]
    assert not image.seen[4, :, 3, 3].any()
    assert image.seen[5, :, 1, 1].all(), "one band may be 0"
    assert image.seen.sum() == 10 * (500 - 1)


def test_a_date_list_that_is_shorter_or_longer_than_the_stack(own: Layout) -> None:
    for count in (5, 7):
        text = json.dumps({str(i): f"2020010{i}" for i in range(1, count + 1)})
        Layout(own.root, dates={S2: {FIRST: text}}).metadata()
        dataset = config(own).open()
        for look in (dataset.read, dataset.look):
            with pytest.raises(DataError) as caught:
                look(0)
            told = f"6 images in the file, and {count} dates of its patch in GLOBAL_SENTINEL2_MTD_DATES.gpkg"
            assert str(caught.value).startswith(f"{own.path(FIRST, S2)}: {told}\n  fix: ")


def test_a_stack_that_is_not_whole_dates(own: Layout) -> None:
    path = own.put(FIRST, S2, values(FIRST, S2)[:57])
    with pytest.raises(DataError, match=f"{path}: 57 layers, which are not dates of 10 bands"):
        read(own)
    Layout(own.root, dates={ASC: {FIRST: "{}"}}).metadata()
    with pytest.raises(DataError, match="3 images in the file, and 0 dates"):
        read(own, streams=["s1-grd-sigma0-asc-linear"])


# ---- the cloud filter


def test_cloudy_dates_are_dropped_with_their_days(own: Layout) -> None:
    """Weakness 11 of the spec: images and dates stay together, and one place leaves no trace in the next."""
    masked(own, cloudy={0: 6, 2: 100, 3: 5}, snowy={5: 50})
    kept = [1, 3, 4]
    for _ in range(2):
        dataset = config(own).open()
        for index in (0, 1, 0, 2, 0):
            image = dataset.read(index).images["s2-l2a"]
            at = kept if index == 0 else list(range(6))
            name = dataset.places[index].name
            assert image.days.tolist() == [day_of(days(S2, "2020")[t]) for t in at]
            np.testing.assert_array_equal(image.data.numpy(), stack(name)[at])
    assert len(read(own, clouds=None)["s2-l2a"].days) == 6
    assert len(read(own, clouds={"cover": 0.06})["s2-l2a"].days) == 4
    assert len(read(own)["s1-grd-sigma0-asc-linear"].days) == 3, "radar sees through clouds"


def test_a_series_is_never_left_without_a_date(own: Layout) -> None:
    """Weakness 8 of the spec: an empty series after filtering cannot happen, the clearest date is kept and told."""
    masked(own, cloudy=dict.fromkeys(range(6), 100) | {4: 80}, snowy=dict.fromkeys(range(6), 100) | {4: 70})
    with pytest.warns(
        LandweaveWarning, match=rf"{FIRST}: snow or cloud on each of the 6 dates of s2-l2a; the clearest is"
    ):
        image = read(own)["s2-l2a"]
    assert image.days.tolist() == [day_of(days(S2, "2020")[4])]
    np.testing.assert_array_equal(image.data.numpy(), stack()[[4]])
    for period, count in (("monthly", 12), ("semi-monthly", 24)):
        with pytest.warns(LandweaveWarning, match="the clearest is kept"):
            means = read(own, average=period)["s2-l2a"]
        assert means.data.shape[0] == count
        assert means.dates_seen.sum() == 1


def test_only_the_first_places_without_a_clear_date_are_named(own: Layout) -> None:
    for name in NAMES[:7]:
        masked(own, cloudy=dict.fromkeys(range(6), 100), snowy=dict.fromkeys(range(6), 100), name=name)
    dataset = config(own).open()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            for i in range(len(dataset)):
                assert len(dataset.read(i).images["s2-l2a"].days) == (1 if dataset.places[i].name in NAMES[:7] else 6)
    told = [str(w.message) for w in caught]
    assert len(told) == len(set(told)) == 5
    assert ["not named" in t for t in told] == [False] * 4 + [True]


def test_a_mask_of_another_length(own: Layout) -> None:
    path = own.put(FIRST, MASK, values(FIRST, MASK)[:10])
    with pytest.raises(DataError, match=f"{path}: 10 layers for a series of 6 images; two a date"):
        read(own)


def test_a_place_without_a_mask_keeps_all_dates_and_this_is_told(own: Layout) -> None:
    own.path(FIRST, MASK).unlink()
    with pytest.warns(LandweaveWarning, match="1 places have Sentinel-2 and no SENTINEL2_MSK-SC"):
        assert len(read(own)["s2-l2a"].days) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(own, clouds=None)


def test_places_of_unequal_dates_make_one_batch(own: Layout) -> None:
    """Weakness 17 of the spec: a filtered series is padded with unseen dates, in a batch of any size."""
    masked(own, cloudy={0: 100, 3: 100}, snowy={})
    dataset = config(own).open()
    image = collate([dataset.read(0), dataset.read(1)]).images["s2-l2a"]
    assert image.dates_seen.sum(1).tolist() == [4, 6]
    assert image.dates_seen[0].tolist() == [True] * 4 + [False] * 2


# ---- averages


def test_monthly_means_of_places_with_unequal_dates(own: Layout) -> None:
    masked(own, cloudy={0: 100, 1: 100, 4: 100}, snowy={})
    dataset = config(own, average="monthly").open()
    sample = dataset.read(0)
    image = sample.images["s2-l2a"]
    months = [date.fromordinal(EPOCH.toordinal() + d) for d in image.days.tolist()]
    assert [(m.year, m.month, m.day) for m in months] == [(2020, m, 15) for m in range(1, 13)]
    used: dict[int, list[int]] = {}
    for t, day in enumerate(days(S2, "2020")):
        if t not in (0, 1, 4):
            used.setdefault(int(day[4:6]), []).append(t)
    assert image.dates_seen.tolist() == [m in used for m in range(1, 13)]
    for month, dates in used.items():
        np.testing.assert_allclose(image.data[month - 1].numpy(), stack()[dates].mean(0), rtol=1e-6)
    assert image.data.dtype == torch.float32
    batch = collate([sample, dataset.read(1)])
    assert batch.images["s2-l2a"].dates_seen.sum(1).tolist() == [len(used), 4]


def test_radar_is_averaged_as_power(own: Layout) -> None:
    """A mean of decibels would be lower: 10 log10 of 1 and of 0.01 have the mean -10 dB, their power 0.5 is -3 dB."""
    power = np.stack([np.full((2, 10, 10), p) for p in (1.0, 0.01, 0.2)]).reshape(6, 10, 10).astype(np.float32)
    own.put(FIRST, ASC, power)
    text = json.dumps({"1": "20200301", "2": "20200320", "3": "20200401"})
    Layout(own.root, dates={ASC: {FIRST: text}}).metadata()
    image = read(own, average="monthly")["s1-grd-sigma0-asc-linear"]
    assert image.data[2].mean().item() == pytest.approx(0.505)
    assert image.data[3].mean().item() == pytest.approx(0.2)


def test_empty_periods_as_the_official_code(own: Layout) -> None:
    masked(own, cloudy={0: 100, 1: 100, 4: 100}, snowy={})
    ours = read(own, average="monthly")["s2-l2a"]
    theirs = read(own, average="monthly", empty_periods="previous")["s2-l2a"]
    seen = ours.dates_seen
    assert torch.equal(ours.data[seen], theirs.data[seen])
    assert torch.equal(ours.days[seen], theirs.days[seen])
    last = int(torch.nonzero(seen)[-1])
    assert theirs.dates_seen[last:].all()
    assert set(theirs.days[last:].tolist()) == {ours.days[last].item()}
    assert not theirs.dates_seen[: int(torch.nonzero(seen)[0])].any()


# ---- wider windows


def test_a_window_has_the_ground_around_the_place(whole: Layout) -> None:
    image = read(whole, context=2)["s2-l2a"]
    assert image.data.shape == (6, 10, 20, 20)
    pasted = np.zeros((6, 10, 20, 20), np.uint16)
    seen = np.zeros((20, 20), bool)
    for name, rows, cols in ((NAMES[0], 5, 5), (NAMES[1], 5, 15), (NAMES[2], 15, 5), (NAMES[3], 15, 15)):
        size = (min(10, 20 - rows), min(10, 20 - cols))
        pasted[:, :, rows : rows + size[0], cols : cols + size[1]] = stack(name)[:, :, : size[0], : size[1]]
        seen[rows : rows + size[0], cols : cols + size[1]] = True
    np.testing.assert_array_equal(image.data.numpy(), pasted)
    np.testing.assert_array_equal(image.seen.numpy(), np.broadcast_to(seen, image.data.shape))
    assert image.grid is not None
    assert image.grid.centre == pytest.approx(grid_of(FIRST, 10).centre)  # type: ignore[union-attr]
    assert image.grid.pixel == pytest.approx((10.24, 10.24))  # type: ignore[union-attr]
    assert read(whole, context=2)["aerial"].data.shape[-2:] == (16, 16), "series only"


@pytest.mark.parametrize("context", [3, 4])
def test_the_middle_of_a_window_is_the_place(whole: Layout, context: int) -> None:
    plain = read(whole, NAMES[3])["s2-l2a"]
    wide = read(whole, NAMES[3], context=context)["s2-l2a"]
    at = 5 * (context - 1)
    assert torch.equal(wide.data[..., at : at + 10, at : at + 10], plain.data)
    assert wide.seen[..., at - 10 : at + 10, at - 10 : at + 10].all(), "it is the last of 2 x 2"
    assert not wide.seen[..., at + 10 :, :].any()


def test_neighbours_lend_images_of_the_same_day(own: Layout) -> None:
    mine = days(S2, "2020")
    theirs = [mine[1], mine[0], "20200401", mine[3], mine[3], mine[5]]  # two of one day; days 2 and 4 lack
    Layout(own.root, dates={S2: {NAMES[1]: json.dumps({str(i): d for i, d in enumerate(theirs, 1)})}}).metadata()
    layers = values(NAMES[1], S2).reshape(6, 10, 10, 10).copy()
    layers[1, :, 0, 0] = 0  # not seen, in the image that is lent to my first
    own.put(NAMES[1], S2, layers.reshape(-1, 10, 10))
    image = read(own, context=2)["s2-l2a"]
    strip = (slice(5, 15), slice(15, 20))
    lent = {0: 1, 1: 0, 3: 3, 5: 5}  # of my date, which of theirs
    for t in range(6):
        if t in lent:
            np.testing.assert_array_equal(image.data[t][:, *strip].numpy(), layers[lent[t]][:, :, :5])
            hole = torch.nonzero(~image.seen[t, 0][strip]).tolist()
            assert hole == ([[0, 0]] if t == 0 else [])
        else:
            assert not image.seen[t, 0][strip].any()


def test_a_neighbour_off_the_lattice_is_refused(own: Layout) -> None:
    path = own.path(NAMES[1], S2)
    grid = grid_of(NAMES[1], 10)
    shifted = type(grid)(grid.crs, (*grid.transform[:2], grid.transform[2] + 4.0, *grid.transform[3:]), grid.shape)
    raster.write(path, values(NAMES[1], S2), shifted)
    with pytest.raises(GridError, match=f"{path}: its pixels do not lie on those of its neighbour"):
        read(own, context=2)
    raster.write(path, values(NAMES[1], S2), type(grid)("", (1, 0, 0, 0, -1, 0), grid.shape))
    with pytest.raises(GridError, match="no georeference"):
        read(own, context=2)


def test_a_window_of_half_pixels_is_refused(own: Layout) -> None:
    own.put(FIRST, ASC, values(FIRST, ASC)[:, :5, :5])
    with pytest.raises(ConfigError, match="5 x 5 pixels do not grow to 2 sides by whole pixels"):
        read(own, streams=["s1-grd-sigma0-asc-linear"], context=2)


def test_the_contract_tells_series_and_window(whole: Layout) -> None:
    found = contract_of(config(whole, context=4).open(), [0, 1]).streams
    assert {n: (s.series, s.context, s.size) for n, s in found.items()} == {
        "aerial": (False, 1.0, (16, 16)),
        "s2-l2a": (True, 4.0, (40, 40)),
        "s1-grd-sigma0-asc-linear": (True, 4.0, (40, 40)),
    }
    alone = config(whole, context=2, streams=["s2-l2a"])
    assert contract_of(Chosen(alone.open(), alone.choices), [0]).streams["s2-l2a"].context == 2.0, "beside the label"
    contract = contract_of(config(whole).open(), [0, 1])
    assert {s.context for s in contract.streams.values()} == {1.0}
    assert Contract.from_json(contract.to_json()) == contract


def test_check_knows_a_wider_window(whole: Layout) -> None:
    report = check(config(whole, context=2).open())
    assert report.ok, report.errors
    assert not [w for w in report.warnings if "beside" in w]


def test_settings_of_the_filter() -> None:
    assert FlairHub(path="x").clouds == Clouds(cover=0.05, probability=1)
    assert config(Layout(Path("x")), clouds={"probability": 20}).clouds == Clouds(cover=0.05, probability=20)
    assert config(Layout(Path("x")), clouds=None).clouds is None


# ---- levels of LPIS


def test_which_crop_lies_in_which_is_counted(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "d", names=NAMES[:2])
    fine = np.arange(46).repeat(6)[: 16 * 16].reshape(16, 16)
    middle = np.array(PARENTS["lpis-3"])[fine]
    coarse = np.array(PARENTS["lpis-2"])[middle]
    files = [layout.put(n, "ALL_LABEL-LPIS", np.stack([coarse, middle, fine]).astype(np.uint8)) for n in NAMES[:2]]
    second, third = observed_parents(files)
    assert second.sum() == third.sum() == 2 * 16 * 16
    for counts, parents in ((second, PARENTS["lpis-2"]), (third, PARENTS["lpis-3"])):
        there = counts.sum(1) > 0
        assert (counts.argmax(1) == np.array(parents))[there].all()
        assert ((counts > 0).sum(1)[there] == 1).all()
    fine[0] = 46
    layout.put(NAMES[0], "ALL_LABEL-LPIS", np.stack([coarse, middle, fine]).astype(np.uint8))
    with pytest.raises(DataError, match="not of LPIS"):
        observed_parents(files)
