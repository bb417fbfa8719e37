"""The sensors: which bands they have, under which names, at which pixel size, in which unit.

A *sensor* here is a platform at one product level and calibration: `s2-l1c` and `s2-l2a` are two, and so are
`s1-rtc-gamma0` (dB) and `s1-rtc-gamma0-linear`. This is the one file in which a sensor's name stands.

A *stream* is one sensor at one pixel size, written `sensor` or `sensor@metres`: Sentinel-2 as delivered comes as
`s2-l2a@10`, `s2-l2a@20`, `s2-l2a@60`; a Sentinel-2 cube that somebody resampled to one grid is plain `s2-l2a`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from landweave.errors import ConfigError, DataError, did_you_mean, listed

Unit = Literal["reflectance", "dB", "linear power", "digital number", "metre"]

FLOOR = 1e-6
"""The least linear power that has a value in dB (-60 dB, below the noise of any radar here)."""


@dataclass(frozen=True)
class Band:
    """One band. `name` is the official one, `common` the STAC common name, `wavelength` the centre in micrometres.

    `metres` is the pixel size of the product as delivered; `aliases` are other spellings that users bring. `less` names
    two bands of which it is the difference: where a file lacks it, it is made of them.
    """

    name: str
    common: str = ""
    wavelength: float | None = None
    metres: float = 10.0
    aliases: tuple[str, ...] = ()
    less: tuple[str, str] | None = None

    def spellings(self) -> tuple[str, ...]:
        """All names this band answers to, compared without case."""
        return tuple(s.casefold() for s in (self.name, self.common, *self.aliases) if s)


@dataclass(frozen=True)
class Sensor:
    """A platform at one product level.

    `unit` is the physical unit after `number * scale + offset`, with the scale and offset that files of this sensor
    usually need. `plausible` bounds physical values of real scenes: it serves to catch dB handed in as linear power,
    and reflectance handed in without its scale. `family` links sensors that differ in the unit only.
    """

    name: str
    bands: tuple[Band, ...]
    unit: Unit
    scale: float = 1.0
    offset: float = 0.0
    plausible: tuple[float, float] = (float("-inf"), float("inf"))
    family: str = ""
    radar: bool = False
    orders: tuple[tuple[str, ...], ...] = field(default=())
    """Band orders found in files of this sensor, beside the order of `bands`."""

    @property
    def band_names(self) -> tuple[str, ...]:
        """Official band names in the sensor's own order."""
        return tuple(b.name for b in self.bands)

    def band(self, name: str) -> Band:
        """Find a band by its official name, common name or alias (`B08`, `nir`, `NIR`, `B8`).

        Raises:
            ConfigError: no band, or more than one, answers to the name.
        """
        hits = [b for b in self.bands if b.name.casefold() == name.casefold()] or [
            b for b in self.bands if name.casefold() in b.spellings()
        ]
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise ConfigError(f"band `{name}` is ambiguous: {listed([b.name for b in hits])}", where=self.name)
        known = [s for b in self.bands for s in (b.name, b.common) if s]
        raise ConfigError(
            f"no band `{name}`{did_you_mean(name, known)}",
            where=self.name,
            fix=f"use one of {listed(self.band_names, 20)}",
        )

    def select(self, names: Iterable[str]) -> tuple[str, ...]:
        """Official names of the bands that are asked for, in the order asked."""
        chosen = tuple(self.band(n).name for n in names)
        if len(set(chosen)) < len(chosen):
            raise ConfigError(f"a band is named twice: {listed(chosen, 20)}", where=self.name)
        return chosen

    def described(self, descriptions: Sequence[str], *, where: str = "") -> tuple[str, ...] | None:
        """The bands that a file's descriptions name; None where they name none, or one twice.

        A description is a band's name, common name or alias, or ends in its name (`Sigma0_VH`).

        Raises:
            DataError: some are bands and others are not, so that no order by count can be right.
        """
        found = [self._described(text) for text in descriptions]
        strange = [t for t, b in zip(descriptions, found, strict=True) if not b]
        names = tuple(b for b in found if b)
        if not names or (not strange and len(set(names)) < len(names)):
            return None
        if strange:
            at = " ".join(f"-b {i}" for i, b in enumerate(found, 1) if b)
            raise DataError(
                f"some of its bands are described as bands of {self.name} ({listed(names, 6)}), others are none "
                f"({listed(strange, 6)})",
                where=where or self.name,
                fix=f"keep the former: gdal_translate {at} IN OUT; or name all in order: --bands {self.name}=...",
            )
        return names

    def _described(self, text: str) -> str:
        hits = [b.name for b in self.bands if b.name.casefold() == text.casefold()]
        hits = hits or [b.name for b in self.bands if text.casefold() in b.spellings()]
        last = re.split(r"[_\-. ]", text)[-1].casefold()
        hits = hits or [b.name for b in self.bands if b.name.casefold() == last]
        return hits[0] if len(hits) == 1 else ""

    def of_count(self, count: int, *, where: str = "") -> tuple[str, ...]:
        """The band names of a file that has `count` unnamed bands.

        Raises:
            DataError: no order of this sensor has that count, or more than one has.
        """
        orders = [o for o in (self.band_names, *self.orders) if len(o) == count]
        if len(orders) == 1:
            return orders[0]
        if orders:
            options = "\n".join(f"    --bands {self.name}={','.join(o)}" for o in orders)
            raise DataError(
                f"{count} bands without names, and files of {self.name} come in {len(orders)} orders",
                where=where or self.name,
                fix=f"say which:\n{options}",
            )
        counts = sorted({len(self.bands), *(len(o) for o in self.orders)})
        raise DataError(
            f"{count} bands, but {self.name} has {' or '.join(map(str, counts))}",
            where=where or self.name,
            fix=f"name the bands: --bands {self.name}=... (known: {listed(self.band_names, 20)})",
        )


