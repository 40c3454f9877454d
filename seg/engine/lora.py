"""Low-rank additions to the layers of an encoder that stays as it is: the only importer of peft.

Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022: a layer with weights W computes with
``W + s B A``, where only A and B learn, of a few rows and columns, B begins as 0, and s is 2 (alpha twice the rank).
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg.engine.encoder import encoder_parts
from seg.errors import ModelError
from seg.models.additions import ADAPTER, is_addition, layers_with_additions, plain_state
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

    Left out are layers that no forward pass calls as a whole, and convolutions that are grouped, dilated, or padded
    with anything but zeros.

    Args:
        model: The network, changed in place; what it computes stays the same.
        rank: Rank of each addition.

    Raises:
        ModelError: If the encoder has no such layer, or uses weights of one in another way than by calling it once
            per name, so that the weights with the additions added up would be another network.
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
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.register_forward_pre_hook(_nothing)
    # What has two names gets its addition under one, and may be called by the other.
    if not set(layers) <= set(_called(model)) or not _adds_up(model):
        raise ModelError(
            f"the encoder of {model.config.named} uses the same weights in several places, to which low-rank additions "
            "cannot be made; give each place weights and a name of its own, or use model.encoder_mode=train or frozen"
        )
    count = sum(parameter.numel() for name, parameter in model.named_parameters() if is_addition(name))
    return Added(len(layers), kind, count)


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.groups == 1 and module.dilation == (1, 1) and _pads_zeros(module)


def _pads_zeros(module: nn.Conv2d) -> bool:
    """Whether it pads as additions do."""
    return module.padding_mode == "zeros" or not any(module.padding)


def _nothing(*_: object) -> None:
    """As a hook: has PyTorch call the linear layers of a transformer's layer, and not use their weights past them."""


def _adds_up(model: Segmenter) -> bool:
    """Whether the network without additions is the same once these are added to its weights, as it is when it is saved.

    It is another one if layers share weights, with each other or the decoder, or if weights are used past their layer.
    """
    random = torch.Generator().manual_seed(0)
    images = torch.randn(1, len(model.bands), model.picture_edge, model.picture_edge, generator=random)
    layers = layers_with_additions(model)
    without = _logits(model, images)
    with torch.no_grad():
        for _, layer in layers:
            # It begins as 0, and is 0 again afterwards.
            values = layer.lora_B[ADAPTER].weight
            values.copy_(0.05 * torch.randn(values.shape, generator=random))
        added = _logits(model, images)
        state = {name: tensor.clone() for name, tensor in plain_state(model).items()}
        for _, layer in layers:
            layer.lora_B[ADAPTER].weight.zero_()
        before = {name: tensor.clone() for name, tensor in plain_state(model).items()}
    for name, layer in layers:
        _replace(model, name, layer.base_layer)
    try:
        model.load_state_dict(state)
        saved = _logits(model, images)
    finally:
        model.load_state_dict(before)
        for name, layer in layers:
            _replace(model, name, layer)
    bound = 0.05 * (added - without).abs().max() + 0.001 * added.abs().max()
    return not bool((saved - added).abs().max() > bound)


def _replace(model: Segmenter, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _logits(model: Segmenter, images: Tensor) -> Tensor:
    """What the network makes of images in evaluation; whatever it draws at random is the same each time."""
    training = model.training
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits: Tensor = model.eval()(images)[0]
    model.train(training)
    return logits.float()


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
