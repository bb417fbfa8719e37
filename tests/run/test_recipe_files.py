"""Recipes that extend others, and their scales."""

from __future__ import annotations

from pathlib import Path

import pytest

from landweave.errors import ConfigError
from landweave.run.experiment import recipe


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_a_recipe_is_laid_on_the_one_that_it_extends(tmp_path: Path) -> None:
    mine = write(tmp_path, "extends: segment\nmethod: {encoder: {name: resnet34}}\ntrain: {batch_size: 4}\n")
    found, base = recipe(mine), recipe("segment")
    assert (found.recipe, found.method.encoder.name, found.train.batch_size) == ("mine", "resnet34", 4)
    assert (found.train.epochs, found.data, found.optim) == (base.train.epochs, base.data, base.optim)


def test_another_kind_takes_nothing(tmp_path: Path) -> None:
    mine = write(tmp_path, "extends: adapt-maps\nmethod: {kind: segment}\nstart: ''\n")
    assert recipe(mine).method.model_dump() == recipe("segment").method.model_dump()


def test_a_scale_is_laid_before_the_changes(tmp_path: Path) -> None:
    text = "extends: segment\nscales: {smoke: [train.epochs=1, 'data.coarsen={aerial: 4}'], long: [train.epochs=900]}\n"
    mine = write(tmp_path, text)
    assert recipe(mine).train.epochs == 40
    assert recipe(mine, scale="long").train.epochs == 900
    small = recipe(mine, ["train.epochs=2"], scale="smoke")
    assert (small.train.epochs, small.data.coarsen) == (2, {"aerial": 4})
    with pytest.raises(ConfigError, match=r"(?s)no scale `smok`.*`smoke`"):
        recipe(mine, scale="smok")
    with pytest.raises(ConfigError, match="the recipe has none"):
        recipe("segment", scale="smoke")


def test_a_number_may_name_a_precision() -> None:
    assert recipe("segment", ["train.precision=32"]).train.precision == "32"
    with pytest.raises(ConfigError, match=r"precision.*64.* is unknown"):
        recipe("segment", ["train.precision=64"])


def test_what_is_extended_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"extends the unknown `segmen`.*`segment`"):
        recipe(write(tmp_path, "extends: segmen\n"))


def test_a_fault_is_told_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"epoch.*epochs.*mine\.yaml:3"):
        recipe(write(tmp_path, "extends: segment\ntrain:\n  epoch: 3\n"))
    for change, told in (
        ("data.coarsen={aerial: 0}", "`data.coarsen.aerial`: it is `0`, and must be at least 1"),
        ("data.coarsen=0.5", "`data.coarsen`: a whole number is needed"),
        ("method.sensor_dropout=2", "`method.sensor_dropout`: it is `2`, and must be below 1"),
        ("method.sensor_dropout={spot: x}", "`method.sensor_dropout.spot`: a number is needed"),
    ):
        with pytest.raises(ConfigError) as caught:
            recipe("segment", [change])
        assert str(caught.value).startswith(told)
        assert len(str(caught.value).splitlines()) == 1