def _s2(*names: str) -> tuple[Band, ...]:
    table = {  # centre wavelengths of Sentinel-2A, ESA Sentinel-2 spectral response functions v3.0; STAC common names
        "B01": ("coastal", 0.4427, 60, ("B1", "COASTAL_AEROSOL")),
        "B02": ("blue", 0.4924, 10, ("B2",)),
        "B03": ("green", 0.5598, 10, ("B3",)),
        "B04": ("red", 0.6646, 10, ("B4",)),
        "B05": ("rededge071", 0.7041, 20, ("B5", "RED_EDGE_1", "rededge1")),
        "B06": ("rededge075", 0.7405, 20, ("B6", "RED_EDGE_2", "rededge2")),
        "B07": ("rededge078", 0.7828, 20, ("B7", "RED_EDGE_3", "rededge3")),
        "B08": ("nir", 0.8328, 10, ("B8", "NIR_BROAD")),
        "B8A": ("nir08", 0.8647, 20, ("B08A", "NIR_NARROW")),
        "B09": ("nir09", 0.9451, 60, ("B9", "WATER_VAPOR")),
        "B10": ("cirrus", 1.3735, 60, ()),
        "B11": ("swir16", 1.6137, 20, ("SWIR_1", "swir1")),
        "B12": ("swir22", 2.2024, 20, ("SWIR_2", "swir2")),
    }
    rows = [(n, *table[n]) for n in names]
    return tuple(Band(n, common, um, metres, aliases) for n, common, um, metres, aliases in rows)


_L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_L2A = tuple(b for b in _L1C if b != "B10")  # the atmospheric correction uses up the cirrus band
_TEN = tuple(b for b in _L2A if b not in ("B01", "B09"))
_FOUR = ("B02", "B03", "B04", "B08")
_RGB = (
    Band("R", "red", 0.665, aliases=("red",)),
    Band("G", "green", 0.560, aliases=("green",)),
    Band("B", "blue", 0.490, aliases=("blue",)),
)
_POL = (Band("VV"), Band("VH"))


def _radar(name: str, unit: Unit, family: str) -> Sensor:
    plausible = (-60.0, 40.0) if unit == "dB" else (0.0, 1e4)
    return Sensor(name, _POL, unit, plausible=plausible, family=family, radar=True)


