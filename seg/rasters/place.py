"""Where a raster lies, and whether a scene can stand on its grid."""

import json
import math
import re
import shlex
from collections.abc import Iterable
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.transform import Affine, xy
from rasterio.vrt import WarpedVRT

from seg.catalogue.address import Place
from seg.errors import SceneError
from seg.rasters.grid import FACTORS, PIXEL_METRES
from seg.rasters.header import Header, editing, shown
from seg.reben.ground import Scale, scale_of
from seg.reben.mgrs import FALSE_NORTHING
from seg.reben.names import band_in
from seg.reben.patch import GeoRef

_METRES = ("metre", "meter", "metres", "meters", "m")
_RADAR_GRID = re.compile(r"S1[A-Z][_-][A-Z0-9]{2}[_-](GRD|SLC)", re.IGNORECASE)
"""Begins the names of Sentinel-1 products and of their measurements as they are delivered."""
_TOLERANCE = 0.001
"""How far a place may be off in a warped raster, in its pixels: it does not show in which windows a raster is read."""
_STEP = 60
_NEAR_ZONE = 3.5
"""Degrees from the central meridian of a UTM zone: tiles reach a little beyond their zone."""
_PIXEL_OF_DEGREES = 0.01
"""Pixels that are smaller are given in degrees."""
_NOWHERE = "is that its CRS? give the file as it was delivered"
_MAY_BE_LOST = ((1.0, 0.0), (1 / 10_000, 0.0))
"""Scales and offsets without which DN are the same."""


def grid_of(header: Header, *, radar: bool = False) -> GeoRef:
    """The grid of a raster that a scene can stand on.

    Args:
        header: Of the raster.
        radar: Whether it holds Sentinel-1.

    Raises:
        SceneError: If it has no CRS or no EPSG code, its metres are none on the ground, or it is not north-up with
            square pixels.
    """
    require_crs(header, radar=radar)
    assert header.crs is not None
    epsg = header.crs.to_epsg()
    if epsg is None:
        other = header.crs.to_authority()
        called = f" ({':'.join(other)})" if other else ""
        raise SceneError(f"{shown(header.path)}: its CRS{called} has no EPSG code; {warp_advice(header)}")
    if not header.crs.is_projected or header.crs.linear_units.lower() not in _METRES:
        raise SceneError(f"{shown(header.path)} lies in EPSG:{epsg}, which is not in metres; {warp_advice(header)}")
    a, b, x_min, d, e, y_max = tuple(header.transform)[:6]
    if b or d or a <= 0 or abs(a + e) > 1e-6 * a:
        raise SceneError(f"{shown(header.path)} does not lie north-up with square pixels; {warp_advice(header)}")
    grid = GeoRef(epsg, x_min, y_max, a, header.width, header.height)
    scale = scale_of(grid)
    if not scale.acceptable:
        raise SceneError(
            f"{shown(header.path)} lies in EPSG:{epsg}, a metre of which is {_on_the_ground(scale)}, so its "
            f"pixels are not of the size that they say; {warp_advice(header)}"
        )
    return grid


def require_crs(header: Header, *, radar: bool = False, copy: str = "") -> None:
    """Make sure that a raster says where it lies.

    Args:
        header: Of the raster.
        radar: Whether it holds Sentinel-1.
        copy: Name of a copy that may be advised; empty: to edit the raster itself.

    Raises:
        SceneError: If it has no CRS, or no corner and pixel size.
    """
    path, nowhere = shown(header.path), header.transform.is_identity
    if nowhere and (radar or header.control_points or _RADAR_GRID.match(header.file.name)):
        raise radar_grid_error(path)
    if nowhere or _at_origin(header):
        epsg = header.crs.to_epsg() if header.crs else None
        if header.crs and header.pixel_size < _PIXEL_OF_DEGREES:
            raise SceneError(
                f"the corner of {path} is given in degrees, but its CRS is EPSG:{epsg}, in metres; give it the one "
                "that it is in: " + editing(header.path, "--crs EPSG:4326", copy)
            )
        size = 10 if nowhere else header.pixel_size
        where = "" if nowhere else f" ({header.transform.c:.10g} {header.transform.f:.10g} is no place in metres)"
        raise SceneError(
            f"{path} does not say where it lies, not even its corner{where}; take the file that it was made from, or "
            "say it (zz: the UTM zone, X and Y: the upper-left corner): "
            + editing(
                header.path, f"--crs EPSG:{epsg or '326zz'} --transform '[{size:.10g}, 0, X, 0, -{size:.10g}, Y]'", copy
            )
        )
    if header.crs is None:
        raise SceneError(
            f"{path} has no CRS; give it that of the file that it was made from (zz: the UTM zone): "
            + editing(header.path, "--crs EPSG:326zz", copy)
        )


