"""Faults by name: the band sets of Petcu 2024 as two presets, and a short text for each kind of fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from landweave.config import parse, read_yaml
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.sensors import SENSORS
from landweave.transforms.faults.settings import Faults

_THESIS = (
    "none",
    "B2",
    "B8",
    "B11",
    "B2 B11",
    "B2 B8",
    "B8 B11",
    "B2 B3 B4",
    "B2 B8 B11",
    "B4 B8 B9 B13",
    "B2 B4 B8 B11",
    "B8 B9 B10 B11 B12",
)
"""The sets as tables 4.3 and 4.4 label them, in their order."""

_SAME = {"B2": "B02", "B3": "B03", "B4": "B04", "B8": "B08"}
_READINGS = {
    # The thesis numbers bands in three ways. By their position in its table A.1 (the order of SEN12MS and of SatCLIP):
    "petcu2024-positional": _SAME | {"B9": "B8A", "B10": "B09", "B11": "B10", "B12": "B11", "B13": "B12"},
    # By their official names, of which B13 is none: there it is B8A, the last band of a EuroSAT file.
    "petcu2024-names": _SAME | {"B9": "B09", "B10": "B10", "B11": "B11", "B12": "B12", "B13": "B8A"},
}


def _set(label: str, reading: dict[str, str]) -> tuple[str, ...]:
    return () if label == "none" else tuple(reading[word] for word in label.split())


SETS: dict[str, dict[str, tuple[str, ...]]] = {
    preset: {label: _set(label, reading) for label in _THESIS} for preset, reading in _READINGS.items()
}
"""Preset -> set as the paper labels it ("B2 B4 B8 B11", "none" first) -> the official names of its bands."""

_FILES = (".yaml", ".yml")
_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?"


def _lines(share: float) -> dict[str, int]:
    """Stripes that are this share of the lines, to a hundredth: one of ten, three of ten, nine of ten."""
    near = Fraction(share).limit_denominator(40)
    return {"period": near.denominator, "width": near.numerator}


_SEVERITY: dict[str, Callable[[float], dict[str, Any]]] = {
    "missing": lambda v: {"ratio": v},
    "dead": lambda v: {"kind": "missing", "known": False, "ratio": v},
    "holes": lambda v: {"cover": v},
    "noise": lambda v: {"level": v},
    "saturation": lambda v: {"share": v},
    "dead-columns": lambda v: {"share": v},
    "shift": lambda v: {"pixels": v},
    "stripes": lambda v: {"strength": v},
    "gaps": lambda v: {"kind": "stripes", "gap": True, "known": True, **_lines(v)},
}
"""What the number after @ is, by name."""

_PLAIN: dict[str, dict[str, Any]] = {
    "dead": {"kind": "missing", "known": False},
    "gaps": {"kind": "stripes", "gap": True, "known": True},
}
_WORDS = (*_SEVERITY, "swap", "shuffle", "absent", "gain", "offset")
_HOW = "for example missing:B02,B08@0.9, petcu2024-names/B2-B4-B8-B11@0.9, gain:B08*1.3, offset+1000, or a YAML file"


def named(text: str) -> Faults:
    """Faults from a short text, or from a YAML file of the settings of `Faults`.

        petcu2024-names/B2-B4-B8-B11@0.9      a band set of the paper, and the share of pixels (1 if left out)
        missing:B02,B08@0.9                   bands in the same way; missing@0.9 all; missing:B02@0.9:model not native
        missing:s2-l2a:B02                    of one sensor
        dead:B08                              reads 0, and nobody says so; dead:B08@0.01 single pixels
        absent:s1-grd-sigma0                  a sensor
        gain:B08*1.3, offset+1000             offset in digital numbers of reflectance
        swap:B02,B08, shift:B08@0.5, noise@0.2, holes@0.3, stripes:B08@0.2, gaps:B08@0.1, dead-columns@0.05,
        saturation:B08@0.1                    bands are optional, and so is the number

    Raises:
        ConfigError: it is none of these.
    """
    given = text.strip()
    if given.endswith(_FILES):
        raw, lines = read_yaml(given)
        return parse(Faults, raw, where=given, lines=lines)
    if "/" in given:
        fault = _of_preset(given)
    elif found := re.fullmatch(rf"(gain|offset)(?::([^*@]*?))?(\*|(?=[-+]))({_SIGNED})", given):
        fault = _calibration(given, *found.groups())
    else:
        fault = _of_kind(given)
    return parse(Faults, {"faults": [fault] if fault else []}, where=given)


def label(text: str) -> str:
    """What a result calls the faults that `named(text)` gives: the text, of a file its name without folders."""
    given = text.strip()
    return Path(given).stem if given.endswith(_FILES) else given


_SIGNED = rf"[-+]?{_NUMBER}"


def _of_preset(text: str) -> dict[str, Any] | None:
    preset, _, rest = text.partition("/")
    if preset not in SETS:
        if Path(text).suffix:
            raise ConfigError("faults are read from YAML files", where=text, fix=_HOW)
        raise ConfigError(f"no preset `{preset}`{did_you_mean(preset, list(SETS))}", where=text, fix=_HOW)
    label, number, grid = _severity(rest, text)
    label = label.replace("-", " ").strip()
    if label not in SETS[preset]:
        raise ConfigError(
            f"{preset} has no set `{label}`{did_you_mean(label, list(SETS[preset]))}",
            where=text,
            fix=f"use one of {listed([s.replace(' ', '-') for s in SETS[preset]])}",
        )
    bands = SETS[preset][label]
    fault = {"kind": "missing", "bands": bands, **grid, **({} if number is None else {"ratio": number})}
    return fault if bands else None


def _severity(text: str, whole: str) -> tuple[str, float | None, dict[str, str]]:
    """What stands before @, the number after it, and the grid after a colon."""
    head, at, tail = text.partition("@")
    number, _, grid = tail.partition(":")
    if at and not re.fullmatch(_NUMBER, number):
        raise ConfigError(f"`{number}` after @ is not a number", where=whole, fix=_HOW)
    return head, float(number) if at else None, {"at": grid} if grid else {}


def _calibration(text: str, word: str, target: str | None, times: str, number: str) -> dict[str, Any]:
    """`gain:B08*1.3` or `offset+1000`."""
    if (word == "gain") != bool(times):
        raise ConfigError(f"not how `{word}` is written", where=text, fix=_HOW)
    value = {"gain": float(number)} if times else {"number": float(number)}
    return {"kind": "gain", **_target(target or ""), **value}


def _of_kind(text: str) -> dict[str, Any]:
    head, number, grid = _severity(text, text)
    word, _, target = head.partition(":")
    if word in ("gain", "offset"):
        raise ConfigError(f"not how `{word}` is written", where=text, fix=_HOW)
    if word not in _WORDS:
        raise ConfigError(f"no fault `{word}`{did_you_mean(word, [*_WORDS, *SETS])}", where=text, fix=_HOW)
    if number is not None and word not in _SEVERITY:
        raise ConfigError(f"`{word}` takes no number", where=text, fix=f"leave @{number:g} out")
    if number is not None and word == "gaps" and not 0.02 <= number <= 0.98:
        raise ConfigError(f"gaps are a share of the lines, and this is {number:g}", where=text, fix="give 0.02 to 0.98")
    own = _PLAIN.get(word, {}) if number is None else _SEVERITY[word](number)
    return {"kind": word, **own, **_target(target), **grid}


def _target(text: str) -> dict[str, Any]:
    """`B02,B08`, `s2-l2a`, or `s2-l2a:B02,B08`."""
    first, _, rest = text.partition(":")
    if rest or first in SENSORS or re.match(r"s[12]-", first):
        sensor, bands = first, rest
    else:
        sensor, bands = "", first
    return {"sensor": sensor, "bands": [b for b in bands.split(",") if b]}
