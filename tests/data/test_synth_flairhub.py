"""The synthetic FLAIR-HUB: the archive's layout to the letter, and crops that only a calendar tells apart."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from landweave.data import raster
from landweave.data.flairhub import FlairHub
from landweave.data.synth import Null, write
from landweave.data.synth.flair_ground import INDEX, NAMES, cosia, lpis
from landweave.data.synth.flair_params import COSIA, CROPS, DOMAINS, FLAIR, LPIS, flair_fingerprint
from landweave.data.synth.flair_places import OVERCAST_PLACE, PER_ROI, Patch, flair_patch
from landweave.data.synth.flair_views import Lands, Look, calendar
from landweave.data.synth.write_flairhub import COLUMNS, METADATA, by_year, metadata
from landweave.legends import COSIA_19, LPIS_1, LPIS_2, LPIS_3, PARENTS

PLACES = 8  # two ROIs: one to train on, one to test
FORMS = {  # spec of the archive: dtype, layers of one date, whether a series, pixels, metres
    "AERIAL_RGBI": ("uint8", 4, False, 512, 0.2),
    "AERIAL-RLT_PAN": ("uint8", 1, False, 256, 0.4),
    "DEM_ELEV": ("float32", 2, False, 512, 0.2),
    "SPOT_RGBI": ("uint16", 4, False, 64, 1.6),
    "SENTINEL2_TS": ("uint16", 10, True, 10, 10.24),
    "SENTINEL2_MSK-SC": ("uint16", 2, True, 10, 10.24),
    "SENTINEL1-ASC_TS": ("float32", 2, True, 10, 10.24),
    "SENTINEL1-DESC_TS": ("float32", 2, True, 10, 10.24),
    "AERIAL_LABEL-COSIA": ("uint8", 1, False, 512, 0.2),
    "ALL_LABEL-LPIS": ("uint8", 3, False, 512, 0.2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("flair-hub", tmp_path_factory.mktemp("synth") / "flair", places=PLACES)


def table(folder: Path, name: str) -> list[dict[str, object]]:
    import geopandas

    found = geopandas.read_file(folder / METADATA / f"{name}.gpkg")
    assert found.crs.to_epsg() == 2154
    assert set(found.geom_type) == {"Polygon"}
    assert np.allclose(found.area, 102.4**2)
    return [{k: v for k, v in row.items() if k != "geometry"} for row in found.to_dict("records")]


# ---- frozen


def test_numbers_are_frozen() -> None:
    # Another value means another world: raise `version`, and measure every figure again.
    assert (FLAIR.version, flair_fingerprint()) == ("1", "f61f8da780a71e28")


def test_every_crop_shows_the_same_values_in_another_order() -> None:
    curves = np.stack([calendar(c.green) for c in CROPS])[:, :365]
    ranked = np.sort(curves, 1)
    assert np.abs(ranked - ranked.mean(0)).max() < 0.03
    assert np.ptp(curves.mean(1)) < 0.005
    near = np.abs(np.arange(365) - (FLAIR.centre - 1)) <= FLAIR.aerial_days
    assert np.ptp(curves[:, near], 0).max() < 0.03  # alike when the aerial image is taken
    assert abs(curves[:, near].mean() - FLAIR.levels[1]) < 0.02
    apart = np.abs(curves[:, None] - curves[None]).mean(-1) + np.eye(len(CROPS))
    assert apart.min() > 0.15
    assert np.abs(np.roll(curves, 182, 1)[:, 181] - np.roll(curves, 182, 1)[:, 182]).max() < 0.06  # a circle


def test_codes_are_those_of_the_legends() -> None:
    assert sum(c.share for c in CROPS) == pytest.approx(1)
    assert set(COSIA) <= set(INDEX)
    assert set(COSIA.values()) | {10, 18} == set(range(19)) == {c.value for c in COSIA_19.classes}
    for first, second, third in LPIS.values():
        assert (PARENTS["lpis-2"][second], PARENTS["lpis-3"][third]) == (first, second)
    for crop in CROPS:
        assert crop.name in (LPIS_3.names[crop.lpis[2]], "ley", "winter protein")
    assert (len(LPIS_1), len(LPIS_2), len(LPIS_3)) == (23, 31, 46)


# ---- layout


def test_files_are_of_the_archive_s_form(folder: Path) -> None:
    name = re.compile(
        r"(?P<front>D\d{3}-(\d{4}|195X)_(?P<kind>.+))/(?P<roi>[AFNU][AFNUV]-S[12]-V?\d+)/(?P=front)_(?P=roi)_\d+-\d+\.tif"
    )
    counts: Counter[str] = Counter()
    lengths: dict[str, dict[str, int]] = {}
    for file in folder.rglob("*.tif"):
        found = name.fullmatch(file.relative_to(folder).as_posix())
        assert found, file
        kind = found["kind"]
        dtype, layers, series, pixels, metres = FORMS[kind]
        head = raster.header(file)
        assert (head.dtype, head.grid.shape, head.grid.crs) == (dtype, (pixels, pixels), "EPSG:2154")
        assert head.grid.pixel == pytest.approx((metres, metres))
        left, bottom, right, top = head.grid.bounds
        assert (right - left, top - bottom) == pytest.approx((102.4, 102.4))
        assert head.count % layers == 0
        assert series or head.count == layers
        assert ("195X" in found["front"]) == (kind == "AERIAL-RLT_PAN")
        counts[kind] += 1
        lengths.setdefault(f"{file.parent.name}/{file.stem.rpartition('_')[2]}", {})[kind] = head.count // layers
    assert counts == {**dict.fromkeys(FORMS, PLACES), "SPOT_RGBI": PLACES - 1}
    assert all(t["SENTINEL2_TS"] == t["SENTINEL2_MSK-SC"] >= 20 for t in lengths.values())
    assert len({t["SENTINEL2_TS"] for t in lengths.values()}) > 3  # of different lengths


def test_metadata(folder: Path) -> None:
    splits = table(folder, "GLOBAL_ALL_MTD_SPLIT")
    assert len(splits) == PLACES
    assert list(splits[0]) == [
        "patch_id",
        "split_flairhub",
        *(f"split_{k}" for k in range(1, 6)),
        "split_flairchallenge",
    ]
    assert all(row["split_flairhub"] == row["split_1"] for row in splits)
    geometry = table(folder, "GLOBAL_ALL_MTD_GEOM")
    first = geometry[0]
    assert {"patch_xmin", "patch_ymax", "ROI_id", "ROI_xmin", "patch_row", "ROI_nbpitch", "ROI_nbpitchy"} <= set(first)
    assert first["ROI_nbpitch"] == first["ROI_nbpitchx"] * first["ROI_nbpitchy"] == PER_ROI
    files = table(folder, "GLOBAL_ALL_MTD_MODALITIES")
    assert all((folder / row["AERIAL_RGBI"]).is_file() for row in files)
    assert not isinstance(files[7]["SPOT_RGBI"], str)  # nothing stands there
    assert len(table(folder, "GLOBAL_SPOT_MTD_DATES")) == PLACES - 1
    old = table(folder, "GLOBAL_AERIAL-RLT_MTD_DATES")
    assert all(re.fullmatch(r"195\d{5}", row["date"]) for row in old)
    for series in ("SENTINEL2", "SENTINEL1-ASC", "SENTINEL1-DESC"):
        for row, where in zip(table(folder, f"GLOBAL_{series}_MTD_DATES"), files, strict=True):
            dates = json.loads(row["acquisition_dates"])
            assert list(dates) == [str(k) for k in range(1, len(dates) + 1)]
            assert list(dates.values()) == sorted(dates.values())
            layers = raster.header(folder / where[f"{series}_TS"]).count
            assert layers == len(dates) * (10 if series == "SENTINEL2" else 2)
            assert {d[:4] for d in dates.values()} == {row["patch_id"][5:9]}


def test_lists_name_the_files_from_their_own_folder(folder: Path) -> None:
    count = 0
    for split in ("TRAIN", "TEST"):
        path = folder / "csv" / f"FLAIR-HUB_TOY-DATASET_{split}.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["patch_id", *COLUMNS]
        assert all(row[c] == "" or (path.parent / row[c]).is_file() for row in rows for c in COLUMNS)
        count += len(rows)
    assert count == PLACES
    assert not (folder / "csv/FLAIR-HUB_TOY-DATASET_VALID.csv").exists()  # an empty list would be refused


def test_our_reader_takes_it_for_the_archive(folder: Path) -> None:
    for config in (FlairHub(path=str(folder)), FlairHub(path=str(folder / "csv/FLAIR-HUB_TOY-DATASET_TRAIN.csv"))):
        data = config.open()
        assert Counter(p.split for p in data.places) == {"train": 4, "test": 4}
        assert set(data.tasks) == {"cosia", "lpis-1", "lpis-2", "lpis-3"}
    sample = data.read(0)
    assert {k: v.data.shape[-3:] for k, v in sample.images.items() if v.data.shape[0] == 1} == {
        "aerial": (4, 512, 512), "aerial-pan": (1, 256, 256), "dsm-dtm": (3, 512, 512), "spot": (4, 64, 64),
    }  # fmt: skip
    assert sample.images["dsm-dtm"].data[0, 2].max() > 3  # something stands on the ground
    wide = FlairHub(path=str(folder), context=2, clouds=None).open().read(0).images["s2-l2a"]
    narrow = FlairHub(path=str(folder), clouds=None).open().read(0).images["s2-l2a"]
    assert wide.pixels_seen[0].float().mean() == pytest.approx(9 / 16)  # its three neighbours, as far as they reach
    assert wide.data.shape == (narrow.data.shape[0], 10, 20, 20)


# ---- places


def test_splits_are_by_department_and_by_roi() -> None:
    patches = [flair_patch(0, i) for i in range(0, 320, PER_ROI)]
    for fold in range(1, 6):
        by = {s: {p.roi.domain.department for p in patches if p.split(fold) == s} for s in ("train", "valid", "test")}
        assert by["test"]
        assert not by["test"] & (by["train"] | by["valid"])
        assert by["valid"] <= by["train"]
    tested = [{d.department for d in DOMAINS if d.fold == k} for k in range(1, 6)]
    assert sorted(d for fold in tested for d in fold) == sorted({d.department for d in DOMAINS})
    assert {p.challenge for p in patches} == {"none", "train", "valid", "test-1", "test-2"}
    assert {by_year(p) for p in patches} == {"", "train", "valid", "test"}
    assert len({d.year for d in DOMAINS}) >= 2
    first = [flair_patch(0, i).split(1) for i in range(12)]
    assert Counter(first) == {"train": 4, "test": 4, "valid": 4}
    assert len({p.patch_id for p in patches}) == len(patches)


def test_some_domains_lack_a_sensor_and_some_places_a_date() -> None:
    patches = [flair_patch(0, i) for i in range(32)]
    rows = metadata(patches)
    without = {p.roi.domain.name for p in patches if not p.has("AERIAL-RLT_PAN")}
    assert without == {"D067-2021", "D033-2018"}
    assert {p.roi.domain.name for p in patches if not p.has("SENTINEL1-DESC_TS")} == {"D012-2019"}
    missing = 32 - len(rows["GLOBAL_SENTINEL1-DESC_MTD_DATES"])
    assert missing == sum(not p.has("SENTINEL1-DESC_TS") for p in patches) > 0
    row, lacking = patches[0].dates("SENTINEL2"), patches[2].dates("SENTINEL2")
    assert set(lacking) < set(row)
    assert len(lacking) == len(row) - 1
    assert all(p.file("AERIAL_RGBI") != q.file("AERIAL_RGBI") for p, q in pairwise(patches))


def test_a_place_is_the_same_bytes_whatever_the_number_of_places(folder: Path, tmp_path: Path) -> None:
    one = write("flair-hub", tmp_path / "one", places=1)
    files = sorted(f.relative_to(one) for f in one.rglob("*.tif"))
    assert len(files) == 10
    assert all((one / f).read_bytes() == (folder / f).read_bytes() for f in files)
    assert not list(one.rglob("*part*"))
    assert flair_patch(0, 0).roi.corner != flair_patch(1, 0).roi.corner


def test_neighbours_are_one_land() -> None:
    lands = Lands(0)
    left, right = (Look(lands, flair_patch(0, i), pixels=128) for i in (0, 1))
    seam = np.abs(left.terrain[:, -1] - right.terrain[:, 0])
    assert seam.max() < 2 * np.abs(np.diff(left.terrain, axis=1)).max() + 0.01
    same = (left.scene.parcel[:, -1] == right.scene.parcel[:, 0]).mean()
    assert same > 0.9


def test_one_place_never_sees_a_clear_sky_and_masks_tell_clouds() -> None:
    lands = Lands(0)
    looks = [Look(lands, flair_patch(0, i), pixels=64) for i in (OVERCAST_PLACE, 0)]
    masks = [look.optical[1].reshape(-1, 2, 10, 10) for look in looks]
    assert masks[0][:, 1].min() > 90
    covered = masks[1][:, 1].mean((1, 2)) > 90
    assert 0.03 < covered.mean() < 0.5
    blue = looks[1].optical[0].reshape(-1, 10, 10, 10)[:, 0].mean((1, 2))
    assert blue[covered].min() > 3000
    assert np.median(blue[masks[1][:, 1].max((1, 2)) == 0]) < 1500


def test_what_stands_on_the_ground_casts_height_and_has_its_class() -> None:
    look = Look(Lands(0), flair_patch(0, 12), pixels=256)
    tall, classes = look.elevation()[0] - look.elevation()[1], cosia(look.scene)
    assert {0, 8, 12} <= set(np.unique(classes))
    assert np.median(tall[classes == 0]) > 4
    assert abs(np.median(tall[classes == 3])) < 0.2
    declared = lpis(look.scene)
    assert set(np.unique(declared[0][np.isin(classes, [0, 3])])) == {22}  # nobody declares a house
    assert len(NAMES) == len(set(INDEX.values())) + 3  # three crops bear a name of the world's


@pytest.mark.parametrize(
    ("null", "changed"),
    [("labels", {"cosia", "lpis"}), ("s1", {"radar"}), ("dates", {"optical", "radar", "aerial", "spot"})],
)
def test_a_null_world_cuts_one_link(null: Null, changed: set[str]) -> None:
    def parts(cut: Null | None) -> dict[str, NDArray[np.generic]]:
        look = Look(Lands(0, cut), flair_patch(0, 0), pixels=128)
        return {"aerial": look.aerial(), "spot": look.spot(), "optical": look.optical[0], "elevation": look.elevation(),
                "radar": look.radar("SENTINEL1-ASC"), "cosia": look.cosia(), "lpis": look.lpis()}  # fmt: skip

    plain, cut = parts(None), parts(null)
    assert {k for k in plain if not np.array_equal(plain[k], cut[k])} == changed


# ---- what can be learned

CODES = {c.lpis[2] for c in CROPS}
GRID = np.arange(8, 366, 15)


@cache
def crops(null: Null | None = None) -> dict[str, NDArray[np.float64]]:
    """Pixels of 10.24 m that one crop fills: aerial means and spreads, NDVI and SWIR of the clear dates, VV and VH."""
    lands, rows = Lands(0, null), []
    for i in range(80 if null is None else 32):
        patch = flair_patch(0, i)
        if "A" in patch.roi.name[:2] and i != OVERCAST_PLACE:
            rows += _pixels(patch, Look(lands, patch, pixels=60))
    return {k: np.array([r[k] for r in rows]) for k in rows[0]}


def _pixels(patch: Patch, look: Look) -> list[dict[str, NDArray[np.float64]]]:
    third, air = lpis(look.scene)[2], look.aerial().astype(np.float64)
    numbers, mask = (v.reshape(len(patch.dates("SENTINEL2")), -1, 10, 10) for v in look.optical)
    radar = 10 * np.log10(look.radar("SENTINEL1-ASC").reshape(-1, 2, 10, 10))
    days, radar_days = (
        np.array([d.timetuple().tm_yday for d in patch.dates(s)]) for s in ("SENTINEL2", "SENTINEL1-ASC")
    )
    shuffle = np.random.default_rng(patch.index)
    out = []
    for r in range(10):
        for c in range(10):
            block = np.s_[..., 6 * r : 6 * r + 6, 6 * c : 6 * c + 6]
            codes, counts = np.unique(third[block], return_counts=True)
            clear = (mask[:, :, r, c] <= 1).all(1)
            if counts.max() < 33 or codes[counts.argmax()] not in CODES or clear.sum() < 8:
                continue
            s, d = numbers[clear, :, r, c].astype(np.float64), days[clear]
            two = np.stack([(s[:, 6] - s[:, 2]) / (s[:, 6] + s[:, 2]), s[:, 8] / 1e4], 1)
            order = shuffle.permutation(len(two))
            out.append({
                "aerial": np.concatenate([air[block].mean((1, 2)), air[block].std((1, 2))]),
                "series": _on_grid(d, two), "shuffled": _on_grid(d, two[order]),
                "radar": _on_grid(radar_days, radar[:, :, r, c]),
                "crop": codes[counts.argmax()], "roi": patch.roi.number, "year": patch.roi.domain.year,
            })  # fmt: skip
    return out


def _on_grid(days: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([np.interp(GRID, days, v, period=365) for v in values.T])


def score(found: dict[str, NDArray[np.float64]], names: str, learned: NDArray[np.bool_]) -> float:
    """Accuracy of a linear model where it has not learned."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([found[n] for n in names.split("+")], 1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    return float(model.fit(x[learned], found["crop"][learned]).score(x[~learned], found["crop"][~learned]))


