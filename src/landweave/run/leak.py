"""The leak meter: how much of a score comes from test places that lie next to training places.

Two looks. (1) The scores of single places against their distance to the nearest training place. (2) One cheap model
under three kinds of split, side by side: at random, by group (scene, region), and by block on the ground. If random
is far above block, a random split flatters; what counts for a map of the next region is the lower number.

What cannot be measured is said in words, never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from landweave.data.splits import EARTH_KM, Shares
from landweave.errors import DataError

if TYPE_CHECKING:
    from landweave.data.dataset import Dataset, Place
    from landweave.sample import Label, LabelKind, Sample

Progress = Callable[[int, int], None] | None
How = Literal["random", "group", "block"]

MODEL = "Random forest on the mean and deviation of each band of a place"
TREES = 60
DRAWS = 3
HELD_OUT = 0.3
BINS = 6
BLOCKS_ACROSS = 8
FEWEST_GROUPS = 6
"""With fewer groups (or blocks) a strict split holds out one: its score, often 0.00, tells of that one alone."""
FEW_GROUPS = 10
"""With fewer a strict split holds out two or three of them: a warning, not a measure."""
MUCH = 0.05
"""A random split that scores so much higher than a stricter one flatters."""
FEWEST = 20
"""Fewer places are not split."""
SCORES: dict[LabelKind, str] = {"class": "accuracy", "multilabel": "micro F1", "map": "accuracy"}
TARGETS: dict[LabelKind, str] = {
    "class": "the class of a place",
    "multilabel": "the classes of a place",
    "map": "the most frequent class of a place",
}


@dataclass(frozen=True)
class Described:
    """Places as the cheap model sees them: rows of features, and targets (class index, or 0/1 a class)."""

    places: tuple[Place, ...]
    features: NDArray[np.float32]
    targets: NDArray[np.int64]
    lonlat: NDArray[np.float64]
    """N x 2, NaN where unknown."""


def leak(
    dataset: Dataset,
    task: str,
    *,
    train: Sequence[int],
    places: Sequence[Mapping[str, Any]] = (),
    most: int = 2000,
    seed: int = 0,
    progress: Progress = None,
) -> dict[str, Any]:
    """Measure both looks.

    Args:
        dataset: places with images, labels and, if possible, coordinates and groups.
        task: the label.
        train: positions of the labelled training places; with those of `places` they make up what is split anew.
        places: the places of an evaluation: `name`, `score`, `nearest_km`.
        most: at most so many places are read, drawn at random.
        seed: of the draw, the splits and the forest.
        progress: called with the places read and their number.

    Returns:
        plain data for `leak.json`: `score` (its name), `model`, `target`, `distance` {`series`: [{`name`, `bins`:
        [{`low`, `high`, `km`, `n`, `score`}]}]}, `splits`: [{`name`, `score`, `spread`, `trivial`, `skill`,
        `n_test`, `groups`} or {`name`, `why`}], `says`: sentences.
    """
    kind = dataset.tasks[task].kind
    classes = len(dataset.tasks[task].legend)
    scored = {p["name"] for p in places}
    wanted = set(train) | {i for i, p in enumerate(dataset.places) if p.name in scored}
    chosen = np.random.default_rng(seed).permutation(sorted(wanted))[:most]
    found = describe(dataset, task, sorted(int(i) for i in chosen), classes, progress)
    bins, why = by_distance(places)
    splits = [compare(how, found, kind, seed) for how in ("random", "group", "block")]
    return {
        "task": task,
        "kind": kind,
        "score": SCORES[kind],
        "model": MODEL,
        "target": TARGETS[kind],
        "n": len(found.places),
        "seed": seed,
        "distance": {"series": [{"name": "this run", "bins": bins}] if bins else [], "why": why},
        "splits": splits,
        "says": _words(bins, why, splits, kind, found),
    }


def by_distance(places: Sequence[Mapping[str, Any]], *, bins: int = BINS) -> tuple[list[dict[str, float]], str]:
    """Mean score of places in bins of equal count of their distance to the nearest training place.

    Returns the bins (`low`, `high`, median `km`, `n`, `score`), or none and the reason.
    """
    rows = [(p["nearest_km"], p["score"]) for p in places if p.get("score") is not None]
    rows = [(float(km), float(s)) for km, s in rows if km is not None]
    if not places:
        return [], "the run has not been evaluated yet"
    if not rows:
        return [], "the places have no coordinates"
    km, score = np.array(sorted(rows)).T
    if km[0] == km[-1] or len(rows) < 2 * bins:
        return [], f"{len(rows)} places at {km[0]:.3g} to {km[-1]:.3g} km are too few to compare distances"
    edges = np.unique(np.quantile(km, np.linspace(0, 1, bins + 1)))
    at = np.clip(np.searchsorted(edges, km, side="right") - 1, 0, len(edges) - 2)
    out = []
    for b in np.unique(at):
        mine = at == b
        out.append(
            {
                "low": float(km[mine].min()),
                "high": float(km[mine].max()),
                "km": float(np.median(km[mine])),
                "n": int(mine.sum()),
                "score": float(score[mine].mean()),
            }
        )
    return out, "" if len(out) > 1 else "all places are equally far from the training places"


def describe(dataset: Dataset, task: str, indices: Sequence[int], classes: int, progress: Progress = None) -> Described:
    """Read places and keep, of each, the mean and deviation of every band, its target and where it lies.

    Places without a known label are left out. A band that is not seen has the mean of the others.
    """
    from landweave.data.raster import lonlat

    names = [f"{s} {b}" for s, b in _bands(dataset, indices)]
    places, rows, targets, where = [], [], [], []
    for done, i in enumerate(indices, 1):
        sample, place = dataset.read(i), dataset.places[i]
        target = _target(sample.labels[task], classes) if task in sample.labels else None
        if target is not None:
            places.append(place)
            rows.append(_row(sample, names))
            targets.append(target)
            at = (place.lon, place.lat) if place.lon is not None and place.lat is not None else None
            grid = next((im.grid for im in sample.images.values() if im.grid is not None), None)
            where.append(at or (lonlat(grid) if grid is not None and not isinstance(grid, tuple) else None))
        if progress:
            progress(done, len(indices))
    features = np.array(rows, np.float32).reshape(len(rows), -1)
    seen = np.isfinite(features)
    middle = np.where(seen, features, 0).sum(0) / np.maximum(1, seen.sum(0))
    features = np.where(seen, features, middle).astype(np.float32)
    coordinates = np.array([p or (np.nan, np.nan) for p in where], np.float64).reshape(-1, 2)
    return Described(tuple(places), features, np.array(targets, np.int64), coordinates)


def _bands(dataset: Dataset, indices: Sequence[int]) -> list[tuple[str, str]]:
    """Every (stream, band) of the first places; the order does not depend on which place lacks what."""
    found: dict[tuple[str, str], None] = {}
    for i in indices[:20]:
        for stream, image in sorted(dataset.read(i).images.items()):
            found |= dict.fromkeys((stream, b) for b in image.bands)
    return list(found)


def _row(sample: Sample, names: Sequence[str]) -> list[float]:
    """Mean and deviation of each named band over its seen pixels; NaN where nothing of it is seen."""
    found: dict[str, tuple[float, float]] = {}
    for stream, image in sample.images.items():
        values, seen = image.physical().double(), image.seen
        n = seen.sum((0, 2, 3)).double()
        mean = (values * seen).sum((0, 2, 3)) / n
        deviation = (((values - mean[:, None, None]) ** 2 * seen).sum((0, 2, 3)) / n).sqrt()
        for k, band in enumerate(image.bands):
            found[f"{stream} {band}"] = (float(mean[k]), float(deviation[k]))
    return [v for name in names for v in found.get(name, (np.nan, np.nan))]


def _target(label: Label, classes: int) -> int | list[int] | None:
    """What the cheap model is to say of a place; None where nobody knows."""
    if label.kind == "multilabel":
        return [int(v) for v in label.values] if bool(label.known.all()) else None
    if not bool(label.known.any()):
        return None
    if label.kind == "class":
        return int(label.values)
    return int(np.bincount(label.values[label.known].numpy(), minlength=classes).argmax())


def compare(how: How, found: Described, kind: LabelKind, seed: int) -> dict[str, Any]:
    """Mean score of the cheap model over some draws of one kind of split, beside the trivial predictor; or why not."""
    rows = []
    try:
        for draw in range(DRAWS):
            train, test, groups = _split(how, found, seed + draw)
            rows.append(_scores(found, train, test, kind, seed + draw))
    except DataError as error:
        return {"name": how, "why": error.what}
    score, trivial = np.array(rows).mean(0)
    spread = float(np.array(rows)[:, 0].std())
    skill = (score - trivial) / (1 - trivial) if trivial < 1 else None
    return {
        "name": how,
        "score": float(score),
        "spread": spread,
        "trivial": float(trivial),
        "skill": None if skill is None else float(skill),
        "n_test": len(test),
        "groups": groups,
    }


def _split(how: How, found: Described, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Positions to train and to test on, and how many groups (or blocks) there were to choose from.

    Raises:
        DataError: this kind of split cannot be made of these places, or would tell nothing.
    """
    from landweave.data.splits import block_split, blocks, group_split, random_split

    n = len(found.places)
    shares: Shares = {"train": 1 - HELD_OUT, "test": HELD_OUT}
    if n < FEWEST:
        raise DataError(f"{n} labelled places are too few, {FEWEST} are needed")
    count = n
    if how == "random":
        sides = random_split(found.places, shares, seed)
    elif how == "group":
        groups = {p.group for p in found.places}
        if not all(groups):
            raise DataError("places have no group")
        count = _enough(len(groups), "group")
        sides = group_split(found.places, shares, seed)
    else:
        places = _located(found)
        size = _extent(found.lonlat) / BLOCKS_ACROSS
        if size == 0:
            raise DataError("all places lie at one point")
        count = _enough(len(set(blocks(places, size))), "block")
        sides = block_split(places, shares, seed, block_km=size, buffer_km=size / 10)
    train, test = (np.flatnonzero([s == side for s in sides]) for side in ("train", "test"))
    if min(len(train), len(test)) < 5:
        raise DataError(f"it leaves {len(train)} places to train on and {len(test)} to test on")
    return train, test, count


