"""The fused embedding of places before and after training, laid out in a plane by t-SNE (van der Maaten 2008)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.errors import DataError
from landweave.reports.figures import SERIES
from landweave.run.embed import Embedded, between

if TYPE_CHECKING:
    from landweave.run.evaluate import Scene
    from landweave.run.predict import Run

FEWEST, PERPLEXITY, NEIGHBOURS = 12, 30, 10
APART = 6
"""Places that must have one class of a pair and not the other."""

Groups = tuple[NDArray[np.int64], list[dict[str, Any]], str]


def layout(run: Run, scene: Scene, indices: Sequence[int], before: Embedded, after: Embedded,
           spectra: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    """Positions of the places in both planes, their groups, and how well neighbours agree; or `why` there are none.

    Rows are brought to unit length, so that near means a small angle, as the contrastive terms see it.
    """
    if len(indices) < FEWEST:
        return {"why": f"{len(indices)} places are too few for a t-SNE, {FEWEST} are needed"}
    group, groups, coloured = grouped(run, scene, indices, spectra)
    sides = {"before": before, "after": after}
    return {
        "n": len(indices),
        "groups": groups,
        "group": group.tolist(),
        "coloured": coloured,
        **{side: plane(found.fused).round(3).tolist() for side, found in sides.items()},
        "agreement": agreement(sides, group, groups),
        "retrieval": retrievals(sides),
    }


def plane(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """t-SNE of N D to N 2, always the same for the same rows; a collapsed embedding stays one point."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    x = unit(rows)
    if np.ptp(x, axis=0).max() < 1e-6:
        return np.zeros((len(x), 2))  # sklearn would divide by their spread, and then crash
    if min(x.shape) > 50:
        x = PCA(50, random_state=0).fit_transform(x)
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    found: NDArray[np.float64] = TSNE(2, perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(x)
    return found


def unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Rows of length 1; rows of zeros stay."""
    x = rows.astype(np.float64)
    found: NDArray[np.float64] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return found


def grouped(run: Run, scene: Scene, indices: Sequence[int], spectra: Mapping[str, Any]) -> Groups:
    """Group of each place, the groups, and by what they were made.

    One class a place: its class. Sets of classes: the two classes that are most alike and that enough places have
    apart (alike by their spectra, as far as those are known; else the two most frequent), as in MoSAiC's figure 2.
    Where there is but one class: whether they have it.
    """
    if not run.task:
        return (
            np.zeros(len(indices), np.int64),
            [{"name": "places", "color": SERIES[0]}],
            "nothing, as there is no label",
        )
    present = [scene.dataset.classes(i, run.task) for i in indices]
    classes = run.legend.classes
    if run.kind == "class":
        found = np.array([p[0] if p else -1 for p in present])
        used = [k for k in range(len(classes)) if (found == k).any()]
        groups: list[dict[str, Any]] = [{"name": classes[k].name, "color": classes[k].color} for k in used]
        if (found == -1).any():
            groups.append({"name": "not known", "color": "", "faint": True})
        return np.array([used.index(k) if k >= 0 else len(used) for k in found]), groups, "its class"
    has = np.zeros((len(indices), len(classes)), bool)
    for row, p in zip(has, present, strict=True):
        row[list(p or ())] = True
    if len(classes) == 1:
        name = classes[0].name
        groups = [{"name": name, "color": SERIES[0]}, {"name": f"not {name}", "color": SERIES[1]}]
        return np.where(has[:, 0], 0, 1), groups, f"whether they have {name}, the only class"
    a, b, why = _pair(has, spectra)
    colors = [classes[a].color, classes[b].color]
    if near(*colors):
        colors = list(SERIES[:2])
    group = np.select([has[:, a] & has[:, b], has[:, a], has[:, b]], [2, 0, 1], 3)
    groups = [
        {"name": f"{classes[a].name}, not the other", "color": colors[0]},
        {"name": f"{classes[b].name}, not the other", "color": colors[1]},
        {"name": "both", "color": ""},
        {"name": "neither", "color": "", "faint": True},
    ]
    return group, groups, f"{classes[a].name} and {classes[b].name}, {why}"


def near(one: str, other: str) -> bool:
    """Whether two colours of a legend are hard to tell apart in small points, or both too light for paper."""
    a, b = (np.array([int(c.lstrip("#")[i : i + 2], 16) for i in (0, 2, 4)]) for c in (one, other))
    return bool(np.linalg.norm(a - b) < 120)


def _pair(has: NDArray[np.bool_], spectra: Mapping[str, Any]) -> tuple[int, int, str]:
    """The two classes to show, and why these."""
    apart = (has[:, :, None] & ~has[:, None, :]).sum(0)
    enough = np.minimum(apart, apart.T) >= APART
    if "similarity" in spectra:
        index = [row["index"] for row in spectra["classes"]]
        matrix = np.array(spectra["similarity"])
        pairs = [
            (matrix[i, j], index[i], index[j])
            for i in range(len(index))
            for j in range(i)
            if enough[index[i], index[j]]
        ]
        if pairs:
            _, a, b = max(pairs)
            return b, a, "the classes most alike in their spectra of which enough places have one without the other"
    order = np.argsort(-has.sum(0), kind="stable")
    return int(order[0]), int(order[1]), "the two most frequent classes"


def agreement(
    sides: Mapping[str, Embedded], group: NDArray[np.int64], groups: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The share of a place's nearest neighbours that are of its group, in the embedding itself, before and after.

    Only among places of one group or another that is neither faint nor mixed. `chance` is the share for neighbours
    drawn at random, `k` how many are asked. Empty where there are too few.
    """
    plain = [g for g, row in enumerate(groups) if row["color"] and not row.get("faint")]
    at = np.flatnonzero(np.isin(group, plain))
    k = min(NEIGHBOURS, len(at) // 4)
    if k < 1 or len(set(group[at])) < 2:
        return {}
    mine = group[at]
    out: dict[str, Any] = {"k": k, "n": len(at)}
    for side, found in sides.items():
        x = unit(found.fused[at])
        cosines = x @ x.T
        np.fill_diagonal(cosines, -np.inf)
        near = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        out[side] = float((mine[near] == mine[:, None]).mean())
    counts = np.bincount(mine)
    out["chance"] = float((counts * (counts - 1)).sum() / (len(mine) * (len(mine) - 1)))
    return out


def retrievals(sides: Mapping[str, Embedded]) -> list[dict[str, Any]]:
    """Retrieval between any two sensors by each projection head, before and after; none without heads."""
    rows = []
    for head, by in sides["after"].embeddings.items():
        for query in by:
            for key in (k for k in by if k != query):
                try:
                    found = {side: between(e, query, key, head=head).to_json() for side, e in sides.items()}
                except DataError:  # never seen together
                    continue
                rows.append({"head": head, "query": query, "key": key, **found})
    return rows
