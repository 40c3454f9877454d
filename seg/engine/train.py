"""The training loop: a generator that hands out what happens, so that it neither prints nor logs itself."""

import math
import os
import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from seg.config.track import Track, silent
from seg.data.dataset import Batch
from seg.data.feed import on_device
from seg.data.loader import Loader, make_loader
from seg.data.on_device import preparation
from seg.data.raw import RawBatch
from seg.engine.device import named_when_full
from seg.engine.distributed import Vote, only_last_reduces
from seg.engine.evaluate import Pass, evaluate, sampled_pixels
from seg.engine.events import Epoch, Step
from seg.engine.features import recalled
from seg.engine.guard import NotFiniteError, norm_of_gradients, note_patches
from seg.engine.mixing import mixed
from seg.engine.modality_dropout import sensors_present
from seg.engine.optimiser import set_learning_rate
from seg.engine.radiometry import jittered
from seg.engine.run import Run
from seg.engine.schedule import learning_rate
from seg.engine.state import SavingClock
from seg.engine.stopping import Interrupted, stop_signals
from seg.engine.windows import windowed
from seg.errors import TrainingError
from seg.metrics.evidence import Evidence
from seg.metrics.scores import headline, score_evidence, validation_thresholds
from seg.metrics.temperature import LogitSample, fit_temperature
from seg.models.card import Training
from seg.models.checkpoint import save_checkpoint
from seg.models.weights_file import BEST

_REPORT_EVERY = 10
_LESS = "halve train.batch_size and double train.accumulate with --set, which leaves the effective batch as it is"


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
        TrainingError: If the loss or a gradient is no longer finite, or the monitored score does not exist.
        OutOfMemoryError: Naming the setting to change.
        RunError: If the run cannot be resumed.
        ForeignFileError: If there is a file in the place of kept features that seg has not made.
        Interrupted: After a signal.
    """
    if resume:
        run.load()
    progress, ranks = run.progress, run.ranks
    loader = make_loader(run.train, run.order, run.workers, pin_memory=run.compute.device.type == "cuda")
    patience = run.config.patience
    with stop_signals(alone=ranks.count == 1) as stop, recalled(run):
        while progress.step < run.total_steps and not (patience and progress.stale >= patience):
            began = time.perf_counter()
            speed = 0.0
            try:
                for step in _train_epoch(run, loader, stop):
                    speed = step.patches_per_second
                    yield step
            except NotFiniteError as error:
                raise _not_finite(run, error) from None
            ranks.share_buffers(run.model)
            if run.averaged is not None:
                ranks.share_buffers(run.averaged)
            sample = LogitSample(len(run.validation))
            how = Pass(run.compute, run.config.batch_size, run.workers, run.meter.watching(track), ranks)
            evidence = evaluate(run.scored, run.validation, run.origin, how, sample=sample)
            yield _finish_epoch(run, evidence, sample, speed, began)
            if ranks.any(bool(stop)):
                raise Interrupted(f"stopped after epoch {progress.epoch}")


def _train_epoch(run: Run, loader: Loader, stop: list[int]) -> Iterator[Step]:
    progress, order, ranks = run.progress, run.order, run.ranks
    order.epoch, order.start = progress.epoch, progress.batch
    run.begin_epoch()
    sums = torch.tensor(progress.loss_sums, dtype=torch.float64, device=run.compute.device)
    vote, clock = Vote(ranks), SavingClock(run.config, ranks)
    began, patches = time.perf_counter(), 0
    for batch in training_batches(run, loader):
        if progress.batch % run.config.accumulate == 0:
            run.begin_step(sums)
        rate = learning_rate(progress.step, run.total_steps, run.config, progress.scores)
        set_learning_rate(run.optimiser, rate)
        sums += train_step(run, batch)
        progress.batch += 1
        patches += len(batch) * ranks.count
        run.meter.saw(len(batch) * ranks.count)
        complete = progress.batch % run.config.accumulate == 0 or progress.batch == len(order)
        progress.step += complete
        last = progress.batch == len(order) or progress.step == run.total_steps
        stopping, saving = vote.ask(bool(stop), clock.has_struck()) if complete and not last else (False, False)
        saving = saving or (complete and not last and clock.is_due_at(progress.step))
        if last or stopping or saving or progress.batch % _REPORT_EVERY == 0:
            run.settle()
            progress.loss_sums = sums.tolist()
            speed = patches / (time.perf_counter() - began)
            mean = progress.loss_sums[0] / progress.batch
            yield Step(progress.epoch, progress.batch, len(order), mean, rate, speed)
        if stopping or saving:
            run.save(run.card)
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

    Raises:
        NotFiniteError: If loss or gradients are not finite, unless only the device knows it yet.
    """
    config, progress = run.config, run.progress
    begin = progress.batch - progress.batch % config.accumulate
    parts = min(config.accumulate, len(run.order) - begin)
    complete = progress.batch + 1 == begin + parts
    present_BS = sensors_present(config.modality_dropout, config.seed, progress.epoch, batch.rows_B.numpy())
    with named_when_full(_LESS), only_last_reduces(run.network, complete):
        batch = jittered(windowed(batch, config, progress.epoch), config, progress.epoch, run.train.bands)
        batch = mixed(batch, config, progress.epoch)
        images = batch.images_BCHW.to(memory_format=run.compute.memory_format)
        # A patch keeps the sensors that it has.
        kept = () if present_BS is None else (present_BS.to(run.compute.device, non_blocking=True),)
        with run.compute.autocast():
            pixel_logits, scene_logits = run.network(images, *kept)
        total, pixel, scene = run.loss(pixel_logits, scene_logits, batch.masks_BHW.long(), batch.labels_BK)
        watched = run.guard.watch(total, batch.rows_B)
        (watched / parts if parts > 1 else watched).backward()  # type: ignore[no-untyped-call]
        if complete:
            run.guard.note(norm_of_gradients(run.model.parameters(), config.clip_norm))
            run.optimiser.step()
            run.optimiser.zero_grad(set_to_none=True)
    return torch.stack([total, pixel, scene]).detach().double()


