"""A LightningDataModule over a store: the only importer of Lightning, which need not be installed."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from seg.config.paths import AnyPath
from seg.data.arguments import Augment, check_names, check_numbers, data_config, is_augmented
from seg.data.readers import PatchLoader, loader, opened
from seg.errors import StoreError
from seg.reben.patch import Split
from seg.store.open import Store


def datamodule(
    store: AnyPath | Store,
    *,
    bands: str | Sequence[str] = "s1s2",
    batch_size: int = 32,
    workers: int = 2,
    seed: int = 0,
    augment: Augment = True,
    **data: Any,
) -> Any:
    """A ``LightningDataModule`` of the three splits, whose batches are those of `seg.data.readers.loader`.

    Its loaders are no torch loaders, so Lightning leaves their order alone: each process of a trainer reads its share,
    every patch is read once, and every epoch has another order.

    Args:
        store, bands, data: As of `seg.data.readers.loader`.
        batch_size, workers: As of `seg.data.readers.loader`.
        seed: Of the order of training and of its augmentation.
        augment: Whether to augment training, or with what.

    Raises:
        StoreError: If Lightning is not installed, or there is no such store.
        WrongUseError: If numbers or settings make no sense.
    """
    module = _module(_lightning())
    check_names(datamodule, data)
    check_numbers(batch_size, workers, seed)
    is_augmented(augment)
    config = data_config(bands, data, augment)
    held = opened(store, data.pop("metadata", None))
    if lack := held.lack(config.bands):
        raise StoreError(lack)
    made = module()
    made.asked = {"store": held, "bands": bands, "batch_size": batch_size, "workers": workers, **data}
    made.of_training = {"seed": seed, "augment": augment}
    return made


def _blank() -> Any:
    """A module that another process, or a copy, makes its own."""
    return _module(_lightning())()


@cache
def _module(kind: Any) -> Any:
    class ReBEN(kind):  # type: ignore[misc]
        """The splits of a store.

        Attributes:
            asked: What every loader is to be.
            of_training: What that of training is to be besides.
        """

        asked: dict[str, Any]
        of_training: dict[str, Any]

        def __reduce__(self) -> tuple[Any, ...]:
            return _blank, (), vars(self)

        def _loader(self, split: Split) -> PatchLoader:
            trainer, training = self.trainer, split == "train"
            alone = trainer is None
            device = "cpu" if alone or trainer.strategy.root_device.type != "cuda" else trainer.strategy.root_device
            made = loader(
                split=split,
                # Processes that train together take equally many steps.
                drop_last=training,
                device=device,
                rank=0 if alone else trainer.global_rank,
                ranks=1 if alone else trainer.world_size,
                **self.asked,
                **(self.of_training if training else {"seed": None}),
            )
            made.epoch = 0 if alone else trainer.current_epoch
            return made

        def train_dataloader(self) -> PatchLoader:
            return self._loader("train")

        def val_dataloader(self) -> PatchLoader:
            return self._loader("validation")

        def test_dataloader(self) -> PatchLoader:
            return self._loader("test")

        def predict_dataloader(self) -> PatchLoader:
            return self._loader("test")

    return ReBEN


def _lightning() -> Any:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return __import__(name, fromlist=["LightningDataModule"]).LightningDataModule
        except ModuleNotFoundError:
            continue
    raise StoreError("a data module needs Lightning; install it with: pip install lightning")
