"""The files of a patch to the value that is stored, in other processes where that pays."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context

from seg.prepare.layout import MAP_LAYER, ArchiveError, Kind, key_of
from seg.prepare.tiff import decode_tiff
from seg.reben.reference_map import class_indices, implied_bits
from seg.store.patches import MAP_TENSOR
from seg.store.tensors import Array, checksum, encode_tensors

_CHUNK = 16
"""Parts that a process encodes at a time; with the chunks under way they bound the memory."""
_CHUNKS_AHEAD = 2
"""Chunks under way for each process."""
_POOL_PAYS = 600
"""Number of parts from which starting other processes takes less time than it saves."""
_AT_ONCE = 1 << 17
_MOST_WORKERS = 8
"""More processes than one writer can take the values of."""


class WorkerError(ValueError):
    """A process that decodes has ended."""


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
    descriptor = os.open(path, os.O_RDONLY)
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
    arrays = decode_part(part)
    implied = None
    if part.kind == "maps":
        codes = arrays[MAP_LAYER]
        implied = implied_bits(class_indices(codes, f"{part.where}/{part.name}_{MAP_LAYER}.tif"))
        arrays = {MAP_TENSOR: codes}
    value = encode_tensors(arrays)
    return Encoded(part.kind, part.row, key_of(part.kind, part.name), value, checksum(value), implied)


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
    workers = workers or min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, _MOST_WORKERS)
    if workers == 1 or parts < _POOL_PAYS:
        yield lambda items: map(encode_part, items)
        return
    # Spawned, not forked: the caller may run threads, and a fork would copy their locks.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        try:
            yield lambda items: _in_chunks(pool, iter(items), workers * _CHUNKS_AHEAD)
        except BrokenProcessPool:
            raise WorkerError(
                "a decoding process ended unexpectedly, for want of memory or because the calling script has no "
                "'if __name__ == \"__main__\"'; decode in this process with --workers 1"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    """Ctrl-C reaches every process of the terminal; only the main one decides what becomes of the build."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _encode_chunk(parts: list[Part]) -> list[Encoded]:
    return [encode_part(part) for part in parts]


def _in_chunks(pool: ProcessPoolExecutor, parts: Iterator[Part], ahead: int) -> Iterator[Encoded]:
    """Encoded parts in order, with a bounded number of chunks under way.

    If the parts end in an error, those before it still come.
    """
    under_way: deque[Future[list[Encoded]]] = deque()
    failure = None
    while failure is None:
        chunk = []
        try:
            for part in islice(parts, _CHUNK):
                chunk.append(part)  # noqa: PERF402
        except (ValueError, OSError) as error:
            failure = error
        if not chunk:
            break
        under_way.append(pool.submit(_encode_chunk, chunk))
        if len(under_way) > ahead:
            yield from under_way.popleft().result()
    yield from chain.from_iterable(future.result() for future in under_way)
    if failure is not None:
        raise failure
