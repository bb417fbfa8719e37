"""FLAIR-HUB's released weights in a model of ours: `.safetensors`, or a `.ckpt` or `.pth` of plain tensors.

    model.encoders.AERIAL_RGBI.seg_model.model.*             encoders.aerial.net.*
    model.encoders.SENTINEL2_TS.{in_conv,down_blocks,...}    encoders.s2-l2a.net.{first,down,...}
    model.encoders.SENTINEL2_TS.out_conv.*                   answers.s2-l2a.*
    model.fusion_handler.conv_f.i                            fuse.narrow.(i + 1)
    model.main_decoders.AERIAL_LABEL-COSIA.seg_model.*       decoders.cosia.*
    model.aux_decoders.AERIAL_RGBI__AERIAL_LABEL-COSIA.*     branches.aerial.cosia.*
    criterion.*                                              (class weights of the loss) left there

Bands go by name: the released SPOT networks read near infrared, red, green, and so do the aerial ones, but for those
of RGB (`flair_inputs`); the layer that reads them has its columns put in our order. Sensors are side by side in
another order here, so the columns of the fusion are put in ours. What the file has and a model does not ask for
(auxiliary branches, the logits of series that only these read, the last step of the pyramid, which nothing reads) is
left there, and said; what the model asks for and the file lacks is refused, but for parts that FLAIR-HUB has not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landweave.contract import Contract
from landweave.data.flairhub_index import COSIA, LPIS, PARTS
from landweave.errors import ConfigError, RunError, listed
from landweave.legends import COSIA_19, Legend
from landweave.nn.config import UTAE, Decoder, Fusion, Series, Stages, UNet, UPerNetFlair
from landweave.nn.flair_inputs import order_of, require_bands
from landweave.nn.norms import BatchNorm
from landweave.nn.stages import MEETS, paired
from landweave.nn.weights import content

if TYPE_CHECKING:
    from landweave.nn.uperfuse import UPerFuseModel

SENSORS = {part: row.stream for part, row in PARTS.items()}
"""Our names of the official sensors, in the order in which their maps stand side by side in the fusion."""
PREFIX = "model."
BESIDE = "criterion."
"""What leads the class weights of the loss, which released files hold too."""
BUFFERS = ("relative_position_index", "attn_mask", "num_batches_tracked")
"""Ends of names that stand for no weight."""

STEP = 3
"""Layers of an `Answer` to a convolution: itself, a norm and a ReLU."""
UNREAD = ("decoder.steps.3.", "decoder.steps.4.")
"""Steps of the pyramid above the stages that a Swin has: made by the official code, and read by nothing there. The
first of them a ResNet has."""
ABOVE = ("answers.", "branches.", "decoders.")
"""Parts that may start anew in whole or in part, as another number of classes changes them."""
UNETS = "released files with the decoder U-Net"
UPERNETS = "a file whose name ends in -upernet, with method.decoder.kind=upernet-flair"
FUSION = "the fusion"
"""What is told of the layers that join sensors, where a model of one sensor takes its part of a file of several."""
OURS = ("fuse.learned.", "fuse.means.", "means.", "merge.", "told.")
"""Parts that FLAIR-HUB has not."""

U_TAE = (
    (r"in_conv\.conv\.conv\.", "first."),
    (r"down_blocks\.(\d+)\.down\.conv\.", r"down.\1.step."),
    (r"down_blocks\.(\d+)\.conv1\.conv\.", r"down.\1.one."),
    (r"down_blocks\.(\d+)\.conv2\.conv\.", r"down.\1.two."),
    (r"up_blocks\.(\d+)\.up\.", r"up.\1.grow."),
    (r"up_blocks\.(\d+)\.skip_conv\.", r"up.\1.skip."),
    (r"up_blocks\.(\d+)\.conv1\.conv\.", r"up.\1.one."),
    (r"up_blocks\.(\d+)\.conv2\.conv\.", r"up.\1.two."),
    (r"temporal_encoder\.inconv\.", "attention.project."),
    (r"temporal_encoder\.attention_heads\.Q$", "attention.query"),
    (r"temporal_encoder\.attention_heads\.fc1_k\.", "attention.keys."),
    (r"temporal_encoder\.in_norm\.", "attention.norm."),
    (r"temporal_encoder\.out_norm\.", "attention.last."),
    (r"temporal_encoder\.mlp\.", "attention.mix."),
    (r"out_conv\.conv\.conv\.", "layers."),
)
"""Names within an official U-TAE, and ours; `layers` is of the logits, which stand apart here."""
UPERNET = (
    (r"decoder\.psp\.blocks\.(\d+)\.1\.", r"decoder.pooled.\1."),
    (r"decoder\.psp\.out_conv\.", "decoder.coarsest."),
    (r"decoder\.fpn_stages\.(\d+)\.skip_conv\.", r"decoder.steps.\1."),
    (r"decoder\.fpn_bottleneck\.", "decoder.join."),
    (r"segmentation_head\.0\.", "last."),
)
"""Names within an official UPerNet, and ours."""


def renamed(key: str, names: Iterable[tuple[str, str]]) -> str:
    """An official name within a part, as it is here; unchanged where none of the rules is for it."""
    for pattern, ours in names:
        new, found = re.subn(f"^{pattern}", ours, key)
        if found:
            return new
    return key


@dataclass(frozen=True)
class Head:
    """What a task of a model is in the released files: which label, of how many classes, and which of them it keeps.

    A label that FLAIR-HUB has not is an empty string: its decoder begins as the first one of the file, but for the last
    layer.
    """

    label: str = ""
    classes: int = 0
    kept: tuple[int, ...] = ()

    @classmethod
    def of(cls, legend: Legend) -> Head:
        """Of a legend: `cosia-15` keeps 15 of the 19 classes of COSIA."""
        kept = tuple(c.value for c in legend.classes)
        if legend.name.startswith("cosia-"):
            return cls(COSIA, len(COSIA_19), kept)
        return cls(LPIS, len(legend), kept) if legend.name.startswith("lpis-") else cls()


def require_fit(contract: Contract, series: Series, fusion: Fusion, decoder: Decoder, *, file: Path) -> None:
    """Refuse, before any weight is read, a network or data that released weights cannot serve.

    Raises:
        RunError: no such file.
        ContractError: sensors or bands that the released networks do not read.
        ConfigError: another fusion, decoder or reading of series than theirs.
    """
    if not file.is_file():
        raise RunError("no such file", where=file, fix="give start=FILE.safetensors of FLAIR-HUB, or a run folder")
    require_bands(contract, file)
    several = len(contract.streams) > 1
    if several and any(not row.series for row in contract.streams.values()) and not isinstance(fusion, Stages):
        raise _other(f"fuse by stage, not {fusion.kind}", "method.fusion.kind=stages")
    if any(not row.series for row in contract.streams.values()) and not isinstance(decoder, UPerNetFlair):
        if isinstance(decoder, UNet):
            raise ConfigError(f"{UNETS} are not supported here", where="method.decoder", fix=f"give {UPERNETS}")
        raise _other(f"have the decoder upernet-flair, not {decoder.kind}", "method.decoder.kind=upernet-flair")
    dated = [n for n, row in contract.streams.items() if row.series]
    if dated and not (isinstance(series, UTAE) and series.input == "numbers"):
        raise _other(
            f"read {dated[0]} by U-TAE from the numbers of its files", "method.series.kind=utae series.input=numbers"
        )


def _other(what: str, fix: str) -> ConfigError:
    return ConfigError(f"the released networks {what}", where="method", fix=f"set {fix}")


def load_released(model: UPerFuseModel, file: Path, heads: Mapping[str, Head], *, untrained: bool = False) -> list[str]:
    """Give a model the weights of a released file.

    Args:
        model: of sensors that the file has.
        file: `.safetensors`, or a `.ckpt` or `.pth` of plain tensors.
        heads: what each task of the model is there.
        untrained: the model stays as it is then, so that nothing that an answer needs may start anew.

    Returns:
        What a person should know: what was resized, what starts anew, and what was left there.

    Raises:
        RunError: not such a file, or of another network: what is lacking or does not fit is listed.
        ConfigError: no layer of the encoder is known to read its bands.
    """
    orders = {n: order_of(n, row.bands, file) for n, row in model.contract.streams.items()}
    taken = Translation(model, heads, read_released(file), orders)
    own = taken.own
    fitted: dict[str, Tensor] = {}
    for key, value in taken.state.items():
        fits = value
        if key in own and key.endswith("relative_position_bias_table"):
            fits = resized(value, len(own[key]))
            if fits is not value:
                taken.notes.append(f"{key}: {len(value)} positions resized to {len(fits)}")
        if key in own and fits.shape == own[key].shape:
            fitted[key] = fits
        elif key.startswith(ABOVE):
            (taken.anew if key in own else taken.left).add(key.rpartition(".")[0])
        else:
            what = f"{tuple(own[key].shape)} here" if key in own else "not here"
            taken.wrong.append(f"{key}: {tuple(value.shape)} there, {what}")
    for key in own:
        if key in fitted or key.startswith(OURS) or key.endswith(BUFFERS):
            continue
        if key.startswith(ABOVE):
            taken.anew.add(key.rpartition(".")[0])
        else:
            taken.wrong.append(f"{key} is not there")
    if taken.wrong:
        raise RunError(
            f"the weights are of another network, {len(taken.wrong)} differ: {listed(taken.wrong, 3)}",
            where=file,
            fix="give the sensors, the encoder and the widths that the file was trained with",
        )
    if untrained:
        _require_whole(model, taken, file)
    model.load_state_dict(own | fitted)
    found = {"starting anew": taken.anew, "left there": taken.left}
    return [*taken.notes, *(f"{what}: {listed(sorted(parts), 6)}" for what, parts in found.items() if parts)]


def _require_whole(model: UPerFuseModel, taken: Translation, file: Path) -> None:
    """Refuse what would answer at random, or without a layer that its answers go through."""
    lacking, unread = (sorted(p for p in parts if _answers(model, p)) for parts in (taken.anew, taken.left))
    unread = [part for part in unread if part.startswith("answers.")]
    if lacking:
        raise RunError(
            f"train.epochs=0 keeps a file as it is, and this one has no weights for {listed(lacking, 3)}",
            where=file,
            fix="learn what the file answers (of land cover data.legend=cosia-19), or set train.epochs=1 or more",
        )
    if unread:
        raise RunError(
            f"train.epochs=0 keeps a file as it is; its answers go through {listed(unread, 3)}, which the run lacks",
            where=file,
            fix="set method.series.last=official, or train.epochs=1 or more",
        )
    if FUSION in taken.left:
        raise RunError(
            "train.epochs=0 keeps a file as it is; its answers go through the fusion of several sensors",
            where=file,
            fix="give data.streams all sensors of the file, and hide some with landweave evaluate --only; "
            "or set train.epochs=1 or more",
        )


def _answers(model: UPerFuseModel, part: str) -> bool:
    """Whether a part of `ABOVE` makes the answers; if not, it serves the branches in training."""
    if model.fuse is not None:
        return part.startswith("decoders.")
    return part.startswith(("answers.", "decoders.")) or (model.late and part.startswith("branches."))


class Translation:
    """The weights of a file under the names of a model; and what is to be said of them."""

    def __init__(
        self,
        model: UPerFuseModel,
        heads: Mapping[str, Head],
        given: Mapping[str, Tensor],
        orders: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.model, self.given, self.orders = model, given, orders
        self.own = model.state_dict()
        rows = {n: row for n, row in model.contract.streams.items() if n in model.encoders and row.bands != orders[n]}
        self.turned = {n: reading(model.encoders[n], len(row.bands)) for n, row in rows.items()}
        """The layer that reads the bands, of sensors whose bands stand in another order here."""
        self.state: dict[str, Tensor] = {}
        self.anew: set[str] = set()
        self.left: set[str] = set()
        self.wrong: list[str] = []
        self.notes: list[str] = []
        mains = list(dict.fromkeys(k.split(".")[1] for k in given if k.startswith("main_decoders.")))
        self.heads = {t: h if h.label in mains else Head(mains[0]) if mains else h for t, h in heads.items()}
        """Where the weights of each task are."""
        parts = {"encoders": self._encoder, "main_decoders": self._main, "aux_decoders": self._branch}
        for key, value in given.items():
            part, _, rest = key.partition(".")
            if part in parts:
                owner, _, name = rest.partition(".")
                parts[part](owner, name, value)
            elif part != "fusion_handler":
                self.wrong.append(f"{key} is unknown")
        self.left |= {s for p, s in SENSORS.items() if self._has(p) and s not in model.sensors}
        self._fusion()
        if not (model.pyramids or model.late or len(model.decoders)):
            for sensor in model.answers:
                self._alone(sensor, next(iter(self.heads.values())), theirs=not mains)

    def _has(self, part: str) -> bool:
        return any(k.startswith(f"encoders.{part}.") for k in self.given)

    def _encoder(self, part: str, name: str, value: Tensor) -> None:
        sensor = SENSORS.get(part, "")
        if sensor not in self.model.sensors:
            if not sensor:
                self.wrong.append(f"encoders.{part} is unknown")
            return
        inner = renamed(name, U_TAE) if sensor in self.model.series else name.removeprefix("seg_model.model.")
        if inner.startswith("layers."):
            if sensor in self.model.answers:
                self.state[f"answers.{sensor}.{inner}"] = value
            return
        if inner == "attention.project.weight":
            value = value.flatten(1)  # a convolution of one pixel there
        key = f"net.{inner}"
        if key == self.turned.get(sensor):
            value = self._in_our_order(sensor, value)
        self.state[f"encoders.{sensor}.{key}"] = value

    def _in_our_order(self, sensor: str, weight: Tensor) -> Tensor:
        """The layer that reads the bands, its columns as our bands stand."""
        order, bands = self.orders[sensor], self.model.contract.streams[sensor].bands
        if sorted(order) != sorted(bands) or weight.shape[1] != len(order):
            what = f"{weight.shape[1]} bands there ({listed(order, 10)})"
            self.wrong.append(f"encoders.{sensor}: {what}, {listed(bands, 10)} here")
            return weight
        return weight[:, [order.index(b) for b in bands]]

    def _main(self, label: str, name: str, value: Tensor) -> None:
        for task, head in self.heads.items():
            if head.label == label and len(self.model.decoders):
                self._decoder(f"decoders.{task}", head, name, value)

    def _branch(self, owner: str, name: str, value: Tensor) -> None:
        part, _, label = owner.partition("__")
        for task, head in self.heads.items():
            if head.label == label and SENSORS.get(part, "") in self.model.branches:
                self._decoder(f"branches.{SENSORS[part]}.{task}", head, name, value)

    def _decoder(self, place: str, head: Head, name: str, value: Tensor) -> None:
        inner = renamed(name.removeprefix("seg_model."), UPERNET)
        if inner.startswith(UNREAD) and f"{place}.{inner}" not in self.own:
            return
        if inner.startswith("last.") or "." not in inner:  # the layer of the classes
            if head.classes != len(value):
                self.anew.add(f"{place}.{inner}".rpartition(".")[0])
                return
            value = value[list(head.kept)]
        self.state[f"{place}.{inner}"] = value

    def _alone(self, sensor: str, head: Head, *, theirs: bool) -> None:
        """The logits of a series that nothing stands beside, which are the answer, for the classes that a task keeps.

        With as many layers here as there, they are rows of the last one. With one more here (`UTAE.hidden` has the 19
        classes of COSIA, which a legend of 15 makes a layer below its own) that one picks the classes it keeps out of
        the file's answers, and changes nothing of them. Where the last layer here is one further down there, what it
        has there is no answer.

        Args:
            sensor: which series.
            head: of the only task.
            theirs: whether the file's series answer for a single label, with no layer of several tasks above.
        """
        stem = f"answers.{sensor}.layers."
        there = {k: v for k, v in self.state.items() if k.startswith(stem)}
        last = max((_index(k) for k, v in there.items() if v.ndim == 4), default=0)
        here = {k: v for k, v in self.own.items() if k.startswith(stem)}
        own = max(_index(k) for k, v in here.items() if v.ndim == 4)
        rows = len(there.get(f"{stem}{last}.weight", ()))
        answers = theirs and rows == head.classes
        if answers and own == last:
            self.state.update({k: v[list(head.kept)] for k, v in there.items() if _index(k) >= last})
        elif answers and own == last + STEP and here[f"{stem}{own}.weight"].shape[1] == rows:
            self.state.update({k: _picking(k, v, head.kept) for k, v in here.items() if _index(k) >= own})
            self.notes.append(f"{stem}{own} picks {len(head.kept)} of the {rows} classes of the file")
        else:
            for key in there:
                if _index(key) >= own:
                    self.left.add(key.rpartition(".")[0])
                    del self.state[key]

    def _fusion(self) -> None:
        """The convolutions of the stages, their columns in our order, without those of sensors that the model lacks."""
        fuse = self.model.fuse
        if fuse is None or not len(fuse.narrow):
            if self.left & set(SENSORS.values()) and any(key.startswith("fusion_handler.") for key in self.given):
                self.left.add(FUSION)
            return
        for stage in fuse.narrow:
            weight = self.given.get(f"fusion_handler.conv_f.{int(stage) - MEETS}.weight")
            if weight is None:
                continue
            blocks, at = {}, 0
            for part, sensor in SENSORS.items():
                if self._has(part):
                    wide = self._width(part, int(stage), len(weight))
                    blocks[sensor] = weight[:, at : at + wide]
                    at += wide
            if at != weight.shape[1]:
                self.wrong.append(
                    f"fusion_handler.conv_f.{int(stage) - MEETS}: {weight.shape[1]} columns, {at} expected"
                )
                continue
            columns = [blocks[n] for n in fuse.channels if n in blocks]
            if fuse.settings.flags:
                columns.append(weight.new_zeros(len(weight), len(fuse.channels), 1, 1))
            self.state[f"fuse.narrow.{stage}.weight"] = torch.cat(columns, 1)
            self.state[f"fuse.narrow.{stage}.bias"] = self.given[f"fusion_handler.conv_f.{int(stage) - MEETS}.bias"]

    def _width(self, part: str, stage: int, pyramid: int) -> int:
        """Channels of a sensor at a stage: those of the pyramid, or of the map of a series that joins it."""
        ends = ["temporal_encoder.mlp.1.weight", *(f"up_blocks.{i}.up.1.weight" for i in range(3))]
        maps = [len(self.given[k]) for e in ends if (k := f"encoders.{part}.{e}") in self.given]
        return paired(maps)[stage - MEETS] if maps else pyramid


def _index(key: str) -> int:
    """Which layer of an `Answer` a weight is of."""
    return int(key.split(".layers.")[1].partition(".")[0])


def _picking(key: str, own: Tensor, kept: Sequence[int]) -> Tensor:
    """A weight of a convolution, and of the norm behind it, that pass some of their inputs on as they are."""
    out = torch.zeros_like(own)
    if own.ndim == 4:
        out[range(len(kept)), list(kept), own.shape[2] // 2, own.shape[3] // 2] = 1
    elif key.endswith("running_var"):
        out += 1 - BatchNorm(1).eps
    elif key.endswith(".weight"):
        out += 1
    return out


def reading(encoder: nn.Module, bands: int) -> str:
    """The name of the weights that read the bands: those of the first convolution of an encoder.

    Raises:
        ConfigError: the first convolution reads something else, so that nothing is known of the order of its columns.
    """
    name, wide = next(((n, m.in_channels) for n, m in encoder.named_modules() if isinstance(m, nn.Conv2d)), ("", 0))
    if wide != bands:
        raise ConfigError(
            f"its first convolution reads {wide} channels, and the images have {bands} bands",
            where="method.encoder",
            fix="name the backbone that the file has, without band_mask",
        )
    return f"{name}.weight"


def resized(table: Tensor, positions: int) -> Tensor:
    """The relative position table of a Swin block of another window, bicubically (as the official code does it)."""
    old, new = round(len(table) ** 0.5), round(positions**0.5)
    if len(table) == positions or old * old != len(table) or new * new != positions:
        return table
    square = table.T.reshape(1, -1, old, old)
    large = F.interpolate(square, size=(new, new), mode="bicubic", align_corners=False)
    return large.reshape(-1, positions).T.contiguous()


def read_released(file: Path) -> dict[str, Tensor]:
    """The weights of a file by their official names. Nothing but plain data is read from it.

    Raises:
        RunError: not readable, not plain, without a part of UPerFuse, or with another decoder than UPerNet.
    """
    held = content(file)
    state = held.get("state_dict", held)
    if not isinstance(state, Mapping):
        raise RunError("its `state_dict` holds no weights", where=file, fix="give a released file of FLAIR-HUB")
    found = {
        str(key).removeprefix(PREFIX): value.float() if value.is_floating_point() else value
        for key, value in state.items()
        if isinstance(value, Tensor) and not str(key).startswith(BESIDE) and not str(key).endswith(BUFFERS)
    }
    if not any(k.startswith("encoders.") for k in found):
        raise RunError(
            f"it has no `{PREFIX}encoders.*`, but {listed([str(k) for k in state], 3)}",
            where=file,
            fix="give a released file of FLAIR-HUB",
        )
    bodies = [k for k in found if k.startswith("main_decoders.") and ".seg_model.decoder." in k]
    if bodies and not any(".seg_model.decoder.psp." in k for k in bodies):
        raise RunError(f"its decoder is no UPerNet; {UNETS} are not supported here", where=file, fix=f"give {UPERNETS}")
    return found
