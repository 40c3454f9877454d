"""A trained run, opened to be used on a split: weights, data and machine together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seg.config.load import load_config
from seg.config.sections import Config
from seg.config.synthetic import Synthetic
from seg.config.track import Notify, Track, ignore, silent
from seg.config.version import VERSION
from seg.data.dataset import PatchDataset
from seg.engine.device import Compute, choose_compute
from seg.engine.distributed import ALONE, Ranks, check_shares, joined, started_ranks
from seg.engine.evaluate import Pass
from seg.errors import WrongUseError
from seg.models.checkpoint import ModelCard, load_checkpoint
from seg.models.fusion import WithoutSensor
from seg.models.segmenter import Segmenter
from seg.models.weights_file import weights_digest
from seg.reben.bands import BANDS, SENSORS, Sensor, of_sensor
from seg.reben.patch import Split
from seg.runs.data import find_store, split_rows
from seg.runs.folder import CONFIG_FILE, best_checkpoint, is_model_folder
from seg.runs.preparation import loader_workers, prepared_on_device
from seg.store.open import Store


@dataclass(frozen=True)
class Session:
    """What is needed to predict a split with a run.

    Attributes:
        run: The run folder.
        config: Its settings, with what was asked for otherwise.
        model, card: The best weights.
        without: The sensor that the model is not shown; None: none.
        store: The data.
        split: The split.
        dataset: Its patches.
        compute: Device and formats.
        workers: Loader processes.
        ranks: The processes that share the patches.
    """

    run: Path
    config: Config
    model: nn.Module
    card: ModelCard
    store: Store
    split: Split
    dataset: PatchDataset
    compute: Compute
    workers: int
    without: Sensor | None = None
    ranks: Ranks = ALONE

    def how(self, track: Track) -> Pass:
        """How the network goes over the data set."""
        return Pass(self.compute, self.config.eval.batch_size, self.workers, track, self.ranks)


@dataclass(frozen=True)
class Weights:
    """The best weights of a run on this machine, without data.

    Attributes:
        config: Settings of the run, with what was asked for otherwise.
        model: A `Segmenter` in evaluation mode, on the device.
        card: What the model is.
        compute: Device and formats.
        ranks: The processes that ``torchrun`` has started, not joined yet.
    """

    config: Config
    model: Segmenter
    card: ModelCard
    compute: Compute
    ranks: Ranks


def open_weights(run: Path, **changes: Any) -> Weights:
    """Open the best weights of a run.

    Args:
        run: Run folder of `train`, or a model folder of `seg.pipeline.card`, which has the default settings.
        changes: Instead of the run's own settings, as for `load_config`.

    Raises:
        RunError, CheckpointError, WrongUseError: What is wrong, in one sentence.
    """
    checkpoint = best_checkpoint(run)
    config = load_config(None if is_model_folder(run) else run / CONFIG_FILE, **changes)
    ranks = started_ranks()
    compute = choose_compute(config.train, ranks.local_rank if ranks.count > 1 else None)
    model, card = load_checkpoint(checkpoint, compute.device)
    model.to(memory_format=compute.memory_format)
    _check_statistics(card)
    return Weights(config, model, card, compute, ranks)


def model_tags(card: ModelCard, checkpoint: Path, *, fingerprint: str, synthetic: bool) -> dict[str, str]:
    """Metadata of every file that is made with a model: versions, model and data.

    Args:
        card, checkpoint: The model.
        fingerprint: Of the data that it was applied to, or else was trained on.
        synthetic: Whether the data that it was applied to are.
    """
    tags = {
        "SEG_VERSION": VERSION,
        "MODEL": f"{card.arch} {card.encoder}",
        "MODEL_WEIGHTS": weights_digest(checkpoint) or "",
        "BANDS": ",".join(card.bands),
        "DATA_FINGERPRINT": fingerprint,
        "TEMPERATURE": f"{card.calibration:g}",
    }
    return tags | Synthetic.of(data=synthetic, model=card.data.synthetic).tags


def open_run(
    run: Path,
    *,
    split: Split | None = None,
    data: Path | None = None,
    metadata: Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    drop: Sensor | None = None,
    need_maps: bool | None = True,
    track: Track = silent,
    notify: Notify = ignore,
) -> Session:
    """Open a run on a split.

    Args:
        run: Run folder of `train`.
        split, data, metadata, device, batch_size: Instead of the run's own settings.
        drop: Sensor that the network is not shown.
        need_maps: Reference maps are needed; None: read where every patch has one.
        track: Progress of making the demo store.
        notify: Is told what the user must not miss.

    Raises:
        RunError, CheckpointError, StoreError, EmptySelectionError, WrongUseError: What is wrong, in one sentence.
    """
    weights = open_weights(
        run, train__device=device, eval__batch_size=batch_size, eval__split=split, data__metadata=metadata
    )
    config, model, card, compute = weights.config, weights.model, weights.card, weights.compute
    if data is not None:
        config = config.model_copy(
            update={"data": config.data.model_copy(update={"store": data, "metadata": metadata})}
        )
    if drop is not None and not all(of_sensor(card.bands, sensor) for sensor in SENSORS):
        raise WrongUseError(
            f"{run} sees the bands {', '.join(card.bands)} only; without {drop} there is nothing to tell, so leave out "
            "--drop"
        )
    # The weights know their inputs best: a config.yaml that was edited must not feed them other bands.
    inputs = config.data.model_copy(update={"bands": card.bands, "resampling": card.resampling})
    store = find_store(inputs, track, notify)
    if store.info.fingerprint != card.data.fingerprint:
        notify(f"The data ({store.info.fingerprint}) are not those the run was trained on ({card.data.fingerprint}).")
    rows = split_rows(store, inputs, config.eval.split, bool(need_maps))
    with_maps = bool(store.index.has_map[rows].all()) if need_maps is None else need_maps
    raw = prepared_on_device(inputs, compute, augmented=False)
    dataset = PatchDataset(store, rows, inputs, with_maps=with_maps, raw=raw)
    return Session(
        run=run,
        config=config,
        model=model if drop is None else WithoutSensor(model, drop).to(compute.device).eval(),
        card=card,
        store=store,
        split=config.eval.split,
        dataset=dataset,
        compute=compute,
        workers=loader_workers(config.data.workers, compute, weights.ranks.count),
        without=drop,
    )


@contextmanager
def joined_session(session: Session) -> Iterator[Session]:
    """The session, its patches shared with the other processes that ``torchrun`` has started.

    Raises:
        WorkerError: If a process would have no patch, or they do not find each other.
    """
    with joined(started_ranks(), session.compute.device) as ranks:
        check_shares(len(session.dataset), 1, ranks, session.split, "")
        yield replace(session, ranks=ranks)


def _check_statistics(card: ModelCard) -> None:
    """The weights were trained with the statistics that this version normalises with."""
    bands = [BANDS[name] for name in card.bands]
    if not np.allclose(card.mean, [b.mean for b in bands]) or not np.allclose(card.std, [b.std for b in bands]):
        raise WrongUseError(
            "the weights were trained with other band statistics than this version of seg normalises with"
        )
