"""A run folder as `landweave train` and `evaluate` leave it, made up, and a dataset of drawn places."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landweave.contract import Contract
from landweave.data.dataset import Dataset, Place, Task
from landweave.grid import Grid
from landweave.legends import BIGEARTHNET_19, LandClass, Legend
from landweave.sample import Batch, Image, Label, LabelKind, Sample
from landweave.transforms import normalise

LULC = Legend(
    "terramesh-lulc",
    tuple(
        LandClass(v, n, c)
        for v, n, c in [
            (1, "water", "#1a5bab"), (2, "trees", "#358221"), (3, "flooded vegetation", "#87d19e"),
            (4, "crops", "#ffdb5c"), (5, "built area", "#ed022a"), (6, "bare ground", "#ede9e4"),
            (7, "snow and ice", "#f2faff"), (9, "rangeland", "#efcfa8"),
        ]
    ),
)  # fmt: skip
STATS = {"mean": 0.2, "std": 0.1, "minimum": 0.0, "maximum": 1.0, "p01": 0.0, "p99": 0.6, "n": 100}
SPECTRA = {
    "B02": (400, 250, 400, 700, 1400, 1700, 7000, 800),
    "B03": (400, 500, 600, 900, 1500, 2000, 7000, 1100),
    "B04": (250, 300, 500, 900, 1700, 2600, 7000, 1400),
    "B08": (150, 3300, 2500, 3400, 2200, 3000, 6500, 2400),
}
RADAR = {"VV": (-20, -9, -12, -11, -4, -12, -14, -11), "VH": (-27, -15, -19, -18, -11, -20, -21, -18)}


class Drawn(Dataset):
    """Patches of classes with their spectra; groups are 4 regions of their own mix, side by side on the ground."""

    def __init__(self, kind: LabelKind, legend: Legend, *, count: int = 80, size: int = 32, place: bool = True) -> None:
        self.where, self.size, self.kind = "drawn", size, kind
        self.tasks, self.streams = {"lulc": Task(kind, legend)}, ["s2-l2a", "s1-rtc-gamma0"]
        rng = np.random.default_rng(1)
        self.mixes = [rng.permutation(8)[:4] for _ in range(4)]
        self.places = [
            Place(
                f"r{i % 4}_place_{i:03d}",
                ("train", "train", "validation", "test")[(i // 4) % 4],
                f"r{i % 4}",
                5.0 + 2.0 * (i % 4) + 0.02 * (i // 4 % 5) if place else None,
                45.0 + 0.02 * (i // 20) if place else None,
            )
            for i in range(count)
        ]

    def truth(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        cells = rng.choice(self.mixes[index % 4], (4, 4), p=[0.5, 0.25, 0.15, 0.1])
        return np.kron(cells, np.ones((self.size // 4, self.size // 4), int)).astype(np.uint8)

    def read(self, index: int) -> Sample:
        rng, truth = np.random.default_rng(1000 + index), self.truth(index)
        place = self.places[index]
        s2 = np.stack([np.array(v)[truth] for v in SPECTRA.values()]) + rng.normal(0, 150, (4, *truth.shape))
        s1 = np.stack([np.array(v)[truth] for v in RADAR.values()]) + rng.normal(0, 2, (2, *truth.shape))
        grid = Grid("EPSG:32631", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), truth.shape)
        seen = np.ones((1, 1, *truth.shape), bool)
        if index == 7:
            seen[..., :6, :9] = False
        grid_ = grid if place.lon is not None else None
        images = {
            "s2-l2a": Image.of("s2-l2a", list(SPECTRA), s2.clip(1).astype(np.uint16), grid=grid_, pixels_seen=seen),
            "s1-rtc-gamma0": Image.of("s1-rtc-gamma0", ["VV", "VH"], s1.astype(np.float32), grid=grid_),
        }
        if index % 9 == 5:
            del images["s1-rtc-gamma0"]
        return Sample(images, {"lulc": self.label(index)}, place.name, place.group)

    def label(self, index: int) -> Label:
        truth, legend = self.truth(index), self.tasks["lulc"].legend
        present = self.classes(index, "lulc")
        if self.kind == "map":
            return Label("map", torch.from_numpy(truth), torch.ones(truth.shape, dtype=torch.bool), legend)
        return Label.of_class(present[0], legend) if self.kind == "class" else Label.of_classes(present, legend)

    def classes(self, index: int, task: str) -> tuple[int, ...]:
        found, counts = np.unique(self.truth(index), return_counts=True)
        order = [int(found[i]) for i in np.argsort(-counts, kind="stable")]
        return tuple(order[:1]) if self.kind == "class" else tuple(sorted(order))


@dataclass
class Teller:
    """Says the nearest spectrum of each pixel, or the shares of them over the place."""

    legend: Legend
    kind: LabelKind
    task: str = "lulc"

    def predict(self, batch: Batch) -> Tensor:
        x = batch.images["s2-l2a"].data[:, 0].double()
        spectra = torch.tensor(list(SPECTRA.values())).double()
        gap = ((x[:, :, None] - spectra[None, :, :, None, None]) ** 2).sum(1).sqrt()
        p = (-gap / 400).softmax(1).float()
        if len(self.legend) > 8:
            p = torch.nn.functional.pad(p, (0, 0, 0, 0, 0, len(self.legend) - 8))
        if self.kind == "map":
            return p
        return p.mean((2, 3)) if self.kind == "class" else (p.mean((2, 3)) * 4).clamp(max=0.99)


class TinyEncoder(nn.Module):
    """Two convolutions; its last map of more than one pixel is H/4 W/4."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(bands, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


