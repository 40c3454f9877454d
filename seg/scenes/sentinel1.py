"""Sentinel-1 rasters on a grid of their own, warped onto that of a scene."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import rowcol, xy
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds

from seg.catalogue.address import Place, Remote, gdal_path
from seg.errors import BandMissingError, SceneError
from seg.rasters.gaps import needs_gaps, raster_with_gaps
from seg.rasters.header import Header, read_header, shown
from seg.rasters.layer import Layer
from seg.rasters.place import require_crs, warped_onto
from seg.reben.names import band_in
from seg.reben.patch import GeoRef
from seg.scenes.folder import band_files, only_file, single_band
from seg.scenes.stack import stack_layers

_FINER = 0.9
"""Pixels of a raster that are smaller than this part of the scene's are averaged."""
_COVERED = 0.98
"""Share of a scene that a raster covers at least, lest it be said."""
_LOOKED_AT = 40
"""Places along the edge of a scene that are looked at for it."""
_COARSE, _TOO_COARSE = 15.0, 60.0
"""Metres of pixels that are coarser than the sensor's, and of those that hold nothing of what models see."""


@contextmanager
def warped(raster: DatasetReader, layers: Sequence[Layer], grid: GeoRef) -> Iterator[WarpedVRT]:
    """A raster as seen on the grid of a scene: bilinear, float32, NaN where it has no data.

    Args:
        raster: Sentinel-1, in dB.
        layers: Its bands.
        grid: Of the scene.
    """
    # At most 1: of a finer raster, more pixels are averaged.
    along, across = (edge if edge < _FINER else 1.0 for edge in _edges(layers[0].header, grid))
    with ExitStack() as stack:
        nodata = layers[0].nodata or 0.0
        if needs_gaps(layers):
            raster, nodata = stack.enter_context(rasterio.open(raster_with_gaps(layers), sharing=False)), math.nan
        yield stack.enter_context(
            warped_onto(
                raster,
                grid,
                resampling=Resampling.bilinear,
                src_nodata=nodata,
                nodata=np.nan,
                dtype="float32",
                # GDAL would take them from the bounds of what it happens to read, and smooth every window otherwise.
                XSCALE=along,
                YSCALE=across,
            )
        )


def _edges(header: Header, grid: GeoRef) -> tuple[float, float]:
    """Pixels of a scene along the edges of a pixel in the middle of a raster."""
    column, row = header.width // 2, header.height // 2
    places = xy(header.transform, [row, row, row + 1], [column, column + 1, column])
    xs, ys = transform(header.crs, CRS.from_epsg(grid.epsg), *places)
    along, across = (math.hypot(xs[i] - xs[0], ys[i] - ys[0]) / grid.pixel_size for i in (1, 2))
    return along, across


def judge_resolution(layers: Sequence[Layer], grid: GeoRef) -> tuple[str, ...]:
    """What is to be said of rasters that are coarser than what models see, a sentence for each.

    Args:
        layers: Polarisations on grids of their own, which overlap the scene.
        grid: Of the scene.

    Raises:
        SceneError: If one is by far.
    """
    remarks = []
    for header in {layer.header.path: layer.header for layer in layers}.values():
        metres = grid.pixel_size * max(_edges(header, grid))
        what = f"{shown(header.path)} has pixels of {metres:.0f} m on the ground, and models see Sentinel-1 of 10 m"
        if metres > _TOO_COARSE:
            raise SceneError(f"{what}; give a raster of that resolution")
        if metres > _COARSE:
            remarks.append(f"{what}: what they map of it is blurred.")
    return tuple(remarks)


def sentinel1_layers(rasters: Sequence[Place], needed: Sequence[str]) -> list[Layer]:
    """The needed polarisations: out of one raster that has them, of a file for each, or of a folder of such files.

    Raises:
        SceneError: If one lacks, is there twice, or a file is damaged.
    """
    if len(rasters) == 1 and (isinstance(rasters[0], Remote) or not rasters[0].is_dir()):
        try:
            layers = stack_layers(rasters[0], None, needed)
        except BandMissingError:
            raise SceneError(
                f"{rasters[0]} does not hold {' and '.join(needed)}; give a raster with both polarisations, or one for "
                "each"
            ) from None
    else:
        files: dict[str, list[Place]] = {}
        for path in rasters:
            if isinstance(path, Path) and path.is_dir():
                for band, places in band_files(path).items():
                    files.setdefault(band, []).extend(places)
            else:
                files.setdefault(_polarisation(path) or "", []).append(path)
        for band in needed:
            if band not in files:
                raise SceneError(
                    f"no Sentinel-1 raster for {band} among {', '.join(map(str, rasters))}; give a file named like "
                    f"<scene>_{band}.tif for each polarisation, or one with the bands VV and VH"
                )
        layers = [single_band(band, only_file(band, files[band])) for band in needed]
    for layer in layers:
        require_crs(layer.header, radar=True)
    return layers


def _polarisation(path: Place) -> str | None:
    """What a file of one polarisation holds: by its name, else by the description of its band."""
    return band_in(path.stem) or next(filter(None, map(band_in, read_header(gdal_path(path)).descriptions)), None)


def judge_cover(layers: Sequence[Layer], grid: GeoRef) -> tuple[str, ...]:
    """What is to be said of rasters that end within a scene, a sentence for each.

    Args:
        layers: Polarisations on grids of their own, which overlap the scene.
        grid: Of the scene.
    """
    west, south, east, north = grid.bounds
    parts = (np.arange(_LOOKED_AT) + 0.5) / _LOOKED_AT
    places = np.meshgrid(west + parts * (east - west), south + parts * (north - south))
    xs, ys = (place.ravel() for place in places)
    remarks = []
    for header in {layer.header.path: layer.header for layer in layers}.values():
        along, across = transform(CRS.from_epsg(grid.epsg), header.crs, xs, ys)
        rows, columns = map(np.array, rowcol(header.transform, along, across, op=np.asarray))
        share = ((columns >= 0) & (columns <= header.width) & (rows >= 0) & (rows <= header.height)).mean()
        if share < _COVERED:
            remarks.append(
                f"{shown(header.path)} covers about {100 * share:.0f} % of the scene; the rest has no data in the map."
            )
    return tuple(remarks)


def overlaps(layer: Layer, grid: GeoRef) -> bool:
    """Whether a raster covers a part of a scene."""
    try:
        west, south, east, north = transform_bounds(
            layer.header.crs, CRS.from_epsg(grid.epsg), *layer.header.bounds, densify_pts=21
        )
    except (CRSError, RasterioError):
        return False
    left, bottom, right, top = grid.bounds
    return bool(west < right and east > left and south < top and north > bottom)


def require_overlap(layer: Layer, grid: GeoRef) -> None:
    """Make sure that a raster covers a part of a scene.

    Raises:
        SceneError: If it lies elsewhere.
    """
    if not overlaps(layer, grid):
        raise SceneError(
            f"{shown(layer.header.path)} does not overlap the scene; give the Sentinel-1 raster of the same place"
        )
