"""What a frozen encoder has computed, kept in a file beside the run until the run is finished."""

import os
import struct
from contextlib import suppress
from pathlib import Path

import xxhash

from seg.errors import ForeignFileError

_BEGINNING = b"seg: features of a frozen encoder\n"
_ENTRY = struct.Struct("<16sQQ")
"""Before the content of an entry: its key, its length in bytes and its xxh3-64."""


class FeatureFile:
    """Contents by key, each appended once and never changed.

    A process that is killed at any moment leaves whole entries and perhaps the beginning of one, which the next process
    overwrites. Every content is checked when it is read, so that what a disk has lost is computed again.

    Args:
        path: The file; what it holds is kept if it is about the same.
        about: What the contents follow from, 16 bytes.
        most: Bytes that the file may take; what is added beyond them is not kept.

    Raises:
        ForeignFileError: If there is a file that seg has not made.
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path, about: bytes, most: int) -> None:
        self._path, self._most = path, most
        self._places: dict[bytes, tuple[int, int, int]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer: what is told to be written is out of the hands of this process.
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", 0)
        head = _BEGINNING + about
        begins = self._file.read(len(head))
        if not _BEGINNING.startswith(begins[: len(_BEGINNING)]):
            self._file.close()
            raise ForeignFileError(f"{path} is where features are kept, and seg has not made it; move it away")
        if begins == head:
            self._end = self._find(len(head))
        else:
            self._file.truncate(0)
            self._file.seek(0)
            self._end = self._file.write(head)

    def __len__(self) -> int:
        return len(self._places)

    def read(self, key: bytes) -> bytes | None:
        """The content of a key, 16 bytes; None if it was not kept."""
        if (place := self._places.get(key)) is None:
            return None
        begin, length, check = place
        self._file.seek(begin)
        content = self._file.read(length)
        if xxhash.xxh3_64_intdigest(content) == check:
            return content
        del self._places[key]
        return None

    def add(self, key: bytes, content: bytes) -> None:
        """Keep a content, if there is room for it on the disk and within the bound."""
        if key in self._places:
            return
        check = xxhash.xxh3_64_intdigest(content)
        entry = _ENTRY.pack(key, len(content), check) + content
        if self._end + len(entry) > self._most:
            return
        self._file.seek(self._end)
        try:
            whole = self._file.write(entry) == len(entry)
        except OSError:
            whole = False
        if not whole:
            # A full disk is no reason for a run to end, but one to take up no more of it.
            self._most = 0
            with suppress(OSError):
                self._file.truncate(self._end)
            return
        self._places[key] = (self._end + _ENTRY.size, len(content), check)
        self._end += len(entry)

    def close(self, remove: bool) -> None:
        """Let go of the file, and remove it if nobody needs it any more."""
        self._file.close()
        if remove:
            self._path.unlink(missing_ok=True)

    def _find(self, begin: int) -> int:
        """Find the entries from a place on; returns the end of the last whole one."""
        size = self._path.stat().st_size
        while begin + _ENTRY.size <= size:
            self._file.seek(begin)
            key, length, check = _ENTRY.unpack(self._file.read(_ENTRY.size))
            end = begin + _ENTRY.size + length
            if end > size:
                break
            self._places[key] = (begin + _ENTRY.size, length, check)
            begin = end
        return begin
