"""The full claims of issue 4 on adapting: `make evidence NAME=robust`; hours on two cores, resumable part by part.

Runs stand in `build/evidence/robust`. Those of `landweave reproduce` carry the fingerprint of the code that made them;
the others are finished run folders, which `landweave train` leaves alone (delete a folder to make it anew).
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evidence.record import HERE, SHARED, Record, held, landweave
from evidence.robust_data import SCENES, chips, tiles, windows

if TYPE_CHECKING:
    from landweave.metrics.confusion import Confusion
    from landweave.reproduce import Table
    from landweave.run.matrix import Cell, Matrix

EUROSAT = SHARED / "data" / "eurosat-rgb"
SEEDS = (0, 1, 2)
WORKERS = int(os.environ.get("WORKERS", "2"))
COST = 0.03
"""What masking must cost an encoder before adapting has anything to give back."""
DRAWS = 2
"""Of faults for each training place of a probe."""
FOUR, FIVE = "B02,B04,B08,B11", "B08,B8A,B09,B11,B12"
"""The thesis's set of four bands, and its B8 to B12 without cirrus, which L2A has not."""
COSTLY = ("B2-B4-B8-B11", "B8-B9-B10-B11-B12")
"""Of `SETS`, those that cost a segmentation at least 0.05 mIoU."""
SETS = ("B2", "B8", "B2-B3-B4", *COSTLY)
QUICK = ("train.epochs=15", "train.validate_every=15", "optim.lr=3e-4")
LONG = ("train.epochs=80", "train.validate_every=20", "optim.lr=3e-3")
"""Of students of a segmentation. The rate was chosen on validation places: B8 to B12, seed 0, 40 epochs."""


def main() -> None:
    """Run what is not recorded yet."""
    record = Record("robust")
    seeds = list(SEEDS)
    for preset in ("petcu2024-names", "petcu2024-positional"):
        command = "landweave reproduce evidence/protocols/adapt-eurosat.yaml --data eurosat=DIR"
        record.part(f"sets/{preset}", f"{command} ({preset})", partial(sets, record.scratch, preset), seeds=seeds)
    for seed in SEEDS:
        command = "landweave train adapt ... on EuroSAT RGB; landweave matrix --faults missing:G,B@0.9"
        record.part(f"rgb/{seed}", command, partial(rgb, record.scratch, seed), seeds=[seed])
    command = "landweave train adapt ... on chips of 23 real patches; landweave matrix"
    record.part("patches", command, lambda: patches(record.scratch), seeds=seeds)
    command = "landweave train adapt-any ...; landweave matrix beside dedicated encoders"
    record.part("any/synthetic", command, lambda: any_synthetic(record.scratch), seeds=seeds)
    record.part("any/patches", command, lambda: any_patches(record.scratch, 40), seeds=seeds)
    record.part("any/patches/long", command, lambda: any_patches(record.scratch, 100), seeds=seeds)
    command = "landweave train segment, adapt-maps, adapt pooled ...; landweave matrix --faults petcu2024-names/..."
    record.part("segmentation", command, lambda: segmentation(record.scratch, SETS), seeds=seeds)
    long = f"{command} (students 80 epochs at 3e-3)"
    record.part("segmentation/long", long, lambda: segmentation(record.scratch, COSTLY, long=True), seeds=seeds)
    record.part("terramind", f"{command}, each tile left out once", lambda: terramind(record.scratch), seeds=[0])


# ---- 1: the twelve sets


def sets(scratch: Path, preset: str) -> dict[str, Any]:
    """Cost of masking and gain of adapting, set by set, of one reading of the band numbers."""
    from landweave.reproduce import protocol, run_protocol

    world = _eurosat(scratch)
    given = protocol(HERE / "protocols" / "adapt-eurosat.yaml").model_copy(update={"presets": (preset,)})
    with held(scratch / "sets"):  # both readings share their teachers
        table = run_protocol(given, {"eurosat": str(world)}, scratch / "sets", workers=WORKERS)
    if not table.ok:
        raise SystemExit(f"{len(table.failures)} runs failed: {table.failures[:1]}")
    return {"preset": preset, "probe": claims(table, ""), "drop-in": claims(table, "_drop_in")}


