"""A trained run, opened to be used on a split: weights, data and machine together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from seg.config.scope import Scope
from seg.config.sections import Config
from seg.config.track import Track
from seg.data.dataset import PatchDataset
from seg.engine.device import Compute, choose_compute
from seg.engine.distributed import ALONE, Ranks, check_shares, joined, started_ranks
from seg.engine.evaluate import Pass
from seg.models.card import ModelCard
from seg.models.checkpoint import load_checkpoint
from seg.models.fusion import WithoutSensor
from seg.models.segmenter import Segmenter
from seg.runs.preparation import loader_workers, prepared_on_device
from seg.runs.use import ChosenWeights, Use
from seg.store.open import Store


@dataclass(frozen=True)
class Session:
    """What is needed to predict a split with a run.

    Attributes:
        run: The run folder.
        config: Its settings, with what was asked for otherwise.
        model, card: The best weights.
        store: The data.
        scope: What an evaluation with it is of.
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
    scope: Scope
    dataset: PatchDataset
    compute: Compute
    workers: int
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


def open_weights(chosen: ChosenWeights) -> Weights:
    """Load the weights of a run.

    Raises:
        CheckpointError, WrongUseError: What is wrong with them or with the device, in one sentence.
    """
    ranks = started_ranks()
    compute = choose_compute(chosen.config.train, ranks.local_rank if ranks.count > 1 else None)
    model, card = load_checkpoint(chosen.checkpoint, compute.device)
    model.to(memory_format=compute.memory_format)
    return Weights(chosen.config, model, card, compute, ranks)


def open_session(use: Use) -> Session:
    """Load a run and open the patches that it is to be used on.

    Raises:
        CheckpointError, StoreError, WrongUseError: What is wrong, in one sentence.
    """
    weights = open_weights(use.weights)
    config, model, compute = weights.config, weights.model, weights.compute
    without = use.scope.without
    raw = prepared_on_device(use.inputs, compute, augmented=False)
    return Session(
        run=use.weights.run,
        config=config,
        model=model if without is None else WithoutSensor(model, without).to(compute.device).eval(),
        card=weights.card,
        store=use.store,
        scope=use.scope,
        dataset=PatchDataset(use.store, use.rows, use.inputs, with_maps=use.with_maps, raw=raw),
        compute=compute,
        workers=loader_workers(config.data.workers, compute, weights.ranks.count),
    )


@contextmanager
def joined_session(session: Session) -> Iterator[Session]:
    """The session, its patches shared with the other processes that ``torchrun`` has started.

    Raises:
        WorkerError: If a process would have no patch, or they do not find each other.
    """
    with joined(started_ranks(), session.compute.device) as ranks:
        check_shares(len(session.dataset), 1, ranks, session.scope.split, "")
        yield replace(session, ranks=ranks)
