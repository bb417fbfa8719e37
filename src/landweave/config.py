"""Recipes: YAML files, checked by frozen pydantic models, changed by dotted overrides.

An unknown key is refused with the nearest known one and the line it stands at, before anything heavy is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from landweave.errors import ConfigError, did_you_mean, listed

Lines = dict[tuple[str | int, ...], int]
"""Where each key stands: path of keys -> line number, from 1."""


class Config(BaseModel):
    """Base of every setting: frozen, and closed to keys that it does not know.

    Settings inside settings are laid on the default of their field, not on their class's: a method whose encoder is a
    ResNet-34 keeps it when only `encoder.stem` is given. Another `kind` starts from that kind's own defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _keep_own_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        own = {name: f.default.model_dump() for name, f in cls.model_fields.items() if isinstance(f.default, BaseModel)}
        return {k: _lay(own[k], v) if k in own and isinstance(v, Mapping) else v for k, v in given.items()}


def _lay(own: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    if given.get("kind", own.get("kind")) != own.get("kind"):
        return given
    both = {
        k: _lay(own[k], v) if isinstance(own.get(k), Mapping) and isinstance(v, Mapping) else v
        for k, v in given.items()
    }
    return {**own, **both}


ONE, EACH = "=one", "=each"
"""Tags of a setting that is one value for all, or a mapping of values by name; see `one_or_each`."""


def one_or_each(given: Any) -> str:
    """Discriminator of such a setting, so that a fault is told of the form that was meant.

    Annotated[Annotated[float, Tag(ONE)] | Annotated[dict[str, float], Tag(EACH)], Discriminator(one_or_each)]
    """
    return EACH if isinstance(given, Mapping) else ONE


Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Lines]:
    """Read a YAML mapping and the line of every key.

    Raises:
        ConfigError: missing file, broken YAML, a key that stands twice, or not a mapping.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError("no such file", where=file)
    text = file.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"not YAML: {getattr(error, 'problem', error)}", where=f"{file}{line}") from None
    if not isinstance(raw, dict):
        raise ConfigError("not a mapping of settings", where=file, fix="write `key: value` lines")
    lines: Lines = {}
    _collect_lines(node, (), lines, file)
    return raw, lines


def _collect_lines(node: Any, path: tuple[str | int, ...], lines: Lines, file: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            if here in lines:
                raise ConfigError(
                    f"key `{'.'.join(map(str, here))}` stands twice",
                    where=f"{file}:{key.start_mark.line + 1}",
                )
            lines[here] = key.start_mark.line + 1
            _collect_lines(value, here, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[(*path, i)] = value.start_mark.line + 1
            _collect_lines(value, (*path, i), lines, file)


def override(raw: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=c` texts; the value is YAML, so `[a, b]`, `3e-4`, `true` and `null` mean what they look like.

    Another `kind` takes away what the settings before said of the old one, and nothing that is typed beside it, be it
    before or after.

    Raises:
        ConfigError: a text without `=`, or a path through something that is not a mapping.
    """
    out: dict[str, Any] = _copy(raw)
    for change in _kinds_first(changes):
        key, eq, text = change.partition("=")
        if not eq or not key:
            raise ConfigError(f"`{change}` is not of the form key=value", fix="write for example train.epochs=5")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"the value of `{change}` is not YAML", where=key, fix="quote it") from None
        if isinstance(value, str) and " #" in text and text[0] not in "\"'":
            value = text.strip()  # YAML takes the rest for a comment, which nobody types here
        *path, last = key.split(".")
        at = out
        for step in path:
            at = at.setdefault(step, {})
            if not isinstance(at, dict):
                raise ConfigError(f"`{step}` holds a value, not settings", where=key)
        if last == "kind" and at.get("kind") not in (None, value):
            at.clear()  # the settings of another kind mean nothing here
        at[last] = value
    return out


