"""What takes part in a training run, put together from its settings: processes, device, network and patches."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seg.config.identity import settings_of_run
from seg.config.sections import Config, DataConfig, ModelConfig
from seg.config.track import Notify, Track, ignore, silent
from seg.data.dataset import PatchDataset
from seg.data.frequency import class_frequencies
from seg.data.symmetry import moves_pixels_only
from seg.engine.device import Compute, choose_compute
from seg.engine.distributed import Ranks, check_shares, joined, started_ranks
from seg.engine.encoder import check_parts
from seg.engine.instructions import cpu_instructions
from seg.engine.lora import add_low_rank
from seg.engine.losses.joint import JointLoss
from seg.engine.rehearsal import own_patches
from seg.engine.run import Run
from seg.engine.state import DATA, RANKS
from seg.engine.train import seed_everything
from seg.engine.windows import check_window
from seg.metrics.evidence import Origin
from seg.models.card import Data, read_card
from seg.models.checkpoint import make_card
from seg.models.segmenter import Segmenter
from seg.models.start import Loaded, start_segmenter
from seg.models.weights_file import CHECKPOINTS, LAST
from seg.own.code import Code, code_beside, running
from seg.reben.bands import BANDS
from seg.reben.patch import Split
from seg.runs.data import budget_remarks, find_store, split_rows
from seg.store.cache import cache_folder
from seg.store.open import Store


@dataclass(frozen=True)
class Prepared:
    """A training run that is ready to begin.

    Attributes:
        run: Everything that takes part.
        store: What it trains on.
        config: All its settings.
        weights: What ``run.json`` says of the weights that it starts from; None if it continues.
        loss: What it says of the loss: what was taken from the train split.
    """

    run: Run
    store: Store
    config: Config
    weights: list[dict[str, Any]] | None
    loss: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """What ``run.json`` says of a run before it has begun."""
        run, info = self.run, self.store.info
        compute, train = run.compute, run.config
        return {
            "synthetic": info.synthetic,
            "data": {
                "fingerprint": info.fingerprint,
                "patches": {"train": len(run.train), "validation": len(run.validation)},
                "bands": self.config.data.bands,
                "resplit": info.resplit,
                **run.train.context_record(),
            },
            "loss": self.loss,
            "seeds": {"train": train.seed},
            "parameters": run.card.parameters,
            "parameters_trained": run.parameters_trained,
            "weights": self.weights,
            "compute": {
                "device": compute.device.type,
                "dtype": str(compute.dtype).removeprefix("torch."),
                "channels_last": compute.channels_last,
                "compile": compute.compile,
                "cpu_instructions": cpu_instructions().name,
                "preprocess": "device" if run.train.raw else "host",
                "workers": run.workers,
            },
            "batch": {
                "batch_size": train.batch_size,
                "accumulate": train.accumulate,
                "processes": run.ranks.count,
                "effective_batch": effective_batch(run),
                "lr": train.lr,
                "batch_statistics": f"of {'all processes' if train.sync_batchnorm else 'each process'}",
                "steps_per_epoch": run.steps_per_epoch,
            },
        }


@contextmanager
def joined_by(config: Config) -> Iterator[tuple[Ranks, Compute]]:
    """The processes of this run, and the device of this one of them.

    Raises:
        WorkerError, WrongUseError: If they cannot work together as asked.
    """
    ranks = started_ranks()
    compute = choose_compute(config.train, ranks.local_rank if ranks.count > 1 else None)
    with joined(ranks, compute.device) as together:
        yield together, compute


def prepare(
    config: Config,
    folder: Path,
    resume: bool = False,
    allow: tuple[str, ...] = (),
    *,
    ranks: Ranks,
    compute: Compute,
    began: float | None = None,
    track: Track = silent,
    notify: Notify = ignore,
) -> Prepared:
    """Everything that takes part in a run, from its settings; nothing is written but what caches keep.

    Args:
        config: The settings.
        folder: The run folder.
        resume: The weights of its state replace all others, which need not be there any more.
        allow: Settings that may differ when the run is resumed.
        ranks, compute: From `joined_by`.
        began: When the work began, by `time.perf_counter`.
        track: Progress of making the demo store.
        notify: Is told what the user must not miss.

    Returns:
        The run, and what its record says.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with settings or data.
    """
    seed_everything(config.train.seed, compute.device)
    with ranks.after_first():
        model, weights = _network(config, folder / CHECKPOINTS / LAST if resume else None, notify)
    store = find_store(config.data, track, notify)
    for remark in budget_remarks(store, config):
        notify(remark)
    training = _dataset(store, config.data, "train", compute, augment_seed=config.train.seed)
    validation = _dataset(store, config.data, "validation", compute)
    _remark_on_sampling(training, config.data, notify)
    check_shares(len(training), config.train.batch_size, ranks, "train", " or lower train.batch_size")
    check_shares(len(validation), 1, ranks, "validation", "")
    with ranks.after_first():
        loss, measured = _loss(config, store, training, track, notify)
    card = make_card(
        model,
        [(BANDS[name].mean, BANDS[name].std) for name in config.data.bands],
        config.data.resampling,
        Data(fingerprint=store.info.fingerprint, synthetic=store.info.synthetic, train_patches=len(training)),
    )
    if config.model.encoder_mode == "lora":
        notify(add_low_rank(model, config.model.lora_rank).sentence())
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
        card=card,
        folder=folder / CHECKPOINTS,
        identity={**settings_of_run(config), DATA: store.info.fingerprint, RANKS: ranks.count},
        ranks=ranks,
        allow=allow,
        frozen_encoder=config.model.encoder_mode != "train",
        began=began,
    )
    return Prepared(run, store, config, None if resume else [one.record() for one in weights], measured)


def _network(config: Config, state: Path | None, notify: Notify) -> tuple[Segmenter, tuple[Loaded, ...]]:
    """The network, and what it starts from; of a run that continues nothing, since its state replaces the weights."""
    network = config.model if state is None else config.model.model_copy(update={"weights": None})
    code = None if state is None else _kept_code(state, network)
    model, weights = start_segmenter(network, config.data.bands, notify, config.data.context, code)
    if model.code is not None:
        notify(running(model.code.path, model.code.sha256))
    check_parts(model, config)
    check_window(config.train.window, model.sizes)
    mode = network.encoder_mode
    if mode != "train" and not (network.weights or state or network.own):
        notify(f"model.encoder_mode={mode} keeps an encoder of random weights as it is; --weights names better ones.")
    return model, weights


def _kept_code(checkpoint: Path, network: ModelConfig) -> Code | None:
    """The code of a network of one's own as the run has kept it, if it is the one that is asked for."""
    if network.code is None or read_card(checkpoint).code != network.code:
        return None
    return code_beside(checkpoint, network.arch, network.code)


