"""Asking the disk for stretches of a file before they are needed, so that nobody waits for them page by page."""

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

Stretch = tuple[int, int]
"""First byte, and number of bytes."""

_MAPPED_BYTES = 1 << 29
_THREADS = 8
_PROBED = 4
_GAP = 1 << 16
"""Stretches that lie no further apart become one request: reading a gap costs less than another request."""
_PIECE = 1 << 20
_ADVISED, _LEAST_ADVISED = 1 << 18, 1 << 17
"""Linux reads no more of an advised stretch than the device takes at a time or its readahead is, whichever is more: at
least 128 kB, mostly 256 kB and more."""


def ask_for(file: int, stretches: Iterable[Stretch]) -> None:
    """Have stretches of a file read into memory that other readers find them in; does not wait for them.

    By ``posix_fadvise`` where the system has it, else by threads that read; where it has neither, nothing is done.

    Args:
        file: Descriptor of an open file.
        stretches: In the order in which the disk is asked, which is best that of the file.
    """
    if hasattr(os, "posix_fadvise"):
        for stretch in joined(stretches):
            for begin, length in _pieces(stretch, _ADVISED):
                os.posix_fadvise(file, begin, length, os.POSIX_FADV_WILLNEED)
                if length > _LEAST_ADVISED:
                    # Of a device that takes less at a time, the first call has read that; else this one costs nothing.
                    rest = length - _LEAST_ADVISED
                    os.posix_fadvise(file, begin + _LEAST_ADVISED, rest, os.POSIX_FADV_WILLNEED)
    elif hasattr(os, "pread"):
        for begin, length in joined(stretches):
            _pool().submit(_read, file, begin, length)


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Neighbouring stretches as one, in the order of the first of them."""
    result: list[Stretch] = []
    for begin, length in stretches:
        if result:
            first, held = result[-1]
            if first <= begin <= first + held + _GAP:
                result[-1] = (first, max(held, begin + length - first))
                continue
        result.append((begin, length))
    return result


def in_memory(file: int, stretches: Sequence[Stretch]) -> bool:
    """Whether stretches of a file seem to be in memory already; a few of them are looked at.

    False also where the system or the file system does not tell.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    probe = bytearray(1)
    for begin, length in stretches[:: max(1, len(stretches) // _PROBED)]:
        try:
            # The last byte: what is read from the front may be under way.
            if os.preadv(file, [probe], begin + length - 1, os.RWF_NOWAIT) != 1:
                return False
        except OSError:
            return False
    return True


def let_go(pages_B: memoryview, looked_at: int) -> int:
    """Take the pages of a mapped file out of this process, now and then: they count as its memory while they are in.

    They stay in the system's cache, and views into them hold.

    Args:
        pages_B: The file, mapped.
        looked_at: How many bytes of it were looked at since the last time.

    Returns:
        How many bytes now.
    """
    if looked_at < _MAPPED_BYTES or not hasattr(mmap, "MADV_DONTNEED"):
        return looked_at
    assert isinstance(pages_B.obj, mmap.mmap)
    pages_B.obj.madvise(mmap.MADV_DONTNEED)
    return 0


def _read(file: int, begin: int, length: int) -> None:
    for start, size in _pieces((begin, length), _PIECE):
        os.pread(file, size, start)


def _pieces(stretch: Stretch, most: int) -> Iterator[Stretch]:
    begin, length = stretch
    for start in range(begin, begin + length, most):
        yield start, min(most, begin + length - start)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "read-ahead")
