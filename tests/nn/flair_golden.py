"""The golden vectors of FLAIR-HUB's official parts: weights by the manifest's rule, inputs, and what must come out."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import VECTORS

FOLDER = VECTORS / "flair-hub"


@dataclass(frozen=True)
class Case:
    """One case of the manifest."""

    name: str
    about: dict[str, Any]
    tensors: dict[str, Tensor]

    def input(self, name: str) -> Tensor:
        return self.tensors[f"inputs.{name}"]

    def expected(self, name: str) -> Tensor:
        return self.tensors[f"expected.{name}"]

    def weights(self) -> dict[str, Tensor]:
        """The official state dict, its hash checked."""
        state = {key: made(key, tuple(shape), kind) for key, (shape, kind) in keys()[self.name].items()}
        assert hash_of(state) == self.about["weights_sha256"]
        return state

    def require(self, name: str, found: Tensor) -> None:
        """The manifest's tolerance: of the largest difference, and of the mean."""
        told = self.about["expected"][name]
        want = self.expected(name)
        assert found.shape == want.shape, (name, tuple(found.shape))
        apart = (found.double() - want.double()).abs()
        assert float(apart.max()) <= told["max_abs_difference"], (name, float(apart.max()))
        assert float(apart.mean()) <= told["mean_abs_difference"], (name, float(apart.mean()))


def case(name: str) -> Case:
    """A case by the beginning of its name, or a skip with the reason."""
    manifest = _json("manifest.json")
    whole = next(n for n in manifest["cases"] if n.startswith(name))
    return Case(whole, manifest["cases"][whole], load_file(FOLDER / f"{whole}.safetensors"))


def keys() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = _json("state_dict_keys.json")
    return found


def rule() -> dict[str, Any]:
    found: dict[str, Any] = _json("manifest.json")["weight_rule"]
    return found


@cache
def _json(name: str) -> dict[str, Any]:
    path: Path = FOLDER / name
    if not path.exists():
        pytest.skip(f"no golden vectors: {path} is absent (set LANDWEAVE_SHARED)")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def high_bits(key: str, count: int) -> NDArray[np.uint64]:
    """The upper 24 bits of the hash of each element of a tensor."""
    with np.errstate(over="ignore"):
        z = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(zlib.crc32(key.encode())) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) >> np.uint64(40)


def made(key: str, shape: tuple[int, ...], kind: str) -> Tensor:
    """A tensor by the rule."""
    if kind == "count":
        return torch.zeros(shape, dtype=torch.int64)
    count = int(np.prod(shape, dtype=np.int64))
    u = high_bits(key, count).astype(np.float64) / 2.0**24
    wide = float(np.sqrt(3 / np.prod(shape[1:])))
    middle, spread = {  # 0.5 + u is 1 + 0.5 c
        "matrix": (0.0, wide),
        "norm_weight": (1.0, 0.2),
        "bias": (0.0, 0.1),
        "running_mean": (0.0, 0.1),
        "running_var": (1.0, 0.5),
    }[kind]
    values = middle + spread * (2 * u - 1)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def hash_of(state: dict[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for key in sorted(k for k, v in state.items() if v.is_floating_point()):
        sha.update(state[key].contiguous().numpy().astype("<f4").tobytes())
    return sha.hexdigest()
