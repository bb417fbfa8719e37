"""Who judges the 23 images of `evidence.finding`: a predictor for each that has not seen it, and its standard."""

from __future__ import annotations

import abc
import csv
import dataclasses
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.record import landweave

if TYPE_CHECKING:
    import torch

    from landweave.metrics.suspicion import Values
    from landweave.metrics.verdict import Clean
    from landweave.nn.reconstruct import Read, SensorNet
    from landweave.sample import Batch

OFFSET = ("patch_445", "patch_8845", "patch_74721")
"""They carry the +1000 of processing baseline 04.00 (../shared/data/README.md)."""
NOMINAL = 0.3
"""Mean reflectance that the scale is laid out for (floor 0.03), so that no image sets the scale it is judged on."""
BLOCK, SIDE = 32, 64
FOLDS = 4
NETWORK = ("method.width=32", "train.epochs=10", "train.validate_every=10", "optim.lr=5e-3")
SENSOR = "s2-l2a"


def images(patches: Mapping[str, Path]) -> dict[str, Batch]:
    """Each patch as a cube of its own."""
    from landweave.data import raster
    from landweave.sample import Image, Sample, collate
    from landweave.sensors import sensor

    bands = sensor(SENSOR).band_names
    found = {}
    for name, path in patches.items():
        # below the offset there is nothing: a reflectance that the correction left under 0
        data = raster.read(path).data.astype(np.int32)
        data = np.maximum(data - 1000, 0) if name in OFFSET else data
        found[name] = collate([Sample({SENSOR: Image.of(SENSOR, bands, data)}, {}, name)])
    return found


class Judge(abc.ABC):
    """23 images, each predicted by somebody who has not seen it, and the standards to judge them by."""

    by: Any
    every: int
    """Of the bands of an image every so many-th is spoilt, of the pairs every third of these."""
    all_faults: bool

    def __init__(self, patches: Mapping[str, Path]) -> None:
        from landweave.contract import BandStats, Contract, StreamContract
        from landweave.sensors import sensor
        from landweave.transforms import cubes

        bands = sensor(SENSOR).band_names
        stats = BandStats(NOMINAL, 0.2, 0.0, 1.0, 0.0, 1.0, 1)
        stream = StreamContract(SENSOR, bands, "reflectance", 10.0, (256, 256), (stats,) * len(bands))
        self.bands, self.contract = bands, Contract({SENSOR: stream})
        self.patches = dict(patches)
        self.cubes = {n: cubes(b, self.contract) for n, b in images(patches).items()}
        self.names = list(self.cubes)

    @abc.abstractmethod
    def net(self, name: str) -> SensorNet:
        """A predictor that has not seen an image."""

    @abc.abstractmethod
    def standard(self, name: str) -> Clean:
        """What is clean, by the other images."""

    def read(self, cube: Batch) -> Read:
        """A cube on the scale of predictions."""
        from landweave.nn.reconstruct import Read

        image = cube.images[SENSOR]
        physical, seen = image.physical().flatten(0, 1), image.seen.flatten(0, 1)
        return Read(physical, self.net(cube.names[0]).scale.to(physical), seen)

    def figures(self, name: str, read: Read, *, bands: Iterable[int] | None = None, hidden: Any = ()) -> Values:
        """Figures c K h w of some bands (all by default) of an image."""
        net = self.net(name)
        wanted = list(range(len(self.bands))) if bands is None else list(bands)
        found = net.predict(read.values, read.seen, by=self.by, hidden=hidden, bands=wanted)
        return told(net, read, found, wanted)

    @cached_property
    def clean(self) -> dict[str, Values]:
        """Figures of the blocks of the images as they are."""
        return {n: self.figures(n, self.read(c)) for n, c in self.cubes.items()}

    @cached_property
    def medians(self) -> dict[str, Values]:
        """Medians of the bands of each image."""
        from landweave.methods.standard import medians

        return {n: medians(self.read(c)) for n, c in self.cubes.items()}

    def standard_of(self, name: str, figures: Mapping[str, Values]) -> Clean:
        """The standard for an image from the figures of others; the distance of each of these without itself."""
        from landweave.metrics.suspicion import limit_of, of_image
        from landweave.metrics.verdict import ALARM, Clean

        others = [n for n in self.names if n != name]
        middles = {n: self.medians[n] for n in others}
        far = []
        for n in others:
            rest = np.stack([m for o, m in middles.items() if o != n])
            one = Clean.of([of_image(figures[n])], [figures[n]], learned=rest, medians=rest)
            far.append(dataclasses.replace(one, far=1.0).distance(middles[n]))
        whole = np.stack(list(middles.values()))
        blocks = [figures[n] for n in others]
        clean = Clean.of([of_image(b) for b in blocks], blocks, learned=whole, medians=whole)
        return dataclasses.replace(clean, far=limit_of(far, ALARM))


