"""What stands for a sensor that is not seen at a place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class MeanFeatures(nn.Module):
    """The mean feature of each sensor over the training places: what stands for a sensor that is absent.

    Zero until `set` is called at the end of training; kept with the weights. At prediction time this is the
    "average S2" of MoSAiC's table 4, at feature level.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        for name, width in widths.items():
            self.register_buffer(name, torch.zeros(width))

    def __getitem__(self, name: str) -> Float[Tensor, " D"]:
        return self.get_buffer(name)

    def set(self, means: Mapping[str, Float[Tensor, " D"]]) -> None:
        """Keep new means.

        Raises:
            ValueError: a sensor too many or too few, or a mean of another length.
        """
        have = dict(self.named_buffers())
        if set(means) != set(have):
            raise ValueError(f"means of {sorted(means)} for the sensors {sorted(have)}")
        for name, mean in means.items():
            if mean.shape != have[name].shape:
                raise ValueError(f"{name}: mean of {tuple(mean.shape)} for features of {tuple(have[name].shape)}")
            have[name].copy_(mean)


def over(seen: Bool[Tensor, " B"], like: Tensor) -> Bool[Tensor, "B ..."]:
    """`seen` with as many dimensions as `like`."""
    return seen.view(-1, *(1,) * (like.ndim - 1))


def filled(feature: Float[Tensor, "B D *HW"], seen: Bool[Tensor, " B"], mean: Float[Tensor, " D"] | None) -> Tensor:
    """A feature or map where it is seen, the mean (or 0) elsewhere; what stood there does not matter."""
    if mean is None:
        return torch.where(over(seen, feature), feature, 0.0)
    fill = mean.to(feature).view(1, -1, *(1,) * (feature.ndim - 2))
    return torch.where(over(seen, feature), feature, fill)


def flags(seen: Sequence[Bool[Tensor, " B"]], like: Float[Tensor, "B D *HW"]) -> Float[Tensor, "B S *HW"]:
    """1 for each sensor that is seen, 0 for the others, at every pixel if `like` is a map."""
    marks = torch.stack(list(seen), 1).to(like)
    return marks.view(*marks.shape, *(1,) * (like.ndim - 2)).expand(-1, -1, *like.shape[2:])


def mean_of_seen(features: Sequence[Tensor], seen: Sequence[Bool[Tensor, " B"]]) -> Tensor:
    """Mean over the sensors that are seen; 0 where none is."""
    total = torch.stack([filled(f, s, None) for f, s in zip(features, seen, strict=True)]).sum(0)
    count = torch.stack(list(seen)).sum(0).clamp(min=1)
    return total / over(count, total)


def at_seen(
    module: nn.Module,
    run: Callable[[list[Tensor]], list[Tensor]],
    inputs: Sequence[Tensor],
    seen: Bool[Tensor, " B"],
) -> list[Tensor]:
    """Run a module at the places that are seen, so that the others reach no statistic of it; 0 at those.

    Where no place is seen the weights stay in the graph all the same, as several processes must agree on what has a
    gradient, and no statistic moves.

    Args:
        module: what `run` runs.
        run: from the inputs of some places to the outputs.
        inputs: each with a leading B.
        seen: at which places to run.
    """
    at = seen.nonzero().flatten()
    if len(at) == len(seen):
        return run(list(inputs))
    if len(at):
        some = run([x[at] for x in inputs])
        return [f.new_zeros(len(seen), *f.shape[1:]).index_copy(0, at, f) for f in some]
    training = module.training
    module.eval()
    some = run([x[:1] * 0 if x.is_floating_point() else x[:1] for x in inputs])
    module.train(training)
    return [(0 * f).expand(len(seen), *f.shape[1:]) for f in some]
