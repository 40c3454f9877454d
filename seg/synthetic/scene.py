"""A synthetic Sentinel scene of any size up to a whole tile, in the forms that scenes come in.

Out of the landscapes of `seg.synthetic.tree`: a Sentinel-2 L2A product, a Sentinel-1 raster in dB on the grid of the
neighbouring UTM zone, all Sentinel-2 bands as one GeoTIFF, and the CLC codes. The land is drawn in squares of 14.4 km,
so that memory stays bounded; it changes abruptly where they meet.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
import rasterio.windows
from rasterio.io import DatasetWriter
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, calculate_default_transform

from seg.config.paths import AnyPath
from seg.config.track import Track, silent
from seg.errors import WrongUseError
from seg.reben.bands import BANDS, PATCH_SIZE, S1_BANDS, S2_BANDS
from seg.reben.patch import GeoRef, tile_corner
from seg.synthetic.places import REGIONS, acquisition
from seg.synthetic.safe import ProductName, write_product, zip_product
from seg.synthetic.tree import GENERATOR, VERSION, draw_place, new_folder

MAX_SIZE = 10_980
"""Edge of a Sentinel-2 tile in 10 m pixels."""
STEP = 60
"""Sizes are multiples of it: whole 60 m pixels, and a tile is one."""
Baseline = Literal["02.07", "05.11", "99.99"]
"""Without the offset of 1000, with it, and a local run of sen2cor as reBEN's, without."""

_BLOCK = 12  # patches along the edge of a square that is drawn at once
_FIRST_SLOT = 1_000_000  # no block of a synthetic reBEN has such a number, so the land is another
_CODES = "CLC"
_SYNTHETIC = {"SYNTHETIC": f"simulated by {GENERATOR}; nothing in it was observed"}
_BOUNDED = {"GDAL_CACHEMAX": 256 << 20}
_STAGED_TILE = 240  # divides the squares at 10, 20 and 60 m
# Compressed blocks must be written once, whole, or the file grows with every rewrite: strips are rows of blocks, and
# every band has its own.
_STRIP = 480
_BLOCKS = {"tiled": True, "blockxsize": _STRIP, "blockysize": _STRIP, "interleave": "band", "compress": "deflate"}


@dataclass(frozen=True, slots=True)
class SyntheticScene:
    """What was written.

    Attributes:
        product: The SAFE folder, or its zip.
        s1: Sentinel-1 raster, bands VV and VH in dB, on the grid of another UTM zone.
        stack: GeoTIFF of the Sentinel-2 bands at 10 m, DN without the offset.
        codes: GeoTIFF of CLC level-3 codes.
        grid: The 10 m grid of the product.
    """

    product: Path
    s1: Path
    stack: Path
    codes: Path
    grid: GeoRef


def check_scene(size: int, seed: int) -> None:
    """Make sure that a scene can be made as asked.

    Raises:
        WrongUseError: If the size or the seed is out of range.
    """
    if not 2 * STEP <= size <= MAX_SIZE or size % STEP:
        raise WrongUseError(
            f"a scene has {2 * STEP} to {MAX_SIZE} pixels along its edge, in multiples of {STEP}; {size} were asked for"
        )
    if seed < 0:
        raise WrongUseError(f"the seed must be 0 or more, not {seed}")


