from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from landweave.data.dataset import Dataset, Place, Task
from landweave.legends import LandClass, Legend
from landweave.run.leak import by_distance, compare, describe, leak
from landweave.sample import Image, Label, LabelKind, Sample

LEGEND = Legend("two", (LandClass(0, "a", "#000000"), LandClass(1, "b", "#ffffff")))


class Regions(Dataset):
    """Two bands a place. `leaky`: each of 12 regions has a class and a colour of its own, and the two are unrelated."""

    def __init__(self, *, leaky: bool, kind: LabelKind = "class", count: int = 120, place: bool = True) -> None:
        self.where, self.streams, self.kind = "regions", ["s2-l2a"], kind
        self.tasks = {"t": Task(kind, LEGEND)}
        rng = np.random.default_rng(0)
        self.region = np.arange(count) % 12
        own = rng.permutation([0, 1] * 6)
        self.truth = own[self.region] if leaky else rng.integers(0, 2, count)
        colours = rng.uniform(500, 5000, (12, 2))
        self.colour = colours[self.region] if leaky else np.stack([self.truth * 2000 + 1000] * 2, 1)
        self.colour = self.colour + rng.normal(0, 40, self.colour.shape)
        self.places = [
            Place(f"p{i}", ("train", "test")[i % 5 == 0], f"g{r}", *((3.0 * r, 40 + i * 1e-4) if place else ()))
            for i, r in enumerate(self.region)
        ]

    def read(self, index: int) -> Sample:
        data = np.broadcast_to(self.colour[index][:, None, None], (2, 4, 4)).astype(np.float32)
        images = {"s2-l2a": Image.of("s2-l2a", ["B04", "B08"], data)}
        truth = int(self.truth[index])
        if self.kind == "class":
            label = Label.of_class(truth, LEGEND)
        elif self.kind == "multilabel":
            label = Label.of_classes([0, 1] if truth else [0], LEGEND)
        else:
            values = torch.full((4, 4), truth, dtype=torch.uint8)
            values[0] = 1 - truth
            label = Label("map", values, torch.ones(4, 4, dtype=torch.bool), LEGEND)
        return Sample(images, {"t": label}, self.places[index].name)

    def classes(self, index: int, task: str) -> tuple[int, ...]:
        return (int(self.truth[index]),)


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.leak.TREES", 15)


def measured(data: Dataset) -> dict:
    found = leak(data, "t", train=range(len(data)))
    return {s["name"]: s for s in found["splits"]}


@pytest.mark.parametrize("kind", ["class", "map"])
def test_a_dataset_that_leaks_shows_it(kind: LabelKind) -> None:
    data = Regions(leaky=True, kind=kind)
    found = leak(data, "t", train=range(len(data)))
    splits = {s["name"]: s for s in found["splits"]}
    assert splits["random"]["score"] > 0.95
    assert splits["group"]["score"] < 0.8
    assert splits["block"]["score"] < 0.8
    assert any("flatters by" in t for t in found["says"])
    json.dumps(found)


def test_an_honest_dataset_shows_no_leak() -> None:
    data = Regions(leaky=False)
    splits = measured(data)
    assert min(splits[k]["score"] for k in ("random", "group", "block")) > 0.95
    assert splits["random"]["trivial"] < 0.7
    assert splits["random"]["skill"] > 0.8
    assert any("helps little" in t for t in leak(data, "t", train=range(len(data)))["says"])


def test_sets_of_classes_are_scored_by_micro_f1_beside_the_prevalence() -> None:
    data = Regions(leaky=False, kind="multilabel")
    found = leak(data, "t", train=range(len(data)))
    random = found["splits"][0]
    assert found["score"] == "micro F1"
    assert random["score"] > 0.95
    assert 0.6 < random["trivial"] < 0.95  # class a is always there


def test_what_cannot_be_measured_is_said() -> None:
    data = Regions(leaky=False, place=False)
    data.places = [replace(p, group="one") for p in data.places]
    found = leak(data, "t", train=range(len(data)))
    text = " ".join(found["says"])
    assert "group split is not measured: one group is too few to tell, 6 are needed" in text
    assert "block split is not measured: 120 of 120 places have no coordinates" in text
    assert "distance is not measured: the run has not been evaluated yet" in text
    few = Regions(leaky=False, count=12)
    assert "12 labelled places are too few" in " ".join(leak(few, "t", train=range(12))["says"])


def test_scores_fall_with_distance_in_bins_of_equal_count() -> None:
    places = [{"name": f"p{i}", "nearest_km": float(i), "score": 1 - i / 60} for i in range(60)]
    bins, why = by_distance(places, bins=6)
    assert why == ""
    assert [b["n"] for b in bins] == [10] * 6
    for i, b in enumerate(bins):
        assert (b["low"], b["high"]) == (10 * i, 10 * i + 9)
        assert b["score"] == pytest.approx(np.mean([1 - k / 60 for k in range(10 * i, 10 * i + 10)]))
    data = Regions(leaky=True)
    rows = [{"name": p.name, "nearest_km": i + 1.0, "score": 0.5} for i, p in enumerate(data.places) if i % 5 == 0]
    found = leak(data, "t", train=data.of_split("train"), places=rows)
    assert found["distance"]["series"][0]["name"] == "this run"
    assert "of a training place score 0.50" in found["says"][0]


