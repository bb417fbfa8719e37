"""What the figures of an adapted run need: its embedding beside its teacher's, and maps of some places under faults.

Kept in RUN/figures/robust.json, and measured again only if the run, its teacher's weights or its places have changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.data.order import evenly
from landweave.errors import LandweaveError
from landweave.files import write_json
from landweave.legends import UNKNOWN
from landweave.reports import pictures, tsne
from landweave.reports.figures import SERIES
from landweave.run.matrix import TEST
from landweave.run.matrix_look import Places, look
from landweave.run.predict import open_run
from landweave.transforms.faults import Faults

if TYPE_CHECKING:
    from landweave.run.evaluate import Scene
    from landweave.run.predict import Run
    from landweave.sample import Image

FORM = 1
MOST, SHOWN = 500, 4
"""Places of the principal components, and of the maps."""
NAME = "robust"

Say = Callable[[str], None]


def measure(run: Run, scene: Scene, split: str, *, say: Say = lambda _: None) -> None:
    """Measure and write, where the run has a teacher; what cannot be measured is kept as `why`."""
    if not run.settings.method.teacher:
        return
    mark = _mark(run, scene, split)
    if load(run.folder).get("fingerprint") == mark:
        return
    say("embedding beside the teacher's")
    try:
        found = _measured(run, open_run(run.settings.start), scene)
    except LandweaveError as error:
        found = {"why": error.what}
    write_json(_file(run.folder), {"fingerprint": mark, "split": split, **found})


def load(folder: Path) -> dict[str, Any]:
    """What was measured; empty where nothing was, or where the file is damaged."""
    try:
        found: dict[str, Any] = json.loads(_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _file(folder: Path) -> Path:
    return folder / "figures" / f"{NAME}.json"


def _mark(run: Run, scene: Scene, split: str) -> str:
    weights = [Path(folder) / "model.safetensors" for folder in (run.folder, run.settings.start)]
    stamps = [[w.stat().st_size, w.stat().st_mtime_ns] if w.is_file() else [] for w in weights]
    names = [scene.dataset.places[i].name for i in scene.scored]
    parts = [FORM, split, (run.folder / "config.json").read_text(encoding="utf-8"), stamps, names]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _measured(run: Run, teacher: Run, scene: Scene) -> dict[str, Any]:
    faults = run.settings.method.faults.model_copy(update={"complete": 0.0})
    indices = evenly(scene.scored, MOST)
    places = Places(scene, indices, run)
    (whole,) = look([teacher], places, Faults(), TEST)
    before, after = look([teacher, run], places, faults, TEST)
    rows = {"teacher, complete images": whole, "teacher, faulty images": before, "student, faulty images": after}
    planes, explained = components({k: v.features for k, v in rows.items()})
    group, groups, coloured = (
        tsne.grouped(run, scene, indices, {})
        if run.kind != "map"
        else (np.zeros(len(indices), np.int64), [{"name": "places", "color": SERIES[0]}], "")
    )
    return {
        "n": len(indices),
        "faults": faults.lines(),
        "planes": {k: v.round(4).tolist() for k, v in planes.items()},
        "explained": explained,
        "group": group.tolist(),
        "groups": groups,
        "coloured": coloured,
        "panels": _panels(run, teacher, scene, faults) if run.kind == "map" else [],
    }


def components(rows: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[np.float64]], list[float]]:
    """The first two principal components of the first set of rows (N D), of unit length, and all sets along them.

    Axes are those of the first set, so that what has moved is seen to have moved. Also gives the share of the first
    set's variance along each axis.
    """
    units = {k: tsne.unit(v) for k, v in rows.items()}
    first = next(iter(units.values()))
    middle = first.mean(0)
    _, s, axes = np.linalg.svd(first - middle, full_matrices=False)
    two = np.zeros((2, first.shape[1]))
    two[: min(2, len(axes))] = axes[:2]
    for axis in two:  # of the two directions the one in which the largest entry is positive: the same on every machine
        axis *= np.sign(axis[np.abs(axis).argmax()]) or 1.0
    total = max(float((s**2).sum()), 1e-12)
    return {k: (v - middle) @ two.T for k, v in units.items()}, [round(float(x) ** 2 / total, 4) for x in s[:2]]


def _panels(run: Run, teacher: Run, scene: Scene, faults: Faults) -> list[dict[str, Any]]:
    """Complete image, faulty image, what the teacher and the student make of it, and the truth."""
    from landweave.transforms import cubes
    from landweave.transforms.faults import spoil

    metres = {n: s.metres for n, s in run.contract.streams.items()}
    colors, out = run.legend.colors, []
    for index in evenly(scene.scored, SHOWN):
        (batch,) = scene.batches([index], batch_size=1)
        whole = cubes(batch, run.contract)
        spoilt = spoil(whole, faults, TEST, metres=metres)
        sensor, bands = _struck(faults, run)
        label = batch.labels[run.task]
        truth = np.where(label.known[0].numpy(), label.values[0].numpy(), UNKNOWN).astype(np.uint8)
        maps = {"teacher": teacher.predict(spoilt), "student": run.predict(spoilt)}
        said = {k: v[0].argmax(0).numpy().astype(np.uint8) for k, v in maps.items()}
        images = {"complete": whole.images[sensor], "faulty": spoilt.images[sensor]}
        shown = {k: composite(image, bands, images["complete"]) for k, image in images.items()}
        shown |= {k: pictures.class_picture(v, colors) for k, v in {**said, "truth": truth}.items()}
        out.append(
            {
                "place": batch.names[0],
                "bands": list(bands),
                "right": {k: _right(v, truth) for k, v in said.items()},
                "pictures": {k: pictures.data_uri(v) for k, v in shown.items()},
            }
        )
    return out


def _struck(faults: Faults, run: Run) -> tuple[str, tuple[str, ...]]:
    """The sensor that the first fault strikes, and three of its bands, the struck ones first."""
    there = {n: s.bands for n, s in run.contract.streams.items()}
    sensor, bands = next(iter(faults.faults[0].chosen(there).items()))
    rest = [b for b in there[sensor] if b not in bands]
    return sensor, tuple([*bands, *rest][:3])


def composite(image: Image, bands: Sequence[str], reference: Image) -> pictures.Pixels:
    """Up to three bands of one place as red, green and blue, by the reference's range; what is unseen is black."""
    layers = []
    for band in bands:
        at = image.bands.index(band)
        values, seen = image.physical()[0, 0, at].numpy(), image.seen[0, 0, at].numpy()
        whole = reference.physical()[0, 0, at].numpy()[reference.seen[0, 0, at].numpy()]
        low, high = np.percentile(whole, [2, 98]) if whole.size else (0.0, 1.0)
        share = ((values - low) / max(float(high - low), 1e-6)).clip(0, 1) * seen
        layers.append(np.rint(255 * share).astype(np.uint8))
    while len(layers) < 3:
        layers.append(layers[-1])
    return np.stack([*layers, np.full_like(layers[0], 255)], axis=-1)


def _right(answer: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float | None:
    if answer.shape != truth.shape or not (truth != UNKNOWN).any():
        return None
    return round(float((answer == truth)[truth != UNKNOWN].mean()), 4)
