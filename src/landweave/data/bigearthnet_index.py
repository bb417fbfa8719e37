"""The metadata of BigEarthNet v2: half a million rows, read as columns in about two seconds.

`metadata.parquet` lists the 480,038 places of the dataset; the second file, with the same columns, those with
seasonal snow, cloud or cloud shadow. A place's longitude and latitude follow from its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from landweave.data import mgrs
from landweave.data.dataset import SET_ASIDE, SPLITS, Place, Split
from landweave.errors import DataError, MissingDataError, listed
from landweave.grid import Grid
from landweave.legends import BIGEARTHNET_19

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

METADATA = "metadata.parquet"
SNOW_CLOUD = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
COLUMNS = ("patch_id", "s1_name", "labels", "split")

SIDE = 1200.0
"""Metres: a product is cut into patches of this side, counted from its tile's upper left corner."""

_NAME = r"^S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T(?P<tile>\d{2}[A-Z]{3})_(?P<x>\d+)_(?P<y>\d+)$"


@dataclass(frozen=True)
class Index:
    """The metadata as columns. Labels are class indices, those of place i at `starts[i]:starts[i + 1]`."""

    patches: list[str]
    s1: list[str]
    splits: list[Split]
    labels: NDArray[np.uint8]
    starts: NDArray[np.int64]

    def take(self, keep: Sequence[int]) -> Index:
        """Some of the rows."""
        import numpy as np

        if len(keep) == len(self.patches):
            return self
        parts = [self.labels[self.starts[i] : self.starts[i + 1]] for i in keep]
        starts = np.cumsum([0, *(len(p) for p in parts)])
        return Index(
            [self.patches[i] for i in keep],
            [self.s1[i] for i in keep],
            [self.splits[i] for i in keep],
            np.concatenate([self.labels[:0], *parts]),
            starts,
        )


def find(root: Path, given: str) -> Path:
    """The metadata file: the one that is given, or the one in the folder or beside it.

    Raises:
        MissingDataError: there is none.
    """
    choices = [Path(given)] if given else [root / METADATA, root.parent / METADATA]
    for file in choices:
        if file.is_file():
            return file
    raise MissingDataError(
        "no such metadata file" if given else f"no {METADATA} in the folder or beside it",
        where=given or root,
        fix=f"download {METADATA} of BigEarthNet v2, and set data.metadata=FILE if it lies elsewhere",
    )


def beside(file: Path) -> Path:
    """The second file, of snow and cloud places, which lies beside the first.

    Raises:
        MissingDataError: it does not.
    """
    second = file.with_name(SNOW_CLOUD)
    if not second.is_file():
        raise MissingDataError(f"no {SNOW_CLOUD}", where=file.parent, fix="download it, or set data.snow_cloud=false")
    return second


