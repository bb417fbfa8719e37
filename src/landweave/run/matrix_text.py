"""The matrix for people: lines for a terminal, Markdown and CSV. JSON is `Matrix.to_json`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from landweave.columns import aligned, piped
from landweave.files import write_json, write_text
from landweave.run.matrix import SHOWN, Cell, Matrix

NOTHING = "-"
NOTES = (
    "drop-in: the run's own head, never trained again; probe: a head trained anew on faulty training images",
    "unchanged: share of the teacher's answers on complete images that stay; recovered: of what the fault cost the "
    "teacher in drop-in, the share that is won back",
    "excess: contrastive loss above the teacher's own against itself; R@1: own teacher nearest, of 64 and of all",
)


def write(found: Matrix, out: Path) -> list[Path]:
    """`out` as JSON, and beside it the same name with `.md` and `.csv`; `faults@0.9` has none of these endings."""
    stem = out.stem if out.suffix in (".json", ".md", ".csv") else out.name
    return [
        write_json(out.with_name(f"{stem}.json"), found.to_json()),
        write_text(out.with_name(f"{stem}.md"), "\n".join(markdown(found)) + "\n"),
        write_text(out.with_name(f"{stem}.csv"), comma_separated(found)),
    ]


def lines(found: Matrix, *, width: int = 0) -> Iterator[str]:
    """For a terminal, of `width` characters if given; wider tables go on below themselves."""
    for title, header, rows in _tables(found):
        yield title
        keys = 2 if header[:2] == ("encoder", "faults") else 1
        yield from aligned(header, rows, keys=keys, width=width)
        yield ""
    yield from _notes(found)


def markdown(found: Matrix) -> Iterator[str]:
    """The same as tables of Markdown."""
    yield f"# Faults: {', '.join(found.encoders)}"
    for title, header, rows in _tables(found):
        yield from ("", f"## {title}", "")
        yield from piped(header, rows)
    yield ""
    yield from (f"- {note}" for note in _notes(found))


def comma_separated(found: Matrix) -> str:
    """A line an encoder, fault set, way (drop-in or probe) and score."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["encoder", "faults", "way", "score", "value", "std"])
    for c in found.cells:
        for name, value in c.drop_in.items():
            writer.writerow([c.encoder, c.faults, "drop-in", name, _blank(value), ""])
        for name, facts in c.probe.items():
            writer.writerow([c.encoder, c.faults, "probe", name, _blank(facts["mean"]), _blank(facts["std"])])
        for name, value in _facts(c).items():
            writer.writerow([c.encoder, c.faults, "", name, _blank(value), ""])
    return out.getvalue()


def _blank(value: float | None) -> float | str:
    return "" if value is None else value


def _facts(c: Cell) -> dict[str, float | None]:
    found = {k: getattr(c, k) for k in ("unchanged", "unchanged_teacher", "drop", "recovered", "area")}
    return found | (c.alignment.to_json() if c.alignment else {})


def _tables(found: Matrix) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    yield _scores(found, found.headline)
    for name in SHOWN[found.kind]:
        if name != found.headline:
            yield _scores(found, name)
    yield _robustness(found)
    if found.contributions:
        yield _worth(found)


def _scores(found: Matrix, name: str) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Probe and drop-in of every encoder, a row a fault set."""
    header = ["faults"]
    for encoder in found.encoders:
        header += [f"{encoder} drop-in", "probe"]
    rows = []
    for column in found.columns:
        row = [column.name]
        for encoder in found.encoders:
            c = found.cell(encoder, column.name)
            row += [_percent(c.drop_in.get(name)), _with_spread(c, name)]
        rows.append(tuple(row))
    return f"{name.replace('_', ' ')} in percent, split {found.split}, {found.places} places", tuple(header), rows


def _robustness(found: Matrix) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """How far answers and features move."""
    areas = any(c.area is not None for c in found.cells)
    header = ("encoder", "faults", "lost", "recovered", "unchanged", *(("area",) if areas else ()))
    header = (*header, "cosine", "R@1 (64)", "R@1 (all)", "excess")
    rows = []
    for c in found.cells:
        a = c.alignment
        near = (
            (f"{a.cosine:.3f}", _percent(a.retrieval_batch), _percent(a.retrieval_all), f"{a.excess:+.3f}")
            if a
            else (NOTHING,) * 4
        )
        area = (_percent(c.area),) if areas else ()
        cells = (_percent(c.drop), _percent(c.recovered), _percent(c.unchanged_teacher), *area, *near)
        rows.append((c.encoder, c.faults, *cells))
    return f"What faults change ({found.headline.replace('_', ' ')} in percent)", header, rows


def _worth(found: Matrix) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    header = ["band"]
    for encoder in found.contributions:
        header += [f"{encoder} Shapley", "left out", "alone"]
    bands = [c.band for c in next(iter(found.contributions.values()))]
    rows = []
    for i, band in enumerate(bands):
        row = [band]
        for mine in found.contributions.values():
            c = mine[i]
            spread = f" ± {100 * c.error:.2f}" if c.error else ""
            row += [f"{100 * c.shapley:+.2f}{spread}", f"{100 * c.left_out:+.2f}", f"{100 * c.alone:+.2f}"]
        rows.append(tuple(row))
    return f"What a band is worth: points of {found.headline.replace('_', ' ')}, drop-in", tuple(header), rows


def _notes(found: Matrix) -> Sequence[str]:
    p = found.probe
    probed = any(c.probe for c in found.cells)
    draws = "new faults at every epoch" if found.kind == "map" else f"{p.draws} draws of faults a training place"
    head = "decoder of the run" if found.kind == "map" else f"{p.head.kind} head"
    how = f"probe: {head}, lr {p.lr:g}, {p.epochs} epochs, {draws}, mean ± deviation of {p.seeds} seeds"
    return (f"teacher: {found.teacher}", *NOTES, *((how,) if probed else ()))


def _with_spread(c: Cell, name: str) -> str:
    facts = c.probe.get(name)
    if not facts:
        return NOTHING
    return _percent(facts["mean"]) + ("" if facts["std"] is None else f" ± {100 * facts['std']:.2f}")


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"
