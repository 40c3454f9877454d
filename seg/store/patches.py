"""The LMDB that holds the pixels, in the layout of rico-hdl.

Keys are UTF-8: ``<patch_id>`` holds the Sentinel-2 bands, ``<s1_name>`` VV and VH, ``<patch_id>_reference_map`` the CLC
codes under the name ``Data``. Values are safetensors; what they hold is bit-identical to the GeoTIFFs.
"""

import errno
import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import lmdb

from seg.errors import ArchiveError, DamagedError, StoreError
from seg.store.ahead import Stretch, ask_for, in_memory, let_go
from seg.store.btree import Meta, is_whole, read_meta, value_begins, walk
from seg.store.compact import packed, unpacked
from seg.store.tensors import Array, encode_tensors, view_tensors

MAP_SUFFIX = "_reference_map"
MAP_TENSOR = "Data"
DATA_FILE, LOCK_FILE = "data.mdb", "lock.mdb"

_FIRST_MAP_SIZE = 1 << 28
_BATCH_BYTES = 1 << 26
_SLACK = 1 << 20


@dataclass
class _Opened:
    """An LMDB that is read: what py-lmdb has of it, which reads whole values, and its file, read where one looks."""

    environment: Any
    transaction: Any
    file: int
    pages_B: memoryview
    page_size: int
    meta: Meta | None
    looked_at: int = 0


_OPEN: dict[tuple[int, int], _Opened] = {}
"""Every LMDB that this process reads, by device and inode of its file.

They stay open until the process ends: views into the memory map are handed out, and LMDB allows one environment per
file and process. Without a lock table, a forked process may go on using what it inherits.
"""
_opening = Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_opening.release)


