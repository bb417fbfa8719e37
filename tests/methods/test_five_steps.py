"""A refactor of methods, networks, augmentation or losses must reproduce the first steps of every recipe."""

from __future__ import annotations

import json

import pytest

from tests.methods.five_steps import GOLDEN, five_steps, names


@pytest.mark.parametrize("name", names())
def test_the_first_five_steps_are_as_they_were(name: str) -> None:
    expected = json.loads(GOLDEN.read_text())[name]
    found = five_steps(name)
    assert found.keys() == expected.keys()
    for stage, losses in found.items():
        assert losses == pytest.approx(expected[stage], rel=1e-4), stage
        assert len(set(losses)) == 5, "each step draws and learns anew"
