"""The matrix against evaluation, loops and heads that are trained in place."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from landweave.__main__ import app
from landweave.data.dataset import Task
from landweave.data.store import pack
from landweave.errors import ConfigError, RunError
from landweave.metrics.align import alignment
from landweave.nn.config import Linear
from landweave.run.embed import embed
from landweave.run.evaluate import evaluate, reopen
from landweave.run.experiment import recipe
from landweave.run.finish import finish
from landweave.run.material import gather
from landweave.run.matrix import COMPLETE, TEST, Column, columns, matrix
from landweave.run.matrix_look import Places, look
from landweave.run.matrix_text import comma_separated, markdown, write
from landweave.run.predict import Run, open_run
from landweave.run.probe import Known, Probe, spread_of, train_head
from landweave.sample import Sample
from landweave.transforms import cubes
from landweave.transforms.faults import LOOK, Faults, named, spoil
from tests.cli.places import load_rows, save_rows, write_table
from tests.data.fake import Fake
from tests.run.made import make_run
from tests.run.matrix_runs import BANDS, made, store

SETS = columns(["missing:B02,B04@0.9", "gain:B08*1.3"])
QUICK = Probe(epochs=3, seeds=2, draws=2, batch_size=8)


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.references.TREES", 5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return made(data, folder / "teacher", seed=6), made(data, folder / "adapted", seed=3)


def places(run: Run, split: str = "test") -> Places:
    scene = reopen(run, split)
    return Places(scene, scene.scored, run)


def by_place(run: Run, split: str, faults: Faults, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Features and answers, one place at a time."""
    scene = reopen(run, split)
    features, answers = [], []
    for index in scene.scored:
        (batch,) = scene.batches([index], batch_size=1)
        cube = spoil(cubes(batch, run.contract), faults, key)
        with torch.no_grad():
            (feature,) = run.model.features(cube).values()
            features.append(feature[0].numpy())
        answers.append(int(run.predict(cube)[0].argmax()))
    return np.stack(features), np.array(answers)


# ---- looking


def test_features_and_answers_are_those_of_single_places(runs: tuple[Path, Path]) -> None:
    run, faults = open_run(runs[0]), named("missing:B02,B04@0.9")
    (seen,) = look([run], places(run), faults, TEST)
    features, answers = by_place(run, "test", faults, TEST)
    np.testing.assert_allclose(seen.features, features, atol=1e-5)
    assert seen.answers is not None
    assert seen.answers.tolist() == answers.tolist()
    whole, _ = by_place(run, "test", Faults(), TEST)
    assert not np.allclose(whole, features)


def test_drop_in_is_what_evaluate_says(runs: tuple[Path, Path]) -> None:
    for text in ("missing:B02,B04@0.9", "gain:B08*1.3"):
        faults = named(text)
        found = evaluate(runs[0], faults=faults, fault_name=text)["scores"]
        run = open_run(runs[0])
        (seen,) = look([run], places(run), faults, TEST)
        assert dict(seen.scores) == pytest.approx(found, nan_ok=True)


