"""Safetensors values as NumPy views: the bytes of a patch become arrays without a copy.

The safetensors library copies every tensor when it reads from bytes; a view into the memory map does not, and the
headers of a store repeat, so each distinct one is parsed once. Format: 8 bytes little-endian header length, the header
as JSON (name -> dtype, shape, data_offsets), then the data.
"""

import json
import math
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from safetensors.numpy import save

from seg.errors import DamagedError

Array = npt.NDArray[Any]

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_MAX_HEADER = 1_000_000


def encode_tensors(tensors: Mapping[str, Array]) -> bytes:
    """Tensors as a safetensors value. The same tensors always give the same bytes, whatever their order.

    Args:
        tensors: Arrays by name.
    """
    arrays = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in sorted(tensors.items())
    }
    header, order = _header(tuple((name, array.dtype, array.shape) for name, array in arrays.items()))
    return b"".join([header, *(arrays[name] for name in order)])  # type: ignore[list-item]


@lru_cache(maxsize=64)
def _header(tensors: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]) -> tuple[bytes, tuple[str, ...]]:
    """What the library writes before the data of such tensors, and the order of these: most values have the same."""
    value = save({name: np.zeros(shape, dtype) for name, dtype, shape in tensors})
    header = value[: 8 + int.from_bytes(value[:8], "little")]
    layout, _ = _layout(header[8:])
    return header, tuple(name for name, *_, begin in sorted(layout, key=lambda tensor: tensor[-1]))


def checksum(value: memoryview | bytes) -> int:
    """XXH3 checksum of a value, 64 bits; the index keeps it so that bit rot is found."""
    return xxhash.xxh3_64_intdigest(value)


def view_tensors(value: memoryview | bytes, source: str) -> dict[str, Array]:
    """Arrays that look into a safetensors value without copying it.

    Args:
        value: The bytes; the arrays are valid as long as they are.
        source: The key that the value belongs to; named in the error.

    Returns:
        Read-only arrays by name, with the dtype and shape that the header states.

    Raises:
        DamagedError: If the bytes are no complete safetensors value.
    """
    if len(value) < 8:
        raise DamagedError(f"{source}: the value has only {len(value)} bytes; the store is damaged")
    length = int.from_bytes(value[:8], "little")
    if length > min(len(value) - 8, _MAX_HEADER):
        raise DamagedError(f"{source}: the value is no safetensors data; the store is damaged")
    try:
        layout, end = _layout(bytes(value[8 : 8 + length]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{source}: the header of the value is damaged ({error})") from None
    start = 8 + length
    if start + end != len(value):
        raise DamagedError(
            f"{source}: the value has {len(value) - start} bytes of data, not {end} as its header says; it is damaged"
        )
    return {
        name: np.frombuffer(value, dtype, count, start + begin).reshape(shape)
        for name, dtype, shape, count, begin in layout
    }


def front(value: memoryview | bytes, names: Collection[str], source: str) -> int:
    """Bytes from the beginning of a safetensors value to the end of the last of some of its tensors.

    Args:
        value, source: As of `view_tensors`.
        names: The tensors; those that the value does not hold are left out.

    Raises:
        DamagedError: As `view_tensors`.
    """
    arrays = view_tensors(value, source)
    whole = sum(array.nbytes for array in arrays.values())
    layout, _ = _layout(bytes(value[8 : len(value) - whole]))
    ends = (begin + arrays[name].nbytes for name, *_, begin in layout if name in names)
    return len(value) - whole + max(ends, default=0)


Layout = tuple[tuple[str, np.dtype[Any], tuple[int, ...], int, int], ...]


@lru_cache(maxsize=256)
def _layout(header: bytes) -> tuple[Layout, int]:
    """Name, dtype, shape, number of elements and offset of each tensor, and the end of the data."""
    entries = json.loads(header)
    layout = []
    spans = []
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        shape = tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise DamagedError(f"tensor {name} has a shape or offset that is no natural number")
        count = math.prod(shape)
        if end - begin != count * dtype.itemsize:
            raise DamagedError(f"tensor {name} does not fill its place")
        layout.append((name, dtype, shape, count, begin))
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise DamagedError("tensors overlap or leave gaps")
        position = end
    return tuple(layout), position
