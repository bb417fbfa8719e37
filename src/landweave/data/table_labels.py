"""Label rasters of a table, and whether the rasters of one place lie on one ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.data.table_images import TOLERANCE, short, window_on
from landweave.errors import DataError, GridError
from landweave.grid import Bounds, Grid
from landweave.legends import Legend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from landweave.sample import Label


def read_codes(
    path: Path, legend: Legend, *, bounds: Bounds | None = None, crs: str = ""
) -> tuple[NDArray[Any], Legend, Grid]:
    """A label raster in its own codes, the legend with a further ignored code where nodata asks for one, and its grid.

    Raises:
        DataError: not exactly one band; naming the file.
    """
    import numpy as np

    from landweave.data import raster

    pixels = raster.read(path, window=window_on(path, bounds, crs))
    if pixels.header.count != 1:
        raise DataError(
            f"a label raster has one band of class values, this one {pixels.header.count}",
            where=path,
            fix="give the raster of classes, not a picture of it",
        )
    codes, nodata = pixels.data[0], pixels.header.nodata
    row, col = (round(v) for v in pixels.header.grid.rowcol(*pixels.grid.xy(0, 0)))
    H, W = pixels.header.grid.shape
    unknown = np.ones(codes.shape, bool)
    unknown[max(-row, 0) : max(H - row, 0), max(-col, 0) : max(W - col, 0)] = False
    if nodata is not None and nodata not in {c.value for c in legend.classes}:
        unknown |= np.isnan(codes) if np.isnan(nodata) else codes == nodata
    if not unknown.any():
        return codes, legend, pixels.grid
    filler = max(int(np.nanmax(np.where(unknown, -1, codes.astype(np.float64)))), *legend.table()) + 1
    whole = np.where(unknown, filler, codes.astype(np.float64))
    return whole, replace(legend, ignored=(*legend.ignored, filler)), pixels.grid


def read_label(path: Path, legend: Legend, *, bounds: Bounds | None = None, crs: str = "") -> Label:
    """Read a label raster, or the part that bounds cover.

    Pixels of the file's nodata value (unless that is a class of the legend) and those beyond the raster are unknown.

    Raises:
        DataError: not exactly one band, NaN, or a value outside the legend; naming the file.
    """
    from landweave.sample import Label

    codes, widened, grid = read_codes(path, legend, bounds=bounds, crs=crs)
    return replace(Label.of_map(codes, widened, grid=grid, where=str(path)), legend=legend)


def read_classes(path: Path, legend: Legend, *, bounds: Bounds, crs: str) -> NDArray[np.uint8]:
    """The class indices H W that `read_label` gives (`legends.UNKNOWN` where unknown), without torch.

    Raises:
        DataError: as `read_label`.
    """
    codes, widened, _ = read_codes(path, legend, bounds=bounds, crs=crs)
    return widened.encode(codes, where=str(path))


def unknown_label(legend: Legend, grid: Grid) -> Label:
    """The label map of a place that has none."""
    import numpy as np

    from landweave.sample import Label

    blank = Legend(legend.name, (), (0,))
    return replace(Label.of_map(np.zeros(grid.shape, np.uint8), blank, grid=grid), legend=legend)


def require_label_ground(label: Grid, image: Grid, path: Path, image_path: Path) -> None:
    """A label map covers the ground of the finest image; one without CRS (drawn as PNG) has its number of pixels.

    Raises:
        GridError: naming both files.
    """
    if label.same_ground(image, tolerance=TOLERANCE) if label.crs or not image.crs else label.shape == image.shape:
        return
    raise GridError(
        f"covers other ground than the image {image_path}: {label.shape} pixels at {_corner(label)} in "
        f"{short(label.crs)}, the image {image.shape} at {_corner(image)} in {short(image.crs)}",
        where=path,
        fix="cut or reproject one like the other",
    )


def _corner(grid: Grid) -> str:
    left, _, _, top = grid.bounds
    return f"({left:.10g}, {top:.10g})"


def require_one_ground(grids: Mapping[Path, Grid]) -> None:
    """All rasters of a place: one CRS, and footprints that share at least half of the smaller one."""
    (first, ground), *others = grids.items()
    for path, grid in others:
        if grid.crs != ground.crs:
            raise GridError(
                f"in {short(grid.crs)}, but {first} is in {short(ground.crs)}",
                where=path,
                fix="reproject one to the other",
            )
        a, b = ground.bounds, grid.bounds
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        smaller = min((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
        if grid.crs and max(width, 0) * max(height, 0) < 0.5 * smaller:
            raise GridError(f"covers other ground than {first}: at {_corner(grid)}, not {_corner(ground)}", where=path)
