"""The packed store: equal bit for bit, safe across processes, whole or not there at all."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from fake import COVER, Fake

from landweave.data import record
from landweave.data.dataset import Averaged, Chosen, Dataset, Place, Task
from landweave.data.packed import INDEX, key_of
from landweave.data.raster import header, lonlat, read
from landweave.data.raster import write as write_raster
from landweave.data.record import Codec, decode, encode, facts_of
from landweave.data.store import Pack, pack
from landweave.data.table import Table
from landweave.errors import ConfigError, DataError, MissingDataError
from landweave.grid import Grid
from landweave.legends import LEGENDS, Legend
from landweave.sample import Image, Label, Sample
from landweave.sensors import StreamChoice


def same(a: Any, b: Any) -> bool:
    """Equality of two images or labels, dtype and all."""
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, torch.Tensor):
            if x.dtype != y.dtype or x.shape != y.shape or not torch.equal(x, y) or not y.is_contiguous():
                return False
        elif x != y:
            return False
    return True


def same_sample(a: Sample, b: Sample) -> bool:
    parts = [(a.images, b.images), (a.labels, b.labels)]
    keys = all(list(x) == list(y) for x, y in parts)
    return keys and (a.name, a.group) == (b.name, b.group) and all(same(x[k], y[k]) for x, y in parts for k in x)


def records(folder: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as values:
        return {bytes(k): bytes(v) for k, v in values.cursor()}


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_equal_to_the_reader(tmp_path: Path, codec: Codec) -> None:
    source = Fake()
    report = pack(source, tmp_path / "p", codec=codec, every=5)
    packed = Pack(path=str(tmp_path / "p")).open()
    assert (report.places, report.kept, report.written, report.already) == (12, 0, 12, False)
    assert packed.places == source.places
    assert dict(packed.tasks) == source.tasks
    assert list(packed.streams) == list(source.streams)
    for i in (11, 3, *range(12)):  # in any order
        assert same_sample(source.read(i), packed.read(i)), i
        for task in source.tasks:
            assert packed.classes(i, task) == source.classes(i, task)
    assert sorted(f.name for f in (tmp_path / "p").iterdir()) == ["data.mdb", "manifest.json"]
    assert not (tmp_path / "p.part").exists()


def test_awkward_images_and_labels() -> None:
    """Every dtype, scale of every form, dates unseen, masks a band, labels partly known, no grid, long numbers."""
    legend = Legend.from_json({"name": "x", "classes": ["a", "b"]})
    tasks = {"m": Task("map", legend), "k": Task("multilabel", legend)}
    rng = np.random.default_rng(0)
    for dtype in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64"):
        data = (rng.normal(0, 1e3, (3, 4, 5, 7))).astype(dtype)
        seen = rng.random((3, 4, 5, 7)) > 0.5
        image = Image.of("s2-l2a", ("B02", "B03", "B04", "B08"), data, scale=[0.1, 1 / 3, 7e-9], pixels_seen=seen)
        offset = torch.rand(3, 4)
        image = replace(image, offset=offset, dates_seen=torch.tensor([True, False, True]))
        values = torch.tensor([[0, 1, 255], [1, 1, 0]], dtype=torch.uint8)
        partly = torch.tensor([[True, False, False], [True, True, False]])
        labels = {
            "m": Label("map", values, partly, legend),
            "k": Label("multilabel", torch.tensor([1, 0], dtype=torch.uint8), torch.tensor([True, False]), legend),
        }
        sample = Sample({"s2-l2a": image}, labels, "näme/1", "g")
        assert same_sample(sample, decode(encode(sample, {}), tasks))


def test_full_masks_are_left_out_and_the_blob_is_safetensors() -> None:
    from safetensors.numpy import load

    sample = Fake().read(0)
    blob = encode(sample, {})
    tensors = load(blob)
    assert {t.dtype for t in tensors.values()} == {np.dtype("uint8")}
    assert "seen:s2-l2a@20" in tensors  # pixels unseen
    assert "seen:s2-l2a@10" not in tensors
    assert facts_of(blob)["images"]["s2-l2a@10"]["bands"] == ["B02", "B03", "B04", "B08"]


def test_every_legend_survives_the_index(tmp_path: Path) -> None:
    for legend in LEGENDS.values():
        assert Legend.from_json(json.loads(json.dumps(legend.to_json()))) == legend
    assert COVER in [t.legend for t in Fake().tasks.values()]


def test_long_names_and_a_growing_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Fake(count=8, size=64)
    long = ["x" * 600 + str(n) for n in range(8)]
    source.places = [replace(p, name=n) for p, n in zip(source.places, long, strict=True)]
    real = lmdb.open
    monkeypatch.setattr(lmdb, "open", lambda *a, **k: real(*a, **{**k, "map_size": 1 << 16} if "map_size" in k else k))
    pack(source, tmp_path / "p")
    monkeypatch.undo()
    packed = Pack(path=str(tmp_path / "p")).open()
    assert (tmp_path / "p" / "data.mdb").stat().st_size > 4 << 16
    assert all(same_sample(source.read(i), packed.read(i)) for i in range(8))
    assert len({key_of(n) for n in long}) == 8


def test_again_does_nothing_and_other_data_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "p"
    first = pack(Fake(), out)
    before = (out / "data.mdb").stat().st_mtime_ns
    again = pack(Fake(), out)
    assert again.already
    assert "nothing to do" in again.lines()[0]
    assert (again.fingerprint, (out / "data.mdb").stat().st_mtime_ns) == (first.fingerprint, before)
    with pytest.raises(DataError, match="other data") as caught:
        pack(Fake(seed=1), out)
    assert "--overwrite" in str(caught.value)
    held = Pack(path=str(out)).open()
    assert not pack(Fake(seed=1), out, overwrite=True).already
    new = Pack(path=str(out)).open()
    assert same_sample(new.read(0), Fake(seed=1).read(0))
    assert same_sample(held.read(0), Fake(seed=0).read(0)), "a reader that was open goes on with what it opened"
    assert [f.name for f in tmp_path.iterdir()] == ["p"]


def test_files_labels_and_settings_change_the_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "f.tif"
    file.write_bytes(b"1234")

    class Filed(Fake):
        def files(self, index: int) -> tuple[Path, ...]:
            return (file,)

    class Relabelled(Fake):
        def classes(self, index: int, task: str) -> tuple[int, ...] | None:
            return (0,) if (index, task) == (7, "scene") else super().classes(index, task)

    class Shifted(Fake):
        def read(self, index: int) -> Sample:
            sample = super().read(index)
            images = {k: replace(im, offset=im.offset + 1) for k, im in sample.images.items()}
            return replace(sample, images=images)

    class Monthly(Fake):
        averaged = Averaged("monthly")

    def mark(dataset: Dataset) -> str:
        out = tmp_path / "p"
        shutil.rmtree(out, ignore_errors=True)
        return pack(dataset, out).fingerprint

    marks = [mark(Fake()), mark(Filed()), mark(Relabelled()), mark(Shifted()), mark(Chosen(Fake(), [], frozenset()))]
    marks.append(mark(Chosen(Fake(), [StreamChoice.parse("s2-l2a:B02")])))
    os.utime(file, ns=(1, 1))
    marks.append(mark(Filed()))
    marks.append(mark(Monthly()))
    assert Pack(path=str(tmp_path / "p")).open().averaged == Averaged("monthly")
    assert len(set(marks)) == 8
    assert mark(Fake()) == marks[0]


def test_a_choice_of_bands_packs_only_the_streams_it_leaves(tmp_path: Path) -> None:
    chosen = Chosen(Fake(), [StreamChoice.parse("s2-l2a:B02+B08")], frozenset({"place-000"}))
    pack(chosen, tmp_path / "p")
    packed = Pack(path=str(tmp_path / "p")).open()
    assert list(packed.streams) == ["s2-l2a@10"]
    assert packed.places == chosen.places
    assert all(same_sample(chosen.read(i), packed.read(i)) for i in range(12))


def test_the_images_that_nobody_chose_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(Fake(), tmp_path / "p")
    packed = Pack(path=str(tmp_path / "p")).open()
    whole = packed.read(3)
    unpacked = []
    monkeypatch.setattr(record, "_image", lambda row, *views, of=record._image: unpacked.append(row) or of(row, *views))
    found = Chosen(packed, [StreamChoice.parse("dem")]).read(3)
    assert list(found.images) == ["dem"]
    assert len(unpacked) == 1
    assert same(found.images["dem"], whole.images["dem"])
    assert found.labels.keys() == whole.labels.keys()


def test_offset_of_a_pack_replaces_the_packed_one(tmp_path: Path) -> None:
    pack(Fake(), tmp_path / "p")
    packed = Pack(path=str(tmp_path / "p"), offset={"s2-l2a": -1000}).open()
    for i in (0, 4):
        images = packed.read(i).images
        assert torch.allclose(images["s2-l2a@20"].offset, torch.tensor(-0.1))
        assert torch.equal(images["dem"].offset, Fake().read(i).images["dem"].offset)


# ---- halves


HALF = """
import sys, time
sys.path.insert(0, {folder!r})
from pathlib import Path
from fake import Fake
from landweave.data.store import pack
def slowly(done, total):
    print(done, flush=True)
    time.sleep(0.2)
