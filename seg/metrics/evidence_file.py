"""Evidence on the disk: ``patches.parquet``.

One row per patch, sorted by patch id: ``patch_id``, ``country``, the true ``labels`` by name, the scene
``probabilities`` in the order of the nomenclature, and the confusion counts that are not 0 as two lists,
``confusion_keys`` (true class x 19 + predicted class) and ``confusion_counts`` (pixels). What only a whole
evaluation measures stands in the columns

- ``zones_keys``, ``zones_counts``: confusion counts within 30 m of a class boundary (key = cell) and from 30 to 100 m
  (key = 361 + cell);
- ``bands_keys``, ``bands_counts``: pixels along class boundaries in both maps, in the reference and in the prediction
  (key = class, 19 + class, 38 + class);
- ``reliability_keys``, ``reliability_counts``: pixels, right pixels and confidence in 1/65535 by bin of confidence
  (key = (15 x scaled + bin) x 3 + 0, 1 or 2; scaled is 1 after the temperature);
- ``losses``: summed Brier score and negative log-likelihood of the pixels, before and after the temperature;
- ``pooled``: maximum and log-sum-exp of the pixel probabilities of each class, in 1/65535;

the last three only where there are probabilities of pixels. Where there are no masks, ``reference_keys`` and
``reference_counts`` hold the labelled pixels of each class, and the confusion is empty.

The schema metadata says the rest under ``seg.evidence``, with a checksum of its own.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg.config.wording import clipped
from seg.errors import EvidenceError
from seg.metrics.evidence import (
    BAND_PARTS,
    CELLS,
    CONFIDENCE_BINS,
    POOLINGS,
    RELIABILITY_PARTS,
    ZONES,
    Details,
    Evidence,
    Origin,
    check_unique,
)
from seg.metrics.evidence_header import cure, damaged, origin_of, sealed
from seg.metrics.ratio import Bools
from seg.metrics.scene import check_probabilities
from seg.metrics.sparse import Counts, PatchCounts, offsets_of
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.store.atomic import write_bytes

FILE_NAME = "patches.parquet"
FORMAT = 3
"""Version of the file's format; raised whenever an older reader would misread a file."""
_READ = (2, FORMAT)
"""Versions that are read: of the second, all evaluations are of whole splits and of models of seg."""

HEADER_KEY = b"seg.evidence"
"""Under which the schema holds the header."""
_SIZES = {
    "confusion": CELLS,
    "zones": (len(ZONES) - 1) * CELLS,
    "bands": len(BAND_PARTS) * NUM_CLASSES,
    "reliability": 2 * CONFIDENCE_BINS * len(RELIABILITY_PARTS),
    "reference": NUM_CLASSES,
}
"""Columns of each matrix of counts."""
_LOSSES, _POOLED = (2, 2), (len(POOLINGS), NUM_CLASSES)
_COUNTS = {name: {f"{name}_keys": pa.list_(pa.uint16()), f"{name}_counts": pa.list_(pa.uint32())} for name in _SIZES}
_CORE = {
    "patch_id": pa.string(),
    "country": pa.string(),
    "labels": pa.list_(pa.string()),
    **_COUNTS["confusion"],
}
_HEAD = {"probabilities": pa.list_(pa.float32(), NUM_CLASSES)}
_BOUNDARIES = {**_COUNTS["zones"], **_COUNTS["bands"]}
_CONFIDENCES = {
    **_COUNTS["reliability"],
    "losses": pa.list_(pa.float64(), int(np.prod(_LOSSES))),
    "pooled": pa.list_(pa.uint16(), int(np.prod(_POOLED))),
}
_OPTIONAL = {
    "probabilities": _HEAD,
    "zones_keys": _BOUNDARIES,
    "losses": _BOUNDARIES | _CONFIDENCES,
    "reference_keys": _COUNTS["reference"],
}
"""Columns that there need not be, by one of them."""


def most_values(column: str) -> int:
    """How many values a patch can have in a column; 0: there is no such column."""
    known = _CORE | {name: kind for columns in _OPTIONAL.values() for name, kind in columns.items()}
    if column not in known:
        return 0
    if column == "labels":
        return NUM_CLASSES
    return _SIZES.get(column.removesuffix("_keys").removesuffix("_counts"), getattr(known[column], "list_size", 1))


