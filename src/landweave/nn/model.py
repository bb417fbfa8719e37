"""The whole network: cubes of several sensors in physical units in, logits out.

    SceneModel   encoder a sensor -> features h -> fusion -> head (linear, or MLP)   logits B K
                  └-> last map           └-> projection heads -> embeddings z         (contrastive methods)
    MapModel     encoder a sensor -> pyramids of maps -> fusion a stage -> decoder    logits B K H W

A model holds its data contract and normalises by it, so that nobody can feed it numbers of another scale.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor, nn

from landweave.contract import Contract
from landweave.errors import ConfigError, ContractError
from landweave.nn.absent import MeanFeatures
from landweave.nn.config import Decoder, Early, Encoder, Fusion, Head, Linear, Projection
from landweave.nn.decoders import MapHead, stages_of
from landweave.nn.encoders import Form, StreamEncoder, up
from landweave.nn.fill import Levels
from landweave.nn.fusion import FuseMaps, stack_sensors
from landweave.nn.heads import ProjectionHead, answering
from landweave.nn.vectors import fuse_vectors
from landweave.nn.weights import load_each
from landweave.sample import Batch, Image
from landweave.transforms import normalise

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Values = dict[str, Tensor]
Marks = dict[str, Tensor]

EARLY = "early"
"""The name under which the one encoder of early fusion stands, where otherwise a sensor's name does."""


@dataclass(frozen=True)
class Outputs:
    """What a forward pass gives. `seen` says at which places a sensor had anything to encode.

    `embeddings` are by projection head, then by sensor; `maps` are the last feature maps that the features are
    pooled from, date-averaged as these are. Each is empty unless the model was made to give it, and 0 at the places
    where the sensor is not seen.

    `by_task` are the logits of every task of a model of several, the first of them `logits`; `auxiliary` are those of
    the branches that see one sensor alone, by sensor and task, on a grid of the sensor's own: 0 where it is not seen,
    which `seen` says and a loss should leave out.
    """

    logits: Float[Tensor, "B K *HW"]
    features: dict[str, Float[Tensor, "B D"]]
    seen: dict[str, Bool[Tensor, " B"]]
    embeddings: dict[str, dict[str, Float[Tensor, "B P"]]] = field(default_factory=dict)
    maps: dict[str, Float[Tensor, "B C h w"]] = field(default_factory=dict)
    by_task: dict[str, Float[Tensor, "B K H W"]] = field(default_factory=dict)
    auxiliary: dict[str, dict[str, Float[Tensor, "B K h w"]]] = field(default_factory=dict)


class Part(NamedTuple):
    """Numbers of the places of a batch, and at which of them they mean anything."""

    value: Float[Tensor, "B D *HW"]
    seen: Bool[Tensor, " B"]


@dataclass(frozen=True)
class Targets:
    """What a student may be matched on with its teacher.

    `pooled` is the fused vector that a scene model's head reads; of a map model the spatial mean of the coarsest fused
    map. `embeddings` are by projection head, then by sensor. `maps` are what a map model's decoder reads, by the
    share of the pixels that they have (`4` is 1/4 a side), or the last map of each sensor of a scene model.
    """

    pooled: Part
    embeddings: dict[str, dict[str, Part]]
    maps: dict[str, Part]

    @property
    def parts(self) -> Iterator[Part]:
        """All of them."""
        yield self.pooled
        for by_sensor in self.embeddings.values():
            yield from by_sensor.values()
        yield from self.maps.values()


class Frozen:
    """A model beside another, held as it is: none of its weights, of its state, and deaf to `train()` and `to()`."""

    def __init__(self, model: Model) -> None:
        self._model = model.requires_grad_(False).eval()

    def beside(self, model: Model) -> Model:
        """The frozen model, in eval mode, on the device of the other."""
        device = next(model.parameters()).device
        if next(self._model.parameters()).device != device:
            self._model = self._model.to(device)
        return self._model


