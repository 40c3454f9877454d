"""Patch ids, Sentinel-1 names, the georeference that an id implies, and the geographic split rule."""

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from seg.errors import UnknownNameError
from seg.reben.bands import PATCH_METRES, PATCH_SIZE
from seg.reben.mgrs import FALSE_NORTHING, square

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
PUBLISHED_PATCHES: dict[Split, int] = {"train": 237_871, "validation": 122_342, "test": 119_825}
"""Patches of reBEN's own split without those with snow, cloud or shadow; they are the rows of ``metadata.parquet``."""

TILE_METRES = 109_800
"""Edge of a Sentinel-2 tile: 10,980 pixels of 10 m."""
PATCHES_PER_TILE_EDGE = 91
"""Patch columns and rows run from 00 to 90; the last 600 m of a tile are not used."""
_STEP = 60
"""Tiles begin at multiples of it, metres, so that pixels of 10, 20 and 60 m share their corners."""

_PATCH_ID = re.compile(
    r"(?P<product>S2[A-Z]_MSIL2A_(?P<time>\d{8}T\d{6})_N\d{4}_R\d{3}_T(?P<tile>\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]))"
    r"_(?P<column>\d{2})_(?P<row>\d{2})",
    re.ASCII,
)
_S1_NAME = re.compile(
    r"(?P<scene>S1[A-Z]_[A-Z]{2}_GRDH_1S[A-Z]{2}_\d{8}T\d{6})_\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]_\d{1,2}_\d{1,2}",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class GeoRef:
    """Where a raster lies: a north-up grid in a UTM zone.

    Attributes:
        epsg: EPSG code of the CRS, 326zz (north) or 327zz (south).
        x_min, y_max: Easting and northing of the upper-left corner, metres.
        pixel_size: Metres per pixel.
        width, height: Pixels.
    """

    epsg: int
    x_min: float
    y_max: float
    pixel_size: float = 10.0
    width: int = PATCH_SIZE
    height: int = PATCH_SIZE

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients (a, b, c, d, e, f): x = a*column + b*row + c, y = d*column + e*row + f."""
        return (self.pixel_size, 0.0, self.x_min, 0.0, -self.pixel_size, self.y_max)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in metres."""
        return (
            self.x_min,
            self.y_max - self.height * self.pixel_size,
            self.x_min + self.width * self.pixel_size,
            self.y_max,
        )


@dataclass(frozen=True, slots=True)
class PatchId:
    """A reBEN patch id, ``<product>_<CC>_<RR>``, taken apart.

    Attributes:
        product: Name of the Sentinel-2 product, without ``.SAFE``.
        tile: MGRS tile without the leading T, such as ``33UUP``.
        acquired: Start of the acquisition, UTC.
        column, row: Position in the tile's grid of 1200 m cells, 0 to 90, from the upper-left corner.
    """

    product: str
    tile: str
    acquired: datetime
    column: int
    row: int

    @classmethod
    def parse(cls, text: str) -> "PatchId":
        """Read a patch id.

        Raises:
            UnknownNameError: If the text is no patch id of reBEN or lies outside the tile's grid.
        """
        match = _PATCH_ID.fullmatch(text)
        if match is None:
            raise UnknownNameError(
                f"'{text}' is no reBEN patch id; expected <S2 product>_<column>_<row>, for example "
                "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
            )
        column, row = int(match["column"]), int(match["row"])
        if max(column, row) >= PATCHES_PER_TILE_EDGE:
            raise UnknownNameError(f"'{text}': column and row of a patch run from 00 to {PATCHES_PER_TILE_EDGE - 1}")
        try:
            acquired = datetime.strptime(match["time"], "%Y%m%dT%H%M%S")
        except ValueError:
            raise UnknownNameError(f"'{text}': {match['time']} is no date and time") from None
        return cls(match["product"], match["tile"], acquired, column, row)

    def __str__(self) -> str:
        return f"{self.product}_{self.column:02d}_{self.row:02d}"

    @property
    def georef(self) -> GeoRef:
        """Georeference of the patch's 10 m grid, from the name alone; equal to that of the published GeoTIFFs."""
        epsg, x, y = tile_corner(self.tile)
        return GeoRef(epsg, x + PATCH_METRES * self.column, y - PATCH_METRES * self.row)

    @property
    def split(self) -> Split:
        """The split of the official metadata, by the published rule."""
        return geographic_split(self.column, self.row)


def s1_scene(s1_name: str) -> str:
    """Name of the Sentinel-1 scene that a patch was cut from; the folder that holds it in the published tree.

    Raises:
        UnknownNameError: If the text is no Sentinel-1 patch name of reBEN.
    """
    match = _S1_NAME.fullmatch(s1_name)
    if match is None:
        raise UnknownNameError(
            f"'{s1_name}' is no Sentinel-1 patch name of reBEN; expected <S1 scene>_<tile>_<column>_<row>, for example "
            "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57"
        )
    return match["scene"]


def tile_corner(tile: str) -> tuple[int, int, int]:
    """Upper-left corner of a Sentinel-2 tile.

    The tile begins where the 100 km square of the same name does, moved outward onto the 60 m grid: the square's
    western edge rounded down and its northern edge rounded up to a multiple of 60 m. In the south these are counted
    from the equator, not from the false northing of 10,000 km, which is no multiple of 60 m.

    Args:
        tile: Zone, latitude band, column and row letter, such as ``33UUP``.

    Returns:
        EPSG code, easting, northing (metres).

    Raises:
        UnknownNameError: If no such tile exists.
    """
    try:
        place = square(tile)
    except UnknownNameError as error:
        raise UnknownNameError(str(error)) from None
    equator = FALSE_NORTHING if place.southern else 0
    return place.epsg, place.west // _STEP * _STEP, equator - (equator - place.north) // _STEP * _STEP


def geographic_split(column: int, row: int) -> Split:
    """The split rule of reBEN: by the distance d of the patch's centre from the border of its tile.

    A ring of equal d around the tile's centre goes to one split, so that a test patch (the centre of the tile) is
    never within 6 km of a train patch (the rim) of the same tile. Reproduces all 549,488 official rows.

    Args:
        column, row: Position in the tile's grid, 0 to 90.
    """
    x = (column + 0.5) * PATCH_METRES
    y = (row + 0.5) * PATCH_METRES
    d = min(x, y, TILE_METRES - x, TILE_METRES - y)
    if d < TILE_METRES * (2 - math.sqrt(2)) / 4:
        return "train"
    return "validation" if d < TILE_METRES / 4 else "test"
