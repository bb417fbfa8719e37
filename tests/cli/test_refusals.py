"""Bad input ends soon, in at most 10 lines, naming file or key and the fix, without a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from landweave.data import raster
from tests.cli.places import TINY, call, grid_of, load_rows, run, save_rows, write_place, write_table


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def table(clean: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(clean.parent, tmp_path / "data")) / "places.csv"


def refuse(*words: object, names: tuple[str, ...], code: int = 1) -> str:
    start = time.perf_counter()
    done = run(*words)
    text = done.stderr.strip()
    _log(os.environ.get("PYTEST_CURRENT_TEST", ""), time.perf_counter() - start, text, done.returncode)
    assert done.returncode == code, (done.returncode, done.stdout[-500:], text[-2000:])
    assert "Traceback" not in done.stdout + done.stderr
    assert len(text.splitlines()) <= 10, text
    for name in names:
        assert name in text, (name, text)
    return text


def _log(test: str, seconds: float, text: str, code: int) -> None:
    """For `make evidence NAME=spine`: how long each refusal took, and how long it is."""
    target = os.environ.get("LANDWEAVE_REFUSALS")
    if target:
        name = test.split("::")[-1].split(" ")[0].removeprefix("test_").replace("_", " ")
        row = {"case": name, "seconds": round(seconds, 2), "lines": len(text.splitlines()), "exit": code}
        with Path(target).open("a") as file:
            file.write(json.dumps(row) + "\n")


def train(table: Path, *changes: str, names: tuple[str, ...], code: int = 1) -> str:
    out = table.parent / "run"
    data = ("data.kind=table", f"data.path={table}")
    text = refuse("train", "segment", *data, *TINY, *changes, "--out", out, names=names, code=code)
    assert not out.exists()
    return text


def spoil(table: Path, file: str, content: bytes) -> None:
    (table.parent / file).write_bytes(content)


def test_missing_folder(table: Path) -> None:
    train(table, "data.path=/no/such/places.parquet", names=("/no/such/places.parquet", "fix"))


def test_missing_file(table: Path) -> None:
    (table.parent / "s2_8.tif").unlink()
    train(table, names=("s2_8.tif", "fix"))


def test_wrong_band_count(table: Path) -> None:
    raster.write(table.parent / "s2_8.tif", np.ones((5, 32, 32), np.uint16), grid_of(8))
    train(table, names=("s2_8.tif", "5 bands", "s2-l2a", "fix"))


def test_truncated_geotiff(table: Path) -> None:
    whole = (table.parent / "s2_8.tif").read_bytes()
    spoil(table, "s2_8.tif", whole[: len(whole) // 2])
    train(table, names=("s2_8.tif", "truncated", "fix"))


def test_a_text_file_named_tif(table: Path) -> None:
    spoil(table, "s1_9.tif", b"this is not an image\n")
    train(table, names=("s1_9.tif", "not a raster", "fix"))


def test_nan_labels(table: Path) -> None:
    label = np.ones((1, 32, 32), np.float32)
    label[0, :3] = np.nan
    raster.write(table.parent / "lc_10.tif", label, grid_of(10))
    train(table, names=("lc_10.tif", "NaN", "fix"))


def test_a_label_value_outside_the_legend(table: Path) -> None:
    raster.write(table.parent / "lc_10.tif", np.full((1, 32, 32), 7, np.uint8), grid_of(10))
    train(table, names=("lc_10.tif", "label value 7", "four", "fix"))


def test_an_unknown_model(table: Path) -> None:
    train(table, "method.encoder.name=resnet18x", names=("resnet18x", "did you mean `resnet18`"), code=2)


def test_a_misspelt_key(table: Path) -> None:
    train(table, "train.batchsize=4", names=("train.batchsize", "did you mean `batch_size`"), code=2)


def test_a_term_of_a_view_that_is_not_there(table: Path) -> None:
    words = ("train", "mosaic-1", "data.kind=table", f"data.path={table}", "method.terms.intra.views=[a, bb]")
    names = ("term `intra` looks at view `bb`", "did you mean `b`", f"change `{words[-1]}`", "`views`")
    refuse(*words, "--out", table.parent / "run", names=names, code=2)


def test_a_term_of_a_sensor_that_is_not_there_is_refused_before_torch_is_loaded(table: Path) -> None:
    code = (
        "import sys\nfrom landweave.errors import ConfigError\nfrom landweave.run.experiment import recipe\n"
        "from landweave.run.train import train\n"
        "try:\n    train(recipe(sys.argv[1], sys.argv[2:]), 'no-run', progress=False)\n"
        "except ConfigError as error:\n    print(error)\n    assert 'torch' not in sys.modules\n"
    )
    data = ("data.kind=table", f"data.path={table}", "data.task=lulc")
    for name, key in (("d-simclr", "pretrain.method.terms.inter"), ("mma", "pretrain.method.terms.dense")):
        words = (name, *data, f"{key}.sensors=[s2-l2a, s1-rtc-gama0]")
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=table.parent)
        assert done.returncode == 0, done.stderr
        assert "no sensor `s1-rtc-gama0`, did you mean `s1-rtc-gamma0`?" in done.stdout
        assert not (table.parent / "no-run").exists()


def test_a_method_that_would_end_without_a_classifier(table: Path) -> None:
    words = ("train", "mosaic-1", "data.kind=table", f"data.path={table}", "method.terms.supervised.weight=0")
    refuse(*words, "--out", table.parent / "run", names=("classify", "supervised", "pretrain"), code=2)


def test_recipes_are_refused_before_torch_is_loaded() -> None:
    code = (
        "import sys\nfrom landweave.errors import ConfigError\nfrom landweave.run.experiment import recipe, recipes\n"
        "for name in recipes():\n    recipe(name)\n"
        "try:\n    recipe('iai-simclr', ['pretrain.method.terms.inter.head=x'])\n"
        "except ConfigError:\n    assert not {'torch', 'lightning', 'timm', 'pandas'} & set(sys.modules)\n"
        "else:\n    raise SystemExit('not refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_sensor_that_no_place_has(table: Path) -> None:
    save_rows(table, [{**r, "s1-rtc-gamma0": ""} for r in load_rows(table)])
    train(table, "data.streams=[s2-l2a, s1-rtc-gamma0]", names=("s1-rtc-gamma0", "places.csv", "fix"))


def test_two_rasters_of_different_crs(table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_place(other, 8, "EPSG:32634")
    shutil.copy(other / "s1_8.tif", table.parent / "s1_8.tif")
    train(table, names=("s1_8.tif", "EPSG:32634", "EPSG:32633", "fix"))


def test_an_empty_split(table: Path) -> None:
    rows = [{**r, "split": "train" if r["split"] == "validation" else r["split"]} for r in load_rows(table)]
    save_rows(table, rows)
    train(table, names=("no place in split `validation`", "places.csv", "fix"))


def test_linear_power_in_a_table_that_says_db(table: Path) -> None:
    rows = load_rows(table)
    for r in rows:
        path = table.parent / r["s1-rtc-gamma0"]
        db = raster.read(path)
        raster.write(path, (10 ** (db.data / 10)).astype(np.float32), db.grid)
    train(table, names=("s1_", "s1-rtc-gamma0", "linear", "fix"))


@pytest.fixture(scope="module")
def trained(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "r"
    text = call("train", "segment", "data.kind=table", f"data.path={clean}", *TINY, "--out", out, "--json", "-")
    assert json.loads(text)["run"] == str(out)
    return out


def test_a_db_model_on_linear_input(trained: Path, clean: Path, tmp_path: Path) -> None:
    db = raster.read(clean.parent / "s1_0.tif")
    raster.write(tmp_path / "linear.tif", (10 ** (db.data / 10)).astype(np.float32), db.grid)
    images = ("--image", f"s2-l2a={clean.parent / 's2_0.tif'}", "--image", f"s1-rtc-gamma0={tmp_path / 'linear.tif'}")
    refuse("map", trained, *images, "--out", tmp_path / "m.tif", names=("linear.tif", "s1-rtc-gamma0", "linear", "fix"))
    assert not (tmp_path / "m.tif").exists()


def test_linear_input_that_says_so_is_converted(trained: Path, clean: Path, tmp_path: Path) -> None:
    db = raster.read(clean.parent / "s1_0.tif")
    raster.write(tmp_path / "linear.tif", (10 ** (db.data / 10)).astype(np.float32), db.grid)
    optical = ("--image", f"s2-l2a={clean.parent / 's2_0.tif'}")
    decibel, linear = f"s1-rtc-gamma0={clean.parent / 's1_0.tif'}", f"s1-rtc-gamma0-linear={tmp_path / 'linear.tif'}"
    call("map", trained, *optical, "--image", decibel, "--out", tmp_path / "a.tif")
    call("map", trained, *optical, "--image", linear, "--out", tmp_path / "b.tif")
    assert (raster.read(tmp_path / "a.tif").data == raster.read(tmp_path / "b.tif").data).mean() > 0.99


def test_a_sensor_that_the_model_does_not_know(trained: Path, clean: Path, tmp_path: Path) -> None:
    image = ("--image", f"dem={clean.parent / 's2_0.tif'}")
    refuse("map", trained, *image, "--out", tmp_path / "m.tif", names=("dem", "fix"))


def test_a_run_that_is_not_there() -> None:
    refuse("evaluate", "/no/such/run", names=("/no/such/run", "fix"))


def test_classes_in_another_order_than_the_run_learned_them(trained: Path, table: Path) -> None:
    legend = table.parent / "places.legend.yaml"
    lines = legend.read_text().splitlines()
    water, trees = (next(line for line in lines if word in line) for word in ("water", "trees"))
    swapped = "\n".join({water: trees, trees: water}.get(line, line) for line in lines)
    legend.write_text(swapped + "\n")
    names = ("classes trees, water", "the run was trained on water, trees", "legend", "fix")
    refuse("evaluate", trained, f"data.path={table}", names=names, code=2)


def test_another_experiment_is_not_overwritten(trained: Path, clean: Path) -> None:
    before = (trained / "config.json").read_bytes()
    names = (str(trained), "--overwrite", "optim.lr 0.001 there, 0.5 here")
    data = ("data.kind=table", f"data.path={clean}")
    refuse("train", "segment", *data, *TINY, "optim.lr=0.5", "--out", trained, names=names)
    assert (trained / "config.json").read_bytes() == before


def test_a_folder_in_the_place_of_a_table_is_told_what_to_type(table: Path) -> None:
    refuse("check", table.parent, names=(f"{table.parent}: a folder", f"fix: type {table} in its place"), code=2)


def test_check_goes_on_and_names_every_fault(table: Path) -> None:
    spoil(table, "s1_9.tif", b"this is not an image\n")
    (table.parent / "s2_8.tif").unlink()
    done = run("check", table)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "s1_9.tif" in done.stdout
    assert "s2_8.tif" in done.stdout