class Model(nn.Module, abc.ABC):
    """What both kinds of model share. Weights are stored channels-last, which convolutions run faster on."""

    means: MeanFeatures
    teacher: Frozen | None = None
    """Who shows a student what to give; of methods that have one, in training only."""

    def __init__(
        self,
        contract: Contract,
        encoder: Encoder,
        fusion: Fusion,
        *,
        form: Form,
        others: Mapping[str, nn.Module] | None = None,
    ) -> None:
        """Build a backbone for each sensor; those of `others`, by sensor, are there already."""
        super().__init__()
        self.contract = contract
        self.sensors = tuple(sorted(contract.streams))
        sizes = {n: contract.streams[n].size for n in self.sensors}
        self.largest = max(self.sensors, key=lambda n: sizes[n][0] * sizes[n][1])
        self.early = isinstance(fusion, Early)
        bands = {n: len(contract.streams[n].bands) for n in self.sensors}
        if self.early:
            bands, sizes = {EARLY: sum(bands.values())}, {EARLY: sizes[self.largest]}
        self.frozen = False
        """Whether the encoders are held as they are."""
        made = others or {}
        self.encoders = nn.ModuleDict(
            {
                n: made[n]
                if n in made
                else StreamEncoder(encoder, bands=bands[n], size=sizes[n], form=form, levels=self._levels(n))
                for n in bands
            }
        )

    def _levels(self, name: str) -> Levels:
        """The statistics of the bands that an encoder reads, in their order; early fusion stacks sensors by name."""
        return Levels.of([self.contract.streams[n] for n in (self.sensors if name == EARLY else [name])])

    @property
    def by_name(self) -> dict[str, StreamEncoder]:
        """The backbones by sensor (`early` for early fusion)."""
        return {n: e for n, e in self.encoders.items() if isinstance(e, StreamEncoder)}

    @abc.abstractmethod
    def forward(self, batch: Batch) -> Outputs:
        """Everything at once.

        Args:
            batch: cubes as `landweave.transforms.cubes` makes them, in physical units.

        Raises:
            ContractError: a sensor of the contract is not in the batch (an absent one must be there as unseen).
        """

    @abc.abstractmethod
    def features(self, batch: Batch) -> dict[str, Float[Tensor, "B D"]]:
        """Features by sensor (`early` for early fusion), without fusing them; 0 where the sensor is not seen."""

    @abc.abstractmethod
    def targets(self, batch: Batch) -> Targets:
        """What stands right below the head or the decoder, float32, without running it."""

    def logits(self, batch: Batch) -> Float[Tensor, "B K *HW"]:
        """Logits, float32: B K, or B K H W on the grid of the sensor with the most pixels."""
        out: Outputs = self(batch)
        return out.logits

    @property
    def mean_features(self) -> dict[str, Float[Tensor, " D"]]:
        """The mean of `features` over the training places: stands for absent sensors in `concat` fusion."""
        return dict(self.means.named_buffers())

    def set_mean_features(self, means: Mapping[str, Float[Tensor, " D"]]) -> None:
        """Set `mean_features`, at the end of training.

        Raises:
            ValueError: other sensors, or another length.
        """
        self.means.set(means)

    def freeze_encoders(self) -> None:
        """Hold the encoders as they are from now on: no gradient, no dropout, no batch norm that moves.

        They stay in eval mode whatever `train()` says; the fusion and the heads go on learning (a linear probe).
        """
        self.frozen = True
        for p in self.encoders.parameters():
            p.requires_grad_(False)
            p.grad = None
        self.encoders.eval()

    def train(self, mode: bool = True) -> Self:
        """As torch's, but frozen encoders stay in eval mode."""
        super().train(mode)
        if self.frozen:
            self.encoders.eval()
        return self

    def encoder_state(self) -> dict[str, Tensor]:
        """The encoders' weights and statistics by name, each name led by its sensor's: `s2-l2a.net.conv1.weight`."""
        return dict(self.encoders.state_dict())

    def load_encoders(self, state: Mapping[str, Tensor], where: str) -> None:
        """Take the encoders of another model; all of them, or none if one does not fit.

        Sensors that only the other model has are left there.

        Args:
            state: the other model's `encoder_state()`, or its whole `state_dict()`.
            where: where it is from, for errors.

        Raises:
            ContractError: a sensor of this model is lacking, or has another number of bands.
            RunError: the weights are of another backbone.
        """
        load_each(dict(self.encoders.items()), state, where)

    def _images(self, batch: Batch) -> dict[str, Image]:
        """The normalised image that each encoder reads."""
        self._require(batch)
        with torch.autocast(batch.images[self.sensors[0]].data.device.type, enabled=False):
            images = normalise(batch, self.contract).images
            return {EARLY: stack_sensors(images, finest(images))} if self.early else images

    def _require(self, batch: Batch) -> None:
        """Refuse a batch that lacks a sensor of the contract."""
        lacking = [n for n in self.sensors if n not in batch.images]
        if lacking:
            raise ContractError(
                f"the batch has no {', '.join(lacking)}; it has {', '.join(sorted(batch.images)) or 'no image'}",
                where="model",
                fix="pass the batch through landweave.transforms.cubes(batch, contract)",
            )