def claims(table: Table, end: str) -> dict[str, Any]:
    """Of every set: its cost to the teacher, its gain, and whether the claim holds; the rank correlation of both.

    Cost and gain of one seed share the accuracy of its teacher under the fault, whose noise alone correlates them. So
    the gain of each seed is also held against the cost that the teachers of the other seeds have.
    """
    whole = table.get("none", f"teacher_oa{end}").values
    rows, costs, gains = [], [], []
    for name in dict.fromkeys(e.row for e in table.entries if e.row != "none"):
        teacher, student = (table.get(name, f"{who}_oa{end}").values for who in ("teacher", "student"))
        cost = [whole[i] - teacher[i] for i in teacher]
        gain = [student[i] - teacher[i] for i in teacher]
        costs.append(cost)
        gains.append(gain)
        error = statistics.stdev(gain) / math.sqrt(len(gain))
        mean = statistics.mean(gain)
        costly = statistics.mean(cost) >= COST
        rows.append(
            {
                "set": name,
                "teacher": _round(statistics.mean(teacher.values())),
                "student": _round(statistics.mean(student.values())),
                "cost": _round(statistics.mean(cost)),
                "gain": _round(mean),
                "standard_error": _round(error),
                "costs_3_points": costly,
                "holds": mean > 0 if costly else mean >= -2 * error,
            }
        )
    return {
        "complete": _round(statistics.mean(whole.values())),
        "sets": rows,
        "costly_sets": sum(r["costs_3_points"] for r in rows),
        "hold": sum(r["holds"] for r in rows),
        "rank_correlation_of_cost_and_gain": _rank(
            [statistics.mean(c) for c in costs], [statistics.mean(g) for g in gains]
        ),
        "rank_correlation_with_the_cost_to_other_teachers": _apart(costs, gains),
    }


def _apart(costs: Sequence[Sequence[float]], gains: Sequence[Sequence[float]]) -> float | None:
    """Mean over seeds of the rank correlation of a seed's gains with the mean cost to the other seeds' teachers."""
    seeds = range(len(costs[0]))
    others = [[statistics.mean(c for j, c in enumerate(row) if j != i) for row in costs] for i in seeds]
    return _round(statistics.mean(_rank(others[i], [row[i] for row in gains]) or 0.0 for i in seeds))


def _rank(one: Sequence[float], other: Sequence[float]) -> float | None:
    from scipy.stats import spearmanr

    return _round(float(spearmanr(one, other).statistic))


# ---- 2: real input


def rgb(scratch: Path, seed: int) -> dict[str, Any]:
    """ResNet-18 from random weights; one student for 0.9 and 1.0 of G and B, and one with the thesis's settings."""
    out = scratch / f"rgb-{seed}"
    data = ("data.kind=eurosat", f"data.path={EUROSAT}", "data.splits=random", f"seed={seed}")
    long = ("train.epochs=12", "train.validate_every=12")
    teacher = _train("supervised", out / "teacher", *data, "train.epochs=14", "method.head={kind: mlp}")
    both = "[{kind: missing, bands: [G, B], ratio: 0.9}, {kind: missing, bands: [G, B], ratio: 1.0, chance: 0.5}]"
    ours = _train("adapt", out / "ours", *data, f"start={teacher}", f"method.faults.faults={both}", *long)
    thesis = _thesis(out / "thesis", data, teacher, "G, B", *long)
    return _told(_matrix([teacher, ours, thesis], ["missing:G,B@0.9", "missing:G,B@1.0"]))


def patches(scratch: Path) -> dict[str, Any]:
    """Which of 23 real scenes a chip is from: taught on left halves, asked on right halves, offsets harmonised."""
    by_seed, scenes = [], []
    faults = [f"missing:{FOUR}@0.9", f"missing:{FOUR}@1.0"]
    for seed in SEEDS:
        teacher, data = _chips(scratch, seed)
        some, all_ = (f"{{kind: missing, bands: [{FOUR}], ratio: {r}}}" for r in ("0.9", "1.0, chance: 0.5"))
        both = f"[{some}, {all_}]"
        out = teacher.parent
        ours = _train(
            "adapt", out / "ours", *data, f"start={teacher}", f"method.faults.faults={both}", "train.epochs=20"
        )
        thesis = _thesis(out / "thesis", data, teacher, FOUR, "train.epochs=20")
        by_seed.append(_told(_matrix([teacher, ours, thesis], faults)))
        scenes.append({text: _by_scene(teacher, ours, text) for text in ("", *faults)})
    intervals = {text or "complete": _interval([s[text] for s in scenes]) for text in scenes[0]}
    return {"scenes": SCENES, "seeds": by_seed, "student less teacher, drop-in, over scenes": intervals}