def synthesise_scene(
    out: AnyPath,
    size: int,
    seed: int = 0,
    *,
    baseline: Baseline = "05.11",
    zipped: bool = False,
    swath_edge: bool = True,
    track: Track = silent,
) -> SyntheticScene:
    """Write a synthetic scene.

    The folder appears only when it is complete. The same arguments give the same pixels.

    Args:
        out: Folder to create; may exist if it is empty.
        size: Edge in 10 m pixels: a multiple of 60, at most 10,980. The scene begins at its tile's corner.
        seed: Decides the landscape and the region, 0 or more.
        baseline: Processing baseline of the product.
        zipped: Deliver the product as a zip instead of a folder.
        swath_edge: Leave a strip at the western side without data, as where the sensor's swath ends.
        track: Progress, called once with the squares of land.

    Raises:
        WrongUseError: If the size or the seed is out of range, or `out` holds something.
    """
    out = Path(out)
    check_scene(size, seed)
    mark = {"synthetic": True, "generator": GENERATOR, "version": VERSION, "seed": seed, "scene": size}
    with new_folder(out, mark) as unfinished:
        (unfinished / "staged").mkdir()
        with rasterio.Env(**_BOUNDED):
            written = _write(unfinished, size, seed, baseline, swath_edge, track)
        shutil.rmtree(unfinished / "staged")
        if zipped:
            folder = written.product
            written = replace(written, product=zip_product(folder))
            shutil.rmtree(folder)
    moved = {name: out / getattr(written, name).name for name in ("product", "s1", "stack", "codes")}
    return replace(written, **moved)


def _write(
    root: Path, size: int, seed: int, baseline: Baseline, swath_edge: bool, track: Track
) -> SyntheticScene:  # fmt: skip
    number = seed % len(REGIONS)
    names = acquisition(REGIONS[number], REGIONS[number].visits[0])
    name = ProductName(names.product.replace("N9999", f"N{baseline.replace('.', '')}"), baseline)
    epsg, x_min, y_max = tile_corner(REGIONS[number].tile)
    grid = GeoRef(epsg, x_min, y_max, width=size, height=size)
    staged = {band: root / "staged" / f"{band}.tif" for band in (*BANDS, _CODES)}
    _stage(staged, grid, seed, name.offset, swath_edge, track)
    product = write_product(root, name, staged, grid)
    stem = name.safe.removesuffix(".SAFE")
    written = SyntheticScene(product, root / f"{names.scene}.tif", root / f"{stem}.tif", root / f"{stem}_CLC.tif", grid)
    _write_stack(written.stack, staged, grid, name.offset)
    _write_s1(written.s1, [staged[band] for band in S1_BANDS], grid)
    with rasterio.open(staged[_CODES], "r+") as codes:
        codes.update_tags(**_SYNTHETIC)
    rasterio.shutil.copy(
        staged[_CODES], written.codes, driver="GTiff", COMPRESS="DEFLATE", PREDICTOR="2", TILED="YES"
    )  # fmt: skip
    return written


