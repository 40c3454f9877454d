"""From a store to batches: the data set, the order in which it is read, and the loader."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from seg.config.sections import DataConfig
from seg.data.transforms import Augmenter, Normaliser
from seg.reben.bands import PATCH_SIZE, S1_BANDS, S2_BANDS
from seg.reben.classes import IGNORE_INDEX
from seg.reben.reference_map import class_indices
from seg.store.index import Rows
from seg.store.open import Store
from seg.store.patches import MAP_SUFFIX


class PatchReadError(ValueError):
    """A patch of the store that cannot be made into a sample."""


@dataclass(frozen=True)
class Batch:
    """Patches that go through the network together.

    Attributes:
        images_BCHW: Normalised bands, float32, 120 x 120.
        masks_BHW: Class indices, uint8, 255 where unlabelled.
        labels_BK: Official multi-label, float32, 0 or 1.
        rows_B: Rows of the store's index, int64.
    """

    images_BCHW: Tensor
    masks_BHW: Tensor
    labels_BK: Tensor
    rows_B: Tensor

    def __len__(self) -> int:
        return len(self.rows_B)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; the copy runs beside the computation where the memory is pinned."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory; called by the loader."""
        return Batch(*(getattr(self, field.name).pin_memory() for field in fields(self)))


@dataclass(frozen=True)
class BatchKey:
    """Which samples make up a batch, and the epoch on which their augmentation depends."""

    epoch: int
    positions: tuple[int, ...]


class PatchDataset(Dataset[Batch]):
    """Whole batches out of a store; the samples are written straight into the batch.

    Args:
        store: The store.
        rows: Rows of its index, one per sample; they must have all that the bands need (`Store.usable`).
        data: Bands, resampling, augmentation.
        augment_seed: Seed of the augmentation; None does not augment.
        with_maps: Read reference maps; without, masks are unlabelled throughout.
    """

    def __init__(
        self, store: Store, rows: Rows, data: DataConfig, augment_seed: int | None = None, with_maps: bool = True
    ) -> None:
        self.rows = rows
        self._all_ids = store.index.patch_ids
        self._reader = store.patches
        self._index = store.index.take(rows)
        self._normalise = Normaliser(data.bands, data.resampling)
        self._with_maps = with_maps
        self._sensors = (any(b in S1_BANDS for b in data.bands), any(b in S2_BANDS for b in data.bands))
        self._seed = augment_seed
        self._augment = Augmenter(data.augment, len(data.bands)) if augment_seed is not None else None

    def __len__(self) -> int:
        return len(self.rows)

    def patch_ids(self, rows: Rows) -> list[str]:
        """Patch ids of rows of the store's index, such as those of a batch."""
        ids: list[str] = self._all_ids.take(pa.array(rows)).to_pylist()
        return ids

    def __getitem__(self, key: BatchKey) -> Batch:
        """Read a batch.

        Raises:
            PatchReadError, UnknownCodeError: If a patch is missing or damaged; never replaced by another.
        """
        count = len(key.positions)
        images = torch.empty((count, len(self._normalise.bands), PATCH_SIZE, PATCH_SIZE))
        masks = torch.full((count, PATCH_SIZE, PATCH_SIZE), IGNORE_INDEX, dtype=torch.uint8)
        images_BCHW, masks_BHW = images.numpy(), masks.numpy()
        for i, position in enumerate(key.positions):
            self._read(position, images_BCHW[i], masks_BHW[i])
            if self._augment is not None and self._seed is not None:
                self._augment(images_BCHW[i], masks_BHW[i], (self._seed, key.epoch, position))
        positions = np.array(key.positions, dtype=np.int64)
        labels = torch.from_numpy(self._index.labels(positions).astype(np.float32))
        return Batch(images, masks, labels, torch.from_numpy(self.rows[positions]))

    def _read(self, position: int, image_CHW: np.ndarray, mask_HW: np.ndarray) -> None:
        patch_id = self._index.patch_id(position)
        with_s1, with_s2 = self._sensors
        tensors = self._reader.tensors(patch_id) if with_s2 else {}
        if with_s1:
            tensors |= self._reader.tensors(self._index.s1_name(position))
        try:
            self._normalise(tensors, image_CHW)
            if self._with_maps:
                class_indices(self._reader.reference_map(patch_id), patch_id + MAP_SUFFIX, out=mask_HW)
        except KeyError as error:
            raise PatchReadError(
                f"{patch_id} has no band {error.args[0]} in the store; build the store again"
            ) from None
        except (ValueError, TypeError) as error:
            raise PatchReadError(f"{patch_id} cannot be read: {error}") from error


class BatchOrder(Sampler[BatchKey]):
    """The batches of an epoch: in the order of the data set, or shuffled by seed and epoch alone.

    Every sample comes exactly once an epoch, but for an incomplete last batch where `drop_last` leaves it out.

    Args:
        samples: Number of samples.
        batch_size: Samples per batch.
        shuffle_seed: Seed of the order; None keeps the order of the data set.
        drop_last: Leave out an incomplete last batch, unless it is the only one.

    Attributes:
        epoch: The epoch that the next iteration is of.
        start: Number of batches that the next iteration leaves out at the beginning, after a resume.
    """

    def __init__(self, samples: int, batch_size: int, shuffle_seed: int | None = None, drop_last: bool = False) -> None:
        self._samples = samples
        self._batch_size = batch_size
        self._seed = shuffle_seed
        whole = samples // batch_size
        self._batches = whole if drop_last and whole else -(-samples // batch_size)
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[BatchKey]:
        order = np.arange(self._samples)
        if self._seed is not None:
            order = np.random.default_rng((self._seed, self.epoch)).permutation(self._samples)
        for batch in range(self.start, self._batches):
            chosen = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            yield BatchKey(self.epoch, tuple(chosen.tolist()))


def make_loader(dataset: PatchDataset, order: BatchOrder, workers: int, pin_memory: bool = False) -> DataLoader[Batch]:
    """A loader of whole batches.

    Args:
        dataset: What is read.
        order: In which order.
        workers: Processes that read; 0 reads in this one.
        pin_memory: Put batches into page-locked memory, for a GPU.
    """
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_parent,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        # The loader draws a seed for every epoch. From a generator of its own, so that the global one, which dropout
        # uses, stands at the same place after a resume.
        generator=torch.Generator(),
    )


def _leave_interrupts_to_parent(_worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; only the main one decides what becomes of the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
