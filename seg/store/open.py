"""Opening a store: the folder that ``seg data build`` writes, or a bare LMDB of rico-hdl with its parquet."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from seg.config.paths import AnyPath, AnyPaths, path_list
from seg.config.wording import clipped
from seg.errors import MetadataError, StoreError
from seg.reben.bands import BANDS, S1_BANDS, S2_BANDS, selection_name
from seg.reben.patch import SPLITS
from seg.store.ahead import Stretch
from seg.store.index import BoolArray, Index, Rows, hash_names, read_index
from seg.store.notes import synthetic_mark
from seg.store.offsets import WHOLE, Offsets, find_offsets
from seg.store.patches import DATA_FILE, MAP_SUFFIX, PatchReader
from seg.store.tensors import Array

INDEX_FILE = "index.parquet"
INFO_FILE = "store.json"
FORMAT, FORMAT_COMPACT = 2, 3
"""Versions of the layout: plain, and with packed values."""
_CURE = "copy the store again, or build it again"


@dataclass(frozen=True)
class StoreInfo:
    """What ``store.json`` says of a store.

    Attributes:
        format: Version of this layout.
        seg_version: Version of the program that wrote it; empty for a bare LMDB.
        bands: Bands that the store holds, in the order of `BANDS`.
        patches, s1_missing, s2_missing, maps_missing: Counts of patches.
        label_mismatches: Patches whose labels differ from the classes in their reference map; None: not checked.
        splits: Patches per split.
        ignored: Members of the archives that were no files of patches, or repeated one.
        resplit: How the splits were assigned anew, such as ``tile``; None: they are those of the metadata.
        synthetic: The data are simulated; every table made from them says so.
        source: What the store was made from, by name.
        fingerprint: Changes with every pixel, label or split.
        unlisted: Files in the archives of patches that were not in the metadata.
        compression: How values are packed, `seg.store.compact.COMPRESSION`; None: not at all.
    """

    format: int
    seg_version: str
    bands: tuple[str, ...]
    patches: int
    s1_missing: int
    s2_missing: int
    maps_missing: int
    label_mismatches: int | None
    ignored: int
    splits: dict[str, int]
    resplit: str | None
    synthetic: bool
    source: dict[str, Any]
    fingerprint: str
    unlisted: int = 0
    compression: Literal["blosc-lz4"] | None = None

    def to_json(self) -> str:
        """The text of ``store.json``; a plain store says nothing of compression, as before there was any."""
        fields = asdict(self)
        if self.compression is None:
            del fields["compression"]
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Store:
    """An open store: the pixels, the index and what the store says of itself."""

    folder: Path
    patches: PatchReader
    index: Index
    info: StoreInfo

    @cached_property
    def offsets(self) -> Offsets | None:
        """Where the values of each row lie in the LMDB; None if its format does not tell."""
        return offsets_of(self.patches.path.parent, self.index, self.info)

    def map_places(self, rows: Rows) -> list[Stretch | None]:
        """Where the reference maps of some rows lie; the disk is asked for them.

        Args:
            rows: Of the index, as many as are read next.
        """
        if self.offsets is None:
            return [None] * len(rows)
        self.patches.read_ahead(self.offsets.stretches(rows, (0, 0, WHOLE)))
        return [place for _, _, place in self.offsets.places(rows)]

    def arrays(self, row: int) -> dict[str, Array]:
        """The bands of a patch, of both sensors as far as it has them, by name and as reBEN stores them.

        Args:
            row: Of the index.

        Raises:
            DamagedError: If a value is missing or damaged.
        """
        index = self.index
        names = [index.s1_name(row)] * bool(index.has_s1[row]) + [index.patch_id(row)] * bool(index.has_s2[row])
        return {band: array for name in names for band, array in self.patches.tensors(name).items()}

    def lack(self, bands: Sequence[str]) -> str:
        """The bands of a selection that the store does not hold, as a sentence; empty if it has all of them."""
        absent = [band for band in bands if band not in self.info.bands]
        held = ", ".join(self.info.bands) or "no bands"
        needed = f"'{selection_name(tuple(bands))}' needs {', '.join(absent)}"
        return f"{needed}, which the store {self.folder.name} does not hold; it has {held}" if absent else ""

    def usable(self, rows: Rows, bands: Sequence[str], drop_incomplete: bool, need_map: bool = True) -> Rows:
        """The rows that have everything a band selection needs.

        Args:
            rows: Rows of the index.
            bands: Bands that a network is to see.
            drop_incomplete: Leave incomplete patches out instead of refusing.
            need_map: The reference map is needed too.

        Raises:
            StoreError: If the store lacks a band, or patches lack a sensor or map and are not to be left out; names
                the modality and what is missing.
        """
        name = selection_name(tuple(bands))
        if lack := self.lack(bands):
            raise StoreError(lack)
        needs = {
            "Sentinel-1": (any(b in S1_BANDS for b in bands), self.index.has_s1),
            "Sentinel-2": (any(b in S2_BANDS for b in bands), self.index.has_s2),
            "reference map": (need_map, self.index.has_map),
        }
        keep = np.ones(len(rows), dtype=np.bool_)
        for what, (needed, has) in needs.items():
            missing = int((~has[rows]).sum()) if needed else 0
            if missing and not drop_incomplete:
                raise StoreError(
                    f"'{name}' cannot be used: {missing} of {len(rows)} patches have no {what}; "
                    "leave them out with --set data.drop_incomplete=true or choose another modality"
                )
            if needed:
                keep &= has[rows]
        if not keep.any():
            raise StoreError(f"'{name}' cannot be used: no patch of the selection has everything it needs")
        return rows[keep]


def open_store(folder: AnyPath, metadata: AnyPaths = ()) -> Store:
    """Open a store for reading.

    Args:
        folder: A folder written by ``seg data build``, or a bare rico-hdl LMDB.
        metadata: Metadata parquets; needed for a bare LMDB, unless a ``metadata.parquet`` lies in or beside it.

    Raises:
        StoreError: If the folder is neither, or was written by a newer version.
    """
    folder, metadata = Path(folder), path_list(metadata)
    if not folder.is_dir():
        what = f"{folder} is a file, not a store" if folder.is_file() else f"there is no store {folder}"
        raise StoreError(f"{what}; make one with 'seg data build'", wrong_use=True)
    if (folder / INFO_FILE).is_file():
        if metadata:
            raise StoreError(f"{folder} has an index of its own; --metadata is for a bare LMDB only", wrong_use=True)
        index, info = read_description(folder)
        if not (folder / DATA_FILE).is_file():
            raise StoreError(f"{folder} has lost its {DATA_FILE}; {_CURE}")
        return Store(folder, PatchReader(folder, info.compression is not None), index, info)
    if folder.name.startswith(".") and folder.name.endswith(".building"):
        raise StoreError(f"{folder} is an unfinished store; run its 'seg data build' command again to finish it")
    if (folder / INDEX_FILE).is_file():
        raise StoreError(f"{folder} has lost its {INFO_FILE}; {_CURE}")
    if (folder / DATA_FILE).is_file():
        return _open_bare(folder, metadata)
    inside = sorted(path.parent for path in folder.glob(f"*/{INFO_FILE}"))
    what = f"{folder} is no store: it has neither {INFO_FILE} nor {DATA_FILE}"
    raise StoreError(
        f"{what}; did you mean {inside[0]}?" if inside else f"{what}; make one with 'seg data build'", wrong_use=True
    )


def open_patches(folder: Path) -> PatchReader:
    """The pixels of a store that was opened before, without its index."""
    packed = (folder / INFO_FILE).is_file() and read_info(folder).compression is not None
    return PatchReader(folder, packed)


def offsets_of(folder: Path, index: Index, info: StoreInfo) -> Offsets | None:
    """Where the values of a store lie in its LMDB, which is not opened; None if its format does not tell.

    Raises:
        OSError: If it cannot be read.
    """
    return find_offsets(index, folder, info.fingerprint)


def read_description(folder: Path) -> tuple[Index, StoreInfo]:
    """Index and description of a store that seg has written; its LMDB is not opened.

    Raises:
        StoreError: If one of them is missing or damaged, or the store is of another version.
    """
    info = read_info(folder)
    if not (folder / INDEX_FILE).is_file():
        raise StoreError(f"{folder} has lost its {INDEX_FILE}; {_CURE}")
    try:
        return read_index([folder / INDEX_FILE]), info
    except MetadataError as error:
        raise StoreError(f"the index of {folder} is damaged ({error}); {_CURE}") from None


def read_format(folder: Path) -> int:
    """The version of a store's layout, whatever it is.

    Raises:
        StoreError: If ``store.json`` is damaged.
    """
    try:
        document = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise _damaged_info(folder) from None
    written = document.get("format") if isinstance(document, dict) else None
    if type(written) is not int:
        raise _damaged_info(folder)
    return written


def _damaged_info(folder: Path) -> StoreError:
    return StoreError(f"{folder / INFO_FILE} is damaged; {_CURE}")


def read_info(folder: Path) -> StoreInfo:
    """What ``store.json`` says.

    Raises:
        StoreError: If it is damaged or of a newer version.
    """
    written = read_format(folder)
    if written > FORMAT_COMPACT:
        raise StoreError(
            f"{folder} was written by a newer version of seg (store format {written}, this version reads "
            f"{FORMAT_COMPACT}); update seg"
        )
    if written < FORMAT:
        raise StoreError(f"{folder} was written by an older version of seg; build the store again")
    try:
        return TypeAdapter(StoreInfo).validate_json((folder / INFO_FILE).read_text(encoding="utf-8"), strict=True)
    except ValidationError:
        raise _damaged_info(folder) from None


def describe(  # noqa: PLR0913
    index: Index,
    bands: Sequence[str],
    *,
    seg_version: str,
    synthetic: bool,
    source: dict[str, Any],
    resplit: str | None = None,
    label_mismatches: int | None = None,
    ignored: int = 0,
    unlisted: int = 0,
    compression: Literal["blosc-lz4"] | None = None,
) -> StoreInfo:
    """The `StoreInfo` of an index."""
    return StoreInfo(
        format=FORMAT_COMPACT if compression else FORMAT,
        seg_version=seg_version,
        bands=tuple(band for band in BANDS if band in bands),
        patches=len(index),
        s1_missing=int((~index.has_s1).sum()),
        s2_missing=int((~index.has_s2).sum()),
        maps_missing=int((~index.has_map).sum()),
        label_mismatches=label_mismatches,
        ignored=ignored,
        splits={split: int((index.splits == i).sum()) for i, split in enumerate(SPLITS)},
        resplit=resplit,
        synthetic=synthetic,
        source=source,
        fingerprint=fingerprint(index),
        unlisted=unlisted,
        compression=compression,
    )


def fingerprint(index: Index) -> str:
    """16 hexadecimal digits that change with every patch, label, split and, where checksums are known, pixel.

    Independent of the order of the rows.
    """
    order = pc.sort_indices(index.patch_ids)
    ordered = index.take(order.to_numpy())
    digest = hashlib.blake2b(digest_size=8)
    hash_names(digest, ordered.patch_ids)
    hash_names(digest, ordered.s1_names)
    flags = (ordered.splits, ordered.has_s1, ordered.has_s2, ordered.has_map)
    for values in (ordered.label_bits.astype("<u4"), *flags, ordered.checksums.astype("<u8")):
        digest.update(values.tobytes())
    return digest.hexdigest()


def _open_bare(folder: Path, metadata: Sequence[Path]) -> Store:
    """A bare LMDB: what it holds is read from its keys and from the first value of each sensor."""
    beside = [p for p in (folder / "metadata.parquet", folder.parent / "metadata.parquet") if p.is_file()]
    if not metadata and not beside:
        raise StoreError(
            f"{folder} is a bare LMDB without labels; name its metadata parquet with --metadata", wrong_use=True
        )
    reader = PatchReader(folder)
    index = read_index(metadata or beside[:1])
    keys = pa.array(reader.keys(), pa.string())

    def present(names: pa.StringArray) -> BoolArray:
        return pc.is_in(names, keys).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    has_s1, has_s2 = present(index.s1_names), present(index.patch_ids)
    has_map = present(pc.binary_join_element_wise(index.patch_ids, MAP_SUFFIX, ""))
    rows = np.flatnonzero(has_s1 | has_s2 | has_map)
    if rows.size == 0:
        found = f"; its first key is {clipped(keys[0].as_py())}" if len(keys) else ", nor anything else"
        raise StoreError(f"the LMDB {folder} holds no patch of its metadata parquet{found}")
    held = {"has_s1": has_s1, "has_s2": has_s2, "has_map": has_map}
    index = Index(**{**vars(index), **held}).take(rows)
    bands = [
        band
        for has, name in ((index.has_s1, index.s1_name), (index.has_s2, index.patch_id))
        if has.any()
        for band in reader.tensors(name(int(np.argmax(has))))
    ]
    mark = synthetic_mark(metadata or beside[:1])
    info = describe(index, bands, seg_version="", synthetic=mark is not None, source=mark or {"lmdb": folder.name})
    return Store(folder, reader, index, info)
