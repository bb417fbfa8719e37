"""What a linear model finds in the synthetic world, and that it finds nothing where a null world hides it.

Places are looked at with pixels of 40 m and not written: means over a place hardly depend on the pixel, and it is
ten times faster. `docs/synth.md` has the figures of the files themselves.
"""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from landweave.data.synth import Null, zones
from landweave.data.synth import write_bigearthnet as ben
from landweave.data.synth.places import Sites, Spot, spot
from landweave.data.synth.spectra import BANDS, INDEX
from landweave.data.synth.world import View, World, to_db
from landweave.data.synth.write_eurosat import eurosat_place
from landweave.legends import BIGEARTHNET_19, EUROSAT

Rows = NDArray[np.float64]


def linear() -> object:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=10.0, max_iter=2000))


def look(world: World, place: Spot) -> View:
    x, y = place.axes()
    return world.view(x[1::4] + 5, y[1::4] - 5, 40.0, samples=3)


@cache
def found(labels: bool) -> Sites:
    return Sites(World(0, "labels" if labels else None))


@cache
def eurosat(null: Null | None, count: int) -> tuple[Rows, Rows, Rows]:
    """Mean spectra, mean backscatter and classes of places in memory."""
    world = World(0, null)
    spectra, powers = [], []
    for i in range(count):
        _, place = eurosat_place(found(null == "labels"), i % 10, i // 10)
        view = look(world, place)
        if null != "s1":
            spectra.append(view.optical(place.of_year, BANDS, level="l1c").mean((1, 2)))
        if null != "labels":
            powers.append(to_db(view.radar(place.of_year)).mean((1, 2)))
    return np.array(spectra), np.array(powers), np.arange(count) % 10


def accuracy(x: Rows, y: Rows) -> float:
    from sklearn.model_selection import cross_val_score

    return float(cross_val_score(linear(), x, y, cv=4).mean())


def accuracy_elsewhere(x: Rows, y: Rows, *, labels: bool = False) -> float:
    """Accuracy in tiles that were not learned: within a tile, haze and light tell the tile, and that its classes."""
    from sklearn.model_selection import GroupKFold, cross_val_score

    tiles = [eurosat_place(found(labels), i % 10, i // 10)[1].tile for i in range(len(y))]
    return float(cross_val_score(linear(), x, y, cv=GroupKFold(4), groups=tiles).mean())


def test_linear_model_on_eurosat() -> None:
    x, _, y = eurosat(None, 200)
    assert 0.5 < accuracy(x, y) < 0.9


def test_radar_tells_classes_apart_but_not_in_the_null_world() -> None:
    _, x, y = eurosat(None, 200)
    _, z, _ = eurosat("s1", 120)
    assert accuracy_elsewhere(x, y) > 0.35
    assert accuracy_elsewhere(z, y[:120]) < 0.2  # 0.1 is chance


def test_null_labels_leave_chance() -> None:
    x, _, y = eurosat("labels", 120)
    assert accuracy_elsewhere(x, y, labels=True) < 0.2
    assert accuracy_elsewhere(*eurosat(None, 200)[::2]) > 0.45


def test_linear_model_on_bigearthnet() -> None:
    from sklearn.metrics import f1_score
    from sklearn.multiclass import OneVsRestClassifier

    world = World(0)
    x, y, test = [], [], []
    for i in range(280):
        patch = ben.bigearthnet_patch(world.seed, i)
        view = look(world, patch.place)
        x.append(patch.optical(view).mean((1, 2)))
        names = ben.label_names(ben.reference_map(view))
        y.append([name in names for name in BIGEARTHNET_19.names])
        test.append(patch.split == "test")
    spectra, labels, held = np.array(x), np.array(y, int), np.array(test)
    assert 1.8 < labels.sum(1).mean() < 3.5
    model = OneVsRestClassifier(linear()).fit(spectra[~held], labels[~held])
    fitted, found = model.predict_proba(spectra[~held]), model.predict_proba(spectra[held])
    steps = np.linspace(0.1, 0.6, 26)  # one threshold for all classes, the best on the places that were learned
    best = max(steps, key=lambda t: f1_score(labels[~held], fitted > t, average="micro"))
    score = f1_score(labels[held], found > best, average="micro")
    often = labels[~held].mean(0)
    trivial = max(f1_score(labels[held], np.tile(often > t, (held.sum(), 1)), average="micro") for t in steps)
    assert 0.5 < score < 0.9
    assert score > trivial + 0.1


@pytest.mark.parametrize("null", [None, "dates"])
def test_seasons_tell_crops_apart_but_not_in_the_null_world(null: Null | None) -> None:
    """The shape of a year of NDVI, without its mean and spread, against the crop of single parcels."""
    from sklearn.model_selection import cross_val_score

    world = World(0, null)
    rows, crops, parcels = [], [], []
    for k in range(30):
        tile, left, top = found(False).get(EUROSAT.names.index("AnnualCrop"), k)
        view = world.view(*spot(tile, left, top, 64, date(2017, 6, 1)).axes(), 10, samples=1)
        pair = np.stack([view.optical(d, ("B04", "B08"), level="surface") for d in range(75, 300, 25)])
        ndvi = (pair[:, 1] - pair[:, 0]) / (pair[:, 1] + pair[:, 0])
        inner = np.s_[1:-1, 1:-1]
        surface, zone = view.surface, view.land.zone[inner]
        keys, at = np.unique(surface.parcel[inner][zone == zones.ZONE["arable"]], return_index=True)
        rows.append(ndvi[:, zone == zones.ZONE["arable"]][:, at].T)
        crops.append(surface.material[inner][zone == zones.ZONE["arable"]][at])
        parcels.append(keys)
    _, first = np.unique(np.concatenate(parcels), return_index=True)
    x, y = np.concatenate(rows)[first], np.concatenate(crops)[first]
    x = x - x.mean(1, keepdims=True)
    x = x / np.linalg.norm(x, axis=1, keepdims=True).clip(0.02)
    often = np.isin(y, [INDEX[n] for n in ("wheat", "barley", "maize", "rapeseed", "sugar beet")])
    x, y = x[often], y[often]
    assert len(y) > 150
    score = cross_val_score(linear(), x, y, cv=4).mean()
    majority = np.bincount(y).max() / len(y)
    if null is None:
        assert score > majority + 0.2
    else:
        assert score < majority + 0.05
