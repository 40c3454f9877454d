"""Whether JPEG 2000 files are whole.

GDAL opens a file that is cut off, and notices at the first block that is missing, hours later. The boxes of the file
say how long it has to be, and its codestream ends with a marker (ISO/IEC 15444-1, annexes A.4.4 and I.4).
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from seg.errors import SceneError
from seg.scenes.listing import member_of
from seg.scenes.product_files import ProductFiles

_CODESTREAM = b"jp2c"
_END = b"\xff\xd9"
_CHUNK = 4 << 20


def require_whole(files: ProductFiles, path: str) -> None:
    """Make sure that a file of a product is not cut off if it is JPEG 2000, or has its checksum if it is in a zip.

    Raises:
        SceneError: If it is damaged.
    """
    if files.source.is_file():
        _require_checksum(files, path)
    elif path.lower().endswith(".jp2"):
        require_whole_file(Path(files.prefix) / path)


def _require_checksum(files: ProductFiles, path: str) -> None:
    """GDAL does not compare the checksums of what it reads in parts."""
    try:
        with zipfile.ZipFile(files.source) as archive, archive.open(member_of(archive, files.inside + path)) as file:
            while file.read(_CHUNK):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise SceneError(f"{files.source}: {path} is damaged, its checksum is wrong; get the zip anew") from None


def require_whole_file(path: Path) -> None:
    """The same for a file on disk."""
    with path.open("rb") as file:
        if not _whole(file, path.stat().st_size):
            raise SceneError(f"{path} is damaged or cut off, or no JPEG 2000 file; get it anew")


def _whole(file: IO[bytes], size: int) -> bool:
    begin = 0
    while begin + 8 <= size:
        file.seek(begin)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))
        end = begin + length if length else size
        if end > size or end < begin + 8:
            return False
        if kind == _CODESTREAM:
            file.seek(end - 2)
            return file.read(2) == _END
        begin = end
    return False
