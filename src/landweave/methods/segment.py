"""Land-cover maps from label maps: an encoder a sensor, a decoder, cross-entropy a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from landweave.contract import Contract
from landweave.methods.base import MethodConfig
from landweave.nn.config import Decoder, UNet
from landweave.sample import Batch, LabelKind

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from landweave.data.dataset import Task
    from landweave.methods.base import ClassWeights
    from landweave.nn.model import Model


class Segment(MethodConfig):
    """Cross-entropy over the known pixels. Logits are brought to the grid of the label map, never the reverse."""

    kinds: ClassVar[tuple[LabelKind, ...]] = ("map",)
    kind: Literal["segment"] = "segment"
    unlabelled: Literal["none"] = "none"
    decoder: Decoder = UNet()
    freeze: bool = Field(False, description="leave the encoders as they start, in eval mode; the decoder learns")

    def build(self, contract: Contract, task: Task) -> Model:
        """A `MapModel`. See `MethodConfig.build`."""
        from landweave.nn.model import MapModel

        self._require(task, self.kind)
        model = MapModel(contract, self.encoder, self.fusion, decoder=self.decoder, classes=len(task.legend))
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
