"""From images as they lie on disk, at several pixel sizes and in raw numbers, to what a model was promised."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from landweave.contract import Contract, StreamContract
from landweave.errors import ContractError, DataError, listed
from landweave.sample import NO_DAY, Batch, Grids, Image
from landweave.sensors import sensor
from landweave.transforms.resampling import Method, decibel, power, resample, scaled


def cubes(batch: Batch, contract: Contract, *, method: Method = "bilinear") -> Batch:
    """One cube a sensor of the contract, keyed by the sensor's name: its bands in its order and unit, in float32.

    Bands are found by name among the streams of the sensor (`s2-l2a@10`, `@20`, `@60`), and brought to the raster of
    the finest of them with `resample`. dB and linear power are converted where only the unit differs. A band that no
    stream has is there, unseen; so is a sensor that the batch does not have. Sensors keep rasters of their own
    (`to_common` brings them to one); one that is seen nowhere in the batch has that which it would have beside those
    that are, so that no place depends on its neighbours. Unseen values are 0. Labels, names and groups stay.

    Args:
        batch: as `collate` gives it, or cubes already (which come out equal).
        contract: what the model reads.
        method: how coarser bands are brought to the finest raster.

    Raises:
        ContractError: the batch has a sensor that the contract cannot read.
        DataError: two streams of one sensor have different dates.
    """
    mine: dict[str, list[str]] = {name: [] for name in contract.streams}
    for stream in batch.images:
        owner = _owner(stream, contract)
        mine[owner].append(stream)
    images = {
        name: _cube(batch, {s: batch.images[s] for s in _one_unit(streams)}, contract.streams[name], method)
        for name, streams in mine.items()
    }
    return replace(batch, images=_beside_the_seen(images, contract))


def _beside_the_seen(images: dict[str, Image], contract: Contract) -> dict[str, Image]:
    """The images, those of which nothing is seen in a size that goes with the others, as in the contract."""
    if len({im.data.shape[-2:] for im in images.values()} | {row.size for row in contract.streams.values()}) == 1:
        return images  # without a look at the pixels
    seen = [name for name, im in images.items() if bool(im.sensor_seen.any())]
    if not seen:
        return images
    like = max(seen, key=lambda name: images[name].data.shape[-2:].numel())  # the least is lost by rounding
    return {
        n: im if n in seen else _resized(im, _size_beside(images[like], like, n, contract)) for n, im in images.items()
    }


def _size_beside(image: Image, like: str, name: str, contract: Contract) -> tuple[int, int]:
    """Height and width of a sensor on the ground of another's image."""
    mine, theirs = contract.streams[name].size, contract.streams[like].size
    h, w = (max(1, round(n * a / b)) for n, a, b in zip(image.data.shape[-2:], mine, theirs, strict=True))
    return h, w


def _resized(image: Image, size: tuple[int, int]) -> Image:
    """An image of which nothing is seen, in another size."""
    if tuple(image.data.shape[-2:]) == size:
        return image
    data = image.data.new_zeros(*image.data.shape[:-2], *size)
    return replace(image, data=data, pixels_seen=image.pixels_seen.new_zeros(*image.pixels_seen.shape[:-2], *size))


def _owner(stream: str, contract: Contract) -> str:
    """The contract's sensor that reads a stream: the same one, else one that differs in the unit only."""
    name = sensor(stream).name
    if name in contract.streams:
        return name
    for owner, row in contract.streams.items():
        if row.accepts(stream):
            return owner
    raise ContractError(
        f"the model was trained on {listed(list(contract.streams))}, not on {name}",
        where=stream,
        fix=f"give an image of {listed(list(contract.streams))}; choose streams with data.streams=[...]",
    )


def _one_unit(streams: list[str]) -> list[str]:
    """Streams to read; two units of one sensor would be the same measurement twice."""
    if len({sensor(s).unit for s in streams}) > 1:
        raise ContractError(
            f"{listed(streams)} are one sensor in two units",
            where=streams[0],
            fix="choose one of them with data.streams=[...]",
        )
    return streams


def _cube(batch: Batch, images: dict[str, Image], row: StreamContract, method: Method) -> Image:
    sources: dict[str, list[str]] = {}  # stream -> the bands taken from it; a band is taken where it is finest
    for band in row.bands:
        having = [s for s, im in images.items() if band in im.bands]
        if having:
            finest = max(having, key=lambda s: images[s].data.shape[-1])
            sources.setdefault(finest, []).append(band)
    if not sources:
        return _absent(batch, images, row)
    size = _size([images[s] for s in sources])
    parts = {s: _part(s, images[s].select(bands), size, row, method) for s, bands in sources.items()}
    T = max(p.data.shape[1] for p in parts.values())
    parts = {s: _longer(p, T) for s, p in parts.items()}
    _same_dates(parts)
    return _join(list(parts.values()), row, len(batch))


def _size(images: list[Image]) -> tuple[int, int]:
    H, W = max((im.data.shape[-2:] for im in images), key=lambda hw: hw[0] * hw[1])
    return H, W


