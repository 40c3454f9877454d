"""The optimiser and its groups of parameters."""

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from seg.config.training import TrainConfig
from seg.engine.encoder import bare, in_encoder, rate_scales

_FUSED = ("cuda", "cpu", "mps")
"""Devices on which torch has AdamW as one kernel."""


def make_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), fused where the device has it, or SGD with momentum.

    Biases, normalisation and scalar parameters are not decayed. Parameters that share learning rate and decay form a
    group, the encoder's apart from all others, since it may begin to learn later; the first group learns at the rate of
    the run.

    Args:
        model: On the device on which it is trained.
        config: Optimiser, rates and decay.
    """
    network = bare(model)
    scales = rate_scales(network, config)
    grouped: defaultdict[tuple[bool, float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            grouped[in_encoder(name), -scales[name], parameter.ndim <= 1].append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": grouped[key], "weight_decay": 0.0 if key[2] else config.weight_decay, "lr_scale": -key[1]}
        for key in sorted(grouped)
    ]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
    fused = all(parameter.device.type in _FUSED for parameter in model.parameters())
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group its share of a learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
