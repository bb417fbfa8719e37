"""The whole way on genuine imagery, in its reduced form; `make evidence NAME=spine` runs the full one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.cli.places import TINY, call, run

TEST_TILE = "433D_629L_3_1"
OTHERS = ("282D_485L_3_3", "38D_378R_2_3", "637U_59R_1_3")


def images(tiles: Path, name: str) -> tuple[str, ...]:
    return ("--image", f"s2-l2a={tiles}/S2L2A/{name}.tif", "--image", f"s1-rtc-gamma0={tiles}/S1RTC/{name}.tif")


def cut(tiles: Path, table: Path, *offset: str) -> None:
    for i, name in enumerate((*OTHERS, TEST_TILE)):
        more = ("--split", "test", *offset) if name == TEST_TILE else ("--split", "validation" if i == 0 else "train")
        label = ("--label", f"lulc={tiles}/LULC/{name}.tif", "--legend", tiles / "legend.yaml", "--size", "56")
        call("tile", *images(tiles, name), *label, *more, *(("--append",) if i else ()), "--out", table)


@pytest.fixture(scope="module")
def tiles(real: Path) -> Path:
    return real / "terramind"


@pytest.fixture(scope="module")
def trained(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("way")
    cut(tiles, folder / "places.parquet", "--offset", "s2-l2a=-1000")
    call("pack", folder / "places.parquet", folder / "store")
    data = ("data.kind=pack", f"data.path={folder / 'store'}", *TINY)
    call("train", "segment", *data, "--out", folder / "run")
    return folder / "run"


def test_check_finds_the_offset_tile_and_no_other(tiles: Path, tmp_path: Path) -> None:
    cut(tiles, tmp_path / "blind.parquet")
    done = run("check", tmp_path / "blind.parquet")
    suspected = {
        name for name in (*OTHERS, TEST_TILE) for line in done.stdout.splitlines() if name in line and "1000" in line
    }
    assert suspected == {TEST_TILE}
    cut(tiles, tmp_path / "told.parquet", "--offset", "s2-l2a=-1000")
    assert "1000" not in run("check", tmp_path / "told.parquet").stdout.replace("offset -1000", "")


def test_evaluate_scores_only_classes_that_training_had(trained: Path) -> None:
    text = call("evaluate", trained, "--product", "the tiles' LULC product")
    found = json.loads((trained / "evaluation-test.json").read_text())
    trained_on = {c["name"] for c in found["classes"] if c["trained"]}
    absent = {c["name"] for c in found["classes"] if c["support"] and not c["trained"]}
    assert "water" in absent
    assert "water" not in trained_on
    assert re.search("not scored, because no training label had them: .*water", text)
    assert sum(map(sum, found["confusion"])) == found["n"] < sum(c["support"] for c in found["classes"])
    assert set(found["references"]) == {"majority class", "random forest on pixel bands"}
    assert text.startswith("agreement with the tiles' LULC product")


def test_the_map_lines_up_and_carries_its_colours_and_names(trained: Path, tiles: Path) -> None:
    import rasterio

    out = trained / "map.tif"
    call("map", trained, *images(tiles, TEST_TILE), "--offset", "s2-l2a=-1000", "--out", out)
    with rasterio.open(out) as m, rasterio.open(tiles / "S2L2A" / f"{TEST_TILE}.tif") as image:
        assert m.crs == image.crs
        assert m.transform == image.transform
        assert m.shape == image.shape
        assert m.nodata == 255
        assert m.driver == "GTiff"
        assert m.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
        assert m.colormap(1)[2][:3] == (0x35, 0x82, 0x21), "trees"
        assert "trees" in json.dumps({**m.tags(), **m.tags(1)})
        found = set(np.unique(m.read(1)).tolist())
    config = json.loads((trained / "config.json").read_text())
    values = [int(v) for v in config["legend"]["classes"]]
    assert found <= {v for v, n in zip(values, config["class_counts"], strict=True) if n} | {255}
    assert "trees" in out.with_suffix(".qml").read_text()


def test_the_page_is_one_file_and_says_agreement(trained: Path, tiles: Path) -> None:
    call("evaluate", trained, "--product", "the tiles' LULC product")
    call("report", trained)
    page = (trained / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page), "nothing is loaded from elsewhere"
    for text in ("majority class", "random forest on pixel bands", "agreement", "not skill", "Confusion"):
        assert text in page
    assert "data:image/png;base64," in page
