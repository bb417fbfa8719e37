"""Class spectra of a run's places, how alike they are, and whether alike classes have the larger loss.

After MoSAiC, figures 3 and 4. The paper computes "similarity = 1/(1 + mean Euclidean distance)" among the pixels of two
classes and prints over 97 % for many pairs. Such numbers come from reflectance between 0 and 1 and from the distance
between the classes' mean spectra, which is our reading; the mean distance between single pixels is several times as
large, as each class is spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.legends import UNKNOWN

if TYPE_CHECKING:
    from landweave.run.evaluate import Scene
    from landweave.run.predict import Run
    from landweave.sample import Batch, Image

Values = NDArray[np.float64]
LEAST = 50
"""Pixels that a class must have."""


def class_spectra(run: Run, scene: Scene, indices: Sequence[int]) -> dict[str, Any]:
    """Mean and standard deviation of the reflectance of each class by band, and the similarity of the classes.

    Pixels are told apart by a label map, where the data have one of these classes; otherwise every pixel of a place
    counts for each class that the place has. Dates are averaged before. A pixel of which a band is not seen is left
    out, and so is a class of fewer than `LEAST` pixels.

    Returns:
        `sensor`, `bands`, `nanometres`, `by` (`pixels` or `places`), `places`, `classes` (a row each: index, name,
        color, n, mean, std) and `similarity`; or `why` there is nothing.
    """
    name = optical(run)
    if not name:
        return {"why": "none of the run's sensors measures reflectance"}
    from landweave.transforms import cubes

    if not run.task:
        return {"why": "the run was pretrained on data without labels"}
    row = run.contract.streams[name]
    K, C = len(run.legend), len(row.bands)
    task = map_task(run, scene)
    n, total, squares = np.zeros(K), np.zeros((K, C)), np.zeros((K, C))
    for batch in scene.batches(indices, batch_size=16):
        image = cubes(batch, run.contract).images[name]
        values, seen = _pixels(image)
        for k, pixels in _by_class(run, batch, task, values, seen):
            n[k] += len(pixels)
            total[k] += pixels.sum(0)
            squares[k] += (pixels**2).sum(0)
    keep = [k for k in range(K) if n[k] >= LEAST]
    if len(keep) < 2:
        return {"why": "fewer than two classes have labelled pixels here"}
    mean = total[keep] / n[keep, None]
    std = np.sqrt(np.maximum(0, squares[keep] / n[keep, None] - mean**2))
    rows = [
        {
            "index": k,
            "name": run.legend.classes[k].name,
            "color": run.legend.classes[k].color,
            "n": int(n[k]),
            "mean": mean[i].round(5).tolist(),
            "std": std[i].round(5).tolist(),
        }
        for i, k in enumerate(keep)
    ]
    return {
        "sensor": name,
        "bands": list(row.bands),
        "nanometres": _nanometres(name, row.bands),
        "by": "pixels" if task else "places",
        "places": len(indices),
        "classes": rows,
        "similarity": alike(mean).round(5).tolist(),
    }


def optical(run: Run) -> str:
    """The sensor of the run that measures reflectance, the one with most bands; empty if none does."""
    found = [n for n, row in run.contract.streams.items() if row.unit == "reflectance"]
    return max(sorted(found), key=lambda n: len(run.contract.streams[n].bands), default="")


def map_task(run: Run, scene: Scene) -> str:
    """The label map that has the run's classes: its own, or another of the data; empty if there is none."""
    tasks = scene.dataset.tasks
    fits = [t for t, row in tasks.items() if row.kind == "map" and row.legend.names == run.legend.names]
    return run.task if run.task in fits else next(iter(fits), "")


def alike(means: Values) -> Values:
    """1 / (1 + d), d the Euclidean distance of the mean spectra of two classes (K C) in reflectance: K K."""
    gaps = np.linalg.norm(means[:, None] - means[None], axis=2)
    found: Values = 1 / (1 + gaps)
    return found


