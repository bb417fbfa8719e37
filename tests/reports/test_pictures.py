from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image as Pillow

from landweave.reports import figures, page, pictures, plots
from landweave.sample import Image


def test_true_colour_takes_the_bands_by_name_and_hides_what_is_not_seen() -> None:
    data = np.zeros((4, 10, 10), np.uint16)
    data[0], data[2] = 3000, np.arange(100).reshape(10, 10) * 40  # B08, and B04 as a ramp
    seen = np.ones((1, 1, 10, 10), bool)
    seen[..., 0, 0] = False
    title, pixels = pictures.look("s2-l2a@10", Image.of("s2-l2a", ["B08", "B03", "B04", "B02"], data, pixels_seen=seen))
    assert title == "s2-l2a: true colour"
    assert pixels[0, 0, 3] == 0
    assert pixels[0, 1, 3] == 255
    assert pixels[-1, -1].tolist() == [255, 0, 0, 255]  # red is B04, and near infrared is nowhere
    assert (np.diff(pixels[:, :, 0].astype(int).ravel()[1:]) >= 0).all()


def test_radar_is_shown_in_db_whatever_its_unit() -> None:
    db = np.random.default_rng(0).uniform(-25, 0, (2, 6, 6)).astype(np.float32)
    title, a = pictures.look("s1-rtc-gamma0", Image.of("s1-rtc-gamma0", ["VV", "VH"], db))
    linear = Image.of("s1-rtc-gamma0-linear", ["VV", "VH"], (10 ** (db / 10)).astype(np.float32))
    _, b = pictures.look("s1-rtc-gamma0-linear", linear)
    assert "VV, VH" in title
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
    low, high = pictures.RADAR_DB[0]
    assert a[2, 3, 0] == round(255 * min(1, max(0, (float(db[0, 2, 3]) - low) / (high - low))))


def test_other_sensors_are_grey_and_an_unseen_one_has_no_picture() -> None:
    dem = Image.of("dem", ["elevation"], np.arange(36, dtype=np.int16).reshape(1, 6, 6))
    title, pixels = pictures.look("dem", dem)
    assert title == "dem: elevation"
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert pictures.look("dem", dem.unseen()) is None


def test_of_a_series_the_date_of_which_most_is_seen_is_shown() -> None:
    data = np.stack([np.full((1, 4, 4), v, np.int16) for v in (1, 2, 3)])
    data[1, 0, 0, 0] = 9
    seen = np.zeros((3, 1, 4, 4), bool)
    seen[0, :, :1], seen[1] = True, True
    _, pixels = pictures.look("dem", Image.of("dem", ["elevation"], data, pixels_seen=seen))
    assert (pixels[..., 3] == 255).all()
    assert pixels[0, 0, 0] > pixels[1, 1, 0]


def test_class_maps_have_the_colours_of_the_legend_and_a_png_holds_them() -> None:
    values = np.array([[0, 1], [255, 1]], np.uint8)
    pixels = pictures.class_picture(values, ["#010203", "#ff8000"])
    assert pixels.tolist() == [[[1, 2, 3, 255], [255, 128, 0, 255]], [[0, 0, 0, 0], [255, 128, 0, 255]]]
    uri = pictures.data_uri(pixels)
    back = Pillow.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(back), pixels)


def test_a_figure_takes_the_colours_of_the_page_and_has_words() -> None:
    line = figures.Line("tra<in", [0, 1, 2], [3.0, 2.0, 1.0])
    a = figures.curves([line], [line], salt="a")
    b = figures.curves([line], [line], salt="b")
    assert a.startswith('<svg role="img" aria-label="Learning curves: tra&lt;in from 3 to 1')
    assert "currentColor" in a
    assert "var(--s1)" in a
    assert "<style" not in a
    assert not re.findall(r"#0[0a]0[02]0\d", a)
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (a, b)]
    assert not ids[0] & ids[1]
    for text, own in zip((a, b), ids, strict=True):
        assert set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", text)) <= own
    assert re.findall(r"<text[^>]*>[^<]*tra&lt;in", a)
    assert a == figures.curves([line], [line], salt="a")


