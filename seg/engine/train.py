"""The training loop: a generator that hands out what happens, so that it neither prints nor logs itself."""

import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from seg.config.sections import TrainConfig
from seg.config.track import Track, silent
from seg.data.dataset import Batch, PatchDataset
from seg.data.loader import Loader, make_loader
from seg.data.on_device import preparation
from seg.data.order import BatchOrder
from seg.data.raw import RawBatch
from seg.engine.device import Compute, named_when_full
from seg.engine.distributed import ALONE, Ranks, Vote, only_last_reduces, synchronise_statistics
from seg.engine.evaluate import Pass, evaluate, sampled_pixels
from seg.engine.events import Epoch, Step
from seg.engine.feed import on_device
from seg.engine.losses import JointLoss
from seg.engine.optimiser import learning_rate, make_optimiser, set_learning_rate
from seg.engine.state import Identity, Progress, SavingClock, load_state, save_state
from seg.engine.stopping import Interrupted, stop_signals
from seg.metrics.evidence import Evidence, Origin
from seg.metrics.scores import headline, score_evidence, validation_thresholds
from seg.metrics.temperature import LogitSample, fit_temperature
from seg.models.checkpoint import ModelCard, Training, save_checkpoint
from seg.models.weights_file import BEST, LAST

_REPORT_EVERY = 10
_LESS = "halve train.batch_size and double train.accumulate with --set, which leaves the effective batch as it is"


class TrainingError(ValueError):
    """Training that cannot go on."""


@dataclass
class Run:
    """Everything that takes part in a training run.

    Attributes:
        model: The network, on any device; moved by `fit`.
        loss: Its loss.
        train, validation: The patches.
        origin: What the validation patches are.
        config: The settings.
        compute: Device and formats.
        workers: Loader processes.
        card: Card of the weights, but for epoch, score and thresholds.
        folder: The folder ``checkpoints`` of the run.
        identity: What must be equal when the run is resumed.
        ranks: The processes that train together.
        allow: Settings that may differ when the run is resumed.

    Attributes:
        network: What a step calls: the network, compiled if asked for, its gradients averaged over the processes.
    """

    model: nn.Module
    loss: JointLoss
    train: PatchDataset
    validation: PatchDataset
    origin: Origin
    config: TrainConfig
    compute: Compute
    workers: int
    card: ModelCard
    folder: Path
    identity: Identity
    ranks: Ranks = ALONE
    allow: tuple[str, ...] = ()
    network: nn.Module = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    order: BatchOrder = field(init=False)
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.order = BatchOrder(
            len(self.train),
            self.config.batch_size,
            self.config.seed,
            drop_last=True,
            shuffle=self.train.shuffle,
            rank=self.ranks.rank,
            ranks=self.ranks.count,
        )
        if self.config.sync_batchnorm and self.ranks.count > 1:
            self.model = synchronise_statistics(self.model, self.compute.device)
        self.model.to(self.compute.device, memory_format=self.compute.memory_format)  # type: ignore[call-overload]
        self.network = self.ranks.wrap(self.model)
        if self.compute.compile:
            self.network = torch.compile(self.network)  # type: ignore[assignment]
        self.optimiser = make_optimiser(self.model, self.config)
        self.progress = Progress()

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; the last one may be of fewer batches than the others."""
        return -(-len(self.order) // self.config.accumulate)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run, unless it stops early."""
        steps = self.config.epochs * self.steps_per_epoch
        return min(steps, self.config.max_steps) if self.config.max_steps else steps


def seed_everything(seed: int, device: torch.device) -> None:
    """Seed torch and choose deterministic kernels; order and augmentation draw from generators of their own."""
    torch.manual_seed(seed)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def fit(run: Run, resume: bool = False, track: Track = silent) -> Iterator[Step | Epoch]:
    """Train until the last epoch or until the validation score no longer gets better.

    After every epoch, and now and then within one, the state is saved under ``last``, and the weights under ``best`` if
    the score is the best so far. SIGINT and SIGTERM end the run after the step that is under way, or the next one if
    there are several processes, with its state saved.

    Args:
        run: What takes part.
        resume: Continue from ``last``.
        track: Progress of the validation.

    Yields:
        `Step` every few steps, `Epoch` after every validation.

    Raises:
        TrainingError: If the loss is no longer finite or the monitored score does not exist.
        OutOfMemoryError: Naming the setting to change.
        ResumeError: If the run cannot be resumed.
        Interrupted: After a signal.
    """
    if resume:
        run.progress = load_state(
            run.folder / LAST, run.model, run.optimiser, run.identity, allow=run.allow, ranks=run.ranks
        )
    progress, ranks = run.progress, run.ranks
    loader = make_loader(run.train, run.order, run.workers, pin_memory=run.compute.device.type == "cuda")
    patience = run.config.patience
    with stop_signals(alone=ranks.count == 1) as stop:
        while progress.step < run.total_steps and not (patience and progress.stale >= patience):
            began = time.perf_counter()
            speed = 0.0
            for step in _train_epoch(run, loader, stop):
                speed = step.patches_per_second
                yield step
            ranks.share_buffers(run.model)
            sample = LogitSample(len(run.validation))
            how = Pass(run.compute, run.config.batch_size, run.workers, track, ranks)
            evidence = evaluate(run.model, run.validation, run.origin, how, sample=sample)
            yield _finish_epoch(run, evidence, sample, speed, began)
            if ranks.any(bool(stop)):
                raise Interrupted(f"stopped after epoch {progress.epoch}")


