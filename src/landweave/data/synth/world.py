"""A synthetic world: one function of (x, y, day, band), so that every sensor's image is a sample of the same land.

`World(seed).view(x, y, pixel)` looks at a window once; `optical`, `radar`, `landcover` and `elevation` of the view
then share what lies on the ground. Any pixel size works, from 0.2 m to 60 m; nothing is stored. In a null world one
link is cut: what a sensor, a season or a label shows is taken from an unrelated world at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landweave.data.synth import spectra
from landweave.data.synth.fields import (
    F32,
    F64,
    U32,
    as_axis,
    block_mean,
    gamma,
    key_of,
    lattice_hash,
    noise,
    normal,
    rehash,
    uniform,
)
from landweave.data.synth.ground import Bytes, Ground, Land, Surface
from landweave.data.synth.params import PARAMS, Params
from landweave.data.synth.zones import ZONES
from landweave.errors import ConfigError, did_you_mean

Null = Literal["s1", "dates", "labels"]
Level = Literal["surface", "l2a", "l1c"]

# Clear-sky path reflectance and two-way transmittance of the 13 bands at the top of the atmosphere, rounded from the
# 6S code (Vermote et al. 1997, IEEE TGRS 35) for a continental aerosol, optical depth 0.15, sun at 40 degrees.
_PATH = np.array([105, 80, 48, 27, 22, 18, 16, 13, 12, 6, 1.2, 3, 1.5], np.float32) / 1000
_THROUGH = np.array([0.78, 0.82, 0.86, 0.91, 0.90, 0.92, 0.94, 0.95, 0.96, 0.45, 0.012, 0.94, 0.90], np.float32)
_CLOUD = np.array([650, 640, 630, 640, 645, 650, 655, 655, 655, 600, 350, 450, 340], np.float32) / 1000
_LEAN = ((np.array(spectra.MICROMETRES) - 0.85) / 0.75).clip(-1, 1.4).astype(np.float32)  # what a tilt multiplies
_WATER = np.array([m.name in ("sea", "lake", "river") for m in spectra.MATERIALS])
_NAKED = np.array([not m.green and m.name in ("soil", "light soil", "mud") for m in spectra.MATERIALS])
_DB = np.float32(np.log(10) / 10)


@lru_cache(maxsize=1)
def _tables() -> tuple[F32, F32, F32, F32, F32, F32]:
    bare, green = spectra.reflectances()
    dry, lush = spectra.backscatter()
    return bare, green - bare, dry, lush - dry, spectra.curves(), spectra.textures()


class World:
    """The land of one seed. `null` cuts one link (see the module); `params` are frozen, and only tests change them."""

    def __init__(self, seed: int, null: Null | None = None, *, params: Params = PARAMS) -> None:
        if null is not None and null not in get_args(Null):
            names = list(get_args(Null))
            raise ConfigError(
                f"unknown null world `{null}`{did_you_mean(null, names)}", where="null", fix=f"one of {', '.join(names)}"
            )
        self.seed, self.null, self.params = seed, null, params
        self.ground = Ground(seed, params)
        self.other = Ground(key_of("unrelated", seed), params)

    def view(self, x: ArrayLike, y: ArrayLike, pixel: float, *, samples: int = 2) -> View:
        """Look at pixels centred at the axes `x` (W) and `y` (H), metres, both in steps of `pixel`.

        `samples` x `samples` points are integrated in each pixel.
        """
        return View(self, as_axis(x), as_axis(y), pixel, samples)

    def landcover(self, x: ArrayLike, y: ArrayLike) -> Bytes:
        """Zone index (`zones.ZONES`) as mapped, with rivers and roads, at the crossings of the axes: H W."""
        return self.mapped(as_axis(x), as_axis(y))

    def mapped(self, x: F64, y: F64, *, lines: bool = True) -> Bytes:
        """The zones that a label shows; without `lines`, what lies under rivers and roads."""
        ground = self.other if self.null == "labels" else self.ground
        return ground.mapped(ground.land(x, y), lines=lines)

    def elevation(self, x: ArrayLike, y: ArrayLike) -> F32:
        """Metres above the sea, H W; the sea is 0."""
        return np.maximum(self.ground.elevation(as_axis(x), as_axis(y)), 0)

    def optical(self, x: ArrayLike, y: ArrayLike, day: int, bands: Sequence[str], pixel: float) -> F32:
        """Reflectance C H W on a day of the year: see `View.optical`."""
        return self.view(x, y, pixel).optical(day, bands)

    def radar(self, x: ArrayLike, y: ArrayLike, day: int, pixel: float) -> F32:
        """Backscatter in linear power (VV, VH) H W: see `View.radar`."""
        return self.view(x, y, pixel).radar(day)


class View:
    """One window of a world, looked at once. A rim of one pixel is looked at too, for slopes and shifts."""

    def __init__(self, world: World, x: F64, y: F64, pixel: float, samples: int) -> None:
        self.world, self.x, self.y, self.pixel, self.samples = world, x, y, pixel, samples
        self.p, self.ground = world.params, world.ground
        self.region = self.ground.region(float(x.mean()), float(y.mean()))

    @cached_property
    def _fine(self) -> tuple[F64, F64]:
        """Axes of the points that are integrated, with the rim."""
        n = self.samples
        inner = ((np.arange(n) + 0.5) / n - 0.5) * self.pixel

        def fine(axis: F64) -> F64:
            step = self.pixel if axis.size < 2 or axis[1] > axis[0] else -self.pixel
            wide = np.concatenate([[axis[0] - step], axis, [axis[-1] + step]])
            return np.asarray(wide[:, None] + (inner if step > 0 else inner[::-1]), np.float64).ravel()

        return fine(self.x), fine(self.y)

    @cached_property
    def land(self) -> Land:
        """Zones at the fine points."""
        return self.ground.land(*self._fine)

    @cached_property
    def surface(self) -> Surface:
        """Materials at the fine points."""
        return self.ground.surface(*self._fine, self.land)

    def landcover(self, *, lines: bool = True) -> Bytes:
        """The mapped zone that covers most of each pixel: H W. Without `lines`, what lies under rivers and roads."""
        if self.world.null == "labels":
            ground = self.world.other
            zone = ground.mapped(ground.land(*self._fine), lines=lines)
        else:
            zone = self.ground.mapped(self.land, lines=lines)
        present = np.flatnonzero(np.bincount(zone.ravel()))
        most, out = np.zeros((self.y.size, self.x.size), np.float32), np.zeros((self.y.size, self.x.size), np.uint8)
        for z in present:
            share = self._pixels((zone == z).astype(np.float32), blur=False)
            out = np.where(share > most, np.uint8(z), out)
            most = np.maximum(share, most)
        return out

    @cached_property
    def _relief(self) -> F32:
        """Elevation of the pixels, with the rim."""
        return np.maximum(self.ground.elevation(_rim(self.x, self.pixel), _rim(self.y, self.pixel)), 0)

    def elevation(self) -> F32:
        """Metres above the sea: H W; the sea is 0."""
        return self._relief[1:-1, 1:-1]

    def _slope(self) -> tuple[F32, F32]:
        """Rise to the east and to the north, metres a metre: H W each."""
        e, two = self._relief, np.float32(2 * self.pixel)
        east, down = (e[1:-1, 2:] - e[1:-1, :-2]) / two, (e[2:, 1:-1] - e[:-2, 1:-1]) / two
        return (east if _rising(self.x) else -east), (down if _rising(self.y) else -down)

    def _pixels(self, fine: F32, *, blur: bool = True, shift: tuple[float, float] = (0.0, 0.0)) -> F32:
        """Integrate fine points (..., with the rim) to pixels; `shift` in pixels, at most one sample."""
        n, s = self.samples, np.float32(self.p.psf if blur else 0.0)
        H, W = self.y.size * n, self.x.size * n
        if blur:
            down, right = (np.float32(v * n) for v in shift)
            a, b, c, d = max(s - down / 2, 0), max(s + down / 2, 0), max(s - right / 2, 0), max(s + right / 2, 0)
            fine = (1 - a - b) * fine[..., n : n + H, :] + a * fine[..., n - 1 : n - 1 + H, :] + b * fine[..., n + 1 : n + 1 + H, :]
            fine = (1 - c - d) * fine[..., n : n + W] + c * fine[..., n - 1 : n - 1 + W] + d * fine[..., n + 1 : n + 1 + W]
        else:
            fine = fine[..., n : n + H, n : n + W]
        return block_mean(fine, n)

    def _greenness(self, day: int, surface: Surface, *, season: bool) -> F32:
        """Share of green matter at the fine points. `season` False: the radar's own world knows no null of dates."""
        p, curves = self.p, _tables()[4]
        late = normal(rehash(surface.parcel, 41)) * np.float32(p.parcel_days)
        shift = p.region_days * float(normal(np.array([self.region.key], np.uint32))[0])
        shift -= p.region_warm_days * self.region.warm
        when = np.clip(np.rint(day - shift - late), 0, 365).astype(np.int32)
        who = surface.material
        if season and self.world.null == "dates":
            any_plant = np.array(spectra.VEGETATED, np.uint8)
            draw = any_plant[rehash(surface.parcel, 43) % np.uint32(any_plant.size)]
            who = np.where(np.isin(who, any_plant), draw, who)
        g = curves.ravel().take(who.astype(np.int32) * 366 + when)
        g *= 1 + np.float32(p.parcel_vigour) * normal(rehash(surface.parcel, 42))
        return g

    def optical(
        self, day: int, bands: Sequence[str], *, level: Level = "l2a", cover: float = 0.0, year: int = 0
    ) -> F32:
        """Reflectance of the named Sentinel-2 bands: C H W.

        Args:
            day: of the year, 1 to 366.
            bands: official names; another sensor's band is the nearest of these.
            level: `surface` (what the ground reflects, no noise), `l2a` (with what a correction leaves), `l1c` (at
                the top of the atmosphere).
            cover: share of the sky in clouds.
            year: tells the weather of two years apart.
        """
        at = [spectra.BANDS.index(b) for b in bands]
        out = np.stack([self._reflected(day, at)]).reshape(len(at), self.y.size, self.x.size)
        out = self._snowed(out, at, day)
        out *= self._light(day)
        if level == "surface":
            return out
        return self._through_air(out, at, day, level=level, cover=cover, year=year)

    def _reflected(self, day: int, at: Sequence[int]) -> F32:
        p, surface = self.p, self.surface
        bare, grown, _, _, _, texture = _tables()
        who, land = surface.material, self.land
        g = self._greenness(day, surface, season=True)
        parcel = rehash(surface.parcel, 44)
        own = texture.take(who) * normal(rehash(surface.element, 45))
        cell = normal(rehash(land.bits, 46)) * np.float32(p.zone_light)
        light = np.exp(own + np.float32(p.parcel_light) * normal(parcel) + cell[land.seed])
        tilt = np.float32(p.parcel_tilt) * normal(rehash(parcel, 47)) * light
        own_bits = lattice_hash(np.arange(13), np.zeros(1, np.int64), self.region.key)
        gain = np.exp(
            p.region_gain * normal(rehash(own_bits[:1], 1))
            + p.region_tilt * normal(rehash(own_bits[:1], 2)) * _LEAN
            + p.region_band * normal(own_bits)
        )
        rows = []
        for b in at:
            value = grown[b].take(who)
            value *= g
            value += bare[b].take(who)
            value *= light + _LEAN[b] * tilt
            rows.append(self._pixels(value) * np.float32(gain[b]))
        return np.stack(rows)

    def _snowed(self, values: F32, at: Sequence[int], day: int) -> F32:
        """Cover what lies above the snow line of the day, which summer lifts."""
        winter, lift = self.p.season_snow
        line = winter + lift * (1 - np.cos(2 * np.pi * (day - 30) / 365)) / 2 * 1.4 + 500 * self.region.warm
        lying = np.clip((self._relief[1:-1, 1:-1] - np.float32(line)) / 120, 0, 1)
        if not lying.any():
            return values
        white = 0.8 * np.array(spectra.SPECTRA["snow"], np.float32)[at] / 1000
        share = 0.85 * lying * (values[: 1].mean(0) > 0.012)
        return np.asarray(values * (1 - share) + white[:, None, None] * share, np.float32)

    def _light(self, day: int) -> F32:
        """Sunlight on the slope relative to level ground, softened (Minnaert, k = 0.5)."""
        east, north = self._slope()
        height = np.radians(40 - 22 * np.cos(2 * np.pi * (day + 10) / 365))
        azimuth = np.radians(158.0)
        flat = np.sin(height)
        facing = flat - np.cos(height) * (np.sin(azimuth) * east + np.cos(azimuth) * north)
        facing = facing / np.sqrt(1 + east * east + north * north)
        return np.asarray(np.sqrt(np.clip(facing / flat, 0.15, 2.5)), np.float32)

    def clouds(self, day: int, *, cover: float, year: int = 0) -> tuple[F32, F32]:
        """Opacity of clouds and darkness of their shadows, 0 ... 1, at the pixels: H W each."""
        from scipy.stats import norm

        limit = np.float32(norm.isf(min(max(cover, 1e-6), 1 - 1e-6)))

        def opacity(x: F64, y: F64) -> F32:
            big, small = self.p.cloud_wave
            keys = [self.ground.key("cloud", w, day, year) for w in (big, small)]
            lump = np.float32(0.95) * noise(x, y, big, keys[0]) + np.float32(0.31) * noise(x, y, small, keys[1])
            return np.clip((lump - limit) * np.float32(2.5) + np.float32(0.5), 0, 1)

        dx, dy = self.p.cloud_shift
        return opacity(self.x, self.y), opacity(self.x + dx, self.y - dy)

    def _through_air(
        self, values: F32, at: Sequence[int], day: int, *, level: Level, cover: float, year: int
    ) -> F32:
        p = self.p
        sky = lattice_hash(np.array([day]), np.array([year]), self.region.key)
        if cover > 0:
            cloud, shadow = self.clouds(day, cover=cover, year=year)
            values = values * (1 - np.float32(0.55) * shadow * (1 - cloud))
            values = values * (1 - cloud) + _CLOUD[at][:, None, None] * cloud
        if level == "l1c":
            thick = np.exp(0.25 * normal(sky)[0])
            values = (_PATH[at] * thick)[:, None, None] + _THROUGH[at][:, None, None] * values
        else:
            lift = p.haze * normal(rehash(sky, 1))[0] * (0.49 / np.array(spectra.MICROMETRES, np.float32)[at]) ** 2
            values = values + lift[:, None, None]
        grain = self._pixel_hash("grain", day, year)
        out = np.empty_like(values)
        for i, b in enumerate(at):
            small = np.float32(p.noise * (0.12 if spectra.BANDS[b] == "B10" else 1))
            out[i] = values[i] + small * normal(rehash(grain.copy(), b + 1))
        return np.maximum(out, np.float32(0.0001))

    def _pixel_hash(self, *words: object) -> U32:
        i = np.floor(self.x / self.pixel).astype(np.int64)
        j = np.floor(self.y / self.pixel).astype(np.int64)
        return lattice_hash(i, j[:, None], self.ground.key(self.pixel, *words))

    def radar(
        self, day: int, *, ascending: bool = True, flattened: bool = False, year: int = 0, looks: float | None = None
    ) -> F32:
        """Backscatter (VV, VH) in linear power, with speckle: 2 H W.

        Args:
            day: of the year, 1 to 366.
            ascending: the pass, which sets from which side slopes are seen.
            flattened: gamma nought corrected for terrain (RTC); otherwise sigma nought on the ellipsoid.
            year: tells the weather of two years apart.
            looks: equivalent number of looks; that of the frozen parameters by default, `inf` for no speckle.
        """
        p = self.p
        ground = self.world.other if self.world.null == "s1" else self.ground
        land = self.land if ground is self.ground else ground.land(*self._fine)
        surface = self.surface if ground is self.ground else ground.surface(*self._fine, land)
        power = self._scattered(day, year, land, surface)
        east, _ = self._slope()
        if not flattened:
            power = power * np.exp(np.clip((east if ascending else -east) * np.float32(-1.6), -1.2, 1.2))
        else:
            power = power / np.float32(np.cos(np.radians(38.5)))
        power = power + np.array(10 ** (np.array(p.noise_floor_db) / 10), np.float32)[:, None, None]
        looks = p.looks if looks is None else looks
        if np.isinf(looks):
            return np.asarray(power, np.float32)
        h = self._pixel_hash("speckle", day, year, ascending)
        return power * np.stack([gamma(rehash(h.copy(), b), looks) for b in (1, 2)])

    def _scattered(self, day: int, year: int, land: Land, surface: Surface) -> F32:
        """Mean backscatter of the pixels, each band shifted against the optical images by the same part of a pixel."""
        p = self.p
        _, _, dry, lush, _, _ = _tables()
        who = surface.material
        g = self._greenness(day, surface, season=False)
        date = lattice_hash(np.array([day, day]), np.array([year]), self.region.key + 17)
        own = normal(rehash(lattice_hash(np.arange(2), np.zeros(1, np.int64), self.region.key), 5)) * p.region_db
        wind, wet = normal(date)[0] * p.water_wind_db, normal(rehash(date, 3))[0] * p.soil_moisture_db
        weather = _WATER * wind + _NAKED * wet
        shared = normal(rehash(surface.parcel, 48)) * np.float32(p.parcel_db)
        shared += (normal(rehash(land.bits, 49)) * np.float32(p.zone_db))[land.seed]
        shift = tuple(float(v) * p.misregistration / 2 for v in normal(rehash(date, 9 + np.uint32(1).item()))[:1].repeat(2))
        rows = []
        for b in range(2):
            db = lush[b].take(who) * g + dry[b].take(who) + shared
            db += (weather * (1.0 if b == 0 else 0.6) + own[b]).astype(np.float32).take(who)
            rows.append(self._pixels(np.exp(_DB * db), shift=(shift[0], shift[1])))
        return np.stack(rows)


def _rising(axis: F64) -> bool:
    return axis.size < 2 or bool(axis[1] > axis[0])


def _rim(axis: F64, pixel: float) -> F64:
    step = pixel if _rising(axis) else -pixel
    return np.concatenate([[axis[0] - step], axis, [axis[-1] + step]])


def to_db(power: F32) -> F32:
    """Linear power in dB."""
    return np.asarray(10 * np.log10(power), np.float32)


def zone_shares(zone: Bytes) -> NDArray[np.float64]:
    """Share of each zone in a window: K of `zones.ZONES`."""
    return np.bincount(zone.ravel(), minlength=len(ZONES)) / zone.size


__all__ = ["Null", "View", "World", "to_db", "uniform", "zone_shares"]
