"""The training state of a run, without a pickle: how lightning's checkpoints are written and read here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from landweave.errors import RunError
from landweave.files import write_json
from landweave.run.checkpoint import read_json, read_tensors, write_tensors


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
