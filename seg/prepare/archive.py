"""Files out of published archives, as a stream: nothing is unpacked.

An archive is a tar, plain or compressed with zstd or gzip, in one file or split (``.tar.gzaa``, ``.tar.gzab``, ...:
parts whose concatenation is the archive). What it is shows in its first bytes, not in its name.
"""

import gzip
import hashlib
import io
import os
import re
import string
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Self

from seg.errors import ArchiveError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from seg.prepare.layout import Kind, locate

_ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + i, 0x2A, 0x4D, 0x18)) for i in range(16)))
_GZIP_MAGIC = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "zip",
    b"\xfd7zX": "xz",
    b"BZh": "bzip2",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"\x04\x22M\x18": "LZ4",
}
"""Packings that are sound and not read, by their first bytes."""
_TAR_BLOCK = 512
_CHUNK = 1 << 20
_SPLIT_PART = re.compile(r".*\.tar(\.gz|\.zst)?[a-z]{2}")
_BEGINNING = 1 << 16
"""Bytes of a file that count for its identity."""
_LARGEST_FILE = 1 << 24
"""Members larger than 16 MB are no files of a patch."""


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        kind: Which part of the data set.
        parts: The file, or its parts in order.
    """

    kind: Kind
    parts: tuple[Path, ...]

    @property
    def name(self) -> str:
        """File name for people; of a split archive, that of its first part."""
        return self.parts[0].name

    @property
    def identity(self) -> str:
        """A digest of name, size, time of change and beginning of every part; another one for any other archive."""
        digest = hashlib.blake2b(digest_size=16)
        for path in self.parts:
            with path.open("rb") as file:
                digest.update(repr((path.name, path.stat().st_size, path.stat().st_mtime_ns)).encode())
                digest.update(file.read(_BEGINNING))
        return digest.hexdigest()


@dataclass(frozen=True)
class Member:
    """A file of a patch in an archive.

    Attributes:
        group, name, layer: Product or scene, patch and layer, by the form of the path; see `locate`.
        read: Gives the content; must be called before the next member is asked for, or not at all.
    """

    group: str
    name: str
    layer: str
    read: Callable[[], bytes]


def find_archive(path: Path, kind: Kind) -> Archive:
    """The archive that a path names: a file, any part of a split archive, or the common stem of the parts.

    Raises:
        ArchiveError: If there is no such file, or a part is missing between others.
    """
    if not path.exists() and _beside(path, "aa").is_file():
        stem = path
    elif path.is_file() and _SPLIT_PART.fullmatch(path.name):
        stem = path.with_name(path.name[:-2])
    elif path.is_file():
        return Archive(kind, (path,))
    else:
        raise ArchiveError(
            f"there is no folder or archive {path}; name an archive of the record, or the folder that it unpacks to",
            wrong_use=True,
        )
    endings = ["".join(letters) for letters in product(string.ascii_lowercase, repeat=2)]
    there = [ending for ending in endings if _beside(stem, ending).is_file()]
    for expected, found in zip(endings, there, strict=False):
        if expected != found:
            raise ArchiveError(
                f"the part {stem.name}{expected} is missing beside {stem.name}{there[-1]}; fetch it and go on"
            )
    return Archive(kind, tuple(_beside(stem, ending) for ending in there))


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


@dataclass
class Passage:
    """What a passage through an archive has met.

    Attributes:
        ignored: Members that are no files of patches, such as other files, links and absolute paths.
        unlisted: Files of patches that are not in the metadata.
    """

    ignored: int = 0
    unlisted: int = 0


def read_members(archive: Archive, passage: Passage) -> Iterator[Member]:
    """The files of patches in an archive, in its order. Read to its end, its own checksums have been compared.

    Args:
        archive: The archive.
        passage: Is kept up to date.

    Raises:
        ArchiveError: If the archive is damaged, cut off, or none.
    """
    with _explained(archive), _Parts(archive.parts) as raw, _decompressed(raw, archive.name) as plain:
        yield from _members(archive, _Forward(plain), passage)
        # Beyond the end of the tar lie padding and the checksum of the compressed stream.
        while plain.read(_CHUNK):
            pass


@contextmanager
def _explained(archive: Archive) -> Iterator[None]:
    """What is wrong with an archive, in a sentence."""
    try:
        yield
    except (EOFError, zstd.ZstdError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        reason = str(error)
        if isinstance(error, EOFError) or "unexpected end" in reason or "empty" in reason:
            last = archive.parts[-1].name
            what = f"{last} is cut off" if len(archive.parts) == 1 else f"{last} is cut off, or a part after it missing"
            raise ArchiveError(f"{what}; fetch it again and run the same command") from None
        raise ArchiveError(
            f"{archive.name} is no tar archive or is damaged; fetch it again and run the same command"
        ) from None


def _members(archive: Archive, stream: "_Forward", passage: Passage) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r:", errorlevel=2, tarinfo=_Header) as tar:  # type: ignore[call-overload]
        while (info := tar.next()) is not None:
            # Otherwise tarfile remembers every member.
            tar.members.clear()
            found = locate(archive.kind, info.name) if info.isreg() and info.size <= _LARGEST_FILE else None
            if found is None:
                passage.ignored += not info.isdir()
                continue
            yield Member(*found, partial(_content, archive, tar, stream, info))
        stream.expect_end_mark(tar.offset)


class _Header(tarfile.TarInfo):
    """A member's header, of which only name, size and type are read where it is of the usual form.

    tarfile also reads owner, mode and times, and spends most of its time on them.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        """The header in a block of 512 bytes.

        Raises:
            tarfile.HeaderError: As tarfile has it.
        """
        size, checksum = _octal(buf[124:136]), _octal(buf[148:156])
        kind = bytes(buf[156:157])
        # The sum counts its own eight bytes as blanks.
        if kind not in _USUAL or size is None or checksum != sum(buf) - sum(buf[148:156]) + 8 * ord(" "):
            return super().frombuf(buf, encoding or "utf-8", errors)
        header = cls(_text(buf[:100]))
        header.size, header.type = size, kind
        if kind == tarfile.REGTYPE and (prefix := _text(buf[345:500])):
            header.name = f"{prefix}/{header.name}"
        return header


