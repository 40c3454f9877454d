"""What takes part in a training run, put together from its settings: processes, device, network and patches."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from seg.config.identity import settings_of_run
from seg.config.sections import Config, DataConfig
from seg.config.track import Track, silent
from seg.data.dataset import PatchDataset
from seg.data.transforms import moves_pixels_only
from seg.engine.device import Compute, choose_compute
from seg.engine.distributed import Ranks, check_shares, joined, started_ranks
from seg.engine.losses import JointLoss
from seg.engine.state import DATA, RANKS
from seg.engine.train import Run, seed_everything
from seg.metrics.evidence import Origin
from seg.models.checkpoint import Data, make_card
from seg.models.segmenter import build_segmenter
from seg.pipeline.data import Notify, find_store, ignore, split_rows
from seg.pipeline.run_folder import CHECKPOINTS
from seg.reben.bands import BANDS
from seg.reben.patch import Split
from seg.store.open import Store


@contextmanager
def joined_by(config: Config) -> Iterator[tuple[Ranks, Compute]]:
    """The processes of this run, and the device of this one of them.

    Raises:
        RankError, DeviceError: If they cannot work together as asked.
    """
    ranks = started_ranks()
    compute = choose_compute(config.train, ranks.local_rank if ranks.count > 1 else None)
    with joined(ranks, compute.device) as together:
        yield together, compute


def prepare(
    config: Config,
    folder: Path,
    allow: tuple[str, ...] = (),
    *,
    ranks: Ranks,
    compute: Compute,
    track: Track = silent,
    notify: Notify = ignore,
) -> tuple[Run, Store]:
    """Everything that takes part in a run, from its settings; nothing is written.

    Args:
        config: The settings.
        folder: The run folder.
        allow: Settings that may differ when the run is resumed.
        ranks, compute: From `joined_by`.
        track: Progress of making the demo store.
        notify: Is told what the user must not miss.

    Returns:
        The run, and the store that it trains on.

    Raises:
        ValueError: One of its subclasses, in one sentence, for anything wrong with settings or data.
    """
    loss = JointLoss(config.loss)
    seed_everything(config.train.seed, compute.device)
    model = build_segmenter(config.model, config.data.bands)
    store = find_store(config.data, track, notify)
    training = _dataset(store, config.data, "train", compute, augment_seed=config.train.seed)
    validation = _dataset(store, config.data, "validation", compute)
    check_shares(len(training), config.train.batch_size, ranks, "train", " or lower train.batch_size")
    check_shares(len(validation), 1, ranks, "validation", "")
    if ranks.count > 1:
        # What is dropped out differs from process to process.
        torch.manual_seed(config.train.seed + ranks.rank)
    run = Run(
        model=model,
        loss=loss,
        train=training,
        validation=validation,
        origin=Origin("validation", store.info.fingerprint, store.info.synthetic),
        config=config.train,
        compute=compute,
        workers=loader_workers(config.data.workers, compute, ranks.count),
        card=make_card(
            model,
            [(BANDS[name].mean, BANDS[name].std) for name in config.data.bands],
            config.data.resampling,
            Data(fingerprint=store.info.fingerprint, synthetic=store.info.synthetic, train_patches=len(training)),
        ),
        folder=folder / CHECKPOINTS,
        identity={**settings_of_run(config), DATA: store.info.fingerprint, RANKS: ranks.count},
        ranks=ranks,
        allow=allow,
    )
    return run, store


def effective_batch(run: Run) -> int:
    """Patches that an optimiser step averages over."""
    return run.config.batch_size * min(run.config.accumulate, len(run.order)) * run.ranks.count


def prepared_on_device(data: DataConfig, compute: Compute, augmented: bool) -> bool:
    """Whether stored values become network inputs on the device."""
    if data.preprocess == "auto":
        return compute.device.type == "cuda" and (not augmented or moves_pixels_only(data.augment))
    return data.preprocess == "device"


def _dataset(
    store: Store, data: DataConfig, split: Split, compute: Compute, augment_seed: int | None = None
) -> PatchDataset:
    raw = prepared_on_device(data, compute, augmented=augment_seed is not None)
    return PatchDataset(store, split_rows(store, data, split), data, augment_seed, raw=raw)


def loader_workers(asked: int | None, compute: Compute, processes: int = 1) -> int:
    """Loader processes of each process.

    As asked, else none beside a CPU that trains, which reads faster than it computes.
    """
    if asked is not None:
        return asked
    return 0 if compute.device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) // processes - 1))
