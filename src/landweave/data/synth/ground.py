"""What lies on the ground: relief, zones, parcels and materials, each a function of position alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from landweave.data.synth import zones
from landweave.data.synth.fields import (
    F32,
    F64,
    U32,
    Ints,
    cells,
    key_of,
    lattice_hash,
    noise,
    noise_at,
    normal,
    rehash,
    seed_offsets,
    uniform,
)
from landweave.data.synth.params import Params
from landweave.data.synth.spectra import INDEX
from landweave.data.synth.zones import DRAWN, NONE, ZONE, ZONES

Bytes = NDArray[np.uint8]
LINES = len(ZONES) - len(DRAWN)
"""Zones below this index lie where relief, a river or a road puts them, whatever the cell."""


@dataclass(frozen=True)
class Region:
    """What a square of 100 km has of its own. `warm` is -1 (boreal) ... 1 (Mediterranean)."""

    key: int
    warm: float
    taste: F32


@dataclass(frozen=True)
class Land:
    """Zones at the crossings of two axes (H W). `zone` has rivers and roads in it, `block` what lies under them.

    `second` is what a careless interpreter would have taken a cell for. `seed` is the row of each position's cell in
    the arrays `bits`, `east`, `north` (N).
    """

    zone: Bytes
    block: Bytes
    second: Bytes
    seed: NDArray[np.int32]
    bits: U32
    east: F64
    north: F64


@dataclass(frozen=True)
class Surface:
    """Materials at fine points (H W), and what sets a parcel or a crown apart from others of its kind.

    `crown` is True on an element and False in the gap between two; `patch` is the smooth field of natural land.
    """

    material: Bytes
    parcel: U32
    element: U32
    crown: NDArray[np.bool_]
    patch: F32


@dataclass(frozen=True)
class Parcel:
    """Metres from a parcel's corner, along and across, and its own bits (H W)."""

    u: F32
    v: F32
    bits: U32


