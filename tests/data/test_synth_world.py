"""The synthetic world: a pure function of position, frozen, and made of plausible land."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from landweave.data.synth import fields, spectra, zones
from landweave.data.synth.ground import Ground
from landweave.data.synth.params import PARAMS, fingerprint
from landweave.data.synth.world import World, null_world, to_db
from landweave.errors import ConfigError
from landweave.legends import BIGEARTHNET_MAP, EUROSAT, IGBP_17

X0, Y0 = 33_350_005.0, 5_349_995.0
BANDS = ("B02", "B03", "B04", "B08", "B11")


def axes(n: int, step: float = 10.0, right: int = 0, down: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return X0 + step * (np.arange(n) + right), Y0 - step * (np.arange(n) + down)


def test_parameters_and_tables_are_frozen() -> None:
    # Another value means another world: raise `version`, and measure every figure again.
    assert (PARAMS.version, fingerprint()) == ("1", "0d55af30c7715edd")


def test_noise_equals_a_bspline_written_with_loops() -> None:
    def weight(f: float, k: int) -> float:
        t = abs(f + 1 - k)
        return (4 - 6 * t**2 + 3 * t**3) / 6 if t < 1 else max(2 - t, 0) ** 3 / 6

    x, y, key = np.array([-13.7, 2.2, 101.0]), np.array([5.5, -900.25]), 42
    got = fields.noise(x, y, 10.0, key)
    for r, b in enumerate(y):
        for c, a in enumerate(x):
            i, j = int(np.floor(a / 10)), int(np.floor(b / 10))
            want = 0.0
            for m in range(4):
                for k in range(4):
                    value = fields.normal(fields.lattice_hash(np.array([i + k]), np.array([j + m]), key))[0]
                    want += weight(a / 10 - i, k) * weight(b / 10 - j, m) * value
            assert got[r, c] == pytest.approx(want / 0.479365, abs=1e-5)
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    assert fields.noise_at(grid[:, 0], grid[:, 1], 10.0, [key])[0] == pytest.approx(got.ravel(), abs=1e-5)
    ahead = fields.noise(x + 0.01, y, 10.0, key)
    assert fields.noise(x, y, 10.0, key, slope="x") == pytest.approx((ahead - got) / 0.01, abs=5e-3)


def test_cells_are_nearest_lattice_points() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.uniform(-3, 4, (5, 6)), rng.uniform(90, 95, (5, 6))
    i, j, found = fields.cells(u, v, 7)
    ai, aj = np.meshgrid(np.arange(-8, 9), np.arange(85, 100))
    ju, jv = fields.seed_offsets(ai, aj, 7)
    for r in range(5):
        for c in range(6):
            far = (ai + ju - u[r, c]) ** 2 + (aj + jv - v[r, c]) ** 2
            at = np.unravel_index(far.argmin(), far.shape)
            assert (i[found[r, c]], j[found[r, c]]) == (ai[at], aj[at])


def test_hash_draws_have_the_distributions_they_claim() -> None:
    h = fields.lattice_hash(np.arange(400), np.arange(300)[:, None], 3)
    u, z, g = fields.uniform(h), fields.normal(fields.rehash(h, 1)), fields.gamma(fields.rehash(h, 2), 4.4)
    assert 0 < u.min() < u.max() < 1
    assert (u.mean(), u.var()) == (pytest.approx(0.5, abs=0.01), pytest.approx(1 / 12, abs=0.01))
    assert (z.mean(), z.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    assert (g.mean(), g.var()) == (pytest.approx(1, abs=0.01), pytest.approx(1 / 4.4, abs=0.01))
    assert abs(np.corrcoef(u[:, 1:].ravel(), u[:, :-1].ravel())[0, 1]) < 0.01


def test_a_window_does_not_change_what_it_shows() -> None:
    world = World(3)
    whole, part = world.view(*axes(48), 10), world.view(*axes(20, right=17, down=9), 10)
    inner = np.s_[..., 9:29, 17:37]
    for look in (
        lambda v: v.optical(170, BANDS, level="l1c", cover=0.5),
        lambda v: v.radar(170),
        lambda v: v.landcover(),
        lambda v: v.elevation(),
    ):
        assert np.array_equal(look(whole)[inner], look(part))
    assert np.array_equal(world.optical(*axes(20), 170, BANDS, 10), World(3).view(*axes(20), 10).optical(170, BANDS))
    assert not np.array_equal(World(4).landcover(*axes(48)), whole.landcover())


def test_pixel_sizes_show_the_same_land() -> None:
    world = World(3)
    fine = world.view(*axes(96), 10).optical(170, BANDS, level="surface")
    x, y = axes(16, 60.0)
    coarse = world.view(x + 25, y - 25, 60, samples=8).optical(170, BANDS, level="surface")
    mean = fields.block_mean(fine, 6)
    assert np.corrcoef(mean.ravel(), coarse.ravel())[0, 1] > 0.98
    close = world.view(*axes(200, 0.2), 0.2, samples=1)  # an aerial image of 40 m within the same land
    assert close.optical(170, ("B04", "B03", "B02", "B08")).shape == (4, 200, 200)
    assert set(np.unique(close.landcover())) <= set(np.unique(world.landcover(*axes(8))))


def test_zones_are_patches_and_not_pixels() -> None:
    from scipy import ndimage

    land = World(0).landcover(*axes(400, 20.0))
    areas = []
    for z in np.unique(land[land >= zones.ZONE["urban"]]):
        marks, count = ndimage.label(land == z)
        areas += list(np.bincount(marks.ravel())[1:] * 0.04) if count else []
    assert np.median(areas) > 15  # hectares; CORINE's minimum mapping unit is 25
    assert len(np.unique(land)) >= 12


def test_every_zone_has_a_value_in_every_legend() -> None:
    from landweave.legends import LCCS_LAND_COVER, LCCS_LAND_USE, LCCS_SURFACE_HYDROLOGY

    for z in zones.ZONES:
        assert z.clc in BIGEARTHNET_MAP.table()
        assert z.igbp in {c.value for c in IGBP_17.classes}
        assert z.lulc in zones.LULC
        assert not z.eurosat or z.eurosat in EUROSAT.names
        for value, legend in zip(z.lccs, (LCCS_LAND_COVER, LCCS_LAND_USE, LCCS_SURFACE_HYDROLOGY), strict=True):
            assert value in {c.value for c in legend.classes}, (z.name, legend.name)
    assert zones.parcel_table().max() < len(spectra.MATERIALS)
    assert set(EUROSAT.names) == {z.eurosat for z in zones.ZONES} - {""}


def test_seasons_clouds_and_slopes_do_what_they_should() -> None:
    curves = spectra.curves()
    for name, high, low in (("wheat", 150, 230), ("maize", 225, 140), ("broadleaf", 190, 20)):
        assert curves[spectra.INDEX[name], high] > curves[spectra.INDEX[name], low] + 0.4
    view = World(0).view(*axes(120, 40.0), 40, samples=1)
    clear, half = view.optical(170, ("B02",)), view.optical(170, ("B02",), cover=0.5)
    cloud, shadow = view.clouds(170, cover=0.5)
    assert 0.3 < cloud.mean() < 0.7
    assert (half - clear)[0][cloud > 0.9].min() > 0.2
    assert np.mean((half < clear)[0][(shadow > 0.9) & (cloud == 0)]) > 0.95
    view = World(0).view(*axes(60), 10)
    east, west = view.radar(170, looks=np.inf), view.radar(170, looks=np.inf, ascending=False)
    assert not np.allclose(east, west)
    assert np.allclose(
        view.radar(170, looks=np.inf, flattened=True), view.radar(170, looks=np.inf, ascending=False, flattened=True)
    )
    ratio = view.radar(170) / east
    assert ratio.var() == pytest.approx(1 / PARAMS.looks, rel=0.1)


def test_sensors_confuse_different_pairs() -> None:
    """Conifer and broadleaf: apart in Sentinel-2, alike in radar. Marsh and natural grass: the other way about."""
    bare, green = spectra.reflectances()
    _, lush = spectra.backscatter()
    i = spectra.INDEX
    near_infrared = spectra.BANDS.index("B08")
    red = spectra.BANDS.index("B04")
    assert green[near_infrared, i["broadleaf"]] / green[near_infrared, i["conifer"]] > 1.5
    assert np.abs(lush[:, i["broadleaf"]] - lush[:, i["conifer"]]).max() < 1
    assert abs(green[red, i["reed"]] - green[red, i["natural grass"]]) < 0.03
    assert np.abs(lush[:, i["reed"]] - lush[:, i["natural grass"]]).max() > 2.5
    assert np.abs(bare[:, i["asphalt"]] - bare[:, i["slate roof"]]).max() < 0.05
    assert lush[0, i["slate roof"]] - lush[0, i["asphalt"]] > 8


def test_materials_agree_with_genuine_tiles(real: Path) -> None:
    """Trees of one genuine tile against reflectance and backscatter of the tables, water against backscatter."""
    from landweave.data import raster

    tile = "282D_485L_3_3.tif"
    cube = raster.read(real / "terramind/S2L2A" / tile).data / 10_000
    cover = raster.read(real / "terramind/LULC" / tile).data[0]
    db = raster.read(real / "terramind/S1RTC" / tile).data
    names = [b for b in spectra.BANDS if b != "B10"]
    rows = [spectra.BANDS.index(b) for b in names]
    trees = cube[:, cover == 2].mean(1)
    _, green = spectra.reflectances()
    ours = green[rows, spectra.INDEX["broadleaf"]]
    assert np.corrcoef(trees, ours)[0, 1] > 0.97
    assert np.abs(trees - ours).max() < 0.09
    _, lush = spectra.backscatter()
    assert db[:, cover == 2].mean(1) == pytest.approx(lush[:, spectra.INDEX["broadleaf"]], abs=2.0)
    assert db[:, cover == 1].mean(1) == pytest.approx(lush[:, spectra.INDEX["sea"]], abs=4.0)


def test_unknown_null_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean `labels`"):
        null_world("label")


def test_label_noise_swaps_whole_cells() -> None:
    ground = Ground(0, PARAMS)
    x, y = axes(400, 25.0)
    land = ground.land(x, y)
    mapped = ground.mapped(land, lines=False)
    wrong = mapped != land.block
    assert 0.01 < wrong.mean() < 0.09
    assert np.array_equal(mapped[wrong], land.second[wrong])


def test_db_of_power() -> None:
    assert to_db(np.array([0.1, 1.0, 100.0], np.float32)) == pytest.approx([-10, 0, 20])


def test_docs_print_the_frozen_values() -> None:
    text = (Path(__file__).parents[2] / "docs/synth.md").read_text(encoding="utf-8")
    for name, value in asdict(PARAMS).items():
        assert f"| `{name}` | {value} |" in text
