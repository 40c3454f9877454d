"""Train a network: from a configuration to a run folder."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg.config.identity import settings_of_run
from seg.config.load import dump_config, load_config
from seg.config.sections import Config, DataConfig
from seg.config.track import Track, silent
from seg.data.dataset import PatchDataset
from seg.data.frequency import class_frequencies
from seg.engine.device import Compute, choose_compute
from seg.engine.losses.joint import JointLoss, check_losses
from seg.engine.modality_dropout import check_modality_dropout
from seg.engine.state import read_progress
from seg.engine.train import Epoch, Run, Step, fit, seed_everything
from seg.metrics.evidence import Origin
from seg.models.checkpoint import Data, make_card
from seg.models.segmenter import Segmenter
from seg.models.start import start_segmenter
from seg.models.weights_catalogue import whole_path
from seg.models.weights_file import LAST
from seg.pipeline.data import Notify, cache_folder, find_store, ignore, split_rows
from seg.pipeline.run_folder import CHECKPOINTS, CONFIG_FILE, FIGURE_FILE, RECORD_FILE, RunError, read_run
from seg.reben.bands import BANDS, selection_name
from seg.reben.patch import Split
from seg.report.figures.style import write_png
from seg.report.figures.training import training_figure
from seg.report.log import EpochLog
from seg.report.record import run_record, write_json
from seg.report.trackers import Status, Trackers, check_trackers
from seg.store.atomic import write_text
from seg.store.open import Store

Observe = Callable[[Step | Epoch], None]


@dataclass(frozen=True)
class Job:
    """A training run that is about to begin or to continue.

    Attributes:
        config: The settings.
        folder: The run folder.
        resume: Whether it continues.
    """

    config: Config
    folder: Path
    resume: bool


@dataclass(frozen=True)
class TrainResult:
    """Outcome of a finished training run.

    Attributes:
        folder: The run folder.
        monitor: The score that decided.
        best_score: Its best value; NaN if it was undefined throughout.
        best_epoch: From 0.
        epochs: Epochs done.
    """

    folder: Path
    monitor: str
    best_score: float
    best_epoch: int
    epochs: int


def plan(
    path: Path | None = None,
    overrides: Iterable[str] = (),
    out: Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Job:
    """Settle configuration and run folder.

    A new run takes a folder that is not there yet; without `out` it is named after architecture and bands. A resumed
    run takes the settings of its ``config.yaml``.

    Args:
        path: YAML configuration.
        overrides: ``section.key=value``.
        out: The run folder.
        resume: Continue the run in that folder.
        settings: ``section__key=value``; None stands for "not given".

    Raises:
        RunError: If a new run's folder is taken, or there is no run to resume.
        ConfigError: If the configuration is wrong.
    """
    config = _with_whole_weights(load_config(path, overrides, **settings))
    folder = out or _default_folder(config, resume)
    saved = folder / CONFIG_FILE
    if resume:
        if not saved.is_file():
            raise RunError(f"there is no run to resume in {folder}; name its folder with --out")
        config = _with_whole_weights(load_config(path or saved, overrides, **settings))
    elif folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is there already; continue it with --resume or choose another folder with --out")
    return Job(config, folder, resume)


def _with_whole_weights(config: Config) -> Config:
    """The configuration with the whole path of a weights file, so that a resume finds the same one from any folder."""
    weights = config.model.weights and whole_path(config.model.weights)
    return config.model_copy(update={"model": config.model.model_copy(update={"weights": weights})})


def _default_folder(config: Config, resume: bool) -> Path:
    """``runs/<arch>-<bands>``, with a number if that is taken; for a resume the last one that is."""
    base = Path("runs") / f"{config.model.arch}-{selection_name(config.data.bands).replace(',', '-')}"
    number, folder = 1, base
    while (following := base.with_name(f"{base.name}-{number + 1}") if folder.exists() else folder).exists():
        number, folder = number + 1, following
    return folder if resume else following


def train(job: Job, observe: Observe = lambda _: None, track: Track = silent, notify: Notify = ignore) -> TrainResult:
    """Train a network.

    Args:
        job: Settings and folder, from `plan`.
        observe: Is told of steps and epochs.
        track: Progress of validation and of making the demo store.
        notify: Is told what the user must not miss.

    Raises:
        ValueError: One of its subclasses, in one sentence, for anything wrong with settings, data or folder.
        Interrupted: After Ctrl-C; the run can be resumed.
    """
    config = job.config
    check_losses(config.loss)
    check_trackers(config.train.loggers)
    compute = choose_compute(config.train)
    seed_everything(config.train.seed, compute.device)
    check_modality_dropout(config.train.modality_dropout, config.data.bands)
    model, weights = _network(job, notify)
    store = find_store(config.data, track, notify)
    training = _dataset(store, config.data, "train", augment_seed=config.train.seed)
    validation = _dataset(store, config.data, "validation")
    loss, measured = _loss(config, store, training, track, notify)
    run = Run(
        model=model,
        loss=loss,
        train=training,
        validation=validation,
        origin=Origin("validation", store.info.fingerprint, store.info.synthetic),
        config=config.train,
        compute=compute,
        workers=loader_workers(config.data.workers, compute),
        card=make_card(
            model,
            [(BANDS[name].mean, BANDS[name].std) for name in config.data.bands],
            config.data.resampling,
            Data(fingerprint=store.info.fingerprint, synthetic=store.info.synthetic, train_patches=len(training)),
        ),
        folder=job.folder / CHECKPOINTS,
        identity=_identity(config, store),
    )
    if job.resume:
        # Before anything is written: a refusal must leave the settings of the run as they are.
        read_progress(run.folder / LAST, run.identity)
    job.folder.mkdir(parents=True, exist_ok=True)
    write_text(job.folder / CONFIG_FILE, dump_config(_located(config)))
    record = {
        "synthetic": store.info.synthetic,
        "data": {
            "fingerprint": store.info.fingerprint,
            "patches": {"train": len(training), "validation": len(validation)},
            "bands": config.data.bands,
            "resplit": store.info.resplit,
        },
        "loss": measured,
        "seeds": {"train": config.train.seed},
        "parameters": run.card.parameters,
        "weights": weights,
        "compute": {
            "device": compute.device.type,
            "dtype": str(compute.dtype).removeprefix("torch."),
            "channels_last": compute.channels_last,
            "workers": run.workers,
        },
    }
    return _follow(job, run, record, observe, track, notify)


def _network(job: Job, notify: Notify) -> tuple[Segmenter, Any]:
    """The network, and what ``run.json`` says of the weights that it started from."""
    model = job.config.model
    if job.resume:
        # Its own weights replace all others, which need not be there any more.
        network, _ = start_segmenter(model.model_copy(update={"weights": None}), job.config.data.bands)
        return network, read_run(job.folder).record.get("weights")
    network, loaded = start_segmenter(model, job.config.data.bands, notify)
    return network, [one.record() for one in loaded]


def _dataset(store: Store, data: DataConfig, split: Split, augment_seed: int | None = None) -> PatchDataset:
    return PatchDataset(store, split_rows(store, data, split), data, augment_seed)


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


def _follow(job: Job, run: Run, record: dict[str, Any], observe: Observe, track: Track, notify: Notify) -> TrainResult:
    """Run the loop; keep log and record."""
    began = time.perf_counter()
    speeds: list[float] = []
    log: EpochLog | None = None
    status: Status = "failed"
    trackers = _trackers(job, run, notify)
    write_json(job.folder / RECORD_FILE, run_record(status="running", **record))
    try:
        for event in fit(run, job.resume, track):
            if log is None:
                log = EpochLog(job.folder, run.progress.epoch - isinstance(event, Epoch))
            if isinstance(event, Epoch):
                speeds.append(event.patches_per_second)
                values = _logged(event)
                log.add(event.epoch + 1, values)
                trackers.add(event.epoch + 1, values)
            observe(event)
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        if log is not None:
            log.close()
            title = f"{run.card.arch} {run.card.encoder} on {selection_name(run.card.bands)}"
            figure = training_figure(log.rows, title=title, synthetic=run.origin.synthetic) if log.rows else None
            if figure:
                write_png(job.folder / FIGURE_FILE, figure)
        record["training"] = {
            "epochs": run.progress.epoch,
            "steps": run.progress.step,
            "best_epoch": None if run.progress.best_epoch is None else run.progress.best_epoch + 1,
            "monitor": run.config.monitor,
            "best_score": run.progress.best_score,
        }
        record["throughput"] = {
            "patches_per_second": sum(speeds) / len(speeds) if speeds else None,
            "seconds": time.perf_counter() - began,
        }
        write_json(job.folder / RECORD_FILE, run_record(status=status, **record))
        trackers.close(status)
    done = run.progress
    assert done.best_epoch is not None, "a finished run has a best epoch"
    score = math.nan if done.best_score is None else done.best_score
    return TrainResult(job.folder, run.config.monitor, score, done.best_epoch, done.epoch)


def _logged(event: Epoch) -> dict[str, float]:
    """What the logs say of an epoch."""
    return {
        "step": event.step,
        "lr": event.lr,
        **event.losses,
        **{f"val_{name}": value for name, value in event.scores.items()},
        "patches_per_second": event.patches_per_second,
        "seconds": event.seconds,
    }


def _trackers(job: Job, run: Run, notify: Notify) -> Trackers:
    return Trackers(
        job.config.train.loggers,
        job.folder,
        job.config.model_dump(mode="json"),
        synthetic=run.origin.synthetic,
        resume=job.resume,
        notify=notify,
    )


def loader_workers(asked: int | None, compute: Compute) -> int:
    """Loader processes: as asked, else none beside a CPU that trains, which reads faster than it computes."""
    if asked is not None:
        return asked
    return 0 if compute.device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) - 1))


def _identity(config: Config, store: Store) -> str:
    """Digest of what must not change between the sittings of a run."""
    text = json.dumps({"config": settings_of_run(config), "data": store.info.fingerprint}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _located(config: Config) -> Config:
    """The configuration with whole paths, so that it loads from any folder. The demo store stays unnamed."""
    named = config.data.store or os.environ.get("SEG_DATA")
    paths = {"store": named, "metadata": config.data.metadata}
    resolved = {key: Path(path).resolve() for key, path in paths.items() if path}
    return config.model_copy(update={"data": config.data.model_copy(update=resolved)})
