"""A grid: where the pixels of a raster lie on the ground. A value with algebra; no raster library is needed for it."""

from __future__ import annotations

from dataclasses import dataclass

from landweave.errors import GridError

Affine = tuple[float, float, float, float, float, float]
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: first row and column (may be negative), and its height and width."""

    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True)
class Grid:
    """A coordinate reference system, an affine transform and a shape.

    `crs` is `EPSG:<code>` or WKT, or an empty string for an image without one. `transform` is `(a, b, c, d, e, f)`
    with `x = a * col + b * row + c` and `y = d * col + e * row + f`, in CRS units, at pixel corners.
    `shape` is `(H, W)`.
    """

    crs: str
    transform: Affine
    shape: tuple[int, int]

    @property
    def pixel(self) -> tuple[float, float]:
        """Pixel width and height in CRS units, both positive."""
        a, b, _, d, e, _ = self.transform
        return (a * a + d * d) ** 0.5, (b * b + e * e) ** 0.5

    @property
    def north_up(self) -> bool:
        """Whether rows run south and columns run east, without rotation."""
        a, b, _, d, e, _ = self.transform
        return b == 0 and d == 0 and a > 0 and e < 0

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top in CRS units."""
        height, width = self.shape
        corners = [self.xy(r, c) for r in (0, height) for c in (0, width)]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def centre(self) -> tuple[float, float]:
        """x and y of the middle, in CRS units."""
        return self.xy(self.shape[0] / 2, self.shape[1] / 2)

    def xy(self, row: float, col: float) -> tuple[float, float]:
        """CRS coordinates of a pixel corner (whole numbers) or of any point between."""
        a, b, c, d, e, f = self.transform
        return a * col + b * row + c, d * col + e * row + f

    def rowcol(self, x: float, y: float) -> tuple[float, float]:
        """Fractional row and column of a point in CRS coordinates."""
        a, b, c, d, e, f = self.transform
        det = a * e - b * d
        dx, dy = x - c, y - f
        return (a * dy - d * dx) / det, (e * dx - b * dy) / det

    def crop(self, window: Window) -> Grid:
        """The grid of a window, which may reach beyond this grid."""
        a, b, _, d, e, _ = self.transform
        x, y = self.xy(window.row, window.col)
        return Grid(self.crs, (a, b, x, d, e, y), (window.height, window.width))

    def window(self, bounds: Bounds, *, tolerance: float = 0.01) -> Window:
        """The window that bounds (in CRS units) cover, rounded to whole pixels.

        Raises:
            GridError: a corner lies more than `tolerance` pixels off the pixel lattice.
        """
        left, bottom, right, top = bounds
        r0, c0 = self.rowcol(left, top)
        r1, c1 = self.rowcol(right, bottom)
        off = max(abs(v - round(v)) for v in (r0, c0, r1, c1))
        if off > tolerance:
            raise GridError(f"bounds {bounds} cut pixels: {off:.3f} of a pixel off the lattice")
        return Window(round(r0), round(c0), round(r1) - round(r0), round(c1) - round(c0))

    def scaled(self, rows: int, cols: int) -> Grid:
        """The same ground with another number of pixels."""
        a, b, c, d, e, f = self.transform
        sy, sx = self.shape[0] / rows, self.shape[1] / cols
        return Grid(self.crs, (a * sx, b * sy, c, d * sx, e * sy, f), (rows, cols))

    def same_ground(self, other: Grid, *, tolerance: float = 0.05) -> bool:
        """Whether both cover the same ground in the same CRS; `tolerance` in pixels of the finer one."""
        unit = min(*self.pixel, *other.pixel) * tolerance
        near = all(abs(p - q) <= unit for p, q in zip(self.bounds, other.bounds, strict=True))
        return self.crs == other.crs and near

    def aligned(self, other: Grid, *, tolerance: float = 0.05) -> bool:
        """Whether both have the same shape and the same ground: pixel for pixel comparable."""
        return self.shape == other.shape and self.same_ground(other, tolerance=tolerance)
