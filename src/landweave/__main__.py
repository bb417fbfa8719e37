"""The command line: one verb, one function. Bodies import what they need, so that `--help` takes a moment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from landweave.errors import ConfigError, LandweaveError

if TYPE_CHECKING:
    from landweave.run.experiment import Experiment

app = typer.Typer(
    name="landweave",
    help="Learn land cover from several sensors with few labels, and turn it into maps.\n\n"
    "First time? `landweave demo`. Your own rasters: `tile`, `train`, `map`, `report`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[
    str,
    typer.Option("--json", metavar="[FILE]", help="Write the result as JSON to FILE.json, or to standard output."),
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe: data.path=DIR train.epochs=5"),
]
Pairs = list[str] | None


def _pairs(texts: Pairs, option: str) -> dict[str, str]:
    """`sensor=value` options as a dictionary; a key that stands twice is joined by `;`."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, eq, value = text.partition("=")
        if not (key and eq and value):
            raise ConfigError(f"`{text}` is not NAME=VALUE", where=option, fix=f"for example {option} s2-l2a=...")
        found[key] = f"{found[key]};{value}" if key in found else value
    return found


def _numbers(texts: Pairs, option: str) -> dict[str, float]:
    found = {}
    for key, value in _pairs(texts, option).items():
        try:
            found[key] = float(value)
        except ValueError:
            raise ConfigError(f"`{value}` is not a number", where=f"{option} {key}") from None
    return found


def _emit(result: Any, target: str) -> None:
    """Write a result as JSON where the user asked for it."""
    if not target:
        return
    text = json.dumps(result, indent=1, ensure_ascii=False, default=str)
    if target == "-":
        print(text)
    else:
        from landweave.files import write_text

        write_text(Path(target), text + "\n")
        _say(f"wrote {target}", target)


def _say(text: str, target: str = "") -> None:
    """A line for the person; on standard error where standard output carries JSON."""
    print(text, file=sys.stderr if target == "-" else sys.stdout, flush=True)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar where somebody looks at it, otherwise nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit="", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _experiment(first: str, changes: Sequence[str] | None) -> Experiment:
    """A recipe with changes; a table file may stand in the recipe's place where only data matter."""
    from landweave.run.experiment import recipe

    return recipe(first, list(changes or ()))


def _data(first: str, changes: Sequence[str] | None) -> Any:
    """The data part of a recipe, of a run, of a table file, or of bare `data.kind=... data.path=...` changes."""
    from landweave.config import override, parse
    from landweave.run.experiment import DataOnly, raw_recipe

    changes = list(changes or ())
    if not first or _is_change(first):
        raw, where, lines = {}, "", None
        changes = [c for c in (first, *changes) if c]
    elif Path(first).suffix in (".parquet", ".csv", ".gpkg"):
        raw, where, lines = {"data": {"kind": "table", "path": first}}, "", None
    else:
        raw, where, lines = raw_recipe(first)
    raw = {"data": override(raw, changes).get("data", {})}
    return parse(DataOnly, raw, where=where, lines=lines).data


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that the demo makes.")] = Path("demo"),
    places: Annotated[int, typer.Option(help="Places of the synthetic world.")] = 200,
    epochs: Annotated[int, typer.Option(help="Epochs of mosaic-1; the others have more.")] = 9,
    json_: Json = "",
) -> None:
    """The whole way on a synthetic world.

    Runs synth, check, pack, train (three methods), evaluate, map and report in about 3 minutes, and says what to open.
    """
    from landweave.demo import run_demo

    def command(words: Sequence[str]) -> None:
        app(list(words), prog_name="landweave", standalone_mode=False)

    _emit(run_demo(out, places=places, epochs=epochs, say=lambda t: _say(t, json_), command=command), json_)


