"""Readers: every kind of data gives `Sample`s. The union below is the registry: what stands in it can be chosen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from landweave.data.bigearthnet import BigEarthNetV2
from landweave.data.dataset import Chosen, DataConfig, Dataset, Place, Task
from landweave.data.dfc2020 import DFC2020
from landweave.data.eurosat import EuroSAT
from landweave.data.flairhub import FlairHub
from landweave.data.sen12ms import SEN12MS
from landweave.data.store import Pack
from landweave.data.table import Table
from landweave.data.treesatai import TreeSatAI

Data = Annotated[
    Table | Pack | EuroSAT | BigEarthNetV2 | SEN12MS | DFC2020 | FlairHub | TreeSatAI,
    Field(discriminator="kind"),
]

__all__ = [
    "DFC2020",
    "SEN12MS",
    "BigEarthNetV2",
    "Chosen",
    "Data",
    "DataConfig",
    "Dataset",
    "EuroSAT",
    "FlairHub",
    "Pack",
    "Place",
    "Table",
    "Task",
    "TreeSatAI",
]
