"""Fault finding on real images, claim 5 of issue 4. `make evidence NAME=finding`; about half an hour on one core.

23 genuine Sentinel-2 patches (12 bands, 256 x 256 pixels, worldwide; the +1000 of three of them taken out). Faults are
injected into one band at a time. An image is judged by a predictor that has not seen it, and by a standard (spreads,
limits) measured on the other images: of ridge regression each of these is predicted without itself *and* without the
judged one; of the network by folds, which keeps an image's own fold out, but lets the standard's folds know the image.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.record import SHARED, Record, landweave

if TYPE_CHECKING:
    import torch

    from landweave.metrics.suspicion import Values
    from landweave.metrics.verdict import Clean
    from landweave.nn.reconstruct import Read, SensorNet
    from landweave.sample import Batch
    from landweave.transforms import Faults

PATCHES = SHARED / "data" / "satclip-s2"
OFFSET = ("patch_445", "patch_8845", "patch_74721")
"""They carry the +1000 of processing baseline 04.00 (../shared/data/README.md)."""
NOMINAL = 0.3
"""Mean reflectance that the scale is laid out for (floor 0.03), so that no image sets the scale it is judged on."""
BLOCK, SIDE = 32, 64
UNLIKE = 0.98
"""Bands whose clean correlation over a patch is below it are swapped."""
FOLDS = 4
NETWORK = ("method.width=32", "train.epochs=10", "train.validate_every=10", "optim.lr=5e-3")
DRAWS = 1000
"""Resamplings of the scenes for an interval."""
SENSOR = "s2-l2a"


def faults(band: str) -> dict[str, Faults]:
    """What is done to a band, by the name of the row. The first four are claimed."""
    from landweave.transforms.faults import DeadColumns, Faults, Gain, Missing, Noise, Saturation, Shift, Stripes

    at = {"bands": (band,)}
    rows = {
        "dead band": Missing(**at, known=False),
        "stripes of 20 %, every tenth line": Stripes(**at),
        "gain x 1.3": Gain(**at, gain=1.3),
        "gain x 0.77": Gain(**at, gain=0.77),
        "gain x 1.15": Gain(**at, gain=1.15),
        "offset +1000 DN in one band": Gain(**at, number=1000),
        "gaps, every tenth line": Stripes(**at, gap=True),
        "stripes of 10 %": Stripes(**at, strength=0.1),
        "dead columns, 5 %": DeadColumns(**at),
        "dead pixels, 10 %": Missing(**at, known=False, ratio=0.1),
        "saturated tenth": Saturation(**at),
        "noise of 0.2 deviations": Noise(**at),
        "shift by 1 pixel": Shift(**at, pixels=1.0),
        "shift by 3 pixels": Shift(**at, pixels=3.0),
    }
    return {name: Faults(faults=(fault,)) for name, fault in rows.items()}


SWAP = "two bands swapped"
CLAIMED = ("dead band", "stripes of 20 %, every tenth line", "gain x 1.3", SWAP)


def main() -> None:
    """Run what is not recorded yet."""
    record = Record("finding")
    patches = {p.stem: p for p in sorted(PATCHES.rglob("*.tif"))}
    told = "ridge regression, leave one image out, nested"
    record.part("ridge", told, lambda: judged(Ridges(patches), naming=True), seeds=[0])
    told = f"landweave train reconstruct {' '.join(NETWORK)}, {FOLDS} folds of images"
    record.part("network", told, lambda: judged(Networks(patches, record.scratch), naming=False), seeds=[0])


# ---- images


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


class Judge:
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

    def net(self, name: str) -> SensorNet:
        """A predictor that has not seen an image."""
        raise NotImplementedError

    def standard(self, name: str) -> Clean:
        """What is clean, by the other images."""
        raise NotImplementedError

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


# ---- figures


def judged(judge: Judge, *, naming: bool) -> dict[str, Any]:
    """AUROC of each fault, what is accused of clean images, and whether the right band is named."""
    import torch

    with torch.inference_mode():
        standards = {n: judge.standard(n) for n in judge.names}
        scores = {n: standards[n].scores(_image(judge.clean[n])).max(1) for n in judge.names}
        spoilt = _spoilt(judge, standards)
        rows = {name: _row(scores, spoilt[name]) for name in spoilt}
        return {
            "images": len(judge.names),
            "goal": "AUROC of at least 0.95 for " + ", ".join(CLAIMED),
            "reached": all(rows[name]["auroc"] >= 0.95 for name in CLAIMED),
            "faults": rows,
            "AUROC of gain x 1.3 by band": _by_band(judge, scores, spoilt["gain x 1.3"]),
            "clean": _accused(judge, standards, scores),
            **({"named": _named(judge, standards)} if naming else {}),
            "another scale": _elsewhere(judge, standards) if naming else {},
        }


def _image(blocks: Values) -> Values:
    from landweave.metrics.suspicion import of_image

    return of_image(blocks)


Spoilt = dict[str, list[tuple[int, float]]]
"""Image -> bands that are faulty and their scores."""


def _spoilt(judge: Judge, standards: Mapping[str, Clean]) -> dict[str, Spoilt]:
    """The scores of faulty bands. Bands are taken in turn, so that an image has some of its own and all come alike."""

    found: dict[str, Spoilt] = {}
    for i, (name, cube) in enumerate(judge.cubes.items()):
        clean = judge.read(cube)
        for c in range(i % judge.every, len(judge.bands), judge.every):
            for what, fault in faults(judge.bands[c]).items():
                if what in CLAIMED or judge.all_faults:
                    own = found.setdefault(what, {}).setdefault(name, [])
                    own += _score(judge, standards[name], name, _struck(judge, cube, fault), [c])
        for pair in _pairs(clean)[i % (3 * judge.every) :: 3 * judge.every]:
            own = found.setdefault(SWAP, {}).setdefault(name, [])
            own += _score(judge, standards[name], name, _swapped(judge, name, clean, pair), pair)
    return found


def _score(judge: Judge, clean: Clean, name: str, read: Read, bands: Iterable[int]) -> list[tuple[int, float]]:
    """Scores of the faulty bands of an image."""
    scores = clean.scores(_image(judge.figures(name, read))).max(1)
    return [(b, float(scores[b])) for b in bands]


def _pairs(read: Read) -> list[tuple[int, int]]:
    """Bands whose correlation over the patch is below the limit."""
    table = np.corrcoef(read.physical[0].flatten(1).numpy())
    return [(a, b) for a in range(len(table)) for b in range(a + 1, len(table)) if table[a, b] < UNLIKE]


def _swapped(judge: Judge, name: str, read: Read, pair: tuple[int, int]) -> Read:
    """Two bands in each other's place."""
    from landweave.nn.reconstruct import Read

    order = list(range(read.values.shape[1]))
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    physical = read.physical[:, order]
    return Read(physical, judge.net(name).scale.to(physical), read.seen[:, order])


