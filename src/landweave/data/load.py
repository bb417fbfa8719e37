"""Batches for training and evaluation: drawn from (seed, epoch) alone, built where they are read.

A worker process builds the whole batch and sends it as one flat buffer: on a fast store the copies between processes
cost more than the reading. An error of a worker arrives as it was raised, with its file and its fix.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landweave.data.dataset import Chosen, Dataset
from landweave.data.order import Positions, drawn, in_order
from landweave.errors import ConfigError, DataError, LandweaveError
from landweave.sample import Batch, Image, Label, collate

if TYPE_CHECKING:
    import torch

_ALIGN = 16
CROWDED = 0.25
"""A group with a larger share of the places than this one crowds the batches of contrastive learning."""


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
    one_group: bool = False,
    repeats: Sequence[float] = (),
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
        one_group: places of one group in each batch (that of all ranks together), so that negatives are neighbours
            and hard to tell from the positive (IaI-SimCLR, whose batches are of one scene); for training. Where a
            group has too few, the batch is filled up with places of others. Every place still comes once.
        repeats: how often each place should come, for training: of an epoch's places, which stay as many, each is
            then drawn in proportion to it (`order.repeat_factors`). Once each by default.
        rank: of this process.
        world: how many processes share the places.
        pad: allow places of unequal size in a batch (see `collate`).
        start: how workers are started; the platform's way by default.

    Raises:
        ConfigError: fewer places than processes, or than one batch with `drop_last`; both `group_cap` and
            `one_group`; `one_group` where no place has a group.
        DataError: (while iterating) a place cannot be read, or does not fit beside the others.
    """
    if batch_size < 1 or not 0 <= rank < world:
        raise ConfigError(f"batches of {batch_size} for rank {rank} of {world}", where="train.batch_size")
    if len(indices) < world and (len(indices) or shuffle_key):
        fix = "use fewer devices" if len(indices) else None
        raise ConfigError(f"{len(indices)} places for {world} processes", where=dataset.where, fix=fix)
    at = np.asarray(indices, np.int64)
    if shuffle_key is None:
        plan = in_order(at, batch_size, rank, world)
    else:
        groups = [dataset.places[i].group for i in indices] if group_cap or one_group else []
        plan = drawn(
            at,
            batch_size,
            shuffle_key,
            groups=groups,
            cap=group_cap,
            one_group=one_group,
            drop_last=drop_last,
            world=world,
            where=dataset.where,
            repeats=repeats,
        )[rank::world]
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
class Diversity:
    """How much of a batch the largest group takes, in the mean over random draws.

    `share` is that group's share of the places, which is also its expected share of a batch of any size; 0 and an
    empty `group` where no place has a group. `expected` is the share in places of a batch.
    """

    group: str
    places: int
    share: float
    expected: float

    @property
    def warning(self) -> str | None:
        """What to say before contrastive learning without a cap: None up to a share of `CROWDED`."""
        if self.share <= CROWDED:
            return None
        return (
            f"{self.share:.0%} of the places ({self.places}) are of group `{self.group}`, so about "
            f"{self.expected:.0f} places of a batch lie side by side and count as negatives of one another although "
            f"they look alike (said above {CROWDED:.0%}); cap them with train.places_per_group"
        )


def diversity(dataset: Dataset, indices: Sequence[int], batch_size: int) -> Diversity:
    """How alike the places of a batch are to be expected: the largest group's share of the places.

    Args:
        dataset: whose places have groups, or none.
        indices: the training places.
        batch_size: places a batch, all processes together.
    """
    counts = Counter(dataset.places[i].group for i in indices)
    counts.pop("", None)
    if not counts:
        return Diversity("", 0, 0.0, 0.0)
    group, places = min(counts.items(), key=lambda item: (-item[1], item[0]))
    share = places / len(indices)
    return Diversity(group, places, share, share * min(batch_size, len(indices)))


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
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
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
