"""Commands that make runs: `train`, `recipes`, `schema`, and the `demo` of them all."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from landweave.cli.common import Changes, Json, emit, say


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that the demo makes.")] = Path("demo"),
    places: Annotated[int, typer.Option(help="Places of the synthetic world.")] = 200,
    epochs: Annotated[int, typer.Option(help="Epochs of mosaic-1, which the others follow.")] = 30,
    json_: Json = "",
) -> None:
    """The whole way on a synthetic world.

    Runs synth, check, pack, train (three methods), evaluate, map and report in about 3 minutes, and says what to open.
    """
    from landweave.demo import run_demo

    def command(words: Sequence[str]) -> None:
        context.find_root().command.main(list(words), prog_name="landweave", standalone_mode=False)

    with redirect_stdout(sys.stderr) if json_ == "-" else nullcontext():
        found = run_demo(out, places=places, epochs=epochs, say=lambda t: say(t, json_), command=command)
    emit(found, json_)


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe (see `landweave recipes`), or a YAML file.")],
    changes: Changes = None,
    out: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/latest"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away another run, or a finished one; a killed one goes on.")
    ] = False,
    scale: Annotated[str, typer.Option(help="One of the recipe's scales: smoke is for a small machine.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the recipe, and print it.")] = False,
    json_: Json = "",
) -> None:
    """Train a recipe.

    The same command goes on where a killed run stopped.
    """
    from landweave.run.experiment import recipe as parsed

    experiment = parsed(recipe, list(changes or ()), scale=scale)
    if dry_run:
        from landweave.config import to_yaml

        print(to_yaml(experiment), end="")
        return
    from landweave.run.train import train as run

    folder = run(experiment, out, overwrite=overwrite, progress=json_ != "-")
    evaluated = f"landweave evaluate {folder}   then: landweave report {folder}"
    probed = f"landweave train supervised start={folder} method.freeze=true --out RUN   on its encoders"
    judged = f"landweave evaluate {folder}   then: landweave faults {folder} --image SENSOR=FILE"
    following = evaluated if experiment.classifier else judged if experiment.method.kind == "reconstruct" else probed
    say(f"trained: {folder}\nnext: {following}", json_)
    if json_:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        emit({"run": str(folder), "validation": config["validation_scores"]}, json_)


def recipes(json_: Json = "") -> None:
    """List the shipped recipes."""
    from landweave.run.experiment import recipes as shipped

    found = shipped()
    wide = max(map(len, found))
    for name, path in found.items():
        first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        say(f"{name:<{wide}} {first}", json_)
    emit({name: str(path) for name, path in found.items()}, json_)


def schema(json_: Json = "-") -> None:
    """Print the JSON Schema of recipes.

    An editor that has it completes and checks a recipe as you type.
    """
    from landweave.run.experiment import Experiment

    emit(Experiment.model_json_schema(), json_)
