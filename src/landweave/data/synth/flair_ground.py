"""The frozen world in pixels of 0.2 m: smaller parcels with crops, copses and farmsteads, hedges, tracks, heights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from landweave.data.synth import spectra
from landweave.data.synth.fields import F32, F64, U32, cells, key_of, lattice_hash, noise, normal, rehash, uniform
from landweave.data.synth.flair_params import (
    COSIA,
    COVERS,
    CROPS,
    FLAIR,
    GRAIN,
    HEIGHT,
    INCLUDED,
    LPIS,
    MIXES,
    NOT_DECLARED,
    SIZES,
    TREES,
)
from landweave.data.synth.ground import LINES, Bytes, Ground, Land
from landweave.data.synth.params import PARAMS
from landweave.data.synth.zones import NONE, ZONE, ZONES, Mix

NAMES = (*(m.name for m in spectra.MATERIALS), *(c.name for c in CROPS), *(c.name for c in COVERS))
INDEX = {name: i for i, name in enumerate(NAMES)}
"""What can lie on the ground. Where a crop bears a name of the world's, it is the one of this dataset."""
FIRST_CROP = len(spectra.MATERIALS)
CROP = slice(FIRST_CROP, FIRST_CROP + len(CROPS))
_ROOFS = [INDEX[n] for n in ("tile roof", "slate roof", "metal roof")]


@dataclass(frozen=True)
class Scene:
    """What lies on the ground at the crossings of two axes (H W).

    `cover` is what is seen, `field` what the parcel is sown with, `light` the log brightness of crowns and patches,
    `crown` False in the gap between two crowns, `unread` what the interpreter of the land cover left out.
    """

    cover: Bytes
    field: Bytes
    zone: Bytes
    parcel: U32
    element: U32
    light: F32
    crown: NDArray[np.bool_]
    unread: NDArray[np.bool_]


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.uint8], ...]:
    """Parcels and elements (zones x 256), and what is included in a zone (zones x 256 zone indices)."""
    mixes = [MIXES.get(z.name, z.parcels) for z in ZONES]
    parcels = np.stack([_bytes(mix, INDEX) for mix in mixes])
    if (parcels == NONE).any():
        raise AssertionError("shares of a zone's parcels do not sum to 1")
    elements = np.stack([_bytes(tuple((m, min(s / 0.5, 1)) for m, s in z.elements), INDEX) for z in ZONES])
    included = np.stack([_bytes(INCLUDED.get(z.name, ()), ZONE) for z in ZONES])
    return parcels.ravel(), elements.ravel(), included.ravel()


def _bytes(mix: Mix, index: dict[str, int]) -> NDArray[np.uint8]:
    out = np.full(256, NONE, np.uint8)
    start = 0.0
    for name, share in mix:
        out[round(start * 256) : round((start + share) * 256)] = index[name]
        start += share
    return out


