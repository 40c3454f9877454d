"""Everything that takes part in a training run, ready to take its next step."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from seg.config.training import TrainConfig
from seg.data.dataset import PatchDataset
from seg.data.order import BatchOrder
from seg.engine.cost import Meter, cost_of_state
from seg.engine.device import Compute
from seg.engine.distributed import ALONE, Ranks, synchronise_statistics
from seg.engine.encoder import freeze_encoder
from seg.engine.guard import Guard
from seg.engine.losses.joint import JointLoss
from seg.engine.optimiser import make_optimiser
from seg.engine.state import Identity, Learner, Progress, load_state, save_state
from seg.metrics.evidence import Origin
from seg.models.card import ModelCard
from seg.models.weights_file import LAST


@dataclass
class Run:
    """Everything that takes part in a training run.

    Attributes:
        model: The network, on any device; moved by the run.
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
        frozen_encoder: Whether the encoder never learns, low-rank additions aside, whatever the settings say of its
            first epochs.
        began: When the work on it began, by `time.perf_counter`; None: now.

    Attributes:
        network: What a step calls: the network, compiled if asked for, its gradients averaged over the processes.
        average: The moving average of the weights, if one is taken.
        guard: Watches the steps.
        meter: Measures what the run takes.
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
    frozen_encoder: bool = False
    began: float | None = None
    network: nn.Module = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    order: BatchOrder = field(init=False)
    progress: Progress = field(init=False)
    guard: Guard = field(init=False)
    meter: Meter = field(init=False)
    average: ModelEmaV3 | None = field(init=False)
    _frozen: bool | None = field(init=False, default=None)

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
        self.order.factors = self.train.factors()
        if self.config.sync_batchnorm:
            self.model = synchronise_statistics(self.model, self.compute.device, self.ranks)
        self.model.to(self.compute.device, memory_format=self.compute.memory_format)  # type: ignore[call-overload]
        if self.frozen_encoder:
            # Before the optimiser is made, which then keeps nothing for it.
            freeze_encoder(self.model, True)
        self.optimiser = make_optimiser(self.model, self.config)
        self.meter = Meter(self.compute.device, self.ranks, began=self.began)
        self.progress = Progress()
        self.begin_epoch()
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

    @property
    def learner(self) -> Learner:
        """What changes with every step."""
        return Learner(self.model, self.optimiser, self.averaged)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; the last one may be of fewer batches than the others."""
        return -(-len(self.order) // self.config.accumulate)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run, unless it stops early."""
        steps = self.config.epochs * self.steps_per_epoch
        return min(steps, self.config.max_steps) if self.config.max_steps else steps

    @property
    def parameters_trained(self) -> int:
        """Values that learn at some time of the run."""
        return sum(parameter.numel() for group in self.optimiser.param_groups for parameter in group["params"])

    def begin_epoch(self) -> None:
        """Let everything learn that learns in the epoch under way, and nothing else."""
        self.model.train()
        frozen = self.frozen_encoder or self.progress.epoch < self.config.freeze_epochs
        freeze_encoder(self.model, frozen)
        if frozen == self._frozen:
            return
        self._frozen = frozen
        # Processes wait for each other's gradients of all that learns, so they must know when that changes. What has
        # waited so far goes first.
        self.network = self.model
        self.network = self.ranks.wrap(self.model)
        if self.compute.compile:
            self.network = torch.compile(self.network)  # type: ignore[assignment]

    def begin_step(self, sums: Tensor) -> None:
        """Make sure of the step before, and remember what the one that begins will change.

        Args:
            sums: Sums of the losses of the epoch so far, on the device.

        Raises:
            NotFiniteError: If the step before was not finite.
        """
        self.settle()
        self.guard.begin(self.progress, sums)

    def settle(self) -> None:
        """Let the step before count, once it is known to be finite.

        Raises:
            NotFiniteError: If it was not.
        """
        if self.guard.settle() and self.average is not None:
            self.average.update(self.model, self.progress.step)

    def save(self, card: ModelCard) -> None:
        """Save the state under ``last``; all processes have to call this."""
        self.progress.cost = asdict(self.meter.together())
        save_state(self.folder / LAST, self.learner, card, self.progress, self.identity, self.ranks)

    def load(self) -> None:
        """Go back to the state under ``last``; all processes have to call this.

        Raises:
            RunError: If the run cannot be resumed.
        """
        self.progress = load_state(self.folder / LAST, self.learner, self.identity, self.allow, self.ranks)
        self.meter.add(cost_of_state(self.progress.cost))
