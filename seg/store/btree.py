"""The B-tree in an LMDB file: where its values lie, found without touching one of them.

py-lmdb reads every page of a value before it hands the value out, so it cannot tell where a value lies without waiting
for all of it. The tree can: its leaf pages hold each key with the length of its value and the number of the page on
which that begins. The tree of a reBEN with 1.6 million values takes up 130 MB of 167 GB.

Only the file format of LMDB 0.9 is read (``mdb.c`` of OpenLDAP's lmdb, "Page header", "Meta page" and "Node"), as
written on a 64-bit machine whose bytes have this machine's order; of anything else `read_meta` gives None.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from seg.errors import DamagedError
from seg.store.ahead import ask_for

_PAGE = struct.Struct("=QHHHH")
"""Number of the page, unused, flags, end of the node pointers, begin of the nodes."""
_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04
_META_AT = _PAGE.size
_META = struct.Struct("=IIQQ48xIHHQQQQQQQ")
"""Magic, version, address, size of the map, the free list's tree (whose first number is the page size), the main tree:
unused, flags, depth, pages of branches, leaves and values, entries, root; last page, transaction."""
_PAGE_SIZE_AT = _META_AT + 24
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_NODE = struct.Struct("=HHHH")
"""Lower and upper half of a number, flags, length of the key. The number is the length of a value, or with the flags
above it the page of a branch."""
_ON_OTHER_PAGES, _NAMED_TREE = 0x01, 0x02
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 17))
_NO_PAGE = (1 << 64) - 1
_DEEPEST = 32
_UNWRITTEN_BYTES = 1 << 16
"""Levels of a tree; LMDB has no more."""
_ASKED = 4096
"""Pages that the disk is asked for at a time: 16 MB."""


@dataclass(frozen=True, slots=True)
class Meta:
    """The state of an LMDB file.

    Attributes:
        page_size: Bytes.
        root: Page of the root; None if nothing is stored.
        entries: Number of values.
        last_page: Number of the last page in use.
        transaction: Number of the last transaction.
    """

    page_size: int
    root: int | None
    entries: int
    last_page: int
    transaction: int

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with every transaction, and with compaction."""
        return hashlib.blake2b(repr(self).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, eq=False)
class Entries:
    """All values of an LMDB, in the order of their keys.

    Attributes:
        keys: The keys.
        begins: First byte of each value in the file, int64.
        lengths: Bytes of each, int64.
    """

    keys: list[bytes]
    begins: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def read_meta(path: Path) -> Meta | None:
    """The state of an LMDB file; None if its format is none that is known here.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        first = file.read(_META_AT + _META.size)
        if len(first) < _META_AT + _META.size:
            return None
        (page_size,) = struct.unpack_from("=I", first, _PAGE_SIZE_AT)
        if page_size not in _PAGE_SIZES:
            return None
        # Two meta pages are written in turn; the later one counts.
        found = [meta for meta in (_meta(first, page_size), _meta(_read(file, page_size, 1), page_size)) if meta]
    return max(found, key=lambda meta: meta.transaction) if len(found) == 2 else None


def _meta(page: bytes, page_size: int) -> Meta | None:
    if len(page) < _META_AT + _META.size:
        return None
    magic, version, *_, entries, root, last_page, transaction = _META.unpack_from(page, _META_AT)
    if (magic, version) != (_MAGIC, _VERSION):
        return None
    return Meta(page_size, None if root == _NO_PAGE else root, entries, last_page, transaction)


def is_whole(path: Path, size_told: int) -> bool:
    """Whether all of the tree and of its values lies within the file.

    Pages at the end may be missing in a sound file: LMDB does not write those that one transaction took and freed.

    Args:
        path: The file.
        size_told: Bytes that LMDB says it has; of a format that is not known here, few of them may be missing.

    Raises:
        OSError: If it cannot be read.
    """
    size, meta = path.stat().st_size, read_meta(path)
    if meta is None:
        return size >= size_told - _UNWRITTEN_BYTES
    if size >= (meta.last_page + 1) * meta.page_size:
        return True
    try:
        entries = walk(path, meta)
    except DamagedError:
        return False
    return bool((entries.begins + entries.lengths <= size).all())


def walk(path: Path, meta: Meta) -> Entries:
    """Where all values lie; each page of the tree is read once, those of the values not at all.

    Raises:
        DamagedError: If the pages contradict each other.
        OSError: If the file cannot be read.
    """
    keys: list[bytes] = []
    places: list[tuple[int, int]] = []
    with path.open("rb", buffering=0) as file:
        level = [] if meta.root is None else [meta.root]
        while level:
            following: list[int] = []
            for number, page in _pages(file, meta, level):
                flags, nodes = _nodes(page, number)
                if flags & _BRANCH:
                    following += [_child(page, node) for node in nodes]
                else:
                    for node in nodes:
                        key, begin, length = _value(page, node, number, meta)
                        keys.append(key)
                        places.append((begin, length))
            if len(following) + len(keys) > 2 * meta.last_page + meta.entries + 2:
                raise DamagedError("its tree runs in a circle")
            level = following
    if len(keys) != meta.entries:
        raise DamagedError(f"its tree does not hold {meta.entries} values")
    values = np.array(places, np.int64).reshape(-1, 2)
    return Entries(keys, values[:, 0].copy(), values[:, 1].copy())


def find(path: Path, meta: Meta, keys: Sequence[bytes]) -> Iterator[tuple[int, int] | None]:
    """First byte and length of the values of some keys, a page per level for each; None where there is no such key.

    Raises:
        DamagedError: If the pages contradict each other.
        OSError: If the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        for key in keys:
            yield None if meta.root is None else _descend(file, meta, key)