def _enough(count: int, what: str) -> int:
    """Refuse to split so few groups or blocks that the score would be that of one of them."""
    if count < FEWEST_GROUPS:
        there = f"{count} {what}s" if count > 1 else f"one {what}"
        raise DataError(f"{there} {'are' if count > 1 else 'is'} too few to tell, {FEWEST_GROUPS} are needed")
    return count


def _located(found: Described) -> list[Place]:
    """The places with the coordinates that were found for them.

    Raises:
        DataError: some have none.
    """
    lacking = int(np.isnan(found.lonlat).any(1).sum())
    if lacking:
        raise DataError(f"{lacking} of {len(found.places)} places have no coordinates")
    return [replace(p, lon=float(x), lat=float(y)) for p, (x, y) in zip(found.places, found.lonlat, strict=True)]


def _extent(lonlat: NDArray[np.float64]) -> float:
    """The longer side of the box around all places, in kilometres."""
    (west, south), (east, north) = lonlat.min(0), lonlat.max(0)
    degree = 2 * np.pi * EARTH_KM / 360
    return float(max(north - south, (east - west) * np.cos(np.radians((north + south) / 2))) * degree)


def _scores(
    found: Described, train: NDArray[np.int64], test: NDArray[np.int64], kind: LabelKind, seed: int
) -> tuple[float, float]:
    """Score of the forest and of the trivial predictor: always the majority class, or every class met by most."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import accuracy_score, f1_score

    known, truth = found.targets[train], found.targets[test]
    forest = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=seed, n_jobs=1)
    said = forest.fit(found.features[train], known).predict(found.features[test])
    if kind == "multilabel":
        trivial = np.broadcast_to(known.mean(0) > 0.5, truth.shape).astype(np.int64)
        return tuple(float(f1_score(truth, y, average="micro", zero_division=0)) for y in (said, trivial))  # type: ignore[return-value]
    trivial = np.full(len(truth), np.bincount(known).argmax())
    return float(accuracy_score(truth, said)), float(accuracy_score(truth, trivial))


def _words(
    bins: Sequence[Mapping[str, float]],
    why: str,
    splits: Sequence[Mapping[str, Any]],
    kind: LabelKind,
    found: Described,
) -> list[str]:
    """What was found, and what could not be measured, in sentences."""
    out = []
    if bins:
        near, far = bins[0], bins[-1]
        out.append(
            f"The run's places within {near['high']:.3g} km of a training place score {near['score']:.2f} on average, "
            f"those beyond {far['low']:.3g} km score {far['score']:.2f}."
        )
    else:
        out.append(f"Score against distance is not measured: {why}.")
    measured = {s["name"]: s["score"] for s in splits if "score" in s}
    strict = {k: v for k, v in measured.items() if k != "random"}
    cheap = f"{MODEL}, asked for {TARGETS[kind]} on {len(found.places)} places: {SCORES[kind]}"
    if "random" in measured and not strict:
        out.append(f"{cheap} {measured['random']:.2f} with a random split; how much it flatters cannot be told.")
    elif "random" in measured:
        name = min(strict, key=lambda k: strict[k])
        gap = measured["random"] - strict[name]
        out.append(
            f"{cheap} {measured['random']:.2f} with a random split, {strict[name]:.2f} with one by {name}. "
            + (
                f"A random split flatters by {gap:.2f}: the stricter number holds for places elsewhere."
                if gap > MUCH
                else "So being near helps little here."
            )
        )
        groups = next(s["groups"] for s in splits if s["name"] == name)
        if groups < FEW_GROUPS:
            out.append(
                f"There are {groups} {name}s only, so that split holds out two or three of them, perhaps with classes "
                "that no other has: read its score as a warning, not as a measure."
            )
    out += [f"A {s['name']} split is not measured: {s['why']}." for s in splits if "why" in s]
    return out
