"""Moving the pixels of a batch: flips and quarter turns as exact copies, crops with them as one affine resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from landweave.errors import ConfigError
from landweave.grid import Grid
from landweave.legends import UNKNOWN
from landweave.sample import Batch, Image, Label
from landweave.sensors import sensor
from landweave.transforms.augment import Augment, Draw, draw
from landweave.transforms.resampling import blanked, decibel, physical, power

if TYPE_CHECKING:
    from jaxtyping import Float

Draws = list[Draw]


def moved(batch: Batch, settings: Augment, key: Sequence[int]) -> Batch:
    """The batch with every place flipped, turned and cut as `draw` says. See `augment`."""
    maps = sorted(task for task, label in batch.labels.items() if label.kind == "map")
    if maps and not settings.co_registered:
        raise ConfigError(
            f"a geometry for each sensor would tear images and the label map `{maps[0]}` apart",
            where="augment.co_registered",
            fix="set co_registered to true, or learn from labels that are not maps",
        )
    square = _all_square(batch)
    by_sensor: dict[str, Draws] = {}

    def draws(stream: str = "") -> Draws:
        name = "" if settings.co_registered else stream.partition("@")[0]
        if name not in by_sensor:
            found = [draw(settings, key, place, name) for place in batch.names]
            by_sensor[name] = found if square else [_unturned(d) for d in found]
        return by_sensor[name]

    cut = settings.crop is not None
    reach = _reach(batch) if cut else {}
    images = {
        s: (_cut_image(s, im, draws(s), reach.get(s, 1.0)) if cut else _copied(im, draws(s)))
        for s, im in batch.images.items()
    }
    labels = {t: _moved_label(la, draws(), cut) if la.kind == "map" else la for t, la in batch.labels.items()}
    return replace(batch, images=images, labels=labels)


def _unturned(draw: Draw) -> Draw:
    """Without a quarter turn, which only a square has: no turn in place of one, a half turn in place of the other."""
    return replace(draw, transpose=False, flip_cols=draw.flip_cols ^ draw.transpose)


def _reach(batch: Batch) -> dict[str, float]:
    """How far each stream reaches, in sides of the smallest ground of a place: above 1 with `data.context`.

    It is one for all places, and shows at those that have the stream and a smaller one beside it. Without georeference
    it is not known, and not told: all images of a place are of one ground then.
    """
    found = {}
    labels = [_grids(label) for label in batch.labels.values()]
    images = {stream: _grids(image) for stream, image in batch.images.items()}
    for stream, grids in images.items():
        sides = [1.0]
        for at, own in enumerate(grids):
            if own:
                others = [g for part in (*images.values(), *labels) if part and (g := part[at]) and g.crs == own.crs]
                sides.append(_side(own) / min(map(_side, others)))
        if max(sides) > 1.05:
            found[stream] = max(sides)
    return found


def _grids(part: Image | Label) -> tuple[Grid | None, ...]:
    """By place; nothing where no place has any."""
    return part.grid if isinstance(part.grid, tuple) else ()


def _side(grid: Grid) -> float:
    return grid.pixel[1] * grid.shape[0]


def _all_square(batch: Batch) -> bool:
    shapes = [im.data.shape for im in batch.images.values()]
    shapes += [la.values.shape for la in batch.labels.values() if la.kind == "map"]
    return all(s[-1] == s[-2] for s in shapes)


def _moved_label(label: Label, draws: Draws, cut: bool) -> Label:
    grids = (None,) * len(draws)
    if not cut:
        return replace(label, values=_turn(label.values, draws), known=_turn(label.known, draws), grid=grids)
    theta = _affine(draws, label.values.device)
    values, known = (_sample(t[:, None].float(), theta, "nearest")[:, 0] for t in (label.values, label.known))
    inside = known > 0.5
    return replace(label, values=values.to(label.values.dtype).masked_fill(~inside, UNKNOWN), known=inside, grid=grids)


def _copied(image: Image, draws: Draws) -> Image:
    image = physical(image)
    pixels = _turn(image.pixels_seen, draws)
    return _ungridded(replace(image, data=_turn(image.data, draws), pixels_seen=pixels))


def _ungridded(image: Image) -> Image:
    """Without a grid, which its pixels no longer have, but with the memory of it."""
    if not isinstance(image.grid, tuple):
        return image
    before = image.moved_from if isinstance(image.moved_from, tuple) else (None,) * len(image.grid)
    known = tuple(new or old for new, old in zip(image.grid, before, strict=True))
    return replace(image, grid=(None,) * len(image.grid), moved_from=known)


def _turn(values: Tensor, draws: Draws) -> Tensor:
    """Transposed, then flipped; any dtype, `B ... H W`. Places of one symmetry (of 8) are moved together."""
    groups: dict[tuple[bool, bool, bool], list[int]] = {}
    for i, d in enumerate(draws):
        groups.setdefault((d.transpose, d.flip_rows, d.flip_cols), []).append(i)
    out = torch.empty_like(values)
    for (transpose, rows, cols), places in groups.items():
        part = values[places]
        part = part.transpose(-1, -2) if transpose else part
        axes = [axis for axis, flip in ((-2, rows), (-1, cols)) if flip]
        out[places] = part.flip(axes) if axes else part
    return out


def _cut_image(stream: str, image: Image, draws: Draws, reach: float) -> Image:
    """Cut and enlarged; of an image that reaches beyond the place, the same window with as much around it."""
    image = physical(image)
    theta = _affine(draws, image.data.device, reach)
    B, _, _, H, W = image.data.shape
    seen = image.pixels_seen
    decibels = sensor(stream).unit == "dB"
    values = power(image.data) if decibels else image.data
    if bool(seen.all()) and max(d.side for d in draws) <= 1:
        inside = seen
        data = _sample(values.reshape(B, -1, H, W), theta, "bilinear").reshape(values.shape)
    else:
        inside = _sample(seen.reshape(B, -1, H, W).float(), theta, "nearest").reshape(seen.shape) > 0.5
        data = _mean_of_seen(values, seen, theta)
    data = decibel(data) if decibels else data
    there = _ungridded(replace(image, data=data, pixels_seen=inside))
    return replace(there, data=blanked(there, data))


def _mean_of_seen(values: Tensor, seen: Tensor, theta: Tensor) -> Tensor:
    """Bilinear over seen pixels only, so that what stands at unseen ones never leaks."""
    B, _, _, H, W = values.shape
    weight, total = (
        _sample(t.reshape(B, -1, H, W), theta, "bilinear", border="zeros").reshape(t.shape)
        for t in (seen.float(), torch.where(seen, values, 0))
    )
    return torch.where(weight > 0, total / weight.clamp(min=1e-12), 0)


def _affine(draws: Draws, device: torch.device, reach: float = 1.0) -> Float[Tensor, "B 2 3"]:
    """Where each pixel of the view comes from, in coordinates from -1 to 1 (x, then y) of an image.

    `reach` is the image's side in sides of the place, from which the middle of the window is counted.
    """
    rows = []
    for d in draws:
        fx, fy = (-d.side if d.flip_cols else d.side), (-d.side if d.flip_rows else d.side)
        x, y = ((2 * v - 1) * (1 - d.side) / reach for v in (d.col, d.row))
        # a pixel of the view is un-flipped first and un-transposed after, the other way round than `_turn` went
        rows.append([[0.0, fy, x], [fx, 0.0, y]] if d.transpose else [[fx, 0.0, x], [0.0, fy, y]])
    return torch.tensor(rows, dtype=torch.float32, device=device)


def _sample(values: Float[Tensor, "B N H W"], theta: Tensor, mode: str, *, border: str = "") -> Tensor:
    grid = F.affine_grid(theta, list(values.shape), align_corners=False)
    # at the edge of a crop that touches the border, bilinear needs the border's own value, not a 0 from outside
    padding = border or ("border" if mode == "bilinear" else "zeros")
    return F.grid_sample(values, grid, mode=mode, padding_mode=padding, align_corners=False)