def test_the_calendar_tells_crops_that_the_aerial_image_does_not() -> None:
    found = crops()
    learned = found["roi"] // len(DOMAINS) % 2 == 0
    assert len(found["crop"]) > 1000
    often = np.bincount(found["crop"].astype(int)[~learned]).max() / (~learned).sum()
    aerial, series, shuffled = (score(found, n, learned) for n in ("aerial", "series", "shuffled"))
    both = score(found, "aerial+series", learned), score(found, "aerial+shuffled", learned)
    assert aerial < often + 0.05
    assert series > 0.85
    assert shuffled < often + 0.05
    assert both[0] > 0.85
    assert both[1] < often + 0.05
    assert shuffled + 0.15 < score(found, "radar", learned) < series


def test_a_spring_that_comes_later_costs_what_was_learned_in_other_years() -> None:
    found = crops()
    late = found["year"] == 2021
    learned = np.isin(found["year"], (2018, 2019)) & (found["roi"] // len(DOMAINS) % 2 == 0)
    both = {k: v[learned | late] for k, v in found.items()}
    across = score(both, "series", learned[learned | late])
    earlier = np.isin(found["year"], (2018, 2019))
    same = {k: v[earlier] for k, v in found.items()}
    within = score(same, "series", learned[earlier])
    assert within > across + 0.08
    assert across > 0.4


def test_without_seasons_the_series_tells_nothing() -> None:
    found = crops("dates")
    learned = found["roi"] % 2 == 0
    often = np.bincount(found["crop"].astype(int)[~learned]).max() / (~learned).sum()
    assert score(found, "series", learned) < often + 0.06
