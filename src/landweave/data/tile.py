"""Make a table of places from large aligned rasters: windows as bounds, splits by block. No pixel is copied."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landweave.data.dataset import SPLITS
from landweave.data.table_rows import LABEL, WINDOW, load_legends, read_rows, write_table
from landweave.data.tile_plan import UNUSED, Ground, Placed, Settled, Shares, lay_out, next_split, settle
from landweave.data.tile_scenes import LabelCells, Scene, image_cells, label_cells, match, scene_of, window_bounds
from landweave.errors import ConfigError, DataError, did_you_mean, listed
from landweave.legends import Legend
from landweave.sensors import sensor

if TYPE_CHECKING:
    from landweave.sample import LabelKind

SplitBy = Literal["block", "file"]


@dataclass
class TileReport:
    """What `tile` did, in counts of places unless said otherwise."""

    out: str
    size: int
    scenes: int
    places: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    unused: int = 0
    on_old_ground: int = 0
    edge_share: float = 0.0
    unlabelled: dict[str, int] = field(default_factory=dict)
    classes: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    table_places: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a terminal."""
        told = ", ".join(f"{n} {s}" for s, n in self.splits.items())
        out = [f"{self.places} places of {self.size} x {self.size} pixels from {self.scenes} scene(s): {told}"]
        if self.unused:
            out.append(f"{self.unused} lie in the buffer between splits and belong to none (split is empty)")
        if self.on_old_ground:
            out.append(f"{self.on_old_ground} lie on ground that had places, and follow its split")
        if self.edge_share > 0:
            out.append(f"{self.edge_share:.1%} of the pixels, at right and lower edges, fill no whole window")
        for split in (s for s, n in self.splits.items() if not n):
            out.append(f"no place in {split}: the rasters are too small for the buffer (--buffer, --size, --split)")
        for task, n in self.unlabelled.items():
            if n:
                out.append(f"{n} have no known pixel of {task}: kept for their images")
            out += [f"  {task}, places with each class:"]
            names = self.classes[task]
            there = {name: c for name, c in names.items() if any(c.values())}
            out += [f"    {name}: " + ", ".join(f"{k} {s}" for s, k in c.items() if s) for name, c in there.items()]
            if absent := [name for name in names if name not in there]:
                out.append(f"    at no place: {listed(absent, 8)}")
        return [*out, f"{self.out}: {self.table_places} places"]


