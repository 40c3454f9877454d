"""The reader of seg in other people's loops: a data set of single samples, batches at full speed, a Lightning module.

All of them read what ``seg train`` reads, in the same way: bands normalised by the statistics of reBEN and brought to
10 m, masks of class indices, the official multi-labels.
"""

import operator
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seg.config.paths import AnyPath, AnyPaths
from seg.config.sections import DataConfig
from seg.data.arguments import Augment, check_names, check_numbers, data_config, is_augmented
from seg.data.dataset import Batch, PatchDataset
from seg.data.devices import find_device
from seg.data.feed import on_device
from seg.data.loader import make_loader
from seg.data.on_device import preparation
from seg.data.order import BatchKey, BatchOrder
from seg.data.symmetry import moves_pixels_only
from seg.errors import StoreError
from seg.reben.patch import SPLITS, Split
from seg.store.open import Store, open_store
from seg.store.selection import select


class Sample(TypedDict):
    """A patch, or a batch of them with one more axis in front.

    Attributes:
        image: Normalised bands in the order asked for, float32 (bands, 120, 120).
        mask: Class indices in the order of `seg.reben.classes`, int64 (120, 120); 255 where unlabelled.
        label: Official multi-label, float32 (19,), 0 or 1.
        patch_id: Id of the patch; of a batch, a list of them.
    """

    image: Tensor
    mask: Tensor
    label: Tensor
    patch_id: str | list[str]


class PatchSamples(Dataset[Sample]):
    """Samples of a split by number, for any `torch.utils.data.DataLoader`; made by `dataset`.

    Augmentation draws from torch's own generator, so that loader processes and epochs differ as users of torch expect.
    """

    def __init__(self, patches: PatchDataset, augmented: bool) -> None:
        self._patches = patches
        self._augmented = augmented

    def __len__(self) -> int:
        return len(self._patches)

    def __getitem__(self, number: int) -> Sample:
        """A sample.

        Raises:
            IndexError: If there is no such number.
            TypeError: If it is no whole number.
            StoreError, UnknownCodeError: If the patch is damaged; never replaced by another.
        """
        try:
            operator.index(number)
        except TypeError:
            raise TypeError(
                f"a sample has a whole number, which {number!r:.80} is not; several of them, or those of some patches, "
                "are a torch.utils.data.Subset"
            ) from None
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Sample]:
        """Several samples, read together; torch's loader asks for them in this way."""
        for number in numbers:
            if not -len(self) <= number < len(self):
                raise IndexError(f"there are {len(self)} samples, and no number {number}")
        numbers = [operator.index(number) % len(self) for number in numbers]
        epoch = int(torch.randint(2**31, ())) if self._augmented else 0
        batch = self._patches[BatchKey(epoch, tuple(numbers))]
        assert isinstance(batch, Batch), "samples are made on the host"
        whole = _named(batch, self._patches)
        return [
            Sample(image=image, mask=mask, label=label, patch_id=name)
            for image, mask, label, name in zip(
                whole["image"], whole["mask"], whole["label"], whole["patch_id"], strict=True
            )
        ]


class PatchLoader:
    """Batches of a split, an epoch per iteration, as fast as ``seg train`` reads them; made by `loader`.

    Every epoch has another order, and the same again with the same seed.

    Attributes:
        epoch: The epoch that the next iteration is of, from 0.
    """

    def __init__(self, patches: PatchDataset, order: BatchOrder, workers: int, device: torch.device) -> None:
        self._patches, self._order, self._workers, self._device = patches, order, workers, device
        self._loader = make_loader(patches, order, workers, pin_memory=device.type == "cuda")
        self.epoch = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process, and a copy, read with processes of their own.
        return PatchLoader, (self._patches, self._order, self._workers, self._device), {"epoch": self.epoch}

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Sample]:
        self._order.epoch = self.epoch
        self.epoch += 1
        for batch in on_device(self._loader, self._device, preparation(self._patches, self._device)):
            yield _named(batch, self._patches)


