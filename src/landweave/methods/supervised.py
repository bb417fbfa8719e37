"""Scene classification from labels alone: one sensor, early fusion, or late fusion of several.

With `fusion.kind=early` it is the poster's EarlyFusion, with `concat` its LateFusion (two encoders from scratch and
one linear layer), with one stream its OnlySen-1 or OnlySen-2 (Scheibenreif et al., fusion poster). On encoders that
were trained before (`pretrain`, `start`) it is fine-tuning, or with `freeze` a linear probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from landweave.contract import Contract
from landweave.methods.base import MethodConfig
from landweave.nn.config import Head, Linear
from landweave.sample import Batch, LabelKind

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from landweave.data.dataset import Task
    from landweave.methods.base import ClassWeights
    from landweave.nn.model import Model


class Supervised(MethodConfig):
    """Cross-entropy on one class a place, binary cross-entropy on a set of classes; unknown labels count nothing."""

    kinds: ClassVar[tuple[LabelKind, ...]] = ("class", "multilabel")
    kind: Literal["supervised"] = "supervised"
    unlabelled: Literal["none"] = "none"
    head: Head = Linear()
    freeze: bool = Field(False, description="leave the encoders as they start, in eval mode: a linear probe")

    def build(self, contract: Contract, task: Task) -> Model:
        """A `SceneModel`. See `MethodConfig.build`."""
        from landweave.nn.model import SceneModel

        self._require(task, self.kind)
        model = SceneModel(contract, self.encoder, self.fusion, classes=len(task.legend), head=self.head)
        if self.freeze:
            model.freeze_encoders()
        return model

    def loss(
        self,
        model: Model,
        cubes: Batch,
        task: str,
        *,
        key: Sequence[int],
        class_weights: ClassWeights | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """`supervised` and `loss`, which are the same. See `MethodConfig.loss`."""
        from landweave.losses import supervised_loss

        view = self._view(cubes, key, model.contract)
        value = supervised_loss(model.logits(view), view.labels[task], weights=(class_weights or {}).get(task))
        return {"supervised": value, "loss": value}
