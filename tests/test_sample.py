from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landweave.errors import DataError
from landweave.legends import UNKNOWN, LandClass, Legend
from landweave.sample import NO_DAY, Batch, Image, Label, Sample, collate, day_of

LEGEND = Legend("l", (LandClass(3, "water", "#0000ff"), LandClass(7, "trees", "#00ff00")), ignored=(0,))


def image(T: int = 1, H: int = 4, W: int = 5, dtype: type = np.uint16, stream: str = "s1-rtc-gamma0") -> Image:
    data = np.arange(T * 2 * H * W).reshape(T, 2, H, W).astype(dtype)
    return Image.of(stream, ("VV", "VH"), data)


def sample(name: str = "a", **images: Image) -> Sample:
    return Sample({k.replace("_", "-"): v for k, v in images.items()}, {}, name)


def test_the_sensor_gives_scale_and_offset_and_the_file_keeps_its_numbers() -> None:
    im = Image.of("s2-l2a", ("nir", "B04"), np.full((2, 3, 3), 1500, np.uint16), offset=-0.1)
    assert im.bands == ("B08", "B04")
    assert im.data.dtype == torch.uint16
    assert torch.allclose(im.physical(), torch.tensor(0.05))


def test_scale_and_offset_may_differ_by_date() -> None:
    im = Image.of("s2-l2a", ("B04",), np.full((2, 1, 1, 1), 1000, np.uint16), offset=[0.0, -0.1])
    assert torch.allclose(im.physical().flatten(), torch.tensor([0.1, 0.0]), atol=1e-7)


def test_nan_is_unseen_not_a_value() -> None:
    data = np.ones((2, 3, 3), np.float32)
    data[1, 0, 2] = np.nan
    im = Image.of("s1-rtc-gamma0", ("VV", "VH"), data)
    assert not im.seen[0, 1, 0, 2]
    assert int(im.seen.sum()) == data.size - 1
    assert torch.isfinite(im.data).all()