def _thesis(out: Path, data: tuple[str, ...], teacher: Path, bands: str, *long: str) -> Path:
    """The thesis's recipe as shipped, on our teacher, its input and its head; not enlarged, as long as ours."""
    fault = f"[{{kind: missing, bands: [{bands}], ratio: 0.9, at: model}}]"
    ours = ("data.enlarge=1", "method.encoder={fill: scalar}", f"method.faults.faults={fault}", "classifier=true")
    return _train("adapt-petcu2024", out, *data, f"start={teacher}", *ours, *long)


def _chips(scratch: Path, seed: int) -> tuple[Path, tuple[str, ...]]:
    table = chips(scratch / "chips")
    data = ("data.kind=pack", f"data.path={table}", "data.task=scene", f"seed={seed}", "train.validate_every=20")
    small = ("method.encoder.name=resnet10t", "train.batch_size=64")
    out = scratch / f"patches-{seed}"
    words = (*data, *small, "method.head={kind: mlp}", "train.epochs=20", "train.validate_every=5")
    return _train("supervised", out / "teacher", *words), data


def _by_scene(teacher: Path, student: Path, text: str) -> dict[str, float]:
    """Scene -> accuracy of the student less that of the teacher, by their own heads."""
    from landweave.run.evaluate import evaluate
    from landweave.transforms.faults import named

    faults = named(text) if text else None
    found: list[dict[str, list[float]]] = []
    for run in (teacher, student):
        rows: dict[str, list[float]] = {}
        for place in evaluate(run, faults=faults, fault_name=text)["places"]:
            rows.setdefault(place["group"], []).append(place["score"])
        found.append(rows)
    return {scene: statistics.mean(found[1][scene]) - statistics.mean(found[0][scene]) for scene in found[0]}


