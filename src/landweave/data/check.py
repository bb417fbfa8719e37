"""Read a whole dataset once and say everything that is wrong or odd with it, going on after a bad file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landweave.data.check_values import (
    Darkest,
    Finding,
    check_image,
    findings,
    offset_suspicion,
    refuse_implausible,
    values_of,
)
from landweave.data.dataset import SET_ASIDE, SPLITS, Dataset, Place, Split
from landweave.data.tile_plan import near_pairs
from landweave.errors import LandweaveError, listed
from landweave.grid import Grid
from landweave.sensors import sensor

if TYPE_CHECKING:
    from landweave.data.check_values import Values
    from landweave.sample import Image, Label, Sample

__all__ = ["CheckReport", "check", "check_image", "refuse_implausible"]

_SHOWN = 12


@dataclass
class StreamCount:
    """What the images of one stream are, counted in places (values in pixels)."""

    places: int = 0
    bands: Counter[str] = field(default_factory=Counter)
    dtype: Counter[str] = field(default_factory=Counter)
    crs: Counter[str] = field(default_factory=Counter)
    metres: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)
    dates: Counter[str] = field(default_factory=Counter)
    offset: Counter[str] = field(default_factory=Counter)
    values: int = 0
    unseen: int = 0
    minimum: float = float("inf")
    maximum: float = float("-inf")

    def add(self, image: Image, dates: Sequence[Values]) -> dict[str, str]:
        """Count one image; returns what it counted as."""
        grid, (T, _, H, W) = image.grid, image.data.shape
        told = {
            "bands": ",".join(image.bands),
            "dtype": str(image.data.dtype).removeprefix("torch."),
            "crs": (grid.crs if isinstance(grid, Grid) else "")[:40] or "none",
            "metres": f"{grid.pixel[0]:.6g}" if isinstance(grid, Grid) and grid.crs else "none",
            "size": f"{H} x {W}",
            "dates": str(T),
        }
        self.places += 1
        for what, value in told.items():
            getattr(self, what)[value] += 1
        self.offset.update({f"{o:g}" for o in np.unique(image.offset.numpy().round(6))})
        self.values += image.data.numel()
        self.unseen += int((~image.seen).sum())
        for v in (v for v in dates if v.enough):
            self.minimum = min(self.minimum, float(v.unit[v.seen].min()))
            self.maximum = max(self.maximum, float(v.unit[v.seen].max()))
        return told

    def to_json(self) -> dict[str, Any]:
        """Plain data; `unseen_share` holds nodata, NaN, and what lies beyond a raster or has no date."""
        out: dict[str, Any] = {k: dict(v) if isinstance(v, Counter) else v for k, v in vars(self).items()}
        finite = self.minimum <= self.maximum
        return out | {
            "unseen_share": self.unseen / max(1, self.values),
            "minimum": self.minimum if finite else None,
            "maximum": self.maximum if finite else None,
        }


@dataclass
class CheckReport:
    """What `check` found. `errors` and `warnings` name a file or place and, on a line of its own, the fix."""

    where: str
    places: int
    unreadable: int = 0
    streams: dict[str, StreamCount] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    classes: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    unlabelled: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """Plain data, all errors and warnings in full."""
        return vars(self) | {"ok": self.ok, "streams": {s: c.to_json() for s, c in self.streams.items()}}

    def lines(self, most: int = _SHOWN) -> list[str]:
        """For a terminal; at most `most` errors and as many warnings."""
        told = ", ".join(f"{n} {s or 'in no split'}" for s, n in self.splits.items() if n or s)
        out = [f"{self.where}: {self.places} places ({told}), {self.unreadable} unreadable"]
        for stream, c in self.streams.items():
            unit = sensor(stream).unit
            out.append(f"  {stream}: {c.places} places, {_told(c.bands, _count_of_bands)} bands, {_told(c.dtype)}")
            out.append(f"    {_told(c.size)} pixels of {_told(c.metres)}, {_told(c.crs)}, {_told(c.dates)} date(s)")
            share = f"{c.unseen / max(1, c.values):.2%} without data"
            values = f"{c.minimum:.4g} to {c.maximum:.4g} {unit}" if c.minimum <= c.maximum else "nothing seen"
            out.append(f"    {values}, offset {_told(c.offset)}, {share}")
        for task, table in self.classes.items():
            out.append(f"  {task}: places with each class ({self.unlabelled[task]} without label)")
            there = {n: ", ".join(f"{k} {s or 'unused'}" for s, k in c.items() if k) for n, c in table.items()}
            out += [f"    {n}: {told}" for n, told in there.items() if told]
            if absent := [n for n, told in there.items() if not told]:
                out.append(f"    at no place: {listed(absent, 8)}")
        for title, texts in (("error", self.errors), ("warning", self.warnings)):
            out += [f"{title}: {t}" for t in texts[:most]]
            if len(texts) > most:
                out.append(f"... and {len(texts) - most} more {title}s (--json lists all)")
        return [*out, f"{len(self.errors)} error(s), {len(self.warnings)} warning(s)"]


def _count_of_bands(names: str) -> str:
    return str(names.count(",") + 1)


def _told(counter: Mapping[str, int], name: Callable[[str], str] = str) -> str:
    """`10`, or `10 (62 places), 20 (2)`."""
    if len(counter) == 1:
        return name(next(iter(counter)))
    ranked = sorted(counter.items(), key=lambda item: -item[1])
    return ", ".join(f"{name(k)} ({n})" for k, n in ranked[:4]) + (", ..." if len(ranked) > 4 else "")


def check(dataset: Dataset, *, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Read every place once and report.

    Errors: places that cannot be read, bands or sizes that differ between places, units mixed up, rasters of one
    place in different CRS, the same ground in two splits, an empty split. Warnings: suspected offsets, shifted
    grids, implausible values, a group in two splits, classes that training lacks.

    Args:
        dataset: any reader.
        progress: called with places done and in all.
    """
    look = _Look(dataset, CheckReport(dataset.where, len(dataset)))
    for index in range(len(dataset)):
        look.place(index)
        if progress:
            progress(index + 1, len(dataset))
    look.between_places()
    look.splits()
    report = look.report
    report.errors, report.warnings = look.errors.texts(), look.warnings.texts()
    return report