pack(Fake(count=30), Path({out!r}), every=2, progress=slowly)
"""


def test_kill_9_and_again_equals_the_uninterrupted(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "p"
    pack(Fake(count=30), whole)
    script = HALF.format(folder=str(Path(__file__).parent), out=str(out))
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    while int(child.stdout.readline()) < 7:
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not out.exists()
    for path in (out, tmp_path / "p.part"):
        with pytest.raises(DataError, match=r"not finished|half-written") as caught:
            Pack(path=str(path)).open()
        assert "run landweave pack again" in str(caught.value)
    report = pack(Fake(count=30), out)
    assert 4 <= report.kept < 30
    assert "kept from an earlier start" in report.lines()[0]
    assert records(out) == records(whole)
    assert [f.name for f in tmp_path.glob("p*")] == ["p"]


def test_a_half_of_changed_data_keeps_what_is_the_same(tmp_path: Path) -> None:
    """After a bad file is mended the rest is kept; after another seed (same index) nothing is."""
    out = tmp_path / "p"

    class Mended(Fake):
        def files(self, index: int) -> tuple[Path, ...]:
            return (tmp_path / "whole",) if index == 8 else ()

    with pytest.raises(DataError, match=r"fake/8\.tif"):
        pack(Fake(bad=(8,)), out)
    assert len(records(tmp_path / "p.part")) == 8
    (tmp_path / "whole").touch()
    assert pack(Mended(), out).kept == 8
    with pytest.raises(DataError):
        pack(Fake(bad=(10,)), out, overwrite=True)
    assert pack(Fake(seed=3), out, overwrite=True).kept == 0
    pack(Fake(seed=3), tmp_path / "q")
    assert records(out) == records(tmp_path / "q")


def test_places_that_left_the_data_leave_the_half(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        pack(Fake(bad=(10,)), tmp_path / "p")
    source = Fake(count=9)
    assert pack(source, tmp_path / "p").kept == 9
    assert len(records(tmp_path / "p")) == 10


def test_killed_between_whole_and_named(tmp_path: Path) -> None:
    out, part = tmp_path / "p", tmp_path / "p.part"
    pack(Fake(), out)
    out.rename(part)
    calls: list[int] = []
    assert pack(Fake(), out, progress=lambda done, total: calls.append(done)).kept == 12
    assert not calls
    assert same_sample(Pack(path=str(out)).open().read(3), Fake().read(3))


def test_two_packers_do_not_meet(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "p.part").mkdir()
    with (tmp_path / "p.part" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process"):
            pack(Fake(), tmp_path / "p")


def read_all(folder: Path) -> None:
    dataset = Pack(path=str(folder)).open()
    for i in range(len(dataset)):
        dataset.read(i)


def test_damage_is_told(tmp_path: Path) -> None:
    out = tmp_path / "p"
    pack(Fake(), out)

    def refused(change: Any, match: str) -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(out, copy)
        change(copy)
        with pytest.raises(DataError, match=match) as caught:
            read_all(copy)
        assert "again" in str(caught.value)
        assert str(copy) in str(caught.value)

    def note(copy: Path, **changes: Any) -> None:
        raw = json.loads((copy / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps({**raw, **changes}))

    def damage(copy: Path) -> None:
        with lmdb.open(str(copy), map_size=1 << 26) as env, env.begin(write=True) as values:
            values.put(key_of("place-006"), values.get(key_of("place-006"))[:-200])
        (copy / "lock.mdb").unlink()
        note(copy, bytes=(copy / "data.mdb").stat().st_size)

    def lose(copy: Path, key: bytes) -> None:
        with lmdb.open(str(copy), map_size=1 << 26) as env, env.begin(write=True) as values:
            values.delete(key)
        note(copy, bytes=(copy / "data.mdb").stat().st_size)

    refused(lambda c: (c / "manifest.json").unlink(), "manifest.json is missing")
    refused(lambda c: note(c, places=11), "disagree")
    refused(lambda c: note(c, fingerprint="0"), "disagree")
    refused(lambda c: note(c, pack=2), "version 2")
    refused(lambda c: os.truncate(c / "data.mdb", 8192), "cut short")
    refused(damage, "damaged record")
    refused(lambda c: lose(c, key_of("place-006")), "no record of place place-006")
    refused(lambda c: lose(c, INDEX), "no index")
    with pytest.raises(MissingDataError):
        Pack(path=str(tmp_path / "nowhere")).open()
    os.truncate(out / "data.mdb", 8192)
    with pytest.raises(DataError, match="cut short"):
        pack(Fake(), out)
    assert not pack(Fake(), out, overwrite=True).already
    assert same_sample(Pack(path=str(out)).open().read(3), Fake().read(3))


def test_what_is_not_a_pack_is_never_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").touch()
    for overwrite in (False, True):
        with pytest.raises(DataError, match="not a pack"):
            pack(Fake(), mine, overwrite=overwrite)
    mine.rename(tmp_path / "p.part")
    with pytest.raises(DataError, match="not a half-written pack"):
        pack(Fake(), tmp_path / "p")
    assert (tmp_path / "p.part" / "photo.jpg").exists()
    double = Fake()
    double.places[1] = double.places[0]
    with pytest.raises(DataError, match="place-000"):
        pack(double, tmp_path / "q")


# ---- processes


def _read(dataset: Dataset, index: int) -> bool:
    return same_sample(dataset.read(index), Fake().read(index))


def test_read_in_a_forked_process(tmp_path: Path) -> None:  # a spawned one: test_load.py
    pack(Fake(), tmp_path / "p")
    packed = Pack(path=str(tmp_path / "p")).open()
    packed.read(0)  # the parent's handle is open when the child is made
    with torch.multiprocessing.get_context("fork").Pool(1) as pool:
        assert all(pool.starmap(_read, [(packed, i) for i in range(12)]))
    assert _read(packed, 1)


def test_after_a_fork_the_handle_is_not_the_parents(tmp_path: Path) -> None:
    pack(Fake(), tmp_path / "p")
    packed: Any = Pack(path=str(tmp_path / "p")).open()
    packed.read(0)
    assert pickle.loads(pickle.dumps(packed))._env is None
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            packed.read(1)
            os.write(here, str(packed._env.pid).encode())
        except BaseException as error:
            os.write(here, repr(error).encode())
        os._exit(0)
    os.close(here)
    os.waitpid(child, 0)
    assert os.read(there, 1000).decode() == str(child)
    os.close(there)
    assert packed._env.pid == os.getpid()
    second: Any = Pack(path=str(tmp_path / "p")).open()
    second.read(0)
    assert second._env is packed._env, "LMDB forbids a second handle on one file in one process"


# ---- genuine files


class Tiles(Dataset):
    """The TerraMind tiles as they lie."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.where = folder, str(folder)
        names = sorted(f.stem for f in (folder / "S2L2A").glob("*.tif"))
        points = [lonlat(header(folder / "S2L2A" / f"{n}.tif").grid) or (None, None) for n in names]
        self.places = [Place(n, "train", n, *p) for n, p in zip(names, points, strict=True)]
        self.streams = ("s2-l2a", "s2-l1c", "s1-rtc-gamma0", "dem")
        self.tasks = {}
        self.folders = dict(zip(self.streams, ("S2L2A", "S2L1C", "S1RTC", "DEM"), strict=True))

    def files(self, index: int) -> tuple[Path, ...]:
        return tuple(self.folder / f / f"{self.places[index].name}.tif" for f in self.folders.values())

    def read(self, index: int) -> Sample:
        from landweave.sensors import sensor

        images = {}
        for stream, file in zip(self.folders, self.files(index), strict=True):
            raster = read(file)
            bands = sensor(stream).band_names[: len(raster.data)]
            images[stream] = Image.of(stream, bands, raster.data, grid=raster.grid, pixels_seen=raster.valid)
        return Sample(images, {}, self.places[index].name)

    def classes(self, index: int, task: str) -> tuple[int, ...] | None:
        return None


