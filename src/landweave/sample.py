"""The one thing that flows: `Sample`s of `Image`s on the way in, a `Batch` of them on the way through.

Shape letters of the whole project: **B** batch, **T** dates, **C** bands, **H** rows, **W** columns, **K** classes,
**D** features. `*B` stands for "with or without a leading batch axis".

Missing is one idea. A masked band, a dropped sensor, a cloudy date, the padding of a short series, nodata: each is a
`*_seen` that is False. No value of `data` ever means "missing".

torch is imported where it is used, so that commands which only look at a recipe start in a fraction of a second.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from landweave.errors import ConfigError, DataError
from landweave.grid import Grid
from landweave.legends import UNKNOWN, Legend
from landweave.sensors import sensor

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Bool, Float, Int, Num
    from numpy.typing import NDArray
    from torch import Tensor

NO_DAY = -(2**31)
"""`days` of an image whose date is unknown."""

EPOCH = date(2000, 1, 1)

Grids = Grid | None | tuple[Grid | None, ...]
"""The grid of one image; in a batch one entry a place."""


def day_of(when: date | str | None) -> int:
    """Days since 2000-01-01 of a date, or of `2017-06-13` or `20170613`; `NO_DAY` for None or an empty string.

    Raises:
        ValueError: the text begins otherwise; `2017-6-13` could be several days, once hyphens are left out.
    """
    if not when:
        return NO_DAY
    if isinstance(when, str):
        found = re.match(r"(\d{4})(-?)(\d{2})\2(\d{2})(?!\d)", when.strip())
        if not found:
            raise ValueError(f"not a date: {when}")
        when = date(int(found[1]), int(found[3]), int(found[4]))
    return (when - EPOCH).days


@dataclass(frozen=True)
class Image:
    """One stream of one sensor at one pixel size, over one place (or, with a leading B, over the places of a batch).

    `data` holds the file's own numbers in the file's own dtype; `data * scale + offset` is in the sensor's unit.
    `moved_from` is the grid of an image whose pixels an augmentation has moved: no pixel lies where it says, but the
    place as a whole still does.
    """

    bands: tuple[str, ...]
    data: Num[Tensor, "*B T C H W"]
    scale: Float[Tensor, "*B T C"]
    offset: Float[Tensor, "*B T C"]
    days: Int[Tensor, "*B T"]
    dates_seen: Bool[Tensor, "*B T"]
    bands_seen: Bool[Tensor, "*B C"]
    pixels_seen: Bool[Tensor, "*B T C|1 H W"]
    grid: Grids = None
    moved_from: Grids = None

    def __post_init__(self) -> None:
        *lead, T, C, H, W = self.data.shape
        expected = {
            "scale": (*lead, T, C),
            "offset": (*lead, T, C),
            "days": (*lead, T),
            "dates_seen": (*lead, T),
            "bands_seen": (*lead, C),
            "pixels_seen": (*lead, T, self.pixels_seen.shape[-3], H, W),
        }
        if C != len(self.bands) or self.pixels_seen.shape[-3] not in (1, C):
            raise ValueError(f"{C} bands of data for {len(self.bands)} names {self.bands}")
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} is {tuple(getattr(self, name).shape)}, not {shape}")

    @classmethod
    def of(
        cls,
        stream: str,
        bands: Sequence[str],
        data: NDArray[Any],
        *,
        grid: Grid | None = None,
        days: Sequence[int] = (),
        scale: float | Sequence[float] | None = None,
        offset: float | Sequence[float] | None = None,
        pixels_seen: NDArray[np.bool_] | None = None,
        bands_seen: Sequence[bool] | None = None,
    ) -> Image:
        """Build from arrays as read: `data` is C H W or T C H W.

        `scale` and `offset` default to the sensor's; one number, or one a date. `pixels_seen` is broadcast to
        T (C or 1) H W and defaults to all seen. Values that are NaN are marked unseen and set to 0.
        """
        import numpy as np
        import torch

        row = sensor(stream)
        if data.ndim == 3:
            data = data[None]
        T, C, H, W = data.shape
        seen = np.ones((T, 1, H, W), bool) if pixels_seen is None else np.asarray(pixels_seen, bool)
        seen = seen.reshape((1,) * (4 - seen.ndim) + seen.shape)
        seen = np.broadcast_to(seen, (T, seen.shape[1], H, W))
        if np.issubdtype(data.dtype, np.floating) and not np.isfinite(data).all():
            finite = np.isfinite(data)
            seen, data = seen & finite, np.where(finite, data, 0).astype(data.dtype)

        def per_date(value: float | Sequence[float] | None, default: float) -> Tensor:
            flat = torch.as_tensor(default if value is None else value, dtype=torch.float32).reshape(-1, 1)
            return flat.expand(T, C).clone()

        return cls(
            bands=tuple(row.band(b).name for b in bands),
            data=torch.from_numpy(np.require(data, requirements=["C", "W"])),
            scale=per_date(scale, row.scale),
            offset=per_date(offset, row.offset),
            days=torch.tensor(list(days) or [NO_DAY] * T, dtype=torch.int32),
            dates_seen=torch.ones(T, dtype=torch.bool),
            bands_seen=torch.ones(C, dtype=torch.bool)
            if bands_seen is None
            else torch.tensor(list(bands_seen), dtype=torch.bool),
            pixels_seen=torch.from_numpy(np.array(seen)),
            grid=grid,
        )

    @property
    def seen(self) -> Bool[Tensor, "*B T C H W"]:
        """True where a value is real: its date, its band and its pixel are seen."""
        dates = self.dates_seen[..., :, None, None, None]
        bands = self.bands_seen[..., None, :, None, None]
        return (self.pixels_seen & dates & bands).expand(self.data.shape)

    @property
    def sensor_seen(self) -> Bool[Tensor, "*B"]:
        """False where the whole sensor is missing at a place: not one pixel of any band and date of it is seen."""
        return self.dates_with_data.any(-1)

    @property
    def dates_with_data(self) -> Bool[Tensor, "*B T"]:
        """Dates at which at least one value of a place is seen."""
        pixels = self.pixels_seen.flatten(-2).any(-1)  # *B T (C or 1)
        return (pixels & self.bands_seen[..., None, :]).any(-1) & self.dates_seen

    def physical(self) -> Float[Tensor, "*B T C H W"]:
        """float32 values in the sensor's unit; what stands at unseen places means nothing."""
        values = self.data.float() * self.scale[..., None, None]
        return values + self.offset[..., None, None]

    def with_differences(self, stream: str) -> Image:
        """The same image with the bands of its sensor that are differences of two that are there (`Band.less`)."""
        image = self
        for band in sensor(stream).bands:
            if band.less and band.name not in image.bands and set(band.less) <= set(image.bands):
                image = image._with_difference(band.name, *band.less)
        return image

    def _with_difference(self, name: str, first: str, second: str) -> Image:
        """The same image, in its unit, with one more band: `first` less `second`, seen where both are."""
        import torch

        i, j = (self.bands.index(b) for b in (first, second))
        data = self.physical()
        gap = data[..., i : i + 1, :, :] - data[..., j : j + 1, :, :]
        pixels = self.pixels_seen
        if pixels.shape[-3] > 1:
            pixels = torch.cat([pixels, pixels[..., i : i + 1, :, :] & pixels[..., j : j + 1, :, :]], -3)
        seen = torch.cat([self.bands_seen, self.bands_seen[..., i : i + 1] & self.bands_seen[..., j : j + 1]], -1)
        one = torch.ones(*self.scale.shape[:-1], len(self.bands) + 1)
        return replace(
            self,
            bands=(*self.bands, name),
            data=torch.cat([data, gap], -3),
            scale=one,
            offset=torch.zeros_like(one),
            bands_seen=seen,
            pixels_seen=pixels,
        )

    def select(self, bands: Sequence[str]) -> Image:
        """The same image with only these bands, in this order (official names).

        Raises:
            DataError: a band is not there.
        """
        lacking = [b for b in bands if b not in self.bands]
        if lacking:
            raise DataError(f"no band {', '.join(lacking)}; there are {', '.join(self.bands)}")
        if tuple(bands) == self.bands:
            return self
        at = [self.bands.index(b) for b in bands]
        pixels = self.pixels_seen if self.pixels_seen.shape[-3] == 1 else self.pixels_seen[..., at, :, :]
        return replace(
            self,
            bands=tuple(bands),
            data=self.data[..., at, :, :],
            scale=self.scale[..., at],
            offset=self.offset[..., at],
            bands_seen=self.bands_seen[..., at],
            pixels_seen=pixels,
        )

    def unseen(self) -> Image:
        """An image of the same form of which nothing is seen: how an absent sensor stands in a batch."""
        import torch

        return replace(
            self,
            data=torch.zeros_like(self.data),
            days=torch.full_like(self.days, NO_DAY),
            dates_seen=torch.zeros_like(self.dates_seen),
            bands_seen=torch.zeros_like(self.bands_seen),
            pixels_seen=torch.zeros_like(self.pixels_seen),
            grid=None,
            moved_from=None,
        )