_USUAL = (tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE)


def _octal(field: bytes | bytearray) -> int | None:
    """A number of a tar header; None if it is written in any other way."""
    try:
        return int(field.rstrip(b" \0"), 8)
    except ValueError:
        return None


def _text(field: bytes | bytearray) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _content(archive: Archive, tar: tarfile.TarFile, stream: "_Forward", info: tarfile.TarInfo) -> bytes:
    with _explained(archive):
        if not info.issparse():
            return stream.read_at(info.offset_data, info.size)
        file = tar.extractfile(info)
        assert file is not None, "only regular files get here"
        return file.read()


class _Parts(io.RawIOBase):
    """Files read one after another, as if they were one."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._rest = list(paths)
        self._file = self._rest.pop(0).open("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        count = self._file.readinto(buffer)  # type: ignore[arg-type]
        while not count and self._rest:
            self._file.close()
            self._file = self._rest.pop(0).open("rb", buffering=0)
            count = self._file.readinto(buffer)  # type: ignore[arg-type]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _decompressed(raw: io.RawIOBase, name: str) -> io.BufferedIOBase:
    buffered = io.BufferedReader(raw, _CHUNK)
    magic = buffered.peek(4)[:4]
    if magic in _ZSTD_MAGICS:
        # A window of 2 GB lets archives made with --long=31 through.
        return zstd.ZstdFile(buffered, options={zstd.DecompressionParameter.window_log_max: 31})
    if magic[:2] == _GZIP_MAGIC:
        return gzip.GzipFile(fileobj=buffered)
    for other, packing in _OTHERS.items():
        if magic.startswith(other):
            raise ArchiveError(
                f"{name} is packed as {packing}, which is not read: unpack it and name the folder; or, if it should be "
                "a .tar, fetch it again and run the same command"
            )
    return buffered


class _Forward:
    """A stream that can be read from any place at or behind the last one, as tarfile does, and little before it."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._begin = 0
        self._buffer = b""
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        assert whence == os.SEEK_SET, "tarfile counts from the beginning"
        assert position >= self._begin, "tarfile goes forward only"
        self._position = position
        return position

    def read(self, size: int) -> bytes:
        while self._position + size > self._begin + len(self._buffer):
            chunk = self._stream.read(_CHUNK)
            if not chunk:
                break
            # tarfile looks at the last byte of a member before it goes on to the next one.
            keep = min(self._position, self._begin + len(self._buffer)) - self._begin - _TAR_BLOCK
            if keep > 0:
                self._buffer = self._buffer[keep:]
                self._begin += keep
            self._buffer += chunk
        begin = self._position - self._begin
        content = self._buffer[begin : begin + size]
        self._position += len(content)
        return content

    def read_at(self, position: int, size: int) -> bytes:
        """The content of a member.

        Raises:
            EOFError: If the stream ends before.
        """
        place = self._position
        self.seek(position)
        content = self.read(size)
        self._position = place
        if len(content) < size:
            raise EOFError
        return content

    def expect_end_mark(self, position: int) -> None:
        """Make sure that the tar ends where tarfile stopped: it takes a damaged header for the end.

        Raises:
            EOFError: If the stream ends there without the block of zeros that ends a tar.
            tarfile.ReadError: If there is something else.
        """
        self.seek(position)
        block = self.read(_TAR_BLOCK)
        if len(block) < _TAR_BLOCK:
            raise EOFError
        if block != bytes(_TAR_BLOCK):
            raise tarfile.ReadError("invalid header")
