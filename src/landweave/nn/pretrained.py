"""Backbones that begin with somebody else's weights: those of timm (ImageNet, mostly), or a file in timm's form.

The first convolution of such weights reads red, green and blue. Ours reads any bands: a red, green or blue band gets
the filters of its colour, any other band the mean of the three, and all are scaled by 3 / bands, so that the sum over
the bands stays what the next layer is used to. Channels of `band_mask` begin with zeros. (Ours; timm itself repeats
red, green, blue, red, ... over the bands, whichever they are.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landweave.errors import ConfigError, RunError, listed
from landweave.nn.config import LIBRARY, RANDOM
from landweave.nn.encoders import StreamEncoder, backbone
from landweave.nn.weights import content
from landweave.sensors import sensor

if TYPE_CHECKING:
    from jaxtyping import Float

    from landweave.nn.model import Model

COLOURS = ("red", "green", "blue")
WHERE = "method.encoder.weights"
HEAD = re.compile(r"(norm|fc_norm|fc|head\w*|classifier\w*|last_linear|final_conv)\b")
"""Weights above the last map of a backbone, where files and networks differ rightly."""


def begin(model: Model) -> list[str]:
    """Give every backbone of a model the weights that its settings name. Says of each which it left as they were.

    Raises:
        ConfigError: the weights cannot be fetched, or are not of the backbone.
    """
    told = []
    for name, encoder in model.by_name.items():
        if encoder.settings.weights != RANDOM:
            bands = [b for n in (model.sensors if model.early else [name]) for b in _colours(n, model)]
            left = _begin(encoder, bands)
            more = f", but for {listed(left)}" if left else ""
            told.append(f"{name}: {encoder.settings.name} begins with the weights of {encoder.settings.weights}{more}")
    return told


def _colours(name: str, model: Model) -> list[str]:
    row = sensor(name)
    return [row.band(b).common for b in model.contract.streams[name].bands]


@torch.no_grad()
def _begin(encoder: StreamEncoder, colours: Sequence[str]) -> list[str]:
    """One backbone; gives the names of the weights that stay as they were: theirs are lacking or have another shape."""
    theirs, surplus = _theirs(encoder)
    if surplus:
        more = f", nor {len(surplus) - 1} more of its weights" if len(surplus) > 1 else ""
        raise _other(encoder, f"it has no `{surplus[0]}`{more}")
    # timm says nothing of what it does not find: that is drawn anew, or does not follow what the file holds
    library = encoder.settings.weights == LIBRARY
    other, _ = _theirs(encoder, seed=1) if library else _theirs(encoder, shift=1.0)
    own: dict[str, Tensor] = encoder.net.state_dict()
    read = [k for k, v in own.items() if v.is_floating_point()]
    left = []
    for key, mine in own.items():
        given = theirs[key]
        same = torch.equal(given, other[key])
        if key in read and (not same if library else same):
            left.append(key)
        elif given.ndim == 4 and given.shape[1] == 3 and given.shape[::2] == mine.shape[::2]:
            mine.copy_(spread(given, colours, channels=encoder.channels))
        elif given.shape == mine.shape:
            mine.copy_(given)
        else:
            left.append(key)
    for some in (read, [k for k in read if own[k].ndim > 1]):
        lacking = [k for k in left if k in some]
        if 2 * len(lacking) > len(some):
            raise _other(encoder, f"{len(lacking)} of its {len(some)} weights are lacking, {lacking[0]} first")
    return left


def _other(encoder: StreamEncoder, what: str) -> ConfigError:
    return ConfigError(
        f"they are not of {encoder.settings.name}: {what}",
        where=encoder.settings.weights,
        fix="name the backbone that they are of in method.encoder.name, or give a state dict in timm's form",
    )


def spread(filters: Float[Tensor, "D 3 k k"], colours: Sequence[str], *, channels: int) -> Float[Tensor, "D C k k"]:
    """Filters of red, green and blue for other bands: see the head of this module.

    Args:
        filters: of the first convolution.
        colours: the common name of each band; others than red, green and blue may be empty.
        channels: of the network; those beyond the bands are zeros.
    """
    out = filters.new_zeros(len(filters), channels, *filters.shape[2:])
    for c, colour in enumerate(colours):
        out[:, c] = filters[:, COLOURS.index(colour)] if colour in COLOURS else filters.mean(1)
    return out * (len(COLOURS) / len(colours))


def _theirs(encoder: StreamEncoder, *, seed: int = 0, shift: float = 0.0) -> tuple[Mapping[str, Tensor], list[str]]:
    """The weights, for three bands, by the names that the backbone has here; and those of a file that it has not.

    `seed` is of what is drawn, and `shift` is added to all that a file holds.
    """
    settings = encoder.settings
    given: dict[str, Any] = {"pretrained": True}
    if settings.weights != LIBRARY:
        file = {k: v + shift if v.is_floating_point() else v for k, v in _read(Path(settings.weights)).items()}
        given["pretrained_cfg_overlay"] = {"state_dict": file}
    try:
        with torch.random.fork_rng(devices=()), _left_over() as surplus:
            torch.manual_seed(seed)
            net, _ = backbone(settings, len(COLOURS), encoder.size, encoder.form == "pyramid", given)
    except ConfigError as error:
        raise ConfigError(error.what, where=WHERE, fix="give weights of this backbone, in timm's form") from None
    except Exception as error:  # whatever the hub's client raises where there is no network
        what = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise ConfigError(
            f"the weights of {settings.name} cannot be fetched: {what}",
            where=WHERE,
            fix=f"try again with a network, give a file of them, or {WHERE}={RANDOM}",
        ) from None
    found: Mapping[str, Tensor] = net.state_dict()
    return found, [] if settings.weights == LIBRARY else surplus


@contextmanager
def _left_over() -> Iterator[list[str]]:
    """Names of given weights for which a network that is made meanwhile has no place; timm tells them to a log only."""
    plain, surplus = nn.Module.load_state_dict, list[str]()

    def watched(net: nn.Module, *args: Any, **options: Any) -> Any:
        found = plain(net, *args, **options)
        surplus[:] = _inside(net, found.unexpected_keys)
        return found

    nn.Module.load_state_dict = watched  # type: ignore[assignment, method-assign]
    try:
        yield surplus
    finally:
        nn.Module.load_state_dict = plain  # type: ignore[method-assign]


def _inside(net: nn.Module, keys: Sequence[str]) -> list[str]:
    """Those that would lie inside a part that the network has, as blocks of a deeper one do.

    A classifier, a projection head or a decoder of the pretraining lies beside. Tables that a network makes itself,
    as of positions, some files hold too.
    """
    parts = {key.partition(".")[0] for key in net.state_dict()}
    made = {name for name, _ in net.named_buffers()}
    keys = [k for k in keys if k.partition(".")[0] in parts and k not in made and not HEAD.match(k)]
    return [k for k in keys if not k.endswith("num_batches_tracked")]


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file; a training's checkpoint has them below `state_dict` or `model`."""
    found: object = content(file)
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not (isinstance(found, Mapping) and found and all(isinstance(v, Tensor) for v in found.values())):
        raise RunError("not a file of weights", where=file, fix="give a state dict in timm's form")
    return dict(found)
