"""Evidence of somebody unknown, whose size is found to be within bounds before any of it is in memory."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seg.benchmark.container import PACK_AGAIN
from seg.config.wording import clipped
from seg.errors import EvidenceError, SubmissionError
from seg.metrics.evidence import Evidence, Origin
from seg.metrics.evidence_file import HEADER_KEY, load_evidence, most_values

MOST_PATCHES = 1_000_000
"""Twice as many as reBEN has."""
_MOST_VALUES, _MOST_BYTES = 100_000_000, 2 << 30
"""That evidence may hold, by what its file says: that of the official test split has a third of it and 300 MB."""
_MOST_LETTERS = 200
"""Of an id, a country or a label."""
_ROWS = 4096
_DEPTH = 3
"""Parts of a path in a submission: which seed it is of stands in it."""


def read_evidence(path: Path) -> Evidence:
    """Evidence of somebody unknown.

    Args:
        path: Its ``patches.parquet``.

    Raises:
        SubmissionError: If it is damaged, or would unpack to more than any evidence does.
    """
    name = "/".join(path.parts[-_DEPTH:])
    try:
        with pq.ParquetFile(path) as file:
            _check_size(name, file.metadata)
            _check_notes(name, file.metadata.metadata or {})
        _check_texts(name, path)
        return load_evidence(path.parent)
    except (pa.ArrowException, OSError) as error:
        raise SubmissionError(f"{name} cannot be read ({clipped(str(error))}); {PACK_AGAIN}") from None
    except EvidenceError as error:
        what = str(error).replace(str(path), name).partition("; ")[0]
        raise SubmissionError(f"{what}; {PACK_AGAIN}") from None


def _check_size(name: str, metadata: pq.FileMetaData) -> None:
    """Refuse more patches, values or bytes than there can be: equal values take next to nothing in a file."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if rows > MOST_PATCHES or metadata.num_rows != rows:
        raise SubmissionError(f"{name} has {max(rows, metadata.num_rows):,} patches, and no split has so many")
    size = sum(group.total_byte_size for group in groups)
    if size > _MOST_BYTES:
        raise SubmissionError(f"{name} unpacks to {size:,} bytes, and no evidence of a split takes so many")
    values = 0
    for group in groups:
        for number in range(group.num_columns):
            column = group.column(number)
            values += column.num_values
            most = max(1, most_values(column.path_in_schema.partition(".")[0])) * group.num_rows
            if column.num_values > most:
                raise SubmissionError(
                    f"{name} has {column.num_values:,} values of {clipped(column.path_in_schema)} in "
                    f"{group.num_rows:,} patches, and no more than {most:,} make sense; {PACK_AGAIN}"
                )
    if values > _MOST_VALUES:
        raise SubmissionError(f"{name} has {values:,} values, and no evidence of a split has so many")


def _check_notes(name: str, notes: Mapping[bytes, bytes]) -> None:
    """Refuse what seg does not write beside the columns: nobody looks at it, and it may be anything."""
    known = {"format", "classes", "patches", "checksum", *(field.name for field in fields(Origin))}
    try:
        strange = sorted(json.loads(notes.get(HEADER_KEY, b"{}")).keys() - known)
    except (ValueError, AttributeError, RecursionError):
        strange = []  # which is refused where it is read
    strange += [key.decode("ascii", "replace") for key in notes if key not in (HEADER_KEY, b"ARROW:schema")]
    if strange:
        raise SubmissionError(f"{name} says {clipped(strange[0])}, which no evidence does; {PACK_AGAIN}")


def _check_texts(name: str, path: Path) -> None:
    """Refuse long texts: one that a dictionary holds once may stand in every row."""
    with pq.ParquetFile(path, read_dictionary=_TEXTS) as file:
        columns = [one for one in _TEXTS if one.partition(".")[0] in file.schema_arrow.names]
        for batch in file.iter_batches(_ROWS, columns=columns, use_threads=False):
            for array in batch.columns:
                inner = array.flatten() if pa.types.is_list(array.type) else array
                words = inner.dictionary if pa.types.is_dictionary(inner.type) else inner
                if pa.types.is_string(words.type) and words.nbytes > _longest(len(words)):
                    raise SubmissionError(f"{name} has texts that are no ids, countries or labels; {PACK_AGAIN}")


def _longest(words: int) -> int:
    return _MOST_LETTERS * (words + 1)


_TEXTS = ["patch_id", "country", "labels.list.element"]
