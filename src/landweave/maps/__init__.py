"""From a trained run and rasters to a land-cover map that a GIS opens with its names and colours."""
