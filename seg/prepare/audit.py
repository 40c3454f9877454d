"""Checking a store: every value against the format, the index, the nomenclature and, where given, the source."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seg.config.track import Track, silent
from seg.errors import ArchiveError, DamagedError, UnknownCodeError, WorkerError
from seg.prepare.encode import Part, encode_part
from seg.prepare.georeference import misplaced
from seg.prepare.layout import KINDS, LAYERS, MAP_LAYER, Kind, key_of
from seg.prepare.processes import process_count, processes
from seg.reben.bands import BANDS, PATCH_SIZE
from seg.reben.patch import SPLITS, PatchId
from seg.reben.reference_map import class_indices, implied_bits
from seg.store.ahead import Stretch
from seg.store.compact import unpacked
from seg.store.described import contradictions
from seg.store.index import Index, read_index
from seg.store.offsets import Offsets
from seg.store.open import INDEX_FILE, StoreInfo, fingerprint, offsets_of
from seg.store.patches import MAP_SUFFIX, MAP_TENSOR, PatchReader
from seg.store.tensors import Array, checksum, view_tensors

CHECKS = {
    "LMDB": True,
    "missing value": True,
    "damaged value": True,
    "bands": True,
    "shape or type": True,
    "unknown code": True,
    "checksum": True,
    "foreign key": True,
    "fingerprint": True,
    "description": True,
    "source": True,
    "georeference": True,
    "labels": False,
    "split": False,
    "nodata": False,
    "saturated": False,
    "no Sentinel-2": False,
    "no Sentinel-1": False,
    "no map": False,
}
"""Every check, and whether what it finds is wrong; the others tell what a reader may want to know.

Description: not what the index says. Labels: the official labels are not those that the reference map implies.
Split: not that of the geographic rule.
Nodata: pixels that are 0 (Sentinel-2) or no finite number (Sentinel-1). Saturated: Sentinel-2 pixels at 65,535.
"""
_GAPS: dict[Kind, str] = {"s2": "no Sentinel-2", "s1": "no Sentinel-1", "maps": "no map"}
_SATURATED = 65_535
_CHUNK = 64
_VALUES = frozenset({"missing value", "damaged value", "bands", "shape or type", "unknown code", "checksum"})
"""Checks that a value may fail which can be read anew."""


@dataclass(frozen=True)
class Finding:
    """Something that a check has found.

    Attributes:
        check: One of `CHECKS`.
        kind: Sentinel-2, Sentinel-1 or map; None where it concerns the patch or the store.
        name: Name of the patch, or the key; empty where it concerns the store.
        what: What was found, a few words.
    """

    check: str
    kind: Kind | None
    name: str
    what: str


@dataclass(frozen=True)
class Audit:
    """What the checks of a store have found.

    Attributes:
        patches: Patches checked.
        values: Values checked: Sentinel-2, Sentinel-1 and maps.
        unchecked: Checks that could not be made, or not to their end.
        findings: In the order of `CHECKS`, then of the patches.
        repaired: Findings of an earlier audit that a repair has mended.
    """

    patches: int
    values: int
    unchecked: frozenset[str]
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong; findings that are no errors do not count."""
        return not any(CHECKS[finding.check] for finding in self.findings)

    @property
    def checksums(self) -> bool:
        """Whether the checksums that the store keeps were compared."""
        return "checksum" not in self.unchecked

    @property
    def source(self) -> bool:
        """Whether the store was compared with its source."""
        return "source" not in self.unchecked

    def count(self) -> dict[str, int | None]:
        """Findings by check; None for a check that was not made, or not to its end and without a finding."""
        counts = Counter(finding.check for finding in self.findings)
        return {check: counts[check] or (None if check in self.unchecked else 0) for check in CHECKS}

    def bad_values(self) -> set[tuple[Kind, str]]:
        """Values that are to be read anew: kind and name of the patch."""
        return {
            (finding.kind, finding.name)
            for finding in self.findings
            if finding.kind is not None and finding.check in _VALUES
        }


