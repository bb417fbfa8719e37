"""BigEarthNet v2's layout: folders of tif for both sensors, reference maps of CORINE codes, two parquet files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from landweave.data import mgrs, raster
from landweave.data.synth.fields import F32, block_mean
from landweave.data.synth.layout import Progress
from landweave.data.synth.places import TILES, Spot, seen_on, sensible, shuffled, spot
from landweave.data.synth.world import View, World, to_db
from landweave.data.synth.zones import ZONE, codes
from landweave.legends import BIGEARTHNET_19, BIGEARTHNET_MAP, UNKNOWN
from landweave.sensors import native_streams, sensor

SIZE = 120
LEAST = 0.08  # share of a patch from which a class of the map is a label of the patch
COVER = 0.45  # of the sky over a cloudy patch
SNOWFALL = 900.0  # metres by which the snow line lies lower than usual over a snowy one
_DRAWS = 12
_SPLIT_OF = ("train", "train", "validation", "test")
_COLUMNS = {"train": (1, 40), "validation": (42, 60), "test": (62, 80)}  # of a tile's patches: blocks with a gap
_ROWS = (1, 80)
_GROUPS = {
    int(name.partition("@")[2]): bands for name, bands in native_streams("s2-l2a", sensor("s2-l2a").band_names).items()
}


@dataclass(frozen=True)
class Patch:
    """One row of the metadata, and its ground."""

    place: Spot
    column: int
    row: int
    split: str
    cloudy: bool = False
    snowy: bool = False

    @property
    def product(self) -> str:
        """Name of the Sentinel-2 product."""
        zone = int(self.place.tile[:2])
        return f"S2A_MSIL2A_{self.place.day:%Y%m%d}T101031_N9999_R{zone * 4 - 110:03d}_T{self.place.tile}"

    @property
    def patch_id(self) -> str:
        """Name of the Sentinel-2 patch."""
        return f"{self.product}_{self.column:02d}_{self.row:02d}"

    @property
    def scene(self) -> str:
        """Name of the Sentinel-1 product."""
        return f"S1A_IW_GRDH_1SDV_{self.place.day:%Y%m%d}T165043"

    @property
    def s1_name(self) -> str:
        """Name of the Sentinel-1 patch."""
        return f"{self.scene}_{self.place.tile}_{self.column}_{self.row}"

    def view(self, world: World) -> View:
        """Look at it."""
        return self.place.view(world)

    def optical(self, view: View) -> F32:
        """Reflectance of the 12 bands at 10 m."""
        cover, snowfall = COVER * self.cloudy, SNOWFALL * self.snowy
        return view.optical(self.place.of_year, sensor("s2-l2a").band_names, cover=cover, snowfall=snowfall)


def bigearthnet_patch(seed: int, index: int) -> Patch:
    """Patch `index` of the main metadata: splits take turns within a tile, tiles follow one another."""
    split = _SPLIT_OF[index % 4]
    names = list(TILES)
    turn = (index // 4) * _SPLIT_OF.count(split) + (index % 4 if split == "train" else 0)
    tile = names[shuffled(len(names), seed, "tiles")[(turn + index % 4) % len(names)]]
    return _patch(seed, tile, split, turn, seen_on(seed, tile))


def spoilt_patch(world: World, index: int) -> Patch:
    """Patch `index` of the second metadata: clouds in summer and snow in winter take turns.

    Of its draws it takes the first in which that can be seen: a sky that is not clear, or land to lie on.
    """
    tile = list(TILES)[index % len(TILES)]
    cloudy = index % 2 == 0
    day = seen_on(world.seed, tile) if cloudy else date(2018, 1, 20)
    for draw in range(_DRAWS):
        turn = 2_000 + index * _DRAWS + draw
        patch = _patch(world.seed, tile, _SPLIT_OF[index % 4], turn, day, cloudy=cloudy)
        x, y = patch.place.axes()
        view = world.view(x[::8], y[::8], 80.0, samples=1)
        if cloudy and view.clouds(patch.place.of_year, cover=COVER)[0].mean() > 0.15:
            break
        if not cloudy and (view.land.block > ZONE["lake"]).mean() > 0.5:
            break
    return patch


def _patch(seed: int, tile: str, split: str, turn: int, day: date, *, cloudy: bool | None = None) -> Patch:
    """The `turn`-th patch of a split within a tile: a draw without repetition from its block."""
    first, last = _COLUMNS[split]
    width, height = last - first, _ROWS[1] - _ROWS[0]
    order = shuffled(width * height, seed, "patches", tile, split)
    at = order[turn % len(order)]
    column, row = first + at % width, _ROWS[0] + at // width
    corner = mgrs.tile(tile)
    side = SIZE * 10
    place = spot(tile, corner.left + column * side, corner.top - row * side, SIZE, day)
    return Patch(place, column, row, split, cloudy is True, cloudy is False)


def label_names(clc: Any) -> list[str]:
    """Names of the classes that cover enough of a reference map, in the order of the alphabet."""
    table = np.full(1000, UNKNOWN, np.uint8)
    for code, index in BIGEARTHNET_MAP.table().items():
        table[code] = index
    counts = np.bincount(table[clc].ravel(), minlength=UNKNOWN + 1)[: len(BIGEARTHNET_19)]
    return sorted(BIGEARTHNET_19.names[i] for i in np.flatnonzero(counts >= LEAST * clc.size))


def reference_map(view: View) -> Any:
    """CORINE codes: rivers and roads are too narrow for CORINE to map."""
    return codes("clc")[view.landcover(lines=False)]


def write_bigearthnet(out: Path, world: World, *, places: int, progress: Progress = None) -> None:
    """Write the folders and the metadata; one spoilt patch goes with every sixteen good ones."""
    good = [bigearthnet_patch(world.seed, i) for i in range(places)]
    spoilt = [spoilt_patch(world, i) for i in range(-(-places // 16))]
    rows = []
    for i, patch in enumerate((*good, *spoilt), 1):
        rows.append(_write_patch(out, world, patch))
        if progress:
            progress(i, len(good) + len(spoilt))
    _write_table(out / "metadata_for_patches_with_snow_cloud_or_shadow.parquet", rows[places:])
    _write_table(out / "metadata.parquet", rows[:places])


def _write_patch(out: Path, world: World, patch: Patch) -> dict[str, Any]:
    view, grid = patch.view(world), patch.place.grid
    cube = patch.optical(view)
    names = list(sensor("s2-l2a").band_names)
    where = out / "BigEarthNet-S2" / patch.product / patch.patch_id
    for metres, bands in _GROUPS.items():
        step = metres // 10
        small = sensible(block_mean(cube[[names.index(b) for b in bands]], step))
        for band, values in zip(bands, small, strict=True):
            file = where / f"{patch.patch_id}_{band}.tif"
            raster.write(file, values[None], grid.scaled(SIZE // step, SIZE // step), nodata=0)
    where = out / "BigEarthNet-S1" / patch.scene / patch.s1_name
    for band, values in zip(("VV", "VH"), to_db(view.radar(patch.place.of_year)), strict=True):
        raster.write(where / f"{patch.s1_name}_{band}.tif", values[None], grid)
    clc = reference_map(view)
    where = out / "Reference_Maps" / patch.product / patch.patch_id
    raster.write(where / f"{patch.patch_id}_reference_map.tif", clc[None], grid, nodata=0, compress="deflate")
    return {
        "patch_id": patch.patch_id,
        "labels": label_names(clc),
        "split": patch.split,
        "country": patch.place.country,
        "s1_name": patch.s1_name,
        "s2v1_name": f"{patch.product.partition('_N9999')[0]}_{patch.column}_{patch.row}",
        "contains_seasonal_snow": patch.snowy,
        "contains_cloud_or_shadow": patch.cloudy,
    }


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, flag = pa.string(), pa.bool_()
    schema = pa.schema(
        {
            "patch_id": text,
            "labels": pa.list_(text),
            "split": text,
            "country": text,
            "s1_name": text,
            "s2v1_name": text,
            "contains_seasonal_snow": flag,
            "contains_cloud_or_shadow": flag,
        }
    )
    part = path.with_name(f".{path.name}.part")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)
    os.replace(part, path)
