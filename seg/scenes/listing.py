"""Which files a folder or a zip holds that are data: what systems leave among them is none."""

import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from seg.errors import SceneError

_LITTER = (".ds_store", "thumbs.db", "desktop.ini", "__macosx")
DAMAGED_ZIP = (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError)
"""What `zipfile` raises of a zip that cannot be read."""


def is_litter(path: str) -> bool:
    """Whether a file or a folder above it is none of the user's.

    macOS puts ``._NAME`` beside every NAME on foreign disks and a folder ``__MACOSX`` of such into zips; it and Windows
    keep thumbnails and the looks of folders in files of their own.
    """
    return any(part.startswith("._") or part.lower() in _LITTER for part in PurePosixPath(path).parts)


def files_below(folder: Path, deepest: int) -> list[str]:
    """Files of a folder and of the folders in it, by their path below it with slashes, sorted; links are followed.

    Args:
        folder: The folder.
        deepest: Parts that a path may have: 1 for the files of the folder alone. A circle of links ends there too.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_litter(entry.name):
                continue
            if entry.is_file():
                found.append(entry.name)
            elif deepest > 1 and entry.is_dir():
                found += [f"{entry.name}/{path}" for path in files_below(folder / entry.name, deepest - 1)]
    return sorted(found)


def files_in_zip(path: Path) -> list[str]:
    """Files of a zip by their path in it, with slashes, as GDAL names them too: some tools write backslashes.

    Raises:
        SceneError: If it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = map(_with_slashes, archive.namelist())
            return [name for name in names if not name.endswith("/") and not is_litter(name)]
    except DAMAGED_ZIP:
        raise damaged_zip(path) from None


def member_of(archive: zipfile.ZipFile, path: str) -> zipfile.ZipInfo:
    """The file of a zip that `files_in_zip` names so."""
    return next(member for member in archive.infolist() if _with_slashes(member.filename) == path)


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")


def damaged_zip(path: Path) -> SceneError:
    """The error for a zip that cannot be read."""
    return SceneError(f"{path} is damaged or cut off, or no zip: get it anew")
