from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from landweave.config import Config, override, parse, read_yaml, to_yaml
from landweave.errors import ConfigError


class Near(Config):
    kind: Literal["near"] = "near"
    batch_size: int = 4


class Far(Config):
    kind: Literal["far"] = "far"
    steps: tuple[int, ...] = ()


class Whole(Config):
    name: str
    part: Annotated[Near | Far, Field(discriminator="kind")]
    rate: float = 0.1


def write(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text)
    return path


def refuse(folder: Path, text: str, *changes: str) -> str:
    raw, lines = read_yaml(write(folder, text))
    with pytest.raises(ConfigError) as caught:
        parse(Whole, override(raw, changes), where="r.yaml", lines=lines, changes=changes)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_misspelt_key_names_the_nearest_one_and_its_line(tmp_path: Path) -> None:
    text = refuse(tmp_path, "name: a\n\npart:\n  kind: near\n  batchsize: 3\n")
    assert text == "unknown key `part.batchsize`, did you mean `batch_size`? (r.yaml:5)"


def test_a_misspelt_override_is_refused_too(tmp_path: Path) -> None:
    text = refuse(tmp_path, "name: a\npart: {kind: near}\n", "part.batchsize=3")
    assert text.startswith("unknown key `part.batchsize`, did you mean `batch_size`?")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["rate=fast"], "(change `rate=fast`)"),
        (["part.batch_size=x", "part.batch_size=y"], "(change `part.batch_size=y`)"),  # the last one counts
        (["part.kind=neer"], "(change `part.kind=neer`)"),
        (["part=3"], "(change `part=3`)"),
        (["part.batch=3"], "(change `part.batch=3`)"),
    ],
)
def test_a_fault_of_a_change_names_the_change_and_no_line_of_the_file(
    tmp_path: Path, changes: list[str], told: str
) -> None:
    text = refuse(tmp_path, "name: a\npart: {kind: near, batch_size: 1}\nrate: 1\n", *changes)
    assert text.endswith(told)
    assert "r.yaml" not in text


def test_a_fault_beside_a_change_keeps_its_line(tmp_path: Path) -> None:
    text = refuse(tmp_path, "name: a\npart: {kind: near, batch_size: x}\n", "part.kind=near", "rate=2")
    assert text == "`part.batch_size`: a whole number is needed, and this is `x` (r.yaml:2)"


class Bounds(Config):
    share: float = Field(0.5, gt=0, le=1)
    count: int = 1
    on: bool = True
    pair: tuple[str, ...] = Field(("a", "b"), min_length=2)
    word: str = ""
    how: Literal["mean", "attention"] = "mean"
    part: Near = Near()
    table: dict[str, int] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("share", 0, "it is `0`, and must be above 0"),
        ("share", 1.5, "it is `1.5`, and must be at most 1"),
        ("share", "much", "a number is needed, and this is `much`"),
        ("count", 2.5, "a whole number is needed, and this is `2.5`"),
        ("count", None, "a whole number is needed, and this is `null`"),
        ("on", "perhaps", "true or false is needed, and this is `perhaps`"),
        ("pair", ["a"], "at least 2 entries are needed, and `[a]` has 1"),
        ("pair", "a", "a list such as [a, b] is needed, and this is `a`"),
        ("word", [1], "text is needed, and this is `[1]`"),
        ("how", "attenton", "`attenton` is unknown, did you mean `attention`?; one of mean, attention"),
        ("part", 3, "settings (`key: value`) are needed, and this is `3`"),
        ("table", [1], "settings (`key: value`) are needed, and this is `[1]`"),
    ],
)
def test_faults_are_told_in_plain_words(key: str, value: object, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Bounds, {key: value})
    assert str(caught.value) == f"`{key}`: {told}"


def test_every_fault_has_a_line_of_its_own(tmp_path: Path) -> None:
    text = refuse(tmp_path, "part: {kind: near, batch_size: many}\nrate: fast\n")
    assert len(text.splitlines()) == 3
    assert "`name` is needed" in text
    assert "`rate`: " in text
    assert "(r.yaml:2)" in text
    assert "`part.batch_size`: " in text


def test_an_unknown_kind_lists_the_kinds(tmp_path: Path) -> None:
    text = refuse(tmp_path, "name: a\npart: {kind: neer}\n")
    assert "`part.kind` = `neer` is unknown, did you mean `near`?" in text
    assert "near, far" in text


