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

from landweave.data.synth import Null, sky, spectra
from landweave.data.synth.fields import (
    F32,
    F64,
    U32,
    as_axis,
    block_mean,
    gamma,
    key_of,
    lattice_hash,
    normal,
    rehash,
)
from landweave.data.synth.ground import LINES, Bytes, Ground, Land, Region, Surface
from landweave.data.synth.params import PARAMS, Params
from landweave.data.synth.zones import ZONES
from landweave.errors import ConfigError, did_you_mean

Level = Literal["surface", "l2a", "l1c"]

_WATER = np.array([m.name in ("sea", "lake", "river") for m in spectra.MATERIALS])
_NAKED = np.array([not m.green and m.name in ("soil", "light soil", "mud") for m in spectra.MATERIALS])
_DB = np.float32(np.log(10) / 10)


@lru_cache(maxsize=1)
def _tables() -> tuple[F32, F32, F32, F32, F32, F32]:
    bare, green = spectra.reflectances()
    dry, lush = spectra.backscatter()
    return bare, green - bare, dry, lush - dry, spectra.curves(), spectra.textures()


def null_world(name: str | None) -> Null | None:
    """Check the name of a null world.

    Raises:
        ConfigError: there is no such null world.
    """
    found: Null | None
    for found in get_args(Null):
        if found == name:
            return found
    if name is None:
        return None
    names = list(get_args(Null))
    raise ConfigError(
        f"unknown null world `{name}`{did_you_mean(name, names)}", where="null", fix=f"one of {', '.join(names)}"
    )