def _train_epoch(run: Run, loader: Loader, stop: list[int]) -> Iterator[Step]:
    progress, order, ranks = run.progress, run.order, run.ranks
    order.epoch, order.start = progress.epoch, progress.batch
    run.model.train()
    sums = torch.tensor(progress.loss_sums, dtype=torch.float64, device=run.compute.device)
    vote, clock = Vote(ranks), SavingClock(run.config, ranks)
    began, patches = time.perf_counter(), 0
    for batch in training_batches(run, loader):
        rate = learning_rate(progress.step, run.total_steps, run.config)
        set_learning_rate(run.optimiser, rate)
        sums += train_step(run, batch)
        progress.batch += 1
        patches += len(batch) * ranks.count
        complete = progress.batch % run.config.accumulate == 0 or progress.batch == len(order)
        progress.step += complete
        last = progress.batch == len(order) or progress.step == run.total_steps
        stopping, saving = vote.ask(bool(stop), clock.has_struck()) if complete and not last else (False, False)
        saving = saving or (complete and not last and clock.is_due_at(progress.step))
        if last or stopping or saving or progress.batch % _REPORT_EVERY == 0:
            progress.loss_sums = sums.tolist()
            if not all(map(math.isfinite, progress.loss_sums)):
                raise TrainingError(
                    f"the loss is no longer finite at step {progress.step}; lower the learning rate with "
                    f"--set train.lr={run.config.lr / 10:g}, and check the data with 'seg data info'"
                )
            speed = patches / (time.perf_counter() - began)
            mean = progress.loss_sums[0] / progress.batch
            yield Step(progress.epoch, progress.batch, len(order), mean, rate, speed)
        if stopping or saving:
            save_state(run.folder / LAST, run.model, run.card, run.optimiser, progress, run.identity, ranks)
        if stopping:
            vote.settle()
            raise Interrupted(f"stopped in epoch {progress.epoch + 1} after step {progress.step}")
        if last:
            break
    vote.settle()


def training_batches(run: Run, loader: Iterable[Batch | RawBatch]) -> Iterator[Batch]:
    """The batches of an epoch on the device, ready for the network."""
    return on_device(loader, run.compute.device, preparation(run.train, run.compute.device))


def train_step(run: Run, batch: Batch) -> Tensor:
    """Forward and backward pass of a batch, and the optimiser step with the last one of those that make up a step.

    Returns:
        Total, pixel and scene loss as float64, on the device, which is not waited for.
    """
    begin = run.progress.batch - run.progress.batch % run.config.accumulate
    parts = min(run.config.accumulate, len(run.order) - begin)
    complete = run.progress.batch + 1 == begin + parts
    with named_when_full(_LESS), only_last_reduces(run.network, complete):
        images = batch.images_BCHW.to(memory_format=run.compute.memory_format)
        with run.compute.autocast():
            pixel_logits, scene_logits = run.network(images)
        total, pixel, scene = run.loss(pixel_logits, scene_logits, batch.masks_BHW.long(), batch.labels_BK)
        (total / parts if parts > 1 else total).backward()  # type: ignore[no-untyped-call]
        if complete:
            if run.config.clip_norm:
                nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip_norm)
            run.optimiser.step()
            run.optimiser.zero_grad(set_to_none=True)
    return torch.stack([total, pixel, scene]).detach().double()


def _finish_epoch(run: Run, evidence: Evidence, sample: LogitSample, speed: float, began: float) -> Epoch:
    """Score the epoch, save weights and state, and move on to the next."""
    progress, config, ranks = run.progress, run.config, run.ranks
    # Every process could compute them, but one that rounds otherwise would go its own way.
    scores = ranks.from_first(headline(score_evidence(evidence)))
    if config.monitor not in scores:
        raise TrainingError(
            f"train.monitor={config.monitor} needs a scene head; choose miou, mf1 or oa, or another head"
        )
    score = scores[config.monitor]
    # An undefined score is never better, except that some epoch has to be the best.
    best = progress.best_epoch is None or (
        math.isfinite(score) and (progress.best_score is None or score > progress.best_score)
    )
    losses = [total / (progress.batch * ranks.count) for total in ranks.total(progress.loss_sums)]
    epoch = progress.epoch
    training = Training(epoch=epoch, step=progress.step, monitor=config.monitor, score=score)
    fitted = validation_thresholds(evidence)
    thresholds = None if fitted is None else tuple(fitted.tolist())
    card = run.card.model_copy(update={"training": training, "thresholds": thresholds})
    if best:
        card = card.model_copy(update={"temperature": fit_temperature(*sampled_pixels(sample, ranks))})
        if ranks.first:
            save_checkpoint(run.folder / BEST, run.model, card)
        progress.best_score = score if math.isfinite(score) else None
        progress.best_epoch = epoch
    progress.stale = 0 if best else progress.stale + 1
    progress.epoch, progress.batch, progress.loss_sums = epoch + 1, 0, [0.0, 0.0, 0.0]
    done = Epoch(
        epoch=epoch,
        step=progress.step,
        lr=run.optimiser.param_groups[0]["lr"],
        losses=dict(zip(("loss", "pixel_loss", "scene_loss"), losses, strict=True)),
        scores=scores,
        patches_per_second=speed,
        seconds=time.perf_counter() - began,
        best=best,
    )
    progress.last_epoch = done.row()
    save_state(run.folder / LAST, run.model, card, run.optimiser, progress, run.identity, ranks)
    return done