LabelKind = Literal["class", "multilabel", "map"]


@dataclass(frozen=True)
class Label:
    """The label of one task. Values are class *indices* of `legend`, never the file's own codes.

    kind `class`: values int64 `*B`, known `*B`; kind `multilabel`: values uint8 0/1 `*B K`, known `*B K`;
    kind `map`: values uint8 `*B H W` (`UNKNOWN` where not known), known `*B H W`.
    `known` False means "nobody said", which an empty label set does not.
    """

    kind: LabelKind
    values: Int[Tensor, "*B ..."]
    known: Bool[Tensor, "*B ..."]
    legend: Legend
    grid: Grids = None

    def __post_init__(self) -> None:
        if self.values.shape != self.known.shape:
            raise ValueError(f"known is {tuple(self.known.shape)}, not {tuple(self.values.shape)}")

    @classmethod
    def of_class(cls, index: int | None, legend: Legend) -> Label:
        """One class of a place; None is unknown."""
        import torch

        known = torch.tensor(index is not None)
        return cls("class", torch.tensor(UNKNOWN if index is None else index), known, legend)

    @classmethod
    def of_classes(cls, indices: Sequence[int] | None, legend: Legend) -> Label:
        """A set of classes of a place, perhaps empty; None is unknown."""
        import torch

        values = torch.zeros(len(legend), dtype=torch.uint8)
        values[list(indices or ())] = 1
        return cls("multilabel", values, torch.full((len(legend),), indices is not None), legend)

    @classmethod
    def of_map(cls, codes: NDArray[Any], legend: Legend, *, grid: Grid | None = None, where: str = "") -> Label:
        """A label raster H W in the file's own codes.

        Raises:
            DataError: a code is NaN, or stands neither among the classes nor among the ignored of the legend.
        """
        import numpy as np
        import torch

        values = torch.from_numpy(np.ascontiguousarray(legend.encode(codes, where=where)))
        return cls("map", values, values != UNKNOWN, legend, grid)

    def unknown(self) -> Label:
        """The same label with nothing known: how a place outside the labelled fraction stands in a batch."""
        import torch

        values = torch.zeros_like(self.values) if self.kind == "multilabel" else torch.full_like(self.values, UNKNOWN)
        return replace(self, values=values, known=torch.zeros_like(self.known))


