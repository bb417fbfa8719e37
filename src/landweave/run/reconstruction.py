"""How well a run of `reconstruct` predicts each band of places from their other bands, beside what costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from landweave.data.order import shuffled
from landweave.errors import RunError
from landweave.files import write_json
from landweave.run.evaluate import Progress, other_data, reopen, result_name
from landweave.run.predict import open_run
from landweave.sample import Batch

SCORES = (("rmse", "RMSE"), ("psnr", "PSNR in dB"), ("ssim", "SSIM"))


def evaluate_bands(
    folder: str | Path, *, split: str = "test", changes: Sequence[str] = (), progress: Progress = None
) -> dict[str, Any]:
    """RMSE, PSNR and SSIM of each band and SAM, of both predictors and of the trivial ones, kept in the run folder.

    Args:
        folder: the run.
        split: train, validation or test.
        changes: where the data are now, if they have moved.
        progress: called with (places done, places in all).

    Raises:
        RunError: it is a run of another kind.
        ConfigError, DataError: as `landweave.run.evaluate.reopen`.
    """
    import torch

    from landweave.methods.standard import scored
    from landweave.nn.reconstruct import ReconstructModel
    from landweave.transforms import cubes

    run = open_run(folder)
    if run.settings.method.kind != "reconstruct":
        raise RunError(f"a run of {run.settings.method.kind}, which predicts no bands", where=run.folder)
    scene = reopen(run, split, changes, training=False)
    model = run.model
    assert isinstance(model, ReconstructModel)

    def passes() -> Iterable[Batch]:
        done = 0
        for batch in scene.batches(shuffled(scene.scored), batch_size=run.settings.train.batch_size):
            yield cubes(batch, run.contract)
            done += len(batch)
            if progress:
                progress(done, len(scene.scored))

    with torch.inference_mode():
        found = {name: scored(model, stream, passes) for name, stream in run.contract.streams.items()}
    other = other_data(run, changes)
    result = {"split": split, "n_places": len(scene.scored), "sensors": found, "changes": other}
    write_json(Path(folder) / result_name(split, changes=other), result)
    return result


def table(result: dict[str, Any]) -> Iterator[str]:
    """The result as lines for a terminal."""
    for sensor, found in result["sensors"].items():
        who = found["predictors"]
        names = list(who)
        wide = [max(9, len(n)) for n in names]
        yield f"{sensor}, split {result['split']}: {found['images']} images, each band from the others"
        for key, title in SCORES:
            unit = f" in {found['unit']}" if key == "rmse" else ""
            yield f"{title + unit:<22}  " + "  ".join(f"{n:>{w}}" for n, w in zip(names, wide, strict=True))
            for band in who[names[0]]["bands"]:
                cells = [_cell(who[n]["bands"][band][key], w) for n, w in zip(names, wide, strict=True)]
                yield f"  {band:<20}  " + "  ".join(cells)
        yield f"{'SAM in degrees':<22}  " + "  ".join(_cell(who[n]["sam"], w) for n, w in zip(names, wide, strict=True))


def _cell(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.4g}':>{width}}"
