"""What the figures are drawn from, against plain loops; and that it is measured once."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from report_fakes import LULC, Drawn, evaluation, legend_of, run_folder, tiny_run
from scipy.stats import spearmanr

from landweave.legends import LandClass, Legend
from landweave.reports import gradcam, insight, measure, spectra, tsne
from landweave.reports.figures import standalone
from landweave.run.ablate import Row
from landweave.run.embed import between, encode, untrained
from landweave.run.evaluate import Scene
from landweave.sample import LabelKind, collate
from landweave.transforms import cubes


def opened(tmp_path: Path, kind: LabelKind = "multilabel", **more: Any) -> tuple[Any, Scene]:
    dataset = Drawn(kind, legend_of(kind), **more)
    run = tiny_run(run_folder(tmp_path / "run", kind), kind, dataset)
    return run, Scene(dataset, dataset.of_split("train"), dataset.of_split("test"))


@pytest.mark.parametrize("kind", ["map", "multilabel", "class"])
def test_class_spectra_are_means_and_deviations_of_the_pixels_of_a_class(tmp_path: Path, kind: LabelKind) -> None:
    run, scene = opened(tmp_path, kind)
    indices = [*scene.scored, 7]  # of which a corner is not seen
    found = spectra.class_spectra(run, scene, indices)
    pixels: dict[int, list[np.ndarray]] = {}
    for index in indices:
        image = scene.dataset.read(index).images["s2-l2a"]
        values, seen = image.physical()[0].numpy(), image.seen[0].numpy()
        truth, classes = scene.dataset.truth(index), scene.dataset.classes(index, "lulc")
        for row in range(values.shape[1]):
            for col in range(values.shape[2]):
                if seen[:, row, col].all():
                    for k in [int(truth[row, col])] if kind == "map" else classes:
                        pixels.setdefault(k, []).append(values[:, row, col])
    assert found["by"] == ("pixels" if kind == "map" else "places")
    assert [r["index"] for r in found["classes"]] == sorted(k for k, v in pixels.items() if len(v) >= spectra.LEAST)
    for row in found["classes"]:
        expected = np.array(pixels[row["index"]])
        assert row["n"] == len(expected)
        assert row["mean"] == pytest.approx(expected.mean(0), abs=1e-4)
        assert row["std"] == pytest.approx(expected.std(0), abs=1e-4)
    a, b = (np.array(found["classes"][i]["mean"]) for i in (0, 1))
    assert found["similarity"][0][1] == pytest.approx(1 / (1 + np.sqrt(((a - b) ** 2).sum())), abs=1e-3)
    assert all(found["similarity"][i][i] == 1 for i in range(len(a)))


def test_a_run_without_reflectance_has_no_spectra(tmp_path: Path) -> None:
    run, scene = opened(tmp_path)
    streams = {n: s for n, s in run.contract.streams.items() if n != "s2-l2a"}
    run.contract = type(run.contract)(streams)
    assert "reflectance" in spectra.class_spectra(run, scene, scene.scored)["why"]
    assert insight.class_figures(spectra.class_spectra(run, scene, scene.scored), None)["matrix"] == ""


def test_similarity_is_set_against_each_loss_and_against_prevalence(tmp_path: Path) -> None:
    run, scene = opened(tmp_path)
    found = {"split": "test", **spectra.class_spectra(run, scene, scene.scored)}
    scored = evaluation("multilabel", run.legend, run.config["class_counts"], "")
    rows = {r["name"]: r for r in spectra.correlations(found, scored)}
    assert list(rows) == ["Hamming loss", "Brier score", "Brier score / π(1−π)", "prevalence π"]
    near = spectra.nearest(found)
    used = [r for r in near if scored["classes"][r["index"]]["support"] and scored["classes"][r["index"]]["trained"]]
    losses = [scored["per_class"][r["index"]]["brier"] for r in used]
    assert rows["Brier score"]["n"] == len(used) >= 4
    assert rows["Brier score"]["spearman"] == pytest.approx(spearmanr([r["similarity"] for r in used], losses)[0])
    matrix = np.array(found["similarity"])
    for i, row in enumerate(near):
        others = [j for j in range(len(matrix)) if j != i]
        assert row["similarity"] == max(matrix[i, j] for j in others)
    shown = insight.class_figures(found, scored)
    assert shown["traces"].startswith("<svg")
    assert f"{shown['first']['similarity']:.3f}" in shown["matrix"]


@pytest.mark.parametrize("frozen", [False, True])
def test_grad_cam_is_equations_1_and_2(tmp_path: Path, frozen: bool) -> None:
    run, scene = opened(tmp_path)
    run.model.requires_grad_(not frozen)
    cube = cubes(collate([scene.dataset.read(scene.scored[1])]), run.contract)
    found = gradcam.grad_cam(run.model, cube, 4)
    assert set(found) == {"s1-rtc-gamma0", "s2-l2a"}
    caught: dict[str, torch.Tensor] = {}
    for name, encoder in run.model.by_name.items():
        encoder.net[3].register_forward_hook(lambda _, __, out, name=name: caught.update({name: out.detach()}))
    run.model(cube)
    for at, name in enumerate(sorted(found)):
        maps = caught[name][0]
        h, w = maps.shape[1:]
        expected = torch.zeros(h, w)
        for k in range(8):  # the network ends in a mean and a linear layer, so dy/dA_kij = w_k / (h w)
            expected += run.model.head.weight[4, 8 * at + k].detach() / (h * w) * maps[k]
        assert found[name] == pytest.approx(expected.clamp(min=0).numpy(), abs=1e-6)
        assert (h, w) == (8, 8)


def test_grad_cam_leaves_out_what_is_not_seen_and_what_ends_in_tokens(tmp_path: Path) -> None:
    run, scene = opened(tmp_path)
    index = next(i for i in range(80) if i % 9 == 5)
    cube = cubes(collate([scene.dataset.read(index)]), run.contract)
    assert set(gradcam.grad_cam(run.model, cube, 0)) == {"s2-l2a"}
    whole = cubes(collate([scene.dataset.read(scene.scored[1])]), run.contract)
    net = run.model.by_name["s2-l2a"].net
    net.insert(4, torch.nn.Flatten(2))
    net[5] = torch.nn.AdaptiveAvgPool1d(1)
    assert set(gradcam.grad_cam(run.model, whole, 0)) == {"s1-rtc-gamma0"}


def test_grad_cam_shows_right_answers_of_the_commonest_classes(tmp_path: Path) -> None:
    run, scene = opened(tmp_path, "class")
    (found,) = encode(run, scene, scene.scored, [run.model])
    right = np.zeros_like(found.probabilities)
    for row, i in zip(right, scene.scored, strict=True):
        row[scene.dataset.classes(i, "lulc")[0]] = 0.9 - 0.001 * i
    told = type(found)(**{**vars(found), "probabilities": right})
    picked = gradcam.chosen(run, scene, scene.scored, told)
    count = np.bincount([scene.dataset.classes(i, "lulc")[0] for i in scene.scored])
    assert len(picked) == gradcam.EXAMPLES
    assert picked[0][1] == int(count.argmax())
    assert all(k == scene.dataset.classes(i, "lulc")[0] for i, k, _ in picked)
    assert len({i for i, _, _ in picked}) == len(picked)
    wrong = type(found)(**{**vars(found), "probabilities": np.roll(right, 1, axis=1)})
    assert gradcam.chosen(run, scene, scene.scored, wrong) == []


def test_both_planes_are_of_the_same_places_and_neighbours_agree_as_a_loop_says(tmp_path: Path) -> None:
    run, scene = opened(tmp_path, "class")
    before, after = encode(run, scene, scene.scored, [untrained(run, scene), run.model])
    found = tsne.layout(run, scene, scene.scored, before, after, {})
    assert len(found["before"]) == len(found["after"]) == len(found["group"]) == len(scene.scored)
    assert found["before"] != found["after"]
    truth = [scene.dataset.classes(i, "lulc")[0] for i in scene.scored]
    assert [found["groups"][g]["name"] for g in found["group"]] == [LULC.classes[k].name for k in truth]
    x, k = tsne.unit(after.fused), found["agreement"]["k"]
    same = []
    for i in range(len(x)):
        order = sorted((j for j in range(len(x)) if j != i), key=lambda j: -float(x[i] @ x[j]))
        same += [truth[j] == truth[i] for j in order[:k]]
    assert found["agreement"]["after"] == pytest.approx(np.mean(same))
    n = len(truth)
    by_chance = sum(truth[i] == truth[j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    assert found["agreement"]["chance"] == pytest.approx(by_chance)
    row = found["retrieval"][0]
    assert row["after"] == between(after, row["query"], row["key"], head="main").to_json()
    again = tsne.layout(run, scene, scene.scored, before, after, {})
    assert again == found


def test_sets_of_classes_are_shown_by_the_two_most_alike(tmp_path: Path) -> None:
    run, scene = opened(tmp_path, "multilabel", count=240)
    has = np.zeros((len(scene.scored), 19), bool)
    for row, i in zip(has, scene.scored, strict=True):
        row[list(scene.dataset.classes(i, "lulc"))] = True
    found = spectra.class_spectra(run, scene, scene.scored)
    group, groups, why = tsne.grouped(run, scene, scene.scored, found)
    index = [r["index"] for r in found["classes"]]
    apart = {
        (a, b): min((has[:, a] & ~has[:, b]).sum(), (has[:, b] & ~has[:, a]).sum())
        for a in index
        for b in index
        if a < b
    }
    best = max(
        (found["similarity"][index.index(a)][index.index(b)], a, b) for (a, b), n in apart.items() if n >= tsne.APART
    )
    names = [run.legend.names[k] for k in best[1:]]
    assert why.startswith(f"{names[0]} and {names[1]}, the classes most alike")
    assert [g["name"] for g in groups] == [f"{n}, not the other" for n in names] + ["both", "neither"]
    for g, row in zip(group, has, strict=True):
        a, b = row[best[1]], row[best[2]]
        assert groups[g]["name"] == (
            "both" if a and b else groups[0]["name"] if a else groups[1]["name"] if b else "neither"
        )


def test_sets_of_a_single_class_are_shown_by_whether_a_place_has_it() -> None:
    legend = Legend("water", (LandClass(1, "water", "#1a5bab"),))
    run = SimpleNamespace(task="water", kind="multilabel", legend=legend)
    scene = SimpleNamespace(dataset=SimpleNamespace(classes=lambda i, task: (None, (), (0,))[i % 3]))
    group, groups, why = tsne.grouped(run, scene, range(6), {})  # type: ignore[arg-type]
    assert [groups[g]["name"] for g in group] == ["not water", "not water", "water"] * 2
    assert why == "whether they have water, the only class"


def test_it_is_measured_once_and_again_only_for_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, scene = opened(tmp_path)
    (run.folder / "model.safetensors").write_bytes(b"weights")
    os.utime(run.folder / "model.safetensors", (1, 1))
    said: list[str] = []
    measure.measure(run, scene, "test", say=said.append)
    assert said == ["class spectra", "embeddings before and after training", "Grad-CAM"]
    files = {p.name: p.read_bytes() for p in (run.folder / "figures").iterdir()}
    assert set(files) == {"classes.json", "tsne.json", "gradcam.json"}
    said.clear()
    measure.measure(run, scene, "test", say=said.append)
    assert said == []
    os.utime(run.folder / "model.safetensors", (2, 2))
    (run.folder / "figures" / "tsne.json").write_text("{")
    measure.measure(run, scene, "test", say=said.append)
    assert said == ["class spectra", "embeddings before and after training", "Grad-CAM"]
    assert json.loads((run.folder / "figures" / "tsne.json").read_text())["n"] == len(scene.scored)


def test_label_maps_have_spectra_and_no_embedding(tmp_path: Path) -> None:
    run, scene = opened(tmp_path, "map")
    measure.measure(run, scene, "test")
    assert {p.name for p in (run.folder / "figures").iterdir()} == {"classes.json"}


def test_losses_stand_beside_those_of_predictors_that_cost_nothing() -> None:
    from landweave.metrics import MultiLabel, all_negative, per_class, prevalence

    rng = np.random.default_rng(3)
    truth, p = rng.random((200, 19)) < rng.uniform(0.05, 0.6, 19), rng.random((200, 19))
    found = MultiLabel(19)
    found.update(truth, p)
    legend = legend_of("multilabel")
    own = per_class(found, legend.names)
    scored = {
        "kind": "multilabel",
        "classes": [{"name": c.name, "color": c.color, "trained": True} for c in legend.classes],
        "per_class": own,
    }
    never = {r["name"]: r for r in per_class(all_negative(found), legend.names)}
    always = {r["name"]: r for r in per_class(prevalence(found, truth.mean(0)), legend.names)}
    rows = insight.class_losses(scored)
    assert [r["prevalence"] for r in rows] == sorted((r["prevalence"] for r in rows), reverse=True)
    for row in rows:
        assert row["trivial_hamming"] == pytest.approx(never[row["name"]]["hamming"])
        assert row["trivial_brier"] == pytest.approx(always[row["name"]]["brier"])
        assert row["skill_hamming"] == pytest.approx(1 - row["hamming"] / row["trivial_hamming"])
    assert insight.class_losses({**scored, "kind": "class"}) == []


def test_the_fault_test_and_the_ablation_in_numbers() -> None:
    def scored(split: str, value: float) -> dict[str, Any]:
        names = insight.ABLATION
        return {
            "kind": "multilabel", "split": split, "n_places": 9, "scores": dict.fromkeys(names, value),
            "references": {"forest": {"scores": {"micro_f1": 0.3}}},
        }  # fmt: skip

    found = insight.fault_test(scored("snow_cloud", 0.4), scored("test", 0.7))
    assert found
    assert found["rows"][0] == {"name": "this run", "sound": 0.7, "spoilt": 0.4, "drop": pytest.approx(0.3)}
    assert insight.fault_test(None, scored("test", 0.7)) is None
    alone = insight.fault_test(scored("snow_cloud", 0.4), scored("validation", 0.7))
    assert alone
    assert alone["rows"][0]["drop"] is None
    rows = [
        Row((), "mean", "all", scored("test", 0.7)), Row(("a",), "zero", "only <a>", scored("test", 0.25)),
        Row(("b",), "zero", "only b"),
    ]  # fmt: skip
    table = insight.ablation(rows, "multilabel")
    assert (len(table["rows"]), table["lacking"]) == (2, 1)
    assert "all 0.700; only &lt;a&gt; 0.250" in table["figure"]
    assert insight.ablation(rows[1:], "multilabel")["rows"] == []


def test_files_of_figures_are_whole_svg_in_the_colours_of_paper(tmp_path: Path) -> None:
    run, scene = opened(tmp_path)
    (found,) = encode(run, scene, scene.scored, [run.model])
    panel = gradcam.panels(run, scene, scene.scored, found)
    drawn = gradcam.drawn(panel)
    first = panel["rows"][0]
    assert f"{first['class']} at {first['place']}" in drawn
    assert drawn.count("<image") == 2 * sum(len(r["panels"]) for r in panel["rows"])
    shown = insight.class_figures({"split": "test", **spectra.class_spectra(run, scene, scene.scored)}, None)
    written = insight.write_figures(tmp_path, {"cam": drawn, "traces": shown["traces"], "none": ""})
    assert written == ["cam", "traces"]
    for name in written:
        text = (tmp_path / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        root = ET.fromstring(text)
        assert root.tag.endswith("svg")
        assert "width" in root.attrib
        assert "var(" not in text
        assert "currentColor" not in text
    assert standalone('<svg style="width:9pt;a" fill="var(--s2)"></svg>').count("#c8642b") == 1


def test_a_collapsed_embedding_is_one_point_and_does_not_crash_sklearn() -> None:
    import numpy as np

    from landweave.reports.tsne import plane

    for rows in (np.zeros((40, 8)), np.ones((40, 8))):
        assert not plane(rows.astype(np.float32)).any()
    apart = plane(np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    assert np.isfinite(apart).all()
    assert apart.std() > 0
