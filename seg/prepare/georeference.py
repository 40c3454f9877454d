"""Whether the GeoTIFFs of a patch lie where its name says."""

import warnings

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from seg.errors import ArchiveError
from seg.prepare.encode import Part
from seg.reben.bands import BANDS
from seg.reben.patch import PatchId


def misplaced(part: Part, patch: PatchId) -> dict[str, str]:
    """Files whose CRS or transform is not the one that the patch id implies.

    Args:
        part: The files.
        patch: The patch, also for Sentinel-1, which lies on the same grid.

    Returns:
        What is different, by layer.

    Raises:
        ArchiveError: If a file cannot be opened.
    """
    corner = patch.georef
    files = part.read().files or {}
    found = {}
    for layer in part.layers:
        pixel = BANDS[layer].pixel_size if layer in BANDS else corner.pixel_size
        expected = (pixel, 0.0, corner.x_min, 0.0, -pixel, corner.y_max)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with rasterio.MemoryFile(files[layer]) as memory, memory.open(driver="GTiff") as raster:
                    epsg = raster.crs.to_epsg() if raster.crs else None
                    transform = tuple(raster.transform)[:6]
        except (RasterioError, TypeError) as error:
            raise ArchiveError(f"{part.where}/{part.name}_{layer}.tif cannot be read ({error})") from None
        if epsg != corner.epsg:
            found[layer] = f"EPSG:{epsg}, not EPSG:{corner.epsg}"
        elif transform != expected:
            found[layer] = f"upper left at {transform[2]:.0f} {transform[5]:.0f}, pixels of {transform[0]:g} m"
    return found
