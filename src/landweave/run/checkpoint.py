"""What a run keeps on disk: never a pickle. Weights and training state are safetensors, everything else is JSON.

Files appear whole or not at all: each is written under another name, flushed to the disk, and then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from landweave.errors import RunError
from landweave.files import write_json


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        RunError: missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError("no such file", where=path, fix="is this a run folder, and did its training finish?") from None
    except ValueError as error:
        raise RunError(f"not JSON: {error}", where=path) from None


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors atomically. Tensors that share memory are stored once each."""
    from safetensors.torch import save_file

    part = path.with_name(f".{path.name}.part")
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, part, dict(metadata or {}))
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def read_tensors(path: Path) -> dict[str, Any]:
    """Read safetensors.

    Raises:
        RunError: missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise RunError("no such file", where=path, fix="train the run to its end first: landweave train ... --out RUN")
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise RunError(f"damaged: {error}", where=path) from None


def pack_tree(tree: Any, tensors: dict[str, Any]) -> Any:
    """Turn nested dicts, lists and tuples into plain JSON, putting tensors aside.

    Raises:
        TypeError: something that is neither plain data nor a tensor, so that nothing is lost silently.
    """
    import torch

    if isinstance(tree, torch.Tensor):
        key = f"t{len(tensors)}"
        tensors[key] = tree
        return {"tensor": key}
    if isinstance(tree, Mapping):
        return {"dict": [[pack_tree(k, tensors), pack_tree(v, tensors)] for k, v in tree.items()]}
    if isinstance(tree, (list, tuple)):
        return {type(tree).__name__: [pack_tree(v, tensors) for v in tree]}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"{type(tree).__name__} cannot stand in a checkpoint")


def unpack_tree(plain: Any, tensors: Mapping[str, Any]) -> Any:
    """Inverse of `pack_tree`."""
    if not isinstance(plain, dict):
        return plain
    ((kind, value),) = plain.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {unpack_tree(k, tensors): unpack_tree(v, tensors) for k, v in value}
    return (tuple if kind == "tuple" else list)(unpack_tree(v, tensors) for v in value)


class SafeCheckpointIO(CheckpointIO):
    """Lightning's training state as a folder of `state.safetensors` and `state.json` instead of a pickle.

    The folder is replaced as a whole: a kill during the write leaves the state before it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the state to folder `path`."""
        folder = Path(path)
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        tensors: dict[str, Any] = {}
        tree = pack_tree(checkpoint, tensors)
        write_tensors(part / "state.safetensors", tensors)
        write_json(part / "state.json", tree)
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(part, folder)
        shutil.rmtree(old, ignore_errors=True)

    def load_checkpoint(self, path: Any, map_location: Any = None, **options: Any) -> dict[str, Any]:
        """Read the state back."""
        folder = whole_state(Path(path))
        if folder is None:
            raise RunError("no training state", where=path)
        state: dict[str, Any] = unpack_tree(
            read_json(folder / "state.json"), read_tensors(folder / "state.safetensors")
        )
        return state

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a state."""
        shutil.rmtree(Path(path), ignore_errors=True)


def whole_state(folder: Path) -> Path | None:
    """The newest whole training state: `folder`, or the one that a kill left between two renames."""
    for candidate in (folder, folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")):
        if (candidate / "state.json").is_file():
            return candidate
    return None
