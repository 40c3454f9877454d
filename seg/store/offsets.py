"""Where the values of each patch lie in the LMDB of a store, so that the disk can be asked for them in time.

A store that seg builds keeps them in a file of their own: they depend on how the LMDB came about, and its index does
not. For other LMDBs they are taken out of the B-tree once and kept in the user's cache. They belong to one state of
the file: after any change to it, or with another file in its place, they are left aside and found anew; so are offsets
with a wrong checksum, or of other names. They are believed for reading only where a value begins, see `PatchReader`.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg.errors import DamagedError
from seg.store.ahead import Stretch
from seg.store.atomic import write_bytes
from seg.store.btree import Meta, find, read_meta, walk
from seg.store.cache import cache_folder
from seg.store.index import Index, Rows, hash_names
from seg.store.patches import DATA_FILE, MAP_SUFFIX

OFFSETS_FILE = "offsets.parquet"
KINDS = ("s2", "s1", "map")
"""Values of a patch, in the order of `Index.checksums`."""
WHOLE = 1 << 40
"""More bytes than any value has."""
_COLUMNS = tuple(f"{kind}_{what}" for what in ("begin", "length") for kind in KINDS)
_STATE = b"seg.lmdb"
"""Key of the parquet's metadata under which the state of the file stands that the columns are of."""
_SEAL = b"seg.seal"
"""Key of the metadata under which the checksum of the offsets and of the names that they belong to stands."""
_CHECKED = 16
"""Values that are looked up again before offsets are believed."""


@dataclass(frozen=True, eq=False)
class Offsets:
    """Where values lie in a file.

    Attributes:
        begins_RK: First byte of the Sentinel-2, Sentinel-1 and map value of each row of the index, int64; 0: none.
        lengths_RK: Bytes of each, int64; 0: none.
    """

    begins_RK: npt.NDArray[np.int64]
    lengths_RK: npt.NDArray[np.int64]

    def places(self, rows: Rows) -> list[tuple[Stretch, ...]]:
        """Where the Sentinel-2, Sentinel-1 and map value of each of some rows lies; of no length if there is none."""
        begins_RK, lengths_RK = self.begins_RK[rows].tolist(), self.lengths_RK[rows].tolist()
        return [tuple(zip(*row, strict=True)) for row in zip(begins_RK, lengths_RK, strict=True)]

    def stretches(self, rows: Rows, most: tuple[int, int, int] = (WHOLE, WHOLE, WHOLE)) -> list[Stretch]:
        """Stretches of the file that hold the values of some rows, in its order.

        Args:
            rows: Rows of the index.
            most: How many bytes are wanted at most from the front of Sentinel-2, Sentinel-1 and map values; 0: none.
        """
        begins = self.begins_RK[rows].ravel()
        lengths = np.minimum(self.lengths_RK[rows], most).ravel()
        there = np.flatnonzero(lengths)
        order = there[np.argsort(begins[there], kind="stable")]
        return list(zip(begins[order].tolist(), lengths[order].tolist(), strict=True))

    def take(self, rows: Rows) -> "Offsets":
        """The offsets of some rows only, in that order."""
        return Offsets(self.begins_RK[rows], self.lengths_RK[rows])


def write_offsets(index: Index, folder: Path) -> None:
    """Write ``offsets.parquet`` of a store: where its values lie, as far as the format of the LMDB is known.

    Args:
        index: Of a store.
        folder: Of the store, whose LMDB is complete.

    Raises:
        OSError: If a file cannot be read or written.
    """
    path = folder / DATA_FILE
    meta = read_meta(path)
    found = None if meta is None else _found(index, path, meta)
    if meta is not None and found is not None:
        write_bytes(folder / OFFSETS_FILE, _parquet(found, index, _state(path, meta)))


def find_offsets(index: Index, folder: Path, fingerprint: str) -> Offsets | None:
    """Where the values of a store lie: as it says itself, from the user's cache, or out of the tree of its LMDB.

    Args:
        index: Of the store.
        folder: Of its LMDB.
        fingerprint: Of the store.

    Returns:
        None if the format of the LMDB is not known, or the file damaged, which shows when it is read.

    Raises:
        OSError: If the LMDB cannot be read.
    """
    path = folder / DATA_FILE
    meta = read_meta(path)
    if meta is None:
        return None
    state = _state(path, meta)
    # Another LMDB of the same patches may be of the same state, and hold some of them in another order.
    status = path.stat()
    own = f"{fingerprint}-{status.st_ino:x}-{status.st_mtime_ns:x}"
    kept = cache_folder() / "offsets" / f"{state.decode()}-{own}.parquet"
    for file in (folder / OFFSETS_FILE, kept):
        offsets = _read(file, state, index)
        if offsets is not None and _hold(offsets, index, path, meta):
            return offsets
    offsets = _found(index, path, meta)
    if offsets is not None:
        # Walking the tree again is no harm, so a folder that cannot be written is none either.
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(kept, _parquet(offsets, index, state))
    return offsets