def told(net: SensorNet, read: Read, found: torch.Tensor, bands: list[int]) -> Values:
    """Figures of what was predicted of some bands."""
    from landweave.methods.standard import figures
    from landweave.nn.reconstruct import Read

    some = Read(read.physical[:, bands], read.values[:, bands], read.seen[:, bands])
    return figures(net, some, found, BLOCK)


class Ridges(Judge):
    """Ridge regression without the judged image, and for the standard without that and one other."""

    by, every, all_faults = "ridge", 3, True

    def __init__(self, patches: Mapping[str, Path]) -> None:
        from landweave.nn.reconstruct import SensorNet
        from landweave.nn.ridge import moments

        super().__init__(patches)
        self._empty = SensorNet(self.contract.streams[SENSOR], width=4, depth=1, penalty=1e-3)
        self._made: dict[tuple[str, ...], SensorNet] = {}
        reads = {n: super(Ridges, self).read(c) for n, c in self.cubes.items()}
        self.grams = {n: moments(r.values[0], r.seen[0]) for n, r in reads.items()}

    def net(self, name: str, *more: str) -> SensorNet:
        """Fitted to all images but the named ones."""
        import copy

        if not hasattr(self, "grams"):
            return self._empty  # only its scale is asked for
        out = (name, *more)
        if out not in self._made:
            made = copy.deepcopy(self._empty)
            kept = [g for n, g in self.grams.items() if n not in out and g is not None]
            made.ridge.gram += sum(kept)
            made.ridge.images += len(kept)
            if more:
                return made
            self._made[out] = made
        return self._made[out]

    def standard(self, name: str) -> Clean:
        """See `Judge.standard`."""
        found = {}
        for other in (n for n in self.names if n != name):
            net, read = self.net(name, other), self.read(self.cubes[other])
            predicted = net.predict(read.values, read.seen, by="ridge")
            found[other] = told(net, read, predicted, list(range(len(self.bands))))
        return self.standard_of(name, found)


class Networks(Judge):
    """A network for each fold of images, trained on the others by the command line."""

    by, every, all_faults = "network", 6, False

    def __init__(self, patches: Mapping[str, Path], scratch: Path) -> None:
        from landweave.nn.reconstruct import ReconstructModel
        from landweave.run.predict import open_run

        self.nets: dict[str, SensorNet] = {}
        names = list(patches)
        for fold in range(FOLDS):
            out = set(names[fold::FOLDS])
            model = open_run(_trained(patches, out, scratch / f"fold-{fold}")).model
            assert isinstance(model, ReconstructModel)
            self.nets |= dict.fromkeys(out, model.net(SENSOR))
        super().__init__(patches)

    def net(self, name: str) -> SensorNet:
        """Of the fold of the image."""
        return self.nets[name]

    def standard(self, name: str) -> Clean:
        """See `Judge.standard`."""
        return self.standard_of(name, self.clean)


def _trained(patches: Mapping[str, Path], out: set[str], folder: Path) -> Path:
    """A run on all patches but some, which are its validation places."""
    run, table = folder / "run", folder / "places.csv"
    if not (run / "config.json").exists():
        rows = [row for n, p in patches.items() for row in _places(n, p, "validation" if n in out else "train")]
        folder.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        landweave("train", "reconstruct", f"data.path={table}", *NETWORK, "--out", run)
    return run


def _places(name: str, path: Path, split: str) -> Iterable[dict[str, Any]]:
    """A patch in windows of `SIDE` pixels."""
    from landweave.data.raster import header
    from landweave.grid import Window

    grid = header(path).grid
    for row in range(0, grid.shape[0], SIDE):
        for col in range(0, grid.shape[1], SIDE):
            bounds = dict(
                zip(("left", "bottom", "right", "top"), grid.crop(Window(row, col, SIDE, SIDE)).bounds, strict=True)
            )
            offset = -1000 if name in OFFSET else 0
            own = {"name": f"{name}-{row}-{col}", "split": split, "group": name, SENSOR: path}
            yield {**own, f"{SENSOR}.offset": offset, **bounds, "crs": grid.crs}
