"""Batches for training and evaluation: drawn from (seed, epoch) alone, built where they are read.

A worker process builds the whole batch and sends it as one flat buffer: on a fast store the copies between processes
cost more than the reading. An error of a worker arrives as it was raised, with its file and its fix.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from landweave.data.dataset import Chosen, Dataset
from landweave.errors import ConfigError, DataError, LandweaveError
from landweave.sample import Batch, Image, Label, collate

if TYPE_CHECKING:
    import torch

Positions = NDArray[np.int64]

_ALIGN = 16
_warned: set[str] = set()


def batches(
    dataset: Dataset,
    indices: Sequence[int],
    *,
    batch_size: int,
    like: Mapping[str, Image],
    shuffle_key: tuple[int, int] | None = None,
    drop_last: bool = False,
    workers: int = 0,
    pin: bool = False,
    group_cap: int | None = None,
    rank: int = 0,
    world: int = 1,
    pad: bool = False,
    start: Literal["fork", "spawn"] | None = None,
) -> Loader:
    """One pass over places, as batches.

    Every rank gets the same number of batches. For training (`shuffle_key`) the order is wrapped round at its end
    until each rank has as many places. For evaluation each place stands on one rank, in one batch: the order is
    cut into `world` runs, and each run into as many batches, as equal as can be (so a batch may be one smaller than
    another, and with batches of one, where the places do not divide, one larger).

    Args:
        dataset: what to read.
        indices: positions in it.
        batch_size: places a batch and rank.
        like: one example image a stream (`templates`), so that every batch has every stream.
        shuffle_key: (seed, epoch), from which alone the order is drawn; None keeps the order of `indices`.
        drop_last: leave out the last batch of a pass if it is smaller than the others.
        workers: processes that read ahead; 0 reads in this one.
        pin: page-locked memory, where there is a GPU.
        group_cap: at most so many places of one group in a batch (of one rank), for contrastive learning, where
            neighbours are false negatives; a warning says, once, where it cannot be held. Places without a group
            are not counted.
        rank: of this process.
        world: how many processes share the places.
        pad: allow places of unequal size in a batch (see `collate`).
        start: how workers are started; the platform's way by default.

    Raises:
        ConfigError: fewer places than processes, or than one batch with `drop_last`.
        DataError: (while iterating) a place cannot be read, or does not fit beside the others.
    """
    if batch_size < 1 or not 0 <= rank < world:
        raise ConfigError(f"batches of {batch_size} for rank {rank} of {world}", where="train.batch_size")
    if len(indices) < world and (len(indices) or shuffle_key):
        fix = "use fewer devices" if len(indices) else None
        raise ConfigError(f"{len(indices)} places for {world} processes", where=dataset.where, fix=fix)
    at = np.asarray(indices, np.int64)
    if shuffle_key is None:
        plan = _in_order(at, batch_size, rank, world)
    else:
        groups = [dataset.places[i].group for i in indices] if group_cap else []
        plan = _drawn(at, groups, batch_size, shuffle_key, drop_last, group_cap, world, dataset.where)[rank::world]
    return Loader(_Reader(dataset, plan, dict(like), pad), workers, pin, start)


def templates(dataset: Dataset, indices: Sequence[int]) -> dict[str, Image]:
    """One example image of each stream, for `batches(like=...)`: reads places until each was met.

    A stream none of whose bands was chosen is not looked for, as long as another of its sensor has some.

    Raises:
        DataError: none of the places has a stream.
    """
    found: dict[str, Image] = {}
    empty: set[str] = set()
    for i in indices:
        images = dataset.read(i).images
        found |= {k: im for k, im in images.items() if k not in found}
        if isinstance(dataset, Chosen) and set(dataset.streams) - found.keys():
            empty |= dataset.base.read(i).images.keys() - images.keys()
        sensors = {s.partition("@")[0] for s in found}
        if all(s in found or (s in empty and s.partition("@")[0] in sensors) for s in dataset.streams):
            return {s: found[s] for s in dataset.streams if s in found}
    lacking = [s for s in dataset.streams if s not in found]
    there = dict.fromkeys(s.partition("@")[0] for s in found)
    raise DataError(
        f"none of the {len(indices)} places has {', '.join(lacking)}",
        where=dataset.where,
        fix=f"choose other sensors: data.streams=[{','.join(there)}]"
        if there
        else "choose other bands in data.streams",
    )


@dataclass(frozen=True)
class Loader:
    """Batches, each time anew in the same order. No torch DataLoader, so that no framework swaps its sampler."""

    reader: _Reader
    workers: int = 0
    pin: bool = False
    start: str | None = None

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def places(self) -> list[tuple[int, ...]]:
        """Positions in the dataset, batch by batch."""
        return [tuple(p.tolist()) for p in self.reader.plan]

    def __iter__(self) -> Iterator[Batch]:
        import torch
        from torch.utils.data import DataLoader

        pin = self.pin and torch.cuda.is_available()
        if not self.workers:
            for step in range(len(self)):
                batch = self.reader.batch(step)
                yield batch.pin_memory() if pin else batch
            return
        loader: DataLoader[Any] = DataLoader(
            self.reader,  # type: ignore[arg-type]  # any object with __getitem__ and __len__ will do
            batch_size=None,
            num_workers=min(self.workers, len(self)),
            collate_fn=_as_it_is,
            multiprocessing_context=self.start,
        )
        pass_ = iter(loader)
        try:
            for sent in pass_:
                if isinstance(sent, LandweaveError):
                    raise sent
                yield sent.unpack(pin=pin)
        finally:
            # an error or a break ends the workers now: else they live as long as the traceback, and are forked along
            pass_._shutdown_workers()  # type: ignore[attr-defined]


# ---- the order


def _in_order(at: Positions, batch_size: int, rank: int, world: int) -> list[Positions]:
    """Each place on one rank; as many batches on each."""
    runs = np.array_split(at, world)
    count = min(math.ceil(len(runs[0]) / batch_size), len(runs[-1]))
    return [np.asarray(part) for part in np.array_split(runs[rank], count)] if len(at) else []


def _drawn(
    at: Positions,
    groups: Sequence[str],
    batch_size: int,
    key: tuple[int, int],
    drop_last: bool,
    cap: int | None,
    world: int,
    where: str,
) -> list[Positions]:
    """The batches of all ranks, step by step: step 0 of rank 0, of rank 1, ..., step 1 of rank 0, ..."""
    random = np.random.default_rng([key[0] % 2**32, key[1]])
    order = random.permutation(len(at))
    each = math.ceil(len(at) / world)
    order = np.concatenate([order, order])[: each * world]
    sizes = [batch_size] * (each // batch_size)
    if each % batch_size and not drop_last:
        sizes.append(each % batch_size)
    if not sizes:
        raise ConfigError(
            f"{each} places a process do not fill a batch of {batch_size}",
            where="train.batch_size",
            fix=f"set train.batch_size={each} or less",
        )
    sizes = [size for size in sizes for _ in range(world)]
    order = order[: sum(sizes)]
    if cap:
        return [at[part] for part in _spread([groups[i] for i in order], order, sizes, cap, random, where)]
    return [at[part] for part in np.split(order, np.cumsum(sizes)[:-1])]


def _spread(
    groups: Sequence[str], order: Positions, sizes: Sequence[int], cap: int, random: np.random.Generator, where: str
) -> list[Positions]:
    """Deal places into batches so that none has more than `cap` of a group, as far as that is possible.

    Groups larger than `cap`, the largest first, are dealt to the batches with most room, one place a batch and
    round; this way round a solution is found where there is one (Gale and Ryser 1957, for one round). All other
    places, which cannot offend, fill the room that is left.
    """
    members: dict[str, list[int]] = {}
    for place, group in zip(order.tolist(), groups, strict=True):
        members.setdefault(group, []).append(place)
    large = sorted((g for g in members if g and len(members[g]) > cap), key=lambda g: -len(members[g]))
    room = np.array(sizes)
    dealt: list[list[int]] = [[] for _ in sizes]
    excess: dict[str, list[int]] = {}
    for group in large:
        left = members[group]
        for _ in range(cap):
            to = np.lexsort((random.random(len(room)), -room))[: len(left)]
            for b in to[room[to] > 0].tolist():
                dealt[b].append(left.pop())
                room[b] -= 1
        if left:
            excess[group] = left
    if excess:
        _warn(where, cap, excess, len(sizes))
    others = [place for group in members.keys() - set(large) for place in members[group]]
    rest = iter(random.permutation(sorted(others + [p for left in excess.values() for p in left])).tolist())
    for b, batch in enumerate(dealt):
        batch += [next(rest) for _ in range(int(room[b]))]
    return [random.permutation(np.array(batch, np.int64)) for batch in dealt]


def _warn(where: str, cap: int, excess: Mapping[str, Sequence[int]], count: int) -> None:
    if where in _warned:
        return
    _warned.add(where)
    group, left = max(excess.items(), key=lambda item: len(item[1]))
    warnings.warn(
        f"{where}: no more than {cap} places of a group in a batch cannot be held in {count} batches: "
        f"group `{group}` has {len(left)} too many (and {len(excess) - 1} other groups); "
        "take smaller batches, or raise train.places_per_group",
        stacklevel=4,
    )


# ---- the batch


@dataclass(frozen=True)
class _Reader:
    """Reads and collates a batch; `reader[step]` is what a worker sends."""

    dataset: Dataset
    plan: Sequence[Positions]
    like: Mapping[str, Image]
    pad: bool

    def __len__(self) -> int:
        return len(self.plan)

    def batch(self, step: int) -> Batch:
        samples = [self.dataset.read(int(i)) for i in self.plan[step]]
        return collate(samples, self.like, pad=self.pad)

    def __getitem__(self, step: int) -> _Flat | LandweaveError:
        """The batch, or what went wrong: torch would wrap a raised error in 30 lines and lose its file and fix."""
        try:
            return _Flat.pack(self.batch(step))
        except LandweaveError as error:
            return error.with_traceback(None)


def _as_it_is(sent: Any) -> Any:
    return sent


@dataclass(frozen=True)
class _Flat:
    """A batch on its way between processes: all its tensors in one buffer, everything else as it is."""

    buffer: torch.Tensor
    images: dict[str, dict[str, Any]]
    labels: dict[str, dict[str, Any]]
    names: tuple[str, ...]
    groups: tuple[str, ...]

    @classmethod
    def pack(cls, batch: Batch) -> _Flat:
        import torch

        tensors: list[torch.Tensor] = []
        images = {k: _take_apart(im, tensors) for k, im in batch.images.items()}
        labels = {k: _take_apart(label, tensors) for k, label in batch.labels.items()}
        ends = np.cumsum([_room(t) for t in tensors])
        buffer = torch.empty(int(ends[-1]) if len(ends) else 0, dtype=torch.uint8)
        for end, tensor in zip(ends.tolist(), tensors, strict=True):
            flat = tensor.contiguous().view(-1).view(torch.uint8)
            start = end - _room(tensor)
            buffer[start : start + flat.numel()] = flat
        return cls(buffer, images, labels, batch.names, batch.groups)

    def unpack(self, *, pin: bool = False) -> Batch:
        """The batch; its tensors are views of the one buffer."""
        buffer, at = self.buffer.pin_memory() if pin else self.buffer, 0
        whole: dict[str, dict[str, Any]] = {"images": {}, "labels": {}}
        for kind, parts in (("images", self.images), ("labels", self.labels)):
            for key, fields in parts.items():
                built = {}
                for name, value in fields.items():
                    if isinstance(value, _Slot):
                        value, at = value.of(buffer, at)
                    built[name] = value
                whole[kind][key] = Image(**built) if kind == "images" else Label(**built)
        return Batch(whole["images"], whole["labels"], self.names, self.groups)


@dataclass(frozen=True)
class _Slot:
    """The place of a tensor in the buffer: they follow one another in order."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    bytes: int

    def of(self, buffer: torch.Tensor, at: int) -> tuple[torch.Tensor, int]:
        view = buffer[at : at + self.bytes].view(self.dtype).view(self.shape)
        return view, at + math.ceil(self.bytes / _ALIGN) * _ALIGN


def _room(tensor: torch.Tensor) -> int:
    return math.ceil(tensor.numel() * tensor.element_size() / _ALIGN) * _ALIGN


def _take_apart(part: Image | Label, tensors: list[torch.Tensor]) -> dict[str, Any]:
    import torch

    out: dict[str, Any] = {}
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        if isinstance(value, torch.Tensor):
            tensors.append(value)
            value = _Slot(value.dtype, tuple(value.shape), value.numel() * value.element_size())
        out[f.name] = value
    return out