def _parquet(offsets: Offsets, index: Index, state: bytes) -> bytes:
    table = pa.table(_columns(offsets)).replace_schema_metadata({_STATE: state, _SEAL: _seal(offsets, index)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def was_changed(folder: Path) -> bool:
    """Whether the LMDB of a store is another than the one whose offsets it keeps; False if it keeps none.

    Raises:
        OSError: If a file cannot be read.
    """
    path, file = folder / DATA_FILE, folder / OFFSETS_FILE
    if not file.is_file():
        return False
    try:
        kept = (pq.read_schema(file).metadata or {}).get(_STATE)
    except pa.ArrowException:
        return True
    meta = read_meta(path) if path.is_file() else None
    return meta is None or kept != _state(path, meta)


def _state(path: Path, meta: Meta) -> bytes:
    return f"{meta.digest}-{path.stat().st_size:x}".encode()


def _columns(offsets: Offsets) -> Mapping[str, npt.NDArray[np.int64]]:
    values = np.concatenate([offsets.begins_RK, offsets.lengths_RK], axis=1)
    return {name: np.ascontiguousarray(column) for name, column in zip(_COLUMNS, values.T, strict=True)}


def _seal(offsets: Offsets, index: Index) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    hash_names(digest, index.patch_ids)
    hash_names(digest, index.s1_names)
    digest.update(offsets.begins_RK.tobytes())
    digest.update(offsets.lengths_RK.tobytes())
    return digest.hexdigest().encode()


def _read(file: Path, state: bytes, index: Index) -> Offsets | None:
    """What a parquet says of this state of the file and this index; None if it says nothing, or something else."""
    try:
        schema = pq.read_schema(file)
        if (schema.metadata or {}).get(_STATE) != state or not set(_COLUMNS) <= set(schema.names):
            return None
        table = pq.read_table(file, columns=list(_COLUMNS))
        values = np.stack([table[name].to_numpy().astype(np.int64, casting="safe") for name in _COLUMNS], axis=1)
    except (OSError, pa.ArrowException, TypeError, ValueError):
        return None
    offsets = Offsets(values[:, :3].copy(), values[:, 3:].copy())
    return offsets if len(values) == len(index) and schema.metadata.get(_SEAL) == _seal(offsets, index) else None


def _hold(offsets: Offsets, index: Index, path: Path, meta: Meta) -> bool:
    """Whether offsets are right, by a sample of values that are looked up in the tree."""
    end = (meta.last_page + 1) * meta.page_size
    if len(offsets.begins_RK) and (
        min(offsets.begins_RK.min(), offsets.lengths_RK.min()) < 0
        or int((offsets.begins_RK + offsets.lengths_RK).max()) > end
    ):
        return False
    rows, kinds = np.nonzero(offsets.lengths_RK)
    if not len(rows):
        return meta.entries == 0
    chosen = np.unique(np.linspace(0, len(rows) - 1, _CHECKED).astype(np.int64))
    keys = [_key(index, int(rows[i]), KINDS[kinds[i]]) for i in chosen]
    claimed = [(int(offsets.begins_RK[rows[i], kinds[i]]), int(offsets.lengths_RK[rows[i], kinds[i]])) for i in chosen]
    try:
        return list(find(path, meta, keys)) == claimed
    except DamagedError:
        return False


def _key(index: Index, row: int, kind: str) -> bytes:
    name = index.s1_name(row) if kind == "s1" else index.patch_id(row)
    return (name + MAP_SUFFIX if kind == "map" else name).encode()


def _found(index: Index, path: Path, meta: Meta) -> Offsets | None:
    """Offsets out of the tree of the LMDB; None if it is damaged."""
    try:
        entries = walk(path, meta)
    except DamagedError:
        return None
    keys = pa.array(entries.keys, pa.binary())
    names = (
        index.patch_ids,
        index.s1_names,
        pc.binary_join_element_wise(index.patch_ids, MAP_SUFFIX, ""),
    )
    begins_RK, lengths_RK = (np.zeros((len(index), len(KINDS)), np.int64) for _ in range(2))
    for kind, column in enumerate(names):
        places = pc.fill_null(pc.index_in(column.cast(pa.binary()), keys), -1).to_numpy(zero_copy_only=False)
        there = np.flatnonzero(places >= 0)
        begins_RK[there, kind] = entries.begins[places[there]]
        lengths_RK[there, kind] = entries.lengths[places[there]]
    return Offsets(begins_RK, lengths_RK)
