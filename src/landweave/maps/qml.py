"""Styles beside a map: a QGIS style, and GDAL's side file with class names. Plain text, no library needed."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

Row = tuple[int, str, str]
"""The value in the map, the name and the colour (`#rrggbb`) of a class."""


def qml(classes: Sequence[Row]) -> str:
    """A QGIS layer style with the `paletted` renderer; QGIS loads `map.qml` beside `map.tif` by itself."""
    entries = "\n".join(
        f'        <paletteEntry value="{value}" label={quoteattr(name)} color="{color}" alpha="255"/>'
        for value, name, color in classes
    )
    return f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">
      <rasterTransparency/>
      <colorPalette>
{entries}
      </colorPalette>
    </rasterrenderer>
    <brightnesscontrast brightness="0" contrast="0" gamma="1"/>
    <huesaturation saturation="0" grayscaleMode="0" colorizeOn="0"/>
    <rasterresampler maxOversampling="2"/>
  </pipe>
  <blendMode>0</blendMode>
</qgis>
"""


def aux(classes: Sequence[Row]) -> str:
    """GDAL's `.aux.xml`: category names and a raster attribute table (value, class, red, green, blue)."""
    names = {value: name for value, name, _ in classes}
    categories = "".join(
        f"      <Category>{escape(names.get(v, ''))}</Category>\n" for v in range(max(names, default=-1) + 1)
    )
    fields = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
    heads = "".join(
        f'      <FieldDefn index="{i}"><Name>{n}</Name><Type>{t}</Type><Usage>{u}</Usage></FieldDefn>\n'
        for i, (n, t, u) in enumerate(fields)
    )
    rows = "".join(
        f'      <Row index="{i}"><F>{value}</F><F>{escape(name)}</F>'
        + "".join(f"<F>{int(color[k : k + 2], 16)}</F>" for k in (1, 3, 5))
        + "</Row>\n"
        for i, (value, name, color) in enumerate(classes)
    )
    return f"""<PAMDataset>
  <PAMRasterBand band="1">
    <CategoryNames>
{categories}    </CategoryNames>
    <GDALRasterAttributeTable tableType="thematic">
{heads}{rows}    </GDALRasterAttributeTable>
  </PAMRasterBand>
</PAMDataset>
"""
