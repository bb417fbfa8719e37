"""A pack as a dataset: LMDB with one record a place, opened lazily and anew in every process."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from landweave.data.dataset import Averaged, Dataset, Place, Split, Task
from landweave.data.official import raw_offsets
from landweave.data.record import decode, expand, part_of
from landweave.errors import DataError, MissingDataError
from landweave.legends import Legend
from landweave.sample import Image, Sample
from landweave.sensors import sensor

INDEX = b"\x00index"
"""The key of the index; no place has it, for names do not begin with NUL."""
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "", "snow_cloud")
"""In the order of their numbers in a pack: what is new comes last."""
AGAIN = "run landweave pack again"


class _Env:
    """An open LMDB environment of one process. Shared by all datasets of the process that stand on the same file."""

    def __init__(self, path: Path) -> None:
        import lmdb

        self.pid = os.getpid()
        # readahead: a record spans some 60 pages, which without it are 60 reads of a cold disk
        self.lmdb = lmdb.open(str(path), readonly=True, lock=False, readahead=True, meminit=False, create=False)


_open_envs: WeakValueDictionary[tuple[int, int, int], _Env] = WeakValueDictionary()


def _forget_envs() -> None:
    """In a forked child: close what the parent had open, for LMDB refuses to open a file twice in one process."""
    for env in list(_open_envs.values()):
        env.lmdb.close()
    _open_envs.clear()


os.register_at_fork(after_in_child=_forget_envs)


class PackedDataset(Dataset):
    """A pack, read place by place. Opened anew in every process; no handle is pickled or used across a fork."""

    def __init__(self, path: Path, *, offset: Mapping[str, float] | None = None) -> None:
        self.path, self.where, self._offset = path, str(path), dict(offset or {})
        self._env: _Env | None = None
        manifest = manifest_of(path)
        self.fingerprint = str(manifest["fingerprint"])
        facts = self._read_index()
        raw_offsets(self._offset, self.streams, where=self.where)  # refuses sensors that are not here
        if (facts["fingerprint"], len(self.places)) != (manifest["fingerprint"], manifest["places"]):
            raise DataError("manifest and index disagree", where=path, fix=AGAIN)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_env": None}

    @contextmanager
    def _values(self) -> Iterator[Any]:
        """A read transaction whose values are views of the mapped file, valid inside it."""
        if self._env is None or self._env.pid != os.getpid():
            self._env = _env_of(self.path)
        with self._env.lmdb.begin(buffers=True) as transaction:
            yield transaction

    def _read_index(self) -> dict[str, Any]:
        with self._values() as values:
            blob = values.get(INDEX)
            if blob is None:
                raise DataError("no index", where=self.path, fix=AGAIN)
            facts, views = part_of(blob)
            tables = {k: expand(v, *facts["tables"][k]) for k, v in views.items()}
        self.tasks = {t: Task(k, Legend.from_json(legend)) for t, (k, legend) in facts["tasks"].items()}
        self.streams = list(facts["streams"])
        self.averaged = Averaged(*facts.get("averaged", ()))
        self.places = _places(tables)
        self._present = {t: tables[f"present:{t}"] for t in self.tasks}
        return facts

    def read(self, index: int) -> Sample:
        """Unpack one place.

        Raises:
            DataError: the record is missing or damaged.
        """
        return self.read_streams(index, self.streams)

    def read_streams(self, index: int, streams: Collection[str]) -> Sample:
        """Unpack one place without its other images. See `Dataset.read_streams`."""
        name = self.places[index].name
        with self._values() as values:
            blob = values.get(key_of(name))
            if blob is None:
                raise DataError(f"no record of place {name}", where=self.path, fix=AGAIN)
            sample = decode(blob, self.tasks, streams, where=f"{self.path}: {name}")
        if not self._offset:
            return sample
        return replace(sample, images={k: self._shifted(k, im) for k, im in sample.images.items()})

    def _shifted(self, stream: str, image: Image) -> Image:
        row = sensor(stream)
        if row.name not in self._offset:
            return image
        return replace(image, offset=row.offset + self._offset[row.name] * image.scale)

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        """From the index."""
        known, *row = np.unpackbits(self._present[task][index], count=1 + len(self.tasks[task].legend))
        return tuple(i for i, there in enumerate(row) if there) if known else None


def _env_of(path: Path) -> _Env:
    file = path / "data.mdb"
    if not file.is_file():
        raise MissingDataError("the pack has gone", where=file, fix=AGAIN)
    stat = file.stat()
    key = (os.getpid(), stat.st_dev, stat.st_ino)  # a pack that was replaced is another file
    env = _open_envs.get(key)
    if env is None:
        env = _open_envs[key] = _Env(path)
    return env


def manifest_of(path: Path) -> dict[str, Any]:
    """The manifest of a whole pack.

    Raises:
        MissingDataError: no such folder.
        DataError: half-written, damaged, cut short, or not a pack.
    """
    if not path.is_dir():
        part = path.with_name(path.name + ".part")
        if part.is_dir():
            raise DataError("packing was not finished", where=part, fix=f"{AGAIN}: it goes on where it stopped")
        raise MissingDataError("no such pack", where=path, fix="set data.path to the folder that landweave pack wrote")
    if path.suffix == ".part":
        raise DataError("a half-written pack", where=path, fix=f"{AGAIN}: it goes on where it stopped")
    try:
        raw = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        manifest = {k: raw[k] for k in ("places", "fingerprint", "bytes")}
        version = raw["pack"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError("no pack: manifest.json is missing or damaged", where=path, fix=AGAIN) from None
    if version != 1:
        raise DataError(f"a pack of version {version}, this landweave reads version 1", where=path, fix=AGAIN)
    size = (path / "data.mdb").stat().st_size if (path / "data.mdb").is_file() else 0
    if size != manifest["bytes"]:
        what = f"data.mdb has {size:,} bytes, its manifest says {manifest['bytes']:,}"
        raise DataError(f"{what}: cut short, or mixed with another pack", where=path, fix=f"copy it again, or {AGAIN}")
    return manifest


def _places(tables: Mapping[str, Any]) -> list[Place]:
    names, groups = (json.loads(bytes(tables[k])) for k in ("names", "groups"))
    coords = [[None if v != v else v for v in row] for row in tables["lonlat"].tolist()]
    splits = [SPLITS[i] for i in tables["split"].tolist()]
    labelled = [bool(v) for v in tables["labelled"].tolist()]
    columns = zip(names, splits, groups, coords, labelled, strict=True)
    return [Place(n, s, g, lon, lat, there) for n, s, g, (lon, lat), there in columns]


def key_of(name: str) -> bytes:
    """The key of a place: its name; LMDB takes 511 bytes, longer names are shortened by their hash."""
    raw = name.encode()
    return raw if len(raw) <= 500 else raw[:400] + blake2b(raw, digest_size=16).hexdigest().encode()
