"""Protocols: every shipped one is whole, tables share runs, faults are named in a moment and before torch is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from landweave.errors import ConfigError
from landweave.reproduce import protocol, protocols
from landweave.reproduce.config import placed
from landweave.reproduce.fingerprint import _meaning, code_mark, recipe_mark
from landweave.reproduce.listing import offers
from landweave.reproduce.plan import experiments
from landweave.reproduce.table import columns_of
from tests.reproduce import small

NAMES = (
    *(f"mosaic/{name}" for name in ("table-1", "table-2", "table-4", "table-5", "table-6", "single-label")),
    *(f"fusion-poster/{name}" for name in ("single-label", "multi-label", "label-fraction")),
)


def test_all_tables_are_there() -> None:
    """Those of the band-adaptation thesis and of FLAIR-HUB: see test_adapt_protocol.py and test_flair_protocols.py."""
    assert {n for n in protocols() if not n.startswith(("adapt/", "flair/"))} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_every_scale_is_a_valid_experiment(name: str) -> None:
    one = protocol(name)
    paths = dict.fromkeys((*one.datasets, *one.pretraining), "DIR")
    for scale in one.scales:
        found = list(experiments(one, paths, scale, first=True))
        assert {row.name for *_, row, _ in found} == {row.name for row in one.rows}
        for _, share, _, _, pair in found:
            assert pair["main"].data.fraction == share
            if scale == "smoke":
                assert pair["main"].train.epochs <= 4
                assert pair["main"].data.coarsen > 1


@pytest.mark.parametrize("name", [n for n in NAMES if n != "fusion-poster/label-fraction"])
def test_every_published_figure_has_its_cell(name: str) -> None:
    """No row or column of a published table is left without a method or a score, by a slip in a name say."""
    one = protocol(name)
    printed = one.published
    assert printed is not None
    rows = {row.published or row.name for row in one.rows}
    names = {source.published for source in one.datasets.values()}
    columns = [c.published for c in columns_of(one, [])]
    found = {
        id(cell)
        for dataset in names
        for row in rows
        for column in columns
        if (cell := printed.get(dataset, row, column)) is not None
    }
    lacking = [key for key, cell in printed.cells.items() if id(cell) not in found]
    unprinted = {"micro_precision", "micro_recall"} if name == "mosaic/single-label" else set()
    assert {column for _, _, column in lacking} == unprinted


def test_tables_of_one_paper_share_their_runs() -> None:
    def marks(name: str) -> dict[str, str]:
        found = experiments(protocol(name), {"bigearthnet-v2": "DIR"}, "smoke", first=True)
        return {row.name: recipe_mark(pair["main"]) for *_, row, pair in found}

    first = marks("mosaic/table-1")
    for name in ("mosaic/table-2", "mosaic/table-5", "mosaic/table-6"):
        assert marks(name).items() <= first.items()
    assert set(marks("mosaic/table-4").values()) == {first["MoSAiC-1"]}


def test_settings_of_the_paper() -> None:
    found = list(experiments(protocol("mosaic/table-1"), {"bigearthnet-v2": "DIR", "sen12ms": "DIR"}, "full"))
    assert len(found) == 8 * 2 * 4
    assert {pair["main"].data.fraction for *_, pair in found} == {0.1}
    assert {(run, pair["main"].seed, pair["main"].data.seed) for run, *_, pair in found} == {
        (i, i, i) for i in range(4)
    }
    ours = {row.name: pair["main"].method.encoder.name for *_, row, pair in found}
    assert ours["MoSAiC-1"] == ours["IaI-SimCLR"] == ours["ResNet-34"] == "resnet34"


def test_the_list_counts_each_training_once() -> None:
    found = {one.name: one for one in offers()}
    assert found["mosaic/table-1"].runs["full"] == 8 * 2 * 4 + 2 * 2 * 4  # and stages of Intra- and IaI-SimCLR
    assert found["mosaic/table-4"].runs["full"] == 4
    assert found["mosaic/table-4"].passes == pytest.approx(237871 * 0.1 * 50 * 2 * 2 * 4)
    curve = found["fusion-poster/label-fraction"]
    assert curve.runs["full"] == 3 * (10 + 10 + 3 + 3) + 10  # one stage a seed serves all shares


def test_the_protocol_of_the_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text()
    text = page.split("## Your own protocol")[1].split("```yaml\n")[1].split("```")[0]
    found = list(experiments(protocol(small.write(tmp_path, text)), {"mine": "places.parquet"}, "full"))
    assert len(found) == 3 * (10 + 10 + 3)


def test_code_without_its_words() -> None:
    one = '"""Doc."""\ndef f(x):\n    """Says."""\n    return x + 1  # why\n'
    assert _meaning(one) == _meaning("def f(x):\n\n    return (x + 1)\n")
    assert _meaning(one) != _meaning("def f(x):\n    return x + 2\n")
    assert code_mark() == code_mark()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: mosaic/table-9\n", "extends the unknown `mosaic/table-9`, did you mean"),
        ("extends: mosaic/table-1\ntake: {rows: [MoSAiC-3]}\n", "has no MoSAiC-3, did you mean `MoSAiC-"),
        (small.PROTOCOL.replace("compare: [plain]", "compare: [plan]"), "no `plan`, did you mean `plain`"),
        (small.PROTOCOL.replace("fractions: [0.5, 1.0]", "fractions: [0.5, 2]"), "2 is not a share"),
        (small.PROTOCOL.replace("runs:", "run:"), "unknown key `run`, did you mean `runs`"),
        (small.PROTOCOL + "per_class: f1\nclasses: [a]\n", "`classes`"),
    ],
)
def test_faults_of_a_protocol(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        protocol(small.write(tmp_path, text))
    assert words in str(error.value)


def test_faults_of_a_row_name_protocol_and_row(tmp_path: Path) -> None:
    one = small.built(rows=({"name": "plain", "recipe": "supervised", "changes": ("optim.rl=1",)},))
    with pytest.raises(ConfigError, match=r"built: plain.*unknown key `optim\.rl`"):
        list(experiments(one, {"w": "DIR"}, "full"))
    one = small.built(changes=("seed=3",))
    with pytest.raises(ConfigError, match="`seed=3` cannot be changed"):
        list(experiments(one, {"w": "DIR"}, "full"))
    with pytest.raises(ConfigError, match="no number of runs for 1 "):
        list(experiments(small.built(runs={0.5: 3}), {"w": "DIR"}, "full"))


def test_data_that_are_lacking_or_unknown() -> None:
    one = protocol("fusion-poster/single-label")
    with pytest.raises(ConfigError, match="needs sen12ms") as error:
        placed(one, {"dfc2020": "DIR"})
    assert "landweave synth sen12ms" in str(error.value)
    with pytest.raises(ConfigError, match="did you mean `dfc2020`"):
        placed(one, {"dfc202": "DIR"})
    assert placed(protocol("mosaic/table-1"), {"sen12ms": "DIR"}) == {"sen12ms": "DIR"}


SCRIPT = """
import contextlib, io, json, sys
sys.modules["torch"] = None
from landweave.__main__ import main
found = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["landweave", "reproduce", *words]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    found.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""


