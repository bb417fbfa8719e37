"""A packed store of 36 tiny places of two sensors, and a protocol on it that trains in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from landweave.data.store import pack
from landweave.reproduce import Protocol
from tests.data.fake import Fake

PROTOCOL = """title: Small
datasets:
  w: {data: {kind: pack, streams: ["s2-l2a:B02+B03+B04+B08", s1-rtc-gamma0], task: tags}, label: multilabel}
changes: [method.encoder.name=lcnet_050, train.epochs=1, train.batch_size=8, train.accelerator=cpu]
rows:
  - {name: plain, recipe: supervised}
  - {name: radar alone, recipe: supervised, only: [s1-rtc-gamma0], absent: zero}
  - {name: probe, recipe: intra-simclr, changes: ["pretrain.train.epochs=1", "pretrain.train.batch_size=8"]}
fractions: [0.5, 1.0]
runs: {0.5: 2, 1.0: 1}
metrics: [{score: macro_f1}, {score: hamming}]
compare: [plain]
"""


def store(folder: Path) -> Path:
    """Write the store."""
    pack(Fake(count=36, size=32, dates=1, streams=("s2-l2a@10", "s1-rtc-gamma0")), folder)
    return folder


def write(folder: Path, text: str = PROTOCOL, name: str = "small") -> Path:
    """Write a protocol file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def built(**changes: Any) -> Protocol:
    """A protocol built in Python, of one quick method."""
    plain: dict[str, Any] = {
        "name": "built",
        "datasets": {"w": {"data": {"kind": "pack", "streams": ["s2-l2a:B02+B03+B04+B08"], "task": "tags"}}},
        "changes": ("method.encoder.name=lcnet_050", "train.epochs=1", "train.batch_size=8"),
        "rows": ({"name": "plain", "recipe": "supervised"},),
        "runs": 1,
        "metrics": ({"score": "macro_f1"},),
    }
    return Protocol.model_validate(plain | changes)