def _kinds_first(changes: Sequence[str]) -> list[str]:
    """The changes, each `x.kind=...` before those of `x.` that are typed since `x` itself; of two kinds the last."""
    out: list[str] = []
    for change in changes:
        key = change.partition("=")[0]
        part = key.removesuffix("kind")
        if not part.endswith(".") or part == key:
            out.append(change)
            continue
        keys = [c.partition("=")[0] for c in out]
        whole = max((i + 1 for i, k in enumerate(keys) if part.startswith(f"{k}.")), default=0)
        first = next((i for i in range(whole, len(out)) if keys[i].startswith(part)), len(out))
        out = [*out[:first], change, *(c for c, k in zip(out[first:], keys[first:], strict=True) if k != key)]
    return out


def _copy(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        return {k: _copy(v) for k, v in raw.items()}
    return [_copy(v) for v in raw] if isinstance(raw, list) else raw


def parse(
    model: type[Model],
    raw: Mapping[str, Any],
    *,
    where: str = "",
    lines: Lines | None = None,
    changes: Sequence[str] = (),
) -> Model:
    """Validate settings.

    Args:
        model: what they must be.
        raw: plain data, with `changes` applied (see `override`).
        where: the file that they stand in.
        lines: where in it each key stands.
        changes: the `a.b=c` texts; a fault of one is told with it, not with a line of the file that it changed.

    Raises:
        ConfigError: every fault on a line of its own (at most 6), with file:line or the change, and the nearest known
            key.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        typed = _typed(model, raw, error, changes)
        if typed is not None:
            return parse(model, typed, where=where, lines=lines, changes=changes)
        faults = [_fault(model, e, where, lines or {}, changes) for e in error.errors()]
        more = [f"... and {len(faults) - 6} more"] if len(faults) > 6 else []
        raise ConfigError("\n".join([*faults[:6], *more])) from None


def _typed(
    model: type[Model], raw: Mapping[str, Any], error: ValidationError, changes: Sequence[str]
) -> dict[str, Any] | None:
    """The settings with what was typed where text is needed and YAML read something else: a folder called 2024.

    None if that is no change's fault.
    """
    typed = dict(change.partition("=")[::2] for change in changes)  # of one key the last counts
    faults = [e for e in error.errors() if e["type"] == "string_type" and isinstance(e["input"], int | float | date)]
    names = [".".join(map(str, _real_path(model, tuple(e["loc"]))[0])) for e in faults]
    if not any(name in typed for name in names):
        return None
    out: dict[str, Any] = _copy(raw)
    for name in (n for n in names if n in typed):
        *path, last = name.split(".")
        at = out
        for step in path:
            at = at[step]
        at[last] = typed[name]
    return out


def fault_at(keys: Sequence[str | int], what: str) -> ValidationError:
    """What a validator raises, where the fault is not in the field itself but further in, at `keys` below it."""
    error = PydanticCustomError("fault", "{what}", {"what": what})
    return ValidationError.from_exception_data("fault", [InitErrorDetails(type=error, loc=tuple(keys), input=None)])


def _fault(model: type[BaseModel], error: Any, where: str, lines: Lines, changes: Sequence[str]) -> str:
    keys, holder, kinds = _real_path(model, tuple(error["loc"]))
    at = _stands(keys, where, lines, changes)
    name = ".".join(map(str, keys))
    if error["type"] == "extra_forbidden":
        known = list(holder.model_fields) if holder else []
        hint = did_you_mean(str(keys[-1]), known) or f"; known here: {listed(known, 20)}"
        return f"unknown key `{name}`{hint}{at}"
    if error["type"] == "missing":
        return f"`{name}` is needed{at}"
    if error["type"].startswith("union_tag"):
        expected = error.get("ctx", {}).get("expected_tags", "")
        tag = error.get("ctx", {}).get("tag", "")
        options = [t.strip().strip("'") for t in expected.split(",")] if expected else []
        hint = did_you_mean(tag, options) if tag else ""
        what = f"`{name}.kind` = `{tag}` is unknown{hint}" if tag else f"`{name}.kind` is needed"
        at = _stands((*keys, "kind"), where, lines, changes)
        return f"{what}; one of {listed(options or kinds, 20)}{at}"
    return f"`{name}`: {_plain(error)}{at}"


def _stands(keys: tuple[str | int, ...], where: str, lines: Lines, changes: Sequence[str]) -> str:
    """Where a fault stands: in the change that set it, else in a line of the file, which a change may have touched."""
    line = next((lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in lines), None)
    file = f"{where}{f':{line}' if line else ''}" if where else ""
    name = tuple(map(str, keys))
    touched = ""
    for change in reversed(changes):  # the last one counts
        path = tuple(change.partition("=")[0].split("."))
        if name[: len(path)] == path:
            return f" (change `{change}`)"
        if path[: len(name)] == name:
            touched = touched or f"change `{change}`"
    told = ", ".join(t for t in (file, touched) if t)
    return f" ({told})" if told else ""


_NEEDED = {
    "int": "a whole number is needed",
    "float": "a number is needed",
    "finite": "a finite number is needed",
    "bool": "true or false is needed",
    "string": "text is needed",
    "tuple": "a list such as [a, b] is needed",
    "list": "a list such as [a, b] is needed",
    "dict": "settings (`key: value`) are needed",
    "model": "settings (`key: value`) are needed",
}
"""The first word of a pydantic type of error -> what a person is told."""
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def _plain(error: Any) -> str:
    """The words of a person for what pydantic found; its own where we have none."""
    kind, context, given = str(error["type"]), error.get("ctx", {}), _shown(error["input"])
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"it is {given}, and must be {words} {context[key]:g}"
    if kind in ("too_short", "too_long"):
        bound = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"{bound} entries are needed, and {given} has {context['actual_length']}"
    if kind == "literal_error":
        options = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"{given} is unknown{did_you_mean(str(error['input']), options)}; one of {listed(options, 20)}"
    if needed := _NEEDED.get(kind.split("_", maxsplit=1)[0]):
        return f"{needed}, and this is {given}"
    return str(error["msg"]).removeprefix("Value error, ")


def _shown(value: Any) -> str:
    """A value as it would be typed, cut short."""
    try:
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    except yaml.YAMLError:  # a default of the code, which nobody has typed
        text = str(value)
    text = text.strip().removesuffix("...").strip()
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`"


def _members(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in get_args(annotation) for m in _members(arg)]


def _real_path(
    model: type[BaseModel], loc: tuple[str | int, ...]
) -> tuple[tuple[str | int, ...], type[BaseModel] | None, list[str]]:
    """Drop the union tags that pydantic puts into a location.

    Returns the keys, the model that holds the last of them, and the kinds that may stand at it.
    """
    keys: list[str | int] = []
    options: list[type[BaseModel]] = [model]
    holder: type[BaseModel] | None = model
    named = False
    for part in loc:
        if part in (ONE, EACH):
            continue
        if named:  # a name that the user chose, which may well be spelt like a kind
            keys.append(part)
            named = False
            continue
        tagged = [m for m in options if "kind" in m.model_fields and m.model_fields["kind"].default == part]
        if tagged and not any(part in m.model_fields for m in options):
            options, holder = tagged, tagged[0]
            continue
        keys.append(part)
        holder = options[0] if options else None
        fields = [m.model_fields[str(part)] for m in options if str(part) in m.model_fields]
        options = [m for f in fields for m in _members(f.annotation)] or (options if isinstance(part, int) else [])
        named = any(get_origin(f.annotation) is dict for f in fields)
    return tuple(keys), holder, [str(m.model_fields["kind"].default) for m in options if "kind" in m.model_fields]


def to_yaml(model: BaseModel) -> str:
    """The YAML that `parse(read_yaml(...))` turns into an equal model."""
    return yaml.safe_dump(model.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
