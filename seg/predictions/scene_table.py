"""Scene labels as a table: parquet or CSV with a row for each patch, and probabilities or labels by class name."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import xxhash

from seg.config.wording import clipped, counted
from seg.errors import EvidenceError, WrongUseError
from seg.metrics.scene import DEFAULT_THRESHOLD
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES

ID = "patch_id"
LABELS = "predicted_labels"
"""Column of names of labels. A column ``labels`` holds the true ones, here as in reBEN's metadata, and is let alone."""
PREFIX = "probability: "
"""What ``seg export`` writes before the name of a class."""
SEPARATOR = ";"
"""Between labels in CSV: names of classes hold commas."""
_LONGEST_HEADER = 1 << 16
_MOST_ROWS = 2_000_000
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class SceneTable:
    """What was said of the labels of patches.

    Attributes:
        what: What it is, in a few words.
        names: Patch ids, or names of Sentinel-1 patches.
        probabilities_NK: float32, 0 to 1; 0 and 1 where labels were decided.
        ranked: Whether they are probabilities, and not decided labels.
        digest: Of all of it.
        remarks: What makes one doubt that the numbers are what they are taken for.
    """

    what: str
    names: tuple[str, ...]
    probabilities_NK: npt.NDArray[np.float32]
    ranked: bool
    digest: str
    remarks: tuple[str, ...] = ()


def read_scene_table(path: Path) -> SceneTable:
    """Read a table of scene labels.

    It has ``patch_id``, and either 19 columns by class name, plain or after ``probability: `` (floats are
    probabilities, whole numbers and booleans are decided labels, 0 or 1), or ``predicted_labels``: lists of class
    names, in CSV separated by semicolons. Other columns are left alone, those of true labels among them.

    Raises:
        WrongUseError: If there is no such file, or it is none of these.
        EvidenceError: If a value is missing, NaN or outside of 0 to 1, or a label is no class.
    """
    if not path.is_file():
        raise WrongUseError(f"there is no table {path}; give a parquet or CSV file with a row for each patch")
    table = _read(path)
    if ID not in table.column_names:
        raise WrongUseError(f"{path} has no column '{ID}'; name the column of the patches so")
    ids = _text(table[ID].combine_chunks())
    if ids is None or ids.null_count:
        raise EvidenceError(f"{path}: '{ID}' has to hold the id of a patch in each row; write the ids as text")
    names = tuple(pc.utf8_trim_whitespace(ids).to_pylist())
    columns = _class_columns(path, table.column_names)
    remarks: tuple[str, ...] = ()
    if columns is not None:
        exact_NK, ranked = _numbers(path, table, columns, names)
        values = _single(exact_NK)
        remarks = _doubts(exact_NK, values) if ranked else ()
        # What seg writes has thresholds of its own.
        if columns[0] == CLASS_NAMES[0] and LABELS in table.column_names:
            labels = _labels(path, table[LABELS].combine_chunks(), names)
            cure = f"leave out the column '{LABELS}', or those of the classes"
            _refuse(
                path, (labels != (values > DEFAULT_THRESHOLD)).any(1), names, "labelled otherwise than above 0.5", cure
            )
    else:
        values, ranked = _labels(path, table[LABELS].combine_chunks(), names), False
    digest = xxhash.xxh3_128("\n".join(names).encode())
    digest.update(values.tobytes())
    kind = "probabilities" if ranked else "labels"
    return SceneTable(
        f"{kind} by patch ({path.suffix.lower().lstrip('.')})", names, values, ranked, digest.hexdigest(), remarks
    )


