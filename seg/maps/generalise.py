"""Maps brought to a minimum mapping unit as wholes: mosaics of patches, and scenes.

They are gone through twice, some rows at a time. What lies between the two, four bytes a pixel, waits on the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from seg.config.track import Track
from seg.generalise.units import Generalisation, unit_pixels
from seg.maps.geotiff import write_class_map, write_values
from seg.maps.mosaic import agreement, read_row
from seg.maps.parts import SURPRISALS as SURPRISAL_STRIPS
from seg.maps.parts import Unfinished
from seg.maps.patches import AGREES, MAP, REFERENCE, SURPRISALS, Layer, patch_file
from seg.reben.bands import PATCH_SIZE
from seg.reben.patch import PatchId
from seg.styles.palette import AGREEMENT

Bytes = npt.NDArray[np.uint8]

_ROWS_AT_A_TIME = 256
"""Of a scene. Even if every pixel were an object, a tile's width takes about 2 GB."""
_LARGEST = np.iinfo(np.int32).max


def generalised_rows(rows: Iterable[tuple[int, Bytes, Bytes]], unit: int, scratch: Path) -> Iterator[Bytes]:
    """A map brought to a minimum mapping unit, as it was given.

    Args:
        rows: From top to bottom, some rows of the map at a time: the rows above, classes (H, W) and surprisals
            (19, H, W), see `seg.generalise.units.Generalisation`.
        unit: Pixels that an object must have to stay.
        scratch: Folder for ``units-0000.npy`` and so on, which are there for a while.

    Raises:
        OSError: If the disk does not take them.
    """
    whole, files = Generalisation(unit), list[Path]()
    try:
        for top, classes_HW, costs_KHW in rows:
            names_HW = whole.add(classes_HW, costs_KHW, top)
            files.append(scratch / f"units-{len(files):04d}.npy")
            np.save(files[-1], names_HW.astype(np.int32 if names_HW.max(initial=0) <= _LARGEST else np.int64))
        whole.finish()
        for file in files:
            yield whole.classes(np.load(file, allow_pickle=False))
            file.unlink()
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def generalise_product(
    parts: Path,
    patches: Sequence[PatchId],
    layers: Sequence[Layer],
    unit: float,
    tags: Mapping[str, str],
    into: Layer = MAP,
) -> None:
    """Bring the patch maps of a product to a minimum mapping unit, as pieces of one map.

    Args:
        parts: Folder of the patch maps, with `MAP` and `SURPRISALS` of each; with `AGREES`, which is written anew if
            `MAP` is, also `REFERENCE`.
        patches: All patches of the product.
        layers: What there is of each.
        unit: The unit, hectares.
        tags: Metadata of every file.
        into: What is written.

    Raises:
        OSError: If a file cannot be read or written.
    """
    ordered = sorted(patches, key=lambda patch: (patch.row, patch.column))
    by_row = [list(row) for _, row in groupby(ordered, lambda patch: patch.row)]
    columns = {patch.column for patch in patches}
    first, width = min(columns), (max(columns) - min(columns) + 1) * PATCH_SIZE

    def values_of(row: Sequence[PatchId], layer: Layer) -> Bytes:
        return read_row(row, {patch: patch_file(parts, patch, layer) for patch in row}, first, width)[0]

    top = ordered[0].row
    rows = ((PATCH_SIZE * (row[0].row - top), values_of(row, MAP)[0], values_of(row, SURPRISALS)) for row in by_row)
    pixels = unit_pixels(unit, patches[0].georef.pixel_size)
    for row, classes_HW in zip(by_row, generalised_rows(rows, pixels, parts / ordered[0].product), strict=True):
        for patch in row:
            left = (patch.column - first) * PATCH_SIZE
            map_HW = classes_HW[:, left : left + PATCH_SIZE]
            write_class_map(patch_file(parts, patch, into), map_HW, patch.georef, tags)
            if AGREES in layers and into is MAP:
                marks_HW = agreement(read_map(patch_file(parts, patch, REFERENCE)), map_HW)
                path = patch_file(parts, patch, AGREES)
                write_values(path, marks_HW[None], patch.georef, tags, AGREES.bands, AGREEMENT)


def read_map(path: Path) -> Bytes:
    """The first band of a raster."""
    with rasterio.open(path) as dataset:
        values_HW: Bytes = dataset.read(1)
    return values_HW


def generalise_strips(unfinished: Unfinished, strips: Sequence[int], unit: float, into: str, track: Track) -> None:
    """Bring the strips of a scene to a minimum mapping unit, as one map.

    Args:
        unfinished: The strips, all of which are there.
        strips: Their numbers, from top to bottom.
        unit: The unit, hectares.
        into: The strips that are written, `seg.maps.parts.GENERALISED` or another layer.
        track: Progress over rows of pixels.

    Raises:
        OSError: If a strip cannot be read or written.
    """
    blocks = [(number, *block) for number in strips for block in _blocks(unfinished.part("classes", number))]
    pixels = unit_pixels(unit, unfinished.grid.pixel_size)

    def rows() -> Iterator[tuple[int, Bytes, Bytes]]:
        top = 0
        for number, first, height in track(blocks, "blocks of rows generalised", len(blocks)):
            classes_1HW, costs_KHW = (
                _read_rows(unfinished.part(layer, number), first, height) for layer in ("classes", SURPRISAL_STRIPS)
            )
            yield top, classes_1HW[0], costs_KHW
            top += height

    found = zip(blocks, generalised_rows(rows(), pixels, unfinished.folder), strict=True)
    for number, group in groupby(found, lambda pair: pair[0][0]):
        unfinished.write_generalised(number, np.concatenate([classes_HW for _, classes_HW in group]), into)


def _blocks(path: Path) -> list[tuple[int, int]]:
    """First row and height of some rows of a strip at a time."""
    with rasterio.open(path) as dataset:
        return [
            (first, min(_ROWS_AT_A_TIME, dataset.height - first)) for first in range(0, dataset.height, _ROWS_AT_A_TIME)
        ]


def _read_rows(path: Path, first: int, height: int) -> Bytes:
    with rasterio.open(path) as dataset:
        values_KHW: Bytes = dataset.read(window=Window(0, first, dataset.width, height))
    return values_KHW
