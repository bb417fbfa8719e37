"""Recipes of FLAIR-HUB on cubes that a test can afford: their sensors and tasks, few pixels and dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from landweave.contract import BandStats, Contract, StreamContract
from landweave.data.dataset import Task
from landweave.legends import LEGENDS
from landweave.run.experiment import Experiment, recipe
from landweave.sample import Batch, Image, Label
from landweave.sensors import sensor

SERIES = ("s2-l2a", "s1-grd-sigma0-asc-linear", "s1-grd-sigma0-desc-linear")
PIXELS = {"aerial": 32, "aerial-pan": 16, "dsm-dtm": 32, "spot": 32}
"""No `spot` of 16: ConvNeXt's first norm on a padded, constant area has a slope of 1000, and so amplifies rounding."""
SIDE = 32
"""Of the label maps."""
DATES = 5
MAY = 7440
"""15 May 2020 in days since 2000-01-01."""


def tiny(name: str, *changes: str) -> Experiment:
    """A recipe at its smoke scale, with narrower parts still."""
    narrow = ("method.series.width=32", "method.series.heads=4", "method.series.key=4")
    return recipe(f"flair/{name}", [*narrow, *changes], scale="smoke")


def tasks_of(experiment: Experiment) -> Task:
    """The main task with those beside it."""
    names = (experiment.data.task, *experiment.method.beside)
    found = {n: Task("map", LEGENDS["cosia-15" if n == "cosia" else n]) for n in names}
    main, *others = found.items()
    return replace(main[1], beside=dict(others))


def contract_of(experiment: Experiment) -> Contract:
    """As `contract_of` of the data would have it, in standard units."""
    rows = {}
    for choice in experiment.data.choices:
        row = sensor(choice.sensor)
        series = choice.sensor in SERIES
        bands = choice.bands or row.band_names
        level = 0.1 if row.unit != "digital number" else 100.0
        stats = BandStats(level, level / 2, 0.0, 2 * level, 0.0, 2 * level, 99)
        side = 10 if series else PIXELS[choice.sensor]
        rows[row.name] = StreamContract(
            row.name, bands, row.unit, None, (side, side), (stats,) * len(bands), series=series
        )
    return Contract(rows)


def batch_of(experiment: Experiment, *, B: int = 3, seed: int = 0, absent: Sequence[tuple[str, int]] = ()) -> Batch:
    """Noise in physical units; of series the last date of place 0 is not seen, and row 0 of each label not known."""
    random = torch.Generator().manual_seed(seed)
    images = {}
    for name, row in contract_of(experiment).streams.items():
        T, C, (H, W) = DATES if row.series else 1, len(row.bands), row.size
        data = row.stats[0].mean * (0.5 + torch.rand(B, T, C, H, W, generator=random))
        dates = torch.ones(B, T, dtype=torch.bool)
        if row.series:
            dates[0, -1] = False
        image = Image(
            bands=row.bands,
            data=data,
            scale=torch.ones(B, T, C),
            offset=torch.zeros(B, T, C),
            days=(MAY + 30 * torch.arange(T) - 60).to(torch.int32).expand(B, T).clone(),
            dates_seen=dates,
            bands_seen=torch.ones(B, C, dtype=torch.bool),
            pixels_seen=torch.ones(B, T, 1, H, W, dtype=torch.bool),
        )
        for place in [b for n, b in absent if n == name]:
            image.bands_seen[place] = image.dates_seen[place] = False
        images[name] = image
    task = tasks_of(experiment)
    labels = {n: _label(t, B, random) for n, t in task.named(experiment.data.task).items()}
    return Batch(images, labels, tuple(f"place{b}" for b in range(B)), ("",) * B)


def _label(task: Task, B: int, random: torch.Generator) -> Label:
    values = torch.randint(0, len(task.legend), (B, SIDE, SIDE), generator=random).to(torch.uint8)
    known = torch.ones(B, SIDE, SIDE, dtype=torch.bool)
    known[:, 0] = False
    return Label("map", values.masked_fill(~known, 255), known, task.legend)


def hidden(batch: Batch, names: Sequence[str]) -> Batch:
    """Some sensors absent everywhere."""
    images: Mapping[str, Image] = {n: im.unseen() if n in names else im for n, im in batch.images.items()}
    return replace(batch, images=dict(images))