class PatchReader:
    """Reads an LMDB; may be handed to other processes, forked or spawned.

    The arrays that it returns are views into the memory map and stay valid until the process ends.

    Args:
        folder: Folder that holds ``data.mdb``.
        compact: Its values are packed, see `seg.store.compact`; the arrays are then copies of their own.
    """

    def __init__(self, folder: Path, compact: bool = False) -> None:
        # Absolute: somebody may go to another folder before the first value is read.
        self.folder, self.compact, self.path = folder, compact, folder.absolute() / DATA_FILE
        self._opened: _Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": None}

    def _environment(self) -> _Opened:
        if self._opened is None:
            try:
                status = self.path.stat()
            except (FileNotFoundError, NotADirectoryError):
                raise DamagedError(f"{self.folder} holds no {DATA_FILE}; it is no LMDB") from None
            with _opening:
                opened = _OPEN.get(identity := (status.st_dev, status.st_ino)) or self._open()
                _OPEN[identity] = opened
            if opened.meta and opened.meta != (read_meta(self.path) or opened.meta):
                raise StoreError(f"{self.folder} has been changed since this process opened it; start a new process")
            self._opened = opened
        return self._opened

    def _open(self) -> _Opened:
        try:
            # Without a lock file: for a read-only mount, and any number of processes.
            environment = lmdb.open(str(self.path.parent), readonly=True, lock=False, readahead=False)
            page_size = int(environment.stat()["psize"])
            if not is_whole(self.path, (environment.info()["last_pgno"] + 1) * page_size):  # else a bus error
                environment.close()
                raise DamagedError(f"{self.folder / DATA_FILE} is cut off; copy it again or build the store again")
            file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            pages = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
            if hasattr(mmap, "MADV_RANDOM"):
                pages.madvise(mmap.MADV_RANDOM)
            transaction, meta = environment.begin(buffers=True), read_meta(self.path)
            return _Opened(environment, transaction, file, memoryview(pages), page_size, meta)
        except lmdb.Error as error:
            raise DamagedError(f"{self.folder} cannot be opened as an LMDB: {error}") from None

    def stored(self, key: str, place: Stretch | None = None) -> memoryview | None:
        """The bytes of a value as they are stored, without a copy; None if there is none.

        Args:
            key: The key.
            place: Where the value lies, see `seg.store.offsets`: it is taken from there, and only those pages of it are
                read that are looked at. Where no value begins there, it is looked up by its key.

        Raises:
            DamagedError: If the LMDB is damaged.
        """
        opened = self._environment()
        if place is not None and value_begins(opened.pages_B, opened.page_size, place):
            opened.looked_at = let_go(opened.pages_B, opened.looked_at + place[1])
            return opened.pages_B[place[0] : place[0] + place[1]]
        try:
            return opened.transaction.get(key.encode())  # type: ignore[no-any-return]
        except lmdb.Error as error:
            raise self._damaged(error) from None

    def raw(self, key: str, place: Stretch | None = None) -> memoryview | None:
        """The safetensors bytes of a value, without a copy unless it is packed; None if there is none.

        Args:
            key, place: As of `stored`.

        Raises:
            DamagedError: If the LMDB is damaged, or the value cannot be unpacked.
        """
        value = self.stored(key, place)
        return unpacked(value, key) if self.compact and value is not None else value

    def _damaged(self, error: Exception) -> DamagedError:
        return DamagedError(f"{self.folder} is damaged: {error}; copy it again or build the store again")

    def tensors(self, key: str, place: Stretch | None = None) -> dict[str, Array]:
        """The arrays of a key, as read-only views into the memory map.

        Args:
            key, place: As of `stored`.

        Raises:
            StoreError: If there is no such key.
            DamagedError: If the value is no complete safetensors data.
        """
        if (value := self.raw(key, place)) is None:
            raise StoreError(f"{key} is not in the store {self.folder}")
        return view_tensors(value, key)

    def reference_map(self, patch_id: str, place: Stretch | None = None) -> Array:
        """The CLC codes of a patch, (row, column), uint16.

        Args:
            patch_id: The patch.
            place: As of `stored`.

        Raises:
            StoreError: If the patch has no reference map.
        """
        tensors = self.tensors(patch_id + MAP_SUFFIX, place)
        if MAP_TENSOR not in tensors:
            raise StoreError(f"the reference map of {patch_id} has no tensor '{MAP_TENSOR}'")
        return tensors[MAP_TENSOR]

    def read_ahead(self, stretches: Sequence[Stretch]) -> None:
        """Ask the disk for stretches of the file, without waiting for them.

        LMDB's map is read in single pages, since most readers need a little here and there; a value of 160 kB then
        waits for the disk forty times. Asked for beforehand, it waits once, and many values wait together. What is in
        memory already is not asked for, as far as a few of the stretches tell.

        Args:
            stretches: Where values lie, see `seg.store.offsets`, in the order of the file. They only say what is
                likely to be read; what is read is looked up in the LMDB.
        """
        if stretches and not in_memory(file := self._environment().file, stretches):
            ask_for(file, stretches)

    def keys(self) -> Iterator[str]:
        """All keys in sorted order."""
        cursor, meta = self._environment().transaction.cursor(), read_meta(self.path)
        try:
            # A cursor reads every value that it passes.
            keys = walk(self.path, meta).keys if meta else cursor.iternext(keys=True, values=False)
            # What is no text is no key of ours.
            yield from (bytes(key).decode(errors="backslashreplace") for key in keys)
        except (lmdb.Error, DamagedError) as error:
            raise self._damaged(error) from None

    def __len__(self) -> int:
        return int(self._environment().environment.stat()["entries"])


