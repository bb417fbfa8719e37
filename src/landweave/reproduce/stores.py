"""Data packed once for many short runs: below OUT, in the pixels that the runs read. No figure changes, only time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from landweave.data.dataset import DataConfig
from landweave.reproduce.adapt_plan import Slot
from landweave.reproduce.plan import Stage
from landweave.sensors import StreamChoice

if TYPE_CHECKING:
    from landweave.run.experiment import Experiment

PACKED = ("path", "offset", "coarsen")
"""Settings of data that a store holds."""


def packed(planned: Sequence[Slot], out: Path, say: Callable[[str], None]) -> list[Slot]:
    """The same runs, reading from stores below `out`, which are made where they are lacking.

    Fingerprints stay those of the data as they lie on disk.
    """
    every = [e for p in planned for e in (p.experiment, *([p.stage.experiment] if p.stage else []))]
    sensors: dict[str, set[str]] = {}
    first: dict[str, DataConfig] = {}
    for experiment in every:
        key = _key(experiment.data)
        first.setdefault(key, experiment.data)
        sensors.setdefault(key, set()).update(c.sensor for c in experiment.data.choices)
        if not experiment.data.choices:
            sensors[key].add("")  # all of them
    paths = {key: _pack(data, sensors[key], out / "stores" / key, say) for key, data in first.items()}
    return [_moved(p, paths) for p in planned]


def _key(data: DataConfig) -> str:
    text = data.model_dump_json(exclude={"fraction", "seed", "streams", "task", "enlarge"})
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _pack(data: DataConfig, sensors: set[str], path: Path, say: Callable[[str], None]) -> Path:
    from landweave.data.dataset import Chosen
    from landweave.data.store import pack

    choices = () if "" in sensors else tuple(StreamChoice.parse(s) for s in sorted(sensors))
    path.parent.mkdir(parents=True, exist_ok=True)
    report = pack(Chosen(data.open(), choices, coarsen=data.coarsen), path, overwrite=True)
    if not report.already:
        say(f"packed {report.places:,} places of {data.path} into {path} ({report.bytes / 1e6:,.0f} MB)")
    return path


def _moved(one: Slot, paths: dict[str, Path]) -> Slot:
    experiment = _reading(one.experiment, paths)
    if one.stage is None:
        return replace(one, experiment=experiment)
    return replace(
        one, experiment=experiment, stage=Stage(_reading(one.stage.experiment, paths), one.stage.fingerprint)
    )


def _reading(experiment: Experiment, paths: dict[str, Path]) -> Experiment:
    """The experiment on the store of its data, with all settings but those that were packed."""
    from landweave.data.store import Pack

    data = experiment.data
    kept = {name: getattr(data, name) for name in DataConfig.model_fields if name not in PACKED}
    moved = Pack(path=str(paths[_key(data)]), **kept)
    return experiment.model_copy(update={"data": moved})
