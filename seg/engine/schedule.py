"""The learning rate: a pure function of the step and of the validation scores so far."""

import math
from collections.abc import Callable, Sequence

from seg.config.training import TrainConfig

Scores = Sequence[float | None]
"""The monitored score of every epoch that is over; None where it is undefined."""


def learning_rate(step: int, total: int, config: TrainConfig, scores: Scores = ()) -> float:
    """Learning rate of a step: a linear rise over the warm-up, then as the schedule says.

    Args:
        step: Number of steps done before, 0 to total - 1.
        total: Steps of the whole run.
        config: Peak rate, schedule and the share of the steps that warm up.
        scores: What ``plateau`` goes by.
    """
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return config.lr * SCHEDULES[config.schedule](progress, config, scores)


def reductions(scores: Scores, epochs: int) -> int:
    """How often a score has stayed for some epochs without getting better than ever before.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau` counts with ``patience = epochs - 1`` and a threshold of 0, but from
    the whole history, so that there is no state that a resume could lose.

    Args:
        scores: Of the epochs so far; larger is better.
        epochs: Epochs without a better score that make a plateau.
    """
    best, stale, count = -math.inf, 0, 0
    for score in scores:
        if score is not None and score > best:
            best, stale = score, 0
        else:
            stale += 1
        if stale == epochs:
            stale, count = 0, count + 1
    return count


def _cosine(progress: float, _config: TrainConfig, _scores: Scores) -> float:
    """Half a cosine down to 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _poly(progress: float, config: TrainConfig, _scores: Scores) -> float:
    """A power of what is left (Chen et al. 2017, DeepLab)."""
    return float((1 - progress) ** config.poly_power)


def _trapezoid(progress: float, config: TrainConfig, _scores: Scores) -> float:
    """The peak, then a straight line down to 0 (Hägele et al. 2024, section 3)."""
    return min(1.0, (1 - progress) / config.cooldown)


def _plateau(_progress: float, config: TrainConfig, scores: Scores) -> float:
    """A step down at the end of each plateau of the validation score."""
    return float(config.plateau_factor ** reductions(scores, config.plateau_epochs))


def _constant(_progress: float, _config: TrainConfig, _scores: Scores) -> float:
    return 1.0


SCHEDULES: dict[str, Callable[[float, TrainConfig, Scores], float]] = {
    "cosine": _cosine,
    "poly": _poly,
    "trapezoid": _trapezoid,
    "plateau": _plateau,
    "constant": _constant,
}
"""Schedules by name: from the share of the steps after the warm-up that are done to the share of the peak rate."""
