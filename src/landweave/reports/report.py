"""One self-contained HTML page on a run: nothing is loaded from elsewhere, so it can be sent on and printed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landweave.errors import DataError, LandweaveError, RunError
from landweave.files import write_json, write_text
from landweave.reports import insight, page, regions, robust, robust_measure
from landweave.reports.examples import Example, collect_examples
from landweave.reports.measure import load, measure
from landweave.reports.pictures import data_uri
from landweave.run.ablate import ablate, rows

if TYPE_CHECKING:
    from landweave.run.evaluate import Scene
    from landweave.run.predict import Run

Path_ = str | os.PathLike[str]
EXAMPLES = 6
MOST_LEAK_PLACES = 800


def report(
    run: Path_,
    *,
    maps: Sequence[Path_] = (),
    out: Path_ | None = None,
    examples: int = EXAMPLES,
    ablation: bool = False,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Open a run and its data, draw examples, measure what the figures need, and write the page.

    Each figure is also a file, RUN/figures/NAME.svg. Where the data are not there any more, the page says so, and
    shows what the run folder alone holds.

    Args:
        run: a finished run folder.
        maps: maps to show; by default those that lie in the folder.
        out: the page; `report.html` in the folder by default.
        examples: how many places to show.
        ablation: make the evaluations with single sensors that are not there yet.
        say: told what is being done.

    Raises:
        RunError: the run is unfinished or damaged.
        DataError: one of `maps` is not a map of landweave.
        ConfigError: `ablation` of a run of one sensor.
    """
    from landweave.run.evaluate import reopen
    from landweave.run.predict import open_run

    tell = say or (lambda _: None)
    folder = Path(run)
    opened, notes = open_run(folder), {}
    shown: list[Example] = []
    found = page.evaluations(folder)
    split = found[0]["split"] if found else "validation"
    try:
        scene = reopen(opened, split)
        tell(f"examples from the {split} places")
        if opened.classifier:
            scores = {p["name"]: p["score"] for p in found[0]["places"]} if found else None
            shown = collect_examples(opened, scene.dataset, scene.scored, examples, scores=scores)
        if opened.task:
            tell("leak meter: random, block and group splits")
            _measure_leak(opened, scene, found[0] if found else None)
        measure(opened, scene, split, say=tell)
        robust_measure.measure(opened, scene, split, say=tell)
    except LandweaveError as error:
        notes["data"] = f"The data of this run could not be read again: {error.what}"
        tell(f"note: {notes['data']}")
    if ablation:
        ablate(folder, split=split, say=tell)
    return write_report(folder, out=Path(out) if out else None, maps=maps, examples=shown, notes=notes)


def _measure_leak(run: Run, scene: Scene, evaluation: dict[str, Any] | None) -> None:
    """Write `leak.json` unless it is there and no older than the evaluation that it uses."""
    from landweave.run.leak import leak

    target = run.folder / "leak.json"
    source = run.folder / f"evaluation-{evaluation['split']}.json" if evaluation else run.folder / "config.json"
    if target.is_file() and target.stat().st_mtime >= source.stat().st_mtime:
        return
    places = evaluation["places"] if evaluation else ()
    write_json(target, leak(scene.dataset, run.task, train=scene.train, places=places, most=MOST_LEAK_PLACES))


def write_report(
    folder: Path,
    *,
    out: Path | None = None,
    maps: Sequence[Path_] = (),
    examples: Sequence[Example] = (),
    notes: dict[str, str] | None = None,
) -> Path:
    """Write the page from the files of a run folder; what is missing is said, with the command that makes it.

    Raises:
        RunError: no `config.json`, or a damaged file.
        DataError: one of `maps` is not a map of landweave.
    """
    config = page.read(folder / "config.json")
    if config is None:
        raise RunError("not a finished run (no config.json)", where=folder, fix="train it: landweave train ... --out")
    found = page.evaluations(folder)
    main = found[0] if found else None
    leak = page.read(folder / "leak.json")
    values = _insight(folder, config, main)
    shown, left_out = _maps(folder, maps)
    plots = page.leak_figures(leak)
    curves = page.curves(page.history(folder), config["kind"])
    adapted = _adapted(folder, config)
    insight.write_figures(
        folder,
        {
            "curves": curves,
            "leak-distance": plots["distance"],
            "leak-splits": plots["splits"],
            **_figures(values),
            **{f"robust-{k}": v for k, v in adapted.items() if isinstance(v, str) and v.startswith("<svg")},
        },
    )
    text = template("template.html.j2").render(
        name=folder.resolve().name,
        config_folder=str(folder),
        config=config,
        facts=page.facts(config),
        sensors=page.sensors(config),
        main=main,
        headline=page.headline(main) if main else None,
        cautions=page.cautions(main) if main else [],
        averages=page.averages(main) if main else None,
        classes=page.classes(main) if main else None,
        confusions=page.confusions(main) if main else None,
        others=[e for e in found[1:] if page.headline(e)],
        readings=regions.readings(main) if main else [],
        groups=regions.groups(main) if main else None,
        tasks=regions.tasks(folder, config, main),
        head=page.headline,
        curves=curves,
        adapted=adapted,
        examples=examples,
        place_score=page.place_score(main),
        maps=shown,
        left_out=left_out,
        leak=leak,
        plots=plots,
        **values,
        commands=page.commands(folder, config, main),
        versions=page.read(folder / "versions.json") or {},
        settings=_settings(folder),
        notes=notes or {},
    )
    return write_text(out or folder / "report.html", text)


