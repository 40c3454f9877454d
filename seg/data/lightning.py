"""A LightningDataModule over a store: the only importer of Lightning, which need not be installed."""

from collections.abc import Sequence
from typing import Any

from seg.config.paths import AnyPath
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
    **data: Any,
) -> Any:
    """A ``LightningDataModule`` of the three splits, whose batches are those of `seg.data.readers.loader`.

    Its loaders are no torch loaders, so Lightning leaves their order alone: each process of a trainer reads its share,
    every patch is read once, and every epoch has another order.

    Args:
        store, bands, data: As of `seg.data.readers.dataset`.
        batch_size, workers: As of `seg.data.readers.loader`.
        seed: Of the order of training and of its augmentation.

    Raises:
        StoreError: If Lightning is not installed, or there is no such store.
    """
    module = _lightning()
    held = opened(store, data.pop("metadata", None))

    class ReBEN(module):  # type: ignore[misc, valid-type]
        """The splits of a store."""

        def _loader(self, split: Split) -> PatchLoader:
            trainer = self.trainer
            alone = trainer is None
            device = "cpu" if alone or trainer.strategy.root_device.type != "cuda" else trainer.strategy.root_device
            made = loader(
                held,
                bands=bands,
                split=split,
                batch_size=batch_size,
                workers=workers,
                seed=seed if split == "train" else None,
                # Processes that train together take equally many steps.
                drop_last=split == "train",
                device=device,
                rank=0 if alone else trainer.global_rank,
                ranks=1 if alone else trainer.world_size,
                **data,
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

    return ReBEN()


def _lightning() -> Any:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return __import__(name, fromlist=["LightningDataModule"]).LightningDataModule
        except ModuleNotFoundError:
            continue
    raise StoreError("a data module needs Lightning; install it with: pip install lightning")
