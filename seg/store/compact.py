"""Values in less room: shuffled by the bytes or bits of their numbers and packed by LZ4 (Blosc), without loss.

On real patches of reBEN that takes 38 % of the bytes away: 39 % of Sentinel-2, 21 % of Sentinel-1, 94 % of the maps. A
patch is unpacked in 0.1 ms; zstd in the place of LZ4 would save another 3 % and take twice as long.
"""

import struct
from functools import cache
from typing import Any

import numpy as np

from seg.errors import DamagedError

COMPRESSION = "blosc-lz4"
"""Its name in ``store.json``."""
_LEVEL = 5
_HEAD = struct.Struct("<4B3I")
"""Blosc's header: versions, flags, bytes of a number; bytes before, of a block, and packed."""
_MOST = 1 << 28
"""Bytes of a value that are still unpacked; those of a patch are 160,000."""


def packed(value: bytes) -> bytes:
    """A safetensors value in less room. The same value always gives the same bytes."""
    # Backscatter has noise in most of its bits, so whole bytes are put together; of counts, bits are.
    is_float = b'"F32"' in value[8 : 8 + int.from_bytes(value[:8], "little")]
    size = 4 if is_float else 2
    numbers = np.frombuffer(value, f"u{size}" if len(value) % size == 0 else "u1")
    return bytes(_codec(is_float).encode(numbers))


def unpacked(value: memoryview | bytes, key: str) -> memoryview:
    """The value that was packed, read-only.

    Args:
        value: What `packed` gave.
        key: Whose it is; named in the error.

    Raises:
        DamagedError: If it is no packed value.
    """
    try:
        *_, before, _, after = _HEAD.unpack_from(value)
        if after != len(value) or before > _MOST:
            raise DamagedError(f"{key}: the value is cut off or no compressed one; the store is damaged")
        return memoryview(_codec(False).decode(value)).toreadonly()
    except (struct.error, RuntimeError, ValueError) as error:
        raise DamagedError(f"{key}: the value cannot be unpacked; the store is damaged") from error


@cache
def _codec(is_float: bool) -> Any:
    from numcodecs import blosc

    # Its own threads are for one caller at a time and do not outlive a fork.
    blosc.use_threads = False
    return blosc.Blosc("lz4", _LEVEL, blosc.SHUFFLE if is_float else blosc.BITSHUFFLE)