def test_places_are_read_once_where_they_fit(runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(runs[0])
    once = places(run)
    first = [b.names for b in once]
    monkeypatch.setattr(type(once.scene), "batches", lambda *a, **k: pytest.fail("read again"))
    assert [b.names for b in once] == first
    monkeypatch.undo()
    monkeypatch.setattr("landweave.run.matrix_look.MEMORY", 10)
    large = places(run)
    assert [b.names for b in large] == [b.names for b in large] == first
    assert large._kept == []


# ---- probes


@pytest.mark.parametrize("head", [Linear(), None])
def test_a_probe_is_the_head_trained_in_place_with_the_encoder_frozen(
    runs: tuple[Path, Path], head: Linear | None
) -> None:
    """The same draws, order and first weights; in place every image goes through the encoder at every step."""
    run, faults = open_run(runs[0]), named("missing:B02,B04@0.9")
    probe = Probe(epochs=3, draws=2, batch_size=8, **({"head": head} if head else {}))
    scene = reopen(run, "train")
    where = Places(scene, scene.scored, run)
    kept = [look([run], where, faults, (0, LOOK - 1 - d))[0].features for d in range(2)]
    learned = train_head(Known(tuple(kept), where.label()), Task(run.kind, run.legend), probe, seed=5).head

    label = where.label()
    known = [i for i in range(len(label.values)) if bool(label.known[i])]
    assert len(known) < len(label.values)
    torch.manual_seed(5)
    width, classes = kept[0].shape[1], len(run.legend)
    mine = nn.Linear(width, classes) if head else nn.Sequential(
        nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, classes)
    )  # fmt: skip
    order, optimizer = torch.Generator().manual_seed(5), torch.optim.Adam(mine.parameters(), lr=0.01)
    for epoch in range(3):
        mixed = torch.randperm(len(known), generator=order).tolist()
        for start in range(0, len(mixed), 8):
            rows = [known[i] for i in mixed[start : start + 8]]
            batch = next(iter(scene.batches([scene.scored[i] for i in rows], batch_size=8)))
            with torch.no_grad():
                cube = spoil(cubes(batch, run.contract), faults, (0, LOOK - 1 - epoch % 2))
                (features,) = run.model.features(cube).values()
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(mine(features), batch.labels[run.task].values.long())
            torch.autograd.backward(loss)
            optimizer.step()
    for a, b in zip(learned.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


def test_seeds_give_other_heads_and_repeat(runs: tuple[Path, Path]) -> None:
    run = open_run(runs[0])
    where = places(run, "train")
    known = Known((look([run], where, Faults(), TEST)[0].features,), where.label())
    task = Task(run.kind, run.legend)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    a, b, c = (train_head(known, task, QUICK, seed=s).head for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's draws are touched
    one, same, other = (next(p.detach() for p in h.parameters()) for h in (a, b, c))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_curve_has_the_validation_scores_of_each_epoch(runs: tuple[Path, Path]) -> None:
    run = open_run(runs[0])
    train, test = places(run, "train"), places(run, "validation")
    known, held = (Known((look([run], p, Faults(), TEST)[0].features,), p.label()) for p in (train, test))
    found = train_head(known, Task(run.kind, run.legend), QUICK, seed=0, validation=held)
    assert len(found.curve) == 3
    right = found.answers(held.draws[0], "class").argmax(1) == held.label.values
    assert found.curve[-1]["oa"] == pytest.approx(float(right[held.label.known].float().mean()))


def test_undefined_scores_of_heads_are_left_out_of_their_mean(whole) -> None:  # type: ignore[no-untyped-def]
    """A head that never answers with a class has no precision: NaN of a head, None in an evaluation of maps."""
    found = spread_of([{"a": 0.5, "b": float("nan"), "c": 0.1}, {"a": None, "b": None, "c": 0.3}])
    assert found["a"] == {"mean": 0.5, "std": None, "values": [0.5, None]}
    assert found["b"] == {"mean": None, "std": None, "values": [None, None]}
    assert found["c"]["std"] == pytest.approx(np.std([0.1, 0.3], ddof=1))
    cells = tuple(replace(c, probe={"oa": found["b"], "aa_fixed": found["a"]}) for c in whole.cells)
    told = replace(whole, cells=cells)
    rows = csv.DictReader(io.StringIO(comma_separated(told)))
    assert {r["value"] for r in rows if (r["way"], r["score"]) == ("probe", "oa")} == {""}
    assert "nan" not in "\n".join(markdown(told)) + json.dumps(told.to_json(), allow_nan=False)


# ---- the matrix


@pytest.fixture(scope="module")
def whole(runs: tuple[Path, Path]) -> object:
    return matrix(runs, SETS, probe=QUICK, curve=True, bands=("B02", "B08"))


def test_every_cell_against_loops(whole, runs: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    teacher, adapted = (open_run(r) for r in runs)
    faults = SETS[1].faults
    features, answers = by_place(adapted, "test", faults, TEST)
    goal, said = by_place(teacher, "test", Faults(), TEST)
    _, own = by_place(adapted, "test", Faults(), TEST)
    cell = whole.cell("adapted", "missing:B02,B04@0.9")
    assert cell.unchanged_teacher == np.mean([a == b for a, b in zip(answers, said, strict=True)])
    assert cell.unchanged == np.mean([a == b for a, b in zip(answers, own, strict=True)])
    near = alignment(features, goal)
    assert cell.alignment is not None
    assert cell.alignment.cosine == pytest.approx(near.cosine, abs=1e-5)
    assert cell.alignment.excess == pytest.approx(near.excess, abs=1e-4)
    full = whole.cell("adapted", COMPLETE).drop_in["oa"]
    assert cell.drop == pytest.approx((full - cell.drop_in["oa"]) / full)
    theirs = [whole.cell("teacher", c).drop_in["oa"] for c in (COMPLETE, "missing:B02,B04@0.9")]
    lost = theirs[0] - theirs[1]
    assert cell.recovered == (pytest.approx((cell.drop_in["oa"] - theirs[1]) / lost) if lost > 1e-9 else None)
    assert whole.cell("teacher", COMPLETE).unchanged_teacher == 1
    assert whole.cell("teacher", COMPLETE).alignment.excess == pytest.approx(0, abs=1e-9)
    assert whole.cell("teacher", "missing:B02,B04@0.9").recovered is None


def test_probes_have_a_mean_and_a_deviation_over_seeds(whole) -> None:  # type: ignore[no-untyped-def]
    for cell in whole.cells:
        facts = cell.probe["oa"]
        assert len(facts["values"]) == 2
        assert facts["mean"] == pytest.approx(np.mean(facts["values"]))
        assert facts["std"] == pytest.approx(np.std(facts["values"], ddof=1))


def test_the_area_is_that_of_the_drop_in_scores_at_each_rate(whole, runs: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    cell = whole.cell("teacher", "missing:B02,B04@0.9")
    rates = sorted(cell.curve)
    assert rates == [0, 0.1, 0.2, 0.5, 0.8, 0.9, 1]
    assert cell.curve[0.9] == cell.drop_in["oa"]
    assert cell.curve[0.0] == whole.cell("teacher", COMPLETE).drop_in["oa"]
    by_hand = sum((b - a) * (cell.curve[a] + cell.curve[b]) / 2 for a, b in pairwise(rates))
    assert cell.area == pytest.approx(by_hand)
    whole_missing = evaluate(runs[0], faults=named("missing:B02,B04"), fault_name="all")["scores"]
    assert cell.curve[1.0] == pytest.approx(whole_missing["oa"])
    assert whole.cell("teacher", "gain:B08*1.3").area is None


def test_contributions_come_from_evaluations_with_bands_missing(whole, runs: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    def scored(*gone: str) -> float:
        faults = named(f"missing:{','.join(gone)}") if gone else None
        return float(evaluate(runs[1], faults=faults, fault_name="x" if gone else "")["scores"]["oa"])

    none, blue, nir, both = scored("B02", "B08"), scored("B08"), scored("B02"), scored()
    found = {c.band: c for c in whole.contributions["adapted"]}
    assert found["B02"].shapley == pytest.approx(((blue - none) + (both - nir)) / 2)
    assert found["B08"].shapley == pytest.approx(((nir - none) + (both - blue)) / 2)
    assert found["B02"].left_out == pytest.approx(both - nir)


def test_contributions_of_bands_of_two_sensors(tmp_path: Path) -> None:
    """A fault wants all its bands of one sensor, so that bands of two are two faults."""
    data = tmp_path / "store"
    pack(Fake(count=72, size=32, dates=1, streams=("s2-l2a@10", "s1-rtc-gamma0")), data)
    one = made(data, tmp_path / "two", "supervised", "data.streams=['s2-l2a:B02+B08', 's1-rtc-gamma0']", seed=4)

    def scored(*words: str) -> float:
        faults = Faults(faults=tuple(f for word in words for f in named(f"missing:{word}").faults))
        return float(evaluate(one, faults=faults or None, fault_name="x" if words else "")["scores"]["oa"])

    found = {c.band: c for c in matrix([one], [], bands=("B02", "VV")).contributions["two"]}
    none, blue, radar, both = scored("B02", "VV"), scored("VV"), scored("B02"), scored()
    assert len({none, blue, radar, both}) > 2
    assert found["B02"].shapley == pytest.approx(((blue - none) + (both - radar)) / 2)
    assert found["VV"].alone == pytest.approx(radar - none)
    assert found["VV"].left_out == pytest.approx(both - blue)


def test_texts_hold_every_cell(whole, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rows = list(csv.DictReader(io.StringIO(comma_separated(whole))))
    cell = whole.cell("adapted", "gain:B08*1.3")
    (mine,) = [r for r in rows if (r["encoder"], r["faults"], r["way"], r["score"]) == (
        "adapted", "gain:B08*1.3", "probe", "aa_fixed"
    )]  # fmt: skip
    assert float(mine["value"]) == cell.probe["aa_fixed"]["mean"]
    text = "\n".join(markdown(whole))
    for title in ("oa in percent", "aa fixed", "aa existing", "What faults change", "What a band is worth"):
        assert title in text
    assert "2 draws of faults" in text
    assert f"{100 * cell.drop_in['oa']:.2f}" in text
    assert json.loads(json.dumps(whole.to_json()))["faults"]["gain:B08*1.3"]["faults"][0]["gain"] == 1.3


def test_a_name_with_a_dot_keeps_what_follows(whole, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for out, stem in (("faults@0.9", "faults@0.9"), ("faults@0.5.csv", "faults@0.5"), ("plain.json", "plain")):
        assert [p.name for p in write(whole, tmp_path / out)] == [f"{stem}.json", f"{stem}.md", f"{stem}.csv"]
    assert len(list(tmp_path.iterdir())) == 9


# ---- what is refused, and other kinds of run


def test_presets_and_texts_become_columns() -> None:
    both = columns(["petcu2024-names", "petcu2024-positional"], ratio=0.5)
    names = [c.name for c in columns(["petcu2024-names"])]
    assert names[:3] == [COMPLETE, "B2", "B8"]
    assert len(names) == 12
    assert len(both) == 23
    positional = next(c for c in both if c.name == "petcu2024-positional/B4 B8 B9 B13").faults.faults[0]
    assert positional.bands == ("B04", "B08", "B8A", "B12")
    assert positional.model_dump()["ratio"] == 0.5
    with pytest.raises(ConfigError, match="did you mean `petcu2024-names`"):
        columns(["petcu2024-nmes"])


def test_runs_that_do_not_go_together_are_refused(data: Path, runs: tuple[Path, Path], tmp_path: Path) -> None:
    fewer = made(data, tmp_path / "fewer", "supervised", "data.streams=['s2-l2a:B02+B03']")
    with pytest.raises(ConfigError, match="different sensors and bands"):
        matrix([runs[0], fewer], SETS)
    tags = made(data, tmp_path / "tags", task="tags")
    with pytest.raises(ConfigError, match="different classes"):
        matrix([runs[0], tags], SETS)
    with pytest.raises(ConfigError, match="has no B8A here"):
        matrix([runs[0]], columns(["missing:B8A"]))
    with pytest.raises(ConfigError, match="no band `B2`, did you mean `B02`"):
        matrix([runs[0]], SETS, bands=("B2",))


def test_a_reconstruction_is_refused(runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    other = open_run(runs[1])
    method = recipe("reconstruct").method
    wrong = replace(other, settings=other.settings.model_copy(update={"method": method}))
    monkeypatch.setattr("landweave.run.matrix.open_run", lambda path, **_: wrong)
    with pytest.raises(RunError, match="neither features nor answers"):
        matrix([runs[1]], SETS)


def test_a_pretraining_has_a_probe_only(data: Path, runs: tuple[Path, Path], tmp_path: Path) -> None:
    first = made(data, tmp_path / "first", "simclr-rgb", "classifier=false", "method=" + json.dumps(
        {"kind": "contrast", "encoder": {"name": "test_resnet"}, "terms": {"n": {"kind": "intra"}}}
    ), "pretrain=null")  # fmt: skip
    found = matrix([runs[0], first], SETS[:2], probe=QUICK)
    cell = found.cell("first", "missing:B02,B04@0.9")
    assert cell.drop_in == {}
    assert cell.unchanged is None
    assert set(cell.probe["oa"]) == {"mean", "std", "values"}


def test_sets_of_classes(data: Path, tmp_path: Path) -> None:
    one = made(data, tmp_path / "tags", task="tags")
    found = matrix([one], SETS[:2], probe=QUICK)
    cell = found.cell("tags", "missing:B02,B04@0.9")
    assert found.headline == "micro_f1"
    assert 0 <= cell.probe["micro_f1"]["mean"] <= 1
    assert cell.unchanged is not None
    assert 0 < cell.unchanged <= 1


def test_maps_have_their_own_decoder_and_one_trained_anew(data: Path, tmp_path: Path) -> None:
    one = made(
        data, tmp_path / "maps", "segment", "method.decoder={kind: unet, channels: [8, 8, 8, 8, 8]}", task="cover"
    )
    probe = Probe(epochs=1, seeds=1)
    said: list[str] = []
    found = matrix([one], SETS[:2], probe=probe, say=said.append)
    assert sum("a decoder on the features of" in line for line in said) == 2, "a long wait says what it is for"
    cell = found.cell("maps", "missing:B02,B04@0.9")
    scores = evaluate(one, faults=SETS[1].faults, fault_name="m")["scores"]
    assert cell.drop_in["miou_existing"] == pytest.approx(scores["miou_existing"])
    assert {"oa", "aa_fixed", "aa_existing", "miou_all", "miou_existing"} <= cell.probe.keys()
    (folder,) = [p for p in (one / "probes").iterdir() if "B02" in p.name]
    again = open_run(folder)
    assert again.settings.method.model_dump()["freeze"] is True
    assert again.settings.method.faults == SETS[1].faults
    before, after = (open_run(r).model.encoder_state() for r in (one, folder))
    assert all(torch.equal(before[k], after[k]) for k in before)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    matrix([one], SETS[:2], probe=probe)
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp  # a finished decoder is used again


def test_decoders_that_are_compared_are_taught_alike_and_scored_on_the_split(data: Path, tmp_path: Path) -> None:
    decoder = "method.decoder={kind: unet, channels: [8, 8, 8, 8, 8]}"
    one = made(data, tmp_path / "teacher", "segment", decoder, task="cover")
    other = made(
        data, tmp_path / "other", "segment", decoder, "train.batch_size=3", "optim.schedule=constant",
        "method.augment.flip=0", "seed=5", task="cover",
    )  # fmt: skip
    probe, work = Probe(epochs=1, seeds=1), tmp_path / "work"
    found = matrix([one, other], SETS[1:2], probe=probe, work=work, split="validation")
    fault = SETS[1]
    folders = {
        name: next(p for p in work.iterdir() if p.name.startswith(f"{name}-missing")) for name in ("teacher", "other")
    }
    first, second = (open_run(f).settings.model_dump(exclude={"start"}) for f in folders.values())
    assert first == second
    assert first["train"]["batch_size"] == open_run(one).settings.train.batch_size
    for name, folder in folders.items():
        scores = evaluate(folder, split="validation", faults=fault.faults, fault_name="m")["scores"]
        assert found.cell(name, fault.name).probe["miou_existing"]["mean"] == pytest.approx(scores["miou_existing"])
    before = len(list(work.iterdir()))
    matrix([one], [Column(fault.name, fault.at(0.5))], probe=probe, work=work)  # of one name, and another share
    assert len(list(work.iterdir())) == before + 1


def test_pretrainings_on_data_without_labels_are_compared_by_their_features(tmp_path: Path) -> None:
    class Bare(Fake):
        def read(self, index: int) -> Sample:
            return replace(super().read(index), labels={})

    pack(Bare(count=36, size=32, dates=1, streams=("s2-l2a@10", "s1-rtc-gamma0"), tasks={}), tmp_path / "bare")
    runs = []
    for seed in (1, 2):
        words = ("data.kind=pack", f"data.path={tmp_path / 'bare'}", "method.encoder.name=test_resnet")
        settings = recipe("iai-simclr", [*words, "train.batch_size=8", f"seed={seed}"])
        settings = settings.first or settings
        folder = tmp_path / f"run-{seed}"
        folder.mkdir()
        material = gather(settings, folder)
        torch.manual_seed(seed)
        finish(settings, material, settings.method.build(material.contract, material.kind), folder)
        runs.append(folder)
    found = matrix(runs, columns(["missing:B02,B04@0.9"]), probe=QUICK)
    cell = found.cell("run-2", "missing:B02,B04@0.9")
    assert cell.alignment is not None
    assert cell.unchanged is None
    assert cell.drop_in == cell.probe == {}


def test_the_command_prints_and_writes_the_table(runs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "matrix.json"
    words = ["matrix", *map(str, runs), "--faults", "missing:B02@0.9", "--seeds", "1", "--draws", "1", "--epochs", "1"]
    done = CliRunner().invoke(app, [*words, "--contributions", ",".join(BANDS[:2]), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "missing:B02@0.9" in done.output
    assert done.output.splitlines()[1].split() == ["teacher", "adapted"]
    assert done.output.splitlines()[2].split() == ["faults", "drop-in", "probe", "drop-in", "probe"]
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".md", ".csv"}
    kept = json.loads(out.read_text())
    assert [c["faults"] for c in kept["cells"]] == [COMPLETE, "missing:B02@0.9"] * 2
    assert kept["teacher"] == "teacher"


TWO = (
    "data.streams=[s2-l2a, s1-rtc-gamma0]",
    "method={kind: uperfuse, encoder: {name: test_resnet}, tasks: {again: 0.5}, "
    "decoder: {kind: upernet-flair, pyramid: 16, channels: 8}}",
)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two labels, from two sensors."""
    folder = tmp_path_factory.mktemp("several")
    rows = load_rows(write_table(folder, 16))
    save_rows(folder / "places.csv", [{**row, "label:again": row["label:lulc"]} for row in rows])
    data = ("data.kind=table", f"data.path={folder / 'places.csv'}", "data.task=lulc", "train.batch_size=4")
    return make_run(recipe("uperfuse", [*data, *TWO]), folder / "run")


def test_a_network_of_several_tasks_has_drop_in_rows(several: Path) -> None:
    sets = columns(["missing:B02,B04@0.9"])
    found = matrix([several], sets)
    for column in sets:
        scores = evaluate(several, faults=column.faults or None, fault_name=column.name)["scores"]
        assert dict(found.cell("run", column.name).drop_in) == pytest.approx(scores)
    run = open_run(several)
    where = places(run)
    (seen,) = look([run], where, Faults(), TEST)
    with torch.no_grad():
        each = [run.model.features(cubes(batch, run.contract)) for batch in where]
    goal = torch.cat([torch.cat([f[n] for n in sorted(f)], 1) for f in each])
    np.testing.assert_allclose(seen.features, goal.numpy(), atol=1e-5)
    with pytest.raises(RunError, match=r"(?s)run of uperfuse.*--no-probe"):
        matrix([several], sets, probe=QUICK)


def test_a_network_of_several_tasks_is_embedded_before_its_training_too(several: Path) -> None:
    before, after = (embed(several, "test", trained=trained) for trained in (False, True))
    assert before.features.keys() == after.features.keys() == {"s1-rtc-gamma0", "s2-l2a"}
    assert before.fused.shape == after.fused.shape
    assert not np.allclose(before.fused, after.fused)
