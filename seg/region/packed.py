"""Land cover and countries as they are downloaded: a file of data in a zip or a folder, often some folders deep."""

from pathlib import Path, PurePosixPath

from seg.errors import SceneError
from seg.rasters.header import in_zip
from seg.rasters.listing import files_below, files_in_zip

_SUFFIXES = (".gpkg", ".shp", ".geojson", ".fgb", ".gml", ".tif", ".tiff")
_DATABASE = ".gdb"
"""Ends the name of a folder that is a database."""
_DEEPEST = 5


def source_of(path: Path) -> str:
    """What GDAL opens of a path: the path itself, or the only file with data in a zip or a folder.

    Raises:
        SceneError: If a zip is damaged, or there are several such files.
    """
    if path.is_dir() and path.suffix.lower() != _DATABASE:
        names, root = files_below(path, _DEEPEST), f"{path}/"
    elif path.is_file() and path.suffix.lower() == ".zip":
        names, root = files_in_zip(path), in_zip(path)
    else:
        return str(path)
    found = sorted({data for name in names if (data := _data(name)) is not None})
    if len(found) > 1:
        listed = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise SceneError(
            f"{path} holds several files of data ({listed}); unpack it if it is a zip, and name one of them"
        )
    return f"{root}{found[0]}" if found else str(path)


def _data(name: str) -> str | None:
    """The file or database that a file is, or is a part of; None if it holds no data."""
    place = PurePosixPath(name)
    for folder in place.parents:
        if folder.suffix.lower() == _DATABASE:
            return str(folder)
    return name if place.suffix.lower() in _SUFFIXES else None