def _around(grid: Grid, base: Grid) -> bool:
    """Whether a grid is a wider window about the same middle (`data.context`)."""
    near = max(abs(a - b) for a, b in zip(grid.centre, base.centre, strict=True)) <= 0.05 * base.pixel[0]
    (left, bottom, right, top), inner = grid.bounds, base.bounds
    return near and left < inner[0] and bottom < inner[1] and right > inner[2] and top > inner[3]


def _side(place: Place) -> Split:
    """The side of the splits on which a place stands: spoilt places are set aside from those of the test regions."""
    return "test" if place.split == SET_ASIDE else place.split


@dataclass
class _Bag:
    """Texts, each once, with the places it was met at."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, text: str, place: str = "") -> None:
        self.places.setdefault(text, []).append(place)

    def texts(self) -> list[str]:
        out = []
        for text, places in self.places.items():
            head, newline, fix = text.partition("\n")
            more = f", and {len(places) - 1} more" if len(places) > 1 else ""
            out.append(f"{head} (place {places[0]}{more}){newline}{fix}" if places[0] else text)
        return out


@dataclass
class _Look:
    """The work of `check`: one pass over places, then what only the whole shows."""

    dataset: Dataset
    report: CheckReport
    errors: _Bag = field(default_factory=_Bag)
    warnings: _Bag = field(default_factory=_Bag)
    first: dict[tuple[str, str, str], str] = field(default_factory=dict)
    shifts: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    ground: dict[str, list[tuple[int, Grid]]] = field(default_factory=dict)
    dark: dict[tuple[Any, ...], Darkest] = field(default_factory=dict)
    judged: Counter[str] = field(default_factory=Counter)
    suspected: dict[str, list[tuple[str, Finding]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left = Counter(self._key(i) for i in range(len(self.dataset)))

    def _key(self, index: int) -> tuple[str, ...]:
        """What places of one image share: its files, else the place itself."""
        return tuple(map(str, self.dataset.files(index))) or (self.dataset.places[index].name,)

    def place(self, index: int) -> None:
        """One place; whatever goes wrong with it is written down."""
        name = self.dataset.places[index].name
        try:
            sample = self.dataset.read(index)
        except LandweaveError as error:
            self.report.unreadable += 1
            self.errors.add(str(error), name)
        except Exception as error:  # the aim is the full list: a fault of any kind in one place hides no other
            self.report.unreadable += 1
            self.errors.add(f"{type(error).__name__}: {error}", name)
        else:
            for stream, image in sample.images.items():
                self._image(index, stream, image)
            self._grids(index, sample)
            for task, label in sample.labels.items():
                self._label(index, task, label)
        self._dark_done(index)

    def _image(self, index: int, stream: str, image: Image) -> None:
        name = self.dataset.places[index].name
        count = self.report.streams.setdefault(stream, StreamCount())
        dates = values_of(image)
        for what, value in count.add(image, dates).items():
            self.first.setdefault((stream, what, value), name)
        for finding in findings(stream, dates):
            kind, _, told = finding.what.partition(":")
            bag = self.errors if finding.wrong else self.warnings
            file = str(self.dataset.file_of(index, stream) or name)
            told = self.first.setdefault((stream, kind, file), told)  # windows of a file differ in the figure: once
            bag.add(f"{file}: {stream} {kind}:{told}\n  fix: {finding.fix}", name)
        for date, values in enumerate(dates):
            key_dark = (self._key(index), stream.partition("@")[0], date)
            self.dark.setdefault(key_dark, Darkest()).add(stream, values)

    def _dark_done(self, index: int) -> None:
        """Judge the offset of an image once its last window is read."""
        key = self._key(index)
        self.left[key] -= 1
        if self.left[key]:
            return
        for own in [k for k in self.dark if k[0] == key]:
            dark, (_, name, date) = self.dark.pop(own), own
            stream = next(s for s in self.report.streams if s.partition("@")[0] == name)
            file = self.dataset.file_of(index, stream)
            self.judged[name] += 1
            if doubt := offset_suspicion(name, dark, str(file or "")):
                when = f", date {date + 1}" if date else ""
                image = f"{file or self.dataset.places[index].name}: {name}{when}"
                self.suspected.setdefault(name, []).append((image, doubt))

    def _offsets(self) -> None:
        """Suspected offsets, with the mend for all images of a sensor or for some of them."""
        for name, found in self.suspected.items():
            few = len(found) < self.judged[name]
            fix = (
                f"if so, of {len(found)} of {self.judged[name]} images only: write -1000 into column {name}.offset of "
                f"its rows, or tile it by itself: --append --offset {name}=-1000"
            )
            for image, doubt in found:
                self.warnings.add(f"{image} {replace(doubt, fix=fix) if few else doubt}")

    def _grids(self, index: int, sample: Sample) -> None:
        """Do the images of a place lie on one ground?"""
        grids = {s: im.grid for s, im in sample.images.items() if isinstance(im.grid, Grid)}
        if not grids:
            return
        fine = min(grids, key=lambda s: grids[s].pixel[0])
        base = grids[fine]
        for stream, grid in grids.items():
            if grid.crs != base.crs:
                self.errors.add(f"{stream} is in {grid.crs[:40] or 'no CRS'}, {fine} in {base.crs[:40]}", sample.name)
            elif not grid.same_ground(base) and not _around(grid, base):
                shift = max(abs(a - b) for a, b in zip(grid.bounds, base.bounds, strict=True)) / base.pixel[0]
                old = self.shifts.get((stream, fine), (0.0, ""))
                self.shifts[stream, fine] = max(old, (shift, sample.name))
        for task, label in sample.labels.items():
            if isinstance(label.grid, Grid) and label.grid.crs and not label.grid.same_ground(base):
                self.warnings.add(f"the label {task} covers other ground than {fine}", sample.name)
        key = base.crs or "|".join(self._key(index))
        self.ground.setdefault(key, []).append((index, base))

    def _label(self, index: int, task: str, label: Label) -> None:
        table = self.report.classes.setdefault(task, {n: dict.fromkeys((*SPLITS, ""), 0) for n in label.legend.names})
        self.report.unlabelled.setdefault(task, 0)
        if not label.known.any():
            self.report.unlabelled[task] += 1
            return
        known = label.values[label.known]
        there = label.values.nonzero().flatten() if label.kind == "multilabel" else known.flatten()
        names = label.legend.names
        for k in set(there.tolist()):
            row, split = table[names[k]], self.dataset.places[index].split
            row[split] = row.get(split, 0) + 1  # the places set aside count only where there are some

    def between_places(self) -> None:
        """What differs between places of one stream, suspected offsets, and ground that two splits share."""
        self._offsets()
        for stream, count in self.report.streams.items():
            for what, counter, bag, fix in (
                ("bands", count.bands, self.errors, "give all places the same bands (data.streams)"),
                ("size", count.size, self.errors, "cut places of one size (landweave tile --size)"),
                ("metres", count.metres, self.warnings, "resample to one pixel size"),
                ("dtype", count.dtype, self.warnings, "none needed; whole batches are widened"),
            ):
                for odd, n in counter.most_common()[1:]:
                    usual = counter.most_common(1)[0][0]
                    text = f"{stream} has {what} {odd} at {n} places and {usual} at the others\n  fix: {fix}"
                    bag.add(text, self.first.get((stream, what, odd), ""))
            self._told_metres(stream, count)
        for (stream, fine), (shift, name) in self.shifts.items():
            text = f"{stream} lies up to {shift:.2g} pixels of {fine} beside it"
            self.warnings.add(f"{text}\n  fix: resample both to one grid", name)
        for indexed in self.ground.values():
            self._shared(indexed)

    def _told_metres(self, stream: str, count: StreamCount) -> None:
        """A stream `@20` whose pixels are of 10 m (degrees are not judged)."""
        name, _, metres = stream.partition("@")
        for found in count.metres if metres else ():
            size = 0.0 if found == "none" else float(found)
            if size > 0.01 and abs(size / float(metres) - 1) > 0.05:
                self.warnings.add(f"{stream} has pixels of {found}\n  fix: name it {name}@{found}")

    def _shared(self, indexed: list[tuple[int, Grid]]) -> None:
        places = self.dataset.places
        used = [(i, g) for i, g in indexed if places[i].split]
        if len({places[i].split for i, _ in used}) < 2:
            return
        boxes = np.array([g.bounds for _, g in used])
        pixel = min(g.pixel[0] for _, g in used)
        found: dict[tuple[Split, Split], list[tuple[int, int]]] = {}
        for a, b in near_pairs(boxes, boxes, (-0.05 * pixel, -0.05 * pixel)).T.tolist():
            i, j = used[a][0], used[b][0]
            if a < b and _side(places[i]) != _side(places[j]):
                one, two = sorted((_side(places[i]), _side(places[j])), key=SPLITS.index)
                found.setdefault((one, two), []).append((i, j))
        for (one, two), pairs in found.items():
            i, j = pairs[0]
            self.errors.add(
                f"{len(pairs)} pairs of places in {one} and {two} share ground, first {places[i].name} and "
                f"{places[j].name}\n  fix: give the same ground one split (landweave tile does)"
            )

    def splits(self) -> None:
        """Empty splits, groups on two sides, classes that training lacks."""
        places, report = self.dataset.places, self.report
        count = Counter(p.split for p in places)
        aside: tuple[Split, ...] = (SET_ASIDE,) if count[SET_ASIDE] else ()
        report.splits = {s: count[s] for s in (*SPLITS, *aside, "")}
        for split in (s for s in SPLITS if not count[s]):
            bag = self.errors if self.dataset.tasks else self.warnings
            bag.add(f"{report.where}: split {split} is empty\n  fix: write `{split}` into the split of some places")
        sides: dict[str, set[str]] = {}
        for p in places:
            if p.group and p.split:
                sides.setdefault(p.group, set()).add(_side(p))
        if torn := [g for g, s in sides.items() if len(s) > 1]:
            text = f"{report.where}: {len(torn)} groups have places in several splits: {listed(torn, 4)}"
            self.warnings.add(f"{text}\n  fix: keep what belongs together in one split")
        for task, table in report.classes.items():
            new = [n for n, c in table.items() if not c["train"] and (c["validation"] or c["test"])]
            if new and count["train"]:
                text = f"{report.where}: {task} has classes that training never sees: {listed(new)}"
                self.warnings.add(f"{text}\n  fix: they are left out of scores; or move places of theirs to train")
