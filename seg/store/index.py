"""The index: which patches there are, with labels, split, country and month.

Columns are arrays, never lists of Python objects, so that half a million rows are small, quick to select from, and
stay shared between loader processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg.errors import MetadataError
from seg.reben.classes import NUM_CLASSES, label_bits, names_of_bits
from seg.reben.patch import SPLITS, PatchId, s1_scene

BoolArray = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

_OFFICIAL = {
    "patch_id": pa.string(),
    "labels": pa.list_(pa.string()),
    "split": pa.string(),
    "country": pa.string(),
    "s1_name": pa.string(),
    "s2v1_name": pa.string(),
    "contains_seasonal_snow": pa.bool_(),
    "contains_cloud_or_shadow": pa.bool_(),
}
OFFICIAL_COLUMNS = tuple(_OFFICIAL)
"""Columns of the published metadata, in their order."""
_OWN = {
    "has_s1": pa.bool_(),
    "has_s2": pa.bool_(),
    "has_reference_map": pa.bool_(),
    "s2_checksum": pa.uint64(),
    "s1_checksum": pa.uint64(),
    "map_checksum": pa.uint64(),
}
_CHECKSUMS = ("s2_checksum", "s1_checksum", "map_checksum")


_ID_PATTERN = r"^S2[A-Z]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_([0-8]\d|90)_([0-8]\d|90)$"
_S1_PATTERN = r"^S1[A-Z]_[A-Z]{2}_GRDH_1S[A-Z]{2}_\d{8}T\d{6}_\d{2}[A-Z]{3}_\d{1,2}_\d{1,2}$|^$"


@dataclass(frozen=True)
class Index:
    """One row per patch.

    Attributes:
        patch_ids, s1_names: Names, as Arrow strings.
        s2v1_names: Names of the patches in BigEarthNet v1.0, as Arrow strings.
        label_bits: Multi-label as uint32, bit i for class i.
        splits: Position in `SPLITS`, int8.
        countries: Country, as an Arrow dictionary of strings.
        snow, cloud: Flags of the official metadata.
        has_s1, has_s2, has_map: What the store holds of the patch.
        checksums: `checksum` of the Sentinel-2, Sentinel-1 and map value, uint64 (row, 3); 0 where there is none.
    """

    patch_ids: pa.StringArray
    s1_names: pa.StringArray
    s2v1_names: pa.StringArray
    label_bits: npt.NDArray[np.uint32]
    splits: npt.NDArray[np.int8]
    countries: pa.DictionaryArray
    snow: BoolArray
    cloud: BoolArray
    has_s1: BoolArray
    has_s2: BoolArray
    has_map: BoolArray
    checksums: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.patch_ids)

    def patch_id(self, row: int) -> str:
        """Patch id of a row."""
        return str(self.patch_ids[row].as_py())

    def s1_name(self, row: int) -> str:
        """Name of the Sentinel-1 patch of a row."""
        return str(self.s1_names[row].as_py())

    @property
    def months(self) -> npt.NDArray[np.int8]:
        """Month of the acquisition, 1 to 12."""
        # S2A_MSIL2A_20170613T...: the month is at characters 15 and 16 of every patch id.
        months = pc.utf8_slice_codeunits(self.patch_ids, 15, 17).cast(pa.int8())
        return months.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    @property
    def tiles(self) -> pa.StringArray:
        """MGRS tile, such as ``33UUP``, as Arrow strings."""
        return pc.utf8_slice_codeunits(self.patch_ids, 39, 44)

    def labels(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Multi-hot labels (row, class) of some rows."""
        return (self.label_bits[rows, None] >> np.arange(NUM_CLASSES, dtype=np.uint32) & 1).astype(np.bool_)

    def take(self, rows: Rows) -> "Index":
        """The index of some rows only, in that order."""
        arrow = pa.array(rows)
        return Index(
            **{
                name: column.take(arrow) if isinstance(column, pa.Array) else column[rows]
                for name, column in vars(self).items()
            }
        )

    def with_splits(self, splits: npt.NDArray[np.int8]) -> "Index":
        """The same index with other splits."""
        return replace(self, splits=splits)

    def to_table(self) -> pa.Table:
        """The index as a table: the official columns, then what the store adds."""
        names = {bits: list(names_of_bits(int(bits))) for bits in np.unique(self.label_bits).tolist()}
        columns = {
            "patch_id": self.patch_ids,
            "labels": pa.array([names[bits] for bits in self.label_bits.tolist()], _OFFICIAL["labels"]),
            "split": pa.array(np.array(SPLITS)[self.splits]),
            "country": self.countries.cast(pa.string()),
            "s1_name": self.s1_names,
            "s2v1_name": self.s2v1_names,
            "contains_seasonal_snow": self.snow,
            "contains_cloud_or_shadow": self.cloud,
            "has_s1": self.has_s1,
            "has_s2": self.has_s2,
            "has_reference_map": self.has_map,
            **dict(zip(_CHECKSUMS, np.ascontiguousarray(self.checksums.T), strict=True)),
        }
        return pa.table(columns, schema=pa.schema({**_OFFICIAL, **_OWN}))


