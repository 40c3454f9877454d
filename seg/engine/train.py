"""The training loop: a generator that hands out what happens, so that it neither prints nor logs itself."""

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from seg.config.sections import TrainConfig
from seg.config.track import Track, silent
from seg.data.dataset import Batch, PatchDataset
from seg.data.loader import make_loader
from seg.data.order import BatchOrder
from seg.engine.device import Compute
from seg.engine.encoder import freeze_encoder
from seg.engine.evaluate import Pass, evaluate
from seg.engine.guard import Guard, NotFiniteError, norm_of_gradients, note_patches
from seg.engine.losses.joint import JointLoss
from seg.engine.modality_dropout import sensors_present
from seg.engine.optimiser import make_optimiser, set_learning_rate
from seg.engine.schedule import learning_rate
from seg.engine.state import Progress, load_state, save_state
from seg.metrics.evidence import Evidence, Origin
from seg.metrics.scores import headline, score_evidence, validation_thresholds
from seg.metrics.temperature import LogitSample, fit_temperature
from seg.models.checkpoint import ModelCard, Training, save_checkpoint
from seg.models.weights_file import BEST, LAST

_REPORT_EVERY = 10


class TrainingError(ValueError):
    """Training that cannot go on."""


class Interrupted(KeyboardInterrupt):
    """Training was stopped from outside after its state was saved."""


