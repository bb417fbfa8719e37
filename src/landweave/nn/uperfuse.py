"""UPerFuse (FLAIR-HUB, section V): sensors of one date and series, of any pixel sizes, to maps of one or more tasks.

    sensor of one date ── backbone ── maps of 1/4 ... 1/32 ──┐
    series ────────────── U-TAE ───── four maps ─────────────┴─ fusion a stage ── a decoder a task   logits B K H W
                                                                └ auxiliary: a decoder a sensor and task

Any subset of the sensors may be there at a place: something stands in the maps of an absent one (`Stages.absent`), and
what is trained with sensor dropout serves any subset of its sensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from landweave.contract import Contract
from landweave.errors import ConfigError, did_you_mean, listed
from landweave.nn.absent import MeanFeatures, at_seen, mean_of_seen
from landweave.nn.circumstances import Told
from landweave.nn.config import UTAE, Circumstances, Decoder, Early, Encoder, Fusion, Late, Series, Stages
from landweave.nn.decoders import MapHead, stages_of
from landweave.nn.encoders import StreamEncoder, resize, up
from landweave.nn.fill import Levels
from landweave.nn.model import Marks, Model, Outputs, Part, Targets, Values, any_of, finest
from landweave.nn.series import SeriesEncoder
from landweave.nn.stages import FuseByStage, FuseLogits, laid
from landweave.nn.utae import Answer
from landweave.sample import Batch, Image
from landweave.transforms import normalise

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Maps = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Read:
    """What the encoders made of a batch.

    `maps` are by sensor: a pyramid, laid on an area of `extent` times the images' height and width, or the maps of a
    series, of the label's ground alone. `sizes` (H, W) are those of the images on that ground, the one of `reference`
    that of the answer. `logits` are those of series, for all tasks side by side, where anybody wants them.
    """

    maps: Maps
    seen: Marks
    sizes: dict[str, tuple[int, int]]
    reference: str
    extent: tuple[float, float]
    logits: Values


class UPerFuseModel(Model):
    """Logits of every task in one forward pass, on the grid of the sensor of one date with the most pixels.

    A sensor is a series where its contract says so (`StreamContract.series`) and `series` is `utae`. All others go
    through a backbone, whose maps of several dates are averaged. Series alone need no decoder: the answer is the mean
    of their logits, through one more 1 x 1 convolution a task where there are several (as published).

    Args:
        contract: sensors, bands, units and statistics of the inputs; `size` tells the finest sensor.
        encoder: the backbone of each sensor of one date.
        series: what reads each series.
        fusion: `stages`, `late` or `early`.
        decoder: from a pyramid to a map.
        classes: how many, by task; the first is the main one.
        auxiliary: sensors with a branch of their own for each task, for a loss in training.
        circumstances: what the network is told of when and where, beside the images.

    Raises:
        ConfigError: a backbone, size, fusion or branch that does not go together.
    """

    def __init__(
        self,
        contract: Contract,
        encoder: Encoder,
        series: Series,
        *,
        fusion: Fusion,
        decoder: Decoder,
        classes: Mapping[str, int],
        auxiliary: Sequence[str] = (),
        circumstances: Circumstances | None = None,
    ) -> None:
        _require(contract, fusion, auxiliary)
        others = {} if isinstance(fusion, Early) else _of_series(contract, series, encoder)
        super().__init__(contract, encoder, fusion, form="pyramid", others=others)
        self.tasks = dict(classes)
        self.series = tuple(n for n, e in self.encoders.items() if isinstance(e, SeriesEncoder))
        """Sensors that U-TAE reads."""
        self.pyramids = tuple(self.by_name)
        """Sensors with a pyramid of maps (`early` for early fusion)."""
        self.references = tuple(n for n in self.pyramids if n not in others) or self.pyramids
        """Sensors on whose grid the answer may be."""
        channels = {n: list(e.widths) for n, e in self.encoders.items() if isinstance(e, SeriesEncoder | StreamEncoder)}
        self.means = MeanFeatures({n: sum(w) for n, w in channels.items()})
        self.auxiliary, self.late = tuple(auxiliary), isinstance(fusion, Late)
        total, alone = sum(classes.values()), not self.pyramids
        branches = tuple(channels) if self.late else self.auxiliary
        self.answers = nn.ModuleDict()
        if isinstance(series, UTAE):
            needed = [n for n in self.series if n in branches or alone]
            self.answers.update({n: Answer(series, channels=channels[n][-1], classes=total) for n in needed})
        self.branches = nn.ModuleDict(
            {n: self._heads(decoder, None if n in self.series else channels[n]) for n in branches}
        )
        self.fuse = None if self.late or alone else self._stages(fusion, decoder, channels)
        self.decoders = nn.ModuleDict()
        if self.fuse is not None or (alone and len(self.tasks) > 1 and not self.late):
            self.decoders = self._heads(decoder, self.fuse.widths if self.fuse else None)
        self.merge = nn.ModuleDict()
        if isinstance(fusion, Late):
            self.merge.update({t: FuseLogits(list(channels), weighted=fusion.weighted) for t in self.tasks})
        self.told = self._told(circumstances or Circumstances())
        self.to(memory_format=torch.channels_last)

    def _heads(self, decoder: Decoder, channels: Sequence[int] | None) -> nn.ModuleDict:
        """A decoder a task; of logits of all tasks (no channels) a 1 x 1 convolution a task."""
        total = sum(self.tasks.values())
        return nn.ModuleDict(
            {
                t: nn.Conv2d(total, k, 1) if channels is None else MapHead(decoder, channels=channels, classes=k)
                for t, k in self.tasks.items()
            }
        )

    def _stages(self, fusion: Fusion, decoder: Decoder, channels: dict[str, list[int]]) -> FuseByStage:
        """The fusion of maps; of early fusion, whose one pyramid passes as it is, nothing but a name for it."""
        first = [*self.references, *(n for n in self.pyramids if n not in self.references)]
        return FuseByStage(
            fusion if isinstance(fusion, Stages) else Stages(),
            {n: channels[n] for n in first},
            {n: channels[n] for n in self.series},
            means=self.means,
            stages=stages_of(decoder),
        )

    def _told(self, settings: Circumstances) -> Told | None:
        if not settings.any:
            return None
        if self.fuse is None:
            raise ConfigError(
                "dates and place are added to fused maps, and here there are none",
                where="method.circumstances",
                fix="choose method.fusion.kind=stages and a sensor of one date, or leave both out",
            )
        dated = self.sensors if self.early else self.references
        return Told(settings, sensors=dated, widths=[self.fuse.widths[i] for i in self.fuse.stages])

    def forward(self, batch: Batch) -> Outputs:
        """See `Model.forward`; `logits` are those of the first task, `by_task` those of all."""
        read = self._read(batch, alone=True)
        branches = {n: self._branch(n, read) for n in self.branches}
        by_task = self._answers(read, batch, branches)
        auxiliary = {n: branches[n] for n in self.auxiliary}
        return Outputs(next(iter(by_task.values())), _means(read.maps), read.seen, by_task=by_task, auxiliary=auxiliary)

    def answer(self, batch: Batch) -> dict[str, Float[Tensor, "B K H W"]]:
        """Logits by task, float32, without the branches that serve training alone."""
        read = self._read(batch, alone=self.fuse is None)
        return self._answers(read, batch, {n: self._branch(n, read) for n in self.branches} if self.late else {})

    def logits(self, batch: Batch) -> Float[Tensor, "B K H W"]:
        """Logits of the first task. See `Model.logits`."""
        return next(iter(self.answer(batch).values()))

    def features(self, batch: Batch) -> dict[str, Float[Tensor, "B D"]]:
        """Spatial means of all maps of a sensor, one after the other. See `Model.features`."""
        return _means(self._read(batch, alone=False).maps)

    def targets(self, batch: Batch) -> Targets:
        """See `Model.targets`; where no maps are fused, the logits of the first task stand for them."""
        if self.fuse is None:
            logits = self.logits(batch)
            where = any_of({n: batch.images[n].sensor_seen for n in self.sensors})
            return Targets(Part(logits.mean((2, 3)), where), {}, {"1": Part(logits, where)})
        read = self._read(batch, alone=False)
        fused, where = self._fused(read, batch), any_of(read.seen)
        maps = {str(2 ** (i + 1)): Part(fused[i].float(), where) for i in self.fuse.stages if self.fuse.widths[i]}
        return Targets(Part(fused[-1].float().mean((2, 3)), where), {}, maps)

    def counted_parameters(self) -> int:
        """Weights as FLAIR-HUB's tables X, XIV and XVIII count them: all but those of the fusion.

        Their figures are encoders, a decoder a task, and an auxiliary decoder a task and sensor of one date.
        """
        besides = [m for m in (self.fuse, self.merge, self.told) if m is not None]
        fused = {id(p) for m in besides for p in m.parameters()}
        return sum(p.numel() for p in self.parameters() if id(p) not in fused)

    def _read(self, batch: Batch, *, alone: bool) -> Read:
        """Run the encoders; `alone`: and what makes logits of a single series."""
        images = self._images(batch)
        sizes = {n: self._ground(n, image) for n, image in images.items()}
        reference = finest(images if self.early else {n: images[n] for n in self.references or self.series})
        H, W = sizes[reference]
        extent = (up(H) / H, up(W) / W) if self.pyramids else (1.0, 1.0)
        maps: Maps = {}
        for name, encoder in self.encoders.items():
            maps[name] = encoder(images[name], extent=extent) if name in self.pyramids else encoder(images[name])
        seen = {n: images[n].sensor_seen for n in maps}
        logits = {n: self._common(n, maps[n], seen[n]) for n in self.answers} if alone else {}
        return Read(maps, seen, sizes, reference, extent, logits)

    def _ground(self, name: str, image: Image) -> tuple[int, int]:
        """Height and width of an image on the label's ground."""
        H, W = image.data.shape[-2:]
        context = self.contract.streams[name].context if name in self.series else 1.0
        return max(1, round(H / context)), max(1, round(W / context))

    def _images(self, batch: Batch) -> dict[str, Image]:
        """The image that each encoder reads: normalised, but for a series in its unit."""
        if not self.series:
            return super()._images(batch)
        self._require(batch)
        dated = {n: batch.images[n] for n in self.pyramids}
        with torch.autocast(batch.images[self.sensors[0]].data.device.type, enabled=False):
            images = normalise(replace(batch, images=dated), self.contract).images
        return images | {n: batch.images[n] for n in self.series}

    def _fused(self, read: Read, batch: Batch) -> list[Float[Tensor, "B D H W"]]:
        """The fused pyramid."""
        assert self.fuse is not None
        fused = self.fuse(read.maps, read.seen, reference=read.reference, extent=read.extent)
        if self.told is not None:
            for stage, more in zip(self.fuse.stages, self.told(batch), strict=True):
                fused[stage] = fused[stage] + more
        return list(fused)

    def _answers(
        self, read: Read, batch: Batch, branches: Mapping[str, Mapping[str, Tensor]]
    ) -> dict[str, Float[Tensor, "B K H W"]]:
        """Logits of each task."""
        H, W = read.sizes[read.reference]
        if self.fuse is not None:
            fused = self._fused(read, batch)
            return {t: head(fused, (up(H), up(W)))[..., :H, :W] for t, head in self.decoders.items()}
        if self.late:
            seen = [read.seen[n] for n in branches]
            return {
                t: merge([resize(b[t], (H, W)) for b in branches.values()], seen) for t, merge in self.merge.items()
            }
        mean = mean_of_seen([resize(f, (H, W)) for f in read.logits.values()], [read.seen[n] for n in read.logits])
        return {t: self.decoders[t](mean).float() if len(self.decoders) else mean for t in self.tasks}

    def _branch(self, name: str, read: Read) -> dict[str, Float[Tensor, "B K h w"]]:
        """Logits of each task from one sensor alone, on its own grid; 0 where it is not seen."""
        heads = self.branches[name]
        assert isinstance(heads, nn.ModuleDict)
        if name in self.series:
            found = at_seen(
                heads, lambda x: [h(x[0]).float() for h in heads.values()], [read.logits[name]], read.seen[name]
            )
            return dict(zip(heads, found, strict=True))
        (h, w), (a, b) = read.sizes[name], read.extent
        size = (up(h * a), up(w * b))
        found = at_seen(heads, lambda x: [head(x, size) for head in heads.values()], read.maps[name], read.seen[name])
        return {t: laid(f, (1 / a, 1 / b), (h, w)) for t, f in zip(heads, found, strict=True)}

    def _common(
        self, name: str, maps: list[Float[Tensor, "B D h w"]], seen: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B K h w"]:
        """Logits of a series for all tasks side by side; 0 where it is not seen."""
        answer = self.answers[name]
        return at_seen(answer, lambda part: [answer(part[0])], [maps[-1]], seen)[0]


def _require(contract: Contract, fusion: Fusion, auxiliary: Sequence[str]) -> None:
    """Refuse what does not go together, before anything is built."""
    if not isinstance(fusion, Stages | Late | Early):
        raise ConfigError(
            f"UPerFuse fuses by stage, early or late, not by {fusion.kind}",
            where="method.fusion.kind",
            fix="choose stages, early or late",
        )
    unknown = [n for n in auxiliary if n not in contract.streams]
    if unknown:
        raise ConfigError(
            f"an auxiliary branch of {unknown[0]}{did_you_mean(unknown[0], list(contract.streams))}, which is not read",
            where="method.auxiliary",
            fix=f"choose of {listed(sorted(contract.streams))}",
        )
    if isinstance(fusion, Early) and auxiliary:
        raise ConfigError(
            "early fusion has no branch of a single sensor",
            where="method.auxiliary",
            fix="leave it out, or choose method.fusion.kind=stages",
        )
    wide = [n for n, row in contract.streams.items() if row.context != 1]
    if isinstance(fusion, Early) and wide:
        raise ConfigError(
            f"early fusion lays all sensors on one grid, and {wide[0]} reaches beyond the label",
            where="method.fusion.kind",
            fix="set data.context=1, or choose method.fusion.kind=stages",
        )


def _of_series(contract: Contract, series: Series, encoder: Encoder) -> dict[str, nn.Module]:
    """An encoder for each sensor that is a series."""
    rows = {n: contract.streams[n] for n in sorted(contract.streams) if contract.streams[n].series}
    if isinstance(series, UTAE):
        beside = len(rows) < len(contract.streams)
        return {n: SeriesEncoder(series, row=row, beside=beside) for n, row in rows.items()}
    wide = [n for n, row in rows.items() if row.context != 1]
    if wide:
        raise ConfigError(
            f"{wide[0]} reaches beyond the label, which only U-TAE can read",
            where="method.series.kind",
            fix="set data.context=1, or method.series.kind=utae",
        )
    settings = series.encoder or encoder
    return {
        n: StreamEncoder(settings, bands=len(row.bands), size=row.size, form="pyramid", levels=Levels.of([row]))
        for n, row in rows.items()
    }


def _means(maps: Maps) -> Values:
    return {n: torch.cat([f.float().mean((2, 3)) for f in of_sensor], 1) for n, of_sensor in maps.items()}
