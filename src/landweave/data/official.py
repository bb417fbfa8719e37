"""What the readers of published archives share: band files, draws that survive a re-run, scene labels from maps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.errors import ConfigError, DataError, GridError, MissingDataError, did_you_mean, listed
from landweave.legends import UNKNOWN, Legend
from landweave.sample import Image, Label
from landweave.sensors import sensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TIFF = (".tif", ".tiff")


def folder(path: str, kind: str) -> Path:
    """The folder that `data.path` names.

    Raises:
        MissingDataError: there is none.
    """
    found = Path(path)
    if found.is_dir():
        return found
    what = "a file, not a folder" if found.exists() else "no such folder"
    raise MissingDataError(what, where=path, fix=f"set data.path to the folder of the unpacked {kind} archive")


def hashed(*words: object) -> int:
    """A number that depends on the words only: the same on every machine, whatever else a folder holds."""
    text = "\0".join(map(str, words)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def drawn(names: Iterable[str], share: float, seed: int) -> set[str]:
    """Draw about `share` of the names, at least one if there are two or more, in an order that the seed decides."""
    order = sorted(set(names), key=lambda name: hashed(seed, name))
    count = round(share * len(order))
    return set(order[: max(count, 1) if len(order) > 1 and share > 0 else 0])


def raw_offsets(offset: Mapping[str, float], streams: Sequence[str], *, where: str) -> dict[str, float]:
    """Per stream the offset in the sensor's unit that `data.offset` (raw numbers by sensor) amounts to.

    Raises:
        ConfigError: a key is not a sensor of these data.
    """
    have = list(dict.fromkeys(s.partition("@")[0] for s in streams))
    for name in offset:
        if name not in have:
            raise ConfigError(
                f"data.offset names `{name}`{did_you_mean(name, have)}, which these data lack",
                where=where,
                fix=f"use one of {listed(have)}",
            )
    rows = {s: sensor(s) for s in streams}
    return {s: r.offset + offset.get(r.name, 0.0) * r.scale for s, r in rows.items()}


def read_cube(
    path: Path, stream: str, bands: Sequence[str], *, offset: float | None = None, days: Sequence[int] = ()
) -> Image:
    """Read a file that holds all bands of a stream, in the order `bands`.

    Raises:
        DataError: it has another number of bands, or cannot be read.
    """
    from landweave.data import raster

    found = raster.read(path)
    if found.data.shape[0] != len(bands):
        raise DataError(
            f"{found.data.shape[0]} bands, but a file of {stream} has {len(bands)} here ({listed(bands, 13)})",
            where=path,
            fix="copy the file again from the archive; files of your own are read with data.kind=table",
        )
    return Image.of(stream, bands, found.data, grid=found.grid, offset=offset, days=days, pixels_seen=found.valid)


def read_bands(
    files: Mapping[str, Path], stream: str, *, offset: float | None = None, days: Sequence[int] = ()
) -> Image:
    """Read a stream that lies on disk as one file a band.

    Raises:
        GridError: two of the files do not have the same grid.
        DataError: a file is missing, cannot be read, or has more than one band.
    """
    import numpy as np

    from landweave.data import raster

    found = {band: raster.read(path) for band, path in files.items()}
    first = next(iter(found.values()))
    for band, one in found.items():
        if one.data.shape[0] != 1:
            raise DataError(f"{one.data.shape[0]} bands in a file of one", where=files[band])
        if not one.grid.aligned(first.grid):
            raise GridError(
                f"{_shape(one.grid.shape)} does not lie on the grid of {next(iter(files.values())).name} "
                f"({_shape(first.grid.shape)})",
                where=files[band],
                fix="copy both files again from the archive",
            )
    data = np.concatenate([one.data for one in found.values()])
    valid = np.concatenate([one.valid for one in found.values()])
    if (valid == valid[:1]).all():
        valid = valid[:1]
    return Image.of(stream, list(files), data, grid=first.grid, offset=offset, days=days, pixels_seen=valid)


def _shape(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]} pixels"


def read_codes(path: Path, band: int, count: int) -> tuple[NDArray[Any], Any]:
    """One layer H W of a label raster of `count` layers, in the file's own codes, and its grid.

    Raises:
        DataError: another number of layers, or unreadable.
    """
    from landweave.data import raster

    head = raster.header(path)
    if head.count != count:
        raise DataError(f"{head.count} layers of labels, not {count}", where=path, fix="copy the file again")
    found = raster.read(path, bands=[band])
    return found.data[0], found.grid


def indices(codes: NDArray[Any], legend: Legend, *, where: str) -> NDArray[np.uint8]:
    """Class indices H W of a label raster, `UNKNOWN` where it is ignored.

    Raises:
        DataError: a value outside the legend.
    """
    values: NDArray[np.uint8] = Label.of_map(codes, legend, where=where).values.numpy()
    return values


def shares(values: NDArray[np.uint8], legend: Legend) -> NDArray[np.float64]:
    """Share of *all* pixels that each class covers; unknown pixels count for none, so the sum may be below 1."""
    import numpy as np

    counts = np.bincount(values.ravel(), minlength=UNKNOWN + 1)[: len(legend)]
    return counts / values.size


def present(cover: NDArray[np.float64], min_share: float) -> tuple[int, ...]:
    """The classes that cover at least `min_share`; perhaps none."""
    return tuple(i for i, share in enumerate(cover.tolist()) if share >= min_share and share > 0)


def dominant(cover: NDArray[np.float64]) -> int | None:
    """The class that covers most, the first of equals; None where nothing is known."""
    return int(cover.argmax()) if cover.any() else None
