"""What is measured of a teacher and its student under a set of faults; the columns that the tables choose from.

`loss_first`, `_middle`, `_last`: contrastive loss on faulty validation images after the first, the middle (8 of 15, 13
of 25) and the last epoch; `loss_test`, `floor`, `excess`, `cosine`, `retrieval` on test images (batches of 64).
`teacher_...` and `student_...`: scores on faulty test images of a head trained anew on faulty training images, after
which epochs where they end in `_first`, `_middle`, `_last` (validation). `..._drop_in` is the teacher's own head,
`..._complete` that head on complete images. `gain` and `gain_drop_in` are student less teacher.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landweave.data.dataset import Task
from landweave.metrics.align import alignment
from landweave.run.evaluate import evaluate, reopen
from landweave.run.matrix_look import Places, Seen, look
from landweave.run.predict import Run, fastest, open_run
from landweave.run.probe import Known, Probe, decoders, score, train_head
from landweave.transforms.faults import LOOK, Faults

TEST = (0, LOOK)
SCORES = {"class": ("oa", "aa_existing"), "multilabel": ("micro_f1", "macro_f1"),
          "map": ("oa", "aa_fixed", "aa_existing", "miou_all", "miou_existing")}  # fmt: skip
WHO = ("teacher", "student")
Values = dict[str, float | None]


def measured(
    teacher: Path, student: Path | None, faults: Faults, probe: Probe, *, split: str, data: str, work: Path
) -> tuple[Values, dict[str, Any]]:
    """Every column, and the predictor that always says the most frequent class.

    Args:
        teacher: its run folder.
        student: the student's; None for complete images, on which it is the teacher.
        faults: of training, validation and test images, by different draws.
        probe: how heads are trained anew.
        split: what is scored.
        data: where the data are.
        work: the folder below which decoders are trained anew (label maps).
    """
    runs = [open_run(folder, device=fastest()) for folder in (teacher, student) if folder is not None]
    changes = [f"data.path={json.dumps(data)}"]
    scene = reopen(runs[0], split, changes)
    test = Places(scene, scene.scored, runs[0])
    faulty, whole = look(runs, test, faults, TEST), look(runs, test, Faults(), TEST)
    found = _aligned(runs, faulty, whole)
    for who, at in (("teacher", 0), ("student", len(runs) - 1)):
        found |= {f"{who}_{s}_drop_in": faulty[at].scores.get(s) for s in SCORES[runs[0].kind]}
        found |= {f"{who}_{s}_complete": whole[at].scores.get(s) for s in SCORES[runs[0].kind]}
    if runs[0].kind == "map":
        found |= _decoded(runs, faults, probe, split=split, work=work, changes=changes)
    else:
        found |= _probed(runs, faults, probe, test, faulty, changes)
    for name in SCORES[runs[0].kind]:
        for end in ("", "_drop_in"):
            a, b = (found.get(f"{who}_{name}{end}") for who in WHO)
            found[f"gain_{name}{end}"] = None if a is None or b is None else b - a
    return found, _majority(runs[0], test, found)


def _aligned(runs: Sequence[Run], faulty: Sequence[Seen], whole: Sequence[Seen]) -> Values:
    """Losses by epoch from the student's own log, and on test images from its features."""
    near = alignment(faulty[-1].features, whole[0].features)
    before = alignment(faulty[0].features, whole[0].features)
    found: Values = {
        "loss_test": near.loss,
        "floor": near.floor,
        "excess": near.excess,
        "cosine": near.cosine,
        "retrieval": near.retrieval_batch,
        "loss_untuned": before.loss,
        "cosine_untuned": before.cosine,
    }
    if len(runs) == 1:  # complete images: the teacher against itself, at any time
        return found | dict.fromkeys(("loss_first", "loss_middle", "loss_last"), near.floor)
    return found | losses(runs[-1].folder)


def losses(folder: Path) -> Values:
    """Contrast on validation images after the first, the middle and the last epoch of a student.

    None where its recipe has no such term, or did not look at that epoch.
    """
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seen = {r["epoch"]: r for r in rows if r["split"] == "validation"}
    last = max((r["epoch"] for r in rows), default=0)
    name = next((k.removesuffix(".floor") for r in seen.values() for k in r if k.endswith(".floor")), "")
    at = {"loss_first": 0, "loss_middle": (last + 2) // 2 - 1, "loss_last": last}
    return {key: seen.get(epoch, {}).get(name) for key, epoch in at.items()}


def _probed(
    runs: Sequence[Run], faults: Faults, probe: Probe, test: Places, faulty: Sequence[Seen], changes: Sequence[str]
) -> Values:
    """A head a run, with its validation scores by epoch."""
    task, first = Task(runs[0].kind, runs[0].legend), runs[0]
    scene = reopen(first, "validation", changes)
    train, held = Places(scene, scene.train, first), Places(scene, scene.scored, first)
    draws = probe.draws if faults else 1
    kept = [look(runs, train, faults, (0, LOOK - 1 - d)) for d in range(draws)]
    seen = look(runs, held, faults, TEST)
    labels = [places.label() for places in (train, held, test)]
    found: Values = {}
    for who, at in (("teacher", 0), ("student", len(runs) - 1)):
        known = Known(tuple(one[at].features for one in kept), labels[0])
        validation = Known((seen[at].features,), labels[1])
        scored = runs[at].trained_classes
        seed = first.settings.seed
        head = train_head(known, task, probe, seed=seed, validation=validation, scored=scored)
        last = score(head, Known((faulty[at].features,), labels[2]), task, scored=scored)
        middle = (probe.epochs + 1) // 2 - 1
        for name in SCORES[first.kind]:
            found[f"{who}_{name}"] = last[name]
            for when, epoch in (("first", 0), ("middle", middle), ("last", probe.epochs - 1)):
                found[f"{who}_{name}_{when}"] = head.curve[epoch][name]
    return found


def _decoded(
    runs: Sequence[Run], faults: Faults, probe: Probe, *, split: str, work: Path, changes: Sequence[str]
) -> Values:
    """A decoder trained anew for each run, both with the settings and the seed of the teacher's."""
    found: Values = {}
    for who, at in (("teacher", 0), ("student", len(runs) - 1)):
        if who == "student" and len(runs) == 1:
            found |= {f"student_{name}": found[f"teacher_{name}"] for name in SCORES["map"]}
            continue
        like, seeds = runs[0], (runs[0].settings.seed,)
        (folder,) = decoders(runs[at], faults, who, probe, like=like, work=work, changes=changes, seeds=seeds)
        told = "tested" if faults else ""
        scores = evaluate(folder, split=split, changes=changes, faults=faults or None, fault_name=told)["scores"]
        found |= {f"{who}_{name}": scores[name] for name in SCORES["map"]}
    return found


def _majority(run: Run, test: Places, found: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of the most frequent training class under the name of every column that has them; of sets none."""
    import numpy as np

    from landweave.metrics import Confusion, scores
    from landweave.metrics.trivial import majority

    if run.kind == "multilabel":
        return {}
    label, K = test.label(), len(run.legend)
    truth = Confusion(K)
    counts = np.bincount(label.values[label.known].numpy().astype(np.int64), minlength=K)
    truth.array[np.arange(K), np.arange(K)] = counts[:K]
    given = scores(majority(truth, run.config["class_counts"]), fixed=run.trained_classes)
    named = {
        key: given[n] for key in found for n in SCORES[run.kind] if key.startswith((f"teacher_{n}", f"student_{n}"))
    }
    return {"most frequent class": {"scores": named}}
