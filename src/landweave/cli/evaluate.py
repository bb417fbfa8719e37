"""The command that scores runs: `evaluate`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from landweave.cli.common import DataChanges, Json, bar, emit, say
from landweave.errors import ConfigError

if TYPE_CHECKING:
    from landweave.metrics.boundary import Tolerance

Splits = Annotated[
    str,
    typer.Option(
        help="train, validation, test, or snow_cloud (set aside by BigEarthNet v2); "
        "two of them, validation,test, also show the gap between them."
    ),
]
Boundary = Annotated[
    str,
    typer.Option(
        metavar="OUTSIDE,BETWEEN",
        help="Label maps: score again without the pixels so many metres from a boundary to background, and from "
        "one between other classes. 1,5 is how exact crop parcels are drawn.",
    ),
]


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    changes: DataChanges = None,
    split: Splits = "test",
    task: Annotated[str, typer.Option(help="Of a run of several tasks: score this one alone.")] = "",
    by: Annotated[
        Literal["group"] | None,
        typer.Option(metavar="group", help="Also show the scores of each group of places: scene, region, domain."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="A class that no score counts; may be given several times."),
    ] = None,
    boundary: Boundary = "",
    product: Annotated[str, typer.Option(help="Name of the product, if the labels are one (agreement).")] = "",
    only: Annotated[
        list[str] | None, typer.Option(metavar="SENSOR", help="Hide all other sensors; may be given several times.")
    ] = None,
    absent: Annotated[
        Literal["mean", "zero"], typer.Option(help="What stands for a hidden sensor: its mean feature, or zeros.")
    ] = "mean",
    faults: Annotated[
        str, typer.Option(help="What is wrong with the images: missing:B02,B08@0.9, offset+1000, a YAML file, ...")
    ] = "",
    json_: Json = "",
) -> None:
    """Score a run beside trivial predictors.

    With --only, as if the other sensors had failed; with --faults, as if the images were faulty (docs/faults.md). A run
    of several tasks is scored on all of them.
    """
    from landweave.run.evaluate import evaluate_tasks
    from landweave.transforms.faults import label, named

    splits, tolerance = _splits(split), _tolerance(boundary)
    kept, wrong = list(only or ()), named(faults) if faults else None
    if _predicts_bands(run):
        asked = (kept, wrong, product, absent != "mean", task, by, without, tolerance, len(splits) > 1)
        _evaluate_bands(run, split, changes, json_, refused=any(asked))
        return
    if absent != "mean" and not kept:
        raise ConfigError(
            "no sensor is hidden, so that nothing stands for one",
            where=f"--absent {absent}",
            fix="name the sensors that are seen by --only, or leave --absent out",
        )
    results = {}
    for one in splits:
        with bar("evaluate" if len(splits) == 1 else f"evaluate {one}") as progress:
            results[one] = evaluate_tasks(
                run,
                split=one,
                changes=list(changes or ()),
                task=task,
                product=product,
                only=kept,
                absent=absent,
                faults=wrong,
                fault_name=label(faults),
                without=list(without or ()),
                tolerance=tolerance,
                progress=progress,
            )
    _show(run, results, json_, by=by, without=list(without or ()))


def _show(
    run: Path, results: dict[str, dict[str, dict[str, Any]]], json_: str, *, by: str | None, without: list[str]
) -> None:
    """Every result, what is asked for beside it, and which files were written."""
    from landweave.run.evaluate import result_name
    from landweave.run.evaluate_text import by_group, gap, gap_lines, table

    every = [one for tasks in results.values() for one in tasks.values()]
    for at, one in enumerate(every):
        say("\n" * bool(at) + "\n".join(table(one)), json_)
        if by:
            say("\n" + "\n".join(by_group(one)), json_)
    gaps = []
    if len(results) == 2:
        first, second = results.values()
        gaps = [gap(first[name], second[name]) for name in first]
        for found in gaps:
            say("\n" + "\n".join(gap_lines(found)), json_)
    main = _main_task(run)
    files = [
        result_name(
            one["split"],
            one["only"],
            one["absent"] or "mean",
            fault_name=one["fault_name"],
            task="" if one["task"] == main else one["task"],
            without=[name for name in without if name in one["without"]],
            changes=one["changes"],
        )
        for one in every
    ]
    following = "" if every[0]["changes"] else f"\nnext: landweave report {run}"  # which is of the run's own data
    say("wrote " + ", ".join(f"{run}/{file}" for file in files) + following, json_)
    emit(every[0] if len(every) == 1 else {"results": results, "gaps": gaps}, json_)


def _main_task(run: Path) -> str:
    from landweave.run.predict import open_run

    return open_run(run).task


def _splits(text: str) -> list[str]:
    """One split, or two that are to be compared.

    Raises:
        ConfigError: more than two, or one twice.
    """
    splits = [word.strip() for word in text.split(",")]
    if len(splits) > 2 or len(set(splits)) < len(splits):
        raise ConfigError(
            f"`{text}` is neither a split nor two", where="--split", fix="give one, or two as validation,test"
        )
    return splits


def _tolerance(text: str) -> Tolerance | None:
    """Metres to either side of two kinds of boundary.

    Raises:
        ConfigError: not two numbers.
    """
    if not text:
        return None
    from landweave.metrics.boundary import Tolerance

    try:
        outside, between = (float(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(
            f"`{text}` is not two numbers", where="--boundary", fix="for example --boundary 1,5"
        ) from None
    if not (0 <= outside < math.inf and 0 <= between < math.inf):
        what = "has a negative distance" if min(outside, between) < 0 else "is not two numbers"
        raise ConfigError(f"`{text}` {what}", where="--boundary", fix="for example --boundary 1,5")
    return Tolerance(outside, between)


def _predicts_bands(run: Path) -> bool:
    """Whether a run predicts bands, and no classes."""
    from landweave.run.predict import open_run

    return open_run(run).settings.method.kind == "reconstruct"


def _evaluate_bands(run: Path, split: str, changes: list[str] | None, json_: str, *, refused: bool) -> None:
    """`evaluate` of a run that predicts bands."""
    from landweave.run.evaluate import result_name
    from landweave.run.reconstruction import evaluate_bands, table

    if refused:
        raise ConfigError(
            "a run that predicts bands has no classes to score under faults, or by sensor, task or group",
            where=run,
            fix="leave all options but --split out, and name one split",
        )
    with bar("evaluate") as progress:
        result = evaluate_bands(run, split=split, changes=list(changes or ()), progress=progress)
    for line in table(result):
        say(line, json_)
    file = result_name(split, changes=result["changes"])
    say(f"wrote {run}/{file}\nnext: landweave faults {run} --image SENSOR=FILE", json_)
    emit(result, json_)
