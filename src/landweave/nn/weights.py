"""The weights of encoders on their way from one model to another, with a clear word where they do not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from landweave.errors import ContractError, RunError, listed

PREFIX = "encoders."
"""What stands before the encoders' weights in the state of a whole model."""

NET = "net."
"""What stands before the weights of the network in the state of one encoder; a learned fill stands beside them."""

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
    whole = {name: _with_own_fill(encoder.state_dict(), given[name]) for name, encoder in encoders.items()}
    whole = {name: _renamed(encoder.state_dict(), whole[name]) for name, encoder in encoders.items()}
    for name, encoder in encoders.items():
        _require_fit(name, encoder.state_dict(), whole[name], where)
    for name, encoder in encoders.items():
        encoder.load_state_dict(whole[name])


def _with_own_fill(own: State, given: State) -> dict[str, Tensor]:
    """The weights of another encoder's network; a learned fill only where both have one."""
    fills = {key: value for key, value in own.items() if not key.startswith(NET)}
    return fills | {key: value for key, value in given.items() if key.startswith(NET) or key in fills}


TOP = re.compile(r"net\.(model\.)?(norm|fc_norm|head|classifier|final_conv)\b")
"""Weights that a backbone has above its last map: a pyramid has none of them."""


def _renamed(own: State, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a whole backbone by the names that timm gives them in a pyramid: `stages.0` is `stages_0` there.

    What stands above the last map is left out. Anything that is unlike beyond this stays as it is, to be refused.
    """
    if own.keys() == given.keys():
        return given
    plain = {_plain(key): value for key, value in given.items() if not TOP.match(key)}
    wanted = {_plain(key): key for key in own}
    return {wanted[k]: v for k, v in plain.items()} if plain.keys() == wanted.keys() else given


def _plain(key: str) -> str:
    return key.replace(".", "_").replace("net_model_", "net_")


def load_whole(model: nn.Module, state: State, where: str) -> None:
    """Let a student begin with everything of its teacher, encoders, fusion and head, and give what its teacher gives.

    The student may read where each band is seen (`band_mask`) though the teacher does not: its first convolution then
    has zeros for those channels. It may have no projection heads of the teacher's, and a fill of its own.

    Args:
        model: the student, with random weights.
        state: the teacher's whole `state_dict()`.
        where: where it is from, for errors.

    Raises:
        RunError: anything else that is unlike.
    """
    own = model.state_dict()
    lacking = [k for k in own if k not in state and not _around(k)]
    spare = [k for k in state if k not in own and not _around(k) and not k.startswith("projections.")]
    if lacking or spare:
        what = f"its teacher has no `{lacking[0]}`" if lacking else f"it has no `{spare[0]}` of its teacher's"
        raise RunError(
            f"the student is another network: {what}",
            where=where,
            fix="leave method.encoder, fusion, head, heads and decoder out: the student then takes its teacher's",
        )
    model.load_state_dict({k: _widened(k, state[k], v, where) if k in state else v for k, v in own.items()})


def _around(key: str) -> bool:
    """Whether a weight of an encoder stands before its network, as a learned fill does."""
    return key.startswith(PREFIX) and not key.removeprefix(PREFIX).partition(".")[2].startswith(NET)


def _widened(key: str, given: Tensor, own: Tensor, where: str) -> Tensor:
    """A first convolution with zeros for the channels that it reads besides; anything else as it is."""
    if given.shape == own.shape:
        return given
    wide = given.ndim == 4 and own.shape == (given.shape[0], 2 * given.shape[1], *given.shape[2:])
    if not (wide and key.startswith(PREFIX)):
        raise RunError(
            f"`{key}` is {tuple(given.shape)} there and {tuple(own.shape)} in the student",
            where=where,
            fix="leave method.encoder, fusion, head, heads and decoder out: the student then takes its teacher's",
        )
    return torch.cat([given, torch.zeros_like(given)], 1)


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


def content(file: Path) -> Mapping[str, object]:
    """What a file of weights holds, .safetensors or torch's own, without executing anything in it.

    Raises:
        RunError: it is damaged, or holds more than tensors and plain values.
    """
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        line = (str(error).splitlines() or ["damaged"])[0][:120]
        raise RunError(
            f"cannot be read as plain weights: {line}",
            where=file,
            fix="a file that asks for code is refused; save its `state_dict` alone, or as .safetensors",
        ) from None
    if not isinstance(found, Mapping):
        raise RunError("it holds no `state_dict`", where=file, fix="give a file of weights")
    return found