class Ground:
    """The ground of one seed. `x` and `y` are axes in metres, any step, ascending or not; arrays are H W."""

    def __init__(self, seed: int, params: Params) -> None:
        self.seed, self.p = seed, params
        self._parcels, self._elements = zones.parcel_table().ravel(), zones.element_table().ravel()
        self._sizes, self._natural = zones.sizes(), zones.natural()

    def key(self, *words: object) -> int:
        """The key of one field of this seed."""
        return key_of(self.p.version, self.seed, *words)

    def region(self, x: float, y: float) -> Region:
        """The region of a point: a square of the military grid."""
        side = self.p.region
        key = self.key("region", int(x // side), int(y // side))
        h = lattice_hash(np.arange(len(ZONES)), np.zeros(1, np.int64), key)
        warm = float(2 * uniform(rehash(h[:1], 7))[0] - 1)
        return Region(key, warm, normal(h) * np.float32(self.p.region_taste))

    def elevation(self, x: F64, y: F64) -> F32:
        """Metres above the sea, below it negative."""
        p = self.p
        e = np.float32(p.height) + sum(h * noise(x, y, wave, self.key("relief", wave)) for wave, h in p.octaves)
        wave, height, start = p.mountain
        peaks = np.maximum(noise(x, y, wave, self.key("mountain")) - np.float32(start), 0)
        e = e + np.float32(height) * peaks
        rough = sum(h * noise(x, y, wave, self.key("rugged", wave)) for wave, h in p.rugged)
        valley = self._line(x, y, "river", p.river)
        e = e * (1 - np.float32(0.45) * np.exp(-((valley / np.float32(0.22)) ** 2)))
        return np.asarray(e + rough * np.maximum(e, 0), np.float32)

    def _elevation_at(self, x: F64, y: F64) -> F32:
        p = self.p
        e = np.full(x.size, p.height, np.float32)
        for wave, height in p.octaves[:3]:
            e += height * noise_at(x, y, wave, [self.key("relief", wave)])[0]
        wave, height, start = p.mountain
        peaks = np.maximum(noise_at(x, y, wave, [self.key("mountain")])[0] - np.float32(start), 0)
        return np.asarray(e + np.float32(height) * peaks, np.float32)

    def _line(self, x: F64, y: F64, name: str, wave: tuple[float, float, float], *, slope: str = "") -> F32:
        """A field whose zero line is a river or a road, or its slope along an axis."""
        coarse, fine, share = wave
        bend = noise(x, y, fine, self.key(name, "bend"), slope=slope)
        return noise(x, y, coarse, self.key(name), slope=slope) + np.float32(share) * bend

    def _beside(self, x: F64, y: F64, name: str, wave: tuple[float, float, float]) -> F32:
        """Metres to the nearest river or road, to the first order: field over gradient (Taubin 1994, IEEE PAMI 16)."""
        value = self._line(x, y, name, wave)
        if np.abs(value).min() > 0.9:  # no slope is so steep that a line could be near
            return np.full(value.shape, np.float32(1e6))
        gx, gy = (self._line(x, y, name, wave, slope=axis) for axis in "xy")
        return np.asarray(np.abs(value) / np.sqrt(gx * gx + gy * gy + np.float32(1e-12)), np.float32)

    def land(self, x: F64, y: F64) -> Land:
        """Zones at the crossings of the axes."""
        p = self.p
        dx = sum(a * noise(x, y, wave, self.key("bend x", wave)) for wave, a in p.bend)
        dy = sum(a * noise(x, y, wave, self.key("bend y", wave)) for wave, a in p.bend)
        u, v = (x[None] + dx) / p.cell, (y[:, None] + dy) / p.cell
        key = self.key("cell")
        i, j, seed = cells(u, v, key)
        near = np.flatnonzero(np.bincount(seed.ravel()))
        row = np.zeros(i.size, np.int32)
        row[near] = np.arange(near.size)
        i, j, seed = i[near], j[near], row[seed]
        ju, jv = seed_offsets(i, j, key)
        east, north = (np.asarray((a + b) * p.cell, np.float64) for a, b in ((i, ju), (j, jv)))
        bits = lattice_hash(i, j, self.key("cell bits"))
        first, second = self._draw(east, north, bits, self.region(float(x.mean()), float(y.mean())))
        block, other = first[seed], second[seed]
        e = self.elevation(x, y)
        block = self._shores(x, y, e, block)
        other = np.where(block < LINES, block, other)
        return Land(self._overlay(x, y, block), block, other, seed, bits, east, north)

    def _draw(self, x: F64, y: F64, bits: U32, region: Region) -> tuple[Bytes, Bytes]:
        """The likeliest and the second likeliest zone of each cell (N): log odds + clumping + Gumbel noise."""
        p = self.p
        e = self._elevation_at(x, y)
        climate = [self.key(name) for name in ("moist", "urban", "wild")]
        moist, urban, wild = noise_at(x, y, p.climate_wave, climate)
        clump = noise_at(x, y, p.clump_wave, [self.key("clump", i) for i in DRAWN])
        high = np.maximum(e - 250, 0) / 1000
        score = np.empty((len(DRAWN), x.size), np.float32)
        for row, i in enumerate(DRAWN):
            z = ZONES[i]
            odds = (z.base or 0.0) + z.moist * moist + z.urban * urban + z.warm * region.warm + z.high * high
            odds = odds + p.wild * z.wild * wild
            draw = -np.log(-np.log(uniform(rehash(bits, i + 1))))
            score[row] = odds + region.taste[i] + p.clump * clump[row] + p.gumbel * draw
        marsh = DRAWN.index(ZONE["salt marsh"])
        score[marsh] = np.where((e < p.marsh_height) & (e > -p.marsh_height), score[marsh] + 6, -99)
        order = np.argsort(-score, axis=0, kind="stable")[:2]
        table = np.array(DRAWN, np.uint8)
        return table[order[0]], table[order[1]]

    def _shores(self, x: F64, y: F64, e: F32, block: Bytes) -> Bytes:
        """Sea, beaches, lakes and lasting snow, drawn at the point and not for a cell."""
        p = self.p
        wave, shore, limit = p.lake
        basin = noise(x, y, wave, self.key("lake")) + np.float32(0.16) * noise(x, y, shore, self.key("shore"))
        sandy = noise(x, y, wave, self.key("sandy")) > p.beach[1]
        block = np.where((basin > limit) & (e < 900), ZONE["lake"], block)
        block = np.where((e < p.beach[0]) & sandy, ZONE["beach"], block)
        block = np.where(e < 0, ZONE["sea"], block)
        return np.where(e > p.snow_line, ZONE["snow"], block).astype(np.uint8)

    def _overlay(self, x: F64, y: F64, block: Bytes) -> Bytes:
        """Motorways and rivers on top of the zones."""
        p = self.p
        water = block <= ZONE["lake"]
        road = (self._beside(x, y, "road", p.road) < p.road_half_width) & ~water
        mean, spread, least = p.river_half_width
        half = np.maximum(mean + spread * noise(x, y, 21_000, self.key("width")), least)
        river = (self._beside(x, y, "river", p.river) < half) & ~water
        zone = np.where(river, ZONE["river"], block)
        return np.where(road, ZONE["motorway"], zone).astype(np.uint8)

    def mapped(self, land: Land, *, lines: bool) -> Bytes:
        """The zones as a map would show them: a share of the cells interpreted wrongly, and no lines if not wanted."""
        wrong = uniform(rehash(land.bits, 99)) < self.p.label_noise
        block = np.where(wrong[land.seed], land.second, land.block)
        drawn = (land.zone == ZONE["river"]) | (land.zone == ZONE["motorway"])
        return np.where(drawn, land.zone, block) if lines else block

    def surface(self, x: F64, y: F64, land: Land) -> Surface:
        """Materials at the crossings of the axes, for which `land` must have been taken."""
        step = float(abs(x[1] - x[0])) if x.size > 1 else 1.0
        at = lattice_hash(_index(x, step), _index(y, step)[:, None], self.key("shake"))
        shake_x, shake_y = uniform(at) - np.float32(0.5), uniform(rehash(at, 1)) - np.float32(0.5)
        fx, fy = x[None] + shake_x * step, y[:, None] + shake_y * step
        parcel = self._parcel(fx, fy, land)
        coarse, fine = self.p.patch
        patch = np.float32(0.85) * noise(x, y, coarse, self.key("patch"))
        patch += np.float32(0.53) * noise(x, y, fine, self.key("patch", "fine"))
        natural = self._natural.take(land.zone)
        draw = np.where(natural, _quantile_byte(patch), parcel.bits >> np.uint32(24)).astype(np.int32)
        z = land.zone.astype(np.int32) * 256
        material = self._parcels.take(z + draw)
        element, crown = self._element(fx, fy)
        over = self._elements.take(z + ((element >> np.uint32(3)) & np.uint32(255)).astype(np.int32))
        material = np.where(crown & (over != NONE), over, material)
        self._built(material, element, crown, land.zone, parcel)
        self._verge(material, land, x, y)
        return Surface(material, parcel.bits, element, crown, np.where(natural, patch, np.float32(0)))

    def _parcel(self, fx: F64, fy: F64, land: Land) -> Parcel:
        """The parcel of each point. What relief, rivers and roads put there knows no cell: one parcel a world."""
        angle = np.pi * uniform(rehash(land.bits, 31))
        cos, sin = np.cos(angle).astype(np.float32)[land.seed], np.sin(angle).astype(np.float32)[land.seed]
        dx, dy = (fx - land.east[land.seed]).astype(np.float32), (fy - land.north[land.seed]).astype(np.float32)
        length, width = self._sizes[:, 0].take(land.zone), self._sizes[:, 1].take(land.zone)
        v = (dy * cos - dx * sin) / width
        row = np.floor(v)
        u = (dx * cos + dy * sin) / length + np.float32(0.37) * row
        col = np.floor(u)
        bits = lattice_hash(col.astype(np.int32), row.astype(np.int32), land.bits[land.seed])
        bits = np.where(land.zone < LINES, np.uint32(self.key("one parcel")), bits)
        return Parcel((u - col) * length, (v - row) * width, bits)

    def _element(self, fx: F64, fy: F64) -> tuple[U32, NDArray[np.bool_]]:
        """One disc (a crown, a bush, a gap) in each square: its bits, and whether the point lies in it."""
        side = self.p.element
        ex, ey = fx / side, fy / side
        ix, iy = np.floor(ex), np.floor(ey)
        bits = lattice_hash(ix.astype(np.int64), iy.astype(np.int64), self.key("element"))
        radius = np.float32(0.34) + np.float32(0.14) * uniform(rehash(bits, 1))
        room = 1 - 2 * radius
        dx = (ex - ix).astype(np.float32) - radius - room * uniform(rehash(bits, 2))
        dy = (ey - iy).astype(np.float32) - radius - room * uniform(rehash(bits, 3))
        return bits, dx * dx + dy * dy < radius * radius

    def _built(self, material: Bytes, element: U32, crown: NDArray[np.bool_], zone: Bytes, parcel: Parcel) -> None:
        """Streets, houses and halls, in place: each roof is one element."""
        town = np.nonzero(zone == ZONE["urban"])
        if town[0].size:
            u, v, h = parcel.u[town], parcel.v[town], parcel.bits[town]
            material[town], lot = self._town(material[town], u, v, h)
            roof = material[town] != INDEX["grass"]
            element[town], crown[town] = np.where(roof, lot, element[town]), roof | crown[town]
        works = np.nonzero(zone == ZONE["industrial"])
        if works[0].size:
            u, v, h = parcel.u[works], parcel.v[works], parcel.bits[works]
            lawn = (u < 14) & crown[works]
            m = _halls(material[works], u, v, h)
            material[works] = np.where(lawn, INDEX["grass"], m)
            element[works], crown[works] = h, True

    def _town(self, garden: Bytes, u: F32, v: F32, parcel: U32) -> tuple[Bytes, U32]:
        """Blocks of 84 x 60 m between streets, in lots of 14 x 30 m, a house on most; and the bits of the lot."""
        lot, row = np.floor((u - 8) / 14), np.floor((v - 6) / 30)
        h = lattice_hash(lot.astype(np.int32), row.astype(np.int32), parcel)
        dense = 0.55 + 0.45 * uniform(rehash(parcel, 5))
        a, b = u - 8 - lot * 14, v - 6 - row * 30
        house = (a > 1.5) & (a < 12.5) & (b > 5) & (b < 17 + 7 * uniform(rehash(h, 1))) & (uniform(h) < dense)
        roof = np.where(uniform(rehash(h, 2)) < 0.6, INDEX["tile roof"], INDEX["slate roof"])
        pool = (a > 3) & (a < 9) & (b > 25) & (b < 28.5) & (uniform(rehash(h, 3)) < 0.07)
        out = np.where(house, roof, garden)
        out = np.where(pool, INDEX["pool"], out)
        return np.where((u < 8) | (v < 6), INDEX["asphalt"], out).astype(np.uint8), h

    def _verge(self, material: Bytes, land: Land, x: F64, y: F64) -> None:
        """Grass and trees beside a motorway, in place: it is never wider than this."""
        if not (land.zone == ZONE["motorway"]).any():
            return
        away = self._beside(x, y, "road", self.p.road)
        beside = (away < self.p.road_verge) & (land.zone > ZONE["motorway"])
        middle = (away < 2.0) & (land.zone == ZONE["motorway"])
        material[beside | middle] = INDEX["grass"]


def _index(x: F64, step: float) -> Ints:
    return np.floor(x / step).astype(np.int64)


def _halls(yard: Bytes, u: F32, v: F32, parcel: U32) -> Bytes:
    """One hall in each parcel of industry, of its own size and roof."""
    roofs = np.array([INDEX[n] for n in ("metal roof", "concrete", "slate roof", "metal roof")], np.uint8)
    wide, deep = 70 + 85 * uniform(parcel), 60 + 50 * uniform(rehash(parcel, 2))
    hall = (u > 30) & (u < wide) & (v > 24) & (v < deep)
    return np.where(hall, roofs[(parcel >> np.uint32(9)) & np.uint32(3)], yard).astype(np.uint8)


_STEPS = np.arange(-3.5, 3.5001, 0.02)


@lru_cache(maxsize=1)
def _bytes_of_normal() -> NDArray[np.uint8]:
    from scipy.stats import norm

    return np.asarray(norm.cdf(_STEPS) * 256, np.float64).clip(0, 255).astype(np.uint8)


def _quantile_byte(z: F32) -> NDArray[np.uint8]:
    """A standard normal field as a byte that is evenly distributed: its quantile."""
    at = ((z + np.float32(3.5)) * np.float32(50)).clip(0, _STEPS.size - 1)
    return np.asarray(_bytes_of_normal().take(at.astype(np.int32)), np.uint8)