def tile(
    images: Mapping[str, str],
    labels: Mapping[str, str],
    *,
    legend: str | os.PathLike[str] | None = None,
    size: int,
    out: str | os.PathLike[str],
    append: bool = False,
    bands: Mapping[str, str] | None = None,
    offset: Mapping[str, float] | None = None,
    min_share: float = 0.05,
    kind: Literal["map", "multilabel"] = "map",
    splits: Shares = (0.6, 0.2, 0.2),
    split_by: SplitBy = "block",
    buffer: float | None = None,
    block: int | None = None,
    split: str | None = None,
    group: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TileReport:
    """Cut aligned rasters into places of `size` x `size` pixels of the label raster (of the finest image without one).

    Args:
        images: stream -> path, folder with one file per band, or glob; globs are matched by file name.
        labels: task -> path or glob of a raster of class values.
        legend: of the labels: YAML file or name; needed with labels.
        size: pixels a side.
        out: the table to write, `.parquet`. It replaces an older one, unless `append`.
        append: keep the places of an older table; the same ground stays on the side of the split that it is on.
        bands: stream -> band names, joined by commas, in the files' order.
        offset: stream -> number to add to raw values (-1000).
        min_share: of the known pixels of a place, from which a class counts as present (kind `multilabel`).
        kind: keep the label as a map, or count it into a set of classes.
        splits: shares of train, validation, test.
        split_by: blocks within each scene, or whole scenes.
        buffer: gap between places of different splits, in CRS units along each axis; one window by default.
        block: windows a side of a block; see `tile_plan.lay_out`.
        split: the split of all places of this call.
        group: their group; they then go into one split together.
        seed: of the draw.
        progress: called with scenes done and in all.

    Raises:
        ConfigError: an argument is wrong.
        GridError: rasters of one scene in different CRS, on different ground, or that windows would cut.
        DataError: unmatched files, a label value outside the legend, places that the table has already.
    """
    given = (dict(images), dict(labels), dict(bands or {}), dict(offset or {}))
    ask = _Ask(*given, size, Path(out), kind, min_share, splits, split_by, buffer, block, split, group, seed)
    _check(ask)
    return _tile(ask, legend=legend, append=append, progress=progress)


@dataclass(frozen=True)
class _Ask:
    images: dict[str, str]
    labels: dict[str, str]
    bands: dict[str, str]
    offset: dict[str, float]
    size: int
    out: Path
    kind: LabelKind
    min_share: float
    shares: Shares
    split_by: SplitBy
    buffer: float | None
    block: int | None
    split: str | None
    group: str | None
    seed: int


def _tile(
    ask: _Ask,
    *,
    legend: str | os.PathLike[str] | None,
    append: bool,
    progress: Callable[[int, int], None] | None,
) -> TileReport:
    legends = _legends(ask.labels, legend)
    old, old_legends, old_kinds = _old_rows(ask.out, append)
    kinds: dict[str, LabelKind] = dict.fromkeys(ask.labels, ask.kind)
    _same("legend", old_legends, legends, ask.out)
    _same("kind", old_kinds, kinds, ask.out)
    scenes = [scene_of(stem, files, size=ask.size) for stem, files in match(ask.images, ask.labels).items()]
    ground, rows = _ground_of(old), list(old)
    names = {str(r["name"]) for r in old}
    report = TileReport(str(ask.out), ask.size, len(scenes), splits=dict.fromkeys(SPLITS, 0))
    home = ask.out.resolve().parent
    for done, scene in enumerate(_in_order(scenes, ask.seed)):
        settled = _split_scene(scene, ask, ground, len(scenes) - done)
        fixed = image_cells(scene, home, bands=ask.bands, offset=ask.offset)
        how: dict[str, Any] = {"size": ask.size, "kind": ask.kind, "min_share": ask.min_share, "home": home}
        found = {t: label_cells(scene, t, legend=legends[t], **how) for t in ask.labels}
        rows += _rows(scene, ask, settled, fixed, found, names)
        _count(report, scene, ask, settled, legends, found)
        if progress:
            progress(done + 1, len(scenes))
    _refuse_twice(rows, list(ask.images), ask.out)
    write_table(ask.out, rows, old_legends | legends, old_kinds | kinds)
    report.table_places = len(rows)
    return report


def _check(ask: _Ask) -> None:
    if not ask.images:
        raise ConfigError("no image", where="--image", fix="give --image s2-l2a=FILE.tif")
    for stream in ask.images:
        sensor(stream)
    for option, keys in (("--bands", ask.bands), ("--offset", ask.offset)):
        for key in keys:
            if key not in ask.images:
                raise ConfigError(f"`{key}` is no --image{did_you_mean(key, list(ask.images))}", where=option)
    if ask.size < 1 or (ask.block is not None and ask.block < 1) or (ask.buffer or 0) < 0:
        raise ConfigError("sizes are at least 1 and a buffer at least 0", where="--size, --block, --buffer")
    if len(ask.shares) != 3 or min(ask.shares) < 0 or abs(sum(ask.shares) - 1) > 1e-6:
        raise ConfigError(f"shares {ask.shares} are not three that add up to 1", where="--splits")
    if ask.split is not None and ask.split not in SPLITS:
        hint = did_you_mean(ask.split, SPLITS)
        raise ConfigError(f"unknown split `{ask.split}`{hint}", where="--split", fix=f"use one of {', '.join(SPLITS)}")
    if ask.out.suffix.lower() not in (".parquet", ".pq"):
        raise ConfigError("a table of places is written as .parquet", where=ask.out, fix="--out places.parquet")


def _legends(labels: Mapping[str, str], legend: str | os.PathLike[str] | None) -> dict[str, Legend]:
    if not labels:
        return {}
    if legend is None:
        raise ConfigError(f"no legend for {listed(list(labels))}", where="--legend", fix="give --legend FILE.yaml")
    return load_legends(legend, list(labels))


def _old_rows(out: Path, append: bool) -> tuple[list[dict[str, Any]], dict[str, Legend], dict[str, LabelKind]]:
    if not append or not out.exists():
        return [], {}, {}
    rows = read_rows(out)
    table = [{c: values[i] for c, values in rows.columns.items()} for i in range(len(rows))]
    return table, rows.legends, rows.kinds


def _same(what: str, old: Mapping[str, Any], new: Mapping[str, Any], out: Path) -> None:
    for task in set(old) & set(new):
        if old[task] != new[task]:
            raise ConfigError(
                f"the table holds `{task}` with another {what}", where=out, fix=f"give the same {what}, or another task"
            )


def _in_order(scenes: Sequence[Scene], seed: int) -> list[Scene]:
    return sorted(scenes, key=lambda s: hashlib.sha256(f"{seed}/{s.stem}".encode()).hexdigest())


def _split_scene(scene: Scene, ask: _Ask, ground: Ground, left: int) -> Settled:
    """Splits and groups of all windows of a scene, in agreement with what is placed already; places them."""
    shape, boxes = scene.shape(ask.size), scene.boxes(ask.size)
    width, height = (boxes[0, 2:] - boxes[0, :2]).tolist()
    buffer = (width, height) if ask.buffer is None else (ask.buffer, ask.buffer)
    gap = (int(np.ceil(buffer[1] / height - 1e-6)), int(np.ceil(buffer[0] / width - 1e-6)))
    digest = hashlib.sha256(f"{ask.seed}/{scene.stem}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    old = ground.seen_from(scene.ground, boxes, buffer)
    stem = _own_stem(scene.stem, ground, old.groups)
    layout = None
    if ask.split is None and ask.group is None and ask.split_by == "block":
        layout = lay_out(shape, gap, shares=ask.shares, block=ask.block, rng=rng)
    if layout:
        proposed = layout.split.ravel()
        groups = [f"{stem}/{r}" for r in layout.region.ravel().tolist()]
    else:
        whole = _whole_split(ask, ground, len(boxes), left)
        proposed, groups = np.full(len(boxes), whole, np.int8), [stem] * len(boxes)
    if ask.group:
        groups = [ask.group] * len(boxes)
    settled = settle(proposed, boxes, groups, buffer=buffer, old=old)
    _refuse_other_side(scene, ask, settled)
    ground.add(scene.ground, Placed(boxes, settled.split, settled.groups))
    return settled


def _own_stem(stem: str, ground: Ground, near: Sequence[str]) -> str:
    """The stem for new groups: another one where groups of this stem lie elsewhere, of a file of the same name."""
    taken = {g.partition("/")[0] for parts in ground.parts.values() for p in parts for g in p.groups}
    here = {g.partition("/")[0] for g in near}
    name, again = stem, 1
    while name in taken - here:
        again += 1
        name = f"{stem}_v{again}"
    return name


def _whole_split(ask: _Ask, ground: Ground, size: int, left: int) -> int:
    """The split of a scene that is not cut: the one asked for, its group's, or the one that lacks most."""
    if ask.split is not None:
        return SPLITS.index(ask.split)
    own = [k for k, n in enumerate(ground.count(ask.group)) if n] if ask.group else []
    return own[0] if len(own) == 1 else next_split(ground.count(), ask.shares, size, left)


def _refuse_other_side(scene: Scene, ask: _Ask, settled: Settled) -> None:
    """A split that the user names cannot move ground to another side."""
    if ask.split is None:
        return
    other = {SPLITS[s] for s in settled.split.tolist() if s not in (UNUSED, SPLITS.index(ask.split))}
    if other:
        raise DataError(
            f"{settled.on_old_ground} places lie on ground that is already in {listed(sorted(other))}",
            where=next(iter(scene.images.values())),
            fix=f"leave out --split {ask.split}, or tile this ground first",
        )


def _rows(
    scene: Scene,
    ask: _Ask,
    settled: Settled,
    fixed: Mapping[str, Any],
    labels: Mapping[str, LabelCells],
    names: set[str],
) -> list[dict[str, Any]]:
    out = []
    for i, window in enumerate(scene.windows(ask.size)):
        name = base = f"{scene.stem}_{window.row}_{window.col}"
        again = 1
        while name in names:
            again += 1
            name = f"{base}_v{again}"
        names.add(name)
        side = int(settled.split[i])
        row = {"name": name, "split": "" if side == UNUSED else SPLITS[side], "group": settled.groups[i], **fixed}
        row |= {LABEL + t: found.cells[i] for t, found in labels.items()}
        out.append(row | dict(zip(WINDOW, window_bounds(scene.grid, window), strict=True)) | {"crs": scene.grid.crs})
    return out


def _count(
    report: TileReport,
    scene: Scene,
    ask: _Ask,
    settled: Settled,
    legends: Mapping[str, Legend],
    labels: Mapping[str, LabelCells],
) -> None:
    report.places += len(settled.split)
    report.unused += int((settled.split == UNUSED).sum())
    report.on_old_ground += settled.on_old_ground
    report.edge_share += (1 - len(settled.split) * ask.size**2 / math.prod(scene.grid.shape)) / report.scenes
    sides = {SPLITS[k]: settled.split == k for k in range(3)} | {"": settled.split == UNUSED}
    for name in SPLITS:
        report.splits[name] += int(sides[name].sum())
    for task, found in labels.items():
        report.unlabelled[task] = report.unlabelled.get(task, 0) + int((~found.labelled).sum())
        table = report.classes.setdefault(task, {n: dict.fromkeys(sides, 0) for n in legends[task].names})
        for k, counts in enumerate(table.values()):
            for side, there in sides.items():
                counts[side] += int((found.present[:, k] & there).sum())


def _ground_of(rows: Sequence[Mapping[str, Any]]) -> Ground:
    """The windows of an older table. Rows without a window have no ground that could be compared."""
    ground = Ground()
    by_crs: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("left") is not None and row.get("crs"):
            by_crs.setdefault(str(row["crs"]), []).append(row)
    for crs, part in by_crs.items():
        box = np.array([[float(r[w]) for w in WINDOW] for r in part])
        box[:, [1, 3]] = np.sort(box[:, [1, 3]], 1)
        codes = [SPLITS.index(r["split"]) if r.get("split") else UNUSED for r in part]
        ground.add(crs, Placed(box, np.array(codes, np.int8), [str(r.get("group") or "") for r in part]))
    return ground


def _refuse_twice(rows: Sequence[Mapping[str, Any]], streams: Sequence[str], out: Path) -> None:
    seen: dict[tuple[Any, ...], str] = {}
    for row in rows:
        key = tuple(str(row.get(c)) for c in (*streams, *WINDOW, "crs"))
        if key in seen:
            raise DataError(
                f"place {seen[key]} would stand twice (as {row['name']})", where=out, fix="leave out --append"
            )
        seen[key] = str(row["name"])