@app.command()
def tile(
    image: Annotated[Pairs, typer.Option("--image", metavar="SENSOR=FILE", help="A raster, or a quoted glob.")] = None,
    label: Annotated[Pairs, typer.Option("--label", metavar="TASK=FILE", help="A label raster, or a glob.")] = None,
    legend: Annotated[Path | None, typer.Option(help="YAML: class values, names, colours, ignored values.")] = None,
    size: Annotated[int, typer.Option(help="Pixels of the label raster along a side of a place.")] = 128,
    out: Annotated[Path, typer.Option("--out", help="The table to write (.parquet).")] = Path("places.parquet"),
    append: Annotated[bool, typer.Option("--append", help="Add to the table instead of making a new one.")] = False,
    bands: Annotated[Pairs, typer.Option(metavar="SENSOR=B02,B03", help="Band names in the file's order.")] = None,
    offset: Annotated[Pairs, typer.Option(metavar="SENSOR=NUMBER", help="Added to raw values: s2-l2a=-1000")] = None,
    multilabel: Annotated[bool, typer.Option("--multilabel", help="Label places by the classes they hold.")] = False,
    min_share: Annotated[float, typer.Option(help="With --multilabel: least share of a class.")] = 0.05,
    split: Annotated[str, typer.Option(help="Put all places of this call into train, validation or test.")] = "",
    split_by: Annotated[
        Literal["block", "file"], typer.Option(help="Split by blocks of ground or by whole files.")
    ] = "block",
    shares: Annotated[str, typer.Option(help="Shares of train, validation, test.")] = "0.6,0.2,0.2",
    buffer: Annotated[float | None, typer.Option(help="Unused ground between splits, CRS units; one place.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    json_: Json = "",
) -> None:
    """Cut large rasters into a table of places.

    No pixel is copied: the table keeps the bounds of each place. Files given as globs are matched by their names.
    """
    from landweave.data.tile import tile as run

    with _bar("tile") as progress:
        report = run(
            _pairs(image, "--image"),
            _pairs(label, "--label"),
            legend=legend,
            size=size,
            out=out,
            append=append,
            bands=_pairs(bands, "--bands"),
            offset=_numbers(offset, "--offset"),
            kind="multilabel" if multilabel else "map",
            min_share=min_share,
            split=split or None,
            split_by=split_by,
            splits=_shares(shares),
            buffer=buffer,
            seed=seed,
            progress=progress,
        )
    for line in report.lines():
        _say(line, json_)
    _emit(report.to_json(), json_)


def _shares(text: str) -> tuple[float, float, float]:
    try:
        parts = [float(p) for p in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or abs(sum(parts) - 1) > 1e-6:
        raise ConfigError(
            f"`{text}` is not three shares that add up to 1", where="--shares", fix="--shares 0.6,0.2,0.2"
        )
    train_, validation, test = parts
    return train_, validation, test


@app.command()
def synth(
    layout: Annotated[str, typer.Argument(help="bigearthnet-v2, eurosat, eurosat-rgb, sen12ms, dfc2020 or table.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    places: Annotated[int, typer.Option(help="How many places.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the world.")] = 0,
    null: Annotated[str, typer.Option(help="A world in which a gain must vanish: s1, dates or labels.")] = "",
    json_: Json = "",
) -> None:
    """Write a synthetic world in a public layout."""
    from landweave.data.synth import write

    with _bar("synth") as progress:
        folder = write(layout, out, places=places, seed=seed, null=null or None, progress=progress)
    _say(
        f"wrote {places} places to {folder}\nnext: landweave check data.kind={_kind(layout)} data.path={_path(folder)}",
        json_,
    )
    _emit({"layout": layout, "out": str(folder), "places": places, "seed": seed, "null": null}, json_)


def _kind(layout: str) -> str:
    return "eurosat" if layout.startswith("eurosat") else layout


def _path(folder: Path) -> Path:
    table = folder / "places.parquet"
    return table if table.exists() else folder


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="A recipe, a table file, or data.kind=KIND.")],
    changes: Changes = None,
    json_: Json = "",
) -> None:
    """Read all data once and say what is wrong.

    Exit code 1 if anything is.
    """
    from landweave.data.check import check as run
    from landweave.data.dataset import Chosen

    data = _data(recipe, changes)
    with _bar("check") as progress:
        report = run(Chosen(data.open(), data.choices, coarsen=data.coarsen), progress=progress)
    for line in report.lines():
        _say(line, json_)
    _emit(report.to_json(), json_)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def pack(
    words: Annotated[
        list[str], typer.Argument(metavar="[RECIPE] OUT [KEY=VALUE]...", help="A recipe or table file; the store.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store of other data.")] = False,
    json_: Json = "",
) -> None:
    """Pack places into one store that reads fast.

    Training reads it many times faster than single files. Goes on after a kill.
    For example: landweave pack places.parquet store, or landweave pack store data.kind=eurosat data.path=DIR
    """
    from landweave.data.dataset import Chosen
    from landweave.data.store import pack as run

    paths, changes = [w for w in words if not _is_change(w)], [w for w in words if _is_change(w)]
    if len(paths) not in (1, 2):
        raise ConfigError(
            f"{len(paths)} paths, but a store and at most one recipe or table are needed",
            where="landweave pack",
            fix="landweave pack places.parquet store",
        )
    *first, out = paths
    data = _data(first[0] if first else "", changes)
    with _bar("pack") as progress:
        report = run(
            Chosen(data.open(), data.choices, coarsen=data.coarsen), Path(out), overwrite=overwrite, progress=progress
        )
    for line in report.lines():
        _say(line, json_)
    _say(f"next: landweave train RECIPE data.kind=pack data.path={out} --out runs/mine", json_)
    _emit(report.to_json(), json_)


def _is_change(word: str) -> bool:
    """`data.path=x` is a change; a file whose name holds `=` is not, if it is there."""
    return "=" in word and not Path(word).exists()


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe (see `landweave recipes`), or a YAML file.")],
    changes: Changes = None,
    out: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/latest"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away another run that stands there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the recipe, and print it.")] = False,
    json_: Json = "",
) -> None:
    """Train a recipe.

    The same command goes on where a killed run stopped.
    """
    experiment = _experiment(recipe, changes)
    if dry_run:
        from landweave.config import to_yaml

        print(to_yaml(experiment), end="")
        return
    from landweave.run.train import train as run

    folder = run(experiment, out, overwrite=overwrite, progress=json_ != "-")
    evaluated = f"landweave evaluate {folder}   then: landweave report {folder}"
    probed = f"landweave train supervised start={folder} method.freeze=true --out RUN   on its encoders"
    _say(f"trained: {folder}\nnext: {evaluated if experiment.classifier else probed}", json_)
    if json_:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        _emit({"run": str(folder), "validation": config["validation_scores"]}, json_)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    changes: Changes = None,
    split: Annotated[
        str, typer.Option(help="train, validation, test, or snow_cloud (set aside by BigEarthNet v2).")
    ] = "test",
    product: Annotated[str, typer.Option(help="Name of the product, if the labels are one (agreement).")] = "",
    only: Annotated[
        list[str] | None, typer.Option(metavar="SENSOR", help="Hide all other sensors; may stand twice.")
    ] = None,
    absent: Annotated[
        Literal["mean", "zero"], typer.Option(help="What stands for a hidden sensor: its mean feature, or zeros.")
    ] = "mean",
    json_: Json = "",
) -> None:
    """Score a run beside trivial predictors.

    With --only, as if the other sensors had failed.
    """
    from landweave.run.evaluate import evaluate as score
    from landweave.run.evaluate import result_name, table

    kept = list(only or ())
    with _bar("evaluate") as progress:
        result = score(
            run,
            split=split,
            changes=list(changes or ()),
            product=product,
            only=kept,
            absent=absent,
            progress=progress,
        )
    for line in table(result):
        _say(line, json_)
    _say(f"wrote {run}/{result_name(split, kept, absent)}\nnext: landweave report {run}", json_)
    _emit(result, json_)