def _pixels(image: Image) -> tuple[Values, NDArray[np.bool_]]:
    """Values B H W C averaged over what is seen of the dates, and where all bands are seen, B H W."""
    seen = image.seen
    count = seen.sum(1)
    values = (image.physical() * seen).sum(1) / count.clamp(min=1)
    return values.permute(0, 2, 3, 1).double().numpy(), (count > 0).all(1).numpy()


def _by_class(run: Run, batch: Batch, task: str, values: Values, seen: NDArray[np.bool_]) -> list[tuple[int, Values]]:
    """The pixels (P C) of each class that the batch has."""
    label = batch.labels[task or run.task]
    truth, known = label.values.numpy(), label.known.numpy()
    if task:
        classes = _fitted(np.where(known, truth, UNKNOWN), seen.shape[1:])
        classes = np.where(seen, classes, UNKNOWN)
        there = np.unique(classes)
        return [(int(k), values[classes == k]) for k in there if k != UNKNOWN]
    found = []
    for b in range(len(batch)):
        present = np.flatnonzero(truth[b] & known[b]) if truth.ndim > 1 else [truth[b]] if known[b] else []
        found += [(int(k), values[b][seen[b]]) for k in present]
    return found


def _fitted(classes: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """A map of class indices B h w on a raster of another size: the nearest pixel."""
    rows, cols = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, classes.shape[1:], strict=True)
    )
    return classes[:, rows[:, None], cols[None, :]]


def _nanometres(name: str, bands: Sequence[str]) -> list[float]:
    """Where the bands lie; empty if that is not known of all."""
    from landweave.sensors import sensor

    found = [sensor(name).band(b).wavelength for b in bands]
    return [round(1000 * w, 1) for w in found if w is not None] if all(found) else []


def nearest(spectra: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each class the class that it is most like, and how much."""
    matrix = np.array(spectra["similarity"]) - 2 * np.eye(len(spectra["classes"]))
    rows = []
    for i, row in enumerate(spectra["classes"]):
        j = int(matrix[i].argmax())
        rows.append({**row, "like": spectra["classes"][j]["name"], "other": j, "similarity": float(matrix[i, j])})
    return rows


def losses(evaluation: Mapping[str, Any], index: int) -> dict[str, float]:
    """What a run loses on a class: Hamming and Brier, Brier beside the constant's, prevalence; or 1 - recall."""
    row = evaluation["per_class"][index]
    about = evaluation["classes"][index]
    if not (about["trained"] and about["support"]):
        return {}
    if evaluation["kind"] != "multilabel":
        return {} if row["recall"] is None else {"1 − recall": 1 - row["recall"]}
    p = row["prevalence"]
    found = {"Hamming loss": row["hamming"], "Brier score": row["brier"]}
    if 0 < p < 1:
        found["Brier score / π(1−π)"] = row["brier"] / (p * (1 - p))
    return {**found, "prevalence π": p}


def correlations(spectra: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Correlation over the classes of their greatest similarity to another class with each loss of theirs.

    For sets of classes the prevalence stands among the losses: a rare class has a small loss whoever answers, so a
    correlation that prevalence has too says nothing of similarity.

    Returns:
        A row a loss: `name`, `n` classes, `spearman`, `spearman_p`, `pearson`, `pearson_p`, `x`, `y`; none of fewer
        than four classes.
    """
    from scipy.stats import pearsonr, spearmanr

    rows = nearest(spectra)
    names = dict.fromkeys(name for r in rows for name in losses(evaluation, r["index"]))
    out = []
    for name in names:
        pairs = [(r["similarity"], losses(evaluation, r["index"]).get(name), r) for r in rows]
        used = [(x, y, r) for x, y, r in pairs if y is not None]
        xs, ys = [p[0] for p in used], [p[1] for p in used]
        if len(used) < 4 or len(set(xs)) < 2 or len(set(ys)) < 2:
            continue
        rank, line = spearmanr(xs, ys), pearsonr(xs, ys)
        out.append(
            {
                "name": name,
                "n": len(used),
                "spearman": float(rank.statistic),
                "spearman_p": float(rank.pvalue),
                "pearson": float(line.statistic),
                "pearson_p": float(line.pvalue),
                "points": [{"x": x, "y": y, "name": r["name"], "color": r["color"]} for x, y, r in used],
            }
        )
    return out