def dataset(
    store: AnyPath | Store,
    *,
    bands: str | Sequence[str] = "s1s2",
    split: Split | None = "train",
    augment: Augment = False,
    **data: Any,
) -> PatchSamples:
    """Samples of a split by number, as a map-style data set of torch.

    Args:
        store: Folder of ``seg data build``, or a bare LMDB of rico-hdl with ``metadata``; or an open `Store`.
        bands: A modality (``s1``, ``s2``, ``s1s2``, ``rgb``, ...) or bands in the order of the channels.
        split: ``train``, ``validation`` or ``test``; None: all patches.
        augment: Flips and quarter turns at random; or transforms, as in ``data.augment``.
        data: ``metadata`` of a bare LMDB, and other settings of `seg.config.sections.DataConfig`, such as
            ``drop_incomplete=True``, but for those of a loader.

    Raises:
        StoreError, EmptySelectionError, WrongUseError: What is wrong, in one sentence.
    """
    check_names(dataset, data)
    augmented = is_augmented(augment)
    config = data_config(bands, data, augment)
    return PatchSamples(_patches(store, data.pop("metadata", None), config, split, 0 if augmented else None), augmented)


def loader(  # noqa: PLR0913
    store: AnyPath | Store,
    *,
    bands: str | Sequence[str] = "s1s2",
    split: Split | None = "train",
    batch_size: int = 32,
    workers: int = 2,
    seed: int | None = 0,
    augment: Augment | None = None,
    drop_last: bool = False,
    device: str | torch.device = "cpu",
    rank: int = 0,
    ranks: int = 1,
    **data: Any,
) -> PatchLoader:
    """Batches of a split, read, normalised and shuffled as in ``seg train``.

    On a GPU, stored values travel and become network inputs there.

    Args:
        store, bands, split: As of `dataset`.
        batch_size: Patches in a batch, in each process.
        workers: Processes that read; 0 reads in this one.
        seed: Of order, augmentation and ``sampling``; None keeps the order of the store, each patch once and as it is.
        augment: Whether to augment, or with what; None: the train split, if there is a seed.
        drop_last: Leave out an incomplete last batch, unless it is the only one.
        device: Where batches are wanted.
        rank, ranks: Which of how many processes this is; every patch is read by one of them.
        data: As of `dataset`, and settings of a loader, such as ``sampling="rare"``.

    Raises:
        StoreError, EmptySelectionError, WrongUseError: What is wrong, in one sentence.
    """
    check_names(loader, data)
    check_numbers(batch_size, workers, seed, rank, ranks)
    augmented = (split == "train" if augment is None else is_augmented(augment)) and seed is not None
    config = data_config(bands, data, augment)
    where = find_device(device)
    patches = _patches(
        store, data.pop("metadata", None), config, split, seed if augmented else None, _raw(config, augmented, where)
    )
    order = BatchOrder(
        len(patches), batch_size, seed, drop_last, patches.shuffle if seed is not None else "shuffle", rank, ranks
    )
    order.factors = patches.factors() if seed is not None else None
    return PatchLoader(patches, order, workers, where)


def opened(store: AnyPath | Store, metadata: AnyPaths | None = None) -> Store:
    """A store by its path, or as it is.

    Raises:
        StoreError: If there is none.
    """
    if isinstance(store, Store):
        return store
    return open_store(store, () if metadata is None else metadata)


def _patches(
    store: AnyPath | Store,
    metadata: AnyPaths | None,
    config: DataConfig,
    split: Split | None,
    augment_seed: int | None,
    raw: bool = False,
) -> PatchDataset:
    if split is not None and split not in SPLITS:
        raise StoreError(f"'{split}' is no split; splits are {', '.join(SPLITS)}, and None for all patches")
    held = opened(store, metadata)
    rows = held.usable(select(held.index, config, split), config.bands, config.drop_incomplete)
    return PatchDataset(held, rows, config, augment_seed, raw=raw)


def _raw(config: DataConfig, augmented: bool, device: torch.device) -> bool:
    """Whether values travel as they are stored."""
    if config.preprocess == "auto":
        return device.type == "cuda" and (not augmented or moves_pixels_only(config.augment))
    return config.preprocess == "device"


def _named(batch: Batch, patches: PatchDataset) -> Sample:
    return Sample(
        image=batch.images_BCHW,
        mask=batch.masks_BHW.long(),
        label=batch.labels_BK,
        patch_id=patches.patch_ids(np.asarray(batch.rows_B)),
    )