def _at_origin(header: Header) -> bool:
    """Whether a corner of a raster in metres lies where degrees do, or at 0: nothing that is mapped lies there."""
    if header.crs is None or not header.crs.is_projected:
        return False
    west, south, _, north = header.bounds
    return abs(west) <= 180 and min(abs(south), abs(north)) <= 90


def require_no_radar_product(source: Place, paths: Iterable[str]) -> None:
    """Make sure that what holds no files of use is not Sentinel-1 as it is delivered.

    Args:
        source: A folder or zip.
        paths: Of the files in it.

    Raises:
        SceneError: If it or a part of a path has such a name.
    """
    if any(_RADAR_GRID.match(part) for path in (source.name, *paths) for part in path.split("/")):
        raise radar_grid_error(source)


def radar_grid_error(path: object) -> SceneError:
    """The error for Sentinel-1 as it is delivered."""
    return SceneError(
        f"{path} is on no map grid yet, as Sentinel-1 GRD is delivered: amplitude counts in the radar's own rows and "
        "columns; calibrate and terrain-correct it to dB first with ESA's SNAP (free, from step.esa.int), or take a "
        "provider's terrain-corrected product (RTC)"
    )


def warped_onto(raster: DatasetReader, grid: GeoRef, **options: Any) -> WarpedVRT:
    """A raster as it is on another grid, read window by window.

    Args:
        raster: The raster, open.
        grid: Where it is to lie.
        options: Of `rasterio.vrt.WarpedVRT`: how it is resampled, and what stands for no data.
    """
    return WarpedVRT(
        raster,
        crs=CRS.from_epsg(grid.epsg),
        transform=Affine(*grid.transform),
        width=grid.width,
        height=grid.height,
        tolerance=_TOLERANCE,
        **options,
    )


def warp_advice(header: Header, metres: int | None = None) -> str:
    """How a raster is brought onto a UTM grid, with a command that rasterio brings; the advice ends with it.

    The result begins and ends at multiples of 60 m, as tiles do, so that bands of any resolution that cover one place
    still do so after it.

    Args:
        header: Of the raster; it has a CRS.
        metres: Pixel size that it is to have; None: of those of a scene, the nearest to its own on the ground.
    """
    import pyproj

    assert header.crs is not None
    width, height = header.width, header.height
    xs, ys = map(np.array, xy(header.transform, [0, 0, height, height], [0, width, width, 0], offset="ul"))
    try:
        source = pyproj.CRS.from_wkt(header.crs.to_wkt())
        middle = pyproj.Transformer.from_crs(source, 4326, always_xy=True).transform(xs.mean(), ys.mean())
        if not np.isfinite(middle).all():
            return _NOWHERE
        epsg = _utm(*middle, now=header.crs.to_epsg())
        to_utm = pyproj.Transformer.from_crs(source, epsg, always_xy=True)
        edges = to_utm.transform_bounds(xs.min(), ys.min(), xs.max(), ys.max(), densify_pts=21)
        corners_x, corners_y = to_utm.transform(xs, ys)
    except pyproj.exceptions.ProjError:
        return _NOWHERE
    if not np.isfinite([*edges, *corners_x, *corners_y]).all():
        return _NOWHERE
    area = abs(np.dot(corners_x, np.roll(corners_y, 1)) - np.dot(corners_y, np.roll(corners_x, 1))) / 2
    own = math.log(max(area, 1) / (width * height)) / 2
    metres = metres or min((round(factor * PIXEL_METRES) for factor in FACTORS), key=lambda m: abs(math.log(m) - own))
    equator = FALSE_NORTHING if epsg // 100 == 327 else 0
    west, east = math.floor(edges[0] / _STEP) * _STEP, math.ceil(edges[2] / _STEP) * _STEP
    south = math.floor((edges[1] - equator) / _STEP) * _STEP + equator
    north = math.ceil((edges[3] - equator) / _STEP) * _STEP + equator
    target = f"{header.file.stem}_utm.tif"
    note, after = _lost(header, target)
    # `rio warp` leaves out what the mask of a whole file does, but knows no masks of single bands.
    whole = not header.masked or header.one_mask
    before, source_path = ("", header.path) if whole else filled(header)
    return (
        f"warp it onto UTM{note}: {before}rio warp {shlex.quote(source_path)} {shlex.quote(target)} --dst-crs "
        f"EPSG:{epsg} --res {metres} --bounds {west} {south} {east} {north}{after}"
    )


