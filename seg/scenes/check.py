"""What only the values of a scene show: that there are any."""

from collections.abc import Iterator

import rasterio.windows

from seg.scenes.grid import SceneError
from seg.scenes.header import open_raster, readable, shown
from seg.scenes.layer import Array, Layer
from seg.scenes.sample import sample_of

_ROWS = 256


def require_data(layers: list[Layer]) -> None:
    """Make sure that some pixel of every band has data.

    Raises:
        SceneError: If a band has none, or a file is damaged.
    """
    empty = [layer for layer in layers if not sample_of(layer).valid]
    if not empty:
        return
    path = shown(empty[0].header.path)
    if len(empty) == len(layers):
        raise SceneError(f"{path} holds no data: every pixel is nodata; give another scene")
    names = ", ".join(layer.band for layer in empty)
    raise SceneError(
        f"{path} holds no data in {names}: every pixel is nodata, NaN or masked; give a scene that has data in all of "
        f"{', '.join(layer.band for layer in layers)}"
    )


def _strips(layer: Layer) -> Iterator[Array]:
    """Stored values of a band, strip by strip, from the middle outwards."""
    header = layer.header
    rows = max(_ROWS, header.block[0] if header.block[0] < header.height else _ROWS)
    tops = sorted(range(0, header.height, rows), key=lambda top: abs(top + rows // 2 - header.height // 2))
    with open_raster(header.path) as raster, readable(header.path):
        for top in tops:
            window = rasterio.windows.Window(0, top, header.width, min(rows, header.height - top))
            yield raster.read(layer.index, window=window)