class TinyModel(nn.Module):
    """As a `SceneModel` looks from outside: an encoder a sensor, features side by side, one linear layer."""

    def __init__(self, contract: Contract, classes: int) -> None:
        super().__init__()
        self.contract = contract
        self.encoders = nn.ModuleDict({n: TinyEncoder(len(s.bands)) for n, s in sorted(contract.streams.items())})
        self.head = nn.Linear(8 * len(self.encoders), classes)

    @property
    def by_name(self) -> dict[str, Any]:
        return dict(self.encoders.items())

    def forward(self, cube: Batch) -> SimpleNamespace:
        images = normalise(cube, self.contract).images
        seen = {n: im.sensor_seen for n, im in images.items()}
        features = {n: e.net(images[n].data[:, 0]) * seen[n][:, None] for n, e in self.by_name.items()}
        logits = self.head(torch.cat([features[n] for n in sorted(features)], 1))
        return SimpleNamespace(logits=logits, features=features, seen=seen, embeddings={"main": features})


def tiny_run(folder: Path, kind: LabelKind, dataset: Drawn) -> Any:
    """An open run, as `open_run` gives it, with a model of random weights."""
    from landweave.data.stats import contract_of

    legend = legend_of(kind)
    contract, teller = contract_of(dataset, dataset.of_split("train")), Teller(legend, kind)
    config = json.loads((folder / "config.json").read_text())
    torch.manual_seed(5)
    return SimpleNamespace(
        folder=folder, legend=legend, kind=kind, task="lulc", learned=Task(kind, legend),
        classifier=config.get("classifier", True),
        predict=teller.predict, contract=contract, config=config, model=TinyModel(contract, len(legend)).eval(),
        settings=SimpleNamespace(
            seed=0,
            train=SimpleNamespace(batch_size=8),
            method=SimpleNamespace(teacher=False, build=lambda contract, task: TinyModel(contract, len(task.legend))),
        ),
    )  # fmt: skip


def legend_of(kind: LabelKind) -> Legend:
    return BIGEARTHNET_19 if kind == "multilabel" else LULC


def run_folder(folder: Path, kind: LabelKind = "map", *, evaluated: bool = True, product: str = "") -> Path:
    """Write every file of a run that a report reads."""
    folder.mkdir(parents=True, exist_ok=True)
    legend, rng = legend_of(kind), np.random.default_rng(0)
    counts = [int(n) for n in rng.integers(200, 9000, len(legend))]
    counts[2] = counts[6] = 0
    (folder / "config.json").write_text(json.dumps(config(kind, legend, counts)))
    (folder / "versions.json").write_text(json.dumps({"python": "3.11.7", "landweave": "0.1.0", "torch": "2.15.0"}))
    (folder / "experiment.yaml").write_text("recipe: segment\nseed: 3\n")
    rows = []
    for e in range(12):
        rows.append({"epoch": e, "split": "train", "loss": 1.9 * 0.8**e + 0.2})
        keys = {"map": ("miou_existing", "oa"), "class": ("macro_f1", "oa"), "multilabel": ("micro_f1", "macro_f1")}
        scores = {k: 0.75 - 0.5 * 0.75**e - 0.1 * i for i, k in enumerate(keys[kind])}
        rows.append({"epoch": e, "split": "validation", "loss": 1.9 * 0.82**e + 0.35, **scores})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    if evaluated:
        (folder / "evaluation-test.json").write_text(json.dumps(evaluation(kind, legend, counts, product)))
    return folder


