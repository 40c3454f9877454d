"""A scene, and reading windows of it.

JPEG 2000 is decoded in blocks of 1024 x 1024, and a strip of a scene crosses a row of them in every band. GDAL's block
cache is made just as large as two such rows of all bands need, so that reading a scene in strips from top to bottom
decodes every block once.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import rasterio
import rasterio.windows
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from seg.errors import WrongUseError
from seg.rasters.header import open_raster, patiently, readable
from seg.rasters.layer import Array, Layer, Mask
from seg.rasters.validity import read_bands
from seg.reben.bands import BANDS
from seg.reben.patch import GeoRef
from seg.scenes.classification import open_classification
from seg.scenes.grid import Window
from seg.scenes.left_out import LeftOut
from seg.scenes.sentinel1 import warped

_LEAST_CACHE, _MOST_CACHE = 64 << 20, 768 << 20
_THREADS = 4
"""Files that are decoded at a time; every one of them holds blocks while it is."""


@dataclass(frozen=True)
class Scene:
    """A scene that has been looked at and can be read.

    Attributes:
        name: Product name or file stem.
        grid: The 10 m grid of the whole scene.
        bands: The bands it gives, in the order of `seg.reben.bands.BANDS`; those that were asked for.
        factors: 10 m pixels per pixel of each band along an edge: 1, 2 or 6.
        identity: Hex digest of what was opened: names, sizes, times, and what the headers say.
        product: Name of the Sentinel-2 product as reBEN names it, where known.
        layers: Where each band stands.
        warped: Those of the bands that lie on another grid and are warped.
        remarks: What the user must not miss, a sentence each.
        decisions: What was decided where the files leave it open, and why, by the name of a map's tag.
        synthetic: Whether one of the files says that it was simulated.
        origin: Where it is from, by the name of a map's tag: when it was acquired, the files of Sentinel-1, and so on.
        clouds: Its scene classification, as GDAL opens it, if clouds and their shadows are to have no data.
        left_out: What was counted in the windows that were read; it grows.
    """

    name: str
    grid: GeoRef
    bands: tuple[str, ...]
    factors: Mapping[str, int]
    identity: str
    product: str | None
    layers: Mapping[str, Layer] = field(repr=False)
    warped: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()
    decisions: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False
    origin: Mapping[str, str] = field(default_factory=dict)
    clouds: str | None = None
    left_out: LeftOut = field(default_factory=LeftOut, compare=False, repr=False)

    def remarks_on(self, left_out: LeftOut) -> tuple[str, ...]:
        """What is to be said of what was counted in its windows."""
        size = self.grid.width * self.grid.height
        return left_out.remarks(self.name, {band: size // factor**2 for band, factor in self.factors.items()})

    @contextmanager
    def open(self) -> Iterator["SceneReader"]:
        """A reader; every thread opens its own.

        Raises:
            SceneError: If a file is damaged.
        """
        files = len({layer.header.path for layer in self.layers.values()})
        with (
            rasterio.Env(GDAL_CACHEMAX=cache_bytes(self)),
            ExitStack() as stack,
            ThreadPoolExecutor(min(_THREADS, files, os.cpu_count() or 1)) as pool,
        ):
            yield SceneReader(self, stack, pool)


class SceneReader:
    """Reads windows of a scene, from `Scene.open`."""

    def __init__(self, scene: Scene, stack: ExitStack, pool: ThreadPoolExecutor) -> None:
        self._scene, self._pool = scene, pool
        self._groups: dict[str, list[str]] = {}
        for band, layer in scene.layers.items():
            self._groups.setdefault(layer.header.path, []).append(band)
        self._rasters: dict[str, DatasetReader | WarpedVRT] = {}
        for path, bands in self._groups.items():
            raster = stack.enter_context(open_raster(path))
            if bands[0] in scene.warped:
                with readable(path):
                    layers = [scene.layers[band] for band in bands]
                    raster = stack.enter_context(warped(raster, layers, scene.grid))
            self._rasters[path] = raster
        self._classification = stack.enter_context(open_classification(scene.clouds))
        self._window: Window | None = None
        self._present: dict[str, Mask] = {}

    def read(self, window: Window, bands: Sequence[str]) -> dict[str, Array]:
        """Bands of a window at their own resolution.

        Args:
            window: Within the scene; left and top are multiples of the largest of the scene's factors.
            bands: Some of the scene's bands.

        Returns:
            Band to array of `Window.shape` of its factor, yours to change: uint16 DN in reBEN's convention for
            Sentinel-2 (0: no data), float32 dB for Sentinel-1 (NaN: no data).

        Raises:
            SceneError: If a file is damaged.
        """
        self._require_inside(window)
        if window != self._window:
            self._window, self._present = window, {}
        constants = [band for band, layer in self._scene.layers.items() if layer.constants]
        # Only all of them together tell where they have none.
        asked = {*bands, *constants} if not {*constants}.isdisjoint(bands) else bands
        wanted = [(path, [band for band in held if band in asked]) for path, held in self._groups.items()]
        parts = self._pool.map(lambda each: self._read_file(window, *each), [each for each in wanted if each[1]])
        arrays = {band: array for part in parts for band, array in part.items()}
        if asked is not bands:
            self._leave_out_constants(window, {band: arrays[band][0] for band in constants})
        for band, (array, lost_HW, example) in arrays.items():
            self._present[band] = np.isfinite(array) if BANDS[band].sensor == "s1" else array != 0
            top = window.top // self._scene.factors[band]
            self._scene.left_out.add(band, top, self._present[band], lost_HW, example)
        return {band: arrays[band][0] for band in bands}

    def valid(self, window: Window) -> Mask:
        """Where the scene has data: bool (height, width) at 10 m.

        A pixel has data where all of the scene's bands do: at the edge of a swath some bands end before others. Clouds
        that are to be left out have none. Costs next to nothing right after `read` of the scene's bands in the same
        window.
        """
        held = self._present if window == self._window else {}
        if missing := [band for band in self._scene.bands if band not in held]:
            self.read(window, missing)
        scene = self._scene
        # Bands of one pixel size first, so that each size is enlarged once.
        masks = [
            _at_10_metres(
                np.logical_and.reduce([self._present[band] for band in scene.bands if scene.factors[band] == factor]),
                factor,
                window,
            )
            for factor in sorted(set(scene.factors.values()))
        ]
        if scene.clouds is not None:
            masks.append(~self._classification.clouds(window))
        return np.asarray(np.logical_and.reduce(masks), dtype=np.bool_)

    def _leave_out_constants(self, window: Window, arrays: Mapping[str, Array]) -> None:
        """Make no data of the pixels at which all bands have the constants that stand for it."""
        layers, factors = self._scene.layers, self._scene.factors
        for values in zip(*(layers[band].constants for band in arrays), strict=True):
            equal = {
                band: array == layers[band].decode(np.array([value], layers[band].dtype))[0]
                for (band, array), value in zip(arrays.items(), values, strict=True)
            }
            all_HW = np.logical_and.reduce([_at_10_metres(same, factors[band], window) for band, same in equal.items()])
            if all_HW.any():
                for band, array in arrays.items():
                    array[equal[band] & _any_within(all_HW, factors[band])] = 0

    def _read_file(self, window: Window, path: str, bands: list[str]) -> dict[str, tuple[Array, Mask | None, float]]:
        """Values of bands, which of their pixels are left out because they cannot be measured, and one of these."""
        layers = [self._scene.layers[band] for band in bands]
        factor = self._scene.factors[bands[0]]
        rows, columns = window.shape(factor)
        part = rasterio.windows.Window(window.left // factor, window.top // factor, columns, rows)
        raster = self._rasters[path]
        with readable(path):
            # Of what is warped, pixels without data are NaN.
            stored = patiently(
                path,
                lambda: (
                    [(array, None) for array in raster.read([layer.index for layer in layers], window=part)]
                    if isinstance(raster, WarpedVRT)
                    else read_bands(raster, layers, part)
                ),
            )
        read: dict[str, tuple[Array, Mask | None, float]] = {}
        for layer, (values, mask) in zip(layers, stored, strict=True):
            lost: list[Mask] = []
            decoded = layer.decode(values, mask, lost)
            read[layer.band] = (decoded, lost[0], float(values[lost[0]][0])) if lost else (decoded, None, 0.0)
        return read

    def _require_inside(self, window: Window) -> None:
        grid, step = self._scene.grid, max(self._scene.factors.values())
        inside = 0 <= window.left < window.left + window.width <= grid.width
        inside &= 0 <= window.top < window.top + window.height <= grid.height
        if not inside or window.left % step or window.top % step:
            raise WrongUseError(
                f"{window} does not begin at a multiple of {step} or lies outside the scene's {grid.width} x "
                f"{grid.height} pixels"
            )


def cache_bytes(scene: Scene) -> int:
    """Size of GDAL's block cache that reading strips of a scene needs: two rows of blocks of every band."""
    total = 0
    for layer in scene.layers.values():
        rows, columns = layer.header.block
        blocks = -(-layer.header.width // columns)
        # An alpha band is as wide as the others, a mask has a byte per pixel.
        bytes_each = np.dtype(layer.dtype).itemsize * (2 if layer.alpha else 1) + (layer.index in layer.header.masked)
        total += 2 * rows * columns * blocks * bytes_each
    return int(min(max(total, _LEAST_CACHE), _MOST_CACHE))


def _at_10_metres(mask: Mask, factor: int, window: Window) -> Mask:
    if factor > 1:
        mask = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    return mask[: window.height, : window.width]


def _any_within(mask_HW: Mask, factor: int) -> Mask:
    """Which pixels of a coarser grid hold a pixel of a mask; those at the end may be cut off."""
    if factor == 1:
        return mask_HW
    rows, columns = (-(-size // factor) for size in mask_HW.shape)
    whole_HW = np.pad(mask_HW, [(0, n * factor - size) for n, size in zip((rows, columns), mask_HW.shape, strict=True)])
    return np.asarray(whole_HW.reshape(rows, factor, columns, factor).any((1, 3)), np.bool_)
