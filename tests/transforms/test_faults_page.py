"""docs/faults.md says what the settings are, and what it prints is taken."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from landweave.config import parse
from landweave.nn.config import Encoder
from landweave.run.experiment import recipe
from landweave.transforms.faults import SETS, Constant, Fault, Faults, Gradual, Growing, Staircase, named
from landweave.transforms.faults.settings import Target

PAGE = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
PART = PAGE.split("\n## Faults\n")[1].split("\n## ")[0]
KINDS = {m.model_fields["kind"].default: m for m in get_args(get_args(Fault)[0])}


def section(heading: str) -> str:
    return PART.split(f"\n### {heading}\n")[1].split("\n### ")[0]


def rows(text: str) -> list[list[str]]:
    """Cells of the first table."""
    lines = re.findall(r"^\|(.*)\|$", text, re.M)
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def plain(value: Any) -> str:
    if isinstance(value, Constant):
        value = value.value
    if value in (None, "", ()):
        return ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_fault_has_its_settings_with_their_defaults() -> None:
    assert set(re.findall(r"^### `([\w-]+)`$", PART, re.M)) == set(KINDS)
    shared = {row[0].strip("`"): row[1] for row in rows(section("What all faults share"))}
    assert shared == {n: plain(f.default) for n, f in Target.model_fields.items()}
    for kind, model in KINDS.items():
        told = {row[0].strip("`"): row[1] for row in rows(section(f"`{kind}`"))}
        own = {n: plain(f.default) for n, f in model.model_fields.items() if n not in (*shared, "kind")}
        assert told == own, kind


def test_a_fault_is_called_known_or_silent_as_it_is() -> None:
    for kind, model in KINDS.items():
        word = re.match(r"\s*(Known|Silent)\.", section(f"`{kind}`"))
        assert word, kind
        always = kind in ("absent", "holes")
        default = model.model_fields["known"].default if "known" in model.model_fields else always
        assert (word[1] == "Known") == default, kind


def test_defaults_of_the_schedules() -> None:
    text = section("`missing`")
    for model in (Gradual, Staircase, Growing):
        kind = model.model_fields["kind"].default
        (told,) = re.findall(rf"`{kind}` \(([^)]*)\)", text)[-1:]
        for name, value in re.findall(r"`(\w+)` ([\d.]+)", told):
            assert float(value) == model.model_fields[name].default, (kind, name)


@pytest.mark.parametrize("text", re.findall(r"`([^`]+)`", " ".join(row[0] for row in rows(section("By name")))))
def test_names_that_are_printed_are_taken(text: str) -> None:
    if not text.endswith(".yaml"):
        assert named(text)


def test_the_readings_of_the_thesis() -> None:
    positional, names = SETS["petcu2024-positional"], SETS["petcu2024-names"]
    for thesis, *bands in rows(section("Band sets of the thesis")):
        for preset, cell in zip((positional, names), bands, strict=True):
            for label, found in preset.items():
                if thesis in label.split():
                    assert found[label.split().index(thesis)] == cell.split(",")[0], (thesis, label)
    for label in positional:
        assert ("B10" in positional[label]) == ("B11" in label.split())
        assert ("B10" in names[label]) == (label == "B8 B9 B10 B11 B12")


def test_fills_are_those_of_the_encoder() -> None:
    told = re.findall(r"`([^`]+)`", " ".join(row[0] for row in rows(section("What the network is shown"))))
    assert told == list(get_args(Encoder.model_fields["fill"].annotation))


def test_yaml_and_commands_are_taken() -> None:
    for text in re.findall(r"```yaml\n(faults:.*?)```", PART, re.S):
        assert parse(Faults, yaml.safe_load(text))
    lines = [shlex.split(line) for line in re.findall(r"^landweave (.*)$", PART, re.M)]
    for verb, name, *words in lines:
        if verb == "train":
            assert recipe(name, words[: words.index("--out")]).method.faults
        else:
            assert named(words[words.index("--faults") + 1])
    assert {verb for verb, *_ in lines} == {"evaluate", "train"}
