"""Batches for training and evaluation: in an order that (seed, epoch) alone decide, built where they are read.

A worker process hands over a whole batch, as few large tensors: handing over places one by one costs more than
reading them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from landweave.data.dataset import Dataset
from landweave.errors import DataError, LandweaveError
from landweave.sample import Batch, Image, collate

if TYPE_CHECKING:
    from collections.abc import Set


def templates(dataset: Dataset, indices: Sequence[int]) -> dict[str, Image]:
    """An example image of every stream, so that `collate` can put an absent one into any batch as unseen.

    Raises:
        DataError: a stream that no place has.
    """
    found: dict[str, Image] = {}
    lacking: Set[str] = set(dataset.streams)
    for i in indices:
        found = {**dataset.read(i).images, **found}
        lacking = set(dataset.streams) - set(found)
        if not lacking:
            break
    if lacking:
        raise DataError(
            f"no training place has {', '.join(sorted(lacking))}",
            where=dataset.where,
            fix="leave it out of data.streams",
        )
    return found


def order(indices: Sequence[int], key: tuple[int, int]) -> list[int]:
    """The places of an epoch in the order that (seed, epoch) decide, on every machine the same."""
    seed = hashlib.blake2b(repr(tuple(map(int, key))).encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.Philox(key=np.frombuffer(seed, "<u8").astype(np.uint64)))
    return [indices[int(k)] for k in rng.permutation(len(indices))]


def spread(indices: Sequence[int], groups: Sequence[str], size: int, cap: int) -> list[list[int]]:
    """Batches of `size` with at most `cap` places of one group, as far as the groups allow; keeps the order else.

    Places that found no room come last, in batches that break the cap; a warning says how many.
    """
    ahead, put_off = deque(indices), deque[int]()
    out: list[list[int]] = []
    while ahead or put_off:
        batch: list[int] = []
        count: Counter[str] = Counter()
        for queue in (put_off, ahead):  # those that found no room before come first
            for _ in range(len(queue)):
                if len(batch) == size:
                    break
                i = queue.popleft()
                if count[groups[i]] < cap:
                    batch.append(i)
                    count[groups[i]] += 1
                else:
                    put_off.append(i)
        left = [*put_off, *ahead]
        if len(batch) < size and left:
            waiting = batch + left
            warnings.warn(
                f"{len(waiting)} places of {len({groups[i] for i in waiting})} groups cannot fill batches of {size} "
                f"with at most {cap} a group",
                stacklevel=2,
            )
            return out + [waiting[k : k + size] for k in range(0, len(waiting), size)]
        out.append(batch)
    return out


@dataclass(frozen=True)
class _Fault:
    """An error on its way out of a worker process, where torch would bury its text in a traceback."""

    error: LandweaveError


@dataclass(frozen=True)
class _Reader:
    """Batches by position, as torch's DataLoader asks for them."""

    dataset: Dataset
    lists: Sequence[Sequence[int]]
    like: Mapping[str, Image]

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, k: int) -> Batch | _Fault:
        try:
            return collate([self.dataset.read(i) for i in self.lists[k]], self.like)
        except LandweaveError as error:
            return _Fault(error)


@dataclass(frozen=True)
class Batches:
    """One pass over places; can be gone through again, and knows its length."""

    reader: _Reader
    workers: int = 0
    pin: bool = False

    def __len__(self) -> int:
        return len(self.reader)

    def __iter__(self) -> Iterator[Batch]:
        for item in self._items():
            if isinstance(item, _Fault):
                raise item.error
            yield item

    def _items(self) -> Iterator[Batch | _Fault]:
        if not self.workers:
            return (self.reader[k] for k in range(len(self.reader)))
        from torch.utils.data import DataLoader

        return iter(
            DataLoader(self.reader, batch_size=None, num_workers=self.workers, pin_memory=self.pin)  # type: ignore[arg-type]
        )


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
) -> Batches:
    """One pass over places.

    Args:
        dataset: where to read.
        indices: which places.
        batch_size: places a batch and process.
        like: an example of every stream (`templates`).
        shuffle_key: (seed, epoch); None keeps the order.
        drop_last: leave an unfilled last batch out.
        workers: processes that read; 0 reads here.
        pin: hand over batches in page-locked memory.
        group_cap: at most so many places of one group in a batch.
        rank: this process among `world`.
        world: processes. With a `shuffle_key` (training) every process gets equally many batches: the first places
            are seen twice where the count does not divide. Without one (evaluation) no place is.
    """
    places = list(indices)
    if shuffle_key is not None:
        places = order(places, shuffle_key)
        places += places[: -len(places) % world]
    places = places[rank::world]
    if group_cap:
        lists = spread(places, [p.group for p in dataset.places], batch_size, group_cap)
    else:
        lists = [places[k : k + batch_size] for k in range(0, len(places), batch_size)]
    if drop_last and len(lists) > 1 and len(lists[-1]) < batch_size:
        lists = lists[:-1]
    return Batches(_Reader(dataset, lists, like), workers, pin)