SENSORS: dict[str, Sensor] = {
    s.name: s
    for s in (
        Sensor(
            "s2-l1c",
            _s2(*_L1C),
            "reflectance",
            1e-4,
            plausible=(-0.2, 3.0),
            # EuroSAT appends B8A after all others; Earth Engine and SEN12MS keep it after B08
            orders=((*(b for b in _L1C if b != "B8A"), "B8A"), _TEN, _FOUR),
        ),
        Sensor("s2-l2a", _s2(*_L2A), "reflectance", 1e-4, plausible=(-0.2, 3.0), orders=(_TEN, _FOUR)),
        _radar("s1-grd-sigma0", "dB", "s1-grd-sigma0"),
        _radar("s1-grd-sigma0-linear", "linear power", "s1-grd-sigma0"),
        _radar("s1-grd-sigma0-asc", "dB", "s1-grd-sigma0-asc"),
        _radar("s1-grd-sigma0-asc-linear", "linear power", "s1-grd-sigma0-asc"),
        _radar("s1-grd-sigma0-desc", "dB", "s1-grd-sigma0-desc"),
        _radar("s1-grd-sigma0-desc-linear", "linear power", "s1-grd-sigma0-desc"),
        _radar("s1-rtc-gamma0", "dB", "s1-rtc-gamma0"),
        _radar("s1-rtc-gamma0-linear", "linear power", "s1-rtc-gamma0"),
        Sensor("rgb", _RGB, "digital number", plausible=(0, 255)),
        Sensor(
            "aerial",
            tuple(replace(b, metres=0.2) for b in (*_RGB, Band("N", "nir", 0.84, aliases=("I", "NIR")))),
            "digital number",
            plausible=(0, 255),
            orders=(("R", "G", "B"),),
        ),
        Sensor(
            "aerial-pan",
            (Band("P", "pan", metres=0.4, aliases=("PAN",)),),
            "digital number",
            plausible=(0, 255),
        ),
        Sensor(
            "spot",
            tuple(replace(b, metres=1.6) for b in (*_RGB, Band("N", "nir", 0.825, aliases=("I", "NIR")))),
            "reflectance",
            1e-4,
            plausible=(-0.2, 3.0),
        ),
        Sensor("dem", (Band("elevation", aliases=("DEM", "height")),), "metre", plausible=(-12000, 9000)),
        Sensor(
            "dsm-dtm",
            # HEIGHT is what stands on the ground: DSM - DTM, so that no altitude need be learned
            (
                Band("DSM", "surface", metres=0.2),
                Band("DTM", "terrain", metres=0.2),
                Band("HEIGHT", metres=0.2, less=("DSM", "DTM")),
            ),
            "metre",
            plausible=(-12000, 9000),
            orders=(("DSM", "DTM"),),
        ),
    )
}


def sensor(stream: str) -> Sensor:
    """The sensor of a stream: `sensor("s2-l2a@20")` is the row `s2-l2a`.

    Raises:
        ConfigError: unknown name, with the nearest known one.
    """
    name = stream.partition("@")[0]
    if name in SENSORS:
        return SENSORS[name]
    raise ConfigError(
        f"unknown sensor `{name}`{did_you_mean(name, list(SENSORS))}",
        where=stream,
        fix=f"use one of {listed(list(SENSORS), 20)}",
    )


def native_streams(name: str, bands: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Group bands by the pixel size they are delivered at: `{"s2-l2a@10": ("B02", ...), "s2-l2a@20": ...}`."""
    found: dict[str, tuple[str, ...]] = {}
    for b in (sensor(name).band(n) for n in bands):
        key = f"{name}@{b.metres:g}"
        found[key] = (*found.get(key, ()), b.name)
    return found


@dataclass(frozen=True)
class StreamChoice:
    """What an experiment asks of one sensor: written `s2-l2a` or, with bands, `s2-l2a:B02+B03+B04+B08`."""

    sensor: str
    bands: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> StreamChoice:
        """Parse the text form; names of bands may be aliases.

        Raises:
            ConfigError: an unknown sensor or band, or a stream of one pixel size.
        """
        name, _, bands = text.partition(":")
        if "@" in name:
            raise ConfigError(
                f"`{name}` names a pixel size; a choice is of a sensor, and of its bands",
                where="data.streams",
                fix=f"write {sensor(name).name}, or {sensor(name).name}:BAND+BAND for some of its bands",
            )
        row = sensor(name)
        return cls(row.name, row.select(bands.split("+")) if bands else ())

    def __str__(self) -> str:
        return self.sensor + (":" + "+".join(self.bands) if self.bands else "")
