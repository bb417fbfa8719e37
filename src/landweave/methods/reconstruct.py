"""Each band from the others, without labels: what a faulty band is found by, and filled with.

A small convolutional network sees some bands of an image and predicts those hidden from it; ridge regression, fitted
in the same run, stands beside it. At the end of a run both are measured on the validation places, and what their
residuals are like there is kept, as the standard of `landweave faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from landweave.contract import Contract
from landweave.errors import ConfigError
from landweave.methods.base import MethodConfig
from landweave.nn.config import Concat, Encoder
from landweave.sample import Batch, LabelKind
from landweave.transforms.faults import Faults

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from landweave.data.dataset import Task
    from landweave.methods.base import ClassWeights, Start
    from landweave.nn.model import Model

LEAST_BANDS = 3
"""Of two bands that disagree nobody can say which is wrong."""


class Reconstruct(MethodConfig):
    """Mean absolute error, in log units, at bands hidden from the network.

    In training from one band to a third of them are hidden at each place, the number drawn first, evenly. Dates are
    images of their own, sensors are predicted each from its own bands.
    """

    kinds: ClassVar[tuple[LabelKind, ...]] = ()
    kind: Literal["reconstruct"] = "reconstruct"
    unlabelled: Literal["rest"] = "rest"
    width: int = Field(64, ge=4, description="channels of the network")
    depth: int = Field(3, ge=1, le=12, description="its 1 x 1 layers; before the first two each channel reads 3 x 3")
    penalty: float = Field(1e-3, gt=0, description="of ridge regression, on the mean Gram matrix in log units")
    blocks: tuple[int, ...] = Field(
        (16, 32, 48, 64), description="sizes of blocks in pixels that faults may be told for"
    )
    alarm: float = Field(0.05, gt=0, lt=0.5, description="share of clean images that may be accused")

    @model_validator(mode="after")
    def _own_network(self) -> Self:
        """Refuse settings that would do nothing."""
        odd = [
            name
            for name, default in (("encoder", Encoder()), ("fusion", Concat()), ("faults", Faults()))
            if getattr(self, name) != default
        ]
        if odd or self.sensor_dropout:
            name = odd[0] if odd else "sensor_dropout"
            raise ValueError(f"`{name}` means nothing here: each sensor has a small network of its own (width, depth)")
        if not self.blocks or min(self.blocks) < 4:
            raise ValueError(f"blocks are {list(self.blocks)}: at least one is needed, of 4 pixels or more")
        return self

    @property
    def classifier(self) -> bool:
        """It classifies nothing."""
        return False

    @property
    def learns_labels(self) -> bool:
        """It looks at no label."""
        return False

    def lines(self, sensors: Sequence[str]) -> Sequence[str]:
        """What stands beside the network."""
        return [f"network of {self.depth} layers of {self.width}, and ridge regression (penalty {self.penalty:g})"]

    def build(self, contract: Contract, task: Task) -> Model:
        """A `ReconstructModel`. See `MethodConfig.build`.

        Raises:
            ConfigError: a sensor of fewer than three bands.
        """
        from landweave.nn.reconstruct import ReconstructModel

        for name, stream in contract.streams.items():
            if len(stream.bands) < LEAST_BANDS:
                raise ConfigError(
                    f"{name} has {len(stream.bands)} bands; of fewer than {LEAST_BANDS} nobody can say which is wrong",
                    where="data.streams",
                    fix="choose the sensors that have more: data.streams=[...]",
                )
        return ReconstructModel(contract, width=self.width, depth=self.depth, penalty=self.penalty)

    def attach(self, model: Model, start: Start) -> None:
        """Refused: there is no encoder to begin with.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("a reconstruction begins with no other run", where="start", fix="leave it out")

    def loss(
        self,
        model: Model,
        cubes: Batch,
        task: str,
        *,
        key: Sequence[int],
        class_weights: ClassWeights | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The error of each sensor, where there are several, and `loss`, their mean. See `MethodConfig.loss`."""
        import torch

        from landweave.nn.reconstruct import ReconstructModel, hidden_loss

        assert isinstance(model, ReconstructModel)
        view = self._view(cubes, key)
        terms = {}
        for name in model.sensors:
            read = model.read(name, view.images[name])
            gone = self._hidden(view, name, read.values.shape[1], key).to(read.values.device)
            dates = len(read.values) // len(view)
            terms[name] = hidden_loss(model.net(name), read.values, read.seen, gone.repeat_interleave(dates, 0))
        total = torch.stack(list(terms.values())).mean()
        return {**(terms if len(terms) > 1 else {}), "loss": total}

    def _hidden(self, batch: Batch, sensor: str, bands: int, key: Sequence[int]) -> Bool[Tensor, "B C"]:
        """The bands hidden at each place; drawn from the key, the place and the sensor alone."""
        import numpy as np
        import torch

        from landweave.transforms.augment import seed_of

        gone = torch.zeros(len(batch), bands, dtype=torch.bool)
        for b, place in enumerate(batch.names):
            random = np.random.Generator(np.random.Philox(key=seed_of(key, place, f"hidden {sensor}")))
            count = 1 + int(random.integers(max(1, bands // 3)))
            gone[b, random.permutation(bands)[:count].tolist()] = True
        return gone

    def measure(
        self, model: Model, train: Callable[[], Iterable[Batch]], validation: Callable[[], Iterable[Batch]]
    ) -> dict[str, Any]:
        """Fit ridge regression, and measure both predictors. See `landweave.methods.standard`."""
        from landweave.methods.standard import measured
        from landweave.nn.reconstruct import ReconstructModel

        assert isinstance(model, ReconstructModel)
        return measured(model, train, validation, blocks=self.blocks, alarm=self.alarm)