@app.command(name="map")
def map_(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    image: Annotated[Pairs, typer.Option("--image", metavar="SENSOR=FILE", help="A raster of each sensor.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The map to write (.tif).")] = Path("map.tif"),
    bands: Annotated[Pairs, typer.Option(metavar="SENSOR=B02,B03", help="Band names in the file's order.")] = None,
    offset: Annotated[Pairs, typer.Option(metavar="SENSOR=NUMBER", help="Added to raw values: s2-l2a=-1000")] = None,
    overlap: Annotated[float, typer.Option(min=0, max=0.9, help="Share by which windows overlap.")] = 0.5,
    batch_size: Annotated[int, typer.Option(help="Windows a step.")] = 8,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write class probabilities too.")] = False,
    json_: Json = "",
) -> None:
    """Map a scene of any size as one COG.

    With colours, class names and a QGIS style. Memory does not grow with the scene.
    """
    from landweave.maps.engine import map_scene
    from landweave.maps.made import remember
    from landweave.run.predict import open_run

    opened = open_run(run)
    opened.require_classifier()
    with _bar("map") as progress:
        result = map_scene(
            opened,
            _pairs(image, "--image"),
            out,
            bands=_pairs(bands, "--bands"),
            offset=_numbers(offset, "--offset"),
            overlap=overlap,
            batch_size=batch_size,
            probabilities=probabilities,
            progress=progress,
        )
    remember(run, out)
    for line in result.lines():
        _say(line, json_)
    _emit(result.to_json(), json_)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    maps: Annotated[list[Path] | None, typer.Option("--map", help="A map to show; default: all that RUN made.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The page; default RUN/report.html.")] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Score with single sensors too, where that has not been done.")
    ] = False,
    json_: Json = "",
) -> None:
    """Write one self-contained HTML page.

    Curves, scores, confusion, class spectra, embeddings, Grad-CAM, examples, the map and the leak meter; every figure
    also as SVG in RUN/figures.
    """
    from landweave.reports.report import report as write

    page = write(run, maps=maps or (), out=out, ablation=ablation, say=lambda t: _say(t, json_))
    _say(f"wrote {page}\nopen it in a browser", json_)
    _emit({"report": str(page)}, json_)


