"""Maps of series: dates by names or options, stacks, means, the ground around windows, pixels that nest in fifths."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from map_fakes import Fake, contract, field_of, grid, write

from landweave.contract import Contract
from landweave.data import raster
from landweave.data.store import pack
from landweave.errors import ConfigError, ContractError, DataError, GridError, MissingDataError
from landweave.grid import Grid
from landweave.maps.dates import day_in_name, days_of, means, offsets_of
from landweave.maps.engine import _reads_days, map_scene
from landweave.maps.sources import open_sources
from landweave.maps.strips import lay_out
from landweave.run.evaluate import reopen
from landweave.run.experiment import recipe
from landweave.run.finish import finish
from landweave.run.material import gather
from landweave.run.predict import OneTask, Run, open_run
from landweave.sample import Image, day_of
from tests.data.flair_layout import Layout, days, values

DAYS = ("2021-03-04", "2021-05-03", "2021-06-12")
TOLD = [day_of(d) for d in DAYS]


def dated(size: int = 16) -> Contract:
    found = contract(size)
    return Contract({"s2-l2a": replace(found.streams["s2-l2a"], series=True)})


def opened(image: object, told: str = "", mine: Contract | None = None, **bands: str):
    options = {"bands": bands, "offset": {}, "dates": {"s2-l2a": told} if told else {}}
    (source,) = open_sources(mine or dated(), {"s2-l2a": str(image)}, **options).sources
    return source


# ---- which dates there are


@pytest.mark.parametrize("text", ["2021-03-04,2021-05-03,2021-06-12", "20210304; 20210503 ;2021-06-12", "FILE"])
def test_dates_are_told_by_words_or_a_file(text: str, tmp_path: Path) -> None:
    if text == "FILE":
        (tmp_path / "dates.txt").write_text("\n".join(DAYS) + "\n")
        text = str(tmp_path / "dates.txt")
    assert days_of(text, "s2-l2a") == TOLD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("march", "`march` is not a date"),
        ("2021-02-30", "there is no day 2021-02-30"),
        ("20210304,2021-03-04", "twice"),
    ],
)
def test_what_is_no_date_is_said(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        days_of(text, "s2-l2a")


def test_an_offset_counts_for_all_dates_or_from_a_day_on() -> None:
    assert offsets_of(-1000.0, TOLD, "s2-l2a") == [-1000, -1000, -1000]
    assert offsets_of("-1000@2021-05-03", TOLD, "s2-l2a") == [0, -1000, -1000]
    assert offsets_of("-1000 @ 20210504", TOLD, "s2-l2a") == [0, 0, -1000]
    assert offsets_of("-1000", [], "s2-l2a") == [-1000]


@pytest.mark.parametrize(
    ("told", "of", "said"),
    [
        ("many", TOLD, "`many` is not a number"),
        ("nan", TOLD, "`nan` is not a number"),
        ("-1000@spring", TOLD, "`spring` is not a date"),
        ("-1000@2021-02-30", TOLD, "no day 2021-02-30"),
        ("-1000@2021-05-03", [], "one image, whose date is not known"),
    ],
)
def test_what_is_no_offset_is_said(told: str, of: list[int], said: str) -> None:
    with pytest.raises((ConfigError, DataError), match=said):
        offsets_of(told, of, "s2-l2a")


def test_an_offset_from_a_day_on_gives_the_model_what_mended_files_do(tmp_path: Path) -> None:
    field = field_of(20, 30)
    for folder, later in (("mixed", 1000), ("mended", 0)):
        for i, day in enumerate(DAYS):
            own = {"B04": field + 100 * i + later * (i > 0), "B08": field + 50 * i + later * (i > 0)}
            write(tmp_path / folder / f"{day}.tif", own, grid(20, 30))
    models = [Fake(dated(), keep=True) for _ in range(3)]
    for model, folder, told in zip(models, ("mended", "mixed", "mixed"), ("0", "0", "-1000@2021-05-01"), strict=True):
        found = map_scene(
            model,
            {"s2-l2a": tmp_path / folder},
            tmp_path / "m.tif",
            offset={"s2-l2a": told},
            overlap=0,
            overwrite=True,
        )
    mended, mixed, told = (torch.cat([b.images["s2-l2a"].physical() for b in m.batches]) for m in models)
    torch.testing.assert_close(told, mended)
    torch.testing.assert_close(mixed[:, 0], mended[:, 0])
    assert not torch.allclose(mixed[:, 1:], mended[:, 1:])
    assert "s2-l2a: -1000 in 2 of 3 dates" in found.notes


def test_a_later_date_of_a_series_is_looked_at_too(tmp_path: Path) -> None:
    bands = ("B02", "B04", "B11")
    mine = Contract({"s2-l2a": replace(contract(bands=bands).streams["s2-l2a"], series=True)})
    for i, day in enumerate(DAYS):
        dark = (field_of(64, 64) * 0 + (1050 if i == 2 else 150)).astype("uint16")
        dark[40:] += 2000
        write(tmp_path / "s2" / f"{day}.tif", dict.fromkeys(bands, dark), grid(64, 64))
    notes = map_scene(Fake(mine), {"s2-l2a": tmp_path / "s2"}, tmp_path / "m.tif", overlap=0).notes
    (doubt,) = [n for n in notes if "suspected +1000 offset" in n]
    assert doubt.startswith("s2-l2a: 2021-06-12, suspected"), doubt


def test_names_tell_one_date_each() -> None:
    names = ["T31UDQ_20210304T105021_all.tif", "S2_2021-05-03_x20210503.tif", "20210612"]
    assert [day_in_name(Path(n), "s2-l2a") for n in names] == TOLD
    for name in ("S2.tif", "S2_20210304_20210401.tif", "patch_1234567890.tif"):
        with pytest.raises(DataError, match="--dates s2-l2a="):
            day_in_name(Path(name), "s2-l2a")


def test_many_dates_fit_on_a_line() -> None:
    many = [f"{y}-{m:02}-01" for y in range(2015, 2022) for m in range(1, 13)]
    assert days_of(",".join(many), "s2-l2a") == [day_of(d) for d in many]


# ---- the same series in every form


@pytest.fixture
def forms(tmp_path: Path) -> dict[str, tuple[str, str]]:
    """One series: a file a date, a folder of them, folders of a file a band, a stack whose dates are not in order."""
    where = grid(40, 36)
    bands = {d: {"B04": field_of(40, 36, seed=i), "B08": field_of(40, 36, seed=i + 9)} for i, d in enumerate(DAYS)}
    for d in DAYS:
        write(tmp_path / "files" / f"S2_{d}.tif", bands[d], where, nodata=0)
        for band, data in bands[d].items():
            write(tmp_path / "folders" / d.replace("-", "") / f"x_{band}.tif", {"": data}, where, nodata=0)
    mixed = [DAYS[i] for i in (2, 0, 1)]
    stack = np.stack([bands[d][b] for d in mixed for b in ("B04", "B08")])
    raster.write(tmp_path / "stack.tif", stack, where, nodata=0)
    names = [str(tmp_path / "files" / f"S2_{d}.tif") for d in mixed]
    return {
        "joined": (";".join(names), ""),
        "folder": (str(tmp_path / "files"), ""),
        "folders": (str(tmp_path / "folders"), ""),
        "told": (";".join(names), ",".join(mixed)),
        "stack": (str(tmp_path / "stack.tif"), ",".join(mixed)),
    }


def test_every_form_of_a_series_gives_the_same_images_and_map(
    forms: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    seen, maps = [], []
    for image, told in forms.values():
        run = Fake(dated(), keep=True)
        options = {
            "dates": {"s2-l2a": told} if told else {},
            "bands": {"s2-l2a": "B04,B08"} if "stack" in image else {},
        }
        made = map_scene(run, {"s2-l2a": image}, tmp_path / "m.tif", overwrite=True, **options)
        assert "s2-l2a: 3 dates, 2021-03-04 to 2021-06-12" in made.notes
        seen.append(run.batches[0].images["s2-l2a"])
        with rasterio.open(made.path) as out:
            maps.append(out.read())
            assert out.tags()["dates"] == '{"s2-l2a": ["2021-03-04", "2021-05-03", "2021-06-12"]}'
    first = seen[0]
    assert first.days.unique(dim=0).tolist() == [TOLD]
    for t in range(3):
        np.testing.assert_array_equal(first.data[0, t, 0], field_of(40, 36, seed=t)[:16, :16])
        np.testing.assert_array_equal(first.data[0, t, 1], field_of(40, 36, seed=t + 9)[:16, :16])
    for image, one in zip(seen[1:], maps[1:], strict=True):
        assert torch.equal(image.data, first.data)
        assert torch.equal(image.days, first.days)
        assert torch.equal(image.seen, first.seen)
        np.testing.assert_array_equal(one, maps[0])


def test_a_date_without_a_pixel_is_not_seen(tmp_path: Path) -> None:
    where = grid(16, 16)
    for d in DAYS:
        data = np.zeros((16, 16), np.uint16) if d == DAYS[1] else field_of(16, 16)
        write(tmp_path / f"{d}.tif", {"B04": data, "B08": data}, where, nodata=0)
    run = Fake(dated(), keep=True)
    map_scene(run, {"s2-l2a": tmp_path}, tmp_path / "m.tif")
    image = run.batches[0].images["s2-l2a"]
    assert image.dates_seen.tolist() == [[True, False, True]]
    assert image.bands_seen.tolist() == [[True, True]]


def test_what_does_not_make_a_series_is_refused(forms: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    joined, (stack, told) = forms["joined"][0], forms["stack"]
    with pytest.raises(DataError, match="2 dates for 3 files"):
        opened(joined, "2021-03-04,2021-05-03")
    with pytest.raises(DataError, match="6 bands are not 4 dates"):
        opened(stack, f"{told},2021-07-01")
    with pytest.raises(DataError, match="2 bands a date, but --bands names 3"):
        opened(stack, told, **{"s2-l2a": "B02,B04,B08"})
    with pytest.raises(DataError, match="its name tells no date"):
        opened(stack)
    with pytest.raises(MissingDataError, match="an empty path"):
        opened(";")
    with pytest.raises(DataError, match="--dates says 2021-05-03 of it, its name 2021-03-04"):
        opened(joined, "2021-06-12,2021-05-03,2021-03-04")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no raster in it"):
        opened(tmp_path / "empty")
    with pytest.raises(ConfigError, match="reads one image of s2-l2a, not a series"):
        opened(joined, told, contract())
    other = write(tmp_path / "20210901.tif", {"B04": field_of(40, 36)}, grid(40, 36))
    with pytest.raises(Exception, match="no band B08"):
        opened(f"{joined};{other}")
    beside = {"B04": field_of(40, 36), "B08": field_of(40, 36)}
    other = write(tmp_path / "20211001.tif", beside, grid(40, 36, x=500_010.0))
    with pytest.raises(GridError, match="another grid"):
        opened(f"{joined};{other}")


def test_files_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    told = [f"2021-{m:02}-01" for m in range(1, 13)]
    for i in range(12):
        write(tmp_path / "s" / f"t{i + 1}.tif", {"B04": field_of(8, 8), "B08": field_of(8, 8)}, grid(8, 8))
    (tmp_path / "s" / ".hidden").mkdir()
    source = opened(tmp_path / "s", ",".join(told))
    assert [Path(p.path).name for p in source.parts] == [f"t{i + 1}.tif" for i in range(12)]


def test_a_file_a_band_and_date_in_one_folder(tmp_path: Path) -> None:
    for d in DAYS:
        for band in ("B08", "B04"):
            write(tmp_path / "s" / f"T32_{d.replace('-', '')}T103021_{band}.tif", {"": field_of(8, 8)}, grid(8, 8))
    source = opened(tmp_path / "s")
    assert list(source.days) == TOLD
    assert sorted(source.bands) == ["B04", "B08"]
    assert len(source.parts) == 6


# ---- means


@pytest.mark.parametrize("stream", ["s2-l2a", "s1-grd-sigma0"])
def test_means_of_months_against_plain_loops(stream: str) -> None:
    random = np.random.default_rng(0)
    told = ["2021-03-04", "2021-03-20", "2021-07-01"]
    data = random.uniform(-20, -5, (2, 3, 2, 4, 4)).astype(np.float32)
    seen = random.random((2, 3, 1, 4, 4)) < 0.7
    parts = [
        Image.of(stream, ("B04", "B08") if stream == "s2-l2a" else ("VV", "VH"), d, days=map(day_of, told),
                 pixels_seen=s, scale=2.0, offset=1.0)
        for d, s in zip(data, seen, strict=True)
    ]  # fmt: skip
    fields = ("data", "scale", "offset", "days", "dates_seen", "bands_seen", "pixels_seen")
    image = replace(parts[0], **{f: torch.stack([getattr(p, f) for p in parts]) for f in fields})
    found = means(image, stream, "monthly")
    assert found.data.shape == (2, 12, 2, 4, 4)
    assert found.days[0].tolist() == [day_of(date(2021, m, 15)) for m in range(1, 13)]
    assert found.dates_seen[0].tolist() == [m in (3, 7) for m in range(1, 13)]
    physical = data * 2 + 1
    for b in range(2):
        for m, dates in ((2, (0, 1)), (6, (2,))):
            for i in range(4):
                for j in range(4):
                    kept = [t for t in dates if seen[b, t, 0, i, j]]
                    assert bool(found.pixels_seen[b, m, 0, i, j]) == bool(kept)
                    for c in range(2 if kept else 0):
                        own = [float(physical[b, t, c, i, j]) for t in kept]
                        if stream != "s2-l2a":
                            own = [10 ** (v / 10) for v in own]
                        mean = sum(own) / len(own)
                        mean = mean if stream == "s2-l2a" else 10 * np.log10(max(mean, 1e-6))
                        assert float(found.data[b, m, c, i, j]) == pytest.approx(mean, rel=1e-5)


# ---- pixels that nest in fifths


def test_five_coarse_pixels_may_be_eight_fine_ones(tmp_path: Path) -> None:
    fine = write(tmp_path / "B04.tif", {"": field_of(64, 64)}, grid(64, 64, metres=6.4))
    write(tmp_path / "B8A.tif", {"": field_of(40, 40)}, grid(40, 40, metres=10.24))
    layout = lay_out(
        open_sources(contract(bands=("B04", "B8A"), metres=6.4), {"s2-l2a": tmp_path}, bands={}, offset={}).sources
    )
    assert layout.grid == raster.header(fine).grid
    assert layout.step == 8
    write(tmp_path / "B8A.tif", {"": field_of(40, 40)}, grid(40, 40, metres=10.1))
    with pytest.raises(GridError, match="do not nest") as told:
        lay_out(
            open_sources(contract(bands=("B04", "B8A"), metres=6.4), {"s2-l2a": tmp_path}, bands={}, offset={}).sources
        )
    assert "-tr 12.8 12.8" in str(told.value)


# ---- FLAIR-HUB: the map of four patches is what the run says of each

NAMES = tuple(f"D006-2020_UU-S2-11_{r}-{c}" for r in (1, 2) for c in (1, 2))
PARTS = {"aerial": "AERIAL_RGBI", "s2-l2a": "SENTINEL2_TS", "s1-grd-sigma0-asc-linear": "SENTINEL1-ASC_TS"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout, random = Layout(tmp_path_factory.mktemp("flair")).write(), np.random.default_rng(0)
    for name in NAMES:
        for part in PARTS.values():
            usual = values(name, part)
            layout.put(name, part, (usual * random.uniform(0.3, 1.7, usual.shape) + 1e-3).astype(usual.dtype))
    return layout


def mosaic(layout: Layout, part: str, folder: Path) -> Path:
    tiles = [raster.read(layout.path(name, part)) for name in NAMES]
    rows = [np.concatenate([t.data for t in tiles[i : i + 2]], 2) for i in (0, 2)]
    data, first = np.concatenate(rows, 1), tiles[0].grid
    return raster.write(folder / f"{part}.tif", data, Grid(first.crs, first.transform, data.shape[1:]))


def made_run(layout: Layout, folder: Path, *words: str, packed: bool = False) -> Run:
    streams = "data.streams=['aerial:N+R+G', s2-l2a, s1-grd-sigma0-asc-linear]"
    fixed = ("data.coarsen=1", "method.encoder.name=test_resnet", streams)
    data: tuple[str, ...] = (f"data.path={layout.root}", *words)
    experiment = recipe("flair/lc-f", [*fixed, *data], scale="smoke")
    if packed:
        pack(experiment.data.open(), folder.parent / "store")
        data = ("data.kind=pack", f"data.path={folder.parent / 'store'}", f"data.task={experiment.data.task}")
        experiment = recipe("flair/lc-f", [*fixed, *data], scale="smoke")
    folder.mkdir()
    material = gather(experiment, folder)
    torch.manual_seed(0)
    model = experiment.method.build(material.contract, material.kind)
    for layer in model.modules():  # answers of random weights that differ from place to place
        if isinstance(layer, torch.nn.Conv2d) and layer.out_channels == len(material.kind.legend):
            layer.weight.data.mul_(50)
    finish(experiment, material, model, folder)
    return open_run(folder)


def require_places(run: Run, found: np.ndarray, parts: np.ndarray) -> None:
    """A map of the four patches, two by two, against what the run says of each."""
    scene = reopen(run, "train")
    at = {p.name: i for i, p in enumerate(scene.dataset.places)}
    codes = np.array([c.value for c in run.legend.classes])
    assert np.ptp(parts, axis=(1, 2)).max() > 2, "places differ"
    for i, name in enumerate(NAMES):
        (batch,) = scene.batches([at[name]], batch_size=1)
        wanted = run.predict(batch)[0].numpy()
        rows, cols = slice(16 * (i // 2), 16 * (i // 2) + 16), slice(16 * (i % 2), 16 * (i % 2) + 16)
        np.testing.assert_allclose(parts[:, rows, cols] / 255, wanted, atol=1.01 / 255)
        top, second = np.sort(wanted, 0)[-1], np.sort(wanted, 0)[-2]
        clear = top - second > 1e-4
        np.testing.assert_array_equal(found[rows, cols][clear], codes[wanted.argmax(0)][clear])


@pytest.mark.parametrize(
    ("average", "context", "empty", "packed"),
    [
        ("none", 1, "unseen", False),
        ("monthly", 1, "unseen", False),
        ("none", 3, "unseen", False),
        ("monthly", 2, "previous", True),
        ("semi-monthly", 2, "unseen", False),
    ],
)
def test_a_map_is_what_the_run_says_of_each_place(
    archive: Layout, tmp_path: Path, average: str, context: int, empty: str, packed: bool
) -> None:
    words = (f"data.average={average}", f"data.context={context}", f"data.empty_periods={empty}")
    run = made_run(archive, tmp_path / "run", *words, packed=packed)
    told = {s: ",".join(days(p, "2020")) for s, p in PARTS.items() if s != "aerial"}
    images = {s: mosaic(archive, p, tmp_path) for s, p in PARTS.items()}
    made = map_scene(run, images, tmp_path / "map.tif", dates=told, overlap=0, probabilities=True)
    with rasterio.open(made.path) as out, rasterio.open(made.probabilities) as shares:
        found, parts = out.read(1), shares.read()
    require_places(run, found, parts)
    old = replace(run, config={k: v for k, v in run.config.items() if k != "averaged"})  # of before 0.4
    assert packed or old.averaged == run.averaged == (average, empty == "previous")


@pytest.mark.parametrize("named", [False, True])
def test_heights_are_made_of_surface_and_terrain(archive: Layout, tmp_path: Path, named: bool) -> None:
    """Weakness 12 of the spec: the official code never computes them when mapping."""
    run = made_run(archive, tmp_path / "run", "data.streams=['aerial:N+R+G', 'dsm-dtm:DSM+HEIGHT']")
    assert run.contract.streams["dsm-dtm"].bands == ("DSM", "HEIGHT")
    images = {s: mosaic(archive, p, tmp_path) for s, p in (("aerial", "AERIAL_RGBI"), ("dsm-dtm", "DEM_ELEV"))}
    options = {"bands": {"dsm-dtm": "DSM,DTM"}} if named else {}
    made = map_scene(run, images, tmp_path / "map.tif", overlap=0, probabilities=True, **options)
    with rasterio.open(made.path) as out, rasterio.open(made.probabilities) as shares:
        kept = shares.read()
        require_places(run, out.read(1), kept)
    wrong = {"dsm-dtm": "DSM,HEIGHT"}  # terrain for heights
    other = map_scene(run, images, tmp_path / "other.tif", overlap=0, probabilities=True, bands=wrong)
    with rasterio.open(other.probabilities) as shares:
        assert np.abs(shares.read() - kept.astype(int)).max() > 5
    (surface, terrain), grid = raster.read(images["dsm-dtm"]).data, raster.read(images["dsm-dtm"]).grid
    coarse = replace(grid.scaled(*(n // 2 for n in grid.shape)))
    apart = [raster.write(tmp_path / "DSM.tif", surface[None], grid), tmp_path / "DTM.tif"]
    raster.write(apart[1], terrain[None, ::2, ::2], coarse)
    with pytest.raises(ContractError, match="HEIGHT is DSM less DTM, and these lie on different grids"):
        map_scene(run, images | {"dsm-dtm": ";".join(map(str, apart))}, tmp_path / "no.tif")
    heights = tmp_path / "heights.tif"
    both = raster.read(images["dsm-dtm"])
    raster.write(heights, both.data[:1] - both.data[1:], both.grid)
    with pytest.raises(ContractError, match=r"no band DSM of dsm-dtm; there are HEIGHT"):
        map_scene(run, images | {"dsm-dtm": heights}, tmp_path / "no.tif", bands={"dsm-dtm": "HEIGHT"})


def test_a_run_that_reads_days_is_told_that_of_a_single_image(archive: Layout, tmp_path: Path) -> None:
    run = made_run(archive, tmp_path / "run", "method.circumstances.dates=true", "data.average=monthly")
    told: list[torch.Tensor] = []
    run.model.told.net.register_forward_pre_hook(lambda _, given: told.append(given[0]))
    images = {s: mosaic(archive, p, tmp_path) for s, p in PARTS.items()}
    dates = {s: ",".join(days(p, "2020")) for s, p in PARTS.items() if s != "aerial"}
    for own in ({}, {"aerial": "2020-08-15"}):
        found = map_scene(run, images, tmp_path / "map.tif", dates=dates | own, overlap=0, overwrite=True)
        (note,) = [n for n in found.notes if n.startswith("aerial: ") and "date" in n]
        assert note == "aerial: one date, 2020-08-15" if own else "names tell no date" in note, note
    before, after = told[0], told[-1]
    assert not before.any()
    assert before.shape == after.shape
    angle = torch.tensor(2 * np.pi * (day_of("2020-08-15") - day_of("2020-05-15")) / 365.25)
    torch.testing.assert_close(after[0], torch.stack([angle.sin(), angle.cos(), torch.tensor(1.0)]))
    assert (after == after[0]).all()
    assert _reads_days(OneTask(run, run.task))


def test_names_tell_the_day_of_a_single_image_and_a_word_goes_before_them(tmp_path: Path) -> None:
    field = {"B04": field_of(8, 8), "B08": field_of(8, 8)}
    for name in ("S2_20210503_created_20210504.tif", "2021-06-12/T31_20210613_B04.tif", "2021-06-12/T31_B08.tif"):
        own = {b: v for b, v in field.items() if "_B0" not in name or b in name}
        write(tmp_path / name, own, grid(8, 8))

    def day(image: str, told: str = "") -> tuple[tuple[int, ...], str]:
        dates = {"s2-l2a": told} if told else {}
        given = {"s2-l2a": str(tmp_path / image)}
        found = open_sources(contract(), given, bands={}, offset={}, dates=dates, dated=True)
        (note,) = found.notes
        return found.sources[0].days, note

    assert day("2021-06-12") == ((day_of("2021-06-12"),), "s2-l2a: one date, 2021-06-12")
    two = "S2_20210503_created_20210504.tif"
    assert day(two) == (
        (),
        "s2-l2a: names tell 2021-05-03, 2021-05-04, so the model does not learn its day (--dates s2-l2a=2021-05-03)",
    )
    assert day(two, "2021-05-04")[0] == (day_of("2021-05-04"),)
    with pytest.raises(ConfigError, match="2 dates, and the model reads one image of s2-l2a"):
        day(two, "2021-05-03,2021-05-04")