def _row(clean: Mapping[str, Values], spoilt: Spoilt) -> dict[str, Any]:
    """AUROC of faulty bands against bands of clean images, with an interval over scenes, and the share accused."""
    names, rng = list(clean), np.random.default_rng(0)
    good = [clean[n] for n in names]
    bad = [np.array([v for _, v in spoilt.get(n, [])]) for n in names]
    value = _auroc(np.concatenate(good), np.concatenate(bad))
    draws = []
    for _ in range(DRAWS):
        at = rng.integers(len(names), size=len(names))
        draws.append(_auroc(np.concatenate([good[i] for i in at]), np.concatenate([bad[i] for i in at])))
    every = np.concatenate(bad)
    return {
        "auroc": round(value, 4),
        "interval": [round(float(v), 4) for v in np.quantile(draws, [0.025, 0.975])],
        "faulty": len(every),
        "above the limit": round(float((every > 1).mean()), 4),
    }


def _auroc(good: Values, bad: Values) -> float:
    """The chance that a faulty band scores above a clean one; half of it where they are equal."""
    ranked = np.sort(good)
    below, upto = np.searchsorted(ranked, bad, "left"), np.searchsorted(ranked, bad, "right")
    return float((below + upto).mean() / 2 / len(ranked)) if len(bad) else float("nan")


def _by_band(judge: Judge, clean: Mapping[str, Values], spoilt: Spoilt) -> dict[str, float]:
    found = {}
    for c, band in enumerate(judge.bands):
        good = np.array([v[c] for v in clean.values()])
        found[band] = round(_auroc(good, np.array([v for row in spoilt.values() for b, v in row if b == c])), 3)
    return found