@pytest.mark.parametrize(
    ("places", "why"),
    [
        ([], "not been evaluated"),
        ([{"nearest_km": None, "score": 1.0}] * 40, "no coordinates"),
        ([{"nearest_km": 2.0, "score": 1.0}] * 40, "too few to compare"),
        ([{"nearest_km": float(i), "score": None} for i in range(40)], "no coordinates"),
    ],
)
def test_no_bins_without_distances(places: list, why: str) -> None:
    bins, said = by_distance(places)
    assert bins == []
    assert why in said


def test_descriptors_are_means_and_deviations_of_seen_pixels() -> None:
    data = Regions(leaky=False, count=4)
    base = data.read

    def partly(index: int) -> Sample:
        sample = base(index)
        if index == 0:
            values = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
            seen = np.ones((1, 2, 4, 4), bool)
            seen[0, 0, :2] = False
            image = Image.of("s2-l2a", ["B04", "B08"], values, pixels_seen=seen)
            return replace(sample, images={"s2-l2a": image})
        if index == 1:
            return replace(sample, images={"s2-l2a": sample.images["s2-l2a"].unseen()})
        return replace(sample, labels={"t": sample.labels["t"].unknown()}) if index == 2 else sample

    data.read = partly  # type: ignore[method-assign]
    found = describe(data, "t", range(4), 2)
    assert [p.name for p in found.places] == ["p0", "p1", "p3"]
    seen = [v * 1e-4 for v in range(8, 16)]
    mean = sum(seen) / 8
    assert found.features[0, 0] == pytest.approx(mean)
    assert found.features[0, 1] == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in seen) / 8))
    np.testing.assert_allclose(found.features[1], (found.features[0] + found.features[2]) / 2, rtol=1e-5)


def test_equal_seeds_give_equal_results_and_most_limits_the_reading() -> None:
    data = Regions(leaky=True)
    assert leak(data, "t", train=range(120), seed=3) == leak(data, "t", train=range(120), seed=3)
    calls: list[tuple[int, int]] = []
    found = leak(data, "t", train=range(120), most=50, progress=lambda d, t: calls.append((d, t)))
    assert found["n"] == 50
    assert calls[-1] == (50, 50)


def test_a_split_that_leaves_nothing_says_so() -> None:
    data = Regions(leaky=False, count=24)
    found = describe(data, "t", range(24), 2)
    lonlat = found.lonlat.copy()
    lonlat[:] = lonlat[0]
    assert "one point" in compare("block", replace(found, lonlat=lonlat), "class", 0)["why"]


def test_real_tiles_have_places_to_measure(real: Path) -> None:
    """Windows of genuine tiles: coordinates come from the images' grids, though the index has none."""
    from landweave.data import raster
    from landweave.grid import Window
    from landweave.legends import load_legend

    legend = load_legend(real / "terramind" / "legend.yaml")
    tiles = sorted((real / "terramind" / "S2L2A").glob("*.tif"))

    class Tiles(Dataset):
        where, streams = "tiles", ("s2-l2a",)
        tasks = {"lulc": Task("map", legend)}  # noqa: RUF012
        places = tuple(Place(f"{t.stem} {k}", "train", t.stem) for t in tiles for k in range(16))

        def read(self, index: int) -> Sample:
            tile, window = tiles[index // 16], Window(index % 16 // 4 * 56, index % 4 * 56, 56, 56)
            s2 = raster.read(tile, window=window)
            codes = raster.read(real / "terramind" / "LULC" / tile.name, window=window).data[0]
            names = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
            image = Image.of("s2-l2a", names, s2.data, grid=s2.grid)
            return Sample({"s2-l2a": image}, {"lulc": Label.of_map(codes, legend)}, self.places[index].name)

        def classes(self, index: int, task: str) -> tuple[int, ...]:
            return ()

    found = leak(Tiles(), "lulc", train=range(80))
    splits = {s["name"]: s for s in found["splits"]}
    assert splits["random"]["score"] > 0.6
    for strict in ("group", "block"):  # snow, crops: each in one tile only, so a strict split says nothing of its model
        assert splits[strict]["why"] == f"5 {strict}s are too few to tell, 6 are needed"
    assert any("with a random split; how much it flatters cannot be told" in t for t in found["says"])


@pytest.mark.parametrize(("groups", "tells"), [(5, False), (6, True), (9, True), (10, True)])
def test_few_groups_are_a_warning_and_very_few_tell_nothing(groups: int, tells: bool) -> None:
    data = Regions(leaky=True)
    data.places = [replace(p, group=f"g{i % groups}", lon=None, lat=None) for i, p in enumerate(data.places)]
    found = leak(data, "t", train=range(len(data)))
    strict = {s["name"]: s for s in found["splits"]}["group"]
    text = " ".join(found["says"])
    assert ("score" in strict) is tells
    assert (strict.get("groups") == groups) is tells
    assert (f"{groups} groups are too few to tell, 6 are needed" in text) is not tells
    assert (f"There are {groups} groups only" in text) is (6 <= groups < 10)


def test_places_in_few_spots_have_few_blocks() -> None:
    """The clusters of a few tiles: a block split of them scored 0.00, and was taken at its word."""
    data = Regions(leaky=True)
    data.places = [replace(p, lon=30.0 * (i % 3), lat=40 + i * 1e-4) for i, p in enumerate(data.places)]
    splits = measured(data)
    assert splits["block"]["why"] == "3 blocks are too few to tell, 6 are needed"
    assert splits["group"]["score"] < 0.8