@dataclass(frozen=True)
class Sample:
    """One place: images by stream, labels by task. `group` is what must stay on one side of a split."""

    images: dict[str, Image]
    labels: dict[str, Label]
    name: str
    group: str = ""


Self = TypeVar("Self", bound="Batch")


@dataclass(frozen=True)
class Batch:
    """Places side by side: every tensor has a leading B, every configured stream is there, unseen where absent."""

    images: dict[str, Image]
    labels: dict[str, Label]
    names: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `change` applied to every tensor: moving to a device, pinning, slicing."""
        return replace(
            self,
            images={k: _apply(v, change) for k, v in self.images.items()},
            labels={k: _apply(v, change) for k, v in self.labels.items()},
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        return self.map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (the name that torch's DataLoader looks for)."""
        return self.map(lambda t: t.pin_memory())


Part = TypeVar("Part", Image, Label)


def _tensors(part: Image | Label) -> list[str]:
    import torch

    return [f.name for f in dataclasses.fields(part) if isinstance(getattr(part, f.name), torch.Tensor)]


def _apply(part: Part, change: Callable[[Tensor], Tensor]) -> Part:
    changed: dict[str, Any] = {n: change(getattr(part, n)) for n in _tensors(part)}
    return replace(part, **changed)


def _pad(image: Image, T: int, H: int, W: int) -> Image:
    """Grow with unseen dates at the end, and unseen pixels below and to the right."""
    import torch.nn.functional as F

    t, h, w = T - image.data.shape[0], H - image.data.shape[2], W - image.data.shape[3]
    if not (t or h or w):
        return image
    room = (0, w, 0, h, 0, 0, 0, t)
    return replace(
        image,
        data=F.pad(image.data, room),
        scale=F.pad(image.scale, (0, 0, 0, t), value=1.0),
        offset=F.pad(image.offset, (0, 0, 0, t)),
        days=F.pad(image.days, (0, t), value=NO_DAY),
        dates_seen=F.pad(image.dates_seen, (0, t)),
        pixels_seen=F.pad(image.pixels_seen, room),
    )


def _together(parts: Sequence[Any]) -> Any:
    import torch

    first = parts[0]
    stacked = {n: torch.stack([getattr(p, n) for p in parts]) for n in _tensors(first)}
    return replace(first, **stacked, grid=tuple(p.grid for p in parts))