def _read(path: Path) -> pa.Table:
    """The table, no more of it than is needed and not if it is larger than any table of patches."""
    try:
        if path.suffix.lower() == ".csv":
            if path.stat().st_size > _MOST_BYTES:
                raise EvidenceError(f"{path} is larger than any table of patches; write one row for each")
            table = pyarrow.csv.read_csv(
                path,
                parse_options=pyarrow.csv.ParseOptions(delimiter=_delimiter(path)),
                convert_options=pyarrow.csv.ConvertOptions(column_types={ID: pa.string(), LABELS: pa.string()}),
            )
        elif path.suffix.lower() in (".parquet", ".pq"):
            with pq.ParquetFile(path) as file:
                wanted = {ID, LABELS, *CLASS_NAMES, *(PREFIX + name for name in CLASS_NAMES)}
                metadata = file.metadata
                size = sum(
                    group.column(i).total_uncompressed_size
                    for group in map(metadata.row_group, range(metadata.num_row_groups))
                    for i in range(group.num_columns)
                    if group.column(i).path_in_schema.split(".")[0] in wanted
                )
                if metadata.num_rows > _MOST_ROWS or size > _MOST_BYTES:
                    raise EvidenceError(f"{path} is larger than any table of patches; write one row for each")
                table = file.read([name for name in file.schema_arrow.names if name in wanted])
        else:
            raise WrongUseError(f"{path} is no table of scene labels; give a .parquet or .csv file")
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise EvidenceError(f"{path} cannot be read as a table ({clipped(reason)}); write it again") from None
    if len(set(table.column_names)) < table.num_columns:
        raise EvidenceError(f"{path} has two columns of one name; leave one of them")
    return table


def _delimiter(path: Path) -> str:
    """What separates the columns of a CSV file: a tab or semicolon where the header has one, as no name in it does."""
    with path.open("rb") as file:
        header = file.readline(_LONGEST_HEADER)
    if b"\0" in header or header.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise EvidenceError(f"{path} is no text in UTF-8, but perhaps in UTF-16; save it as UTF-8")
    return next((mark for mark in "\t;" if mark.encode() in header), ",")


def _text(array: pa.Array) -> pa.Array | None:
    """An array of text as Arrow strings, whatever kind of text it is; None for anything else."""
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    known = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return array.cast(pa.string()) if known else None


def _class_columns(path: Path, names: Sequence[str]) -> list[str] | None:
    """The columns of the classes, in the order of the nomenclature; None if there are names of labels alone."""
    if all(prefix + CLASS_NAMES[0] in names for prefix in (PREFIX, "")):
        raise EvidenceError(
            f"{path} has columns '{CLASS_NAMES[0]}' and '{PREFIX}{CLASS_NAMES[0]}'; leave those of one kind"
        )
    for prefix in (PREFIX, ""):
        columns = [prefix + name for name in CLASS_NAMES]
        lacking = [name for name in columns if name not in names]
        if not lacking:
            return columns
        if len(lacking) < NUM_CLASSES or not (prefix or LABELS in names):
            raise WrongUseError(
                f"{path} lacks the column '{lacking[0]}'{f' and {len(lacking) - 1} more' * (len(lacking) > 1)}; it "
                f"needs a column for each of the {NUM_CLASSES} classes, or '{LABELS}' ('labels' "
                "are the true ones, and never read)"
            )
    return None


def _numbers(
    path: Path, table: pa.Table, columns: Sequence[str], names: Sequence[str]
) -> tuple[npt.NDArray[np.float64], bool]:
    """Probabilities or decided labels, and whether they are the former."""
    arrays = [table[name].combine_chunks() for name in columns]
    floats = [pa.types.is_floating(array.type) or pa.types.is_decimal(array.type) for array in arrays]
    whole = [pa.types.is_integer(array.type) or pa.types.is_boolean(array.type) for array in arrays]
    if not all(a or b for a, b in zip(floats, whole, strict=True)):
        odd = next(name for name, a, b in zip(columns, floats, whole, strict=True) if not a and not b)
        raise EvidenceError(f"{path}: column '{odd}' holds no numbers; write 0.5 rather than 0,5 or a word")
    values = np.stack([_column(array) for array in arrays], axis=1)
    ranked = any(floats)
    broken = np.asarray(~np.isfinite(values).all(axis=1))
    _refuse(path, broken, names, "without a value, or NaN or infinity, for a class", "give each patch 19 numbers")
    outside = np.asarray(((values < 0) | (values > 1)).any(axis=1))
    cure = "pass logits through a sigmoid first"
    if values.min(initial=0) >= 0:
        most = values.max(initial=0)
        scale = next((f", perhaps {scale}" for scale in (100, 250, 255) if 2 <= most <= scale), "")
        cure = f"divide them by what stands for 1{scale}"
    _refuse(path, outside, names, "with values outside of 0 to 1", cure)
    return values, ranked


