"""Make the outline of land that the maps of places show, from the npm package ``world-atlas``.

    npm pack world-atlas@2.0.2
    python scripts/make_coastline.py world-atlas-2.0.2.tgz

The package holds Natural Earth 4.1.0 (naturalearthdata.com), which is in the public domain, as TopoJSON. Its line of
the scale 1:10m is generalised, less in Europe than elsewhere, to less than 40 kB: `seg/figures/coastline.npz`.
"""

import argparse
import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from seg.store.atomic import write_bytes
from seg.store.until_exit import claim_until_exit

TARGET = Path(__file__).resolve().parents[1] / "seg" / "figures" / "coastline.npz"
MEMBER = "package/land-10m.json"
SOURCE = "Natural Earth 4.1.0 land, 1:10m (naturalearthdata.com), generalised; by way of world-atlas 2.0.2 of npm"
LICENCE = "public domain"

NEAR = (-32.0, 32.0, 46.0, 73.0)
"""West, south, east and north of Europe: where the countries of reBEN are."""
FINE, COARSE = 0.025, 0.25
"""Degrees by which the line may be off, in Europe and elsewhere."""
LEAST_FINE, LEAST_COARSE = 0.01, 1.0
"""Square degrees of the smallest island that is kept, likewise."""
UNITS = 100
"""Of a degree; with two decimals the coordinates fit into 16 bits."""

Ring = npt.NDArray[np.float64]


def rings(topology: dict[str, Any]) -> list[Ring]:
    """Rings of the land, longitude and latitude, closed; holes run the other way round than what they are cut from."""
    scale, offset = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    arcs = [np.cumsum(arc, axis=0) * scale + offset for arc in topology["arcs"]]
    polygons = [
        polygon
        for geometry in topology["objects"]["land"]["geometries"]
        for polygon in (geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]])
    ]
    every = [ring for polygon in polygons for ring in polygon]
    # An arc shares its first point with the last one of the arc before; ~n is arc n, backwards.
    joined = [np.concatenate([arcs[n] if n >= 0 else arcs[~n][::-1] for n in ring]) for ring in every]
    return list(map(flat, joined))


def flat(ring: Ring) -> Ring:
    """A ring of the globe in the plane: on past 180 degrees instead of a jump, and along the edge at a pole."""
    longitude = np.unwrap(ring[:, 0], period=360)
    longitude -= 360 * np.rint(longitude.mean() / 360)
    unrolled = np.stack([longitude, ring[:, 1]], axis=1)
    if abs(longitude[-1] - longitude[0]) < 180:
        return unrolled
    pole = np.copysign(90.0, ring[:, 1].mean())
    return np.concatenate([unrolled, [[longitude[-1], pole], [longitude[0], pole]], unrolled[:1]])


def generalised(ring: Ring) -> npt.NDArray[np.int64] | None:
    """A ring with fewer points, in `UNITS`: `FINE` in `NEAR`, `COARSE` elsewhere; None if too small to be kept."""
    polygon = shapely.Polygon(ring)
    inside = shapely.box(*NEAR).intersects(polygon)
    if polygon.area < (LEAST_FINE if inside else LEAST_COARSE):
        return None
    points = np.array(polygon.exterior.coords)
    west, south, east, north = NEAR
    near = (points[:, 0] > west) & (points[:, 0] < east) & (points[:, 1] > south) & (points[:, 1] < north)
    # Generalising leaves points out and moves none, so the lines of two tolerances can be put together.
    kept = among(points, polygon, COARSE) | (among(points, polygon, FINE) & near)
    units = np.rint(points[kept] * UNITS).astype(np.int64)
    # Closed again where the point in which the ring began was left out.
    units = np.concatenate([units, units[:1]])
    moved = np.append(True, np.any(np.diff(units, axis=0) != 0, axis=1))
    return units[moved] if np.count_nonzero(moved) > 3 else None


def among(points: Ring, polygon: shapely.Polygon, tolerance: float) -> npt.NDArray[np.bool_]:
    """Which points stay if the outline of the polygon may be off by a tolerance."""
    left = {tuple(point) for point in polygon.simplify(tolerance).exterior.coords}
    return np.array([tuple(point) in left for point in points])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="world-atlas-2.0.2.tgz, as npm pack leaves it")
    parser.add_argument("--out", type=Path, default=TARGET)
    given = parser.parse_args()
    if given.out != TARGET:
        claim_until_exit(given.out.parent, [given.out.name])
    with tarfile.open(given.package) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        topology = json.load(member)
    found = [ring for ring in map(generalised, rings(topology)) if ring is not None]
    lengths = np.array([len(ring) for ring in found])
    # Steps from point to point are small numbers, which take less room. The few that are longer than 16 bits hold,
    # along the edge of the map, wrap around, and so does their sum, back to where it belongs.
    steps = np.concatenate([np.diff(ring, axis=0, prepend=np.zeros((1, 2), np.int64)) for ring in found])
    buffer = BytesIO()
    np.savez_compressed(
        buffer,
        steps=steps.astype(np.int16).T,
        lengths=lengths.astype(np.int32),
        units=np.int32(UNITS),
        near=np.array(NEAR),
        errors=np.array([FINE, COARSE]),
        source=np.array(SOURCE),
        licence=np.array(LICENCE),
    )
    write_bytes(given.out, buffer.getvalue())
    print(f"{given.out}: {len(found):,} rings, {lengths.sum():,} points, {len(buffer.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