class World:
    """The land of one seed. `null` cuts one link (see the module); `params` are frozen, and only tests change them."""

    def __init__(self, seed: int, null: Null | None = None, *, params: Params = PARAMS) -> None:
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

    def __init__(
        self, world: World, x: F64, y: F64, pixel: float, samples: int, *, ground: Ground | None = None
    ) -> None:
        self.world, self.x, self.y, self.pixel, self.samples = world, x, y, pixel, samples
        self.p, self.ground = world.params, ground or world.ground
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
        source = self if self.world.null != "labels" else self._unrelated
        zone = source.ground.mapped(source.land, lines=lines)
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
        n = self.samples
        H, W = self.y.size * n, self.x.size * n
        if not blur:
            return block_mean(fine[..., n : n + H, n : n + W], n)
        (a, b), (c, d) = (self._sides(v * n) for v in shift)
        here, up, down = (slice(n + k, n + k + H) for k in (0, -1, 1))
        fine = (1 - a - b) * fine[..., here, :] + a * fine[..., up, :] + b * fine[..., down, :]
        here, left, right = (slice(n + k, n + k + W) for k in (0, -1, 1))
        fine = (1 - c - d) * fine[..., here] + c * fine[..., left] + d * fine[..., right]
        return block_mean(fine, n)

    def _sides(self, shift: float) -> tuple[np.float32, np.float32]:
        """Weights of the samples before and after: the point spread, moved by a part of a sample."""
        s = self.p.psf
        return np.float32(max(s - shift / 2, 0)), np.float32(min(max(s + shift / 2, 0), 1 - s))

    def _greenness(self, day: int, surface: Surface, region: Region) -> F32:
        """Share of green matter at the fine points."""
        p, curves = self.p, _tables()[4]
        late = normal(rehash(surface.parcel, 41)) * np.float32(p.parcel_days)
        shift = p.region_days * float(normal(np.array([region.key], np.uint32))[0])
        shift -= p.region_warm_days * region.warm
        when = np.clip(np.rint(day - shift - late), 0, 365).astype(np.int32)
        who = surface.material
        if self.world.null == "dates":
            any_plant = np.array(spectra.VEGETATED, np.uint8)
            draw = any_plant[rehash(surface.parcel, 43) % np.uint32(any_plant.size)]
            who = np.where(np.isin(who, any_plant), draw, who)
        g = np.asarray(curves.ravel().take(who.astype(np.int32) * 366 + when), np.float32)
        g *= 1 + np.float32(p.parcel_vigour) * normal(rehash(surface.parcel, 42))
        return g

    def optical(
        self,
        day: int,
        bands: Sequence[str],
        *,
        level: Level = "l2a",
        cover: float = 0.0,
        snowfall: float = 0.0,
        year: int = 0,
    ) -> F32:
        """Reflectance of the named Sentinel-2 bands: C H W.

        Args:
            day: of the year, 1 to 366.
            bands: official names; another sensor's band is the nearest of these.
            level: `surface` (what the ground reflects, no noise), `l2a` (with what a correction leaves), `l1c` (at
                the top of the atmosphere).
            cover: share of the sky in clouds.
            snowfall: metres by which the snow line lies lower than usual on that day.
            year: tells the weather of two years apart.
        """
        at = [spectra.BANDS.index(b) for b in bands]
        out = np.stack([self._reflected(day, at)]).reshape(len(at), self.y.size, self.x.size)
        out = sky.snowed(out, at, day, self.elevation() + np.float32(snowfall), self.p, warm=self.region.warm)
        out *= sky.sunlight(*self._slope(), day)
        if level == "surface":
            return out
        if cover > 0:
            out = sky.clouded(out, at, *self.clouds(day, cover=cover, year=year))
        weather = lattice_hash(np.array([day]), np.array([year]), self.region.key)
        out = sky.through_air(out, at, weather, self.p, top=level == "l1c")
        return sky.grained(out, at, self._pixel_hash("grain", day, year), self.p)

    def _reflected(self, day: int, at: Sequence[int]) -> F32:
        p, surface = self.p, self.surface
        bare, grown, _, _, _, texture = _tables()
        who, land = surface.material, self.land
        g = self._greenness(day, surface, self.region)
        parcel = rehash(surface.parcel, 44)
        crown = np.where(surface.crown, normal(rehash(surface.element, 45)), -np.float32(p.gap))
        own = texture.take(who) * crown + np.float32(p.patch_light) * surface.patch
        cell = normal(rehash(land.bits, 46)) * np.float32(p.zone_light)
        own += np.where(land.zone < LINES, np.float32(0), cell[land.seed])
        light = np.exp(own + np.float32(p.parcel_light) * normal(parcel))
        tilt = np.float32(p.parcel_tilt) * normal(rehash(parcel, 47)) * light
        own_bits = lattice_hash(np.arange(13), np.zeros(1, np.int64), self.region.key)
        gain = np.exp(
            p.region_gain * normal(rehash(own_bits[:1], 1))
            + p.region_tilt * normal(rehash(own_bits[:1], 2)) * sky.LEAN
            + p.region_band * normal(own_bits)
        )
        rows = []
        for b in at:
            value = grown[b].take(who)
            value *= g
            value += bare[b].take(who)
            value *= light + sky.LEAN[b] * tilt
            rows.append(self._pixels(value) * np.float32(gain[b]))
        return np.stack(rows)

    def clouds(self, day: int, *, cover: float, year: int = 0) -> tuple[F32, F32]:
        """Opacity of clouds and darkness of their shadows, 0 ... 1, at the pixels: H W each."""
        keys = [self.ground.key("cloud", wave, day, year) for wave in self.p.cloud_wave]
        dx, dy = self.p.cloud_shift
        here = sky.clouds(self.x, self.y, keys, self.p, cover=cover)
        return here, sky.clouds(self.x + dx, self.y - dy, keys, self.p, cover=cover)

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
        source = self if self.world.null != "s1" else self._unrelated
        power = source._scattered(day, year)
        east, _ = source._slope()
        if flattened:
            power = power / np.float32(np.cos(np.radians(38.5)))
        else:
            power = power * np.exp(np.clip((east if ascending else -east) * np.float32(-1.6), -1.2, 1.2))
        power = power + np.array(10 ** (np.array(p.noise_floor_db) / 10), np.float32)[:, None, None]
        looks = p.looks if looks is None else looks
        if np.isinf(looks):
            return np.asarray(power, np.float32)
        h = self._pixel_hash("speckle", day, year, ascending)
        return power * np.stack([gamma(rehash(h, b), looks) for b in (1, 2)])

    @cached_property
    def _unrelated(self) -> View:
        """The same window of the unrelated world."""
        return View(self.world, self.x, self.y, self.pixel, self.samples, ground=self.world.other)

    def _scattered(self, day: int, year: int) -> F32:
        """Mean backscatter of the pixels, both bands shifted against the optical images by the same part of a pixel."""
        p, surface = self.p, self.surface
        _, _, dry, lush, _, _ = _tables()
        who = surface.material
        g = self._greenness(day, surface, self.region)
        date = normal(lattice_hash(np.arange(4), np.array([day + 400 * year]), self.region.key + 17))
        own = normal(lattice_hash(np.arange(2), np.array([5]), self.region.key)) * p.region_db
        weather = _WATER * date[0] * p.water_wind_db + _NAKED * date[1] * p.soil_moisture_db
        shared = normal(rehash(surface.parcel, 48)) * np.float32(p.parcel_db)
        cell = normal(rehash(self.land.bits, 49)) * np.float32(p.zone_db)
        shared += np.where(self.land.zone < LINES, np.float32(0), cell[self.land.seed])
        down, right = np.clip(date[2:] * p.misregistration / 2, -0.5, 0.5)
        rows = []
        for b in range(2):
            db = lush[b].take(who) * g + dry[b].take(who) + shared
            db += (weather * (1.0 if b == 0 else 0.6) + own[b]).astype(np.float32).take(who)
            rows.append(self._pixels(np.exp(_DB * db), shift=(float(down), float(right))))
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
