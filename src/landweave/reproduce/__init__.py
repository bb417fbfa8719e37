"""Papers' tables, run again: protocols as data, resumable runs, published figures beside ours, and an audit of both.

    landweave reproduce --list
    landweave reproduce mosaic/table-1 --data bigearthnet-v2=DIR --data sen12ms=DIR --scale smoke --out DIR
    landweave reproduce --audit mosaic

    from landweave.reproduce import protocol, run_protocol
    table = run_protocol(protocol("mosaic/table-1"), {"bigearthnet-v2": "DIR"}, "out", scale="smoke")

A protocol of one's own is a YAML file, or a `Protocol` built in Python. Nothing here loads torch before a run starts.
"""

from __future__ import annotations

from landweave.reproduce.adaptation import Adaptation
from landweave.reproduce.auditing import audit
from landweave.reproduce.config import Protocol, Row, protocol, protocols
from landweave.reproduce.engine import run_protocol
from landweave.reproduce.shown import Metric, Scale, Source
from landweave.reproduce.table import Table

__all__ = [
    "Adaptation",
    "Metric",
    "Protocol",
    "Row",
    "Scale",
    "Source",
    "Table",
    "audit",
    "protocol",
    "protocols",
    "run_protocol",
]