def collate(samples: Sequence[Sample], like: Mapping[str, Image] | None = None, *, pad: bool = False) -> Batch:
    """Put samples side by side.

    Args:
        samples: at least one. Streams that a sample lacks are filled in unseen, in the form that another sample,
            or `like`, shows.
        like: one example image a configured stream, so that every process has the same streams in every batch.
        pad: allow unequal H and W, and grow all to the largest with unseen pixels. Unequal T is always padded.

    Raises:
        DataError: unequal H, W or bands (naming the two places), or a task that only some samples have.
    """
    like = dict(like or {})
    for s in samples:
        for stream, image in s.images.items():
            like.setdefault(stream, image)
    images = {stream: _together(_fitted(stream, samples, example, pad)) for stream, example in like.items()}
    tasks = {t for s in samples for t in s.labels}
    for s in samples:
        if lacking := sorted(tasks - set(s.labels)):
            raise DataError(f"no label for task {', '.join(lacking)}", where=s.name)
    labels = {t: _together(_same_size([s.labels[t] for s in samples], pad)) for t in samples[0].labels}
    return Batch(images, labels, tuple(s.name for s in samples), tuple(s.group for s in samples))


def _fitted(stream: str, samples: Sequence[Sample], example: Image, pad: bool) -> list[Image]:
    """One stream of all samples in one form: same dates, size, dtype and mask shape."""
    present = [s for s in samples if stream in s.images]
    for s in present:
        if s.images[stream].bands != example.bands:
            raise DataError(
                f"bands of {stream} differ between places: {s.images[stream].bands} and {example.bands}",
                where=s.name,
            )
    shapes = {s.name: tuple(s.images[stream].data.shape) for s in present} or {"": tuple(example.data.shape)}
    sizes = {shape[2:] for shape in shapes.values()}
    if len(sizes) > 1 and not pad:
        a, b = sorted(sizes)[:2]
        raise DataError(
            f"{stream} is {b[0]} x {b[1]} pixels here and {a[0]} x {a[1]} at other places of the batch",
            where=next(name for name, shape in shapes.items() if shape[2:] == b),
            fix="cut places of one size (landweave tile --size), or collate with pad=True",
        )
    T, H, W = (max(shape[i] for shape in shapes.values()) for i in (0, 2, 3))
    fitted = [_pad(s.images.get(stream) or _cut(example.unseen(), H, W), T, H, W) for s in samples]
    if any(im.pixels_seen.shape[1] > 1 for im in fitted):
        fitted = [replace(im, pixels_seen=im.pixels_seen.expand(im.data.shape)) for im in fitted]
    dtypes = {s.images[stream].data.dtype for s in present} or {example.data.dtype}
    dtype = dtypes.pop() if len(dtypes) == 1 else _widest(dtypes)
    return [im if im.data.dtype == dtype else replace(im, data=im.data.to(dtype)) for im in fitted]


def _widest(dtypes: set[torch.dtype]) -> torch.dtype:
    """A dtype that holds every number of the given ones (files of one sensor may be int16 here and uint16 there)."""
    import torch

    return torch.float64 if torch.float64 in dtypes else torch.float32


def _cut(image: Image, H: int, W: int) -> Image:
    """Cut an unseen example that is larger than the places of this batch."""
    if image.data.shape[2] <= H and image.data.shape[3] <= W:
        return image
    return replace(image, data=image.data[..., :H, :W], pixels_seen=image.pixels_seen[..., :H, :W])


def _same_size(labels: list[Label], pad: bool) -> list[Label]:
    import torch.nn.functional as F

    if labels[0].kind != "map":
        return labels
    sizes = [tuple(label.values.shape) for label in labels]
    if len(set(sizes)) == 1:
        return labels
    if not pad:
        raise DataError(f"label maps differ in size within a batch: {sorted(set(sizes))[:2]}")
    H, W = max(s[0] for s in sizes), max(s[1] for s in sizes)
    out = []
    for label in labels:
        room = (0, W - label.values.shape[1], 0, H - label.values.shape[0])
        values = F.pad(label.values, room, value=UNKNOWN)
        out.append(replace(label, values=values, known=F.pad(label.known, room)))
    return out


def require_streams(found: Sequence[str], wanted: Sequence[str], *, where: str) -> None:
    """Refuse an experiment that asks for a sensor that the data do not have.

    Raises:
        ConfigError: naming the sensor and those that exist.
    """
    have = sorted({s.partition("@")[0] for s in found})
    for name in wanted:
        if name.partition(":")[0].partition("@")[0] not in have:
            raise ConfigError(
                f"no sensor `{name}` in this data; it has {', '.join(have)}",
                where=where,
                fix="set data.streams",
            )
