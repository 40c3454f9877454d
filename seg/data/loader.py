"""Batches in their order, read by this process or by others."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.multiprocessing
from torch.utils.data import DataLoader, Dataset, Sampler

from seg.data.dataset import Batch, PatchDataset
from seg.data.order import BatchKey, BatchOrder
from seg.data.raw import RawBatch
from seg.data.slots import Slots, find_slots
from seg.store.index import Rows

_PREFETCH = 2
"""Batches under way for each process."""
_SLOTS_HELD = 3
"""Batches that the consumer holds at a time: one that it works on, one before it, one to spare."""


@dataclass(frozen=True)
class _Filled:
    """A batch in a slot, on its way from the process that has read it.

    Attributes:
        slots, slot: Where it is.
        labels_BK, rows_B: As in `Batch`.
    """

    slots: int
    slot: int
    labels_BK: npt.NDArray[np.float32]
    rows_B: Rows

    def tensors(self) -> list[torch.Tensor]:
        """All of them, in the order of `PatchDataset.batch`."""
        held = find_slots(self.slots).hand_out(self.slot, len(self.rows_B))
        return [*held, torch.from_numpy(self.labels_BK), torch.from_numpy(self.rows_B)]

    def pin_memory(self) -> "_Pinned":
        """Called by the loader for a GPU; the copy into page-locked memory frees the slot at once."""
        return _Pinned([tensor.pin_memory() for tensor in self.tensors()])


@dataclass(frozen=True)
class _Pinned:
    """A batch that has left its slot for page-locked memory."""

    pinned: list[torch.Tensor]

    def tensors(self) -> list[torch.Tensor]:
        return self.pinned


_Item = Batch | RawBatch | _Filled | _Pinned


class _IntoSlots(Dataset[_Item]):
    """Reads batches into slots, where the key names one."""

    def __init__(self, dataset: PatchDataset, slots: Slots | None) -> None:
        self._dataset = dataset
        self._slots = slots

    def __getitem__(self, key: BatchKey) -> _Item:
        if key.slot is None or self._slots is None:
            return self._dataset[key]
        labels_BK, rows_B = self._dataset.read_into(key, self._slots.arrays(key.slot, len(key.positions)))
        return _Filled(self._slots.number, key.slot, labels_BK, rows_B)


class _WithSlots(Sampler[BatchKey]):
    """An order whose keys name a slot, as far as there are free ones."""

    def __init__(self, order: BatchOrder, slots: Slots) -> None:
        self._order = order
        self._slots = slots

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[BatchKey]:
        # What an iteration that was broken off had under way has been waited for by now.
        self._slots.take_back()
        for key in self._order:
            yield replace(key, slot=self._slots.lend())


class Loader:
    """Batches in an order, an epoch per iteration; made by `make_loader`."""

    def __init__(self, loader: DataLoader[_Item], order: BatchOrder, dataset: PatchDataset) -> None:
        self._loader = loader
        self._order = order
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Batch | RawBatch]:
        for item in self._loader:
            yield self._dataset.batch(item.tensors()) if isinstance(item, _Filled | _Pinned) else item


def make_loader(dataset: PatchDataset, order: BatchOrder, workers: int, pin_memory: bool = False) -> Loader:
    """A loader of whole batches.

    Args:
        dataset: What is read.
        order: In which order.
        workers: Processes that read; 0 reads in this one.
        pin_memory: Put batches into page-locked memory, for a GPU.
    """
    order.values = dataset.values
    slots = None
    # Memory without a name can only be inherited; processes that are started otherwise hand batches over as torch does.
    if workers == 0 or torch.multiprocessing.get_start_method() == "fork":
        slots = Slots(_PREFETCH * workers + _SLOTS_HELD, min(order.batch_size, max(len(dataset), 1)), dataset.items)
    loader = DataLoader(
        _IntoSlots(dataset, slots),
        batch_size=None,
        sampler=order if slots is None else _WithSlots(order, slots),
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_parent,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=_PREFETCH if workers else None,
        # The loader draws a seed for every epoch. From a generator of its own, so that the global one, which dropout
        # uses, stands at the same place after a resume.
        generator=torch.Generator(),
    )
    return Loader(loader, order, dataset)


def _leave_interrupts_to_parent(_worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; only the main one decides what becomes of the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
