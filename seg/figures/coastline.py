"""The land of the world as a backdrop for maps of places; from Natural Earth, see ``scripts/make_coastline.py``."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from seg.figures.svg import COAST, LAND
from seg.metrics.ratio import Floats

FILE = "coastline.npz"
_MOST_OFF = 9.0
"""Points by which the line may be off on a map; on maps of a smaller region it would put patches into the sea."""
_STEP = 0.5  # points: what is nearer together looks the same
_BEYOND = 4.0  # points outside the frame where land is cut off, so that the cut is not seen

Extent = tuple[float, float, float, float]
"""West, east, south and north edge, degrees."""


@dataclass(frozen=True, eq=False)
class Coastline:
    """Outlines of land.

    Attributes:
        rings: Longitude and latitude, degrees, float64 (points, 2), of closed rings. Land that the date line crosses
            goes on beyond 180. Lakes as large as a sea run the other way round than the land around them.
        near: Where it is finer: west, east, south and north, degrees.
        fine, coarse: By how many degrees it may be off there, and elsewhere.
    """

    rings: tuple[Floats, ...]
    near: Extent
    fine: float
    coarse: float

    def error(self, extent: Extent) -> float:
        """By how many degrees it may be off within an extent."""
        inside = self.near[0] <= extent[0] and extent[1] <= self.near[1]
        return self.fine if inside and self.near[2] <= extent[2] and extent[3] <= self.near[3] else self.coarse


@cache
def coastline() -> Coastline:
    """The coastline that comes with seg."""
    with as_file(files("seg.figures") / FILE) as path, np.load(path, allow_pickle=False) as stored:
        lengths, units = stored["lengths"], int(stored["units"])
        parts = np.split(stored["steps"].T, np.cumsum(lengths)[:-1])
        west, south, east, north = map(float, stored["near"])
        fine, coarse = map(float, stored["errors"])
    # In 16 bits, as it was written: what wrapped around there wraps back.
    rings = tuple(np.cumsum(part, axis=0, dtype=np.int16) / units for part in parts)
    return Coastline(rings, (west, east, south, north), fine, coarse)


def draw_land(axes: Axes, extent: Extent, scale: float) -> None:
    """Draw land below everything else; nothing where the outline is too coarse for the map.

    Args:
        axes: Longitude across, from 180 on those of the western hemisphere, and latitude up, degrees.
        extent: Its limits.
        scale: Points on paper of a degree of longitude.
    """
    line = coastline()
    if line.error(extent) * scale > _MOST_OFF:
        return
    land = _land(line, extent, scale)
    if land is not None:
        axes.add_patch(PathPatch(land, facecolor=LAND, edgecolor=COAST, linewidth=0.5, zorder=0.2))


def _land(line: Coastline, extent: Extent, scale: float) -> Path | None:
    """The land within an extent as one path, with as many points as can be told apart."""
    west, east, south, north = extent
    beyond, step = _BEYOND / scale, _STEP / scale
    box = Bbox.from_extents(west - beyond, south - beyond, east + beyond, north + beyond)
    paths = []
    for turn in (-360.0, 0.0, 360.0):
        for ring in line.rings:
            moved = ring + np.array([turn, 0.0])
            low, high = moved.min(axis=0), moved.max(axis=0)
            if low[0] > box.x1 or high[0] < box.x0 or low[1] > box.y1 or high[1] < box.y0:
                continue
            cut = Path(moved, closed=True).clip_to_bbox(box)
            parts = [_thinned(np.asarray(part), step) for part in cut.to_polygons()]
            paths += [Path(part, closed=True) for part in parts if np.ptp(part, axis=0).max() > 2 * step]
    return Path.make_compound_path(*paths) if paths else None


def _thinned(ring: Floats, step: float) -> Floats:
    """A ring without the points that lie in the same cell as the one before."""
    cells = np.rint(ring / step)
    moved = np.append(True, np.any(np.diff(cells, axis=0) != 0, axis=1))
    kept: Floats = ring[moved]
    # A closed path repeats its first point.
    return np.concatenate([kept, kept[:1]])
