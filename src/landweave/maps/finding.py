"""Which band of an image is faulty: from a run of `reconstruct` and rasters of any size to scores and a verdict."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landweave.contract import Contract, StreamContract
from landweave.errors import ConfigError, DataError, RunError, listed
from landweave.files import write_text
from landweave.maps.cog import CACHE_MIB, Writer
from landweave.maps.sources import Sources, looked_at, open_sources
from landweave.maps.strips import lay_out

if TYPE_CHECKING:
    from landweave.maps.finding_fill import Blocks
    from landweave.maps.finding_scene import At, Sample, Scene
    from landweave.maps.finding_words import Suspect
    from landweave.metrics.suspicion import Values
    from landweave.metrics.verdict import Clean, Look, Verdict
    from landweave.nn.reconstruct import By
    from landweave.run.predict import Run

Progress = Callable[[int, int], None] | None
Path_ = str | Path
MEMORY = 512 * 2**20
SAMPLE = 64
"""Windows that an image is judged by, evenly spread; scores of blocks come from all."""
STEP = 0.05
"""Of the written scores, which are bytes."""
NOTHING = 255
"""Written where nothing is seen."""


@dataclass(frozen=True)
class SensorResult:
    """What was found of one sensor."""

    sensor: str
    path: Path
    filled: Path | None
    table: list[dict[str, Any]]
    suspects: list[Suspect]
    unlike: str
    distance: float
    by: str
    clean_images: int
    alarm: float
    """Share of clean images that may be accused, as the run was asked for."""
    blocks: tuple[int, int]
    block: int
    notes: tuple[str, ...]
    seconds: float

    @property
    def verdict(self) -> str:
        """`none`, `unlike`, or the suspect bands."""
        names = ", ".join(s.band for s in self.suspects)
        return ("unlike" + (f", and {names}" if names else "")) if self.unlike else names or "none"

    @property
    def exceeded(self) -> float:
        """Share of clean images that score above 1: of n, no limit can promise less than 1 / (n + 1)."""
        return max(self.alarm, 1 / (self.clean_images + 1))

    def lines(self) -> list[str]:
        """For a terminal."""
        h, w = self.blocks
        rows = {r["band"]: r for r in self.table}
        worst = max(self.table, key=lambda r: r["score_from_all"])
        out = [f"note: {n}" for n in self.notes]
        out.append(
            f"{self.sensor}: {h} x {w} blocks of {self.block} pixels in {self.seconds:.1f} s, each band predicted from "
            f"the others by {_name(self.by)}; 1 is what about one clean image in {round(1 / self.exceeded)} exceeds"
        )
        if self.unlike:
            out.append(f"unlike the training scenes: {self.unlike}")
        for s in self.suspects:
            r = rows[s.band]
            share = f"{r['blocks_above_1']} of {r['blocks']} blocks above 1"
            out.append(f"{s.band}: {s.text} (score {r['score']:.2f}; {share})")
        if not self.suspects:
            what = "no band is accused" if self.unlike else "none: every band goes with the others"
            high = worst["score_from_all"] > 1 and not self.unlike  # `judge` tried the worst, and found none at fault
            aside = ", but one left aside, no band is at fault" if high else ""
            out.append(f"{what} (the worst is {worst['band']}, score {worst['score_from_all']:.2f}{aside})")
        if self.exceeded > self.alarm:
            few = f"caution: what is clean was measured on {self.clean_images} images only"
            out.append(f"{few}, too few for one false alarm in {round(1 / self.alarm)}: give more validation places")
        out.append(f"wrote {self.path} (scores, a band each) and {self.path.with_suffix('.csv').name}")
        return [*out, *([f"wrote {self.filled} (with the reconstruction where it is faulty)"] if self.filled else [])]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "sensor": self.sensor,
            "verdict": self.verdict,
            "suspects": [vars(s) for s in self.suspects],
            "unlike": self.unlike,
            "distance": self.distance,
            "by": self.by,
            "clean images": self.clean_images,
            "exceeded": round(self.exceeded, 4),
            "block": self.block,
            "bands": self.table,
            "scores": str(self.path),
            "filled": str(self.filled) if self.filled else None,
            "notes": list(self.notes),
        }


def _name(by: str) -> str:
    return "ridge regression" if by == "ridge" else "the network"


@dataclass(frozen=True)
class Ask:
    """What is asked for, beside rasters."""

    out: Path
    block: int
    by: By | None
    fill: Path | None
    overwrite: bool
    memory: int
    side: int | None
    progress: Progress


def find_faults(
    run: Run,
    images: Mapping[str, Path_],
    out: Path_,
    *,
    block: int = 32,
    bands: Mapping[str, str] | None = None,
    offset: Mapping[str, float | str] | None = None,
    by: By | None = None,
    fill: Path_ | None = None,
    overwrite: bool = False,
    memory: int = MEMORY,
    side: int | None = None,
    progress: Progress = None,
) -> list[SensorResult]:
    """Score each band and block of rasters by how it goes with the other bands, and name the bands that do not.

    Writes a COG of scores, uint8 with scale 0.05 and nodata 255, a band each, a pixel a block; and a table beside it
    (`.csv`). Of several sensors each has its own, `out_SENSOR.tif`.

    Args:
        run: an open run of `reconstruct`.
        images: sensor -> raster, several joined by `;` (one file per band), or a folder.
        out: the COG.
        block: pixels along a side; one of the run's `method.blocks`.
        bands: sensor -> band names in file order, where files do not say.
        offset: sensor -> number to add to raw values, as in training.
        by: `network` or `ridge`; by default the one whose residuals on clean places were the smaller.
        fill: a GeoTIFF to write: the image, with the reconstruction in the blocks of a suspect band that are faulty.
            Not written where no band is suspect; an older file under that name is removed then.
        overwrite: replace files that stand there.
        memory: bytes of working memory.
        side: pixels of the windows that are read at once; it changes no score.
        progress: called with the windows done and their number.

    Raises:
        RunError: the run is of another kind.
        ConfigError: another size of block, no image, or a file stands at `out`.
        ContractError, DataError, GridError: the rasters are not what the run was trained on.
    """
    import rasterio

    ask = Ask(Path(out), block, by, Path(fill) if fill else None, overwrite, memory, side, progress)
    _require(run, ask)
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MIB):
        wanted = _wanted(run.contract, images)
        sources = open_sources(wanted, images, bands=bands or {}, offset=offset or {})
        targets = _targets(ask, sources, list(wanted.streams))
        sources = looked_at(sources)
        return [_of_sensor(run, wanted, name, sources, ask, targets[name]) for name in wanted.streams]


def _require(run: Run, ask: Ask) -> None:
    """Refuse what cannot be done, before rasters are opened."""
    if run.settings.method.kind != "reconstruct":
        raise RunError(
            f"a run of {run.settings.method.kind}, which predicts no bands",
            where=run.folder,
            fix="train one that does: landweave train reconstruct data.path=places.parquet --out RUN",
        )
    for path in filter(None, (ask.out, ask.fill)):
        if path.is_dir() or path.suffix.lower() not in (".tif", ".tiff"):
            raise ConfigError("not a .tif file", where=path, fix="give --out faults.tif")
    sizes = {int(s) for sensor in run.config["measured"].values() for s in sensor["clean"]["ridge"]}
    if ask.block not in sizes:
        raise ConfigError(
            f"the run knows what is clean for blocks of {listed([str(s) for s in sorted(sizes)])} pixels, "
            f"not of {ask.block}",
            where="--block",
            fix=f"give one of them, or train with method.blocks=[{ask.block}] on places at least as large",
        )


def _wanted(contract: Contract, images: Mapping[str, Path_]) -> Contract:
    """The contract of the sensors that are given: faults of one say nothing of another."""
    if not images:
        raise ConfigError("no image", fix="give --image SENSOR=FILE for " + listed(list(contract.streams)))
    found = {n: s for n, s in contract.streams.items() if any(s.accepts(g) for g in images)}
    return Contract(found or contract.streams)


def _targets(ask: Ask, sources: Sources, names: Sequence[str]) -> dict[str, tuple[Path, Path | None]]:
    """The files to write for each sensor; none of them may be an input, or stand there unless it may be replaced."""

    def own(path: Path | None, name: str) -> Path | None:
        return path if path is None or len(names) == 1 else path.with_name(f"{path.stem}_{name}{path.suffix}")

    found = {n: (own(ask.out, n) or ask.out, own(ask.fill, n)) for n in names}
    inputs = {Path(p.path).resolve() for s in sources.sources for p in s.parts}
    for path in (p for pair in found.values() for p in pair if p):
        if path.resolve() in inputs:
            raise ConfigError("that is an input", where=path, fix="choose another file to write")
        if path.exists() and not ask.overwrite:
            fix = "choose another file, or add --overwrite to replace it"
            raise ConfigError("a file stands there already", where=path, fix=fix)
    return found


def _opened(run: Run, stream: StreamContract, sources: Sources, ask: Ask) -> tuple[Scene, Clean]:
    """The rasters of a sensor, and the standard to judge them by."""
    from landweave.maps.finding_scene import SIDE, Scene
    from landweave.metrics.verdict import Clean
    from landweave.nn.reconstruct import ReconstructModel

    model, measured = run.model, run.config["measured"][stream.sensor]
    assert isinstance(model, ReconstructModel)
    layout = lay_out([s for s in sources.sources if stream.accepts(s.stream)])
    by: By = ask.by or measured["by"]
    if ask.block % layout.step:
        fit = [size for size in measured["clean"][by] if not int(size) % layout.step]
        raise ConfigError(
            f"blocks of {ask.block} pixels cut those of the coarsest raster",
            where="--block",
            fix=f"give --block {fit[0]}"
            if fit
            else f"train with method.blocks=[{8 * layout.step}], or resample the bands",
        )
    scene = Scene(model, stream, layout, ask.block, by, ask.memory, ask.side or SIDE)
    return scene, Clean.from_json(measured["clean"][by][str(ask.block)])


def _of_sensor(
    run: Run, wanted: Contract, name: str, sources: Sources, ask: Ask, targets: tuple[Path, Path | None]
) -> SensorResult:
    """Judge one sensor and write its files."""
    from landweave.maps.finding_fill import write_filled
    from landweave.maps.finding_words import PLAIN, another_level, row, suspects, unlike
    from landweave.methods.reconstruct import Reconstruct
    from landweave.metrics.verdict import judge

    method = run.settings.method
    assert isinstance(method, Reconstruct)
    began, stream = time.monotonic(), wanted.streams[name]
    scene, clean = _opened(run, stream, sources, ask)
    chosen = _spread(scene.windows)
    seen = scene.sample(chosen)
    scene.lacking = _lacking(scene, seen)
    verdict = judge(clean, _remembered(scene, chosen), seen.medians(scene.model, name))
    found = suspects(scene, clean, verdict, seen, chosen)
    level = another_level(scene, found, seen)
    why = unlike(scene, verdict, seen) if verdict.unlike else level
    if level:
        found = [s for s in found if s.what in PLAIN]
    kept = [stream.bands.index(s.band) for s in found]
    every = scene.figures(scene.windows, verdict.suspects, progress=ask.progress)
    blocks = clean.block_scores(every, scene.looser(verdict.suspects))
    told = {s.band: s for s in found}
    table = [row(scene, clean, verdict, blocks, told, c) for c in range(len(stream.bands))]
    path, filled = targets
    unfilled = []
    if filled and kept:
        write_filled(scene, filled, kept, _wrong(verdict, blocks, kept))
    elif filled:
        older = ", and the file that stood there is removed" if filled.exists() else ""
        unfilled = [f"no band is accused: {filled} is not written{older}"]
        filled.unlink(missing_ok=True)  # the fill of another image, which would pass for that of this one
    _write_scores(scene, path, blocks, {"run": run.folder.name, "predicted by": scene.by})
    write_text(path.with_suffix(".csv"), _csv(table))
    return SensorResult(
        sensor=name,
        path=path,
        filled=filled if kept else None,
        table=table,
        suspects=found,
        unlike=why,
        distance=round(verdict.distance, 3),
        by=scene.by,
        clean_images=run.config["measured"][name]["images"],
        alarm=method.alarm,
        blocks=scene.shape,
        block=ask.block,
        notes=(
            *(n for n in sources.notes if "works without" not in n),
            *([f"{_names(scene)} without data, and left out"] if scene.lacking else []),
            *unfilled,
            *([] if why else _offset_note(scene, seen)),
        ),
        seconds=time.monotonic() - began,
    )


def _lacking(scene: Scene, seen: Sample) -> tuple[int, ...]:
    """Bands of which nothing is seen; the others must be enough to tell a faulty one."""
    from landweave.methods.reconstruct import LEAST_BANDS

    found = tuple(c for c in range(len(scene.stream.bands)) if not seen.seen[c].any())
    left = len(scene.stream.bands) - len(found)
    if left < LEAST_BANDS:
        what = f"{left} bands with data; of fewer than {LEAST_BANDS} nobody can say which is wrong"
        raise DataError(what, where=scene.layout.reference.where)
    return found


def _spread(windows: Sequence[At]) -> list[At]:
    """At most `SAMPLE` windows, evenly over the image."""
    at = np.unique(np.linspace(0, len(windows) - 1, min(SAMPLE, len(windows))).round().astype(int))
    return [windows[i] for i in at]


def _remembered(scene: Scene, chosen: list[At]) -> Look:
    """The figures of the image by hidden bands, each looked at once."""
    from landweave.metrics.suspicion import of_image

    @cache
    def figures(hidden: tuple[int, ...]) -> tuple[Values, Values]:
        return of_image(scene.figures(chosen, hidden)), scene.looser(hidden)

    return figures


def _names(scene: Scene) -> str:
    """The bands without data."""
    return listed([scene.stream.bands[c] for c in scene.lacking], 13)


def _offset_note(scene: Scene, seen: Sample) -> list[str]:
    """The suspicion of an offset that no band shows by itself, since all have it; an unlike image says it elsewhere."""
    from landweave.data.check_values import offset_suspicion

    name, source = scene.stream.sensor, scene.layout.reference.where
    doubt = offset_suspicion(name, seen.darkest(scene.stream), source)
    return (
        [f"{doubt.what}\n  fix: {doubt.fix.replace('(tile), data.offset, or column', 'here; in training')}"]
        if doubt
        else []
    )


def _wrong(verdict: Verdict, blocks: Values, suspects: Sequence[int]) -> Blocks:
    """Where each suspect band is replaced: all blocks of one that is off as a whole, else those above 1."""
    from landweave.metrics.suspicion import KINDS

    whole = [KINDS.index(k) for k in ("level", "rough")]
    found = np.zeros(blocks.shape, bool)
    for c in suspects:
        found[c] = (np.nan_to_num(blocks[c]) > 1) | bool(verdict.final[c][whole].max() > 1)
    return found


def _csv(table: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _write_scores(scene: Scene, path: Path, blocks: Values, tags: Mapping[str, str]) -> None:
    """The scores as bytes: 20 is 1, 254 stands for 12.7 and more."""
    scores = np.minimum(np.rint(np.nan_to_num(blocks) / STEP), NOTHING - 1)
    values = np.where(np.isfinite(blocks), scores, NOTHING).astype(np.uint8)
    bands = scene.stream.bands
    said = {
        "landweave": version("landweave"),
        "sensor": scene.stream.sensor,
        "values": "suspicion; above 1 is what 1 % of the blocks of clean images exceed",
        "pixel": f"a block of {scene.block} x {scene.block} pixels",
        **tags,
    }
    with Writer(path, scene.grid, len(bands), nodata=NOTHING) as writer:
        writer.lane(0, values.shape[2])
        writer.add(values)
        writer.finish(descriptions=bands, tags=said, scale=STEP, overviews="AVERAGE")
