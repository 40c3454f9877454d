"""HDF5, as `seg.predictions.containers` reads arrays."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from seg.config.wording import counted
from seg.errors import EvidenceError
from seg.predictions.containers import Header, check_chunk

_CACHE = 1 << 26
"""Bytes of decoded pieces that are kept."""


def opened_file(path: Path) -> Any:
    """An HDF5 file, to be closed.

    Raises:
        OSError: If it cannot be read.
    """
    return h5py.File(path, "r", rdcc_nbytes=_CACHE)


class Hdf5:
    """The arrays at the top of an HDF5 file; links to other files are not followed."""

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file
        self.names = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        self.notes: Mapping[str, str] = {}

    def header(self, name: str) -> Header:
        """Shape and dtype of an array."""
        array = self._file[name]
        if not isinstance(array, h5py.Dataset) or array.shape is None:
            raise EvidenceError(f"{self._path}: {name} is no array; write arrays at the top of the file")
        if array.external or array.is_virtual:
            raise EvidenceError(f"{self._path}: {name} lies in other files; write it into this one")
        if array.dtype.hasobject and not h5py.check_string_dtype(array.dtype):
            raise EvidenceError(f"{self._path}: {name} holds {array.dtype}; write arrays of numbers, and ids as text")
        check_chunk(self._path, name, array.chunks, array.dtype)
        self._refuse_unwritten(name, array)
        return tuple(array.shape), array.dtype

    def _refuse_unwritten(self, name: str, array: Any) -> None:
        """Refuse an array of which parts were never written: HDF5 gives its fill value there, which is a class."""
        pieces, written = 1, int(not array.size or array.id.get_storage_size() > 0)
        if array.chunks is not None:
            pieces = math.prod(-(-length // step) for length, step in zip(array.shape, array.chunks, strict=True))
            written = array.id.get_num_chunks()
        if written < pieces:
            raise EvidenceError(
                f"{self._path}: {name} was not written in full: {written:,} of {counted(pieces, 'piece', 'pieces')} of "
                "it are there, and the others are only set aside; write all of it"
            )

    def rows(self, name: str, begin: int, end: int) -> npt.NDArray[Any]:
        """Rows of an array."""
        return np.asarray(self._file[name][begin:end])

    def whole(self, name: str) -> npt.NDArray[Any]:
        """All of an array; strings as text."""
        array = self._file[name]
        return np.asarray((array.asstr() if h5py.check_string_dtype(array.dtype) else array)[()])

    def doubt(self, name: str) -> str:
        """Nothing: what was not written in full is refused with its header."""
        return ""

    def at_once(self, name: str) -> int:
        """How many rows are best read together."""
        chunks = self._file[name].chunks
        return int(chunks[0]) if chunks else 16