@dataclass(frozen=True)
class Step:
    """What is known after some steps of an epoch.

    Attributes:
        epoch: From 0.
        batch, batches: Batches of the epoch done and in all.
        loss: Mean total loss of the epoch so far.
        lr: Learning rate of the last step.
        patches_per_second: Over the epoch so far, in this process's sitting.
    """

    epoch: int
    batch: int
    batches: int
    loss: float
    lr: float
    patches_per_second: float


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch.

    Attributes:
        epoch: From 0.
        step: Optimiser steps done in the run.
        lr: Learning rate of the last step.
        losses: Mean ``loss``, ``pixel_loss`` and ``scene_loss``.
        scores: Validation scores by the names of ``train.monitor``.
        patches_per_second: Of the training part.
        seconds: Training and validation.
        best: Whether this is the best epoch so far.
    """

    epoch: int
    step: int
    lr: float
    losses: dict[str, float]
    scores: dict[str, float]
    patches_per_second: float
    seconds: float
    best: bool


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
    identity: str
    optimiser: torch.optim.Optimizer = field(init=False)
    order: BatchOrder = field(init=False)
    progress: Progress = field(init=False)
    guard: Guard = field(init=False)
    average: ModelEmaV3 | None = field(init=False)

    def __post_init__(self) -> None:
        self.order = BatchOrder(
            len(self.train), self.config.batch_size, self.config.seed, drop_last=True, shuffle=self.train.shuffle
        )
        self.order.factors = self.train.factors()
        self.model.to(self.compute.device, memory_format=self.compute.memory_format)  # type: ignore[call-overload]
        self.optimiser = make_optimiser(self.model, self.config)
        self.progress = Progress()
        self.guard = Guard(self.model, self.optimiser)
        # With a warm-up of its own: an average over more steps than there were would be one of random weights.
        self.average = ModelEmaV3(self.model, self.config.ema, use_warmup=True) if self.config.ema else None

    @property
    def averaged(self) -> nn.Module | None:
        """The network with the averaged weights, if they are averaged."""
        return None if self.average is None else self.average.module

    @property
    def scored(self) -> nn.Module:
        """The network that is evaluated and saved as best: the averaged one, if there is one."""
        return self.model if self.averaged is None else self.averaged

    def save(self, card: ModelCard) -> None:
        """Save the state under ``last``."""
        folder = self.folder / LAST
        save_state(folder, self.model, card, self.optimiser, self.progress, self.identity, self.averaged)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run, unless it stops early."""
        steps = self.config.epochs * len(self.order)
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

    After every epoch the state is saved under ``last``, and the weights under ``best`` if the score is the best so far.
    SIGINT and SIGTERM end the run after the step that is under way, with its state saved.

    Args:
        run: What takes part.
        resume: Continue from ``last``.
        track: Progress of the validation.

    Yields:
        `Step` every few steps, `Epoch` after every validation.

    Raises:
        TrainingError: If the loss or a gradient is no longer finite, or the monitored score does not exist.
        ResumeError: If the run cannot be resumed.
        Interrupted: After a signal.
    """
    if resume:
        run.progress = load_state(run.folder / LAST, run.model, run.optimiser, run.identity, run.averaged)
    progress = run.progress
    loader = make_loader(run.train, run.order, run.workers, pin_memory=run.compute.device.type == "cuda")
    patience = run.config.patience
    with _signals() as stop:
        while progress.step < run.total_steps and not (patience and progress.stale >= patience):
            began = time.perf_counter()
            speed = 0.0
            try:
                for step in _train_epoch(run, loader, stop):
                    speed = step.patches_per_second
                    yield step
            except NotFiniteError as error:
                raise _not_finite(run, error) from None
            sample = LogitSample(len(run.validation))
            how = Pass(run.compute, run.config.batch_size, run.workers, track)
            evidence = evaluate(run.scored, run.validation, run.origin, how, sample=sample)
            yield _finish_epoch(run, evidence, sample, speed, began)
            if stop:
                raise Interrupted(f"stopped after epoch {progress.epoch}")


def _train_epoch(run: Run, loader: Any, stop: list[int]) -> Iterator[Step]:
    progress, order = run.progress, run.order
    order.epoch, order.start = progress.epoch, progress.batch
    run.model.train()
    freeze_encoder(run.model, progress.epoch < run.config.freeze_epochs)
    sums = torch.tensor(progress.loss_sums, dtype=torch.float64, device=run.compute.device)
    began, patches = time.perf_counter(), 0
    for batch in loader:
        _settle(run)
        run.guard.begin(progress, sums, batch.rows_B)
        rate = learning_rate(progress.step, run.total_steps, run.config, progress.scores)
        set_learning_rate(run.optimiser, rate)
        config = run.config
        present_BS = sensors_present(config.modality_dropout, config.seed, progress.epoch, batch.rows_B.numpy())
        sums += _step(run, batch.to(run.compute.device), present_BS)
        progress.batch += 1
        progress.step += 1
        patches += len(batch)
        last = progress.batch == len(order) or progress.step == run.total_steps
        stopped = bool(stop)  # asked once: a signal may come at any moment
        if last or stopped or progress.batch % _REPORT_EVERY == 0:
            _settle(run)
            progress.loss_sums = sums.tolist()
            speed = patches / (time.perf_counter() - began)
            mean = progress.loss_sums[0] / progress.batch
            yield Step(progress.epoch, progress.batch, len(order), mean, rate, speed)
        if stopped and not last:
            run.save(run.card)
            raise Interrupted(f"stopped in epoch {progress.epoch + 1} after step {progress.step}")
        if last:
            break


def _step(run: Run, batch: Batch, present_BS: Tensor | None = None) -> Tensor:
    """One optimiser step; total, pixel and scene loss as float64. A patch keeps the sensors that it has."""
    images = batch.images_BCHW.to(memory_format=run.compute.memory_format)
    with run.compute.autocast():
        kept = () if present_BS is None else (present_BS.to(run.compute.device, non_blocking=True),)
        pixel_logits, scene_logits = run.model(images, *kept)
    total, pixel, scene = run.loss(pixel_logits, scene_logits, batch.masks_BHW.long(), batch.labels_BK)
    run.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    run.guard.note(total, norm_of_gradients(run.model.parameters(), run.config.clip_norm))
    run.optimiser.step()
    return torch.stack([total, pixel, scene]).detach().double()


def _settle(run: Run) -> None:
    """Let the step before count, once it is known to be finite."""
    if run.guard.settle() and run.average is not None:
        run.average.update(run.model, run.progress.step)


def _not_finite(run: Run, error: NotFiniteError) -> TrainingError:
    """Save the run as it was before a step that is not finite, and say so."""
    run.progress = error.progress
    run.save(run.card)
    ids = run.train.patch_ids(error.rows_B.cpu().numpy())
    return TrainingError(note_patches(run.folder, error, ids, run.config.lr))


def _finish_epoch(run: Run, evidence: Evidence, sample: LogitSample, speed: float, began: float) -> Epoch:
    """Score the epoch, save weights and state, and move on to the next."""
    progress, config = run.progress, run.config
    scores = headline(score_evidence(evidence))
    if config.monitor not in scores:
        raise TrainingError(
            f"train.monitor={config.monitor} needs a scene head; choose miou, mf1 or oa, or another head"
        )
    score = scores[config.monitor]
    # An undefined score is never better, except that some epoch has to be the best.
    best = progress.best_epoch is None or (
        math.isfinite(score) and (progress.best_score is None or score > progress.best_score)
    )
    losses = [total / progress.batch for total in progress.loss_sums]
    epoch = progress.epoch
    training = Training(epoch=epoch, step=progress.step, monitor=config.monitor, score=score)
    fitted = validation_thresholds(evidence)
    thresholds = None if fitted is None else tuple(fitted.tolist())
    card = run.card.model_copy(update={"training": training, "thresholds": thresholds})
    if best:
        card = card.model_copy(update={"temperature": fit_temperature(*sample.pixels())})
        save_checkpoint(run.folder / BEST, run.scored, card)
        progress.best_score = score if math.isfinite(score) else None
        progress.best_epoch = epoch
    progress.scores.append(score if math.isfinite(score) else None)
    progress.stale = 0 if best else progress.stale + 1
    progress.epoch, progress.batch, progress.loss_sums = epoch + 1, 0, [0.0, 0.0, 0.0]
    run.save(card)
    return Epoch(
        epoch=epoch,
        step=progress.step,
        lr=run.optimiser.param_groups[0]["lr"],
        losses=dict(zip(("loss", "pixel_loss", "scene_loss"), losses, strict=True)),
        scores=scores,
        patches_per_second=speed,
        seconds=time.perf_counter() - began,
        best=best,
    )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that fills when the run is asked to stop; a second Ctrl-C stops at once.

    Where signals cannot be caught, outside of the main thread, they keep their effect.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
