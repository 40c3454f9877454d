"""Evidence: what every score of an evaluation can be recomputed from, without a GPU, the model or the images.

``patches.parquet`` holds one row per patch, sorted by patch id: ``patch_id``, the true ``labels`` by name, the scene
``probabilities`` in the order of the nomenclature, and the pixel confusion counts that are not 0 as two lists,
``cells`` (true class x 19 + predicted class) and ``counts`` (pixels). The schema metadata says the rest under
``seg.evidence``.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg.metrics.ratio import Bools
from seg.metrics.scene import ProbabilityError, check_probabilities
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import SPLITS, Split
from seg.store.atomic import write_bytes

FILE_NAME = "patches.parquet"
FORMAT = 1
"""Version of the file's format; raised whenever an older reader would misread a file."""

Counts = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

_CELLS = NUM_CLASSES * NUM_CLASSES
_KEY = b"seg.evidence"
_COLUMNS = {
    "patch_id": pa.string(),
    "labels": pa.list_(pa.string()),
    "probabilities": pa.list_(pa.float32(), NUM_CLASSES),
    "cells": pa.list_(pa.uint16()),
    "counts": pa.list_(pa.uint32()),
}


class EvidenceError(ValueError):
    """Evidence that no score may be computed from."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the patches of an evaluation are.

    Attributes:
        split: The split they belong to.
        fingerprint: Fingerprint of the data they were read from.
        synthetic: True if that data is synthetic.
    """

    split: Split
    fingerprint: str
    synthetic: bool


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a model did on each patch of a split. Rows are patches, each of them once.

    Attributes:
        origin: Split and data.
        patch_ids: Arrow strings (N,).
        labels: True multi-labels (N, K), bool.
        probabilities: Scene probabilities (N, K), float32, 0 to 1; None if the model has no scene head.
        offsets: int64 (N + 1,); the entries of patch n in `cells` and `counts` are offsets[n] to offsets[n + 1].
        cells: Confusion cells that are not empty, true x 19 + predicted, uint16, ascending within a patch.
        counts: Labelled pixels in each of those cells, uint32.
    """

    origin: Origin
    patch_ids: pa.StringArray
    labels: Bools
    probabilities: npt.NDArray[np.float32] | None
    offsets: npt.NDArray[np.int64]
    cells: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.patch_ids)


def batch_evidence(
    origin: Origin,
    patch_ids: Sequence[str],
    counts_BKK: Counts,
    labels_BK: Bools,
    probabilities_BK: npt.NDArray[np.float32] | None,
) -> Evidence:
    """Evidence of one batch; `merge_evidence` makes that of a split from those of its batches.

    Args:
        origin: Split and data.
        patch_ids: Ids of the B patches.
        counts_BKK: Confusion counts of each, int64, see `confusion_counts`.
        labels_BK: True multi-labels, bool.
        probabilities_BK: Scene probabilities, float32; None if the model has no scene head.

    Raises:
        ProbabilityError: If a probability is NaN or outside 0 to 1.
    """
    batch = len(patch_ids)
    assert counts_BKK.shape == (batch, NUM_CLASSES, NUM_CLASSES), f"{counts_BKK.shape} for {batch} patches"
    assert labels_BK.shape == (batch, NUM_CLASSES), f"{labels_BK.shape} for {batch} patches"
    assert labels_BK.dtype == np.bool_, f"labels are bool, not {labels_BK.dtype}"
    if probabilities_BK is not None:
        assert probabilities_BK.shape == labels_BK.shape, f"{probabilities_BK.shape} for {batch} patches"
        assert probabilities_BK.dtype == np.float32, f"probabilities are float32, not {probabilities_BK.dtype}"
        check_probabilities(probabilities_BK)
    flat = counts_BKK.reshape(batch, _CELLS)
    rows, cells = np.nonzero(flat)
    counts = flat[rows, cells]
    assert not counts.size or (counts.min() > 0 and counts.max() < 2**32), "counts of a patch fit into uint32"
    return Evidence(
        origin=origin,
        patch_ids=pa.array(patch_ids, pa.string()),
        labels=labels_BK,
        probabilities=probabilities_BK,
        offsets=_offsets(np.bincount(rows, minlength=batch)),
        cells=cells.astype(np.uint16),
        counts=counts.astype(np.uint32),
    )


def merge_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Evidence of all patches of some parts, sorted by patch id, so that it does not depend on who evaluated what.

    Args:
        parts: One or more, of the same origin, from batches or from processes.

    Raises:
        EvidenceError: If a patch occurs more than once.
    """
    assert parts, "there is nothing to merge"
    assert len({part.origin for part in parts}) == 1, "parts of different origin"
    heads = [part.probabilities for part in parts if part.probabilities is not None]
    assert len(heads) in (0, len(parts)), "either every part has scene probabilities or none has"
    merged = Evidence(
        origin=parts[0].origin,
        patch_ids=pa.concat_arrays([part.patch_ids for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        probabilities=np.concatenate(heads) if heads else None,
        offsets=_offsets(np.concatenate([np.diff(part.offsets) for part in parts])),
        cells=np.concatenate([part.cells for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
    )
    _check_unique(merged.patch_ids, "the evaluation")
    return take_patches(merged, pc.sort_indices(merged.patch_ids).to_numpy().astype(np.int64))


def take_patches(evidence: Evidence, rows: Rows) -> Evidence:
    """Evidence of some patches only, in the order of `rows`."""
    entries = _entries(evidence.offsets, rows)
    return replace(
        evidence,
        patch_ids=evidence.patch_ids.take(pa.array(rows)),
        labels=evidence.labels[rows],
        probabilities=None if evidence.probabilities is None else evidence.probabilities[rows],
        offsets=_offsets(np.diff(evidence.offsets)[rows]),
        cells=evidence.cells[entries],
        counts=evidence.counts[entries],
    )


def total_counts(evidence: Evidence) -> Counts:
    """Confusion counts summed over all patches: int64 (K, K), true x predicted."""
    return _accumulate(evidence.cells.astype(np.int64), evidence.counts, _CELLS).reshape(NUM_CLASSES, NUM_CLASSES)


def dense_counts(evidence: Evidence, rows: Rows) -> Counts:
    """Confusion counts of some patches: int64 (R, K, K), true x predicted."""
    entries = _entries(evidence.offsets, rows)
    lengths = np.diff(evidence.offsets)[rows]
    bins = np.repeat(np.arange(len(rows)), lengths) * _CELLS + evidence.cells[entries]
    return _accumulate(bins, evidence.counts[entries], len(rows) * _CELLS).reshape(-1, NUM_CLASSES, NUM_CLASSES)


def reference_areas(evidence: Evidence) -> Counts:
    """Labelled pixels of each patch that belong to each class: int64 (N, K)."""
    return _areas(evidence, evidence.cells // NUM_CLASSES)


def predicted_areas(evidence: Evidence) -> Counts:
    """Labelled pixels of each patch that were predicted as each class: int64 (N, K)."""
    return _areas(evidence, evidence.cells % NUM_CLASSES)


def save_evidence(folder: Path, evidence: Evidence) -> Path:
    """Write ``patches.parquet`` into a folder, which is made if need be. The file appears complete or not at all.

    Returns:
        The file.
    """
    by_name = np.argsort(CLASS_NAMES)
    patches, positions = np.nonzero(evidence.labels[:, by_name])
    columns: dict[str, pa.Array] = {
        "patch_id": evidence.patch_ids,
        "labels": pa.ListArray.from_arrays(
            pa.array(_offsets(np.bincount(patches, minlength=len(evidence))), pa.int32()),
            pa.array(CLASS_NAMES).take(pa.array(by_name[positions])),
        ),
        "cells": pa.ListArray.from_arrays(pa.array(evidence.offsets, pa.int32()), pa.array(evidence.cells)),
        "counts": pa.ListArray.from_arrays(pa.array(evidence.offsets, pa.int32()), pa.array(evidence.counts)),
    }
    if evidence.probabilities is not None:
        flat = pa.array(evidence.probabilities.ravel(), pa.float32())
        columns["probabilities"] = pa.FixedSizeListArray.from_arrays(flat, NUM_CLASSES)
    header = {"format": FORMAT, "classes": CLASS_NAMES, "patches": len(evidence), **asdict(evidence.origin)}
    names = [name for name in _COLUMNS if name in columns]
    table = pa.table({name: columns[name] for name in names}).replace_schema_metadata({_KEY: json.dumps(header)})
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / FILE_NAME, content.getvalue().to_pybytes())
    return folder / FILE_NAME


def load_evidence(folder: Path) -> Evidence:
    """Read ``patches.parquet`` from a folder.

    Raises:
        EvidenceError: If the file is missing, damaged, of another format or other classes, or has NaN or a patch twice.
    """
    path = folder / FILE_NAME
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            origin, patches = _read_header(path, file.schema_arrow)
            table = file.read()
    except FileNotFoundError:
        raise EvidenceError(f"there is no evidence at {path}; run 'seg eval' to make it") from None
    except (pa.ArrowException, OSError) as error:
        raise EvidenceError(f"{path} is cut off or damaged ({error}); run 'seg eval' again") from None
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    if len(table) != patches or any(map(_lacks_values, columns.values())):
        raise _damaged(path, "patches or values are missing")
    _check_unique(columns["patch_id"], str(path))
    lengths, cells = _lists(columns["cells"])
    count_lengths, counts = _lists(columns["counts"])
    if not np.array_equal(lengths, count_lengths) or (cells.size and cells.max() >= _CELLS):
        raise _damaged(path, "its confusion counts make no sense")
    probabilities = None
    if "probabilities" in columns:
        probabilities = columns["probabilities"].flatten().to_numpy(zero_copy_only=False).reshape(-1, NUM_CLASSES)
        try:
            check_probabilities(probabilities)
        except ProbabilityError as error:
            raise EvidenceError(f"{path}: {error}") from None
    labels = _labels(path, columns["labels"])
    return Evidence(origin, columns["patch_id"], labels, probabilities, _offsets(lengths), cells, counts)


def _read_header(path: Path, schema: pa.Schema) -> tuple[Origin, int]:
    """Origin and number of patches, after the format, the classes and the columns were found to be ours."""
    try:
        header = json.loads((schema.metadata or {})[_KEY])
        version, classes, patches = header["format"], header["classes"], header["patches"]
        origin = Origin(header["split"], header["fingerprint"], header["synthetic"])
    except (KeyError, TypeError, ValueError):
        raise EvidenceError(f"{path} is no evidence of seg; give the folder that 'seg eval' wrote") from None
    if version != FORMAT:
        raise EvidenceError(f"{path} has format {version} and this seg reads {FORMAT}; run 'seg eval' again")
    if tuple(classes) != CLASS_NAMES:
        raise EvidenceError(f"{path} has other classes, or the 19 of reBEN in another order; run 'seg eval' again")
    expected = {name: kind for name, kind in _COLUMNS.items() if name != "probabilities" or name in schema.names}
    if {field.name: field.type for field in schema} != expected or origin.split not in SPLITS:
        raise _damaged(path, "its columns or its split are not those that seg writes")
    return origin, patches


def _lacks_values(array: pa.Array) -> bool:
    nested = pa.types.is_nested(array.type)
    return bool(array.null_count or (nested and array.flatten().null_count))


def _labels(path: Path, names: pa.ListArray) -> Bools:
    lengths, _ = _lists(names)
    indices = pc.index_in(names.flatten(), pa.array(CLASS_NAMES))
    if indices.null_count:
        raise _damaged(path, "a label is none of the 19 classes")
    labels_NK = np.zeros((len(names), NUM_CLASSES), dtype=np.bool_)
    labels_NK[np.repeat(np.arange(len(names)), lengths), indices.to_numpy()] = True
    return labels_NK


def _lists(array: pa.ListArray) -> tuple[Counts, Any]:
    """Length of each list, and the values of all of them one after the other."""
    return array.value_lengths().to_numpy().astype(np.int64), array.flatten().to_numpy(zero_copy_only=False)


def _check_unique(patch_ids: pa.Array, source: str) -> None:
    counts = pc.value_counts(patch_ids)
    if len(counts) != len(patch_ids):
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
        raise EvidenceError(f"{source} counts patch {twice} more than once; every patch of a split counts exactly once")


def _damaged(path: Path, reason: str) -> EvidenceError:
    return EvidenceError(f"{path} is damaged ({reason}); run 'seg eval' again")


def _offsets(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _entries(offsets: npt.NDArray[np.int64], rows: Rows) -> npt.NDArray[np.int64]:
    """Positions in `cells` and `counts` that belong to the rows, row after row."""
    lengths = np.diff(offsets)[rows]
    shift = offsets[rows] - (np.cumsum(lengths) - lengths)
    return np.repeat(shift, lengths) + np.arange(lengths.sum())


def _areas(evidence: Evidence, classes: npt.NDArray[np.uint16]) -> Counts:
    patches = np.repeat(np.arange(len(evidence)), np.diff(evidence.offsets))
    areas = _accumulate(patches * NUM_CLASSES + classes, evidence.counts, len(evidence) * NUM_CLASSES)
    return areas.reshape(len(evidence), NUM_CLASSES)


def _accumulate(bins: npt.NDArray[np.int64], counts: npt.NDArray[np.uint32], size: int) -> Counts:
    """Sum of the counts that fall into each bin; exact, which ``bincount`` with weights is not beyond 2^53."""
    sums = np.zeros(size, dtype=np.int64)
    np.add.at(sums, bins, counts.astype(np.int64))
    return sums