def save_evidence(folder: Path, evidence: Evidence) -> Path:
    """Write ``patches.parquet`` into a folder, which is made if need be. The file appears complete or not at all.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / FILE_NAME, pack_evidence(evidence))
    return folder / FILE_NAME


def pack_evidence(evidence: Evidence) -> bytes:
    """The content of ``patches.parquet``."""
    by_name = np.argsort(CLASS_NAMES)
    patches, positions = np.nonzero(evidence.labels[:, by_name])
    columns: dict[str, pa.Array] = {
        "patch_id": evidence.patch_ids,
        "country": evidence.countries.cast(pa.string()),
        "labels": pa.ListArray.from_arrays(
            pa.array(offsets_of(np.bincount(patches, minlength=len(evidence))), pa.int32()),
            pa.array(CLASS_NAMES).take(pa.array(by_name[positions])),
        ),
        **_lists_of("confusion", evidence.confusion),
    }
    if evidence.probabilities is not None:
        columns["probabilities"] = _fixed(evidence.probabilities, _HEAD["probabilities"])
    if (details := evidence.details) is not None:
        columns |= _lists_of("zones", details.zones) | _lists_of("bands", details.bands)
        if details.reliability is not None:
            columns |= _lists_of("reliability", details.reliability)
            columns["losses"] = _fixed(details.losses_NSL, _CONFIDENCES["losses"])
            columns["pooled"] = _fixed(details.pooled_NPK, _CONFIDENCES["pooled"])
    if evidence.reference is not None:
        columns |= _lists_of("reference", evidence.reference)
    origin = asdict(evidence.origin)
    if not evidence.origin.context:
        # As before there was any.
        origin = {name: value for name, value in origin.items() if not name.startswith("context")}
    header = {"format": FORMAT, "classes": CLASS_NAMES, "patches": len(evidence), **origin}
    table = pa.table(columns).replace_schema_metadata({HEADER_KEY: json.dumps(sealed(header))})
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    return bytes(content.getvalue())


def load_origin(folder: Path) -> Origin:
    """Read from ``patches.parquet`` what its evidence is of, at once however many patches there are.

    Raises:
        EvidenceError: If the file is missing, damaged, of another format or other classes.
    """
    path = folder / FILE_NAME
    with _opened(path) as file:
        return _read_header(path, file.schema_arrow)[0]


def load_evidence(folder: Path) -> Evidence:
    """Read ``patches.parquet`` from a folder.

    Raises:
        EvidenceError: If the file is missing, damaged, of another format or other classes, or has NaN or a patch twice.
    """
    path = folder / FILE_NAME
    with _opened(path) as file:
        return _read(path, file)


def unpack_evidence(content: bytes) -> Evidence:
    """The evidence that `pack_evidence` has packed.

    Raises:
        EvidenceError: As `load_evidence`.
    """
    path = Path("evidence of another process")
    with _opened(path, pa.BufferReader(content)) as file:
        return _read(path, file)


def _read(path: Path, file: pq.ParquetFile) -> Evidence:
    origin, patches = _read_header(path, file.schema_arrow)
    table = file.read()
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    if len(table) != patches or any(map(_lacks_values, columns.values())):
        raise damaged(path, "patches or values are missing")
    check_unique(columns["patch_id"], str(path))
    counts = {name: _counts(path, columns, name) for name in _SIZES if f"{name}_keys" in columns}
    probabilities = None
    if "probabilities" in columns:
        probabilities = _values(columns["probabilities"], (NUM_CLASSES,))
        try:
            check_probabilities(probabilities)
        except EvidenceError:
            raise damaged(path, "its scene probabilities are NaN, or not between 0 and 1") from None
    details = None
    if "zones" in counts:
        details = Details(counts["zones"], counts["bands"])
        if "reliability" in counts:
            losses_NSL = _values(columns["losses"], _LOSSES)
            if not np.isfinite(losses_NSL[:, 0]).all():
                raise damaged(path, "a loss is no number")
            details = replace(
                details,
                reliability=counts["reliability"],
                losses_NSL=losses_NSL,
                pooled_NPK=_values(columns["pooled"], _POOLED),
            )
    evidence = Evidence(
        origin,
        columns["patch_id"],
        columns["country"].dictionary_encode(),
        _labels(path, columns["labels"]),
        probabilities,
        counts["confusion"],
        details,
        counts.get("reference"),
    )
    _check_details(path, evidence)
    return evidence


@contextmanager
def _opened(path: Path, source: Any = None) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path if source is None else source, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError:
        raise EvidenceError(f"there is no evidence at {path}; run 'seg eval' to make it") from None
    except (pa.ArrowException, OSError) as error:
        raise EvidenceError(f"{path} is cut off or damaged ({error}); {cure(path)}") from None


def _check_details(path: Path, evidence: Evidence) -> None:
    """Countries are those named; details are of the pixels of the confusion, and without masks there are neither."""
    total, details, masks = evidence.confusion.total(), evidence.details, evidence.origin.masks
    if (named := evidence.origin.countries) and not set(evidence.countries.dictionary.to_pylist()) <= set(named):
        raise damaged(path, "it has patches of other countries than it says")
    if masks != (evidence.reference is None) or (not masks and (total.any() or details is not None)):
        raise damaged(path, "it has masks and has none")
    decided = evidence.probabilities
    if not evidence.origin.ranked and (decided is None or not np.isin(decided, (0, 1)).all()):
        raise damaged(path, "its decided labels are none")
    if details is None:
        return
    near = details.zones.total().reshape(len(ZONES) - 1, CELLS).sum(0)
    pixels = total.sum()
    if details.reliability is not None:
        by_bin = details.reliability.total().reshape(2, CONFIDENCE_BINS, len(RELIABILITY_PARTS))
        pixels = by_bin[0, :, RELIABILITY_PARTS.index("pixels")].sum()
    if (near > total).any() or pixels != total.sum():
        raise damaged(path, "its counts contradict each other")


def _read_header(path: Path, schema: pa.Schema) -> tuple[Origin, int]:
    """Origin and number of patches, after the format, the classes and the columns were found to be ours."""
    try:
        header = json.loads((schema.metadata or {})[HEADER_KEY])
        version, classes, patches = header["format"], tuple(header["classes"]), header["patches"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise EvidenceError(f"{path} is no evidence of seg; give the folder that 'seg eval' wrote") from None
    if type(patches) is not int or type(version) is not int:
        raise damaged(path, "its header holds something else than seg writes")
    if version not in _READ:
        raise EvidenceError(
            f"{path} has format {clipped(str(version))} and this seg reads {' and '.join(map(str, _READ))}; "
            f"{cure(path, readable=True)}"
        )
    if classes != CLASS_NAMES:
        raise EvidenceError(
            f"{path} has other classes, or the 19 of reBEN in another order; {cure(path, readable=True)}"
        )
    if header != sealed(header):
        raise damaged(path, "its header is not the one that was written")
    expected = dict(_CORE)
    for mark, optional in _OPTIONAL.items():
        if mark in schema.names:
            expected |= optional
    if len(schema) != len(expected) or {field.name: field.type for field in schema} != expected:
        raise damaged(path, "its columns are not those that seg writes")
    return origin_of(path, header), patches


def _lists_of(name: str, counts: PatchCounts) -> dict[str, pa.Array]:
    assert counts.size == _SIZES[name], f"{name} has {counts.size} columns"
    offsets = pa.array(counts.offsets, pa.int32())
    return {
        f"{name}_keys": pa.ListArray.from_arrays(offsets, pa.array(counts.keys)),
        f"{name}_counts": pa.ListArray.from_arrays(offsets, pa.array(counts.counts)),
    }


def _counts(path: Path, columns: dict[str, pa.Array], name: str) -> PatchCounts:
    lengths, keys = _lists(columns[f"{name}_keys"])
    count_lengths, counts = _lists(columns[f"{name}_counts"])
    size = _SIZES[name]
    if not np.array_equal(lengths, count_lengths) or (keys.size and (keys.max() >= size or not counts.all())):
        raise damaged(path, f"its {name} counts make no sense")
    # Each entry once and in order, so that what is counted alike is written alike.
    patches = np.repeat(np.arange(len(lengths)), lengths)
    if (np.diff(patches * size + keys.astype(np.int64)) <= 0).any():
        raise damaged(path, f"its {name} counts are not in order")
    return PatchCounts(size, offsets_of(lengths), keys, counts)


def _fixed(values: Any, kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind.value_type), kind.list_size)


def _values(array: pa.Array, shape: tuple[int, ...]) -> Any:
    return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)


def _lacks_values(array: pa.Array) -> bool:
    nested = pa.types.is_nested(array.type)
    return bool(array.null_count or (nested and array.flatten().null_count))


def _labels(path: Path, names: pa.ListArray) -> Bools:
    lengths, _ = _lists(names)
    indices = pc.index_in(names.flatten(), pa.array(CLASS_NAMES))
    if indices.null_count:
        raise damaged(path, "a label is none of the 19 classes")
    labels_NK = np.zeros((len(names), NUM_CLASSES), dtype=np.bool_)
    labels_NK[np.repeat(np.arange(len(names)), lengths), indices.to_numpy()] = True
    if labels_NK.sum() != lengths.sum():
        raise damaged(path, "a patch has a label twice")
    return labels_NK


def _lists(array: pa.ListArray) -> tuple[Counts, Any]:
    """Length of each list, and the values of all of them one after the other."""
    return array.value_lengths().to_numpy().astype(np.int64), array.flatten().to_numpy(zero_copy_only=False)