def _insight(folder: Path, config: dict[str, Any], main: dict[str, Any] | None) -> dict[str, Any]:
    """What the template says of classes, sensors and embeddings, from the files of the folder."""
    kept = load(folder)
    table = rows(folder, config, main["split"] if main else "test")
    return {
        "classifier": config.get("classifier", True),
        "class_losses": insight.class_losses(main) if main else [],
        "spectra": insight.class_figures(kept["classes"], main),
        "embedding": insight.embedding(kept["tsne"]),
        "looking": insight.looking(kept["gradcam"]),
        "ablation": insight.ablation(table, config["kind"]) if table and main else None,
        "fault": insight.fault_test(page.read(folder / "evaluation-snow_cloud.json"), main),
    }


def _adapted(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The figures of a run that was adapted from a teacher; empty for any other."""
    from landweave.config import parse
    from landweave.run.experiment import Experiment

    settings = parse(Experiment, config["experiment"], where=str(folder / "config.json"))
    if not settings.method.teacher:
        return {}
    found = robust_measure.load(folder)
    return robust.figures(page.history(folder), settings.method.faults, settings.train.epochs, found)


def _figures(values: dict[str, Any]) -> dict[str, str]:
    """The drawings among them, by the name of their file."""
    spectra = values["spectra"]
    return {
        "spectral-traces": spectra["traces"],
        "class-similarity": spectra["matrix"],
        "loss-against-similarity": spectra["against"],
        "tsne": values["embedding"]["figure"],
        "grad-cam": values["looking"]["figure"],
        "modality-ablation": values["ablation"]["figure"] if values["ablation"] else "",
    }


def template(name: str) -> Any:
    """A template of this folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def number(value: float | None, digits: int = 3) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    loader = FileSystemLoader(str(files("landweave") / "reports"))
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["share"] = page.share
    environment.filters["thousands"] = lambda value: f"{value:,}".replace(",", "\u202f")
    return environment.get_template(name)


def _maps(folder: Path, given: Sequence[Path_]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Quicklooks of the maps that are given, or of those that the run made, and which are left out and why."""
    from landweave.maps.cog import quicklook
    from landweave.maps.made import foreign, made
    from landweave.maps.sources import metres

    out, left_out = [], []
    for path in given or made(folder):
        try:
            look = quicklook(path)
        except DataError:
            if given:
                raise
            continue  # probabilities, or somebody's own raster
        if not given and (why := foreign(folder, Path(path), look.tags)):
            left_out.append({"file": Path(path).name, "why": why})
            continue
        shares = sorted(((look.shares[v], n, c) for v, n, c in look.classes if look.shares[v] > 0), reverse=True)
        height, width = look.grid.shape
        told = ", ".join(f"{n} {s:.0%}" for s, n, _ in shares[:5])
        out.append(
            {
                "file": Path(path).name,
                "uri": data_uri(look.picture()),
                "alt": f"Land-cover map {Path(path).name}: {told}",
                "size": f"{height} × {width} pixels of {metres(look.grid):.4g} m",
                "crs": look.grid.crs if len(look.grid.crs) < 20 else "",
                "classes": [{"name": n, "color": c, "share": s} for s, n, c in shares],
                "tags": look.tags,
            }
        )
    return out, left_out


def _settings(folder: Path) -> str:
    path = folder / "experiment.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
