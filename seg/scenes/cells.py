"""The grid of 1.2 km cells over a scene: that of reBEN's patches, where the scene is of a known tile."""

import math
from dataclasses import dataclass

from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from seg.errors import SceneError, UnknownNameError
from seg.rasters.grid import PIXEL_METRES
from seg.reben.bands import PATCH_METRES, PATCH_SIZE
from seg.reben.patch import PATCHES_PER_TILE_EDGE, TILE_METRES, GeoRef, tile_corner
from seg.scenes.grid import Window
from seg.scenes.reader import Scene


@dataclass(frozen=True, slots=True)
class CellGrid:
    """Cells that lie wholly within a scene.

    Attributes:
        left, top: Upper-left corner of the first cell, 10 m pixels of the scene.
        columns, rows: How many there are.
        column, row: Position of the first cell in the grid of the tile, from its upper-left corner; 0 if that is the
            corner of the scene because the tile is not known.
        product: Name of the product, with which the ids of its patches begin; None if it is not known.
    """

    left: int
    top: int
    columns: int
    rows: int
    column: int = 0
    row: int = 0
    product: str | None = None

    def patch_id(self, column: int, row: int) -> str | None:
        """Id of the reBEN patch that a cell is, by its position among these cells; None outside reBEN's grid."""
        column, row = self.column + column, self.row + row
        inside = min(column, row) >= 0 and max(column, row) < PATCHES_PER_TILE_EDGE
        return f"{self.product}_{column:02d}_{row:02d}" if self.product and inside else None


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a tile's grid that lie wholly in a scene.

    Attributes:
        left, top: Column and row of the first one in the tile's grid.
        columns, rows: How many.
        skip_x, skip_y: 10 m pixels of the scene to the left of it and above.
        grid: The 10 m grid of all of them.
    """

    left: int
    top: int
    columns: int
    rows: int
    skip_x: int
    skip_y: int
    grid: GeoRef

    def window(self, row: int) -> Window:
        """A row of cells, counted from the first, as a window of the scene."""
        return Window(self.skip_x, self.skip_y + row * PATCH_SIZE, self.columns * PATCH_SIZE, PATCH_SIZE)


def cell_grid(scene: Scene) -> CellGrid:
    """The cells of a scene.

    They stand on the tile's grid of 1200 m, also if the scene is a part of the tile. Where the tile is not known, or
    the scene's pixels do not lie on its grid, they stand on the scene's corner and have no ids.
    """
    away = None
    if scene.product is not None:
        try:
            epsg, x, y = tile_corner(scene.product.rpartition("_T")[2])
            away = _from_corner(scene, x, y) if epsg == scene.grid.epsg else None
        except UnknownNameError:
            pass
    if away is None:
        return CellGrid(0, 0, scene.grid.width // PATCH_SIZE, scene.grid.height // PATCH_SIZE)
    (left, column), (top, row) = ((-pixels % PATCH_SIZE, -(-pixels // PATCH_SIZE)) for pixels in away)
    columns, rows = (scene.grid.width - left) // PATCH_SIZE, (scene.grid.height - top) // PATCH_SIZE
    return CellGrid(left, top, max(columns, 0), max(rows, 0), column, row, scene.product)


def cells_of(scene: Scene, tile: str) -> Cells:
    """The cells of a tile's grid that lie wholly in a scene.

    Raises:
        SceneError: If the scene does not lie on the grid of the tile, or holds no cell of it.
    """
    epsg, x, y = tile_corner(tile)
    grid, step = scene.grid, max(scene.factors.values())
    where = f"{scene.name} lies in EPSG:{grid.epsg} from {grid.x_min:.10g} {grid.y_max:.10g} on"
    if grid.epsg != epsg:
        raise SceneError(
            f"{where}, but the tile {tile} in EPSG:{epsg}; is that its tile? give the product as delivered"
        )
    if (away := _from_corner(scene, x, y)) is None:
        raise SceneError(
            f"{where}, which is not on the {step * PIXEL_METRES:g} m grid of the tile {tile} that begins at {x} {y}; "
            "cut or warp it onto that grid"
        )
    left, top = (max(0, -(-pixels // PATCH_SIZE)) for pixels in away)
    right, bottom = (
        min(PATCHES_PER_TILE_EDGE, (pixels + size) // PATCH_SIZE)
        for pixels, size in zip(away, (grid.width, grid.height), strict=True)
    )
    if right <= left or bottom <= top:
        raise SceneError(f"{where} and holds no whole patch of the tile {tile} of its name; is that its tile?")
    columns, rows = right - left, bottom - top
    corner = (x + left * PATCH_METRES, y - top * PATCH_METRES)
    whole = GeoRef(epsg, *corner, PIXEL_METRES, columns * PATCH_SIZE, rows * PATCH_SIZE)
    return Cells(left, top, columns, rows, left * PATCH_SIZE - away[0], top * PATCH_SIZE - away[1], whole)


def require_at_tile(path: object, product: str | None, grid: GeoRef) -> None:
    """Make sure that a scene that names its product lies where the tile of that does, in part at least.

    Args:
        path: The scene.
        product: The product that it names; None, or one of no tile: nothing is known.
        grid: Where it lies.

    Raises:
        SceneError: If it lies elsewhere, as a scene does whose CRS is of another zone or hemisphere.
    """
    if product is None:
        return
    tile = product.rpartition("_T")[2]
    try:
        epsg, x, y = tile_corner(tile)
        crs = CRS.from_epsg(epsg), CRS.from_epsg(grid.epsg)
        there = transform_bounds(*crs, x, y - TILE_METRES, x + TILE_METRES, y, densify_pts=21)
    except (UnknownNameError, RasterioError):
        return
    west, south, east, north = grid.bounds
    if all(map(math.isfinite, there)) and not (
        west < there[2] and east > there[0] and south < there[3] and north > there[1]
    ):
        raise SceneError(
            f"{path} lies in EPSG:{grid.epsg} from {grid.x_min:.10g} {grid.y_max:.10g} on, away from the tile {tile} "
            f"of its name, which begins at {x} {y} in EPSG:{epsg}; is that its CRS? give the product as delivered, or "
            "rename it"
        )


def _from_corner(scene: Scene, x: float, y: float) -> tuple[int, int] | None:
    """Pixels from a tile's upper-left corner to that of the scene, right and down; None off the grid of its bands."""
    step = max(scene.factors.values())
    right, down = (scene.grid.x_min - x) / PIXEL_METRES, (y - scene.grid.y_max) / PIXEL_METRES
    whole = all(abs(part - round(part)) < 1e-3 and round(part) % step == 0 for part in (right, down))
    return (round(right), round(down)) if whole else None
