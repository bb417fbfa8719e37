"""Learn land cover from co-registered images of several sensors when labels are few and sensors fail, and map it.

The public names; each is imported when it is first used, so that `import landweave` takes a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landweave.contract import Contract as Contract
    from landweave.data.dataset import Dataset as Dataset
    from landweave.data.store import pack as pack
    from landweave.data.tile import tile as tile
    from landweave.errors import LandweaveError as LandweaveError
    from landweave.grid import Grid as Grid
    from landweave.legends import Legend as Legend
    from landweave.legends import load_legend as load_legend
    from landweave.maps.engine import map_scene as map_scene
    from landweave.reports.report import report as report
    from landweave.run.evaluate import evaluate as evaluate
    from landweave.run.experiment import Experiment as Experiment
    from landweave.run.experiment import recipe as recipe
    from landweave.run.experiment import recipes as recipes
    from landweave.run.predict import Run as Run
    from landweave.run.predict import open_run as open_run
    from landweave.run.train import train as train
    from landweave.sample import Batch as Batch
    from landweave.sample import Image as Image
    from landweave.sample import Label as Label
    from landweave.sample import Sample as Sample
    from landweave.sample import collate as collate

_HOME = {
    "Batch": "sample",
    "Contract": "contract",
    "Dataset": "data.dataset",
    "Experiment": "run.experiment",
    "Grid": "grid",
    "Image": "sample",
    "Label": "sample",
    "LandweaveError": "errors",
    "Legend": "legends",
    "Run": "run.predict",
    "Sample": "sample",
    "collate": "sample",
    "evaluate": "run.evaluate",
    "load_legend": "legends",
    "map_scene": "maps.engine",
    "open_run": "run.predict",
    "pack": "data.store",
    "recipe": "run.experiment",
    "recipes": "run.experiment",
    "report": "reports.report",
    "tile": "data.tile",
    "train": "run.train",
}

__all__ = [*_HOME]  # noqa: PLE0604  (the names of the table above)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module 'landweave' has no attribute {name!r}")
    return getattr(import_module(f"landweave.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
