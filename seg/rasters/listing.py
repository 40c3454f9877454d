"""Which files a folder or a zip holds that are data: what systems leave among them is none."""

import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from seg.catalogue.address import Place
from seg.catalogue.web import opened_zip
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


def files_in_zip(path: Place) -> list[str]:
    """Files of a zip by their path in it, with slashes, as GDAL names them too: some tools write backslashes.

    Raises:
        SceneError: If it is damaged.
    """
    try:
        with opened_zip(path) as archive:
            names = map(_with_slashes, archive.namelist())
            return [name for name in names if not name.endswith("/") and not is_litter(name)]
    except DAMAGED_ZIP:
        raise damaged_zip(path) from None


def member_of(archive: zipfile.ZipFile, path: str) -> zipfile.ZipInfo:
    """The file of a zip that `files_in_zip` names so."""
    return next(member for member in archive.infolist() if _with_slashes(member.filename) == path)


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")


def damaged_zip(path: Place) -> SceneError:
    """The error for a zip that cannot be read."""
    return SceneError(f"{path} is damaged or cut off, or no zip: get it anew")


_END, _END_SIZE, _LOCATOR, _LOCATOR_SIZE = b"PK\x05\x06", 22, b"PK\x06\x07", 20
_LARGE, _LARGE_SIZE = b"PK\x06\x06", 56
"""The end of a zip, and what lies before it in one that has more than 4 GiB or 65,535 members."""
_LONGEST_COMMENT = 1 << 16
_PLAIN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def directory_size(path: Path) -> int:
    """Bytes of the directory of a zip, all of which `zipfile` keeps in memory; 0 of what is no zip.

    The end is looked for where `zipfile` finds it, so that no other one can be shown.
    """
    before = _LOCATOR_SIZE + _LARGE_SIZE
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LONGEST_COMMENT - _END_SIZE - before))
        tail = file.read()
    last = len(tail) - _END_SIZE
    bare = last >= 0 and tail[last:].startswith(_END) and tail.endswith(b"\0\0")
    place = last if bare else tail.rfind(_END)
    if place < 0:
        return 0
    size = int.from_bytes(tail[place + 12 : place + 16], "little")
    if not tail[max(0, place - _LOCATOR_SIZE) : place].startswith(_LOCATOR):
        return size
    large = tail[max(0, place - before) : place]
    # Where its record is not just before, nobody but the sender knows where it is, nor how large the directory.
    return int.from_bytes(large[40:48], "little") if large.startswith(_LARGE) else path.stat().st_size


def packed_otherwise(members: Iterable[zipfile.ZipInfo]) -> str:
    """Name of the first member that is neither stored nor deflated: others unpack to any size in one step."""
    return next((one.filename for one in members if one.compress_type not in _PLAIN_METHODS), "")