def finest(images: Mapping[str, Image]) -> str:
    """The sensor with the most pixels, seen or not (`cubes` sizes what is not), the first of them by name.

    Were it the finest of those seen in a batch, the answer at a place would depend on its neighbours.
    """
    sizes = {n: images[n].data.shape[-2] * images[n].data.shape[-1] for n in sorted(images)}
    return max(sizes, key=lambda n: sizes[n])


def any_of(seen: Marks) -> Bool[Tensor, " B"]:
    """Places at which any sensor is seen."""
    return torch.stack(list(seen.values())).any(0)


class SceneModel(Model):
    """One answer a place: class scores B K from the fused features of the sensors.

    Args:
        contract: sensors, bands, units and statistics of the inputs.
        encoder: the backbone of each sensor.
        fusion: how features of several sensors become one vector.
        classes: K.
        head: from that vector to the classes; linear by default.
        heads: projection heads by name; each of them is one a sensor.
        maps: give `Outputs.maps` too.

    Raises:
        ConfigError: a backbone, size or fusion that does not go together.
    """

    def __init__(
        self,
        contract: Contract,
        encoder: Encoder,
        fusion: Fusion,
        *,
        classes: int,
        head: Head | None = None,
        heads: Mapping[str, Projection] | None = None,
        maps: bool = False,
    ) -> None:
        super().__init__(contract, encoder, fusion, form="map" if maps else "vector")
        widths = {n: e.widths[0] for n, e in self.by_name.items()}
        self.means = MeanFeatures(widths)
        self.fuse = fuse_vectors(fusion, widths, self.means)
        self.head = answering(head or Linear(), width=self.fuse.width, classes=classes)
        self.projections = _projections(heads or {}, widths)

    def forward(self, batch: Batch) -> Outputs:
        """See `Model.forward`; logits are B K."""
        seen, features, maps, fused = self._fused(batch)
        return Outputs(self.head(fused).float(), features, seen, self._embeddings(features, seen), maps)

    def targets(self, batch: Batch) -> Targets:
        """See `Model.targets`."""
        seen, features, maps, fused = self._fused(batch)
        embeddings = self._embeddings(features, seen)
        return Targets(
            Part(fused.float(), any_of(seen)),
            {head: {n: Part(z, seen[n]) for n, z in by_sensor.items()} for head, by_sensor in embeddings.items()},
            {n: Part(f, seen[n]) for n, f in maps.items()},
        )

    def _fused(self, batch: Batch) -> tuple[Marks, Values, Values, Float[Tensor, "B D2"]]:
        """What is seen, the features, the last maps (if the model gives them), and the fused vector."""
        images = self._images(batch)
        seen = {n: images[n].sensor_seen for n in self.encoders}
        found = {n: [f.float() for f in e(images[n])] for n, e in self.by_name.items()}
        features = {n: f[0] for n, f in found.items()}
        return seen, features, {n: f[1] for n, f in found.items() if len(f) > 1}, self.fuse(features, seen)

    def _embeddings(self, features: Values, seen: Marks) -> dict[str, Values]:
        return {
            head: {n: project(features[n], seen[n]) for n, project in by_sensor.items()}
            for head, by_sensor in self._heads.items()
        }

    def features(self, batch: Batch) -> dict[str, Float[Tensor, "B D"]]:
        """See `Model.features`."""
        images = self._images(batch)
        return {n: e(images[n])[0].float() for n, e in self.by_name.items()}

    @property
    def _heads(self) -> dict[str, nn.ModuleDict]:
        return {name: heads for name, heads in self.projections.items() if isinstance(heads, nn.ModuleDict)}


