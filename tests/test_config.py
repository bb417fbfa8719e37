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
        parse(Whole, override(raw, changes), where="r.yaml", lines=lines)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_misspelt_key_names_the_nearest_one_and_its_line(tmp_path: Path) -> None:
    text = refuse(tmp_path, "name: a\n\npart:\n  kind: near\n  batchsize: 3\n")
    assert text == "unknown key `part.batchsize`, did you mean `batch_size`? (r.yaml:5)"


def test_a_misspelt_override_is_refused_too(tmp_path: Path) -> None:
    text = refuse(tmp_path, "name: a\npart: {kind: near}\n", "part.batchsize=3")
    assert text.startswith("unknown key `part.batchsize`, did you mean `batch_size`?")


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
