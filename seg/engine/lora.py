"""Low-rank additions to the layers of an encoder that stays as it is: the only importer of peft.

Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022: a layer with weights W computes with
``W + s B A``, where only A and B learn, of a few rows and columns, B begins as 0, and s is 2 (alpha twice the rank).
"""

import re
from dataclasses import dataclass

import torch
from torch import nn

from seg.engine.encoder import encoder_parts
from seg.errors import ModelError
from seg.models.additions import ADAPTER, is_addition
from seg.models.segmenter import Segmenter

_ALPHA = 2


@dataclass(frozen=True, slots=True)
class Added:
    """Additions to a network.

    Attributes:
        layers: Layers that have one.
        kind: What these are, in words.
        parameters: Learned values of all.
    """

    layers: int
    kind: str
    parameters: int

    def sentence(self) -> str:
        """All of it, in a line for the user."""
        return (
            f"Low-rank additions to {self.layers} {self.kind} of the encoder: {self.parameters:,} parameters; the "
            "encoder itself stays as it is."
        )


def add_low_rank(model: Segmenter, rank: int) -> Added:
    """Put additions into every linear layer of the encoder or, where it has none, into its convolutions.

    Left out are layers that no forward pass calls as a whole, and convolutions that are grouped or dilated.

    Args:
        model: The network, changed in place; what it computes stays the same.
        rank: Rank of each addition.

    Raises:
        ModelError: If the encoder has no such layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    called = _called(model)
    layers = [name for name in called if type(model.get_submodule(name)) is nn.Linear]
    kind = "linear layers"
    if not layers:
        layers, kind = [name for name in called if _is_plain(model.get_submodule(name))], "convolutions"
    if not layers:
        raise ModelError(
            f"the encoder of {model.config.named} has neither linear layers nor plain convolutions that low-rank "
            "additions could be made to; use model.encoder_mode=train or frozen"
        )
    for root in encoder_parts(model):
        own = [re.escape(name.removeprefix(f"{root}.")) for name in layers if name.startswith(f"{root}.")]
        if own:
            config = LoraConfig(r=rank, lora_alpha=_ALPHA * rank, target_modules="|".join(own))
            inject_adapter_in_model(config, model.get_submodule(root), ADAPTER)
    count = sum(parameter.numel() for name, parameter in model.named_parameters() if is_addition(name))
    return Added(len(layers), kind, count)


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.groups == 1 and module.dilation == (1, 1)


def _called(model: Segmenter) -> list[str]:
    """Names of the modules within encoders that a forward pass calls."""
    roots = tuple(f"{root}." for root in encoder_parts(model))
    names: dict[str, None] = {}
    handles = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: names.update({name: None}))
        for name, module in model.named_modules()
        if name.startswith(roots)
    ]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, len(model.bands), model.picture_edge, model.picture_edge))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return list(names)