def test_genuine_tiles_pack_smaller_than_their_files(real: Path, tmp_path: Path) -> None:
    tiles = Tiles(real / "terramind")
    report = pack(tiles, tmp_path / "p")
    packed = Pack(path=str(tmp_path / "p")).open()
    assert all(same_sample(tiles.read(i), packed.read(i)) for i in range(5))
    size = sum(f.stat().st_size for i in range(5) for f in tiles.files(i))
    print(f"pack / GeoTIFFs = {report.bytes / size:.3f} ({report.bytes} / {size} bytes)")
    assert report.bytes <= 0.95 * size


def test_genuine_bigearthnet_packs_smaller_and_reads_faster(real: Path, tmp_path: Path) -> None:
    """14 files of one place: at most 0.95 of their size, and at least 10 times rasterio's speed."""
    found = sorted((real / "formats" / "bigearthnet-v2").rglob("*.tif*"))
    bands = {f.stem.rpartition("_")[2]: f for f in found if "reference" not in f.name}

    class One(Tiles):
        def __init__(self) -> None:
            self.where, self.tasks = "one", {}
            self.places = [Place(f"p{n}", "train") for n in range(20)]
            self.streams = ("s2-l2a@10", "s2-l2a@20", "s2-l2a@60", "s1-grd-sigma0")

        def files(self, index: int) -> tuple[Path, ...]:
            return tuple(bands.values())

        def read(self, index: int) -> Sample:
            images = {}
            for stream, names in {
                "s2-l2a@10": ("B02", "B03", "B04", "B08"),
                "s2-l2a@20": ("B05", "B06", "B07", "B8A", "B11", "B12"),
                "s2-l2a@60": ("B01", "B09"),
                "s1-grd-sigma0": ("VV", "VH"),
            }.items():
                rasters = [read(bands[n]) for n in names]
                data = np.concatenate([r.data for r in rasters])
                seen = np.concatenate([r.valid for r in rasters])
                images[stream] = Image.of(stream, names, data, grid=rasters[0].grid, pixels_seen=seen[None])
            return Sample(images, {}, self.places[index].name)

    source = One()
    report = pack(source, tmp_path / "p")
    packed = Pack(path=str(tmp_path / "p")).open()
    assert same_sample(source.read(3), packed.read(3))
    size = 20 * sum(f.stat().st_size for f in source.files(0))
    slow, fast = (min(_seconds(d) for _ in range(3)) for d in (source, packed))
    print(f"pack / GeoTIFFs = {report.bytes / size:.3f}; {1 / slow:.0f} and {1 / fast:.0f} places a CPU second")
    assert report.bytes <= 0.95 * size
    assert fast < slow / 10


