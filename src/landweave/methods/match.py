"""What a student is matched on with its teacher: named terms, each a loss on what stands below the head."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from landweave.config import Config
from landweave.errors import ConfigError, did_you_mean, listed

if TYPE_CHECKING:
    from typing import Self

    from jaxtyping import Float
    from torch import Tensor

    from landweave.nn.model import Part, Targets

SCALE = math.exp(2.8952996730804443)
"""1 / temperature of the contrast, constant (Petcu 2024, section 3.3.1): where SatCLIP's learned one had ended."""

Stage = Literal[2, 4, 8, 16, 32]


class MatchConfig(Config, abc.ABC):
    """What every term has.

    `pooled` is the fused vector that a scene head reads (of a segmentation the mean of its coarsest map);
    `projection` the embedding of each sensor below a projection head; `maps` what the decoder of a segmentation reads,
    stage by stage, or of a scene model the last map of each sensor. Places at which the teacher or the student sees
    nothing of a sensor do not count for it.
    """

    weight: float = Field(1.0, ge=0, description="its share of the loss; 0 leaves it out")
    on: Literal["pooled", "projection", "maps"] = "pooled"
    head: str = Field("", description="of on=projection, the projection head; the only one by default")
    stages: tuple[Stage, ...] = Field(
        (), description="of on=maps in a segmentation: 4 is the map of 1/4 of the pixels a side; by default all"
    )

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, given: Any) -> Any:
        """YAML 1.1 reads the bare word `on` as true."""
        return {"on" if k is True else k: v for k, v in given.items()} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _of_what(self) -> Self:
        if self.stages and self.on != "maps":
            raise ValueError(f"stages are of on=maps, and this is on={self.on}")
        if self.head and self.on != "projection":
            raise ValueError(f"head is of on=projection, and this is on={self.on}")
        return self

    def reading(self) -> str:
        """The term as one line: `1 x mse of maps 1/4, 1/32`."""
        own = self.model_dump()
        stages = f" {listed([f'1/{s}' for s in self.stages])}" if self.stages else ""
        at = f" at temperature {own['temperature']:.4g}" if "temperature" in own else ""
        return f"{self.weight:g} x {own['kind']} of {self.on}{stages}{at}"

    def values(self, students: Sequence[Targets], teacher: Targets) -> dict[str, Float[Tensor, ""]]:
        """The parts of the term by name (one a sensor or a stage), before the weight; the term is their mean.

        Args:
            students: what the student makes of each faulty image of the places.
            teacher: what the teacher makes of the complete ones.
        """
        found = {}
        for name, goal in self._parts(teacher).items():
            mine = [self._parts(s)[name] for s in students]
            rows = goal.seen
            for part in mine:
                rows = rows & part.seen
            found[name] = self._value([p.value[rows] for p in mine], goal.value[rows])
        return found

    @abc.abstractmethod
    def _value(self, students: Sequence[Float[Tensor, "N C *HW"]], teacher: Float[Tensor, "N C *HW"]) -> Tensor:
        """The loss of the rows of some places, for each faulty image of them."""

    def _parts(self, found: Targets) -> dict[str, Part]:
        if self.on == "pooled":
            return {"": found.pooled}
        if self.on == "projection":
            return found.embeddings[self.head or next(iter(found.embeddings))]
        return {n: part for n, part in found.maps.items() if not self.stages or n in map(str, self.stages)}

    def fit(self, heads: Sequence[str], maps: Sequence[str], where: str) -> None:
        """Refuse what a model does not give.

        Args:
            heads: its projection heads.
            maps: the names of its maps.
            where: the key of the term.

        Raises:
            ConfigError: a projection head or a map that is not there.
        """
        if self.on == "projection" and (self.head not in heads if self.head else len(heads) != 1):
            what = f"no projection head `{self.head}`{did_you_mean(self.head, heads)}" if self.head else "on=projection"
            raise ConfigError(
                f"{what}, and the model has {listed(heads) or 'no projection head'}",
                where=f"{where}.head",
                fix="name a projection head of the run that it starts with, or match on=pooled",
            )
        lacking = [f"1/{s}" for s in self.stages if str(s) not in maps]
        if lacking:
            raise ConfigError(
                f"no map of {listed(lacking)} below the head; there is {listed([f'1/{n}' for n in maps])}",
                where=f"{where}.stages",
                fix="leave stages out for all that the decoder reads",
            )