def _not_finite(run: Run, error: NotFiniteError) -> TrainingError:
    """Save the run as it was before a step that is not finite, and say so."""
    run.progress = error.progress
    run.save(run.card)
    ids = run.train.patch_ids(error.rows_B.numpy())
    return TrainingError(note_patches(run.folder, error, ids, run.config.lr, run.ranks))


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
    earlier = [one for one in progress.scores if one is not None]
    better = progress.best_epoch is None or (math.isfinite(score) and score > max(earlier, default=-math.inf))
    kept = better or config.keep == "last"
    losses = [total / (progress.batch * ranks.count) for total in ranks.total(progress.loss_sums)]
    epoch = progress.epoch
    training = Training(epoch=epoch, step=progress.step, monitor=config.monitor, score=score)
    fitted = validation_thresholds(evidence)
    thresholds = None if fitted is None else tuple(fitted.tolist())
    card = run.card.model_copy(update={"training": training, "thresholds": thresholds})
    if kept:
        card = card.model_copy(update={"temperature": fit_temperature(*sampled_pixels(sample, ranks))})
        if ranks.first:
            save_checkpoint(run.folder / BEST, run.scored, card)
        progress.best_score = score if math.isfinite(score) else None
        progress.best_epoch = epoch
    progress.scores.append(score if math.isfinite(score) else None)
    progress.stale = 0 if better else progress.stale + 1
    progress.epoch, progress.batch, progress.loss_sums = epoch + 1, 0, [0.0, 0.0, 0.0]
    done = Epoch(
        epoch=epoch,
        step=progress.step,
        lr=run.optimiser.param_groups[0]["lr"],
        losses=dict(zip(("loss", "pixel_loss", "scene_loss"), losses, strict=True)),
        scores=scores,
        patches_per_second=speed,
        seconds=time.perf_counter() - began,
        best=kept,
    )
    progress.last_epoch = done.row()
    run.save(card)
    return done
