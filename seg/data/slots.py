"""Memory for batches that is used again and again.

A batch of 64 patches takes 53 MB. In new memory the first touch of every page costs as much as the reading itself, and
what a loader process hands over is copied once more. So batches go into slots: of this process, or of memory that is
shared with the loader processes, which write into them directly. A slot is free again when the last tensor that looks
into it is gone, so a batch is never overwritten while somebody holds it; where no slot is free, a batch takes new
memory.
"""

import math
import mmap
import weakref
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_numbers = count()
_ALL: "weakref.WeakValueDictionary[int, Slots]" = weakref.WeakValueDictionary()
"""Slots by number, so that a batch that arrives from another process finds its own."""

_PAGE = 4096
Arrays = list[npt.NDArray[Any]]


class Slots:
    """A number of slots, each for the arrays of one batch.

    Args:
        slots: How many.
        batch_size: The most samples of a batch.
        items: Shape and dtype of a sample in each array of the batch.

    Attributes:
        number: Finds these slots again, with `find_slots`.
    """

    def __init__(self, slots: int, batch_size: int, items: Sequence[tuple[tuple[int, ...], npt.DTypeLike]]) -> None:
        self._batch_size = batch_size
        self._items = [(shape, np.dtype(dtype)) for shape, dtype in items]
        sizes = [batch_size * math.prod(shape) * dtype.itemsize for shape, dtype in self._items]
        self._begins = np.cumsum([0, *(-(-size // _PAGE) * _PAGE for size in sizes)]).tolist()
        # Anonymous and shared: processes that are forked later write into the same pages, and no file system limits it.
        self._memory = mmap.mmap(-1, slots * self._begins[-1])
        self._free = list(range(slots))
        self._under_way: set[int] = set()
        self.number = next(_numbers)
        _ALL[self.number] = self

    def lend(self) -> int | None:
        """A free slot for a batch that is now read; None if there is none."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._under_way.add(slot)
        return slot

    def take_back(self) -> None:
        """Free the slots of batches that were never handed out, once nothing writes into them any more."""
        self._free.extend(self._under_way)
        self._under_way.clear()

    def arrays(self, slot: int, samples: int) -> Arrays:
        """The arrays of a batch in a slot, to be written."""
        assert samples <= self._batch_size, (samples, self._batch_size)
        begin = slot * self._begins[-1]
        return [
            np.frombuffer(self._memory, dtype, samples * math.prod(shape), begin + offset).reshape(samples, *shape)
            for offset, (shape, dtype) in zip(self._begins, self._items, strict=False)
        ]

    def hand_out(self, slot: int, samples: int) -> list[Tensor]:
        """The batch in a slot as tensors; the slot is free when all of them, and all their views, are gone."""
        self._under_way.discard(slot)
        arrays = self.arrays(slot, samples)
        held = [len(arrays)]

        def gone() -> None:
            held[0] -= 1
            if not held[0]:
                self._free.append(slot)

        tensors = []
        for array in arrays:
            # A tensor keeps the array that it was made from, and all its views keep the tensor's storage.
            weakref.finalize(array, gone)
            tensors.append(torch.from_numpy(array))
        return tensors


def find_slots(number: int) -> Slots:
    """The slots of this process with a number."""
    return _ALL[number]