def _projections(heads: Mapping[str, Projection], widths: Mapping[str, int]) -> nn.ModuleDict:
    """Projection heads by name and sensor, made in the order of the names."""
    made = nn.ModuleDict()
    for name in sorted(heads):
        try:
            made[name] = nn.ModuleDict({n: ProjectionHead(heads[name], width=w) for n, w in widths.items()})
        except KeyError as error:
            raise ConfigError(
                f"torch allows no head of the name `{name}`: {error.args[0]}",
                where="method.heads",
                fix="choose another name",
            ) from None
    return made


class MapModel(Model):
    """One answer a pixel: class scores B K H W on the grid of the sensor with the most pixels, for any H and W.

    Sensors of other pixel sizes are laid on the same area. `features` are the spatial means of all stages, one
    after the other.

    Args:
        contract: sensors, bands, units and statistics of the inputs; `size` tells the finest sensor.
        encoder: the backbone of each sensor.
        fusion: how the maps of several sensors become one pyramid.
        decoder: from the pyramid to a map.
        classes: K.

    Raises:
        ConfigError: a backbone, size or fusion that does not go together.
    """

    def __init__(self, contract: Contract, encoder: Encoder, fusion: Fusion, *, decoder: Decoder, classes: int) -> None:
        super().__init__(contract, encoder, fusion, form="pyramid")
        channels = {n: list(e.widths) for n, e in self.by_name.items()}
        self.means = MeanFeatures({n: sum(widths) for n, widths in channels.items()})
        self.fuse = FuseMaps(fusion, channels, self.means, stages=stages_of(decoder))
        self.head = MapHead(decoder, channels=self.fuse.widths, classes=classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> Outputs:
        """See `Model.forward`; logits are B K H W."""
        images = self._images(batch)
        H, W = images[finest(images)].data.shape[-2:]
        seen, maps, fused = self._fused(images)
        logits = self.head(fused, (up(H), up(W)))[..., :H, :W]
        return Outputs(logits, _spatial_means(maps), seen)

    def targets(self, batch: Batch) -> Targets:
        """See `Model.targets`."""
        seen, _, fused = self._fused(self._images(batch))
        where = any_of(seen)
        maps = {name: Part(fused[i].float(), where) for name, i in self.read.items()}
        return Targets(Part(fused[-1].float().mean((2, 3)), where), {}, maps)

    @property
    def read(self) -> dict[str, int]:
        """The stages that the decoder reads, by name (`4`: 1/4 of the pixels a side), as places in a pyramid."""
        return {str(2 ** (i + 1)): i for i in self.fuse.stages if self.fuse.widths[i]}

    def _fused(self, images: Mapping[str, Image]) -> tuple[Marks, dict[str, list[Tensor]], list[Tensor]]:
        """What is seen, the pyramid of each sensor, and the fused one."""
        seen = {n: images[n].sensor_seen for n in self.encoders}
        maps = self._maps(images)
        return seen, maps, self.fuse(maps, seen, reference=finest(images))

    def features(self, batch: Batch) -> dict[str, Float[Tensor, "B D"]]:
        """See `Model.features`."""
        return _spatial_means(self._maps(self._images(batch)))

    def _maps(self, images: Mapping[str, Image]) -> dict[str, list[Float[Tensor, "B D H W"]]]:
        H, W = images[finest(images)].data.shape[-2:]
        extent = (up(H) / H, up(W) / W)
        return {n: e(images[n], extent=extent) for n, e in self.by_name.items()}


def _spatial_means(maps: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {n: torch.cat([f.float().mean((2, 3)) for f in pyramid], 1) for n, pyramid in maps.items()}
