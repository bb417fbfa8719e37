"""The recipes of FLAIR-HUB: the sensors, settings and printed figures of the paper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from landweave.methods import UPerFuse
from landweave.reproduce.published import paper
from landweave.run.experiment import Experiment, recipe, recipes
from landweave.run.fit import rate

NAMES = [n.removeprefix("flair/") for n in recipes() if n.startswith("flair/")]
TABLES = paper("flair").tables
S1 = {"s1-grd-sigma0-asc-linear", "s1-grd-sigma0-desc-linear"}
SENSORS = {
    "lc-a": {"aerial"}, "lc-b": {"aerial", "dsm-dtm"}, "lc-c": {"aerial", "dsm-dtm", "spot"},
    "lc-d": {"aerial", "s2-l2a"}, "lc-e": {"aerial", *S1}, "lc-f": {"aerial", "s2-l2a", *S1}, "lc-g": {"s2-l2a"},
    "lc-h": S1, "lc-i": {"spot"}, "lc-j": {"dsm-dtm"},
    "lc-k": {"aerial", "aerial-pan"},
    "lc-l": {"aerial", "dsm-dtm", "spot", "s2-l2a", *S1},
    "lc-all": {"aerial", "aerial-pan", "dsm-dtm", "spot", "s2-l2a", *S1},
    "lpis-a": {"aerial"}, "lpis-b": {"aerial", "spot"}, "lpis-c": {"aerial", "s2-l2a"},
    "lpis-d": {"aerial", "s2-l2a", *S1}, "lpis-e": {"aerial", "spot", "s2-l2a"}, "lpis-f": {"s2-l2a"}, "lpis-g": S1,
    "lpis-h": {"s2-l2a", *S1}, "lpis-i": {"spot", "s2-l2a", *S1}, "lpis-j": {"aerial", "spot", "s2-l2a", *S1},
    "lpis-k": {"spot"},
}  # fmt: skip
"""The crosses of tables X and XIV."""


def head(name: str) -> str:
    text = recipes()[f"flair/{name}"].read_text()
    return " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))


def figures(name: str, what: str) -> list[float]:
    return [float(v) for v in re.findall(rf"\b{what} ([\d.]+\d)", head(name))]


def sensors(experiment: Experiment) -> set[str]:
    return {c.sensor for c in experiment.data.choices}


def test_all_configurations_are_there() -> None:
    land = {row.lower() for row in TABLES["table-10"].rows("FLAIR-HUB")}
    crops = {f"lpis-{letter}" for letter in "abcdefghijk"} | {"lpis-i-2", "lpis-i-3"}
    ablations = {"lc-f-plain", "lc-f-dropout", "lc-f-monthly", "lc-f-auxiliary-dropout"}
    folds = {f"{base}-fold-{k}" for base in ("lc-f", "lpis-i") for k in range(1, 6)}
    both, others = {"both-lc-l", "both-lpis-i"}, {"lc-l-flair-1", "lc-l-flair-2"}
    assert land | crops | ablations | folds | both | others == set(NAMES)
    assert len(land) == 13


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_the_settings_of_the_paper(name: str) -> None:
    found = recipe(f"flair/{name}")
    method = found.method
    assert isinstance(method, UPerFuse)
    assert found.recipe == f"flair/{name}"
    assert (found.train.epochs, found.train.batch_size, found.train.monitor) == (150, 5, "")
    assert (found.optim.lr, found.optim.weight_decay, found.optim.clip) == (5e-5, 0.01, 0)
    assert rate(found.optim, 1000, 199) == pytest.approx(1), "the peak, after a fifth of the steps"
    assert rate(found.optim, 1000, 0) == pytest.approx(1 / 1000)
    assert (method.encoder.name, method.decoder.kind) == ("swin_base_patch4_window12_384", "upernet-flair")
    assert (method.series.kind, method.fusion.kind, method.augment.flip) == ("utae", "stages", 0)
    plain = ("lc-f-plain", "lc-f-dropout", "lc-f-monthly", *(f"lc-f-fold-{k}" for k in range(1, 6)))
    assert method.auxiliary == (1.5 if len(sensors(found)) > 1 and name not in plain else 0)
    assert bool(method.sensor_dropout) == ("dropout" in name)
    assert (found.data.average == "monthly") == ("monthly" in name)  # type: ignore[union-attr]
    learned = (found.data.task, *method.tasks)
    assert set(found.data.labels) == set(learned), "no label is read in vain"  # type: ignore[union-attr]
    assert {t: c for t, c in method.without.items() if t in learned} == {
        t: ("mixed crops",) for t in learned if t.startswith("lpis")
    }
    assert set(method.without) <= set(learned)
    base = re.sub(r"^both-|-fold-\d$|-flair-\d$|-\d$|-plain$|-dropout$|-monthly$|-auxiliary-dropout$", "", name)
    assert sensors(found) == SENSORS[base]
    texts = {str(c) for c in found.data.choices}
    assert texts <= {"aerial:N+R+G", "spot:N+R+G", "dsm-dtm:DSM+HEIGHT", "aerial-pan", "s2-l2a", *S1}


@pytest.mark.parametrize("name", NAMES)
def test_a_smoke_scale_keeps_the_graph(name: str) -> None:
    whole, small = recipe(f"flair/{name}"), recipe(f"flair/{name}", scale="smoke")
    for key in ("streams", "task", "labels", "legend", "splits"):
        assert getattr(small.data, key) == getattr(whole.data, key)
    for key in ("fusion", "tasks", "auxiliary", "branches", "without", "sensor_dropout"):
        assert getattr(small.method, key) == getattr(whole.method, key)
    assert small.data.coarsen["aerial"] == 4  # type: ignore[index]
    assert (small.method.encoder.name, small.method.series.kind) == ("test_convnext", whole.method.series.kind)  # type: ignore[union-attr]


def test_statistics_are_those_of_table_8() -> None:
    given = recipe("flair/lc-all").data.statistics
    table = TABLES["table-8"]
    columns = [c for c in table.columns if "train" in c and "valid" in c]
    found = {}
    for row in table.rows(table.datasets[0]):
        cells = [table.get(table.datasets[0], row, c) for c in columns]
        found[row] = sorted(c.mean for c in cells if c is not None and c.mean is not None)
    factor = {"aerial": 1, "aerial-pan": 1, "spot": 1e-4}
    assert set(given) == set(factor)
    printed = [tuple(v) for v in found.values()]
    for name, bands in given.items():
        for band, (mean, deviation) in bands.items():
            pair = sorted((mean / factor[name], deviation / factor[name]))
            assert any(pair == pytest.approx(p, rel=1e-5) for p in printed), (name, band)
    assert sum(map(len, given.values())) == 9, "all but the two of elevation, whose difference they do not fit"


def test_folds_whose_statistics_have_seen_their_test_say_so() -> None:
    for base in ("lc-f", "lpis-i"):
        told = [
            f"{base}-fold-{k}" for k in range(1, 6) if "test domains of this fold among" in head(f"{base}-fold-{k}")
        ]
        assert told == [f"{base}-fold-{k}" for k in range(2, 6)]
        assert all("statistics" not in recipes()[f"flair/{n}"].read_text().split("extends")[1] for n in told)


def test_printed_figures_are_those_of_the_paper() -> None:
    def row(table: str, name: str, column: str) -> float:
        cell = TABLES[table].get(TABLES[table].datasets[0], name, column)
        assert cell is not None
        assert cell.mean is not None
        return cell.mean

    for name in TABLES["table-10"].rows("FLAIR-HUB"):
        own = name.lower()
        assert figures(own, "mIoU") == [row("table-10", name, "miou")]
        assert figures(own, "O.A.")[0] == row("table-10", name, "oa")
        assert f"{row('table-10', name, 'params_millions')} M weights" in head(own)
    data = TABLES["table-14"].datasets
    level_1 = {name: TABLES["table-14"].get(data[0], name, "miou") for name in TABLES["table-14"].rows(data[0])}
    assert len(level_1) >= 11
    for own in NAMES:
        if re.fullmatch(r"lpis-[a-k]", own):
            cell = next(c for n, c in level_1.items() if n.lower().startswith(own))
            assert cell is not None
            assert figures(own, "mIoU") == [cell.mean]
    folds = TABLES["table-12-folds"]
    printed = [folds.get(d, r, "miou") for d in folds.datasets for r in folds.rows(d)]
    mine = [figures(f"lc-f-fold-{k}", "mIoU")[0] for k in range(1, 6)]
    assert mine == [c.mean for c in printed if c is not None][:5]
    assert [figures(f"lc-l-flair-{k}", "mIoU")[0] for k in (1, 2)] == [64.1, 65.0]


def test_the_pages_name_recipes_that_there_are() -> None:
    docs = Path(__file__).parents[2] / "docs"
    part = (docs / "flair.md").read_text().split("\n## Training\n")[1].split("\n## ")[0]
    named = set(re.findall(r"flair/([a-z][\w-]+)", part))
    assert named - {"_land-cover"} <= set(NAMES)
    prefixes = {re.sub(r"-[a-z\d]+$", "", n) for n in named} | named
    assert all(n in named or re.sub(r"-[a-z\d]+(-dropout)?$", "", n) in prefixes for n in NAMES)
    assert f"the {len(NAMES)} recipes `flair/...`" in (docs / "methods.md").read_text()