def _part(stream: str, image: Image, size: tuple[int, int], row: StreamContract, method: Method) -> Image:
    """Some bands of a cube, on its raster and in its unit."""
    unit = sensor(stream).unit
    image = resample(image, size, unit=unit, method=method)
    if unit == row.unit:
        return image
    data = power(image.data) if unit == "dB" else decibel(image.data)
    return replace(image, data=torch.where(image.seen, data, 0))


def _longer(image: Image, T: int) -> Image:
    """Unseen dates at the end: a pixel size that some places lack may have a shorter series than the others."""
    t = T - image.data.shape[1]
    if not t:
        return image
    return replace(
        image,
        data=F.pad(image.data, (0, 0) * 3 + (0, t)),
        scale=F.pad(image.scale, (0, 0, 0, t), value=1.0),
        offset=F.pad(image.offset, (0, 0, 0, t)),
        days=F.pad(image.days, (0, t), value=NO_DAY),
        dates_seen=F.pad(image.dates_seen, (0, t)),
        pixels_seen=F.pad(image.pixels_seen, (0, 0) * 3 + (0, t)),
    )


def _same_dates(parts: dict[str, Image]) -> None:
    (first, a), *others = parts.items()
    for other, b in others:
        known = (a.days != NO_DAY) & (b.days != NO_DAY)
        if bool((known & (a.days != b.days)).any()):
            raise DataError(
                f"{first} and {other} have different dates", where=other, fix="give every date at all pixel sizes"
            )


def _join(parts: list[Image], row: StreamContract, B: int) -> Image:
    """Bands of several parts side by side, in the contract's order; bands of no part are unseen."""
    have = [b for p in parts for b in p.bands]
    if len(parts) == 1 and tuple(have) == row.bands:
        return parts[0]
    like = parts[0]
    lacking = [b for b in row.bands if b not in have]
    if lacking:
        parts = [*parts, _blank(like, lacking)]
    at = [(have + lacking).index(b) for b in row.bands]
    _, T, _, H, W = like.data.shape
    C = len(at)
    dates = torch.stack([p.dates_seen for p in parts])
    pixels = [
        (p.pixels_seen & p.dates_seen[..., None, None, None]).expand(p.data.shape) for p in parts
    ]  # a date that one pixel size lacks is unseen in its bands only

    def cat(tensors: list[Tensor], axis: int) -> Tensor:
        return torch.cat(tensors, axis).index_select(axis, torch.tensor(at, device=like.data.device))

    return Image(
        bands=row.bands,
        data=cat([p.data for p in parts], 2),
        scale=torch.ones(B, T, C, device=like.data.device),
        offset=torch.zeros(B, T, C, device=like.data.device),
        days=torch.stack([p.days for p in parts]).amax(0),
        dates_seen=dates.any(0),
        bands_seen=cat([p.bands_seen for p in parts], 1),
        pixels_seen=cat(pixels, 2),
        grid=_grid([p.grid for p in parts], (H, W)),
        moved_from=_grid([p.moved_from for p in parts], (H, W)),
    )


def _grid(grids: list[Grids], size: tuple[int, int]) -> Grids:
    """Of each place the first grid that is known (a stream that a place lacks has none)."""
    rows = [g for g in grids if isinstance(g, tuple)]
    if not rows:
        return None
    return scaled(tuple(next((g for g in place if g), None) for place in zip(*rows, strict=True)), size)


def _blank(like: Image, bands: list[str]) -> Image:
    """Unseen bands beside those of an image."""
    B, T, _, H, W = like.data.shape
    new = like.data.new_zeros
    return replace(
        like,
        bands=tuple(bands),
        data=new(B, T, len(bands), H, W),
        scale=new(B, T, len(bands)) + 1,
        offset=new(B, T, len(bands)),
        bands_seen=torch.zeros_like(like.bands_seen[:, :1]).expand(B, len(bands)),
        dates_seen=torch.zeros_like(like.dates_seen),
        pixels_seen=torch.zeros_like(like.pixels_seen[:, :, :1]),
    )


def _absent(batch: Batch, images: dict[str, Image], row: StreamContract) -> Image:
    """A sensor of which the batch has no band at all."""
    B, C = len(batch), len(row.bands)
    T = max((im.data.shape[1] for im in images.values()), default=1)
    H, W = row.size
    tensors = [t for im in batch.images.values() for t in (im.data,)] + [la.values for la in batch.labels.values()]
    device = tensors[0].device if tensors else torch.device("cpu")
    return Image(
        bands=row.bands,
        data=torch.zeros(B, T, C, H, W, device=device),
        scale=torch.ones(B, T, C, device=device),
        offset=torch.zeros(B, T, C, device=device),
        days=torch.full((B, T), NO_DAY, dtype=torch.int32, device=device),
        dates_seen=torch.zeros(B, T, dtype=torch.bool, device=device),
        bands_seen=torch.zeros(B, C, dtype=torch.bool, device=device),
        pixels_seen=torch.zeros(B, T, 1, H, W, dtype=torch.bool, device=device),
    )
