"""The weights of encoders on their way from one model to another, with a clear word where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from landweave.errors import ContractError, RunError, listed

PREFIX = "encoders."
"""What stands before the encoders' weights in the state of a whole model."""

State = Mapping[str, Tensor]


def load_each(encoders: Mapping[str, nn.Module], state: State, where: str) -> None:
    """Load the weights of every encoder, or, if one does not fit, of none. See `Model.load_encoders`."""
    given = _by_sensor(state)
    lacking = [n for n in encoders if n not in given]
    if lacking:
        there = listed(sorted(given)) or "no sensor"
        raise ContractError(
            f"encoders of {there} are there, and the model needs those of {listed(lacking)}",
            where=where,
            fix="train both on the same sensors, both with method.fusion.kind=early or both without",
        )
    for name, encoder in encoders.items():
        _require_fit(name, encoder.state_dict(), given[name], where)
    for name, encoder in encoders.items():
        encoder.load_state_dict(dict(given[name]))


def _by_sensor(state: State) -> dict[str, dict[str, Tensor]]:
    """Weights by sensor and name, of an `encoder_state` or of the state of a whole model."""
    if any(key.startswith(PREFIX) for key in state):
        state = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, rest = key.partition(".")
        found.setdefault(name, {})[rest] = value
    return found


def _require_fit(name: str, own: State, given: State, where: str) -> None:
    other = RunError(
        f"the weights of {name} are those of another backbone",
        where=where,
        fix="give method.encoder the name and stem of the run that the weights are from",
    )
    if own.keys() != given.keys():
        raise other
    unlike = [key for key in own if own[key].shape != given[key].shape]
    if not unlike:
        return
    mine, theirs = own[unlike[0]].shape, given[unlike[0]].shape
    if len(unlike) == 1 and len(mine) == 4 and (mine[0], mine[2:]) == (theirs[0], theirs[2:]):
        raise ContractError(
            f"the encoder of {name} reads {theirs[1]} channels there, and {mine[1]} in this model",
            where=where,
            fix="choose the same bands in data.streams, and the same method.encoder.band_mask",
        )
    raise other
