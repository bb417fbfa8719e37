"""What faults do to masks and values: each against a loop or a count by hand, and what must not depend on what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from landweave.errors import ConfigError
from landweave.sensors import SENSORS
from landweave.transforms.faults import (
    LOOK,
    Absent,
    DeadColumns,
    Fault,
    Faults,
    Gain,
    Gradual,
    Growing,
    Holes,
    Missing,
    Noise,
    Saturation,
    Shift,
    Shuffle,
    Stripes,
    Swap,
    spoil,
)
from landweave.transforms.faults.draws import Draws
from tests.transforms.fault_cubes import BANDS, DEM, END, S1, S2, cubes_of, hit, same, same_masks, with_hole

KNOWN: tuple[Fault, ...] = (
    Missing(),
    Missing(ratio=0.5, size=(1, 3), sensor=S2),
    Missing(ratio=0.5, shared=True, at="model"),
    Absent(),
    Holes(),
    Stripes(gap=True, known=True),
    DeadColumns(known=True, share=0.3),
    Saturation(known=True),
)
SILENT: tuple[Fault, ...] = (
    Missing(ratio=0.5, known=False),
    Missing(bands=("B08",), known=False),
    Stripes(),
    Stripes(gap=True),
    DeadColumns(share=0.3),
    Saturation(),
    Noise(),
    Gain(gain=1.3),
    Gain(number=1000),
    Gain(spread=0.4),
    Swap(),
    Shift(),
)
DATES = (Shuffle(),)
"""Faults of dates, which leave masks and values alone."""
ids = [f"{f.kind}{i}" for i, f in enumerate((*KNOWN, *SILENT))]


@pytest.mark.parametrize("fault", [*KNOWN, *SILENT, *DATES], ids=[*ids, "shuffle"])
def test_depends_on_key_and_place_only(fault: Fault) -> None:
    batch = cubes_of("abcdef", T=2, side=18)
    first, again = hit(batch, fault, key=(3, 1)), hit(batch, fault, key=(3, 1))
    turned, alone = (
        hit(cubes_of("fedcba", T=2, side=18), fault, key=(3, 1)),
        hit(cubes_of("c", T=2, side=18), fault, key=(3, 1)),
    )
    for name, image in first.images.items():
        for i in range(6):
            same(image, again.images[name], i, i)
            same(image, turned.images[name], i, 5 - i)
        same(image, alone.images[name], 2, 0)
    drawn = not isinstance(fault, Gain | Saturation | Shuffle) or getattr(fault, "spread", 0)
    whole = isinstance(fault, Missing) and fault.ratio.at(0) == 1
    if drawn and not whole:
        for other in ((3, 2), (4, 1), (3, 1, 0)):
            found = hit(batch, fault, key=other).images
            assert any(not torch.equal(im.data, found[n].data) for n, im in first.images.items()), other


@pytest.mark.parametrize("fault", KNOWN, ids=ids[: len(KNOWN)])
def test_known_faults_mark_what_they_hide_and_leave_the_rest(fault: Fault) -> None:
    batch = cubes_of(T=2)
    found = hit(batch, fault)
    lost = {n: ~im.seen & batch.images[n].seen for n, im in found.images.items()}
    assert any(bool(m.any()) for m in lost.values())
    for name, image in found.images.items():
        assert (image.data[~image.seen] == 0).all()
        cut = isinstance(fault, Saturation)
        assert torch.equal(image.data[image.seen], batch.images[name].data[image.seen]) or cut
        assert not (image.seen & ~batch.images[name].seen).any()


@pytest.mark.parametrize("fault", SILENT, ids=ids[len(KNOWN) :])
def test_silent_faults_change_values_and_leave_masks_alone(fault: Fault) -> None:
    batch = with_hole(cubes_of(T=2))
    found = hit(batch, fault)
    changed = 0
    for name, image in found.images.items():
        assert same_masks(image, batch.images[name])
        assert (image.data[~image.seen] == 0).all()
        assert torch.isfinite(image.data).all()
        changed += int((image.data != batch.images[name].data).sum())
    assert changed


@pytest.mark.parametrize("fault", SILENT, ids=ids[len(KNOWN) :])
def test_what_stands_at_unseen_places_never_leaks(fault: Fault) -> None:
    batch = with_hole(cubes_of())
    image = batch.images[S2]
    junk = replace(batch, images={**batch.images, S2: replace(image, data=torch.where(image.seen, image.data, 1e6))})
    a, b = (hit(x, fault).images[S2].data for x in (batch, junk))
    assert torch.equal(a, b)


def test_the_batch_that_is_given_stays() -> None:
    batch = cubes_of(T=2)
    before = {n: (im.data.clone(), im.pixels_seen.clone(), im.bands_seen.clone()) for n, im in batch.images.items()}
    hit(batch, *KNOWN, *SILENT)
    for name, (data, pixels, bands) in before.items():
        image = batch.images[name]
        assert torch.equal(image.data, data)
        assert torch.equal(image.pixels_seen, pixels)
        assert torch.equal(image.bands_seen, bands)
    assert spoil(batch, Faults(), END) is batch
    assert spoil(batch, Faults(faults=(Missing(),), complete=1), END) is batch


def test_draws_are_frozen() -> None:
    """A changed draw changes every published figure of faulty images: these numbers must never move."""
    draws = Draws.of((0, 1), "missing 0")
    found = draws.rng("place", f"{S2} B02").random(3).tolist()
    assert found == pytest.approx([0.159892738, 0.748086675, 0.033282447])
    assert draws.rng("place", f"{S2} size").integers(1, 9, 5).tolist() == [6, 2, 1, 1, 7]
    assert draws.chance("place", "chance") == pytest.approx(0.9788459120050369)
    seen = hit(cubes_of("a", (S2,), side=4), Missing(bands=("B02",), ratio=0.5)).images[S2].seen[0, 0, 1]
    assert seen.int().tolist() == FROZEN


FROZEN = [[0, 1, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0], [0, 1, 1, 0]]


def test_one_fault_leaves_the_draws_of_others_alone() -> None:
    batch = cubes_of()
    few = hit(batch, Missing(bands=("B02",), ratio=0.5)).images[S2]
    many = hit(
        batch, Gain(bands=("B08",), gain=2), Missing(bands=("B02",), ratio=0.5), Missing(bands=("B03",), ratio=0.5)
    )
    b02 = BANDS[S2].index("B02")
    assert torch.equal(few.seen[:, :, b02], many.images[S2].seen[:, :, b02])
    assert not torch.equal(many.images[S2].seen[:, :, b02], many.images[S2].seen[:, :, BANDS[S2].index("B03")])
    half = Missing(bands=("B02",), ratio=0.5)
    twice = hit(cubes_of("ab", (S2,), side=60), half, half).images[S2].seen[:, :, b02]
    assert float(twice.float().mean()) == pytest.approx(0.25, abs=0.03), "two of a kind are drawn apart"
    fewer_bands = hit(batch, Missing(bands=("B02", "B08"), ratio=0.5)).images[S2]
    assert torch.equal(few.seen[:, :, b02], fewer_bands.seen[:, :, b02])


def test_the_complete_share_and_the_chance_of_a_fault() -> None:
    names = [f"p{i}" for i in range(4000)]
    small = cubes_of("a", (S2,), side=1, bands={S2: ("B02",)})
    batch = replace(small.map(lambda t: t.expand(4000, *t.shape[1:])), names=tuple(names), groups=("",) * 4000)
    for settings, share in (
        (Faults(faults=(Missing(),), complete=0.2), 0.2),
        (Faults(faults=(Missing(chance=0.7),)), 0.3),
    ):
        spared = spoil(batch, settings, END).images[S2].seen.flatten(1).all(1)
        assert abs(float(spared.float().mean()) - share) < 4 * (share * (1 - share) / 4000) ** 0.5
    few, more = (
        spoil(batch, Faults(faults=(Missing(),), complete=c), END).images[S2].seen.flatten() for c in (0.2, 0.5)
    )
    assert (more | ~few).all(), "a greater share spares the same places, and others"


def test_the_ratio_is_a_chance_for_each_native_pixel() -> None:
    batch = cubes_of("abcdefgh", (S2,), side=60)
    for ratio in (0.1, 0.5, 0.9):
        seen = hit(batch, Missing(ratio=ratio)).images[S2].seen
        for c, band in enumerate(SENSORS[S2].bands):
            n = 8 * 3600 / (band.metres / 10) ** 2
            lost = 1 - float(seen[:, :, c].float().mean())
            assert abs(lost - ratio) < 4.5 * (ratio * (1 - ratio) / n) ** 0.5, band.name
    low, high = (hit(batch, Missing(ratio=r)).images[S2].seen for r in (0.3, 0.6))
    assert (low | ~high).all(), "a greater ratio hides the same pixels, and others"


def test_native_pixels_are_blocks_and_the_models_are_not() -> None:
    batch = cubes_of("ab", (S2,), side=26)
    native, model = (hit(batch, Missing(ratio=0.5, at=at)).images[S2].seen for at in ("native", "model"))  # type: ignore[arg-type]
    for c, band in enumerate(SENSORS[S2].bands):
        k = int(band.metres // 10)
        for r0 in range(0, 26, k):
            for c0 in range(0, 26, k):
                block = native[:, 0, c, r0 : r0 + k, c0 : c0 + k].flatten(1)
                assert (block == block[:, :1]).all(), band.name
        if k == 1:
            assert torch.equal(native[:, :, c], model[:, :, c])
        else:
            inside = model[:, 0, c, : k * (26 // k)].unflatten(1, (-1, k))
            assert (inside != inside[:, :, :1]).any(), "the rows of a native pixel differ"
    assert len({native[0, 0, c].numpy().tobytes() for c in range(12)}) == 12


def test_native_blocks_know_the_pixel_size_of_the_cube() -> None:
    """Images enlarged fourfold, or coarsened to 20 m, or of 20 m bands only."""
    side = 24
    for metres, bands, k in (
        (2.5, ("B02",), 4),
        (2.5, ("B11",), 8),
        (20.0, ("B11",), 1),
        (20.0, ("B09",), 3),
        (None, ("B05", "B09"), 3),
    ):
        batch = cubes_of("a", (S2,), side=side, bands={S2: bands})
        seen = hit(batch, Missing(ratio=0.5), metres={S2: metres}).images[S2].seen[0, 0, -1]
        coarse = seen[::k, ::k]
        assert torch.equal(coarse.repeat_interleave(k, 0).repeat_interleave(k, 1), seen)
        assert coarse.any()
        assert not coarse.all()


def test_one_mask_for_all_bands() -> None:
    batch = cubes_of("ab", (S2,))
    seen = hit(batch, Missing(bands=("B02", "B11", "B09"), ratio=0.5, shared=True)).images[S2].seen
    at = [BANDS[S2].index(b) for b in ("B02", "B11", "B09")]
    assert all(torch.equal(seen[:, :, at[0]], seen[:, :, c]) for c in at)
    coarse = seen[:, :, at[0], ::6, ::6]
    assert torch.equal(coarse.repeat_interleave(6, 2).repeat_interleave(6, 3), seen[:, :, at[0]])
    fine = hit(batch, Missing(bands=("B02", "B09"), ratio=0.5, shared=True, at="model")).images[S2].seen
    assert torch.equal(fine[:, :, at[0]], fine[:, :, at[2]])
    assert not torch.equal(fine[:, :, at[0]], seen[:, :, at[0]])


def test_wholly_missing_bands_are_marked_as_bands() -> None:
    found = hit(cubes_of(), Missing(bands=("b2", "nir"))).images
    gone = [b not in ("B02", "B08") for b in BANDS[S2]]
    assert found[S2].bands_seen.tolist() == [gone] * 4
    assert found[S2].pixels_seen.all()
    assert found[S1].seen.all()
    everything = hit(cubes_of(), Missing(sensor=S1)).images
    assert not everything[S1].sensor_seen.any()
    assert everything[S2].seen.all()


def test_a_random_subset_draws_its_size_first() -> None:
    names = "".join(chr(300 + i) for i in range(400))
    batch = cubes_of(names, (S2,), side=1)
    lost = (~hit(batch, Missing(size=(1, 8))).images[S2].bands_seen).sum(1)
    counts = np.bincount(lost.numpy(), minlength=9)
    assert counts[0] == 0
    assert counts[1:9].sum() == 400
    assert counts[1:].min() > 50 - 4 * (400 * 1 / 8 * 7 / 8) ** 0.5
    which = (~hit(batch, Missing(size=(1, 1), bands=("B02", "B08", "B11"))).images[S2].bands_seen).sum(0)
    struck = {b: int(n) for b, n in zip(BANDS[S2], which, strict=True) if n}
    assert set(struck) == {"B02", "B08", "B11"}
    assert min(struck.values()) > 400 / 3 - 4 * (400 * 2 / 9) ** 0.5


def test_a_size_without_names_leaves_a_band_of_every_sensor() -> None:
    """Radar of two bands beside Sentinel-2 keeps one: before, a size of 8 took both of them at most places."""
    names = "".join(chr(300 + i) for i in range(300))
    there = (S2, S1, DEM, "rgb")
    batch = cubes_of(names, there, side=1, bands={"rgb": ("R", "G", "B")})
    for size, most in (((1, 8), {S2: 8, S1: 1, DEM: 0, "rgb": 2}), ((2, 3), {S2: 3, S1: 1, DEM: 0, "rgb": 2})):
        found = hit(batch, Missing(size=size)).images
        for name, high in most.items():
            low = min(size[0], high)
            counts = np.bincount((~found[name].bands_seen).sum(1).numpy(), minlength=high + 1)
            assert counts.sum() == counts[low : high + 1].sum() == 300, name
            even = 1 / (high + 1 - low)
            assert counts[low:].min() >= 300 * even - 4 * (300 * even * (1 - even)) ** 0.5, name
    alone = hit(cubes_of(names, (S2,), side=1), Missing(size=(1, 8))).images[S2]
    assert torch.equal(alone.bands_seen, hit(batch, Missing(size=(1, 8))).images[S2].bands_seen)
    grown = hit(batch, Missing(size=Growing(epochs=3))).images
    assert [int((~grown[n].bands_seen).sum(1).max()) for n in there] == [len(BANDS[S2]) - 1, 1, 0, 2]


def test_a_size_of_what_is_named_may_take_all_of_it() -> None:
    batch = cubes_of("abcdefgh", (S2, S1), side=1)
    for named_ in (Missing(size=(2, 2), sensor=S1), Missing(size=(2, 2), bands=("VV", "VH"))):
        assert not hit(batch, named_).images[S1].sensor_seen.any()
    for wrong in (Missing(size=(1, 3), sensor=S1), Missing(size=(1, 3), bands=("VV", "VH"))):
        with pytest.raises(ConfigError, match="up to 3 bands, of 2"):
            hit(batch, wrong)
    with pytest.raises(ConfigError, match="one band of each of dem"):
        hit(cubes_of("a", (DEM,)), Missing(size=(1, 3)))


def test_bands_that_grow_in_number() -> None:
    order = ("B08", "B02", "B11")
    batch = cubes_of("abc", (S2,))
    listed_ = Missing(bands=order, size=Growing(start=1, epochs=3))
    for epoch, count in ((0, 1), (1, 2), (2, 3), (9, 3), (LOOK, 3)):
        gone = ~hit(batch, listed_, key=(0, epoch)).images[S2].bands_seen
        expected = [b in order[:count] for b in BANDS[S2]]
        assert gone.tolist() == [expected] * 3
    drawn = Missing(bands=order, size=Growing(start=1, end=2, epochs=2, drawn=True))
    kinds = {
        tuple(
            (~hit(cubes_of("abcdefgh", (S2,)), drawn, key=(0, 0)).images[S2].bands_seen)[i].nonzero().flatten().tolist()
        )
        for i in range(8)
    }
    assert len(kinds) > 1
    assert all(len(k) == 1 for k in kinds)


def test_some_bands_constant_others_growing() -> None:
    both = (Missing(bands=("B02",), ratio=0.9), Missing(bands=("B08",), ratio=Gradual(start=0.0, end=1.0, epochs=3)))
    batch = cubes_of("ab", (S2,), side=60)
    for epoch, ratio in ((0, 0.0), (1, 0.5), (2, 1.0)):
        seen = hit(batch, *both, key=(0, epoch)).images[S2].seen
        b02, b08 = (1 - float(seen[:, :, BANDS[S2].index(b)].float().mean()) for b in ("B02", "B08"))
        assert b02 == pytest.approx(0.9, abs=0.02)
        assert b08 == pytest.approx(ratio, abs=0.03)


def test_a_dead_band_reads_nothing() -> None:
    found = hit(cubes_of(), Missing(bands=("B08",), known=False), Missing(bands=("VH",), known=False)).images
    assert (found[S2].data[:, :, BANDS[S2].index("B08")] == 0).all()
    assert found[S1].data[:, :, 1].unique().tolist() == pytest.approx([-60])
    assert found[S2].seen.all()


def test_absent_sensors_never_leave_a_place_without_any() -> None:
    batch = cubes_of("abcdefghijklmnop", (S2, S1, DEM))
    named_ = hit(batch, Absent(sensor=S1)).images
    assert not named_[S1].sensor_seen.any()
    assert named_[S2].seen.all()
    one = torch.stack([im.sensor_seen for im in hit(batch, Absent()).images.values()])
    assert (one.sum(0) == 2).all()
    assert (one.sum(1) < 16).all(), "each is struck somewhere"
    many = torch.stack([im.sensor_seen for im in hit(batch, *[Absent()] * 5).images.values()])
    assert (many.sum(0) == 1).all()
    with pytest.raises(ConfigError, match="only sensor"):
        hit(cubes_of("a", (S2,)), Absent(sensor=S2))


OF_DATES = ("data", "scale", "offset", "days", "dates_seen", "pixels_seen")


def test_a_sensor_of_nodata_alone_is_none_that_is_left() -> None:
    batch = cubes_of("abcdefgh", (S2, S1))
    blind = replace(batch.images[S2], pixels_seen=torch.zeros_like(batch.images[S2].pixels_seen))
    assert not blind.sensor_seen.any()
    found = hit(replace(batch, images={**batch.images, S2: blind}), Absent()).images
    assert found[S1].sensor_seen.all(), "the last data of a place stay"


def test_clouds_do_not_depend_on_the_longest_series_of_a_batch() -> None:
    batch = cubes_of("ab", (S2,), T=3)
    image = batch.images[S2]
    more = {p: torch.cat([v, torch.zeros_like(v[:, :2])], 1) for p, v in vars(image).items() if p in OF_DATES}
    longer = replace(batch, images={S2: replace(image, **more)})
    for cover in (0.4, (0.1, 0.6)):
        short, padded = (~hit(b, Holes(cover=cover)).images[S2].seen[:, :3] for b in (batch, longer))
        assert torch.equal(short, padded)


def test_clouds_cover_exactly_what_is_wanted_in_few_pieces() -> None:
    from scipy.ndimage import label

    batch = cubes_of("ab", (S2, S1), T=2, side=48)
    for cover in (0.0, 0.1, 0.5, 1.0):
        found = hit(batch, Holes(cover=cover))
        gone = ~found.images[S2].seen
        assert gone.flatten(3).sum(3).unique().tolist() == [round(cover * 48 * 48)]
        assert (gone == gone[:, :, :1]).all(), "one cloud for all bands"
        assert found.images[S1].seen.all()
        if 0 < cover < 1:
            assert not torch.equal(gone[:, 0], gone[:, 1]), "other clouds at each date"
            assert label(gone[0, 0, 0].numpy())[1] < 12
    small, large = (
        label(~hit(batch, Holes(cover=0.3, scale=s)).images[S2].seen[0, 0, 0].numpy())[1] for s in (0.05, 0.6)
    )
    assert small > large
    assert not hit(batch, Holes(sensor=S1)).images[S1].seen.all(), "a sensor that is named is struck"
    covers = [
        float((~hit(batch, Holes(cover=(0.1, 0.6)), key=(s, 0)).images[S2].seen).float().mean((2, 3, 4))[0, 0])
        for s in range(12)
    ]
    assert 0.09 < min(covers) < 0.3 < max(covers) < 0.61