def test_bars_and_distances_tell_their_numbers_in_words() -> None:
    rows = [{"name": "random", "score": 0.81, "trivial": 0.3}, {"name": "block", "score": 0.6, "trivial": 0.3}]
    text = figures.split_bars(rows, score="accuracy", salt="s")
    assert "random 0.81 (trivial 0.30), block 0.60" in text
    line = figures.Line("this run", [0.1, 4.0, 90.0], [0.9, 0.8, 0.4], [5, 6, 7])
    assert "this run from 0.9 to 0.4" in figures.against_distance([line], score="accuracy", salt="d")


def test_only_a_place_without_an_error_is_shown_as_1() -> None:
    """0.996 of a map with visible errors stood there as 1.00."""
    assert [page.share(v) for v in (1, 0.9999, 0.9996, 0.9994, 0.996, 0)] == [
        "1.000", "> 0.999", "> 0.999", "0.999", "0.996", "0.000",
    ]  # fmt: skip
    words = page.place_score({"place_score": "oa", "kind": "map"})
    assert words == "overall accuracy of its known pixels of trained classes"
    assert page.place_score({"place_score": "micro_f1", "kind": "multilabel"}) == "micro F1"
    assert page.place_score(None) == ""


def test_names_stand_beside_their_points_where_there_is_room() -> None:
    room, names = (0, 0, 400, 200), ["water", "crops", "trees", "a class of a very long name"]
    at = [(40, 100), (200, 100), (380, 100), (200, 150)]
    found = plots.beside_points(at, names, room)
    assert all(found)
    assert found[0][0] > 0, "to the right"
    assert found[2][0] < -5 * plots.LETTER, "no room to the right: to the left"
    crowd = [(100 + 3 * i, 100) for i in range(12)]
    some = plots.beside_points(crowd, ["crops"] * 12, room)
    assert 2 <= sum(o is not None for o in some) < 12
    boxes = [
        (x + o[0], y + o[1], x + o[0] + 5 * plots.LETTER, y + o[1] + plots.LINE)
        for (x, y), o in zip(crowd, some, strict=True)
        if o
    ]
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert not any(a[0] < x < a[2] and a[1] < y < a[3] for x, y in crowd)
    assert plots.beside_points([(200, 100)], ["x" * 200], room) == [None]


def test_the_scatter_of_classes_has_names_and_both_axes() -> None:
    rows = [{"x": 0.1 * i, "y": 0.3 - 0.05 * i, "name": f"class {i}", "color": "#336699"} for i in range(5)]
    svg = plots.against(rows, x="similarity", y="Brier score", words="w", salt="s")
    for text in ("similarity", "Brier score", *(row["name"] for row in rows)):
        assert f">{text}<" in svg, text


def test_a_legend_has_every_name_as_it_is() -> None:
    """matplotlib leaves out names that begin with `_`, and reads `$` as mathematics."""
    names = ["_fallow", "a$_$b", "$5 and $6"]
    line = {"color": "#336699", "mean": [0.1, 0.2], "std": [0.01, 0.01]}
    lines = [figures.Line(name, [1, 2], [0.5, 0.6], [3, 4]) for name in names]
    points = [{"name": name, "color": "#336699"} for name in names]
    drawn = {
        "traces": plots.traces([{**line, "name": n} for n in names], ["B", "R"], nanometres=(), words="", salt="t"),
        "curves": figures.curves(lines, [], salt="c"),
        "distance": figures.against_distance(lines, score="oa", salt="d"),
        "scatter": plots.scatter({"$a_$": [(0, 0), (1, 1), (2, 0)]}, [0, 1, 2], points, words="", salt="s"),
    }
    for what, svg in drawn.items():
        for name in names:
            assert f">{name} (1)</text>" in svg or f">{name}</text>" in svg, (what, name)


def test_a_dollar_in_a_name_is_one_wherever_it_stands() -> None:
    name = "a$_$b"
    bars = plots.ablation_bars([{"name": name, "value": 0.5}] * 2, score=name, words="", salt="b")
    assert bars.count(f">{name}</text>") == 3
    beside = plots.similarity([name] * 3, [[1.0, 0.5, 0.4]] * 3, words="", salt="m")
    assert beside.count(f">{name}</text>") == 6
    rows = [{"x": x, "y": 0.5, "name": name, "color": "#336699"} for x in (0.1, 0.9)]
    assert f">{name}</text>" in plots.against(rows, x="similarity", y="loss", words="", salt="a")
