"""Faulty bands of a raster: named, with the kind of fault; none where there is none; unlike where the scene is."""

from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from finding_scenes import BANDS, grid_of, make_run, scene, write_places
from numpy.typing import NDArray

from landweave.data import raster
from landweave.errors import ConfigError, ContractError, LandweaveError, RunError
from landweave.maps.cog import Writer
from landweave.maps.finding import SensorResult, find_faults
from landweave.maps.finding_fill import _raw
from landweave.run.predict import Run, open_run

SHAPE = (128, 208)
"""Of the raster that is looked at: its last blocks are cut."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("finding")
    return open_run(make_run(write_places(folder / "data"), folder / "run"))


@pytest.fixture(scope="module")
def clean() -> NDArray[np.uint16]:
    return scene(1000, SHAPE)


def look(run: Run, folder: Path, data: NDArray[np.uint16], **options: object) -> SensorResult:
    image = raster.write(folder / "image.tif", data, grid_of(50, SHAPE), descriptions=BANDS)
    (found,) = find_faults(run, {"s2-l2a": image}, folder / "faults.tif", overwrite=True, **options)  # type: ignore[arg-type]
    return found


def spoilt(data: NDArray[np.uint16], **bands: NDArray[np.floating] | NDArray[np.uint16]) -> NDArray[np.uint16]:
    out: NDArray[np.uint16] = data.copy()
    for band, values in bands.items():
        out[BANDS.index(band)] = np.rint(values)
    return out


def test_of_a_clean_image_it_says_none(run: Run, clean: NDArray[np.uint16], tmp_path: Path) -> None:
    found = look(run, tmp_path, clean)
    assert found.verdict == "none"
    assert found.by == "ridge"  # the network has learned nothing
    assert any(line.startswith("none: every band goes with the others") for line in found.lines())
    assert all(r["verdict"] == "none" and r["score"] < 1 for r in found.table)
    assert "left aside" not in "\n".join(found.lines())
    high = dataclasses.replace(found, table=[{**r, "score_from_all": 1.01} for r in found.table])
    assert f"(the worst is {BANDS[0]}, score 1.01, but one left aside, no band is at fault)" in "\n".join(high.lines())


def test_the_written_scores_are_a_small_cog_with_a_band_each(
    run: Run, clean: NDArray[np.uint16], tmp_path: Path
) -> None:
    found = look(run, tmp_path, spoilt(clean, B05=clean[3] * 1.5))
    read = raster.read(found.path)
    assert read.data.shape == (11, 4, 7)
    assert read.header.descriptions == BANDS
    assert read.grid.pixel == (320.0, 320.0)
    assert read.grid.bounds[0] == grid_of(50, SHAPE).bounds[0]
    scores = read.data * read.header.scales[0]
    assert (scores[BANDS.index("B05")][:4, :6] > 1).all()
    assert np.median(scores[BANDS.index("B12")]) < 1
    with found.path.with_suffix(".csv").open() as file:
        rows = {r["band"]: r for r in csv.DictReader(file)}
    assert rows["B05"]["verdict"] == "gain"
    assert rows["B12"]["verdict"] == "none"


@pytest.mark.parametrize(
    ("band", "what"),
    [("B08", "gain"), ("B04", "dead"), ("B11", "dead at its mean"), ("B03", "stripes"), ("B8A", "saturated")],
)
def test_a_fault_is_named_with_its_band(
    run: Run, clean: NDArray[np.uint16], tmp_path: Path, band: str, what: str
) -> None:
    own = clean[BANDS.index(band)].astype(float)
    change = {
        "gain": own * 1.3,
        "dead": own * 0,
        "dead at its mean": own * 0 + round(own.mean()),
        "stripes": own * np.where(np.arange(SHAPE[0]) % 10 == 0, 1.2, 1)[:, None],
        "saturated": np.minimum(own, np.quantile(own, 0.6)),
    }
    found = look(run, tmp_path, spoilt(clean, **{band: change[what]}))
    assert [(s.band, s.what) for s in found.suspects] == [(band, what.split()[0])]
    assert not found.unlike
    assert any(line.startswith(f"{band}: ") for line in found.lines())


@pytest.mark.parametrize("band", ["B02", "B05", "B08", "B12"])
def test_the_factor_of_a_gain_is_told_in_the_unit(
    run: Run, clean: NDArray[np.uint16], tmp_path: Path, band: str
) -> None:
    """Residuals are of logs to which a floor was added, which in a dark band is much: 1.5 would be told as 1.3."""
    found = look(run, tmp_path, spoilt(clean, **{band: clean[BANDS.index(band)] * 1.5}))
    (one,) = found.suspects
    assert one.text.startswith("gain or offset: ")
    assert float(one.text.split()[3]) == pytest.approx(1.5, abs=0.12)


def test_swapped_bands_are_named_with_each_other(run: Run, clean: NDArray[np.uint16], tmp_path: Path) -> None:
    found = look(run, tmp_path, spoilt(clean, B03=clean[BANDS.index("B11")], B11=clean[1]))
    assert {(s.band, s.what, s.other) for s in found.suspects} == {("B03", "swapped", "B11"), ("B11", "swapped", "B03")}


def test_a_scene_unlike_all_that_was_learned_is_no_faulty_sensor(
    run: Run, clean: NDArray[np.uint16], tmp_path: Path
) -> None:
    snow = np.array([9000, 8900, 8800, 8700, 8500, 8300, 8000, 7800, 7700, 700, 600])[:, None, None] / clean.mean(
        (1, 2), keepdims=True
    )
    found = look(run, tmp_path, np.rint(clean * snow).clip(1, 20000).astype(np.uint16))
    assert found.verdict == "unlike"
    assert any(line.startswith("unlike the training scenes: ") for line in found.lines())


def test_another_product_level_is_not_called_a_faulty_band(run: Run, clean: NDArray[np.uint16], tmp_path: Path) -> None:
    """Level-1C: water vapour has taken half of B09, and air has brightened the blue."""
    found = look(run, tmp_path, spoilt(clean, B09=clean[BANDS.index("B09")] * 0.5))
    assert found.verdict == "unlike"
    assert "as where Level-1C is given for Level-2A" in found.unlike
    assert found.filled is None


def test_a_dead_band_is_named_in_an_unlike_scene_too(run: Run, clean: NDArray[np.uint16], tmp_path: Path) -> None:
    other = np.rint(clean * np.linspace(6, 0.3, 11)[:, None, None]).clip(1, 20000).astype(np.uint16)
    found = look(run, tmp_path, spoilt(other, B06=np.full(SHAPE, 700)))
    assert found.unlike
    assert [(s.band, s.what) for s in found.suspects] == [("B06", "dead")]


@pytest.mark.parametrize("by", ["ridge", "network"])
def test_windows_of_any_size_give_the_same_scores(run: Run, clean: NDArray[np.uint16], tmp_path: Path, by: str) -> None:
    faulty = spoilt(clean, B04=clean[2] * 1.4)
    whole = raster.read(look(run, tmp_path, faulty, by=by).path).data
    parts = raster.read(look(run, tmp_path, faulty, by=by, side=64, memory=1).path).data
    np.testing.assert_array_equal(whole, parts)


def test_bands_of_other_pixel_sizes_are_judged_on_the_finest(
    run: Run, clean: NDArray[np.uint16], tmp_path: Path
) -> None:
    """Files of 10 m and 20 m, in windows that cut neither."""
    fine, coarse = (0, 1, 2, 6), (3, 4, 5, 7, 8, 9, 10)
    faulty = spoilt(clean, B05=clean[3] * 1.5)
    half = faulty[list(coarse)].reshape(7, SHAPE[0] // 2, 2, SHAPE[1] // 2, 2).mean((2, 4)).round().astype(np.uint16)
    grid = grid_of(50, SHAPE)
    names = ([BANDS[c] for c in some] for some in (fine, coarse))
    a = raster.write(tmp_path / "a.tif", faulty[list(fine)], grid, descriptions=next(names))
    b = raster.write(tmp_path / "b.tif", half, grid.scaled(*half.shape[1:]), descriptions=next(names))
    scores = []
    for side in (64, 256):
        given = {"s2-l2a": f"{a};{b}"}
        (found,) = find_faults(run, given, tmp_path / "faults.tif", side=side, overwrite=True)
        scores.append(raster.read(found.path).data)
    assert "B05" in [s.band for s in found.suspects]
    np.testing.assert_array_equal(*scores)


def test_the_band_is_filled_and_nothing_else_changes(run: Run, clean: NDArray[np.uint16], tmp_path: Path) -> None:
    found = look(run, tmp_path, spoilt(clean, B07=np.zeros(SHAPE)), fill=tmp_path / "filled.tif", side=64)
    assert found.filled is not None
    filled = raster.read(found.filled)
    others = [c for c, b in enumerate(BANDS) if b != "B07"]
    np.testing.assert_array_equal(filled.data[others], clean[others])
    assert filled.data.dtype == np.uint16
    assert filled.grid.aligned(grid_of(50, SHAPE))
    far = np.abs(filled.data[5].astype(float) - clean[5])
    assert np.median(far) < 0.05 * clean[5].mean()


def test_blocks_that_are_fine_are_not_filled(run: Run, clean: NDArray[np.uint16], tmp_path: Path) -> None:
    part = clean[4].copy()
    part[:96, :96] = 1
    found = look(run, tmp_path, spoilt(clean, B06=part), fill=tmp_path / "filled.tif")
    assert [s.band for s in found.suspects] == ["B06"]
    filled = raster.read(tmp_path / "filled.tif").data[4]
    assert (filled[:96, :96] > 1).all()
    np.testing.assert_array_equal(filled[:, 128:], clean[4, :, 128:])


def test_of_a_clean_image_no_fill_is_written_and_that_of_another_is_removed(
    run: Run, clean: NDArray[np.uint16], tmp_path: Path
) -> None:
    fill = tmp_path / "filled.tif"
    found = look(run, tmp_path, clean, fill=fill)
    assert (found.filled, fill.exists()) == (None, False)
    assert f"note: no band is accused: {fill} is not written" in found.lines()
    look(run, tmp_path, spoilt(clean, B07=np.zeros(SHAPE)), fill=fill)
    assert fill.exists()
    again = look(run, tmp_path, clean, fill=fill)
    assert (again.filled, fill.exists()) == (None, False)
    assert f"no band is accused: {fill} is not written, and the file that stood there is removed" in again.notes


@pytest.mark.parametrize(("nodata", "found"), [(0, [1, 1, 2, 0]), (65535, [0, 0, 2, 65535]), (None, [0, 0, 2, 0])])
def test_what_is_reconstructed_never_becomes_nodata(nodata: float | None, found: list[int]) -> None:
    values = np.array([[[-0.0008, 0.00003, 0.0002, 0.2]]])
    seen = np.array([[[True, True, True, False]]])
    raw = _raw(values, seen, np.array([1e-4]), np.array([0.0]), "uint16", nodata)
    assert raw[0, 0].tolist() == found
    high = _raw(values + 9, seen, np.array([1e-4]), np.array([0.0]), "uint16", nodata)
    assert (high[0, 0, :3] == (65534 if nodata == 65535 else 65535)).all()


def test_unseen_pixels_are_not_judged(run: Run, clean: NDArray[np.uint16], tmp_path: Path) -> None:
    data = clean.copy()
    data[:, :, 64:] = 0
    image = raster.write(tmp_path / "image.tif", data, grid_of(50, SHAPE), descriptions=BANDS, nodata=0)
    (found,) = find_faults(run, {"s2-l2a": image}, tmp_path / "faults.tif")
    scores = raster.read(found.path)
    assert (scores.data[:, :, 2:] == 255).all()
    assert (scores.data[:, :, :2] != 255).all()
    assert found.verdict == "none"


def test_a_band_without_data_is_left_out_and_accuses_no_other(
    run: Run, clean: NDArray[np.uint16], tmp_path: Path
) -> None:
    image = raster.write(
        tmp_path / "image.tif", spoilt(clean, B05=np.zeros(SHAPE)), grid_of(50, SHAPE), descriptions=BANDS, nodata=0
    )
    (found,) = find_faults(run, {"s2-l2a": image}, tmp_path / "faults.tif")
    assert found.verdict == "none"
    assert "note: B05 without data, and left out" in found.lines()
    scores = raster.read(found.path).data
    assert (scores[BANDS.index("B05")] == 255).all()
    assert (np.delete(scores, BANDS.index("B05"), 0)[:, :4, :6] != 255).all()


def test_a_failure_leaves_no_file(
    run: Run, clean: NDArray[np.uint16], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "finish", die)
    with pytest.raises(KeyboardInterrupt):
        look(run, tmp_path, spoilt(clean, B04=np.zeros(SHAPE)), fill=tmp_path / "filled.tif")
    assert [p.name for p in tmp_path.iterdir()] == ["image.tif"]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"block": 24}, ConfigError, "blocks of 16, 32 pixels"),
        ({"out": "scores.png"}, ConfigError, "not a .tif file"),
        ({"images": {}}, ConfigError, "no image"),
        ({"images": {"s1-rtc-gamma0": "image.tif"}}, ContractError, "trained on s2-l2a"),
        ({"out": "image.tif"}, ConfigError, "that is an input"),
        ({"fill": "old.tif"}, ConfigError, "stands there already"),
    ],
)
def test_what_cannot_be_done_is_refused(
    run: Run,
    clean: NDArray[np.uint16],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, object],
    error: type[LandweaveError],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    raster.write("image.tif", clean, grid_of(50, SHAPE), descriptions=BANDS)
    Path("old.tif").write_text("")
    given = {"images": {"s2-l2a": "image.tif"}, "out": "faults.tif", **change}
    with pytest.raises(error, match=says):
        find_faults(run, given.pop("images"), given.pop("out"), **given)  # type: ignore[arg-type]
    assert not Path("faults.tif").exists()


def test_a_run_of_another_kind_is_refused(run: Run, tmp_path: Path) -> None:
    from landweave import recipe

    other = dataclasses.replace(run, settings=recipe("supervised"))
    with pytest.raises(RunError, match="predicts no bands"):
        find_faults(other, {"s2-l2a": "image.tif"}, tmp_path / "faults.tif")


def test_a_map_of_it_is_refused_with_what_it_is_for(run: Run) -> None:
    with pytest.raises(RunError, match="predicts bands, not classes"):
        run.require_classifier()


def test_ridge_regression_predicts_bands_better_than_what_costs_nothing(run: Run) -> None:
    from landweave.run.reconstruction import evaluate_bands, table

    result = evaluate_bands(run.folder, split="validation")
    who = result["sensors"]["s2-l2a"]["predictors"]
    for band in BANDS:
        ridge, one, mean = (who[n]["bands"][band]["rmse"] for n in ("ridge", "most correlated band", "band mean"))
        assert ridge < one < mean, band
    assert who["ridge"]["sam"] < who["most correlated band"]["sam"] < who["band mean"]["sam"]
    lines = list(table(result))
    assert "ridge" in lines[1]
    assert any(line.startswith("SAM in degrees") for line in lines)
    assert (run.folder / "evaluation-validation.json").is_file()


def test_the_command_says_it_in_words_and_in_json(run: Run, clean: NDArray[np.uint16], tmp_path: Path) -> None:
    faulty = spoilt(clean, B12=np.zeros(SHAPE))
    raster.write(tmp_path / "image.tif", faulty, grid_of(50, SHAPE), descriptions=BANDS)
    words = ["faults", str(run.folder), "--image", "s2-l2a=image.tif", "--json", "found.json"]
    command = [sys.executable, "-m", "landweave", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "B12: dead or constant: 100% of its pixels are 0 reflectance" in done.stdout
    assert "1 is what about one clean image in 11 exceeds" in done.stdout  # of ten, none can promise one in twenty
    assert "caution: what is clean was measured on 10 images only, too few for one false alarm in 20" in done.stdout
    (told,) = json.loads((tmp_path / "found.json").read_text())
    assert told["exceeded"] == pytest.approx(1 / 11, abs=1e-4)
    assert (told["verdict"], told["suspects"][0]["what"]) == ("B12", "dead")