class PatchWriter:
    """Writes an LMDB; a context manager that has everything on disk when it ends.

    Values are committed in batches, each wholly or not at all, so what was committed survives whatever ends the
    process. The map grows with the data, so no large address space is asked for.

    Args:
        folder: An existing folder; an LMDB that lies in it is continued.
        replace: A value may take the place of one that is there already.
        compact: Pack the values, see `seg.store.compact`; what is put and got stays plain.
        beside: Write each batch in a thread while the caller puts the next one together. LMDB and the disk, where most
            of the time goes, work without Python's lock.
    """

    def __init__(self, folder: Path, replace: bool = False, compact: bool = False, beside: bool = False) -> None:
        self.folder = folder
        self._replace, self._compact = replace, compact
        self._thread = ThreadPoolExecutor(1) if beside else None
        self._under_way: Future[None] | None = None
        self._size = _FIRST_MAP_SIZE
        try:
            self._env = lmdb.open(str(folder), map_size=self._size, max_readers=1)
        except lmdb.Error as error:
            raise self._failure(error, 0) from None
        self._pending: dict[bytes, bytes] = {}
        self._pending_bytes = 0

    def __enter__(self) -> "PatchWriter":
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            self._settle()
            # After an error a first batch is let go: a store that has hardly begun is not worth keeping.
            if error_type is None or self._env.stat()["entries"]:
                self.flush()
            self._env.sync(True)
        except (lmdb.Error, ValueError, OSError) as error:
            # An error that is under way already says more than one that follows from it.
            if error_type is None:
                raise self._failure(error, 0) if isinstance(error, lmdb.Error) else error from None
        finally:
            if self._thread is not None:
                self._thread.shutdown()
            self._env.close()
            (self.folder / LOCK_FILE).unlink(missing_ok=True)

    def put(self, key: str, value: bytes | Mapping[str, Array]) -> None:
        """Store a value.

        Args:
            key: The key; a new one unless the writer may replace values.
            value: A safetensors value, or the tensors to make one of.

        Raises:
            ArchiveError: If the key is there already.
            OSError: If the disk is full.
        """
        data = value if isinstance(value, bytes) else encode_tensors(value)
        if key.encode() in self._pending and not self._replace:
            raise ArchiveError(f"{key} occurs twice in the source")
        self._pending[key.encode()] = data
        self._pending_bytes += len(data)
        if self._pending_bytes < _BATCH_BYTES:
            return
        if self._thread is None:
            self.flush()
            return
        self._settle()
        batch, self._pending, self._pending_bytes = self._pending, {}, 0
        self._under_way = self._thread.submit(self._write, batch)

    def _settle(self) -> None:
        """Wait for the batch that is being written.

        Raises:
            OSError: If it could not be.
        """
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()

    def get(self, key: str) -> bytes | None:
        """A copy of a value that was put before, by this writer or an earlier one."""
        if (pending := self._pending.get(key.encode())) is not None:
            return pending
        self._settle()
        with self._env.begin() as transaction:
            value: bytes | None = transaction.get(key.encode())
        return bytes(unpacked(value, key)) if self._compact and value is not None else value

    def remove(self, keys: Iterable[str]) -> None:
        """Take values out, all of them or none, together with what has been put so far."""
        self.flush()
        try:
            with self._env.begin(write=True) as transaction:
                for key in keys:
                    transaction.delete(key.encode())
        except lmdb.Error as error:
            raise self._failure(error, 0) from None

    def items(self) -> Iterator[tuple[str, memoryview]]:
        """Every key with its value, in sorted order; the values are views that hold until the next one.

        What cannot be unpacked comes as it is, and so is no safetensors value.
        """
        self.flush()
        with self._env.begin(buffers=True) as transaction:
            for name, value in transaction.cursor():
                key = bytes(name).decode()
                try:
                    yield key, unpacked(value, key) if self._compact else value
                except DamagedError:
                    yield key, value

    def __len__(self) -> int:
        return int(self._env.stat()["entries"])

    def flush(self) -> None:
        """Commit what has been put so far.

        Raises:
            OSError: If the disk is full.
        """
        self._settle()
        self._write(self._pending)
        self._pending.clear()
        self._pending_bytes = 0

    def _write(self, batch: Mapping[bytes, bytes]) -> None:
        batch = {key: packed(value) for key, value in batch.items()} if self._compact else batch
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in batch.items():
                        if not transaction.put(key, value, overwrite=self._replace):
                            raise ArchiveError(f"{key.decode()} occurs twice in the source")
            except lmdb.MapFullError:
                self._size = 2 * max(self._size, int(self._env.info()["map_size"]))
                self._env.set_mapsize(self._size)
                continue
            except lmdb.Error as error:
                raise self._failure(error, sum(map(len, batch.values()))) from None
            return

    def _failure(self, error: lmdb.Error, size: int) -> OSError:
        # LMDB calls a write that the disk takes only in part an input/output error.
        full = "No space left" in str(error) or shutil.disk_usage(self.folder).free < size + _SLACK
        what = "No space left on device" if full else f"the store cannot be written: {error}"
        return OSError(errno.ENOSPC if full else errno.EIO, what, str(self.folder))