def test_an_image_checks_its_own_shapes() -> None:
    im = image()
    with pytest.raises(ValueError, match="bands_seen"):
        Image(**{**vars(im), "bands_seen": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(ValueError, match="bands of data"):
        Image(**{**vars(im), "bands": ("VV",)})


def test_select_orders_bands_and_refuses_missing_ones() -> None:
    im = image()
    turned = im.select(("VH", "VV"))
    assert torch.equal(turned.data.int(), im.data.int().flip(1))
    with pytest.raises(DataError, match="no band HH"):
        im.select(("HH",))


def test_seen_is_the_product_of_dates_bands_and_pixels() -> None:
    im = image(T=2)
    im.dates_seen[1] = False
    im.bands_seen[0] = False
    im.pixels_seen[0, 0, 0, 0] = False
    for t in range(2):
        for c in range(2):
            for r in range(4):
                for q in range(5):
                    expected = t == 0 and c == 1 and not (r == 0 and q == 0)
                    assert bool(im.seen[t, c, r, q]) == expected
    assert bool(im.sensor_seen)
    assert not bool(im.unseen().sensor_seen)
    im.dates_seen[:] = False
    assert not bool(im.sensor_seen), "bands are seen, but on no date"


def test_collate_fills_an_absent_sensor_in_unseen() -> None:
    both = sample("a", s1_rtc_gamma0=image(), dem=Image.of("dem", ("elevation",), np.ones((1, 2, 2), np.float32)))
    one = sample("b", s1_rtc_gamma0=image())
    batch = collate([one, both])
    assert set(batch.images) == {"s1-rtc-gamma0", "dem"}
    assert batch.images["dem"].sensor_seen.tolist() == [False, True]
    assert batch.images["s1-rtc-gamma0"].data.shape == (2, 1, 2, 4, 5)
    assert len(batch) == 2


def test_collate_knows_a_sensor_that_no_place_of_the_batch_has() -> None:
    batch = collate([sample("a", s1_rtc_gamma0=image())], {"s1-grd-sigma0": image(T=3)})
    absent = batch.images["s1-grd-sigma0"]
    assert absent.data.shape == (1, 3, 2, 4, 5)
    assert not absent.seen.any()


def test_collate_pads_dates_and_refuses_unequal_sizes_naming_the_place() -> None:
    batch = collate([sample("a", s1_rtc_gamma0=image(T=1)), sample("b", s1_rtc_gamma0=image(T=3))])
    padded = batch.images["s1-rtc-gamma0"]
    assert padded.dates_seen.tolist() == [[True, False, False], [True, True, True]]
    assert padded.days[0, 1] == NO_DAY
    odd = [sample("a", s1_rtc_gamma0=image()), sample("odd", s1_rtc_gamma0=image(H=9))]
    with pytest.raises(DataError, match="odd: s1-rtc-gamma0 is 9 x 5 pixels here and 4 x 5"):
        collate(odd)
    grown = collate(odd, pad=True).images["s1-rtc-gamma0"]
    assert grown.data.shape[-2:] == (9, 5)
    assert not grown.seen[0, :, :, 4:].any()
    assert grown.seen[1].all()


def test_collate_refuses_a_task_that_some_places_lack() -> None:
    labelled = Sample({"s1-rtc-gamma0": image()}, {"t": Label.of_class(1, LEGEND)}, "a")
    with pytest.raises(DataError, match="b: no label for task t"):
        collate([labelled, sample("b", s1_rtc_gamma0=image())])


def test_collate_widens_only_where_dtypes_differ() -> None:
    same = collate([sample("a", s1_rtc_gamma0=image()), sample("b", s1_rtc_gamma0=image())])
    mixed = collate([sample("a", s1_rtc_gamma0=image()), sample("b", s1_rtc_gamma0=image(dtype=np.int16))])
    assert same.images["s1-rtc-gamma0"].data.dtype == torch.uint16
    assert mixed.images["s1-rtc-gamma0"].data.dtype == torch.float32


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(4)))
def test_collate_does_not_depend_on_the_order(order: list[int]) -> None:
    samples = [sample(str(i), s1_rtc_gamma0=image(T=1 + i % 2)) for i in range(4)]
    straight, turned = collate(samples), collate([samples[i] for i in order])
    for name in ("data", "dates_seen", "pixels_seen"):
        a, b = (getattr(x.images["s1-rtc-gamma0"], name) for x in (straight, turned))
        assert torch.equal(a[order].int(), b.int())


def test_label_map_translates_values_and_knows_what_is_ignored() -> None:
    label = Label.of_map(np.array([[3, 7], [0, 3]], np.uint8), LEGEND)
    assert label.values.tolist() == [[0, 1], [UNKNOWN, 0]]
    assert label.known.tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        (np.array([[3, 9]]), "label value 9 is not in legend l"),
        (np.array([[3.0, np.nan]]), "label has NaN at 1 of 2 pixels"),
        (np.array([[3.0, 3.5]]), "label has fractions at 1 of 2"),
    ],
)
def test_label_map_refuses_what_the_legend_does_not_hold(codes: np.ndarray, text: str) -> None:
    with pytest.raises(DataError, match="m.tif: " + text):
        Label.of_map(codes, LEGEND, where="m.tif")


def test_unknown_is_not_an_empty_label_set() -> None:
    empty, unknown = Label.of_classes([], LEGEND), Label.of_classes(None, LEGEND)
    assert empty.known.all()
    assert not unknown.known.any()
    assert not Label.of_classes([1], LEGEND).unknown().values.any()


def test_a_batch_moves_every_tensor() -> None:
    batch = collate([sample("a", s1_rtc_gamma0=image())])
    moved: Batch = batch.to("meta")
    assert all(getattr(moved.images["s1-rtc-gamma0"], n).is_meta for n in ("data", "scale", "days", "pixels_seen"))


def test_days() -> None:
    assert day_of("2000-01-01") == 0
    assert day_of("20000131") == 30
    assert day_of("1955-07-01") < 0
    assert day_of("") == NO_DAY


def test_the_ground_floor_starts_without_torch() -> None:
    code = "import sys, landweave.sample, landweave.config, landweave.data.dataset; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
