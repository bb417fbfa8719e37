"""UPerFuse learns what its paper says: every branch, every task, no pixel whose label nobody knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from landweave.data.dataset import Task
from landweave.errors import ConfigError
from landweave.grid import Grid
from landweave.legends import LEGENDS, PARENTS
from landweave.losses import cross_entropy, hierarchical_cross_entropy
from landweave.methods import UPerFuse
from landweave.methods.uperfuse import MAIN, levels_above
from landweave.nn.uperfuse import UPerFuseModel
from landweave.run.experiment import Experiment
from tests.methods.flair_batches import batch_of, contract_of, hidden, tasks_of, tiny

KEY = (0, 0)
STILL = ("method.augment.flip=0", "method.augment.rotate90=false")
SERIES = ("s2-l2a", "s1-grd-sigma0-asc-linear", "s1-grd-sigma0-desc-linear")


def build(experiment: Experiment, seed: int = 0) -> tuple[UPerFuse, UPerFuseModel]:
    method = experiment.method
    assert isinstance(method, UPerFuse)
    torch.manual_seed(seed)
    model = method.build(contract_of(experiment), tasks_of(experiment))
    assert isinstance(model, UPerFuseModel)
    return method, model.eval()


def test_the_loss_is_the_sum_of_equation_3() -> None:
    more = ("method.task_weight=0.5", "method.tasks={lpis-1: 2.0}", "method.auxiliary=1.5", "method.without={}")
    experiment = tiny("both-lpis-i", *STILL, *more)
    method, model = build(experiment)
    batch = batch_of(experiment)
    found = method.loss(model, batch, "cosia", key=KEY)
    out, expected = model(batch), torch.zeros(())
    for name, inner, weight in (("cosia", MAIN, 0.5), ("lpis-1", "lpis-1", 2.0)):
        label = batch.labels[name]
        branches = [cross_entropy(by_task[inner], label) for by_task in out.auxiliary.values()]
        assert len(branches) == 4, "SPOT and three series"
        main, auxiliary = cross_entropy(out.by_task[inner], label), sum(branches) / 4
        torch.testing.assert_close((found[name], found[f"{name}.auxiliary"]), (main, auxiliary))
        expected = expected + weight * (main + 1.5 * auxiliary)
    torch.testing.assert_close(found["loss"], expected)


def test_auxiliary_branches_get_gradients() -> None:
    """Weakness 1 of the spec: the official branches are computed in every step, and their loss is always 0."""
    experiment = tiny("both-lpis-i")
    method, model = build(experiment)
    batch = batch_of(experiment)
    method.loss(model.train(), batch, "cosia", key=KEY)["loss"].backward()
    sensors = [c.sensor for c in experiment.data.choices]
    assert list(model.branches) == sorted(sensors)
    for name, parameter in model.named_parameters():
        if name.startswith(("branches.", "answers.")):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
    for name in sensors:
        first = next(model.encoders[name].parameters())
        assert first.grad is not None
        assert first.grad.abs().max() > 0, name


def test_the_weight_of_the_branches_is_heard() -> None:
    """Weakness 1 of the spec, the other half: a weight that is a number, and none where it is 0."""
    experiment = tiny("lpis-i")
    losses = {}
    for beta in ("0.0", "0.5", "1.5"):
        changed = tiny("lpis-i", f"method.auxiliary={beta}")
        method, model = build(changed)
        found = method.loss(model, batch_of(experiment), "lpis-1", key=KEY)
        losses[beta] = {k: float(v.detach()) for k, v in found.items()}
        assert len(model.branches) == (4 if float(beta) else 0)
    assert set(losses["0.0"]) == {"lpis-1", "loss"}
    one, other = losses["0.5"], losses["1.5"]
    assert one["lpis-1.auxiliary"] == pytest.approx(other["lpis-1.auxiliary"])
    assert other["loss"] - one["loss"] == pytest.approx(one["lpis-1.auxiliary"], rel=1e-4)
    chosen = tiny("lpis-i", "method.branches=[spot]")
    assert list(build(chosen)[1].branches) == ["spot"]


def test_what_is_told_of_branches_is_what_is_built() -> None:
    for name, told in (
        ("lpis-k", "method.auxiliary=1.5 plays no part: a branch of the only sensor is the answer"),
        ("lpis-i", "a branch for each sensor, weight 1.5"),
    ):
        experiment = tiny(name, "method.auxiliary=1.5", "method.without={}")
        method, model = build(experiment)
        assert method.lines(list(model.contract.streams)) == [told]
        assert bool(model.branches) == told.startswith("a branch for")


def test_a_branch_learns_only_where_its_sensor_is_seen() -> None:
    experiment = tiny("lpis-i", *STILL)
    method, model = build(experiment)
    batch = batch_of(experiment, absent=[("spot", 1)])
    found = method.loss(model, batch, "lpis-1", key=KEY)["lpis-1.auxiliary"]
    label = batch.labels["lpis-1"]
    other = replace(label, values=label.values.clone())
    other.values[1, 1:] = 3
    out = model(batch)
    weights = torch.tensor([n != "mixed crops" for n in label.legend.names], dtype=torch.float32)
    seen = replace(label, known=label.known & torch.tensor([True, False, True])[:, None, None])
    expected = [
        cross_entropy(by_task[MAIN], seen if name == "spot" else label, weights=weights)
        for name, by_task in out.auxiliary.items()
    ]
    torch.testing.assert_close(found, sum(expected) / 4)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_sensors_are_dropped_with_the_share_that_is_asked_for(share: float) -> None:
    """Weakness 2 of the spec: the official shares only switch it on, and every sensor may go at once."""
    experiment = tiny("lpis-i", f"method.sensor_dropout={{s2-l2a: {share}, s1-grd-sigma0-asc-linear: 0.5}}")
    method, _ = build(experiment)
    batch = batch_of(experiment, B=400)
    seen = {n: im.sensor_seen.float().mean() for n, im in method._view(batch, KEY).images.items()}
    assert float(seen["s2-l2a"]) == pytest.approx(1 - share, abs=0.08)
    assert float(seen["s1-grd-sigma0-asc-linear"]) == pytest.approx(0.5, abs=0.08)
    assert float(seen["spot"]) == float(seen["s1-grd-sigma0-desc-linear"]) == 1
    every = tiny("lpis-i", "method.sensor_dropout=0.95")
    view = build(every)[0]._view(batch, KEY)
    kept = torch.stack([im.sensor_seen for im in view.images.values()]).sum(0)
    assert int(kept.min()) == 1, "never the last one"


def test_what_nobody_knows_is_no_building() -> None:
    """Weakness 3 of the spec: unlabelled pixels and codes outside the table are class 0 in the official loss."""
    experiment = tiny("lc-a", *STILL)
    method, model = build(experiment)
    batch = batch_of(experiment)
    label = batch.labels["cosia"]
    assert not label.known[:, 0].any()
    losses = []
    for value in (255, 0, 7):
        values = torch.where(label.known, label.values, value).to(torch.uint8)
        changed = replace(batch, labels={"cosia": replace(label, values=values)})
        losses.append(float(method.loss(model, changed, "cosia", key=KEY)["loss"].detach()))
    assert losses[0] == losses[1] == losses[2]
    nothing = replace(label, known=torch.zeros_like(label.known))
    loss = method.loss(model, replace(batch, labels={"cosia": nothing}), "cosia", key=KEY)["loss"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_a_class_that_is_left_out_counts_nowhere() -> None:
    experiment = tiny("lpis-i", *STILL)
    method, model = build(experiment)
    batch = batch_of(experiment)
    label = batch.labels["lpis-1"]
    mixed = label.legend.index("mixed crops")
    unknown = replace(label, known=label.known & (label.values != mixed))
    plain = build(tiny("lpis-i", *STILL, "method.without={}"))[0]
    one = method.loss(model, batch, "lpis-1", key=KEY)
    other = plain.loss(model, replace(batch, labels={"lpis-1": unknown}), "lpis-1", key=KEY)
    torch.testing.assert_close(one, other)
    weights = {"lpis-1": torch.linspace(0.5, 2, 23)}
    one = method.loss(model, batch, "lpis-1", key=KEY, class_weights=weights)
    other = plain.loss(model, replace(batch, labels={"lpis-1": unknown}), "lpis-1", key=KEY, class_weights=weights)
    torch.testing.assert_close(one, other)


def test_labels_stay_integers() -> None:
    """Weakness 20 of the spec: labels as one-hot float32 take 20 MB a sample and task, and argmax in every step."""
    experiment = tiny("both-lpis-i")
    view = build(experiment)[0]._view(batch_of(experiment), KEY)
    for label in view.labels.values():
        assert (label.values.dtype, label.values.ndim) == (torch.uint8, 3)


def test_building_changes_no_setting() -> None:
    """Weakness 10 of the spec: building the official model changes the configuration that is shared by all."""
    experiment = tiny("both-lpis-i")
    before = experiment.model_dump(mode="json")
    first, second = (build(experiment)[1].state_dict() for _ in range(2))
    assert experiment.model_dump(mode="json") == before
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_one_pass_answers_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = tiny("both-lpis-i")
    method, model = build(experiment)
    passes: list[Any] = []
    encoder = model.encoders["spot"]
    encoder.register_forward_hook(lambda *_: passes.append(1))
    batch, tasks = batch_of(experiment), tasks_of(experiment).named("cosia")
    found = method.predict_tasks(model, batch, tasks)
    assert len(passes) == 1
    assert {n: p.shape[1] for n, p in found.items()} == {"cosia": 15, "lpis-1": 23}
    assert list(found) == ["cosia", "lpis-1"]
    for p in found.values():
        torch.testing.assert_close(p.sum(1), torch.ones_like(p[:, 0]))
    torch.testing.assert_close(method.predict(model, batch, "map"), found["cosia"])


def test_levels_of_a_hierarchy_count() -> None:
    experiment = tiny("lpis-i-3", *STILL, "method.hierarchy=0.5", "method.auxiliary=0", "method.without={}")
    method, model = build(experiment)
    batch = batch_of(experiment)
    parents = (PARENTS["lpis-3"], PARENTS["lpis-2"])
    assert levels_above(LEGENDS["lpis-3"]) == parents
    expected = hierarchical_cross_entropy(model.logits(batch), batch.labels["lpis-3"], parents, share=0.5)
    torch.testing.assert_close(method.loss(model, batch, "lpis-3", key=KEY)["loss"], expected)
    assert levels_above(LEGENDS["lpis-1"]) == levels_above(LEGENDS["cosia-15"]) == ()


@pytest.mark.parametrize("kept", ["spot", "s2-l2a", "s1-grd-sigma0-desc-linear"])
def test_any_subset_of_the_sensors_can_be_asked(kept: str) -> None:
    experiment = tiny("lpis-i")
    method, model = build(experiment)
    batch = batch_of(experiment)
    alone = hidden(batch, [n for n in batch.images if n != kept])
    found = method.predict(model, alone, "map")
    assert bool(torch.isfinite(found).all())
    assert not torch.allclose(found, method.predict(model, batch, "map"))
    noise = replace(
        alone, images={n: im if n == kept else replace(im, data=im.data + 9) for n, im in alone.images.items()}
    )
    torch.testing.assert_close(method.predict(model, noise, "map"), found, msg="what is not seen does not count")


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_fusion_before_and_after(fusion: str) -> None:
    branches = "method.auxiliary=0" if fusion == "early" else "method.auxiliary=0.5"
    experiment = tiny("both-lpis-i", f"method.fusion={{kind: {fusion}}}", branches)
    method, model = build(experiment)
    loss = method.loss(model.train(), batch_of(experiment), "cosia", key=KEY)["loss"]
    loss.backward()
    assert bool(torch.isfinite(loss))
    with pytest.raises(ConfigError, match="early fusion has no branch"):
        build(tiny("lpis-i", "method.fusion={kind: early}"))


def test_a_label_beside_the_main_one_cannot_have_the_name_of_its_decoder() -> None:
    with pytest.raises(ConfigError, match=r"(?s)main.*rename that label"):
        tiny("lpis-i", "method.tasks={main: 1}")


def test_what_the_labels_cannot_give_is_refused() -> None:
    tasks = {"lpis-1": Task("map", LEGENDS["lpis-1"]), "cosia": Task("map", LEGENDS["cosia-15"])}
    for changes, told in (
        (["method.without={lpis-1: [mixed crop]}"], "no class `mixed crop`, did you mean `mixed crops`"),
        (["method.without={lpis-2: [mixed crops]}"], "learns no `lpis-2`, did you mean `lpis-1`"),
        (["method.hierarchy=1"], "no level stands above the classes of lpis-1, cosia"),
    ):
        method = tiny("lpis-i", *changes).method
        with pytest.raises(ConfigError, match=told):
            method.require_tasks(tasks)
    with pytest.raises(ConfigError, match="label map"):
        tiny("lpis-i", "method.without={}").method.require_tasks({"scene": Task("class", LEGENDS["cosia-15"])})
    with pytest.raises(ConfigError, match=r"(?s)no sensor `spott`, did you mean `spot`.*branches"):
        tiny("lpis-i", "method.branches=[spott]").method.require(["spot", "s2-l2a"])
    with pytest.raises(ConfigError, match=r"sensor_dropout: no sensor `s2-l1c`"):
        tiny("lpis-i", "method.sensor_dropout={s2-l1c: 0.1}").method.require(["spot", "s2-l2a"])


@pytest.mark.parametrize("augment", [(), ("method.augment.crop=[0.5,1]",), STILL], ids=["turned", "cut", "still"])
def test_a_place_is_told_in_training_as_it_is_in_prediction(augment: tuple[str, ...]) -> None:
    experiment = tiny("lc-a", "method.circumstances.place=true", *augment)
    method, model = build(experiment)
    assert model.told is not None
    torch.nn.init.normal_(model.told.last.weight)
    told: list[torch.Tensor] = []
    model.told.net.register_forward_pre_hook(lambda _, given: told.append(given[0].detach()))
    grids = tuple(Grid("EPSG:2154", (0.2, 0, 7e5 + 9e4 * b, 0, -0.2, 6.6e6), (32, 32)) for b in range(3))
    batch = batch_of(experiment)
    batch = replace(batch, images={n: replace(im, grid=grids) for n, im in batch.images.items()})
    method.loss(model.train(), batch, "cosia", key=KEY)["loss"].backward()
    gradient = model.told.net[0].weight.grad
    assert gradient is not None
    assert bool(gradient.any(0).all()), "a number of the place is not learned"
    method.predict(model.eval(), batch, "map")
    trained, predicted = told
    assert bool(predicted[:, -1].all())
    assert torch.equal(trained, predicted)