def _verdict(judge: Judge, clean: Clean, name: str, read: Read) -> Any:
    from landweave.methods.standard import medians
    from landweave.metrics.verdict import judge as verdict_of

    net = judge.net(name)

    def look(hidden: tuple[int, ...]) -> tuple[Values, Values]:
        return _image(judge.figures(name, read, hidden=hidden)), _looser(judge, name, hidden)

    assert net is not None
    return verdict_of(clean, look, medians(read))


def _looser(judge: Judge, name: str, hidden: tuple[int, ...]) -> Values:
    found: Values = judge.net(name).ridge.looser(hidden).numpy()
    return found


def _accused(judge: Judge, standards: Mapping[str, Clean], scores: Mapping[str, Values]) -> dict[str, Any]:
    """False alarms: what is said of the clean images."""
    verdicts = {n: _verdict(judge, standards[n], n, judge.read(c)) for n, c in judge.cubes.items()}
    wrong = {n: [judge.bands[c] for c in v.suspects] for n, v in verdicts.items() if v.suspects}
    return {
        "a band is called faulty": _share(len(wrong), len(verdicts)),
        "bands called faulty": wrong,
        "unlike the others": _share(sum(v.unlike for v in verdicts.values()), len(verdicts)),
        "which": [n for n, v in verdicts.items() if v.unlike],
        "a band scores above the limit": _share(sum(s.max() > 1 for s in scores.values()), len(scores)),
    }


def _share(count: int, n: int) -> dict[str, Any]:
    """A share with its 95 % interval (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    count = int(count)
    low = float(beta.ppf(0.025, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, n - count)) if count < n else 1.0
    return {"count": count, "of": n, "share": round(count / n, 3), "interval": [round(low, 3), round(high, 3)]}


def _struck(judge: Judge, cube: Batch, fault: Faults) -> Read:
    """A cube with a fault."""
    from landweave.transforms.faults import spoil

    return judge.read(spoil(cube, fault, (0, 0)))


def _named(judge: Judge, standards: Mapping[str, Clean]) -> dict[str, Any]:
    """Of the claimed faults at two bands (one pair) of each image: is exactly the faulty band named, is it among those
    named, and is another one."""

    rng, out = np.random.default_rng(1), {}
    draws: dict[str, list[tuple[str, tuple[int, ...], Callable[[], Read]]]] = {what: [] for what in CLAIMED}
    for name, cube in judge.cubes.items():
        clean = judge.read(cube)
        for c in rng.permutation(len(judge.bands))[:2].tolist():
            for what in CLAIMED[:-1]:
                fault = faults(judge.bands[c])[what]
                draws[what].append((name, (c,), partial(_struck, judge, cube, fault)))
        if pairs := _pairs(clean):
            pair = pairs[int(rng.integers(len(pairs)))]
            draws[SWAP].append((name, pair, partial(_swapped, judge, name, clean, pair)))
    for what, some in draws.items():
        verdicts = [(set(bad), _verdict(judge, standards[name], name, make())) for name, bad, make in some]
        out[what] = {
            "exactly": _share(sum(set(v.suspects) == bad for bad, v in verdicts), len(verdicts)),
            "among others": _share(sum(bad < set(v.suspects) for bad, v in verdicts), len(verdicts)),
            "another instead": _share(
                sum(bool(set(v.suspects) - bad) and not bad <= set(v.suspects) for bad, v in verdicts), len(verdicts)
            ),
            "unlike": _share(sum(v.unlike for _, v in verdicts), len(verdicts)),
        }
    return out


def _elsewhere(judge: Judge, standards: Mapping[str, Clean]) -> dict[str, Any]:
    """All bands +1000 DN, or times 1.5: no band is faulty, and the image is not like the others."""
    from landweave.transforms.faults import Faults, Gain, spoil

    out = {}
    for what, fault in {"all bands +1000 DN": Gain(number=1000), "all bands x 3": Gain(gain=3.0)}.items():
        verdicts = []
        for name, cube in judge.cubes.items():
            read = judge.read(spoil(cube, Faults(faults=(fault,)), (0, 0)))
            verdicts.append(_verdict(judge, standards[name], name, read))
        out[what] = {
            "unlike": _share(sum(v.unlike for v in verdicts), len(verdicts)),
            "a band is called faulty": _share(sum(bool(v.suspects) for v in verdicts), len(verdicts)),
        }
    return out


if __name__ == "__main__":
    main()