def effective_batch(run: Run) -> int:
    """Patches that an optimiser step averages over."""
    return own_patches(run) * run.ranks.count


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


def _remark_on_sampling(training: PatchDataset, data: DataConfig, notify: Notify) -> None:
    factors = training.factors()
    if factors is not None and (factors == factors[:1]).all():
        notify(
            f"data.rare_share={data.rare_share:g} tells no patches of the train split apart, so that "
            "data.sampling=rare draws as uniform does."
        )


def _loss(
    config: Config, store: Store, training: PatchDataset, track: Track, notify: Notify
) -> tuple[JointLoss, dict[str, Any]]:
    """The loss, and what it took from the train split, for the record."""
    by_pixels = config.loss.class_weights != "none"
    if not by_pixels and config.loss.positive_weights == "none":
        return JointLoss(config.loss), {}
    cache = cache_folder() / "frequencies"
    found = class_frequencies(store, training.rows, cache, pixels=by_pixels, track=track)
    if found.absent:
        weight = "the weight 0 in the loss" if by_pixels else "no positives to weigh"
        notify(f"Not in the train split, so with {weight}: {', '.join(found.absent)}.")
    loss = JointLoss(config.loss, found)
    return loss, {"train_patches": found.patches, **found.record(), **loss.record()}


def loader_workers(asked: int | None, compute: Compute, processes: int = 1) -> int:
    """Loader processes of each process.

    As asked, else none beside a CPU that trains, which reads faster than it computes.
    """
    if asked is not None:
        return asked
    return 0 if compute.device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) // processes - 1))