def read_index(paths: Sequence[Path]) -> Index:
    """An index from metadata parquets or the ``index.parquet`` of a store.

    Without the columns that a store adds, every patch is taken to have everything.

    Args:
        paths: The files; their rows are put one after the other.

    Raises:
        MetadataError: If a file is missing, is no parquet, lacks a column, holds a name that is not reBEN's, or a
            patch occurs twice.
    """
    files = [_open(path) for path in paths]
    source = " and ".join(path.name for path in paths)

    # Column by column: the decoded pages of one are gone before those of the next are read.
    def joined(name: str) -> Any:
        return pa.concat_arrays([chunk for file in files for chunk in _chunks(file, name)])

    def values(name: str) -> npt.NDArray[Any]:
        return joined(name).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    label_bits = [_label_bits(chunk, source) for file in files for chunk in _chunks(file, "labels")]
    index = Index(
        patch_ids=joined("patch_id"),
        s1_names=joined("s1_name"),
        s2v1_names=joined("s2v1_name"),
        label_bits=np.concatenate(label_bits) if label_bits else np.zeros(0, np.uint32),
        splits=_split_codes(joined("split"), source),
        countries=joined("country").dictionary_encode(),
        snow=values("contains_seasonal_snow"),
        cloud=values("contains_cloud_or_shadow"),
        has_s1=values("has_s1"),
        has_s2=values("has_s2"),
        has_map=values("has_reference_map"),
        checksums=np.stack([values(name) for name in _CHECKSUMS], axis=1),
    )
    _check_names(index, source)
    return index


@dataclass(frozen=True)
class _File:
    path: Path
    parquet: pq.ParquetFile


def _open(path: Path) -> _File:
    try:
        schema = pq.read_metadata(path).schema
        leaves = [schema.column(i).path for i in range(len(schema))]
        # Label names arrive as a dictionary: half a million rows have one and a half million of them.
        labels = [leaf for leaf in leaves if leaf.startswith("labels.")]
        parquet = pq.ParquetFile(path, memory_map=True, read_dictionary=labels)
    except FileNotFoundError:
        raise MetadataError(f"there is no metadata file {path}; name a parquet of the record", wrong_use=True) from None
    except (pa.ArrowInvalid, OSError):
        raise MetadataError(f"{path} cannot be read as a parquet file; fetch or copy it again") from None
    if missing := [name for name in _OFFICIAL if name not in parquet.schema_arrow.names]:
        raise MetadataError(f"{path} lacks the column {missing[0]}; it is no reBEN metadata", wrong_use=True)
    return _File(path, parquet)


def _chunks(file: _File, name: str) -> list[pa.Array]:
    """A column of a file in its type, or what it is taken to hold where only stores have it; at least one chunk."""
    dtype = _OFFICIAL.get(name) or _OWN[name]
    rows = file.parquet.metadata.num_rows
    if name not in file.parquet.schema_arrow.names:
        return [pa.repeat(pa.scalar(dtype == pa.bool_()), rows).cast(dtype)]
    try:
        column = file.parquet.read(columns=[name], use_threads=False).column(0)
        if column.type != pa.list_(pa.dictionary(pa.int32(), pa.string())):
            column = column.cast(dtype)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise MetadataError(f"{file.path} has a column {name} of the wrong type; it is no reBEN metadata") from None
    except OSError:
        raise MetadataError(f"{file.path} cannot be read as a parquet file; fetch or copy it again") from None
    # The pages of a column are no longer needed; the pool would keep their memory for later.
    pa.default_memory_pool().release_unused()
    if column.null_count:
        raise MetadataError(f"{file.path} has rows without a value in column {name}")
    return column.chunks or [pa.array([], column.type)]


