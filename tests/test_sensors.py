from __future__ import annotations

import pytest

from landweave.data.table import Table
from landweave.errors import ConfigError, DataError
from landweave.sensors import SENSORS, StreamChoice, native_streams, sensor


@pytest.mark.parametrize("name", ["B08", "b08", "B8", "nir", "NIR", "NIR_BROAD"])
def test_a_band_answers_to_its_names(name: str) -> None:
    assert sensor("s2-l2a").band(name).name == "B08"


def test_common_names_agree_with_eo_extension_2_and_terratorch() -> None:
    assert [b.common for b in sensor("s2-l1c").bands] == [
        "coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "nir08", "nir09",
        "cirrus", "swir16", "swir22",
    ]  # fmt: skip
    assert sensor("s2-l2a").select(["BLUE", "NIR_NARROW", "SWIR_1"]) == ("B02", "B8A", "B11")


def test_no_band_of_a_sensor_answers_to_another_ones_name() -> None:
    for row in SENSORS.values():
        for band in row.bands:
            for spelling in {*band.spellings()}:
                assert row.band(spelling).name == band.name, (row.name, spelling)


def test_an_unknown_band_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `B08`"):
        sensor("s2-l2a").band("B088")
    with pytest.raises(ConfigError, match="no band `B10`"):
        sensor("s2-l2a").band("B10")  # used up by the atmospheric correction


def test_an_unknown_sensor_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `s2-l2a`"):
        sensor("s2-l2")


def test_thirteen_unnamed_bands_are_refused_with_both_orders() -> None:
    with pytest.raises(DataError) as caught:
        sensor("s2-l1c").of_count(13, where="A.tif")
    text = str(caught.value)
    assert text.startswith("A.tif: 13 bands without names")
    assert "B08,B8A,B09,B10,B11,B12" in text
    assert "B08,B09,B10,B11,B12,B8A" in text


def test_a_wrong_band_count_names_the_right_ones() -> None:
    with pytest.raises(DataError, match="5 bands, but s2-l2a has 4 or 10 or 12"):
        sensor("s2-l2a").of_count(5)
    assert sensor("s2-l2a").of_count(12) == sensor("s2-l2a").band_names


def test_native_streams_of_sentinel_2() -> None:
    found = native_streams("s2-l2a", sensor("s2-l2a").band_names)
    assert found["s2-l2a@10"] == ("B02", "B03", "B04", "B08")
    assert found["s2-l2a@20"] == ("B05", "B06", "B07", "B8A", "B11", "B12")
    assert found["s2-l2a@60"] == ("B01", "B09")


def test_choice_of_bands_round_trips() -> None:
    choice = StreamChoice.parse("s2-l2a:red+nir")
    assert choice.bands == ("B04", "B08")
    assert StreamChoice.parse(str(choice)) == choice
    with pytest.raises(ConfigError, match="twice"):
        StreamChoice.parse("s2-l2a:B04+red")


def test_a_choice_is_of_a_sensor_not_of_a_pixel_size() -> None:
    with pytest.raises(ConfigError, match=r"(?s)s2-l2a@10.*write s2-l2a"):
        StreamChoice.parse("s2-l2a@10")
    with pytest.raises(ConfigError, match="s2-l2a is named twice: s2-l2a:B02, s2-l2a:B08"):
        _ = Table(path="a.csv", streams=("s2-l2a:B02", "s2-l2a:B08")).choices
