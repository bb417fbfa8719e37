"""Fault finding on real images, claim 5 of issue 4. `make evidence NAME=finding`; about half an hour on one core.

23 genuine Sentinel-2 patches (12 bands, 256 x 256 pixels, worldwide; the +1000 of three of them taken out). Faults are
injected into one band at a time. An image is judged by a predictor that has not seen it, and by a standard (spreads,
limits) measured on the other images: of ridge regression each of these is predicted without itself *and* without the
judged one; of the network by folds, which keeps an image's own fold out, but lets the standard's folds know the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.finding_judges import FOLDS, NETWORK, Judge, Networks, Ridges
from evidence.record import SHARED, Record

if TYPE_CHECKING:
    from landweave.metrics.suspicion import Values
    from landweave.metrics.verdict import Clean
    from landweave.nn.reconstruct import Read
    from landweave.sample import Batch
    from landweave.transforms import Faults

PATCHES = SHARED / "data" / "satclip-s2"
UNLIKE = 0.98
"""Bands whose clean correlation over a patch is below it are swapped."""
DRAWS = 1000
"""Resamplings of the scenes for an interval."""


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
    """All bands +1000 DN, or times 3: no band is faulty, and the image is not like the others."""
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
