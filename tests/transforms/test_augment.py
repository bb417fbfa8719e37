from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from landweave.config import parse
from landweave.errors import ConfigError
from landweave.grid import Grid
from landweave.legends import LandClass, Legend
from landweave.sample import Batch, Image, Label, Sample, collate
from landweave.transforms import CONTRASTIVE, Augment, augment
from landweave.transforms.augment import draw

LEGEND = Legend("three", tuple(LandClass(i, f"c{i}", "#000000") for i in range(3)), ignored=(9,))
CROP = Augment(crop=(0.3, 0.9))
STILL = Augment(flip=0, rotate90=False)
GRID = Grid("EPSG:32633", (10, 0, 0, 0, -10, 0), (16, 16))


def place(name: str, *, T: int = 1, H: int = 16, W: int = 16, label: str = "map") -> Sample:
    """Optical, coarser optical, radar and heights; every value tells where it stands."""
    rng = np.random.default_rng(len(name) + ord(name[-1]))
    ramp = (np.arange(H)[:, None] * 100 + np.arange(W)).astype(np.float32)
    codes = rng.integers(0, 3, (H, W))
    codes[:2] = 9
    labels = {
        "map": Label.of_map(codes, LEGEND, grid=GRID),
        "class": Label.of_class(1, LEGEND),
    }
    images = {
        "s2-l2a": Image.of("s2-l2a", ["B02", "B08"], np.stack([ramp, ramp + 5000] * T).reshape(T, 2, H, W), grid=GRID),
        "s2-l1c": Image.of("s2-l1c", ["B09"], rng.integers(1, 3000, (T, 1, H // 2, W // 2)).astype(np.int16)),
        "s1-grd-sigma0": Image.of("s1-grd-sigma0", ["VV"], rng.normal(-12, 3, (T, 1, H, W)).astype(np.float32)),
        "dem": Image.of("dem", ["elevation"], ramp[None] + 700),
    }
    return Sample(images, {label: labels[label]}, name)


def batch_of(names: str, **options: Any) -> Batch:
    return collate([place(f"place-{n}", **options) for n in names])


def same(a: Batch, i: int, b: Batch, j: int) -> None:
    for stream in a.images:
        for part in ("data", "pixels_seen"):
            x, y = (getattr(v.images[stream], part) for v in (a, b))
            torch.testing.assert_close(x[i], y[j], rtol=0, atol=0, msg=f"{stream} {part}")
    for task in a.labels:
        assert torch.equal(a.labels[task].values[i], b.labels[task].values[j])


def eight(x: torch.Tensor) -> list[torch.Tensor]:
    """All flips and quarter turns of a square."""
    turned = [torch.rot90(x, k, (-2, -1)) for k in range(4)]
    return turned + [t.flip(-1) for t in turned]


def which(view: torch.Tensor, original: torch.Tensor) -> list[int]:
    return [i for i, e in enumerate(eight(original)) if torch.equal(e, view)]


def test_flips_and_turns_are_exact_copies_and_one_geometry_for_all() -> None:
    batch = batch_of("abcdefghijklmnopqrstuvwxyz", T=2)
    view = augment(batch, Augment(), (0, 1))
    found = []
    for i in range(len(batch)):
        kinds = [which(view.images[s].data[i], im.physical()[i]) for s, im in batch.images.items()]
        kinds.append(which(view.labels["map"].values[i], batch.labels["map"].values[i]))
        kinds.append(which(view.labels["map"].known[i], batch.labels["map"].known[i])[:1] and kinds[-1])
        assert len(kinds[0]) == 1, "not an exact copy"
        assert all(k == kinds[0] for k in kinds), kinds
        found.append(kinds[0][0])
    assert set(found) == set(range(8))  # every element of the square's symmetry is drawn
    assert view.images["s2-l2a"].grid == (None,) * 26
    assert view.images["s2-l2a"].moved_from == (GRID,) * 26
    again = augment(view, Augment(crop=(0.5, 1.0)), (0, 2)).images["s2-l2a"]
    assert (again.grid, again.moved_from) == ((None,) * 26, (GRID,) * 26)
    assert view.labels["map"].grid == (None,) * 26
    assert torch.equal(view.images["s2-l2a"].days, batch.images["s2-l2a"].days)


def test_the_affine_way_agrees_with_the_exact_one() -> None:
    batch = batch_of("abcdefgh")
    exact, affine = (augment(batch, s, (3,)) for s in (Augment(), Augment(crop=(1.0, 1.0))))
    for stream, image in exact.images.items():
        torch.testing.assert_close(affine.images[stream].data, image.data, rtol=1e-4, atol=2e-3)
        assert torch.equal(affine.images[stream].pixels_seen, image.pixels_seen)
    assert torch.equal(affine.labels["map"].values, exact.labels["map"].values)


def test_a_wider_window_is_cut_about_the_same_ground() -> None:
    """`data.context`: the middle of a series that reaches beyond the place stays on the place, in every view."""

    def wide(name: str) -> Sample:
        def ground(grid: Grid, n: int) -> np.ndarray:
            """Each pixel's value is the easting plus a thousandth of the northing of its middle."""
            return np.array(
                [[[x + 1e-3 * y for x, y in (grid.xy(r + 0.5, c + 0.5) for c in range(n))]] for r in range(n)]
            )

        around = Grid(GRID.crs, (20, 0, -80, 0, -20, 80), (16, 16))  # twice the side, about the same middle
        fine, coarse = (np.moveaxis(ground(g, 16), 1, 0).astype(np.float32) for g in (GRID, around))
        images = {
            "dem": Image.of("dem", ["elevation"], fine, grid=GRID),
            "s2-l2a": Image.of("s2-l2a", ["B02"], coarse, grid=around, scale=1.0),
        }
        return Sample(images, {"map": Label.of_map(np.ones((16, 16), int), LEGEND, grid=GRID)}, name)

    batch = collate([wide(f"place-{n}") for n in "abcdefgh"])
    for settings in (CROP, Augment()):
        view = augment(batch, settings, (5,))
        fine, middle = view.images["dem"].data[:, 0, 0], view.images["s2-l2a"].data[:, 0, 0, 4:12, 4:12]
        torch.testing.assert_close(middle, torch.nn.functional.avg_pool2d(fine, 2), rtol=0, atol=2.0)  # 0.1 pixels
        assert float((fine - fine[:, :1, :1]).abs().amax()) > 50


def test_how_far_a_window_reaches_does_not_depend_on_the_place_that_comes_first() -> None:
    around = Grid(GRID.crs, (20, 0, -80, 0, -20, 80), (16, 16))
    ramp = (np.arange(16)[:, None] * 100 + np.arange(16)).astype(np.float32)[None]
    wide = {"s2-l2a": Image.of("s2-l2a", ["B02"], ramp, grid=around, scale=1.0)}
    both = Sample({**wide, "dem": Image.of("dem", ["elevation"], ramp, grid=GRID)}, {}, "both")
    alone = Sample(wide, {}, "alone")
    first, last = (augment(collate(pair), CROP, (5,)) for pair in ([both, alone], [alone, both]))
    torch.testing.assert_close(first.images["s2-l2a"].data[0], last.images["s2-l2a"].data[1])


def test_a_crop_by_a_loop() -> None:
    """Each pixel of a cut view, traced back by hand through crop, flip and transposition."""
    batch = batch_of("abcd")
    view = augment(batch, CROP, (7,)).images["s2-l2a"].data[:, 0, 0] * 1e4
    for i, name in enumerate(batch.names):
        d = draw(CROP, (7,), name)
        for r, c in ((0, 0), (3, 12), (15, 15), (8, 5)):
            y, x = ((2 * v + 1) / 16 - 1 for v in (r, c))
            y, x = (-y if d.flip_rows else y), (-x if d.flip_cols else x)
            if d.transpose:
                y, x = x, y
            y, x = (d.side * v + (2 * at - 1) * (1 - d.side) for v, at in ((y, d.row), (x, d.col)))
            row, col = (min(max(((v + 1) * 16 - 1) / 2, 0), 15) for v in (y, x))
            assert float(view[i, r, c]) == pytest.approx(row * 100 + col, abs=0.1)  # the ramp is linear
    assert {draw(CROP, (7,), n).transpose for n in batch.names} == {True, False}


def test_crop_bounds_are_shares_of_the_area() -> None:
    areas = [draw(CROP, (s,), "p").side ** 2 for s in range(200)]
    assert 0.3 <= min(areas) < 0.35
    assert 0.85 < max(areas) <= 0.9


def test_sensors_and_labels_are_cut_alike() -> None:
    """A label that is a threshold of the image still is one after any geometry, but for the edge pixels of a class."""
    sample = place("p")
    ramp = sample.images["s2-l2a"].data[0, 0]
    codes = (ramp > 800).to(torch.uint8)
    batch = collate([replace(sample, labels={"map": Label("map", codes, torch.ones_like(codes).bool(), LEGEND)})])
    for s in range(8):
        view = augment(batch, CROP, (s,))
        said = view.images["s2-l2a"].data[0, 0, 0] * 1e4 > 800
        agree = (said == (view.labels["map"].values[0] == 1)).float().mean()
        assert agree > 0.93, s


def test_unseen_pixels_move_along_and_never_leak() -> None:
    batch = batch_of("abcd")
    image = batch.images["s2-l2a"]
    hole = torch.ones_like(image.pixels_seen)
    hole[..., 4:9, 2:11] = False
    for settings in (Augment(), CROP, Augment(crop=(0.5, 0.9), blur=1.0), replace_settings(CONTRASTIVE, noise=0.0)):
        views = []
        for junk in (0.0, 1e6):
            data = torch.where(hole, image.data, junk)
            hidden = replace(batch, images={**batch.images, "s2-l2a": replace(image, data=data, pixels_seen=hole)})
            views.append(augment(hidden, settings, (5,)).images["s2-l2a"])
        assert torch.equal(views[0].data, views[1].data)
        assert (views[0].data[~views[0].seen] == 0).all()
        assert not views[0].seen.all()
        assert views[0].seen.any()
        marked = Label("map", hole[:, 0, 0].to(torch.uint8), torch.ones_like(hole[:, 0, 0]), LEGEND)
        moved = augment(replace(batch, labels={"map": marked}), settings, (5,)).labels["map"].values
        assert torch.equal(moved == 1, views[0].pixels_seen[:, 0, 0])


def replace_settings(settings: Augment, **changes: Any) -> Augment:
    return Augment(**{**settings.model_dump(), **changes})


def test_unknown_labels_move_along_and_outside_is_unknown() -> None:
    batch = batch_of("abcd")
    for settings in (Augment(), CROP):
        label = augment(batch, settings, (2,)).labels["map"]
        assert torch.equal(label.values == 255, ~label.known)
        assert label.values.dtype == torch.uint8
    wide = augment(batch, Augment(crop=(4.0, 4.0)), (2,))
    label, image = wide.labels["map"], wide.images["s2-l2a"]
    inside = image.pixels_seen[:, 0, 0]
    assert inside.sum((1, 2)).tolist() == [64] * 4  # a quarter of the area
    assert (label.values[~inside] == 255).all()
    assert not label.known[~inside].any()
    assert label.known[inside].any()
    assert image.data[image.seen].min() >= 0


@pytest.mark.parametrize("settings", [Augment(), CROP, CONTRASTIVE])
def test_depends_on_key_and_name_only(settings: Augment) -> None:
    batch = batch_of("abcde")
    first, again = augment(batch, settings, (0, 3, 1)), augment(batch, settings, (0, 3, 1))
    turned = augment(batch_of("edcba"), settings, (0, 3, 1))
    alone = augment(batch_of("c"), settings, (0, 3, 1))
    for i in range(5):
        same(first, i, again, i)
        same(first, i, turned, 4 - i)
    same(first, 2, alone, 0)
    for other in ((0, 3, 0), (0, 4, 1), (1, 3, 1)):
        differs = augment(batch, settings, other).images["s2-l2a"].data != first.images["s2-l2a"].data
        assert differs.any()


def test_draws_are_frozen() -> None:
    """A changed draw changes every published run: these numbers must never move."""
    d = draw(CONTRASTIVE, (0, 1, 2), "place")
    assert (d.flip_cols, d.flip_rows, d.transpose) == FROZEN[:3]
    assert (d.side, d.row, d.brightness, d.contrast, d.sigma) == pytest.approx(FROZEN[3:])


FROZEN: tuple[Any, ...] = (True, True, True, 0.586324819, 0.547501555, 0.781993664, 1.207744519, 1.460671058)


def test_one_setting_leaves_the_others_alone() -> None:
    for s in range(20):
        few, many = draw(CROP, (s,), "p"), draw(CONTRASTIVE, (s,), "p")
        assert (few.flip_cols, few.transpose, few.side, few.row) == (
            many.flip_cols,
            many.transpose,
            many.side,
            many.row,
        )


def test_own_geometry_per_sensor_only_without_a_label_map() -> None:
    torn = Augment(co_registered=False)
    with pytest.raises(ConfigError, match="label map `map`"):
        augment(batch_of("ab"), torn, (0,))
    batch = batch_of("abcdefgh", label="class")
    view = augment(batch, torn, (0,))
    kinds = [[which(view.images[s].data[i], im.physical()[i]) for i in range(8)] for s, im in batch.images.items()]
    assert kinds[0] != kinds[2]
    assert torch.equal(view.labels["class"].values, batch.labels["class"].values)
    streams = {"s2-l2a@10": batch.images["s2-l2a"], "s2-l2a@20": batch.images["s2-l2a"]}
    pixel_sizes = augment(replace(batch, images=streams), torn, (0,)).images
    assert torch.equal(pixel_sizes["s2-l2a@10"].data, pixel_sizes["s2-l2a@20"].data)  # one sensor, one geometry


def test_radar_and_heights_keep_their_values() -> None:
    batch = batch_of("abcd")
    light = Augment(flip=0, rotate90=False, brightness=0.5, contrast=0.5, noise=0.5, jitter_chance=1)
    view = augment(batch, light, (0,))
    for stream in ("s1-grd-sigma0", "dem"):
        assert view.images[stream] is batch.images[stream]
    assert view.images["s2-l2a"].grid == batch.images["s2-l2a"].grid  # nothing has moved
    assert not torch.isclose(view.images["s2-l2a"].data, batch.images["s2-l2a"].physical()).all()
    blurred = augment(batch, replace_settings(STILL, blur=1), (0,))
    assert blurred.images["dem"] is batch.images["dem"]


def test_speckle_is_gamma_of_mean_one_in_power() -> None:
    flat = {"s1-grd-sigma0": Image.of("s1-grd-sigma0", ["VV", "VH"], np.full((2, 200, 200), -10, np.float32))}
    optical = {"s2-l2a": place("p").images["s2-l2a"]}
    batch = collate([Sample(flat | optical, {}, "p")])
    view = augment(batch, replace_settings(STILL, speckle_looks=8), (0,))
    power = 10 ** (view.images["s1-grd-sigma0"].data / 10)
    assert power.mean().item() == pytest.approx(0.1, rel=0.01)
    assert (power.var() / power.mean() ** 2).item() == pytest.approx(1 / 8, rel=0.03)
    assert view.images["s2-l2a"] is batch.images["s2-l2a"]


def test_noise_is_a_share_of_the_bands_deviation() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal([[[0.2]], [[3000.0]]], [[[0.05]], [[400.0]]], (2, 150, 150)).astype(np.float32)
    batch = collate([Sample({"s2-l2a": Image.of("s2-l2a", ["B02", "B08"], data)}, {}, "p")])
    view = augment(batch, replace_settings(STILL, noise=0.2), (0,)).images["s2-l2a"].data[0, 0]
    added = view - batch.images["s2-l2a"].physical()[0, 0]
    assert added.std((1, 2)).tolist() == pytest.approx([0.05e-4 * 0.2, 400e-4 * 0.2], rel=0.03)


def test_brightness_keeps_ratios_of_bands_and_contrast_keeps_means() -> None:
    batch = batch_of("abcd", T=2)
    before = batch.images["s2-l2a"].physical()
    bright = augment(batch, replace_settings(STILL, brightness=0.4, jitter_chance=1), (0,)).images["s2-l2a"].data
    factor = bright[:, :, 1] / before[:, :, 1]
    torch.testing.assert_close(bright[:, :, 0], before[:, :, 0] * factor)
    assert (factor.amax((1, 2, 3)) - factor.amin((1, 2, 3))).max() < 1e-5  # one factor a place, for all dates
    assert len({round(float(f), 4) for f in factor[:, 0, 0, 0]}) == 4
    flat = augment(batch, replace_settings(STILL, contrast=0.4, jitter_chance=1), (0,)).images["s2-l2a"].data
    torch.testing.assert_close(flat.mean((-1, -2)), before.mean((-1, -2)))
    assert not torch.isclose(flat.std((-1, -2)), before.std((-1, -2))).any()


@pytest.mark.parametrize("block", [1, 2**19])
def test_blur_by_a_loop(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("landweave.transforms.radiometry.BLOCK", block)
    batch = batch_of("ab")
    settings = replace_settings(STILL, blur=1.0, blur_sigma=(0.7, 1.5))
    view = augment(batch, settings, (0,)).images["s2-l1c"].data
    raw = batch.images["s2-l1c"].physical()
    for i, name in enumerate(batch.names):
        sigma = draw(settings, (0,), name, "s2-l1c").sigma
        weight = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
        weight /= weight.sum()
        for r, c in ((0, 0), (3, 4), (7, 2)):
            total = 0.0
            for dr in range(-4, 5):
                for dc in range(-4, 5):
                    row, col = (7 - abs(7 - abs(v)) for v in (r + dr, c + dc))  # mirrored at the border
                    at = raw[i, 0, 0, row, col]
                    total += weight[dr + 4] * weight[dc + 4] * float(at)
            assert float(view[i, 0, 0, r, c]) == pytest.approx(total, rel=1e-4)
    some = augment(batch_of("abcdefgh"), replace_settings(settings, blur=0.5), (0,)).images["s2-l1c"].data
    untouched = (some == batch_of("abcdefgh").images["s2-l1c"].physical()).flatten(1).all(1)
    assert 0 < untouched.sum() < 8


def test_a_wide_blur_is_as_wide_as_it_says() -> None:
    point = np.zeros((1, 1, 81, 81), np.float32)
    point[..., 40, 40] = 1
    batch = collate([Sample({"dem": Image.of("dem", ["elevation"], point[0])}, {}, "p")])
    batch = replace(batch, images={"s2-l2a": replace(batch.images["dem"], bands=("B02",))})
    for sigma in (1.0, 2.0, 6.0):
        settings = replace_settings(STILL, blur=1.0, blur_sigma=(sigma, sigma))
        rows = augment(batch, settings, (0,)).images["s2-l2a"].data[0, 0, 0].sum(1)
        at = torch.arange(81) - 40.0
        assert float((rows * at**2).sum() ** 0.5) == pytest.approx(sigma, rel=0.13), sigma  # cut at two deviations


def test_blur_beside_unseen_pixels_neither_darkens_nor_brightens() -> None:
    hole = np.ones((1, 1, 16, 16), bool)
    hole[..., 5:9, 5:12] = False
    flat = {
        "s2-l2a": Image.of("s2-l2a", ["B02"], np.full((1, 16, 16), 3000.0, np.float32), pixels_seen=hole),
        "s1-grd-sigma0": Image.of("s1-grd-sigma0", ["VV"], np.full((1, 16, 16), -20.0, np.float32), pixels_seen=hole),
    }
    view = augment(collate([Sample(flat, {}, "p")]), replace_settings(STILL, blur=1.0), (0,))
    for stream, value in (("s2-l2a", 0.3), ("s1-grd-sigma0", -20.0)):
        image = view.images[stream]
        assert image.data[image.seen].tolist() == pytest.approx([value] * 228, rel=1e-4)
        assert (image.data[~image.seen] == 0).all()


def test_images_that_are_not_square_are_flipped_only() -> None:
    batch = batch_of("abcdefgh", H=16, W=12)
    view = augment(batch, Augment(), (0,)).images["s2-l2a"].data
    raw = batch.images["s2-l2a"].physical()
    for i in range(8):
        flips = [raw[i], raw[i].flip(-1), raw[i].flip(-2), raw[i].flip(-1).flip(-2)]
        assert sum(torch.equal(f, view[i]) for f in flips) == 1
    turned = augment(batch, Augment(flip=0), (0,)).images["s2-l2a"].data
    halves = [torch.equal(turned[i], raw[i].flip(-1).flip(-2)) for i in range(8)]
    assert all(half or torch.equal(turned[i], raw[i]) for i, half in enumerate(halves)), "turns do not mirror"
    assert 0 < sum(halves) < 8


def test_an_unseen_sensor_stays_unseen() -> None:
    batch = batch_of("ab")
    gone = {**batch.images, "s1-grd-sigma0": batch.images["s1-grd-sigma0"].unseen()}
    image = augment(replace(batch, images=gone), CONTRASTIVE, (0,)).images["s1-grd-sigma0"]
    assert not image.seen.any()
    assert not image.sensor_seen.any()
    assert (image.data == 0).all()


def test_full_precision_under_autocast() -> None:
    batch = batch_of("abcd")
    settings = replace_settings(CONTRASTIVE, blur=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = augment(batch, settings, (0,))
    plain = augment(batch, settings, (0,))
    for stream in batch.images:
        assert torch.equal(mixed.images[stream].data, plain.images[stream].data)


def test_settings_are_checked_and_load_without_torch() -> None:
    with pytest.raises(ConfigError, match=r"0 < low <= high <= 4"):
        parse(Augment, {"crop": [0.9, 0.3]})
    with pytest.raises(ConfigError, match="did you mean `rotate90`"):
        parse(Augment, {"rotate": True})
    assert parse(Augment, CONTRASTIVE.model_dump(mode="json")) == CONTRASTIVE
    code = "import sys, landweave.transforms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
