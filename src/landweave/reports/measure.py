"""What the figures of a report need beyond the scores: measured once, kept in RUN/figures, and reused.

    figures/classes.json   class spectra and similarity       figures/tsne.json   layouts before and after training
    figures/gradcam.json   examples with their maps

Each file carries a fingerprint of the run and of its places; it is measured again only if that has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.data.order import evenly
from landweave.errors import LandweaveError
from landweave.files import write_json
from landweave.reports import gradcam, spectra, tsne
from landweave.run.embed import encode, untrained

if TYPE_CHECKING:
    from landweave.run.embed import Embedded
    from landweave.run.evaluate import Scene
    from landweave.run.predict import Run

FORM = 2
"""Of the files; another number makes all of them anew."""
MOST_EMBEDDED, MOST_SPECTRA = 500, 200
"""Places that are read for the layouts and for the spectra."""
NAMES = ("classes", "tsne", "gradcam")

Say = Callable[[str], None]


def measure(run: Run, scene: Scene, split: str, *, say: Say = lambda _: None) -> None:
    """Measure what is lacking or out of date, and write it.

    Label maps have no t-SNE and no Grad-CAM, as one place has no one answer; a run without a classifier has no
    Grad-CAM. What cannot be measured is kept as `why`.
    """
    mark = fingerprint(run, scene, split)
    known = load(run.folder)
    stale = [n for n in NAMES if known[n].get("fingerprint") != mark]
    if "classes" in stale:
        say("class spectra")
        known["classes"] = _guarded(
            lambda: spectra.class_spectra(run, scene, evenly(scene.scored, MOST_SPECTRA)), split
        )
        _keep(run.folder, "classes", known["classes"], mark)
    heavy = [n for n in stale if n != "classes"]
    if run.kind == "map" or not heavy:
        return
    say("embeddings before and after training")
    indices = evenly(scene.scored, MOST_EMBEDDED)
    before, after = encode(run, scene, indices, [untrained(run, scene), run.model])
    if "tsne" in heavy:
        found = _guarded(lambda: tsne.layout(run, scene, indices, before, after, known["classes"]), split)
        _keep(run.folder, "tsne", found, mark)
    if "gradcam" in heavy:
        say("Grad-CAM")
        _keep(run.folder, "gradcam", _guarded(lambda: _maps(run, scene, indices, after), split), mark)


def _maps(run: Run, scene: Scene, indices: list[int], after: Embedded) -> dict[str, Any]:
    if not after.probabilities.shape[1]:
        return {"why": "the run was pretrained without labels, so no class speaks for itself"}
    return gradcam.panels(run, scene, indices, after)


def _guarded(make: Callable[[], dict[str, Any]], split: str) -> dict[str, Any]:
    """What is measured, or why it could not be."""
    try:
        return {"split": split, **make()}
    except LandweaveError as error:
        return {"split": split, "why": error.what}


def _keep(folder: Path, name: str, found: dict[str, Any], mark: str) -> None:
    write_json(folder / "figures" / f"{name}.json", {"fingerprint": mark, **found})


def fingerprint(run: Run, scene: Scene, split: str) -> str:
    """Changes with the settings, the weights, the places and the form of the files."""
    weights = (run.folder / "model.safetensors").stat() if (run.folder / "model.safetensors").is_file() else None
    parts = [
        FORM,
        MOST_EMBEDDED,
        MOST_SPECTRA,
        split,
        (run.folder / "config.json").read_text(encoding="utf-8"),
        [weights.st_size, weights.st_mtime_ns] if weights else [],
        [scene.dataset.places[i].name for i in scene.scored],
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """What lies in RUN/figures by name; empty where nothing does, or something older than the weights.

    A damaged file counts as none: it is made again.
    """
    found: dict[str, dict[str, Any]] = {}
    weights = folder / "model.safetensors"
    since = weights.stat().st_mtime if weights.is_file() else 0.0
    for name in NAMES:
        path = folder / "figures" / f"{name}.json"
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            found[name] = read if isinstance(read, dict) and path.stat().st_mtime >= since else {}
        except (OSError, ValueError):
            found[name] = {}
    return found