def read_index(file: Path, aside: Path | None = None) -> Index:
    """Read the columns that are needed, all rows at once; `aside` is the second file, if its places are wanted.

    Raises:
        DataError: not a parquet file of this form, a class that the nomenclature lacks, or a patch named twice.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    where = aside or file
    parts = [_read_table(f) for f in (file, aside) if f]
    table = pa.concat_tables(parts, promote_options="permissive")
    labels = table["labels"].combine_chunks()
    names = labels.flatten().dictionary_encode()
    codes = np.array([_class(name, where) for name in names.dictionary.to_pylist()], np.uint8)
    flat = codes[names.indices.to_numpy(zero_copy_only=False)] if len(names) else codes
    lengths = pc.list_value_length(labels).to_numpy(zero_copy_only=False)
    patches = table["patch_id"].to_pylist()
    splits = table["split"].to_pylist()
    if strange := set(splits) - set(SPLITS):
        raise DataError(f"split `{min(strange)}`, not one of {listed(SPLITS)}", where=where)
    good = len(parts[0])
    splits[good:] = [SET_ASIDE if s == "test" else "" for s in splits[good:]]
    if len(set(patches)) < len(patches):
        raise DataError("a patch_id stands twice", where=where, fix="download the file again")
    return Index(patches, table["s1_name"].to_pylist(), splits, flat, np.concatenate([[0], np.cumsum(lengths)]))


def _read_table(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file, columns=list(COLUMNS))
        lacking = [c for c in COLUMNS if c not in table.column_names]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(
            f"not the metadata of BigEarthNet v2 ({str(error).splitlines()[0][:120]})",
            where=file,
            fix=f"columns {listed(COLUMNS)} are needed; download the file again",
        ) from error
    empty = [c for c in COLUMNS if c in table.column_names and table[c].null_count]
    if lacking or empty or pc.list_flatten(table["labels"]).null_count:
        what = f"no column {listed(lacking)}" if lacking else f"empty values in column {listed(empty or ['labels'])}"
        raise DataError(what, where=file, fix="download the file again")
    return table


def _class(name: str, file: Path) -> int:
    if name in BIGEARTHNET_19.names:
        return BIGEARTHNET_19.names.index(name)
    raise DataError(f"label `{name}` is not one of the 19 classes", where=file, fix="use the metadata of version 2")


def lacking(names: Sequence[str], stored: Mapping[str, set[str]], part: str) -> frozenset[str]:
    """The names that are not stored, of a part (`s2`, `s1`, `map`) that is stored at all."""
    return frozenset(names) - stored[part] if part in stored else frozenset()


def kept(index: Index, stored: Mapping[str, set[str]], *, where: str, partial: bool) -> list[int]:
    """Rows that have an image on disk.

    Raises:
        MissingDataError: something lacks and `partial` does not allow it, or nothing is there.
    """
    if not any(stored.get(part) for part in ("s2", "s1")):
        raise MissingDataError("no patch in its folders", where=where, fix="unpack the archives there")
    words = {"s2": "Sentinel-2 patches", "s1": "Sentinel-1 patches", "map": "reference maps"}
    for part, names in (("s2", index.patches), ("s1", index.s1), ("map", index.patches)):
        absent = lacking(names, stored, part)
        if absent and not partial:
            raise MissingDataError(
                f"{len(absent)} of {len(names)} {words[part]} are missing; the first: {min(absent)}",
                where=where,
                fix="unpack all parts of the archive, or set data.partial=true to use what is there",
            )
    if not partial:
        return list(range(len(index.patches)))
    s2, s1 = stored.get("s2", set()), stored.get("s1", set())
    keep = [i for i, (p, q) in enumerate(zip(index.patches, index.s1, strict=True)) if p in s2 or q in s1]
    if not keep:
        raise MissingDataError(
            "none of the metadata's places is in its folders", where=where, fix="unpack the archives"
        )
    return keep


def places(index: Index) -> list[Place]:
    """Places with their product as group, and longitude and latitude from their names."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.extract_regex(pa.array(index.patches, pa.string()), pattern=_NAME)
    if parts.null_count:
        wrong = index.patches[pc.index(pc.is_null(parts), value=True).as_py()]
        raise DataError(f"`{wrong}` is not the name of a Sentinel-2 patch", where=METADATA)
    tiles = parts.field("tile").dictionary_encode()
    found = [mgrs.tile(name) for name in tiles.dictionary.to_pylist()]
    at = tiles.indices.to_numpy(zero_copy_only=False)
    x, y = (parts.field(k).cast(pa.int64()).to_numpy(zero_copy_only=False) for k in ("x", "y"))
    zone, north, left, top = (np.array([getattr(t, k) for t in found])[at] for k in ("zone", "north", "left", "top"))
    lon, lat = mgrs.lonlat(zone, north, left + (x + 0.5) * SIDE, top - (y + 0.5) * SIDE)
    products: dict[str, str] = {}  # one text a product, not one a place
    groups = [products.setdefault(p, p) for p in (patch.rsplit("_", 2)[0] for patch in index.patches)]
    rows = zip(index.patches, index.splits, groups, lon.tolist(), lat.tolist(), strict=True)
    return [Place(*row) for row in rows]


def grid_of(patch: str) -> Grid:
    """The 10 m grid of a patch, from its name."""
    *_, tile, x, y = patch.split("_")
    return mgrs.tile(tile).patch(int(x), int(y), SIDE, 120)