class FlairGround(Ground):
    """The ground of one seed. `old`: as it was in the 1950s, with smaller parcels of other crops, and fewer roofs."""

    def __init__(self, seed: int, *, old: bool = False) -> None:
        super().__init__(seed, PARAMS)
        self.old = old
        self._parcels, self._elements, self._included = _tables()
        self._sizes = np.array([SIZES.get(z.name, z.size) for z in ZONES], np.float32)
        self._natural = self._sizes[:, 0] == 0
        self._sizes[self._natural] = 9_999  # one huge parcel
        if old:
            self._sizes = np.where(self._sizes < 150, self._sizes * np.float32(0.6), self._sizes)

    def land(self, x: F64, y: F64) -> Land:
        """The zones of the world, with the small plots of other land that lie in them."""
        base = super().land(x, y)
        bend = PARAMS.bend[1]
        u = (x[None] + bend[1] * noise(x, y, bend[0], self._own("plot x"))) / FLAIR.plot
        v = (y[:, None] + bend[1] * noise(x, y, bend[0], self._own("plot y"))) / FLAIR.plot
        i, j, plot = cells(u, v, self._own("plot"))
        bits = lattice_hash(i, j, self._own("plot bits"))
        draw = (bits >> np.uint32(24)).astype(np.int32)[plot]
        zone = self._included.take(base.block.astype(np.int32) * 256 + draw)
        inside = (zone != NONE) & (base.zone >= LINES)
        block = np.where(inside, zone, base.block)
        return Land(
            np.where(inside, zone, base.zone).astype(np.uint8),
            block.astype(np.uint8),
            base.second,
            np.where(inside, plot + np.int32(base.bits.size), base.seed).astype(np.int32),
            np.concatenate([base.bits, bits]),
            np.concatenate([base.east, (i + 0.5) * FLAIR.plot]),
            np.concatenate([base.north, (j + 0.5) * FLAIR.plot]),
        )

    def _own(self, *words: object) -> int:
        """The key of a field that only this layout has."""
        return key_of("flair", FLAIR.version, self.seed, *words)

    def scene(self, x: F64, y: F64) -> Scene:
        """Look at the ground at the crossings of the axes."""
        land = self.land(x, y)
        found = self.surface(x, y, land)
        parcel = rehash(found.parcel, 5) if self.old else found.parcel
        draw = (parcel >> np.uint32(24)).astype(np.int32)
        field = self._parcels.take(land.zone.astype(np.int32) * 256 + draw)
        natural = self._natural.take(land.zone)
        field = np.where(natural, found.material, field)
        cover = found.material.copy()
        if self.old:
            cover = np.where(cover >= FIRST_CROP, field, cover)
            self._undo(cover, found.element)
        self._borders(cover, parcel, land.zone, float(abs(x[1] - x[0])))
        texture = np.append(spectra.textures(), np.full(len(NAMES) - FIRST_CROP, 0.05, np.float32))
        crown = np.where(found.crown, normal(rehash(found.element, 45)), -np.float32(PARAMS.gap))
        light = texture.astype(np.float32).take(cover) * crown + np.float32(PARAMS.patch_light) * found.patch
        light += np.float32(PARAMS.parcel_light) * normal(rehash(parcel, 44))
        unread = (uniform(rehash(land.bits, 62)) < FLAIR.unread)[land.seed]
        cover, field = cover.astype(np.uint8), field.astype(np.uint8)
        return Scene(cover, field, land.zone, parcel, found.element, light, found.crown, unread)

    def _undo(self, cover: Bytes, element: U32) -> None:
        """Take away, in place, what the 1950s did not have."""
        roof = np.isin(cover, _ROOFS) & (uniform(rehash(element, 61)) > FLAIR.old_roofs)
        cover[roof | (cover == INDEX["pool"])] = INDEX["grass"]
        cover[cover == INDEX["greenhouse"]] = INDEX["soil"]

    def _borders(self, cover: Bytes, parcel: U32, zone: Bytes, step: float) -> None:
        """Tracks and hedges along the borders of farmed parcels, in place."""
        wide = max(round(FLAIR.border / step), 1)
        farmed = _farmed().take(zone)
        edge = np.zeros(cover.shape, bool)
        edge[:, wide:] |= parcel[:, wide:] != parcel[:, :-wide]
        edge[wide:] |= parcel[wide:] != parcel[:-wide]
        edge &= farmed & (cover != INDEX["broadleaf"])
        who = uniform(rehash(parcel[edge], 63))
        new = np.where(who < FLAIR.tracked, INDEX["track"], cover[edge])
        cover[edge] = np.where(who > 1 - FLAIR.hedged, INDEX["hedge"], new)


@lru_cache(maxsize=1)
def _farmed() -> NDArray[np.bool_]:
    """Zones whose parcels somebody may declare."""
    names = ("arable", "vineyard", "orchard", "pasture", "small fields", "fields and nature", "agro-forestry")
    return np.array([z.name in names for z in ZONES])


def cosia(scene: Scene) -> Bytes:
    """Class of land cover as an interpreter reads it: H W, 0 ... 18."""
    table = np.array([COSIA.get(name, 18) for name in NAMES], np.uint8)
    out = table.take(scene.cover)
    naked = np.isin(scene.cover, [INDEX["soil"], INDEX["light soil"]])
    out[naked & _farmed().take(scene.zone)] = 10
    vines = np.isin(scene.cover, [INDEX["vine"], INDEX["light soil"]])
    out[vines & (scene.zone == ZONE["vineyard"])] = 11
    out[scene.unread] = 18
    return out


def lpis(scene: Scene) -> Bytes:
    """What was declared, in three levels: 3 H W."""
    table = np.array([LPIS.get(name, NOT_DECLARED) for name in NAMES], np.uint8).T
    out = table[:, scene.field]
    for zone, codes in (("vineyard", (16, 23, 37)), ("orchard", (18, 25, 39))):
        out[:, scene.zone == ZONE[zone]] = np.array(codes, np.uint8)[:, None]
    nobody = ~_farmed().take(scene.zone) | (scene.cover == INDEX["track"])
    nobody |= uniform(rehash(scene.parcel, 64)) < FLAIR.undeclared
    out[:, nobody] = np.array(NOT_DECLARED, np.uint8)[:, None]
    return np.asarray(out, np.uint8)


def height(scene: Scene, x: F64, y: F64, key: int) -> F32:
    """Metres above the terrain: H W."""
    least, more = np.array([HEIGHT.get(name, (0.0, 0.0)) for name in NAMES], np.float32).T
    roof = np.isin(scene.cover, _ROOFS)
    lump = np.where(roof, np.float32(0), noise(x, y, 2.4, key))
    own = uniform(rehash(np.where(scene.cover >= FIRST_CROP, scene.parcel, scene.element), 65))
    tall = (least.take(scene.cover) + more.take(scene.cover) * own) * (1 + np.float32(0.12) * lump)
    gap = ~scene.crown & np.isin(scene.cover, [INDEX[n] for n in TREES])
    return np.asarray(np.where(gap, np.float32(0.4) * tall, np.maximum(tall, 0)), np.float32)


def grains() -> F32:
    """Spread of log brightness over decimetres, by cover."""
    return np.array([GRAIN.get(name, FLAIR.grain[1]) for name in NAMES], np.float32)