def _interval(by_seed: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Mean over scenes of the mean over seeds, with Student's 95 % interval over scenes."""
    from scipy.stats import t

    values = [statistics.mean(s[scene] for s in by_seed) for scene in by_seed[0]]
    mean, n = statistics.mean(values), len(values)
    reach = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return {"scenes": n, "difference": _round(mean), "interval": [_round(mean - reach), _round(mean + reach)]}


# ---- 3: one encoder for all subsets


def any_synthetic(scratch: Path) -> dict[str, Any]:
    """One student for every subset beside dedicated ones, bands wholly missing."""
    world = _store(_eurosat(scratch), scratch / "eurosat-store", "data.kind=eurosat", "data.splits=random")
    data = ("data.kind=pack", f"data.path={world}", "train.batch_size=64")
    teach = ("method.encoder.name=lcnet_050", "method.head={kind: mlp}", "optim.lr=3e-3", "train.epochs=30")
    bands = ["B02", "B08", FOUR, "B08,B09,B10,B11,B12"]
    return _any(scratch / "any", data, teach, bands, epochs=(25, 100), long=FOUR)


def any_patches(scratch: Path, epochs: int) -> dict[str, Any]:
    """The same on chips of the real patches; `epochs` of the one for all, of which the recipe has 100."""
    data = ("data.kind=pack", f"data.path={chips(scratch / 'chips')}", "data.task=scene", "train.batch_size=64")
    teach = (
        "method.encoder.name=resnet10t",
        "method.head={kind: mlp}",
        "train.epochs=20",
    )
    return _any(scratch / "any-patches", data, teach, [FOUR, FIVE], epochs=(20, epochs))


def _any(
    out: Path,
    data: tuple[str, ...],
    teach: tuple[str, ...],
    bands: Sequence[str],
    *,
    epochs: tuple[int, int],
    long: str = "",
) -> dict[str, Any]:
    """`epochs` are those of a dedicated student and of the one for all; `long`: a set with a dedicated one as long."""
    faults = [f"missing:{b}@1.0" for b in bands]
    seeds = []
    for seed in SEEDS:
        words = (*data, f"seed={seed}", f"train.validate_every={epochs[0]}")
        teacher = _train("supervised", out / f"teacher-{seed}", *data, f"seed={seed}", *teach)
        start, last = f"start={teacher}", f"train.epochs={epochs[1]}"
        runs = {
            "teacher": teacher,
            "one for all": _train("adapt-any", out / f"any-{epochs[1]}-{seed}", *words, start, last),
        }
        for i, own in enumerate(bands):
            only = f"method.faults.faults=[{{kind: missing, bands: [{own}], ratio: 1.0}}]"
            to = out / f"dedicated-{i}-{seed}"
            runs[f"missing:{own}@1.0"] = _train("adapt", to, *words, start, only, f"train.epochs={epochs[0]}")
            if own == long:
                runs["dedicated, as many steps"] = _train("adapt", out / f"long-{seed}", *words, start, only, last)
        found = _matrix(list(runs.values()), faults)
        seeds.append(_beside(found, {k: p.name for k, p in runs.items()}, faults, f"missing:{long}@1.0"))
    cost = {"dedicated, each": _cost(runs[faults[0]], 1), "one for all": _cost(runs["one for all"], 2)}
    return {"seeds": seeds, "cost": cost, "sets": list(bands)}


def _cost(run: Path, masks: int) -> dict[str, int]:
    """What a student's training passed through the network; the last, smaller batch of an epoch is left out."""
    from landweave.run.predict import open_run

    experiment = open_run(run).settings
    places, size, epochs = (
        len(experiment.data.open().of_split("train")),
        experiment.train.batch_size,
        experiment.train.epochs,
    )
    steps = epochs * (places // size)
    return {"epochs": epochs, "steps": steps, "student images": steps * size * masks}


def _beside(found: Matrix, names: Mapping[str, str], faults: Sequence[str], long: str) -> dict[str, Any]:
    """For each set the one encoder for all, the dedicated one, and the teacher; complete images for all of them."""
    rows = {}
    for text in (*faults, "complete"):
        who = {"teacher": "teacher", "one for all": "one for all"}
        who |= {"dedicated": text} if text in faults else {f"dedicated to {t}": t for t in faults}
        who |= {"dedicated, as many steps": "dedicated, as many steps"} if text == long else {}
        rows[text] = {k: _cell(found.cell(names[v], text), found.headline) for k, v in who.items()}
    return rows


# ---- 4: segmentation


def segmentation(scratch: Path, sets_: Sequence[str], *, long: bool = False) -> dict[str, Any]:
    """Synthetic SEN12MS in pixels of 40 m: feature maps aligned, or pooled features alone; the original decoder.

    Of the 160 places of training an epoch is 20 steps: `long` gives the students 1,600 in place of 300.
    """
    world = _synthetic(scratch / "sen12ms", "sen12ms", 240)
    store = _store(world, scratch / "sen12ms-store", "data.kind=sen12ms", "data.streams=[s2-l1c]", "data.coarsen=4")
    data = ("data.kind=pack", f"data.path={store}", "data.streams=[s2-l1c]")
    out: dict[str, Any] = {}
    for label in sets_:
        text = f"petcu2024-names/{label}@0.9"
        to = scratch / "segmentation" / (f"{label}-long" if long else label)
        runs = [_mapped(to, data, seed, text, LONG if long else QUICK) for seed in SEEDS]
        out[text] = [_told(_matrix(list(r.values()), [text], probes=False)) for r in runs]
    return out


def _mapped(out: Path, data: tuple[str, ...], seed: int, text: str, taught: tuple[str, ...] = QUICK) -> dict[str, Path]:
    """A teacher a seed, and two students of one set, `taught` so."""
    from landweave.transforms.faults import named

    words = (*data, f"seed={seed}", "train.batch_size=8")
    teacher = _train(
        "segment", out.parent / f"teacher-{seed}", *words, "method.encoder.name=resnet10t", "train.epochs=25"
    )
    (fault,) = named(text).faults
    only = f"method.faults.faults=[{{kind: missing, bands: [{','.join(fault.bands)}], ratio: 0.9}}]"
    whole = (*words, f"start={teacher}", only, *taught)
    maps = _train("adapt-maps", out / f"maps-{seed}", *whole)
    pooled = _train("adapt-maps", out / f"pooled-{seed}", *whole, "method.match={pooled: {kind: clip}}")
    return {"teacher": teacher, "maps": maps, "pooled": pooled}


def terramind(scratch: Path) -> dict[str, Any]:
    """Each of five genuine tiles left out once; the pixels of all five in one table for each model and condition."""
    text = f"missing:{FOUR}@0.9"
    tables: dict[str, dict[str, dict[str, Confusion]]] = {}
    for left_out in tiles():
        store = windows(scratch / "terramind" / left_out, left_out)
        data = ("data.kind=pack", f"data.path={store}", "data.streams=[s2-l2a]")
        for who, run in _mapped(scratch / "terramind" / left_out / "runs", data, 0, text).items():
            for condition in ("complete", text):
                mine = tables.setdefault(condition, {}).setdefault(who, {})
                mine[left_out] = _table(run, "" if condition == "complete" else text)
    pooled = {c: {who: _miou(_sum(own.values())) for who, own in row.items()} for c, row in tables.items()}
    by_tile = {
        c: {
            who: {tile: _less(_miou(t), _miou(row["teacher"][tile])) for tile, t in own.items()}
            for who, own in row.items()
        }
        for c, row in tables.items()
    }
    for row in by_tile.values():
        del row["teacher"]
    return {"tiles": len(tiles()), "miou over the pixels of all tiles": pooled, "less teacher, by tile": by_tile}


def _table(run: Path, text: str) -> Confusion:
    from landweave.metrics.confusion import Confusion
    from landweave.run.evaluate import evaluate
    from landweave.transforms.faults import named

    found = evaluate(run, faults=named(text) if text else None, fault_name=text)["confusion"]
    return Confusion(len(found), found)


def _sum(tables: Iterable[Confusion]) -> Confusion:
    first, *others = tables
    for other in others:
        first = first.merge(other)
    return first


def _miou(table: Confusion) -> float | None:
    from landweave.metrics.classify import scores

    return _round(scores(table)["miou_existing"]) if table.n else None


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else _round(one - other)


# ---- the machinery


def _eurosat(scratch: Path) -> Path:
    """The frozen synthetic EuroSAT of 1,200 places."""
    return _synthetic(scratch / "eurosat", "eurosat", 1200)


def _synthetic(world: Path, layout: str, places: int) -> Path:
    with held(world):
        if not (world / "done").exists():
            shutil.rmtree(world, ignore_errors=True)
            landweave("synth", layout, world, "--places", str(places), "--seed", "0")
            (world / "done").touch()
    return world


def _store(source: Path, store: Path, *words: str) -> Path:
    with held(store):
        landweave("pack", store, *words, f"data.path={source}")
    return store


def _train(recipe: str, out: Path, *words: str) -> Path:
    """A finished run is left alone, a killed one goes on."""
    landweave("train", recipe, *words, "--out", out)
    return out


def _matrix(runs: Sequence[Path], faults: Sequence[str], *, probes: bool = True) -> Matrix:
    from landweave.run.matrix import columns, matrix
    from landweave.run.probe import Probe

    return matrix(list(runs), columns(faults), probe=Probe(draws=DRAWS) if probes else None)


def _told(found: Matrix) -> dict[str, Any]:
    """Every cell in a few figures."""
    cells: dict[str, dict[str, Any]] = {}
    for c in found.cells:
        cells.setdefault(c.faults, {})[c.encoder] = _cell(c, found.headline)
    return {"score": found.headline, "places": found.places, "cells": cells}


def _cell(c: Cell, key: str) -> dict[str, Any]:
    """One cell by its matrix's headline score: accuracy of places, `miou_existing` of maps."""
    out: dict[str, Any] = {"drop_in": _round(c.drop_in[key]), "recovered": _round(c.recovered)}
    if c.probe:
        out |= {"probe": _round(c.probe[key]["mean"]), "probe_std": _round(c.probe[key]["std"])}
    return out | {
        "unchanged": _round(c.unchanged_teacher),
        "cosine": _round(c.alignment.cosine if c.alignment else None),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    main()