def _single(exact_NK: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Probabilities as evidence holds them, each on the side of 0.5 that it was on."""
    values = exact_NK.astype(np.float32)
    lost = (exact_NK > DEFAULT_THRESHOLD) & (values <= DEFAULT_THRESHOLD)
    values[lost] = np.nextafter(np.float32(DEFAULT_THRESHOLD), np.float32(1))
    return values


def _doubts(exact_NK: npt.NDArray[np.float64], values_NK: npt.NDArray[np.float32]) -> tuple[str, ...]:
    """Sentences about probabilities that rank patches less than they seem to."""
    if exact_NK.size and not ((exact_NK > 0) & (exact_NK < 1)).any():
        return (
            "All probabilities are 0 or 1, as labels are that were decided, and their average precision says little. "
            "Write whole numbers if they are labels.",
        )
    pairs = zip(exact_NK.T, values_NK.T, strict=True)
    tied = sum(len(np.unique(exact_N)) - len(np.unique(values_N)) for exact_N, values_N in pairs)
    if tied <= _MOST_TIED * exact_NK.size:
        return ()
    return (
        f"{tied:,} of {exact_NK.size:,} probabilities differ from others of their class by less than float32 holds and "
        "rank like these, which changes average precision. Write them less close to 1, such as after a temperature.",
    )


_MOST_TIED = 0.001
"""Share of the probabilities of which it does not matter."""


def _column(array: pa.Array) -> npt.NDArray[np.float64]:
    values: Any = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)


def _labels(path: Path, lists: pa.Array, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Labels by name, as 0 and 1."""
    if (texts := _text(lists)) is not None:
        missing = texts.is_null().to_numpy(zero_copy_only=False)
        _refuse(path, missing, names, "without labels", "write an empty text, or a column for each class")
        split = pc.split_pattern(texts, SEPARATOR)
        trimmed = pc.utf8_trim_whitespace(split.flatten())
        parents = pc.list_parent_indices(split).to_numpy()
        filled = pc.not_equal(trimmed, "").to_numpy(zero_copy_only=False)
        labels, parents = trimmed.filter(pa.array(filled)), parents[filled]
    elif pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type):
        missing = lists.is_null().to_numpy(zero_copy_only=False)
        _refuse(path, missing, names, "without labels", f"write an empty list, or '{PREFIX}...' columns")
        labels, parents = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    else:
        raise EvidenceError(f"{path}: labels are {lists.type}, and should be lists of class names; write them so")
    found = pc.index_in(labels.cast(pa.string()), value_set=pa.array(CLASS_NAMES))
    unknown = found.is_null().to_numpy(zero_copy_only=False)
    if unknown.any():
        first = labels[int(np.flatnonzero(unknown)[0])].as_py()
        others = int(unknown.sum()) - 1
        more = f" and {counted(others, 'other label', 'other labels')}" if others else ""
        raise EvidenceError(
            f"{path}: '{clipped(str(first))}'{more} {'are' if others else 'is'} none of the 19 classes, which are "
            f"spelled as in the metadata and in CSV separated by '{SEPARATOR}'"
        )
    values = np.zeros((len(names), NUM_CLASSES), np.float32)
    values[parents, found.to_numpy()] = 1
    return values


def _refuse(path: Path, wrong: npt.NDArray[np.bool_], names: Sequence[str], what: str, cure: str) -> None:
    if wrong.any():
        rows = np.flatnonzero(wrong).tolist()
        named = ", ".join(clipped(names[row]) for row in rows[:3])
        more = ", ..." if len(rows) > 3 else ""
        raise EvidenceError(f"{path}: {counted(len(rows), 'patch', 'patches')} ({named}{more}) {what}; {cure}")
