"""The images of one patch of `synth flair-hub`, all of the same scene in pixels of 0.2 m."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landweave.data.synth import Null, sky, spectra
from landweave.data.synth.fields import F32, block_mean, key_of, lattice_hash, noise, normal, rehash
from landweave.data.synth.flair_ground import CROP, FIRST_CROP, INDEX, FlairGround, Scene, cosia, grains, height, lpis
from landweave.data.synth.flair_params import COVERS, CROPS, FLAIR
from landweave.data.synth.flair_places import OVERCAST_PLACE, SIDE, Patch
from landweave.data.synth.ground import Bytes, Region
from landweave.data.synth.params import PARAMS
from landweave.sensors import sensor

PIXELS, OLD_PIXELS, SPOT_PIXELS, COARSE = 512, 256, 64, 10
_AERIAL = ("B04", "B03", "B02", "B08")
_TEN = sensor("s2-l2a").orders[0]
_DB = np.float32(np.log(10) / 10)
_SLOPE = np.float32(-1.6)  # as the world's radar: dB-like gain a metre of rise towards the sensor


@dataclass(frozen=True)
class _Tables:
    """By cover: reflectance bare and what green adds (13 bands), the same in dB (VV, VH), greenness by day."""

    bare: F32
    grown: F32
    dry: F32
    lush: F32
    season: F32


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    bare, green = spectra.reflectances()
    dry, lush = spectra.backscatter()
    base = {m.name: i for i, m in enumerate(spectra.MATERIALS)}
    soil, leaf = base["soil"], base["wheat"]
    like = [base[c.like] for c in COVERS]
    tint = np.stack([normal(lattice_hash(np.arange(13), np.zeros(1), key_of("tint", c.name))) for c in CROPS], 1)
    own = np.stack([normal(lattice_hash(np.arange(2), np.zeros(1), key_of("db", c.name))) for c in CROPS], 1)
    columns = [*range(FIRST_CROP), *[soil] * len(CROPS), *like]
    bare, dry = bare[:, columns], dry[:, columns]
    columns[CROP] = [leaf] * len(CROPS)
    green, lush = green[:, columns], lush[:, columns]
    green[:, CROP] *= np.exp(np.float32(FLAIR.tint) * tint)
    lush[:, CROP] += np.float32(FLAIR.crop_db) * own
    season = spectra.curves()[columns]
    season[CROP] = np.stack([calendar(c.green) for c in CROPS])
    return _Tables(bare, green - bare, dry, lush - dry, season)


def calendar(green: Sequence[int]) -> F32:
    """Greenness on each of 366 days of a crop that is green in these windows."""
    bare, half, full = FLAIR.levels
    level = np.array([full if w in green else half if w == 3 else bare for w in range(8)])
    day = np.arange(365)
    hard = level[np.floor((day - FLAIR.centre + 3.5 * 365 / 8) % 365 / 365 * 8).astype(int)]
    step = 1 / np.cosh((day - 182) / (2 * FLAIR.ramp)) ** 2  # what a logistic step between two windows rises by a day
    soft = sum(w * np.roll(hard, k - 182) for k, w in enumerate(step / step.sum()))
    return np.append(soft, soft[0]).astype(np.float32)


class Lands:
    """The grounds that a dataset looks at. In a null world one link is cut, as in `World`."""

    def __init__(self, seed: int, null: Null | None = None) -> None:
        self.seed, self.null = seed, null
        other = key_of("unrelated", seed)
        self.ground, self.old = FlairGround(seed), FlairGround(seed, old=True)
        self.radar = FlairGround(other) if null == "s1" else self.ground
        self.labels = FlairGround(other) if null == "labels" else self.ground


@dataclass(frozen=True)
class _Units:
    """Pieces of one cover in one parcel (N), and which of them each pixel is (H W)."""

    cover: Bytes
    parcel: NDArray[np.uint32]
    at: NDArray[np.int32]


class Look:
    """One patch, looked at once. Fewer `pixels` than the files have are for quick looks."""

    def __init__(self, lands: Lands, patch: Patch, *, pixels: int = PIXELS) -> None:
        self.lands, self.patch, self.pixels = lands, patch, pixels
        self.x, self.y = patch.axes(pixels)
        self.region = lands.ground.region(float(self.x.mean()), float(self.y.mean()))

    def _rng(self, *words: object) -> np.random.Generator:
        return np.random.default_rng([key_of("flair", self.lands.seed, self.patch.patch_id, *words)])

    @cached_property
    def scene(self) -> Scene:
        """What lies there."""
        return self.lands.ground.scene(self.x, self.y)

    @cached_property
    def units(self) -> _Units:
        """Its pieces."""
        return _units(self.scene)

    @cached_property
    def _labelled(self) -> Scene:
        return self.scene if self.lands.labels is self.lands.ground else self.lands.labels.scene(self.x, self.y)

    def cosia(self) -> Bytes:
        """Land cover: 1 512 512."""
        return cosia(self._labelled)[None]

    def lpis(self) -> Bytes:
        """Declared crops: 3 512 512."""
        return lpis(self._labelled)

    @cached_property
    def terrain(self) -> F32:
        """Metres above the sea: 512 512."""
        return np.maximum(self.lands.ground.elevation(self.x, self.y), 0)

    @cached_property
    def _coarse_terrain(self) -> F32:
        return np.maximum(self.lands.ground.elevation(*self.patch.axes(COARSE)), 0)

    @cached_property
    def _height(self) -> F32:
        return height(self.scene, self.x, self.y, self.lands.ground.key("flair lump"))

    def elevation(self) -> F32:
        """DSM and DTM: 2 512 512."""
        rough = self._rng("surface").standard_normal(self._height.shape, np.float32) * np.float32(FLAIR.surface_noise)
        return np.stack([self.terrain + self._height + rough, self.terrain])

    # ---- one date

    def aerial(self) -> Bytes:
        """R, G, B, N: 4 512 512."""
        light = self.scene.light + self._grain(self.scene, self.x, self.y)
        values = self._reflected(self.scene, self.units, self.patch.roi.taken("aerial"), _AERIAL)
        values = values * (np.exp(light) * shadows(self._height, SIDE / self.pixels))
        return self._developed(values, "aerial", FLAIR.aerial_noise)

    def pan(self) -> Bytes:
        """The panchromatic image of the 1950s: 1 256 256."""
        x, y = self.patch.axes(OLD_PIXELS)
        scene = self.lands.old.scene(x, y)
        seen = self._reflected(scene, _units(scene), self.patch.roi.taken_long_ago(), _AERIAL[:3])
        seen = seen.mean(0, keepdims=True) * np.exp(scene.light + self._grain(scene, x, y))
        seen *= shadows(height(scene, x, y, self.lands.ground.key("flair old lump")), 0.4)
        return self._developed(seen, "pan", FLAIR.old_noise)

    def spot(self) -> NDArray[np.uint16]:
        """R, G, B, N as reflectance x 10,000: 4 64 64."""
        values = self._reflected(self.scene, self.units, self.patch.roi.taken("spot"), _AERIAL)
        values = block_mean(values * np.exp(self.scene.light), self.pixels // SPOT_PIXELS)
        values += self._rng("spot").standard_normal(values.shape, np.float32) * np.float32(PARAMS.noise)
        return np.clip(np.rint(values * 10_000), 1, 65_535).astype(np.uint16)

    def _reflected(self, scene: Scene, units: _Units, day: date, bands: Sequence[str]) -> F32:
        """Reflectance without the light of single crowns: C H W."""
        return self._spectra(units, [day], bands)[:, :, 0][:, units.at]

    def _spectra(self, units: _Units, days: Sequence[date], bands: Sequence[str]) -> F32:
        """Reflectance of each unit on each day: C N T."""
        t, at = _tables(), [spectra.BANDS.index(b) for b in bands]
        g = self.greenness(units, days)
        tilt = np.float32(PARAMS.parcel_tilt) * normal(rehash(rehash(units.parcel, 44), 47))
        lean = 1 + sky.LEAN[at][:, None] * tilt
        bits = lattice_hash(np.arange(13), np.zeros(1, np.int64), self.region.key)
        first, second = (float(normal(rehash(bits[:1], k))[0]) for k in (1, 2))
        gain = np.exp(PARAMS.region_gain * first + PARAMS.region_tilt * second * sky.LEAN
                      + PARAMS.region_band * normal(bits))[at].astype(np.float32)  # fmt: skip
        value = t.bare[at][:, units.cover, None] + t.grown[at][:, units.cover, None] * g
        return np.asarray(value * (lean * gain[:, None])[..., None], np.float32)

    def greenness(self, units: _Units, days: Sequence[date]) -> F32:
        """Share of green matter of each unit on each day: N T."""
        crop = (units.cover >= CROP.start) & (units.cover < CROP.stop)
        late = normal(rehash(units.parcel, 41)) * np.where(crop, FLAIR.parcel_days, PARAMS.parcel_days)
        late += np.where(crop, 0.0, _region_days(self.region)) + self._year_days()
        who = units.cover.astype(np.int64)
        if self.lands.null == "dates":
            who = np.where(crop, CROP.start + rehash(units.parcel, 43) % np.uint32(len(CROPS)), who)
        of_year = np.array([d.timetuple().tm_yday for d in days])
        when = np.rint(of_year - late[:, None]).astype(np.int64) % 365
        vigour = np.where(crop, FLAIR.vigour, PARAMS.parcel_vigour) * normal(rehash(units.parcel, 42))
        return np.asarray(_tables().season[who[:, None], when] * (1 + vigour)[:, None], np.float32)

    def _year_days(self) -> float:
        domain = self.patch.roi.domain
        own = normal(lattice_hash(np.zeros(1), np.zeros(1), key_of("flair days", self.lands.seed, domain.name)))[0]
        return dict(FLAIR.year_days)[domain.year] + FLAIR.domain_days * float(own)

    def _grain(self, scene: Scene, x: Any, y: Any) -> F32:
        """Log brightness over decimetres: leaves, and the rows of crops and vines."""
        key = self.lands.ground.key("flair grain")
        out = grains().take(scene.cover) * noise(x, y, FLAIR.grain[0], key)
        vine = scene.cover == INDEX["vine"]
        for where, (metres, depth) in (
            ((scene.cover >= CROP.start) & (scene.cover < CROP.stop), FLAIR.rows),
            (vine, FLAIR.vine_rows),
        ):
            if where.any():
                angle = np.pi * (scene.parcel[where] >> np.uint32(8) & np.uint32(63)) / 64
                h, w = np.nonzero(where)
                along = (x[w] - x[0]) * np.cos(angle) + (y[h] - y[0]) * np.sin(angle)
                out[where] += np.float32(depth) * np.sin(2 * np.pi / metres * along).astype(np.float32)
        return np.asarray(out, np.float32)

    def _developed(self, values: F32, what: str, grain: float) -> Bytes:
        """Reflectance as the digital numbers of an orthophoto, with a tone of the domain's own."""
        domain = self.patch.roi.domain
        tone = normal(lattice_hash(np.arange(4), np.zeros(1), key_of("flair tone", self.lands.seed, domain.name, what)))
        full = np.array(FLAIR.full, np.float32)[: len(values), None, None]
        gamma = np.array(FLAIR.gamma, np.float32)[: len(values), None, None]
        out = 255 * (np.maximum(values, 0) / full) ** gamma
        out *= np.exp(np.float32(FLAIR.aerial_gain) * tone)[: len(values), None, None]
        out += self._rng(what).standard_normal(out.shape, np.float32) * np.float32(grain)
        return np.clip(np.rint(out), 1, 255).astype(np.uint8)

    # ---- series

    @cached_property
    def optical(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Sentinel-2 (T*10 10 10) and its mask of snow and cloud in per cent (T*2 10 10), date-major."""
        days = self.patch.dates("SENTINEL2")
        share = _shares(self.units, np.exp(self.scene.light))
        cube = np.einsum("cnt,nhw->tchw", self._spectra(self.units, days, _TEN), share, optimize=True)
        at = [spectra.BANDS.index(b) for b in _TEN]
        ground = self._coarse_terrain
        masks = np.zeros((len(days), 2, COARSE, COARSE), np.float32)
        axes = self.patch.axes(COARSE)
        for t, day in enumerate(days):
            of_year = day.timetuple().tm_yday
            cover, snowy = self._weather(day)
            before = cube[t]
            lower = np.float32(FLAIR.snowfall if snowy else 0)
            cube[t] = sky.snowed(before, at, of_year, ground + lower, PARAMS, warm=self.region.warm)
            masks[t, 0] = np.abs(cube[t] - before).max(0) > 0.05
            if cover:
                keys = [key_of("flair cloud", self.lands.seed, self.patch.roi.domain.name, day, w) for w in (0, 1)]
                cloud = np.ones((COARSE, COARSE), np.float32)
                if cover < 1:
                    cloud = sky.clouds(*axes, keys, PARAMS, cover=cover)
                cube[t] = sky.clouded(cube[t], at, cloud, np.roll(cloud, 2, 1))
                masks[t, 1] = cloud
            bits = lattice_hash(np.array([of_year]), np.array([day.year]), self.region.key)
            cube[t] = sky.through_air(cube[t], at, bits, PARAMS, top=False)
        cube += self._rng("s2").standard_normal(cube.shape, np.float32) * np.float32(PARAMS.noise)
        numbers = np.clip(np.rint(cube * 10_000), 1, 65_535).astype(np.uint16)
        return numbers.reshape(-1, COARSE, COARSE), np.rint(masks * 100).astype(np.uint16).reshape(-1, COARSE, COARSE)

    def _weather(self, day: date) -> tuple[float, bool]:
        """Cloud cover of a date, alike over a ROI, and whether snow has fallen."""
        if self.patch.index == OVERCAST_PLACE:
            return 1.0, False
        draw = np.random.default_rng([key_of("flair sky", self.lands.seed, self.patch.roi.number, day)]).uniform(size=3)
        cover = 1.0 if draw[0] < FLAIR.overcast else 0.2 + 0.5 * draw[1]
        cover = cover if draw[0] < FLAIR.overcast + FLAIR.broken else 0.0
        winter = day.month in (1, 2, 12) and self.patch.roi.domain.department in FLAIR.snow_departments
        return float(cover), bool(winter and draw[2] < FLAIR.snowy)

    def radar(self, series: str) -> F32:
        """Sentinel-1 VV and VH, sigma nought in linear power, with speckle: T*2 10 10, date-major."""
        days, t, lands = self.patch.dates(series), _tables(), self.lands
        units = self.units if lands.radar is lands.ground else _units(lands.radar.scene(self.x, self.y))
        g = self.greenness(units, days)
        own = normal(lattice_hash(np.arange(2), np.array([5]), self.region.key)) * PARAMS.region_db
        shared = normal(rehash(units.parcel, 48)) * np.float32(PARAMS.parcel_db)
        db = t.dry[:, units.cover, None] + t.lush[:, units.cover, None] * g + shared[:, None] + own[:, None, None]
        db = db + self._moisture(units, days)
        power = np.einsum("pnt,nhw->tphw", np.exp(_DB * db), _shares(units), optimize=True)
        east = np.gradient(self._coarse_terrain, SIDE / COARSE, axis=1).astype(np.float32)
        power = power * np.exp(np.clip((east if series.endswith("ASC") else -east) * _SLOPE, -1.2, 1.2))
        power += np.array(10 ** (np.array(PARAMS.noise_floor_db) / 10), np.float32)[:, None, None]
        speckle = self._rng(series).gamma(PARAMS.looks, 1 / PARAMS.looks, power.shape)
        return np.asarray(power * speckle, np.float32).reshape(-1, COARSE, COARSE)

    def _moisture(self, units: _Units, days: Sequence[date]) -> F32:
        """What wind on water and wet soil add in dB: 2 N T."""
        when = np.array([d.timetuple().tm_yday + 400 * d.year for d in days])
        draw = normal(lattice_hash(np.arange(2)[:, None], when, self.region.key + 17))
        water = np.isin(units.cover, [INDEX[n] for n in ("sea", "lake", "river")])[:, None]
        naked = np.isin(units.cover, [INDEX[n] for n in ("soil", "light soil", "mud")])[:, None]
        one = water * draw[0] * PARAMS.water_wind_db + naked * draw[1] * PARAMS.soil_moisture_db
        return np.asarray(np.stack([one, 0.6 * one]), np.float32)


def _region_days(region: Region) -> float:
    """By how many days a region's season is late, as in `World`."""
    own = float(normal(np.array([region.key], np.uint32))[0])
    return PARAMS.region_days * own - PARAMS.region_warm_days * region.warm


def _units(scene: Scene) -> _Units:
    key = scene.parcel.astype(np.uint64) << np.uint64(8) | scene.cover
    found, at = np.unique(key.ravel(), return_inverse=True)
    cover, parcel = (found & np.uint64(255)).astype(np.uint8), (found >> np.uint64(8)).astype(np.uint32)
    return _Units(cover, parcel, at.reshape(key.shape).astype(np.int32))


def _shares(units: _Units, light: F32 | None = None) -> F32:
    """Share of each unit in each pixel of 10.24 m, weighted by light: N 10 10."""
    H, W = units.at.shape
    row, col = (np.arange(n) * COARSE // n for n in (H, W))
    pixel = row[:, None] * COARSE + col
    flat = (units.at * (COARSE * COARSE) + pixel).ravel()
    weights = None if light is None else light.ravel()
    total = np.bincount(flat, weights, minlength=units.cover.size * COARSE * COARSE).reshape(-1, COARSE * COARSE)
    return np.asarray(total / np.bincount(pixel.ravel()), np.float32).reshape(-1, COARSE, COARSE)


def shadows(tall: F32, step: float) -> F32:
    """Light left where something stands in the sun, which is in the south: H W."""
    left, reach = FLAIR.shadow
    out = np.ones(tall.shape, np.float32)
    for metres in range(1, 14):
        k = round(metres / step)
        hit = np.zeros(tall.shape, bool)
        hit[:-k] = tall[k:] > tall[:-k] + metres / reach
        out[hit] = left
    return out
