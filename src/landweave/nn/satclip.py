"""The image encoder of a SatCLIP checkpoint (Klemmer et al. 2023) in a model of ours.

The file is lightning's: `state_dict` holds `model.visual.*`, a timm network of 13 bands in `BANDS` with a last linear
layer of 256; `model.location.*` and the rest are left there. It was trained on image / 10000, which is reflectance as
it is, so the encoder must read that (`encoder.input=physical`). All weights can be trained again, though the file
comes from a training that held all but the last layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from landweave.contract import Contract, StreamContract
from landweave.errors import ConfigError, ContractError, RunError, listed
from landweave.nn.config import Encoder

if TYPE_CHECKING:
    from torch import Tensor

    from landweave.nn.model import Model

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""The bands that SatCLIP reads, in its order. EuroSAT's files have B8A last: bands go by name here, not by place."""
VISUAL = "model.visual."
SENSORS = ("s2-l1c", "s2-l2a")


def require_fit(encoder: Encoder, contract: Contract, file: Path) -> None:
    """Refuse, before any weight is read, an encoder or data that the checkpoint cannot serve.

    Raises:
        RunError: no such file.
        ContractError: other sensors than Sentinel-2, or a band that the checkpoint does not read.
        ConfigError: the encoder would show it other numbers than it was trained on.
    """
    if not file.is_file():
        raise RunError("no such file", where=file, fix="give start=FILE.ckpt of SatCLIP, or a finished run folder")
    others = [n for n in contract.streams if n not in SENSORS]
    if others or len(contract.streams) != 1:
        raise ContractError(
            f"SatCLIP has one encoder, of Sentinel-2, and the data have {listed(sorted(contract.streams))}",
            where=file,
            fix="choose data.streams=[s2-l1c] or [s2-l2a]",
        )
    _columns(next(iter(contract.streams.values())), file)
    if encoder.input != "physical":
        raise ConfigError(
            f"SatCLIP was trained on reflectance as it is, and encoder.input={encoder.input} centres it",
            where="method.encoder.input",
            fix="set method.encoder.input=physical",
        )


def load_visual(model: Model, file: Path) -> None:
    """Give a model's encoder the weights of the checkpoint, its first convolution in the order of the model's bands.

    `encoder.width=256` keeps the last linear layer, whose 256 numbers are then the features; without it the features
    are the 2048 below. A projection head `fc` of one layer takes that layer too.

    Raises:
        RunError: not such a checkpoint, or of another network than the encoder's.
        ContractError: the model has a band that the checkpoint does not read.
    """
    (name,) = model.by_name
    encoder = model.by_name[name]
    given = read_visual(file)
    own = encoder.net.state_dict()
    last = {k for k in given if k.partition(".")[0] in ("fc", "head")}
    missing, spare = [k for k in own if k not in given], [k for k in given if k not in own and k not in last]
    if missing or spare:
        raise RunError(
            f"the checkpoint holds another network than {encoder.settings.name} (its `{(spare or missing)[0]}`)",
            where=file,
            fix="name its own: method.encoder.name=resnet50 (or resnet18), method.encoder.stem=own",
        )
    (row,) = model.contract.streams.values()
    columns = _columns(row, file)
    fitted = {k: _ordered(given[k], own[k], columns) for k in own}
    unlike = [k for k in own if fitted[k].shape != own[k].shape]
    if unlike:
        raise RunError(
            f"`{unlike[0]}` is {tuple(fitted[unlike[0]].shape)} there and {tuple(own[unlike[0]].shape)} here",
            where=file,
            fix="set method.encoder.width=256 (SatCLIP's last layer), or leave it out, and method.encoder.stem=own",
        )
    encoder.net.load_state_dict(fitted)
    projections = getattr(model, "projections", {})
    if "fc" in projections:
        projections["fc"][name].layers[0].load_state_dict({k.partition(".")[2]: given[k] for k in sorted(last)})


def read_visual(file: Path) -> dict[str, Tensor]:
    """The weights of the image encoder by their names in timm. Nothing but plain data is read from the file.

    Raises:
        RunError: not readable, not plain, or without an image encoder.
    """
    from landweave.nn.weights import content

    state = content(file).get("state_dict")
    if not isinstance(state, Mapping):
        raise RunError("it has no `state_dict`", where=file, fix="give the .ckpt file of SatCLIP itself")
    visual = {k.removeprefix(VISUAL): v for k, v in state.items() if k.startswith(VISUAL)}
    found = {k: v.float() if v.is_floating_point() else v for k, v in visual.items()}
    if not found:
        raise RunError(f"it has no `{VISUAL}*`, but {listed(list(state)[:3])}", where=file, fix="is it of SatCLIP?")
    return found


def _columns(row: StreamContract, file: Path) -> list[int]:
    """Where each band of a contract stands in the checkpoint's first convolution."""
    unknown = [b for b in row.bands if b not in BANDS]
    if unknown:
        raise ContractError(f"SatCLIP reads no band {listed(unknown)}", where=file, fix="leave it out of data.streams")
    return [BANDS.index(b) for b in row.bands]


def _ordered(given: Tensor, own: Tensor, columns: list[int]) -> Tensor:
    """A first convolution of 13 bands with those that are read, in their order; other weights as they are."""
    first = given.ndim == 4 and given.shape[1] == len(BANDS) and own.shape[1] == len(columns)
    return given[:, columns] if first else given
