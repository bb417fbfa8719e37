"""Which archive a folder looks like, by the names in it, so that an error can say which `data.kind` is meant."""

from __future__ import annotations

import re
from pathlib import Path

from landweave.data.bigearthnet import FOLDERS
from landweave.data.eurosat import INNER
from landweave.data.flairhub_index import is_domain
from landweave.data.sen12ms import SEASONS
from landweave.legends import EUROSAT

TABLES = (".parquet", ".csv", ".gpkg")
"""Endings of tables of places."""


def meant(folder: Path) -> str:
    """What to type for a folder of data: `data.kind=eurosat data.path=DIR`, a table, a run's recipe; "" if unknown.

    Only names are looked at, in the folder and one below it.
    """
    inside = sorted(folder.iterdir())
    if (folder / "experiment.yaml").is_file():
        return str(folder / "experiment.yaml")
    for where in (folder, *(p for p in inside if p.is_dir())):
        if kind := _kind(where):
            return f"data.kind={kind} data.path={where}"
    return next((str(p) for p in inside if p.suffix.lower() in TABLES), "")


def _kind(folder: Path) -> str:
    def has(*names: str) -> bool:
        return any((folder / name).exists() for name in names)

    if has("data.mdb"):
        return "pack" if has("manifest.json") else "bigearthnet-v2"
    if has(*FOLDERS):
        return "bigearthnet-v2"
    if has(*EUROSAT.names, INNER):
        return "eurosat"
    if any(re.fullmatch("ROIs0000_(validation|test)", p.name) for p in folder.iterdir()):
        return "dfc2020"
    if has("sentinel-ts"):
        return "treesatai"
    if any(is_domain(p.name) for p in folder.iterdir()):
        return "flair-hub"
    return "sen12ms" if has(*SEASONS) else ""