def filled(header: Header, alpha: int | None = None) -> tuple[str, str]:
    """A command that writes masks into the values, which what rio makes of a raster then has still; ends with ``&&``.

    Args:
        header: Of the raster.
        alpha: Its alpha band, from 1, which goes into the values of the others and is left out.

    Returns:
        The command, and the path of what it makes: a file like the raster, whose masked pixels have its nodata value,
        or 0 if it declares none.
    """
    target = f"{header.file.stem}_filled.tif"
    count, value, modules = "", "a.read(i, masked=True).filled(n)", "rasterio as r"
    kept = "a.indexes"
    if alpha is not None:
        kept, count = f"[i for i in a.indexes if i != {alpha}]", ", 'count': a.count - 1"
        value, modules = (
            f"np.where(a.read({alpha}) == 0, n, {value}).astype(a.dtypes[i - 1])",
            f"numpy as np, {modules}",
        )
    code = (
        f"import {modules}; a = r.open({json.dumps(header.path)}); n = a.nodata or 0; b = r.open({json.dumps(target)}, "
        f"'w', **{{**a.profile, 'driver': 'GTiff'{count}}}); [b.write({value}, k) for k, i in enumerate({kept}, 1)]; "
        "b.close()"
    )
    return f"python -c {shlex.quote(code)} && ", target


def _lost(header: Header, target: str) -> tuple[str, str]:
    """What is to be said of band names that rio does not keep, and a command that brings back scales and offsets."""
    tags = zip(header.scales, header.offsets, strict=True)
    if any(not any(np.allclose(tag, known, rtol=1e-6, atol=1e-9) for known in _MAY_BE_LOST) for tag in tags):
        files = f'r.open({json.dumps(header.path)}), r.open({json.dumps(target)}, "r+")'
        code = (
            f"import rasterio as r; a, b = {files}; b.descriptions, b.scales, b.offsets = a.descriptions, a.scales, "
            "a.offsets; b.close()"
        )
        return " and take its tags along, which rio does not keep", f" && python -c {shlex.quote(code)}"
    names = [band_in(text) for text in header.descriptions]
    if not any(names):
        return "", ""
    listed = ",".join(name or "-" for name in names)
    return f" (its bands then need --bands {listed}, because rio keeps no names)", ""


def _utm(longitude: float, latitude: float, now: int | None) -> int:
    """EPSG code of the UTM zone of a place, or of UPS near the poles; `now` if that is a zone which is near enough."""
    if now and now // 100 in (326, 327) and 1 <= now % 100 <= 60:
        away = (longitude - (6 * (now % 100) - 183) + 180) % 360 - 180
        if abs(away) <= _NEAR_ZONE and (latitude >= 0) == (now // 100 == 326):
            return now
    if latitude > 84 or latitude < -80:
        return 32661 if latitude > 0 else 32761
    return (32600 if latitude >= 0 else 32700) + int((longitude + 180) // 6) % 60 + 1


def _on_the_ground(scale: Scale) -> str:
    if not math.isfinite(scale.off):
        return "nowhere"
    least, most = (f"{float(edge):.3g}" for edge in (scale.least_N.min(), scale.most_N.max()))
    return f"{least if least == most else f'{least} to {most}'} m on the ground"
