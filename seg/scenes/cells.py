"""The grid of 1.2 km cells over a scene: that of reBEN's patches, where the scene is of a known tile."""

from dataclasses import dataclass

from seg.errors import UnknownNameError
from seg.reben.bands import PATCH_SIZE
from seg.reben.patch import PATCHES_PER_TILE_EDGE, tile_corner
from seg.scenes.grid import PIXEL_METRES
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


def cell_grid(scene: Scene) -> CellGrid:
    """The cells of a scene.

    They stand on the tile's grid of 1200 m, also if the scene is a part of the tile. Where the tile is not known, or
    the scene's pixels do not lie on its grid, they stand on the scene's corner and have no ids.
    """
    away = _from_corner(scene)
    if away is None:
        return CellGrid(0, 0, scene.grid.width // PATCH_SIZE, scene.grid.height // PATCH_SIZE)
    (left, column), (top, row) = ((-pixels % PATCH_SIZE, -(-pixels // PATCH_SIZE)) for pixels in away)
    columns, rows = (scene.grid.width - left) // PATCH_SIZE, (scene.grid.height - top) // PATCH_SIZE
    return CellGrid(left, top, max(columns, 0), max(rows, 0), column, row, scene.product)


def _from_corner(scene: Scene) -> tuple[int, int] | None:
    """Pixels from the tile's upper-left corner to that of the scene, to the right and down."""
    if scene.product is None:
        return None
    try:
        epsg, west, north = tile_corner(scene.product.rpartition("_T")[2])
    except UnknownNameError:
        return None
    right, down = (scene.grid.x_min - west) / PIXEL_METRES, (north - scene.grid.y_max) / PIXEL_METRES
    step = max(scene.factors.values())
    whole = all(abs(part - round(part)) < 1e-3 and round(part) % step == 0 for part in (right, down))
    return (round(right), round(down)) if epsg == scene.grid.epsg and whole else None