def value_begins(pages_B: memoryview, page_size: int, place: tuple[int, int]) -> bool:
    """Whether a value of some length begins at a byte of an LMDB file, by the header of its first page.

    Args:
        pages_B: The file as bytes.
        page_size: Bytes of a page.
        place: First byte and length. A short value shares its page with others, and cannot be told: False.
    """
    begin, length = place
    page = begin - _PAGE.size
    if page % page_size or not 0 < page < page + _PAGE.size + length <= len(pages_B):
        return False
    # The header of a value's first page ends with the number of its pages, in place of the two bounds of nodes.
    number, _, flags, low, high = _PAGE.unpack_from(pages_B, page)
    return (number, flags, low | high << 16) == (page // page_size, _OVERFLOW, -(-(_PAGE.size + length) // page_size))


def _descend(file: BinaryIO, meta: Meta, key: bytes) -> tuple[int, int] | None:
    number = meta.root or 0
    for _ in range(_DEEPEST):
        page = _read(file, meta.page_size, number)
        flags, nodes = _nodes(page, number)
        if not flags & _BRANCH:
            found = (_value(page, node, number, meta) for node in nodes)
            return next(((begin, length) for name, begin, length in found if name == key), None)
        # The first key of a branch counts as lower than all others, whatever it is.
        lower = [node for node in nodes[1:] if _key(page, node) <= key]
        number = _child(page, lower[-1] if lower else nodes[0])
    raise DamagedError("its tree runs in a circle")


def _pages(file: BinaryIO, meta: Meta, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Pages of a level, in the order of the tree; the disk is asked for many of them at a time."""
    ordered = list(numbers)
    for begin in range(0, len(ordered), _ASKED):
        some = ordered[begin : begin + _ASKED]
        if max(some) > meta.last_page:
            raise DamagedError(f"its tree names page {max(some)}, beyond its end")
        ask_for(file.fileno(), [(number * meta.page_size, meta.page_size) for number in sorted(some)])
        for number in some:
            yield number, _read(file, meta.page_size, number)


def _read(file: BinaryIO, page_size: int, number: int) -> bytes:
    file.seek(number * page_size)
    return file.read(page_size)


def _nodes(page: bytes, number: int) -> tuple[int, list[int]]:
    """Flags of a page, and where its nodes begin."""
    if len(page) < _PAGE.size:
        raise DamagedError(f"page {number} lies beyond its end")
    own, _, flags, lower, _ = _PAGE.unpack_from(page)
    count = (lower - _PAGE.size) // 2
    if own != number or flags & (_BRANCH | _LEAF) not in (_BRANCH, _LEAF) or not 0 < count <= len(page) // 2:
        raise DamagedError(f"page {number} is none of its tree")
    nodes = list(struct.unpack_from(f"={count}H", page, _PAGE.size))
    if max(nodes) + _NODE.size > len(page):
        raise DamagedError(f"page {number} is damaged")
    return flags, nodes


def _child(page: bytes, node: int) -> int:
    low, middle, high, _ = _NODE.unpack_from(page, node)
    return int(low | middle << 16 | high << 32)


def _key(page: bytes, node: int) -> bytes:
    length = _NODE.unpack_from(page, node)[3]
    return page[node + _NODE.size : node + _NODE.size + length]


def _value(page: bytes, node: int, number: int, meta: Meta) -> tuple[bytes, int, int]:
    """Key, first byte and length of the value of a leaf's node."""
    low, high, flags, key_length = _NODE.unpack_from(page, node)
    length, data = low | high << 16, node + _NODE.size + key_length
    # The tree of a database with a name of its own lies in a value, which is no patch's.
    if flags & ~(_ON_OTHER_PAGES | _NAMED_TREE):
        raise DamagedError("it has keys with several values, which no store of patches has")
    inline = not flags & _ON_OTHER_PAGES
    if data + (length if inline else 8) > meta.page_size:
        raise DamagedError(f"page {number} is damaged")
    key = page[node + _NODE.size : data]
    if inline:
        return key, number * meta.page_size + data, length
    (first,) = struct.unpack_from("=Q", page, data)
    begin = first * meta.page_size + _PAGE.size
    if begin + length > (meta.last_page + 1) * meta.page_size:
        raise DamagedError("its tree names values beyond its end")
    return key, begin, length