class Mse(MatchConfig):
    """Squared error as a share of the teacher's spread (`landweave.losses.mse`), so that stages of any scale add up."""

    kind: Literal["mse"] = "mse"

    def _value(self, students: Sequence[Float[Tensor, "N C *HW"]], teacher: Float[Tensor, "N C *HW"]) -> Tensor:
        from landweave.losses import mse

        return _mean([mse(s, teacher) for s in students])


class Cosine(MatchConfig):
    """One minus the cosine; of maps, position by position."""

    kind: Literal["cosine"] = "cosine"

    def _value(self, students: Sequence[Float[Tensor, "N C *HW"]], teacher: Float[Tensor, "N C *HW"]) -> Tensor:
        from landweave.losses import cosine

        return _mean([cosine(s, teacher) for s in students])


class Clip(MatchConfig):
    """Contrast: the faulty images of a place find its complete one among those of the batch, and it finds them.

    With `masks` above 1 the teacher's embedding has several positives; see `landweave.losses.multi_clip`. The loss has
    a floor above 0, that of the teacher against itself, which is told beside it in validation.
    """

    kind: Literal["clip"] = "clip"
    on: Literal["pooled", "projection"] = "pooled"
    stages: tuple[()] = ()
    temperature: float = Field(1 / SCALE, gt=0, description="constant; by default the paper's, 1 / 18.0889")

    def _value(self, students: Sequence[Float[Tensor, "N C *HW"]], teacher: Float[Tensor, "N C *HW"]) -> Tensor:
        import torch

        from landweave.losses import multi_clip

        return multi_clip(torch.stack(list(students), 1), teacher, scale=1 / self.temperature)


Match = Annotated[Clip | Mse | Cosine, Field(discriminator="kind")]
"""Any term, told by `kind`."""


def matched(terms: Mapping[str, Match], students: Sequence[Targets], teacher: Targets) -> dict[str, Float[Tensor, ""]]:
    """The value of every term by name, `NAME.PART` too where it has several parts, and `loss`, the weighted sum."""
    out: dict[str, Tensor] = {}
    loss: Tensor | None = None
    for name, term in terms.items():
        if not term.weight:
            continue
        parts = term.values(students, teacher)
        value = _mean(list(parts.values()))
        out[name] = value
        if len(parts) > 1:
            out |= {f"{name}.{part}": v for part, v in parts.items()}
        loss = term.weight * value + (0 if loss is None else loss)
    if loss is None:
        raise ValueError("no term has a value")
    return {**out, "loss": loss}


def floors(terms: Mapping[str, Match], teacher: Targets, *, masks: int) -> dict[str, Float[Tensor, ""]]:
    """`NAME.floor` of each contrast: its value for a student that gives exactly what its teacher gives."""
    itself = [teacher] * masks
    return {
        f"{name}.floor": _mean(list(term.values(itself, teacher).values()))
        for name, term in terms.items()
        if term.weight and isinstance(term, Clip)
    }


def alignment(students: Sequence[Targets], teacher: Targets) -> dict[str, Float[Tensor, ""]]:
    """`pooled.cosine`, and `pooled.retrieval@1`: the share of faulty images whose own complete one is the nearest.

    Among the complete images of the batch, by cosine; equally near ones count against it.
    """
    import torch

    from landweave.losses import cosine, gather
    from landweave.metrics.retrieval import ranks

    cosines, hits = [], []
    for student in students:
        rows = student.pooled.seen & teacher.pooled.seen
        s, t = student.pooled.value[rows], teacher.pooled.value[rows]
        cosines.append(1 - cosine(s, t))
        s, t = gather(s), gather(t)
        nearest = ranks(*(z.detach().float().cpu().numpy() for z in (s, t))) == 1
        hits.append(torch.tensor(float(nearest.mean()) if len(nearest) else math.nan))
    return {"pooled.cosine": _mean(cosines), "pooled.retrieval@1": _mean(hits)}


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else sum(values[1:], values[0]) / len(values)