def _seconds(dataset: Dataset) -> float:
    start = time.process_time()
    for i in range(20):
        dataset.read(i)
    return (time.process_time() - start) / 20


def test_an_offset_written_into_the_table_makes_it_another_pack(tmp_path: Path) -> None:
    for i in range(5):
        write_raster(
            tmp_path / f"{i}.tif",
            np.full((4, 8, 8), 2000 + i, "uint16"),
            Grid("EPSG:32633", (10, 0, 0, 0, -10, 0), (8, 8)),
        )
    table = tmp_path / "t.csv"
    rows = [f"p{i},{i}.tif" for i in range(5)]
    table.write_text("\n".join(["name,s2-l2a,s2-l2a.offset", *(f"{r}," for r in rows)]) + "\n")
    pack(Table(path=str(table)).open(), tmp_path / "p")
    assert pack(Table(path=str(table)).open(), tmp_path / "p").already
    # not the first, middle or last place, which are read to tell packs apart
    table.write_text(
        "\n".join(["name,s2-l2a,s2-l2a.offset", *(f"{r},{'-1000' * (i == 1)}" for i, r in enumerate(rows))]) + "\n"
    )
    with pytest.raises(DataError, match="other data"):
        pack(Table(path=str(table)).open(), tmp_path / "p")
    pack(Table(path=str(table)).open(), tmp_path / "p", overwrite=True)
    found = [Pack(path=str(tmp_path / "p")).open().read(i).images["s2-l2a"].physical().mean().item() for i in (0, 1)]
    assert found == pytest.approx([0.2, 0.1001])


def test_an_offset_of_a_sensor_that_a_pack_lacks_is_refused(tmp_path: Path) -> None:
    pack(Fake(), tmp_path / "p")
    with pytest.raises(ConfigError, match=r"data\.offset names `s2-l1b`"):
        Pack(path=str(tmp_path / "p"), offset={"s2-l1b": -1000}).open()
