"""The optimiser and its learning rate, which is a pure function of the step."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from seg.config.sections import TrainConfig


def make_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); biases, normalisation and scalar parameters are not decayed."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Learning rate of a step: a linear rise over the warm-up, then a half cosine down to 0.

    Args:
        step: Number of steps done before, 0 to total - 1.
        total: Steps of the whole run.
        config: Peak rate and the share of the steps that warm up.
    """
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameter groups one learning rate."""
    groups: Iterable[dict[str, float]] = optimiser.param_groups
    for group in groups:
        group["lr"] = rate
