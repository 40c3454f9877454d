"""Batches on their way to the device: copied while it computes, and made into network inputs there."""

from collections.abc import Iterable, Iterator

import torch

from seg.data.dataset import Batch
from seg.data.on_device import DevicePreparation
from seg.data.raw import RawBatch


def on_device(
    batches: Iterable[Batch | RawBatch], device: torch.device, prepare: DevicePreparation | None = None
) -> Iterator[Batch]:
    """Batches ready for the network.

    On CUDA, each is copied on a stream of its own while the one before it is worked on; nothing waits for the device.

    Args:
        batches: From the loader; page-locked for CUDA.
        device: Where they go.
        prepare: Makes network inputs of raw batches; needed if there are any.
    """

    def finished(batch: Batch | RawBatch) -> Batch:
        if isinstance(batch, Batch):
            return batch
        assert prepare is not None, "raw batches need a preparation"
        return prepare(batch)

    if device.type != "cuda":
        for batch in batches:
            yield finished(batch.to(device))
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    coming: tuple[Batch | RawBatch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            sent = batch.to(device), stream.record_event()
        if coming is not None:
            yield finished(_arrived(*coming, device))
        coming = sent
    if coming is not None:
        yield finished(_arrived(*coming, device))


def _arrived(batch: Batch | RawBatch, copied: torch.cuda.Event, device: torch.device) -> Batch | RawBatch:
    """The batch, for use by the stream that computes: it waits for the copy, the CPU does not."""
    computing = torch.cuda.current_stream(device)
    computing.wait_event(copied)
    for tensor in batch.tensors[:-1]:
        # Its memory must not be given away before the computation is through with it.
        tensor.record_stream(computing)
    return batch