def audit_store(
    folder: Path, index: Index, info: StoreInfo, workers: int | None = None, track: Track = silent
) -> Audit:
    """Check every value of a store, in other processes: an LMDB whose damage ends its reader is found out too.

    Args:
        folder, index, info: The store, its index and what it says of itself.
        workers: Processes that read; None: one per core, up to 8.
        track: Progress.
    """
    findings: list[Finding] = []
    if (found := fingerprint(index)) != info.fingerprint:
        findings.append(Finding("fingerprint", None, "", f"the index has {found}, store.json says {info.fingerprint}"))
    findings += [Finding("description", None, "", what) for what in contradictions(index, info)]
    try:
        # One process starts sooner than it takes to read a thousand patches.
        with processes(min(process_count(workers), 1 + len(index) // 1000), apart=True) as in_order:
            for foreign in in_order(_foreign_keys, [folder] if _is_whole(info) else []):
                findings += foreign
            chunks = in_order(_audit_chunk, _chunks(index, folder, info, offsets_of(folder, index, info)))
            for found_here in track(chunks, "checking values", -(-len(index) // _CHUNK)):
                findings += found_here
    except WorkerError:
        findings.append(Finding("LMDB", None, "", "its structure is damaged: the process that read it crashed"))
    except DamagedError as error:
        findings.append(Finding("LMDB", None, "", str(error)))
    broken = any(finding.check == "LMDB" for finding in findings)
    order = {check: place for place, check in enumerate(CHECKS)}
    return Audit(
        patches=len(index),
        values=int(index.has_s2.sum() + index.has_s1.sum() + index.has_map.sum()),
        unchecked=_unchecked(folder, index, info, broken),
        findings=tuple(sorted(findings, key=lambda finding: order[finding.check])),
    )


def _unchecked(folder: Path, index: Index, info: StoreInfo, broken: bool) -> frozenset[str]:
    """The checks that need something which is not there; of a broken LMDB, all that look at its values."""
    if broken:
        return frozenset(CHECKS.keys() - {"LMDB", "fingerprint", "description"})
    # The index of a bare LMDB is made from its keys.
    bare = not (folder / INDEX_FILE).is_file()
    lacking = {
        "source": True,
        "georeference": True,
        "foreign key": bare or not _is_whole(info),
        "fingerprint": bare,
        "split": info.resplit is not None,
        "labels": not index.has_map.any(),
        "checksum": not index.checksums.any(),
    }
    return frozenset(check for check, lacks in lacking.items() if lacks)


def audit_source(audit: Audit, index: Index, parts: Iterable[Part], total: int, track: Track = silent) -> Audit:
    """The audit with a comparison of the source: georeference and values.

    Args:
        audit: So far.
        index: The index of the store.
        parts: Parts of the source, by row of the index.
        total: Number of parts.
        track: Progress.

    Raises:
        ArchiveError: If an archive is damaged.
    """
    findings: list[Finding] = []
    for part in track(parts, "comparing with the source", total):
        findings += _compare(part, int(index.checksums[part.row, KINDS.index(part.kind)]), index.patch_id(part.row))
    unchecked = audit.unchecked - {"source", "georeference"}
    return replace(audit, unchecked=unchecked, findings=audit.findings + tuple(findings))


def _compare(part: Part, expected: int, patch_id: str) -> Iterator[Finding]:
    try:
        for layer, what in misplaced(part, PatchId.parse(patch_id)).items():
            yield Finding("georeference", part.kind, part.name, f"{layer}: {what}")
        if expected and encode_part(part).checksum != expected:
            yield Finding("source", part.kind, part.name, "holds other values than the store")
    except (ArchiveError, UnknownCodeError) as error:
        yield Finding("source", part.kind, part.name, str(error))


def _is_whole(info: StoreInfo) -> bool:
    """Whether all images of the LMDB are of patches in the index: new splits leave out what is in their buffer."""
    return info.resplit is None or "buffer" not in info.resplit


def _foreign_keys(folder: Path) -> list[Finding]:
    """Keys that no row of the index asks for."""
    if not (folder / INDEX_FILE).is_file():
        return []
    index = read_index([folder / INDEX_FILE])
    expected = pa.concat_arrays(
        [
            index.patch_ids.filter(pa.array(index.has_s2)),
            index.s1_names.filter(pa.array(index.has_s1)),
            pc.binary_join_element_wise(index.patch_ids.filter(pa.array(index.has_map)), MAP_SUFFIX, ""),
        ]
    )
    keys = pa.array(PatchReader(folder).keys(), pa.string())
    foreign = keys.filter(pc.invert(pc.is_in(keys, expected)))
    return [Finding("foreign key", None, key, "is not in the index") for key in foreign.to_pylist()]


@dataclass(frozen=True)
class _Chunk:
    """Neighbouring patches of a store.

    Attributes:
        folder, bands: Of the store.
        official, compact: Whether splits are those of the geographic rule, and values packed.
        index, stretches: The patches, and where their values lie, as far as that is known.
    """

    folder: Path
    bands: tuple[str, ...]
    official: bool
    compact: bool
    index: Index
    stretches: list[Stretch]


def _chunks(index: Index, folder: Path, info: StoreInfo, offsets: Offsets | None) -> Iterator[_Chunk]:
    for begin in range(0, len(index), _CHUNK):
        rows = np.arange(begin, min(begin + _CHUNK, len(index)))
        stretches = offsets.stretches(rows) if offsets else []
        compact = info.compression is not None
        yield _Chunk(folder, info.bands, info.resplit is None, compact, index.take(rows), stretches)


def _audit_chunk(chunk: _Chunk) -> list[Finding]:
    reader = PatchReader(chunk.folder, chunk.compact)
    reader.read_ahead(chunk.stretches)
    return [finding for row in range(len(chunk.index)) for finding in _audit_row(reader, chunk, row)]


def _audit_row(reader: PatchReader, chunk: _Chunk, row: int) -> Iterator[Finding]:
    index, patch_id = chunk.index, chunk.index.patch_id(row)
    split = SPLITS[index.splits[row]]
    if chunk.official and split != (rule := PatchId.parse(patch_id).split):
        yield Finding("split", None, patch_id, f"is {split}, by the geographic rule {rule}")
    for kind, has, expected in zip(
        KINDS, (index.has_s2, index.has_s1, index.has_map), index.checksums[row], strict=True
    ):
        name = index.s1_name(row) if kind == "s1" else patch_id
        if not has[row]:
            yield Finding(_GAPS[kind], kind, patch_id, "is not in the store")
            continue
        value = reader.stored(key_of(kind, name))
        if value is None:
            yield Finding("missing value", kind, name, "the index says that it is there")
            continue
        try:
            value = unpacked(value, name) if reader.compact else value
            if expected and checksum(value) != int(expected):
                yield Finding("checksum", kind, name, "the value is not the one that was written")
            arrays = view_tensors(value, name)
        except DamagedError as error:
            yield Finding("damaged value", kind, name, str(error))
            continue
        layers = [MAP_TENSOR] if kind == "maps" else [band for band in LAYERS[kind] if band in chunk.bands]
        yield from _audit_arrays(kind, name, layers, arrays, int(index.label_bits[row]))


def _audit_arrays(
    kind: Kind, name: str, layers: Sequence[str], arrays: dict[str, Array], labels: int
) -> Iterator[Finding]:
    if different := set(layers) ^ arrays.keys():
        yield Finding("bands", kind, name, f"lacks or adds {', '.join(sorted(different))}")
    nodata: dict[str, int] = {}
    saturated: dict[str, int] = {}
    for layer in layers:
        if layer not in arrays:
            continue
        array, band = arrays[layer], BANDS.get(layer)
        size, dtype = (band.size, band.dtype) if band else (PATCH_SIZE, "uint16")
        if array.shape != (size, size) or array.dtype != dtype:
            yield Finding(
                "shape or type", kind, name, f"{layer} is {array.dtype} {array.shape}, not {dtype} {(size, size)}"
            )
        elif kind == "maps":
            yield from _audit_codes(name, array, labels)
        elif kind == "s2":
            nodata[layer], saturated[layer] = int((array == 0).sum()), int((array == _SATURATED).sum())
        else:
            nodata[layer] = int((~np.isfinite(array)).sum())
    for check, counts in (("nodata", nodata), ("saturated", saturated)):
        if pixels := ", ".join(f"{count} pixels of {layer}" for layer, count in counts.items() if count):
            yield Finding(check, kind, name, pixels)


def _audit_codes(name: str, codes: Array, labels: int) -> Iterator[Finding]:
    try:
        implied = implied_bits(class_indices(codes, f"{name}_{MAP_LAYER}"))
    except UnknownCodeError as error:
        yield Finding("unknown code", "maps", name, str(error))
        return
    if implied != labels:
        yield Finding("labels", None, name, "differ from the classes in its reference map")
