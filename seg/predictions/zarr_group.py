"""Zarr, as `seg.predictions.containers` reads arrays."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from seg.config.wording import counted
from seg.errors import EvidenceError
from seg.predictions.containers import Header, check_chunk


class ZarrGroup:
    """The arrays at the top of a Zarr group of version 2 or 3, which is a folder."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise EvidenceError(f"{path} is no folder of Zarr; write one with zarr.open_group('{path.name}', mode='w')")
        self._path = path
        self._group = zarr.open_group(path, mode="r", use_consolidated=False)
        self._arrays: dict[str, Any] = {}
        self.names = sorted(file.parent.name for name in _METADATA for file in path.glob(f"*/{name}"))
        self.notes: Mapping[str, str] = {}

    def header(self, name: str) -> Header:
        """Shape and dtype of an array."""
        array = self._array(name)
        dtype = np.dtype(object) if array.dtype.kind in "OT" else array.dtype
        check_chunk(self._path, name, array.shards or array.chunks, array.dtype)
        return tuple(array.shape), dtype

    def rows(self, name: str, begin: int, end: int) -> npt.NDArray[Any]:
        """Rows of an array."""
        return np.asarray(self._array(name)[begin:end])

    def whole(self, name: str) -> npt.NDArray[Any]:
        """All of an array."""
        return np.asarray(self._array(name)[...])

    def doubt(self, name: str) -> str:
        """A sentence about pieces that are not there: Zarr may leave out those that hold nothing but its fill value."""
        array = self._array(name)
        lacking = array.nchunks - array.nchunks_initialized
        if not lacking:
            return ""
        return (
            f"{self._path.name}: {counted(lacking, 'piece', 'pieces')} of {array.nchunks:,} of {name} "
            f"{'is' if lacking == 1 else 'are'} not there and {'was' if lacking == 1 else 'were'} taken for the fill "
            f"value {array.fill_value}. Make sure that all was written."
        )

    def at_once(self, name: str) -> int:
        """How many rows are best read together."""
        return int(self._array(name).chunks[0])

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            for file in _METADATA:
                if (self._path / name / file).is_file():
                    self._refuse_objects(name, json.loads((self._path / name / file).read_text(encoding="utf-8")))
            array = self._group[name]
            if not isinstance(array, zarr.Array) or not array.ndim:
                raise EvidenceError(f"{self._path}: {name} is no array; write arrays at the top of the group")
            self._arrays[name] = array
        return self._arrays[name]

    def _refuse_objects(self, name: str, metadata: Any) -> None:
        """Refuse what would be unpickled, before any of it is read."""
        if "pickle" in json.dumps(metadata).lower():
            raise EvidenceError(
                f"{self._path}: {name} holds pickled Python objects, which are never read; write arrays of numbers, "
                "and ids as text"
            )


_METADATA = (".zarray", "zarr.json")
