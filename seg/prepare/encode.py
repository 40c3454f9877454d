"""The files of a patch to the value that is stored, in other processes where that pays."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice

from seg.errors import ArchiveError, WorkerError
from seg.prepare.layout import MAP_LAYER, Kind, key_of
from seg.prepare.processes import ProcessEndedError, process_count, processes
from seg.prepare.tiff import decode_tiff
from seg.reben.reference_map import class_indices, implied_bits
from seg.store.patches import MAP_TENSOR
from seg.store.tensors import Array, checksum, encode_tensors

_CHUNK = 16
"""Parts that a process encodes at a time."""
_POOL_PAYS = 600
"""Number of parts from which starting other processes takes less time than it saves."""
_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Part:
    """The files of one part of a patch, on their way to one value of the store.

    Attributes:
        kind: Sentinel-2, Sentinel-1 or map.
        row: Row of the patch in the index.
        name: Name of the patch.
        where: The folder that holds the files, or the name of the archive.
        layers: Layers that make up the value.
        files: Content by layer; None: the files are to be read from the folder.
    """

    kind: Kind
    row: int
    name: str
    where: str
    layers: tuple[str, ...]
    files: dict[str, bytes] | None = None


@dataclass(frozen=True)
class Encoded:
    """A value of the store.

    Attributes:
        kind, row: As in the part.
        key, value: What is stored.
        checksum: Of the value.
        implied: The labels that a map implies, as bits; None for images.
    """

    kind: Kind
    row: int
    key: str
    value: bytes
    checksum: int
    implied: int | None


def read_files(folder: str, name: str, layers: Iterable[str]) -> dict[str, bytes]:
    """The files of a patch by layer.

    Args:
        folder: Folder of the patch.
        name: Name of the patch.
        layers: Layers to read.

    Raises:
        OSError: If one cannot be read.
    """
    return {layer: _read(f"{folder}/{name}_{layer}.tif") for layer in layers}


def _read(path: str) -> bytes:
    # A buffered file object would take seven times as long.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        content = b""
        while chunk := os.read(descriptor, _AT_ONCE):
            content += chunk
        return content
    finally:
        os.close(descriptor)


def decode_part(part: Part) -> dict[str, Array]:
    """The arrays of a part by layer, exactly as stored in the GeoTIFFs.

    Raises:
        ArchiveError: If a file is missing or damaged, or has another shape or dtype than published; names the file.
    """
    try:
        files = read_files(part.where, part.name, part.layers) if part.files is None else part.files
    except OSError as error:
        raise ArchiveError(f"{error.filename or part.where} cannot be read ({error.strerror})") from None
    return {layer: decode_tiff(files[layer], layer, f"{part.where}/{part.name}_{layer}.tif") for layer in part.layers}


def encode_part(part: Part) -> Encoded:
    """The value of a part.

    Raises:
        ArchiveError: See `decode_part`.
        UnknownCodeError: If a map holds a code that is not in the nomenclature; names the file.
    """
    arrays, source = decode_part(part), f"{part.where}/{part.name}_{MAP_LAYER}.tif"
    return encode_arrays(part.kind, part.row, part.name, arrays, source)


def encode_arrays(kind: Kind, row: int, name: str, arrays: Mapping[str, Array], source: str) -> Encoded:
    """The value of arrays by layer.

    Args:
        kind, row, name: As in `Part`.
        arrays: As stored in the GeoTIFFs.
        source: Where a map comes from; named in the error.

    Raises:
        UnknownCodeError: If a map holds a code that is not in the nomenclature.
    """
    implied = None
    if kind == "maps":
        implied = implied_bits(class_indices(arrays[MAP_LAYER], source))
        arrays = {MAP_TENSOR: arrays[MAP_LAYER]}
    value = encode_tensors(arrays)
    return Encoded(kind, row, key_of(kind, name), value, checksum(value), implied)


Encoder = Callable[[Iterable[Part]], Iterator[Encoded]]


@contextmanager
def encoder(parts: int, workers: int | None) -> Iterator[Encoder]:
    """A function that encodes parts and keeps their order, in other processes where that pays.

    Args:
        parts: How many there will be, at most.
        workers: Number of processes; None: one per core, up to 8.

    Raises:
        WorkerError: If a process ends unexpectedly.
    """
    workers = process_count(workers)
    if workers == 1 or parts < _POOL_PAYS:
        yield lambda items: map(encode_part, items)
        return
    try:
        with processes(workers) as in_order:
            yield lambda items: chain.from_iterable(in_order(_encode_chunk, _chunks(iter(items))))
    except ProcessEndedError:
        raise WorkerError(
            "a decoding process ended unexpectedly, for want of memory or because the calling script has no "
            "'if __name__ == \"__main__\"'; decode in this process with --workers 1"
        ) from None


def _encode_chunk(parts: list[Part]) -> list[Encoded]:
    return [encode_part(part) for part in parts]


def _chunks(parts: Iterator[Part]) -> Iterator[list[Part]]:
    """Lists of parts; if they end in an error, those before it still come."""
    failure = None
    while failure is None:
        chunk = []
        try:
            for part in islice(parts, _CHUNK):
                chunk.append(part)  # noqa: PERF402
        except (ValueError, OSError) as error:
            failure = error
        if chunk:
            yield chunk
        elif failure is None:
            return
    raise failure
