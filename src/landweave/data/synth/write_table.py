"""The `table` layout: a parquet file of places with Sentinel-2, Sentinel-1, relief and land cover, and one scene."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from landweave.data import mgrs, raster
from landweave.data.synth.layout import Progress, write_text
from landweave.data.synth.places import TILES, Spot, seen_on, sensible, shuffled, spot
from landweave.data.synth.world import World, to_db
from landweave.data.synth.zones import LULC, codes
from landweave.legends import LandClass, Legend
from landweave.sensors import sensor

SIZE = 64
SCENE = 512
LEGEND = Legend("synth-lulc", tuple(LandClass(v, name, color) for v, (name, color) in LULC.items()), (0,))
_SPLITS = ("train", "train", "validation", "train", "test")
_BANDS = sensor("s2-l2a").band_names


def table_place(seed: int, index: int, *, size: int = SIZE) -> tuple[str, str, Spot]:
    """Name, split and ground of place `index`; a tile lies in one split as a whole."""
    split = _SPLITS[index % len(_SPLITS)]
    order = shuffled(len(TILES), seed, "tiles of the table")
    names = [list(TILES)[k] for k in order]
    own = {"train": names[:6], "validation": names[6:8], "test": names[8:]}[split]
    turn = index // len(_SPLITS)
    tile = own[(turn * 3 + index % len(_SPLITS)) % len(own)]
    side = max(size * 10 * 2, 2_000)
    count = int(90_000 // side)
    at = shuffled(count * count, seed, "table", tile)[index % (count * count)]
    corner = mgrs.tile(tile)
    left, top = corner.left + 3_000 + at % count * side, corner.top - 3_000 - at // count * side
    return f"place_{index:05d}", split, spot(tile, left, top, size, seen_on(seed, tile))


def cubes(world: World, place: Spot) -> dict[str, Any]:
    """What the files of a place hold: S2 (uint16), S1 (dB), DEM (m), LULC (class values)."""
    view = place.view(world)
    return {
        "S2": sensible(view.optical(place.of_year, _BANDS)),
        "S1": to_db(view.radar(place.of_year, flattened=True)),
        "DEM": view.elevation()[None],
        "LULC": codes("lulc")[view.landcover()].astype("uint8")[None],
    }


def write_table(out: Path, world: World, *, places: int, size: int = SIZE, progress: Progress = None) -> None:
    """Write `places.parquet`, the rasters in `places/`, and in `scene/` a larger place for `tile` and `map`."""
    rows = []
    for i in range(places):
        name, split, place = table_place(world.seed, i, size=size)
        folder = f"places/{name}"
        _write_rasters(out / folder, place, cubes(world, place))
        when = place.day.isoformat()
        rows.append(
            {
                "name": name,
                "split": split,
                "group": place.tile,
                "s2-l2a": f"{folder}/S2.tif",
                "s2-l2a.dates": when,
                "s1-rtc-gamma0": f"{folder}/S1.tif",
                "s1-rtc-gamma0.dates": when,
                "dem": f"{folder}/DEM.tif",
                "label:lulc": f"{folder}/LULC.tif",
                "lon": _lonlat(place)[0],
                "lat": _lonlat(place)[1],
            }
        )
        if progress:
            progress(i + 1, places + 1)
    _write_scene(out / "scene", world)
    _write_legend(out / "scene" / "legend.yaml")
    _write_parquet(out / "places.parquet", rows)
    if progress:
        progress(places + 1, places + 1)


def scene(seed: int, *, size: int = SCENE) -> Spot:
    """The larger place, in a corner of a test tile where no place of the table lies."""
    tile = list(TILES)[shuffled(len(TILES), seed, "tiles of the table")[8]]
    corner = mgrs.tile(tile)
    return spot(tile, corner.left + 93_500, corner.top - 93_500, size, seen_on(seed, tile))


def _write_scene(folder: Path, world: World) -> None:
    """The rasters of the larger place, and its radar once more as sigma nought, which BigEarthNet models read."""
    place = scene(world.seed)
    ellipsoid = to_db(place.view(world).radar(place.of_year, flattened=False))
    _write_rasters(folder, place, {**cubes(world, place), "S1_GRD": ellipsoid})


def _write_rasters(folder: Path, place: Spot, values_of: dict[str, Any]) -> None:
    names = {"S2": _BANDS, "S1": ("VV", "VH"), "S1_GRD": ("VV", "VH"), "DEM": ("elevation",), "LULC": ()}
    nodata = {"S2": 0.0, "LULC": 0.0}
    for stem, values in values_of.items():
        raster.write(
            folder / f"{stem}.tif", values, place.grid, nodata=nodata.get(stem), descriptions=names[stem],
            compress="deflate", predictor=3 if values.dtype.kind == "f" else 2, interleave="band",
        )  # fmt: skip


def _lonlat(place: Spot) -> tuple[float, float]:
    found = raster.lonlat(place.grid)
    assert found is not None  # every spot has a CRS
    return found


def _write_legend(path: Path) -> None:
    import yaml

    text = "# Land cover of the synthetic world, for `landweave tile --legend`\n"
    write_text(path, text + yaml.safe_dump(LEGEND.to_json(), sort_keys=False))


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    note = {"legends": {"lulc": LEGEND.to_json()}, "kinds": {"lulc": "map"}}
    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({"landweave": json.dumps(note)})
    part = path.with_name(f".{path.name}.part")
    pq.write_table(table, part)
    os.replace(part, path)
