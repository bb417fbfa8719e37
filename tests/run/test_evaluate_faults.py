"""Scoring with faults: by hand, beside references that see the same images, without breaking what reads results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from landweave.__main__ import app
from landweave.errors import ConfigError
from landweave.run.ablate import rows
from landweave.run.evaluate import FIXED, evaluate, reopen, result_name, spoilt
from landweave.run.evaluate_text import table
from landweave.run.experiment import Experiment, recipe
from landweave.run.predict import open_run
from landweave.transforms import cubes
from landweave.transforms.faults import Faults, Missing, Noise, named, spoil
from tests.nn.tiny_models import batch_of, contract_of, task_of
from tests.run.made import make_run
from tests.run.scenes import write_scenes

S1, S2 = "s1-rtc-gamma0", "s2-l2a"
FOREST = "random forest on band statistics"


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landweave.run.references.TREES", 5)


def experiment(table: Path, *more: str) -> Experiment:
    data = ("data.kind=table", f"data.path={table}", f"data.streams=[{S2}, {S1}]", "data.fraction=1")
    return recipe("supervised", [*data, "method.encoder.name=test_resnet", "train.batch_size=8", *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = write_scenes(tmp_path_factory.mktemp("places"))
    return make_run(experiment(table), tmp_path_factory.mktemp("runs") / "late")


@pytest.fixture(scope="module")
def complete(run: Path) -> dict[str, Any]:
    return evaluate(run)


def briers(found: dict[str, Any]) -> list[float]:
    return [r["brier"] for r in found["per_class"]]


def test_the_scores_are_those_of_spoilt_places_one_at_a_time(run: Path, complete: dict[str, Any]) -> None:
    faults = named("missing:B02,B08@0.7")
    found = evaluate(run, faults=faults, fault_name="missing:B02,B08@0.7")
    opened, squares = open_run(run), []
    scene = reopen(opened, "test")
    for index in scene.scored:
        (batch,) = scene.batches([index], batch_size=1)
        label = batch.labels[opened.task]
        if bool(label.known.all()):
            with torch.no_grad():
                faulty = spoil(cubes(batch, opened.contract), faults, FIXED)
                p = opened.model.logits(faulty).sigmoid()[0]
            squares.append(((p - label.values[0].float()) ** 2).numpy())
    assert briers(found) == pytest.approx(np.mean(squares, 0).tolist(), abs=1e-5)
    assert briers(found) != pytest.approx(briers(complete), abs=1e-6)
    assert found["faults"]["faults"][0]["bands"] == ["B02", "B08"]
    assert Faults.model_validate(found["faults"]) == faults
    kept = json.loads((run / "evaluation-test-faults-missing_B02,B08@0.7.json").read_text())
    assert kept["scores"] == found["scores"]
    assert json.loads((run / "evaluation-test.json").read_text())["scores"] == complete["scores"]
    assert (complete["faults"], complete["fault_name"]) == (None, "")
    assert "with faults: missing:B02,B08@0.7" in list(table(found))
    assert not any("with faults" in line for line in table(complete))


def test_the_references_see_the_same_faulty_images(run: Path) -> None:
    forest = {}
    for text in ("offset+1000", "missing:B02,B03,B04,B08", "absent:s2-l2a", "petcu2024-names/none"):
        forest[text] = evaluate(run, faults=named(text), fault_name=text)["references"][FOREST]["scores"]["brier"]
    whole = evaluate(run)["references"][FOREST]["scores"]["brier"]
    assert forest["petcu2024-names/none"] == whole
    assert len({whole, forest["offset+1000"], forest["absent:s2-l2a"]}) == 3
    hidden = evaluate(run, only=[S1])["references"][FOREST]["scores"]["brier"]
    assert forest["absent:s2-l2a"] == forest["missing:B02,B03,B04,B08"] == hidden


def test_an_absent_sensor_is_a_hidden_one(run: Path) -> None:
    assert briers(evaluate(run, faults=named("absent:s1-rtc-gamma0"))) == pytest.approx(
        briers(evaluate(run, only=[S2]))
    )


def test_hidden_sensors_and_faults_together(run: Path) -> None:
    found = evaluate(run, only=[S2], faults=Faults(faults=(Noise(level=0.3), Missing(bands=("B02",)))))
    assert found["only"] == [S2]
    assert found["fault_name"] == "noise (level 0.3), missing (bands B02)"
    name = "evaluation-test-only-s2-l2a-mean-faults-noise_level_0.3_,_missing_bands_B02_.json"
    assert (run / name).is_file()
    assert name == result_name("test", [S2], fault_name=found["fault_name"])


def test_names_of_files_are_short_safe_and_distinct() -> None:
    long = [result_name("test", fault_name=f"missing:{'B02,' * 60}{end}") for end in ("B03", "B04")]
    assert long[0] != long[1]
    assert max(map(len, long)) < 160
    assert result_name("test", fault_name="gain:B08*1.3") == "evaluation-test-faults-gain_B08_1.3.json"
    assert result_name("train", [S1], "zero") == "evaluation-train-only-s1-rtc-gamma0-zero.json"


def test_spoilt_batches_are_cubes_of_which_all_draw_alike(run: Path) -> None:
    opened = open_run(run)
    scene = reopen(opened, "test")
    (batch,) = scene.batches(scene.scored[:4], batch_size=4)
    assert spoilt(batch, opened.contract, None) is batch
    assert spoilt(batch, opened.contract, named("petcu2024-names/none")) is batch
    faulty = spoilt(batch, opened.contract, named("missing@0.5"))
    again = cubes(faulty, opened.contract)
    for name, image in faulty.images.items():
        assert torch.equal(again.images[name].data, image.data), "what predicts makes cubes of them once more"
        assert torch.equal(again.images[name].seen, image.seen)


def test_what_the_run_does_not_read_is_refused_before_anything_is_read(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landweave.run.evaluate.reopen", lambda *_: pytest.fail("the data were opened"))
    with pytest.raises(ConfigError, match="s2-l2a has no B11 here, but B02, B03, B04, B08"):
        evaluate(run, faults=named("petcu2024-names/B2-B11"))
    with pytest.raises(ConfigError, match="no sensor `dem`; there is s1-rtc-gamma0, s2-l2a"):
        evaluate(run, faults=named("absent:dem"))


def test_the_command_line_and_its_refusals(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(run), "--faults", "offset+1000"])
    assert done.exit_code == 0, done.output
    assert "with faults: offset+1000" in done.stdout
    assert f"wrote {run}/evaluation-test-faults-offset+1000.json" in done.stdout.replace("\n", "")
    file = tmp_path / "haze.yaml"
    file.write_text("faults: [{kind: gain, spread: 0.2}]\n")
    done = CliRunner().invoke(app, ["evaluate", str(run), "--faults", str(file)])
    assert done.exit_code == 0, done.output
    text = (run / "evaluation-test-faults-haze.json").read_text()
    assert str(tmp_path) not in text, "a record names no path of a machine"
    refused = CliRunner().invoke(app, ["evaluate", str(run), "--faults", "offset*1000"])
    assert isinstance(refused.exception, ConfigError)


def test_other_readers_of_results_do_not_take_them_for_their_own(run: Path) -> None:
    from landweave.reports import page

    evaluate(run, faults=named("dead:B08"), fault_name="dead:B08")
    assert [f["fault_name"] for f in page.evaluations(run)] == [""]
    made = [r for r in rows(run, open_run(run).config, "test") if r.evaluation]
    assert all(not r.evaluation["fault_name"] for r in made if r.evaluation)


def test_a_run_that_was_saved_before_faults_and_fills_loads(run: Path, tmp_path: Path) -> None:
    """Its config has neither `faults` nor `fill` nor `input`, and its weights have no more keys than they had."""
    import shutil

    from safetensors.torch import load_file

    old = tmp_path / "old"
    shutil.copytree(run, old)
    config = json.loads((old / "config.json").read_text())
    method = config["experiment"]["method"]
    del method["faults"], method["encoder"]["fill"], method["encoder"]["input"]
    (old / "config.json").write_text(json.dumps(config))
    weights = load_file(old / "model.safetensors")
    assert all(".net." in key for key in weights if key.startswith("encoders."))
    assert briers(evaluate(old)) == briers(evaluate(run))


def test_native_pixels_of_enlarged_images(tmp_path: Path) -> None:
    """The contract knows the pixel size, so that 10 m are 2 x 2 pixels of an image that was enlarged twofold."""
    table_ = write_scenes(tmp_path / "places")
    folder = make_run(experiment(table_, "data.enlarge=2", f"data.streams=[{S2}]"), tmp_path / "run")
    opened = open_run(folder)
    assert (opened.contract.streams[S2].metres, opened.contract.streams[S2].size) == (5.0, (64, 64))
    scene = reopen(opened, "test")
    (batch,) = scene.batches(scene.scored[:2], batch_size=2)
    seen, fine = (spoilt(batch, opened.contract, named(f"missing@0.5{at}")).images[S2].seen for at in ("", ":model"))
    for mask, alike in ((seen, True), (fine, False)):
        blocks = mask[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
        assert torch.equal(blocks, mask) == alike
        assert 0.45 < float(mask.float().mean()) < 0.55


def test_methods_learn_from_faulty_images_and_validate_on_complete_ones() -> None:
    """Both kinds of view pass the faults on, drawn anew each epoch and alike each time."""
    sizes = {S2: (32, 32), S1: (32, 32)}
    contract, batch = contract_of(sizes), batch_of(sizes, B=4)
    small = ["method.encoder.name=test_resnet", "method.augment.flip=0", "method.augment.rotate90=false"]
    faults = "method.faults={faults: [{kind: missing, bands: [B03], ratio: 0.5}], complete: 0.25}"
    plain, faulty = (recipe("supervised", [*small, *more]).method for more in ([], [faults]))
    losses = {}
    for name, method, key in (
        ("plain", plain, (0, 0)),
        ("a", faulty, (0, 0)),
        ("again", faulty, (0, 0)),
        ("b", faulty, (0, 1)),
    ):
        torch.manual_seed(0)
        model = method.build(contract, task_of("class")).eval()
        losses[name] = float(method.loss(model, batch, "task", key=key)["loss"].detach())
        if name == "a":
            hidden = replace(batch, images=spoil(batch, method.faults, (0, 0, 0)).images)
            expected = plain.loss(model, hidden, "task", key=(0, 0))["loss"]
            assert losses["a"] == pytest.approx(float(expected.detach()), rel=1e-5)
            assert torch.equal(method.predict(model, batch, "class"), plain.predict(model, batch, "class"))
    assert losses["a"] == losses["again"]
    assert len({losses[n] for n in ("plain", "a", "b")}) == 3


def test_every_view_of_a_contrastive_method_has_faults_of_its_own() -> None:
    sizes = {S2: (32, 32), S1: (32, 32)}
    batch = batch_of(sizes, B=4, kind="multilabel")
    faults = "method.faults={faults: [{kind: missing, bands: [B03], ratio: 0.5}]}"
    method = recipe("mosaic-1", ["method.encoder.name=test_resnet", faults]).method
    views = method._named_views(batch, (0, 0), contract_of(sizes))
    assert len(views) > 1
    first, second = (v.images[S2].seen[:, :, 1] for v in list(views.values())[:2])
    assert not torch.equal(first, second)
    assert 0.3 < float((~first).float().mean()) < 0.9
    assert all(v.images[S2].seen[:, :, 0].float().mean() > 1 - float((~first).float().mean()) for v in views.values())
