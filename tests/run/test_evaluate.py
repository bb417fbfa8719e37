"""Evaluation with hidden sensors, against fusion by hand; the places that BigEarthNet v2 sets aside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from landweave.__main__ import app
from landweave.data.bigearthnet_index import METADATA, SNOW_CLOUD
from landweave.data.synth import write
from landweave.errors import ConfigError, DataError, RunError
from landweave.run.ablate import ablate, rows
from landweave.run.embed import between, embed, untrained
from landweave.run.evaluate import evaluate, hide, reopen, result_name
from landweave.run.evaluate_text import table as table_of
from landweave.run.experiment import Experiment, recipe
from landweave.run.predict import open_run
from landweave.transforms import cubes
from tests.run.made import make_run
from tests.run.scenes import write_scenes

S1, S2 = "s1-rtc-gamma0", "s2-l2a"
SMALL = ("method.encoder.name=test_resnet", "train.batch_size=8")


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.references.TREES", 5)


def experiment(table: Path, *more: str, name: str = "supervised") -> Experiment:
    data = ("data.kind=table", f"data.path={table}", f"data.streams=[{S2}, {S1}]", "data.fraction=1")
    return recipe(name, [*data, *SMALL, *more])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(experiment(table), tmp_path_factory.mktemp("runs") / "late")


def brier_by_hand(folder: Path, *, stands: dict[str, str]) -> list[float]:
    """Brier score a class where the features of some sensors are zeros or their mean: no mask, no fusion code."""
    run = open_run(folder)
    scene = reopen(run, "test")
    squares: list[list[float]] = [[] for _ in run.legend.names]
    for index in scene.scored:
        (batch,) = scene.batches([index], batch_size=1)
        label = batch.labels[run.task]
        if not bool(label.known.all()):
            continue
        with torch.no_grad():
            features = run.model.features(cubes(batch, run.contract))
            for name, what in stands.items():
                mean = torch.tensor(run.config["mean_features"][name])
                features[name] = (mean if what == "mean" else torch.zeros_like(mean))[None]
            logits = run.model.head(torch.cat([features[n] for n in sorted(features)], 1))[0]
        for k in range(len(squares)):
            p = 1 / (1 + np.exp(-float(logits[k])))
            squares[k].append((p - int(label.values[0, k])) ** 2)
    return [sum(s) / len(s) for s in squares]


@pytest.mark.parametrize(
    ("only", "absent", "stands"),
    [((), "mean", {}), ((S2,), "mean", {S1: "mean"}), ((S2,), "zero", {S1: "zero"}), ((S1,), "zero", {S2: "zero"})],
)
def test_a_hidden_sensor_is_its_mean_feature_or_zeros(
    run: Path, only: tuple[str, ...], absent: str, stands: dict[str, str]
) -> None:
    found = evaluate(run, only=only, absent=absent)  # type: ignore[arg-type]
    expected = brier_by_hand(run, stands=stands)
    assert [r["brier"] for r in found["per_class"]] == pytest.approx(expected, abs=1e-5)
    assert found["only"] == list(only)
    assert found["absent"] == (absent if only else "")
    name = f"evaluation-test-only-{only[0]}-{absent}.json" if only else "evaluation-test.json"
    assert json.loads((run / name).read_text())["scores"] == found["scores"]
    assert {"macro_recall", "micro_recall", "macro_precision", "micro_precision"} <= set(found["scores"])


def test_the_four_ways_differ_and_the_references_see_no_more_than_the_run(run: Path) -> None:
    found = {(o, a): evaluate(run, only=o, absent=a) for o in ((S1,), (S2,)) for a in ("mean", "zero")}  # type: ignore[arg-type]
    briers = [tuple(r["brier"] for r in f["per_class"]) for f in found.values()]
    assert len(set(briers)) == 4
    forest = [f["references"]["random forest on band statistics"]["scores"]["brier"] for f in found.values()]
    assert forest[0] == forest[1], "what stands for a feature is nothing to a forest"
    assert forest[0] != forest[2]
    both = evaluate(run)["references"]["random forest on band statistics"]["scores"]["brier"]
    assert both not in forest


def test_fusion_that_leaves_sensors_out_gives_the_same_for_both(table: Path, tmp_path: Path) -> None:
    folder = make_run(experiment(table, "method.fusion.kind=mean"), tmp_path / "mean")
    a, b = (evaluate(folder, only=[S2], absent=absent) for absent in ("mean", "zero"))  # type: ignore[arg-type]
    assert a["scores"] == b["scores"]
    assert [r.name for r in rows(folder, open_run(folder).config, "test")][1:] == [f"only {S1}", f"only {S2}"]


def test_hiding_leaves_what_is_seen_untouched(run: Path) -> None:
    opened = open_run(run)
    scene = reopen(opened, "test")
    (batch,) = scene.batches(scene.scored[:2], batch_size=2)
    less = hide(batch, opened.contract, (S2,))
    assert not less.images[S1].sensor_seen.any()
    assert less.images[S2] is batch.images[S2]
    assert batch.images[S1].sensor_seen.all()
    assert hide(batch, opened.contract, (S1, S2)) is batch


def test_wrong_sensors_and_splits_are_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="no sensor `s2-l1a`, did you mean `s2-l2a`"):
        evaluate(run, only=["s2-l1a"])
    with pytest.raises(ConfigError, match="none is hidden"):
        evaluate(run, only=[S1, S2])
    with pytest.raises(ConfigError, match="no split `tset`, did you mean `test`"):
        evaluate(run, split="tset")
    with pytest.raises(DataError, match="no place is set aside"):
        evaluate(run, split="snow_cloud")


def test_a_pretraining_has_nothing_to_score_and_can_be_embedded(table: Path, tmp_path: Path) -> None:
    stage = experiment(table, name="iai-simclr").first
    assert stage
    folder = make_run(stage, tmp_path / "stage")
    with pytest.raises(RunError, match="no classifier"):
        evaluate(folder)
    assert rows(folder, open_run(folder).config, "test") == []
    found = embed(folder, "test")
    assert found.probabilities.shape == (len(found), 0)
    model = open_run(folder).model
    assert set(found.embeddings) == set(model.projections) != set()
    head = next(iter(found.embeddings))
    scene = reopen(open_run(folder), "test")
    (batch,) = scene.batches(scene.scored[-1:], batch_size=1)
    with torch.no_grad():
        out = model(cubes(batch, model.contract))
    for name, rows_ in found.embeddings[head].items():
        assert rows_[-1] == pytest.approx(out.embeddings[head][name][0].numpy(), abs=1e-4)
    assert between(found, S1, S2, head=head).n == len(found)
    with pytest.raises(DataError, match="no embedding of `s2-l1c`"):
        between(found, S1, "s2-l1c", head=head)


def test_embed_gives_what_the_model_makes_of_each_place(run: Path) -> None:
    opened = open_run(run)
    found, some = embed(run, "test"), embed(opened, "test", most=3)
    scene = reopen(opened, "test")
    assert found.names == tuple(scene.dataset.places[i].name for i in scene.scored)
    assert some.names == (found.names[0], found.names[len(found) // 2], found.names[-1])
    for at, index in enumerate(scene.scored[:3]):
        (batch,) = scene.batches([index], batch_size=1)
        with torch.no_grad():
            features = opened.model.features(cubes(batch, opened.contract))
        for name, h in features.items():
            assert found.features[name][at] == pytest.approx(h[0].numpy(), abs=1e-4)
        assert found.fused[at] == pytest.approx(
            np.concatenate([features[n][0].numpy() for n in sorted(features)]), abs=1e-4
        )
        assert found.probabilities[at] == pytest.approx(opened.predict(batch)[0].numpy(), abs=1e-5)
    assert found.embeddings == {}, "a supervised run has no projection head"
    before, again = (embed(opened, "test", trained=False) for _ in range(2))
    assert np.array_equal(before.fused, again.fused)
    assert not np.allclose(before.fused, found.fused)
    norms = [m for m in untrained(opened, scene).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(m.running_mean.abs().max() > 0 for m in norms if m.running_mean is not None)
    unit = before.features[S2] / np.linalg.norm(before.features[S2], axis=1, keepdims=True)
    assert (unit @ unit.T).min() < 0.999, "an untrained model must not make one point of all places"


def test_the_ablation_makes_what_is_lacking_and_only_that(table: Path, tmp_path: Path) -> None:
    folder = make_run(experiment(table), tmp_path / "late")
    evaluate(folder, only=[S2], absent="zero")
    kept = (folder / result_name("test", [S2], "zero")).stat().st_mtime_ns
    said: list[str] = []
    found = ablate(folder, say=said.append)
    assert len(said) == 4
    assert (folder / result_name("test", [S2], "zero")).stat().st_mtime_ns == kept
    assert [(r.only, r.absent) for r in found] == [
        ((), "mean"), ((S1,), "zero"), ((S2,), "zero"), ((S1,), "mean"), ((S2,), "mean"),
    ]  # fmt: skip
    assert all(r.evaluation and tuple(r.evaluation["only"]) == r.only for r in found)
    one = make_run(experiment(table, f"data.streams=[{S2}]"), tmp_path / "one")
    with pytest.raises(ConfigError, match="one sensor"):
        ablate(one)


def test_an_ablation_is_of_one_set_of_data(table: Path, tmp_path: Path) -> None:
    folder = make_run(experiment(table, "method.fusion.kind=mean"), tmp_path / "mean")
    other = table.with_name("fewer.csv")
    other.write_text("\n".join(line for line in table.read_text().splitlines() if not line.startswith("p7,")))
    ablate(folder)
    for changes, places in (((), 12), ((f"data.path={other}",), 11), ((), 12)):
        found = ablate(folder, changes=changes)
        assert [r.evaluation and r.evaluation["n_places"] for r in found] == [places] * 3
    kept = rows(folder, open_run(folder).config, "test")
    assert [r.evaluation and r.evaluation["n_places"] for r in kept] == [12] * 3


@pytest.mark.parametrize("fraction", [1, 0.5])
def test_a_region_without_training_places_is_scored_beside_what_the_run_counted(
    table: Path, tmp_path: Path, fraction: float
) -> None:
    folder = make_run(experiment(table, f"data.fraction={fraction}"), tmp_path / "run")
    region = table.with_name("region.csv")
    region.write_text("\n".join(line for line in table.read_text().splitlines() if ",train," not in line))
    whole, found = evaluate(folder), evaluate(folder, changes=[f"data.path={region}"])
    assert found["scores"] == whole["scores"]
    assert list(found["references"]) == ["training prevalence"]
    assert found["references"]["training prevalence"] == whole["references"]["training prevalence"]
    assert found["skill"] == whole["skill"]
    assert {p["nearest_km"] for p in found["places"]} == {None}
    told = "no random forest: these data have no labelled training place that it could learn from"
    assert told in list(table_of(found))
    assert told not in list(table_of(whole))
    with pytest.raises(DataError, match="no place in split `train`"):
        reopen(open_run(folder), "test", [f"data.path={region}"])


def test_only_the_data_of_a_run_may_change(run: Path) -> None:
    for change, said in (
        ("train.epochs=3", "only its data may be others"),
        ("seed=3", "only its data may be others"),
        (f"data.streams=[{S2}]", "--only SENSOR"),
    ):
        with pytest.raises(ConfigError, match=said):
            evaluate(run, changes=[change])


def test_the_command_line(run: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(run), "--only", S2, "--absent", "zero"])
    assert done.exit_code == 0, done.output
    assert f"only {S2} seen; the others stand as zeros" in done.stdout
    assert f"evaluation-test-only-{S2}-zero.json" in done.stdout


def test_places_set_aside_for_snow_and_cloud_are_scored_and_never_learned_from(tmp_path: Path) -> None:
    world = tmp_path / "world"
    write("bigearthnet-v2", world, places=8, seed=0)
    good, aside = (pq.read_table(world / name) for name in (METADATA, SNOW_CLOUD))
    spoilt = pa.concat_tables([aside, good.slice(0, 1)]).to_pylist()
    spoilt[0]["split"], spoilt[1]["split"] = "test", "train"
    pq.write_table(pa.Table.from_pylist(spoilt, schema=aside.schema), world / SNOW_CLOUD)
    pq.write_table(good.slice(1), world / METADATA)
    data = ("data.kind=bigearthnet-v2", f"data.path={world}", "data.task=labels", "data.streams=[s2-l2a:B02+B03+B04]")
    folder = make_run(recipe("supervised", [*data, *SMALL, "data.fraction=1"]), tmp_path / "run")
    assert evaluate(folder)["n_places"] == 2
    found = evaluate(folder, split="snow_cloud")
    assert [p["name"] for p in found["places"]] == [spoilt[0]["patch_id"]]
    assert (folder / "evaluation-snow_cloud.json").is_file()
    scene = reopen(open_run(folder), "snow_cloud")
    used = {scene.dataset.places[i].name for i in scene.train}
    assert not used & {row["patch_id"] for row in spoilt}


def test_a_class_left_out_of_scenes_is_told(run: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(run), "--without", "crops"])
    assert done.exit_code == 0, done.output
    assert "not scored by choice: crops" in done.stdout
    assert "evaluation-test-without-crops.json" in done.stdout


def test_a_class_left_out_of_sets_counts_in_no_mean(run: Path) -> None:
    whole, less = evaluate(run), evaluate(run, without=["crops"])
    for key in ("precision", "recall", "f1"):
        values = {r["name"]: r[key] or 0.0 for r in whole["per_class"]}
        assert whole["scores"][f"macro_{key}_all"] == pytest.approx(np.mean(list(values.values())))
        kept = [v for name, v in values.items() if name != "crops"]
        assert less["scores"][f"macro_{key}_all"] == pytest.approx(np.mean(kept))


def test_data_named_anew_stand_beside_the_scores_and_names_in_any_script_have_files_of_their_own(
    run: Path, table: Path
) -> None:
    own, moved = run / "evaluation-test.json", table.with_name("moved.csv")
    moved.write_text("\n".join(line for line in table.read_text().splitlines() if not line.startswith("p7,")))
    whole = evaluate(run)
    assert whole["changes"] == evaluate(run, changes=[f"data.path={table}"])["changes"] == []
    change = f"data.path={moved}"
    found = evaluate(run, changes=[change])
    assert found["changes"] == [change]
    assert (found["n_places"], whole["n_places"]) == (11, 12)
    assert json.loads(own.read_text())["n_places"] == 12, "what is of other data takes no other's place"
    (file,) = run.glob("evaluation-test-on-path=moved.csv-*.json")
    assert json.loads(file.read_text())["scores"] == found["scores"]
    done = CliRunner().invoke(app, ["evaluate", str(run), change])
    assert f"on the data of {change}" in done.stdout
    assert f"wrote {file}\n" in done.stdout
    assert "landweave report" not in done.stdout, "a report is of the run's own data"
    others = [result_name("test", changes=[f"data.path=/{name}/places.csv"]) for name in "ab"]
    assert len(set(others)) == 2
    names = [result_name("test", without=[name]) for name in ("水田", "林地", "x" * 200, "x" * 201, "水" * 90)]
    assert len(set(names)) == 5
    assert all(len(name.encode()) < 200 for name in names)
