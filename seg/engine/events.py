"""What training hands out while it runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What is known after some steps of an epoch.

    Attributes:
        epoch: From 0.
        batch, batches: Batches of the epoch done and in all.
        loss: Mean total loss of the epoch so far, of this process.
        lr: Learning rate of the last step.
        patches_per_second: Over the epoch so far, in this sitting, of all processes.
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
        best: Whether its weights are kept, by default because they are the best so far.
    """

    epoch: int
    step: int
    lr: float
    losses: dict[str, float]
    scores: dict[str, float]
    patches_per_second: float
    seconds: float
    best: bool

    def row(self) -> dict[str, float]:
        """What the log says of the epoch, by column."""
        return {
            "step": self.step,
            "lr": self.lr,
            **self.losses,
            **{f"val_{name}": value for name, value in self.scores.items()},
            "patches_per_second": self.patches_per_second,
            "seconds": self.seconds,
        }
