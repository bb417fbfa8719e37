"""What a run keeps on disk: never a pickle. Weights and training state are safetensors, everything else is JSON.

Files appear whole or not at all: each is written under another name, flushed to the disk, and then renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landweave.errors import RunError
from landweave.files import write_bytes


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
    from safetensors.torch import save

    content = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_bytes(path, save(content, dict(metadata or {})))


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
