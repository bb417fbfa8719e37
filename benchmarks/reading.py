"""Reading a place of FLAIR-HUB: `python -m benchmarks.reading [--json FILE] [--places N] [--rounds N]`.

Every sensor and label of a place, all dates, as tensors: from the pack that `landweave pack` wrote, and from the
GeoTIFFs, one `rasterio.open` a file; beside it our own reader of the GeoTIFFs. The places are those of
`landweave synth flair-hub`, whose images are uncompressed and whose label maps are LZW; most of a GeoTIFF's time goes
into opening it, and to write it by bands or by pixels makes no difference. All sides read the same places, eight at a
time in turn, in one process and on one thread, from a warm disk; before that their numbers are compared. Figures are
places a CPU second of that process; the ratio is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.losses import machine
from landweave.data.dataset import Dataset
from landweave.data.flairhub import FlairHub
from landweave.data.packed import PackedDataset
from landweave.data.store import pack
from landweave.data.synth import write
from landweave.sample import Sample

WORK, WHAT, LIMIT = "flair-hub place", "places a CPU second", 10.0
TURN = 8
"""Places that a side reads before the next has its turn."""
RASTERIO, READER, PACK = "rasterio, one open a file", "landweave, from the GeoTIFFs", "pack"
Read = Callable[[int], object]


@dataclass(frozen=True)
class Row:
    """One comparison; `times_more` is ours over the peer's figure. `limit` and `reached` only where one is set."""

    work: str
    rows: int
    what: str
    peer: str
    figure: float
    ours: float
    times_more: float
    limit: float | None
    reached: bool | None
    note: str


def main(words: list[str] | None = None) -> int:
    """Print a row a peer, and write them if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--places", type=int, default=32, help="how many places are read")
    parser.add_argument("--rounds", type=int, default=7, help="how often each side reads them all")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = list(compare(Path(folder), args.places, args.rounds))
    for row in rows:
        print(line(row), flush=True)
    if args.json:
        here = {k: v for k, v in machine("cpu").items() if k in ("processor", "python", "torch")}
        here |= {name: version(name) for name in ("rasterio", "blosc2", "lmdb")}
        part = args.json.with_suffix(".part")
        part.write_text(json.dumps({"machine": here, "rows": [asdict(r) for r in rows]}, indent=1) + "\n")
        part.replace(args.json)
    return 0


def line(row: Row) -> str:
    """A row as text."""
    verdict = {None: "", True: f" (limit {LIMIT:g}: reached)", False: f" (limit {LIMIT:g}: NOT reached)"}[row.reached]
    return (
        f"{row.work} x {row.rows}  {row.what}  {row.peer}: {row.figure:.3g}, pack {row.ours:.3g}, "
        f"{row.times_more:.1f} x more{verdict}; {row.note}"
    )


def compare(folder: Path, places: int, rounds: int) -> Iterator[Row]:
    """Write, pack, compare the numbers, then read in turn."""
    files, stored = prepared(folder, places)
    same(files, stored)
    taken = timed({RASTERIO: rasterio_reader(files), READER: files.read, PACK: stored.read}, places, rounds)
    size = (folder / "pack" / "data.mdb").stat().st_size
    raw = sum(f.stat().st_size for i in range(places) for f in files.files(i))
    note = f"{raw / places / 1e6:.1f} MB a place in GeoTIFFs, {size / places / 1e6:.1f} in the pack; {rounds} rounds"
    for peer in (RASTERIO, READER):
        ratio = statistics.median(p / o for p, o in zip(taken[peer], taken[PACK], strict=True))
        theirs, ours = (places / statistics.median(taken[side]) for side in (peer, PACK))
        limit, reached = (LIMIT, ratio >= LIMIT) if peer == RASTERIO else (None, None)
        yield Row(WORK, places, WHAT, peer, theirs, ours, ratio, limit, reached, note)


def prepared(folder: Path, places: int) -> tuple[Dataset, PackedDataset]:
    """The places as GeoTIFFs and as a pack; no date is left out, so that both hold the same."""
    write("flair-hub", folder / "flair", places=places)
    files = FlairHub(path=str(folder / "flair"), clouds=None).open()
    pack(files, folder / "pack")
    return files, PackedDataset(folder / "pack")


def timed(sides: dict[str, Read], places: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each side for all places, a number a round.

    Sides take turns after `TURN` places, not after each: memory that one side has given back to the system costs the
    next one page faults, and in use a side follows itself.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        total = dict.fromkeys(sides, 0.0)
        drawn = random.Random(round_).sample(range(places), places)
        for turn in (drawn[i : i + TURN] for i in range(0, places, TURN)):
            for name, read in sides.items():
                begun = time.process_time()
                for i in turn:
                    read(i)
                total[name] += time.process_time() - begun
        if round_:  # the first warms the disk's cache, and loads libraries
            for name, seconds in total.items():
                taken[name].append(seconds)
    return taken


def rasterio_reader(files: Dataset) -> Callable[[int], dict[Path, Tensor]]:
    """The plain way: each file of a place opened and read, as a tensor."""
    import rasterio

    def read(index: int) -> dict[Path, Tensor]:
        out = {}
        for path in files.files(index):
            with rasterio.open(path) as source:
                out[path] = torch.from_numpy(source.read())
        return out

    return read


def same(files: Dataset, stored: PackedDataset) -> None:
    """Refuse to compare unless all sides give the same numbers at every place.

    Raises:
        SystemExit: they differ, or a file is read by one side only.
    """
    plain = rasterio_reader(files)
    for i, place in enumerate(files.places):
        arrays, sample = plain(i), stored.read(i)
        left = dict(arrays)
        for stream, image in sample.images.items():
            path = files.file_of(i, stream)
            numbers = left.pop(path) if path else torch.empty(0)
            ours = image.data[:, :2] if stream == "dsm-dtm" else image.data  # the third band is derived
            if not torch.equal(ours.flatten(0, 1), numbers):
                raise SystemExit(f"{place.name}: {stream} differs")
        labels = torch.cat([a for p, a in arrays.items() if "LABEL" in str(p)])
        if not _labels_equal(sample, files, labels):
            raise SystemExit(f"{place.name}: labels differ")
        if unread := [p.name for p in left if "LABEL" not in str(p)]:
            raise SystemExit(f"{place.name}: not in the pack: {', '.join(unread)}")


def _labels_equal(sample: Sample, files: Dataset, codes: Tensor) -> bool:
    """Layers in the order of the tasks, as the legend reads them."""
    pairs = zip(files.tasks.items(), codes.numpy(), strict=True)
    return all((task.legend.encode(c) == sample.labels[name].values.numpy()).all() for (name, task), c in pairs)


if __name__ == "__main__":
    sys.exit(main())