@app.command()
def reproduce(
    table: Annotated[str, typer.Argument(help="A table (mosaic/table-1, ...), or a protocol as a YAML file.")] = "",
    data: Annotated[Pairs, typer.Option("--data", metavar="DATASET=DIR", help="Where a dataset lies.")] = None,
    scale: Annotated[str, typer.Option(help="full: as published; smoke: minutes, to see that it runs.")] = "full",
    out: Annotated[
        Path, typer.Option("--out", help="Folder for runs and tables; one may serve several tables.")
    ] = Path("reproduced"),
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
    list_: Annotated[bool, typer.Option("--list", help="Say what can be reproduced, and its cost.")] = False,
    audit: Annotated[str, typer.Option(metavar="PAPER", help="Compute a paper's printed figures again.")] = "",
    json_: Json = "",
) -> None:
    """Make a paper's table again.

    Published figures beside ours. The same command goes on where a killed one stopped. Exit code 1 if a run failed.
    """
    if audit:
        from landweave.reproduce.auditing import audit as check

        found = check(audit)
        _say("\n".join(found.lines()), json_)
        _emit(found.to_json(), json_)
    elif list_ or not table:
        from landweave.reproduce.listing import offers

        tables = offers()
        _say("\n".join(line for one in tables for line in one.lines()), json_)
        _emit([one.to_json() for one in tables], json_)
    else:
        from landweave.reproduce import protocol, run_protocol
        from landweave.reproduce.render import lines

        chosen, places = protocol(table), _pairs(data, "--data")
        made = run_protocol(chosen, places, out, scale=scale, workers=workers, say=lambda t: _say(t, json_))
        _say("\n".join(lines(made)), json_)
        from landweave.reports.reproduce import page

        _say("wrote " + ", ".join(made.files), json_)
        _say(f"open {page(out)} in a browser", json_)
        _emit(made.to_json(), json_)
        if not made.ok:
            raise typer.Exit(1)


@app.command()
def recipes(json_: Json = "") -> None:
    """List the shipped recipes."""
    from landweave.run.experiment import recipes as shipped

    found = shipped()
    for name, path in found.items():
        first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        _say(f"{name:<12} {first}", json_)
    _emit({name: str(path) for name, path in found.items()}, json_)


@app.command()
def schema(json_: Json = "-") -> None:
    """Print the JSON Schema of recipes.

    An editor that has it completes and checks a recipe as you type.
    """
    from landweave.run.experiment import Experiment

    _emit(Experiment.model_json_schema(), json_)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"landweave {version('landweave')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing of its own: options that stand before the verb."""


def _with_json_target(words: Sequence[str]) -> list[str]:
    """`--json` may stand alone. What follows is its file only if it ends in .json: no table is taken for a target."""
    out: list[str] = []
    for word, after in zip(words, [*words, ""][1:], strict=True):
        out.append(word)
        if word == "--json" and after != "-" and not after.endswith(".json"):
            out.append("-")
    return out


def main() -> None:
    """Run a command; a LandweaveError becomes its own text and exit code, never a traceback."""
    try:
        app(_with_json_target(sys.argv[1:]), prog_name="landweave")
    except LandweaveError as error:
        if os.environ.get("LANDWEAVE_TRACEBACK"):
            raise
        print(f"landweave: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("\nlandweave: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
