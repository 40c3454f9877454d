"""The 1200 m cells of a tile's grid that a scene covers."""

from dataclasses import dataclass

from seg.errors import SceneError
from seg.reben.bands import PATCH_METRES, PATCH_SIZE
from seg.reben.patch import PATCHES_PER_TILE_EDGE, GeoRef, tile_corner
from seg.scenes.grid import PIXEL_METRES, Window
from seg.scenes.reader import Scene


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
    east, south = (grid.x_min - x) / PIXEL_METRES, (y - grid.y_max) / PIXEL_METRES
    if max(abs(east - round(east)), abs(south - round(south))) > 1e-3 or round(east) % step or round(south) % step:
        raise SceneError(
            f"{where}, which is not on the {step * PIXEL_METRES:g} m grid of the tile {tile} that begins at {x} {y}; "
            "cut or warp it onto that grid"
        )
    left, top = (max(0, -(-round(first) // PATCH_SIZE)) for first in (east, south))
    right = min(PATCHES_PER_TILE_EDGE, (round(east) + grid.width) // PATCH_SIZE)
    bottom = min(PATCHES_PER_TILE_EDGE, (round(south) + grid.height) // PATCH_SIZE)
    if right <= left or bottom <= top:
        raise SceneError(f"{where} and holds no whole patch of the tile {tile} of its name; is that its tile?")
    columns, rows = right - left, bottom - top
    corner = (x + left * PATCH_METRES, y - top * PATCH_METRES)
    return Cells(
        left, top, columns, rows, left * PATCH_SIZE - round(east), top * PATCH_SIZE - round(south),
        GeoRef(epsg, *corner, PIXEL_METRES, columns * PATCH_SIZE, rows * PATCH_SIZE),
    )  # fmt: skip
