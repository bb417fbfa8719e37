"""docs/methods.md lists what there is, and what it prints can be trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from landweave.config import parse
from landweave.methods import Contrast
from landweave.methods.terms import Term
from landweave.run.experiment import Experiment, recipe, recipes

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()


def first_column(heading: str) -> set[str]:
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([\w-]+)`", part, re.M))


def test_every_recipe_and_every_term_stands_in_its_table() -> None:
    mine = {name for name in recipes() if not name.startswith("flair/")}  # docs/flair.md has these
    assert first_column("The methods of the papers") == mine
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(Term)[0])}
    assert first_column("The terms") == kinds


def test_the_composed_method_can_be_trained() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    method = parse(Experiment, yaml.safe_load(text)).method
    assert isinstance(method, Contrast)
    assert {t.kind for t in method.terms.values()} == {"intra", "clip", "soft", "supervised"}
    assert (method.views["shared"].crop, method.views["a"].crop) == (None, (0.3, 0.9))


def test_the_printed_changes_are_taken() -> None:
    import shlex

    for line in re.findall(r"^landweave train (.*)$", PAGE, re.M):
        name, *words = shlex.split(line, comments=True)
        recipe(name, words[: words.index("--out")])
