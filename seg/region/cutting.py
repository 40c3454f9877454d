"""Cutting a Sentinel-2 product into patches of 1200 m on its tile's own grid, with Sentinel-1 and the CLC codes.

The product is read in strips of one row of patches, from top to bottom, so that memory stays bounded and every block of
a file is decoded once.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from seg.errors import LandCoverError
from seg.rasters.grid import PIXEL_METRES
from seg.rasters.layer import Array
from seg.reben.bands import BANDS, PATCH_METRES, PATCH_SIZE, S1_BANDS, S2_BANDS
from seg.reben.classes import IGNORE_INDEX, UNLABELLED_LIMIT
from seg.reben.patch import PatchId
from seg.reben.reference_map import class_indices, implied_bits
from seg.region.clc import ClcFile, Codes, LandCover
from seg.region.countries import countries_at
from seg.region.polygons import PolygonFile
from seg.scenes.cells import Cells, cells_of
from seg.scenes.classification import CLOUD_OR_SHADOW, SNOW, Classification, open_classification
from seg.scenes.reader import Scene, SceneReader, cache_bytes

Flags = npt.NDArray[np.bool_]
LEAST_FLAGGED = 0.1
"""A patch is flagged where more than this share of it is snow, or cloud and shadow, by the scene classification."""
NO_DATA, UNLABELLED, NO_S1 = "pixels without data", "25 % and more unlabelled", "no Sentinel-1"
CLOUDED = "clouds or their shadows"
"""Why a patch is left out."""
_SLAB = 10
"""Rows of patches that codes are read of at a time: a polygon is handed to GDAL once per slab that it lies in."""


@dataclass(frozen=True)
class CutTask:
    """What is cut out of one product.

    Attributes:
        product: Its name, as reBEN names it.
        scene: The product.
        s1: Sentinel-1 scenes on its grid by name, the nearest in time first.
        clc: Land cover.
        countries: Countries; None: unknown.
        require_s1: Leave out patches without Sentinel-1.
        classification: File of the product's scene classification; None: it has none.
    """

    product: str
    scene: Scene
    s1: Mapping[str, Scene]
    clc: ClcFile
    countries: PolygonFile | None
    require_s1: bool
    classification: str | None = None

    @property
    def tile(self) -> str:
        """MGRS tile without the leading T."""
        return PatchId.parse(f"{self.product}_00_00").tile

    @property
    def cells(self) -> Cells:
        """The cells to cut."""
        return cells_of(self.scene, self.tile)


@dataclass(frozen=True, slots=True)
class Cut:
    """A patch that was cut out, or left out.

    Attributes:
        patch: Its id.
        reason: Why it was left out; empty if it was not.
        unlabelled: Share of its pixels without a class, 0 to 1.
        labels: Multi-label as an integer.
        snow, cloud: Whether the scene classification has much snow, or much cloud and shadow; never both.
        country: As in the file of countries.
        s1_name: Name of its Sentinel-1 patch; empty if there is none.
        bands: Band to array as in the GeoTIFFs; without Sentinel-1 where there is none, empty if it was left out.
        codes: CLC codes, uint16 (120, 120).
    """

    patch: PatchId
    reason: str
    unlabelled: float
    labels: int
    snow: bool
    cloud: bool
    country: str
    s1_name: str
    bands: Mapping[str, Array]
    codes: Codes


def cut_strips(task: CutTask, codes: LandCover) -> Iterator[list[Cut]]:
    """Cut a product, row of patches by row of patches.

    Args:
        task: What is to be cut.
        codes: Land cover on the grid of its cells.

    Raises:
        SceneError: If a file is damaged.
        LandCoverError: If the land cover cannot be used, or has no class anywhere on the cells.
    """
    cells, labelled = task.cells, False
    countries = _countries(task, cells)
    with ExitStack() as stack:
        s1 = {name: stack.enter_context(scene.open()) for name, scene in task.s1.items()}
        classification = stack.enter_context(open_classification(task.classification))
        reader = stack.enter_context(task.scene.open())
        # Each scene has set GDAL's block cache to what it needs alone.
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=sum(map(cache_bytes, (task.scene, *task.s1.values())))))
        for row, codes_HW in _strips_of_codes(codes, cells.rows):
            strip = _Strip(task, cells, row, codes_HW)
            strip.read(reader, classification)
            strip.pair(s1)
            labelled |= bool((strip.unlabelled_C < 1).any())
            yield strip.cuts(countries[row * cells.columns :])
    if not labelled:
        raise LandCoverError(
            f"{task.clc.path} has no class anywhere on the tile {task.tile} of {task.scene.name}; give the CLC of the "
            "same place, or leave the product out"
        )


def _strips_of_codes(codes: LandCover, rows: int) -> Iterator[tuple[int, Codes]]:
    for top in range(0, rows, _SLAB):
        count = min(_SLAB, rows - top)
        slab_HW = codes.read(top * PATCH_SIZE, count * PATCH_SIZE)
        for i in range(count):
            yield top + i, slab_HW[i * PATCH_SIZE : (i + 1) * PATCH_SIZE]


class _Strip:
    """A row of cells on its way to patches. Arrays end in _C: one entry per cell."""

    def __init__(self, task: CutTask, cells: Cells, row: int, codes_HW: Codes) -> None:
        self._task, self._cells, self._row = task, cells, row
        self._codes_HW = codes_HW
        self._classes_HW = class_indices(codes_HW, str(task.clc.path))
        self._bands: dict[str, Array] = {}
        self._s1_C: dict[int, tuple[str, dict[str, Array]]] = {}
        self._snow_C = self._cloud_C = np.zeros(cells.columns, np.bool_)
        self.unlabelled_C = self._share(self._classes_HW == IGNORE_INDEX)
        self._reason_C = np.where(self.unlabelled_C < UNLABELLED_LIMIT, "", UNLABELLED).astype(object)

    def read(self, reader: SceneReader, classification: Classification) -> None:
        """Read Sentinel-2 and what it is classified as, unless no cell has labels enough."""
        if not self._wanted.any():
            return
        empty_C = np.zeros(self._cells.columns, np.bool_)
        for band, array_HW in reader.read(self._cells.window(self._row), S2_BANDS).items():
            empty_C |= _by_cell(array_HW == 0, self._cells.columns).any(axis=(0, 2))
            finer = BANDS[band].pixel_size // round(PIXEL_METRES) // self._task.scene.factors[band]
            self._bands[band] = _averaged(array_HW, finer)
        self._reason_C[self._wanted & empty_C] = NO_DATA
        classes_HW = classification.read(self._cells.window(self._row))
        if self._task.scene.clouds is not None:
            clouded_C = self._share(np.isin(classes_HW, CLOUD_OR_SHADOW)) > 0
            self._reason_C[self._wanted & clouded_C] = CLOUDED
        # The official rows never carry both flags.
        self._snow_C = self._share(np.isin(classes_HW, SNOW)) > LEAST_FLAGGED
        self._cloud_C = ~self._snow_C & (self._share(np.isin(classes_HW, CLOUD_OR_SHADOW)) > LEAST_FLAGGED)

    def pair(self, s1: Mapping[str, SceneReader]) -> None:
        """Give every cell the first of the scenes that covers it wholly."""
        for name, reader in s1.items():
            lacking_C = self._wanted.copy()
            lacking_C[list(self._s1_C)] = False
            if not lacking_C.any():
                return
            arrays = reader.read(self._cells.window(self._row), S1_BANDS)
            for array_HW in arrays.values():
                lacking_C &= _by_cell(np.isfinite(array_HW), self._cells.columns).all(axis=(0, 2))
            self._s1_C |= dict.fromkeys(np.flatnonzero(lacking_C).tolist(), (name, arrays))
        if self._task.require_s1:
            lacking_C = self._wanted.copy()
            lacking_C[list(self._s1_C)] = False
            self._reason_C[lacking_C] = NO_S1

    def cuts(self, country_C: npt.NDArray[Any]) -> list[Cut]:
        """The patches of all cells, from west to east."""
        return [self._cut(c, str(country_C[c])) for c in range(self._cells.columns)]

    def _share(self, where_HW: Flags) -> npt.NDArray[np.float64]:
        """The share of each cell's pixels that something holds for."""
        share_C: npt.NDArray[np.float64] = _by_cell(where_HW, self._cells.columns).mean(axis=(0, 2))
        return share_C

    @property
    def _wanted(self) -> Flags:
        return np.asarray(self._reason_C == "", np.bool_)

    def _cut(self, c: int, country: str) -> Cut:
        column, row = self._cells.left + c, self._cells.top + self._row
        patch = PatchId.parse(f"{self._task.product}_{column:02d}_{row:02d}")
        bands, s1_name = {}, ""
        if not self._reason_C[c]:
            held = dict(self._bands)
            if c in self._s1_C:
                scene, arrays = self._s1_C[c]
                s1_name, held = f"{scene}_{patch.tile}_{column}_{row}", {**arrays, **held}
            bands = {band: _cell(array_HW, c, BANDS[band].size) for band, array_HW in held.items()}
        return Cut(
            patch=patch,
            reason=str(self._reason_C[c]),
            unlabelled=float(self.unlabelled_C[c]),
            labels=implied_bits(_cell(self._classes_HW, c, PATCH_SIZE)),
            snow=bool(self._snow_C[c]),
            cloud=bool(self._cloud_C[c]),
            country=country,
            s1_name=s1_name,
            bands=bands,
            codes=_cell(self._codes_HW, c, PATCH_SIZE),
        )


def _countries(task: CutTask, cells: Cells) -> npt.NDArray[Any]:
    """Countries of all cells, row by row."""
    row_N, column_N = np.divmod(np.arange(cells.rows * cells.columns), cells.columns)
    x_N = cells.grid.x_min + (column_N + 0.5) * PATCH_METRES
    y_N = cells.grid.y_max - (row_N + 0.5) * PATCH_METRES
    return countries_at(task.countries, cells.grid, x_N, y_N)


def _averaged(array_HW: Array, times: int) -> Array:
    """Means of squares of pixels, rounded, for bands that a scene holds finer than reBEN does."""
    if times == 1:
        return array_HW
    rows, columns = array_HW.shape
    sums_HW = array_HW.reshape(rows // times, times, columns // times, times).sum(axis=(1, 3), dtype=np.uint32)
    means_HW: Array = ((sums_HW + times**2 // 2) // times**2).astype(array_HW.dtype)
    return means_HW


def _by_cell(array_HW: Array, columns: int) -> Array:
    """A strip as (row, cell, column)."""
    return array_HW.reshape(len(array_HW), columns, -1)


def _cell(array_HW: Array, c: int, size: int) -> Array:
    return np.ascontiguousarray(array_HW[:, c * size : (c + 1) * size])
