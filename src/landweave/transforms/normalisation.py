"""Values that a network can learn from: centred and scaled a band, with what is not seen at 0, the band's mean."""

from __future__ import annotations

from dataclasses import replace

import torch

from landweave.contract import Contract
from landweave.errors import ContractError, listed
from landweave.sample import Batch, Image
from landweave.transforms.resampling import decibel


def normalise(batch: Batch, contract: Contract) -> Batch:
    """`(x - mean) / std` a band, with the training statistics of the contract; 0 where a value is not seen.

    Linear power is brought to dB before (`StreamContract.decibel`): a few bright pixels would rule it otherwise.

    After it `data` has no unit: a cube is normalised once, right before a model.

    Raises:
        ContractError: an image that the contract does not know, or one whose bands are not its (`cubes` makes them).
    """
    return replace(batch, images={name: _normalised(name, im, contract) for name, im in batch.images.items()})


def _normalised(name: str, image: Image, contract: Contract) -> Image:
    row = contract.streams.get(name)
    if row is None or image.bands != row.bands:
        what = f"its bands are {listed(image.bands, 20)}" if row else "the model was not trained on it"
        raise ContractError(what, where=name, fix="pass the batch through landweave.transforms.cubes(batch, contract)")
    levels = torch.tensor(row.levels, dtype=torch.float32, device=image.data.device)
    mean, std = levels[:, 0, None, None], levels[:, 1, None, None]
    values = image.data.float()
    values = ((decibel(values) if row.decibel else values) - mean) / std
    return replace(image, data=torch.where(image.seen, values, 0.0))