def test_a_missing_kind_lists_the_kinds(tmp_path: Path) -> None:
    assert "`part.kind` is needed; one of near, far" in refuse(tmp_path, "name: a\npart: {batch_size: 1}\n")


def test_a_key_of_another_kind_is_refused_with_the_keys_of_this_one(tmp_path: Path) -> None:
    text = refuse(tmp_path, "name: a\npart: {kind: far, batch_size: 2}\n")
    assert "unknown key `part.batch_size`; known here: kind, steps" in text


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands twice"):
        read_yaml(write(tmp_path, "name: a\nname: b\n"))


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"r\.yaml:2"):
        read_yaml(write(tmp_path, "name: [a\npart: b: c\n"))


def test_override_parses_values_and_drops_the_settings_of_another_kind() -> None:
    raw = {"name": "a", "part": {"kind": "near", "batch_size": 9}}
    got = parse(Whole, override(raw, ["part.kind=far", "part.steps=[1, 2]", "rate=3e-4"]))
    assert got.part == Far(steps=(1, 2))
    assert got.rate == 3e-4
    assert raw["part"] == {"kind": "near", "batch_size": 9}, "the input is not changed"


@pytest.mark.parametrize("change", ["epochs", "=3", "name.deeper=1", "name=[1"])
def test_a_malformed_override_is_refused(change: str) -> None:
    with pytest.raises(ConfigError):
        override({"name": "a"}, [change])


def test_a_path_with_a_hash_is_no_comment() -> None:
    assert override({}, ["path=my data #1/places.csv"]) == {"path": "my data #1/places.csv"}
    assert override({}, ['path="my data" # quoted', "n=3 # three"]) == {"path": "my data", "n": 3}


def test_written_yaml_reads_back_equal(tmp_path: Path) -> None:
    whole = Whole(name="ä", part=Far(steps=(3, 1)), rate=1e-5)
    raw, lines = read_yaml(write(tmp_path, to_yaml(whole)))
    assert parse(Whole, raw, lines=lines) == whole


class Inner(Config):
    stem: str = "own"
    name: str = "a"


class Outer(Config):
    inner: Inner = Inner(name="b")
    part: Annotated[Near | Far, Field(discriminator="kind")] = Near(batch_size=7)


def test_what_is_not_given_keeps_the_default_of_the_field_not_of_the_class() -> None:
    got = parse(Outer, {"inner": {"stem": "small"}, "part": {}})
    assert got.inner == Inner(stem="small", name="b")
    assert got.part == Near(batch_size=7)
    assert parse(Outer, {"part": {"kind": "far"}}).part == Far()


@pytest.mark.parametrize("text", ["2024", "2024-01-05", "0755", "1.50", "on", "1_000"])
def test_what_is_typed_where_text_is_needed_is_that_text(text: str) -> None:
    """YAML would have 0755 be 493."""
    changes = ["name=first", "part.kind=near", f"name={text}"]
    assert parse(Whole, override({}, changes), changes=changes).name == text


def test_a_list_is_no_text_however_it_is_typed(tmp_path: Path) -> None:
    told = refuse(tmp_path, "name: a\npart: {kind: near}\n", "name=[2024]", "rate=fast")
    assert "`name`: text is needed, and this is `[2024]` (change `name=[2024]`)" in told
    told = refuse(tmp_path, "name: a\npart: {kind: near}\n", "name=2024", "rate=fast")
    assert told == "`rate`: a number is needed, and this is `fast` (change `rate=fast`)"


def test_a_kind_takes_nothing_away_that_is_typed_beside_it() -> None:
    raw = {"name": "a", "part": {"kind": "near", "batch_size": 8}}
    for changes in (["part.steps=[2]", "part.kind=far"], ["part.kind=far", "part.steps=[2]"]):
        assert override(raw, ["rate=1", *changes])["part"] == {"kind": "far", "steps": [2]}
    twice = ["part.kind=near", "part.steps=[2]", "part.kind=far", "part.steps=[3]"]
    assert override(raw, twice)["part"] == {"kind": "far", "steps": [3]}
    whole = ["part.steps=[1]", "part={kind: near, batch_size: 2}", "part.kind=far"]  # said anew in between
    assert override(raw, whole)["part"] == {"kind": "far"}
    inner = ["part.kind=near", "part={kind: far, steps: [4]}"]
    assert override(raw, inner)["part"] == {"kind": "far", "steps": [4]}
    assert override({"kind": "a"}, ["kind=b"]) == {"kind": "b"}
