"""The packed store that training reads: LMDB with one compressed safetensors record a place, and an index.

Key of a record: the place's name; of the index: a NUL and `index`. A pack is a folder of `data.mdb` and
`manifest.json`. It is written under `OUT.part` in transactions of some places, so that a killed run goes on where it
stopped, and gets its name only when it is whole: a half-written pack is never taken for a whole one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from landweave.data.dataset import Averaged, DataConfig, Dataset
from landweave.data.packed import AGAIN, INDEX, SPLITS, PackedDataset, key_of, manifest_of
from landweave.data.record import Codec, encode, facts_of, join, press
from landweave.errors import DataError, LandweaveError, listed
from landweave.files import write_json
from landweave.sample import Label

Progress = Callable[[int, int], None]

_OURS = {"data.mdb", "lock.mdb", "lock", "manifest.json", "packing.json"}
_LEFT = {".packing.json.part", ".manifest.json.part"}


class Pack(DataConfig):
    """A packed store. `offset` replaces, for the sensors it names, the offset that was packed."""

    kind: Literal["pack"] = "pack"

    def open(self) -> Dataset:
        """Open the store.

        Raises:
            MissingDataError: no such folder.
            DataError: half-written, damaged, or not a pack.
        """
        return PackedDataset(Path(self.path), offset=self.offset)


@dataclass(frozen=True)
class PackReport:
    """What packing did: `kept` places stood there from an earlier start; `already` means that nothing was to do."""

    out: str
    places: int
    kept: int
    written: int
    bytes: int
    fingerprint: str
    already: bool

    def lines(self) -> list[str]:
        """The report in words."""
        size = f"{self.bytes / 1e6:,.1f} MB"
        if self.already:
            return [f"{self.out}: whole already, {self.places:,} places of the same data ({size}); nothing to do"]
        kept = f", {self.kept:,} of them kept from an earlier start" if self.kept else ""
        return [f"{self.out}: {self.places:,} places packed{kept} ({size})"]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def pack(
    dataset: Dataset,
    out: Path,
    *,
    overwrite: bool = False,
    codec: Codec = "lz4",
    progress: Progress | None = None,
    every: int = 256,
) -> PackReport:
    """Write every place of a dataset into one store; go on where a killed run stopped.

    What an earlier start stored is kept place by place, as long as the place's row, labels and files are the same.

    Args:
        dataset: any reader; what it gives comes back bit for bit.
        out: the folder to write. It appears when the pack is whole; until then it is `OUT.part`.
        overwrite: replace a whole pack of other data.
        codec: `lz4` reads three times as fast, `zstd` is a tenth smaller.
        progress: called with (places done, places in all).
        every: places in one transaction (or 64 MB, whichever is less); a kill costs the last one at most.

    Raises:
        DataError: `out` holds something else, a place cannot be read, the disk is full.
    """
    import lmdb

    marks = _marks(dataset)
    mark = _fingerprint(dataset, marks, codec)
    whole = _standing(out, mark, overwrite)
    if whole is not None:
        return whole
    part = out.with_name(out.name + ".part")
    kept = len(dataset)
    try:
        with _locked(part):
            if _noted(part, "manifest.json") != mark:  # else it was killed between becoming whole and its new name
                _begin(part, _settings(dataset, codec))
                kept = _Writer(dataset, part, marks, codec, every).fill(progress, mark)
                size = (part / "data.mdb").stat().st_size
                manifest = {"pack": 1, "places": len(dataset), "fingerprint": mark, "bytes": size}
                write_json(part / "manifest.json", manifest)
            _publish(part, out)
    except LandweaveError:
        raise
    except (lmdb.Error, OSError) as error:
        what = f"cannot be written: {error}"
        raise DataError(what, where=part, fix=f"free some disk space, then {AGAIN}: it goes on") from error
    size = (out / "data.mdb").stat().st_size
    return PackReport(str(out), len(dataset), kept, len(dataset) - kept, size, mark, already=False)


# ---- telling one source from another


def _marks(dataset: Dataset) -> list[str]:
    """One mark a place: of its row in the index, its classes, and its files' names, sizes and times.

    Raises:
        DataError: there is no place, or a name stands twice.
    """
    names = [p.name for p in dataset.places]
    if not names:
        raise DataError("no places to pack", where=dataset.where)
    if len(set(names)) < len(names):
        first = dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))
        twice = sorted({n for i, n in enumerate(names) if first[n] != i})
        raise DataError(f"place names stand twice: {listed(twice, 3)}", where=dataset.where, fix="make them unique")
    known = [t for t, row in dataset.tasks.items() if row.kind != "map"]  # those of a raster cost reading it
    marks = []
    for i, place in enumerate(dataset.places):
        classes, files = [dataset.classes(i, t) for t in known], [_file_mark(f) for f in dataset.files(i)]
        facts = asdict(place), classes, files, *(dataset.facts(i) and (dataset.facts(i),))
        marks.append(blake2b(repr(facts).encode(), digest_size=12).hexdigest())
    return marks


def _file_mark(file: Path) -> tuple[str, int, int]:
    try:
        stat = file.stat()
    except OSError:
        return file.name, -1, -1  # reading the place will say what is wrong
    return file.name, stat.st_size, stat.st_mtime_ns


def _settings(dataset: Dataset, codec: Codec) -> str:
    tasks = {t: [row.kind, row.legend.to_json()] for t, row in dataset.tasks.items()}
    means = [dataset.averaged] if dataset.averaged != Averaged() else []
    facts = [1, codec, tasks, list(dataset.streams), *means]
    return blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _fingerprint(dataset: Dataset, marks: Sequence[str], codec: Codec) -> str:
    """Of the settings, all marks, and three places as read: these show what no index shows, such as an offset."""
    digest = blake2b(_settings(dataset, codec).encode(), digest_size=16)
    digest.update("".join(marks).encode())
    for i in sorted({0, len(marks) // 2, len(marks) - 1}):
        digest.update(encode(dataset.read(i), {}, codec=codec))
    return digest.hexdigest()


# ---- the folder


def _standing(out: Path, mark: str, overwrite: bool) -> PackReport | None:
    """What has the name already: the same pack (reported), nothing (None), or another thing (refused)."""
    if not out.exists() and not out.is_symlink():
        return None
    if not out.is_dir() or not {f.name for f in out.iterdir()} <= _OURS:
        raise DataError("stands there and is not a pack", where=out, fix="give another name")
    if not any(out.iterdir()):
        out.rmdir()
        return None
    try:
        there = manifest_of(out)
    except DataError as error:
        if overwrite:
            return None
        raise DataError(error.what, where=out, fix="run landweave pack again with --overwrite") from None
    if there["fingerprint"] != mark:
        if overwrite:
            return None
        raise DataError("a pack of other data stands there", where=out, fix="give another name, or --overwrite")
    size, count = int(there["bytes"]), int(there["places"])
    return PackReport(str(out), count, count, 0, size, mark, already=True)


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends."""
    import fcntl

    if part.is_dir() and not {f.name for f in part.iterdir()} <= _OURS | _LEFT:
        raise DataError("stands there and is not a half-written pack", where=part, fix="move it away")
    part.mkdir(parents=True, exist_ok=True)
    with (part / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError("another process is packing here", where=part, fix="wait for it, or end it") from None
        yield


def _noted(folder: Path, name: str) -> str | None:
    try:
        return str(json.loads((folder / name).read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _begin(part: Path, settings: str) -> None:
    """Leave what an earlier start with the same settings left, and nothing else."""
    fresh = _noted(part, "packing.json") != settings
    for file in part.iterdir():
        if file.name in _LEFT or file.name == "manifest.json" or (fresh and file.name != "lock"):
            file.unlink()
    write_json(part / "packing.json", {"fingerprint": settings})


def _publish(part: Path, out: Path) -> None:
    """Give a whole pack its name. A kill in between leaves a whole `.part`, which the next start publishes."""
    for name in ("packing.json", "lock"):
        (part / name).unlink(missing_ok=True)
    _flush_folder(part)
    old = out.with_name(out.name + ".old")
    if old.exists():
        shutil.rmtree(old)
    if out.exists():
        os.rename(out, old)
    os.rename(part, out)
    _flush_folder(out.absolute().parent)
    if old.exists():
        shutil.rmtree(old)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- the records


@dataclass
class _Writer:
    dataset: Dataset
    part: Path
    marks: Sequence[str]
    codec: Codec
    every: int

    def fill(self, progress: Progress | None, mark: str) -> int:
        """Store the places that are not there yet, then the index; returns how many were there."""
        import lmdb

        self.env = lmdb.open(str(self.part), map_size=1 << 26, lock=False, meminit=False)
        self.pending: dict[bytes, bytes | None] = {}
        try:
            found = self._kept()
            kept = len(found)
            todo = [i for i in range(len(self.dataset)) if i not in found]
            for done, i in enumerate(todo, kept + 1):
                blob = self._record(i)
                found[i] = facts_of(blob)
                self._put(key_of(self.dataset.places[i].name), blob)
                if progress:
                    progress(done, len(self.dataset))
            self._put(INDEX, _index(self.dataset, [found[i] for i in range(len(self.dataset))], mark))
        finally:
            try:
                self._commit()  # after a bad place too: what was read is kept
                self.env.sync(True)
            finally:
                self.env.close()
        return kept

    def _kept(self) -> dict[int, dict[str, Any]]:
        """Facts of the places that an earlier start stored from the same files; everything else is deleted."""
        found: dict[int, dict[str, Any]] = {}
        with self.env.begin() as values:
            for i, place in enumerate(self.dataset.places):
                blob = values.get(key_of(place.name))
                if blob is not None and facts_of(blob)["source"] == self.marks[i]:
                    found[i] = facts_of(blob)
            order = sorted(found)
            probes = {order[0], order[len(order) // 2], order[-1]} if order else set()
            # the reader's own settings, an offset say, show in what it reads only
            if any(values.get(key_of(self.dataset.places[i].name)) != self._record(i) for i in sorted(probes)):
                found = {}
            keep = {key_of(self.dataset.places[i].name) for i in found}
            stale = [bytes(k) for k in values.cursor().iternext(values=False) if bytes(k) not in keep]
        self.pending = dict.fromkeys(stale)
        self._commit()
        return found

    def _record(self, index: int) -> bytes:
        sample = self.dataset.read(index)
        for task, label in sample.labels.items():
            if label.legend != self.dataset.tasks[task].legend:
                raise DataError(f"the legend of task {task} differs from the dataset's", where=sample.name)
        present = {t: _present(self.dataset, index, t, sample.labels.get(t)) for t in self.dataset.tasks}
        return encode(sample, present, source=self.marks[index], codec=self.codec)

    def _put(self, key: bytes, blob: bytes) -> None:
        self.pending[key] = blob
        if len(self.pending) >= self.every or sum(len(b) for b in self.pending.values() if b) > 1 << 26:
            self._commit()

    def _commit(self) -> None:
        """Write (None: delete) in one transaction, in a larger map if it does not fit."""
        import lmdb

        while self.pending:
            try:
                with self.env.begin(write=True) as transaction:
                    for key, blob in self.pending.items():
                        _ = transaction.delete(key) if blob is None else transaction.put(key, blob)
                self.pending.clear()
            except lmdb.MapFullError:
                self.env.set_mapsize(self.env.info()["map_size"] * 2)


def _present(dataset: Dataset, index: int, task: str, label: Label | None) -> tuple[int, ...] | None:
    """The classes at a place. Those of a label raster are counted in the raster at hand: it is not read twice."""
    if label is None or label.kind != "map":
        return dataset.classes(index, task)
    known = label.values.numpy()[label.known.numpy()]
    return tuple(np.unique(known).tolist()) if known.size else None


def _index(dataset: Dataset, facts: Sequence[Mapping[str, Any]], mark: str) -> bytes:
    """Everything that `PackedDataset` knows without reading a record."""
    places = dataset.places
    nan = float("nan")
    tables = {
        "names": _text([p.name for p in places]),
        "groups": _text([p.group for p in places]),
        "split": np.array([SPLITS.index(p.split) for p in places], np.uint8),
        "lonlat": np.array([[nan if v is None else v for v in (p.lon, p.lat)] for p in places], np.float64),
        "labelled": np.array([p.labelled for p in places], np.uint8),
    }
    for task, row in dataset.tasks.items():
        bits = np.zeros((len(places), 1 + len(row.legend)), bool)  # the first bit: whether the classes are known
        for i, fact in enumerate(facts):
            classes = fact["present"][task]
            if classes is not None:
                bits[i, [0, *(1 + k for k in classes)]] = True
        tables[f"present:{task}"] = np.packbits(bits, axis=1)
    found = {stream for fact in facts for stream in fact["images"]}
    index = {
        "form": 1,
        "fingerprint": mark,
        "streams": [s for s in dataset.streams if s in found],
        "tasks": {t: [row.kind, row.legend.to_json()] for t, row in dataset.tasks.items()},
        "averaged": dataset.averaged,
        "tables": {k: [v.shape, v.dtype.name] for k, v in tables.items()},
    }
    return join({k: press(v, "zstd") for k, v in tables.items()}, index)


def _text(words: Sequence[str]) -> Any:
    return np.frombuffer(json.dumps(words, ensure_ascii=False).encode(), np.uint8)
