"""Several labels in one run: its folder, its scores, its answers; runs of one label are as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from landweave.data import raster
from landweave.data.order import repeat_factors
from landweave.errors import ConfigError, DataError
from landweave.maps.engine import map_scene
from landweave.run.experiment import Experiment, recipe
from landweave.run.finish import class_counts, class_weights
from landweave.run.fit import Fitting, Keep, all_watched, watched_of
from landweave.run.material import gather
from landweave.run.predict import OneTask, open_run
from landweave.run.train import train
from tests.cli.places import SIZE, grid_of, load_rows, save_rows, write_table

SMALL = (
    "method={kind: uperfuse, encoder: {name: test_convnext}, "
    "decoder: {kind: upernet-flair, pyramid: 16, channels: 8}, tasks: {wet: 0.5}}",
    "data.task=lulc",
    "train={epochs: 2, batch_size: 8, accelerator: cpu}",
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table with a second label, `wet`: 1 where there is water, else 2, and nothing known of the first rows."""
    table = write_table(tmp_path_factory.mktemp("places"), 16)
    rows = load_rows(table)
    for i, row in enumerate(rows):
        classes = raster.read(table.parent / row["label:lulc"]).data
        wet = np.where(np.asarray(classes) == 1, 1, 2).astype(np.uint8)
        wet[..., : 1 + i % 3, :] = 0
        raster.write(table.parent / f"wet_{i}.tif", wet.reshape(1, SIZE, SIZE), grid_of(i))
        row["label:wet"] = f"wet_{i}.tif"
    save_rows(table, rows)
    return table


def experiment(places: Path, *changes: str) -> Experiment:
    return recipe("segment", ["data.kind=table", f"data.path={places}", *SMALL, *changes])


@pytest.fixture(scope="module")
def run(places: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(experiment(places), tmp_path_factory.mktemp("runs") / "both", progress=False)


def config_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "config.json").read_text())
    return found


def test_the_folder_tells_every_task(run: Path) -> None:
    """Weakness 6 of the spec: official validation leaves the last places out, and averages over batches.

    Here every validation pixel whose label is known stands in one table a task.
    """
    config = config_of(run)
    assert list(config["tasks"]) == ["lulc", "wet"]
    main, wet = config["tasks"].values()
    for key in ("kind", "legend", "class_counts", "validation_confusion"):
        assert main[key] == config[key], "the main task stands where it always stood"
    assert sum(main["class_counts"]) == 10 * SIZE * SIZE
    assert sum(wet["class_counts"]) == sum((SIZE - 1 - i % 3) * SIZE for i in range(16) if i % 8 < 5)
    assert np.sum(wet["validation_confusion"]) == sum((SIZE - 1 - i % 3) * SIZE for i in range(16) if i % 8 == 5)