def _stage(paths: dict[str, Path], grid: GeoRef, seed: int, offset: int, swath_edge: bool, track: Track) -> None:
    """Draw the land and what the sensors see of it, into one plain raster per band."""
    number = seed % len(REGIONS)
    # The border of the mapped country would run through every square.
    region = replace(REGIONS[number], frontier=False)
    edge = _BLOCK * PATCH_SIZE
    squares = [(top, left) for top in range(0, grid.height, edge) for left in range(0, grid.width, edge)]
    types = {name: (band.pixel_size // 10, band.dtype) for name, band in BANDS.items()} | {_CODES: (1, "uint16")}
    with ExitStack() as stack:
        rasters = {band: stack.enter_context(_create(path, grid, *types[band])) for band, path in paths.items()}
        for top, left in track(squares, "Drawing", len(squares)):
            rows, columns = min(edge, grid.height - top), min(edge, grid.width - left)
            place = (seed, number, _FIRST_SLOT, top // edge, left // edge)
            codes, seen = draw_place(region, 0, -(-rows // PATCH_SIZE), -(-columns // PATCH_SIZE), place)
            for band, image in {**seen.bands, _CODES: codes}.items():
                factor, _ = types[band]
                part = image[: rows // factor, : columns // factor]
                if band in S2_BANDS:
                    part = part + np.uint16(offset)
                    if swath_edge:
                        part[_beyond_swath(grid, top, left, rows, columns, 6 // factor)] = 0
                window = rasterio.windows.Window(left // factor, top // factor, part.shape[1], part.shape[0])
                rasters[band].write(part, 1, window=window)


def _beyond_swath(grid: GeoRef, top: int, left: int, rows: int, columns: int, repeat: int) -> npt.NDArray[np.bool_]:
    """Which pixels of a part lie beyond the edge of the swath, a slanting line in the west; so many to 60 m."""
    y = np.arange(top // 6, (top + rows) // 6)[:, None]
    x = np.arange(left // 6, (left + columns) // 6)[None]
    return np.asarray(x + 0.25 * y < 0.1 * grid.width / 6).repeat(repeat, 0).repeat(repeat, 1)


def _create(path: Path, grid: GeoRef, factor: int, dtype: str, count: int = 1, **options: Any) -> DatasetWriter:
    metres = grid.pixel_size * factor
    settings = {"tiled": True, "blockxsize": _STAGED_TILE, "blockysize": _STAGED_TILE, "bigtiff": "IF_SAFER"} | options
    return rasterio.open(
        path, "w", driver="GTiff", height=grid.height // factor, width=grid.width // factor, count=count, dtype=dtype,
        crs=f"EPSG:{grid.epsg}", transform=Affine(metres, 0, grid.x_min, 0, -metres, grid.y_max), **settings,
    )  # fmt: skip


def _write_stack(path: Path, staged: dict[str, Path], grid: GeoRef, offset: int) -> None:
    """All Sentinel-2 bands at 10 m, by repeating pixels, in DN without the offset."""
    with _create(path, grid, 1, "uint16", len(S2_BANDS), **_BLOCKS, predictor=2, nodata=0) as stack:
        stack.update_tags(**_SYNTHETIC)
        for index, band in enumerate(S2_BANDS, 1):
            stack.set_band_description(index, band)
            factor = BANDS[band].pixel_size // 10
            with rasterio.open(staged[band]) as source:
                for top, rows in _strips(grid.height):
                    part = source.read(
                        1, window=rasterio.windows.Window(0, top // factor, source.width, rows // factor)
                    )  # fmt: skip
                    part = np.where(part == 0, part, part - np.uint16(offset))
                    wide = part.repeat(factor, 0).repeat(factor, 1)
                    stack.write(wide, index, window=rasterio.windows.Window(0, top, grid.width, rows))


def _write_s1(path: Path, staged: list[Path], grid: GeoRef) -> None:
    """VV and VH on the 10 m grid of the neighbouring UTM zone, NaN around the scene."""
    # The zone whose central meridian is nearer lies beyond the side of 500 km that the scene is on.
    zone = grid.epsg % 100 + (1 if grid.x_min + 5 * grid.width > 500_000 else -1)
    epsg = grid.epsg // 100 * 100 + (zone - 1) % 60 + 1
    crs = f"EPSG:{epsg}"
    transform, width, height = calculate_default_transform(
        f"EPSG:{grid.epsg}", crs, grid.width, grid.height, *grid.bounds, resolution=10
    )
    # Bilinear rather than nearest, as terrain correction is: the speckle keeps no steps.
    warp = {"crs": crs, "transform": transform, "width": width, "height": height, "resampling": Resampling.bilinear}
    # Otherwise GDAL smooths every strip in another way.
    warp |= {"XSCALE": 1, "YSCALE": 1}
    other = GeoRef(epsg, transform.c, transform.f, 10, width, height)
    with _create(path, other, 1, "float32", len(staged), nodata=np.nan, predictor=3, **_BLOCKS) as raster:
        raster.update_tags(**_SYNTHETIC)
        for index, (band, source) in enumerate(zip(S1_BANDS, staged, strict=True), 1):
            raster.set_band_description(index, band)
            with rasterio.open(source) as plain, WarpedVRT(plain, src_nodata=np.nan, nodata=np.nan, **warp) as seen:
                for top, rows in _strips(height):
                    window = rasterio.windows.Window(0, top, width, rows)
                    raster.write(seen.read(1, window=window), index, window=window)


def _strips(height: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows; whole 60 m pixels, like blocks."""
    return ((top, min(_STRIP, height - top)) for top in range(0, height, _STRIP))
