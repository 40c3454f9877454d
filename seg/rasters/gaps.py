"""A raster with NaN wherever it has no data, by masks, alpha bands and fills, for GDAL to warp.

The warper takes one nodata value per band, and what else says where data are it does not know, or not of every band:
it blends fills into the values beside them. What it reads here is a VRT over the file, of a layer for each thing to be
left out; nothing is copied.
"""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from seg.rasters.header import Header
from seg.rasters.layer import Layer

_EXACT_IN_SINGLE = ("int8", "uint8", "int16", "uint16", "float32")


def needs_gaps(layers: Sequence[Layer]) -> bool:
    """Whether the warper has to be told where bands of one file have no data.

    rasterio makes it leave a pixel out where all bands of the file have their nodata value. Where one has it alone,
    only NaN keeps apart from what is measured.
    """
    header = layers[0].header
    nan = all(layer.nodata is not None and math.isnan(layer.nodata) for layer in layers)
    alone = len(header.dtypes) == 1 or (nan and len(layers) == len(header.dtypes))
    # A band that is coloured as alpha hides the others from GDAL, even if it is VH.
    return not alone or bool(header.alphas) or any(layer.masked or layer.fills for layer in layers)


def raster_with_gaps(layers: Sequence[Layer]) -> str:
    """The XML of a VRT of one file, whose given bands are NaN where they have no data.

    Args:
        layers: Bands of one file.
    """
    header = layers[0].header
    bands = {layer.index: layer for layer in layers}
    exact = all(layer.dtype in _EXACT_IN_SINGLE for layer in layers)
    vrt = _Vrt(header, "Float32" if exact else "Float64")
    source = header.path
    if any(layer.index in header.masked for layer in layers):
        source = vrt.over(source, dict.fromkeys(bands, "<UseMaskBand>true</UseMaskBand>"))
    for alpha in {layer.alpha for layer in layers} - {None}:
        source = vrt.over(source, dict.fromkeys(bands, ""), _mask_band(header.path, alpha or 0))
        source = vrt.over(source, dict.fromkeys(bands, "<UseMaskBand>true</UseMaskBand>"))
    left_out = {index: _values(layer) for index, layer in bands.items()}
    for turn in range(max(map(len, left_out.values()))):
        inner = {
            index: f"<NODATA>{values[turn]!r}</NODATA>" if turn < len(values) else ""
            for index, values in left_out.items()
        }
        source = vrt.over(source, inner)
    return source if source != header.path else vrt.over(source, dict.fromkeys(bands, ""))


def _values(layer: Layer) -> list[float]:
    values = [0.0 if layer.zero_is_empty else float(layer.nodata or 0), *map(float, layer.fills)]
    return [value for value in values if not math.isnan(value)]


def _mask_band(path: str, index: int) -> str:
    source = f"<SimpleSource>{_source(path, index)}</SimpleSource>"
    return f'<MaskBand><VRTRasterBand dataType="Byte">{source}</VRTRasterBand></MaskBand>'


def _source(path: str, index: int) -> str:
    return (
        f'<SourceFilename relativeToVRT="0" shared="0">{escape(path)}</SourceFilename><SourceBand>{index}</SourceBand>'
    )


class _Vrt:
    """Writes VRTs of the size and place of a file, with as many bands."""

    def __init__(self, header: Header, dtype: str) -> None:
        self._count, self._dtype = len(header.dtypes), dtype
        place = ", ".join(map(repr, header.transform.to_gdal()))
        crs = escape(header.crs.to_wkt()) if header.crs else ""
        self._head = (
            f'<VRTDataset rasterXSize="{header.width}" rasterYSize="{header.height}"><SRS>{crs}</SRS>'
            f"<GeoTransform>{place}</GeoTransform>"
        )

    def over(self, source: str, inner: Mapping[int, str], mask: str = "") -> str:
        """A VRT over a file or another VRT.

        Args:
            source: Path or XML.
            inner: By band what is said of its source, such as what it leaves out; that is NaN. All other bands are
                empty: the warper looks at all of them to tell where there is nothing.
            mask: Mask band.
        """
        bands = ""
        for index in range(1, self._count + 1):
            held = f"<ComplexSource>{_source(source, index)}{inner[index]}</ComplexSource>" if index in inner else ""
            head = f'<VRTRasterBand dataType="{self._dtype}" band="{index}"><NoDataValue>nan</NoDataValue>'
            bands += f"{head}{held}</VRTRasterBand>"
        return f"{self._head}{bands}{mask}</VRTDataset>"