def config(kind: LabelKind, legend: Legend, counts: list[int]) -> dict[str, Any]:
    def stream(name: str, bands: list[str], unit: str) -> dict[str, Any]:
        return {"sensor": name, "bands": bands, "unit": unit, "metres": 10.0, "size": [56, 56],
                "stats": [STATS] * len(bands)}  # fmt: skip

    return {
        "landweave": "0.1.0",
        "task": "lulc",
        "kind": kind,
        "legend": legend.to_json(),
        "contract": {
            "s2-l2a": stream("s2-l2a", ["B02", "B03", "B04", "B08"], "reflectance"),
            "s1-rtc-gamma0": stream("s1-rtc-gamma0", ["VV", "VH"], "dB"),
        },
        "class_counts": counts,
        "validation_confusion": None,
        "validation_scores": {},
        "mean_features": {},
        "experiment": {
            "recipe": "segment",
            "seed": 3,
            "data": {"kind": "table", "path": "places.parquet", "fraction": 0.1, "seed": 3},
            "method": {"kind": "segment", "encoder": {"name": "resnet18"}},
            "train": {"epochs": 12},
        },
    }


def evaluation(kind: LabelKind, legend: Legend, counts: list[int], product: str) -> dict[str, Any]:
    from landweave.metrics import Confusion, MultiLabel, majority, per_class, scores, skills

    rng, K = np.random.default_rng(2), len(legend)
    trained = [k for k in range(K) if counts[k]]
    asked = [k for k in trained if k != 5]
    found: dict[str, Any] = {}
    truth = rng.choice(asked, 4000, p=np.array([counts[k] for k in asked]) / sum(counts[k] for k in asked))
    for name, right in (("", 0.78), ("random forest on pixel bands", 0.6)):
        if kind == "multilabel":
            one = MultiLabel(K)
            y = rng.random((400, K)) < 0.2
            y[:, [k for k in range(K) if k not in asked]] = False
            one.update(y, np.where(rng.random(y.shape) < right, y * 0.8 + 0.1, rng.random(y.shape)))
            found[name] = one
        else:
            said = np.where(rng.random(4000) < right, truth, rng.choice(trained, 4000))
            found[name] = Confusion(K)
            found[name].update(truth, said)
    trivial = "training prevalence" if kind == "multilabel" else "majority class"
    if kind == "multilabel":
        found[trivial] = MultiLabel(K)
        found[trivial].update(found[""].places()[0], np.full((400, K), 0.2))
    else:
        found[trivial] = majority(found[""], counts)
    rows = {n: scores(f, fixed=trained) for n, f in found.items()}

    def clean(row: dict[str, Any]) -> dict[str, Any]:
        return {k: None if isinstance(v, float) and v != v else v for k, v in row.items()}

    support = [int(n) for n in found[""].support]
    support[6] = 120
    names = [trivial, "random forest on pixel bands"]
    return {
        "split": "test", "task": "lulc", "kind": kind, "product": product,
        "classes": [
            {"name": c.name, "color": c.color, "trained": counts[i] > 0, "support": support[i]}
            for i, c in enumerate(legend.classes)
        ],
        "n_places": 20, "n": found[""].n, "place_score": "oa",
        "scores": clean(rows[""]), "per_class": [clean(r) for r in per_class(found[""], legend.names)],
        "confusion": None if kind == "multilabel" else found[""].array.tolist(),
        "references": {
            n: {"scores": clean(rows[n]), "confusion": None if kind == "multilabel" else found[n].array.tolist()}
            for n in names
        },
        "skill": clean(skills(rows[""], rows[trivial])),
        "places": [
            {"name": p.name, "group": p.group, "lon": p.lon, "lat": p.lat,
             "score": float(0.9 - 0.004 * i), "nearest_km": 0.4 * 1.3**i}
            for i, p in enumerate(p for p in Drawn(kind, legend).places if p.split == "test")
        ],
    }  # fmt: skip
