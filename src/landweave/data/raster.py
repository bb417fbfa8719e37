"""The only reader and writer of rasters: GeoTIFF and what else GDAL reads, PNG and JPEG included.

Every failure names the file. Windows may reach beyond a raster: the part outside is padded and told apart, because
GDAL's own boundless read costs 16 to 25 times a plain one.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landweave.errors import DataError, MissingDataError
from landweave.grid import Grid, Window

Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class Header:
    """What a raster says of itself without reading its pixels."""

    path: str
    grid: Grid
    count: int
    dtype: str
    descriptions: tuple[str, ...]
    nodata: float | None
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    tags: Mapping[str, str]
    block: tuple[int, int]

    @property
    def named_bands(self) -> tuple[str, ...]:
        """Band descriptions if each is there and none stands twice, else nothing."""
        unique = all(self.descriptions) and len(set(self.descriptions)) == self.count
        return self.descriptions if unique else ()


@dataclass(frozen=True)
class Raster:
    """Pixels C H W in the file's dtype, which of them are valid (C H W or 1 H W), and where they lie."""

    data: NDArray[Any]
    valid: NDArray[np.bool_]
    grid: Grid
    header: Header


@contextmanager
def _open(path: Path_) -> Iterator[Any]:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if not os.path.exists(path):
        raise MissingDataError("no such file", where=path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                yield source
    except RasterioError as error:
        cause = error.__cause__ or error
        kind = "not a raster that GDAL can open" if "not recognized" in str(error) else "cannot be read"
        size = os.path.getsize(path)
        raise DataError(
            f"{kind}, perhaps truncated ({size} bytes): {str(cause).splitlines()[0]}"
            if kind == "cannot be read"
            else f"{kind} ({size} bytes)",
            where=path,
            fix="copy the file again, or take its row out of the table",
        ) from error


def _header(source: Any, path: Path_) -> Header:
    t = source.transform
    crs = ""
    if source.crs is not None:
        code = source.crs.to_epsg()
        crs = f"EPSG:{code}" if code else source.crs.to_wkt()
    return Header(
        path=os.fspath(path),
        grid=Grid(crs, (t.a, t.b, t.c, t.d, t.e, t.f), (source.height, source.width)),
        count=source.count,
        dtype=source.dtypes[0],
        descriptions=tuple(d or "" for d in source.descriptions),
        nodata=source.nodata,
        scales=tuple(source.scales),
        offsets=tuple(source.offsets),
        tags=dict(source.tags()),
        block=source.block_shapes[0],
    )


def header(path: Path_) -> Header:
    """Read the header only.

    Raises:
        MissingDataError: no such file.
        DataError: GDAL cannot open it.
    """
    with _open(path) as source:
        return _header(source, path)


def read(path: Path_, *, bands: Sequence[int] | None = None, window: Window | None = None) -> Raster:
    """Read pixels in the file's own numbers.

    Args:
        path: any raster that GDAL opens.
        bands: 0-based positions; all by default.
        window: in pixels; what lies outside the raster is 0 and not valid.

    Raises:
        MissingDataError: no such file.
        DataError: GDAL cannot open or read it (truncated, not an image).
    """
    from rasterio.windows import Window as RioWindow

    with _open(path) as source:
        head = _header(source, path)
        H, W = head.grid.shape
        win = window or Window(0, 0, H, W)
        at = [b + 1 for b in bands] if bands is not None else list(range(1, head.count + 1))
        r0, c0 = max(win.row, 0), max(win.col, 0)
        r1, c1 = min(win.row + win.height, H), min(win.col + win.width, W)
        data = np.zeros((len(at), win.height, win.width), head.dtype)
        inside = np.zeros((1, win.height, win.width), bool)
        if r1 > r0 and c1 > c0:
            part_of = RioWindow(c0, r0, c1 - c0, r1 - r0)
            part = source.read(at, window=part_of)
            rows, cols = slice(r0 - win.row, r1 - win.row), slice(c0 - win.col, c1 - win.col)
            data[:, rows, cols] = part
            inside[:, rows, cols] = True
            if _masked(source):
                inside[:, rows, cols] = source.read_masks(at[0], window=part_of) > 0
        nodata = [source.nodatavals[b - 1] for b in at]
    return Raster(data, inside & _valid(data, nodata), head.grid.crop(win), head)


def _masked(source: Any) -> bool:
    """Whether the file has a mask for all bands, inside it or beside it (`.msk`).

    A band of transparency is none: near infrared, the fourth band of many aerial images, is often marked as that.
    """
    from rasterio.enums import MaskFlags

    flags = source.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def _valid(data: NDArray[Any], nodata: Sequence[float | None]) -> NDArray[np.bool_]:
    """One mask for all bands where they agree (the common case), else one a band; `nodata` by band."""
    valid = np.ones(data.shape, bool)
    for band, value in enumerate(nodata):
        if value is not None and not np.isnan(value):
            valid[band] &= data[band] != value
    if np.issubdtype(data.dtype, np.floating):
        valid &= np.isfinite(data)
    return valid[:1] if (valid == valid[:1]).all() else valid


def write(
    path: Path_,
    data: NDArray[Any],
    grid: Grid,
    *,
    nodata: float | None = None,
    descriptions: Sequence[str] = (),
    **options: Any,
) -> Path:
    """Write C H W as a GeoTIFF (further GDAL creation options as keywords), whole or not at all.

    The file appears under its name only once it is complete.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.transform import Affine

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": data.dtype, "count": data.shape[0], **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            part,
            "w",
            height=data.shape[1],
            width=data.shape[2],
            crs=_crs(grid.crs) if grid.crs else None,
            transform=Affine(*grid.transform),
            nodata=nodata,
            **profile,
        ) as out:
            out.write(data)
            for i, text in enumerate(descriptions, 1):
                out.set_band_description(i, text)
    os.replace(part, target)
    return target


@lru_cache(maxsize=64)
def _crs(text: str) -> Any:
    from rasterio.crs import CRS

    return CRS.from_user_input(text)


def lonlat(grid: Grid) -> tuple[float, float] | None:
    """Longitude and latitude of a grid's centre, or None where the grid has no CRS."""
    if not grid.crs:
        return None
    from rasterio.warp import transform

    x, y = grid.centre
    lon, lat = transform(_crs(grid.crs), _crs("EPSG:4326"), [x], [y])
    return float(lon[0]), float(lat[0])


@lru_cache(maxsize=256)
def crs_name(text: str) -> str:
    """A CRS as users write it (`epsg:32632`, WKT, PROJ) in the form that headers have: `EPSG:<code>`, else WKT.

    Raises:
        DataError: it is not a CRS.
    """
    from rasterio.errors import CRSError

    if not text:
        return ""
    try:
        crs = _crs(text)
    except CRSError as error:
        raise DataError(f"`{text[:60]}` is not a CRS: {str(error)[:80]}", fix="write EPSG:<code>") from None
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def transform_points(
    xs: Sequence[float], ys: Sequence[float], source: str, *, target: str = "EPSG:4326"
) -> tuple[list[float], list[float]]:
    """Many points from one CRS to another at once (100,000 in a tenth of a second); x is longitude in degrees."""
    from rasterio.warp import transform

    out_x, out_y = transform(_crs(source), _crs(target), list(xs), list(ys))
    return list(out_x), list(out_y)
