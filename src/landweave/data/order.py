"""Which places stand in which batch: in order, drawn at random, spread over groups, or one group a batch."""

from __future__ import annotations

import math
import warnings
from collections import Counter, deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from landweave.errors import ConfigError, LandweaveWarning

Positions = NDArray[np.int64]

_warned: set[str] = set()


def evenly(indices: Sequence[int], most: int | None) -> list[int]:
    """At most `most` of some positions, evenly through them: data sets stand in order of class, scene or region."""
    if most is None or len(indices) <= most:
        return list(indices)
    return [indices[i] for i in np.linspace(0, len(indices) - 1, most).round().astype(int)]


def shuffled(indices: Sequence[int]) -> list[int]:
    """All of some positions in an order of no meaning, always the same: the first of them are a draw."""
    return [indices[i] for i in np.random.default_rng(0).permutation(len(indices))]


def in_order(at: Positions, batch_size: int, rank: int, world: int) -> list[Positions]:
    """The batches of one rank: each place on one rank; as many batches on each."""
    runs = np.array_split(at, world)
    count = min(math.ceil(len(runs[0]) / batch_size), len(runs[-1]))
    return [np.asarray(part) for part in np.array_split(runs[rank], count)] if len(at) else []


def drawn(
    at: Positions,
    batch_size: int,
    key: tuple[int, int],
    *,
    groups: Sequence[str],
    cap: int | None,
    one_group: bool,
    drop_last: bool,
    world: int,
    where: str,
    repeats: Sequence[float] = (),
) -> list[Positions]:
    """The batches of all ranks, step by step: step 0 of rank 0, of rank 1, ..., step 1 of rank 0, ...

    Arguments and errors are those of `landweave.data.load.batches`; `groups` are those of `at`, needed for `cap` and
    `one_group` only; so are `repeats`.
    """
    random = np.random.default_rng([key[0] % 2**32, key[1]])
    order = random.permutation(len(at))
    if len(repeats):
        order = random.permutation(_resampled(np.asarray(repeats, np.float64)[order], random, order))
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
    order = order[: sum(sizes) * world]
    if one_group:
        _require_groups(groups, cap, where)
        steps = _gather([groups[i] for i in order], order, [size * world for size in sizes], random)
        return [at[part] for step in steps for part in np.split(step, world)]
    sizes = [size for size in sizes for _ in range(world)]
    if cap:
        return [at[part] for part in _spread([groups[i] for i in order], order, sizes, cap, random, where)]
    return [at[part] for part in np.split(order, np.cumsum(sizes)[:-1])]


def _resampled(repeats: NDArray[np.float64], random: np.random.Generator, order: Positions) -> Positions:
    """As many places, each as often as its share of `repeats`, rounded up or down by one draw for all."""
    ends = np.cumsum(repeats / repeats.sum()) * len(order)
    return order[np.searchsorted(ends[:-1], np.arange(len(order)) + random.random(), side="right")]


def repeat_factors(classes: Sequence[Sequence[int] | None], share: float) -> list[float]:
    """How often each place should come, so that rare classes are met more often (Gupta et al. 2019, LVIS, section 4).

    A class that stands at a share f of the places has the factor `max(1, sqrt(share / f))`, a place the largest of its
    classes; one of no known class 1.

    Args:
        classes: of each place, None where nothing is known.
        share: of the places, above which a class is common enough.
    """
    known = [set(found) for found in classes if found is not None]
    counts = Counter(c for found in known for c in found)
    factor = {c: max(1.0, math.sqrt(share * len(known) / n)) for c, n in counts.items()}
    return [max((factor[c] for c in found or ()), default=1.0) for found in classes]


def _require_groups(groups: Sequence[str], cap: int | None, where: str) -> None:
    if cap:
        raise ConfigError(
            f"a batch of one group cannot have at most {cap} places of a group",
            where="train.one_group",
            fix="leave out train.one_group or train.places_per_group",
        )
    if not any(groups):
        raise ConfigError(
            "train.one_group asks for batches of one group, and no place has a group",
            where=where,
            fix="set train.one_group=false",
        )


def _gather(
    groups: Sequence[str], order: Positions, sizes: Sequence[int], random: np.random.Generator
) -> list[Positions]:
    """Deal places into batches of one group each, as far as that is possible; the last batch may be a smaller one.

    A group is cut into whole batches and a rest. Of the rests, the largest opens the next batch, which is filled up
    from the smallest ones, which have few neighbours to offer anyway; equals come as `order` was drawn. So each batch
    has many of one group, and no place comes again. Places without a group are rests of one. What is left over is
    the smaller batch.
    """
    size = sizes[0]
    members: dict[str, list[int]] = {}
    for place, group in zip(order.tolist(), groups, strict=True):
        members.setdefault(group, []).append(place)
    rests = [[place] for place in members.pop("", [])]
    found: list[list[int]] = []
    for places in members.values():
        whole = len(places) // size * size
        found += [places[i : i + size] for i in range(0, whole, size)]
        rests += [places[whole:]] if whole < len(places) else []
    queue = deque(sorted(rests, key=len, reverse=True))
    for _ in range(sum(s == size for s in sizes) - len(found)):
        batch = queue.popleft()
        while len(batch) < size:
            few = queue.pop()
            take = size - len(batch)
            batch = batch + few[:take]
            if few[take:]:
                queue.append(few[take:])
        found.append(batch)
    found = [found[i] for i in random.permutation(len(found))]
    left = [place for rest in queue for place in rest]
    return [random.permutation(np.array(batch, np.int64)) for batch in (*found, *([left] if left else []))]


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
        LandweaveWarning,
        stacklevel=5,
    )