def test_faults_show_without_torch_and_so_do_audit_and_list(tmp_path: Path) -> None:
    """torch cannot even be imported in that process."""
    here, out = str(tmp_path), ["--out", str(tmp_path / "out")]
    faults = [
        (["mosaic/table-7", *out], "unknown table `mosaic/table-7`, did you mean `mosaic/table-"),
        (["mosaic/table-1", *out], "add --data bigearthnet-v2=DIR"),
        (["mosaic/table-1", "--data", f"bigearthnet-v2={here}", *out], "neither BigEarthNet-S2"),
        (["mosaic/table-1", "--data", f"bigearthnet-v2={here}/no", *out], "fix: set --data bigearthnet-v2=DIR to"),
        (["mosaic/table-1", "--data", f"sen12ms={here}", "--out", "/proc/x"], "cannot be written"),
        (["mosaic/table-1", "--data", f"sen12ms={here}", "--scale", "smok", *out], "did you mean `smoke`"),
        (["--audit", "mosaik"], "did you mean `mosaic`"),
    ]
    works = [["--audit", "mosaic"], ["--list"]]
    words = [*(w for w, _ in faults), *works]
    done = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for (_, said), (code, _, errors) in zip(faults, answers, strict=False):
        assert code in (1, 2)
        assert said in errors
        assert len(errors.splitlines()) <= 10
    for code, text, errors in answers[len(faults) :]:
        assert (code, errors) == (0, "")
        assert "table-1" in text