def _label_bits(labels: pa.ListArray, source: str) -> npt.NDArray[np.uint32]:
    encoded = labels.flatten()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    try:
        bit_of_name = np.array([label_bits([name]) for name in encoded.dictionary.to_pylist()], dtype=np.uint32)
    except ValueError as error:
        raise MetadataError(f"{source}: {error}") from None
    bits = bit_of_name[encoded.indices.to_numpy()] if len(encoded) else np.zeros(0, np.uint32)
    lengths = labels.value_lengths().to_numpy()
    result = np.zeros(len(labels), np.uint32)
    filled = lengths > 0
    # reduceat needs strictly increasing starts, so rows without labels are left out of it.
    starts = (np.cumsum(lengths) - lengths)[filled]
    if starts.size:
        result[filled] = np.bitwise_or.reduceat(bits, starts)
    return result


def _split_codes(splits: pa.StringArray, source: str) -> npt.NDArray[np.int8]:
    codes = pc.index_in(splits, pa.array(SPLITS))
    if codes.null_count:
        bad = splits.filter(pc.is_null(codes))[0].as_py()
        raise MetadataError(f"{source}: '{bad}' is no split; splits are {', '.join(SPLITS)}")
    return codes.to_numpy().astype(np.int8)  # type: ignore[no-any-return]


def _check_names(index: Index, source: str) -> None:
    """Every name is well formed and every patch occurs once; an exact parse names the culprit that a pattern finds."""
    malformed = pc.invert(pc.match_substring_regex(index.patch_ids, _ID_PATTERN))
    if pc.any(malformed).as_py():
        PatchId.parse(index.patch_ids.filter(malformed)[0].as_py())
        raise MetadataError(f"{source}: {index.patch_ids.filter(malformed)[0]} is no reBEN patch id")
    malformed = pc.invert(pc.match_substring_regex(index.s1_names, _S1_PATTERN))
    if pc.any(malformed).as_py():
        s1_scene(index.s1_names.filter(malformed)[0].as_py())
        raise MetadataError(f"{source}: {index.s1_names.filter(malformed)[0]} is no Sentinel-1 patch name")
    if not _distinct(index.patch_ids):
        counts = pc.value_counts(index.patch_ids)
        if len(counts) != len(index):
            twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
            raise MetadataError(f"{source}: patch {twice} occurs more than once; name each parquet once")


def id_hashes(patch_ids: pa.StringArray) -> npt.NDArray[np.uint64]:
    """A number for each patch id, which depends on the id alone; ids that differ hardly ever share one."""
    if len(patch_ids) == 0:
        return np.zeros(0, np.uint64)
    # Patch ids are of one length, so their characters are the rows of a matrix: 8 at a time, they are multiplied by
    # odd constants and added up modulo 2^64. A set of strings would take ten times the memory.
    length = len(patch_ids[0].as_py())
    text = np.frombuffer(patch_ids.buffers()[2], f"S{length}", len(patch_ids), patch_ids.offset * length)
    hashes = np.zeros(len(patch_ids), np.uint64)
    for begin in range(0, length, 8):
        part = text.view(np.uint8).reshape(-1, length)[:, begin : begin + 8]
        words = np.zeros((len(part), 8), np.uint8)
        words[:, : part.shape[1]] = part
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + words.view(np.uint64)[:, 0]
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _distinct(patch_ids: pa.StringArray) -> bool:
    """Whether all patch ids differ; False may also mean that two have the same hash."""
    hashes = id_hashes(patch_ids)
    hashes.sort()
    return not (hashes[1:] == hashes[:-1]).any()


def hash_names(digest: Any, names: pa.StringArray) -> None:
    """Feed names to a hash of `hashlib`."""
    # All names as one string: no Python object per row.
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(names)], pa.int32()), names), "\n")
    digest.update(joined.buffers()[2])