def test_scores_of_further_tasks_are_led_by_their_name(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validation = [r for r in rows if r["split"] == "validation"]
    for found in (*validation, config_of(run)["validation_scores"]):
        assert {"miou_existing", "miou_paper", "wet.miou_existing", "wet.miou_paper"} <= found.keys()
    assert {"lulc", "wet", "loss"} <= rows[0].keys(), "each task's loss"
    best = max(validation, key=lambda r: r["miou_paper"] + r["wet.miou_paper"])
    for key in ("miou_paper", "wet.miou_paper"):
        assert config_of(run)["validation_scores"][key] == pytest.approx(best[key]), "the kept epoch is that of both"


def test_a_run_answers_every_task_in_one_pass(run: Path, places: Path) -> None:
    opened = open_run(run)
    assert list(opened.tasks) == ["lulc", "wet"]
    material = gather(opened.settings, run)
    (batch,) = _batches(material, material.validation[:2])
    found = opened.predict_tasks(batch)
    assert {n: tuple(p.shape) for n, p in found.items()} == {"lulc": (2, 4, SIZE, SIZE), "wet": (2, 4, SIZE, SIZE)}
    torch.testing.assert_close(opened.predict(batch), found["lulc"])
    assert opened.trained_of("wet") == [0, 1]
    assert not found["wet"][:, 2:].any(), "classes that no training label had"
    torch.testing.assert_close(found["wet"].sum(1), torch.ones(2, SIZE, SIZE))


def _batches(material: Any, indices: Any) -> Any:
    from landweave.data.load import batches

    return list(batches(material.dataset, indices, batch_size=8, like=material.like))


def test_a_map_is_made_of_either_task(run: Path, places: Path, tmp_path: Path) -> None:
    opened = open_run(run)
    images = {"s2-l2a": places.parent / "s2_5.tif", "s1-rtc-gamma0": places.parent / "s1_5.tif"}
    seen = {}
    for task in ("", "wet"):
        made = map_scene(opened.through(task), images, tmp_path / f"map{task}.tif")
        values = raster.read(made.path).data
        seen[task] = set(np.unique(np.asarray(values)).tolist())
    assert seen["wet"] <= {1, 2}, "file values of its legend, of the classes that it learned"
    one = opened.through("wet")
    assert isinstance(one, OneTask)
    assert (one.task, one.kind, one.folder, one.contract) == ("wet", "map", run, opened.contract)
    with pytest.raises(ConfigError, match=r"(?s)no task `wett`, did you mean `wet`"):
        opened.through("wett")


def test_weights_and_counts_are_by_task(places: Path, tmp_path: Path) -> None:
    made = experiment(places, "train.class_weights=balanced")
    material = gather(made, tmp_path)
    counts, weights = class_counts(material), class_weights(made, material)
    assert weights is not None
    for name in ("lulc", "wet"):
        n = torch.tensor(counts[name], dtype=torch.float32)
        there = n > 0
        expected = torch.where(there, n.clamp(min=1).rsqrt(), 0.0)
        torch.testing.assert_close(weights[name], expected / expected[there].mean())
    assert counts["lulc"] != counts["wet"]


def test_places_are_repeated_by_the_rarest_class_of_any_task(places: Path, tmp_path: Path) -> None:
    material = gather(experiment(places), tmp_path)
    nothing: Any = torch.nn.Identity()
    found = Fitting(experiment(places, "train.balanced=1"), material, nothing, None)._repeats
    each = [
        repeat_factors([material.dataset.classes(i, name) for i in material.train], 1.0) for name in ("lulc", "wet")
    ]
    assert found == [max(pair) for pair in zip(*each, strict=True)]
    assert max(found) > min(found) >= 1
    assert Fitting(experiment(places), material, nothing, None)._repeats == []


def test_a_place_that_comes_again_in_an_epoch_gets_other_draws(places: Path, tmp_path: Path) -> None:
    from landweave.data.load import batches

    material = gather(experiment(places), tmp_path)
    (batch, *_) = batches(material.dataset, material.train[:2], batch_size=2, like=material.like)
    nothing: Any = torch.nn.Identity()
    once, often = (Fitting(experiment(places, *w), material, nothing, None) for w in ((), ("train.balanced=1",)))
    one, two = batch.names
    assert [f._told_apart(batch).names for f in (once, once, often, often)] == [
        *[(one, two)] * 3,
        (f"{one} (2)", f"{two} (2)"),
    ]
    often.trainer = SimpleNamespace(current_epoch=1)  # type: ignore[assignment]
    often.on_train_epoch_start()
    assert often._told_apart(batch).names == (one, two), "an epoch counts for itself"


def test_the_monitor_may_be_of_either_task(places: Path, tmp_path: Path) -> None:
    material = gather(experiment(places), tmp_path)
    for wanted, expected in (
        ("", ("miou_paper", "wet.miou_paper")),
        ("paper", ("miou_weighted", "wet.miou_weighted")),
        ("oa", ("oa", "wet.oa")),
        ("wet.oa", ("wet.oa",)),
        ("wet.paper", ("wet.miou_weighted",)),
    ):
        made = experiment(places, f"train.monitor='{wanted}'")
        assert all_watched(made, material) == expected
        assert watched_of(made, material) == expected[0]
    for wrong in ("wett.oa", "wet.oaa"):
        with pytest.raises(ConfigError, match="no score"):
            watched_of(experiment(places, f"train.monitor={wrong}"), material)
    plain = recipe("segment", ["data.kind=table", f"data.path={places}", "data.task=lulc"])
    assert watched_of(plain, replace(material, kind=replace(material.kind, beside={}))) == "miou_existing"


def test_a_label_that_validation_lacks_does_not_choose_the_epoch() -> None:
    class Fit:
        experiment = SimpleNamespace(classifier=True, method=SimpleNamespace(teacher=False))
        material, scores = None, {"miou_paper": 0.6, "wet.miou_paper": float("nan")}

    keep: Any = Keep.__new__(Keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("landweave.run.fit.all_watched", lambda *_: tuple(Fit.scores))
        assert keep._value(Fit) == 0.6
        Fit.scores = {"miou_paper": float("nan")}
        assert np.isnan(keep._value(Fit))


def test_labels_that_are_not_there_are_refused(places: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)`wett` is no label, did you mean `wet`.*method\.tasks|method\.tasks.*wett"
    ):
        gather(experiment(places, "method.tasks={wett: 1}"), tmp_path / "a")
    with pytest.raises(ConfigError, match="`lulc` is the main task already"):
        gather(experiment(places, "method.tasks={lulc: 1}"), tmp_path / "b")
    rows = load_rows(places)
    for row in rows:
        row["label:wet"] = "" if row["split"] == "train" else row["label:wet"]
    empty = places.with_name("empty.csv")
    save_rows(empty, rows)
    legend = places.with_name("places.legend.yaml").read_text()
    empty.with_name("empty.legend.yaml").write_text(legend)
    with pytest.raises(DataError, match="no training place has a known label of `wet`"):
        gather(experiment(empty), tmp_path / "c")


def test_a_run_of_before_opens_and_answers_as_it_did(run: Path, places: Path, tmp_path: Path) -> None:
    """Its `config.json` tells one task, at the top."""
    made = recipe("segment", ["data.kind=table", f"data.path={places}", "data.task=lulc", *_segment()])
    folder = train(made, tmp_path / "one", progress=False)
    config = config_of(folder)
    assert list(config["tasks"]) == ["lulc"]
    now = open_run(folder)
    (batch,) = _batches(material := gather(made, folder), material.validation)
    found = now.predict(batch)
    for old in (config, config["experiment"]["data"], config["experiment"]["train"], config["experiment"]["optim"]):
        for key in ("tasks", "statistics", "balanced", "div"):
            old.pop(key, None)
    for stream in config["contract"].values():
        stream.pop("series")
        stream.pop("context")
    (folder / "config.json").write_text(json.dumps(config))
    then = open_run(folder)
    assert (list(then.tasks), then.trained_of("lulc")) == (["lulc"], then.trained_classes)
    assert torch.equal(then.predict(batch), found)


def _segment() -> tuple[str, ...]:
    return ("method.encoder.name=test_resnet", "method.decoder.channels=[32,32,16,16,8]", SMALL[-1])
